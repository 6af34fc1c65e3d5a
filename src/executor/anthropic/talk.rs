//! A conversation over the runs of a session: read from the store when a run begins, kept there step by step.

use std::{collections::HashSet, sync::Arc};

use serde_json::Value;
use uuid::Uuid;

use crate::{
    domain::run::{Failure, FailureCode},
    executor::{
        LeaseLost, RunSpec, Stopped,
        anthropic::entry::{self, Entry, Next, Said},
        mask::Mask,
        transcripts::{Head, Kept, Piece, Transcripts},
    },
};

/// How the ids of conversations of ours begin: another executor's are none of ours, and the other way round.
const PREFIX: &str = "anthropic-";
/// Bytes of earlier runs with which a run begins; beyond them it begins with the newest half of that.
const MAX_HISTORY_BYTES: usize = 512 * 1024;
/// What the model reads in the place of the rest.
const LEFT_OUT: &str = "(The older part of this conversation is left out, since it became long.)";
/// More than the store keeps of one conversation.
const MAX_BYTES: usize = 40 * 1024 * 1024;

/// The conversation of one run.
pub(super) struct Talk<'a> {
    /// Its id, by which the session's next run goes on.
    pub(super) id: String,
    /// What was said, oldest first.
    pub(super) entries: Vec<Entry>,
    run: String,
    mask: &'a Mask,
    kept: Option<Arc<dyn Transcripts>>,
    unsent: Vec<Entry>,
}

/// A conversation, and what the record is told of how it was taken up.
pub(super) struct TakenUp<'a> {
    /// It.
    pub(super) talk: Talk<'a>,
    /// In words.
    pub(super) said: Option<&'static str>,
}

/// An id that every attempt of a run makes alike.
pub(super) fn stable_id(spec: &RunSpec, what: &str) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("postern:{what}:{}", spec.run).as_bytes()).to_string()
}

impl<'a> Talk<'a> {
    /// The conversation that the run goes on with, or a new one.
    pub(super) async fn take_up(spec: &RunSpec, mask: &'a Mask) -> Result<TakenUp<'a>, Stopped> {
        let own = format!("{PREFIX}{}", stable_id(spec, "session"));
        let talk = |id: String, entries, unsent| Self {
            id,
            entries,
            run: spec.run.to_string(),
            mask,
            kept: spec.transcripts.clone(),
            unsent,
        };
        let earlier = spec.resume_id.as_ref().filter(|id| **id != own);
        let Some(kept) = &spec.transcripts else {
            let said = earlier.map(|_| "conversations are not kept here; a new one was begun");
            return Ok(TakenUp { talk: talk(own, Vec::new(), Vec::new()), said });
        };
        // One that this run began in an attempt before.
        if let Some(entries) = read(kept.as_ref(), &own).await? {
            return Ok(TakenUp { talk: talk(own, entries, Vec::new()), said: None });
        }
        let Some(id) = earlier else { return Ok(TakenUp { talk: talk(own, Vec::new(), Vec::new()), said: None }) };
        let found = if id.starts_with(PREFIX) { read(kept.as_ref(), id).await? } else { None };
        let Some(entries) = found else {
            let said = Some("the earlier conversation is not kept, or of another executor; a new one was begun");
            return Ok(TakenUp { talk: talk(own, Vec::new(), Vec::new()), said });
        };
        let known = entries.iter().any(|entry| entry.run == spec.run.as_str());
        if !known && size(&entries) > MAX_HISTORY_BYTES {
            let content = entry::texts(&[LEFT_OUT.to_owned()]);
            let note = Entry { uuid: stable_id(spec, "note"), run: "note".to_owned(), said: Said::User { content } };
            let newest: Vec<Entry> = std::iter::once(note).chain(newest(&entries)).collect();
            let said = Some("the conversation is long; its oldest part is left out from here on");
            return Ok(TakenUp { talk: talk(own, newest.clone(), newest), said });
        }
        if spec.forked_from.is_some() {
            return Ok(TakenUp { talk: talk(own, entries.clone(), entries), said: None });
        }
        Ok(TakenUp { talk: talk(id.clone(), entries, Vec::new()), said: None })
    }

    /// The ids of all that it holds.
    pub(super) fn known(&self) -> HashSet<&str> {
        self.entries.iter().map(|entry| entry.uuid.as_str()).collect()
    }

    /// The calls whose results it holds.
    pub(super) fn heard(&self) -> HashSet<String> {
        let result = |entry: &Entry| match &entry.said {
            Said::Result { call, .. } => Some(call.clone()),
            Said::User { .. } | Said::Assistant { .. } | Said::Dropped => None,
        };
        self.entries.iter().filter_map(result).collect()
    }

    /// Whether the last word belongs to this run.
    pub(super) fn is_last(&self) -> bool {
        self.entries.last().is_some_and(|entry| entry.run == self.run)
    }

    /// See [`entry::next`].
    pub(super) fn next(&self, given: Option<&str>) -> Next {
        entry::next(&self.entries, given)
    }

    /// See [`entry::messages`].
    pub(super) fn messages(&self) -> Vec<Value> {
        entry::messages(&self.entries, &self.run)
    }

    /// Leaves out the older half of what earlier runs said, for this run. `false`: there is nothing of them.
    pub(super) fn shorten(&mut self) -> bool {
        let own = self.entries.iter().position(|entry| entry.run == self.run).unwrap_or(self.entries.len());
        let mut half = own.div_ceil(2);
        // A run's words go as a whole.
        while half < own
            && self.entries.get(half).map(|entry| &entry.run) == self.entries.get(half - 1).map(|entry| &entry.run)
        {
            half += 1;
        }
        self.entries.drain(..half);
        half > 0
    }

    /// Adds a step, and keeps it. What the record is told when nothing more is kept.
    pub(super) async fn add(&mut self, uuid: String, said: Said) -> Result<Option<&'static str>, LeaseLost> {
        let entry = Entry { uuid, run: self.run.clone(), said };
        self.unsent.push(entry.clone());
        if entry.said == Said::Dropped {
            self.entries.retain(|earlier| earlier.run != self.run);
        } else {
            self.entries.push(entry);
        }
        let Some(kept) = &self.kept else {
            self.unsent.clear();
            return Ok(None);
        };
        let mut piece = Piece::default();
        for entry in self.unsent.drain(..) {
            let mut line = serde_json::to_value(&entry).unwrap_or_default();
            self.mask.value(&mut line);
            piece.lines.push_str(&line.to_string());
            piece.lines.push('\n');
            piece.last = Some(entry.uuid);
        }
        if kept.append(&self.id, &piece).await? == Kept::Yes {
            return Ok(None);
        }
        self.kept = None;
        Ok(Some("the conversation is too long to be kept; the next event of this session begins a new one"))
    }
}

