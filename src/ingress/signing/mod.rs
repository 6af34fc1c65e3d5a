//! The mirror of verification: requests that a source believes, for tests and demonstrations. Pure.

mod form;
mod mac;
mod mail;
mod preset;
pub mod raw;
mod sms;
mod webhook;

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
#[derive(Clone, Copy, Debug)]
pub struct Stamp<'a> {
    /// The public URL of the source, to the letter.
    pub url: &'a str,
    /// The source's main secret; `None` for a source that is `insecure`.
    pub secret: Option<&'a Secret>,
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

type Sign = fn(&SourceSpec, &HookDraft, &Stamp<'_>) -> Result<SignedRequest, String>;

/// Who carries what.
const CARRIERS: &[(&str, Carries)] = &[("mailgun", Carries::Mail), ("twilio", Carries::Sms)];

/// The services whose events are more than their row says.
const SERVICES: &[(&str, Sign)] =
    &[("github", webhook::github), ("hmac", webhook::hmac), ("slack", webhook::slack), ("stripe", webhook::stripe)];

/// What the provider of that name carries; `None` when no request of it can be made.
#[must_use]
pub fn carries(provider: &str) -> Option<Carries> {
    let carrier = CARRIERS.iter().find(|(name, _)| *name == provider).map(|(_, carries)| *carries);
    let is_service = SERVICES.iter().any(|(name, _)| *name == provider) || preset::is_signable(provider);
    carrier.or_else(|| is_service.then_some(Carries::Hooks))
}

/// The request that the source's provider would send.
///
/// # Errors
/// The source cannot carry the draft, or its secret cannot sign.
pub fn sign(spec: &SourceSpec, draft: &Draft, stamp: &Stamp<'_>) -> Result<SignedRequest, String> {
    match (draft, carries(&spec.provider)) {
        (Draft::Mail(draft), Some(Carries::Mail)) => mail::mailgun(draft, stamp),
        (Draft::Sms(draft), Some(Carries::Sms)) => sms::twilio(spec, draft, stamp),
        (Draft::Hook(draft), Some(Carries::Hooks)) => {
            let service = SERVICES.iter().find(|(name, _)| *name == spec.provider);
            service.map_or(preset::sign as Sign, |(_, sign)| *sign)(spec, draft, stamp)
        }
        (Draft::Mail(_), _) => Err(format!("provider `{}` carries no mail", spec.provider)),
        (Draft::Sms(_), _) => Err(format!("provider `{}` carries no text messages", spec.provider)),
        (Draft::Hook(_), _) => Err(format!("provider `{}` sends no plain webhooks", spec.provider)),
    }
}

#[cfg(test)]
mod tests;
