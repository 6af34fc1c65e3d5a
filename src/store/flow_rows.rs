//! The rows behind triggers that wait, limit or gather: read under their locks and written, in the transaction that
//! accepts the events. What becomes of which run is decided in `flow`.
//!
//! Locks are taken in one order by everybody: sessions, then counts by their keys, then jobs by their ids.

/// Adds the rows that are not there; another writer's of the same key is waited for.
pub(super) const ADD: &str = "INSERT INTO flows (key, tenant_id, state, expires_at) ";

pub(super) const LOCK: &str = "SELECT key, state, expires_at FROM flows WHERE key @any($1) ORDER BY key @lock";

/// Of these runs those that nobody has claimed yet, held: a claim passes them over until the transaction ends.
pub(super) const OPEN: &str =
    "SELECT id FROM jobs WHERE id @any($1) AND fence = 0 AND state <> 'running' ORDER BY id @lock";

/// The last unfinished run of each session.
pub(super) const LAST: &str = "SELECT lane, MAX(id) FROM jobs WHERE lane @any($1) GROUP BY lane";

/// How many unfinished runs these groups have.
pub(super) const MEMBERS: &str = "SELECT g.id, \
    (SELECT COUNT(*) FROM job_groups m WHERE m.group_id = g.id AND m.held) \
    + (SELECT COUNT(*) FROM job_groups m WHERE m.group_id = g.id AND NOT m.held) \
    FROM (SELECT value->>0 AS id FROM @each($1)) g";

/// Mails of these agents and keys that have a run. Both lists are bounded by the batch.
pub(super) const KNOWN: &str = "SELECT agent_id, once_key FROM runs WHERE agent_id @any($1) AND once_key @any($2) \
    UNION ALL SELECT agent_id, once_key FROM run_events WHERE agent_id @any($1) AND once_key @any($2)";

/// Mails that went with a run of another mail: no run bears their key.
pub(super) const KNOWN_JOINED: &str =
    "SELECT agent_id, once_key FROM run_events WHERE agent_id @any($1) AND once_key @any($2)";

/// Deletes some rows whose time is over, unless somebody holds them.
pub(super) const FORGET: &str = "DELETE FROM flows WHERE key IN ( \
    SELECT key FROM flows WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 @skip_locked)";

/// Rows deleted with each batch beyond as many as it touches.
pub(super) const FORGOTTEN: i64 = 50;

/// Rows of one statement at most.
pub(super) const PIECE: usize = 500;

/// Decides what becomes of the runs of the batch that are not plain, and writes it.
macro_rules! settle {
    ($tx:expr, $db:expr, $batch:expr, $sessions:expr, $written:expr) => {{
        let mut ledger = crate::store::flow::Ledger::new($batch, &$written.fresh, $sessions);
        if !ledger.is_empty() {
            crate::store::flow_rows::look!($tx, $db, ledger);
            ledger.decide();
            crate::store::flow_rows::write_runs!($tx, ledger, $written.arrival);
            crate::store::flow_rows::write_counts!($tx, $db, ledger, $batch);
            $written.fresh.extend(ledger.started.iter().map(|started| started.entry.run.id.to_string()));
            $written.fates = ledger.fates;
        }
    }};
}
pub(super) use settle;