/// What is kept of a conversation; `None` when nothing is.
async fn read(kept: &dyn Transcripts, id: &str) -> Result<Option<Vec<Entry>>, Stopped> {
    let unreadable = |why: String| {
        Stopped::from(Failure::new(
            FailureCode::Setup,
            format!("the conversation cannot be read from the store: {why}"),
        ))
    };
    match kept.head(id).await.map_err(unreadable)? {
        None | Some(Head { is_cut: true, .. }) => return Ok(None),
        Some(Head { is_cut: false, .. }) => {}
    }
    let (mut text, mut after) = (String::new(), 0);
    while text.len() <= MAX_BYTES {
        let pieces = kept.read(id, after).await.map_err(unreadable)?;
        let Some((last, _)) = pieces.last() else { break };
        after = *last;
        pieces.iter().for_each(|(_, lines)| text.push_str(lines));
    }
    Ok(Some(entry::read(&text)))
}

fn size(entries: &[Entry]) -> usize {
    entries.iter().map(size_of).sum()
}

fn size_of(entry: &Entry) -> usize {
    let content = match &entry.said {
        Said::User { content } | Said::Assistant { content, .. } => {
            content.iter().map(|block| block.to_string().len()).sum()
        }
        Said::Result { text, .. } => text.len(),
        Said::Dropped => 0,
    };
    content + 100
}

/// The newest runs that together have half of what is allowed at most, at least one.
fn newest(entries: &[Entry]) -> Vec<Entry> {
    let mut runs: Vec<&[Entry]> = entries.chunk_by(|a, b| a.run == b.run).collect();
    let mut left = MAX_HISTORY_BYTES / 2;
    let mut kept = Vec::new();
    while let Some(run) = runs.pop() {
        let bytes = size(run);
        if bytes > left && !kept.is_empty() {
            break;
        }
        left = left.saturating_sub(bytes);
        kept.push(run);
        if bytes > MAX_HISTORY_BYTES {
            // Alone it is too long: better none of it.
            kept.clear();
            break;
        }
    }
    kept.into_iter().rev().flatten().cloned().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{MAX_HISTORY_BYTES, newest, size};
    use crate::executor::anthropic::entry::{Entry, Said};

    fn entry(run: &str, bytes: usize) -> Entry {
        let content = vec![json!({"type": "text", "text": "x".repeat(bytes)})];
        Entry { uuid: format!("{run}-{bytes}"), run: run.to_owned(), said: Said::User { content } }
    }

    #[test]
    fn the_newest_runs_stay_whole() {
        let tenth = MAX_HISTORY_BYTES / 20;
        let entries: Vec<Entry> =
            (0..30).flat_map(|run| [entry(&run.to_string(), tenth), entry(&run.to_string(), tenth)]).collect();
        let kept = newest(&entries);
        assert!(
            size(&kept) <= MAX_HISTORY_BYTES / 2 && kept.len().is_multiple_of(2) && kept.len() >= 6,
            "{}",
            kept.len()
        );
        assert_eq!(kept.last(), entries.last());
        assert_ne!(kept[0].run, entries[entries.len() - kept.len() - 1].run);
    }

    #[test]
    fn one_run_that_is_longer_than_all_is_left_out() {
        assert_eq!(newest(&[entry("a", 10), entry("b", MAX_HISTORY_BYTES + 1)]), []);
        assert_eq!(newest(&[entry("a", 10), entry("b", MAX_HISTORY_BYTES - 1000)]).len(), 1);
    }
}
