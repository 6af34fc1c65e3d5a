//! Database trouble while a job is held: waited out as long as its lease holds.

use std::time::Duration;

use crate::{
    queue::{Job, StopReason},
    store::StoreError,
};

/// Between two tries.
pub(super) const PAUSE: Duration = Duration::from_millis(300);
/// How often the database may refuse what it is given before nobody tries any more.
pub(super) const MAX_REFUSED: i32 = 3;

/// Asks the database until it answers; `None` when the lease is lost meanwhile, or the same would come out again.
pub(super) async fn insist<T, F>(job: &Job, what: &str, ask: impl Fn() -> F) -> Option<T>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut refused = 0;
    loop {
        match ask().await {
            Ok(answer) => return Some(answer),
            Err(fault) => {
                tracing::warn!(job = job.lease().id, error = ?fault, "{what} failed; trying again");
                refused += i32::from(fault.is_about_a_row());
                let is_lost = job.stop_reason() == Some(StopReason::LeaseLost);
                if is_lost || fault.is_unreadable() || refused >= MAX_REFUSED {
                    return None;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
