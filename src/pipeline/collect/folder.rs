//! One folder: the lease, the connection, the cursor, and waiting between tries.

use std::{convert::Infallible, sync::Arc, time::Duration};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    crypto::{self, Secret},
    domain::{
        imap::{AfterTaking, FirstTaken, ImapSpec},
        source::Source,
        time::Timestamp,
    },
    mailbox::{self, MailboxError, Selected, Session},
    pipeline::collect::{Collect, CollectError, take::Attempts},
    store::{Cursor, FolderClaim, FolderLease, FolderWish, StoreError},
};

/// How long a folder belongs to a process without a sign of life.
const LEASE: Duration = Duration::from_secs(60);
/// How often the lease is prolonged, and how often a folder is looked at that another process reads.
const RENEW: Duration = Duration::from_secs(15);
/// The first wait after a failure, and the longest.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// The same where trying often would lock the account.
const LOGIN_WAITS: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(1_800));
/// Numbers that are asked for at once.
const WINDOW: i64 = 20_000;
/// Mails whose sizes are asked for at once.
const CHUNK: usize = 50;
/// How far before the last look mail may have arrived that is looked at again when the numbers changed: clocks of
/// servers differ.
const LOOK_BACK_MS: i64 = 2 * 86_400_000;
/// How long saying goodbye and giving the lease back may take.
const GOODBYE: Duration = Duration::from_secs(3);

/// One folder of one mailbox.
pub(super) struct Folder {
    pub(super) source: Arc<Source>,
    pub(super) imap: ImapSpec,
    pub(super) name: String,
    pub(super) attempts: Attempts,
    /// Tries that failed since one went well.
    failures: u32,
}

/// A folder that is open and ours.
pub(super) struct Reading<'a> {
    pub(super) collect: &'a Collect,
    pub(super) memory: &'a Semaphore,
    pub(super) lease: &'a FolderLease,
    pub(super) session: Session,
    pub(super) cursor: Cursor,
}

impl Folder {
    pub(super) fn new(source: &Arc<Source>, imap: &ImapSpec, name: &str) -> Self {
        let (source, imap, name) = (Arc::clone(source), imap.clone(), name.to_owned());
        Self { source, imap, name, attempts: Attempts::default(), failures: 0 }
    }

    /// Reads the folder whenever this process may, until `stop`.
    pub(super) async fn watch(mut self, collect: Collect, memory: Arc<Semaphore>, stop: CancellationToken) {
        loop {
            let wait = self.turn(&collect, &memory, &stop).await;
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Takes the lease, reads until something fails, gives the lease back. Returns how long to wait.
    async fn turn(&mut self, collect: &Collect, memory: &Semaphore, stop: &CancellationToken) -> Duration {
        let (lease, cursor) = match self.claim(collect).await {
            Ok(FolderClaim::Ours(lease, cursor)) => (lease, cursor),
            Ok(FolderClaim::Theirs { .. }) => return RENEW,
            Err(fault) => return self.failed(&CollectError::Store(fault)),
        };
        let fault = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            () = keep(collect, &lease) => Some(CollectError::Lost),
            ended = self.read(collect, memory, &lease, cursor) => match ended {
                Err(fault) => Some(fault),
                Ok(never) => match never {},
            },
        };
        let wait = fault.as_ref().map_or(Duration::ZERO, |fault| self.failed(fault));
        let give_back = async {
            if let Some(fault) = fault.filter(|fault| !matches!(fault, CollectError::Lost)) {
                collect.store.note_folder(&lease, Some(&fault.to_string())).await?;
            }
            collect.store.release_folder(&lease).await
        };
        if let Ok(Err(fault)) = tokio::time::timeout(GOODBYE, give_back).await {
            tracing::warn!(source = self.source.name, folder = self.name, error = ?fault, "a folder's lease runs out by itself");
        }
        wait
    }

    async fn claim(&self, collect: &Collect) -> Result<FolderClaim, StoreError> {
        let wish = FolderWish {
            tenant: &collect.tenant,
            source: &self.source.id,
            folder: &self.name,
            owner: collect.owner.as_str(),
            dead: None,
        };
        let lease_ms = i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX);
        let claim = collect.store.claim_folder(&wish, lease_ms).await?;
        match &claim {
            // A process of this machine that is gone will not come back for its lease.
            FolderClaim::Theirs { owner } if collect.owner.is_dead(owner) => {
                collect.store.claim_folder(&FolderWish { dead: Some(owner), ..wish }, lease_ms).await
            }
            FolderClaim::Theirs { .. } | FolderClaim::Ours(..) => Ok(claim),
        }
    }

