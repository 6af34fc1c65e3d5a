//! What the end of an attempt changes of its run.

use crate::{
    domain::{
        run::{Failure, Run, Usage},
        time::Timestamp,
    },
    store::{RunEnd, RunWork, to_json},
};

/// `column = column + …`, which stays at `count::MOST` as [`Usage::plus`] does.
macro_rules! add {
    ($column:literal, $more:literal) => {
        concat!(
            $column,
            " = CASE WHEN ",
            $column,
            " > 9007199254740991 - ",
            $more,
            " THEN 9007199254740991 ELSE ",
            $column,
            " + ",
            $more,
            " END, "
        )
    };
}

pub(super) const END: &str = concat!(
    "UPDATE runs SET state = $3, lease = NULL, result_text = $4, result_json = $5, failure_code = $6, failure_message = $7, ",
    add!("turns", "$8"),
    add!("input_tokens", "$9"),
    add!("output_tokens", "$10"),
    add!("cache_read_tokens", "$11"),
    add!("cache_write_tokens", "$12"),
    add!("cost_micros", "$13"),
    "finished_at = $14, failures = $15, next_attempt_at = $16, details = $17 \
     WHERE id = $1 AND lease = $2 AND state = 'running'"
);

/// The columns of a run that its end sets.
pub(super) struct EndColumns<'a> {
    pub(super) state: &'static str,
    pub(super) text: Option<&'a str>,
    pub(super) json: Option<String>,
    pub(super) failure: Option<&'a Failure>,
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
                columns.usage = work.details.usage();
            }
            RunEnd::Again(failure, usage, at) => {
                columns.failure = Some(failure);
                columns.usage = *usage;
                columns.again_at = Some(*at);
            }
        }
        columns.usage = Usage::default().plus(columns.usage);
        columns
    }
}
