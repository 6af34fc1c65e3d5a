//! How the demonstration looks.

use std::io::{self, IsTerminal};

use crate::{cli::output, config::environment::Environment};

/// Colours, or none.
#[derive(Clone, Copy)]
pub(super) struct Paint {
    is_colourful: bool,
}

impl Paint {
    /// Colours on a terminal, unless `NO_COLOR` (no-color.org) is set.
    pub(super) fn new(environment: &Environment) -> Self {
        let unwanted = environment.get("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { is_colourful: io::stdout().is_terminal() && !unwanted }
    }

    /// A step's first line.
    pub(super) fn title(self, number: &str, kind: &str, rest: &str) {
        output::line(format!(
            "\n{}  {}  {rest}",
            self.in_colour("36", number),
            self.in_colour("1", &format!("{kind:<8}"))
        ));
    }

    /// More about a step.
    pub(super) fn about(self, text: &str) {
        output::line(format!("{:13}{text}", ""));
    }

    /// Something that went well.
    pub(super) fn done(self, what: &str, detail: &str) {
        output::line(format!("   {} {what:<9} {detail}", self.in_colour("32", "✓")));
    }

    /// Something that did not.
    pub(super) fn failed(self, what: &str, detail: &str) {
        output::line(format!("   {} {what:<9} {detail}", self.in_colour("31", "✗")));
    }

    /// A line of a run's record.
    pub(super) fn record(self, text: &str) {
        output::line(format!("     {}", self.in_colour("2", &format!("· {text}"))));
    }

    /// A line of an answer.
    pub(super) fn answer(self, text: &str) {
        output::line(format!("     {} {text}", self.in_colour("34", "│")).trim_end());
    }

    /// Text that stands out.
    pub(super) fn strong(self, text: &str) -> String {
        self.in_colour("1", text)
    }

    fn in_colour(self, code: &str, text: &str) -> String {
        if self.is_colourful { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}
