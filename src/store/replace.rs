//! Groups whose newest runs take the places of the oldest.

use std::sync::atomic::Ordering;

use crate::{
    domain::{
        concurrency::Strategy,
        id::{RunId, TenantId},
    },
    store::{Store, StoreError, on_engine, rows},
};

/// Runs that one look at the gates stops for others: a claim waits for them. The next look goes on.
pub(super) const MOST_REPLACED: usize = 50;

const STRATEGY: &str = "SELECT m.strategy, g.places FROM job_groups m JOIN concurrency_groups g ON g.id = m.group_id \
    WHERE m.group_id = $1 AND NOT m.held LIMIT 1";

/// The unfinished runs of a group that nobody stopped, the oldest first, with the group's name.
const RUNS_OF_GROUP: &str = "SELECT m.job_id, g.label FROM job_groups m JOIN concurrency_groups g ON g.id = m.group_id \
    JOIN runs r ON r.id = m.job_id WHERE m.group_id = $1 AND r.cancel_requested_at IS NULL AND r.state IN ('queued', 'running') \
    ORDER BY m.job_id LIMIT $2";

impl Store {
    /// Stops the oldest runs of those groups that stop runs for others, as long as they have more than places, but not
    /// more of all than `left`. The groups that are through: at the gates of the others is work that somebody newer
    /// replaces, so they stay as they are until the next look.
    pub(super) async fn replace_oldest(
        &self,
        tenant: &str,
        groups: Vec<String>,
        left: &mut usize,
    ) -> Result<Vec<String>, StoreError> {
        let tenant: TenantId = rows::id("group_looks", tenant)?;
        let mut through = Vec::new();
        for group in groups {
            let found: Option<(String, i64)> =
                on_engine!(self, |db| sqlx::query_as(STRATEGY).bind(&group).fetch_optional(db.read()).await?);
            let places = found.filter(|(strategy, _)| strategy == Strategy::CancelRunning.as_str());
            let is_through = match places {
                Some((_, places)) => self.replace_in(&tenant, (&group, places), left).await?,
                None => true,
            };
            if is_through {
                through.push(group);
            }
        }
        Ok(through)
    }

    /// Stops the oldest runs of one group. Whether that was all.
    async fn replace_in(
        &self,
        tenant: &TenantId,
        (group, places): (&str, i64),
        left: &mut usize,
    ) -> Result<bool, StoreError> {
        // One more than may be stopped, to see whether there is one.
        let most = places.saturating_add(i64::try_from(*left).unwrap_or(i64::MAX)).saturating_add(1);
        let runs: Vec<(String, String)> =
            on_engine!(self, |db| sqlx::query_as(RUNS_OF_GROUP).bind(group).bind(most).fetch_all(db.read()).await?);
        let new = runs.iter().skip(usize::try_from(places).unwrap_or(usize::MAX));
        for ((old, label), (new, _)) in runs.iter().zip(new) {
            let Some(fewer) = left.checked_sub(1) else { return Ok(false) };
            *left = fewer;
            let old: RunId = rows::id("job_groups", old)?;
            let reason = format!("{new} takes its place: {label} has {places}");
            match self.cancel_run_because(tenant, &old, Some(&reason)).await {
                Ok(_) => {
                    self.replaced.fetch_add(1, Ordering::Relaxed);
                }
                // It ended by itself.
                Err(StoreError::Conflict(_)) => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(true)
    }

    /// How many runs this process asked to stop for others of their group.
    #[must_use]
    pub fn replaced(&self) -> u64 {
        self.replaced.load(Ordering::Relaxed)
    }
}
