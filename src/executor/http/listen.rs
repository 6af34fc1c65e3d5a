//! Hears a service, and writes down what it says.

use serde_json::{Value, json};

use crate::{
    domain::run::{Failure, FailureCode, MessageKind, RunResult},
    egress::streamed::Streamed,
    executor::{
        RunSink, Stopped,
        command::reader::Events,
        ground::Bounds,
        http::answer::Answer,
        lines::Line,
        mask::Mask,
        pipes::{Meter, Stream},
    },
};

/// Everything that one service said in one attempt.
pub(super) struct Listener<'a> {
    sink: &'a mut dyn RunSink,
    mask: &'a Mask,
    bounds: Bounds,
    meter: Meter,
    events: Events,
    told: bool,
}

impl<'a> Listener<'a> {
    /// Before it said anything.
    pub(super) fn new(sink: &'a mut dyn RunSink, mask: &'a Mask, bounds: Bounds) -> Self {
        let (meter, events) = (Meter::new(bounds.output_bytes), Events::new(Box::new(Answer)));
        Self { sink, mask, bounds, meter, events, told: false }
    }

    /// Reads lines until the last word; a stream that ends before it is a failure.
    pub(super) async fn stream(&mut self, answer: Streamed) -> Result<(), Stopped> {
        self.lines(answer).await?;
        if self.is_over() { Ok(()) } else { Err(executor("the service's answer ended before its result").into()) }
    }

    /// Reads lines until the last word, or the end of the answer; how many.
    pub(super) async fn lines(&mut self, mut answer: Streamed) -> Result<i64, Stopped> {
        let (mut lines, mut count) = (Stream::new(self.mask), 0);
        loop {
            let chunk = match tokio::time::timeout(self.bounds.idle, answer.next()).await {
                Ok(chunk) => chunk.map_err(|fault| executor(format!("the service's answer broke off: {fault}")))?,
                Err(_) => return Err(idle(self.bounds).into()),
            };
            if chunk.as_ref().is_some_and(|chunk| chunk.is_empty()) {
                continue;
            }
            let chunk = chunk.unwrap_or_default();
            self.meter.count(chunk.len())?;
            for line in lines.push(&chunk) {
                count += i64::from(line.complete && !line.text.trim().is_empty());
                self.events.push(&line, self.mask);
                self.record().await?;
                if self.is_over() {
                    return Ok(count);
                }
            }
            if chunk.is_empty() {
                self.events.finish(self.mask);
                self.record().await?;
                return Ok(count);
            }
        }
    }

    /// Takes a line of a report; the last word ends it.
    pub(super) async fn line(&mut self, text: String) -> Result<(), Stopped> {
        self.meter.count(text.len())?;
        self.events.push(&Line { text, complete: true, changed: false }, self.mask);
        self.record().await
    }

    /// Takes an answer that is one JSON object: the result, or an `error`.
    pub(super) async fn whole(&mut self, body: &[u8]) -> Result<(), Stopped> {
        let mut said: Value = serde_json::from_slice(body)
            .ok()
            .filter(Value::is_object)
            .ok_or_else(|| executor("the service's answer is no JSON object"))?;
        if said.get("type").is_none() {
            said["type"] = json!("result");
        }
        self.meter.count(body.len())?;
        self.events.hear(said, self.mask);
        self.record().await?;
        if self.is_over() { Ok(()) } else { Err(executor("the service's answer is no result").into()) }
    }

    /// Something about the run itself.
    pub(super) async fn status(&mut self, text: &str) -> Result<(), Stopped> {
        Ok(self.sink.message(MessageKind::Status, json!({"text": self.mask.text(text)})).await?)
    }

    /// Whether the last word was said.
    pub(super) const fn is_over(&self) -> bool {
        self.events.heard().is_over
    }

    /// The outcome of an attempt that ended so.
    pub(super) fn end(self, outcome: Result<(), Stopped>) -> Result<RunResult, Stopped> {
        let heard = self.events.into_heard();
        heard.models().into_iter().for_each(|(model, took)| self.sink.spent(&model, took));
        let failure = match outcome {
            Ok(()) => heard.failure,
            Err(Stopped::Failed(failure, _)) => Some(failure),
            Err(stopped @ (Stopped::Canceled | Stopped::LeaseLost)) => return Err(stopped),
        };
        if let Some(mut failure) = failure {
            failure.message = self.mask.text(&failure.message);
            return Err(Stopped::Failed(failure, heard.usage));
        }
        Ok(RunResult {
            text: self.mask.text(&heard.answer.unwrap_or_default()),
            structured: heard.structured,
            usage: heard.usage,
            resume_id: heard.conversation,
        })
    }

    async fn record(&mut self) -> Result<(), Stopped> {
        for (kind, body) in self.events.recorded(self.mask) {
            if let (MessageKind::Status, Some(model)) = (kind, body["model"].as_str()) {
                self.sink.model(model);
            }
            self.sink.message(kind, body).await?;
        }
        if !self.told
            && let Some(id) = &self.events.heard().conversation
        {
            self.sink.conversation(id);
            self.told = true;
        }
        Ok(())
    }
}

/// What a service fails with that was silent.
pub(super) fn idle(bounds: Bounds) -> Failure {
    Failure::new(FailureCode::Idle, format!("the service said nothing for {} s", bounds.idle.as_secs_f64()))
}

/// A failure that another try may mend.
pub(super) fn executor(why: impl Into<String>) -> Failure {
    Failure::new(FailureCode::Executor, why)
}
