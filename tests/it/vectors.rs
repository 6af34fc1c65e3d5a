//! Recorded requests of every provider: verdicts, ids, fields, handshakes, replays, and what a forger tries.

use std::{collections::HashSet, fs, path::Path};

use postern::{
    crypto::{Secret, sha256_hex},
    domain::{
        event::{Content, Email},
        id::{EventId, RunId},
        source::{SecretRef, SignatureSpec, SourceSecret, SourceSpec},
        time::{Span, Timestamp},
    },
    ingress::{Inbound, LabelledSecret, Outcome, Parsed, Rejection, gate::Gate, mail::safe_filename},
};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Clone, Debug, Deserialize)]
struct Vector {
    name: String,
    scheme: String,
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body_base64: String,
    secrets: Vec<String>,
    now_unix: i64,
    expect: String,
    #[serde(default)]
    expected_fields: Value,
    #[serde(default)]
    expected_response: Value,
}

/// A request that a test may change.
#[derive(Clone, Debug)]
struct Request {
    method: String,
    url: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    now: Timestamp,
}

impl Request {
    fn inbound(&self) -> Inbound<'_> {
        Inbound { method: &self.method, url: &self.url, headers: &self.headers, body: &self.body }
    }

    fn verdict(&self, gate: &Gate) -> Result<(), Rejection> {
        gate.early(&self.headers)?;
        gate.verify(&self.inbound(), self.now).map(drop)
    }
}

impl Vector {
    fn request(&self) -> Request {
        Request {
            method: self.method.clone(),
            url: self.url.clone(),
            headers: self.headers.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes())).collect(),
            body: data_encoding::BASE64.decode(self.body_base64.as_bytes()).unwrap(),
            now: Timestamp(self.now_unix * 1000),
        }
    }

    fn spec(&self) -> SourceSpec {
        let has = |wanted: &str| self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
        let own = |signed: &str, time: Option<&str>| {
            let id = if has("X-Request-Id") { "X-Request-Id" } else { "Idempotency-Key" };
            Some(signature(
                json!({ "header": "X-Signature", "signed": signed, "timestamp_header": time, "id_header": id }),
            ))
        };
        let (provider, signature) = match self.scheme.as_str() {
            "generic_hmac" => ("hmac", own("{body}", None)),
            "generic_hmac_ts" => ("hmac", own("{header:X-Timestamp}.{body}", Some("X-Timestamp"))),
            "generic_bearer" => ("bearer", None),
            "standard_webhooks" | "standard_webhooks_asym" | "svix" => ("standard", None),
            other => (other, None),
        };
        let mut spec = SourceSpec { provider: provider.to_owned(), signature, ..SourceSpec::default() };
        // Some recorded secrets are shorter than we would let anybody choose.
        spec.options.insert("allow_short_secret".to_owned(), "true".to_owned());
        spec
    }

    fn gate(&self) -> Result<Gate, String> {
        let secrets = self.secrets.iter().enumerate().map(|(n, text)| secret(&format!("s{n}"), text)).collect();
        Gate::new(&self.spec(), self.url.split('?').next().unwrap(), secrets)
    }

    fn is_accepted(&self) -> bool {
        self.expect == "accept"
    }
}

fn signature(value: Value) -> SignatureSpec {
    serde_json::from_value(value).unwrap()
}

fn secret(label: &str, text: &str) -> LabelledSecret {
    LabelledSecret { label: label.to_owned(), secret: Secret::new(text.as_bytes()) }
}

fn vectors(folder: &str) -> Vec<Vector> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vectors").join(folder);
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if !path.ends_with("_sequences.json") {
            let text = fs::read_to_string(&path).unwrap();
            all.extend(serde_json::from_str::<Vec<Vector>>(&text).unwrap());
        }
    }
    assert!(!all.is_empty());
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

fn accepted() -> Vec<Vector> {
    vectors("http").into_iter().filter(Vector::is_accepted).collect()
}

fn parse(vector: &Vector) -> Parsed {
    let (gate, request) = (vector.gate().unwrap(), vector.request());
    let verified = gate.verify(&request.inbound(), request.now).unwrap();
    gate.parse(&verified, request.now).unwrap_or_else(|fault| panic!("{}: {fault}", vector.name))
}

