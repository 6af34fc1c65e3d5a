//! What is asked after a worker died.

use crate::{
    domain::id::RunId,
    store::{Store, StoreError, on_engine, rows},
};

impl Store {
    /// Which of these runs have not ended, of whatever tenant.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open_among(&self, runs: &[RunId]) -> Result<Vec<RunId>, StoreError> {
        let sql = "SELECT id FROM runs WHERE id @any($1) AND state IN ('queued', 'running')";
        let ids: Vec<String> = runs.iter().map(ToString::to_string).collect();
        let open: Vec<(String,)> =
            on_engine!(self, |db| sqlx::query_as(db.sql(sql)).bind(db.list(&ids)).fetch_all(db.read()).await?);
        open.iter().map(|(id,)| rows::id("runs", id)).collect()
    }
}
