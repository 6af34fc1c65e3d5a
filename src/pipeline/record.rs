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

use crate::{
    domain::{
        details::{ModelUsage, RunDetails, UnderWay},
        file::ChangedFile,
        id::RunId,
        run::MessageKind,
        setup::LayerReport,
        template::clip,
        time::Timestamp,
    },
    executor::{BoxFuture, LeaseLost, LeftFiles, NewArtifact, RunSink},
    live::Live,
    pipeline::taken::Taken,
    store::{Lease, NewMessage, RunWork, Store, StoreError},
};

/// How long a line waits for others.
const GATHER: Duration = Duration::from_millis(40);
/// How long the store is left alone after it failed.
const PAUSE: Duration = Duration::from_millis(500);
/// How often something beside the lines is written before it is given up.
const MAX_TRIES: usize = 20;
/// Lines that wait at most; beyond them the agent waits.
const MAX_LINES: usize = 1_000;
/// Bytes of lines that wait at most.
const MAX_BYTES: usize = 4 << 20;
/// Bytes of one line at most; longer ones are cut and say so.
const MAX_LINE_BYTES: usize = 256 << 10;

/// Fields of a line that is too long which have no more than these bytes stay as they are.
const MAX_FIELD_BYTES: usize = 1_024;

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
    room: Notify,
    lost: AtomicBool,
    conversation: Mutex<Option<String>>,
    taken: Mutex<Taken>,
    files: Mutex<Vec<ChangedFile>>,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<NewMessage>,
    bytes: usize,
    /// A task writes them. It ends when none are left: a run that says nothing for hours has none.
    in_hand: bool,
}

impl Recorder {
    /// A record that is written until [`Recorder::rest`].
    pub(super) fn start(store: Store, live: Live, work: &RunWork, began: Timestamp) -> Self {
        let (run, lease) = (work.run.id.clone(), work.lease.clone());
        let taken = Taken::after((work.run.usage, work.run.details.clone()), began);
        let shared = Arc::new(Shared {
            store,
            live,
            run,
            lease,
            waiting: Mutex::default(),
            writing: AsyncMutex::new(()),
            room: Notify::new(),
            lost: AtomicBool::new(false),
            conversation: Mutex::default(),
            taken: Mutex::new(taken),
            files: Mutex::default(),
        });
        Self { shared }
    }

