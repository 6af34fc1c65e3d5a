use std::{fs, path::Path};

use serde_json::Value;

use super::read;
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

#[test]
fn every_field_of_other_projects_mails_is_read_right() {
    each("parse", |raw, expected| {
        let fields = expected["fields"].as_object()?;
        let found = to_json(&read(raw));
        let wrong = fields.iter().find(|(name, value)| found[name.as_str()] != **value);
        wrong.map(|(name, value)| format!("{name}: expected {value}, found {}", found[name.as_str()]))
    });
}
