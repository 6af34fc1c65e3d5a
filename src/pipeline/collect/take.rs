//! One mail: fetched, committed, and then marked or moved.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    crypto,
    domain::imap::AfterTaking,
    ingress::{ParseFault, mailbox},
    mailbox::{Body, Summary},
    pipeline::{
        collect::{
            Collect, CollectError,
            folder::{Folder, Reading},
        },
        intake::{self, Origin},
    },
    store::{Acceptance, RawRequest},
};

/// How often fetching one mail may break the connection before it is recorded as unreadable: a mail that some server
/// chokes on must not keep back all behind it.
const MOST_ATTEMPTS: u32 = 5;

/// Tries at the mail that the connection broke on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attempts {
    uid: u32,
    failed: u32,
}

impl Attempts {
    const fn failed(&mut self, uid: u32) {
        self.failed = if self.uid == uid { self.failed + 1 } else { 1 };
        self.uid = uid;
    }

    const fn is_too_much(&self, uid: u32) -> bool {
        self.uid == uid && self.failed >= MOST_ATTEMPTS
    }
}

/// A mail as it came, or why its bytes are not here.
enum Found {
    Raw(Bytes),
    Fault(ParseFault),
}

impl Folder {
    /// Takes one mail. When this returns without an error, its event is committed, or it is gone.
    pub(super) async fn take(&mut self, reading: &mut Reading<'_>, summary: &Summary) -> Result<(), CollectError> {
        if reading.collect.waiting.refuses(reading.collect.store.clock().now()).is_some() {
            return Err(CollectError::Full);
        }
        let _place = reading.memory.acquire().await.map_err(|_| CollectError::Lost)?;
        let Some(found) = self.fetch(reading, summary).await? else { return Ok(()) };
        let acceptance = self.read_mail(reading.collect, (reading.cursor.uid_validity, summary.uid), found).await?;
        let status = acceptance.status;
        let accepted = reading.collect.intake.accept(acceptance).await?;
        if !accepted.duplicate {
            reading.collect.waiting.add(accepted.runs.len());
        }
        tracing::info!(
            event = %accepted.event, tenant = %reading.collect.tenant, source = self.source.name, provider = "imap",
            folder = self.name, uid = summary.uid, status = status.as_str(), duplicate = accepted.duplicate,
            runs = accepted.runs.len(), reason = accepted.reason, "event received"
        );
        self.settle(reading, summary.uid).await
    }

    /// The bytes of a mail; `None` when it is gone.
    async fn fetch(&mut self, reading: &mut Reading<'_>, summary: &Summary) -> Result<Option<Found>, CollectError> {
        let most = reading.collect.max_bytes.min(self.source.spec.max_body_bytes.unwrap_or(usize::MAX));
        let too_large = |bytes: u64| {
            let detail = format!("the mail has {bytes} bytes, allowed are {most}");
            Some(Found::Fault(ParseFault { code: "too_large", detail }))
        };
        if summary.size > most as u64 {
            return Ok(too_large(summary.size));
        }
        if self.attempts.is_too_much(summary.uid) {
            let detail = format!("the connection broke {MOST_ATTEMPTS} times while it was fetched");
            return Ok(Some(Found::Fault(ParseFault { code: "unfetchable", detail })));
        }
        match reading.session.body(summary.uid, most).await {
            Ok(Body::Here(raw)) => Ok(Some(Found::Raw(raw.into()))),
            Ok(Body::TooLarge(bytes)) => Ok(too_large(bytes)),
            Ok(Body::Gone) => Ok(None),
            Err(fault) => {
                self.attempts.failed(summary.uid);
                Err(fault.into())
            }
        }
    }

    /// What follows from a mail. Parsing runs beside the threads that serve requests.
    async fn read_mail(
        &self,
        collect: &Collect,
        (validity, uid): (i64, u32),
        found: Found,
    ) -> Result<Acceptance, CollectError> {
        let (raw, fault) = match found {
            Found::Raw(raw) => (raw, None),
            Found::Fault(fault) => (Bytes::new(), Some(fault)),
        };
        // The hash keeps apart what servers give one number by mistake.
        let content = match &fault {
            None => crypto::sha256_hex(&raw)[..16].to_owned(),
            Some(fault) => fault.code.to_owned(),
        };
        let key = format!("imap:{}:{validity}:{uid}:{content}", self.name);
        let key = mailbox::bounded(key);
        let folder: String = url::form_urlencoded::byte_serialize(self.name.as_bytes()).collect();
        let request = RawRequest {
            method: "IMAP".to_owned(),
            // RFC 5092, without the user.
            url: format!("imap://{}/{folder};UIDVALIDITY={validity}/;UID={uid}", self.imap.host),
            headers: vec![("content-type".to_owned(), "message/rfc822".to_owned())],
            body: raw.clone(),
        };
        let (source, own_key, at) = (Arc::clone(&self.source), key.clone(), collect.store.clock().now());
        let mut parsed = beside(move || match fault {
            Some(fault) => Err(fault),
            None => mailbox::read_mail(&raw, own_key, &source.spec, at),
        })
        .await?;
        let (routes, source) = ((collect.routes)(), Arc::clone(&self.source));
        if let Ok(parsed) = &mut parsed {
            collect.senders.settle(&self.source, &routes, parsed).await?;
        }
        let (tenant, clock) = (collect.tenant.clone(), collect.store.clock().clone());
        beside(move || {
            let origin = Origin { tenant: &tenant, source: &source, request };
            match parsed {
                Ok(parsed) => intake::acceptance(origin, parsed, &routes, &clock),
                Err(fault) => intake::rejection(origin, key, &fault, &clock),
            }
        })
        .await
    }

    /// Marks or moves a mail whose event is committed. A server that refuses is noted and does not stop the rest.
    async fn settle(&self, reading: &mut Reading<'_>, uid: u32) -> Result<(), CollectError> {
        let done = match (self.imap.after, &self.imap.move_to) {
            (AfterTaking::Seen, _) => reading.session.flag(uid, "\\Seen").await,
            (AfterTaking::Flag, _) => reading.session.flag(uid, self.imap.keyword()).await,
            (AfterTaking::Move, Some(folder)) => reading.session.move_to(uid, folder).await,
            (AfterTaking::Move, None) | (AfterTaking::Leave, _) => Ok(()),
        };
        match done {
            Err(fault) if fault.is_refusal() => {
                tracing::warn!(source = self.source.name, folder = self.name, uid, error = %fault, "a taken mail could not be marked");
                Ok(())
            }
            other => Ok(other?),
        }
    }
}

/// Does work on a thread beside those that serve requests.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, CollectError> {
    #[expect(clippy::disallowed_methods, reason = "bounded by the places for mails in memory")]
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| CollectError::Parser)
}

#[cfg(test)]
mod tests {
    use super::{Attempts, MOST_ATTEMPTS};

    #[test]
    fn only_failures_at_the_same_mail_count() {
        let mut attempts = Attempts::default();
        for _ in 0..MOST_ATTEMPTS - 1 {
            attempts.failed(7);
        }
        attempts.failed(8);
        attempts.failed(7);
        assert!(!attempts.is_too_much(7));
        for _ in 1..MOST_ATTEMPTS {
            attempts.failed(7);
        }
        assert!(attempts.is_too_much(7) && !attempts.is_too_much(8));
    }
}
