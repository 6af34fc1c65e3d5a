//! Mail that its provider keeps.

use bytes::Bytes;

use crate::{
    domain::{fetch::StoredMail, id::EventId, source::Source, time::Timestamp},
    egress::{EgressError, answer::Answer},
    ingress::stored,
    pipeline::{
        execute::spread,
        fetch::{FetchStored, PATIENCE, Unable},
    },
    queue::Job,
    store::{FetchEnd, FetchWork, StoreError},
};

/// Waits before the second, third, … try: 15 hours and 42 minutes in all. Mailgun keeps mail for three days.
const WAITS_S: [i64; 9] = [5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 28_800];

/// Why a try brought no mail.
enum Missed {
    /// Another try may bring it.
    Later(String),
    /// None will.
    Never(String),
    /// Nothing can be said.
    Unable(Unable),
}

impl From<StoreError> for Missed {
    fn from(fault: StoreError) -> Self {
        Self::Unable(fault.into())
    }
}

impl FetchStored {
    /// Tries once to make the mail an event.
    pub(super) async fn try_mail(&self, job: &Job, work: &FetchWork, stored: &StoredMail) -> Result<FetchEnd, Unable> {
        let detail = match self.fetch_mail(job, work, stored).await {
            Ok(event) => return Ok(FetchEnd::Fetched(event)),
            Err(Missed::Unable(unable)) => return Err(unable),
            Err(Missed::Later(detail)) => match self.next_mail_try(work) {
                Some(at) => return Ok(FetchEnd::Again(detail, at)),
                None => detail,
            },
            Err(Missed::Never(detail)) => detail,
        };
        self.give_mail_up(work, stored, detail).await
    }

    /// When it is tried again; `None` after the last try.
    fn next_mail_try(&self, work: &FetchWork) -> Option<Timestamp> {
        let wait_s = usize::try_from(work.tries).ok().and_then(|tries| WAITS_S.get(tries))?;
        Some(self.store.clock().now().plus_ms(spread(wait_s.saturating_mul(1_000))))
    }

    async fn fetch_mail(&self, job: &Job, work: &FetchWork, stored: &StoredMail) -> Result<EventId, Missed> {
        let told = &work.event.event;
        if job.claimed().lost > self.max_lost {
            return Err(Missed::Never("its worker vanished several times; it may be what kills it".to_owned()));
        }
        // A worker before may have come as far as the mail's event.
        if let Some(event) = self.store.event_of_key(told, &stored::key_of(told)).await? {
            return Ok(event);
        }
        let catalog = self.store.catalog(&told.tenant).await?;
        let source = catalog.sources.get(&told.source_name);
        let source = source.ok_or_else(|| Missed::Never("its source is gone".to_owned()))?;
        let body = self.ask(work, stored, source).await?;
        let raw = stored::raw_mail(stored, body).map_err(|fault| Missed::Never(fault.to_string()))?;
        if raw.len() > self.most_bytes(source) {
            return Err(Missed::Never(too_large(self.most_bytes(source))));
        }
        let raw = Bytes::from(raw);
        let (bytes, told_there, stored_there) = (raw.clone(), told.clone(), stored.clone());
        let at = self.store.clock().now();
        #[expect(clippy::disallowed_methods, reason = "bounded by the slots of the queue")]
        let parsed = tokio::task::spawn_blocking(move || stored::mail(&bytes, &told_there, &stored_there, at)).await;
        let parsed = parsed.map_err(|_| Missed::Never("the mail could not be read".to_owned()))?;
        let parsed = parsed.map_err(|fault| Missed::Never(fault.to_string()))?;
        Ok(self.accept(told, &catalog, parsed, raw).await?)
    }

    /// Asks the provider once.
    async fn ask(&self, work: &FetchWork, stored: &StoredMail, source: &Source) -> Result<Vec<u8>, Missed> {
        let fetch = source.spec.fetch.clone().unwrap_or_default();
        let now = self.store.clock().now();
        let (policy, request) = stored::request(stored, &fetch, &*self.secrets, now).map_err(|fault| {
            let detail = fault.to_string();
            if fault.is_final() { Missed::Never(detail) } else { Missed::Later(detail) }
        })?;
        let limit = self.most_bytes(source);
        // JSON writes some bytes as two.
        let most = if stored.object.is_some() { limit } else { limit.saturating_mul(2) };
        let answer = self.egress.send(policy, request.within(PATIENCE, most)).await.map_err(|fault| missed(&fault))?;
        match answer {
            Answer { status: 200, is_whole: true, body, .. } => Ok(body),
            Answer { status: 200, body, .. } if body.len() >= most => Err(Missed::Never(too_large(limit))),
            Answer { status: 200, .. } => Err(Missed::Later("the answer broke off".to_owned())),
            Answer { status: 404 | 410, .. } if work.tries >= 3 => {
                Err(Missed::Never("the provider does not have it any more".to_owned()))
            }
            Answer { status, .. } => Err(Missed::Later(format!("the provider answered {status}"))),
        }
    }

    /// Makes an event of what is known of the mail.
    async fn give_mail_up(&self, work: &FetchWork, stored: &StoredMail, detail: String) -> Result<FetchEnd, Unable> {
        let told = &work.event.event;
        tracing::error!(event = %told.id, tenant = %told.tenant, detail, "a mail could not be fetched");
        let catalog = self.store.catalog(&told.tenant).await?;
        let remnant = stored::remnant(told, stored, self.store.clock().now());
        let Some(parsed) = remnant.filter(|_| catalog.sources.contains_key(&told.source_name)) else {
            return Ok(FetchEnd::Failed(detail, None));
        };
        let event = self.accept(told, &catalog, parsed, Bytes::new()).await?;
        Ok(FetchEnd::Failed(detail, Some(event)))
    }
}

fn missed(fault: &EgressError) -> Missed {
    if fault.is_final() { Missed::Never(fault.to_string()) } else { Missed::Later(fault.to_string()) }
}

fn too_large(most: usize) -> String {
    format!("the mail is larger than {most} bytes (max_body_bytes of the source or the server)")
}
