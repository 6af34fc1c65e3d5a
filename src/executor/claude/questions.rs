//! What the CLI asks us, answered at the same time: none waits for another, and the CLI is read meanwhile. Each has a task
//! of its own: what it holds of the store it gives back whatever the conversation itself waits for.

use std::{collections::HashMap, sync::Arc};

use futures_util::future::{BoxFuture, FutureExt as _};
use serde_json::Value;
use tokio::task::{AbortHandle, JoinSet};

use crate::executor::{
    claude::{
        message::{ControlRequest, Question},
        permission::{Decision, Permissions},
        protocol,
        record::{Line, status},
        served,
    },
    tools::{PermissionAsked, Permit, ToolHost},
};

/// Questions that are open at the same time at most.
const MAX_OPEN: usize = 64;

/// An answer that is ready.
pub(super) struct Answered {
    request_id: String,
    /// What the CLI is told.
    pub(super) line: Vec<u8>,
    /// What the record is told.
    pub(super) note: Option<Line>,
}

/// The questions that are open.
pub(super) struct Questions {
    permissions: Arc<Permissions>,
    tools: Option<Arc<dyn ToolHost>>,
    running: JoinSet<Answered>,
    open: HashMap<String, AbortHandle>,
}

impl Questions {
    /// Before anything was asked.
    pub(super) fn new(permissions: Arc<Permissions>, tools: Option<Arc<dyn ToolHost>>) -> Self {
        Self { permissions, tools, running: JoinSet::new(), open: HashMap::new() }
    }

    /// Whether none is open.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Begins to answer one. What is said at once when too many are open.
    pub(super) fn ask(&mut self, asked: ControlRequest) -> Option<Vec<u8>> {
        let ControlRequest { request_id, request } = asked;
        if self.open.len() >= MAX_OPEN || self.open.contains_key(&request_id) {
            return Some(protocol::refusal(&request_id, "too many questions at once"));
        }
        let answer: BoxFuture<'static, Answered> = match request {
            Question::CanUseTool { tool_name, input, tool_use_id } => {
                permit(self.judge(), request_id.clone(), (tool_name, tool_use_id), input).boxed()
            }
            Question::HookCallback { input } => judge(self.judge(), request_id.clone(), input).boxed(),
            Question::McpMessage { server_name, message } => {
                serve(self.tools.clone(), request_id.clone(), server_name, message).boxed()
            }
            Question::Other => return Some(protocol::refusal(&request_id, "not offered here")),
        };
        self.open.insert(request_id, self.running.spawn(answer));
        None
    }

    fn judge(&self) -> Judge {
        Judge { permissions: Arc::clone(&self.permissions), tools: self.tools.clone() }
    }

    /// Stops answering one that nobody waits for any more.
    pub(super) fn cancel(&mut self, request_id: &str) {
        if let Some(handle) = self.open.remove(request_id) {
            handle.abort();
        }
    }

    /// The next answer; for ever when none is open.
    pub(super) async fn next(&mut self) -> Answered {
        loop {
            match self.running.join_next().await {
                Some(Ok(answered)) => {
                    self.open.remove(&answered.request_id);
                    return answered;
                }
                Some(Err(fault)) if fault.is_panic() => std::panic::resume_unwind(fault.into_panic()),
                // It was cancelled.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }
}

/// Decides about calls: by the rules, and by a person where a rule wants that.
struct Judge {
    permissions: Arc<Permissions>,
    tools: Option<Arc<dyn ToolHost>>,
}

impl Judge {
    /// The decision, and what the record is told of it.
    async fn decide(&self, tool: &str, input: &Value, id: Option<&str>) -> (Decision, Option<Line>) {
        let rule = match self.permissions.decide(tool, input) {
            Decision::Ask(rule) => rule,
            Decision::Deny(why) => {
                let note = status(format!("{tool} was denied: {why}"));
                return (Decision::Deny(why), Some(note));
            }
            decision @ (Decision::Allow | Decision::Unsaid) => return (decision, None),
        };
        let asked = PermissionAsked {
            tool: tool.to_owned(),
            input: input.clone(),
            rule: rule.clone(),
            id: id.map(str::to_owned),
        };
        let permit = match &self.tools {
            Some(tools) => tools.permit(asked).await,
            None => Permit::Denied("nobody can be asked".to_owned()),
        };
        match permit {
            Permit::Allowed(why) => {
                (Decision::Allow, Some(status(format!("{tool} was allowed by the rule `ask: {rule}`: {why}"))))
            }
            Permit::Denied(why) => {
                let why = format!("the rule `ask: {rule}` wants a person: {why}");
                let note = status(format!("{tool} was denied: {why}"));
                (Decision::Deny(why), Some(note))
            }
        }
    }
}

async fn permit(judge: Judge, request_id: String, (tool, id): (String, Option<String>), input: Value) -> Answered {
    let (decision, note) = match judge.decide(&tool, &input, id.as_deref()).await {
        (Decision::Unsaid, _) => {
            let why = "no rule allows it, and nobody can be asked".to_owned();
            let note = status(format!("{tool} was denied: {why}"));
            (Decision::Deny(why), Some(note))
        }
        decided => decided,
    };
    let line = protocol::permit(&request_id, &decision, &input);
    Answered { request_id, line, note }
}

async fn judge(judge: Judge, request_id: String, input: Value) -> Answered {
    let word = |key: &str| input.get(key).and_then(Value::as_str);
    let tool = word("tool_name").unwrap_or_default();
    let told = input.get("tool_input").unwrap_or(&Value::Null);
    let (decision, note) = judge.decide(tool, told, word("tool_use_id")).await;
    let line = protocol::hook(&request_id, &decision);
    Answered { request_id, line, note }
}

async fn serve(host: Option<Arc<dyn ToolHost>>, request_id: String, server: String, message: Value) -> Answered {
    let line = match served::answer(host, &server, message).await {
        Ok(response) => protocol::answer(&request_id, &response),
        Err(why) => protocol::refusal(&request_id, &why),
    };
    Answered { request_id, line, note: None }
}
