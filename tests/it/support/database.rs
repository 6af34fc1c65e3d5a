//! Fresh databases of both engines, one of each for every test.

use std::{fs, panic::AssertUnwindSafe, path::Path};

use futures_util::FutureExt;
use postern::{
    clock::Clock,
    crypto::sha256_hex,
    domain::time::Timestamp,
    store::{ConnectOptions, Store},
};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use tempfile::TempDir;

/// Where the clocks of tests stand in the beginning.
pub(crate) const START: Timestamp = Timestamp(1_795_000_000_000);

/// A database that goes with its test.
pub(crate) struct Database {
    /// It, opened and migrated.
    pub(crate) store: Store,
    /// The clock of `store`.
    pub(crate) clock: Clock,
    options: ConnectOptions,
    _folder: Option<TempDir>,
}

/// Runs a test on an empty database of each engine, under a clock that the test moves.
pub(crate) async fn each_engine(test: impl AsyncFn(&Database)) {
    on_sqlite(Clock::fixed(START), &test).await;
    on_postgres(Clock::fixed(START), &test).await;
}

/// The same under the system's clock.
pub(crate) async fn each_engine_in_real_time(test: impl AsyncFn(&Database)) {
    on_sqlite(Clock::system(), &test).await;
    on_postgres(Clock::system(), &test).await;
}

/// Runs a test on an empty SQLite database.
pub(crate) async fn on_sqlite(clock: Clock, test: impl AsyncFn(&Database)) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("postern.db").display());
    let database = Database::open(url, clock, Some(folder)).await;
    database.store.migrate().await.unwrap();
    println!("engine: sqlite");
    test(&database).await;
    database.store.close().await;
}

/// Runs a test on an empty Postgres database.
pub(crate) async fn on_postgres(clock: Clock, test: impl AsyncFn(&Database)) {
    let template = template().await;
    let name = format!("postern_{}", fresh_name());
    server(&format!("CREATE DATABASE {name} TEMPLATE {template}")).await.unwrap();
    let database = Database::open(url_of(&name), clock, None).await;
    println!("engine: postgres");
    let ended = AssertUnwindSafe(test(&database)).catch_unwind().await;
    database.store.close().await;
    server(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}

impl Database {
    async fn open(url: String, clock: Clock, folder: Option<TempDir>) -> Self {
        let options = ConnectOptions { url, password: None, max_connections: 10 };
        let store = Store::connect(&options, clock.clone()).await.unwrap();
        Self { store, clock, options, _folder: folder }
    }

    /// The same database as another process sees it.
    pub(crate) async fn another(&self) -> Store {
        Store::connect(&self.options, self.clock.clone()).await.unwrap()
    }

    /// A connection that stays.
    pub(crate) async fn eye(&self) -> Eye {
        match self.options.url.strip_prefix("sqlite:") {
            Some(path) => Eye::Sqlite(SqliteConnection::connect(path).await.unwrap()),
            None => Eye::Postgres(PgConnection::connect(&self.options.url).await.unwrap()),
        }
    }

    /// Runs SQL past the store.
    pub(crate) async fn execute(&self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = AssertSqlSafe(sql.to_owned());
        if let Some(path) = self.options.url.strip_prefix("sqlite:") {
            let mut connection = SqliteConnection::connect(path).await?;
            sqlx::raw_sql(sql).execute(&mut connection).await?;
            connection.close().await
        } else {
            let mut connection = PgConnection::connect(&self.options.url).await?;
            sqlx::raw_sql(sql).execute(&mut connection).await?;
            connection.close().await
        }
    }

    /// How the engine goes about a query: what it reads, by its indexes.
    pub(crate) async fn plan(&self, sql: &str) -> String {
        let lines: Vec<String> = if let Some(path) = self.options.url.strip_prefix("sqlite:") {
            let sql = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
            let mut connection = SqliteConnection::connect(path).await.unwrap();
            let rows: Vec<(i64, i64, i64, String)> = sqlx::query_as(sql).fetch_all(&mut connection).await.unwrap();
            rows.into_iter().map(|(.., detail)| detail).collect()
        } else {
            let sql = AssertSqlSafe(format!("EXPLAIN {sql}"));
            let mut connection = PgConnection::connect(&self.options.url).await.unwrap();
            sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap()
        };
        lines.join("\n")
    }

    /// The one number that a query gives.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        if let Some(path) = self.options.url.strip_prefix("sqlite:") {
            let mut connection = SqliteConnection::connect(path).await.unwrap();
            sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
        } else {
            let mut connection = PgConnection::connect(&self.options.url).await.unwrap();
            sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
        }
    }
}

