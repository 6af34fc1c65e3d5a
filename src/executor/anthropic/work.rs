//! One attempt: whose turn it is, again and again, until there is an answer. All that it goes by stands in the
//! conversation, so that another attempt goes on where this one was.

use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::Instant};

use crate::{
    domain::run::{Failure, FailureCode, MessageKind, RunResult},
    executor::{
        Input, RunSink, RunSpec, Stopped,
        anthropic::{
            answer::Answer,
            api::{AnthropicSetup, Trouble},
            entry::{self, Call, Next, Said},
            files::Files,
            order::Order,
            spent::Spent,
            talk::{Talk, stable_id},
            tools::Tools,
        },
        claude::record::{self, Line},
        ground::Bounds,
        mask::Mask,
        pipes::Meter,
        tools::ToolReply,
    },
};

/// Calls of one answer that are done at the same time.
const CALLS: usize = 8;
/// Requests for one answer.
const TRIES: u32 = 3;
/// The first wait between them where the API names none; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// A longer wait is the queue's: no worker is kept busy by it.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// What the model hears that ended without an answer as JSON.
const REMINDER: &str = "You have not given your answer with the tool StructuredOutput. Call it now, with your answer \
                        in the form that its schema asks for. Nothing else of what you say is used.";

/// What an attempt goes by.
pub(super) struct Work<'a> {
    /// What is run.
    pub(super) spec: &'a RunSpec,
    /// Where it is recorded.
    pub(super) sink: &'a mut dyn RunSink,
    /// The secrets that stay out of the record.
    pub(super) mask: &'a Mask,
    /// Who is asked.
    pub(super) api: &'a AnthropicSetup,
    /// What every request says.
    pub(super) order: Order,
    /// What the model may call.
    pub(super) tools: Tools,
    /// What was said.
    pub(super) talk: Talk<'a>,
    /// Files of the event.
    pub(super) files: Files,
    /// Where it must stop.
    pub(super) bounds: Bounds,
    /// Answers of the model at most.
    pub(super) turns: u32,
    /// When it must have ended.
    pub(super) until: Instant,
    /// Counts what the API sends.
    pub(super) meter: Meter,
    /// What it took.
    pub(super) spent: Spent,
    /// Whether the model was reminded of the answer that it owes.
    pub(super) reminded: bool,
    /// A message that is said, and that the model has not answered to.
    pub(super) said: Option<Input>,
}

