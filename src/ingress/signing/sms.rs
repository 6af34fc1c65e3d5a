//! Text messages as their carriers hand them over.

use serde_json::json;

use crate::{
    domain::source::SourceSpec,
    ingress::signing::{
        SignedRequest, SmsDraft, Stamp, form, preset,
        seal::{self, uuid},
        webhook,
    },
};

/// Twilio's incoming message (twilio.com/docs/messaging/guides/webhook-request).
pub(super) fn twilio(spec: &SourceSpec, draft: &SmsDraft, stamp: &Stamp<'_>) -> Result<SignedRequest, String> {
    let digits: String = stamp.unique.chars().take(32).collect();
    let account = spec.options.get("account_sid").cloned().unwrap_or_else(|| format!("AC{:0<32}", ""));
    let id = format!("SM{digits}");
    let fields = [
        ("AccountSid", account.as_str()),
        ("ApiVersion", "2010-04-01"),
        ("Body", &draft.text),
        ("From", &draft.from),
        ("MessageSid", &id),
        ("NumMedia", "0"),
        ("NumSegments", "1"),
        ("SmsMessageSid", &id),
        ("SmsSid", &id),
        ("SmsStatus", "received"),
        ("To", &draft.to),
    ];
    sealed_form(spec, &fields, stamp)
}

/// Telnyx's `message.received` (developers.telnyx.com, receiving webhooks for messaging).
pub(super) fn telnyx(spec: &SourceSpec, draft: &SmsDraft, stamp: &Stamp<'_>) -> Result<SignedRequest, String> {
    let body = json!({
        "data": {
            "event_type": "message.received",
            "id": uuid(stamp.unique),
            "occurred_at": stamp.now.to_string(),
            "record_type": "event",
            "payload": {
                "direction": "inbound",
                "from": {"phone_number": draft.from},
                "id": stamp.unique,
                "media": [],
                "parts": 1,
                "received_at": stamp.now.to_string(),
                "record_type": "message",
                "text": draft.text,
                "to": [{"phone_number": draft.to, "status": "webhook_delivered"}],
                "type": "SMS",
            },
        },
        "meta": {"attempt": 1, "delivered_to": stamp.url},
    });
    sealed(spec, "application/json", webhook::json_request(&body), stamp)
}

/// The Messages API of Vonage (developer.vonage.com/api/messages, inbound message). It writes numbers without `+`.
pub(super) fn vonage(spec: &SourceSpec, draft: &SmsDraft, stamp: &Stamp<'_>) -> Result<SignedRequest, String> {
    let body = json!({
        "channel": "sms",
        "message_uuid": uuid(stamp.unique),
        "from": bare(&draft.from),
        "to": bare(&draft.to),
        "text": draft.text,
        "timestamp": stamp.now.to_string(),
        "sms": {"num_messages": "1"},
    });
    sealed(spec, "application/json", webhook::json_request(&body), stamp)
}

/// The SMS API of Vonage (developer.vonage.com/messaging/sms, inbound messages), as a form.
pub(super) fn vonage_sms(spec: &SourceSpec, draft: &SmsDraft, stamp: &Stamp<'_>) -> Result<SignedRequest, String> {
    let id: String = stamp.unique.chars().take(32).collect();
    let (at, written) = (stamp.now.unix_seconds().to_string(), stamp.now.to_string());
    let keyword = draft.text.split_whitespace().next().unwrap_or_default().to_uppercase();
    let fields = [
        ("msisdn", bare(&draft.from)),
        ("to", bare(&draft.to)),
        ("messageId", &id),
        ("text", &draft.text),
        ("type", "text"),
        ("keyword", &keyword),
        ("message-timestamp", &written),
        ("timestamp", &at),
        ("nonce", &id),
    ];
    sealed_form(spec, &fields, stamp)
}

/// Plivo's incoming message (plivo.com/docs/messaging/api/messages).
pub(super) fn plivo(spec: &SourceSpec, draft: &SmsDraft, stamp: &Stamp<'_>) -> Result<SignedRequest, String> {
    let id = uuid(stamp.unique);
    let fields = [
        ("From", bare(&draft.from)),
        ("To", bare(&draft.to)),
        ("Text", &draft.text),
        ("Type", "sms"),
        ("MessageUUID", &id),
    ];
    sealed_form(spec, &fields, stamp)
}

fn sealed_form(spec: &SourceSpec, fields: &[(&str, &str)], stamp: &Stamp<'_>) -> Result<SignedRequest, String> {
    let fields: Vec<(String, String)> =
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let (content_type, body) = form::urlencoded(&fields);
    let request = SignedRequest { headers: vec![("content-type".to_owned(), content_type.into_bytes())], body };
    sealed(spec, "application/x-www-form-urlencoded", request, stamp)
}

fn sealed(
    spec: &SourceSpec,
    media_type: &str,
    request: SignedRequest,
    stamp: &Stamp<'_>,
) -> Result<SignedRequest, String> {
    let scheme = preset::row(spec, media_type);
    let scheme = scheme.ok_or_else(|| format!("no text message of `{}` can be made", spec.provider))?;
    seal::seal(spec, scheme, request, stamp)
}

fn bare(number: &str) -> &str {
    number.strip_prefix('+').unwrap_or(number)
}
