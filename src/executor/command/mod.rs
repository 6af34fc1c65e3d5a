//! Any program as an agent: the event or the prompt comes on standard input, the answer goes to standard output. What
//! known CLIs print is read as what it means (`reader.rs`).

mod answer;
mod claude;
mod codex;
mod conversation;
mod fault;
mod gemini;
pub(super) mod heard;
mod opencode;
pub(super) mod reader;
mod talk;
#[cfg(test)]
mod tests;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::json;

use crate::{
    domain::{
        agent::{RESUME_ID, Stdin},
        run::{Failure, FailureCode, MessageKind, RunResult},
    },
    executor::{
        BoxFuture, Executor, RunSink, RunSpec, Stopped,
        command::{conversation::Conversation, talk::Talk},
        ground::{Bounds, Ground, Place},
        layers, left,
        mask::Mask,
        skills::Chosen,
        workdir::{self, Workdir},
    },
};

/// Runs the program that the agent's file names.
pub struct CommandExecutor {
    ground: Arc<Ground>,
}

impl Executor for CommandExecutor {
    fn run<'a>(&'a self, spec: &'a RunSpec, sink: &'a mut dyn RunSink) -> BoxFuture<'a, Result<RunResult, Stopped>> {
        Box::pin(self.attempt(spec, sink))
    }
}

/// An argument as the agent finds it: one that names a place in a mount is that place's path, which without
/// a sandbox lies in the work directory.
fn placed(argument: &str, workdir: &Workdir) -> OsString {
    let path = Path::new(argument);
    let mount = workdir.mounts.iter().find(|mount| path.starts_with(&mount.container));
    match mount.map(|mount| (workdir.seen(mount), path.strip_prefix(&mount.container))) {
        Some((seen, Ok(rest))) if rest.as_os_str().is_empty() => seen.into_os_string(),
        Some((seen, Ok(rest))) => seen.join(rest).into_os_string(),
        Some((_, Err(_))) | None => argument.into(),
    }
}

/// Program and arguments: those of `resume` where a conversation goes on, its id in the place of the mark.
fn words(spec: &RunSpec, before: Option<&Conversation>) -> Vec<String> {
    let agent = &spec.agent.spec;
    match before {
        Some(before) if !agent.resume.is_empty() => {
            let put = |word: &String| if word == RESUME_ID { before.id.clone() } else { word.clone() };
            agent.resume.iter().map(put).collect()
        }
        Some(_) | None => agent.command.clone(),
    }
}

/// What the program reads. The agent's own text begins a conversation; one that goes on has it already.
fn input(spec: &RunSpec, before: Option<&Conversation>) -> String {
    let agent = &spec.agent.spec;
    match agent.stdin {
        Stdin::Event => spec.event.clone(),
        Stdin::Prompt => {
            let has_text = before.is_some() && !agent.resume.is_empty();
            let own = Some(agent.prompt.trim()).filter(|text| !text.is_empty() && !has_text);
            let blocks = spec.prompt.blocks.iter().map(String::as_str);
            own.into_iter().chain(blocks).collect::<Vec<_>>().join("\n\n")
        }
    }
}

impl CommandExecutor {
    pub(super) const fn new(ground: Arc<Ground>) -> Self {
        Self { ground }
    }

    async fn attempt(&self, spec: &RunSpec, sink: &mut dyn RunSink) -> Result<RunResult, Stopped> {
        let mask = Mask::new(spec, None);
        let bounds = self.ground.bounds(spec);
        let network = spec.agent.spec.network.unwrap_or(false);
        let mut place = self.ground.place(spec, sink, network).await?;
        let (chosen, skills) = (Chosen::of(spec, sink).await?, place.workdir.work().join("skills"));
        workdir::blocking(move || chosen.lay_out(&skills)).await?;
        let before = conversation::before(spec, &place.workdir).await?;
        if let Some(before) = &before {
            place.env.insert("POSTERN_RESUME_ID".into(), before.id.as_str().into());
        } else if spec.resume_id.is_some() {
            let text = "the earlier conversation is not on this machine; a new one was begun";
            sink.message(MessageKind::Status, json!({"text": text})).await?;
        }
        let words = words(spec, before.as_ref());
        let (program, readable) = self.program(words.first(), &place)?;
        let args = words.iter().skip(1).map(|argument| placed(argument, &place.workdir)).collect();
        let mut process = self.ground.start(&place, program, args, readable).await?;
        let mut talk = Talk::new(spec, sink, &mask, bounds, before.as_ref());
        let outcome = tokio::select! {
            biased;
            () = spec.cancel.cancelled() => Err(Stopped::Canceled),
            () = tokio::time::sleep(bounds.wall_clock) => Err(timeout(bounds).into()),
            outcome = talk.listen(&mut process, input(spec, before.as_ref())) => outcome,
        };
        process.end().await;
        let outcome = outcome.and_then(|status| talk.within_walls(status, &place).map_err(Stopped::from));
        let outcome = talk.end(outcome);
        let kept = conversation::keep(spec, &place.workdir, outcome.conversation).await;
        let result = kept.map_err(Stopped::from).and(outcome.result);
        left::after(result, &place.workdir.watched, spec, &mask, sink).await
    }

    /// The program's path, and what the sandbox must show for it to be there.
    fn program(&self, name: Option<&String>, place: &Place) -> Result<(PathBuf, Vec<PathBuf>), Failure> {
        let setup = |why: String| Failure::new(FailureCode::Setup, why);
        let name = name.filter(|name| !name.is_empty());
        let name =
            name.ok_or_else(|| setup("the agent names no program; write command: [program, argument]".to_owned()))?;
        let mounted = place.workdir.mounts.iter().find(|mount| Path::new(name).starts_with(&mount.container));
        if let Some(mount) = mounted {
            let rest = Path::new(name).strip_prefix(&mount.container).unwrap_or(Path::new(""));
            let seen = place.workdir.seen(mount);
            return Ok((if rest.as_os_str().is_empty() { seen } else { seen.join(rest) }, Vec::new()));
        }
        if let Some(found) = layers::find_program(name, &place.workdir) {
            return Ok((found, Vec::new()));
        }
        let found = self.ground.find_program(name);
        let program = found.ok_or_else(|| setup(format!("program `{name}` is not there or may not be executed")))?;
        if place.shows(&program) && std::fs::canonicalize(&program).is_ok_and(|real| place.shows(&real)) {
            return Ok((program, Vec::new()));
        }
        // A link into what is not shown leads nowhere inside: the program itself is shown and started.
        let real = std::fs::canonicalize(&program).unwrap_or(program);
        let readable = if place.shows(&real) { Vec::new() } else { vec![real.clone()] };
        Ok((real, readable))
    }
}

fn timeout(bounds: Bounds) -> Failure {
    Failure::new(FailureCode::Timeout, format!("ran longer than {} s", bounds.wall_clock.as_secs_f64()))
}
