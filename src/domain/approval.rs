//! A question that a run waits on, and what counts as its answer.

use serde::{Deserialize, Serialize};

use crate::domain::{
    id::{ApprovalId, DeliveryId, EventId, RunId, SessionId, TenantId},
    template::clip,
    time::Timestamp,
};

/// Bytes of an answer that are kept.
pub const MOST_ANSWER: usize = 16 * 1024;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApprovalKind {
    /// Something that the agent wants to know.
    Question,
    /// Whether it may do what a rule `ask` is about: yes or no.
    Permission,
}

impl ApprovalKind {
    /// The word in columns and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Question => "question",
            Self::Permission => "permission",
        }
    }
}

/// Where an approval is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApprovalState {
    /// Nobody has answered yet.
    Waiting,
    /// Somebody has: with what they said, or with a refusal.
    Answered,
    /// Nobody did in time.
    Expired,
    /// The run ended without it.
    Canceled,
}

/// What can happen to an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApprovalStep {
    /// An answer came.
    Answer,
    /// Its time is over.
    Expire,
    /// Its run has ended.
    Cancel,
}

impl ApprovalState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Answered, Self::Expired, Self::Canceled];

    /// The state after `step`, or `None` where `step` means nothing.
    #[must_use]
    pub const fn after(self, step: ApprovalStep) -> Option<Self> {
        match (self, step) {
            (Self::Waiting, ApprovalStep::Answer) => Some(Self::Answered),
            (Self::Waiting, ApprovalStep::Expire) => Some(Self::Expired),
            (Self::Waiting, ApprovalStep::Cancel) => Some(Self::Canceled),
            (Self::Answered | Self::Expired | Self::Canceled, _) => None,
        }
    }

    /// The word in columns and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Answered => "answered",
            Self::Expired => "expired",
            Self::Canceled => "canceled",
        }
    }

    /// Reads the word of a column or a query.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// By which way an answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnswerWay {
    /// The API, or the command line over it.
    Api,
    /// A reply to the question's mail.
    Email,
    /// A text message.
    Sms,
}

impl AnswerWay {
    /// The word in columns and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Email => "email",
            Self::Sms => "sms",
        }
    }
}

/// A question as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Approval {
    /// Ours.
    pub id: ApprovalId,
    /// Whose.
    pub tenant: TenantId,
    /// The run that waits.
    pub run: RunId,
    /// The conversation of that run.
    pub session: Option<SessionId>,
    /// Its agent's name.
    pub agent: String,
    /// What is asked for.
    pub kind: ApprovalKind,
    /// In words, without secrets of the run.
    pub question: String,
    /// The answers that are offered; others may be given all the same.
    pub options: Vec<String>,
    /// `email`, `sms` or `webhook`: how the question went out.
    pub channel: String,
    /// Whom it was put to: an address, a number, a URL.
    pub asked: String,
    /// The message that carries it.
    pub delivery: DeliveryId,
    /// Where it is; one whose time is over is `expired`, also where nobody has written that yet.
    pub state: ApprovalState,
    /// What was said.
    pub answer: Option<String>,
    /// The answer is a refusal.
    pub denied: bool,
    /// Who answered: an address, a number, or the name that the caller of the API gave.
    pub answered_by: Option<String>,
    /// By which way.
    pub answered_way: Option<AnswerWay>,
    /// The event that was the answer.
    pub event: Option<EventId>,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// Until when an answer counts.
    pub expires_at: Timestamp,
    /// When it was answered, or ended otherwise.
    pub ended_at: Option<Timestamp>,
}

/// What a text is as an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// What was said, as it is kept: an option as the question writes it, where the text means one.
    pub answer: String,
    /// It is a refusal.
    pub denied: bool,
}

/// An answer to a question that a run waits on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answering {
    /// The question.
    pub approval: ApprovalId,
    /// What was said.
    pub said: Read,
    /// Who said it.
    pub by: String,
    /// By which way.
    pub way: AnswerWay,
}

/// Words that permit; anything else does not.
const YES: [&str; 14] =
    ["yes", "y", "ok", "okay", "allow", "allowed", "approve", "approved", "confirm", "go", "ja", "j", "oui", "si"];

/// Reads `text` as the answer to a question of that kind with these options.
///
/// A permission is given by a first line that is nothing but a word of consent: `yes, but not to main` gives none.
#[must_use]
pub fn read(kind: ApprovalKind, options: &[String], text: &str) -> Read {
    let text = clip(text.trim(), MOST_ANSWER).trim();
    match kind {
        ApprovalKind::Permission => Read { answer: text.to_owned(), denied: !is_consent(text) },
        ApprovalKind::Question => Read { answer: option_of(options, text).unwrap_or(text).to_owned(), denied: false },
    }
}

fn is_consent(text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    if first.trim_start().starts_with('>') {
        // Quoted, so somebody else's.
        return false;
    }
    let word = first.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    YES.contains(&word.as_str())
}

