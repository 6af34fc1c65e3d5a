//! The numbered migrations, brought to either engine.

use sqlx::{
    Pool, SqlSafeStr,
    migrate::{Migration, Migrator},
};

use crate::store::{StoreError, connect};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// The newest schema that this program knows.
pub const SCHEMA_VERSION: i64 = 7;

/// What differs between the engines when migrating.
pub(super) trait Migrating {
    /// Applies what is missing, under a lock that keeps a second process out.
    async fn apply(&self) -> Result<(), StoreError>;
    /// The schema's number in the database.
    async fn found(&self) -> Result<i64, StoreError>;
}

impl Migrating for connect::Postgres {
    async fn apply(&self) -> Result<(), StoreError> {
        Ok(MIGRATIONS.run(self.read()).await?)
    }
    async fn found(&self) -> Result<i64, StoreError> {
        version(self.read()).await
    }
}

impl Migrating for connect::Sqlite {
    async fn apply(&self) -> Result<(), StoreError> {
        let migrations = MIGRATIONS.iter().map(for_sqlite).collect();
        Ok(Migrator::with_migrations(migrations).run(self.writer()).await?)
    }
    async fn found(&self) -> Result<i64, StoreError> {
        version(self.writer()).await
    }
}

/// SQLite knows bytes as BLOB and compares text by bytes anyway; all else is common to both engines.
fn for_sqlite(migration: &Migration) -> Migration {
    let sql = migration.sql.as_str().replace(" BYTEA", " BLOB").replace(" COLLATE \"C\"", "");
    let sql = sqlx::AssertSqlSafe(sql).into_sql_str();
    Migration::new(migration.version, migration.description.clone(), migration.migration_type, sql, migration.no_tx)
}

pub(super) async fn run<D: Migrating>(db: &D) -> Result<(), StoreError> {
    refuse_newer(db.found().await?)?;
    db.apply().await?;
    refuse_newer(db.found().await?)
}

const fn refuse_newer(found: i64) -> Result<(), StoreError> {
    if found > SCHEMA_VERSION { Err(StoreError::NewerSchema { found, known: SCHEMA_VERSION }) } else { Ok(()) }
}

/// The number of the last migration that was applied, 0 in an empty database.
pub(super) async fn version<DB>(pool: &Pool<DB>) -> Result<i64, StoreError>
where
    DB: sqlx::Database,
    for<'c> &'c Pool<DB>: sqlx::Executor<'c, Database = DB>,
    for<'q> DB::Arguments: sqlx::IntoArguments<DB>,
    for<'r> (Option<i64>,): sqlx::FromRow<'r, DB::Row>,
{
    let found: sqlx::Result<(Option<i64>,)> =
        sqlx::query_as("SELECT MAX(version) FROM _sqlx_migrations").fetch_one(pool).await;
    match found {
        Ok((version,)) => Ok(version.unwrap_or(0)),
        Err(sqlx::Error::Database(fault)) if fault.message().contains("_sqlx_migrations") => Ok(0),
        Err(fault) => Err(fault.into()),
    }
}
