//! Skills that were uploaded.

use crate::{
    crypto::sha256_hex,
    domain::{
        agent::Skill,
        catalog::BundledAgent,
        id::TenantId,
        skill::{SkillVersion, StoredSkill},
        time::Timestamp,
    },
    store::{Store, StoreError, on_engine, rows, to_json, uploads},
};

/// Versions of one skill that are kept.
const MOST_VERSIONS: i64 = 20;
/// Skills of one tenant.
const MOST_SKILLS: i64 = 1_000;

const NEWEST: &str =
    "SELECT version, digest FROM skills WHERE tenant_id = $1 AND name = $2 ORDER BY version DESC LIMIT 1";

const PUT: &str = "INSERT INTO skills (tenant_id, name, version, digest, description, definition, created_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7)";

const CURRENT: &str = "SELECT s.name, s.version, s.digest, s.description, s.created_at FROM skills s WHERE s.tenant_id = $1 \
    AND s.version = (SELECT MAX(n.version) FROM skills n WHERE n.tenant_id = $1 AND n.name = s.name) ORDER BY s.name";

type VersionRow = (String, i64, String, String, i64);

fn version((name, version, digest, description, at): VersionRow) -> SkillVersion {
    SkillVersion { name, version, digest, description, created_at: Timestamp(at) }
}

/// What a skill holds, as one text: equal skills have equal digests.
fn digest(definition: &str) -> String {
    sha256_hex(definition.as_bytes())
}

impl Store {
    /// Keeps a skill as the newest version of its name; what is the newest already stays as it is. Returns that, and
    /// whether it is new.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the tenant has too many; else when the database fails.
    pub async fn put_skill(&self, tenant: &TenantId, skill: &Skill) -> Result<(SkillVersion, bool), StoreError> {
        let (definition, now) = (to_json(skill), self.clock.now());
        let digest = digest(&definition);
        let trim = "DELETE FROM skills WHERE tenant_id = $1 AND name = $2 AND version <= $3";
        let number = on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            sqlx::query(uploads::LOCK).bind(tenant.as_str()).execute(&mut *tx).await?;
            let newest = sqlx::query_as(NEWEST).bind(tenant.as_str()).bind(&skill.name);
            let newest: Option<(i64, String)> = newest.fetch_optional(&mut *tx).await?;
            if let Some((_, same)) = &newest
                && *same == digest
            {
                None
            } else {
                if newest.is_none() {
                    let count: (i64,) = sqlx::query_as("SELECT COUNT(DISTINCT name) FROM skills WHERE tenant_id = $1")
                        .bind(tenant.as_str())
                        .fetch_one(&mut *tx)
                        .await?;
                    if count.0 >= MOST_SKILLS {
                        return Err(StoreError::Conflict(format!("there are {MOST_SKILLS} skills; delete some")));
                    }
                }
                let number = newest.map_or(1, |(number, _)| number + 1);
                sqlx::query(PUT)
                    .bind(tenant.as_str())
                    .bind(&skill.name)
                    .bind(number)
                    .bind(&digest)
                    .bind(&skill.description)
                    .bind(&definition)
                    .bind(now.0)
                    .execute(&mut *tx)
                    .await?;
                let trim = sqlx::query(trim).bind(tenant.as_str()).bind(&skill.name).bind(number - MOST_VERSIONS);
                trim.execute(&mut *tx).await?;
                tx.commit().await?;
                Some(number)
            }
        });
        let kept = self.skill(tenant, &skill.name, number).await?;
        let kept = kept.ok_or_else(|| StoreError::Conflict("it was deleted meanwhile; send it again".to_owned()))?;
        Ok((kept.version, number.is_some()))
    }

    /// The tenant's skills by name, each in its newest version.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn skills(&self, tenant: &TenantId) -> Result<Vec<SkillVersion>, StoreError> {
        let found: Vec<VersionRow> =
            on_engine!(self, |db| sqlx::query_as(CURRENT).bind(tenant.as_str()).fetch_all(db.read()).await?);
        Ok(found.into_iter().map(version).collect())
    }

    /// One version of a skill, whole; by default the newest.
    ///
    /// # Errors
    /// When the database fails or the row cannot be read.
    pub async fn skill(
        &self,
        tenant: &TenantId,
        name: &str,
        number: Option<i64>,
    ) -> Result<Option<StoredSkill>, StoreError> {
        let sql = "SELECT version, digest, description, created_at, definition FROM skills WHERE tenant_id = $1 \
                   AND name = $2 AND ($3 IS NULL OR version = $3) ORDER BY version DESC LIMIT 1";
        let found: Option<(i64, String, String, i64, String)> = on_engine!(self, |db| {
            let query = sqlx::query_as(sql).bind(tenant.as_str()).bind(name).bind(number);
            query.fetch_optional(db.read()).await?
        });
        let Some((number, digest, description, at, definition)) = found else { return Ok(None) };
        let skill = rows::json(name, "definition", &definition)?;
        Ok(Some(StoredSkill { version: version((name.to_owned(), number, digest, description, at)), skill }))
    }

    /// The versions of a skill, the newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn skill_versions(&self, tenant: &TenantId, name: &str) -> Result<Vec<SkillVersion>, StoreError> {
        let sql = "SELECT name, version, digest, description, created_at FROM skills WHERE tenant_id = $1 AND name = $2 \
                   ORDER BY version DESC";
        let found: Vec<VersionRow> =
            on_engine!(self, |db| sqlx::query_as(sql).bind(tenant.as_str()).bind(name).fetch_all(db.read()).await?);
        Ok(found.into_iter().map(version).collect())
    }

    /// Removes a skill with all its versions. `false` when it is not there.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when an agent has it from here; else when the database fails.
    pub async fn delete_skill(&self, tenant: &TenantId, name: &str) -> Result<bool, StoreError> {
        let agents = "SELECT a.name, v.definition FROM agents a JOIN agent_versions v ON v.agent_id = a.id \
                      AND v.version = a.version WHERE a.tenant_id = $1 AND a.removed_at IS NULL";
        let own = "SELECT digest FROM skills WHERE tenant_id = $1 AND name = $2";
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            sqlx::query(uploads::LOCK).bind(tenant.as_str()).execute(&mut *tx).await?;
            let digests: Vec<(String,)> =
                sqlx::query_as(own).bind(tenant.as_str()).bind(name).fetch_all(&mut *tx).await?;
            let agents: Vec<(String, String)> =
                sqlx::query_as(agents).bind(tenant.as_str()).fetch_all(&mut *tx).await?;
            for (agent, definition) in agents.iter().filter(|_| !digests.is_empty()) {
                let bundled: BundledAgent = rows::json(agent, "definition", definition)?;
                let mut had =
                    bundled.skills.iter().filter(|skill| skill.name == name).map(|skill| digest(&to_json(skill)));
                if had.any(|had| digests.iter().any(|(own,)| *own == had)) {
                    let why = format!("agent `{agent}` has the skill `{name}`; apply it without, then delete");
                    return Err(StoreError::Conflict(why));
                }
            }
            let gone = sqlx::query("DELETE FROM skills WHERE tenant_id = $1 AND name = $2");
            let gone = gone.bind(tenant.as_str()).bind(name).execute(&mut *tx).await?.rows_affected();
            tx.commit().await?;
            Ok(gone > 0)
        })
    }
}
