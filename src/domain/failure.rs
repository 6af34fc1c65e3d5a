//! Why runs fail.

use serde::{Deserialize, Serialize};

use crate::domain::template::shortened;

/// Bytes of the longest reason that is kept.
const MAX_MESSAGE_BYTES: usize = 16 << 10;

/// Why a run failed: the value that every reader branches on, so that nobody matches on text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCode {
    /// More turns than the agent may take.
    MaxTurns,
    /// The agent's budget for a run was spent.
    Budget,
    /// Longer than the agent may run.
    Timeout,
    /// No output for longer than the agent may be silent.
    Idle,
    /// It was started and did not begin its work in time.
    StartTimeout,
    /// More output than the agent may make, or an answer that was cut.
    OutputLimit,
    /// The answer does not fit the schema that the agent's file asks for, or there is none.
    Output,
    /// The model's API refused the credentials.
    ModelAuth,
    /// The model's API limits how much we ask, or a quota is used up; worth another try.
    RateLimit,
    /// The model's API is overloaded, fails or cannot be reached; worth another try.
    ModelBusy,
    /// The model's API failed otherwise.
    Model,
    /// The model's API refused what it was asked: too long, or not in a form that it takes.
    InvalidPrompt,
    /// The agent itself ended in an error.
    Agent,
    /// The agent could not be started: no binary, wrong version, missing secret.
    Setup,
    /// Preparing the layer of its `setup` failed.
    Layer,
    /// A file or directory that the run needs is not there, or cannot be read or written.
    FileAccess,
    /// The walls that the agent is to work in cannot be put up, or it was ended for breaking out of them.
    Sandbox,
    /// The executor broke: unreadable output, no result.
    Executor,
    /// The worker vanished too often.
    Lost,
}

impl FailureCode {
    /// Every code, as the documentation lists them.
    pub const ALL: [Self; 19] = [
        Self::Timeout,
        Self::Idle,
        Self::StartTimeout,
        Self::MaxTurns,
        Self::Budget,
        Self::OutputLimit,
        Self::Output,
        Self::RateLimit,
        Self::ModelBusy,
        Self::ModelAuth,
        Self::InvalidPrompt,
        Self::Model,
        Self::Agent,
        Self::Executor,
        Self::Setup,
        Self::Layer,
        Self::FileAccess,
        Self::Sandbox,
        Self::Lost,
    ];

    /// What an answer of a model's API with this HTTP status means; `None` when there was no answer.
    #[must_use]
    pub const fn of_api_status(status: Option<u16>) -> Self {
        match status {
            Some(401..=403) => Self::ModelAuth,
            Some(404) => Self::Setup,
            Some(400 | 413 | 422) => Self::InvalidPrompt,
            Some(429) => Self::RateLimit,
            Some(408 | 500..=599) | None => Self::ModelBusy,
            Some(_) => Self::Model,
        }
    }

    /// The word in columns and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MaxTurns => "max_turns",
            Self::Budget => "budget",
            Self::Timeout => "timeout",
            Self::Idle => "idle",
            Self::StartTimeout => "start_timeout",
            Self::OutputLimit => "output_limit",
            Self::Output => "output",
            Self::ModelAuth => "model_auth",
            Self::RateLimit => "rate_limit",
            Self::ModelBusy => "model_busy",
            Self::Model => "model",
            Self::InvalidPrompt => "invalid_prompt",
            Self::Agent => "agent",
            Self::Setup => "setup",
            Self::Layer => "layer",
            Self::FileAccess => "file_access",
            Self::Sandbox => "sandbox",
            Self::Executor => "executor",
            Self::Lost => "lost",
        }
    }
}

/// What failures have in common when it is asked whether another try makes sense; see `agent::Retries`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The model's API is overloaded, limits us or cannot be reached.
    ModelBusy,
    /// The model's API failed otherwise.
    Model,
    /// The agent itself ended in an error.
    Agent,
    /// Preparing its layer failed.
    Layer,
    /// The executor broke.
    Executor,
    /// The worker vanished.
    Lost,
    /// A limit of the agent was hit; never tried again.
    Limit,
    /// The agent cannot be started as it stands, or its key or prompt is refused; never tried again by itself.
    Setup,
}

impl FailureCode {
    /// Its class.
    #[must_use]
    pub const fn class(self) -> FailureClass {
        match self {
            Self::RateLimit | Self::ModelBusy => FailureClass::ModelBusy,
            Self::Model => FailureClass::Model,
            Self::Agent | Self::Output => FailureClass::Agent,
            Self::Executor | Self::StartTimeout => FailureClass::Executor,
            Self::Layer => FailureClass::Layer,
            Self::Lost => FailureClass::Lost,
            Self::MaxTurns | Self::Budget | Self::Timeout | Self::Idle | Self::OutputLimit => FailureClass::Limit,
            Self::ModelAuth | Self::InvalidPrompt | Self::Setup | Self::FileAccess | Self::Sandbox => {
                FailureClass::Setup
            }
        }
    }
}

/// A failure with its reason in words. Holds no secrets: executors mask them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What readers branch on.
    pub code: FailureCode,
    /// Always the code's.
    pub class: FailureClass,
    /// What people read.
    pub message: String,
    /// When the other side said that another try makes sense, in milliseconds from now.
    pub retry_after_ms: Option<i64>,
}

impl Failure {
    /// A failure without a hint when to try again.
    #[must_use]
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        Self { code, class: code.class(), message: message.into(), retry_after_ms: None }
    }

    /// With as much of its reason as is kept. Whoever masks secrets in it does so before.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.message = shortened(self.message, MAX_MESSAGE_BYTES);
        self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::FailureCode;

    #[test]
    fn every_code_is_the_word_that_json_has_and_is_documented_with_its_class() {
        let page = include_str!("../../docs/runs.md");
        let mut words = BTreeSet::new();
        for code in FailureCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
            let class = serde_json::to_value(code.class()).unwrap();
            let row = format!("| `{}` | `{}` |", code.as_str(), class.as_str().unwrap());
            assert!(page.contains(&row), "docs/runs.md lacks {row}");
            words.insert(code.as_str());
        }
        assert_eq!(words.len(), FailureCode::ALL.len());
    }
}
