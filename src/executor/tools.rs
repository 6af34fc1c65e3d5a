//! Tools that Postern itself offers to an agent at work, whatever way it runs.

use serde_json::Value;

use crate::executor::BoxFuture;

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
}
