//! Hands what somebody changes of a run into its attempt, and writes what became of it.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{
        agent::AgentVersion,
        control::{Control, ControlRecord, ControlState},
    },
    executor::{Order, Orders},
    queue::Job,
    store::{RunWork, Store},
};

/// How long the store is left alone after it failed.
const PAUSE: Duration = Duration::from_millis(300);

/// What an attempt's changes need.
pub(super) struct Controls<'a> {
    pub(super) store: &'a Store,
    pub(super) job: &'a Job,
    pub(super) work: &'a RunWork,
}

/// A way into the attempt, when its agent can be changed.
pub(super) fn open(work: &RunWork) -> (Option<mpsc::Sender<Order>>, Orders) {
    if !work.agent.spec.executor.takes_orders() {
        return (None, Orders::default());
    }
    let (sender, orders) = Orders::open();
    (Some(sender), orders)
}

impl Controls<'_> {
    /// The agent as it is to begin: with the last of each kind that was asked for and not refused.
    pub(super) async fn agent(&self) -> Arc<AgentVersion> {
        let mut agent = Arc::clone(&self.work.agent);
        if agent.spec.executor.takes_orders() {
            for record in self.known().await {
                match record.state {
                    ControlState::Refused => continue,
                    ControlState::Waiting => self.end(record.seq, None).await,
                    ControlState::Done | ControlState::Expired => {}
                }
                match record.control {
                    Control::SetModel(model) => Arc::make_mut(&mut agent).spec.model = Some(model),
                    Control::SetPermissionMode(mode) => Arc::make_mut(&mut agent).spec.permission_mode = mode,
                }
            }
        }
        agent
    }

    /// Offers what is asked for until the attempt is `over`.
    pub(super) async fn run(&self, sender: Option<mpsc::Sender<Order>>, over: &CancellationToken) {
        let Some(sender) = sender else { return };
        loop {
            tokio::select! {
                () = self.job.ordered() => {}
                () = over.cancelled() => return,
            }
            let known = self.known().await;
            for record in known.into_iter().filter(|record| record.state == ControlState::Waiting) {
                let (order, told) = Order::new(record.control);
                let outcome = async {
                    sender.send(order).await.ok()?;
                    told.await.ok()
                };
                let outcome = tokio::select! {
                    outcome = outcome => outcome,
                    () = over.cancelled() => return,
                };
                // The attempt is over without it: the next one begins with it.
                let Some(outcome) = outcome else { return };
                self.end(record.seq, outcome.err()).await;
            }
        }
    }

    async fn known(&self) -> Vec<ControlRecord> {
        match self.store.controls(&self.work.run.tenant, &self.work.run.id).await {
            Ok(known) => known,
            Err(fault) => {
                tracing::warn!(run = %self.work.run.id, error = ?fault, "what is to be changed of a run was not read");
                Vec::new()
            }
        }
    }

    async fn end(&self, seq: i64, refused: Option<String>) {
        for _ in 0..5 {
            match self.store.end_control(&self.work.lease, seq, refused.as_deref()).await {
                Ok(_) => return,
                Err(fault) => {
                    tracing::warn!(run = %self.work.run.id, error = ?fault, "a change of a run could not be written");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}
