//! Sources, agents and triggers: applied as a whole, read as a whole.

use std::collections::BTreeMap;

use crate::{
    crypto::sha256_hex,
    domain::{
        agent::AgentVersion,
        catalog::{ApplyReport, Bundle, BundledAgent, Catalog, Change},
        concurrency::{Group, with_plain},
        id::{AgentId, SourceId, TenantId, TriggerId},
        source::Source,
        time::Timestamp,
        trigger::Trigger,
    },
    store::{Store, StoreError, groups, on_engine, rows, to_json, uploads},
};

/// Whether an apply writes or only tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyMode {
    /// It writes.
    Write,
    /// It tells what it would do.
    DryRun,
}

const PUT_SOURCE: &str = "INSERT INTO sources (id, tenant_id, name, spec, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $5) \
    ON CONFLICT (tenant_id, name) DO UPDATE SET spec = excluded.spec, updated_at = excluded.updated_at, removed_at = NULL";

const PUT_AGENT: &str = "INSERT INTO agents (id, tenant_id, name, version, max_concurrent, created_at, concurrency) VALUES ($1, $2, $3, 1, $4, $5, $6) \
    ON CONFLICT (tenant_id, name) DO UPDATE SET version = agents.version + 1, max_concurrent = excluded.max_concurrent, \
    concurrency = excluded.concurrency, removed_at = NULL RETURNING id, version";

const PUT_VERSION: &str = "INSERT INTO agent_versions (agent_id, version, tenant_id, hash, definition, created_at) \
    VALUES ($1, $2, $3, $4, $5, $6)";

const PUT_TRIGGER: &str = "INSERT INTO triggers (id, tenant_id, agent_id, position, spec) VALUES ($1, $2, $3, $4, $5) \
    ON CONFLICT (agent_id, position) DO UPDATE SET spec = excluded.spec, removed_at = NULL";

const LIVE_AGENTS: &str = "SELECT a.name, a.version, v.hash FROM agents a \
    JOIN agent_versions v ON v.agent_id = a.id AND v.version = a.version WHERE a.tenant_id = $1 AND a.removed_at IS NULL";

/// What is applied to whom.
struct ChangeOf<'a> {
    tenant: &'a TenantId,
    bundle: &'a Bundle,
    now: Timestamp,
}

/// Writes what differs of the sources.
macro_rules! apply_sources {
    ($tx:expr, $of:expr, $report:expr) => {{
        let live: Vec<(String, String)> =
            sqlx::query_as("SELECT name, spec FROM sources WHERE tenant_id = $1 AND removed_at IS NULL")
                .bind($of.tenant.as_str())
                .fetch_all(&mut *$tx)
                .await?;
        let live: BTreeMap<String, String> = live.into_iter().collect();
        for (name, spec) in &$of.bundle.sources {
            let spec = to_json(spec);
            let action = action_of(live.get(name), &spec);
            if action != "unchanged" {
                let id = SourceId::new($of.now);
                let put = sqlx::query(PUT_SOURCE).bind(id.as_str()).bind($of.tenant.as_str()).bind(name);
                put.bind(spec).bind($of.now.0).execute(&mut *$tx).await?;
            }
            $report.changes.push(change("source", name, action, None));
        }
        for name in live.keys().filter(|name| !$of.bundle.sources.contains_key(*name)) {
            sqlx::query("UPDATE sources SET removed_at = $3 WHERE tenant_id = $1 AND name = $2")
                .bind($of.tenant.as_str())
                .bind(name)
                .bind($of.now.0)
                .execute(&mut *$tx)
                .await?;
            $report.changes.push(change("source", name, "removed", None));
        }
    }};
}

