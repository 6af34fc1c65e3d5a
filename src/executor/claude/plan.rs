//! How a run takes up its conversation.

use std::collections::HashSet;

use serde_json::json;
use uuid::Uuid;

use crate::{
    domain::run::MessageKind,
    executor::{
        RunSink, RunSpec, Stopped,
        claude::{
            conversation::Opening,
            further, keep,
            process::Begin,
            protocol,
            transcript::{self, Progress},
        },
        mask::Mask,
        workdir::{self, Workdir},
    },
};

const NUDGE: &str = "Your work was cut off. Go on where you were.";

/// What came before this CLI.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// Nothing that broke off.
    Nothing,
    /// One that broke off in a turn, which is gone on with.
    CutOff,
}

/// What follows for the CLI.
pub(super) enum TakenUp {
    /// It is started so, begins with that, and is told the rest once it works.
    Begin(Begin, Opening, Vec<u8>),
    /// The worker vanished after the last word: here it is, and the conversation's id.
    Done(String, String),
}

enum Plan {
    /// The CLI works, and is sent the prompt under this id.
    Ask(Begin, Uuid),
    /// The CLI goes on by itself.
    GoOn(Begin),
    /// See [`TakenUp::Done`].
    Done(String, String),
}

/// The ids of messages that a conversation holds.
pub(super) type Known = HashSet<String>;

/// An id that every attempt of a run makes alike.
pub(super) fn stable_id(spec: &RunSpec, what: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("postern:{what}:{}", spec.run).as_bytes())
}

/// Brings the conversation here and sees how far it came, for the CLI number `round` of the attempt.
pub(super) async fn take_up(
    spec: &RunSpec,
    workdir: &Workdir,
    mask: &Mask,
    sink: &mut dyn RunSink,
    round: u32,
) -> Result<(TakenUp, Known), Stopped> {
    let before = if round > 0 || spec.interrupted { Before::CutOff } else { Before::Nothing };
    let (plan, known) = plan(spec, workdir, mask, sink, before).await?;
    let missing = further::unknown_blocks(spec, &known);
    // What attempts before this one took is said again where the conversation does not hold it.
    let taken = |blocks: &[String]| protocol::prompt(blocks, &stable_id(spec, &format!("taken-{}", spec.fence)));
    let follows = match plan {
        Plan::Done(text, id) if missing.is_empty() => TakenUp::Done(text, id),
        // What it took after its last word did not reach the conversation.
        Plan::Done(_, id) => TakenUp::Begin(Begin::Resume(id), Opening::Say(taken(&missing)), Vec::new()),
        Plan::Ask(begin, id) => {
            let blocks = [spec.prompt.blocks.as_slice(), &missing].concat();
            TakenUp::Begin(begin, Opening::Say(protocol::prompt(&blocks, &id)), Vec::new())
        }
        Plan::GoOn(begin) => {
            let again = if missing.is_empty() { Vec::new() } else { taken(&missing) };
            let id = stable_id(spec, &format!("nudge-{}-{round}", spec.fence));
            TakenUp::Begin(begin, Opening::Nudge(protocol::prompt(&[NUDGE.to_owned()], &id)), again)
        }
    };
    Ok((follows, known))
}

async fn plan(
    spec: &RunSpec,
    workdir: &Workdir,
    mask: &Mask,
    sink: &mut dyn RunSink,
    before: Before,
) -> Result<(Plan, Known), Stopped> {
    let own = stable_id(spec, "session").to_string();
    let prompt = further::prompt_id(&spec.run);
    let has_own =
        (spec.forked_from.is_some() || spec.resume_id.is_none()) && keep::bring(spec, workdir, mask, &own).await?;
    if let (Some(from), true, false) = (&spec.resume_id, spec.forked_from.is_some(), has_own)
        && let Some(known) = bring_other(spec, workdir, mask, from).await?
    {
        return Ok((Plan::Ask(Begin::Fork(from.clone(), own), prompt), known));
    }
    let resumed = match &spec.resume_id {
        Some(id) if spec.forked_from.is_none() && keep::bring(spec, workdir, mask, id).await? => Some(id.clone()),
        Some(_) | None => None,
    };
    let id = match resumed {
        Some(id) => id,
        None if has_own || keep::bring(spec, workdir, mask, &own).await? => own,
        None => {
            if spec.resume_id.is_some() {
                let text = "the earlier conversation is neither on this machine nor in the store; a new one was begun";
                sink.message(MessageKind::Status, json!({"text": text})).await?;
            }
            return Ok((Plan::Ask(Begin::New(own), prompt), Known::new()));
        }
    };
    let (config, wanted, asked) = (workdir.home().join(".claude"), id.clone(), prompt.to_string());
    // There may be calls of an attempt before this one.
    let tools = spec.tools.as_ref().filter(|_| spec.interrupted || spec.attempt > 1);
    let has_calls = tools.is_some();
    // Transcripts are long.
    let (progress, known, heard) = workdir::blocking(move || {
        let file = transcript::find(&config, &wanted);
        let progress = file.as_ref().map(|file| transcript::progress(file, &asked));
        let heard = file.as_ref().filter(|_| has_calls).map(|file| transcript::heard(file));
        Ok((progress, file.as_ref().map(|file| transcript::messages(file)).unwrap_or_default(), heard))
    })
    .await?;
    if let (Some(tools), Some(heard)) = (tools, heard) {
        tools.heard(heard);
    }
    let is_text = spec.agent.spec.output_schema.is_none();
    let plan = match (progress, before) {
        (None, _) => Plan::Ask(Begin::New(id), prompt),
        (Some(Progress::Untaken), _) => Plan::Ask(Begin::Resume(id), prompt),
        (Some(Progress::Open), Before::CutOff) => Plan::GoOn(Begin::Interrupted(id)),
        // Before its first attempt: the run at work before it had taken it in and answered, and died before it said so.
        (Some(Progress::Answered(text)), _) if is_text && (before == Before::CutOff || spec.attempt == 1) => {
            Plan::Done(text, id)
        }
        // The CLI drops a message whose id it knows, without a word: another try needs another.
        (Some(Progress::Open | Progress::Stopped | Progress::Answered(_)), _) => {
            Plan::Ask(Begin::Resume(id), stable_id(spec, &format!("prompt-{}", spec.fence)))
        }
    };
    Ok((plan, known))
}

/// Brings the conversation that a fork goes on from, as it was when the fork was made: from the store. What is too long to
/// be kept there comes from the other session's home on this machine, with what that added since.
async fn bring_other(spec: &RunSpec, workdir: &Workdir, mask: &Mask, from: &str) -> Result<Option<Known>, Stopped> {
    let (config, id) = (workdir.home().join(".claude"), from.to_owned());
    if keep::bring(spec, workdir, mask, from).await? {
        let known = workdir::blocking(move || {
            Ok(transcript::find(&config, &id).as_ref().map(|file| transcript::messages(file)).unwrap_or_default())
        });
        return Ok(Some(known.await?));
    }
    let other = spec.forked_from.as_ref().map(|session| workdir.home_of(session).join(".claude"));
    let copied = workdir::blocking(move || match other {
        Some(other) => transcript::copy(&other, &id, &config),
        None => Ok(None),
    });
    Ok(copied.await?)
}