/// Locks and reads all that the decisions depend on.
macro_rules! look {
    ($tx:expr, $db:expr, $ledger:expr) => {{
        let keys = $ledger.keys();
        for some in keys.chunks(crate::store::flow_rows::PIECE) {
            let mut add = sqlx::QueryBuilder::new(crate::store::flow_rows::ADD);
            add.push_values(some, |mut row, (key, tenant)| {
                row.push_bind(key).push_bind(tenant).push_bind("null").push_bind(0_i64);
            });
            // Locks the rows that are there: who forgets old ones passes these over.
            add.push(" ON CONFLICT (key) DO UPDATE SET expires_at = flows.expires_at");
            add.build().persistent(some.len() == 1).execute(&mut **$tx).await?;
        }
        let keys: Vec<String> = keys.into_iter().map(|(key, _)| key).collect();
        if !keys.is_empty() {
            let lock = sqlx::query_as($db.sql(crate::store::flow_rows::LOCK)).bind($db.list(&keys));
            $ledger.load(lock.fetch_all(&mut **$tx).await?);
        }
        let candidates = $ledger.candidates();
        if !candidates.is_empty() {
            let open = sqlx::query_as($db.sql(crate::store::flow_rows::OPEN)).bind($db.list(&candidates));
            $ledger.set_open(open.fetch_all(&mut **$tx).await?);
        }
        let lanes = $ledger.lanes();
        if !lanes.is_empty() {
            let last = sqlx::query_as($db.sql(crate::store::flow_rows::LAST)).bind($db.list(&lanes));
            $ledger.set_last(last.fetch_all(&mut **$tx).await?);
        }
        if let Some(groups) = $ledger.dropping() {
            let members = sqlx::query_as($db.sql(crate::store::flow_rows::MEMBERS)).bind(groups);
            $ledger.set_members(members.fetch_all(&mut **$tx).await?);
        }
        let (agents, once) = $ledger.once_keys();
        if !once.is_empty() {
            let known = sqlx::query_as($db.sql(crate::store::flow_rows::KNOWN)).bind($db.list(&agents));
            $ledger.set_known(known.bind($db.list(&once)).fetch_all(&mut **$tx).await?);
        }
    }};
}
pub(super) use look;

/// Adds the runs that are made, and the events that go with others.
macro_rules! write_runs {
    ($tx:expr, $ledger:expr, $arrival:expr) => {{
        for some in $ledger.started.chunks(crate::store::flow_rows::PIECE) {
            let mut rows = sqlx::QueryBuilder::new(
                "INSERT INTO runs (id, tenant_id, event_id, trigger_id, trigger_position, agent_id, agent_name, \
                 agent_version, session_id, once_key, priority, created_at) ",
            );
            rows.push_values(some, |mut row, started| {
                let (event, run) = (&started.entry.prepared.acceptance.event, started.entry.run);
                row.push_bind(run.id.as_str()).push_bind(event.tenant.as_str()).push_bind(event.id.as_str());
                row.push_bind(run.trigger.as_str()).push_bind(run.position).push_bind(run.agent.as_str());
                row.push_bind(&run.agent_name).push_bind(run.agent_version);
                row.push_bind(started.entry.session.map(SessionId::as_str)).push_bind(run.once_key.as_deref());
                row.push_bind(run.flow.priority).push_bind(event.received_at.0);
            });
            rows.build().persistent(some.len() == 1).execute(&mut **$tx).await?;
            let mut jobs = sqlx::QueryBuilder::new(
                "INSERT INTO jobs (id, tenant_id, queue, lane, agent_id, priority, state, run_at, arrival) ",
            );
            jobs.push_values(some, |mut row, started| {
                let (event, run) = (&started.entry.prepared.acceptance.event, started.entry.run);
                let lane = started.entry.session.map(SessionId::as_str);
                row.push_bind(run.id.as_str()).push_bind(event.tenant.as_str()).push_bind(crate::store::RUN_QUEUE);
                row.push_bind(lane).push_bind(run.agent.as_str()).push_bind(run.flow.priority);
                let free = crate::store::jobs::first_state(started.run_at, event.received_at.0);
                let state = if lane.is_some() { "blocked" } else { free };
                row.push_bind(state).push_bind(started.run_at).push_bind($arrival);
            });
            jobs.build().persistent(some.len() == 1).execute(&mut **$tx).await?;
        }
        for some in $ledger.joined.chunks(crate::store::flow_rows::PIECE) {
            let mut rows = sqlx::QueryBuilder::new(
                "INSERT INTO run_events (run_id, position, tenant_id, event_id, trigger_id, agent_id, once_key) ",
            );
            rows.push_values(some, |mut row, joined| {
                let (event, run) = (&joined.entry.prepared.acceptance.event, joined.entry.run);
                row.push_bind(joined.run.as_str()).push_bind(joined.position).push_bind(event.tenant.as_str());
                row.push_bind(event.id.as_str()).push_bind(run.trigger.as_str()).push_bind(run.agent.as_str());
                row.push_bind(run.once_key.as_deref());
            });
            rows.build().persistent(some.len() == 1).execute(&mut **$tx).await?;
        }
    }};
}
pub(super) use write_runs;