    /// Connects and reads, until something fails.
    async fn read(
        &mut self,
        collect: &Collect,
        memory: &Semaphore,
        lease: &FolderLease,
        cursor: Option<Cursor>,
    ) -> Result<Infallible, CollectError> {
        let secret = self.secret(collect)?;
        let mut session = mailbox::open(&collect.streams, &self.imap, &secret).await?;
        let selected = session.select(&self.name, self.imap.after == AfterTaking::Leave).await?;
        let cursor = self.begin(collect, &mut session, selected, cursor).await?;
        let mut idles = session.has("IDLE");
        let mut reading = Reading { collect, memory, lease, session, cursor };
        reading.keep_cursor().await?;
        collect.store.note_folder(lease, None).await?;
        tracing::info!(source = self.source.name, folder = self.name, idle = idles, "a folder is watched");
        loop {
            self.take_new(&mut reading).await?;
            self.failures = 0;
            if idles {
                match reading.session.idle(self.imap.idle.to_std()).await {
                    Err(fault) if fault.is_refusal() => idles = false,
                    other => other?,
                }
            } else {
                tokio::time::sleep(self.imap.poll.to_std()).await;
                reading.session.look().await?;
            }
            collect.store.note_folder(lease, None).await?;
        }
    }

    fn secret(&self, collect: &Collect) -> Result<Secret, MailboxError> {
        let reference = self.imap.credential();
        let reference = reference.ok_or_else(|| MailboxError::Secret("the mailbox has no password".to_owned()))?;
        collect.secrets.secret(reference).map_err(MailboxError::Secret)
    }

    /// Where to go on: where the last reader ended, as long as the numbers are the same.
    async fn begin(
        &self,
        collect: &Collect,
        session: &mut Session,
        selected: Selected,
        cursor: Option<Cursor>,
    ) -> Result<Cursor, CollectError> {
        let uid_next = match selected.uid_next {
            Some(next) => i64::from(next),
            None => session.last_uid().await?.map_or(1, |last| i64::from(last) + 1),
        };
        let uid_validity = i64::from(selected.uid_validity);
        let Some(cursor) = cursor else {
            let (next_uid, taken_since) = match self.imap.start {
                FirstTaken::New => (uid_next, collect.store.clock().now()),
                FirstTaken::All => (1, Timestamp(0)),
            };
            return Ok(Cursor { uid_validity, next_uid, filter_below: 0, taken_since, caught_up_at: None });
        };
        if cursor.uid_validity == uid_validity && cursor.next_uid <= uid_next {
            return Ok(cursor);
        }
        // All of them have new numbers. What arrived long before the last look was taken, or was never to be; the
        // rest is looked at again, and what was taken is known by its content.
        let looked = cursor.caught_up_at.map_or(0, |at| at.0.saturating_sub(LOOK_BACK_MS));
        let taken_since = Timestamp(cursor.taken_since.0.max(looked));
        tracing::warn!(source = self.source.name, folder = self.name, "the server numbers this folder's mail anew");
        Ok(Cursor { uid_validity, next_uid: 1, filter_below: uid_next, taken_since, ..cursor })
    }

