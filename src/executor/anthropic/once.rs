//! One request and the stream that answers it.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::{
    domain::{
        details::{ModelUsage, UnderWay},
        run::{Failure, FailureCode},
    },
    executor::{
        Stopped,
        anthropic::{
            answer::{Answer, Step},
            api::{self, Trouble},
            sse::Events,
            work::Work,
        },
        claude::record,
        tools::end_of,
    },
};

impl Work<'_> {
    /// Sends one request. What the model says goes into the record block by block, before all of it is there.
    pub(super) async fn once(&mut self, body: Vec<u8>) -> Result<Result<Answer, Trouble>, Stopped> {
        let mut answer = Answer::default();
        let read = self.read(body, &mut answer).await;
        self.spent.add(answer.tokens, self.order.price.as_ref());
        self.tell_spent();
        Ok(read?.map(|()| answer))
    }

    /// What was taken so far is the run's also when this worker dies.
    pub(super) fn tell_spent(&mut self) {
        let usage = self.spent.usage();
        let took = ModelUsage::from(usage);
        let unpriced_tokens = if self.order.price.is_none() { took.tokens() } else { 0 };
        let models = BTreeMap::from([(self.order.model.clone(), took)]);
        self.sink.under_way(UnderWay { turns: usage.turns, models, unpriced_tokens });
    }

    async fn read(&mut self, body: Vec<u8>, answer: &mut Answer) -> Result<Result<(), Trouble>, Stopped> {
        let until = end_of(self.until, self.spec.tools.as_ref());
        let whole = until.saturating_duration_since(Instant::now());
        let mut stream = match self.api.ask(body, whole).await {
            Ok(stream) => stream,
            Err(trouble) => return Ok(Err(trouble)),
        };
        let (mut events, mut heard) = (Events::default(), Instant::now());
        loop {
            let chunk = match tokio::time::timeout_at(heard + self.bounds.idle, stream.next()).await {
                Err(_) => return Err(self.too_quiet().into()),
                Ok(Err(error)) => return Ok(Err(api::cut(Some(&error)))),
                Ok(Ok(None)) => return Ok(Err(api::cut(None))),
                Ok(Ok(Some(chunk))) => chunk,
            };
            self.meter.count(chunk.len())?;
            let Ok(came) = events.push(&chunk) else {
                let why = "the model's API sent an event that does not end";
                return Err(Failure::new(FailureCode::Executor, why).into());
            };
            if came.is_alive {
                heard = Instant::now();
            }
            for event in came.events {
                match answer.take(&event) {
                    Ok(Step::Nothing) => {}
                    Ok(Step::Block(block)) => {
                        if let Some(line) = record::assistant_block(&block) {
                            self.note(line).await?;
                        }
                    }
                    Ok(Step::Done) => return Ok(Ok(())),
                    Err(fault) => return Ok(Err(api::broken(fault))),
                }
            }
        }
    }

    fn too_quiet(&self) -> Failure {
        Failure::new(FailureCode::Idle, format!("no output for {} s", self.bounds.idle.as_secs_f64()))
    }
}
