use std::{fs, path::Path};

use serde_json::Value;

use super::{read, try_read};
use postern::ingress::mail::to_json;

/// Calls `check` with each fixture of a folder and returns what it had to object to.
fn each(folder: &str, check: impl Fn(&[u8], &Value) -> Option<String>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mail").join(folder);
    let mut faults = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let expected: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            let raw = fs::read(path.with_extension("eml")).unwrap();
            count += 1;
            if let Some(fault) = check(&raw, &expected["expect"]) {
                faults.push(format!("{}: {fault}", path.display()));
            }
        }
    }
    assert!(count >= 20, "the fixtures are missing");
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

fn letters(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn lines(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().unwrap().iter().map(|line| line.as_str().unwrap())
}

#[test]
fn new_text_keeps_what_was_written_and_drops_what_was_quoted() {
    each("reply", |raw, expected| {
        let new = read(raw).email.new_text;
        let whole = letters(&new);
        if let Some(lost) = lines(&expected["keep"]).find(|line| !whole.contains(&letters(line))) {
            return Some(format!("lost `{lost}` in `{new}`"));
        }
        let kept: Vec<String> = lines(&expected["keep"]).map(letters).collect();
        let leaked = lines(&expected["drop"]).find(|line| {
            let line = letters(line);
            let alone = new.lines().any(|other| letters(other) == line);
            !line.is_empty()
                && !kept.iter().any(|kept| kept.contains(&line))
                && (alone || (line.len() >= 16 && whole.contains(&line)))
        });
        leaked.map(|line| format!("kept `{line}` in `{new}`"))
    });
}

#[test]
fn every_field_of_other_projects_mails_is_read_right() {
    each("parse", |raw, expected| {
        let found = to_json(&read(raw));
        let fields = expected["fields"].as_object().unwrap();
        let wrong = fields.iter().find(|(name, value)| found[name.as_str()] != **value);
        wrong.map(|(name, value)| format!("{name}: expected {value}, found {}", found[name.as_str()]))
    });
}

#[test]
fn machines_are_told_from_people() {
    each("auto", |raw, expected| {
        let automatic = try_read(raw).map(|mail| mail.automatic);
        let wanted = expected["automatic"].as_bool().unwrap();
        (automatic.as_ref().is_ok_and(Option::is_some) != wanted).then(|| format!("found {automatic:?}"))
    });
}
