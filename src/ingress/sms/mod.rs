//! Text messages of any provider: what a message and a status callback mean, once their fields are read.

#[cfg(test)]
mod tests;
pub mod words;

use crate::{
    domain::{
        event::{AgentEvent, Content, Media, Sender, SenderAuth, Sms},
        fetch::{Stays, StoredFiles},
        report::{NewReport, ReportStatus},
        texting::{Consent, MessagePart, number_key, on_channel},
    },
    ingress::{
        ParseFault, Parsed,
        gate::Verified,
        providers::webhook,
        sms::words::{Wish, is_yes, wish, wish_named},
    },
};

/// Pictures and other files of one message that are kept at most; Twilio sends ten.
pub const MOST_MEDIA: usize = 10;
/// Reports of one request that are kept at most: a group message has one for each member.
const MOST_REPORTS: usize = 100;

/// A message as its provider told it.
#[derive(Clone, Debug, Default)]
pub struct Arrived {
    /// `sms`, `whatsapp`, `rcs`, …: what the event is called.
    pub kind: &'static str,
    /// Its fields; `opt_out` is filled in here.
    pub sms: Sms,
    /// The provider's own word for what the message asks for, when it has such a field.
    pub intent: Option<String>,
    /// Which part of a long message it is.
    pub part: Option<MessagePart>,
}

/// The event of a message.
#[must_use]
pub fn message(verified: &Verified<'_>, arrived: Arrived) -> Parsed {
    let Arrived { kind, sms, intent, part } = arrived;
    let key = webhook::dedupe_key(verified);
    let Some(part) = part else { return whole(kind, sms, key, intent.as_deref()) };
    let mut parsed = plain(kind, &sms, key);
    parsed.quiet = Some(format!("part {} of {} of a long message", part.number, part.total));
    parsed.effects.part = Some(part);
    parsed.content = Content::Sms(sms);
    parsed
}

/// The event of a long message that came in parts; `key` is its dedupe key.
#[must_use]
pub fn joined(kind: &str, sms: Sms, key: String) -> Parsed {
    whole(kind, sms, key, None)
}

fn plain(kind: &str, sms: &Sms, dedupe_key: String) -> Parsed {
    let mut parsed = webhook::bare(dedupe_key, kind.to_owned(), Content::Sms(Sms::default()));
    parsed.thread_key = Some(format!("{}|{}", sms.from, sms.to));
    parsed.sender = Some(Sender {
        address: sms.from.clone(),
        name: sms.profile_name.clone(),
        auth: SenderAuth::Unknown,
        auth_reason: "the provider signed the request, but the number a message comes from can be forged".to_owned(),
        flags: Vec::new(),
    });
    parsed
}

fn whole(kind: &str, mut sms: Sms, key: String, intent: Option<&str>) -> Parsed {
    let mut parsed = plain(kind, &sms, key);
    // A provider that counts YES as START says no more than the word does, which is a common answer as well.
    let named = intent.and_then(wish_named).filter(|wish| *wish != Wish::Start || !is_yes(&sms.text));
    let asked = named.or_else(|| wish(&sms.text));
    parsed.quiet = asked.map(|wish| match wish {
        Wish::Stop => "the opt-out word STOP: they get no more messages from this number".to_owned(),
        Wish::Start => "the opt-in word START: they get messages from this number again".to_owned(),
        Wish::Help => "the word HELP, which the provider answers".to_owned(),
    });
    let key = |number: &str| number_key(&on_channel(kind, number));
    let consent = |opted_out| Consent { ours: key(&sms.to), theirs: key(&sms.from), opted_out };
    parsed.effects.consent = match asked {
        Some(Wish::Stop) => Some(consent(true)),
        Some(Wish::Start) => Some(consent(false)),
        None if is_yes(&sms.text) => Some(consent(false)),
        Some(Wish::Help) | None => None,
    };
    sms.opt_out = asked.map(|wish| wish.as_str().to_owned());
    parsed.stored = (!sms.media.is_empty()).then(|| Stays::Files(StoredFiles { media: sms.media.clone() }));
    parsed.content = Content::Sms(sms);
    parsed
}

/// The event of a message whose files were fetched, or finally were not: `media` says which.
#[must_use]
pub fn with_files(told: &AgentEvent, kind: &str, key: String, media: Vec<Media>) -> Option<Parsed> {
    let Content::Sms(sms) = &told.content else { return None };
    let mut parsed = webhook::bare(key, kind.to_owned(), Content::Sms(Sms { media, ..sms.clone() }));
    parsed.thread_key.clone_from(&told.thread_key);
    parsed.sender.clone_from(&told.sender);
    Some(parsed)
}

/// The event of a status callback: quiet, and matched to the messages that it is about.
///
/// # Errors
/// The body is not what its media type says.
pub fn status(verified: &Verified<'_>, word: &str, mut reports: Vec<NewReport>) -> Result<Parsed, ParseFault> {
    let word = word.to_ascii_lowercase();
    let mut parsed = webhook::parsed(verified, format!("sms.{word}"), Content::Webhook(webhook::request(verified)?));
    parsed.quiet = Some(format!("a status callback: {word}"));
    reports.retain(|report| !report.about.is_empty());
    reports.truncate(MOST_REPORTS);
    parsed.effects.reports = reports;
    Ok(parsed)
}

/// A string or a number of JSON as text.
#[must_use]
pub fn word_of(value: &serde_json::Value) -> Option<String> {
    value.as_str().map(str::to_owned).or_else(|| value.as_number().map(ToString::to_string))
}

/// How far a message came by the words of the providers; a word that nobody knows tells of no arrival.
#[must_use]
pub fn progress(word: &str) -> ReportStatus {
    match word.to_ascii_lowercase().as_str() {
        "queued" | "accepted" | "scheduled" | "sending" | "buffered" => ReportStatus::Waiting,
        "delivered" | "webhook_delivered" => ReportStatus::Delivered,
        "read" => ReportStatus::Read,
        "undelivered" | "undeliverable" | "delivery_failed" | "expired" => ReportStatus::Undelivered,
        "failed" | "rejected" | "sending_failed" | "canceled" | "deleted" => ReportStatus::Failed,
        _ => ReportStatus::Sent,
    }
}
