//! The answer that an agent chose with `reply`, in the place of what it said last.

use std::time::Duration;

use crate::{
    domain::own_tool::OwnTool,
    pipeline::execute::Execute,
    queue::{Job, StopReason},
    store::{ChosenAnswer, RunEnd, RunWork},
};

impl Execute {
    /// What the run's agent chose, put into the result of one that succeeded. Database trouble is waited out as long as
    /// the lease holds; `None` when it does not any more.
    pub(in crate::pipeline) async fn chosen(
        &self,
        job: &Job,
        work: &RunWork,
        end: &mut RunEnd,
    ) -> Option<Option<ChosenAnswer>> {
        let spec = &work.agent.spec;
        let RunEnd::Succeeded(result) = end else { return Some(None) };
        if !OwnTool::of(&spec.tools, &spec.disallowed).contains(&OwnTool::Reply) {
            return Some(None);
        }
        loop {
            match self.store.chosen_answer(&work.run.id).await {
                Ok(chosen) => {
                    if let Some(chosen) = &chosen {
                        result.text.clone_from(&chosen.text);
                    }
                    return Some(chosen);
                }
                Err(fault) => {
                    tracing::warn!(run = %work.run.id, error = ?fault, "a chosen answer could not be read; trying again");
                    if job.stop_reason() == Some(StopReason::LeaseLost) {
                        return None;
                    }
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
            }
        }
    }
}
