//! Pools for both engines, and what is checked before anything is written.

use std::{path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use sqlx::{
    AssertSqlSafe, Connection, PgPool, Postgres as PostgresDatabase, Sqlite as SqliteDatabase, SqlitePool, Transaction,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{
    clock::Clock,
    crypto::Secret,
    store::{Engine, Store, StoreError, migrate, on_engine, trust, turns::Turns, versions::Versions, writers::Writers},
};

/// How long a statement waits for a lock of another process on SQLite.
const SQLITE_BUSY: Duration = Duration::from_secs(2);
/// How long a caller waits for a free connection.
const ACQUIRE: Duration = Duration::from_secs(2);
/// How long a process that stands still, or is cut off, may hold what it locked in the middle of a transaction: others
/// wait for it. Ours asks nobody else between two statements.
const HELD_UP: &str = "3s";
/// The longest any one statement may take on Postgres.
const STATEMENT_TIMEOUT: &str = "15s";
/// Writers that accept events at the same time on Postgres: while one waits for the disk, another gathers
/// and executes. SQLite has one writer.
const INTAKE_WRITERS: u32 = 2;
/// The channel on which processes tell each other that work is ready.
const CHANNEL: &str = "postern_jobs";
/// What stands in a notice when a run is to be stopped. Versions that do not know it take it for one of work.
const CANCELED: &str = "canceled";
/// What stands in a notice when sources or agents changed.
const CHANGED: &str = "changed";
/// What is said when an answer came that a tool waits for.
const NEWS: &str = "news";

/// Where the records are.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// `sqlite:PATH` or `postgres://…`.
    pub url: String,
    /// The password of the Postgres role.
    pub password: Option<Secret>,
    /// Connections to Postgres, or readers of SQLite.
    pub max_connections: u32,
}

#[derive(Clone, Debug)]
pub(super) struct Postgres {
    pool: PgPool,
    writers: Writers,
    connect: Arc<PgConnectOptions>,
}

#[derive(Clone, Debug)]
pub(super) struct Sqlite {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl Postgres {
    pub(super) const fn read(&self) -> &PgPool {
        &self.pool
    }
    pub(super) const fn writers(&self) -> &Writers {
        &self.writers
    }
    /// A connection whose statements may last, and which waits for a lock only as long as others may wait for what it
    /// holds meanwhile.
    pub(super) fn for_migrations(&self) -> PgPool {
        let options =
            [("statement_timeout", "0"), ("idle_in_transaction_session_timeout", "0"), ("lock_timeout", "2s")];
        lazy_pool(&PgConnectOptions::clone(&self.connect).options(options), 1)
    }
    /// On the heap: its 4 KB would stand in the future of every task that may write once.
    pub(super) fn begin(&self) -> BoxFuture<'_, sqlx::Result<Transaction<'static, PostgresDatabase>>> {
        Box::pin(self.pool.begin())
    }
    /// Lets one process at a time pass the gates of a tenant's groups, until the transaction ends.
    pub(super) async fn lock_gates(
        &self,
        tx: &mut Transaction<'_, PostgresDatabase>,
        tenant: &str,
    ) -> sqlx::Result<()> {
        let sql = "SELECT pg_advisory_xact_lock(hashtextextended($1, 7305808869229538))";
        sqlx::query(sql).bind(tenant).execute(&mut **tx).await.map(|_| ())
    }
    /// Lets one transaction at a time accept copies of the same mails. The locks are few, since the server has room for
    /// few: different mails may share one. They are taken in order.
    pub(super) async fn lock_copies(
        &self,
        tx: &mut Transaction<'_, PostgresDatabase>,
        once_keys: &[String],
    ) -> sqlx::Result<()> {
        let sql = "SELECT pg_advisory_xact_lock(1886352244, bucket) FROM (SELECT DISTINCT hashtext(key) & 127 AS bucket \
                   FROM unnest($1) AS key ORDER BY 1) buckets";
        sqlx::query(sql).bind(once_keys).execute(&mut **tx).await.map(|_| ())
    }
    /// The engine's form of a statement: `@any($n)` is membership in a list that [`Self::list`] binds,
    /// `@each($n)` are the items of a JSON array as rows with a column `value`, `@share` keeps the rows there and `@lock`
    /// holds them until the transaction ends, `@skip_locked` does so and leaves out those that another one holds.
    pub(super) fn sql(&self, text: &str) -> AssertSqlSafe<String> {
        let text = replace_call(text, "@any(", ["= ANY(", ")"]);
        let text = replace_call(&text, "@each(", ["json_array_elements(CAST(", " AS JSON))"]);
        AssertSqlSafe(
            text.replace("@skip_locked", "FOR UPDATE SKIP LOCKED")
                .replace("@lock", "FOR UPDATE")
                .replace("@share", "FOR KEY SHARE"),
        )
    }
    /// A list to bind for `@any`.
    pub(super) fn list(&self, ids: &[String]) -> Vec<String> {
        ids.to_vec()
    }
}

impl Sqlite {
    pub(super) const fn read(&self) -> &SqlitePool {
        &self.readers
    }
    pub(super) const fn writer(&self) -> &SqlitePool {
        &self.writer
    }
    /// Takes the write lock at once: a transaction that reads first and writes later would fail with
    /// SQLITE_BUSY when another one wrote in between.
    pub(super) fn begin(&self) -> BoxFuture<'_, sqlx::Result<Transaction<'static, SqliteDatabase>>> {
        Box::pin(self.writer.begin_with("BEGIN IMMEDIATE"))
    }
    /// The write lock that `begin` took is enough.
    #[expect(clippy::unused_async, reason = "the same call serves both engines")]
    pub(super) async fn lock_gates(&self, _: &mut Transaction<'static, SqliteDatabase>, _: &str) -> sqlx::Result<()> {
        Ok(())
    }
    /// As above.
    #[expect(clippy::unused_async, reason = "the same call serves both engines")]
    pub(super) async fn lock_copies(
        &self,
        _: &mut Transaction<'static, SqliteDatabase>,
        _: &[String],
    ) -> sqlx::Result<()> {
        Ok(())
    }
    /// See [`Postgres::sql`]. One writer at a time holds the whole database, so no rows are skipped.
    pub(super) fn sql(&self, text: &str) -> AssertSqlSafe<String> {
        let text = replace_call(text, "@any(", ["IN (SELECT value FROM json_each(", "))"]);
        let text = replace_call(&text, "@each(", ["json_each(", ")"]);
        AssertSqlSafe(text.replace("@skip_locked", "").replace("@lock", "").replace("@share", ""))
    }
    /// See [`Postgres::list`].
    pub(super) fn list(&self, ids: &[String]) -> String {
        super::to_json(&ids)
    }
}

fn replace_call(text: &str, call: &str, [open, close]: [&str; 2]) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(call) {
        let (argument, after) = after.split_once(')').unwrap_or((after, ""));
        out.push_str(before);
        out.push_str(open);
        out.push_str(argument);
        out.push_str(close);
        rest = after;
    }
    out.push_str(rest);
    out
}

/// What processes tell each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Work may be ready.
    Work,
    /// Somebody wants a run stopped that another process may hold; and work may be ready.
    Canceled,
    /// Sources or agents changed; and work may be ready.
    Changed,
    /// What a tool of an agent waits for may have come.
    News,
    /// The connection broke: what was announced meanwhile is not known, so it may have been anything.
    Unknown,
}

