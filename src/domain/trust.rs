//! Who sent an event, and how surely: what permission rules may depend on.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{
    event::{AgentEvent, SenderAuth},
    pattern,
    strangers::names_nobody,
    trigger::TriggerSpec,
};

/// How far the sender of an event is trusted; the less, the greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Trust {
    /// The trigger's `from` names the sender, and somebody whom we trust checked that it is they.
    Verified,
    /// The trigger's `from` names the sender; nobody checked that it is they.
    Allowed,
    /// Anybody: `from` names nobody in particular or not them, or a check of the sender failed.
    #[default]
    Unknown,
}

impl Trust {
    /// The word in files and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Allowed => "allowed",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How far the sender of `event` is trusted by the trigger that started the run, and why.
///
/// A pattern such as `*` or `*@gmail.com` names nobody: whoever is let in by it alone stays unknown, however surely it is they.
#[must_use]
pub fn trust(event: &AgentEvent, trigger: Option<&TriggerSpec>) -> (Trust, String) {
    if let Some(note) = event.note() {
        return (note.trust, format!("as of the run that wanted this: {}", note.trust_reason));
    }
    let Some(sender) = &event.sender else {
        return (Trust::Unknown, "the event names no sender".to_owned());
    };
    if sender.auth == SenderAuth::Failed {
        return (Trust::Unknown, format!("the sender is not believed: {}", sender.auth_reason));
    }
    let named: Vec<String> = trigger
        .map(|trigger| trigger.from.iter().filter(|from| !names_nobody(from)).cloned().collect())
        .unwrap_or_default();
    if !pattern::fits(&named, &sender.address) {
        return (Trust::Unknown, "the trigger's `from` does not name the sender".to_owned());
    }
    match sender.auth {
        SenderAuth::Verified => {
            (Trust::Verified, format!("the trigger's `from` names the sender; {}", sender.auth_reason))
        }
        SenderAuth::Failed | SenderAuth::Unknown => {
            (Trust::Allowed, format!("the trigger's `from` names the sender; {}", sender.auth_reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Trust, trust};
    use crate::domain::{
        event::{AgentEvent, Content, Sender, SenderAuth, Webhook},
        id::{EventId, SourceId, TenantId},
        time::Timestamp,
        trigger::TriggerSpec,
    };

    fn of(sender: Option<(&str, SenderAuth)>, from: &[&str]) -> Trust {
        let at = Timestamp(0);
        let event = AgentEvent {
            id: EventId::new(at),
            tenant: TenantId::new(at),
            source: SourceId::new(at),
            source_name: "hooks".to_owned(),
            dedupe_key: "a".to_owned(),
            kind: "test".to_owned(),
            thread_key: None,
            sender: sender.map(|(address, auth)| Sender {
                address: address.to_owned(),
                name: None,
                auth,
                auth_reason: "a check".to_owned(),
                flags: Vec::new(),
            }),
            automatic: None,
            received_at: at,
            content: Content::Webhook(Webhook::default()),
            attachments: Vec::new(),
        };
        let trigger = serde_json::json!({"source": "hooks", "from": from});
        let trigger: TriggerSpec = serde_json::from_value(trigger).unwrap();
        trust(&event, Some(&trigger)).0
    }

    #[test]
    fn trust_needs_a_name_and_a_check() {
        use SenderAuth::{Failed, Unknown, Verified};
        let dana = |auth| Some(("dana@example.com", auth));
        assert_eq!(of(dana(Verified), &["*@example.com"]), Trust::Verified);
        assert_eq!(of(dana(Unknown), &["dana@example.com"]), Trust::Allowed);
        assert_eq!(of(dana(Failed), &["dana@example.com"]), Trust::Unknown);
        assert_eq!(of(dana(Verified), &["*@example.org"]), Trust::Unknown);
        assert_eq!(of(dana(Verified), &[]), Trust::Unknown);
        assert_eq!(of(None, &["*@example.com"]), Trust::Unknown);
    }

    #[test]
    fn whoever_comes_in_with_everybody_is_nobody_in_particular() {
        for open in ["*", "*@*", "**", "+*", "*.*", "*.com", "*@*.com"] {
            assert_eq!(of(Some(("dana@example.com", SenderAuth::Verified)), &[open]), Trust::Unknown, "{open}");
        }
    }
}
