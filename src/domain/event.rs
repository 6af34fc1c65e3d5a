//! What arrived: the normalised inbound record.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::domain::{
    agent_note::AgentNote,
    id::{AttachmentId, EventId, SourceId, TenantId},
    mail::{Forwarded, Invite, MailReport, MailSecurity},
    segment::{Segment, SegmentKind},
    template::clip,
    time::Timestamp,
};

/// Something that happened outside, in our words. Written once, never changed.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentEvent {
    /// Ours.
    pub id: EventId,
    /// Whose.
    pub tenant: TenantId,
    /// The address it came in by.
    pub source: SourceId,
    /// That address's name in configuration and in the URL.
    pub source_name: String,
    /// The provider's id for this delivery, or a hash of the body. Two events of one source with
    /// the same key are one event.
    pub dedupe_key: String,
    /// What the provider calls it: `email`, `sms`, `issues.opened`, `invoice.paid`, …
    pub kind: String,
    /// Names the conversation at the provider (mail thread, phone number, issue), when it has one.
    pub thread_key: Option<String>,
    /// Who sent it, when somebody did.
    pub sender: Option<Sender>,
    /// Why this was made by a machine (RFC 3834 and kin): it is never answered. `None` for people.
    pub automatic: Option<String>,
    /// When the request had been read in full.
    pub received_at: Timestamp,
    /// What it says.
    pub content: Content,
    /// Files that came with it, in order. Their bytes lie in the store.
    pub attachments: Vec<Attachment>,
}

/// Who sent an event and how surely.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// Mail address (domain in lower case) or E.164 number; what allow-lists are matched against.
    pub address: String,
    /// Display name; chosen by the sender, so proof of nothing.
    pub name: Option<String>,
    /// How strongly the address was authenticated.
    pub auth: SenderAuth,
    /// Why `auth` is what it is, in words.
    pub auth_reason: String,
    /// What makes it look like somebody else. Shown, and decides nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<SenderFlag>,
}

/// What makes a mail's sender look like somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SenderFlag {
    /// More than one `From`.
    SeveralFrom,
    /// The display name holds another address than the sender's.
    AddressInName,
    /// `Reply-To` is of another organisation than `From`.
    ReplyToElsewhere,
    /// One name of the domain mixes scripts whose letters look alike.
    MixedScripts,
    /// The domain is nearly one that a trigger's `from` allows.
    LookalikeDomain,
}

/// How strongly a sender's address was authenticated, beyond the provider's own signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SenderAuth {
    /// Somebody whom we trust checked that the sender owns the address.
    Verified,
    /// A check was made and failed.
    Failed,
    /// Nobody checked.
    Unknown,
}

/// What an event says. Tagged by the channel it came through.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "channel", rename_all = "lowercase")]
#[expect(clippy::large_enum_variant, reason = "mail is the common case, and an event is moved seldom")]
pub enum Content {
    /// An email.
    Email(Email),
    /// A text message.
    Sms(Sms),
    /// A verified HTTP request of any other kind.
    Webhook(Webhook),
    /// A time of a schedule; nobody sent it.
    Schedule(Tick),
    /// What an agent started; nobody sent it.
    Agent(AgentNote),
}

impl Content {
    /// The channel's name: `email`, `sms`, `webhook`, `schedule` or `agent`.
    #[must_use]
    pub const fn channel(&self) -> &'static str {
        match self {
            Self::Email(_) => "email",
            Self::Sms(_) => "sms",
            Self::Webhook(_) => "webhook",
            Self::Schedule(_) => "schedule",
            Self::Agent(_) => "agent",
        }
    }
}

/// A mail address with its display name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mailbox {
    /// The addr-spec, domain in lower case.
    pub address: String,
    /// The display name, control characters removed.
    pub name: Option<String>,
}

