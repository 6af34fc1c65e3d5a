//! Mailboxes: each folder of each mailbox is watched by one task, over a connection of its own, in one process of all.
//!
//! What is promised: a mail is marked or moved only after its event was committed, and the cursor moves only after
//! that. A crash in between repeats a step, and the event's keys make it the same event.

mod folder;
mod take;

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    crypto::{self, SecretSource},
    domain::{id::TenantId, imap::ImapSpec, source::Source},
    egress::stream::Streams,
    pipeline::{
        collect::folder::Folder,
        intake::{Intake, IntakeError},
        routes::Routes,
        senders::Senders,
        waiting::Waiting,
    },
    queue::Owner,
    store::{Store, StoreError},
};

/// How often changed sources are looked for.
const LOOK: Duration = Duration::from_millis(500);
/// Mails that are in memory at the same time in this process.
const MOST_IN_MEMORY: usize = 2;

/// Reads mailboxes.
#[derive(Clone)]
pub struct Collect {
    /// The records.
    pub store: Store,
    /// The way in for events.
    pub intake: Intake,
    /// Whose sources.
    pub tenant: TenantId,
    /// Where passwords and tokens are looked up, anew for each connection.
    pub secrets: Arc<dyn SecretSource>,
    /// The way to servers.
    pub streams: Streams,
    /// Who checks the senders of mail.
    pub senders: Senders,
    /// How many runs wait: no mail is taken while as many do as may.
    pub waiting: Waiting,
    /// Sources and triggers as they are now.
    pub routes: Arc<dyn Fn() -> Arc<Routes> + Send + Sync>,
    /// Who holds the leases.
    pub owner: Owner,
    /// Bytes of a mail; larger ones are recorded as rejected.
    pub max_bytes: usize,
}

/// Why a folder is not read at the moment. Everything passes.
#[derive(Debug, thiserror::Error)]
enum CollectError {
    #[error(transparent)]
    Mailbox(#[from] crate::mailbox::MailboxError),
    #[error("the database failed")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Intake(#[from] IntakeError),
    #[error("as many runs wait as may, by `queue.max_waiting`")]
    Full,
    #[error("another process reads it now")]
    Lost,
    #[error("its mail could not be parsed: the parser failed")]
    Parser,
}

/// A mailbox that is watched.
struct Watched {
    source: Arc<Source>,
    /// A hash of the password or token, or why there is none.
    secret: String,
    stop: CancellationToken,
}

impl Collect {
    /// Watches the mailboxes of the tenant, as sources come, change and go, until `stop`. Returns when no connection
    /// is left.
    pub async fn run(self, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        let memory = Arc::new(Semaphore::new(MOST_IN_MEMORY));
        let mut watched: HashMap<String, Watched> = HashMap::new();
        let mut seen: Weak<Routes> = Weak::new();
        loop {
            let routes = (self.routes)();
            if !std::ptr::eq(seen.as_ptr(), Arc::as_ptr(&routes)) {
                seen = Arc::downgrade(&routes);
                self.follow(&routes, &mut watched, |folder, stop| {
                    tasks.spawn(folder.watch(self.clone(), Arc::clone(&memory), stop));
                });
            }
            drop(routes);
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = stop.cancelled() => break,
            }
        }
        watched.values().for_each(|mailbox| mailbox.stop.cancel());
        tasks.close();
        tasks.wait().await;
    }

    /// Stops what changed or went, starts what is new.
    fn follow(
        &self,
        routes: &Routes,
        watched: &mut HashMap<String, Watched>,
        start: impl Fn(Folder, CancellationToken),
    ) {
        let wanted: HashMap<&str, (&Arc<Source>, &ImapSpec, String)> = routes
            .mailboxes()
            .map(|(source, imap)| (source.name.as_str(), (source, imap, self.hash_of_secret(imap))))
            .collect();
        watched.retain(|name, mailbox| {
            let same = wanted
                .get(name.as_str())
                .is_some_and(|(source, _, secret)| **source == mailbox.source && *secret == mailbox.secret);
            if !same {
                mailbox.stop.cancel();
            }
            same
        });
        for (name, (source, imap, secret)) in wanted {
            if watched.contains_key(name) {
                continue;
            }
            let stop = CancellationToken::new();
            for folder in &imap.folders {
                start(Folder::new(source, imap, folder), stop.clone());
            }
            let mailbox = Watched { source: Arc::clone(source), secret, stop };
            watched.insert(name.to_owned(), mailbox);
        }
    }

    fn hash_of_secret(&self, imap: &ImapSpec) -> String {
        match imap.credential().map(|reference| self.secrets.secret(reference)) {
            Some(Ok(secret)) => crypto::sha256_hex(secret.expose()),
            Some(Err(reason)) => reason,
            None => String::new(),
        }
    }
}
