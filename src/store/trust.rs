//! Connections that a server gave other rules than those that hold now.
//!
//! A session keeps whether it may write from its beginning: those of a time when the database was read-only, or of a
//! server that was a standby, refuse writes for ever. Once one did, all that are older are exchanged.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// The shortest time between two exchanges, so that a database that stays read-only is not stormed.
const QUIET_MS: u64 = 1_000;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);
/// Milliseconds after `START` before which connections must have been made to be exchanged; 0: none are.
static BEFORE: AtomicU64 = AtomicU64::new(0);

fn passed_ms() -> u64 {
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Takes a fault in; when it says that a session may not write (SQLSTATE 25006), older ones are not used again.
pub(super) fn judge(fault: &sqlx::Error) {
    if let sqlx::Error::Database(fault) = fault
        && fault.code().as_deref() == Some("25006")
    {
        let now = passed_ms().max(1);
        if now >= BEFORE.load(Ordering::Relaxed).saturating_add(QUIET_MS) {
            BEFORE.store(now, Ordering::Relaxed);
        }
    }
}

/// Whether a connection of that age may be used.
pub(super) fn holds(age: Duration) -> bool {
    let before = BEFORE.load(Ordering::Relaxed);
    before == 0 || passed_ms().saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)) > before
}
