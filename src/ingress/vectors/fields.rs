//! What was read of a request, in the words in which vectors say it.
//!
//! Texts and file names are shown as they were sent where that is what we read; what we read otherwise, as we read it.

use serde_json::{Map, Value, json};

use crate::{
    crypto,
    domain::{
        event::{Attachment, Content, Email, Mailbox, Sms, Webhook},
        fetch::{Stays, StoredFile, StoredMail},
    },
    ingress::{Parsed, body, mail, reading::Reading},
};

/// Fields of webhooks and where they stand in the bodies of those who send them.
const HOOK_FIELDS: &[(&str, &[&str])] = &[
    ("action", &["/action"]),
    ("action_id", &["/actions/0/action_id"]),
    ("channel_id", &["/event/channel", "/channel/id", "/channel_id"]),
    ("error_code", &["/ErrorCode"]),
    ("from", &["/data/payload/from/phone_number", "/From", "/from"]),
    ("job", &["/event-data/user-variables/postern-job"]),
    ("message_id", &["/event-data/message/headers/message-id", "/MessageID"]),
    ("message_sid", &["/MessageSid"]),
    ("recipient", &["/event-data/recipient", "/Email", "/Recipient"]),
    ("ref", &["/ref"]),
    ("repository", &["/repository/full_name", "/project/path_with_namespace"]),
    ("response_url", &["/response_url"]),
    ("sender", &["/sender/login"]),
    ("severity", &["/event-data/severity"]),
    ("smtp_code", &["/event-data/delivery-status/code"]),
    (
        "text",
        &["/event/text", "/comment/body", "/text", "/message/text", "/entry/0/changes/0/value/messages/0/text/body"],
    ),
    ("thread_ts", &["/event/thread_ts", "/message/thread_ts", "/container/thread_ts"]),
    ("to", &["/data/payload/to/0/phone_number", "/To", "/to"]),
    ("user", &["/event/user", "/user/id", "/user_id"]),
];

/// Ids and names of the things inside one request.
const ITEM_IDS: &[&str] = &["sg_event_id", "eventId"];
const ITEM_TYPES: &[&str] = &["event", "subscriptionType"];

/// The fields of a parsed request.
pub(super) fn of(parsed: &Parsed, reading: &Reading<'_>) -> Map<String, Value> {
    let mut fields = match &parsed.content {
        Content::Email(email) => email_fields(email, parsed, reading),
        Content::Sms(sms) => sms_fields(sms, &parsed.kind),
        Content::Webhook(hook) => hook_fields(hook, parsed),
        // No request is one.
        Content::Schedule(_) | Content::Agent(_) => Map::new(),
    };
    if let Some(Value::String(message)) = reading.json().ok().and_then(|json| json.get("Message"))
        && let Ok(message) = body::read_json(message.as_bytes())
    {
        fields.insert("ses_message_id".to_owned(), message["mail"]["messageId"].clone());
    }
    fields
}

fn email_fields(email: &Email, parsed: &Parsed, reading: &Reading<'_>) -> Map<String, Value> {
    let first = email.from.first();
    let addresses = |boxes: &[Mailbox]| boxes.iter().map(|mailbox| mailbox.address.clone()).collect::<Vec<_>>();
    let bracketed = |ids: &[String]| ids.iter().map(|id| format!("<{id}>")).collect::<Vec<_>>();
    let in_reply_to = bracketed(&email.in_reply_to).join(" ");
    let stripped = sent_text(reading, &["stripped-text", "StrippedTextReply"]);
    let count = reading.form_text("attachment-count").and_then(|count| count.parse::<u64>().ok());
    let mut fields = object(json!({
        "channel": parsed.content.channel(),
        "from_email": first.map(|from| &from.address),
        "from_name": first.and_then(|from| from.name.as_ref()),
        "envelope_from": email.envelope_from,
        "envelope_to": email.envelope_to.join(","),
        "to": addresses(&email.to),
        "cc": addresses(&email.cc),
        "reply_to": addresses(&email.reply_to),
        "subject": email.subject,
        "message_id": email.message_id.as_ref().map(|id| format!("<{id}>")),
        "in_reply_to": if in_reply_to.is_empty() { None } else { Some(in_reply_to) },
        "references": bracketed(&email.references),
        "text": text(email, reading),
        "html": email.html,
        "stripped_text": stripped.unwrap_or_else(|| email.new_text.clone()),
        "stripped_signature": sent_text(reading, &["stripped-signature"]),
        "attachments": attachments(parsed, reading),
        "declared_attachment_count": count,
        "auto_submitted": parsed.automatic.is_some(),
        "content_id_key": parsed.content_key,
        "message_url": stored_mail(parsed).and_then(|stored| stored.message_url.as_ref()),
        "raw_mime_sha256": reading.form_value("body-mime").map(crypto::sha256_hex),
    }));
    if let Some(sender) = &parsed.sender {
        fields.insert("sender_auth".to_owned(), json!({ "result": sender.auth, "reason": sender.auth_reason }));
    }
    fields
}

/// The first of these fields or JSON members that the provider sent.
fn sent_text(reading: &Reading<'_>, names: &[&str]) -> Option<String> {
    let of = |name: &&str| {
        let text = reading.form_text(name).or_else(|| reading.json_text(&format!("/{name}")));
        text.map(std::borrow::Cow::into_owned)
    };
    names.iter().find_map(of)
}

