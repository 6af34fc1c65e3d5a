//! What preparing the layers of agents came to.

use crate::{
    domain::{
        agent::AgentVersion,
        id::{AgentId, RunId, TenantId},
        setup::LayerReport,
        time::Timestamp,
    },
    store::{Lease, Store, StoreError, clean, on_engine, rows},
};

/// Rows of one agent that are kept.
const MOST: i64 = 50;

const PUT: &str = "INSERT INTO layers (agent_id, digest, place, tenant_id, run_id, failure, took_ms, bytes, output, at) \
    SELECT agent_id, $3, $4, tenant_id, id, $5, $6, $7, $8, $9 FROM runs WHERE id = $1 AND lease = $2 AND state = 'running' \
    ON CONFLICT (agent_id, digest, place) DO UPDATE SET run_id = excluded.run_id, failure = excluded.failure, \
    took_ms = excluded.took_ms, bytes = excluded.bytes, output = excluded.output, at = excluded.at RETURNING agent_id";

const TRIM: &str = "DELETE FROM layers WHERE agent_id = $1 AND at < \
    (SELECT MIN(at) FROM (SELECT at FROM layers WHERE agent_id = $1 ORDER BY at DESC LIMIT $2) AS newest)";

type LayerRow = (String, String, Option<String>, i64, i64, String, String, i64);

/// What is known of one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerRecord {
    /// What it came to.
    pub report: LayerReport,
    /// The run that prepared it.
    pub run: RunId,
    /// When it ended.
    pub at: Timestamp,
}

impl Store {
    /// Writes down what preparing the layer of a run's agent came to. `false` when the lease is lost.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn record_layer(&self, lease: &Lease, report: &LayerReport) -> Result<bool, StoreError> {
        let failure = report.failure.as_deref().map(|text| clean(text).into_owned());
        let now = self.clock.now().0;
        Ok(on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let put = sqlx::query_as(PUT).bind(&lease.id).bind(lease.fence).bind(clean(&report.digest).into_owned());
            let put = put.bind(clean(&report.place).into_owned()).bind(failure).bind(report.took_ms).bind(report.bytes);
            let put = put.bind(clean(&report.output).into_owned()).bind(now);
            let held: Option<(String,)> = put.fetch_optional(&mut *tx).await?;
            if let Some((agent,)) = &held {
                sqlx::query(TRIM).bind(agent).bind(MOST).execute(&mut *tx).await?;
            }
            tx.commit().await?;
            held.is_some()
        }))
    }

    /// What is known of the layers of an agent, the newest first.
    ///
    /// # Errors
    /// When the database fails or a row cannot be read.
    pub async fn layers(&self, tenant: &TenantId, agent: &AgentId) -> Result<Vec<LayerRecord>, StoreError> {
        let sql = "SELECT digest, place, failure, took_ms, bytes, output, run_id, at FROM layers \
                   WHERE tenant_id = $1 AND agent_id = $2 ORDER BY at DESC, digest LIMIT $3";
        let found: Vec<LayerRow> = on_engine!(self, |db| {
            let query = sqlx::query_as(sql).bind(tenant.as_str()).bind(agent.as_str()).bind(MOST);
            query.fetch_all(db.read()).await?
        });
        let record = |row: LayerRow| {
            let (digest, place, failure, took_ms, bytes, output, run, at) = row;
            let report = LayerReport { digest, place, failure, took_ms, bytes, output };
            Ok(LayerRecord { report, run: rows::id("layers", &run)?, at: Timestamp(at) })
        };
        found.into_iter().map(record).collect()
    }

    /// Forgets the layers of a worker's disk that are not among `left`, as (agent, digest).
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keep_layers(&self, place: &str, left: &[(AgentId, String)]) -> Result<(), StoreError> {
        let sql = "DELETE FROM layers WHERE place = $1 AND NOT (agent_id || '/' || digest @any($2))";
        let left: Vec<String> = left.iter().map(|(agent, digest)| format!("{agent}/{digest}")).collect();
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let query = sqlx::query(db.sql(sql)).bind(clean(place).into_owned()).bind(db.list(&left));
            query.execute(&mut *tx).await?;
            tx.commit().await?;
        });
        Ok(())
    }

    /// Those of some agents that are not removed, in their current version, whosever they are.
    ///
    /// # Errors
    /// When the database fails or a row cannot be read.
    pub async fn live_agents(&self, agents: &[AgentId]) -> Result<Vec<AgentVersion>, StoreError> {
        let sql = "SELECT tenant_id, id, version FROM agents WHERE removed_at IS NULL AND id @any($1) ORDER BY id";
        let wanted: Vec<String> = agents.iter().map(ToString::to_string).collect();
        let found: Vec<(String, String, i64)> =
            on_engine!(self, |db| sqlx::query_as(db.sql(sql)).bind(db.list(&wanted)).fetch_all(db.read()).await?);
        let mut live = Vec::with_capacity(found.len());
        for (tenant, agent, version) in found {
            let (tenant, agent) = (rows::id("agents", &tenant)?, rows::id("agents", &agent)?);
            live.extend(self.agent_version(&tenant, &agent, version).await?);
        }
        Ok(live)
    }
}