/// One mail, equal for equal mail whatever provider carried it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Email {
    /// `From`, as many as there are; more than one is never trusted.
    pub from: Vec<Mailbox>,
    /// `To`.
    pub to: Vec<Mailbox>,
    /// `Cc`.
    pub cc: Vec<Mailbox>,
    /// `Reply-To`.
    pub reply_to: Vec<Mailbox>,
    /// SMTP MAIL FROM; `Some("")` is the null sender of bounces, `None` is not known.
    pub envelope_from: Option<String>,
    /// SMTP RCPT TO: the addresses of ours for which this copy came.
    pub envelope_to: Vec<String>,
    /// `Subject`, decoded.
    pub subject: String,
    /// `Date`, when it could be read.
    pub date: Option<Timestamp>,
    /// The whole text: text/plain, or the HTML as text.
    pub text: String,
    /// The part that the sender wrote now, without quoted history and signature. Answers between quoted lines
    /// keep those lines above them, behind `> `.
    pub new_text: String,
    /// The whole text cut into labelled stretches, in order. Empty in events that older versions stored.
    pub segments: Vec<Segment>,
    /// The HTML part as it came; never shown unescaped.
    pub html: Option<String>,
    /// `Message-ID` without angle brackets.
    pub message_id: Option<String>,
    /// `In-Reply-To` ids without angle brackets.
    pub in_reply_to: Vec<String>,
    /// `References` ids without angle brackets, oldest first.
    pub references: Vec<String>,
    /// Every header in order, as text with control characters removed.
    pub headers: Vec<(String, String)>,
    /// What the provider itself says of the mail, beside it and not in it, so that no sender can write it: `spf`,
    /// `dkim`, `dmarc`, `spam`, `virus`, `spam_score`, `sender_ip`, `message_id` (the provider's own). Empty when
    /// it says nothing; it differs from provider to provider.
    pub provider: BTreeMap<String, String>,
    /// Mails that it carries as parts, outermost first.
    pub forwarded: Vec<Forwarded>,
    /// Calendar entries that it carries.
    pub invites: Vec<Invite>,
    /// What a mail system says about an earlier mail.
    pub report: Option<MailReport>,
    /// That it is signed or encrypted; nothing of that is checked or undone.
    pub security: Option<MailSecurity>,
}

/// One text message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sms {
    /// The provider's id of the message.
    pub message_id: String,
    /// E.164, or `whatsapp:+…`.
    pub from: String,
    /// E.164, or `whatsapp:+…`; ours.
    pub to: String,
    /// The body.
    pub text: String,
    /// Pictures and other files; see `Media::file` for what became of each.
    pub media: Vec<Media>,
    /// `STOP`, `START` or `HELP` when the provider or the text says so: no agent runs.
    pub opt_out: Option<String>,
    /// The sender's profile name on WhatsApp.
    pub profile_name: Option<String>,
}

/// A reference to media at the provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Media {
    /// Where the provider keeps it.
    pub url: String,
    /// What the provider says it is.
    pub content_type: String,
    /// The name of the attachment of this event that it became, once it was fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Why it could not be fetched. Neither this nor `file` stands where the source fetches nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// A time of a schedule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tick {
    /// The schedule's name.
    pub name: String,
    /// Its rule in words.
    pub rule: String,
    /// When it was due; the event may be later.
    pub planned_at: Timestamp,
    /// The same as the clocks of the schedule's time zone show it, with the offset.
    pub local_time: String,
    /// Times before it that were passed over since the last event.
    pub missed: i64,
}

/// A verified HTTP request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Webhook {
    /// Names in lower case; repeated lines joined by `, `; credentials and signatures left out.
    pub headers: BTreeMap<String, String>,
    /// Decoded; of repeated names the last.
    pub query: BTreeMap<String, String>,
    /// The body by its own content type.
    pub body: Body,
}

/// A request body as read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "value", rename_all = "lowercase")]
pub enum Body {
    /// No body.
    #[default]
    Empty,
    /// JSON.
    Json(Value),
    /// JSON that is put together from the body and what stands beside it, so that it is not in the raw request.
    Assembled(Value),
    /// A form, in order, repeats kept.
    Form(Vec<(String, String)>),
    /// Any other text.
    Text(String),
    /// Bytes that are no text; they are in the raw request only.
    Binary {
        /// How many.
        size: u64,
    },
}

