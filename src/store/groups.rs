//! Which groups a job is in, and the places that it holds there.
//!
//! A job that is ready or running holds a place in each of its groups, others hold none: that is what limits are. Places
//! are given away in `gates`; here jobs come into their groups, and leave them in the transaction that ends the job.
//! Whoever gives a place back, or adds a job, leaves a row in `group_looks`: no lock is waited for.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    domain::concurrency::{Group, Strategy},
    store::{clean, to_json},
};

/// A job that comes into groups.
pub(super) struct Member<'a> {
    pub(super) job: &'a str,
    pub(super) tenant: &'a str,
    /// From the narrowest; not empty.
    pub(super) groups: &'a [Group],
}

/// Members as the statements below take them: JSON arrays of rows.
pub(super) struct Rows {
    /// Of groups by their ids: tenant, label, places.
    pub(super) groups: BTreeMap<String, (String, String, i64)>,
    pub(super) members: String,
    pub(super) jobs: String,
    pub(super) ids: Vec<String>,
    /// Groups that stop runs for others, each with a job of it.
    pub(super) looks: Vec<(String, String, String)>,
}

impl Rows {
    pub(super) fn of(all: &[Member<'_>]) -> Self {
        let (mut groups, mut looks) = (BTreeMap::new(), BTreeMap::new());
        let (mut members, mut jobs): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
        for member in all {
            let mut own: Vec<Group> = Vec::new();
            for group in member.groups {
                let group = Group { label: clean(&group.label).into_owned(), ..group.clone() };
                let columns = (member.tenant.to_owned(), group.label.clone(), group.places);
                groups.insert(group.id.clone(), columns);
                members.push(json!([member.job, group.id, member.tenant, own.len(), group.strategy.as_str()]));
                if group.strategy == Strategy::CancelRunning {
                    looks.insert(group.id.clone(), (member.job.to_owned(), member.tenant.to_owned()));
                }
                own.push(group);
            }
            let flow = own.first().map_or("", |group| group.id.as_str());
            jobs.push(json!([member.job, flow, to_json(&own)]));
        }
        Self {
            groups,
            members: to_json(&members),
            jobs: to_json(&jobs),
            ids: all.iter().map(|member| member.job.to_owned()).collect(),
            looks: looks.into_iter().map(|(group, (job, tenant))| (group, job, tenant)).collect(),
        }
    }

    /// Those of `groups` that are not known yet.
    pub(super) fn new_groups(&self, known: &[(String, i64)]) -> String {
        let is_new = |id: &str| !known.iter().any(|(known, _)| known == id);
        let new = self.groups.iter().filter(|(id, _)| is_new(id));
        to_json(&new.map(|(id, (tenant, label, places))| json!([id, tenant, label, places])).collect::<Vec<_>>())
    }

    /// Those that have another number of places than before, in order.
    pub(super) fn changed(&self, known: &[(String, i64)]) -> Vec<(String, i64)> {
        let mut changed: Vec<(String, i64)> = known
            .iter()
            .filter_map(|(id, places)| self.groups.get(id).map(|(_, _, wanted)| (id, *places, *wanted)))
            .filter(|(_, places, wanted)| places != wanted)
            .map(|(id, _, wanted)| (id.clone(), wanted))
            .collect();
        changed.sort();
        changed
    }
}

/// Holds groups, so that nobody clears them away before the transaction ends.
pub(super) const KNOWN: &str = "SELECT id, places FROM concurrency_groups WHERE id @any($1) @share";

pub(super) const ADD_GROUPS: &str = "INSERT INTO concurrency_groups (id, tenant_id, label, places, created_at) \
    SELECT value->>0, value->>1, value->>2, CAST(value->>3 AS BIGINT), $2 FROM @each($1) WHERE TRUE ORDER BY 1 \
    ON CONFLICT (id) DO NOTHING";

pub(super) const SET_PLACES: &str = "UPDATE concurrency_groups SET places = $2 WHERE id = $1";

pub(super) const ADD_MEMBERS: &str = "INSERT INTO job_groups (job_id, group_id, tenant_id, position, strategy) \
    SELECT value->>0, value->>1, value->>2, CAST(value->>3 AS BIGINT), value->>4 FROM @each($1) WHERE TRUE \
    ON CONFLICT (job_id, group_id) DO UPDATE SET position = excluded.position, strategy = excluded.strategy, held = FALSE";

pub(super) const ADD_TO_JOBS: &str = "UPDATE jobs SET grouped = TRUE, flow = n.flow, \
    state = CASE WHEN state <> 'ready' THEN state WHEN run_at > $2 THEN 'waiting' ELSE 'gated' END, \
    gate = CASE WHEN state = 'ready' AND run_at <= $2 THEN n.flow END \
    FROM (SELECT value->>0 AS id, value->>1 AS flow FROM @each($1)) n WHERE jobs.id = n.id";

pub(super) const ADD_TO_RUNS: &str = "UPDATE runs SET concurrency = n.groups \
    FROM (SELECT value->>0 AS id, value->>2 AS groups FROM @each($1)) n WHERE runs.id = n.id";

pub(super) const LOOK_AT_GATES: &str = "INSERT INTO group_looks (group_id, job_id, tenant_id) \
    SELECT gate, MIN(id), MIN(tenant_id) FROM jobs WHERE id @any($1) AND state = 'gated' GROUP BY gate ORDER BY gate \
    ON CONFLICT DO NOTHING";

pub(super) const LOOK: &str =
    "INSERT INTO group_looks (group_id, job_id, tenant_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";

/// Tells of the places that jobs hold: they are about to be free.
pub(super) const LOOK_AT_PLACES: &str = "INSERT INTO group_looks (group_id, job_id, tenant_id) \
    SELECT group_id, job_id, tenant_id FROM job_groups WHERE job_id @any($1) AND held ORDER BY group_id, job_id \
    ON CONFLICT DO NOTHING";

pub(super) const LEAVE: &str = "DELETE FROM job_groups WHERE job_id @any($1)";

pub(super) const REST: &str = "UPDATE job_groups SET held = FALSE WHERE job_id @any($1) AND held";

/// Puts jobs that were just added, still ready or blocked, into their groups.
macro_rules! enroll {
    ($tx:expr, $db:expr, $members:expr, $now:expr) => {{
        let rows = $crate::store::groups::Rows::of($members);
        let ids: Vec<String> = rows.groups.keys().cloned().collect();
        let known = sqlx::query_as($db.sql($crate::store::groups::KNOWN)).bind($db.list(&ids));
        let known: Vec<(String, i64)> = known.fetch_all(&mut **$tx).await?;
        if known.len() < ids.len() {
            let add = sqlx::query($db.sql($crate::store::groups::ADD_GROUPS)).bind(rows.new_groups(&known));
            add.bind($now).execute(&mut **$tx).await?;
        }
        let mut looks = rows.looks.clone();
        for (group, places) in rows.changed(&known) {
            let change = sqlx::query($crate::store::groups::SET_PLACES).bind(&group).bind(places);
            change.execute(&mut **$tx).await?;
            if let (Some(job), Some((tenant, ..))) = (rows.ids.first(), rows.groups.get(&group)) {
                looks.push((group, job.clone(), tenant.clone()));
            }
        }
        sqlx::query($db.sql($crate::store::groups::ADD_MEMBERS)).bind(&rows.members).execute(&mut **$tx).await?;
        let add = sqlx::query($db.sql($crate::store::groups::ADD_TO_JOBS)).bind(&rows.jobs).bind($now);
        add.execute(&mut **$tx).await?;
        sqlx::query($db.sql($crate::store::groups::ADD_TO_RUNS)).bind(&rows.jobs).execute(&mut **$tx).await?;
        let look = sqlx::query($db.sql($crate::store::groups::LOOK_AT_GATES)).bind($db.list(&rows.ids));
        look.execute(&mut **$tx).await?;
        for (group, job, tenant) in looks {
            let look = sqlx::query($crate::store::groups::LOOK).bind(group).bind(job).bind(tenant);
            look.execute(&mut **$tx).await?;
        }
    }};
}
pub(super) use enroll;

/// Puts the new runs of a batch that have groups into them.
macro_rules! write {
    ($tx:expr, $db:expr, $batch:expr, $fresh:expr) => {
        let mut members = Vec::new();
        for prepared in $batch.iter() {
            let tenant = prepared.acceptance.event.tenant.as_str();
            for run in prepared.acceptance.runs.iter().filter(|run| !run.groups.is_empty()) {
                if $fresh.contains(run.id.as_str()) {
                    members.push(crate::store::groups::Member { job: run.id.as_str(), tenant, groups: &run.groups });
                }
            }
        }
        if !members.is_empty() {
            crate::store::groups::enroll!($tx, $db, &members, crate::store::intake::newest($batch));
        }
    };
}
pub(super) use write;

/// Takes jobs that end out of their groups. Whoever calls it holds the jobs.
macro_rules! leave {
    ($tx:expr, $db:expr, $ids:expr) => {{
        let list = $db.list($ids);
        sqlx::query($db.sql($crate::store::groups::LOOK_AT_PLACES)).bind(&list).execute(&mut *$tx).await?;
        sqlx::query($db.sql($crate::store::groups::LEAVE)).bind(&list).execute(&mut *$tx).await?;
    }};
}
pub(super) use leave;

/// Gives back the places of jobs that wait for another time. Whoever calls it holds the jobs.
macro_rules! rest {
    ($tx:expr, $db:expr, $ids:expr) => {{
        let list = $db.list($ids);
        sqlx::query($db.sql($crate::store::groups::LOOK_AT_PLACES)).bind(&list).execute(&mut *$tx).await?;
        sqlx::query($db.sql($crate::store::groups::REST)).bind(&list).execute(&mut *$tx).await?;
    }};
}
pub(super) use rest;
