//! Tools that Postern itself offers to an agent at work, whatever way it runs.

use std::sync::Arc;

use serde_json::Value;

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
}