/// Tells when another process says that work is ready.
pub struct Notices(Option<PgListener>);

impl Notices {
    /// Waits for the next notice; for ever on SQLite, which has one process. Errors are waited out.
    pub async fn next(&mut self) -> Notice {
        match &mut self.0 {
            None => std::future::pending().await,
            Some(listener) => match listener.try_recv().await {
                Ok(Some(notice)) => match notice.payload() {
                    CANCELED => Notice::Canceled,
                    CHANGED => Notice::Changed,
                    NEWS => Notice::News,
                    _ => Notice::Work,
                },
                // The connection broke and is made anew.
                Ok(None) => Notice::Unknown,
                Err(fault) => {
                    tracing::debug!(error = %fault, "listening for work failed; polling goes on");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    Notice::Unknown
                }
            },
        }
    }
}

impl Store {
    /// Opens the database; makes it when it is SQLite and not there. The schema is not touched.
    ///
    /// # Errors
    /// When it cannot be reached, or SQLite would not be durable.
    pub async fn connect(options: &ConnectOptions, clock: Clock) -> Result<Self, StoreError> {
        let engine = if let Some(path) = options.url.strip_prefix("sqlite:") {
            Engine::Sqlite(open_sqlite(path, options.max_connections).await?)
        } else if options.url.starts_with("postgres://") || options.url.starts_with("postgresql://") {
            Engine::Postgres(open_postgres(options).await?)
        } else {
            return Err(StoreError::Url(options.url.split('@').next_back().unwrap_or_default().to_owned()));
        };
        let mut store = Self {
            engine,
            clock,
            turns: Turns::default(),
            versions: Versions::default(),
            tenant_limit: None,
            replaced: Arc::default(),
        };
        if store.clock.is_system() {
            store.set_clock().await?;
        }
        Ok(store)
    }

