//! What an attempt changes of its run: what it takes, while it works, since a worker that dies tells no end; and its end.

use crate::{
    domain::{
        details::RunDetails,
        run::{Failure, Run, Usage},
        time::Timestamp,
    },
    store::{Lease, NewMessage, RunEnd, RunWork, Store, StoreError, on_engine, runs_work::append, to_json},
};

const KEEP: &str = "UPDATE runs SET turns = $3, input_tokens = $4, output_tokens = $5, cache_read_tokens = $6, \
    cache_write_tokens = $7, cost_micros = $8, details = $9 WHERE id = $1 AND lease = $2 AND state = 'running'";

/// What the run took is set, not added: it was read with the lease, and nobody else writes it as long as that holds.
pub(super) const END: &str = "UPDATE runs SET state = $3, lease = NULL, result_text = $4, result_json = $5, failure_code = $6, \
    failure_message = $7, turns = $8, input_tokens = $9, output_tokens = $10, cache_read_tokens = $11, \
    cache_write_tokens = $12, cost_micros = $13, finished_at = $14, failures = $15, next_attempt_at = $16, details = $17 \
    WHERE id = $1 AND lease = $2 AND state = 'running'";

/// The columns of a run that its end sets.
pub(super) struct EndColumns<'a> {
    pub(super) state: &'static str,
    pub(super) text: Option<&'a str>,
    pub(super) json: Option<String>,
    pub(super) failure: Option<&'a Failure>,
    /// With that of earlier attempts.
    pub(super) usage: Usage,
    pub(super) resume_id: Option<&'a str>,
    /// As JSON, with those of earlier attempts.
    pub(super) details: String,
    /// When the job comes back; `None`: it is gone.
    pub(super) again_at: Option<Timestamp>,
}

impl<'a> EndColumns<'a> {
    /// The counts of failures with this one, as JSON.
    pub(super) fn failures(&self, run: &Run) -> Option<String> {
        let mut failures = run.failures.clone();
        if let Some(failure) = self.failure {
            let count = failures.entry(failure.class).or_default();
            *count = count.saturating_add(1);
        }
        (!failures.is_empty()).then(|| to_json(&failures))
    }

    pub(super) fn of(work: &RunWork, end: &'a RunEnd) -> Self {
        let mut columns = Self {
            state: "queued",
            text: None,
            json: None,
            failure: None,
            usage: Usage::default(),
            resume_id: None,
            details: to_json(&work.run.details.clone().plus(&work.details)),
            again_at: None,
        };
        match end {
            RunEnd::Succeeded(result) => {
                columns.state = "succeeded";
                columns.text = Some(&result.text);
                columns.json = result.structured.as_ref().map(to_json);
                columns.usage = result.usage;
                columns.resume_id = result.resume_id.as_deref();
            }
            RunEnd::Failed(failure, usage) => {
                columns.state = "failed";
                columns.failure = Some(failure);
                columns.usage = *usage;
            }
            RunEnd::Canceled => {
                columns.state = "canceled";
                columns.usage = Usage { turns: work.turns, ..work.details.usage() };
            }
            RunEnd::Again(failure, usage, at) => {
                columns.failure = Some(failure);
                columns.usage = *usage;
                columns.again_at = Some(*at);
            }
        }
        columns.usage = work.run.usage.plus(columns.usage);
        columns
    }
}

impl RunWork {
    /// What the run took so far, with this attempt.
    #[must_use]
    pub fn taken(&self) -> (Usage, RunDetails) {
        let attempt = Usage { turns: self.turns, ..self.details.usage() };
        (self.run.usage.plus(attempt), self.run.details.with_begun(&self.details))
    }
}

impl Store {
    /// Adds lines to the record as [`Store::append_messages`] does, and sets what the run took so far, all its attempts
    /// together.
    ///
    /// # Errors
    /// When the database fails; nothing is written then.
    pub async fn append_with_taken(
        &self,
        lease: &Lease,
        messages: &[NewMessage],
        (usage, details): &(Usage, RunDetails),
    ) -> Result<Option<i64>, StoreError> {
        let details = to_json(details);
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let keep = sqlx::query(KEEP).bind(&lease.id).bind(lease.fence).bind(usage.turns);
            let keep = keep.bind(usage.input_tokens).bind(usage.output_tokens).bind(usage.cache_read_tokens);
            let keep = keep.bind(usage.cache_write_tokens).bind(usage.cost_micros).bind(&details);
            if keep.execute(&mut *tx).await?.rows_affected() == 0 {
                return Ok(None);
            }
            let first = append!(tx, lease, messages);
            if first.is_some() {
                tx.commit().await?;
            }
            Ok(first)
        })
    }
}