    /// The executor's id of the conversation, when the agent has something of it.
    pub(super) fn continues_by(&self) -> Option<String> {
        self.shared.conversation.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the executor said of the attempt beside its end, and its turns.
    pub(super) fn taken(&self) -> (RunDetails, i64) {
        let mut taken = self.shared.taken();
        taken.break_off();
        (taken.details.clone(), taken.turns())
    }

    /// Stores which files the run changed, where it changed any.
    pub(super) async fn keep_files(&self) -> Result<(), LeaseLost> {
        let files = std::mem::take(&mut *self.shared.files.lock().unwrap_or_else(PoisonError::into_inner));
        if files.is_empty() {
            return Ok(());
        }
        let shared = &self.shared;
        match shared.insist("the files that a run changed", || shared.store.keep_files(&shared.lease, &files)).await? {
            Some(()) => {}
            None => shared.taken().details.files.truncated = true,
        }
        Ok(())
    }

    /// Ends the writing and hands over the lines that are not stored yet.
    pub(super) async fn rest(&self) -> Vec<NewMessage> {
        let _writing = self.shared.writing.lock().await;
        // Whoever writes the end writes what was taken.
        drop(self.shared.taken().news(self.shared.store.clock().now()));
        self.shared.lock().take()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_full(&self) -> bool {
        let waiting = self.lock();
        waiting.lines.len() >= MAX_LINES || waiting.bytes >= MAX_BYTES
    }

    /// Writes something beside the lines. Database trouble is waited out for a while; `None` when it lasts.
    async fn insist<F: Future<Output = Result<bool, StoreError>>>(
        &self,
        what: &str,
        write: impl Fn() -> F,
    ) -> Result<Option<()>, LeaseLost> {
        for _ in 0..MAX_TRIES {
            match write().await {
                Ok(true) => return Ok(Some(())),
                Ok(false) => {
                    self.lost.store(true, Ordering::SeqCst);
                    return Err(LeaseLost);
                }
                Err(fault) => {
                    tracing::warn!(run = %self.run, what, error = ?fault, "storing it failed; trying again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        Ok(None)
    }

    /// Stores what waits. Database trouble is waited out: the lease decides when it is too late.
    async fn flush(&self) {
        let _writing = self.writing.lock().await;
        let batch = self.lock().take();
        let taken = self.taken().news(self.store.clock().now());
        let written = match &taken {
            None if batch.is_empty() => return,
            None => self.store.append_messages(&self.lease, &batch).await,
            Some(taken) => self.store.append_with_taken(&self.lease, &batch, taken).await,
        };
        match written {
            Ok(Some(_)) if batch.is_empty() => {}
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
                if taken.is_some() {
                    self.taken().again();
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        self.room.notify_waiters();
    }
}

impl Waiting {
    fn take(&mut self) -> Vec<NewMessage> {
        self.bytes = 0;
        std::mem::take(&mut self.lines)
    }
}

/// Has what waits written, where nobody does that already.
fn hand_over(shared: &Arc<Shared>, mut waiting: MutexGuard<'_, Waiting>) {
    if !std::mem::replace(&mut waiting.in_hand, true) {
        tokio::spawn(write(Arc::clone(shared)));
    }
}

/// Writes until nothing waits, or nothing may be written any more.
async fn write(shared: Arc<Shared>) {
    loop {
        if !shared.is_full() {
            tokio::time::sleep(GATHER).await;
        }
        shared.flush().await;
        let mut waiting = shared.lock();
        let is_done = waiting.lines.is_empty() && !shared.taken().is_new();
        if is_done || shared.lost.load(Ordering::SeqCst) {
            waiting.in_hand = false;
            return;
        }
    }
}

fn size(line: &NewMessage) -> usize {
    line.body.to_string().len() + 64
}

/// Bounds a line: what is too long in it becomes its start, as text.
fn bounded(body: Value) -> Value {
    let text = body.to_string();
    if text.len() <= MAX_LINE_BYTES {
        return body;
    }
    let Value::Object(mut fields) = body else {
        return serde_json::json!({ "text": clip(&text, MAX_LINE_BYTES), "cut": true, "bytes": text.len() });
    };
    let of_field = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let long: Vec<String> = fields.iter().filter(|(_, value)| is_long(value)).map(|(key, _)| key.clone()).collect();
    for key in &long {
        if let Some(value) = fields.get_mut(key) {
            *value = Value::String(clip(&of_field(value), MAX_LINE_BYTES / long.len()).to_owned());
        }
    }
    fields.insert("cut".to_owned(), Value::Bool(true));
    fields.insert("bytes".to_owned(), text.len().into());
    Value::Object(fields)
}

/// Whether a field of a line that is too long is cut; the others say what it is of.
fn is_long(value: &Value) -> bool {
    value.to_string().len() > MAX_FIELD_BYTES
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
            hand_over(shared, waiting);
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

    fn model(&mut self, id: &str) {
        self.shared.taken().details.work_with(id);
    }

    fn spent(&mut self, model: &str, took: ModelUsage) {
        self.shared.taken().details.spend(model, took);
    }

    fn turns(&mut self, ended: i64) {
        self.shared.taken().end_turns(ended);
        hand_over(&self.shared, self.shared.lock());
    }

    fn under_way(&mut self, taken: UnderWay) {
        self.shared.taken().is_under_way(taken);
        hand_over(&self.shared, self.shared.lock());
    }

    fn broke_off(&mut self) {
        self.shared.taken().break_off();
    }

    fn api_time(&mut self, ms: i64) {
        self.shared.taken().details.wait_for_api(ms);
    }

    fn files(&mut self, left: LeftFiles) {
        self.shared.taken().details.files = left.counts;
        *self.shared.files.lock().unwrap_or_else(PoisonError::into_inner) = left.files;
    }

    fn artifact(&mut self, new: NewArtifact) -> BoxFuture<'_, Result<(), LeaseLost>> {
        Box::pin(async move {
            let NewArtifact { mut artifact, mut bytes } = new;
            let shared = &self.shared;
            let counts = shared.taken().details.artifacts;
            let position = counts.count + counts.left_out;
            let kept = shared
                .insist("a run's artifact", || shared.store.add_artifact(&shared.lease, position, &artifact, &bytes));
            if kept.await?.is_none() {
                (artifact.sha256, bytes) = (None, Vec::new());
                artifact.left_out = Some("it could not be stored".to_owned());
                tracing::warn!(run = %shared.run, artifact = artifact.name, "an artifact is not kept");
            }
            let details = &mut shared.taken().details;
            match artifact.left_out {
                None => {
                    details.artifacts.count += 1;
                    details.artifacts.bytes += i64::try_from(bytes.len()).unwrap_or(i64::MAX);
                }
                Some(_) => details.artifacts.left_out += 1,
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{MAX_LINE_BYTES, bounded};

    #[test]
    fn a_line_that_is_too_long_still_says_what_it_is_of() {
        let long = "x".repeat(MAX_LINE_BYTES);
        let result = bounded(json!({"id": "toolu_1", "is_error": true, "content": [{"type": "text", "text": long}]}));
        assert_eq!(
            (&result["id"], &result["is_error"], &result["cut"]),
            (&json!("toolu_1"), &json!(true), &json!(true))
        );
        assert_eq!(result["content"].as_str().unwrap().len(), MAX_LINE_BYTES);
        assert!(result["bytes"].as_u64().unwrap() > MAX_LINE_BYTES as u64);
        let call = bounded(json!({"name": "Write", "input": {"content": long}, "other": long}));
        assert!(call["name"] == "Write" && call.to_string().len() < MAX_LINE_BYTES + 2_000);
        let small = json!({"text": "fine"});
        assert_eq!(bounded(small.clone()), small);
    }
}
