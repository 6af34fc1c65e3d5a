//! How services report back that work on a run for long: the way is opened before they are asked, and what comes by it is
//! kept, whichever process hears it.

use crate::{
    crypto::Secret,
    executor::{BoxFuture, Stopped},
};

/// A way back to us for one run.
pub struct Way {
    /// Where reports go.
    pub url: String,
    /// Proves that a report is for this run; nobody else knows it.
    pub token: Secret,
    /// The task that a service named in an attempt before, when this one goes on with it.
    pub task: Option<String>,
}

/// What becomes of reports of attempts before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Earlier {
    /// They count: the same piece of work goes on.
    Keep,
    /// They and their ways are forgotten.
    Forget,
}

/// Reports of one run, under its lease.
pub trait Callbacks: Send + Sync {
    /// Opens a way; `None` when this server has no URL that it could be reached by.
    fn open(&self, earlier: Earlier) -> BoxFuture<'_, Result<Option<Way>, Stopped>>;

    /// Keeps the id by which the service knows the work.
    fn keep_task<'a>(&'a self, task: &'a str) -> BoxFuture<'a, Result<(), Stopped>>;

    /// Closes all ways, and forgets what came by them.
    fn forget(&self) -> BoxFuture<'_, Result<(), Stopped>>;

    /// Lines that came behind number `after`, in order, some of them.
    fn lines(&self, after: i64) -> BoxFuture<'_, Result<Vec<(i64, String)>, Stopped>>;
}
