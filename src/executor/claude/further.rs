//! Messages that come while the CLI works: each is written under an id that its run gives it, and counts as taken once
//! the CLI says that it has begun with it (`command_lifecycle`), which is when the model hears it: beside the next result
//! of a tool, or, after the last word of a turn, as a turn of its own in the same process.

use std::{collections::HashSet, time::Duration};

use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    domain::id::RunId,
    executor::{Input, Inputs, RunSpec, claude::protocol},
};

/// How long the CLI may take to begin with a message when it has nothing else to do.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is said to the CLI besides its prompt.
pub(super) struct Further<'a> {
    inputs: &'a Inputs,
    /// Ids of messages that the conversation holds.
    known: HashSet<String>,
    /// Lines that attempts before said and the conversation does not hold; said when the turn begins.
    again: Vec<u8>,
    said: Option<(String, Input)>,
    until: Option<Instant>,
}

/// The id of a run's prompt, whoever says it.
pub(super) fn prompt_id(run: &RunId) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("postern:prompt:{run}").as_bytes())
}

/// What attempts before took and a conversation that holds `known` does not: block by block.
pub(super) fn unknown_blocks(spec: &RunSpec, known: &HashSet<String>) -> Vec<String> {
    let unknown = spec.taken.iter().filter(|taken| !known.contains(&prompt_id(&taken.run).to_string()));
    unknown.flat_map(|taken| taken.prompt.blocks.iter().cloned()).collect()
}

impl<'a> Further<'a> {
    /// For a conversation that holds the messages `known`, and in which `again` is still to be said.
    pub(super) const fn new(inputs: &'a Inputs, known: HashSet<String>, again: Vec<u8>) -> Self {
        Self { inputs, known, again, said: None, until: None }
    }

    /// Waits for the next one; for ever while the one before is not taken. Nothing is lost when it is dropped.
    pub(super) async fn next(&self) -> Input {
        if self.said.is_some() {
            return std::future::pending().await;
        }
        self.inputs.next().await
    }

    /// The line that says it; empty when the conversation holds it already: then it is taken.
    pub(super) fn say(&mut self, input: Input) -> Vec<u8> {
        let id = prompt_id(&input.run);
        if self.known.contains(&id.to_string()) {
            input.taken();
            return Vec::new();
        }
        let line = protocol::prompt(&input.prompt.blocks, &id);
        self.said = Some((id.to_string(), input));
        line
    }

    /// What attempts before said, once.
    pub(super) fn again(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.again)
    }

    /// What became of a message of ours. `true`: it is taken, and the turn is not over whatever was said before.
    pub(super) fn hear(&mut self, id: &str, state: &str) -> bool {
        let is_it = self.said.as_ref().is_some_and(|(said, _)| said == id);
        match (is_it, state) {
            (true, "started" | "completed") => {
                self.until = None;
                if let Some((_, input)) = self.said.take() {
                    input.taken();
                }
                true
            }
            (true, "cancelled") => {
                self.said = None;
                false
            }
            (_, _) => false,
        }
    }

    /// Until when the CLI, which has nothing else to do, may begin with what was said; `None` when nothing was.
    pub(super) fn pending_until(&mut self) -> Option<Instant> {
        self.said.as_ref()?;
        Some(*self.until.get_or_insert_with(|| Instant::now() + PATIENCE))
    }
}
