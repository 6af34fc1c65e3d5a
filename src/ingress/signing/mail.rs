//! Mail as its carriers hand it over.

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::{
    domain::source::SourceSpec,
    ingress::signing::{
        MailDraft, MailForm, SignedRequest, Stamp, form,
        mac::Recipe,
        mime::{self, Written},
        preset,
        raw::{RawMail, raw_mail},
        seal::{self, uuid},
        webhook,
    },
};

/// Length of Mailgun's token.
const TOKEN_CHARACTERS: usize = 50;

type Fields = Vec<(String, String)>;

/// Mailgun's route post (documentation.mailgun.com, receiving messages via HTTP).
pub(super) fn mailgun(spec: &SourceSpec, draft: &MailDraft, stamp: &Stamp<'_>) -> Result<SignedRequest, String> {
    let token: String = stamp.unique.chars().take(TOKEN_CHARACTERS).collect();
    let timestamp = stamp.now.unix_seconds().to_string();
    let signature = Recipe::HEX.sign(stamp.secret, format!("{timestamp}{token}").as_bytes())?;
    let written = Written::new(spec, draft, stamp);
    let mut fields = Fields::new();
    let mut put = |name: &str, value: &str| fields.push((name.to_owned(), value.to_owned()));
    put("recipient", &draft.to);
    put("sender", mime::bare(&draft.from));
    put("subject", &draft.subject);
    put("from", &draft.from);
    let mut files = draft.files.as_slice();
    if draft.form == MailForm::Raw {
        put("body-mime", &String::from_utf8_lossy(&written.raw()?));
        files = &[];
    } else {
        let mut headers: Fields = [
            ("X-Envelope-From", format!("<{}>", mime::bare(&draft.from))),
            // What a domain whose spam filter marks mail with MIME headers gets for a sender whose SPF passes.
            ("X-Mailgun-Incoming", "Yes".to_owned()),
            ("X-Mailgun-Spf", "Pass".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec();
        headers.extend(written.headers());
        for (name, value) in &headers {
            put(name, value);
        }
        put("body-plain", &draft.text);
        put("stripped-text", &draft.text);
        put("message-headers", &json!(headers).to_string());
        if !files.is_empty() {
            put("attachment-count", &files.len().to_string());
        }
    }
    put("timestamp", &timestamp);
    put("token", &token);
    put("signature", &signature);
    let (content_type, body) = match files {
        [] => form::urlencoded(&fields),
        files => form::multipart(&fields, ("attachment-", files), &format!("postern-{token}")),
    };
    Ok(SignedRequest { headers: vec![("content-type".to_owned(), content_type.into_bytes())], body })
}

/// SendGrid's Inbound Parse, with a security policy or with a password (docs.sendgrid.com, Inbound Parse webhook).
pub(super) fn sendgrid(spec: &SourceSpec, draft: &MailDraft, stamp: &Stamp<'_>) -> Result<SignedRequest, String> {
    let written = Written::new(spec, draft, stamp);
    let domain = mime::domain(draft).unwrap_or("localhost");
    let envelope = json!({"to": [draft.to], "from": mime::bare(&draft.from)});
    let mut fields = Fields::new();
    let mut put = |name: &str, value: &str| fields.push((name.to_owned(), value.to_owned()));
    put("dkim", &format!("{{@{domain} : pass}}"));
    put("SPF", "pass");
    put("to", &draft.to);
    put("from", &draft.from);
    put("subject", &draft.subject);
    put("envelope", &envelope.to_string());
    put("sender_ip", "192.0.2.1");
    put("charsets", &json!({"to": "UTF-8", "from": "UTF-8", "subject": "UTF-8", "text": "UTF-8"}).to_string());
    let mut files = draft.files.as_slice();
    if draft.form == MailForm::Raw {
        put("email", &String::from_utf8_lossy(&written.raw()?));
        files = &[];
    } else {
        let lines: Vec<String> =
            written.headers().into_iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        let about = files.iter().enumerate().map(|(at, file)| {
            let about = json!({"filename": file.filename, "name": file.filename, "type": file.content_type});
            (format!("attachment{}", at + 1), about)
        });
        put("headers", &lines.concat());
        put("text", &draft.text);
        put("attachments", &files.len().to_string());
        put("attachment-info", &Value::Object(about.collect()).to_string());
    }
    let boundary: String = stamp.unique.chars().take(32).collect();
    let (content_type, body) = form::multipart(&fields, ("attachment", files), &format!("postern-{boundary}"));
    let request = SignedRequest { headers: vec![("content-type".to_owned(), content_type.into_bytes())], body };
    sealed(spec, request, stamp)
}

/// Postmark's inbound webhook (postmarkapp.com/developer, inbound webhook).
pub(super) fn postmark(spec: &SourceSpec, draft: &MailDraft, stamp: &Stamp<'_>) -> Result<SignedRequest, String> {
    let written = Written::new(spec, draft, stamp);
    let mailbox = |text: &str| {
        let name = text.split_once('<').map(|(name, _)| name.trim().trim_matches('"')).unwrap_or_default();
        json!({"Email": mime::bare(text), "Name": name, "MailboxHash": ""})
    };
    let mut headers = vec![("Return-Path".to_owned(), format!("<{}>", mime::bare(&draft.from)))];
    headers.extend(written.headers());
    let listed: Vec<Value> = headers.into_iter().map(|(name, value)| json!({"Name": name, "Value": value})).collect();
    let file = |file: &crate::ingress::signing::FileDraft| {
        json!({
            "Name": file.filename,
            "Content": BASE64.encode(&file.bytes),
            "ContentType": file.content_type,
            "ContentLength": file.bytes.len(),
        })
    };
    let mut body = json!({
        "FromName": mailbox(&draft.from)["Name"],
        "MessageStream": "inbound",
        "From": mime::bare(&draft.from),
        "FromFull": mailbox(&draft.from),
        "To": draft.to,
        "ToFull": [mailbox(&draft.to)],
        "CcFull": [],
        "OriginalRecipient": draft.to,
        "Subject": draft.subject,
        "MessageID": uuid(stamp.unique),
        "MailboxHash": "",
        "TextBody": draft.text,
        "HtmlBody": "",
        "StrippedTextReply": "",
        "Headers": listed,
        "Attachments": draft.files.iter().map(file).collect::<Vec<_>>(),
    });
    if draft.form == MailForm::Raw {
        seal::set(&mut body, "/RawEmail", json!(String::from_utf8_lossy(&written.raw()?)));
    }
    sealed(spec, webhook::json_request(&body), stamp)
}

/// SES by a receipt rule's SNS action, which sends the mail along in base64.
pub(super) fn ses(spec: &SourceSpec, draft: &MailDraft, stamp: &Stamp<'_>) -> Result<SignedRequest, String> {
    let written = Written::new(spec, draft, stamp);
    let pass = json!({"status": "PASS"});
    let message = json!({
        "notificationType": "Received",
        "mail": {
            "timestamp": stamp.now.to_string(),
            "source": mime::bare(&draft.from),
            "messageId": stamp.unique,
            "destination": [draft.to],
        },
        "receipt": {
            "timestamp": stamp.now.to_string(),
            "recipients": [draft.to],
            "spfVerdict": pass,
            "dkimVerdict": pass,
            "dmarcVerdict": pass,
            "spamVerdict": pass,
            "virusVerdict": pass,
            "action": {"type": "SNS", "encoding": "BASE64"},
        },
        "content": BASE64.encode(&written.raw()?),
    });
    webhook::notification(spec, Some("Amazon SES Email Receipt Notification"), &message, stamp)
}

/// A mail server that hands the mail on, or our worker at Cloudflare.
pub(super) fn whole(spec: &SourceSpec, draft: &MailDraft, stamp: &Stamp<'_>) -> Result<SignedRequest, String> {
    let raw = Written::new(spec, draft, stamp).raw()?;
    let to = [draft.to.clone()];
    raw_mail(&RawMail { envelope_from: Some(mime::bare(&draft.from)), envelope_to: &to, raw: &raw }, stamp)
}

fn sealed(spec: &SourceSpec, request: SignedRequest, stamp: &Stamp<'_>) -> Result<SignedRequest, String> {
    let scheme = preset::row(spec, "application/json");
    seal::seal(spec, scheme.ok_or_else(|| format!("no mail of `{}` can be made", spec.provider))?, request, stamp)
}
