//! Why requests are refused, as an operator is told: each common mishap is made and must be named.

use postern::{
    crypto::Secret,
    domain::{source::SourceSpec, time::Timestamp},
    ingress::{
        LabelledSecret,
        explain::{Case, Explanation, Reveal},
        signing::{self, Draft, HookDraft, SmsDraft, Stamp},
        vectors::Request,
    },
};
use serde_json::json;

const URL: &str = "https://hooks.example/in/x";
const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZg==";
const NOW: Timestamp = Timestamp(1_795_000_000_000);

fn spec(provider: &str) -> SourceSpec {
    SourceSpec { provider: provider.to_owned(), ..SourceSpec::default() }
}

/// A right request.
fn signed(provider: &str, secret: &str) -> Request {
    let unique = "0123456789abcdef".repeat(4);
    let secret = Secret::new(secret);
    let stamp = Stamp { url: URL, secret: Some(&secret), key: None, now: NOW, unique: &unique };
    let hook = HookDraft { kind: Some("push".to_owned()), body: json!({ "b": [1, 2], "a": "ü/x" }) };
    let sms = SmsDraft { from: "+15550001".to_owned(), to: "+15550002".to_owned(), text: "hi".to_owned() };
    let draft = if provider == "twilio" { Draft::Sms(sms) } else { Draft::Hook(hook) };
    let made = signing::sign(&spec(provider), &draft, &stamp).unwrap();
    Request { method: "POST".to_owned(), url: URL.to_owned(), headers: made.headers, body: made.body, now: NOW }
}

fn explain(provider: &str, url: &str, secrets: &[LabelledSecret], request: &Request, reveal: Reveal) -> Explanation {
    let spec = spec(provider);
    Case { spec: &spec, public_url: url, secrets, request, key: None }.explain(reveal).unwrap()
}

fn labelled(secret: &str) -> Vec<LabelledSecret> {
    vec![LabelledSecret::new("main", Secret::new(secret))]
}

/// The cause's code and words.
fn cause(provider: &str, secret: &str, request: &Request) -> (String, String) {
    let found = explain(provider, URL, &labelled(secret), request, Reveal::Signatures);
    assert_eq!(found.verdict, "reject");
    let cause = found.cause.unwrap();
    (cause.code.to_owned(), cause.text)
}

fn header<'r>(request: &'r mut Request, name: &str) -> &'r mut Vec<u8> {
    &mut request.headers.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)).unwrap().1
}

#[test]
fn a_right_request_names_its_secret() {
    let secrets = [labelled("another-secret"), labelled(SECRET)].concat();
    let found = explain("github", URL, &secrets, &signed("github", SECRET), Reveal::Signatures);
    assert_eq!((found.verdict, found.secret.as_deref(), found.cause), ("accept", Some("main"), None));
    assert_eq!(found.secrets.iter().map(|secret| secret.matches).collect::<Vec<_>>(), [true, true]);
    assert_eq!(found.algorithm, "HMAC-SHA256");
    assert!(found.signed[0].starts_with("{\\\"") && found.signed_bytes > 0, "{:?}", found.signed);
}

#[test]
fn bodies_that_were_written_again_are_known() {
    let right = signed("github", SECRET);
    let text = String::from_utf8(right.body.clone()).unwrap();
    let pretty = serde_json::to_string_pretty(&serde_json::from_str::<serde_json::Value>(&text).unwrap()).unwrap();
    for (changed, words) in [
        (pretty, "JSON was written again"),
        (text.replace('ü', "\\u00fc"), "JSON was written again"),
        (format!("{text}\n"), "white space at its end"),
        (format!("\u{feff}{text}"), "byte order mark"),
    ] {
        let request = Request { body: changed.clone().into_bytes(), ..right.clone() };
        let (code, told) = cause("github", SECRET, &request);
        assert!(code == "body_changed" && told.contains(words), "{changed}: {told}");
    }
}

