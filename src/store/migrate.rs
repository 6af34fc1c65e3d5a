//! The numbered migrations, brought to either engine.

use std::{
    borrow::Cow,
    fmt::Write,
    time::{Duration, Instant},
};

use sqlx::{
    Pool, SqlSafeStr,
    migrate::{MigrateError, Migration, Migrator},
};

use crate::store::{StoreError, connect};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// The newest schema that this program knows.
pub const SCHEMA_VERSION: i64 = 28;

/// The first migration that says what it means for older programs; those before it are of no released program.
const FIRST_DECLARED: i64 = 20;
/// How long migrating is tried while others hold what it needs: work, or another process that migrates.
const PATIENCE: Duration = Duration::from_secs(300);
/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(300);

/// What a database says of its schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Schema {
    /// The number of the last migration that was applied, 0 in an empty database.
    pub(super) version: i64,
    /// The oldest schema whose programs may work on this one.
    min_reader: i64,
}

impl Schema {
    /// Whether this program may work on it as it is.
    pub(super) fn admit(self) -> Result<(), StoreError> {
        let (Self { version: found, min_reader }, known) = (self, known());
        if found < known {
            return Err(StoreError::OlderSchema { found, needed: known });
        }
        if min_reader > known { Err(StoreError::NewerSchema { found, min_reader, known }) } else { Ok(()) }
    }
}

/// The schema of this program. A build that breaks itself for tests may pretend to be newer.
fn known() -> i64 {
    #[cfg(feature = "sabotage")]
    if super::pretend::migration().is_some() {
        return SCHEMA_VERSION + 1;
    }
    SCHEMA_VERSION
}

/// What differs between the engines when migrating.
pub(super) trait Migrating {
    /// Applies what is missing, under a lock that keeps a second process out.
    async fn apply(&self) -> Result<(), MigrateError>;
    /// What the database says of its schema.
    async fn found(&self) -> Result<Schema, StoreError>;
}

impl Migrating for connect::Postgres {
    async fn apply(&self) -> Result<(), MigrateError> {
        let pool = self.for_migrations();
        let done = migrator("postgres").run(&pool).await;
        pool.close().await;
        done
    }
    async fn found(&self) -> Result<Schema, StoreError> {
        schema(self.read()).await
    }
}

impl Migrating for connect::Sqlite {
    async fn apply(&self) -> Result<(), MigrateError> {
        migrator("sqlite").run(self.writer()).await
    }
    async fn found(&self) -> Result<Schema, StoreError> {
        schema(self.writer()).await
    }
}

fn migrator(engine: &str) -> Migrator {
    #[cfg_attr(not(feature = "sabotage"), expect(unused_mut, reason = "a build that breaks itself may add one"))]
    let mut migrations: Vec<Migration> = MIGRATIONS.iter().map(|migration| for_engine(migration, engine)).collect();
    #[cfg(feature = "sabotage")]
    migrations.extend(super::pretend::migration().map(|migration| for_engine(&migration, engine)));
    Migrator::with_migrations(migrations)
}

/// A migration as one engine takes it: without the lines between `-- @postgres` or `-- @sqlite` and the next such mark
/// (`-- @both` ends them) that are the other one's. SQLite knows bytes as BLOB and compares text by bytes anyway; the
/// rest is common to both. One that older programs cannot work with says so in the database.
fn for_engine(migration: &Migration, engine: &str) -> Migration {
    let mut sql = migration.sql.as_str().to_owned();
    if sql.contains("-- @") {
        sql = of_engine(&sql, engine);
    }
    if engine == "sqlite" {
        sql = sql.replace(" BYTEA", " BLOB").replace(" COLLATE \"C\"", "");
    }
    if migration.version >= FIRST_DECLARED && declared(&sql) != Some("additive") {
        let _ = write!(sql, "\nUPDATE schema_support SET min_reader = {};\n", migration.version);
    }
    let sql = sqlx::AssertSqlSafe(sql).into_sql_str();
    Migration::new(migration.version, migration.description.clone(), migration.migration_type, sql, migration.no_tx)
}

