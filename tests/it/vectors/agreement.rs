//! What each recorded request comes to, and which of them came before.

use std::fs;

use postern::ingress::vectors::{Sequence, disagreements};
use serde_json::{Value, json};

use super::{accepted, folder, parse, vectors};

#[test]
fn every_request_is_judged_read_and_answered_as_recorded() {
    let mut faults = Vec::new();
    for vector in vectors("http").iter().chain(&vectors("http-ambiguous")).chain(&vectors("http-own")) {
        let found = disagreements(vector, &vector.run());
        faults.extend(found.into_iter().map(|fault| format!("{}: {fault}", vector.name)));
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn the_key_of_an_event_is_the_providers_id_or_a_hash() {
    for vector in accepted() {
        let (gate, request) = (vector.gate().unwrap(), vector.request().unwrap());
        let verified = vector.verify(&gate, &request).unwrap();
        let Ok(parsed) = gate.parse(&verified, request.now) else { continue };
        match verified.replay_id() {
            // Postmark sends several events of one mail, and tries its URL with an id of zeroes.
            Some(_) if vector.scheme == "postmark" => {}
            Some(id) => assert_eq!(parsed.dedupe_key, id, "{}", vector.name),
            None => assert!(parsed.dedupe_key.starts_with("sha256:"), "{}", vector.name),
        }
    }
}

#[test]
fn handshakes_are_answered_and_nothing_else_is() {
    for vector in accepted() {
        let (gate, request) = (vector.gate().unwrap(), vector.request().unwrap());
        let verified = vector.verify(&gate, &request).unwrap();
        let answer = gate.handshake(&verified);
        assert_eq!(answer.is_some(), vector.expected_response.is_some(), "{}", vector.name);
        if answer.is_some() {
            assert!(parse(&vector).quiet.is_some(), "{}: a handshake starts nothing", vector.name);
        }
    }
}

#[test]
fn sequences_are_new_or_repeated_as_recorded() {
    let all = vectors("http");
    let text = fs::read_to_string(folder("http").join("_sequences.json")).unwrap();
    let sequences: Vec<Sequence> = serde_json::from_str(&text).unwrap();
    assert!(!sequences.is_empty());
    for sequence in sequences {
        let reports = sequence.run(|name| all.iter().find(|vector| vector.name == name));
        for (step, report) in sequence.steps.iter().zip(reports) {
            assert_eq!(step.expect.as_deref(), Some(report.verdict), "{} {}", report.name, report.vector);
        }
    }
}

#[test]
fn a_report_says_where_it_disagrees() {
    let mut vector = super::named("twilio/sms");
    assert!(disagreements(&vector, &vector.run()).is_empty());
    vector.expected_fields.insert("text".to_owned(), json!("something else"));
    vector.expected_response =
        [("status".to_owned(), json!(202))].into_iter().collect::<serde_json::Map<String, Value>>().into();
    let found = disagreements(&vector, &vector.run());
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].contains("expected \"something else\"") && found[1].starts_with("response status: 200"),
        "{found:?}"
    );
    vector.expect = Some("reject".to_owned());
    assert!(disagreements(&vector, &vector.run())[0].starts_with("verdict: accept"));
    vector.body_base64 = "?".to_owned();
    assert_eq!((vector.run().verdict, vector.run().reason.as_str()), ("error", "broken_vector"));
    vector.scheme = "twillio".to_owned();
    vector.provider = String::new();
    vector.body_base64 = String::new();
    assert!(vector.run().detail.unwrap().contains("did you mean `twilio`?"));
}
