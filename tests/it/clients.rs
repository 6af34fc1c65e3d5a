//! Providers' own libraries against the real program: they sign requests, and it answers as each provider expects.
//! `POSTERN_TEST_CLIENTS` is where the libraries are.

use std::{
    fs::File,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use data_encoding::BASE64;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

use crate::support::{
    e2e_client::Api,
    e2e_process::Gateway,
    e2e_project::{Engine, TestProject},
    e2e_senders::secret,
};

/// Provider and source, the variable of its secret, and the answers to: a request, the same with a changed body or
/// signed with another secret, one of old time (none: the scheme has no time).
const SOURCES: [(&str, &str, u16, u16, Option<u16>); 7] = [
    ("twilio", "SMS_TOKEN", 200, 403, None),
    ("stripe", "STRIPE_SECRET", 200, 400, Some(400)),
    ("slack", "SLACK_SECRET", 200, 401, Some(401)),
    ("svix", "STANDARD_SECRET", 202, 401, Some(400)),
    ("standard", "STANDARD_SECRET", 202, 401, Some(400)),
    ("sendgrid", "SENDGRID_KEY", 200, 403, Some(403)),
    ("github", "GITHUB_SECRET", 202, 401, None),
];

/// DER of a P-256 public key up to its point (RFC 5480).
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn libraries_of_providers_sign_and_hear_what_each_provider_expects() {
    let (private, public) = sendgrid_keys();
    let mut project = TestProject::new(Engine::Sqlite).await;
    project.set("SENDGRID_KEY", &public);
    let mut settings = File::options().append(true).open(project.path().join("postern.toml")).unwrap();
    let mut triggers = String::from("triggers:");
    for (source, variable, ..) in SOURCES {
        triggers.push_str(&format!("\n- {{source: {source}}}"));
        if ["twilio", "svix", "sendgrid"].contains(&source) {
            let table = format!("[sources.{source}]\nprovider = \"{source}\"\nsecret = {{ env = \"{variable}\" }}\n");
            settings.write_all(table.as_bytes()).unwrap();
        }
    }
    project.agent("echo", "cat > /dev/null", &triggers);
    let gateway = Gateway::start(&project, "up", "up");
    let api = Api { address: gateway.address().await, key: gateway.key().await };
    let secrets: serde_json::Map<String, Value> = SOURCES
        .iter()
        .map(|(source, variable, ..)| {
            let value = if *source == "sendgrid" { private.as_str() } else { secret(variable) };
            ((*source).to_owned(), json!(value))
        })
        .collect();
    let lines = run_clients(&json!({"address": api.address.to_string(), "secrets": secrets}));
    let mut lines = lines.iter();
    for (source, _, accepted, refused, old) in SOURCES {
        let mut next = |what: &str, believed: bool, status: u16| {
            let line = lines.next().unwrap_or_else(|| panic!("no line for {source} {what}"));
            assert_eq!((&line["client"], &line["what"]), (&json!(source), &json!(what)));
            assert_eq!(line["believed"], json!(believed), "the library itself: {line}");
            assert_eq!(line["status"], json!(status), "{line}\n{}", gateway.log());
            line["body"].as_str().unwrap().to_owned()
        };
        let (first, again) = (next("valid", true, accepted), next("again", true, 200));
        answers_are_of_one_event(source, &first, &again);
        next("changed", false, refused);
        next("wrong_secret", false, refused);
        // SendGrid's library leaves time to its caller.
        old.map(|status| next("old", source == "sendgrid", status));
    }
    assert_eq!(lines.next(), None);
    let events = api.all("/v1/events").await;
    assert_eq!(events.len(), SOURCES.len(), "one of each, and nothing of what was refused: {events:?}");
}

fn answers_are_of_one_event(source: &str, first: &str, again: &str) {
    match source {
        "twilio" => assert_eq!((first, again), ("<Response></Response>", "<Response></Response>")),
        "slack" => assert_eq!((first, again), ("", "")),
        _ => {
            let first: Value = serde_json::from_str(first).unwrap();
            let again: Value = serde_json::from_str(again).unwrap();
            // SendGrid's events report on mails that were sent, and start nothing.
            let (status, runs) = if source == "sendgrid" { ("ignored", 0) } else { ("accepted", 1) };
            assert_eq!((&first["status"], &again["status"]), (&json!(status), &json!("duplicate")), "{source}");
            assert_eq!((&first["event"], &first["runs"]), (&again["event"], &again["runs"]), "{source}");
            assert_eq!(first["runs"].as_array().map_or(0, Vec::len), runs, "{source}: {first}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_worker_for_cloudflare_hands_mail_over_with_its_envelope_signed() {
    let project = TestProject::new(Engine::Sqlite).await;
    let mut settings = File::options().append(true).open(project.path().join("postern.toml")).unwrap();
    let source = "[sources.worker]\nprovider = \"cloudflare_email\"\nsecret = { env = \"STANDARD_SECRET\" }\n";
    settings.write_all(source.as_bytes()).unwrap();
    project.agent("echo", "cat > /dev/null", "triggers:\n- {source: worker, from: ['*'], sender_auth: any}");
    let gateway = Gateway::start(&project, "up", "up");
    let api = Api { address: gateway.address().await, key: gateway.key().await };
    let copy = project.path().join("worker.mjs");
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/cloudflare-email-worker.js"), &copy).unwrap();
    let mail = |from: &str, to: &str, raw: &str| json!({"from": from, "to": to, "raw": raw});
    let raw = "From: dana@example.com\r\nTo: list@example.com\r\nSubject: Hi\r\n\r\nHello\r\n";
    let deep = format!(
        "From: a@example.com\r\n{}\r\n",
        "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n".repeat(900)
    );
    let mails = [
        mail("bounce@example.com", "in@agents.example", raw),
        mail("bounce@example.com", "in@agents.example", raw),
        mail("", "größe@agents.example", raw),
        mail("bounce@example.com", "in@agents.example", &deep),
    ];
    let env =
        |secret: &str| json!({"POSTERN_URL": format!("http://{}/in/worker", api.address), "POSTERN_SECRET": secret});
    let ends = run_worker(&copy, &json!({"env": env(secret("STANDARD_SECRET")), "mails": mails}));
    let taken = json!({"rejected": null, "thrown": null});
    assert_eq!(ends, [taken.clone(), taken.clone(), taken, json!({"rejected": "Message refused", "thrown": null})]);
    let refused = run_worker(&copy, &json!({"env": env("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAA"), "mails": &mails[..1]}));
    assert_eq!(refused, [json!({"rejected": null, "thrown": "postern answered 401"})]);
    let events = api.all("/v1/events").await;
    let mut envelopes = Vec::new();
    for event in events.iter().filter(|event| event["kind"] == "email") {
        let shown = api.get(&format!("/v1/events/{}", event["id"].as_str().unwrap())).await;
        envelopes
            .push(json!([shown["event"]["mail"]["envelope_from"], shown["event"]["mail"]["envelope_to"]]).to_string());
    }
    envelopes.sort();
    let expected = [json!(["", ["größe@agents.example"]]), json!(["bounce@example.com", ["in@agents.example"]])];
    assert_eq!(envelopes, expected.map(|envelope| envelope.to_string()));
}

#[expect(clippy::disallowed_methods, reason = "the worker runs in Node, as it does at Cloudflare")]
fn run_worker(worker: &Path, input: &Value) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/worker.mjs");
    node(Command::new("node").arg(script).arg(worker), input)
}

/// A new key: PKCS#8, and its public half as SendGrid shows it.
fn sendgrid_keys() -> (String, String) {
    let random = ring::rand::SystemRandom::new();
    let private = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, private.as_ref(), &random).unwrap();
    let public = [&P256_SPKI, pair.public_key().as_ref()].concat();
    (BASE64.encode(private.as_ref()), BASE64.encode(&public))
}

#[expect(clippy::disallowed_methods, reason = "the libraries run in Node; the test command says where they are")]
fn run_clients(input: &Value) -> Vec<Value> {
    let libraries = std::env::var("POSTERN_TEST_CLIENTS")
        .expect("POSTERN_TEST_CLIENTS names no libraries: run the tests with scripts/with-services");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/sign.mjs");
    node(Command::new("node").arg(script).env("POSTERN_TEST_CLIENTS", libraries), input)
}

fn node(command: &mut Command, input: &Value) -> Vec<Value> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("node does not start: run the tests with scripts/with-services");
    child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
