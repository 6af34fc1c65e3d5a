//! `send`: what it signs, a running server believes.

use std::fs;

use serde_json::Value;

use super::{Project, output, text};

const SOURCES: &str = r#"
[sources.parse]
provider = "sendgrid"
secret = { file = "keys/p256.pub" }
[sources.password]
provider = "sendgrid_inbound"
secret = { env = "GITHUB_WEBHOOK_SECRET" }
[sources.postmark]
provider = "postmark"
secret = { env = "GITHUB_WEBHOOK_SECRET" }
[sources.mta]
provider = "raw_mail"
secret = { file = "keys/whsec" }
[sources.cloudflare]
provider = "cloudflare_email"
secret = { file = "keys/whsec" }
[sources.ses]
provider = "aws_sns"
insecure = true
[sources.amazon]
provider = "aws_sns"
options = { topic_arn = "arn:aws:sns:eu-west-1:123456789012:mail" }
[sources.telnyx]
provider = "telnyx"
secret = { file = "keys/other.pub" }
secrets = [{ file = "keys/ed25519.pub" }]
[sources.vonage]
provider = "vonage"
secret = { env = "GITHUB_WEBHOOK_SECRET" }
[sources.nexmo]
provider = "vonage_sms"
secret = { env = "GITHUB_WEBHOOK_SECRET" }
[sources.plivo]
provider = "plivo"
secret = { env = "GITHUB_WEBHOOK_SECRET" }
[sources.discord]
provider = "discord"
secret = { file = "keys/ed25519.pub" }
[sources.own]
provider = "hmac"
secret = { file = "keys/rsa.pub" }
signature = { header = "X-Sig", algorithm = "rsa-sha256", encoding = "base64" }
"#;

fn project() -> Project {
    let project = Project::new();
    let keys = project.dir.join("keys");
    fs::create_dir(&keys).unwrap();
    for (name, content) in [
        ("ed25519.key", include_str!("../../fixtures/keys/ed25519.key")),
        ("ed25519.pub", include_str!("../../fixtures/keys/ed25519.pub")),
        ("p256.key", include_str!("../../fixtures/keys/p256.key")),
        ("p256.pub", include_str!("../../fixtures/keys/p256.pub")),
        ("rsa.key", include_str!("../../fixtures/keys/rsa.key")),
        ("rsa.pub", include_str!("../../fixtures/keys/rsa.pub")),
        ("other.pub", "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="),
        ("whsec", "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="),
    ] {
        fs::write(keys.join(name), content).unwrap();
    }
    let path = project.dir.join("postern.toml");
    fs::write(&path, fs::read_to_string(&path).unwrap() + SOURCES).unwrap();
    project
}

const MAIL: [&str; 8] =
    ["email", "--from", "Dana <dana@example.com>", "--to", "in@agents.example.com", "--text", "Hi", "--subject=Hello"];
const SMS: [&str; 7] = ["sms", "--from", "+15550007", "--to", "+15550100", "--text", "Hi"];
const HOOK: [&str; 3] = ["webhook", "--body", r#"{"a":1}"#];

#[test]
fn every_kind_of_source_believes_what_is_sent_to_it() {
    let project = project();
    let up = project.up();
    let (p256, ed25519) = ("--key=file:keys/p256.key", "--key=file:keys/ed25519.key");
    for (what, source, more) in [
        (&MAIL[..], "mail", &["--raw"][..]),
        (&MAIL, "parse", &[p256]),
        (&MAIL, "parse", &[p256, "--raw"]),
        (&MAIL, "password", &[]),
        (&MAIL, "postmark", &["--raw"]),
        (&MAIL, "mta", &[]),
        (&MAIL, "cloudflare", &[]),
        (&MAIL, "ses", &[]),
        (&SMS, "telnyx", &[ed25519]),
        (&SMS, "vonage", &[]),
        (&SMS, "nexmo", &[]),
        (&SMS, "plivo", &[]),
        (&HOOK, "parse", &[p256]),
        (&HOOK, "mail", &[]),
        (&HOOK, "sms", &[]),
        (&HOOK, "discord", &[ed25519]),
        (&HOOK, "own", &["--key=file:keys/rsa.key"]),
    ] {
        let source = format!("--source={source}");
        let arguments = [&["send"], what, &[source.as_str()], more].concat();
        let status = up.json(&project, &arguments)["status"].as_i64().unwrap();
        assert!((200..300).contains(&status), "{arguments:?}: {status}");
    }
    let events = up.json(&project, &["events", "list", "--limit", "50"]);
    let kinds: Vec<&str> =
        events["items"].as_array().unwrap().iter().filter_map(|event| event["kind"].as_str()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "email").count(), 8, "{kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| **kind == "sms").count(), 4, "{kinds:?}");
}

#[test]
fn what_cannot_be_signed_says_why_and_what_to_do_instead() {
    let project = project();
    let up = project.up();
    let fails = |arguments: &[&str]| {
        let done = output(up.client(&mut project.postern(&[&["send"], arguments].concat())));
        assert_eq!(done.status.code(), Some(1), "{arguments:?}: {done:?}");
        text(&done.stderr)
    };
    let with = |what: &[&'static str], more: &[&'static str]| fails(&[what, more].concat());
    assert!(with(&SMS, &["--source", "telnyx"]).contains("put its public half among the source's `secrets`"));
    let fault = with(&SMS, &["--source", "telnyx", "--key", "file:keys/rsa.key"]);
    assert!(fault.contains("the key is one for RSA"), "{fault}");
    assert!(with(&MAIL, &["--source", "amazon"]).contains("send the mail to a `raw_mail` source"));
    assert!(
        with(&MAIL, &["--source", "github"]).contains("no source `github` carries that; there is: amazon, cloudflare")
    );
    assert!(with(&MAIL, &[]).contains("several sources would do"));
    assert!(with(&HOOK, &["--source", "discord", "--key", "file:keys/whsec"]).contains("--key: is no private key"));
    let typed = output(&mut project.postern(&["send", "webhook", "--key", "9d61b19deffd5a60"]));
    assert_eq!(typed.status.code(), Some(2));
    assert!(text(&typed.stderr).contains("env:NAME or file:PATH"), "{typed:?}");
    let events: Value = up.json(&project, &["events", "list"]);
    assert!(events["items"].as_array().unwrap().is_empty(), "nothing was sent: {events}");
}