impl Body {
    /// The body as filters and templates see it: JSON as it is, a form as an object (repeated
    /// names become arrays), text as a string.
    #[must_use]
    pub fn view(&self) -> Value {
        match self {
            Self::Empty => Value::Null,
            Self::Json(value) | Self::Assembled(value) => value.clone(),
            Self::Text(text) => Value::String(text.clone()),
            Self::Binary { size } => json!({ "size": size }),
            Self::Form(fields) => {
                let mut map = serde_json::Map::new();
                for (name, value) in fields {
                    let value = Value::String(value.clone());
                    match map.get_mut(name) {
                        None => {
                            map.insert(name.clone(), value);
                        }
                        Some(Value::Array(values)) => values.push(value),
                        Some(first) => *first = Value::Array(vec![first.take(), value]),
                    }
                }
                Value::Object(map)
            }
        }
    }
}

/// A file that came with an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Ours; names the file in the store.
    pub id: AttachmentId,
    /// A safe base name: no path, no control characters, at most 255 bytes, unique in its event.
    pub filename: String,
    /// The declared media type in lower case, without parameters.
    pub content_type: String,
    /// Bytes.
    pub size: u64,
    /// Lower-case hex SHA-256 of the bytes.
    pub sha256: String,
    /// `Content-ID` without angle brackets, for inline pictures.
    pub content_id: Option<String>,
    /// The media type that the bytes themselves show, where they show one: plain text has no mark.
    #[serde(default)]
    pub sniffed_type: Option<String>,
    /// The name of the file of this event that it was taken out of: a forwarded mail, a `winmail.dat`.
    #[serde(default)]
    pub within: Option<String>,
    /// Why its bytes were not kept; `size` and `sha256` are still those of the file that came.
    #[serde(default)]
    pub refused: Option<String>,
}

impl AgentEvent {
    /// The one JSON form of an event: what agents get on stdin, what filters (`where`) and
    /// templates see, and what the API shows.
    #[must_use]
    pub fn view(&self) -> Value {
        let mut view = json!({
            "id": self.id,
            "channel": self.content.channel(),
            "kind": self.kind,
            "source": self.source_name,
            "received_at": self.received_at,
            "dedupe_key": self.dedupe_key,
            "thread": self.thread_key,
            "sender": self.sender,
            "flags": self.sender.as_ref().map_or(&[][..], |sender| &sender.flags),
            "automatic": self.automatic,
            "attachments": self.attachments,
        });
        let fields = match &self.content {
            Content::Email(email) => email.view(),
            Content::Sms(sms) => json!({
                "from": sms.from, "to": [sms.to], "text": sms.text,
                "message_id": sms.message_id, "media": sms.media,
                "opt_out": sms.opt_out, "profile_name": sms.profile_name,
            }),
            Content::Webhook(hook) => json!({
                "headers": hook.headers, "query": hook.query, "body": hook.body.view(),
            }),
            Content::Schedule(tick) => json!({ "schedule": tick }),
            Content::Agent(note) => json!({ "agent": note }),
        };
        if let (Value::Object(view), Value::Object(fields)) = (&mut view, fields) {
            view.extend(fields);
        }
        view
    }
}

/// The header in which an agent's mail says how many agents it has gone through.
pub const HOPS_HEADER: &str = "X-Postern-Hops";

impl AgentEvent {
    /// The `Message-ID` of a mail, by which answers to it are known.
    #[must_use]
    pub fn message_id(&self) -> Option<&str> {
        match &self.content {
            Content::Email(email) => email.message_id.as_deref().filter(|id| id.len() <= LONGEST_MESSAGE_ID),
            Content::Sms(_) | Content::Webhook(_) | Content::Schedule(_) | Content::Agent(_) => None,
        }
    }

    /// What an agent wrote, when it made the event.
    #[must_use]
    pub const fn note(&self) -> Option<&AgentNote> {
        match &self.content {
            Content::Agent(note) => Some(note),
            Content::Email(_) | Content::Sms(_) | Content::Webhook(_) | Content::Schedule(_) => None,
        }
    }
}

