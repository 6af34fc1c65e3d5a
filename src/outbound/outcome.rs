//! From answers and faults to what becomes of an attempt.

use crate::{
    domain::delivery::Attempt,
    egress::{EgressError, answer::Answer},
};

/// Taken, with the other side's id.
pub(super) fn delivered(provider_id: Option<String>, detail: String) -> Attempt {
    Attempt::Delivered { provider_id: provider_id.map(|id| excerpt(&id)), detail }
}

/// To be tried again when the caller thinks best.
pub(super) fn later(detail: impl Into<String>) -> Attempt {
    Attempt::Later { after_ms: None, detail: detail.into() }
}

/// Never to be taken.
pub(super) fn refused(detail: impl Into<String>) -> Attempt {
    Attempt::Refused { detail: detail.into() }
}

/// What a request that got no answer means.
pub(super) fn without_answer(error: &EgressError) -> Attempt {
    if error.is_final() { refused(excerpt(&error.to_string())) } else { later(excerpt(&error.to_string())) }
}

/// Status and the start of what was said, on one line.
pub(super) fn said(answer: &Answer, text: &str) -> String {
    format!("{} {}", answer.status, excerpt(text)).trim_end().to_owned()
}

/// The start of a text, on one line, without control characters.
pub(super) fn excerpt(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    words.join(" ").chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::excerpt;

    #[test]
    fn details_are_one_short_line() {
        assert_eq!(excerpt("a\r\nb\u{1b}[31m  c"), "a b [31m c");
        assert_eq!(excerpt(&"x".repeat(1000)).len(), 200);
    }
}