/// Writes what differs of the agents, their versions and triggers.
macro_rules! apply_agents {
    ($tx:expr, $db:expr, $of:expr, $report:expr) => {{
        let live: Vec<(String, i64, String)> =
            sqlx::query_as(LIVE_AGENTS).bind($of.tenant.as_str()).fetch_all(&mut *$tx).await?;
        let live: BTreeMap<String, (i64, String)> =
            live.into_iter().map(|(name, version, hash)| (name, (version, hash))).collect();
        for (name, agent) in &$of.bundle.agents {
            let definition = to_json(agent);
            let hash = sha256_hex(definition.as_bytes());
            let action = action_of(live.get(name).map(|(_, hash)| hash), &hash);
            let mut version = live.get(name).map_or(0, |(version, _)| *version);
            if action != "unchanged" {
                let (id, new): (String, i64) = sqlx::query_as(PUT_AGENT)
                    .bind(AgentId::new($of.now).as_str())
                    .bind($of.tenant.as_str())
                    .bind(name)
                    .bind(agent.spec.limits.concurrent.map(i64::from))
                    .bind($of.now.0)
                    .bind((!agent.spec.concurrency.is_empty()).then(|| to_json(&agent.spec.concurrency)))
                    .fetch_one(&mut *$tx)
                    .await?;
                version = new;
                let limits = with_plain(agent.spec.limits.concurrent, agent.spec.concurrency.clone());
                let places = limits.iter().find(|limit| limit.key.is_none()).map(|limit| i64::from(limit.limit));
                let group = Group::of_agent(&rows::id("agents", &id)?, name, places.unwrap_or(i64::MAX));
                if action == "updated" {
                    $db.lock_gates(&mut $tx, $of.tenant.as_str()).await?;
                    limit_agent!($tx, $db, $of.tenant.as_str(), &id, &group, places.is_some());
                }
                let put = sqlx::query(PUT_VERSION).bind(&id).bind(version).bind($of.tenant.as_str()).bind(hash);
                put.bind(definition).bind($of.now.0).execute(&mut *$tx).await?;
                for (position, trigger) in (0_i64..).zip(&agent.spec.triggers) {
                    sqlx::query(PUT_TRIGGER)
                        .bind(TriggerId::new($of.now).as_str())
                        .bind($of.tenant.as_str())
                        .bind(&id)
                        .bind(position)
                        .bind(to_json(trigger))
                        .execute(&mut *$tx)
                        .await?;
                }
                sqlx::query("UPDATE triggers SET removed_at = $3 WHERE agent_id = $1 AND position >= $2")
                    .bind(&id)
                    .bind(i64::try_from(agent.spec.triggers.len()).unwrap_or(i64::MAX))
                    .bind($of.now.0)
                    .execute(&mut *$tx)
                    .await?;
            }
            $report.changes.push(change("agent", name, action, Some(version)));
        }
        let gone = |name: &&String| !$of.bundle.agents.contains_key(*name) && !$of.bundle.keep.contains(name);
        for name in live.keys().filter(gone) {
            sqlx::query("UPDATE agents SET removed_at = $3 WHERE tenant_id = $1 AND name = $2")
                .bind($of.tenant.as_str())
                .bind(name)
                .bind($of.now.0)
                .execute(&mut *$tx)
                .await?;
            $report.changes.push(change("agent", name, "removed", None));
        }
    }};
}

/// An agent's jobs come into its group when it is limited from now on; those that wait for a place hear of more.
const JOIN_GROUP: &str = "INSERT INTO job_groups (job_id, group_id, tenant_id, position, strategy, held) \
    SELECT id, $2, tenant_id, 100, 'queue', state = 'running' OR (state = 'ready' AND grouped) FROM jobs \
    WHERE agent_id = $1 AND queue = 'run' ON CONFLICT DO NOTHING";

const GATE_OF_GROUP: &str = "UPDATE jobs SET grouped = TRUE, flow = CASE WHEN flow = '' THEN $2 ELSE flow END, \
    gate = CASE WHEN state = 'ready' AND NOT grouped THEN $2 ELSE gate END, \
    state = CASE WHEN state = 'ready' AND NOT grouped THEN 'gated' ELSE state END \
    WHERE id IN (SELECT id FROM jobs WHERE agent_id = $1 AND queue = 'run' ORDER BY id @lock)";

