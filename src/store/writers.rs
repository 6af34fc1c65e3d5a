//! The connections of the writers that accept events: kept from one commit to the next, since a pool asks the server
//! for a sign of life whenever one is given back.

use std::{
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::{PgConnection, PgPool, Postgres, pool::PoolConnection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::store::trust;

/// A connection that is kept is used so long at most.
const LONGEST: Duration = Duration::from_secs(600);

/// The writers' own pool, so that commits never wait behind other work, and what is kept beside it.
#[derive(Clone, Debug)]
pub(super) struct Writers {
    /// Exchanged for a new one when a connection is given up.
    pool: Arc<RwLock<PgPool>>,
    kept: Arc<Mutex<Vec<Kept>>>,
    /// One for each connection: who waits for the pool alone would never see one that is kept.
    turns: Arc<Semaphore>,
    patience: Duration,
    /// How often all connections were given up.
    generation: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Kept {
    connection: PoolConnection<Postgres>,
    since: Instant,
    generation: u64,
}

/// A connection in use. It goes back to the pool when this is dropped, unless it is [kept](Writer::keep).
pub(super) struct Writer {
    connection: PoolConnection<Postgres>,
    since: Instant,
    generation: u64,
    turn: OwnedSemaphorePermit,
}

impl Writers {
    pub(super) fn new(pool: PgPool) -> Self {
        let options = pool.options();
        let (turns, patience) = (options.get_max_connections(), options.get_acquire_timeout());
        let turns = Arc::new(Semaphore::new(turns as usize));
        Self { pool: Arc::new(RwLock::new(pool)), kept: Arc::default(), turns, patience, generation: Arc::default() }
    }

    /// One of the connections, alone for the caller. Like the pool, it gives up after a while.
    pub(super) async fn take(&self) -> sqlx::Result<Writer> {
        let turn = tokio::time::timeout(self.patience, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn.map_err(|_| sqlx::Error::PoolTimedOut)?.map_err(|_| sqlx::Error::PoolClosed)?;
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(Kept { connection, since, generation }) = kept {
            if since.elapsed() < LONGEST && trust::holds(since.elapsed()) {
                return Ok(Writer { connection, since, generation, turn });
            }
            // The pool would wait for a sign of life.
            drop(connection.detach());
        }
        let (pool, generation) = (self.pool(), self.generation.load(Ordering::SeqCst));
        Ok(Writer { connection: pool.acquire().await?, since: Instant::now(), generation, turn })
    }

    /// Keeps a connection on which all went well for the next commit.
    pub(super) fn keep(&self, Writer { connection, since, generation, turn }: Writer) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever closes the pool waits for all of its connections.
        if generation == self.generation.load(Ordering::SeqCst) && !self.pool().is_closed() {
            kept.push(Kept { connection, since, generation });
        }
        drop(turn);
    }

    /// Gives all connections up for those of a new pool.
    pub(super) fn replace(&self, pool: PgPool) {
        *self.pool.write().unwrap_or_else(PoisonError::into_inner) = pool;
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.let_go();
    }

    /// Closes the pool, once no writer is at work.
    pub(super) async fn close(&self) {
        let pool = self.pool();
        let closed = pool.close();
        self.let_go();
        closed.await;
    }

    fn pool(&self) -> PgPool {
        self.pool.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn let_go(&self) {
        let kept = std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        kept.into_iter().for_each(|kept| drop(kept.connection.detach()));
    }
}

impl Deref for Writer {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Writer {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}