/// A connection of its own, past the store.
pub(crate) enum Eye {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// Tables that stay when all else is emptied: what `World` makes, and the schema.
const LASTING: [&str; 7] =
    ["tenants", "signing_keys", "sources", "agents", "agent_versions", "triggers", "schema_support"];

impl Eye {
    /// The one number that a query gives.
    pub(crate) async fn number(&mut self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(connection) => sqlx::query_scalar(sql).fetch_one(connection).await.unwrap(),
            Self::Postgres(connection) => sqlx::query_scalar(sql).fetch_one(connection).await.unwrap(),
        }
    }

    /// Runs SQL, which may begin a transaction.
    pub(crate) async fn execute(&mut self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(connection) => drop(sqlx::raw_sql(sql).execute(connection).await.unwrap()),
            Self::Postgres(connection) => drop(sqlx::raw_sql(sql).execute(connection).await.unwrap()),
        }
    }

    /// Forgets all records.
    pub(crate) async fn clear(&mut self) {
        let tables: Vec<String> = match self {
            Self::Sqlite(connection) => {
                let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
                sqlx::query_scalar(sql).fetch_all(connection).await.unwrap()
            }
            Self::Postgres(connection) => {
                let sql = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'";
                sqlx::query_scalar(sql).fetch_all(connection).await.unwrap()
            }
        };
        let gone = tables.iter().filter(|table| !table.starts_with('_') && !LASTING.contains(&table.as_str()));
        let sql: String = gone.map(|table| format!("DELETE FROM {table};")).collect();
        let sql = AssertSqlSafe(format!("BEGIN;{sql}COMMIT"));
        match self {
            Self::Sqlite(connection) => sqlx::raw_sql(sql).execute(connection).await.map(|_| ()).unwrap(),
            Self::Postgres(connection) => sqlx::raw_sql(sql).execute(connection).await.map(|_| ()).unwrap(),
        }
    }
}

/// A migrated database to copy, made by whichever test is first. Its collation is not C, so that no
/// statement can rely on the order of bytes.
async fn template() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let sql: String = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let name = format!("postern_template_{}", &sha256_hex(sql.as_bytes())[..12]);
    let mut connection = PgConnection::connect(&server_url()).await.unwrap();
    sqlx::query("SELECT pg_advisory_lock(4711)").execute(&mut connection).await.unwrap();
    let there: Option<i32> = sqlx::query_scalar("SELECT 1 FROM pg_database WHERE datname = $1")
        .bind(&name)
        .fetch_optional(&mut connection)
        .await
        .unwrap();
    if there.is_none() {
        let half = format!("{name}_{}", fresh_name());
        let create = format!("CREATE DATABASE {half} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'");
        sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut connection).await.unwrap();
        let database = Database::open(url_of(&half), Clock::fixed(START), None).await;
        database.store.migrate().await.unwrap();
        database.store.close().await;
        let rename = format!("ALTER DATABASE {half} RENAME TO {name}");
        sqlx::raw_sql(AssertSqlSafe(rename)).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
    name
}

async fn server(sql: &str) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect(&server_url()).await?;
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await?;
    connection.close().await
}

#[expect(clippy::disallowed_methods, reason = "tests are told by the environment where their Postgres is")]
fn server_url() -> String {
    std::env::var("POSTERN_TEST_POSTGRES").expect("POSTERN_TEST_POSTGRES is not set; run scripts/test, which sets it")
}

fn url_of(database: &str) -> String {
    let url = server_url();
    let (server, _) = url.rsplit_once('/').expect("POSTERN_TEST_POSTGRES names a database");
    format!("{server}/{database}")
}

fn fresh_name() -> String {
    data_encoding::HEXLOWER.encode(&postern::crypto::random::<8>().unwrap())
}
