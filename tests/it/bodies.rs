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
fn a_cloud_event_is_the_same_in_every_mode() {
    let structured = hook(
        "cloudevents",
        &[("Content-Type", "application/cloudevents+json; charset=utf-8")],
        br#"{"specversion":"1.0","id":"A1","source":"/s","type":"t.x","subject":"Euro \u20ac","datacontenttype":"application/json","data":{"n":1}}"#,
    );
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", "A1"),
        ("ce-source", "/s"),
        ("ce-type", "t.x"),
        ("ce-subject", "Euro%20%E2%82%AC"),
        ("Content-Type", "application/json"),
    ];
    let binary = hook("cloudevents", &headers, br#"{"n":1}"#);
    assert_eq!(binary.body.view(), structured.body.view());
    // The raw request has only the data: what is put together is stored as it is.
    assert!(matches!(binary.body, Body::Assembled(_)));
    let picture = hook("cloudevents", &[&headers[..5], &[("Content-Type", "image/png")]].concat(), b"\x89\xff");
    assert_eq!(picture.body.view()["data_base64"], "if8=");
}

#[test]
fn a_batch_of_cloud_events_is_one_event_with_a_list() {
    let spec = SourceSpec { provider: "cloudevents".to_owned(), ..SourceSpec::default() };
    let kind = [("Content-Type", "application/cloudevents-batch+json")];
    let item = |id: &str| json!({"specversion": "1.0", "id": id, "source": "/s", "type": "t", "data": 1});
    let batch = parse(&spec, &kind, json!([item("1"), item("2")]).to_string().as_bytes()).unwrap();
    let again = parse(&spec, &kind, format!(" {}", json!([item("1"), item("2")])).as_bytes()).unwrap();
    let other = parse(&spec, &kind, json!([item("1"), item("3")]).to_string().as_bytes()).unwrap();
    assert_eq!((batch.kind.as_str(), &batch.dedupe_key), ("cloudevents.batch", &again.dedupe_key));
    assert_ne!(batch.dedupe_key, other.dedupe_key);
    let Content::Webhook(hook) = batch.content else { panic!("no webhook") };
    assert_eq!(hook.body.view()[1]["id"], "2");
    for (kind, body, code) in [
        ("application/cloudevents-batch+json", "{}", "malformed_event"),
        ("application/cloudevents-batch+json", "[{}]", "missing_field"),
        ("application/cloudevents+json", "{\"id\":\"1\"}", "missing_field"),
        ("application/cloudevents+json", "{", "malformed_json"),
        ("application/cloudevents+avro", "x", "unsupported_media_type"),
    ] {
        assert_eq!(parse(&spec, &[("Content-Type", kind)], body.as_bytes()).unwrap_err().code, code, "{kind} {body}");
    }
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