const PUT_GROUP: &str = "INSERT INTO concurrency_groups (id, tenant_id, label, places, created_at) VALUES ($1, $2, $3, $4, $5) \
    ON CONFLICT (id) DO UPDATE SET places = excluded.places";

macro_rules! limit_agent {
    ($tx:expr, $db:expr, $tenant:expr, $agent:expr, $group:expr, $is_limited:expr) => {
        if $is_limited {
            sqlx::query(PUT_GROUP)
                .bind(&$group.id)
                .bind($tenant)
                .bind(&$group.label)
                .bind($group.places)
                .bind(0_i64)
                .execute(&mut *$tx)
                .await?;
            // Held first: a job that is claimed or ends meanwhile cannot come between the two.
            sqlx::query($db.sql(GATE_OF_GROUP)).bind($agent).bind(&$group.id).execute(&mut *$tx).await?;
            sqlx::query(JOIN_GROUP).bind($agent).bind(&$group.id).execute(&mut *$tx).await?;
        } else {
            let free = sqlx::query(groups::SET_PLACES).bind(&$group.id).bind($group.places);
            free.execute(&mut *$tx).await?;
        }
        sqlx::query(groups::LOOK).bind(&$group.id).bind("").bind($tenant).execute(&mut *$tx).await?;
    };
}

