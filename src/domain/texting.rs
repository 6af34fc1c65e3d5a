//! What is particular to text messages: consent, and messages that come in parts.

use crate::domain::{
    approval::Answering,
    report::{NewReport, Returned},
};

/// What a request changes beside making an event, in the same transaction and only when the event is new.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// What it says about messages of ours.
    pub reports: Vec<NewReport>,
    /// Mails of ours that came back.
    pub returned: Vec<Returned>,
    /// What somebody wants of us from now on.
    pub consent: Option<Consent>,
    /// The part of a long message that it carries.
    pub part: Option<MessagePart>,
    /// The question that it answers.
    pub answer: Option<Answering>,
}

impl Effects {
    /// What changes nothing.
    pub const NONE: Self = Self { reports: Vec::new(), returned: Vec::new(), consent: None, part: None, answer: None };

    /// Whether it changes nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.reports.is_empty()
            && self.returned.is_empty()
            && self.consent.is_none()
            && self.part.is_none()
            && self.answer.is_none()
    }
}

/// Whether somebody takes text messages from a number of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    /// Our number, by [`number_key`].
    pub ours: String,
    /// Theirs, by [`number_key`].
    pub theirs: String,
    /// Whether they opted out or, if they had, back in.
    pub opted_out: bool,
}

/// The most parts of a long message (3GPP TS 23.040 section 9.2.3.24.1: one octet).
pub const MOST_PARTS: u16 = 255;

/// One part of a long message whose provider sends the parts on their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessagePart {
    /// The sender's number for this long message; numbers come again.
    pub reference: String,
    /// Which part, from 1.
    pub number: u16,
    /// Of how many, at most [`MOST_PARTS`].
    pub total: u16,
}

/// A number with the mark of its channel, by which answers find the way back: not every provider writes it.
#[must_use]
pub fn on_channel(kind: &str, number: &str) -> String {
    if kind == "whatsapp" && !number.starts_with("whatsapp:") {
        format!("whatsapp:{number}")
    } else {
        number.to_owned()
    }
}

/// A number or name as it is compared: digits alone, whatever stands between them and whether with a `+`;
/// `whatsapp:` stays in front, names of senders become lower case.
#[must_use]
pub fn number_key(number: &str) -> String {
    let number = number.trim();
    let (prefix, rest) = match number.split_once(':') {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case("whatsapp") => ("whatsapp:", rest),
        Some(_) | None => ("", number),
    };
    if rest.chars().any(char::is_alphabetic) || !rest.bytes().any(|b| b.is_ascii_digit()) {
        return format!("{prefix}{}", rest.to_lowercase());
    }
    let digits: String = rest.chars().filter(char::is_ascii_digit).collect();
    format!("{prefix}{digits}")
}

#[cfg(test)]
mod tests {
    use super::number_key;

    #[test]
    fn numbers_are_equal_however_they_are_written() {
        for (written, key) in [
            ("+1 (415) 555-0132", "14155550132"),
            ("14155550132", "14155550132"),
            ("whatsapp:+14155550132", "whatsapp:14155550132"),
            ("WhatsApp:+1415", "whatsapp:1415"),
            ("ACME Shop", "acme shop"),
            ("MG00ab", "mg00ab"),
            ("", ""),
        ] {
            assert_eq!(number_key(written), key, "{written}");
        }
    }
}
