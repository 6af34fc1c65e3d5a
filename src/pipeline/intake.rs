//! From a parsed request to a committed event: a writer commits whatever requests are waiting in one
//! transaction, then answers them all. There is no timer: alone, a request is committed at once.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Mutex, mpsc, oneshot};

use crate::{
    clock::Clock,
    domain::{
        event::{AgentEvent, Attachment, Content, SenderFlag},
        fetch::{Stays, StoredMail},
        id::{EventId, TenantId},
        source::Source,
        texting::Effects,
    },
    ingress::{
        ParseFault, Parsed,
        mail::{self, identity::flags},
    },
    pipeline::{copies, routes::Routes},
    queue::Wakes,
    store::{Acceptance, Accepted, EventStatus, Prepared, RawRequest, Store, StoreError},
};

/// Why an event is ignored whose source no trigger names.
pub const NO_LISTENER: &str = "no trigger listens to this source";
/// What stands at an event whose mail is elsewhere.
const FETCHED: &str = "the mail is fetched from its provider, and is an event of its own then";
/// What stands at a text message whose files are elsewhere.
const FILES_FETCHED: &str = "its files are fetched from the provider, and it is an event of its own then";
/// Why an event is ignored whose mail is elsewhere and stays there.
const NOT_FETCHED: &str = "the mail lies in S3, and the source has no `fetch` to get it from there";
/// Events of one transaction at most.
const MAX_BATCH: usize = 512;
/// Bytes of bodies and files of one transaction at most, beyond its first event.
const MAX_BATCH_BYTES: usize = 32 << 20;

/// The longest that a commit may take before its connection counts as broken.
const COMMIT_PATIENCE: Duration = Duration::from_secs(10);

/// Why an event could not be accepted. Nothing is remembered of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntakeError {
    /// Too many events wait for their commit.
    #[error("too many events wait for their commit")]
    Full,
    /// The database did not commit in time.
    #[error("the database did not commit in time")]
    Slow,
    /// The database refused.
    #[error("the database failed")]
    Failed,
}

/// The way into the store for events.
#[derive(Clone)]
pub struct Intake {
    sender: mpsc::Sender<Waiting>,
    patience: Duration,
}

struct Waiting {
    prepared: Prepared,
    answer: Answer,
}

type Answer = oneshot::Sender<Result<Accepted, IntakeError>>;

impl Intake {
    /// Starts the writers. They end when the last `Intake` is dropped and all is committed.
    #[must_use]
    pub fn start(store: &Store, wakes: &Arc<Wakes>, waiting: usize, patience: Duration) -> Self {
        let (sender, receiver) = mpsc::channel(waiting.max(1));
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..store.intake_writers() {
            tokio::spawn(write(store.clone(), Arc::clone(wakes), Arc::clone(&receiver)));
        }
        Self { sender, patience }
    }

    /// Commits an event with all that follows from it. When this returns, it is on disk.
    ///
    /// # Errors
    /// When it is not, or not known to be: the sender is to try again, and finds it as a duplicate
    /// should it have been committed after all.
    pub async fn accept(&self, acceptance: Acceptance) -> Result<Accepted, IntakeError> {
        #[cfg(feature = "sabotage")]
        if crate::sabotage::is(crate::sabotage::Defect::AckBeforeCommit) {
            return Ok(self.accept_too_soon(acceptance));
        }
        let (answer, answered) = oneshot::channel();
        let prepared = Prepared::from(acceptance);
        self.sender.try_send(Waiting { prepared, answer }).map_err(|_| IntakeError::Full)?;
        match tokio::time::timeout(self.patience, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(IntakeError::Failed),
            Err(_) => Err(IntakeError::Slow),
        }
    }
}

#[cfg(feature = "sabotage")]
impl Intake {
    /// The answer first; the commit a while later.
    fn accept_too_soon(&self, acceptance: Acceptance) -> Accepted {
        let accepted = Accepted {
            event: acceptance.event.id.clone(),
            runs: acceptance.runs.iter().map(|run| run.id.clone()).collect(),
            duplicate: false,
            status: acceptance.status,
            reason: acceptance.reason.clone(),
        };
        let sender = self.sender.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let (answer, answered) = oneshot::channel();
            let _ = sender.send(Waiting { prepared: Prepared::from(acceptance), answer }).await;
            let _ = answered.await;
        });
        accepted
    }
}

