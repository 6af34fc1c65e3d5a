//! Logs: one wide line for each event accepted, run ended and attempt made. Values from outside are
//! escaped by the formatters; bodies, addresses and secrets are not logged.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt};

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging to standard error. Later calls change nothing.
///
/// # Errors
/// What is wrong with the filter.
pub fn start(filter: &str, format: Format) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|fault| format!("log.filter `{filter}`: {fault}"))?;
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        Format::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
        Format::Text => lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).compact().try_init(),
    };
    drop(started);
    Ok(())
}