/// What the first line of a migration says: `additive` when programs that do not know it go on as before, `breaking` when
/// they must not.
fn declared(sql: &str) -> Option<&str> {
    sql.lines().next()?.strip_prefix("-- schema: ").map(str::trim)
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

/// Brings the schema up to date. A newer one that admits this program is left as it is.
pub(super) async fn run<D: Migrating>(db: &D) -> Result<(), StoreError> {
    let began = Instant::now();
    loop {
        match db.found().await?.admit() {
            Err(StoreError::OlderSchema { .. }) => {}
            judged => return judged,
        }
        match db.apply().await {
            Ok(()) => {}
            Err(fault) if began.elapsed() < PATIENCE && is_held_up(&fault) => {
                tracing::info!(error = %fault, "a migration waits for others and is tried again");
                tokio::time::sleep(PAUSE).await;
            }
            // Another process of a newer version was faster.
            Err(fault) => match db.found().await?.admit() {
                Err(StoreError::OlderSchema { .. }) => return Err(fault.into()),
                judged => return judged,
            },
        }
    }
}

/// Whether others held what a migration needed: a deadlock, or a lock that was waited for too long.
fn is_held_up(fault: &MigrateError) -> bool {
    let (MigrateError::Execute(fault) | MigrateError::ExecuteMigration(fault, _)) = fault else { return false };
    let code = fault.as_database_error().and_then(|fault| fault.code().map(Cow::into_owned));
    matches!(code.as_deref(), Some("40P01" | "55P03"))
}

async fn schema<DB>(pool: &Pool<DB>) -> Result<Schema, StoreError>
where
    DB: sqlx::Database,
    for<'c> &'c Pool<DB>: sqlx::Executor<'c, Database = DB>,
    for<'q> DB::Arguments: sqlx::IntoArguments<DB>,
    for<'r> (Option<i64>,): sqlx::FromRow<'r, DB::Row>,
{
    let found: sqlx::Result<(Option<i64>,)> =
        sqlx::query_as("SELECT MAX(version) FROM _sqlx_migrations").fetch_one(pool).await;
    let version = match found {
        Ok((version,)) => version.unwrap_or(0),
        Err(sqlx::Error::Database(fault)) if fault.message().contains("_sqlx_migrations") => 0,
        Err(fault) => return Err(fault.into()),
    };
    if version <= known() {
        return Ok(Schema { version, min_reader: 0 });
    }
    let (min_reader,): (Option<i64>,) =
        sqlx::query_as("SELECT MAX(min_reader) FROM schema_support").fetch_one(pool).await?;
    Ok(Schema { version, min_reader: min_reader.unwrap_or(version) })
}

#[cfg(test)]
mod tests {
    use super::{FIRST_DECLARED, MIGRATIONS, SCHEMA_VERSION, Schema, declared};
    use crate::store::StoreError;

    #[test]
    fn every_migration_says_in_its_first_line_what_it_means_for_older_programs() {
        for migration in MIGRATIONS.iter().filter(|migration| migration.version >= FIRST_DECLARED) {
            let said = declared(migration.sql.as_str());
            assert!(
                matches!(said, Some("additive" | "breaking")),
                "begin migration {} with `-- schema: additive`, or with `-- schema: breaking` when programs that do not \
                 know it must stop",
                migration.version
            );
        }
    }

    #[test]
    fn no_two_migrations_have_one_number() {
        let mut numbers: Vec<i64> = MIGRATIONS.iter().map(|migration| migration.version).collect();
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), count, "renumber a file in migrations/");
    }

    #[test]
    fn the_newest_migration_is_the_schema_of_the_program() {
        assert_eq!(MIGRATIONS.iter().map(|migration| migration.version).max(), Some(SCHEMA_VERSION));
    }

    #[test]
    fn a_program_works_on_a_newer_schema_that_admits_it() {
        let newer = |min_reader| Schema { version: SCHEMA_VERSION + 3, min_reader }.admit();
        assert!(newer(SCHEMA_VERSION - 1).is_ok() && newer(SCHEMA_VERSION).is_ok());
        assert!(matches!(newer(SCHEMA_VERSION + 1), Err(StoreError::NewerSchema { .. })));
        let older = Schema { version: SCHEMA_VERSION - 1, min_reader: 0 }.admit();
        assert!(matches!(older, Err(StoreError::OlderSchema { .. })));
    }
}
