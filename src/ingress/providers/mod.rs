//! Who sends. Adding a provider is one file and one line in [`ALL`].

pub mod about;
pub mod aws_sns;
pub mod bearer;
pub mod cloudevents;
pub mod cloudflare_email;
pub mod discord;
pub mod generic;
pub mod github;
pub mod gitlab;
pub mod grafana;
pub mod hmac;
pub mod hubspot;
pub mod intercom;
pub mod jira;
pub mod linear;
pub(in crate::ingress) mod mail;
pub(in crate::ingress) mod mail_events;
pub mod mailgun;
pub mod meta;
pub mod ms_teams;
pub mod pagerduty;
pub mod plivo;
pub mod postmark;
pub mod raw_mail;
pub mod sendgrid;
pub mod sentry;
pub mod shopify;
pub mod slack;
pub mod square;
pub mod standard;
pub mod stripe;
pub mod telegram;
pub mod telnyx;
pub mod twilio;
pub mod vonage;
pub mod vonage_sms;
pub mod webhook;
pub mod zendesk;
pub mod zoom;

use std::collections::BTreeMap;

use crate::{
    crypto::Secret,
    domain::{
        source::{SignatureSpec, SourceSpec},
        time::Timestamp,
    },
    ingress::{
        LabelledSecret, ParseFault, Parsed,
        answer::Replies,
        gate::Verified,
        media::MediaHosts,
        signature::{
            engine::Engine,
            handshake::Handshake,
            scheme::{KeyForm, Scheme},
        },
    },
};

/// A kind of sender.
pub struct Provider {
    /// As in `provider = "…"`.
    pub name: &'static str,
    /// What its secret is called there, in words for people.
    pub secret: &'static str,
    /// The option that lists, separated by commas, whose messages are taken, where the sender needs no secret.
    pub names_option: Option<&'static str>,
    /// How it signs, by the shape of the request; the first that fits counts.
    pub schemes: &'static [Scheme<'static>],
    /// Makes the schemes of a source whose operator says how its sender signs.
    pub operator_defined: Option<OperatorDefined>,
    /// The form field in which it sends JSON.
    pub payload_field: Option<&'static str>,
    /// What is answered at once and starts nothing; the first that fits counts.
    pub handshakes: &'static [Handshake<'static>],
    /// How it wants to be answered.
    pub replies: Replies,
    /// Where it keeps the files of messages.
    pub media: MediaHosts,
    /// Says what a believed request means.
    pub parse: fn(&Verified<'_>, Timestamp) -> Result<Parsed, ParseFault>,
}

/// Turns a source into schemes and hands them to the builder it is given.
pub type OperatorDefined = fn(&SourceSpec, &dyn Fn(&[Scheme<'_>]) -> Result<Engine, String>) -> Result<Engine, String>;

impl Provider {
    /// A sender of plain webhooks that signs somehow: what rows start from.
    pub const WEBHOOK: Self = Self {
        name: "",
        secret: "",
        names_option: None,
        schemes: &[],
        operator_defined: None,
        payload_field: None,
        handshakes: &[],
        replies: Replies::STANDARD,
        media: MediaHosts::NONE,
        parse: webhook::parse,
    };

    /// Whether the key of a request is fetched.
    #[must_use]
    pub fn fetches_keys(&self) -> bool {
        self.schemes.iter().any(|scheme| matches!(scheme.key, KeyForm::Fetched(_)))
    }

    /// Whose messages are taken, by the source's options.
    ///
    /// # Errors
    /// The option is there and names nobody.
    pub(super) fn names_from_options(&self, options: &BTreeMap<String, String>) -> Result<Vec<LabelledSecret>, String> {
        let Some((option, text)) = self.names_option.and_then(|option| Some((option, options.get(option)?))) else {
            return Ok(Vec::new());
        };
        let names: Vec<&str> = text.split(',').map(str::trim).collect();
        if names.iter().any(|name| name.is_empty()) {
            return Err(format!("`options.{option}` names nobody; write it in full, several separated by commas"));
        }
        Ok(names.into_iter().map(|name| LabelledSecret::new(name, Secret::new(name))).collect())
    }

    pub(super) fn needs_secret(&self) -> String {
        match self.names_option {
            Some(option) => format!("provider `{}` needs `options = {{ {option} = \"…\" }}`", self.name),
            None => format!(
                "provider `{}` needs a secret; set `secret = {{ env = \"NAME\" }}`, or `insecure = true` to accept unsigned requests on loopback",
                self.name
            ),
        }
    }

    /// The provider's answers, with what the operator says instead.
    ///
    /// # Errors
    /// A status of another kind.
    pub(super) fn replies_of(&self, own: Option<&SignatureSpec>) -> Result<Replies, String> {
        let Some(own) = own else { return Ok(self.replies) };
        let status = |key: &str, given: Option<u16>, default: u16, of: std::ops::Range<u16>| match given {
            Some(status) if !of.contains(&status) => {
                Err(format!("`signature.{key}` is {status}; write {} to {}", of.start, of.end - 1))
            }
            given => Ok(given.unwrap_or(default)),
        };
        let accepted = status("accepted", own.accepted, self.replies.accepted, 200..300)?;
        let refused = status("refused", own.refused, self.replies.refused, 400..500)?;
        Ok(Replies { accepted, ..self.replies }.refusing(refused))
    }
}

/// Every provider.
pub static ALL: &[&Provider] = &[
    &grafana::ALERTMANAGER,
    &aws_sns::AWS_SNS,
    &bearer::BEARER,
    &cloudevents::CLOUDEVENTS,
    &cloudflare_email::CLOUDFLARE_EMAIL,
    &discord::DISCORD,
    &generic::GENERIC_BEARER,
    &generic::GENERIC_HMAC,
    &generic::GENERIC_HMAC_TS,
    &github::GITHUB,
    &gitlab::GITLAB,
    &gitlab::GITLAB_SIGNED,
    &grafana::GRAFANA,
    &hmac::HMAC,
    &hubspot::HUBSPOT,
    &intercom::INTERCOM,
    &jira::JIRA,
    &linear::LINEAR,
    &mailgun::MAILGUN,
    &meta::META,
    &ms_teams::MS_TEAMS,
    &pagerduty::PAGERDUTY,
    &plivo::PLIVO,
    &postmark::POSTMARK,
    &raw_mail::RAW_MAIL,
    &sendgrid::SENDGRID,
    &sendgrid::SENDGRID_INBOUND,
    &sentry::SENTRY,
    &shopify::SHOPIFY,
    &slack::SLACK,
    &square::SQUARE,
    &standard::STANDARD,
    &standard::STANDARD_WEBHOOKS,
    &standard::STANDARD_WEBHOOKS_ASYM,
    &stripe::STRIPE,
    &standard::SVIX,
    &telegram::TELEGRAM,
    &telnyx::TELNYX,
    &twilio::TWILIO,
    &vonage::VONAGE,
    &vonage_sms::VONAGE_SMS,
    &zendesk::ZENDESK,
    &zoom::ZOOM,
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
                .starts_with("there is no provider `githup`; did you mean `github`? there are alertmanager, aws_sns,")
        );
        assert!(!find("zzz").err().unwrap().contains("did you mean"));
    }

    #[test]
    fn every_provider_stands_once_in_the_list_and_in_the_documentation() {
        let documented = include_str!("../../../docs/sources.md");
        let mut names = super::names();
        for name in &names {
            assert!(documented.contains(&format!("`{name}`")), "{name}");
        }
        assert!(names.is_sorted());
        names.dedup();
        assert_eq!(names.len(), super::ALL.len());
    }
}