#[test]
fn verdicts_agree_with_the_recorded_ones() {
    let mut faults = Vec::new();
    for vector in vectors("http").iter().chain(&vectors("http-ambiguous")) {
        let verdict = vector.gate().and_then(|gate| {
            vector.request().verdict(&gate).map_err(|rejection| format!("{}: {}", rejection.code, rejection.detail))
        });
        if verdict.is_ok() != vector.is_accepted() {
            faults.push(format!("{}: {verdict:?}, expected {}", vector.name, vector.expect));
        }
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn ids_names_and_fields_agree_with_the_recorded_ones() {
    let mut faults = Vec::new();
    for vector in accepted() {
        let (gate, request) = (vector.gate().unwrap(), vector.request());
        let verified = gate.verify(&request.inbound(), request.now).unwrap();
        let parsed = gate.parse(&verified, request.now).unwrap_or_else(|f| panic!("{}: {f}", vector.name));
        match verified.replay_id() {
            Some(id) => assert_eq!(parsed.dedupe_key, id, "{}", vector.name),
            None => assert!(parsed.dedupe_key.starts_with("sha256:"), "{}", vector.name),
        }
        for (field, wanted) in vector.expected_fields.as_object().into_iter().flatten() {
            let actual = match field.as_str() {
                "replay_id" => json!(verified.replay_id()),
                "event_type" => json!(verified.event()),
                other => match &parsed.content {
                    Content::Email(email) => email_field(other, email, &parsed, &request),
                    Content::Sms(_) | Content::Webhook(_) => plain_field(other, &parsed),
                },
            };
            let wanted = match &parsed.content {
                Content::Email(_) => &as_we_keep_mail(field, wanted),
                Content::Sms(_) | Content::Webhook(_) => wanted,
            };
            if !agrees(&actual, wanted) {
                faults.push(format!("{} {field}: {actual}, expected {wanted}", vector.name));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// Equality, except that a recorded object need not have every key of ours.
fn agrees(actual: &Value, wanted: &Value) -> bool {
    match (actual, wanted) {
        (Value::Array(actual), Value::Array(wanted)) => {
            actual.len() == wanted.len() && actual.iter().zip(wanted).all(|(actual, wanted)| agrees(actual, wanted))
        }
        (Value::Object(actual), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| actual.get(key).is_some_and(|actual| agrees(actual, wanted)))
        }
        _ => actual == wanted,
    }
}

/// The recorded fields show mail as the provider posts it: ids in angle brackets, CRLF, file names as sent.
fn as_we_keep_mail(field: &str, wanted: &Value) -> Value {
    let bare = |text: &str| text.trim_matches(['<', '>']).to_owned();
    match (field, wanted) {
        ("message_id", Value::String(id)) => json!(bare(id)),
        ("in_reply_to", Value::String(id)) => json!([bare(id)]),
        ("references", Value::Array(ids)) => ids.iter().map(|id| bare(id.as_str().unwrap())).collect(),
        ("text", Value::String(text)) => json!(lines(text)),
        ("attachments", Value::Array(files)) => {
            let kept = |file: &Value| {
                let mut file = file.clone();
                file["name"] = json!(safe_filename(file["name"].as_str().unwrap()));
                let fields = file.as_object_mut().unwrap();
                fields.remove("inline");
                fields.retain(|_, value| !value.is_null());
                file
            };
            files.iter().map(kept).collect()
        }
        _ => wanted.clone(),
    }
}

fn lines(text: &str) -> String {
    text.replace("\r\n", "\n").trim_end().to_owned()
}

fn email_field(field: &str, email: &Email, parsed: &Parsed, request: &Request) -> Value {
    let first = email.from.first();
    let form = || postern::ingress::body::read_urlencoded(&request.body).unwrap();
    match field {
        "channel" => json!(parsed.content.channel()),
        "from_email" => json!(first.map(|from| &from.address)),
        "from_name" => json!(first.and_then(|from| from.name.as_ref())),
        "envelope_from" => json!(email.envelope_from),
        "envelope_to" => json!(email.envelope_to.join(",")),
        "to" => json!(email.to.iter().map(|to| &to.address).collect::<Vec<_>>()),
        "subject" => json!(email.subject),
        "message_id" => json!(email.message_id),
        "in_reply_to" => json!(email.in_reply_to),
        "references" => json!(email.references),
        "text" => json!(lines(&email.text)),
        "auto_submitted" => json!(parsed.automatic.is_some()),
        "content_id_key" => json!(parsed.content_key),
        "message_url" => json!(parsed.stored.as_ref().and_then(|stored| stored.message_url.as_ref())),
        "raw_mime_sha256" => json!(sha256_hex(form().last("body-mime").unwrap())),
        // Only a hint for us, or read from elsewhere: the request has it, which is what was recorded.
        "stripped_text" => json!(request_field(request, "stripped-text")),
        "stripped_signature" => json!(request_field(request, "stripped-signature")),
        "declared_attachment_count" => json!(request_field(request, "attachment-count").parse::<u64>().unwrap()),
        "attachments" => attachments(parsed),
        other => panic!("no field `{other}`"),
    }
}

fn request_field(request: &Request, name: &str) -> String {
    let reading = postern::ingress::reading::Reading::new(request.inbound(), None);
    reading.form_text(name).unwrap_or_else(|| panic!("no field {name}")).into_owned()
}

fn attachments(parsed: &Parsed) -> Value {
    if let Some(stored) = &parsed.stored {
        let file = |f: &postern::domain::event::StoredFile| json!({ "name": f.filename, "content_type": f.content_type, "size": f.size, "url": f.url });
        return stored.files.iter().map(file).collect();
    }
    let file = |(attachment, bytes): &(postern::domain::event::Attachment, Vec<u8>)| {
        assert_eq!(attachment.size, bytes.len() as u64);
        let mut file = json!({ "name": attachment.filename, "content_type": attachment.content_type, "size": attachment.size, "sha256": attachment.sha256 });
        if let Some(id) = &attachment.content_id {
            file["content_id"] = json!(id);
        }
        file
    };
    parsed.attachments.iter().map(file).collect()
}

fn plain_field(field: &str, parsed: &Parsed) -> Value {
    if let Content::Sms(sms) = &parsed.content {
        return match field {
            "channel" => json!(parsed.kind),
            "message_sid" => json!(sms.message_id),
            "from" => json!(sms.from),
            "to" => json!(sms.to),
            "text" => json!(sms.text),
            "media" => json!(sms.media),
            "opt_out" => json!(sms.opt_out),
            "profile_name" => json!(sms.profile_name),
            other => panic!("no field `{other}`"),
        };
    }
    let Content::Webhook(hook) = &parsed.content else { panic!("no webhook") };
    let body = hook.body.view();
    let pointers: &[&str] = match field {
        "channel" => {
            return json!(if parsed.kind.starts_with("email.") { "email-status" } else { "sms-status" });
        }
        "action" => &["/action"],
        "repository" => &["/repository/full_name"],
        "sender" => &["/sender/login"],
        "ref" => &["/ref"],
        "text" => &["/event/text", "/comment/body", "/text"],
        "channel_id" => &["/event/channel"],
        "thread_ts" => &["/event/thread_ts"],
        "user" => &["/event/user"],
        "response_url" => &["/response_url"],
        "action_id" => &["/actions/0/action_id"],
        "recipient" => &["/event-data/recipient"],
        "message_id" => &["/event-data/message/headers/message-id"],
        "job" => &["/event-data/user-variables/postern-job"],
        "severity" => &["/event-data/severity"],
        "smtp_code" => &["/event-data/delivery-status/code"],
        "message_sid" => &["/MessageSid"],
        "error_code" => &["/ErrorCode"],
        other => panic!("no field `{other}`"),
    };
    pointers.iter().find_map(|pointer| body.pointer(pointer)).cloned().unwrap_or_default()
}

#[test]
fn handshakes_are_answered_and_nothing_else_is() {
    for vector in accepted() {
        let (gate, request) = (vector.gate().unwrap(), vector.request());
        let verified = gate.verify(&request.inbound(), request.now).unwrap();
        let answer = gate.handshake(&verified);
        assert_eq!(answer.is_some(), !vector.expected_response.is_null(), "{}", vector.name);
        let Some(answer) = answer else { continue };
        let wanted = &vector.expected_response;
        assert_eq!(json!(answer.status), wanted["status"], "{}", vector.name);
        assert!(wanted["type"].is_null() || json!(answer.content_type) == wanted["type"], "{}", vector.name);
        assert!(wanted["body"].is_null() || json!(answer.body) == wanted["body"], "{}", vector.name);
        assert!(parse(&vector).quiet.is_some(), "{}: a handshake starts nothing", vector.name);
    }
}

#[test]
fn sequences_are_new_or_repeated_as_recorded() {
    let all = vectors("http");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vectors/http/_sequences.json");
    let sequences: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    for sequence in sequences.as_array().unwrap() {
        let (mut keys, mut contents) = (HashSet::new(), HashSet::new());
        for step in sequence["steps"].as_array().unwrap() {
            let vector = all.iter().find(|vector| json!(vector.name) == step["vector"]).unwrap();
            let parsed = parse(vector);
            let is_new_content = parsed.content_key.is_none_or(|key| contents.insert(key));
            let verdict = match (keys.insert(parsed.dedupe_key), is_new_content) {
                (false, _) => "duplicate",
                (true, false) => "duplicate-content",
                (true, true) => "new",
            };
            assert_eq!(json!(verdict), step["expect"], "{} {}", sequence["name"], vector.name);
        }
    }
}

#[test]
fn credentials_and_signatures_stay_outside() {
    for vector in accepted() {
        let Content::Webhook(hook) = parse(&vector).content else { continue };
        let seen = format!("{:?}", hook.headers).to_lowercase();
        for word in ["signature", "authorization", "cookie", "bearer ", "v1="] {
            assert!(!seen.contains(word), "{}: {seen}", vector.name);
        }
        assert!(vector.secrets.iter().all(|secret| !seen.contains(&secret.to_lowercase())), "{}", vector.name);
    }
}

#[test]
fn people_delivery_reports_and_opt_outs_are_told_apart() {
    let of = |name: &str| parse(accepted().iter().find(|vector| vector.name == name).unwrap());
    for (name, kind, thread, quiet) in [
        ("twilio/sms", "sms", Some("+14155550132|+14155550199"), None),
        (
            "twilio/opt-out",
            "sms",
            Some("+14155550132|+14155550199"),
            Some("the opt-out word STOP, which Twilio answers"),
        ),
        ("twilio/status-callback-undelivered", "sms.undelivered", None, Some("a status callback: undelivered")),
        ("mailgun/route-parsed-reply", "email", Some("CAF7kTz0aa=1@mail.northwind.example"), None),
        ("mailgun/event-failed", "email.failed", None, Some("a delivery report: failed")),
        ("github/issues", "issues.assigned", Some("Codertocat/Hello-World#1"), None),
        ("slack/app-mention", "app_mention", Some("C0LAN2Q65:1795103100.000100"), None),
        ("slack/url-verification", "url_verification", None, Some("a handshake")),
    ] {
        let parsed = of(name);
        assert_eq!(
            (parsed.kind.as_str(), parsed.thread_key.as_deref(), parsed.quiet.as_deref()),
            (kind, thread, quiet),
            "{name}"
        );
    }
    assert!(of("mailgun/auto-reply").automatic.is_some());
}

/// What the sender's signature does not cover, by the provider's own design.
fn body_is_covered(vector: &Vector) -> bool {
    match vector.scheme.as_str() {
        "mailgun" | "generic_bearer" => false,
        "twilio" => vector.method != "GET",
        _ => true,
    }
}

#[test]
fn a_changed_signature_body_or_clock_is_refused() {
    for vector in accepted() {
        let (gate, request) = (vector.gate().unwrap(), vector.request());
        let refused = |changed: &Request, what: &str| {
            assert!(changed.verdict(&gate).is_err(), "{}: {what}", vector.name);
        };
        for (at, (name, _)) in request.headers.iter().enumerate() {
            if !signing_headers(&vector).contains(&name.to_ascii_lowercase().as_str()) {
                continue;
            }
            let mut without = request.clone();
            without.headers.remove(at);
            refused(&without, &format!("without {name}"));
            let mut flipped = request.clone();
            let value = &mut flipped.headers[at].1;
            let near_the_end = value.iter().rposition(u8::is_ascii_alphanumeric).unwrap().saturating_sub(2);
            value[near_the_end] = if value[near_the_end] == b'1' { b'2' } else { b'1' };
            // Of several signatures one may be worthless anyway.
            if !flipped.headers[at].1.contains(&b' ')
                && vector.name != "stripe/t-last"
                && vector.name != "stripe/two-v1-second-matches"
            {
                refused(&flipped, &format!("with another {name}"));
            }
        }
        if body_is_covered(&vector) {
            for at in [0, request.body.len() / 2, request.body.len().saturating_sub(1)] {
                let mut changed = request.clone();
                match changed.body.get_mut(at) {
                    Some(byte) => *byte ^= 1,
                    None => changed.body.push(b'x'),
                }
                refused(&changed, &format!("with another byte {at}"));
            }
        }
        if has_window(&vector) {
            for shift_s in [-40_000, 40_000] {
                let late = Request { now: request.now.plus_ms(shift_s * 1000), ..request.clone() };
                refused(&late, &format!("{shift_s} s later"));
            }
        }
    }
}

#[test]
fn the_signed_fields_of_mailgun_cannot_be_changed() {
    for vector in accepted().into_iter().filter(|vector| vector.scheme == "mailgun") {
        let (gate, request) = (vector.gate().unwrap(), vector.request());
        let fields = ["token", "timestamp", "signature"];
        for field in fields {
            let reading = postern::ingress::reading::Reading::new(request.inbound(), None);
            let value = match reading.json_text(&format!("/signature/{field}")) {
                Some(value) => value.into_owned(),
                None => reading.form_text(field).unwrap().into_owned(),
            };
            let body = String::from_utf8_lossy(&request.body).into_owned();
            let at = body.rfind(&value).unwrap();
            let mut changed = request.clone();
            changed.body = body.into_bytes();
            changed.body[at] = if changed.body[at] == b'7' { b'8' } else { b'7' };
            assert!(changed.verdict(&gate).is_err(), "{} {field}", vector.name);
        }
    }
}

#[test]
fn a_mail_cannot_pass_its_headers_off_as_mailguns_fields() {
    let vector = accepted().into_iter().find(|vector| vector.name == "mailgun/route-parsed-reply").unwrap();
    let plain = parse(&vector);
    let mut request = vector.request();
    let body = String::from_utf8(request.body).unwrap();
    let (before, after) = body.split_once("&message-headers=%5B").unwrap();
    let forged = [
        ("recipient", "root%40acme.example"),
        ("sender", "boss%40acme.example"),
        ("body-mime", "From%3A+boss%40acme.example%0D%0A%0D%0Apay"),
        ("message-url", "https%3A%2F%2Fevil.mailgun.net%2Fx"),
    ];
    let fields: String = forged.iter().map(|(name, value)| format!("&{name}={value}")).collect();
    let listed: String = forged.iter().map(|(name, _)| format!("%5B%22{name}%22%2C%22forged%22%5D%2C")).collect();
    request.body = format!("{before}{fields}&message-headers=%5B{listed}{after}").into_bytes();
    let gate = vector.gate().unwrap();
    let verified = gate.verify(&request.inbound(), request.now).unwrap();
    let parsed = gate.parse(&verified, request.now).unwrap();
    assert_eq!((&parsed.sender, &parsed.content_key), (&plain.sender, &plain.content_key));
    assert_eq!(parsed.stored, None);
    let (Content::Email(forged), Content::Email(plain)) = (parsed.content, plain.content) else { panic!("no mail") };
    assert_eq!(
        (forged.envelope_from, forged.envelope_to, forged.text),
        (plain.envelope_from, plain.envelope_to, plain.text)
    );
}

fn signing_headers(vector: &Vector) -> &'static [&'static str] {
    match vector.scheme.as_str() {
        "generic_hmac" => &["x-signature"],
        "generic_hmac_ts" => &["x-signature", "x-timestamp"],
        "generic_bearer" => &["authorization"],
        "github" => &["x-hub-signature-256"],
        "stripe" => &["stripe-signature"],
        "slack" => &["x-slack-signature", "x-slack-request-timestamp"],
        "twilio" => &["x-twilio-signature"],
        "svix" => &["svix-id", "svix-timestamp", "svix-signature"],
        "standard_webhooks" | "standard_webhooks_asym" => &["webhook-id", "webhook-timestamp", "webhook-signature"],
        _ => &[],
    }
}

fn has_window(vector: &Vector) -> bool {
    !matches!(vector.scheme.as_str(), "generic_hmac" | "generic_bearer" | "github" | "twilio")
}

#[test]
fn without_secrets_nothing_opens() {
    for vector in accepted() {
        let spec = vector.spec();
        assert!(Gate::new(&spec, &vector.url, Vec::new()).is_err(), "{}", vector.name);
        assert!(Gate::new(&spec, &vector.url, vec![secret("s", "")]).is_err(), "{}", vector.name);
    }
}

#[test]
fn a_source_that_cannot_work_says_what_to_fix() {
    let fault = |change: &dyn Fn(&mut SourceSpec), url: &str, secrets: Vec<LabelledSecret>| {
        let mut spec = SourceSpec { provider: "github".to_owned(), ..SourceSpec::default() };
        change(&mut spec);
        Gate::new(&spec, url, secrets).err().unwrap()
    };
    let good = || vec![secret("main", "long-enough")];
    let own = |value: Value| {
        move |spec: &mut SourceSpec| {
            spec.provider = "hmac".to_owned();
            spec.signature = Some(signature(value.clone()));
        }
    };
    let url = "https://hooks.example/in/x";
    assert!(fault(&|_| {}, url, vec![]).contains("`insecure = true`"));
    assert!(fault(&|_| {}, url, vec![secret("main", "short")]).contains("secret `main` is shorter than 8 bytes"));
    assert!(fault(&|spec| spec.provider = "twillio".to_owned(), url, good()).contains("did you mean `twilio`?"));
    assert!(fault(&|spec| spec.provider = "twilio".to_owned(), "", good()).contains("set `public_url`"));
    assert!(fault(&|spec| spec.provider = "hmac".to_owned(), url, good()).contains("set at least `signature"));
    assert!(
        fault(&|spec| spec.provider = "standard".to_owned(), url, vec![secret("main", "not base64!")])
            .contains("`main`")
    );
    assert!(fault(&own(json!({ "header": "X", "signed": "{header:T}" })), url, good()).contains("add `{body}`"));
    assert!(fault(&own(json!({ "header": "X", "timestamp_header": "T" })), url, good()).contains("{header:T}"));
    assert!(fault(&own(json!({ "header": "X", "algorithm": "md5" })), url, good()).contains("sha256, sha1, sha512"));
    assert!(
        fault(&own(json!({ "header": "X", "signed": "{nonsense}{body}" })), url, good())
            .contains("`nonsense` is no source")
    );
    assert!(
        fault(&|spec| spec.signature = Some(signature(json!({ "header": "X" }))), url, good())
            .contains("remove `signature`")
    );
}

#[test]
fn the_operators_tolerance_replaces_the_providers() {
    let vector = accepted().into_iter().find(|vector| vector.name == "slack/age-300-exact").unwrap();
    let secrets = || vec![secret("main", &vector.secrets[0])];
    let spec = |ms| SourceSpec { tolerance: Some(Span(ms)), ..vector.spec() };
    let request = vector.request();
    let narrow = Gate::new(&spec(299_000), &vector.url, secrets()).unwrap();
    assert_eq!(request.verdict(&narrow).unwrap_err().code, "stale_timestamp");
    let wide = Gate::new(&spec(600_000), &vector.url, secrets()).unwrap();
    let late = Request { now: request.now.plus_ms(300_000), ..request };
    assert!(late.verdict(&wide).is_ok());
}

#[test]
fn an_insecure_source_believes_everybody_until_it_has_a_secret() {
    let vector = accepted().into_iter().find(|vector| vector.name == "github/issues").unwrap();
    let spec = SourceSpec {
        insecure: true,
        secret: Some(SourceSecret::Plain(SecretRef::Env { env: "HOOK".to_owned() })),
        ..vector.spec()
    };
    let mut request = vector.request();
    request.headers.retain(|(name, _)| !name.to_ascii_lowercase().contains("signature"));
    let open = Gate::new(&spec, &vector.url, Vec::new()).unwrap();
    let verified = open.verify(&request.inbound(), request.now).unwrap();
    assert_eq!((verified.secret_label(), verified.event()), ("unsigned", Some("issues")));
    let shut = Gate::new(&spec, &vector.url, vec![secret("main", "long-enough")]).unwrap();
    assert!(request.verdict(&shut).is_err());
}

#[test]
fn the_matching_secret_is_named_by_its_label() {
    let vector = accepted().into_iter().find(|vector| vector.name == "github/rotation-old-secret").unwrap();
    let (gate, request) = (vector.gate().unwrap(), vector.request());
    let label = gate.verify(&request.inbound(), request.now).unwrap().secret_label().to_owned();
    let alone = |n: usize| Gate::new(&vector.spec(), &vector.url, vec![secret("only", &vector.secrets[n])]).unwrap();
    let which = (0..vector.secrets.len()).find(|n| request.verdict(&alone(*n)).is_ok()).unwrap();
    assert_eq!(label, format!("s{which}"));
}

#[test]
fn senders_hear_what_their_provider_expects() {
    let gate = |provider: &str| {
        let spec = SourceSpec { provider: provider.to_owned(), ..SourceSpec::default() };
        Gate::new(&spec, "https://h.example/in/x", vec![secret("main", "bG9uZy1lbm91Z2g=")]).unwrap()
    };
    let event: EventId = EventId::new(Timestamp(0));
    let run = RunId::new(Timestamp(0));
    let accepted = Outcome::Accepted { event: event.clone(), runs: vec![run.clone()] };
    let malformed = Outcome::Malformed { code: "malformed_json", detail: "x".to_owned(), event: Some(event.clone()) };
    for (provider, ok, refused, broken) in [
        ("github", 202, 401, 400),
        ("standard", 202, 401, 400),
        ("stripe", 200, 401, 400),
        ("slack", 200, 401, 400),
        ("mailgun", 200, 406, 406),
        ("twilio", 200, 403, 400),
        ("bearer", 202, 401, 400),
    ] {
        let gate = gate(provider);
        let status = |outcome| gate.answer(outcome).status;
        assert_eq!(
            (status(&accepted), status(&Outcome::Unauthorized("bad_signature")), status(&malformed)),
            (ok, refused, broken),
            "{provider}"
        );
        assert_eq!(
            (status(&Outcome::TooLarge), status(&Outcome::Busy), status(&Outcome::Unavailable)),
            (413, 429, 503)
        );
    }
    let answer = gate("github").answer(&accepted);
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(body, json!({ "event": event, "runs": [run], "status": "accepted" }));
    let answer = gate("twilio").answer(&accepted);
    assert_eq!((answer.content_type, answer.body.as_str()), ("text/xml", "<Response></Response>"));
    let answer = gate("slack").answer(&Outcome::Unauthorized("bad_signature"));
    assert_eq!((answer.content_type, answer.headers), ("application/problem+json", &[("X-Slack-No-Retry", "1")][..]));
    assert!(!answer.body.contains("bad_signature"));
    assert!(gate("github").answer(&Outcome::Unavailable).retry_after_s.is_some());
}

#[test]
fn the_url_stays_as_it_is_configured() {
    let spec = SourceSpec { provider: "twilio".to_owned(), ..SourceSpec::default() };
    let gate = |url: &str| Gate::new(&spec, url, vec![secret("main", "long-enough")]).unwrap();
    assert_eq!(gate("https://Ex.org:443/é'?a=1#rc=2").url(None), "https://Ex.org:443/é'?a=1");
    assert_eq!(gate("https://Ex.org/x?a=1").url(Some("a=%31")), "https://Ex.org/x?a=%31");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn cut_and_garbled_requests_never_panic(
        which in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
        garbage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        header in any::<prop::sample::Index>(),
        text in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let all = accepted();
        let vector = which.get(&all);
        let gate = vector.gate().unwrap();
        // Without a secret, whatever is parsed is parsed from garbage.
        let open = Gate::new(&SourceSpec { insecure: true, ..vector.spec() }, &vector.url, Vec::new()).unwrap();
        let mut request = vector.request();
        let at = cut.index(request.body.len() + 1);
        request.body.truncate(at);
        for (place, byte) in garbage {
            if !request.body.is_empty() {
                let at = place.index(request.body.len());
                request.body[at] = byte;
            }
        }
        let at = header.index(request.headers.len());
        if text.len() % 2 == 0 {
            request.headers[at].1 = text;
        }
        let _ = request.verdict(&gate);
        if let Ok(verified) = open.verify(&request.inbound(), request.now) {
            let _ = open.handshake(&verified);
            let _ = open.parse(&verified, request.now);
        }
    }

    #[test]
    fn any_bytes_are_some_body(body in prop::collection::vec(any::<u8>(), 0..400), kind in 0..4_usize) {
        let kinds = ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=B", "x"];
        let headers = vec![("Content-Type".to_owned(), kinds[kind].as_bytes().to_vec())];
        let request = Request { method: "POST".to_owned(), url: "https://h/in/x?a=%".to_owned(), headers, body, now: Timestamp(0) };
        for provider in ["mailgun", "twilio", "slack", "github", "stripe", "standard", "bearer", "hmac"] {
            let spec = SourceSpec { provider: provider.to_owned(), insecure: true, ..SourceSpec::default() };
            let gate = Gate::new(&spec, "https://h/in/x", Vec::new()).unwrap();
            let verified = gate.verify(&request.inbound(), request.now).unwrap();
            let _ = gate.parse(&verified, request.now);
        }
    }
}