/// The text with the sender's own line ends; of a raw mail with those of RFC 5322.
fn text(email: &Email, reading: &Reading<'_>) -> String {
    let same = |sent: &String| lines(sent) == lines(&email.text);
    let sent = sent_text(reading, &["body-plain", "TextBody"]).filter(same);
    let sent = sent.or_else(|| reading.form_text("text").map(std::borrow::Cow::into_owned).filter(same));
    let is_posted = ["message-headers", "headers", "text"].iter().any(|name| reading.form_value(name).is_some());
    match sent {
        Some(sent) => sent,
        None if is_posted || reading.json_text("/TextBody").is_some() || email.text.is_empty() => email.text.clone(),
        None => format!("{}\r\n", email.text.replace('\n', "\r\n")),
    }
}

fn lines(text: &str) -> String {
    text.replace("\r\n", "\n").trim_end().to_owned()
}

const fn stored_mail(parsed: &Parsed) -> Option<&StoredMail> {
    match &parsed.stored {
        Some(Stays::Mail(stored)) => Some(stored),
        Some(Stays::Files(_)) | None => None,
    }
}

fn attachments(parsed: &Parsed, reading: &Reading<'_>) -> Value {
    if let Some(stored) = stored_mail(parsed).filter(|stored| !stored.files.is_empty()) {
        let file = |file: &StoredFile| {
            json!({ "name": file.filename, "filename": file.filename, "content_type": file.content_type,
                    "size": file.size, "url": file.url })
        };
        return stored.files.iter().map(file).collect();
    }
    let sent = sent_names(reading);
    let file = |(attachment, _): &(Attachment, Vec<u8>)| {
        let name =
            sent.iter().map(|name| base_name(name)).find(|name| mail::safe_filename(name) == attachment.filename);
        json!({
            "name": name.unwrap_or(&attachment.filename), "filename": attachment.filename,
            "content_type": attachment.content_type, "size": attachment.size, "sha256": attachment.sha256,
            "inline": attachment.content_id.is_some(), "content_id": attachment.content_id,
        })
    };
    parsed.attachments.iter().map(file).collect()
}

/// The names of files as the sender wrote them.
fn sent_names(reading: &Reading<'_>) -> Vec<String> {
    let posted = reading.form().map(|form| form.parts.iter().filter_map(|part| part.filename.clone()).collect());
    let mut names: Vec<String> = posted.unwrap_or_default();
    let listed = reading.json().ok().and_then(|json| json.get("Attachments")).and_then(Value::as_array);
    names.extend(listed.into_iter().flatten().filter_map(|file| file["Name"].as_str().map(str::to_owned)));
    names
}

fn base_name(name: &str) -> &str {
    name.rsplit(['/', '\\']).next().unwrap_or(name)
}

fn sms_fields(sms: &Sms, kind: &str) -> Map<String, Value> {
    object(json!({
        "channel": kind, "message_sid": sms.message_id, "from": sms.from, "to": sms.to, "text": sms.text,
        "media": sms.media, "opt_out": sms.opt_out, "profile_name": sms.profile_name,
    }))
}

fn hook_fields(hook: &Webhook, parsed: &Parsed) -> Map<String, Value> {
    let body = hook.body.view();
    let channel = match parsed.kind.split_once('.') {
        Some(("email", _)) => "email-status",
        Some(("sms", _)) => "sms-status",
        Some(_) | None => "webhook",
    };
    let mut fields = object(json!({ "channel": channel }));
    let plain = |value: &&Value| !value.is_object() && !value.is_array();
    for (name, pointers) in HOOK_FIELDS {
        let value = pointers.iter().find_map(|pointer| body.pointer(pointer).filter(plain));
        fields.extend(value.map(|value| ((*name).to_owned(), value.clone())));
    }
    if let Some(report) = parsed.effects.reports.first().filter(|_| channel == "sms-status") {
        fields.insert("message_sid".to_owned(), json!(report.about));
        fields.extend(report.code.as_ref().map(|code| ("error_code".to_owned(), json!(code))));
    }
    if hook.headers.contains_key("x-github-event") {
        // Not every event of GitHub has an action; saying so is an answer too.
        fields.entry("action").or_insert_with(Value::default);
    }
    if let Value::Array(items) = &body {
        fields.insert("item_ids".to_owned(), each(items, ITEM_IDS));
        fields.insert("item_types".to_owned(), each(items, ITEM_TYPES));
    }
    if body.get("specversion").is_some() {
        fields.insert("subject".to_owned(), body["subject"].clone());
        fields.insert("data".to_owned(), body["data"].clone());
    } else if hook.headers.contains_key("ce-specversion") {
        let subject = hook.headers.get("ce-subject").map(|text| body::text(&body::percent_decode(text)).into_owned());
        fields.insert("subject".to_owned(), json!(subject));
        fields.insert("data".to_owned(), body);
    }
    fields
}

/// Of each item the first of these members, as text.
fn each(items: &[Value], names: &[&str]) -> Value {
    let of = |item: &Value| match names.iter().find_map(|name| item.get(name)) {
        Some(Value::String(text)) => json!(text),
        Some(Value::Number(number)) => json!(number.to_string()),
        Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => Value::Null,
    };
    items.iter().map(of).collect()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}
