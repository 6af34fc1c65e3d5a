//! What a run took so far.

use crate::domain::{
    price::{Price, Tokens},
    run::Usage,
};

/// Counted over all requests of an attempt.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    /// What attempts before took.
    before: Usage,
    usage: Usage,
    micros: f64,
}

impl Spent {
    /// Nothing yet, in an attempt after others that took this.
    pub(super) fn after(before: Usage) -> Self {
        Self { before, ..Self::default() }
    }

    /// Adds what one request took, whatever became of it.
    pub(super) fn add(&mut self, tokens: Tokens, price: Option<&Price>) {
        self.usage.input_tokens += tokens.input;
        self.usage.output_tokens += tokens.output;
        self.usage.cache_read_tokens += tokens.cache_read;
        self.usage.cache_write_tokens += tokens.cache_write;
        self.micros += price.map_or(0.0, |price| price.micros(tokens));
    }

    /// An answer is complete.
    pub(super) const fn end_turn(&mut self) {
        self.usage.turns += 1;
    }

    /// Complete answers.
    pub(super) const fn turns(&self) -> i64 {
        self.usage.turns
    }

    /// Complete answers of all attempts.
    pub(super) const fn all_turns(&self) -> i64 {
        self.before.turns.saturating_add(self.usage.turns)
    }

    /// What all attempts cost, in millionths of a US dollar.
    #[expect(clippy::cast_precision_loss, reason = "counts of a run are exact in it")]
    pub(super) fn all_micros(&self) -> f64 {
        self.before.cost_micros as f64 + self.micros
    }

    /// For the run.
    #[expect(clippy::cast_possible_truncation, reason = "`as` saturates, and dollars of one run are few")]
    pub(super) fn usage(&self) -> Usage {
        Usage { cost_micros: self.micros.round() as i64, ..self.usage }
    }
}
