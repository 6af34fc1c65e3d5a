//! Who sends. Adding a provider is one file and one line in [`ALL`].

pub mod aws_sns;
pub mod bearer;
pub mod cloudflare_email;
pub mod github;
pub mod hmac;
pub(in crate::ingress) mod mail;
pub(in crate::ingress) mod mail_events;
pub mod mailgun;
pub mod plivo;
pub mod postmark;
pub mod raw_mail;
pub mod sendgrid;
pub mod slack;
pub mod standard;
pub mod stripe;
pub mod telnyx;
pub mod twilio;
pub mod vonage;
pub mod vonage_sms;
pub mod webhook;

use crate::{
    domain::{source::SourceSpec, time::Timestamp},
    ingress::{
        Answer, ParseFault, Parsed,
        answer::Replies,
        gate::Verified,
        signature::{engine::Engine, scheme::Scheme},
    },
};

/// A kind of sender.
pub struct Provider {
    /// As in `provider = "…"`.
    pub name: &'static str,
    /// How it signs, by the shape of the request; the first that fits counts.
    pub schemes: &'static [Scheme<'static>],
    /// Makes the schemes of a source whose operator says how its sender signs.
    pub operator_defined: Option<OperatorDefined>,
    /// Whether the URL is signed, so that a source cannot do without it.
    pub signs_url: bool,
    /// The form field in which it sends JSON.
    pub payload_field: Option<&'static str>,
    /// How it wants to be answered.
    pub replies: Replies,
    /// Answers a handshake or ping, if the request is one.
    pub handshake: fn(&Verified<'_>) -> Option<Answer>,
    /// Says what a believed request means.
    pub parse: fn(&Verified<'_>, Timestamp) -> Result<Parsed, ParseFault>,
}

/// Turns a source into schemes and hands them to the builder it is given.
pub type OperatorDefined = fn(&SourceSpec, &dyn Fn(&[Scheme<'_>]) -> Result<Engine, String>) -> Result<Engine, String>;

impl Provider {
    /// A sender of plain webhooks that signs somehow: what rows start from.
    pub const WEBHOOK: Self = Self {
        name: "",
        schemes: &[],
        operator_defined: None,
        signs_url: false,
        payload_field: None,
        replies: Replies::STANDARD,
        handshake: |_| None,
        parse: webhook::parse,
    };
}

/// Every provider.
pub static ALL: &[&Provider] = &[
    &aws_sns::AWS_SNS,
    &bearer::BEARER,
    &cloudflare_email::CLOUDFLARE_EMAIL,
    &github::GITHUB,
    &hmac::HMAC,
    &mailgun::MAILGUN,
    &plivo::PLIVO,
    &postmark::POSTMARK,
    &raw_mail::RAW_MAIL,
    &sendgrid::SENDGRID,
    &sendgrid::SENDGRID_INBOUND,
    &slack::SLACK,
    &standard::STANDARD,
    &stripe::STRIPE,
    &telnyx::TELNYX,
    &twilio::TWILIO,
    &vonage::VONAGE,
    &vonage_sms::VONAGE_SMS,
];

/// The names of all providers.
#[must_use]
pub fn names() -> Vec<&'static str> {
    ALL.iter().map(|provider| provider.name).collect()
}

/// The provider of that name.
///
/// # Errors
/// There is none; names the nearest one and all.
pub fn find(name: &str) -> Result<&'static Provider, String> {
    if let Some(provider) = ALL.iter().find(|provider| provider.name == name) {
        return Ok(provider);
    }
    let names: Vec<&str> = ALL.iter().map(|provider| provider.name).collect();
    let nearest = names.iter().max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
    let hint = match nearest {
        Some(nearest) if strsim::jaro_winkler(nearest, name) > 0.75 => format!("did you mean `{nearest}`? "),
        Some(_) | None => String::new(),
    };
    Err(format!("there is no provider `{name}`; {hint}there are {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn a_misspelt_provider_is_told_the_nearest() {
        assert!(
            find("githup")
                .err()
                .unwrap()
                .starts_with("there is no provider `githup`; did you mean `github`? there are aws_sns, bearer,")
        );
        assert!(!find("zzz").err().unwrap().contains("did you mean"));
    }
}
