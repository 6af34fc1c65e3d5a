//! The two output streams of a program, as masked lines, counted.

use crate::{
    domain::run::{Failure, FailureCode},
    executor::{
        lines::{Line, Lines},
        mask::{Mask, MaskStream},
    },
};

/// Bytes that are read at once.
pub(super) const READ_BYTES: usize = 64 * 1024;
/// How much of the end of standard error a failure quotes.
const TAIL_BYTES: usize = 2000;

/// One output stream on its way into the record.
pub(super) struct Stream<'a> {
    mask: &'a Mask,
    masked: MaskStream<'a>,
    lines: Lines,
    buffer: Vec<u8>,
}

impl<'a> Stream<'a> {
    /// A stream of which nothing came yet.
    pub(super) fn new(mask: &'a Mask) -> Self {
        Self { mask, masked: MaskStream::new(mask), lines: Lines::default(), buffer: Vec::new() }
    }

    /// The lines that `chunk` completes; for an empty one, which is the end, all that is left.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Vec<Line> {
        self.buffer.clear();
        if chunk.is_empty() {
            self.masked.finish(&mut self.buffer);
        } else {
            self.masked.push(chunk, &mut self.buffer);
        }
        let mut lines = self.lines.push(&self.buffer);
        if chunk.is_empty() {
            lines.extend(self.lines.finish());
        }
        for line in lines.iter_mut().filter(|line| line.changed) {
            line.text = self.mask.text(&line.text);
        }
        lines
    }
}

/// Counts output and stops at the limit.
pub(super) struct Meter {
    left: u64,
    limit: u64,
}

impl Meter {
    /// Lets `limit` bytes through.
    pub(super) const fn new(limit: u64) -> Self {
        Self { left: limit, limit }
    }

    /// Counts `bytes`; over the limit it is the failure.
    pub(super) fn count(&mut self, bytes: usize) -> Result<(), Failure> {
        match self.left.checked_sub(bytes as u64) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(Failure::new(
                FailureCode::OutputLimit,
                format!("more than {} bytes of output; raise limits.output_bytes or write less", self.limit),
            )),
        }
    }
}

/// The last lines of standard error, for a failure's message.
#[derive(Default)]
pub(super) struct Tail(String);

impl Tail {
    /// Adds a line.
    pub(super) fn push(&mut self, line: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.0.push_str(line);
        if self.0.len() > TAIL_BYTES * 4 {
            self.0 = self.text().to_owned();
        }
    }

    /// What is kept of them.
    pub(super) fn text(&self) -> &str {
        let from = self.0.len().saturating_sub(TAIL_BYTES);
        let from = (from..=self.0.len()).find(|at| self.0.is_char_boundary(*at)).unwrap_or(0);
        self.0[from..].trim()
    }
}