/// Takes what waits, commits it, answers; until every `Intake` is dropped. Writers share the receiver:
/// while one commits, the next one gathers.
async fn write(store: Store, wakes: Arc<Wakes>, receiver: Arc<Mutex<mpsc::Receiver<Waiting>>>) {
    loop {
        let Some(mut batch) = gather(&mut *receiver.lock().await).await else { return };
        // Whoever does not wait any more was answered 503: forget it, the sender tries again.
        batch.retain(|waiting| !waiting.answer.is_closed());
        if !batch.is_empty() {
            commit(&store, &wakes, batch).await;
        }
    }
}

async fn gather(receiver: &mut mpsc::Receiver<Waiting>) -> Option<Vec<Waiting>> {
    let mut batch = vec![receiver.recv().await?];
    let mut bytes = batch[0].prepared.size();
    while batch.len() < MAX_BATCH
        && bytes < MAX_BATCH_BYTES
        && let Ok(next) = receiver.try_recv()
    {
        bytes += next.prepared.size();
        batch.push(next);
    }
    Some(batch)
}

async fn commit(store: &Store, wakes: &Wakes, batch: Vec<Waiting>) {
    let (events, answers): (Vec<Prepared>, Vec<Answer>) =
        batch.into_iter().map(|waiting| (waiting.prepared, waiting.answer)).unzip();
    let parts = events.iter().any(Prepared::is_part);
    let fetches = events.iter().any(Prepared::is_fetch);
    let active = events.iter().any(Prepared::concerns_active);
    let notices = events.iter().any(Prepared::may_notify);
    let has_answers = events.iter().any(Prepared::is_answer);
    let runs = match accept(store, &events).await {
        Ok(accepted) => answer_all(accepted, answers),
        Err(fault) if (events.len() > 1 || has_answers) && fault.is_about_a_row() => {
            // One of them is at fault: the others must not suffer for it.
            let mut runs = false;
            for (event, answer) in events.into_iter().zip(answers) {
                if answer.is_closed() {
                    continue;
                }
                match accept_one(store, event).await {
                    Ok(accepted) => runs |= answer_all(vec![accepted], vec![answer]),
                    Err(fault) => refuse(&fault, vec![answer]),
                }
            }
            runs
        }
        Err(fault) => {
            refuse(&fault, answers);
            false
        }
    };
    if runs {
        wakes.runs();
    }
    if runs && active {
        wakes.canceled();
    }
    if has_answers {
        wakes.news();
    }
    if notices {
        wakes.deliveries();
    }
    if parts {
        wakes.parts();
    }
    if fetches {
        wakes.fetches();
    }
}

/// A commit that takes longer than anybody waits for it goes over a connection that is given up.
pub(super) async fn accept(store: &Store, batch: &[Prepared]) -> Result<Vec<Option<Accepted>>, StoreError> {
    match tokio::time::timeout(COMMIT_PATIENCE, store.accept(batch)).await {
        Ok(accepted) => accepted,
        Err(_) => {
            store.renew_intake();
            Err(StoreError::Slow(COMMIT_PATIENCE))
        }
    }
}

/// Commits one event, which may answer a question that has ended meanwhile: then it is an event like any other.
pub(super) async fn accept_one(store: &Store, event: Prepared) -> Result<Option<Accepted>, StoreError> {
    let accepted = match accept(store, std::slice::from_ref(&event)).await {
        Err(fault @ StoreError::QuestionEnded(_)) => {
            let Some(otherwise) = event.otherwise() else { return Err(fault) };
            tracing::info!(error = %fault, event = %otherwise.id(), "an answer came too late to be one");
            accept(store, &[otherwise]).await?
        }
        accepted => accepted?,
    };
    Ok(accepted.into_iter().next().flatten())
}

/// Whether there are new runs.
fn answer_all(accepted: Vec<Option<Accepted>>, answers: Vec<Answer>) -> bool {
    let mut runs = false;
    for (accepted, answer) in accepted.into_iter().zip(answers) {
        runs |= accepted.as_ref().is_some_and(|accepted| !accepted.runs.is_empty() && !accepted.duplicate);
        let _ = answer.send(accepted.ok_or(IntakeError::Failed));
    }
    runs
}

fn refuse(fault: &StoreError, answers: Vec<Answer>) {
    tracing::error!(error = ?fault, events = answers.len(), "events could not be committed");
    for answer in answers {
        let _ = answer.send(Err(IntakeError::Failed));
    }
}

/// Where an event came from.
#[derive(Clone)]
pub struct Origin<'a> {
    /// Whose source.
    pub tenant: &'a TenantId,
    /// The source.
    pub source: &'a Source,
    /// The request.
    pub request: RawRequest,
}

