//! What comes for an agent while it is at work.

use tokio::sync::{Mutex, mpsc, oneshot};

use crate::{domain::id::RunId, executor::Prompt};

/// A further message for an agent at work: the prompt of another run of its session.
#[derive(Debug)]
pub struct Input {
    /// The run whose prompt it is. What names the message to the agent is made from it, so that an agent which
    /// knows it already does not hear it twice, whoever offers it.
    pub run: RunId,
    /// What it says.
    pub prompt: Prompt,
    taken: oneshot::Sender<()>,
}

impl Input {
    /// An input, and what tells that it was taken. That breaks when the attempt ends without it.
    #[must_use]
    pub fn new(run: RunId, prompt: Prompt) -> (Self, oneshot::Receiver<()>) {
        let (taken, told) = oneshot::channel();
        (Self { run, prompt, taken }, told)
    }

    /// The agent has it: its run ends as merged into this one. Said before the attempt ends, and never of what
    /// was only written to the agent.
    pub fn taken(self) {
        // Nobody waits any more: the run whose prompt it is goes next by itself.
        let _ = self.taken.send(());
    }
}

/// An input that an attempt before took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// See [`Input::run`].
    pub run: RunId,
    /// See [`Input::prompt`].
    pub prompt: Prompt,
}

/// Where the inputs of an attempt come from, one after the other: the next one is offered when the one before
/// was taken.
#[derive(Debug, Default)]
pub struct Inputs(Option<Mutex<mpsc::Receiver<Input>>>);

impl Inputs {
    /// A way for inputs into one attempt.
    #[must_use]
    pub fn open() -> (mpsc::Sender<Input>, Self) {
        let (sender, receiver) = mpsc::channel(1);
        (sender, Self(Some(Mutex::new(receiver))))
    }

    /// Waits for the next one; for ever when none can come. Nothing is lost when it is dropped while waiting.
    pub async fn next(&self) -> Input {
        if let Some(receiver) = &self.0
            && let Some(input) = receiver.lock().await.recv().await
        {
            return input;
        }
        std::future::pending().await
    }
}
