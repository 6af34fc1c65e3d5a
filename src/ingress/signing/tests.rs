use std::collections::BTreeMap;

use serde_json::json;

use super::{
    Carries, Draft, FileDraft, HookDraft, MailDraft, MailForm, PrivateKey, SignedRequest, SmsDraft, Stamp, can_carry,
    carries, sign,
};
use crate::{
    crypto::Secret,
    domain::{
        event::{Content, SenderAuth},
        source::{SignatureSpec, SourceSpec},
        time::Timestamp,
    },
    ingress::{Inbound, LabelledSecret, Parsed, gate::Gate, providers},
};

const URL: &str = "https://postern.example.com/in/it";
const NOW: Timestamp = Timestamp(1_795_000_000_000);
const UNIQUE: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// Private and public halves of the same keys, as OpenSSL writes them.
const ED25519: [&str; 2] = [
    include_str!("../../../tests/fixtures/keys/ed25519.key"),
    include_str!("../../../tests/fixtures/keys/ed25519.pub"),
];
const P256: [&str; 2] =
    [include_str!("../../../tests/fixtures/keys/p256.key"), include_str!("../../../tests/fixtures/keys/p256.pub")];
const P256_SEC1: &str = include_str!("../../../tests/fixtures/keys/p256-sec1.key");
const RSA: [&str; 2] =
    [include_str!("../../../tests/fixtures/keys/rsa.key"), include_str!("../../../tests/fixtures/keys/rsa.pub")];
const RSA_PKCS1: &str = include_str!("../../../tests/fixtures/keys/rsa-pkcs1.key");

fn spec(provider: &str) -> SourceSpec {
    // Nobody but Amazon has Amazon's key.
    SourceSpec { provider: provider.to_owned(), insecure: provider == "aws_sns", ..SourceSpec::default() }
}

/// A source's secret, and the private key that belongs to it.
fn keys(provider: &str) -> (Option<Secret>, Option<PrivateKey>) {
    let pair = |[private, public]: [&str; 2]| {
        (Some(Secret::new(public)), Some(PrivateKey::parse(&Secret::new(private)).unwrap()))
    };
    match provider {
        "aws_sns" => (None, None),
        "discord" | "telnyx" => pair(ED25519),
        "sendgrid" => pair(P256),
        // RFC 8032, section 7.1, test 1.
        "standard_webhooks_asym" => (
            Some(Secret::new("whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")),
            PrivateKey::parse(&Secret::new("whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")).ok(),
        ),
        _ => (Some(secret(provider)), None),
    }
}

fn secret(provider: &str) -> Secret {
    let is_standard = ["standard", "svix", "gitlab_signed", "raw_mail", "cloudflare_email"];
    let is_standard = is_standard.iter().any(|family| provider.starts_with(family));
    Secret::new(if is_standard { "whsec_MDEyMzQ1Njc4OWFiY2RlZg==" } else { "MDEyMzQ1Njc4OWFiY2RlZg==" })
}

fn stamp(secret: &Secret) -> Stamp<'_> {
    Stamp { url: URL, secret: Some(secret), key: None, now: NOW, unique: UNIQUE }
}

/// What a source makes of a request; an error is its code.
fn believe(spec: &SourceSpec, secret: &Secret, request: &SignedRequest) -> Result<Parsed, &'static str> {
    believed(spec, Some(secret), request)
}

fn believed(spec: &SourceSpec, secret: Option<&Secret>, request: &SignedRequest) -> Result<Parsed, &'static str> {
    let secrets = secret.map(|secret| LabelledSecret::new("main", secret.clone())).into_iter().collect();
    let gate = Gate::new(spec, URL, secrets).unwrap();
    let inbound = Inbound { method: "POST", url: URL, headers: &request.headers, body: &request.body };
    gate.early(&request.headers).map_err(|refused| refused.code)?;
    let verified = gate.verify(&inbound, NOW.plus_ms(1_000)).map_err(|refused| refused.code)?;
    Ok(gate.parse(&verified, NOW).unwrap())
}

fn draft(provider: &str) -> Draft {
    let [mail, sms, hook] = drafts();
    match carries(provider).unwrap() {
        Carries::Mail => mail,
        Carries::Sms => sms,
        Carries::Hooks => hook,
    }
}

