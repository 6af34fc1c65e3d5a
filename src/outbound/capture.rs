//! The way out that leads nowhere: messages are kept, nothing is sent.

use crate::{
    domain::delivery::{Attempt, Outgoing},
    outbound::{BoxFuture, Channel, outcome::delivered},
};

/// Takes every message and sends none: the store's copy is what is kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct Capture;

impl Channel for Capture {
    fn send<'a>(&'a self, _outgoing: &'a Outgoing) -> BoxFuture<'a, Attempt> {
        Box::pin(async { delivered(None, "captured".to_owned()) })
    }

    fn captures(&self) -> bool {
        true
    }
}
