//! Events of services, each signed as its service signs.

use serde_json::{Value, json};

use crate::{
    domain::source::SourceSpec,
    ingress::{
        providers::hmac,
        signing::{
            HookDraft, SignedRequest, Stamp,
            mac::Recipe,
            preset,
            seal::{self, uuid},
        },
    },
};

/// docs.github.com/webhooks: `issues.opened` is the event `issues` with the action `opened`.
pub(super) fn github(_: &SourceSpec, draft: &HookDraft, stamp: &Stamp<'_>) -> Result<SignedRequest, String> {
    let kind = draft.kind.as_deref().unwrap_or("issues.opened");
    let (event, action) = kind.split_once('.').map_or((kind, None), |(event, action)| (event, Some(action)));
    let mut body = draft.body.clone();
    if let Some(action) = action {
        add(&mut body, "action", json!(action));
    }
    let mut request = json_request(&body);
    let signature = Recipe::HEX.sign(stamp.secret, &request.body)?;
    request.put("x-github-event", event);
    request.put("x-github-delivery", &uuid(stamp.unique));
    request.put("x-hub-signature-256", &format!("sha256={signature}"));
    Ok(request)
}

/// docs.stripe.com/webhooks/signature.
pub(super) fn stripe(_: &SourceSpec, draft: &HookDraft, stamp: &Stamp<'_>) -> Result<SignedRequest, String> {
    let mut body = draft.body.clone();
    add(&mut body, "id", json!(format!("evt_{}", short(stamp.unique))));
    add(&mut body, "object", json!("event"));
    add(&mut body, "type", json!(draft.kind.as_deref().unwrap_or("charge.succeeded")));
    add(&mut body, "created", json!(stamp.now.unix_seconds()));
    let mut request = json_request(&body);
    let at = stamp.now.unix_seconds();
    let signature = Recipe::HEX.sign(stamp.secret, &joined(&[&format!("{at}.")], &request.body))?;
    request.put("stripe-signature", &format!("t={at},v1={signature}"));
    Ok(request)
}

/// docs.slack.dev/authentication/verifying-requests-from-slack: an event of the Events API.
pub(super) fn slack(_: &SourceSpec, draft: &HookDraft, stamp: &Stamp<'_>) -> Result<SignedRequest, String> {
    let mut body = draft.body.clone();
    add(&mut body, "type", json!("event_callback"));
    add(&mut body, "event_id", json!(format!("Ev{}", short(stamp.unique))));
    add(&mut body, "event_time", json!(stamp.now.unix_seconds()));
    add(&mut body, "event", json!({}));
    if let Some(event) = body.get_mut("event") {
        add(event, "type", json!(draft.kind.as_deref().unwrap_or("message")));
    }
    let mut request = json_request(&body);
    let at = stamp.now.unix_seconds().to_string();
    let signature = Recipe::HEX.sign(stamp.secret, &joined(&["v0:", &at, ":"], &request.body))?;
    request.put("x-slack-request-timestamp", &at);
    request.put("x-slack-signature", &format!("v0={signature}"));
    Ok(request)
}

/// As the source's `signature` says.
pub(super) fn hmac(spec: &SourceSpec, draft: &HookDraft, stamp: &Stamp<'_>) -> Result<SignedRequest, String> {
    match &spec.signature {
        Some(own) => hmac::with_scheme(spec, own, |scheme| preset::made((spec, scheme), draft, None, stamp)),
        None => Ok(json_request(&draft.body)),
    }
}

/// A notification of Amazon SNS.
pub(super) fn sns(spec: &SourceSpec, draft: &HookDraft, stamp: &Stamp<'_>) -> Result<SignedRequest, String> {
    notification(spec, draft.kind.as_deref(), &draft.body, stamp)
}

/// A notification that carries a message as JSON text (docs.aws.amazon.com/sns, HTTP notification format).
pub(super) fn notification(
    spec: &SourceSpec,
    subject: Option<&str>,
    message: &Value,
    stamp: &Stamp<'_>,
) -> Result<SignedRequest, String> {
    let scheme = preset::row(spec, "application/json").ok_or("there is no such row")?;
    let topic = spec.options.get("topic_arn").and_then(|topics| topics.split(',').next());
    let mut body = json!({
        "Type": "Notification",
        "MessageId": uuid(stamp.unique),
        "TopicArn": topic.unwrap_or("arn:aws:sns:us-east-1:123456789012:postern-test"),
        "Message": message.to_string(),
        "Timestamp": stamp.now.to_string(),
        "SignatureVersion": "2",
    });
    if let Some(subject) = subject {
        add(&mut body, "Subject", json!(subject));
    }
    let mut request = json_request(&body);
    request.headers = vec![("content-type".to_owned(), b"text/plain; charset=UTF-8".to_vec())];
    request.put("x-amz-sns-message-type", "Notification");
    seal::seal(spec, scheme, request, stamp)
}

pub(super) fn json_request(body: &Value) -> SignedRequest {
    let headers = vec![("content-type".to_owned(), b"application/json".to_vec())];
    SignedRequest { headers, body: body.to_string().into_bytes() }
}

/// Adds what an object lacks.
fn add(body: &mut Value, key: &str, value: Value) {
    if let Some(fields) = body.as_object_mut() {
        fields.entry(key).or_insert(value);
    }
}

fn joined(before: &[&str], body: &[u8]) -> Vec<u8> {
    [before.concat().as_bytes(), body].concat()
}

fn short(unique: &str) -> String {
    unique.chars().take(24).collect()
}
