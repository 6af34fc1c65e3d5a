//! Whose jobs are claimed when several tenants, or several groups of one, have some that are ready: all in turn.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Tenants whose last turn is remembered; beyond them all is forgotten, which costs somebody a turn.
const MOST_REMEMBERED: usize = 10_000;

/// The next tenants with something ready: `$1` the queue, `$2` after which, `$3` how many, `$4` now.
pub(super) const NEXT_TENANTS: &str = "\
WITH RECURSIVE turn (who, number) AS (
  SELECT (SELECT tenant_id FROM jobs WHERE queue = $1 AND state = 'ready' AND tenant_id > $2 AND run_at <= $4
          ORDER BY tenant_id LIMIT 1), 1
  UNION ALL
  SELECT (SELECT tenant_id FROM jobs WHERE queue = $1 AND state = 'ready' AND tenant_id > turn.who AND run_at <= $4
          ORDER BY tenant_id LIMIT 1), number + 1
  FROM turn WHERE turn.who IS NOT NULL AND number < $3
)
SELECT who FROM turn WHERE who IS NOT NULL";

/// The next flows of tenant `$5` with something ready; the rest as in [`NEXT_TENANTS`].
pub(super) const NEXT_FLOWS: &str = "\
WITH RECURSIVE turn (who, number) AS (
  SELECT (SELECT flow FROM jobs WHERE queue = $1 AND state = 'ready' AND tenant_id = $5 AND flow > $2 AND run_at <= $4
          ORDER BY flow LIMIT 1), 1
  UNION ALL
  SELECT (SELECT flow FROM jobs WHERE queue = $1 AND state = 'ready' AND tenant_id = $5 AND flow > turn.who
          AND run_at <= $4 ORDER BY flow LIMIT 1), number + 1
  FROM turn WHERE turn.who IS NOT NULL AND number < $3
)
SELECT who FROM turn WHERE who IS NOT NULL";

/// Whether the tenant's jobs of no group are ready, which [`NEXT_FLOWS`] cannot find behind an empty text.
pub(super) const HAS_FREE: &str = "SELECT flow FROM jobs WHERE queue = $1 AND state = 'ready' AND tenant_id = $2 AND flow = '' \
    AND run_at <= $3 LIMIT 1";

/// The first jobs of a tenant's flow.
pub(super) const PICK: &str = "SELECT id FROM jobs WHERE queue = $1 AND state = 'ready' AND tenant_id = $2 AND flow = $3 \
    AND run_at <= $4 ORDER BY rank, id LIMIT $5 @skip_locked";

/// So many jobs of a tenant's flow are to be claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) tenant: String,
    pub(super) flow: String,
    pub(super) jobs: i64,
}

/// Whose turn it was last, in this process.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<Mutex<BTreeMap<String, String>>>);

impl Turns {
    /// The last one that had a turn of `what`: a queue's tenant, a tenant's flow. Empty at first.
    pub(super) fn last(&self, what: &str) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(what).cloned().unwrap_or_default()
    }

    /// Remembers who had a turn.
    pub(super) fn had(&self, what: &str, who: &str) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() >= MOST_REMEMBERED && !last.contains_key(what) {
            last.clear();
        }
        last.insert(what.to_owned(), who.to_owned());
    }
}

/// Deals `jobs` out to so many, the first ones getting what does not come out even.
pub(super) fn shares(jobs: i64, among: usize) -> impl Iterator<Item = i64> {
    let count = i64::try_from(among).unwrap_or(i64::MAX).max(1);
    (0..count).map(move |at| jobs / count + i64::from(at < jobs % count)).filter(|share| *share > 0)
}

/// The turns of the next claim: tenants after the one that came last, each with its groups after the one that came last.
macro_rules! plan {
    ($tx:expr, $turns:expr, $queue:expr, $limit:expr, $now:expr) => {{
        use crate::store::turns::{HAS_FREE, NEXT_FLOWS, NEXT_TENANTS, Turn, shares};
        let last = $turns.last($queue);
        let most = usize::try_from($limit).unwrap_or(usize::MAX);
        let mut tenants: Vec<(String,)> = Vec::new();
        for after in [last.as_str(), ""] {
            let found = sqlx::query_as(NEXT_TENANTS).bind($queue).bind(after).bind($limit).bind($now);
            for tenant in found.fetch_all(&mut *$tx).await? {
                if tenants.len() < most && !tenants.contains(&tenant) {
                    tenants.push(tenant);
                }
            }
            if tenants.len() >= most || after.is_empty() {
                break;
            }
        }
        let mut plan: Vec<Turn> = Vec::new();
        let quotas: Vec<i64> = shares($limit, tenants.len()).collect();
        for ((tenant,), quota) in tenants.into_iter().zip(quotas) {
            let most = usize::try_from(quota).unwrap_or(usize::MAX);
            let last = $turns.last(&tenant);
            let mut flows: Vec<(String,)> = Vec::new();
            for after in [last.as_str(), ""] {
                if after.is_empty() && flows.len() < most {
                    let free = sqlx::query_as(HAS_FREE).bind($queue).bind(&tenant).bind($now);
                    flows.extend(free.fetch_optional(&mut *$tx).await?);
                }
                if flows.len() < most {
                    let found = sqlx::query_as(NEXT_FLOWS).bind($queue).bind(after).bind(quota).bind($now);
                    for flow in found.bind(&tenant).fetch_all(&mut *$tx).await? {
                        if flows.len() < most && !flows.contains(&flow) {
                            flows.push(flow);
                        }
                    }
                }
                if after.is_empty() {
                    break;
                }
            }
            for ((flow,), jobs) in flows.iter().zip(shares(quota, flows.len())) {
                plan.push(Turn { tenant: tenant.clone(), flow: flow.clone(), jobs });
            }
        }
        plan
    }};
}
pub(super) use plan;

#[cfg(test)]
mod tests {
    use super::{Turns, shares};

    #[test]
    fn what_does_not_come_out_even_goes_to_the_first() {
        assert_eq!(shares(8, 3).collect::<Vec<_>>(), [3, 3, 2]);
        assert_eq!(shares(2, 5).collect::<Vec<_>>(), [1, 1]);
        assert_eq!(shares(4, 1).collect::<Vec<_>>(), [4]);
    }

    #[test]
    fn turns_are_remembered_by_what_they_are_of() {
        let turns = Turns::default();
        assert_eq!(turns.last("run"), "");
        turns.had("run", "ten_a");
        turns.had("ten_a", "agent:b");
        assert_eq!((turns.last("run").as_str(), turns.last("ten_a").as_str()), ("ten_a", "agent:b"));
    }
}
