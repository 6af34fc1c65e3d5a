//! Mailgun's route post (documentation.mailgun.com, receiving messages via HTTP).

use serde_json::json;

use crate::{
    domain::time::Timestamp,
    ingress::signing::{MailDraft, SignedRequest, Stamp, form, mac::Recipe},
};

/// Length of Mailgun's token.
const TOKEN_CHARACTERS: usize = 50;

pub(super) fn mailgun(draft: &MailDraft, stamp: &Stamp<'_>) -> Result<SignedRequest, String> {
    let token: String = stamp.unique.chars().take(TOKEN_CHARACTERS).collect();
    let timestamp = stamp.now.unix_seconds().to_string();
    let signature = Recipe::HEX.sign(stamp.secret, format!("{timestamp}{token}").as_bytes())?;
    let headers = headers(draft, stamp);
    let mut fields: Vec<(String, String)> = Vec::new();
    let mut put = |name: &str, value: &str| fields.push((name.to_owned(), value.to_owned()));
    put("recipient", &draft.to);
    put("sender", bare(&draft.from));
    put("subject", &draft.subject);
    put("from", &draft.from);
    for (name, value) in &headers {
        put(name, value);
    }
    put("body-plain", &draft.text);
    put("stripped-text", &draft.text);
    put("message-headers", &json!(headers).to_string());
    if !draft.files.is_empty() {
        put("attachment-count", &draft.files.len().to_string());
    }
    put("timestamp", &timestamp);
    put("token", &token);
    put("signature", &signature);
    let (content_type, body) = match draft.files.as_slice() {
        [] => form::urlencoded(&fields),
        files => form::multipart(&fields, files, &format!("postern-{token}")),
    };
    Ok(SignedRequest { headers: vec![("content-type".to_owned(), content_type.into_bytes())], body })
}

fn headers(draft: &MailDraft, stamp: &Stamp<'_>) -> Vec<(String, String)> {
    let domain = bare(&draft.from).rsplit_once('@').map_or("localhost", |(_, domain)| domain);
    let id: String = stamp.unique.chars().take(24).collect();
    let mut headers = vec![
        ("X-Envelope-From", format!("<{}>", bare(&draft.from))),
        // What a domain whose spam filter marks mail with MIME headers gets for a sender whose SPF passes.
        ("X-Mailgun-Incoming", "Yes".to_owned()),
        ("X-Mailgun-Spf", "Pass".to_owned()),
        ("From", draft.from.clone()),
        ("To", draft.to.clone()),
        ("Subject", draft.subject.clone()),
        ("Date", date(stamp.now)),
        ("Message-Id", format!("<{id}@{domain}>")),
        ("Mime-Version", "1.0".to_owned()),
        ("Content-Type", "text/plain; charset=\"utf-8\"".to_owned()),
    ];
    if let Some(answered) = &draft.in_reply_to {
        let answered = format!("<{}>", answered.trim_matches(['<', '>', ' ']));
        headers.push(("In-Reply-To", answered.clone()));
        headers.push(("References", answered));
    }
    headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The address of `Name <address>`.
fn bare(address: &str) -> &str {
    let inner = address.rsplit_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inner.map_or(address, |(inner, _)| inner).trim()
}

/// RFC 5322, section 3.3.
fn date(at: Timestamp) -> String {
    match jiff::Timestamp::from_millisecond(at.0) {
        Ok(at) => at.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string(),
        Err(_) => at.to_string(),
    }
}
