//! `schedule_followup`: the same agent once more in the same session, later.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    crypto,
    domain::{
        agent_note::{AgentNote, FARTHEST_MS, MOST_FOLLOWUPS, MOST_LINKS, NoteCause},
        id::FollowupId,
        time::{Span, Timestamp},
    },
    pipeline::{
        execute::trust_of,
        followups,
        tools::{Context, Said, store_failed},
    },
    store::{CallKey, NewFollowup, Wanted},
};

/// Bytes of what is to be done.
const MAX_PROMPT_BYTES: usize = 16 * 1024;
/// Bytes of what is noted besides.
const MAX_NOTE_BYTES: usize = 4 * 1024;
/// Calls of one run.
const MOST_CALLS: i64 = 50;

/// What it is told.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    #[serde(rename = "in")]
    after: Option<String>,
    at: Option<String>,
    prompt: String,
    note: Option<String>,
}

pub(super) fn describe() -> (&'static str, Value) {
    let says = "Starts you again later, in this conversation, with a text of yours: to look after something that takes \
                time. Your answer then goes to whoever is answered now. Nothing happens in between, so you do not wait \
                for it.";
    let properties = json!({
        "in": {"type": "string", "description": "How long from now: 30m, 4h, 2d"},
        "at": {"type": "string", "description": "Or when: 2026-12-01T09:00:00+01:00"},
        "prompt": {"type": "string", "description": "What you are to do then, in full sentences"},
        "note": {"type": "string", "description": "What you will need to know besides"},
    });
    (says, json!({"type": "object", "properties": properties, "required": ["prompt"], "additionalProperties": false}))
}

pub(super) async fn call(context: &Context, id: Option<&str>, input: Input) -> Said {
    let (execute, work) = (&context.execute, &context.work);
    let (store, now) = (&execute.store, execute.store.clock().now());
    if work.run.dry_run {
        return Err("this run is a dry run, which starts nothing".to_owned());
    }
    let due_at = time_of(&input, now)?;
    let (prompt, note) = (input.prompt.trim(), input.note.as_deref().map(str::trim).filter(|note| !note.is_empty()));
    if prompt.is_empty() || prompt.len() > MAX_PROMPT_BYTES {
        return Err(format!("`prompt` has {} bytes; write 1 to {MAX_PROMPT_BYTES}", prompt.len()));
    }
    if note.is_some_and(|note| note.len() > MAX_NOTE_BYTES) {
        return Err(format!("`note` is longer than {MAX_NOTE_BYTES} bytes"));
    }
    // As it was said: a span ends at another time whenever it is read.
    let told = json!([input.after, input.at, prompt, note]).to_string();
    let content = crypto::sha256_hex(told.as_bytes());
    let before = work.event.event.note();
    let links = before.map_or(0, |note| note.links) + 1;
    if links > MOST_LINKS {
        return Err(format!("this is the end of a chain of {MOST_LINKS} runs that agents wanted; finish now"));
    }
    let call = CallKey { tool: "schedule_followup", content: &content, id };
    let too_many = format!("this run has scheduled {MOST_CALLS} follow-ups already");
    let number = context.number(&call, MOST_CALLS, &too_many).await?;
    let new = new_followup(context, due_at, (prompt, note), format!("{content}:{number}")).await?;
    match store.add_followup(work, &new).await {
        Ok(Wanted::Kept(kept)) => {
            let hurried = store.hurry_task(followups::TASK).await;
            hurried.unwrap_or_else(|fault| tracing::warn!(error = ?fault, "a follow-up may come late"));
            execute.wakes.tasks();
            context.replied(&call, number).await;
            Ok(format!("{} starts you again at {}.", kept.id, kept.due_at))
        }
        Ok(Wanted::Full) => {
            Err(format!("{MOST_FOLLOWUPS} follow-ups of this conversation wait already, which is the most; use those"))
        }
        Ok(Wanted::LeaseLost) => Err("this run goes on elsewhere".to_owned()),
        Err(fault) => Err(store_failed(context, &fault)),
    }
}

