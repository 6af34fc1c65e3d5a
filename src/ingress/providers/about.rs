//! What a service's JSON says an event is about, as data: pointers (RFC 6901) instead of code.

use crate::{
    crypto,
    domain::event::{Content, Sender, SenderAuth},
    ingress::{ParseFault, Parsed, gate::Verified, providers::webhook},
};

/// Where a service's events say who, what and which conversation.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Appended to the event's name with a dot, the first that is there.
    pub action: &'static [&'static str],
    /// The event's name where the scheme knows none.
    pub kind: &'static str,
    /// Conversations: the first list whose values are all there, joined by `:`, is the thread.
    pub threads: &'static [&'static [&'static str]],
    /// Who acted, as the service identifies people.
    pub sender: &'static [&'static str],
    /// What the service calls them.
    pub sender_name: &'static [&'static str],
    /// Why a sender that is named there can be relied upon.
    pub reliance: &'static str,
    /// A pointer and the text there that says that a program wrote it, and who that is.
    pub bots: &'static [(&'static str, &'static str, &'static str)],
    /// Batches without an id of their own: the pointer to the list, and pointers into each item that together
    /// tell it from others.
    pub items: Option<(&'static str, &'static [&'static str])>,
}

impl About {
    /// Nothing known: what rows start from.
    pub const NOTHING: Self = Self {
        action: &[],
        kind: "webhook",
        threads: &[],
        sender: &[],
        sender_name: &[],
        reliance: "",
        bots: &[],
        items: None,
    };

    /// Reads a believed request.
    ///
    /// # Errors
    /// The body is not what its media type says.
    pub fn parse(&self, verified: &Verified<'_>) -> Result<Parsed, ParseFault> {
        let text = |pointer: &&str| verified.reading().json_text(pointer).filter(|text| !text.is_empty());
        let first = |pointers: &[&str]| pointers.iter().find_map(text);
        let event = verified.event().unwrap_or(self.kind);
        let kind = match first(self.action) {
            Some(action) => format!("{event}.{action}"),
            None => event.to_owned(),
        };
        let mut parsed = webhook::parsed(verified, kind, Content::Webhook(webhook::request(verified)?));
        parsed.thread_key = self.threads.iter().find_map(|parts| {
            let values: Option<Vec<_>> = parts.iter().map(text).collect();
            values.map(|values| values.join(":"))
        });
        parsed.sender = first(self.sender).map(|address| Sender {
            address: address.into_owned(),
            name: first(self.sender_name).map(std::borrow::Cow::into_owned),
            auth: SenderAuth::Verified,
            auth_reason: self.reliance.to_owned(),
            flags: Vec::new(),
        });
        let bot = self.bots.iter().find(|(pointer, wanted, _)| text(pointer).is_some_and(|value| value == *wanted));
        parsed.automatic = bot.map(|(_, _, who)| format!("written by {who}"));
        if let (None, Some(key)) = (verified.replay_id(), self.key_of_items(verified)) {
            parsed.dedupe_key = key;
        }
        Ok(parsed)
    }

    /// A hash of what tells a batch's items from others; `None` when one of them lacks it.
    fn key_of_items(&self, verified: &Verified<'_>) -> Option<String> {
        let (list, pointers) = self.items?;
        let items = verified.reading().json().ok()?.pointer(list)?.as_array().filter(|items| !items.is_empty())?;
        let mut seen = String::new();
        for item in items {
            for pointer in pointers {
                let value = item.pointer(pointer).filter(|value| !value.is_null())?;
                seen.push_str(&value.to_string());
                seen.push('\n');
            }
        }
        Some(format!("sha256:{}", crypto::sha256_hex(seen.as_bytes())))
    }
}
