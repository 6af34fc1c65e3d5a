//! Runs that no further try would help: what they read or write does not fit.

use crate::{
    domain::run::{Failure, FailureCode},
    pipeline::execute::Execute,
    queue::{Job, JobEnd},
    store::StoreError,
};

impl Execute {
    /// Ends a run whose rows this program cannot read: trying again would not change them.
    pub(super) async fn fail_unreadable(&self, job: &Job, fault: &StoreError) -> JobEnd {
        tracing::error!(run = job.lease().id, error = ?fault, "a run cannot be read; it failed");
        self.fail_for_good(job, &format!("its records cannot be read: {fault}")).await
    }

    /// Ends a run without what it owes.
    pub(super) async fn fail_for_good(&self, job: &Job, why: &str) -> JobEnd {
        match self.store.fail_run(job.lease(), &Failure::new(FailureCode::Executor, why)).await {
            Ok(_) => {
                self.wakes.runs();
                self.wakes.news();
                JobEnd::Settled
            }
            Err(_) => JobEnd::Abandoned,
        }
    }
}
