//! What somebody orders of a run while its agent is at work.

use tokio::sync::{Mutex, mpsc, oneshot};

use crate::domain::control::Control;

/// One order, and whom to tell what became of it.
#[derive(Debug)]
pub struct Order {
    /// What is to be changed.
    pub control: Control,
    done: oneshot::Sender<Result<(), String>>,
}

impl Order {
    /// An order, and what tells whether it holds. That breaks when the attempt ends before.
    #[must_use]
    pub fn new(control: Control) -> (Self, oneshot::Receiver<Result<(), String>>) {
        let (done, told) = oneshot::channel();
        (Self { control, done }, told)
    }

    /// It holds, or why not.
    pub fn end(self, outcome: Result<(), String>) {
        // Nobody waits any more: the next attempt asks again.
        let _ = self.done.send(outcome);
    }
}

/// Where the orders of an attempt come from, one after the other.
#[derive(Debug, Default)]
pub struct Orders(Option<Mutex<mpsc::Receiver<Order>>>);

impl Orders {
    /// A way for orders into one attempt.
    #[must_use]
    pub fn open() -> (mpsc::Sender<Order>, Self) {
        let (sender, receiver) = mpsc::channel(1);
        (sender, Self(Some(Mutex::new(receiver))))
    }

    /// Waits for the next one; for ever when none can come. Nothing is lost when it is dropped while waiting.
    pub async fn next(&self) -> Order {
        if let Some(receiver) = &self.0
            && let Some(change) = receiver.lock().await.recv().await
        {
            return change;
        }
        std::future::pending().await
    }
}
