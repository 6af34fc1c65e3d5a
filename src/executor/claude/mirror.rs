//! The CLI's transcript on its way into the store, so that any machine can go on with the conversation.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::executor::{
    LeaseLost,
    claude::{message, record},
    mask::Mask,
    transcripts::{Kept, Piece, Transcripts},
};

/// Bytes that are sent to the store at once.
const PIECE_BYTES: usize = 256 * 1024;
/// How long entries wait for others.
const GATHER: Duration = Duration::from_millis(500);

/// Gathers entries and sends them on.
pub(super) struct Mirror<'a> {
    transcripts: Option<Arc<dyn Transcripts>>,
    mask: &'a Mask,
    conversation: String,
    piece: Piece,
    send_at: Option<Instant>,
}

impl<'a> Mirror<'a> {
    /// The mirror of one conversation; of nothing, when nobody keeps it.
    pub(super) fn new(transcripts: Option<Arc<dyn Transcripts>>, mask: &'a Mask, conversation: &str) -> Self {
        Self { transcripts, mask, conversation: conversation.to_owned(), piece: Piece::default(), send_at: None }
    }

    /// Takes what the CLI wrote down. Subagents have files of their own, which nobody continues by.
    pub(super) fn take(&mut self, frame: message::Mirror) {
        let path = Path::new(&frame.file_path);
        let is_main = path.file_stem().is_some_and(|stem| stem.to_str() == Some(self.conversation.as_str()));
        if self.transcripts.is_none() || !is_main {
            return;
        }
        for mut entry in frame.entries {
            self.mask.value(&mut entry);
            self.piece.push(&entry.to_string(), entry.get("uuid").and_then(serde_json::Value::as_str));
        }
        if !self.piece.lines.is_empty() {
            self.send_at.get_or_insert(Instant::now() + GATHER);
        }
    }

    /// When entries have waited long enough.
    pub(super) fn due(&self) -> Option<Instant> {
        self.send_at.map(|at| if self.piece.lines.len() >= PIECE_BYTES { Instant::now() } else { at })
    }

    /// Sends what waits; what the record is told when nothing more is kept.
    pub(super) async fn send(&mut self) -> Result<Option<record::Line>, LeaseLost> {
        self.send_at = None;
        let (Some(transcripts), false) = (&self.transcripts, self.piece.lines.is_empty()) else { return Ok(None) };
        let kept = transcripts.append(&self.conversation, &self.piece).await?;
        self.piece = Piece::default();
        if kept == Kept::Yes {
            return Ok(None);
        }
        self.transcripts = None;
        let text = "the conversation is too long to be kept in the store; only this machine can go on with it";
        Ok(Some(record::status(text.to_owned())))
    }
}

impl Piece {
    /// Adds an entry.
    pub(super) fn push(&mut self, line: &str, id: Option<&str>) {
        self.lines.push_str(line);
        self.lines.push('\n');
        if let Some(id) = id {
            self.last = Some(id.to_owned());
        }
    }
}
