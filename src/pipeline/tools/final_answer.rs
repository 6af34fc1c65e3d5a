//! The answer that an agent chose with `reply`, in the place of what it said last.

use crate::{
    domain::own_tool::OwnTool,
    pipeline::{execute::Execute, insist::insist},
    queue::Job,
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
        let chosen = insist(job, "reading a chosen answer", || self.store.chosen_answer(&work.run.id)).await?;
        if let Some(chosen) = &chosen {
            result.text.clone_from(&chosen.text);
        }
        Some(chosen)
    }
}
