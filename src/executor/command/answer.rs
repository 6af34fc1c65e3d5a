//! What of plain standard output becomes the answer.

use serde_json::Value;

use crate::{
    domain::{
        agent::ResultFrom,
        run::{Failure, FailureCode, RunResult},
    },
    executor::{lines::Line, mask::Mask},
};

/// The most of standard output that is kept for the answer.
pub(super) const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// What of standard output becomes the answer, in bounded memory.
pub(super) struct Answer {
    from: ResultFrom,
    text: String,
    /// The line that `text` ends with goes on.
    open: bool,
    left_out: usize,
}

impl Answer {
    /// Nothing yet.
    pub(super) const fn new(from: ResultFrom) -> Self {
        Self { from, text: String::new(), open: false, left_out: 0 }
    }

    /// Takes in a line.
    pub(super) fn push(&mut self, line: &Line) {
        if self.from == ResultFrom::LastLine && !self.open && !line.text.trim().is_empty() {
            self.text.clear();
            self.left_out = 0;
        }
        if self.from != ResultFrom::LastLine || self.open || !line.text.trim().is_empty() {
            self.add(&line.text);
            if line.complete && self.from != ResultFrom::LastLine {
                self.add("\n");
            }
        }
        self.open = !line.complete;
    }

    fn add(&mut self, text: &str) {
        if self.left_out == 0 && self.text.len() + text.len() <= MAX_ANSWER_BYTES {
            self.text.push_str(text);
        } else {
            self.left_out += text.len();
        }
    }

    /// The answer.
    pub(super) fn result(mut self, mask: &Mask) -> Result<RunResult, Failure> {
        if self.from == ResultFrom::Json {
            return self.json(mask);
        }
        if self.text.ends_with('\n') {
            self.text.pop();
        }
        if self.left_out > 0 {
            let note = format!("\n[{} more bytes are in the run's record]", self.left_out);
            self.text.push_str(&note);
        }
        Ok(RunResult { text: self.text, ..RunResult::default() })
    }

    fn json(self, mask: &Mask) -> Result<RunResult, Failure> {
        let fail =
            |why: String| Failure::new(FailureCode::Agent, format!("standard output is not one JSON value: {why}"));
        if self.left_out > 0 {
            return Err(fail(format!("it is longer than {MAX_ANSWER_BYTES} bytes")));
        }
        let mut value: Value = serde_json::from_str(self.text.trim()).map_err(|error| fail(error.to_string()))?;
        mask.value(&mut value);
        let text = match (&value, value.get("text")) {
            (Value::String(text), _) | (_, Some(Value::String(text))) => text.clone(),
            _ => value.to_string(),
        };
        Ok(RunResult { text, structured: Some(value), ..RunResult::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, MAX_ANSWER_BYTES};
    use crate::{domain::agent::ResultFrom, executor::lines::Line};

    fn answer(from: ResultFrom, lines: &[(&str, bool)]) -> Answer {
        let mut answer = Answer::new(from);
        for (text, complete) in lines {
            answer.push(&Line { text: (*text).to_owned(), complete: *complete, changed: false });
        }
        answer
    }

    #[test]
    fn the_last_line_that_is_not_blank_is_the_answer() {
        let lines = [("first", true), ("se", false), ("cond", true), ("  ", true), ("", true)];
        assert_eq!(answer(ResultFrom::LastLine, &lines).text, "second");
    }

    #[test]
    fn an_answer_stays_small_whatever_is_written() {
        let big = "x".repeat(64 * 1024);
        let lines: Vec<(&str, bool)> = (0..100).map(|_| (big.as_str(), true)).collect();
        let kept = answer(ResultFrom::Stdout, &lines);
        assert!(kept.text.len() <= MAX_ANSWER_BYTES && kept.left_out > 0);
    }
}
