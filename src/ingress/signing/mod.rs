//! The mirror of verification: requests that a source believes, for tests and demonstrations. Pure.

mod form;
mod mac;
mod mail;
mod mime;
mod preset;
mod private_key;
pub mod raw;
mod seal;
mod sms;
mod webhook;

pub use private_key::PrivateKey;

use serde_json::Value;

use crate::{
    crypto::Secret,
    domain::{source::SourceSpec, time::Timestamp},
};

/// What is to be sent, before it looks like a provider's request.
#[derive(Clone, Debug)]
pub enum Draft {
    /// A mail to an agent.
    Mail(MailDraft),
    /// A text message to an agent.
    Sms(SmsDraft),
    /// An event of some service.
    Hook(HookDraft),
}

/// A mail to an agent.
#[derive(Clone, Debug, Default)]
pub struct MailDraft {
    /// Who writes, an address with or without a name.
    pub from: String,
    /// The agent's address, bare.
    pub to: String,
    /// The subject.
    pub subject: String,
    /// The text; there is no HTML.
    pub text: String,
    /// The id of the mail that is answered, without brackets.
    pub in_reply_to: Option<String>,
    /// What is attached.
    pub files: Vec<FileDraft>,
    /// How it is handed over where its carrier knows several ways.
    pub form: MailForm,
}

/// How a carrier hands a mail over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MailForm {
    /// Its parts apart from each other.
    #[default]
    Parsed,
    /// As it was sent (RFC 5322).
    Raw,
}

/// A file of a mail.
#[derive(Clone, Debug)]
pub struct FileDraft {
    /// A base name.
    pub filename: String,
    /// Its media type.
    pub content_type: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A text message to an agent.
#[derive(Clone, Debug, Default)]
pub struct SmsDraft {
    /// Who writes: `+1555…`, or `whatsapp:+…`.
    pub from: String,
    /// The agent's number.
    pub to: String,
    /// The text.
    pub text: String,
}

/// An event of some service.
#[derive(Clone, Debug)]
pub struct HookDraft {
    /// What happened, in the provider's words: `issues.opened`, `charge.succeeded`, …
    pub kind: Option<String>,
    /// The JSON body; what its provider always has in it is added where it is missing.
    pub body: Value,
}

/// What makes one request different from another.
#[derive(Clone, Copy)]
pub struct Stamp<'a> {
    /// The public URL of the source, to the letter.
    pub url: &'a str,
    /// The source's main secret; `None` for a source that is `insecure`.
    pub secret: Option<&'a Secret>,
    /// The private half of a public key among the source's secrets, where its sender signs with one.
    pub key: Option<&'a PrivateKey>,
    /// The time that is signed.
    pub now: Timestamp,
    /// 50 or more lower-case hex digits that were never used before. Two requests with the same ones are
    /// one delivery that came twice.
    pub unique: &'a str,
}

/// A request that is always a `POST`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRequest {
    /// Header lines in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// To the byte.
    pub body: Vec<u8>,
}

/// What a provider carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// Mail.
    Mail,
    /// Text messages.
    Sms,
    /// Events of a service.
    Hooks,
}

type Sign<D> = fn(&SourceSpec, &D, &Stamp<'_>) -> Result<SignedRequest, String>;

/// Who carries mail.
const MAIL: &[(&str, Sign<MailDraft>)] = &[
    ("aws_sns", mail::ses),
    ("cloudflare_email", mail::whole),
    ("mailgun", mail::mailgun),
    ("postmark", mail::postmark),
    ("raw_mail", mail::whole),
    ("sendgrid", mail::sendgrid),
    ("sendgrid_inbound", mail::sendgrid),
];

/// Who carries text messages.
const SMS: &[(&str, Sign<SmsDraft>)] = &[
    ("plivo", sms::plivo),
    ("telnyx", sms::telnyx),
    ("twilio", sms::twilio),
    ("vonage", sms::vonage),
    ("vonage_sms", sms::vonage_sms),
];

/// The services whose events are more than their row says.
const SERVICES: &[(&str, Sign<HookDraft>)] = &[
    ("aws_sns", webhook::sns),
    ("github", webhook::github),
    ("hmac", webhook::hmac),
    ("slack", webhook::slack),
    ("stripe", webhook::stripe),
];

/// What providers of that name are there for.
#[must_use]
pub fn carries(provider: &str) -> Option<Carries> {
    let of_mail = find(MAIL, provider).map(|_| Carries::Mail);
    of_mail.or_else(|| find(SMS, provider).map(|_| Carries::Sms)).or_else(|| {
        let is_service = find(SERVICES, provider).is_some() || preset::is_signable(provider);
        is_service.then_some(Carries::Hooks)
    })
}

/// Whether a request of that provider can be made for the draft: carriers of mail and text messages report events too.
#[must_use]
pub fn can_carry(provider: &str, draft: &Draft) -> bool {
    match draft {
        Draft::Mail(_) => find(MAIL, provider).is_some(),
        Draft::Sms(_) => find(SMS, provider).is_some(),
        Draft::Hook(_) => find(SERVICES, provider).is_some() || preset::is_signable(provider),
    }
}

/// The request that the source's provider would send.
///
/// # Errors
/// The source cannot carry the draft, or its secret cannot sign.
pub fn sign(spec: &SourceSpec, draft: &Draft, stamp: &Stamp<'_>) -> Result<SignedRequest, String> {
    let provider = spec.provider.as_str();
    match draft {
        Draft::Mail(draft) => match find(MAIL, provider) {
            Some(sign) => sign(spec, draft, stamp),
            None => Err(format!("provider `{provider}` carries no mail")),
        },
        Draft::Sms(draft) => match find(SMS, provider) {
            Some(sign) => sign(spec, draft, stamp),
            None => Err(format!("provider `{provider}` carries no text messages")),
        },
        Draft::Hook(_) if !can_carry(provider, draft) => Err(format!("provider `{provider}` sends no plain webhooks")),
        Draft::Hook(draft) => find(SERVICES, provider).unwrap_or(preset::sign)(spec, draft, stamp),
    }
}

fn find<D>(all: &[(&str, Sign<D>)], provider: &str) -> Option<Sign<D>> {
    all.iter().find(|(name, _)| *name == provider).map(|(_, sign)| *sign)
}

#[cfg(test)]
mod tests;
