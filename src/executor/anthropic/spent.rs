//! What a run took so far.

use crate::domain::{
    price::{Price, Tokens},
    run::Usage,
};

/// Counted over all requests of an attempt.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    usage: Usage,
    micros: f64,
}

impl Spent {
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

    /// Whether that much was spent, in millionths of a US dollar.
    pub(super) fn reaches(&self, budget_micros: f64) -> bool {
        self.micros >= budget_micros
    }

    /// For the run.
    #[expect(clippy::cast_possible_truncation, reason = "`as` saturates, and dollars of one run are few")]
    pub(super) fn usage(&self) -> Usage {
        Usage { cost_micros: self.micros.round() as i64, ..self.usage }
    }
}
