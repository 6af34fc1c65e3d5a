//! What the CLI asks us, answered at the same time: none waits for another, and the CLI is read meanwhile. Each has a task
//! of its own: what it holds of the store it gives back whatever the conversation itself waits for.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use futures_util::future::{BoxFuture, FutureExt as _};
use serde_json::Value;
use tokio::task::{AbortHandle, JoinSet};

use crate::executor::{
    claude::{
        decisions::{By, Decided, Decisions, Verdict, Word},
        message::{ControlRequest, Question},
        permission::{Call, Decision, Permissions},
        protocol,
        record::Line,
        served,
    },
    tools::{PermissionAsked, Permit, ToolHost},
    workdir::blocking,
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
    decided: Option<Decided>,
}

/// A call that we are asked about.
struct Asked {
    tool: String,
    input: Value,
    id: Option<String>,
    /// Where the CLI is, when it says so.
    directory: Option<PathBuf>,
}

/// The questions that are open.
pub(super) struct Questions {
    permissions: Arc<Permissions>,
    tools: Option<Arc<dyn ToolHost>>,
    running: JoinSet<Answered>,
    open: HashMap<String, AbortHandle>,
    decisions: Decisions,
}

impl Questions {
    /// Before anything was asked.
    pub(super) fn new(permissions: Arc<Permissions>, tools: Option<Arc<dyn ToolHost>>) -> Self {
        let (running, open) = (JoinSet::new(), HashMap::new());
        Self { permissions, tools, running, open, decisions: Decisions::default() }
    }

    /// What the CLI said, with what was decided about its calls.
    pub(super) fn told(&mut self, lines: Vec<Line>) -> Vec<Line> {
        self.decisions.told(lines)
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
                let asked = Asked { tool: tool_name, input, id: tool_use_id, directory: None };
                permit(self.judge(), request_id.clone(), asked).boxed()
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
                Some(Ok(mut answered)) => {
                    self.open.remove(&answered.request_id);
                    answered.note = answered.decided.take().and_then(|decided| self.decisions.decide(decided));
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
    async fn decide(&self, asked: &Arc<Asked>) -> Decision {
        let rule = match self.by_rules(asked).await {
            Decision::Ask(rule) => rule,
            decision @ (Decision::Allow(_) | Decision::Deny(_) | Decision::Unsaid) => return decision,
        };
        let question = PermissionAsked {
            tool: asked.tool.clone(),
            input: asked.input.clone(),
            rule: rule.clone(),
            id: asked.id.clone(),
        };
        let permit = match &self.tools {
            Some(tools) => tools.permit(question).await,
            None => Permit::Denied("nobody can be asked".to_owned()),
        };
        let verdict = |reason| Verdict { by: By::Human, rule: Some(format!("ask: {rule}")), reason };
        match permit {
            Permit::Allowed(why) => Decision::Allow(verdict(why)),
            Permit::Denied(why) => Decision::Deny(verdict(format!("the rule `ask: {rule}` wants a person: {why}"))),
        }
    }

    /// On a thread that may wait: links are looked at, perhaps those of a file system far away.
    async fn by_rules(&self, asked: &Arc<Asked>) -> Decision {
        let (permissions, asked) = (Arc::clone(&self.permissions), Arc::clone(asked));
        let decided = blocking(move || {
            let directory = asked.directory.as_deref();
            Ok(permissions.decide(Call { tool: &asked.tool, input: &asked.input, directory }))
        });
        decided
            .await
            .unwrap_or_else(|failure| Decision::Deny(Verdict { by: By::Default, rule: None, reason: failure.message }))
    }
}

async fn permit(judge: Judge, request_id: String, asked: Asked) -> Answered {
    let asked = Arc::new(asked);
    let decision = match judge.decide(&asked).await {
        Decision::Unsaid => Decision::Deny(judge.permissions.unsaid()),
        decision @ (Decision::Allow(_) | Decision::Deny(_) | Decision::Ask(_)) => decision,
    };
    let line = protocol::permit(&request_id, &decision, &asked.input);
    Answered { request_id, line, note: None, decided: Some(decided(&asked, decision)) }
}

async fn judge(judge: Judge, request_id: String, input: Value) -> Answered {
    let word = |key: &str| input.get(key).and_then(Value::as_str).map(str::to_owned);
    let asked = Arc::new(Asked {
        tool: word("tool_name").unwrap_or_default(),
        id: word("tool_use_id"),
        directory: word("cwd").map(PathBuf::from).filter(|directory| directory.is_absolute()),
        input: input.get("tool_input").cloned().unwrap_or_default(),
    });
    let decision = judge.decide(&asked).await;
    let line = protocol::hook(&request_id, &decision);
    Answered { request_id, line, note: None, decided: Some(decided(&asked, decision)) }
}

fn decided(asked: &Asked, decision: Decision) -> Decided {
    let verdict = match decision {
        Decision::Allow(verdict) => Some((Word::Allow, verdict)),
        Decision::Deny(verdict) => Some((Word::Deny, verdict)),
        Decision::Ask(_) | Decision::Unsaid => None,
    };
    Decided { tool: asked.tool.clone(), id: asked.id.clone(), verdict }
}

async fn serve(host: Option<Arc<dyn ToolHost>>, request_id: String, server: String, message: Value) -> Answered {
    let line = match served::answer(host, &server, message).await {
        Ok(response) => protocol::answer(&request_id, &response),
        Err(why) => protocol::refusal(&request_id, &why),
    };
    Answered { request_id, line, note: None, decided: None }
}