    /// Takes all mail that is new, in the order of its numbers.
    async fn take_new(&mut self, reading: &mut Reading<'_>) -> Result<(), CollectError> {
        if let Some(last) = reading.session.last_uid().await? {
            while let Some((first, end)) = window(reading.cursor.next_uid, last) {
                for uids in reading.session.search(first, end).await?.chunks(CHUNK) {
                    for summary in reading.session.summaries(uids).await? {
                        let cursor = &reading.cursor;
                        let old = i64::from(summary.uid) < cursor.filter_below
                            && summary.arrived.is_some_and(|at| at < cursor.taken_since);
                        if !old {
                            self.take(reading, &summary).await?;
                            reading.pass(summary.uid).await?;
                        }
                    }
                }
                reading.pass(end).await?;
            }
        }
        reading.cursor.caught_up_at = Some(reading.collect.store.clock().now());
        reading.keep_cursor().await
    }

    /// Notes a failure. Returns how long to wait until the next try.
    fn failed(&mut self, fault: &CollectError) -> Duration {
        let (first, most) = match fault {
            CollectError::Lost => return RENEW,
            CollectError::Mailbox(fault) if fault.is_about_login() => LOGIN_WAITS,
            CollectError::Mailbox(_)
            | CollectError::Store(_)
            | CollectError::Intake(_)
            | CollectError::Parser
            | CollectError::Full => WAITS,
        };
        let wait = first.saturating_mul(1 << self.failures.min(16)).min(most);
        self.failures = self.failures.saturating_add(1);
        let wait = jittered(wait);
        tracing::warn!(
            source = self.source.name, folder = self.name, error = %fault, retry_ms = wait.as_millis(),
            failures = self.failures, "a folder cannot be read"
        );
        wait
    }
}

impl Reading<'_> {
    /// Moves the cursor past a mail.
    async fn pass(&mut self, uid: u32) -> Result<(), CollectError> {
        self.cursor.next_uid = i64::from(uid) + 1;
        self.keep_cursor().await
    }

    async fn keep_cursor(&mut self) -> Result<(), CollectError> {
        match self.collect.store.move_cursor(self.lease, &self.cursor).await? {
            true => Ok(()),
            false => Err(CollectError::Lost),
        }
    }
}

/// The next numbers to ask for, both included.
fn window(next: i64, last: u32) -> Option<(u32, u32)> {
    let first = u32::try_from(next.max(1)).ok().filter(|first| *first <= last)?;
    let end = u32::try_from(i64::from(first) + WINDOW - 1).map_or(last, |end| end.min(last));
    Some((first, end))
}

/// Prolongs the lease until it is lost.
async fn keep(collect: &Collect, lease: &FolderLease) {
    let lease_ms = i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX);
    let mut held = tokio::time::Instant::now();
    while held.elapsed() < LEASE {
        tokio::time::sleep(RENEW).await;
        let asked = tokio::time::Instant::now();
        match collect.store.renew_folder(lease, lease_ms).await {
            Ok(true) => held = asked,
            Ok(false) => return,
            Err(fault) => tracing::warn!(error = ?fault, "a folder's lease could not be prolonged"),
        }
    }
}

/// Three quarters to five quarters of it, so that many mailboxes do not come at once.
fn jittered(wait: Duration) -> Duration {
    let random = crypto::random::<1>().map_or(128, |[byte]| u32::from(byte));
    wait * 3 / 4 + wait * random / 512
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{jittered, window};

    #[test]
    fn windows_cover_every_number_once() {
        assert_eq!(window(1, 5), Some((1, 5)));
        assert_eq!(window(-3, 1), Some((1, 1)));
        assert_eq!(window(6, 5), None);
        assert_eq!(window(5, 100_000), Some((5, 20_004)));
        assert_eq!(window(i64::from(u32::MAX), u32::MAX), Some((u32::MAX, u32::MAX)));
        assert_eq!(window(i64::from(u32::MAX) + 1, u32::MAX), None);
    }

    #[test]
    fn waits_stay_near_what_was_asked_for() {
        for _ in 0..100 {
            let wait = jittered(Duration::from_secs(8));
            assert!((6_000..=10_000).contains(&wait.as_millis()), "{wait:?}");
        }
    }
}
