//! Every function of the store on both engines.

mod accept;
mod answers;
mod approvals;
mod callbacks;
mod catalog;
mod chaos;
mod claims;
mod connections;
mod controls;
mod deliveries;
mod dropping;
mod fair;
mod fences;
mod fetches;
mod flow;
mod flow_races;
mod folders;
mod groups;
mod lanes;
mod layers;
mod left;
mod mails;
mod notes;
mod races;
mod reading;
mod recovery;
mod replays;
mod replies;
mod retention;
mod runs;
mod schema;
mod selection;
mod sessions;
mod steering;
mod texting;
mod threads;
mod transcripts;
mod uploads;

use std::{fs, path::Path};

/// A function that no test here calls is one that may work on one engine only.
#[test]
fn every_function_of_the_store_is_called_in_this_suite() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text_of = |folder: &str| {
        let mut text = String::new();
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            text.push_str(&fs::read_to_string(entry.unwrap().path()).unwrap());
        }
        text
    };
    let schedules = fs::read_to_string(root.join("tests/it/schedules.rs")).unwrap();
    let suite = text_of("tests/it/store") + &text_of("tests/it/support") + &schedules;
    let source = text_of("src/store");
    let names = source.split("pub async fn ").skip(1).map(|rest| rest.split(['(', '<']).next().unwrap());
    let missing: Vec<&str> =
        names.filter(|name| !suite.contains(&format!(".{name}(")) && !suite.contains(&format!("::{name}("))).collect();
    assert!(missing.is_empty(), "the store suite does not call {missing:?}");
}