/// Everything that follows from a parsed request.
#[must_use]
pub fn acceptance(origin: Origin<'_>, mut parsed: Parsed, routes: &Routes, clock: &Clock) -> Acceptance {
    mail::enforce(&origin.source.spec.attachments, &mut parsed.attachments);
    let (attachments, files): (Vec<_>, Vec<_>) = std::mem::take(&mut parsed.attachments).into_iter().unzip();
    let otherwise = parsed.effects.answer.is_some().then(|| {
        let mut plain = parsed.clone();
        (plain.quiet, plain.effects.answer) = (plain.too_much.take(), None);
        Box::new(acceptance_of(origin.clone(), plain, attachments.clone(), (routes, clock)))
    });
    Acceptance { files, otherwise, ..acceptance_of(origin, parsed, attachments, (routes, clock)) }
}

/// The same without the bytes of its files.
fn acceptance_of(
    origin: Origin<'_>,
    mut parsed: Parsed,
    attachments: Vec<Attachment>,
    (routes, clock): (&Routes, &Clock),
) -> Acceptance {
    let fetch = parsed.stored.take().filter(|_| parsed.quiet.is_none());
    let (fetch, unfetched) = match (fetch, &origin.source.spec.fetch) {
        (Some(stored), Some(_)) => {
            // What is fetched is an event of its own, and has these keys then.
            parsed.content_key = None;
            parsed.kind.push_str(".stored");
            (Some(stored), None)
        }
        (Some(Stays::Mail(StoredMail { object: Some(_), .. })), None) => (None, Some(NOT_FETCHED.to_owned())),
        (_, _) => (None, None),
    };
    let mut event = AgentEvent {
        id: EventId::new(clock.now()),
        tenant: origin.tenant.clone(),
        source: origin.source.id.clone(),
        source_name: origin.source.name.clone(),
        dedupe_key: parsed.dedupe_key,
        kind: parsed.kind,
        thread_key: parsed.thread_key,
        sender: parsed.sender,
        automatic: parsed.automatic,
        received_at: clock.now(),
        content: parsed.content,
        attachments,
    };
    if let (Content::Email(_), Some(sender)) = (&event.content, &mut event.sender)
        && flags::looks_like(&sender.address, routes.allowed(&event.source_name))
    {
        sender.flags.push(SenderFlag::LookalikeDomain);
    }
    let silent =
        parsed.quiet.or(unfetched).or_else(|| event.automatic.as_ref().map(|why| format!("sent by a machine: {why}")));
    let (runs, routing) = if fetch.is_some() || silent.is_some() {
        (Vec::new(), Vec::new())
    } else {
        let matched = routes.matching(&event, &parsed.threads);
        (matched.runs, matched.routing)
    };
    let told = fetch.as_ref().map(|stays| match stays {
        Stays::Mail(_) => FETCHED.to_owned(),
        Stays::Files(_) => FILES_FETCHED.to_owned(),
    });
    let reason = told.or(silent).or_else(|| {
        runs.is_empty().then(|| match routing.is_empty() {
            true => NO_LISTENER.to_owned(),
            false => "no trigger matches".to_owned(),
        })
    });
    // What was read out of a mailbox has a hash of its body there.
    let is_posted = origin.source.spec.imap.is_none();
    Acceptance {
        content_key: parsed.content_key.map(|key| if is_posted { copies::content_key(&key, &event) } else { key }),
        status: if reason.is_some() && fetch.is_none() { EventStatus::Ignored } else { EventStatus::Accepted },
        reason,
        routing,
        request: origin.request,
        files: Vec::new(),
        runs,
        effects: parsed.effects,
        event,
        fetch,
        otherwise: None,
    }
}

/// What is kept of a request that was verified but cannot be read.
#[must_use]
pub fn rejection(origin: Origin<'_>, dedupe_key: String, fault: &ParseFault, clock: &Clock) -> Acceptance {
    Acceptance {
        event: AgentEvent {
            id: EventId::new(clock.now()),
            tenant: origin.tenant.clone(),
            source: origin.source.id.clone(),
            source_name: origin.source.name.clone(),
            dedupe_key,
            kind: "unreadable".to_owned(),
            thread_key: None,
            sender: None,
            automatic: None,
            received_at: clock.now(),
            content: Content::Webhook(crate::domain::event::Webhook::default()),
            attachments: Vec::new(),
        },
        content_key: None,
        status: EventStatus::Rejected,
        reason: Some(format!("{}: {}", fault.code, fault.detail)),
        routing: Vec::new(),
        request: origin.request,
        files: Vec::new(),
        runs: Vec::new(),
        effects: Effects::NONE,
        fetch: None,
        otherwise: None,
    }
}
