//! Ways out: email, SMS, webhook. One attempt each; retrying is the pipeline's business.

use std::{future::Future, pin::Pin};

use crate::domain::delivery::{Attempt, Outgoing};

/// A boxed future, for traits used as objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A way out.
pub trait Channel: Send + Sync {
    /// Makes one attempt, bounded in time. Never panics, never logs secrets.
    fn send<'a>(&'a self, outgoing: &'a Outgoing) -> BoxFuture<'a, Attempt>;

    /// Whether it keeps messages instead of sending them.
    fn captures(&self) -> bool {
        false
    }
}
