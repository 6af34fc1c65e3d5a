//! Answers as those who get them see them.

use crate::domain::delivery::Message;

/// The lines of an answer: its head, an empty line, its text.
pub(super) fn lines(message: &Message) -> Vec<String> {
    let mut lines = Vec::new();
    let mut head = |name: &str, value: &str| lines.push(format!("{name}: {value}"));
    let text = match message {
        Message::Email(email) => {
            head("From", &email.from);
            head("To", &email.to);
            head("Subject", &email.subject);
            if let Some(id) = &email.in_reply_to {
                head("In-Reply-To", &format!("<{id}>"));
            }
            email.text.clone()
        }
        Message::Sms(sms) => {
            head("From", &sms.from);
            head("To", &sms.to);
            sms.text.clone()
        }
        Message::Webhook(webhook) => {
            head("POST", &webhook.url);
            head("Type", &webhook.kind);
            serde_json::to_string_pretty(&webhook.data).unwrap_or_default()
        }
    };
    lines.push(String::new());
    lines.extend(text.trim_end().lines().map(plain));
    lines
}

/// Text from outside without the characters that steer a terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}