#[test]
fn secrets_in_another_form_are_known() {
    for (provider, used, kept, words) in [
        ("github", SECRET, "MDEyMzQ1Njc4OWFiY2RlZg==", "with the prefix `whsec_`"),
        ("github", "0123456789abcdef", SECRET, "decoded bytes"),
        ("github", "0123456789abcdef", "0123456789abcdef\n", "remove them"),
        ("standard", SECRET, "0123456789abcdef", "base64"),
    ] {
        let found = cause(provider, kept, &signed(provider, used));
        assert!(found.0 == "secret_form" && found.1.contains(words), "{provider} {kept}: {found:?}");
    }
    let over = LabelledSecret { until: Some(Timestamp(0)), ..LabelledSecret::new("old", Secret::new(SECRET)) };
    let secrets = [labelled("another-secret"), vec![over]].concat();
    let found = explain("github", URL, &secrets, &signed("github", SECRET), Reveal::Nothing).cause.unwrap();
    assert!(found.code == "secret_expired" && found.text.contains("`old`"), "{found:?}");
}

#[test]
fn other_urls_clocks_schemes_and_writings_are_known() {
    let sms = signed("twilio", SECRET);
    for url in ["http://hooks.example/in/x", "https://hooks.example/in/x/", "https://www.hooks.example/in/x"] {
        let request = Request { url: url.to_owned(), ..sms.clone() };
        let found = explain("twilio", url, &labelled(SECRET), &request, Reveal::Nothing).cause.unwrap();
        assert!(found.code == "url_differs" && found.text.contains(&format!("`{URL}`")), "{url}: {found:?}");
    }
    let late = Request { now: NOW.plus_ms(3_600_000), ..signed("slack", SECRET) };
    let found = cause("slack", SECRET, &late);
    assert!(found.0 == "clock" && found.1.contains("1h old"), "{found:?}");
    let early = Request { now: NOW.plus_ms(-3_600_000), ..signed("slack", SECRET) };
    assert!(cause("slack", SECRET, &early).1.contains("1h ahead"));
    assert!(cause("jira", SECRET, &signed("github", SECRET)).1.contains("`github`"));
    let mut upper = signed("github", SECRET);
    *header(&mut upper, "x-hub-signature-256") = header(&mut upper, "x-hub-signature-256").to_ascii_uppercase();
    let value = String::from_utf8(header(&mut upper, "x-hub-signature-256").clone()).unwrap();
    *header(&mut upper, "x-hub-signature-256") = value.replace("SHA256", "sha256").into_bytes();
    assert!(cause("github", SECRET, &upper).1.contains("upper case"));
    let mut cut = signed("github", SECRET);
    header(&mut cut, "x-hub-signature-256").truncate(50);
    assert_eq!(cause("github", SECRET, &cut).0, "signature_cut");
    let mut none = signed("github", SECRET);
    none.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("x-hub-signature-256"));
    assert!(cause("github", SECRET, &none).1.contains("header X-Hub-Signature-256"));
    assert_eq!(cause("github", "another-secret", &signed("github", SECRET)).0, "not_found");
}

#[test]
fn right_signatures_are_shown_to_operators_only() {
    let request = Request { body: b"{\"forged\":true}".to_vec(), ..signed("github", SECRET) };
    let shown = |reveal| serde_json::to_string(&explain("github", URL, &labelled(SECRET), &request, reveal)).unwrap();
    assert!(shown(Reveal::Signatures).contains("expected"));
    let kept = shown(Reveal::Nothing);
    assert!(!kept.contains("expected") && !kept.contains("first_difference") && !kept.contains(SECRET), "{kept}");
    // A sent token is a secret.
    let bearer = signed("bearer", SECRET);
    let found = serde_json::to_string(&explain("bearer", URL, &labelled(SECRET), &bearer, Reveal::Signatures)).unwrap();
    assert!(!found.contains(SECRET) && !found.contains("6d44457"), "{found}");
}
