//! What tells copies of one mail from another mail that only says the same of itself. Senders choose `Message-ID`s, so
//! that an id alone would let whoever knows it beforehand pass a mail of theirs off as the first copy of one to come.

use crate::{
    crypto,
    domain::event::{AgentEvent, Attachment, Content, Email, Mailbox},
    ingress::mailbox,
};

/// What all copies of one mail share, whichever address of ours and source they came by. `None` for what comes once
/// anyway.
pub(super) fn once_key(event: &AgentEvent) -> Option<String> {
    let Content::Email(email) = &event.content else { return None };
    let id = email.message_id.as_deref()?;
    let mut parts = vec![id, &email.subject, &email.text];
    parts.extend(addresses(&email.from));
    parts.extend(hashes(&event.attachments));
    // Nothing where there is none, as ever: keys of earlier versions hold on.
    if !email.reply_to.is_empty() {
        parts.push("reply-to");
        parts.extend(addresses(&email.reply_to));
    }
    digest(&parts)
}

/// What a mail shares with itself alone, posted again by its carrier under another delivery id. `key` is what the
/// carrier's reader made of id and envelope; all that a reader of the mail could see, and whether its sender is
/// believed, is added.
pub(super) fn content_key(key: &str, event: &AgentEvent) -> String {
    let Content::Email(email) = &event.content else { return key.to_owned() };
    match said(email, event) {
        Some(said) => mailbox::bounded(format!("{key}|{said}")),
        None => key.to_owned(),
    }
}

fn said(email: &Email, event: &AgentEvent) -> Option<String> {
    let date = email.date.map(|date| date.0.to_string()).unwrap_or_default();
    let auth = event.sender.as_ref().map(|sender| format!("{:?}", sender.auth)).unwrap_or_default();
    let mut parts = vec![email.subject.as_str(), &email.text, email.html.as_deref().unwrap_or_default(), &date, &auth];
    parts.push(email.envelope_from.as_deref().unwrap_or("-"));
    for list in [&email.from, &email.to, &email.cc, &email.reply_to] {
        parts.push("boxes");
        parts.extend(addresses(list));
    }
    for list in [&email.in_reply_to, &email.references] {
        parts.push("ids");
        parts.extend(list.iter().map(String::as_str));
    }
    parts.push("files");
    parts.extend(hashes(&event.attachments));
    digest(&parts)
}

fn addresses(list: &[Mailbox]) -> impl Iterator<Item = &str> {
    list.iter().map(|mailbox| mailbox.address.as_str())
}

fn hashes(files: &[Attachment]) -> impl Iterator<Item = &str> {
    files.iter().map(|file| file.sha256.as_str())
}

/// As JSON, in which no part can look like two.
fn digest(parts: &[&str]) -> Option<String> {
    Some(crypto::sha256_hex(serde_json::to_string(parts).ok()?.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::{content_key, once_key};
    use crate::domain::{
        event::{AgentEvent, Content, Email, Mailbox, Sender, SenderAuth},
        id::{EventId, SourceId, TenantId},
        time::Timestamp,
    };

    fn event() -> AgentEvent {
        let address = |address: &str| Mailbox { address: address.to_owned(), name: None };
        let email = Email {
            from: vec![address("a@x.example")],
            to: vec![address("in@agents.example")],
            subject: "Hi".to_owned(),
            text: "Please look".to_owned(),
            message_id: Some("m1@x.example".to_owned()),
            ..Email::default()
        };
        AgentEvent {
            id: EventId::new(Timestamp(1)),
            tenant: TenantId::new(Timestamp(1)),
            source: SourceId::new(Timestamp(1)),
            source_name: "mail".to_owned(),
            dedupe_key: "token".to_owned(),
            kind: "email".to_owned(),
            thread_key: None,
            sender: Some(Sender {
                address: "a@x.example".to_owned(),
                name: None,
                auth: SenderAuth::Verified,
                auth_reason: String::new(),
                flags: Vec::new(),
            }),
            automatic: None,
            received_at: Timestamp(1),
            content: Content::Email(email),
            attachments: Vec::new(),
        }
    }

    fn with(change: impl Fn(&mut Email)) -> AgentEvent {
        let mut event = event();
        if let Content::Email(email) = &mut event.content {
            change(email);
        }
        event
    }

    #[test]
    fn only_the_same_mail_again_is_the_same() {
        let key = content_key("<m1@x.example>|in@agents.example", &event());
        assert!(key.starts_with("<m1@x.example>|in@agents.example|") && key.len() <= 255);
        let mut later = event();
        (later.received_at, later.dedupe_key) = (Timestamp(9), "other".to_owned());
        assert_eq!(content_key("<m1@x.example>|in@agents.example", &later), key);
        let mut disbelieved = event();
        disbelieved.sender.as_mut().unwrap().auth = SenderAuth::Unknown;
        let other = Mailbox { address: "b@x.example".to_owned(), name: None };
        let others = [
            disbelieved,
            with(|email| email.text = "Please look away".to_owned()),
            with(|email| email.html = Some("<p>other".to_owned())),
            with(|email| email.from = vec![other.clone()]),
            with(|email| email.reply_to = vec![other.clone()]),
            with(|email| (email.to, email.cc) = (Vec::new(), email.to.clone())),
            with(|email| email.references = vec!["m0@x.example".to_owned()]),
            with(|email| email.in_reply_to = vec!["m0@x.example".to_owned()]),
            with(|email| email.envelope_from = Some(String::new())),
        ];
        let mut keys: Vec<String> =
            others.iter().map(|other| content_key("<m1@x.example>|in@agents.example", other)).collect();
        keys.push(key);
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), others.len() + 1);
    }

    #[test]
    fn an_answer_that_would_go_elsewhere_is_another_mail_to_an_agent() {
        let once = once_key(&event());
        assert_eq!(once_key(&with(|email| email.to.clear())), once, "addresses of ours do not matter");
        let other = Mailbox { address: "b@x.example".to_owned(), name: None };
        assert_ne!(once_key(&with(|email| email.reply_to = vec![other.clone()])), once);
        assert_ne!(once_key(&with(|email| email.text.clear())), once);
        assert_eq!(once_key(&with(|email| email.message_id = None)), None);
    }
}
