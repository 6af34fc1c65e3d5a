//! Agreement in reading with the sources of the fixtures: with what their own tests expect, and with Python's `email`
//! package (3.11, policy `default`). Python is wrong on some of them, and each such case is named with the reason.

use std::{collections::BTreeMap, fmt::Write, fs, path::Path};

use postern::ingress::mail::to_json;
use serde_json::Value;

use super::try_read;

/// Where we read otherwise than Python on purpose.
const BETTER: &[(&str, &str)] = &[
    ("py-msg-15-txt", "a multipart without parts is no file"),
    ("py-msg-17-txt", "a multipart without its boundary is text"),
    ("py-msg-22-txt", "pictures between two texts are named there"),
    ("py-msg-25-txt", "every `To` counts; the boundary in use is found although the header is cut off"),
    ("py-msg-31-txt", "the boundary in use is found although the header names another"),
    ("py-msg-41-txt", "a multipart without a boundary is text"),
    ("mm-attachment-attachment-with-unquoted-name-eml", "an unquoted name keeps its blanks"),
    ("mm-error-bad-date-header2-eml", "a multipart without parts is no file"),
    ("mm-error-content-transfer-encoding-with-8bits-eml", "links keep their targets in the text"),
    ("mm-error-empty-in-reply-to-eml", "a multipart without parts is no file"),
    ("mm-error-invalid-subject-characters-eml", "8-bit headers are read in the character set that fits"),
    ("mm-error-multiple-references-with-one-invalid-eml", "ids behind a broken one count"),
    ("mm-mime-raw-email-with-binary-encoded-eml", "a picture sent as it is, is a file"),
    ("mm-plain-raw-email-with-at-display-name-eml", "an `@` in a name does not make it an address"),
    ("mm-rfc6532-utf8-headers-eml", "addresses in UTF-8 are read"),
    ("st-rfc-000", "`-` and `_` are digits of base64url, which mailers use"),
    ("st-rfc-001", "files' names have no folders"),
];

/// Where a source's own expectation is not met on purpose.
const SAFER: &[(&str, &str)] = &[("st-rfc-001", "the source keeps the folders of a file's name")];

#[derive(Default)]
struct Tally {
    mails: u32,
    right: u32,
    faults: Vec<String>,
}

fn letters(text: &str) -> Vec<char> {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Equal in letters and figures, or in nearly all of their groups of three.
fn same_text(wanted: &str, found: &str) -> bool {
    let (wanted, found) = (letters(wanted), letters(found));
    let text = |letters: &[char]| letters.iter().collect::<String>();
    if wanted == found || (wanted.len() >= 4 && text(&found).contains(&text(&wanted))) {
        return true;
    }
    let groups = |letters: &[char]| {
        let mut groups: BTreeMap<String, i64> = BTreeMap::new();
        letters.windows(3).for_each(|group| *groups.entry(text(group)).or_default() += 1);
        groups
    };
    let (left, right) = (groups(&wanted), groups(&found));
    let common: i64 = left.iter().map(|(group, count)| (*count).min(right.get(group).copied().unwrap_or(0))).sum();
    let all: i64 = left.values().chain(right.values()).sum();
    all > 0 && 2 * common * 100 >= all * 95
}

fn list(value: &Value) -> Vec<String> {
    let mut list: Vec<String> = match value {
        Value::String(one) => vec![one.to_lowercase()],
        Value::Array(all) => all.iter().filter_map(Value::as_str).map(str::to_lowercase).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    };
    // Python keeps names without a domain; they are no addresses.
    list.retain(|one| one.contains('@'));
    list.sort();
    list.dedup();
    list
}

fn blanks(value: &Value) -> String {
    value.as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The fields on which a reading differs from what is wanted of it.
fn differences(wanted: &Value, found: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, value) in wanted.as_object().unwrap() {
        let right = match name.as_str() {
            "text" => same_text(value.as_str().unwrap_or_default(), found["text"].as_str().unwrap_or_default()),
            "subject" => blanks(value) == blanks(&found["subject"]),
            "message_id" => list(value) == list(&found["message_id"]),
            "attachments" => same_files(value, &found["attachments"]),
            other => list(value) == list(&found[other]),
        };
        if !right {
            wrong.push(name.clone());
        }
    }
    wrong
}

/// As many files, each with its bytes and its name where those are told.
fn same_files(wanted: &Value, found: &Value) -> bool {
    let (wanted, mut left) = (wanted.as_array().unwrap(), found.as_array().unwrap().clone());
    wanted.len() == left.len()
        && wanted.iter().all(|file| {
            let fits = |other: &Value| {
                (file["sha256"].is_null() || file["sha256"] == other["sha256"])
                    && (file["filename"].is_null() || blanks(&file["filename"]) == blanks(&other["filename"]))
            };
            let place = left.iter().position(fits);
            place.map(|at| left.remove(at)).is_some()
        })
}

#[test]
fn scores_of_reading_stand_above_their_floors() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mail/parse");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    for path in paths {
        let case: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let found = try_read(fs::read(path.with_extension("eml")).unwrap());
        let found = found
            .map_or_else(|fault| serde_json::json!({"attachments": [], "error": fault.code()}), |mail| to_json(&mail));
        for (key, group, known) in
            [("own", "the sources' own tests", SAFER), ("python", "Python's email package", BETTER)]
        {
            let Some(wanted) = case["expect"].get(key) else { continue };
            let wrong = differences(wanted, &found);
            let tally = tallies.entry(group).or_default();
            tally.mails += 1;
            tally.right += u32::from(wrong.is_empty());
            if !wrong.is_empty() {
                let why = known.iter().find(|(case, _)| *case == name).map_or("NOT KNOWN", |(_, why)| why);
                tally.faults.push(format!("{name}: {}: {why}", wrong.join(", ")));
            }
        }
    }
    let mut report = String::from("reading\n");
    for (group, tally) in &tallies {
        let percent = 100.0 * f64::from(tally.right) / f64::from(tally.mails);
        writeln!(report, "  {group:26} {:4} mails, {percent:5.1} % agree in every field", tally.mails).unwrap();
        tally.faults.iter().for_each(|fault| writeln!(report, "    {fault:.200}").unwrap());
    }
    println!("{report}");
    assert!(tallies.values().all(|tally| tally.mails >= 5), "the fixtures are missing");
    assert!(!report.contains("NOT KNOWN"), "{report}");
}
