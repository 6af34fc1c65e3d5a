//! What tokens of a model cost (platform.claude.com, "Pricing"; the same as Claude Code 2.1.329 reckons).

/// US dollars for a million tokens, which are millionths of a dollar for one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price {
    /// Tokens read.
    pub input: f64,
    /// Tokens written.
    pub output: f64,
    /// Tokens read from the cache.
    pub cache_read: f64,
    /// Tokens written to the cache, for five minutes.
    pub cache_write: f64,
    /// Requests that read more tokens than the first number, cached ones among them, cost the second times as much.
    pub long: Option<(i64, f64)>,
}

/// Tokens of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Read, without cached ones.
    pub input: i64,
    /// Written.
    pub output: i64,
    /// Read from the cache.
    pub cache_read: i64,
    /// Written to the cache.
    pub cache_write: i64,
}

/// Model, input, output, and what part of `input` reading from the cache costs.
const KNOWN: [(&str, f64, f64, f64); 15] = [
    ("claude-fable-5-2", 8.0, 40.0, 0.025),
    ("claude-fable-5-1", 10.0, 50.0, 0.025),
    ("claude-fable-5", 10.0, 50.0, 0.1),
    ("claude-opus-5-5", 4.0, 20.0, 0.05),
    ("claude-opus-5", 5.0, 25.0, 0.1),
    ("claude-opus-4-8", 5.0, 25.0, 0.1),
    ("claude-opus-4-7", 5.0, 25.0, 0.1),
    ("claude-opus-4-6", 5.0, 25.0, 0.1),
    ("claude-opus-4-5", 5.0, 25.0, 0.1),
    ("claude-sonnet-5-5", 2.0, 10.0, 0.05),
    ("claude-sonnet-5", 2.0, 10.0, 0.1),
    ("claude-sonnet-4-6", 3.0, 15.0, 0.1),
    ("claude-sonnet-4-5", 3.0, 15.0, 0.1),
    ("claude-haiku-5-5", 0.1, 0.5, 0.1),
    ("claude-haiku-4-5", 1.0, 5.0, 0.1),
];

impl Price {
    /// The price of a model by its id, also one that ends in a date; `None` where none is known.
    #[must_use]
    pub fn of(model: &str) -> Option<Self> {
        let name = match model.rsplit_once('-') {
            Some((name, date)) if date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit()) => name,
            Some(_) | None => model,
        };
        let (_, input, output, read) = KNOWN.into_iter().find(|(known, ..)| *known == name)?;
        let long = (name == "claude-haiku-5-5").then_some((100_000, 5.0));
        Some(Self { input, output, cache_read: input * read, cache_write: input * 1.25, long })
    }

    /// Millionths of a US dollar that one request cost.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "tokens of one request are far fewer than 2^52")]
    pub fn micros(&self, tokens: Tokens) -> f64 {
        let read = tokens.input.saturating_add(tokens.cache_read).saturating_add(tokens.cache_write);
        let times = self.long.filter(|(from, _)| read > *from).map_or(1.0, |(_, times)| times);
        let parts = [
            (tokens.input, self.input),
            (tokens.output, self.output),
            (tokens.cache_read, self.cache_read),
            (tokens.cache_write, self.cache_write),
        ];
        times * parts.into_iter().map(|(count, price)| count.max(0) as f64 * price).sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::{Price, Tokens};

    #[test]
    fn a_million_tokens_cost_what_the_list_says() {
        let all = Tokens { input: 50_000, output: 10_000, cache_read: 40_000, cache_write: 8_000 };
        let micros = |model: &str, tokens: Tokens| Price::of(model).unwrap().micros(tokens).round();
        assert_eq!(micros("claude-sonnet-5-5", all), 100_000.0 + 100_000.0 + 4_000.0 + 20_000.0);
        assert_eq!(micros("claude-haiku-4-5-20251001", all), 50_000.0 + 50_000.0 + 4_000.0 + 10_000.0);
        assert_eq!(micros("claude-haiku-5-5", all), 5_000.0 + 5_000.0 + 400.0 + 1_000.0);
        let long = Tokens { input: 60_000, ..all };
        assert_eq!(micros("claude-haiku-5-5", long), 5.0 * (6_000.0 + 5_000.0 + 400.0 + 1_000.0));
    }

    #[test]
    fn nobody_guesses_the_price_of_another_model() {
        for model in ["", "sonnet", "claude-sonnet-9", "claude-haiku-5-5-latest", "anthropic/claude-opus-5-5"] {
            assert_eq!(Price::of(model), None, "{model}");
        }
    }
}