fn drafts() -> [Draft; 3] {
    [
        Draft::Mail(MailDraft {
            from: "Ada <ada@example.com>".to_owned(),
            to: "inbox@agents.example.com".to_owned(),
            subject: "Größe".to_owned(),
            text: "Zahlen anbei.".to_owned(),
            ..MailDraft::default()
        }),
        Draft::Sms(SmsDraft {
            from: "+15550001".to_owned(),
            to: "+15550002".to_owned(),
            text: "When & where? ü".to_owned(),
        }),
        Draft::Hook(HookDraft { kind: Some("issues.opened".to_owned()), body: json!({"a": 1}) }),
    ]
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
    let mut made = 0;
    for provider in providers::names() {
        assert!(carries(provider).is_some(), "{provider}");
        let source = if provider == "hmac" { operators_own("{header:X-Time}.{body}") } else { spec(provider) };
        let (secret, key) = keys(provider);
        let stamp = Stamp { secret: secret.as_ref(), key: key.as_ref(), url: URL, now: NOW, unique: UNIQUE };
        for draft in drafts().iter().filter(|draft| can_carry(provider, draft)) {
            let request = sign(&source, draft, &stamp).unwrap_or_else(|fault| panic!("{provider}: {fault}"));
            let parsed =
                believed(&source, secret.as_ref(), &request).unwrap_or_else(|code| panic!("{provider}: {code}"));
            match draft {
                Draft::Mail(_) => {
                    let Content::Email(email) = &parsed.content else { panic!("{provider}: {:?}", parsed.content) };
                    assert_eq!(
                        (email.subject.as_str(), email.text.trim_end()),
                        ("Größe", "Zahlen anbei."),
                        "{provider}"
                    );
                    assert_eq!(email.envelope_to, ["inbox@agents.example.com"], "{provider}");
                    assert_eq!(email.envelope_from.as_deref(), Some("ada@example.com"), "{provider}");
                }
                Draft::Sms(_) => {
                    let Content::Sms(sms) = &parsed.content else { panic!("{provider}: {:?}", parsed.content) };
                    let said = [sms.from.as_str(), &sms.to, &sms.text].map(|text| text.trim_start_matches('+'));
                    assert_eq!(said, ["15550001", "15550002", "When & where? ü"], "{provider}");
                }
                Draft::Hook(_) => {
                    assert!(matches!(parsed.content, Content::Webhook(_)), "{provider}: {:?}", parsed.content);
                }
            }
            let is_report = carries(provider) != Some(Carries::Hooks) && matches!(draft, Draft::Hook(_));
            assert!(parsed.quiet.is_none() || is_report, "{provider}: {:?}", parsed.quiet);
            let again = believed(&source, secret.as_ref(), &request).unwrap();
            assert_eq!(parsed.dedupe_key, again.dedupe_key);
            if key.is_none() && secret.is_some() {
                let other = Secret::new("b3RoZXJvdGhlcm90aGVyb3RoZXI=");
                assert_eq!(believe(&source, &other, &request).err(), Some("bad_signature"), "{provider}");
            }
            made += 1;
        }
    }
    assert!(made > 48, "{made}");
}

#[test]
fn a_mail_arrives_with_its_files_and_its_thread_however_it_is_carried() {
    let file = |filename: &str| FileDraft {
        filename: filename.to_owned(),
        content_type: "text/csv".to_owned(),
        bytes: b"a,b\r\n1,2\r\n".to_vec(),
    };
    for provider in providers::names().into_iter().filter(|name| carries(name) == Some(Carries::Mail)) {
        for form in [MailForm::Parsed, MailForm::Raw] {
            let (secret, key) = keys(provider);
            let Draft::Mail(mail) = draft(provider) else { panic!("{provider} carries mail") };
            let in_reply_to = Some("<first@agents.example.com>".to_owned());
            let mail = MailDraft { files: vec![file("a.csv"), file("a \"b\".csv")], in_reply_to, form, ..mail };
            let stamp = Stamp { secret: secret.as_ref(), key: key.as_ref(), url: URL, now: NOW, unique: UNIQUE };
            let source = SourceSpec { authserv_id: Some("mx.example.net".to_owned()), ..spec(provider) };
            let request = sign(&source, &Draft::Mail(mail), &stamp).unwrap();
            let parsed = believed(&source, secret.as_ref(), &request).unwrap();
            let Content::Email(email) = &parsed.content else { panic!("{:?}", parsed.content) };
            assert_eq!(email.subject, "Größe", "{provider} {form:?}");
            let sender = parsed.sender.unwrap();
            assert_eq!((sender.address.as_str(), sender.name.as_deref()), ("ada@example.com", Some("Ada")));
            assert_eq!(sender.auth, SenderAuth::Verified, "{provider} {form:?}: {}", sender.auth_reason);
            assert_eq!(parsed.thread_key.as_deref(), Some("first@agents.example.com"), "{provider} {form:?}");
            assert_eq!(parsed.attachments.len(), 2, "{provider} {form:?}");
            assert_eq!(parsed.attachments[0].0.filename, "a.csv");
            assert_eq!(parsed.attachments[0].1, b"a,b\r\n1,2\r\n");
        }
    }
}

