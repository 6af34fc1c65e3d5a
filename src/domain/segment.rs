//! What the lines of a mail are: written now, quoted, signed, passed on.

use serde::{Deserialize, Serialize};

/// What a stretch of a mail is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SegmentKind {
    /// Written now.
    New,
    /// The line that introduces a quote: `On … wrote:`, a header block, a separator.
    Attribution,
    /// Written before.
    Quote,
    /// Somebody else's mail, passed on: material for the request, not history.
    Forward,
    /// Name, address and what a mail program adds.
    Signature,
    /// What a company puts under every mail: confidentiality and the like.
    Disclaimer,
}

/// Consecutive lines of a mail's text that are of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// What they are.
    pub kind: SegmentKind,
    /// Where they begin in the mail's text, in bytes. Blank lines at either end are left out.
    pub start: usize,
    /// Where they end, in bytes.
    pub end: usize,
}

impl Segment {
    /// Its lines in the text that it was made of; empty for another text.
    #[must_use]
    pub fn of<'a>(&self, text: &'a str) -> &'a str {
        text.get(self.start..self.end).unwrap_or_default()
    }
}
