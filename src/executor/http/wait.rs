//! Waits for what a service reports back.

use std::time::Duration;

use tokio::time::Instant;

use crate::executor::{
    Stopped,
    http::{
        Attempt,
        listen::{Listener, idle},
    },
};

/// How long nobody looks after nothing was found; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

impl Attempt<'_> {
    /// Takes what came while nobody listened. Whether the last word is among it.
    pub(super) async fn catch_up(&mut self, listener: &mut Listener<'_>) -> Result<bool, Stopped> {
        if self.way.is_none() {
            return Ok(false);
        }
        while self.take(listener).await? > 0 && !listener.is_over() {}
        Ok(listener.is_over())
    }

    /// Until the last word.
    pub(super) async fn wait(&mut self, listener: &mut Listener<'_>) -> Result<(), Stopped> {
        let (mut pause, mut heard) = (FIRST_PAUSE, Instant::now());
        loop {
            if self.take(listener).await? > 0 {
                (pause, heard) = (FIRST_PAUSE, Instant::now());
            }
            if listener.is_over() {
                return Ok(());
            }
            if heard.elapsed() > self.bounds.idle {
                return Err(idle(self.bounds).into());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Takes some lines; how many.
    async fn take(&mut self, listener: &mut Listener<'_>) -> Result<usize, Stopped> {
        let lines = self.access.callbacks.lines(self.read).await?;
        let count = lines.len();
        for (number, line) in lines {
            self.read = number;
            if !listener.is_over() {
                listener.line(line).await?;
            }
        }
        Ok(count)
    }
}
