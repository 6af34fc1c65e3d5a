//! Mail that stayed at its provider: fetched, and then an event like any other. The event that told of it is on disk
//! by then; whatever happens here, the mail becomes one event at most, since its key is made of that event's id.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    crypto::SecretSource,
    domain::{
        catalog::Catalog,
        event::{AgentEvent, Content},
        id::EventId,
        source::Source,
        time::Timestamp,
    },
    egress::{Egress, EgressError, answer::Answer},
    ingress::{Parsed, mail::identity, stored},
    pipeline::{
        execute::spread,
        hops::LoopGuard,
        intake::{self, Origin},
        routes::Routes,
        senders::Senders,
        thread,
    },
    queue::{Job, JobEnd, StopReason, Wakes},
    store::{FetchEnd, FetchWork, Prepared, RawRequest, Store, StoreError},
};

/// Waits before the second, third, … try: 15 hours and 42 minutes in all. Mailgun keeps mail for three days.
const WAITS_S: [i64; 9] = [5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 28_800];
/// The longest that one try may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What fetching needs.
#[derive(Clone)]
pub struct FetchMail {
    /// The records.
    pub store: Store,
    /// The way out.
    pub egress: Egress,
    /// Where credentials are looked up.
    pub secrets: Arc<dyn SecretSource>,
    /// Who checks senders of mail.
    pub senders: Senders,
    /// What ends a conversation of machines.
    pub loops: LoopGuard,
    /// Who is told that runs are ready.
    pub wakes: Arc<Wakes>,
    /// Bytes of a mail at most.
    pub max_bytes: usize,
    /// How often a fetch is taken up again after its worker vanished.
    pub max_lost: i64,
}

/// Why a try brought no mail.
enum Missed {
    /// Another try may bring it.
    Later(String),
    /// None will.
    Never(String),
    /// The lease is lost, or the database fails: somebody else tries.
    Abandoned,
}

impl FetchMail {
    /// Works one job of the fetch queue.
    pub async fn handle(self, job: Job) -> JobEnd {
        let work = match self.store.load_fetch(job.claimed()).await {
            Ok(Some(work)) => work,
            Ok(None) => return JobEnd::Abandoned,
            Err(fault @ StoreError::Unreadable { .. }) => {
                tracing::error!(event = job.lease().id, error = ?fault, "what is to be fetched cannot be read");
                return self.record(&job, FetchEnd::Failed(fault.to_string(), None)).await;
            }
            Err(fault) => {
                tracing::error!(event = job.lease().id, error = ?fault, "a claimed fetch could not be read");
                return JobEnd::Abandoned;
            }
        };
        let tried = tokio::select! {
            tried = self.try_once(&job, &work) => tried,
            () = job.stop().cancelled() => Err(Missed::Abandoned),
        };
        let end = match tried {
            Ok(event) => Some(FetchEnd::Fetched(event)),
            Err(Missed::Abandoned) => return self.let_go(&job),
            Err(Missed::Later(detail)) => match self.next_try(&work) {
                Some(at) => Some(FetchEnd::Again(detail, at)),
                None => self.give_up(&work, detail).await,
            },
            Err(Missed::Never(detail)) => self.give_up(&work, detail).await,
        };
        match end {
            Some(end) => self.record(&job, end).await,
            None => JobEnd::Abandoned,
        }
    }

    /// When it is tried again; `None` after the last try.
    fn next_try(&self, work: &FetchWork) -> Option<Timestamp> {
        let wait_s = usize::try_from(work.tries).ok().and_then(|tries| WAITS_S.get(tries))?;
        Some(self.store.clock().now().plus_ms(spread(wait_s.saturating_mul(1_000))))
    }

    async fn try_once(&self, job: &Job, work: &FetchWork) -> Result<EventId, Missed> {
        let told = &work.event.event;
        if job.claimed().lost > self.max_lost {
            return Err(Missed::Never("its worker vanished several times; it may be what kills it".to_owned()));
        }
        // A worker before may have come as far as the mail's event.
        if let Some(event) =
            self.store.event_of_key(told, &stored::key_of(told)).await.map_err(|fault| abandoned(&fault))?
        {
            return Ok(event);
        }
        let catalog = self.store.catalog(&told.tenant).await.map_err(|fault| abandoned(&fault))?;
        let source = catalog.sources.get(&told.source_name);
        let source = source.ok_or_else(|| Missed::Never("its source is gone".to_owned()))?;
        let body = self.ask(work, source).await?;
        let raw = stored::raw_mail(&work.stored, body).map_err(|fault| Missed::Never(fault.to_string()))?;
        if raw.len() > self.max_bytes {
            return Err(Missed::Never(too_large(self.max_bytes)));
        }
        let raw = Bytes::from(raw);
        let (bytes, told_there, stored_there) = (raw.clone(), told.clone(), work.stored.clone());
        let at = self.store.clock().now();
        #[expect(clippy::disallowed_methods, reason = "bounded by the slots of the queue")]
        let parsed = tokio::task::spawn_blocking(move || stored::mail(&bytes, &told_there, &stored_there, at)).await;
        let parsed = parsed.map_err(|_| Missed::Never("the mail could not be read".to_owned()))?;
        let parsed = parsed.map_err(|fault| Missed::Never(fault.to_string()))?;
        self.accept(told, &catalog, parsed, raw).await.map_err(|fault| abandoned(&fault))
    }