#[test]
fn an_operators_public_key_is_served_by_its_private_half() {
    for (algorithm, private, public) in [
        ("ed25519", ED25519[0], ED25519[1]),
        ("ecdsa", P256[0], P256[1]),
        ("ecdsa", P256_SEC1, P256[1]),
        ("rsa-sha256", RSA[0], RSA[1]),
        ("rsa-sha512", RSA_PKCS1, RSA[1]),
    ] {
        let mut source = operators_own("{header:X-Time}.{body}");
        source.signature.as_mut().unwrap().algorithm = algorithm.to_owned();
        let (public, key) = (Secret::new(public), PrivateKey::parse(&Secret::new(private)).unwrap());
        let request = sign(&source, &draft("hmac"), &Stamp { key: Some(&key), ..stamp(&public) }).unwrap();
        assert!(believe(&source, &public, &request).is_ok(), "{algorithm}");
        let fault = sign(&source, &draft("hmac"), &stamp(&public)).unwrap_err();
        assert!(fault.contains("`--key env:NAME`"), "{fault}");
        let other = Secret::new(if algorithm == "ecdsa" { ED25519[0] } else { P256[0] });
        let key = PrivateKey::parse(&other).unwrap();
        let fault = sign(&source, &draft("hmac"), &Stamp { key: Some(&key), ..stamp(&public) }).unwrap_err();
        assert!(fault.contains("which the source does not take"), "{fault}");
    }
    let mut source = operators_own("{body}");
    source.signature.as_mut().unwrap().timestamp_header = None;
    for (algorithm, from) in [("basic", None), ("token", Some("X-Token")), ("sha256", Some("X-Sig"))] {
        let own = source.signature.as_mut().unwrap();
        (own.algorithm, own.header) = (algorithm.to_owned(), from.unwrap_or_default().to_owned());
        own.prefix = String::new();
        let secret = secret("hmac");
        let request = sign(&source, &draft("hmac"), &stamp(&secret)).unwrap();
        assert!(believe(&source, &secret, &request).is_ok(), "{algorithm}");
    }
    let own = source.signature.as_mut().unwrap();
    (own.algorithm, own.header, own.encoding) = ("jwt".to_owned(), String::new(), "hex".to_owned());
    (own.id_header, own.body_hash_claim) = (None, Some("sum".to_owned()));
    own.claims = [("iss".to_owned(), "me".to_owned())].into();
    let secret = secret("hmac");
    let request = sign(&source, &draft("hmac"), &stamp(&secret)).unwrap();
    assert!(believe(&source, &secret, &request).is_ok());
    let own = source.signature.as_mut().unwrap();
    (own.claims, own.body_hash_claim) = (BTreeMap::new(), None);
    (own.algorithm, own.header, own.signed) = ("hash-md5".to_owned(), "X-Sum".to_owned(), "{body}{secret}".to_owned());
    let request = sign(&source, &draft("hmac"), &stamp(&secret)).unwrap();
    assert!(believe(&source, &secret, &request).is_ok());
    let method = [("signature_method".to_owned(), "md5hash".to_owned())];
    let vonage = SourceSpec { options: method.into(), ..spec("vonage_sms") };
    let request = sign(&vonage, &draft("vonage_sms"), &stamp(&secret)).unwrap();
    assert!(believe(&vonage, &secret, &request).is_ok());
    assert!(PrivateKey::parse(&Secret::new("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----")).is_err());
    assert!(PrivateKey::parse(&Secret::new(ED25519[1])).is_err(), "a public key is none");
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
    let amazon = SourceSpec { insecure: false, ..spec("aws_sns") };
    let fault = sign(&amazon, &draft("mailgun"), &Stamp { secret: None, ..stamp(&public) }).unwrap_err();
    assert!(fault.contains("its own certificate") && fault.contains("`raw_mail`"), "{fault}");
    let (other, key) = (Secret::new("11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="), keys("telnyx").1);
    let fault = sign(&spec("telnyx"), &draft("telnyx"), &Stamp { key: key.as_ref(), ..stamp(&other) }).unwrap_err();
    assert_eq!(fault, "`--key` is not the private half of the source's public key");
}
