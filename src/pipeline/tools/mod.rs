//! The tools of Postern's own, as an agent at work calls them: one file a tool. Whatever one writes is fenced by the
//! lease of the run.

mod final_answer;
mod get_event;
mod get_thread;
mod recall;
mod remember;
mod reply;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    domain::own_tool::OwnTool,
    executor::{
        BoxFuture,
        tools::{ToolCall, ToolHost, ToolReply, ToolSpec},
    },
    pipeline::execute::Execute,
    store::{RunWork, StoreError},
};

/// Calls of all tools together in one attempt of a run.
const MOST_CALLS: usize = 200;
/// Bytes of what one call is told, as JSON.
const MAX_INPUT_BYTES: usize = 256 * 1024;

/// What a tool says to the model: what came of the call, or why nothing did and what to do instead.
pub(super) type Said = Result<String, String>;

/// What every tool has.
pub(super) struct Context {
    /// Store, watchers, wakes, secrets: what runs the agent.
    pub(super) execute: Execute,
    /// The run with its lease, events, agent and session, as the attempt began; without the bytes of its files.
    pub(super) work: RunWork,
}

/// The tools of one attempt.
pub(super) struct Host {
    tools: Vec<OwnTool>,
    calls: AtomicUsize,
    context: Context,
}

impl Host {
    /// The tools that the agent's file names; `None` when it names none.
    pub(super) fn open(execute: &Execute, work: &RunWork) -> Option<Arc<Self>> {
        let tools = OwnTool::of(&work.agent.spec.tools, &work.agent.spec.disallowed);
        if tools.is_empty() {
            return None;
        }
        let context = Context { execute: execute.clone(), work: work.without_bytes() };
        Some(Arc::new(Self { tools, calls: AtomicUsize::new(0), context }))
    }

    async fn answer(&self, call: ToolCall) -> Said {
        let tool = OwnTool::parse(&call.name).filter(|tool| self.tools.contains(tool));
        let tool = tool.ok_or_else(|| format!("there is no tool `{}` here", call.name))?;
        if self.calls.fetch_add(1, Ordering::Relaxed) >= MOST_CALLS {
            return Err(format!("this run has made its {MOST_CALLS} calls of Postern's tools; finish without them"));
        }
        if call.input.to_string().len() > MAX_INPUT_BYTES {
            return Err(format!("the input is longer than {} KiB; say less at once", MAX_INPUT_BYTES / 1024));
        }
        let context = &self.context;
        match tool {
            OwnTool::GetEvent => get_event::call(context, read(call.input)?).await,
            OwnTool::Reply => reply::call(context, read(call.input)?).await,
            OwnTool::GetThread => get_thread::call(context, read(call.input)?).await,
            OwnTool::Remember => remember::call(context, read(call.input)?).await,
            OwnTool::Recall => recall::call(context, read(call.input)?).await,
            OwnTool::AskHuman | OwnTool::ScheduleFollowup | OwnTool::TriggerAgent => {
                Err(format!("there is no tool `{}` here", call.name))
            }
        }
    }
}

/// What a model is told of a tool: what it does, and what its input is.
fn describe(tool: OwnTool) -> Option<(&'static str, Value)> {
    match tool {
        OwnTool::GetEvent => Some(get_event::describe()),
        OwnTool::Reply => Some(reply::describe()),
        OwnTool::GetThread => Some(get_thread::describe()),
        OwnTool::Remember => Some(remember::describe()),
        OwnTool::Recall => Some(recall::describe()),
        OwnTool::AskHuman | OwnTool::ScheduleFollowup | OwnTool::TriggerAgent => None,
    }
}

impl ToolHost for Host {
    fn list(&self) -> Vec<ToolSpec> {
        let spec = |tool: &OwnTool| {
            let (description, input_schema) = describe(*tool)?;
            Some(ToolSpec { name: tool.as_str().to_owned(), description: description.to_owned(), input_schema })
        };
        self.tools.iter().filter_map(spec).collect()
    }

    fn call(&self, call: ToolCall) -> BoxFuture<'_, ToolReply> {
        Box::pin(async move {
            match self.answer(call).await {
                Ok(text) => ToolReply { text, is_error: false },
                Err(text) => ToolReply { text, is_error: true },
            }
        })
    }
}

/// Reads a tool's input; what is wrong with it is said in words that name the field.
fn read<T: DeserializeOwned>(input: Value) -> Result<T, String> {
    serde_path_to_error::deserialize(input).map_err(|fault| {
        let path = fault.path().to_string();
        let at = if path == "." { String::new() } else { format!("`{path}`: ") };
        format!("the input does not fit: {at}{}", fault.into_inner())
    })
}

/// What a model is told when the store fails; the log is told why.
fn store_failed(context: &Context, fault: &StoreError) -> String {
    tracing::warn!(run = %context.work.run.id, error = ?fault, "a tool of an agent failed");
    "the server could not do this now; try again in a moment, or go on without it".to_owned()
}

/// What a model is told when another worker has its run.
fn lease_lost() -> String {
    "this run was taken over by another worker, so nothing was done; stop here".to_owned()
}
