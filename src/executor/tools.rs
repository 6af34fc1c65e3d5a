//! Tools that Postern itself offers to an agent at work, whatever way it runs.

use std::{collections::HashSet, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use crate::executor::{BoxFuture, mask::Mask};

/// One tool as a model is told of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolSpec {
    /// Its name, without any server's.
    pub name: String,
    /// What it does; the model reads it.
    pub description: String,
    /// A JSON Schema of type object.
    pub input_schema: Value,
}

/// One call of a tool.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    /// One of the names that were offered.
    pub name: String,
    /// What the model says; checked by nobody yet.
    pub input: Value,
    /// The call's id in the run's record, when the executor knows it.
    pub id: Option<String>,
}

/// What a tool gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolReply {
    /// What the model reads; cut where it is too long for it.
    pub text: String,
    /// The call failed, and the text says why.
    pub is_error: bool,
}

/// Where the tools of one run are done. Calls come at the same time; one that is not waited for any more is dropped.
pub trait ToolHost: Send + Sync {
    /// The tools that this agent has.
    fn list(&self) -> Vec<ToolSpec>;

    /// Does one call. What takes too long is dropped and fails.
    fn call(&self, call: ToolCall) -> BoxFuture<'_, ToolReply>;

    /// How long a call of that tool may take, where that is longer than others may.
    fn patience(&self, _tool: &str) -> Option<Duration> {
        None
    }

    /// Hears which calls of attempts before this one have their results in the conversation as it is taken up: whoever
    /// repeats one of them means another call. Said before any call, by executors whose conversations go on.
    fn heard(&self, _calls: HashSet<String>) {}

    /// Asks a person whether a call may be made that a rule `ask` is about. It takes no longer than somebody is waited for.
    fn permit(&self, _asked: PermissionAsked) -> BoxFuture<'_, Permit> {
        Box::pin(async { Permit::Denied("nobody can be asked".to_owned()) })
    }

    /// For how long people have been waited for so far, calls that still wait included: no time of the agent's.
    fn waited(&self) -> Duration {
        Duration::ZERO
    }
}

/// A call that a person is to decide about.
#[derive(Clone, Debug, PartialEq)]
pub struct PermissionAsked {
    /// The tool.
    pub tool: String,
    /// What it is told.
    pub input: Value,
    /// The rule that wants it.
    pub rule: String,
    /// The call's id in the conversation, when the executor knows it.
    pub id: Option<String>,
}

/// What became of a question about a call; in words for the model and the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permit {
    /// It may be made; who said so.
    Allowed(String),
    /// It may not; why.
    Denied(String),
}

/// The shortest time between two looks at the wall clock.
const LEAST_LOOK: Duration = Duration::from_millis(200);

/// When a run that was to have ended at `until` must have: waiting for people does not count.
pub(super) fn end_of(until: Instant, host: Option<&Arc<dyn ToolHost>>) -> Instant {
    until + host.map_or(Duration::ZERO, |host| host.waited())
}

/// Waits until the run has taken its time.
pub(super) async fn out_of_time(until: Instant, host: Option<&Arc<dyn ToolHost>>) {
    loop {
        let until = end_of(until, host);
        if Instant::now() >= until {
            return;
        }
        // While somebody is waited for the end moves on: it is looked at once in a while.
        sleep_until(until.max(Instant::now() + LEAST_LOOK)).await;
    }
}

/// The same tools, which are told no secrets of the run: where an answer or a note has the value of one, it is masked.
pub(super) fn masked(host: Arc<dyn ToolHost>, mask: &Mask) -> Arc<dyn ToolHost> {
    Arc::new(Masked { host, mask: mask.clone() })
}

struct Masked {
    host: Arc<dyn ToolHost>,
    mask: Mask,
}

impl ToolHost for Masked {
    fn list(&self) -> Vec<ToolSpec> {
        self.host.list()
    }

    fn call(&self, mut call: ToolCall) -> BoxFuture<'_, ToolReply> {
        self.mask.value(&mut call.input);
        self.host.call(call)
    }

    fn patience(&self, tool: &str) -> Option<Duration> {
        self.host.patience(tool)
    }

    fn heard(&self, calls: HashSet<String>) {
        self.host.heard(calls);
    }

    fn permit(&self, mut asked: PermissionAsked) -> BoxFuture<'_, Permit> {
        self.mask.value(&mut asked.input);
        asked.tool = self.mask.text(&asked.tool);
        asked.id = asked.id.map(|id| self.mask.text(&id));
        self.host.permit(asked)
    }

    fn waited(&self) -> Duration {
        self.host.waited()
    }
}