/// The option that a text means: by its words, or by its number from 1.
fn option_of<'a>(options: &'a [String], text: &str) -> Option<&'a str> {
    let plain = |text: &str| text.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    let said = plain(text);
    let by_words = options.iter().find(|option| plain(option) == said);
    let by_number = || options.get(said.parse::<usize>().ok()?.checked_sub(1)?);
    by_words.or_else(by_number).map(String::as_str)
}

/// The few characters by which a question in a text message is told from others.
#[must_use]
pub fn short_reference(id: &ApprovalId) -> String {
    let text = id.as_str();
    text.get(text.len().saturating_sub(4)..).unwrap_or(text).to_uppercase()
}

/// Takes the reference out of a text that has it as a word of its own, and the word `Ref` or `Reference` before it. Lines
/// stay lines; `None` when it is not there.
#[must_use]
pub fn without_reference(text: &str, reference: &str) -> Option<String> {
    let mut is_there = false;
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let mut words: Vec<&str> = Vec::new();
        for word in line.split_whitespace() {
            if !is_reference(word, reference) {
                words.push(word);
                continue;
            }
            is_there = true;
            if words.last().is_some_and(|before| is_label(before)) {
                words.pop();
            }
        }
        lines.push(words.join(" "));
    }
    is_there.then(|| lines.join("\n").trim().to_owned())
}

fn bare(word: &str) -> &str {
    word.trim_matches(|c: char| !c.is_alphanumeric())
}

/// `7k2m`, `(7K2M)`, and in one word with its label: `Ref:7K2M`.
fn is_reference(word: &str, reference: &str) -> bool {
    let word = bare(word);
    let labelled = || word.rsplit_once(|c: char| !c.is_alphanumeric());
    word.eq_ignore_ascii_case(reference)
        || labelled().is_some_and(|(label, rest)| rest.eq_ignore_ascii_case(reference) && is_label(label))
}

fn is_label(word: &str) -> bool {
    ["ref", "reference"].iter().any(|label| bare(word).eq_ignore_ascii_case(label))
}

#[cfg(test)]
mod tests {
    use super::{ApprovalKind, ApprovalState, ApprovalStep, read, short_reference, without_reference};
    use crate::domain::{id::ApprovalId, time::Timestamp};

    #[test]
    fn only_a_waiting_question_changes() {
        for state in ApprovalState::ALL {
            for step in [ApprovalStep::Answer, ApprovalStep::Expire, ApprovalStep::Cancel] {
                assert_eq!(state.after(step).is_some(), state == ApprovalState::Waiting, "{state:?} {step:?}");
            }
            assert_eq!(ApprovalState::parse(state.as_str()), Some(state));
        }
    }

    #[test]
    fn a_permission_needs_a_plain_yes() {
        for text in ["yes", "Yes.", " OK \n\nBest, Dana", "ja!", "**Approved**\nsecond line"] {
            assert!(!read(ApprovalKind::Permission, &[], text).denied, "{text:?}");
        }
        for text in ["", "no", "yes, but not to main", "not yes", "yesterday", "\n> yes", "sure thing, maybe"] {
            assert!(read(ApprovalKind::Permission, &[], text).denied, "{text:?}");
        }
    }

    #[test]
    fn an_option_is_meant_by_its_words_or_its_number() {
        let options = ["Refund".to_owned(), "Send again".to_owned()];
        let said = |text: &str| read(ApprovalKind::Question, &options, text).answer;
        assert_eq!(
            (said("refund."), said("2)"), said(" SEND AGAIN ")),
            ("Refund".into(), "Send again".into(), "Send again".into())
        );
        assert_eq!((said("3"), said("0"), said("ask her")), ("3".into(), "0".into(), "ask her".into()));
    }

    #[test]
    fn a_reference_is_taken_out_of_a_text() {
        assert_eq!(short_reference(&ApprovalId::new(Timestamp(1_795_000_000_000))).len(), 4);
        for (text, rest) in [
            ("yes (7k2m)", Some("yes")),
            ("yes Ref 7K2M", Some("yes")),
            ("Yes, ref: 7k2m.", Some("Yes,")),
            ("REFERENCE #7K2M ok", Some("ok")),
            ("yes ref#7K2M", Some("yes")),
            ("yes (Ref. 7K2M)", Some("yes")),
            ("yes 7K2M\nThanks,\n Dana", Some("yes\nThanks,\nDana")),
            ("Ref 7K2M\nyes", Some("yes")),
            ("Refund it, ref 7K2M, 7k2m", Some("Refund it,")),
            ("prefer-7K2M", None),
            ("7K2MX yes", None),
            ("yes", None),
        ] {
            assert_eq!(without_reference(text, "7K2M").as_deref(), rest, "{text:?}");
        }
        let read = |text: &str| read(ApprovalKind::Permission, &[], &without_reference(text, "7K2M").unwrap());
        assert!(!read("yes Ref 7K2M").denied && !read("Yes, ref: 7k2m.\nThanks").denied);
        assert!(read("Ref 7K2M\n> yes").denied && read("no, ref 7K2M").denied);
    }
}
