//! Hands events of a session into its run at work: each is offered to the agent, and when the agent has it, the run that
//! waited with it ends as merged. Until then it waits in the queue, so nothing is lost whatever ends meanwhile.

use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{
        agent::AgentSpec,
        run::MessageKind,
        template::Template,
        trust::{Trust, trust},
    },
    executor::{Input, Inputs, Prompt, Taken},
    live::Live,
    pipeline::{execute::trust_of, insist::insist, prompt},
    queue::Job,
    store::{Merge, MergedRun, NewMessage, RunWork, Store},
};

/// What an attempt's inputs need.
pub(super) struct Steering<'a> {
    pub(super) store: &'a Store,
    pub(super) live: &'a Live,
    pub(super) job: &'a Job,
    pub(super) work: &'a RunWork,
}

/// A way into the attempt, when its agent can be told more.
pub(super) fn open(work: &RunWork) -> (Option<mpsc::Sender<Input>>, Inputs) {
    if work.run.session.is_none() || !work.agent.spec.executor.takes_input() {
        return (None, Inputs::default());
    }
    let (sender, inputs) = Inputs::open();
    (Some(sender), inputs)
}

/// What attempts before took, as it is said to the agent.
///
/// # Errors
/// A trigger's template is broken, or the system has no randomness.
pub(super) fn taken(work: &RunWork) -> Result<Vec<Taken>, String> {
    let said = |merged: &MergedRun| Ok(Taken { run: merged.run.clone(), prompt: prompt_of(&work.agent.spec, merged)? });
    work.merged.iter().map(said).collect()
}

/// What an event asks of the agent by the trigger at `position`.
pub(super) fn prompt_of(agent: &AgentSpec, merged: &MergedRun) -> Result<Prompt, String> {
    let event = &merged.event.event;
    let template = agent.triggers.get(merged.position).and_then(|trigger| trigger.prompt.as_deref());
    prompt::build(event, event.view(), template.map(Template::parse).transpose()?.as_ref())
}

/// How far the sender of an event that is handed in is trusted by its own trigger, and why.
pub(super) fn trust_in(work: &RunWork, merged: &MergedRun) -> (Trust, String) {
    trust(&merged.event.event, work.agent.spec.triggers.get(merged.position))
}

impl Steering<'_> {
    /// Offers what waits until the attempt is `over`. What the agent took, in order.
    pub(super) async fn run(&self, sender: Option<mpsc::Sender<Input>>, over: &CancellationToken) -> Vec<MergedRun> {
        let mut merged = Vec::new();
        let Some(sender) = sender else { return merged };
        let least = trust_of(self.work).0;
        loop {
            match self.store.waiting_inputs(self.work).await {
                Ok(waiting) => {
                    for next in waiting {
                        // The rules of this run are those for whom it began with: others wait for a run of their own.
                        if trust_in(self.work, &next).0 > least {
                            break;
                        }
                        if !self.offer(&sender, &next, over).await {
                            return merged;
                        }
                        match self.merge(&next).await {
                            Some(Merge::Done(_)) => merged.push(next),
                            Some(Merge::Gone) => {}
                            Some(Merge::LeaseLost) | None => return merged,
                        }
                    }
                }
                Err(fault) => {
                    tracing::warn!(run = %self.work.run.id, error = ?fault, "what waits for a run could not be read");
                }
            }
            if over.is_cancelled() {
                return merged;
            }
            tokio::select! {
                () = self.job.more() => {}
                () = over.cancelled() => return merged,
            }
        }
    }

    /// Whether the agent took it before the attempt was over.
    async fn offer(&self, sender: &mpsc::Sender<Input>, next: &MergedRun, over: &CancellationToken) -> bool {
        let prompt = match prompt_of(&self.work.agent.spec, next) {
            Ok(prompt) => prompt,
            Err(fault) => {
                tracing::warn!(run = %next.run, fault, "an event cannot be handed in; its run goes by itself");
                return false;
            }
        };
        let (input, mut taken) = Input::new(next.run.clone(), prompt);
        tokio::select! {
            sent = sender.send(input) => if sent.is_err() { return false },
            () = over.cancelled() => return false,
        }
        tokio::select! {
            biased;
            told = &mut taken => told.is_ok(),
            // It may have been taken with the attempt's last breath.
            () = over.cancelled() => taken.try_recv().is_ok(),
        }
    }

    /// Writes that the agent has it. Database trouble is waited out as long as the lease holds.
    async fn merge(&self, next: &MergedRun) -> Option<Merge> {
        let plain = prompt_of(&self.work.agent.spec, next).map(|prompt| prompt.plain).unwrap_or_default();
        let body = json!({"text": plain, "run": next.run, "event": next.event.event.id});
        let line = NewMessage { kind: MessageKind::Prompt, at: self.store.clock().now(), body };
        let write = || self.store.merge_run(self.work, &next.run, &line);
        let merge = insist(self.job, "writing a merge", write).await?;
        if let Merge::Done(seq) = merge {
            self.live.tell(&self.work.run.id, seq);
            self.live.tell(&next.run, 1);
            tracing::info!(run = %self.work.run.id, merged = %next.run, "event handed into a run at work");
        }
        Some(merge)
    }
}