async fn new_followup(
    context: &Context,
    due_at: Timestamp,
    (prompt, note): (&str, Option<&str>),
    call: String,
) -> Result<NewFollowup, String> {
    let (store, work) = (&context.execute.store, &context.work);
    let merged = store.merged_runs(&work.run.tenant, &work.run.id).await;
    let merged = merged.map_err(|fault| store_failed(context, &fault))?;
    let before = work.event.event.note();
    let (origin, position) = match (merged.last(), before) {
        (Some(newest), _) => (Some(newest.event.event.id.clone()), newest.position),
        (None, Some(note)) => (note.origin.clone(), work.position),
        (None, None) => (Some(work.event.event.id.clone()), work.position),
    };
    let session_key = match &work.run.session {
        None => None,
        Some(session) => {
            let session = store.session(&work.run.tenant, session).await;
            session.map_err(|fault| store_failed(context, &fault))?.map(|session| session.key)
        }
    };
    let (trust, trust_reason) = trust_of(work);
    let note = AgentNote {
        cause: NoteCause::Followup,
        by: work.agent.name.clone(),
        agent: work.agent.name.clone(),
        run: Some(work.run.id.clone()),
        text: prompt.to_owned(),
        note: note.map(str::to_owned),
        planned_at: Some(due_at),
        trust,
        trust_reason,
        origin,
        depth: before.map_or(0, |note| note.depth),
        links: before.map_or(0, |note| note.links) + 1,
    };
    let position = i64::try_from(position).unwrap_or(-1);
    Ok(NewFollowup { id: FollowupId::new(store.clock().now()), call, session_key, note, position, due_at })
}

fn time_of(input: &Input, now: Timestamp) -> Result<Timestamp, String> {
    let at = match (&input.after, &input.at) {
        (Some(span), None) => {
            let span = Span::parse(span).map_err(|fault| format!("`in`: {fault}; write 30m, 4h or 2d"))?;
            now.plus_ms(span.0)
        }
        (None, Some(text)) => {
            let at = text.parse::<jiff::Timestamp>();
            let at = at.map_err(|_| {
                format!("`at`: `{text}` is no time; write it with its offset: 2026-12-01T09:00:00+01:00")
            })?;
            Timestamp(at.as_millisecond())
        }
        (_, _) => return Err("write one of `in` and `at`".to_owned()),
    };
    if at <= now {
        return Err(format!("{at} is not later than now ({now})"));
    }
    if at.0 - now.0 > FARTHEST_MS {
        return Err(format!("{at} is more than a year ahead; choose a nearer time"));
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::{Input, time_of};
    use crate::domain::time::Timestamp;

    const NOW: Timestamp = Timestamp(1_795_000_000_000);

    fn at(after: Option<&str>, at: Option<&str>) -> Result<Timestamp, String> {
        let text = |text: Option<&str>| text.map(str::to_owned);
        time_of(&Input { after: text(after), at: text(at), prompt: "x".to_owned(), note: None }, NOW)
    }

    #[test]
    fn a_time_is_ahead_and_within_a_year() {
        assert_eq!(at(Some("2h"), None), Ok(NOW.plus_ms(7_200_000)));
        assert_eq!(
            at(None, Some("2026-11-18T12:06:40+01:00")),
            Err("2026-11-18T11:06:40.000Z is not later than now (2026-11-18T11:06:40.000Z)".to_owned())
        );
        assert_eq!(at(None, Some("2026-11-18T12:06:41+01:00")), Ok(NOW.plus_ms(1_000)));
        for (after, by) in [
            (Some("0s"), None),
            (Some("400d"), None),
            (Some("soon"), None),
            (None, Some("tomorrow")),
            (None, None),
            (Some("1h"), Some("2h")),
        ] {
            assert!(at(after, by).is_err(), "{after:?} {by:?}");
        }
    }
}
