//! A run's record while it is written: lines are gathered for a moment and stored together, fenced by
//! the lease, and only then told to watchers.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    domain::{id::RunId, run::MessageKind, setup::LayerReport},
    executor::{BoxFuture, LeaseLost, RunSink},
    live::Live,
    store::{Lease, NewMessage, Store},
};

/// How long a line waits for others.
const GATHER: Duration = Duration::from_millis(40);
/// How long the store is left alone after it failed.
const PAUSE: Duration = Duration::from_millis(500);
/// Lines that wait at most; beyond them the agent waits.
const MAX_LINES: usize = 1_000;
/// Bytes of lines that wait at most.
const MAX_BYTES: usize = 4 << 20;
/// Bytes of one line at most; longer ones are cut and say so.
const MAX_LINE_BYTES: usize = 256 << 10;

/// Where an executor's lines go.
#[derive(Clone)]
pub(super) struct Recorder {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    live: Live,
    run: RunId,
    lease: Lease,
    waiting: Mutex<Waiting>,
    /// Held while lines are on their way into the store, so that their order stays.
    writing: AsyncMutex<()>,
    work: Notify,
    room: Notify,
    lost: AtomicBool,
    conversation: Mutex<Option<String>>,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<NewMessage>,
    bytes: usize,
}

impl Recorder {
    /// A record that is written until [`Recorder::rest`].
    pub(super) fn start(store: Store, live: Live, run: RunId, lease: Lease) -> (Self, AbortOnDropHandle<()>) {
        let shared = Arc::new(Shared {
            store,
            live,
            run,
            lease,
            waiting: Mutex::default(),
            writing: AsyncMutex::new(()),
            work: Notify::new(),
            room: Notify::new(),
            lost: AtomicBool::new(false),
            conversation: Mutex::default(),
        });
        // It ends with the attempt, also when that breaks off in a panic.
        let writer = AbortOnDropHandle::new(tokio::spawn(write(Arc::clone(&shared))));
        (Self { shared }, writer)
    }

    /// The executor's id of the conversation, when the agent has something of it.
    pub(super) fn continues_by(&self) -> Option<String> {
        self.shared.conversation.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the writing and hands over the lines that are not stored yet.
    pub(super) async fn rest(&self, writer: AbortOnDropHandle<()>) -> Vec<NewMessage> {
        let _writing = self.shared.writing.lock().await;
        writer.abort();
        std::mem::take(&mut *self.shared.lock()).lines
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_full(&self) -> bool {
        let waiting = self.lock();
        waiting.lines.len() >= MAX_LINES || waiting.bytes >= MAX_BYTES
    }

    /// Stores what waits. Database trouble is waited out: the lease decides when it is too late.
    async fn flush(&self) {
        let _writing = self.writing.lock().await;
        let batch = std::mem::take(&mut *self.lock()).lines;
        if batch.is_empty() {
            return;
        }
        match self.store.append_messages(&self.lease, &batch).await {
            Ok(Some(first)) => {
                let count = i64::try_from(batch.len()).unwrap_or(0);
                self.live.tell(&self.run, first + count - 1);
            }
            #[cfg(feature = "sabotage")]
            Ok(None) if crate::sabotage::is(crate::sabotage::Defect::NoFencing) => {}
            Ok(None) => self.lost.store(true, Ordering::SeqCst),
            Err(fault) => {
                tracing::warn!(run = %self.run, error = ?fault, "storing a run's lines failed; trying again");
                {
                    let mut waiting = self.lock();
                    waiting.bytes += batch.iter().map(size).sum::<usize>();
                    waiting.lines.splice(0..0, batch);
                }
                tokio::time::sleep(PAUSE).await;
                self.work.notify_one();
            }
        }
        self.room.notify_waiters();
    }
}

async fn write(shared: Arc<Shared>) {
    loop {
        shared.work.notified().await;
        if !shared.is_full() {
            tokio::time::sleep(GATHER).await;
        }
        shared.flush().await;
    }
}

fn size(line: &NewMessage) -> usize {
    line.body.to_string().len() + 64
}

/// Bounds a line: what is too long becomes its start.
fn bounded(body: Value) -> Value {
    let text = body.to_string();
    if text.len() <= MAX_LINE_BYTES {
        return body;
    }
    let start = match body.get("text").and_then(Value::as_str) {
        Some(text) => crate::domain::template::clip(text, MAX_LINE_BYTES).to_owned(),
        None => crate::domain::template::clip(&text, MAX_LINE_BYTES).to_owned(),
    };
    serde_json::json!({ "text": start, "cut": true, "bytes": text.len() })
}

impl RunSink for Recorder {
    fn message(&mut self, kind: MessageKind, body: Value) -> BoxFuture<'_, Result<(), LeaseLost>> {
        Box::pin(async move {
            let shared = &self.shared;
            while shared.is_full() && !shared.lost.load(Ordering::SeqCst) {
                let room = shared.room.notified();
                if shared.is_full() {
                    let _ = tokio::time::timeout(Duration::from_millis(200), room).await;
                }
            }
            if shared.lost.load(Ordering::SeqCst) {
                return Err(LeaseLost);
            }
            let line = NewMessage { kind, at: shared.store.clock().now(), body: bounded(body) };
            let bytes = size(&line);
            let mut waiting = shared.lock();
            waiting.bytes += bytes;
            waiting.lines.push(line);
            drop(waiting);
            shared.work.notify_one();
            Ok(())
        })
    }

    fn prepared<'a>(&'a mut self, report: &'a LayerReport) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if let Err(fault) = self.shared.store.record_layer(&self.shared.lease, report).await {
                tracing::warn!(run = %self.shared.run, error = ?fault, "what preparing a layer came to was not written");
            }
        })
    }

    fn conversation(&mut self, id: &str) {
        *self.shared.conversation.lock().unwrap_or_else(PoisonError::into_inner) = Some(id.to_owned());
    }
}
