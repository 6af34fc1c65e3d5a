//! Which files a run changed in its work directory.

use crate::{
    domain::{
        file::ChangedFile,
        id::{RunId, TenantId},
    },
    store::{Lease, Store, StoreError, clean, on_engine, rows},
};

/// Holds a run that its worker still has until the transaction ends.
pub(super) const HOLD_RUN: &str = "UPDATE runs SET messages = messages WHERE id = $1 AND lease = $2 \
    AND state = 'running' RETURNING tenant_id";

#[derive(sqlx::FromRow)]
struct FileRow {
    path: String,
    kind: String,
    change: String,
    size: Option<i64>,
    size_before: Option<i64>,
    sha256: Option<String>,
    sha256_before: Option<String>,
}

impl FileRow {
    fn read(self, run: &RunId) -> Result<ChangedFile, StoreError> {
        Ok(ChangedFile {
            kind: rows::word(run.as_str(), "kind", &self.kind)?,
            change: rows::word(run.as_str(), "change", &self.change)?,
            path: self.path,
            size: self.size,
            size_before: self.size_before,
            sha256: self.sha256,
            sha256_before: self.sha256_before,
        })
    }
}

impl Store {
    /// Keeps the files that a run changed, in place of those of an earlier attempt. `false` when the lease is lost.
    ///
    /// # Errors
    /// When the database fails; nothing is written then.
    pub async fn keep_files(&self, lease: &Lease, files: &[ChangedFile]) -> Result<bool, StoreError> {
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let held: Option<(String,)> =
                sqlx::query_as(HOLD_RUN).bind(&lease.id).bind(lease.fence).fetch_optional(&mut *tx).await?;
            let Some((tenant,)) = held else { return Ok(false) };
            sqlx::query("DELETE FROM run_files WHERE run_id = $1").bind(&lease.id).execute(&mut *tx).await?;
            let numbered: Vec<(i64, &ChangedFile)> = (0..).zip(files).collect();
            for some in numbered.chunks(200) {
                let mut rows = sqlx::QueryBuilder::new(
                    "INSERT INTO run_files (run_id, position, tenant_id, path, kind, change, size, size_before, \
                     sha256, sha256_before) ",
                );
                rows.push_values(some, |mut row, (position, file)| {
                    row.push_bind(&lease.id).push_bind(*position).push_bind(&tenant);
                    row.push_bind(clean(&file.path).into_owned());
                    row.push_bind(file.kind.as_str()).push_bind(file.change.as_str());
                    row.push_bind(file.size).push_bind(file.size_before);
                    row.push_bind(&file.sha256).push_bind(&file.sha256_before);
                });
                rows.build().persistent(false).execute(&mut *tx).await?;
            }
            tx.commit().await?;
            Ok(true)
        })
    }

    /// The files that a run changed, by path.
    ///
    /// # Errors
    /// When the database fails or a row cannot be read.
    pub async fn run_files(&self, tenant: &TenantId, run: &RunId) -> Result<Vec<ChangedFile>, StoreError> {
        let sql = "SELECT path, kind, change, size, size_before, sha256, sha256_before FROM run_files \
                   WHERE run_id = $1 AND tenant_id = $2 ORDER BY position";
        let found: Vec<FileRow> = on_engine!(self, |db| {
            sqlx::query_as(sql).bind(run.as_str()).bind(tenant.as_str()).fetch_all(db.read()).await?
        });
        found.into_iter().map(|row| row.read(run)).collect()
    }

    /// Forgets what earlier attempts of a run left: the files that they changed, and their artifacts. `false` when the
    /// lease is lost.
    ///
    /// # Errors
    /// When the database fails; nothing is forgotten then.
    pub async fn forget_left(&self, lease: &Lease) -> Result<bool, StoreError> {
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let held: Option<(String,)> =
                sqlx::query_as(HOLD_RUN).bind(&lease.id).bind(lease.fence).fetch_optional(&mut *tx).await?;
            if held.is_none() {
                return Ok(false);
            }
            for sql in ["DELETE FROM run_files WHERE run_id = $1", "DELETE FROM artifacts WHERE run_id = $1"] {
                sqlx::query(sql).bind(&lease.id).execute(&mut *tx).await?;
            }
            tx.commit().await?;
            Ok(true)
        })
    }
}
