//! One piece of work of one agent for one event, and its states.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use crate::domain::failure::{Failure, FailureClass, FailureCode};
use crate::domain::{
    count::sum,
    details::RunDetails,
    id::{AgentId, EventId, RunId, SessionId, TenantId, TriggerId},
    template::shortened,
    time::Timestamp,
};

/// Bytes of the longest answer that is kept as text, with what an executor says of what it left out.
const MAX_TEXT_BYTES: usize = (1 << 20) + (1 << 10);

/// Where a run is in its life. Few states; the many reasons are [`Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Written down, and nobody works on it: it waits for its turn, its time, or a worker.
    Queued,
    /// A worker holds its lease.
    Running,
    /// Ended with a result.
    Succeeded,
    /// Ended without one, for good: in the dead-letter list until retried.
    Failed,
    /// Ended because someone said so.
    Canceled,
    /// Ended without having begun: the run before it in its session took its event in, and answers for both.
    Merged,
}

/// What can happen to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunStep {
    /// A worker took it.
    Claim,
    /// The agent ended with a result.
    Succeed,
    /// The agent ended without one, for good.
    Fail,
    /// The worker gave it back, its lease ran out, or it is to be tried again later.
    Release,
    /// Someone stopped it.
    Cancel,
    /// Someone asked for another try of a run that had ended without a result.
    Retry,
    /// The agent at work on another run of the session has its event.
    Merge,
}

impl RunState {
    /// Every state, in the order a run meets them.
    pub const ALL: [Self; 6] =
        [Self::Queued, Self::Running, Self::Succeeded, Self::Failed, Self::Canceled, Self::Merged];

    /// The state after `step`, or `None` where `step` means nothing.
    ///
    /// This is the whole machine. The store refuses every other change.
    #[must_use]
    pub const fn after(self, step: RunStep) -> Option<Self> {
        Some(match (self, step) {
            (Self::Queued, RunStep::Claim) => Self::Running,
            (Self::Running, RunStep::Succeed) => Self::Succeeded,
            (Self::Running, RunStep::Fail) => Self::Failed,
            (Self::Running, RunStep::Release) | (Self::Failed | Self::Canceled, RunStep::Retry) => Self::Queued,
            (Self::Queued | Self::Running, RunStep::Cancel) => Self::Canceled,
            (Self::Queued, RunStep::Merge) => Self::Merged,
            _ => return None,
        })
    }

    /// Whether no worker step can follow.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Canceled | Self::Merged)
    }

    /// The word in columns and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Merged => "merged",
        }
    }

    /// Reads the word of a column or a query.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// One line of a run's record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunMessage {
    /// Position in the run over all its attempts, from 1.
    pub seq: i64,
    /// Which attempt wrote it, from 1.
    pub attempt: i64,
    /// What it is.
    pub kind: MessageKind,
    /// When it was read.
    pub at: Timestamp,
    /// `{"text": …}` for text kinds; the executor's own JSON otherwise.
    pub body: Value,
}

/// What a line of a run's record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
    /// What the agent was asked.
    Prompt,
    /// Text of the agent: `{"text"}`.
    Text,
    /// Thinking of the model: `{"text"}`.
    Thinking,
    /// The agent called a tool: `{"id","name","input"}`.
    ToolCall,
    /// What the tool gave back: `{"id","is_error","content"}`.
    ToolResult,
    /// A line on standard error: `{"text"}`.
    Stderr,
    /// Something about the run itself: `{"text", …}`.
    Status,
    /// The end of an attempt: result or failure.
    Result,
}

impl MessageKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Prompt,
        Self::Text,
        Self::Thinking,
        Self::ToolCall,
        Self::ToolResult,
        Self::Stderr,
        Self::Status,
        Self::Result,
    ];

    /// The word in columns and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Text => "text",
            Self::Thinking => "thinking",
            Self::ToolCall => "tool_call",
            Self::ToolResult => "tool_result",
            Self::Stderr => "stderr",
            Self::Status => "status",
            Self::Result => "result",
        }
    }
}

/// What a run consumed, summed over its attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Turns of the conversation.
    pub turns: i64,
    /// Tokens read, without cached ones.
    pub input_tokens: i64,
    /// Tokens written.
    pub output_tokens: i64,
    /// Tokens read from the cache.
    pub cache_read_tokens: i64,
    /// Tokens written to the cache.
    pub cache_write_tokens: i64,
    /// Millionths of a US dollar.
    pub cost_micros: i64,
}

