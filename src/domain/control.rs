//! What somebody may change of a run at work.

use serde::{Deserialize, Serialize};

use crate::domain::{
    claude::{PermissionMode, is_model},
    time::Timestamp,
};

/// One change, as the API takes it: `{"set_model": "…"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// Another model from the next request on.
    SetModel(String),
    /// Another way with calls that no rule names.
    SetPermissionMode(PermissionMode),
}

/// How far a change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ControlState {
    /// The run has not heard of it: it has not begun, or its worker has not looked.
    Waiting,
    /// It holds.
    Done,
    /// The agent's program did not take it.
    Refused,
    /// The run ended before.
    Expired,
}

/// A change that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlRecord {
    /// Counts from 1 in its run.
    pub seq: i64,
    /// What is to be changed.
    #[serde(flatten)]
    pub control: Control,
    /// How far it is.
    pub state: ControlState,
    /// Why it was refused.
    pub detail: Option<String>,
    /// When it was asked for.
    pub asked_at: Timestamp,
}

impl Control {
    /// Why it cannot be asked for, with the way out.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        match self {
            Self::SetModel(model) if is_model(model) => None,
            Self::SetModel(_) => Some("`set_model` is no model; write an id such as claude-sonnet-5-5, or an alias"),
            Self::SetPermissionMode(PermissionMode::BypassPermissions) => {
                Some("`bypassPermissions` is for the agent's file alone; change it there and apply it")
            }
            Self::SetPermissionMode(_) => None,
        }
    }

    /// For the record.
    #[must_use]
    pub fn in_words(&self) -> String {
        match self {
            Self::SetModel(model) => format!("model {model}"),
            Self::SetPermissionMode(mode) => format!("permission mode {}", mode.as_str()),
        }
    }
}