/// Writes the counts, what refused events say of themselves, and what their senders are told.
macro_rules! write_counts {
    ($tx:expr, $db:expr, $ledger:expr, $batch:expr) => {{
        let moved: Vec<(&String, &i64)> = $ledger.moved.iter().collect();
        for some in moved.chunks(crate::store::flow_rows::PIECE) {
            let mut rows = sqlx::QueryBuilder::new("WITH v (id, run_at) AS (");
            rows.push_values(some, |mut row, (id, run_at)| {
                row.push_bind(*id).push_bind(**run_at);
            });
            rows.push(") UPDATE jobs SET run_at = v.run_at FROM v WHERE jobs.id = v.id AND jobs.run_at <> v.run_at");
            // Those whose time has come stay due: they may hold places.
            rows.push(" AND jobs.state IN ('waiting', 'blocked')");
            rows.build().persistent(some.len() == 1).execute(&mut **$tx).await?;
        }
        let changed = $ledger.changed($batch);
        for some in changed.chunks(crate::store::flow_rows::PIECE) {
            let mut rows = sqlx::QueryBuilder::new("WITH v (id, status, reason, routing) AS (");
            rows.push_values(some, |mut row, changed| {
                row.push_bind(changed.event.as_str()).push_bind(changed.status);
                row.push_bind(&changed.reason).push_bind(&changed.routing);
            });
            rows.push(") UPDATE events SET status = v.status, reason = v.reason, routing = v.routing FROM v WHERE events.id = v.id");
            rows.build().persistent(some.len() == 1).execute(&mut **$tx).await?;
        }
        for notice in &$ledger.notices {
            let event = &notice.prepared.acceptance.event;
            sqlx::query(crate::store::runs_work::ADD_DELIVERY)
                .bind(notice.id.as_str())
                .bind(event.tenant.as_str())
                .bind("")
                .bind(event.id.as_str())
                .bind(crate::store::to_json(notice.message))
                .bind(event.received_at.0)
                .bind(None::<String>)
                .execute(&mut **$tx)
                .await?;
            let job = sqlx::query(crate::store::jobs::ADD_DELIVERY_JOB).bind(notice.id.as_str());
            let job = job.bind(event.tenant.as_str()).bind(event.received_at.0).bind(0_i64).bind("ready");
            job.execute(&mut **$tx).await?;
        }
        let counts = $ledger.rows();
        for some in counts.chunks(crate::store::flow_rows::PIECE) {
            let mut rows = sqlx::QueryBuilder::new("WITH v (key, state, expires_at) AS (");
            rows.push_values(some, |mut row, (key, state, expires)| {
                row.push_bind(*key).push_bind(*state).push_bind(*expires);
            });
            rows.push(") UPDATE flows SET state = v.state, expires_at = v.expires_at FROM v WHERE flows.key = v.key");
            rows.build().persistent(some.len() == 1).execute(&mut **$tx).await?;
        }
        if let Some(now) = $batch.iter().map(|prepared| prepared.acceptance.event.received_at.0).max() {
            let most = i64::try_from(counts.len()).unwrap_or(0).saturating_add(crate::store::flow_rows::FORGOTTEN);
            let forget = sqlx::query($db.sql(crate::store::flow_rows::FORGET)).bind(now).bind(most);
            forget.execute(&mut **$tx).await?;
        }
    }};
}
pub(super) use write_counts;

/// Forgets of a batch's runs those whose mail went with a run of another mail already. Copies of a mail come one after
/// the other from here on: one may have a run of its own and another one go with a run, in different tables.
macro_rules! without_joined {
    ($tx:expr, $db:expr, $batch:expr) => {{
        let keyed = $batch.iter().flat_map(|prepared| &prepared.acceptance.runs);
        let keyed = keyed.filter_map(|run| Some((run.agent.to_string(), run.once_key.clone()?)));
        let (agents, once): (Vec<String>, Vec<String>) = keyed.unzip();
        let found: Vec<(String, String)> = match once.is_empty() {
            true => Vec::new(),
            false => {
                $db.lock_copies($tx, &once).await?;
                let known = sqlx::query_as($db.sql(crate::store::flow_rows::KNOWN_JOINED)).bind($db.list(&agents));
                known.bind($db.list(&once)).fetch_all(&mut **$tx).await?
            }
        };
        found.into_iter().collect::<std::collections::HashSet<(String, String)>>()
    }};
}
pub(super) use without_joined;