    /// Brings the schema up to date. A newer one on which this program may work stays as it is.
    ///
    /// # Errors
    /// When it is too new for this program, or a migration fails.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        on_engine!(self, |db| migrate::run(db).await)
    }

    /// The schema's number in the database; 0 when there is none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn schema_version(&self) -> Result<i64, StoreError> {
        on_engine!(self, |db| migrate::Migrating::found(db).await.map(|schema| schema.version))
    }

    /// Whether this program may work on the schema as it is: it is its own, or a newer one that admits it.
    ///
    /// # Errors
    /// [`StoreError::OlderSchema`], [`StoreError::NewerSchema`], or the database failed.
    pub async fn check_schema(&self) -> Result<(), StoreError> {
        on_engine!(self, |db| migrate::Migrating::found(db).await?.admit())
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        on_engine!(self, |db| sqlx::query("SELECT 1").execute(db.read()).await.map(|_| ())?);
        Ok(())
    }

    /// Listens for work that other processes announce.
    ///
    /// # Errors
    /// When the listening connection cannot be made.
    pub async fn notices(&self) -> Result<Notices, StoreError> {
        Ok(Notices(match &self.engine {
            Engine::Sqlite(_) => None,
            Engine::Postgres(db) => {
                let mut listener = PgListener::connect_with(&db.pool).await?;
                listener.listen(CHANNEL).await?;
                Some(listener)
            }
        }))
    }

    /// Tells other processes that work is ready. Never inside a transaction: commits that notify run
    /// one after the other.
    ///
    /// # Errors
    /// When the database fails; polling finds the work all the same.
    pub async fn announce(&self, notice: Notice) -> Result<(), StoreError> {
        let word = match notice {
            Notice::Work | Notice::Unknown => "",
            Notice::Changed => CHANGED,
            Notice::News => NEWS,
            Notice::Canceled => CANCELED,
        };
        if let Engine::Postgres(db) = &self.engine {
            sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(word).execute(&db.pool).await?;
        }
        Ok(())
    }

    /// How many writers may accept events at the same time.
    #[must_use]
    pub const fn intake_writers(&self) -> u32 {
        match self.engine {
            Engine::Postgres(_) => INTAKE_WRITERS,
            Engine::Sqlite(_) => 1,
        }
    }

    /// Gives up the connections of the accepting writers, after one did not answer in time.
    pub fn renew_intake(&self) {
        if let Engine::Postgres(db) = &self.engine {
            db.writers.replace(lazy_pool(&db.connect, INTAKE_WRITERS));
        }
    }

    /// Closes all connections.
    pub async fn close(&self) {
        match &self.engine {
            Engine::Postgres(db) => {
                db.writers.close().await;
                db.pool.close().await;
            }
            Engine::Sqlite(db) => {
                db.readers.close().await;
                db.writer.close().await;
            }
        }
    }
}

async fn open_postgres(options: &ConnectOptions) -> Result<Postgres, StoreError> {
    let mut connect = PgConnectOptions::from_str(&options.url)?.application_name("postern").options([
        ("statement_timeout", STATEMENT_TIMEOUT),
        ("synchronous_commit", "on"),
        ("idle_in_transaction_session_timeout", HELD_UP),
    ]);
    if let Some(password) = options.password.as_ref().and_then(Secret::expose_str) {
        connect = connect.password(password);
    }
    // One plan for the accepting statement: it is the same work whatever the batch.
    let intake = connect.clone().options([("plan_cache_mode", "force_generic_plan")]);
    let opened = Postgres {
        pool: lazy_pool(&connect, options.max_connections.max(2)),
        writers: Writers::new(lazy_pool(&intake, INTAKE_WRITERS)),
        connect: Arc::new(intake),
    };
    sqlx::query("SELECT 1").execute(&opened.pool).await?;
    Ok(opened)
}

fn lazy_pool(connect: &PgConnectOptions, connections: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE)
        .test_before_acquire(false)
        .before_acquire(|_, about| Box::pin(std::future::ready(Ok(trust::holds(about.age)))))
        .connect_lazy_with(connect.clone())
}

async fn open_sqlite(path: &str, readers: u32) -> Result<Sqlite, StoreError> {
    let path = PathBuf::from(path.trim_start_matches("//"));
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(sqlx::Error::Io)?;
    }
    let connect = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(SQLITE_BUSY)
        .pragma("cache_size", "-4096")
        .pragma("journal_size_limit", "67108864")
        .statement_cache_capacity(64);
    let writer = SqlitePoolOptions::new()
        .max_connections(1)
        .min_connections(1)
        .acquire_timeout(ACQUIRE)
        .idle_timeout(None)
        .max_lifetime(None)
        // SQLite itself rolls back when the disk is full or fails (lang_transaction.html). The driver then believes for
        // ever that a transaction is open, and begins none: such a connection is exchanged.
        .before_acquire(|connection, _| Box::pin(std::future::ready(Ok(!connection.is_in_transaction()))))
        .connect_with(connect.clone())
        .await?;
    let (level,): (i64,) = sqlx::query_as("PRAGMA synchronous").fetch_one(&writer).await?;
    if level < 2 {
        return Err(StoreError::NotDurable(level));
    }
    let readers = SqlitePoolOptions::new()
        .max_connections(readers.max(1))
        .acquire_timeout(ACQUIRE)
        .connect_lazy_with(connect.read_only(true));
    Ok(Sqlite { writer, readers })
}
