//! The conversation of a run on its way into the store and back.

use std::time::Duration;

use crate::{
    domain::id::TenantId,
    executor::{
        BoxFuture, LeaseLost,
        transcripts::{Head, Kept, Piece, Transcripts},
    },
    store::{Lease, Store},
};

/// How long the store is left alone after it failed.
const PAUSE: Duration = Duration::from_millis(500);

/// Conversations under the lease of one run.
pub(super) struct KeptTranscripts {
    /// Where they are kept.
    pub(super) store: Store,
    /// Whose they are.
    pub(super) tenant: TenantId,
    /// The session, or the run that stands alone.
    pub(super) owner: String,
    /// Without it nothing is written.
    pub(super) lease: Lease,
}

impl Transcripts for KeptTranscripts {
    fn head<'a>(&'a self, conversation: &'a str) -> BoxFuture<'a, Result<Option<Head>, String>> {
        Box::pin(async move {
            let head = self
                .store
                .transcript_head(&self.tenant, &self.owner, conversation)
                .await
                .map_err(|fault| fault.to_string())?;
            Ok(head.map(|head| Head { last: head.last_entry, is_cut: head.is_cut }))
        })
    }

    fn read<'a>(&'a self, conversation: &'a str, after: i64) -> BoxFuture<'a, Result<Vec<(i64, String)>, String>> {
        Box::pin(async move {
            self.store
                .transcript(&self.tenant, &self.owner, conversation, after)
                .await
                .map_err(|fault| fault.to_string())
        })
    }

    fn append<'a>(&'a self, conversation: &'a str, piece: &'a Piece) -> BoxFuture<'a, Result<Kept, LeaseLost>> {
        Box::pin(async move {
            loop {
                let last = piece.last.as_deref();
                match self.store.append_transcript(&self.lease, conversation, &piece.lines, last).await {
                    Ok(Some(head)) => return Ok(if head.is_cut { Kept::TooLong } else { Kept::Yes }),
                    Ok(None) => return Err(LeaseLost),
                    // The lease decides when it is too late.
                    Err(fault) => {
                        tracing::warn!(run = self.lease.id, error = ?fault, "keeping a conversation failed; trying again");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        })
    }
}
