//! Deliberate defects, to show that the tests of faults find them. Compiled with the feature `sabotage` alone, which
//! neither a default nor a release build has, and without effect unless `SABOTAGE_OF_POSTERN` names one.

use std::sync::OnceLock;

#[cfg(not(debug_assertions))]
compile_error!("the feature `sabotage` is for debug builds of the tests alone");

static ARMED: OnceLock<Defect> = OnceLock::new();

/// What can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// The sender hears 202 a while before the commit.
    AckBeforeCommit,
    /// A worker writes although its lease is lost.
    NoFencing,
    /// Jobs of dead workers are not taken back.
    NoReaper,
    /// Each attempt of a delivery has another idempotency key.
    NewKeyPerAttempt,
    /// It is of a later version, whose schema has more; older programs may go on.
    NewerAdditive,
    /// It is of a later version, whose schema older programs must leave alone.
    NewerBreaking,
}

/// The variable that names the defect.
pub const VARIABLE: &str = "SABOTAGE_OF_POSTERN";

/// Breaks the program for the rest of its life.
///
/// # Errors
/// When there is no such defect.
pub fn arm(name: Option<&str>) -> Result<(), String> {
    let defect = match name {
        None => return Ok(()),
        Some("ack-before-commit") => Defect::AckBeforeCommit,
        Some("no-fencing") => Defect::NoFencing,
        Some("no-reaper") => Defect::NoReaper,
        Some("new-key-per-attempt") => Defect::NewKeyPerAttempt,
        Some("newer-additive") => Defect::NewerAdditive,
        Some("newer-breaking") => Defect::NewerBreaking,
        Some(other) => return Err(format!("{VARIABLE}={other} is no defect")),
    };
    tracing::warn!(?defect, "THIS PROGRAM IS BROKEN ON PURPOSE: it loses or repeats work");
    ARMED.get_or_init(|| defect);
    Ok(())
}

/// Whether this defect is there.
#[must_use]
pub fn is(defect: Defect) -> bool {
    ARMED.get() == Some(&defect)
}
