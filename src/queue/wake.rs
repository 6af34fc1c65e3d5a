//! Wake-ups: in process right after a commit, and at most once in a while to other processes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::store::{DELIVERY_QUEUE, FETCH_QUEUE, Notice, Store};

/// How long after trouble the database is listened to anew.
const AFTER_TROUBLE: Duration = Duration::from_secs(1);
/// The shortest time between two notices to other processes.
const QUIET: Duration = Duration::from_millis(20);

/// Who is told that work is ready.
#[derive(Debug, Default)]
pub struct Wakes {
    runs: Notify,
    deliveries: Notify,
    parts: Notify,
    fetches: Notify,
    sessions: Notify,
    others: Notify,
    /// Whether other processes are to be told that a run is to be stopped.
    canceled: AtomicBool,
    /// Whether they are to be told that sources or agents changed.
    changed: AtomicBool,
    /// Whether they are to be told that something came which a tool may wait for.
    has_news: AtomicBool,
    /// Whether other processes are listened to.
    heard: AtomicBool,
    /// The database did not answer: the connection that listens may be dead without anybody saying so.
    trouble: Notify,
    /// A value, not a notice: several wait for it.
    changes: watch::Sender<()>,
    tasks: Notify,
    /// A value, not a notice: several wait for it.
    news: watch::Sender<()>,
    /// A value, not a notice: whoever is busy renewing when it changes still sees that it did.
    renewals: watch::Sender<()>,
}

impl Wakes {
    /// Runs may be ready, here and elsewhere.
    pub fn runs(&self) {
        self.runs.notify_one();
        self.others.notify_one();
    }

    /// Deliveries may be ready, here and elsewhere.
    pub fn deliveries(&self) {
        self.deliveries.notify_one();
        self.others.notify_one();
    }

    /// A part of a long message came.
    pub fn parts(&self) {
        self.parts.notify_one();
    }

    /// Waits until one has come since this was last asked.
    pub async fn parts_came(&self) {
        self.parts.notified().await;
    }

    /// A session was closed: its files may go. Other processes find it by themselves, later.
    pub fn sessions(&self) {
        self.sessions.notify_one();
    }

    /// Waits until one was since this was last asked.
    pub async fn sessions_closed(&self) {
        self.sessions.notified().await;
    }

    /// Mail may be ready to be fetched from its provider, here and elsewhere.
    pub fn fetches(&self) {
        self.fetches.notify_one();
        self.others.notify_one();
    }

    /// Somebody wants a run stopped, or has more for it: whoever holds it, here or elsewhere, is to hear of it at once.
    pub fn canceled(&self) {
        self.renewals.send_replace(());
        self.canceled.store(true, Ordering::SeqCst);
        self.others.notify_one();
    }

    /// Sources or agents changed: whoever goes by them, here or elsewhere, is to read them again.
    pub fn changed(&self) {
        self.changes.send_replace(());
        self.changed.store(true, Ordering::SeqCst);
        self.others.notify_one();
    }

    /// Sees changes of sources and agents from now on.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// An answer came, or a run ended, that a tool of an agent may wait for, here or elsewhere.
    pub fn news(&self) {
        self.news.send_replace(());
        self.has_news.store(true, Ordering::SeqCst);
        self.others.notify_one();
    }

    /// Sees such news from now on.
    #[must_use]
    pub fn news_to_come(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// A task may be due in this process.
    pub fn tasks(&self) {
        self.tasks.notify_one();
    }

    /// Waits until one may be due since this was last asked.
    pub async fn tasks_due(&self) {
        self.tasks.notified().await;
    }

    /// The database did not answer: it is listened to anew.
    pub(super) fn trouble(&self) {
        self.heard.store(false, Ordering::SeqCst);
        self.trouble.notify_one();
    }

    /// Whether wake-ups of other processes are heard, so that looking now and then is enough.
    pub(super) fn are_heard(&self) -> bool {
        self.heard.load(Ordering::SeqCst)
    }

    pub(super) fn renewals(&self) -> watch::Receiver<()> {
        self.renewals.subscribe()
    }

    /// Work of a queue may be ready, here and elsewhere.
    pub(super) fn of_all(&self, queue: &str) {
        self.of(queue).notify_one();
        self.others.notify_one();
    }

    /// Work of any kind may be ready here.
    pub fn here(&self) {
        self.runs.notify_one();
        self.deliveries.notify_one();
        self.fetches.notify_one();
    }

    pub(super) fn of(&self, queue: &str) -> &Notify {
        match queue {
            DELIVERY_QUEUE => &self.deliveries,
            FETCH_QUEUE => &self.fetches,
            _ => &self.runs,
        }
    }

    /// Carries wake-ups between processes until `stop`: ours out, theirs in. Failures are waited out,
    /// since polling finds the work all the same.
    pub async fn exchange(self: Arc<Self>, store: Store, stop: CancellationToken) {
        let inward = async {
            loop {
                match store.notices().await {
                    Err(fault) => {
                        self.heard.store(false, Ordering::SeqCst);
                        tracing::debug!(error = %fault, "listening for work failed; polling goes on");
                        tokio::time::sleep(Duration::from_secs(2)).await;
                    }
                    Ok(mut notices) => loop {
                        self.heard.store(true, Ordering::SeqCst);
                        let notice = tokio::select! {
                            notice = notices.next() => notice,
                            () = self.trouble.notified() => {
                                // Not at once: whoever is woken meets the trouble again. What was announced to a dead
                                // connection is lost.
                                tokio::time::sleep(AFTER_TROUBLE).await;
                                self.here();
                                break;
                            }
                        };
                        if matches!(notice, Notice::Canceled | Notice::Unknown) {
                            self.renewals.send_replace(());
                        }
                        if matches!(notice, Notice::Changed | Notice::Unknown) {
                            self.changes.send_replace(());
                        }
                        if matches!(notice, Notice::News | Notice::Unknown) {
                            self.news.send_replace(());
                        }
                        if notice != Notice::News {
                            self.here();
                        }
                    },
                }
            }
        };
        let outward = async {
            loop {
                self.others.notified().await;
                let canceled = self.canceled.swap(false, Ordering::SeqCst);
                let changed = self.changed.swap(false, Ordering::SeqCst);
                let news = self.has_news.swap(false, Ordering::SeqCst);
                let notices = [
                    (canceled, Notice::Canceled),
                    (changed, Notice::Changed),
                    (news, Notice::News),
                    (!canceled && !changed, Notice::Work),
                ];
                for (_, notice) in notices.into_iter().filter(|(told, _)| *told) {
                    if let Err(fault) = store.announce(notice).await {
                        tracing::debug!(error = %fault, "announcing work failed; polling goes on");
                    }
                }
                tokio::time::sleep(QUIET).await;
            }
        };
        tokio::select! {
            () = inward => {}
            () = outward => {}
            () = stop.cancelled() => {}
        }
    }
}