impl Store {
    /// Makes the tenant's sources and agents those of the bundle: new and changed ones are written, those
    /// that are not in it are removed, unless the bundle keeps them. Unchanged agents keep their version.
    ///
    /// # Errors
    /// When the database fails; nothing is changed then.
    pub async fn apply(&self, tenant: &TenantId, bundle: &Bundle, mode: ApplyMode) -> Result<ApplyReport, StoreError> {
        let change_of = ChangeOf { tenant, bundle, now: self.clock.now() };
        let mut report = ApplyReport::default();
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            // The tenant's row is the lock of its catalog.
            sqlx::query("UPDATE tenants SET catalog_revision = catalog_revision + 1 WHERE id = $1")
                .bind(tenant.as_str())
                .execute(&mut *tx)
                .await?;
            let pinned = uploads::pinned(bundle);
            if !pinned.is_empty() {
                let there = sqlx::query_as(db.sql(uploads::THERE)).bind(tenant.as_str()).bind(db.list(&pinned));
                let there: (i64,) = there.fetch_one(&mut *tx).await?;
                if usize::try_from(there.0).ok() != Some(pinned.len()) {
                    let why = "an upload that an agent mounts was deleted meanwhile; apply again";
                    return Err(StoreError::Conflict(why.to_owned()));
                }
            }
            apply_sources!(tx, change_of, report);
            apply_agents!(tx, db, change_of, report);
            if mode == ApplyMode::Write && report.changes.iter().any(|change| change.action != "unchanged") {
                tx.commit().await?;
            }
        });
        Ok(report)
    }

    /// The number of the tenant's last change of sources and agents.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn catalog_revision(&self, tenant: &TenantId) -> Result<i64, StoreError> {
        let sql = "SELECT catalog_revision FROM tenants WHERE id = $1";
        let (revision,): (i64,) =
            on_engine!(self, |db| sqlx::query_as(sql).bind(tenant.as_str()).fetch_one(db.read()).await?);
        Ok(revision)
    }

    /// The tenant's live sources and triggers.
    ///
    /// # Errors
    /// When the database fails or a row cannot be read.
    pub async fn catalog(&self, tenant: &TenantId) -> Result<Catalog, StoreError> {
        let revision = self.catalog_revision(tenant).await?;
        let sources = "SELECT id, name, spec FROM sources WHERE tenant_id = $1 AND removed_at IS NULL ORDER BY name";
        let triggers = "SELECT t.id, t.position, t.spec, a.id, a.name, a.version, a.max_concurrent, a.concurrency FROM triggers t \
                        JOIN agents a ON a.id = t.agent_id WHERE t.tenant_id = $1 AND t.removed_at IS NULL \
                        AND a.removed_at IS NULL ORDER BY a.name, t.position";
        let (sources, triggers): (Vec<(String, String, String)>, Vec<TriggerRow>) = on_engine!(self, |db| {
            let sources = sqlx::query_as(sources).bind(tenant.as_str()).fetch_all(db.read()).await?;
            (sources, sqlx::query_as(triggers).bind(tenant.as_str()).fetch_all(db.read()).await?)
        });
        let tenant_group = self.tenant_limit.map(|limit| Group::of_tenant(tenant, limit));
        let mut catalog = Catalog { revision, tenant_group, ..Catalog::default() };
        for (id, name, spec) in sources {
            let spec = rows::json(&id, "spec", &spec)?;
            let source = Source { id: rows::id("sources", &id)?, tenant: tenant.clone(), name: name.clone(), spec };
            catalog.sources.insert(name, source);
        }
        for (id, position, spec, agent, agent_name, agent_version, places, limits) in triggers {
            let limits = limits.as_deref().map(|limits| rows::json(&agent, "concurrency", limits)).transpose()?;
            catalog.triggers.push(Trigger {
                agent_limits: with_plain(
                    places.and_then(|places| u32::try_from(places).ok()),
                    limits.unwrap_or_default(),
                ),
                spec: rows::json(&id, "spec", &spec)?,
                id: rows::id("triggers", &id)?,
                agent: rows::id("agents", &agent)?,
                position,
                agent_name,
                agent_version,
            });
        }
        Ok(catalog)
    }

    /// One version of an agent.
    ///
    /// # Errors
    /// When the database fails or the row cannot be read.
    pub async fn agent_version(
        &self,
        tenant: &TenantId,
        agent: &AgentId,
        version: i64,
    ) -> Result<Option<AgentVersion>, StoreError> {
        let sql = "SELECT a.name, v.definition FROM agent_versions v JOIN agents a ON a.id = v.agent_id \
                   WHERE v.tenant_id = $1 AND v.agent_id = $2 AND v.version = $3";
        let found: Option<(String, String)> = on_engine!(self, |db| {
            let query = sqlx::query_as(sql).bind(tenant.as_str()).bind(agent.as_str()).bind(version);
            query.fetch_optional(db.read()).await?
        });
        let Some((name, definition)) = found else { return Ok(None) };
        let bundled: BundledAgent = rows::json(agent.as_str(), "definition", &definition)?;
        Ok(Some(AgentVersion {
            agent: agent.clone(),
            name,
            version,
            spec: bundled.spec,
            skills: bundled.skills,
            files: bundled.files,
        }))
    }

    /// The tenant's live agents in their current version, by name.
    ///
    /// # Errors
    /// When the database fails or a row cannot be read.
    pub async fn agents(&self, tenant: &TenantId) -> Result<Vec<AgentVersion>, StoreError> {
        let sql = "SELECT id, version FROM agents WHERE tenant_id = $1 AND removed_at IS NULL ORDER BY name";
        let found: Vec<(String, i64)> =
            on_engine!(self, |db| sqlx::query_as(sql).bind(tenant.as_str()).fetch_all(db.read()).await?);
        let mut agents = Vec::with_capacity(found.len());
        for (id, version) in found {
            agents.extend(self.agent_version(tenant, &rows::id("agents", &id)?, version).await?);
        }
        Ok(agents)
    }
}

type TriggerRow = (String, i64, String, String, String, i64, Option<i64>, Option<String>);

fn action_of(live: Option<&String>, wanted: &str) -> &'static str {
    match live {
        None => "created",
        Some(found) if found == wanted => "unchanged",
        Some(_) => "updated",
    }
}

fn change(kind: &str, name: &str, action: &str, version: Option<i64>) -> Change {
    Change { kind: kind.to_owned(), name: name.to_owned(), action: action.to_owned(), version }
}
