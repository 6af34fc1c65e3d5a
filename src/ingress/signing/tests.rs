use std::collections::BTreeMap;

use serde_json::json;

use super::{Carries, Draft, FileDraft, HookDraft, MailDraft, SignedRequest, SmsDraft, Stamp, carries, sign};
use crate::{
    crypto::Secret,
    domain::{
        event::Content,
        source::{SignatureSpec, SourceSpec},
        time::Timestamp,
    },
    ingress::{Inbound, LabelledSecret, Parsed, gate::Gate, providers},
};

const URL: &str = "https://postern.example.com/in/it";
const NOW: Timestamp = Timestamp(1_795_000_000_000);
const UNIQUE: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn spec(provider: &str) -> SourceSpec {
    SourceSpec { provider: provider.to_owned(), ..SourceSpec::default() }
}

fn secret(provider: &str) -> Secret {
    let is_standard = ["standard", "svix", "gitlab_signed"].iter().any(|family| provider.starts_with(family));
    Secret::new(if is_standard { "whsec_MDEyMzQ1Njc4OWFiY2RlZg==" } else { "MDEyMzQ1Njc4OWFiY2RlZg==" })
}

fn stamp(secret: &Secret) -> Stamp<'_> {
    Stamp { url: URL, secret: Some(secret), now: NOW, unique: UNIQUE }
}

/// What a source makes of a request; an error is its code.
fn believe(spec: &SourceSpec, secret: &Secret, request: &SignedRequest) -> Result<Parsed, &'static str> {
    let secrets = vec![LabelledSecret::new("main", secret.clone())];
    let gate = Gate::new(spec, URL, secrets).unwrap();
    let inbound = Inbound { method: "POST", url: URL, headers: &request.headers, body: &request.body };
    gate.early(&request.headers).map_err(|refused| refused.code)?;
    let verified = gate.verify(&inbound, NOW.plus_ms(1_000)).map_err(|refused| refused.code)?;
    Ok(gate.parse(&verified, NOW).unwrap())
}

fn draft(provider: &str) -> Draft {
    match carries(provider).unwrap() {
        Carries::Mail => Draft::Mail(MailDraft {
            from: "Ada <ada@example.com>".to_owned(),
            to: "inbox@agents.example.com".to_owned(),
            subject: "Größe".to_owned(),
            text: "Zahlen anbei.".to_owned(),
            ..MailDraft::default()
        }),
        Carries::Sms => Draft::Sms(SmsDraft {
            from: "+15550001".to_owned(),
            to: "+15550002".to_owned(),
            text: "When & where? ü".to_owned(),
        }),
        Carries::Hooks => Draft::Hook(HookDraft { kind: Some("issues.opened".to_owned()), body: json!({"a": 1}) }),
    }
}

fn operators_own(signed: &str) -> SourceSpec {
    let signature = SignatureSpec {
        header: "X-Sig".to_owned(),
        algorithm: "sha512".to_owned(),
        encoding: "base64url".to_owned(),
        prefix: "v=".to_owned(),
        key: "base64".to_owned(),
        signed: signed.to_owned(),
        timestamp_header: Some("X-Time".to_owned()),
        id_header: Some("X-Id".to_owned()),
        event_header: Some("X-Event".to_owned()),
        ..SignatureSpec::default()
    };
    SourceSpec { signature: Some(signature), ..spec("hmac") }
}

#[test]
fn every_provider_believes_what_is_signed_for_it() {
    for provider in providers::names().into_iter().filter(|name| carries(name).is_some()) {
        let source = if provider == "hmac" { operators_own("{header:X-Time}.{body}") } else { spec(provider) };
        let secret = secret(provider);
        let request = sign(&source, &draft(provider), &stamp(&secret)).unwrap();
        let parsed = believe(&source, &secret, &request).unwrap_or_else(|code| panic!("{provider}: {code}"));
        assert!(parsed.quiet.is_none(), "{provider}");
        let again = believe(&source, &secret, &request).unwrap();
        assert_eq!(parsed.dedupe_key, again.dedupe_key);
        let other = Secret::new("b3RoZXJvdGhlcm90aGVyb3RoZXI=");
        assert_eq!(believe(&source, &other, &request).err(), Some("bad_signature"), "{provider}");
    }
}

#[test]
fn a_mail_arrives_with_its_files_and_its_thread() {
    let secret = secret("mailgun");
    let file = |filename: &str| FileDraft {
        filename: filename.to_owned(),
        content_type: "text/csv".to_owned(),
        bytes: b"a,b\r\n1,2\r\n".to_vec(),
    };
    let Draft::Mail(mail) = draft("mailgun") else { panic!("mailgun carries mail") };
    let in_reply_to = Some("<first@agents.example.com>".to_owned());
    let mail = MailDraft { files: vec![file("a.csv"), file("a \"b\".csv")], in_reply_to, ..mail };
    let request = sign(&spec("mailgun"), &Draft::Mail(mail), &stamp(&secret)).unwrap();
    let parsed = believe(&spec("mailgun"), &secret, &request).unwrap();
    let Content::Email(email) = &parsed.content else { panic!("{:?}", parsed.content) };
    assert_eq!(email.subject, "Größe");
    assert_eq!(parsed.sender.unwrap().address, "ada@example.com");
    assert_eq!(parsed.thread_key.as_deref(), Some("first@agents.example.com"));
    assert_eq!(parsed.attachments.len(), 2);
    assert_eq!(parsed.attachments[0].0.filename, "a.csv");
    assert_eq!(parsed.attachments[0].1, b"a,b\r\n1,2\r\n");
}

#[test]
fn an_operators_scheme_may_ask_for_any_header() {
    let secret = secret("hmac");
    for signed in ["{body}{header:X-Time}", "{method} {url}\n{header:X-Nonce}{header:x-time}{body}"] {
        let mut source = operators_own(signed);
        source.options = BTreeMap::new();
        if signed.contains("x-time") {
            source.signature.as_mut().unwrap().timestamp_header = None;
        }
        let request = sign(&source, &draft("hmac"), &stamp(&secret)).unwrap();
        let parsed = believe(&source, &secret, &request).unwrap();
        assert_eq!((parsed.kind.as_str(), parsed.dedupe_key.as_str()), ("issues.opened", UNIQUE));
    }
}

#[test]
fn what_cannot_be_signed_says_why() {
    let public = Secret::new("whpk_MDEyMzQ1Njc4OWFiY2RlZg==");
    let fault = sign(&spec("standard"), &draft("standard"), &stamp(&public)).unwrap_err();
    assert!(fault.contains("public key"), "{fault}");
    let fault = sign(&spec("github"), &draft("twilio"), &stamp(&public)).unwrap_err();
    assert_eq!(fault, "provider `github` carries no text messages");
}
