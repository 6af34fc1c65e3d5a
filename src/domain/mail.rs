//! What a mail carries besides its words: other mails, invitations, reports, signatures.

use serde::{Deserialize, Serialize};

use crate::domain::{event::Mailbox, time::Timestamp};

/// A mail within a mail (`message/rfc822`), opened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Forwarded {
    /// The attachment that it is, by its name in the event.
    pub file: String,
    /// 1 for a mail in the mail itself, 2 for one in that.
    pub depth: u32,
    /// `From`; nobody checked it.
    pub from: Vec<Mailbox>,
    /// `To`.
    pub to: Vec<Mailbox>,
    /// `Date`, when it could be read.
    pub date: Option<Timestamp>,
    /// `Subject`, decoded.
    pub subject: String,
    /// `Message-ID` without angle brackets.
    pub message_id: Option<String>,
    /// Its whole text, at most 200,000 bytes; the file has the rest.
    pub text: String,
    /// Its files, by their names in the event.
    pub attachments: Vec<String>,
}

impl Forwarded {
    /// The mail as text, under a line that says what it is.
    #[must_use]
    pub fn describe(&self) -> String {
        let date = self.date.map(|date| format!("Date: {date}\n")).unwrap_or_default();
        let files = match self.attachments.as_slice() {
            [] => String::new(),
            names => format!("Attachments: {}\n", names.join(", ")),
        };
        format!(
            "--- attachments/{} is this mail:\nFrom: {}\nTo: {}\n{date}Subject: {}\n{files}\n{}\n--- end of {}",
            self.file,
            addresses(&self.from),
            addresses(&self.to),
            self.subject,
            self.text,
            self.file
        )
    }
}

fn addresses(boxes: &[Mailbox]) -> String {
    boxes.iter().map(|mailbox| mailbox.address.as_str()).collect::<Vec<_>>().join(", ")
}

/// A calendar entry (RFC 5545).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Invite {
    /// `REQUEST`, `CANCEL`, `REPLY`, … (RFC 5546); empty when it does not say.
    pub method: String,
    /// Names the entry over all its changes.
    pub uid: String,
    /// The number of the change.
    pub sequence: u32,
    /// What it is called.
    pub summary: String,
    /// When it begins: RFC 3339 where the time zone is UTC or not given, else local time and the zone's name.
    pub start: String,
    /// When it ends, in the same form; empty when it does not say.
    pub end: String,
    /// Where.
    pub location: String,
    /// Who invites.
    pub organizer: Option<Mailbox>,
    /// Who is invited.
    pub attendees: Vec<Attendee>,
    /// `CONFIRMED`, `TENTATIVE`, `CANCELLED`; empty when it does not say.
    pub status: String,
    /// The rule by which it repeats (`RRULE`), as written.
    pub repeats: Option<String>,
    /// The text below the summary.
    pub description: String,
}

impl Invite {
    /// The entry in a few lines.
    #[must_use]
    pub fn describe(&self) -> String {
        let kind = if self.method.is_empty() { "entry" } else { self.method.as_str() };
        let mut text = format!("Calendar {kind}: {}\n", self.summary);
        let end = if self.end.is_empty() { String::new() } else { format!(" to {}", self.end) };
        let people: Vec<&str> = self.attendees.iter().take(20).map(|who| who.address.as_str()).collect();
        for (name, value) in [
            ("When", format!("{}{end}", self.start)),
            ("Repeats", self.repeats.clone().unwrap_or_default()),
            ("Where", self.location.clone()),
            ("Organizer", self.organizer.as_ref().map(|who| who.address.clone()).unwrap_or_default()),
            ("Attendees", people.join(", ")),
            ("Status", self.status.clone()),
        ] {
            if !value.is_empty() {
                text.push_str(&format!("{name}: {value}\n"));
            }
        }
        text
    }
}

/// Somebody invited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attendee {
    /// The address after `mailto:`.
    pub address: String,
    /// The common name.
    pub name: Option<String>,
    /// `ACCEPTED`, `DECLINED`, `TENTATIVE`, `NEEDS-ACTION`; empty when it does not say.
    pub answer: String,
}

/// A report of a mail system or reader about an earlier mail (RFC 3464, RFC 8098, RFC 5965).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MailReport {
    /// What kind of report.
    pub kind: ReportKind,
    /// The host that reports.
    pub reporter: Option<String>,
    /// What became of the mail for each recipient, as far as it says.
    pub recipients: Vec<ReportedRecipient>,
    /// `Message-ID` of the mail that it is about, without angle brackets.
    pub original_message_id: Option<String>,
    /// `Original-Envelope-Id` (RFC 3461): what we gave as `ENVID`.
    pub original_envelope_id: Option<String>,
    /// `Subject` of the mail that it is about.
    pub original_subject: Option<String>,
    /// What the reader's program did (RFC 8098 `Disposition`), or the kind of complaint (RFC 5965 `Feedback-Type`).
    pub disposition: Option<String>,
}

/// Kinds of reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReportKind {
    /// Delivered, delayed or not delivered (RFC 3464).
    #[default]
    Delivery,
    /// Shown or thrown away (RFC 8098).
    Disposition,
    /// Complained about (RFC 5965).
    Feedback,
}

/// What became of a mail for one recipient.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReportedRecipient {
    /// `Final-Recipient`, or the only one known.
    pub address: String,
    /// `Original-Recipient`: the address that we wrote to, when it is another one.
    pub original: Option<String>,
    /// `failed`, `delayed`, `delivered`, `relayed` or `expanded`; empty when it does not say.
    pub action: String,
    /// The enhanced status code of RFC 3463, such as `5.1.1`.
    pub status: Option<String>,
    /// What the other mail system said.
    pub diagnostic: Option<String>,
}

impl ReportedRecipient {
    /// Whether no later attempt can succeed: class 5 of RFC 3463, or `failed` without a class.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self.status.as_deref().and_then(|status| status.chars().next()) {
            Some(class) => class == '5',
            None => self.action == "failed",
        }
    }
}

/// How a mail is protected, the stronger last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailSecurity {
    /// S/MIME or PGP signature beside or around the text.
    Signed,
    /// Nobody but the holder of a key can read it; the text is not here.
    Encrypted,
}
