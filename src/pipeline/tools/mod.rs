//! The tools of Postern's own, as an agent at work calls them: one file a tool. Whatever one writes is fenced by the
//! lease of the run.

mod ask_human;
mod asking;
mod final_answer;
mod get_event;
mod get_thread;
mod letter;
mod recall;
mod remember;
mod reply;
mod schedule_followup;
pub(crate) mod trigger_agent;
mod waits;

use std::{
    collections::HashSet,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    domain::{
        ask::{Ask, DEFAULT_WAIT},
        json,
        own_tool::OwnTool,
    },
    executor::{
        BoxFuture,
        tools::{PermissionAsked, Permit, ToolCall, ToolHost, ToolReply, ToolSpec},
    },
    pipeline::{execute::Execute, record::Recorder, tools::waits::Waits},
    store::{CallKey, Numbered, RunWork, StoreError},
};

/// Calls of all tools together in one attempt of a run.
const MOST_CALLS: usize = 200;
/// How long a question may take beside the wait for its answer.
const ASKING: Duration = Duration::from_secs(30);
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
    /// The run's record.
    record: Recorder,
    /// Calls of attempts before whose results the conversation holds; set at most once, before any call.
    heard: OnceLock<HashSet<String>>,
}

impl Context {
    /// Tells which call of its content a call is.
    ///
    /// # Errors
    /// In words for the model; `too_many` are those for more calls than `most`.
    async fn number(&self, call: &CallKey<'_>, most: i64, too_many: &str) -> Result<i64, String> {
        let (store, none) = (&self.execute.store, HashSet::new());
        match store.number_call(&self.work, call, self.heard.get().unwrap_or(&none), most).await {
            Ok(Numbered::Call(number)) => Ok(number),
            Ok(Numbered::TooMany) => Err(too_many.to_owned()),
            Ok(Numbered::LeaseLost) => Err("this run goes on elsewhere".to_owned()),
            Err(fault) => Err(store_failed(self, &fault)),
        }
    }

    /// Writes down that the model is told the end of a call now. Without it the same call after a crash finds this one,
    /// also where the model means another.
    async fn replied(&self, call: &CallKey<'_>, number: i64) {
        if let Err(fault) = self.execute.store.note_replied(&self.work.lease, call, number).await {
            tracing::warn!(run = %self.work.run.id, error = ?fault, "that a call was answered could not be written");
        }
    }
}

/// The tools of one attempt.
pub(super) struct Host {
    tools: Vec<OwnTool>,
    calls: AtomicUsize,
    context: Context,
    waits: Waits,
}

impl Host {
    /// The tools that the agent's file names; `None` when it names none and has no need to ask anybody.
    pub(super) fn open(execute: &Execute, work: &RunWork, record: &Recorder) -> Option<Arc<Self>> {
        let mut tools = OwnTool::of(&work.agent.spec.tools, &work.agent.spec.disallowed);
        tools.retain(|tool| *tool != OwnTool::TriggerAgent || !work.agent.spec.may_trigger.is_empty());
        if tools.is_empty() && work.agent.spec.ask.is_none() {
            return None;
        }
        let (execute, work, record) = (execute.clone(), work.without_bytes(), record.clone());
        let context = Context { execute, work, record, heard: OnceLock::new() };
        Some(Arc::new(Self { tools, calls: AtomicUsize::new(0), context, waits: Waits::default() }))
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
            OwnTool::GetEvent => get_event::call(context, read(&call.input)?).await,
            OwnTool::Reply => reply::call(context, read(&call.input)?).await,
            OwnTool::GetThread => get_thread::call(context, read(&call.input)?).await,
            OwnTool::Remember => remember::call(context, read(&call.input)?).await,
            OwnTool::Recall => recall::call(context, read(&call.input)?).await,
            OwnTool::AskHuman => ask_human::call(context, &self.waits, call.id.as_deref(), read(&call.input)?).await,
            OwnTool::ScheduleFollowup => schedule_followup::call(context, call.id.as_deref(), read(&call.input)?).await,
            OwnTool::TriggerAgent => trigger_agent::call(context, call.id.as_deref(), read(&call.input)?).await,
        }
    }
}

/// What a model is told of a tool: what it does, and what its input is.
fn describe(tool: OwnTool) -> (&'static str, Value) {
    match tool {
        OwnTool::GetEvent => get_event::describe(),
        OwnTool::Reply => reply::describe(),
        OwnTool::GetThread => get_thread::describe(),
        OwnTool::Remember => remember::describe(),
        OwnTool::Recall => recall::describe(),
        OwnTool::AskHuman => ask_human::describe(),
        OwnTool::ScheduleFollowup => schedule_followup::describe(),
        OwnTool::TriggerAgent => trigger_agent::describe(),
    }
}

impl ToolHost for Host {
    fn list(&self) -> Vec<ToolSpec> {
        let spec = |tool: &OwnTool| {
            let (description, input_schema) = describe(*tool);
            ToolSpec { name: tool.as_str().to_owned(), description: description.to_owned(), input_schema }
        };
        self.tools.iter().map(spec).collect()
    }

    fn call(&self, call: ToolCall) -> BoxFuture<'_, ToolReply> {
        Box::pin(async move {
            match self.answer(call).await {
                Ok(text) => ToolReply { text, is_error: false },
                Err(text) => ToolReply { text, is_error: true },
            }
        })
    }

    fn patience(&self, tool: &str) -> Option<Duration> {
        let ask = self.context.work.agent.spec.ask.as_ref();
        let wait = ask.map_or(DEFAULT_WAIT, Ask::wait);
        (tool == OwnTool::AskHuman.as_str()).then(|| wait.to_std() + ASKING)
    }

    fn heard(&self, calls: HashSet<String>) {
        // A second CLI of the same attempt knows more, but takes nothing over from the first.
        let _ = self.context.heard.set(calls);
    }

    fn permit(&self, asked: PermissionAsked) -> BoxFuture<'_, Permit> {
        Box::pin(ask_human::permit(&self.context, &self.waits, asked))
    }

    fn waited(&self) -> Duration {
        self.waits.total()
    }
}

/// Reads a tool's input; what is wrong with it is said in words that name the field.
fn read<T: DeserializeOwned>(input: &Value) -> Result<T, String> {
    json::fit(input).map_err(|fault| format!("the input does not fit: {fault}"))
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
