//! The numbered migrations, brought to either engine.

use sqlx::{
    Pool, SqlSafeStr,
    migrate::{Migration, Migrator},
};

use crate::store::{StoreError, connect};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// The newest schema that this program knows.
pub const SCHEMA_VERSION: i64 = 19;

/// What differs between the engines when migrating.
pub(super) trait Migrating {
    /// Applies what is missing, under a lock that keeps a second process out.
    async fn apply(&self) -> Result<(), StoreError>;
    /// The schema's number in the database.
    async fn found(&self) -> Result<i64, StoreError>;
}

impl Migrating for connect::Postgres {
    async fn apply(&self) -> Result<(), StoreError> {
        let migrations = MIGRATIONS.iter().map(|migration| for_engine(migration, "postgres")).collect();
        Ok(Migrator::with_migrations(migrations).run(self.read()).await?)
    }
    async fn found(&self) -> Result<i64, StoreError> {
        version(self.read()).await
    }
}

impl Migrating for connect::Sqlite {
    async fn apply(&self) -> Result<(), StoreError> {
        let migrations = MIGRATIONS.iter().map(|migration| for_engine(migration, "sqlite")).collect();
        Ok(Migrator::with_migrations(migrations).run(self.writer()).await?)
    }
    async fn found(&self) -> Result<i64, StoreError> {
        version(self.writer()).await
    }
}

/// A migration as one engine takes it: without the lines between `-- @postgres` or `-- @sqlite` and the next such mark
/// (`-- @both` ends them) that are the other one's. SQLite knows bytes as BLOB and compares text by bytes anyway; the
/// rest is common to both.
fn for_engine(migration: &Migration, engine: &str) -> Migration {
    let mut sql = migration.sql.as_str().to_owned();
    if sql.contains("-- @") {
        sql = of_engine(&sql, engine);
    }
    if engine == "sqlite" {
        sql = sql.replace(" BYTEA", " BLOB").replace(" COLLATE \"C\"", "");
    }
    let sql = sqlx::AssertSqlSafe(sql).into_sql_str();
    Migration::new(migration.version, migration.description.clone(), migration.migration_type, sql, migration.no_tx)
}

fn of_engine(sql: &str, engine: &str) -> String {
    let mut meant = "both";
    let mut kept = String::with_capacity(sql.len());
    for line in sql.lines() {
        match line.strip_prefix("-- @") {
            Some(mark) => meant = mark,
            None if meant == "both" || meant == engine => {
                kept.push_str(line);
                kept.push('\n');
            }
            None => {}
        }
    }
    kept
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
