//! Figures over other projects' fixtures and generated mails, beside those of the libraries that they come from. The
//! rules of scoring are those of the comparison in `docs/mail.md`.

use std::{collections::BTreeMap, collections::BTreeSet, fmt::Write, fs, path::Path};

use serde_json::Value;

use super::try_read;

/// Calls `score` with each case of a folder, sorted by name.
fn each(folder: &str, mut score: impl FnMut(&Value, &[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mail").join(folder);
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    for path in paths {
        let case: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        score(&case, &fs::read(path.with_extension("eml")).unwrap());
    }
}

#[derive(Default)]
struct Tally {
    cases: u32,
    right: u32,
    lossless: u32,
    faults: Vec<String>,
}

impl Tally {
    fn percent(&self) -> f64 {
        100.0 * f64::from(self.right) / f64::from(self.cases.max(1))
    }

    fn loss(&self) -> f64 {
        100.0 - 100.0 * f64::from(self.lossless) / f64::from(self.cases.max(1))
    }
}

fn letters(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn lines(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect()
}

/// Lines that are missing, and lines that should be.
fn judged(expected: &Value, new: &str) -> (Vec<String>, Vec<String>) {
    let whole = letters(new);
    let alone: BTreeSet<String> =
        new.split('\n').map(|line| letters(line.trim_start_matches(['>', '|', ' ', '\t']))).collect();
    let blanks = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let keep = lines(&expected["keep"]);
    let lost = keep.iter().filter(|line| match letters(line).as_str() {
        "" => !blanks(new).contains(&blanks(line)),
        letters => !whole.contains(letters),
    });
    let kept: Vec<String> = keep.iter().map(|line| letters(line)).collect();
    let leaked = lines(&expected["drop"]).into_iter().filter(|line| {
        let line = letters(line);
        !line.is_empty()
            && !kept.iter().any(|kept| kept.contains(&line))
            && ((line.chars().count() >= 12 && whole.contains(&line)) || alone.contains(&line))
    });
    (lost.map(ToString::to_string).collect(), leaked.map(ToOwned::to_owned).collect())
}

#[test]
fn scores_of_new_text_stand_above_their_floors() {
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    each("reply", |case, raw| {
        let group = match (case["source_set"].as_str(), case["style"].as_str()) {
            (Some("synthetic"), Some("noreply")) => "no replies at all",
            (Some("synthetic"), _) => "generated, 27 languages",
            _ => "libraries' fixtures",
        };
        let new = try_read(raw).map(|mail| mail.email.new_text).unwrap_or_default();
        let (lost, leaked) = judged(&case["expect"], &new);
        let tally = tallies.entry(group).or_default();
        tally.cases += 1;
        tally.right += u32::from(lost.is_empty() && leaked.is_empty());
        tally.lossless += u32::from(lost.is_empty());
        if !lost.is_empty() || !leaked.is_empty() {
            tally.faults.push(format!("{}: lost {lost:?}, leaked {leaked:?}", case["id"]));
        }
    });
    let mut report = String::from("new text\n");
    for (group, tally) in &tallies {
        let (right, loss) = (tally.percent(), tally.loss());
        writeln!(report, "  {group:26} {:4} mails, {right:5.1} % fully right, {loss:3.1} % lose text", tally.cases)
            .unwrap();
        tally.faults.iter().for_each(|fault| writeln!(report, "    {fault:.300}").unwrap());
    }
    println!("{report}");
    for (group, least, cases) in
        [("libraries' fixtures", 97.0, 171), ("generated, 27 languages", 99.0, 137), ("no replies at all", 100.0, 12)]
    {
        let tally = &tallies[group];
        assert!(tally.cases >= cases && tally.percent() >= least && tally.loss() <= 0.5, "{group} fell\n{report}");
    }
}

#[test]
fn scores_of_machines_and_people_stand_above_their_floors() {
    let mut kinds: BTreeMap<String, Tally> = BTreeMap::new();
    each("auto", |case, raw| {
        let wanted = case["expect"]["auto_submitted"].as_bool().unwrap();
        let found = try_read(raw).map(|mail| mail.automatic);
        let kind = case["kind"].as_str().unwrap().to_owned();
        let group = if wanted { "machines".to_owned() } else { "people".to_owned() };
        let right = found.as_ref().is_ok_and(|found| found.is_some() == wanted);
        for name in [group, format!("  {kind}")] {
            let tally = kinds.entry(name).or_default();
            tally.cases += 1;
            tally.right += u32::from(right);
            if !right {
                tally.faults.push(format!("{}: {found:?}", case["id"]));
            }
        }
    });
    let mut report = String::from("machines told from people\n");
    for (name, tally) in &kinds {
        writeln!(report, "  {name:26} {:4} mails, {:5.1} % right", tally.cases, tally.percent()).unwrap();
        tally.faults.iter().for_each(|fault| writeln!(report, "    {fault:.300}").unwrap());
    }
    println!("{report}");
    for (name, least, cases) in [("machines", 99.0, 200), ("people", 99.5, 60)] {
        assert!(kinds[name].cases >= cases && kinds[name].percent() >= least, "{name} fell\n{report}");
    }
}