    /// Asks the provider once.
    async fn ask(&self, work: &FetchWork, source: &Source) -> Result<Vec<u8>, Missed> {
        let fetch = source.spec.fetch.clone().unwrap_or_default();
        let now = self.store.clock().now();
        let (policy, request) = stored::request(&work.stored, &fetch, &*self.secrets, now).map_err(|fault| {
            let detail = fault.to_string();
            if fault.is_final() { Missed::Never(detail) } else { Missed::Later(detail) }
        })?;
        // JSON writes some bytes as two.
        let most = if work.stored.object.is_some() { self.max_bytes } else { self.max_bytes.saturating_mul(2) };
        let answer = self.egress.send(policy, request.within(PATIENCE, most)).await.map_err(|fault| missed(&fault))?;
        match answer {
            Answer { status: 200, is_whole: true, body, .. } => Ok(body),
            Answer { status: 200, body, .. } if body.len() >= most => Err(Missed::Never(too_large(most))),
            Answer { status: 200, .. } => Err(Missed::Later("the answer broke off".to_owned())),
            Answer { status: 404 | 410, .. } if work.tries >= 3 => {
                Err(Missed::Never("the provider does not have it any more".to_owned()))
            }
            Answer { status, .. } => Err(Missed::Later(format!("the provider answered {status}"))),
        }
    }

    /// Makes the mail an event with all that follows from it.
    async fn accept(
        &self,
        told: &AgentEvent,
        catalog: &Catalog,
        mut parsed: Parsed,
        raw: Bytes,
    ) -> Result<EventId, StoreError> {
        let Some(source) = catalog.sources.get(&told.source_name) else {
            return Err(StoreError::Conflict("its source is gone".to_owned()));
        };
        if let Content::Email(email) = &parsed.content {
            parsed.sender = identity::sender(email, &parsed.evidence, &source.spec);
        }
        self.senders.settle(source, &mut parsed).await?;
        let headers = vec![("content-type".to_owned(), "message/rfc822".to_owned())];
        let url = format!("fetched:{}", told.id);
        let request = RawRequest { method: "GET".to_owned(), url, headers, body: raw };
        let origin = Origin { tenant: &told.tenant, source, request };
        let routes = Routes::of_triggers(catalog);
        thread::recall(&self.store, &told.tenant, &self.loops, &routes, &mut parsed).await;
        let acceptance = Prepared::from(intake::acceptance(origin, parsed, &routes, self.store.clock()));
        let accepted =
            intake::accept(&self.store, std::slice::from_ref(&acceptance)).await?.into_iter().next().flatten();
        let accepted = accepted.ok_or_else(|| StoreError::Conflict("the event could not be looked up".to_owned()))?;
        tracing::info!(
            event = %accepted.event, told = %told.id, tenant = %told.tenant, source = told.source_name,
            status = accepted.status.as_str(), duplicate = accepted.duplicate, runs = accepted.runs.len(),
            reason = accepted.reason, "mail fetched"
        );
        if !accepted.runs.is_empty() {
            self.wakes.runs();
        }
        Ok(accepted.event)
    }

    /// Makes an event of what is known of the mail. `None` when the database fails.
    async fn give_up(&self, work: &FetchWork, detail: String) -> Option<FetchEnd> {
        let told = &work.event.event;
        tracing::error!(event = %told.id, tenant = %told.tenant, detail, "a mail could not be fetched");
        let catalog = self.store.catalog(&told.tenant).await.ok()?;
        let remnant = stored::remnant(told, &work.stored, self.store.clock().now());
        let Some(parsed) = remnant.filter(|_| catalog.sources.contains_key(&told.source_name)) else {
            return Some(FetchEnd::Failed(detail, None));
        };
        let event = self.accept(told, &catalog, parsed, Bytes::new()).await;
        Some(FetchEnd::Failed(detail, Some(event.ok()?)))
    }

    /// Gives the job back when the process ends, so that another takes it up at once.
    fn let_go(&self, job: &Job) -> JobEnd {
        if job.stop_reason() == Some(StopReason::Shutdown) {
            return JobEnd::Again(self.store.clock().now());
        }
        JobEnd::Abandoned
    }

    async fn record(&self, job: &Job, end: FetchEnd) -> JobEnd {
        match self.store.record_fetch(job.lease(), &end).await {
            Ok(true) => JobEnd::Settled,
            Ok(false) => JobEnd::Abandoned,
            Err(fault) => {
                tracing::warn!(event = job.lease().id, error = ?fault, "recording a fetch failed; its lease runs out");
                JobEnd::Abandoned
            }
        }
    }
}

fn abandoned(fault: &StoreError) -> Missed {
    tracing::warn!(error = ?fault, "fetching a mail failed for the database; its lease runs out");
    Missed::Abandoned
}

fn missed(fault: &EgressError) -> Missed {
    if fault.is_final() { Missed::Never(fault.to_string()) } else { Missed::Later(fault.to_string()) }
}

fn too_large(most: usize) -> String {
    format!("the mail is larger than {most} bytes (server.max_body_bytes)")
}
