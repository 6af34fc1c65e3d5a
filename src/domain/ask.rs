//! Whom an agent asks, as its file says.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{time::Span, trigger::ReplySecret};

/// How long an answer is waited for unless the agent's file says otherwise.
pub const DEFAULT_WAIT: Span = Span(30 * 60_000);
/// The shortest that a file can say.
pub const SHORTEST_WAIT: Span = Span(1_000);
/// The longest that a file can say: a worker holds the agent meanwhile.
pub const LONGEST_WAIT: Span = Span(24 * 3_600_000);

/// Whom an agent asks, as its file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Ask {
    /// `sender`: whoever sent the event, the way it came.
    Word(AskWord),
    /// Somebody in particular, or for how long.
    Named(Box<AskSpec>),
}

/// See [`Ask::Word`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AskWord {
    /// Whoever sent the event.
    Sender,
}

/// See [`Ask::Named`]. At most one of `email`, `sms` and `webhook`; with none of them the sender is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AskSpec {
    /// A mail address: a reply to the question is the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// A number (E.164): a text from it is the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sms: Option<String>,
    /// A URL that is told of the question; the answer comes by the API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    /// `webhook`: the name of an entry under `[secrets]`, or a reference: signs the callback (`whsec_…`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<ReplySecret>,
    /// Our address or number that the question comes from. Default: the one that the event came to; for mail else the
    /// channel's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// How long the answer is waited for, 1s to 24h. Default: 30m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<Span>,
}

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom<'a> {
    /// Whoever sent the event.
    Sender,
    /// A mail address.
    Email(&'a str),
    /// A number.
    Sms(&'a str),
    /// A URL, and what signs the callback.
    Webhook(&'a str, &'a ReplySecret),
}

impl Ask {
    /// Who is asked.
    #[must_use]
    pub fn whom(&self) -> Whom<'_> {
        let Self::Named(spec) = self else { return Whom::Sender };
        match (&spec.email, &spec.sms, &spec.webhook, &spec.secret) {
            (Some(address), ..) => Whom::Email(address),
            (None, Some(number), ..) => Whom::Sms(number),
            (None, None, Some(url), Some(secret)) => Whom::Webhook(url, secret),
            (None, None, _, _) => Whom::Sender,
        }
    }

    /// Our address or number that the question comes from, where the file names one.
    #[must_use]
    pub fn from(&self) -> Option<&str> {
        match self {
            Self::Word(_) => None,
            Self::Named(spec) => spec.from.as_deref(),
        }
    }

    /// For how long the answer is waited for.
    #[must_use]
    pub fn wait(&self) -> Span {
        match self {
            Self::Word(_) => DEFAULT_WAIT,
            Self::Named(spec) => spec.wait.unwrap_or(DEFAULT_WAIT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Ask, Whom};
    use crate::domain::time::Span;

    #[test]
    fn files_name_whom_to_ask() {
        let ask = |text: &str| serde_json::from_str::<Ask>(text).unwrap();
        assert_eq!(ask("\"sender\"").whom(), Whom::Sender);
        assert_eq!(ask(r#"{"wait": "1h"}"#).wait(), Span(3_600_000));
        assert_eq!(ask(r#"{"email": "boss@example.com"}"#).whom(), Whom::Email("boss@example.com"));
        assert!(serde_json::from_str::<Ask>(r#"{"mail": "boss@example.com"}"#).is_err());
    }
}
