//! What is known of a run beside its answer: what each model took, how long it worked, what it left.

use std::collections::{BTreeMap, btree_map::Entry};

use serde::{Deserialize, Serialize};

use crate::domain::{
    count::sum,
    file::{ArtifactCounts, FileCounts},
    run::Usage,
    template::clip,
};

/// Models that are kept apart in one run; what further ones took is summed under [`OTHERS`].
const MAX_MODELS: usize = 50;
/// Bytes of a model's name.
const MAX_NAME_BYTES: usize = 200;
/// Where the models beyond the most are summed.
const OTHERS: &str = "(others)";

/// Summed over a run's attempts where nothing else is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunDetails {
    /// The model that the agent itself worked with, as its executor last named it.
    pub model: Option<String>,
    /// What each model took, by its id: the agent's own, sub-agents' and fallbacks.
    pub models: BTreeMap<String, ModelUsage>,
    /// Tokens among those of `models` that no cost was told of: of turns that broke off.
    pub unpriced_tokens: i64,
    /// Milliseconds that workers spent on it, waits between attempts not counted.
    pub duration_ms: i64,
    /// Milliseconds of these in which a model's API worked; `None` when no executor says so.
    pub api_ms: Option<i64>,
    /// How many files its last attempt changed in its work directory, compared with the run's beginning.
    pub files: FileCounts,
    /// How many of these it left for people.
    pub artifacts: ArtifactCounts,
}

/// What an attempt took of which no end tells yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnderWay {
    /// Turns that are complete.
    pub turns: i64,
    /// What each model took in them, and in the one that is not.
    pub models: BTreeMap<String, ModelUsage>,
    /// Tokens among these that no cost was told of.
    pub unpriced_tokens: i64,
}

/// What one model took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelUsage {
    /// Tokens read, without cached ones.
    pub input_tokens: i64,
    /// Tokens written.
    pub output_tokens: i64,
    /// Tokens read from the cache.
    pub cache_read_tokens: i64,
    /// Tokens written to the cache.
    pub cache_write_tokens: i64,
    /// Millionths of a US dollar.
    pub cost_micros: i64,
}

impl ModelUsage {
    /// Both together; no count is below 0 or above [`count::MOST`](crate::domain::count::MOST).
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            input_tokens: sum(self.input_tokens, other.input_tokens),
            output_tokens: sum(self.output_tokens, other.output_tokens),
            cache_read_tokens: sum(self.cache_read_tokens, other.cache_read_tokens),
            cache_write_tokens: sum(self.cache_write_tokens, other.cache_write_tokens),
            cost_micros: sum(self.cost_micros, other.cost_micros),
        }
    }

    /// Tokens of all kinds.
    #[must_use]
    pub const fn tokens(&self) -> i64 {
        sum(sum(self.input_tokens, self.output_tokens), sum(self.cache_read_tokens, self.cache_write_tokens))
    }
}

impl From<ModelUsage> for Usage {
    fn from(model: ModelUsage) -> Self {
        Self {
            turns: 0,
            input_tokens: model.input_tokens,
            output_tokens: model.output_tokens,
            cache_read_tokens: model.cache_read_tokens,
            cache_write_tokens: model.cache_write_tokens,
            cost_micros: model.cost_micros,
        }
    }
}

impl From<Usage> for ModelUsage {
    fn from(usage: Usage) -> Self {
        Self {
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cache_read_tokens: usage.cache_read_tokens,
            cache_write_tokens: usage.cache_write_tokens,
            cost_micros: usage.cost_micros,
        }
    }
}

impl RunDetails {
    /// Adds what a model took.
    pub fn spend(&mut self, model: &str, took: ModelUsage) {
        let name = clip(model, MAX_NAME_BYTES);
        let known = self.models.contains_key(name) || self.models.len() < MAX_MODELS;
        match self.models.entry(if known { name } else { OTHERS }.to_owned()) {
            Entry::Vacant(entry) => drop(entry.insert(took)),
            Entry::Occupied(mut entry) => *entry.get_mut() = entry.get().plus(took),
        }
    }

    /// Names the model that the agent works with.
    pub fn work_with(&mut self, model: &str) {
        self.model = Some(clip(model, MAX_NAME_BYTES).to_owned());
    }

    /// Adds time in which a model's API worked.
    pub fn wait_for_api(&mut self, ms: i64) {
        self.api_ms = Some(self.api_ms.unwrap_or(0).saturating_add(ms.max(0)));
    }

    /// Adds what broke off.
    pub fn break_off(&mut self, under_way: &UnderWay) {
        under_way.models.iter().for_each(|(model, took)| self.spend(model, *took));
        self.unpriced_tokens = sum(self.unpriced_tokens, under_way.unpriced_tokens);
    }

    /// All models together.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.models.values().fold(Usage::default(), |sum, model| sum.plus((*model).into()))
    }

    /// The same while the attempt is at work: what it leaves is only known at its end.
    #[must_use]
    pub fn with_begun(&self, attempt: &Self) -> Self {
        let (files, artifacts) = (self.files, self.artifacts);
        Self { files, artifacts, ..self.clone().plus(attempt) }
    }

    /// Those of earlier attempts with those of this one.
    #[must_use]
    pub fn plus(mut self, attempt: &Self) -> Self {
        attempt.models.iter().for_each(|(model, took)| self.spend(model, *took));
        self.unpriced_tokens = sum(self.unpriced_tokens, attempt.unpriced_tokens);
        self.model = attempt.model.clone().or(self.model);
        self.duration_ms = self.duration_ms.saturating_add(attempt.duration_ms);
        if let Some(ms) = attempt.api_ms {
            self.wait_for_api(ms);
        }
        (self.files, self.artifacts) = (attempt.files, attempt.artifacts);
        self
    }
}

impl UnderWay {
    /// All of it together.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let all = self.models.values().fold(Usage::default(), |sum, took| sum.plus((*took).into()));
        Usage { turns: self.turns, ..all }
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_MODELS, ModelUsage, OTHERS, RunDetails};

    fn cost(micros: i64) -> ModelUsage {
        ModelUsage { cost_micros: micros, ..ModelUsage::default() }
    }

    #[test]
    fn attempts_add_up_model_by_model() {
        let (mut first, mut second) = (RunDetails { duration_ms: 5, ..RunDetails::default() }, RunDetails::default());
        first.spend("big", cost(10));
        first.work_with("big");
        second.spend("big", cost(1));
        second.spend("small", cost(2));
        second.wait_for_api(7);
        let both = first.plus(&second);
        assert_eq!((both.models["big"], both.models["small"]), (cost(11), cost(2)));
        assert_eq!((both.model.as_deref(), both.duration_ms, both.api_ms), (Some("big"), 5, Some(7)));
        assert_eq!(both.usage().cost_micros, 13);
    }

    #[test]
    fn models_without_end_are_summed_together() {
        let mut details = RunDetails::default();
        (0..200).for_each(|n| details.spend(&format!("model-{n}"), cost(1)));
        assert_eq!((details.models.len(), details.models[OTHERS]), (MAX_MODELS + 1, cost(150)));
        assert_eq!(details.usage().cost_micros, 200);
    }
}