impl Work<'_> {
    /// Runs it to its end.
    pub(super) async fn run(&mut self) -> Result<RunResult, Stopped> {
        self.begin().await?;
        loop {
            match self.talk.next(self.tools.given()) {
                Next::Ask => {
                    self.hear().await?;
                    self.turn().await?;
                }
                Next::Calls(calls) => self.call(calls).await?,
                Next::Given(answer) if !self.hear().await? => {
                    let mut answer = answer;
                    self.mask.value(&mut answer);
                    return Ok(self.result(answer.to_string(), Some(answer)));
                }
                Next::Ended(text) if !self.hear().await? => {
                    if self.tools.given().is_none() {
                        return Ok(self.result(self.mask.text(&text), None));
                    }
                    self.remind().await?;
                }
                Next::Given(_) | Next::Ended(_) => {}
            }
        }
    }

    fn result(&self, text: String, structured: Option<Value>) -> RunResult {
        RunResult { text, structured, usage: self.spent.usage(), resume_id: Some(self.talk.id.clone()) }
    }

    /// Says the prompt where the conversation does not hold it, and what attempts before took besides.
    async fn begin(&mut self) -> Result<(), Stopped> {
        let prompt = prompt_id(self.spec);
        let is_over = matches!(self.talk.next(self.tools.given()), Next::Ended(_) | Next::Given(_));
        // An answer that nobody took: the worker vanished after it, or the run that gave it took this prompt in.
        let is_untold = self.spec.interrupted || self.spec.attempt == 1;
        let again = format!("prompt-{}", self.spec.fence);
        let id = match self.talk.known().contains(prompt.as_str()) {
            false => Some(prompt),
            true if is_over && is_untold => None,
            true if !is_over && self.talk.is_last() => None,
            true => Some(stable_id(self.spec, &again)),
        };
        if let Some(text) = self.files.told() {
            self.note(record::status(text)).await?;
        }
        if let Some(id) = id {
            self.add(id, Said::User { content: self.files.beside(&self.spec.prompt.blocks) }).await?;
        }
        for taken in &self.spec.taken {
            let id = entry::prompt_id(&taken.run);
            if !self.talk.known().contains(id.as_str()) {
                self.say(id, &taken.prompt.blocks).await?;
            }
        }
        Ok(())
    }

    /// Takes in what came meanwhile. `true`: the model has something to answer to.
    async fn hear(&mut self) -> Result<bool, Stopped> {
        while self.said.is_none()
            && let Some(input) = self.spec.inputs.next().now_or_never()
        {
            let id = entry::prompt_id(&input.run);
            if self.talk.known().contains(id.as_str()) {
                input.taken();
                continue;
            }
            self.say(id, &input.prompt.blocks).await?;
            self.said = Some(input);
            return Ok(true);
        }
        Ok(false)
    }

    async fn remind(&mut self) -> Result<(), Stopped> {
        if std::mem::replace(&mut self.reminded, true) {
            let why = "the agent gave no answer that fits output_schema, also when it was reminded";
            return Err(Failure::new(FailureCode::Output, why).into());
        }
        self.note(record::reminded()).await?;
        self.say(stable_id(self.spec, &format!("reminder-{}", self.spec.fence)), &[REMINDER.to_owned()]).await
    }

    async fn say(&mut self, id: String, blocks: &[String]) -> Result<(), Stopped> {
        self.add(id, Said::User { content: entry::texts(blocks) }).await
    }

    async fn add(&mut self, id: String, said: Said) -> Result<(), Stopped> {
        if let Some(text) = self.talk.add(id, said).await? {
            self.note(record::status(text.to_owned())).await?;
        }
        self.sink.conversation(&self.talk.id);
        Ok(())
    }

    /// Puts a line into the record.
    pub(super) async fn note(&mut self, (kind, mut body): Line) -> Result<(), Stopped> {
        self.mask.value(&mut body);
        Ok(self.sink.message(kind, body).await?)
    }

    /// One answer of the model, kept.
    async fn turn(&mut self) -> Result<(), Stopped> {
        if self.spent.all_turns() >= i64::from(self.turns) {
            let why = format!("{} turns brought no end; raise limits.turns", self.turns);
            return Err(Failure::new(FailureCode::MaxTurns, why).into());
        }
        let answer = self.ask().await?;
        self.spent.end_turn();
        self.tell_spent();
        let stop = answer.stop.unwrap_or_default();
        match stop.as_str() {
            "end_turn" | "stop_sequence" | "tool_use" | "pause_turn" => {}
            "refusal" => {
                // Whoever says it again is refused again.
                self.add(stable_id(self.spec, &format!("dropped-{}", self.spec.fence)), Said::Dropped).await?;
                return Err(Failure::new(FailureCode::Model, "the model refused to answer").into());
            }
            "max_tokens" => {
                let why = format!("the answer was cut at {} tokens; raise max_tokens", self.order.max_tokens);
                return Err(Failure::new(FailureCode::OutputLimit, why).into());
            }
            "model_context_window_exceeded" => {
                let why = "the conversation became longer than the model takes";
                return Err(Failure::new(FailureCode::InvalidPrompt, why).into());
            }
            other => {
                let why = format!("the model stopped for a reason that is not known: `{other}`");
                return Err(Failure::new(FailureCode::Model, why).into());
            }
        }
        let turn = format!("answer-{}-{}", self.spec.fence, self.spent.turns());
        let said = Said::Assistant { content: answer.blocks, stop, broken: answer.broken };
        self.add(stable_id(self.spec, &turn), said).await?;
        if let Some(input) = self.said.take() {
            input.taken();
        }
        Ok(())
    }

    /// Asks until an answer comes, a few times.
    async fn ask(&mut self) -> Result<Answer, Stopped> {
        let mut tried = 0;
        loop {
            if self.order.budget_micros.is_some_and(|budget| self.spent.all_micros() >= budget) {
                let spent = self.spent.all_micros().round();
                let why = format!("{spent} millionths of a dollar are spent; raise limits.budget_usd");
                return Err(Failure::new(FailureCode::Budget, why).into());
            }
            let mut messages = self.talk.messages();
            self.files.fill(&mut messages);
            let body = self.order.body(&self.tools, messages);
            let trouble = match self.once(body).await? {
                Ok(answer) => return Ok(answer),
                Err(trouble) => trouble,
            };
            tried += 1;
            let failure = match trouble {
                Trouble::Lasting(failure) | Trouble::TooLong(failure)
                    if failure.code == FailureCode::InvalidPrompt && self.files.withdraw() =>
                {
                    // Whoever sends a broken image is answered all the same.
                    let text =
                        format!("asked again without the images and documents of the event: {}", failure.message);
                    self.note(record::status(text)).await?;
                    continue;
                }
                Trouble::Lasting(failure) => return Err(self.failed(failure)),
                Trouble::TooLong(failure) => {
                    if tried >= TRIES || !self.talk.shorten() {
                        return Err(self.failed(failure));
                    }
                    let text = "the conversation is longer than the model takes; its older half is left out";
                    self.note(record::status(text.to_owned())).await?;
                    continue;
                }
                Trouble::Passing(failure) => failure,
            };
            let named = failure.retry_after_ms.map(|ms| Duration::from_millis(ms.unsigned_abs()));
            let wait = named.unwrap_or(FIRST_WAIT * 2_u32.saturating_pow(tried - 1));
            if tried >= TRIES || wait > LONGEST_WAIT {
                return Err(self.failed(failure));
            }
            let text = format!("{}; tried again in {} ms", failure.message, wait.as_millis());
            self.note(record::status(text)).await?;
            tokio::time::sleep(wait).await;
        }
    }

    fn failed(&self, mut failure: Failure) -> Stopped {
        failure.message = self.mask.text(&failure.message);
        failure.into()
    }

    /// Does calls, some at the same time; each result is kept as it comes, so that no other attempt calls again. The calls
    /// go on while a result is kept: one of them may hold what keeping it waits for.
    async fn call(&mut self, calls: Vec<Call>) -> Result<(), Stopped> {
        let Self { tools, talk, sink, mask, spec, .. } = self;
        let tools = &*tools;
        let (sender, mut done) = mpsc::channel(CALLS);
        let work = async move {
            let sender = &sender;
            let each = stream::iter(calls).for_each_concurrent(CALLS, |call| async move {
                let reply = tools.call(&call).await;
                // Nobody hears it when keeping one before it failed.
                let _ = sender.send((call, reply)).await;
            });
            each.await;
            Ok(())
        };
        let keep = async {
            while let Some((call, ToolReply { text, is_error })) = done.recv().await {
                let block = json!({"type": "tool_result", "tool_use_id": call.id, "is_error": is_error,
                    "content": [{"type": "text", "text": text}]});
                let id = stable_id(spec, &format!("result-{}", call.id));
                let cut = talk.add(id, Said::Result { call: call.id, text, is_error }).await?;
                let cut = cut.map(|text| record::status(text.to_owned()));
                for (kind, mut body) in record::tool_result(&block).into_iter().chain(cut) {
                    mask.value(&mut body);
                    sink.message(kind, body).await?;
                }
            }
            Ok(())
        };
        tokio::try_join!(work, keep).map(|((), ())| ())
    }

    /// The failure of an attempt that ran for too long.
    pub(super) fn too_long(bounds: &Bounds) -> Failure {
        Failure::new(FailureCode::Timeout, format!("ran longer than {} s", bounds.wall_clock.as_secs_f64()))
    }

    /// Says in the record what is not counted.
    pub(super) async fn note_price(&mut self) -> Result<(), Stopped> {
        if self.order.price.is_some() {
            return Ok(());
        }
        let text =
            format!("what `{}` costs is not known: 0 is counted; write it into anthropic.prices", self.order.model);
        Ok(self.sink.message(MessageKind::Status, json!({"text": text})).await?)
    }
}

fn prompt_id(spec: &RunSpec) -> String {
    entry::prompt_id(&spec.run)
}
