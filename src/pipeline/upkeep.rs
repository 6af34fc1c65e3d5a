//! Ends sessions to which nothing comes any more, and removes the files of those that have ended from this worker.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    domain::id::SessionId,
    executor::Executors,
    queue::Wakes,
    store::{Store, StoreError},
};

/// How often it is looked at when nobody closed a session in this process.
const EVERY: Duration = Duration::from_secs(15 * 60);
/// Sessions that the store is asked about together.
const PIECE: usize = 500;

/// What looking after sessions needs.
pub struct Upkeep {
    /// The records.
    pub store: Store,
    /// Who has the files.
    pub executors: Arc<Executors>,
    /// Who tells that a session was closed.
    pub wakes: Arc<Wakes>,
    /// A session to which nothing came for so long expires, in milliseconds.
    pub idle_ms: i64,
    /// Bytes of the files of all sessions here.
    pub max_disk_bytes: u64,
    /// Layers of one agent that stay here.
    pub layers_kept: usize,
    /// Bytes of all layers here.
    pub max_layer_bytes: u64,
}

impl Upkeep {
    /// Looks now and then until `stop`.
    pub async fn keep(self, stop: CancellationToken) {
        loop {
            if let Err(fault) = self.look().await {
                tracing::warn!(error = ?fault, "looking after sessions failed; later again");
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = self.wakes.sessions_closed() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// One round.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn look(&self) -> Result<(), StoreError> {
        let idle_since = self.store.clock().now().plus_ms(-self.idle_ms);
        let mut expired = 0;
        loop {
            let more = self.store.expire_sessions(idle_since).await?;
            expired += more;
            if more == 0 {
                break;
            }
        }
        let kept: Vec<SessionId> = self.executors.kept_sessions().await;
        let mut removed = 0;
        for some in kept.chunks(PIECE) {
            let ended = self.store.ended_sessions(some).await?;
            removed += self.executors.forget_sessions(ended).await;
        }
        let pieces = self.store.sweep_transcripts().await? + self.store.sweep_notes().await?;
        let layers = self.sweep_layers().await?;
        self.store.sweep_reports().await?;
        self.store.sweep_upload_pieces().await?;
        let for_room = self.executors.make_room(self.max_disk_bytes).await;
        if expired + removed + for_room + layers > 0 || pieces > 0 {
            tracing::info!(
                expired,
                removed,
                for_room,
                layers,
                pieces,
                "sessions expired; files and conversations removed"
            );
        }
        Ok(())
    }

    /// Removes layers that no agent needs. Returns how many.
    async fn sweep_layers(&self) -> Result<usize, StoreError> {
        let agents = self.executors.layered_agents().await;
        if agents.is_empty() {
            return Ok(0);
        }
        let mut live = Vec::new();
        for some in agents.chunks(PIECE) {
            live.extend(self.store.live_agents(some).await?);
        }
        let (removed, left) = self.executors.sweep_layers(live, self.layers_kept, self.max_layer_bytes).await;
        if removed > 0 {
            self.store.keep_layers(self.executors.place(), &left).await?;
        }
        Ok(removed)
    }
}
