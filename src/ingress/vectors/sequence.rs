//! Deliveries one after the other: which are new, and which came before.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::ingress::vectors::{Keys, Vector};

/// Deliveries to one source, by the names of their vectors.
#[derive(Clone, Debug, Deserialize)]
pub struct Sequence {
    /// Its name.
    pub name: String,
    /// In the order of arrival.
    pub steps: Vec<Step>,
}

/// One delivery of a sequence.
#[derive(Clone, Debug, Deserialize)]
pub struct Step {
    /// Which vector arrives.
    pub vector: String,
    /// `new`, `duplicate`, or `duplicate-content` for the same thing under another id.
    #[serde(default)]
    pub expect: Option<String>,
}

/// What came of a step.
#[derive(Clone, Debug, Serialize)]
pub struct StepReport {
    /// The sequence's name and the step's number, from 1.
    pub name: String,
    /// The vector's name.
    pub vector: String,
    /// See [`Step::expect`]; `error` when there is no such vector or it is not believed.
    pub verdict: &'static str,
}

impl Sequence {
    /// Runs the steps in order over the keys by which the store knows events again.
    pub fn run<'v>(&self, find: impl Fn(&str) -> Option<&'v Vector>) -> Vec<StepReport> {
        let (mut deliveries, mut contents) = (HashSet::new(), HashSet::new());
        let mut judge = |step: &Step| {
            let Some(Keys { dedupe, content }) = find(&step.vector).and_then(|vector| vector.run().keys) else {
                return "error";
            };
            let is_new_delivery = deliveries.insert(dedupe);
            let is_new_content = content.is_none_or(|key| contents.insert(key));
            match (is_new_delivery, is_new_content) {
                (false, _) => "duplicate",
                (true, false) => "duplicate-content",
                (true, true) => "new",
            }
        };
        let report = |(number, step): (usize, &Step)| StepReport {
            name: format!("{}#{}", self.name, number + 1),
            vector: step.vector.clone(),
            verdict: judge(step),
        };
        self.steps.iter().enumerate().map(report).collect()
    }
}
