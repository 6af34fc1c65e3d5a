//! What stayed at its provider: fetched, and then an event like any other. The event that told of it is on disk by then;
//! whatever happens here, it becomes one event at most, since its key is made of that event's id.

mod mail;
mod media;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    crypto::SecretSource,
    domain::{
        catalog::Catalog,
        event::{AgentEvent, Content},
        fetch::Stays,
        id::EventId,
        source::Source,
    },
    egress::Egress,
    ingress::{Parsed, mail::identity},
    pipeline::{
        intake::{self, Origin},
        routes::Routes,
        senders::Senders,
    },
    queue::{Job, JobEnd, Wakes},
    store::{FetchEnd, FetchWork, Prepared, RawRequest, Store, StoreError},
};

/// The longest that one try of one thing may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long the database is left alone after it failed.
const TROUBLE_MS: i64 = 5_000;

/// What fetching needs.
#[derive(Clone)]
pub struct FetchStored {
    /// The records.
    pub store: Store,
    /// The way out.
    pub egress: Egress,
    /// Where credentials are looked up.
    pub secrets: Arc<dyn SecretSource>,
    /// Who checks senders of mail.
    pub senders: Senders,
    /// Who is told that runs are ready.
    pub wakes: Arc<Wakes>,
    /// Bytes of what is fetched for one event at most, where the source does not say less.
    pub max_bytes: usize,
    /// How often a fetch is taken up again after its worker vanished.
    pub max_lost: i64,
}

/// The lease is lost, or the database fails: it is tried again, and that says nothing of what was to be fetched.
struct Unable;

impl From<StoreError> for Unable {
    fn from(fault: StoreError) -> Self {
        tracing::warn!(error = ?fault, "fetching failed for the database; trying again");
        Self
    }
}

impl FetchStored {
    /// Works one job of the fetch queue.
    pub async fn handle(self, job: Job) -> JobEnd {
        let work = match self.store.load_fetch(job.claimed()).await {
            Ok(Some(work)) => work,
            Ok(None) => return JobEnd::Abandoned,
            Err(fault) if fault.is_unreadable() => {
                tracing::error!(event = job.lease().id, error = ?fault, "what is to be fetched cannot be read");
                return self.record(&job, FetchEnd::Failed(fault.to_string(), None)).await;
            }
            Err(fault) => return self.soon(fault.into()),
        };
        let tried = tokio::select! {
            tried = self.try_once(&job, &work) => tried,
            // Lease or time are over. This worker lives, so that does not count against what it fetches.
            () = job.stop().cancelled() => return JobEnd::Again(self.store.clock().now()),
        };
        match tried {
            Ok(end) => self.record(&job, end).await,
            Err(unable) => self.soon(unable),
        }
    }

    async fn try_once(&self, job: &Job, work: &FetchWork) -> Result<FetchEnd, Unable> {
        match &work.stays {
            Stays::Mail(stored) => self.try_mail(job, work, stored).await,
            Stays::Files(files) => self.try_files(job, work, &files.media).await,
        }
    }

    /// Gives the job back. Only a worker that cannot even do this counts as vanished.
    fn soon(&self, Unable: Unable) -> JobEnd {
        JobEnd::Again(self.store.clock().now().plus_ms(TROUBLE_MS))
    }

    async fn record(&self, job: &Job, end: FetchEnd) -> JobEnd {
        match self.store.record_fetch(job.lease(), &end).await {
            Ok(true) => JobEnd::Settled,
            Ok(false) => self.soon(Unable),
            Err(fault) => self.soon(fault.into()),
        }
    }

    /// Bytes of what is fetched for one event of a source at most.
    fn most_bytes(&self, source: &Source) -> usize {
        source.spec.max_body_bytes.map_or(self.max_bytes, |most| most.min(self.max_bytes))
    }

    /// Makes what was fetched an event with all that follows from it.
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
        let mut headers = Vec::new();
        if let Content::Email(email) = &parsed.content {
            parsed.sender = identity::sender(email, &parsed.evidence, &source.spec);
            headers.push(("content-type".to_owned(), "message/rfc822".to_owned()));
        }
        let routes = Routes::of_triggers(catalog);
        self.senders.settle(source, &routes, &mut parsed).await?;
        let url = format!("fetched:{}", told.id);
        let request = RawRequest { method: "GET".to_owned(), url, headers, body: raw };
        let origin = Origin { tenant: &told.tenant, source, request };
        let acceptance = Prepared::from(intake::acceptance(origin, parsed, &routes, self.store.clock()));
        let is_answer = acceptance.is_answer();
        let accepted = intake::accept_one(&self.store, acceptance).await?;
        let accepted = accepted.ok_or_else(|| StoreError::Conflict("the event could not be looked up".to_owned()))?;
        tracing::info!(
            event = %accepted.event, told = %told.id, tenant = %told.tenant, source = told.source_name,
            status = accepted.status.as_str(), duplicate = accepted.duplicate, runs = accepted.runs.len(),
            reason = accepted.reason, "fetched from the provider"
        );
        if !accepted.runs.is_empty() {
            self.wakes.runs();
        }
        if is_answer {
            self.wakes.news();
        }
        Ok(accepted.event)
    }
}
