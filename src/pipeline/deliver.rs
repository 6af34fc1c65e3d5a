//! One attempt of a delivery, and what follows from it.

use std::time::Duration;

use crate::{
    domain::delivery::{Attempt, AttemptRecord, Delivery, Message, Outgoing},
    outbound::Channels,
    pipeline::{execute::spread, insist::insist},
    queue::{Job, JobEnd, StopReason},
    store::{Next, Store, StoreError, Suppression},
};

/// Waits before the second, third, … attempt: the example of the Standard Webhooks specification, 75
/// hours and 35 minutes in all.
const WAITS_S: [i64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
/// The longest wait that a receiver can ask for.
const MAX_WAIT_MS: i64 = 24 * 3_600 * 1_000;
/// The longest that an attempt may take, whatever its channel says.
const MAX_ATTEMPT: Duration = Duration::from_secs(60);
/// Why nothing is sent to somebody who said STOP.
const OPTED_OUT: &str = "they opted out of messages from this number, and have not said START since";
/// Bytes of what the other side said that are kept.
const MAX_DETAIL: usize = 2_000;

/// What delivering needs.
#[derive(Clone)]
pub struct Deliver {
    /// The records.
    pub store: Store,
    /// The ways out.
    pub channels: Channels,
    /// How often a delivery is tried.
    pub attempts: i64,
}

impl Deliver {
    /// Works one job of the delivery queue.
    pub async fn handle(self, job: Job) -> JobEnd {
        let delivery = match self.store.load_delivery(job.claimed()).await {
            Ok(Some(delivery)) => delivery,
            Ok(None) => return JobEnd::Abandoned,
            Err(fault) if fault.is_unreadable() => return self.fail_unreadable(&job, &fault).await,
            Err(fault) => {
                tracing::error!(delivery = job.lease().id, error = ?fault, "a claimed delivery could not be read");
                return JobEnd::Abandoned;
            }
        };
        let channel = self.channels.of(&delivery.message);
        let files = match self.files(&delivery).await {
            Ok(files) => files,
            Err(fault) => {
                tracing::error!(delivery = %delivery.id, error = ?fault, "the files of a delivery could not be read");
                return JobEnd::Abandoned;
            }
        };
        let unwanted = match self.unwanted(&delivery).await {
            Ok(unwanted) => unwanted,
            Err(fault) => {
                tracing::error!(delivery = %delivery.id, error = ?fault, "who takes no messages could not be read");
                return JobEnd::Abandoned;
            }
        };
        let is_wanted = unwanted.is_none();
        let id = delivery.id.clone();
        #[cfg(feature = "sabotage")]
        let id = if crate::sabotage::is(crate::sabotage::Defect::NewKeyPerAttempt) {
            crate::domain::id::DeliveryId::new(self.store.clock().now())
        } else {
            id
        };
        let outgoing = Outgoing {
            id,
            created_at: delivery.created_at,
            attempt: delivery.attempt,
            message: delivery.message.clone(),
            files,
        };
        let began = self.store.clock().now();
        let attempt = tokio::select! {
            // Sent by no channel, not even by one that keeps messages.
            detail = std::future::ready(unwanted.unwrap_or_default()), if !is_wanted => Attempt::Refused { detail },
            attempt = tokio::time::timeout(MAX_ATTEMPT, channel.send(&outgoing)), if is_wanted => attempt.unwrap_or_else(|_| {
                Attempt::Later { after_ms: None, detail: "no answer within 60 s".to_owned() }
            }),
            // What was sent under a lost lease is sent again by its new holder, under the same key.
            () = lease_lost(&job) => return JobEnd::Abandoned,
        };
        let record = AttemptRecord {
            number: delivery.attempt,
            outcome: outcome(&attempt).to_owned(),
            detail: crate::domain::template::clip(detail(&attempt), MAX_DETAIL).to_owned(),
            at: began,
            took_ms: self.store.clock().now().0 - began.0,
        };
        // What a worker that vanished had begun says nothing about the other side.
        let tries = (delivery.tries - job.claimed().lost).max(1);
        let next = self.next(tries, attempt, channel.captures());
        self.record(&job, &delivery, &record, &next).await
    }

    /// The bytes of the files that go with it.
    async fn files(&self, delivery: &Delivery) -> Result<Vec<Vec<u8>>, StoreError> {
        match &delivery.message {
            Message::Email(email) if !email.files.is_empty() => {
                self.store.delivery_files(&delivery.tenant, &delivery.id).await
            }
            Message::Email(_) | Message::Sms(_) | Message::Webhook(_) => Ok(Vec::new()),
        }
    }

    /// Why its recipient gets nothing from us; `None` when nothing speaks against it.
    async fn unwanted(&self, delivery: &Delivery) -> Result<Option<String>, StoreError> {
        match &delivery.message {
            Message::Sms(sms) => {
                let opted_out = self.store.has_opted_out(&delivery.tenant, &sms.from, &sms.to).await?;
                Ok(opted_out.then(|| OPTED_OUT.to_owned()))
            }
            Message::Email(email) => {
                let found = self.store.suppression(&delivery.tenant, &email.to).await?;
                Ok(found.map(|found| {
                    let Suppression { address, reason, delivery, .. } = found;
                    format!(
                        "{address} is suppressed since {delivery} ({reason}); `postern deliveries release {address}` lifts it"
                    )
                }))
            }
            Message::Webhook(_) => Ok(None),
        }
    }

    /// Gives up a delivery that this program cannot read: trying again would not change it.
    async fn fail_unreadable(&self, job: &Job, fault: &StoreError) -> JobEnd {
        tracing::error!(delivery = job.lease().id, error = ?fault, "a delivery cannot be read; it failed");
        let record = AttemptRecord {
            number: 0,
            outcome: "refused".to_owned(),
            detail: format!("its record cannot be read: {fault}"),
            at: self.store.clock().now(),
            took_ms: 0,
        };
        match self.store.record_attempt(job.lease(), &record, &Next::Failed).await {
            Ok(true) => JobEnd::Settled,
            Ok(false) | Err(_) => JobEnd::Abandoned,
        }
    }

    fn next(&self, tries: i64, attempt: Attempt, captured: bool) -> Next {
        match attempt {
            Attempt::Delivered { provider_id, .. } => Next::Delivered { provider_id, captured },
            Attempt::Refused { .. } => Next::Failed,
            Attempt::Later { .. } if tries >= self.attempts => Next::Failed,
            Attempt::Later { after_ms, .. } => {
                let index = usize::try_from(tries - 1).unwrap_or(0).min(WAITS_S.len() - 1);
                let wait = spread(WAITS_S[index] * 1_000).max(after_ms.unwrap_or(0)).min(MAX_WAIT_MS);
                Next::Again(self.store.clock().now().plus_ms(wait))
            }
        }
    }

    /// Writes the attempt. Database trouble is waited out as long as the lease holds.
    async fn record(&self, job: &Job, delivery: &Delivery, record: &AttemptRecord, next: &Next) -> JobEnd {
        let record_it = || self.store.record_attempt(job.lease(), record, next);
        if insist(job, "recording an attempt", record_it).await != Some(true) {
            return JobEnd::Abandoned;
        }
        let next = match next {
            Next::Delivered { captured: true, .. } => "captured",
            Next::Delivered { .. } => "delivered",
            Next::Again(_) => "again",
            Next::Failed => "failed",
        };
        tracing::info!(
            delivery = %delivery.id, run = delivery.run.as_ref().map(tracing::field::display), event = %delivery.event, tenant = %delivery.tenant,
            channel = delivery.message.channel(), attempt = record.number, outcome = record.outcome, next,
            took_ms = record.took_ms, "delivery attempted"
        );
        JobEnd::Settled
    }
}

async fn lease_lost(job: &Job) {
    job.stop().cancelled().await;
    if job.stop_reason() != Some(StopReason::LeaseLost) {
        std::future::pending::<()>().await;
    }
}

const fn outcome(attempt: &Attempt) -> &'static str {
    match attempt {
        Attempt::Delivered { .. } => "delivered",
        Attempt::Later { .. } => "later",
        Attempt::Refused { .. } => "refused",
    }
}

fn detail(attempt: &Attempt) -> &str {
    match attempt {
        Attempt::Delivered { detail, .. } | Attempt::Later { detail, .. } | Attempt::Refused { detail } => detail,
    }
}