/// Bytes of a `Message-ID` that is remembered (RFC 5322 allows lines of 998 characters).
const LONGEST_MESSAGE_ID: usize = 998;
/// Bytes of a subject in a summary at most.
const SUMMARY_SUBJECT: usize = 300;
/// Bytes of a text whose segments are shown at most.
const MAX_SEGMENTED_BYTES: usize = 256 * 1024;
/// Addresses of ours in a summary at most.
const SUMMARY_ADDRESSES: usize = 10;

impl AgentEvent {
    /// What lists show of an event: short whatever was sent.
    #[must_use]
    pub fn summary(&self) -> Value {
        let channel = self.content.channel();
        let address = |text: &str| clip(text, SUMMARY_SUBJECT).to_owned();
        match &self.content {
            Content::Webhook(_) => json!({ "channel": channel }),
            Content::Schedule(tick) => json!({ "channel": channel, "subject": clip(&tick.name, SUMMARY_SUBJECT) }),
            Content::Agent(note) => json!({
                "channel": channel, "from": clip(&note.by, SUMMARY_SUBJECT), "run": note.run,
                "subject": clip(&note.text, SUMMARY_SUBJECT),
            }),
            Content::Sms(sms) => json!({"channel": channel, "from": address(&sms.from), "to": [address(&sms.to)]}),
            Content::Email(email) => {
                let to = email.own_addresses().into_iter().take(SUMMARY_ADDRESSES).map(|to| address(&to));
                json!({
                    "channel": channel,
                    "from": email.from.first().map(|from| address(&from.address)),
                    "to": to.collect::<Vec<_>>(),
                    "subject": clip(&email.subject, SUMMARY_SUBJECT),
                })
            }
        }
    }
}

impl Email {
    /// The addresses of ours that it came to: by its envelope, or by its header when that is not known.
    #[must_use]
    pub fn own_addresses(&self) -> Vec<String> {
        if self.envelope_to.is_empty() {
            return self.to.iter().map(|to| to.address.clone()).collect();
        }
        self.envelope_to.clone()
    }

    /// How many agents of gateways like this one the mail has gone through, as it says.
    #[must_use]
    pub fn hops(&self) -> u32 {
        let found = self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(HOPS_HEADER));
        found.map_or(0, |(_, value)| value.split(';').next().unwrap_or_default().trim().parse().unwrap_or(1))
    }

    /// The labelled stretches of its text.
    pub fn pieces(&self) -> impl Iterator<Item = (SegmentKind, &str)> {
        self.segments.iter().map(|segment| (segment.kind, segment.of(&self.text)))
    }

    /// The labelled stretches as JSON; `null` for a text beyond 256 KiB: a JSON of a mail must not be many times the mail.
    #[must_use]
    pub fn segments_view(&self) -> Option<Vec<Value>> {
        let shown = self.text.len() <= MAX_SEGMENTED_BYTES;
        shown.then(|| self.pieces().map(|(kind, text)| json!({"kind": kind, "text": text})).collect())
    }

    fn view(&self) -> Value {
        let headers: BTreeMap<String, &str> =
            self.headers.iter().rev().map(|(name, value)| (name.to_ascii_lowercase(), value.as_str())).collect();
        json!({
            "from": self.from.first().map(|b| b.address.clone()).unwrap_or_default(),
            "to": self.own_addresses(),
            "subject": self.subject,
            "text": self.new_text,
            "full_text": self.text,
            "segments": self.segments_view(),
            "html": self.html,
            "message_id": self.message_id,
            "in_reply_to": self.in_reply_to,
            "references": self.references,
            "date": self.date,
            "headers": headers,
            "forwarded": self.forwarded,
            "invites": self.invites,
            "report": self.report,
            "security": self.security,
            "mail": { "from": self.from, "to": self.to, "cc": self.cc, "reply_to": self.reply_to,
                      "envelope_from": self.envelope_from, "envelope_to": self.envelope_to,
                      "provider": self.provider },
        })
    }
}
