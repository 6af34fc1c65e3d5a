//! What an agent may do with its tools: rules in Claude Code's syntax, in order, for all senders or some.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::trust::Trust;

/// One permission rule: exactly one of `allow`, `ask` and `deny`, as `Tool` or `Tool(pattern)`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PermissionRule {
    /// Done without asking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<String>,
    /// Asked of a person; with nobody to ask, denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<String>,
    /// Never done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny: Option<String>,
    /// The rule holds only for events whose sender is trusted so far; empty is all of them.
    #[serde(default, with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "OneOrMany")]
    pub trust: Vec<Trust>,
}

/// What a rule does with a call that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It runs.
    Allow,
    /// It runs when a person says so.
    Ask,
    /// It does not run.
    Deny,
}

impl Effect {
    /// The word in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Deny => "deny",
        }
    }
}

impl PermissionRule {
    /// A rule for all senders.
    #[must_use]
    pub fn new(effect: Effect, text: impl Into<String>) -> Self {
        let text = Some(text.into());
        match effect {
            Effect::Allow => Self { allow: text, ..Self::default() },
            Effect::Ask => Self { ask: text, ..Self::default() },
            Effect::Deny => Self { deny: text, ..Self::default() },
        }
    }

    /// What it does, and the call that it names; `None` where it has none of the three words, or several.
    #[must_use]
    pub fn effect(&self) -> Option<(Effect, &str)> {
        match (&self.allow, &self.ask, &self.deny) {
            (Some(text), None, None) => Some((Effect::Allow, text)),
            (None, Some(text), None) => Some((Effect::Ask, text)),
            (None, None, Some(text)) => Some((Effect::Deny, text)),
            _ => None,
        }
    }

    /// Whether it holds for an event of such a sender.
    #[must_use]
    pub fn holds_for(&self, trust: Trust) -> bool {
        self.trust.is_empty() || self.trust.contains(&trust)
    }
}

/// The tool whose rules hold for this one, too, for tools that are told files: those that read, and those that write.
#[must_use]
pub fn family(tool: &str) -> Option<&'static str> {
    match tool {
        "Read" | "Grep" | "Glob" | "LS" | "LSP" | "NotebookRead" => Some("Read"),
        "Edit" | "Write" | "NotebookEdit" | "MultiEdit" => Some("Edit"),
        _ => None,
    }
}

/// Accepts `verified` and `[verified, allowed]` alike.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum OneOrMany {
    One(Trust),
    Many(Vec<Trust>),
}

mod one_or_many {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{OneOrMany, Trust};

    pub(super) fn serialize<S: Serializer>(values: &[Trust], serializer: S) -> Result<S::Ok, S::Error> {
        values.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Trust>, D::Error> {
        OneOrMany::deserialize(deserializer)
            .map(|values| match values {
                OneOrMany::One(value) => vec![value],
                OneOrMany::Many(values) => values,
            })
            .map_err(|_| serde::de::Error::custom("write verified, allowed or unknown, or a list of them"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Effect, PermissionRule};
    use crate::domain::trust::Trust;

    fn read(rule: Value) -> Result<PermissionRule, String> {
        serde_json::from_value(rule).map_err(|fault| fault.to_string())
    }

    #[test]
    fn a_rule_has_one_effect_and_may_hold_for_some_senders() {
        let rule = read(json!({"allow": "Bash(*)", "trust": "verified"})).unwrap();
        assert_eq!(rule.effect(), Some((Effect::Allow, "Bash(*)")));
        assert!(rule.holds_for(Trust::Verified) && !rule.holds_for(Trust::Allowed));
        let both = read(json!({"deny": "Bash", "trust": ["allowed", "unknown"]})).unwrap();
        assert!(both.holds_for(Trust::Unknown) && !both.holds_for(Trust::Verified));
        assert!(read(json!({"ask": "Bash"})).unwrap().holds_for(Trust::Unknown));
        assert_eq!(read(json!({"allow": "Bash", "deny": "Bash"})).unwrap().effect(), None);
        assert!(read(json!({"allow": "Bash", "trust": "sure"})).unwrap_err().contains("verified, allowed or unknown"));
    }

    #[test]
    fn a_rule_is_kept_as_it_was_written() {
        for rule in [json!({"allow": "Bash(git *)"}), json!({"deny": "Read", "trust": ["unknown"]})] {
            assert_eq!(serde_json::to_value(read(rule.clone()).unwrap()).unwrap(), rule);
        }
    }
}
