//! What agents keep for later runs, and by whom it was written.

use serde::{Deserialize, Serialize};

use crate::domain::{
    id::{AgentId, RunId, SessionId},
    time::Timestamp,
    trust::Trust,
};

/// Bytes of a note's key.
pub const MAX_KEY_BYTES: usize = 128;
/// Bytes of what a note says.
pub const MAX_VALUE_BYTES: usize = 8 * 1024;
/// Notes of one session, or of one agent.
pub const MOST_NOTES: usize = 200;

/// Where a note is found again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NoteScope {
    /// In the runs of one conversation.
    #[default]
    Session,
    /// In all runs of the agent, whoever started them.
    Agent,
}

/// Whose a note is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoteOwner {
    /// One conversation.
    Session(SessionId),
    /// An agent over all its versions.
    Agent(AgentId),
}

impl NoteOwner {
    /// Its id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Session(id) => id.as_str(),
            Self::Agent(id) => id.as_str(),
        }
    }
}

/// A note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Its name.
    pub key: String,
    /// What it says.
    pub value: String,
    /// The run that wrote it last.
    pub run: RunId,
    /// How far whoever started that run was trusted: a note may say what a stranger wanted kept.
    pub trust: Trust,
    /// When it was written last.
    pub at: Timestamp,
}

/// Why a key is none; `None`: it is one.
#[must_use]
pub fn fault_of_key(key: &str) -> Option<String> {
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return Some(format!("`key` has {} bytes; write 1 to {MAX_KEY_BYTES}", key.len()));
    }
    key.chars().any(char::is_control).then(|| "`key` has a control character in it; write plain words".to_owned())
}
