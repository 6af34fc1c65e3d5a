//! What a request's body becomes: JSON, forms, text, XML, CloudEvents, and what a schema refuses.

use postern::{
    domain::{
        event::{Body, Content, Webhook},
        source::SourceSpec,
        time::Timestamp,
    },
    ingress::{ParseFault, Parsed, gate::Gate, vectors::Request},
};
use serde_json::{Value, json};

fn parse(spec: &SourceSpec, headers: &[(&str, &str)], body: &[u8]) -> Result<Parsed, ParseFault> {
    let gate = Gate::new(&SourceSpec { insecure: true, ..spec.clone() }, "https://h.example/in/x", Vec::new()).unwrap();
    let request = Request {
        method: "POST".to_owned(),
        url: "https://h.example/in/x?a=1&b=%C3%A9&a=2".to_owned(),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect(),
        body: body.to_vec(),
        now: Timestamp(0),
    };
    let verified = gate.verify(&request.inbound(), request.now).unwrap();
    gate.parse(&verified, request.now)
}

fn hook(provider: &str, headers: &[(&str, &str)], body: &[u8]) -> Webhook {
    let spec = SourceSpec { provider: provider.to_owned(), ..SourceSpec::default() };
    let Content::Webhook(hook) = parse(&spec, headers, body).unwrap().content else { panic!("no webhook") };
    hook
}

#[test]
fn a_body_is_what_its_media_type_says() {
    let body = |kind: &str, bytes: &[u8]| hook("bearer", &[("Content-Type", kind)], bytes).body;
    assert_eq!(
        body("application/json", b"{\"n\":12345678901234567890123}").view(),
        json!({"n": "12345678901234567890123"})
    );
    assert_eq!(body("application/vnd.x+json", b"[1]"), Body::Json(json!([1])));
    assert_eq!(body("application/x-www-form-urlencoded", b"b=1&a=2&b=3").view(), json!({"a": "2", "b": ["1", "3"]}));
    let Body::Form(fields) = body("application/x-www-form-urlencoded", b"b=1&a=2&b=3") else { panic!("no form") };
    assert_eq!(fields.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["b", "a", "b"]);
    assert_eq!(body("text/plain", b"{\"a\":1}"), Body::Text("{\"a\":1}".to_owned()));
    assert_eq!(body("application/octet-stream", b"\xff\x00"), Body::Binary { size: 2 });
    assert_eq!(body("application/json", b""), Body::Empty);
}

#[test]
fn xml_is_text_in_whatever_character_set() {
    let body = |kind: &str, bytes: &[u8]| hook("bearer", &[("Content-Type", kind)], bytes).body;
    let latin = b"<?xml version='1.0' encoding='ISO-8859-1'?><a>\xfc</a>";
    let Body::Text(text) = body("application/xml", latin) else { panic!("no text") };
    assert!(text.ends_with("<a>\u{fc}</a>"), "{text}");
    assert_eq!(body("text/xml; charset=iso-8859-1", b"<a>\xfc</a>"), Body::Text("<a>\u{fc}</a>".to_owned()));
    assert_eq!(
        body("application/soap+xml; charset=\"UTF-8\"", "<a>ü</a>".as_bytes()),
        Body::Text("<a>ü</a>".to_owned())
    );
    assert_eq!(body("text/plain; charset=windows-1252", b"\x80"), Body::Text("\u{20ac}".to_owned()));
}

#[test]
fn what_a_schema_refuses_is_no_event() {
    let schema: Value = json!({ "type": "object", "required": ["id"], "properties": { "id": { "type": "string" } } });
    let spec = |provider: &str| SourceSpec {
        provider: provider.to_owned(),
        schema: Some(serde_json::from_value(schema.clone()).unwrap()),
        ..SourceSpec::default()
    };
    let json_type = ("Content-Type", "application/json");
    assert!(parse(&spec("bearer"), &[json_type], br#"{"id":"a"}"#).is_ok());
    assert!(parse(&spec("bearer"), &[("Content-Type", "application/x-www-form-urlencoded")], b"id=a").is_ok());
    let fault = parse(&spec("bearer"), &[json_type], br#"{"id":987654}"#).unwrap_err();
    assert_eq!(fault.code, "schema_mismatch");
    assert!(fault.detail.starts_with("/id: ") && !fault.detail.contains("987654"), "{fault}");
    assert_eq!(parse(&spec("bearer"), &[json_type], b"[]").unwrap_err().code, "schema_mismatch");
    // A ping is nothing that a schema was written for.
    assert!(parse(&spec("github"), &[json_type, ("X-GitHub-Event", "ping")], b"{}").is_ok());
    assert!(parse(&spec("github"), &[json_type, ("X-GitHub-Event", "push")], b"{}").is_err());
}
