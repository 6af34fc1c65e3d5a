//! `trigger_agent`: a run of another agent of the same tenant.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    crypto,
    domain::{
        agent_note::{AgentNote, MOST_DEPTH, MOST_LINKS, NoteCause},
        id::RunId,
        run::{Run, RunState},
    },
    pipeline::{
        execute::trust_of,
        prompt,
        starts::{self, Start, bare_trigger},
        tools::{Context, Said, store_failed},
    },
    store::CallKey,
};

/// The tool's name, under which what it made is found.
pub(crate) const NAME: &str = "trigger_agent";
/// Bytes of what the other agent is told.
const MAX_PROMPT_BYTES: usize = 64 * 1024;
/// Runs that one run may start.
const MOST_CALLS: i64 = 20;
/// How long the end of the other run is waited for at most; less than a call may take.
const WAIT: Duration = Duration::from_secs(9 * 60);
/// How often it is looked at when nobody told that it ended.
const LOOK: Duration = Duration::from_secs(15);

/// What it is told.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    agent: String,
    prompt: String,
    #[serde(default)]
    wait: bool,
}

pub(super) fn describe() -> (&'static str, Value) {
    let says = "Starts another agent with a task of yours. It knows nothing of this conversation but what you write. \
                Without `wait` you hear no more of it.";
    let properties = json!({
        "agent": {"type": "string", "description": "The agent's name"},
        "prompt": {"type": "string", "description": "The task, with all that the agent needs to know"},
        "wait": {"type": "boolean", "description": "Wait for its result, at most nine minutes"},
    });
    let schema = json!({"type": "object", "properties": properties, "required": ["agent", "prompt"],
        "additionalProperties": false});
    (says, schema)
}

pub(super) async fn call(context: &Context, id: Option<&str>, input: Input) -> Said {
    let told = json!([input.agent.trim(), input.prompt.trim()]).to_string();
    let content = crypto::sha256_hex(told.as_bytes());
    let call = CallKey { tool: NAME, content: &content, id };
    let (run, number) = start(context, &call, &input).await?;
    let said = match input.wait {
        true => wait(context, &run, &input.agent).await,
        false => Ok(format!("{run} of the agent {} is started.", input.agent)),
    };
    context.replied(&call, number).await;
    said
}

/// Waits for the end of the run, as long as a call may take.
async fn wait(context: &Context, run: &RunId, agent: &str) -> Said {
    let until = Instant::now() + WAIT;
    let mut news = context.execute.wakes.news_to_come();
    loop {
        let found = context.execute.store.run(&context.work.run.tenant, run).await;
        match found.map_err(|fault| store_failed(context, &fault))? {
            Some(run) if run.state.is_final() => return ended(&run),
            Some(_) => {}
            None => return Err(format!("{run} is not kept any more")),
        }
        if Instant::now() >= until {
            return Ok(format!("{run} of the agent {agent} still works; you will not hear of its end."));
        }
        tokio::select! {
            _ = news.changed() => {}
            () = tokio::time::sleep(LOOK.min(until.saturating_duration_since(Instant::now()))) => {}
        }
    }
}

/// Starts the run; also which call of its content it is. The event's key is made of the call, so that the same call starts one run whoever makes it and however
/// often: that a worker which lost its lease may still write it changes nothing.
async fn start(context: &Context, call: &CallKey<'_>, input: &Input) -> Result<(RunId, i64), String> {
    let (execute, work) = (&context.execute, &context.work);
    let (store, tenant, failed) = (&execute.store, &work.run.tenant, |fault| store_failed(context, &fault));
    if work.run.dry_run {
        return Err("this run is a dry run, which starts nothing".to_owned());
    }
    let (name, text) = (input.agent.trim(), input.prompt.trim());
    let allowed = &work.agent.spec.may_trigger;
    if !allowed.iter().any(|agent| agent == name) {
        return Err(format!("you may not start an agent `{name}`; you may start: {}", allowed.join(", ")));
    }
    if text.is_empty() || text.len() > MAX_PROMPT_BYTES {
        return Err(format!("`prompt` has {} bytes; write 1 to {MAX_PROMPT_BYTES}", text.len()));
    }
    let before = work.event.event.note();
    let (depth, links) = before.map_or((1, 1), |note| (note.depth + 1, note.links + 1));
    if depth > MOST_DEPTH || links > MOST_LINKS {
        return Err(format!(
            "{} agents have started each other up to here, which is enough; do it yourself",
            depth - 1
        ));
    }
    let found = store.find_agent(tenant, name).await.map_err(failed)?;
    let Some((agent, version, true)) = found else { return Err(format!("there is no agent `{name}` now")) };
    let agent = store.agent_version(tenant, &agent, version).await.map_err(failed)?;
    let agent = agent.ok_or_else(|| format!("there is no agent `{name}` now"))?;
    let catalog = store.catalog(tenant).await.map_err(failed)?;

    let too_many = format!("this run has started {MOST_CALLS} others, which is the most");
    let number = context.number(call, MOST_CALLS, &too_many).await?;
    let (trust, trust_reason) = trust_of(work);
    let note = AgentNote {
        cause: NoteCause::Trigger,
        by: work.agent.name.clone(),
        agent: name.to_owned(),
        run: Some(work.run.id.clone()),
        text: text.to_owned(),
        trust,
        trust_reason,
        depth,
        links,
        ..AgentNote::default()
    };
    let start = Start {
        tenant,
        note,
        key: format!("call:{}:{}:{number}", work.run.id, call.content),
        trigger: &bare_trigger(store, &agent),
        catalog: &catalog,
        session_key: None,
        origin: None,
    };
    let accepted = starts::start(store, &execute.wakes, start).await.map_err(failed)?;
    let run = accepted.runs.first().ok_or_else(|| format!("the run of `{name}` is not kept any more"))?;
    store.note_made(&work.lease, call, (number, run.as_str())).await.map_err(failed)?;
    Ok((run.clone(), number))
}

fn ended(run: &Run) -> Said {
    let (name, id) = (&run.agent_name, &run.id);
    match (run.state, &run.failure) {
        (RunState::Succeeded, _) => {
            let text = run.result_text.as_deref().unwrap_or_default();
            let text = match &run.result_json {
                Some(json) => format!("{text}\n{json}"),
                None => text.to_owned(),
            };
            Ok(format!("{id} succeeded:\n{}", prompt::marked(text.trim(), &format!("the result of the agent {name}"))?))
        }
        // What a program or a service printed last may be in it.
        (_, Some(failure)) => {
            let why = prompt::marked(&failure.message, &format!("how the agent {name} failed"))?;
            Err(format!("{id} failed ({}):\n{why}", failure.code.as_str()))
        }
        (_, None) => Err(format!("{id} was {}", run.state.as_str())),
    }
}