impl Usage {
    /// Both together; no count is below 0 or above [`count::MOST`](crate::domain::count::MOST).
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            turns: sum(self.turns, other.turns),
            input_tokens: sum(self.input_tokens, other.input_tokens),
            output_tokens: sum(self.output_tokens, other.output_tokens),
            cache_read_tokens: sum(self.cache_read_tokens, other.cache_read_tokens),
            cache_write_tokens: sum(self.cache_write_tokens, other.cache_write_tokens),
            cost_micros: sum(self.cost_micros, other.cost_micros),
        }
    }
}

/// What an executor hands back when the agent ended with a result.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunResult {
    /// The answer, for people.
    pub text: String,
    /// The answer as JSON, when the agent gave one.
    pub structured: Option<Value>,
    /// What it took.
    pub usage: Usage,
    /// How the next run of the same session continues.
    pub resume_id: Option<String>,
}

impl RunResult {
    /// With as much of the text as is kept.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.text = shortened(self.text, MAX_TEXT_BYTES);
        self
    }
}

/// A run as the store keeps it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Run {
    /// Ours.
    pub id: RunId,
    /// Whose.
    pub tenant: TenantId,
    /// The event that it works on.
    pub event: EventId,
    /// The trigger that started it.
    pub trigger: TriggerId,
    /// Which agent.
    pub agent: AgentId,
    /// That agent's name.
    pub agent_name: String,
    /// The version that it runs, fixed when it was made.
    pub agent_version: i64,
    /// The conversation that it belongs to; `None` when it stands alone.
    pub session: Option<SessionId>,
    /// The event that it replays, when somebody replayed it: never the first run of its event.
    pub replay: bool,
    /// Whether its answers are kept with it and never sent.
    pub dry_run: bool,
    /// Of the runs that wait for a worker, higher ones begin first; 0 unless the trigger says otherwise.
    pub priority: i64,
    /// Where it is.
    pub state: RunState,
    /// Attempts begun.
    pub attempt: i64,
    /// Attempts begun since somebody last asked for a retry.
    pub tries: i64,
    /// The answer, once it succeeded.
    pub result_text: Option<String>,
    /// The answer as JSON, when there is one.
    pub result_json: Option<Value>,
    /// Why it failed, or why its last attempt did.
    pub failure: Option<Failure>,
    /// What it took so far.
    pub usage: Usage,
    /// The rest of what is known of its attempts.
    #[serde(flatten)]
    pub details: RunDetails,
    /// When somebody asked to stop it.
    pub cancel_requested_at: Option<Timestamp>,
    /// Why it was to stop, when another run wanted it: an event that interrupts.
    pub cancel_reason: Option<String>,
    /// The run that took its event in; set when and only when it is `merged`.
    pub merged_into: Option<RunId>,
    /// How often it failed, by class of failure, since somebody last asked for a retry; see `agent::Retries`.
    pub failures: BTreeMap<FailureClass, u32>,
    /// When it is tried again, while it waits for that.
    pub next_attempt_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its first attempt began.
    pub started_at: Option<Timestamp>,
    /// When it reached a final state.
    pub finished_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::{RunState, RunStep};

    const STEPS: [RunStep; 7] = [
        RunStep::Claim,
        RunStep::Succeed,
        RunStep::Fail,
        RunStep::Release,
        RunStep::Cancel,
        RunStep::Retry,
        RunStep::Merge,
    ];

    #[test]
    fn only_a_person_moves_a_run_that_ended() {
        for state in RunState::ALL {
            let moved_by_worker = STEPS.iter().any(|step| *step != RunStep::Retry && state.after(*step).is_some());
            assert_eq!(moved_by_worker, !state.is_final(), "{state:?}");
        }
        for over in [RunState::Succeeded, RunState::Merged] {
            assert_eq!(over.after(RunStep::Retry), None);
        }
    }

    #[test]
    fn every_state_is_reached_from_queued() {
        let mut seen = vec![RunState::Queued];
        let mut at = 0;
        while at < seen.len() {
            for step in STEPS {
                if let Some(next) = seen[at].after(step)
                    && !seen.contains(&next)
                {
                    seen.push(next);
                }
            }
            at += 1;
        }
        assert_eq!(seen.len(), RunState::ALL.len());
    }
}
