//! A model as an agent: asked over the Messages API, with tools of Postern alone and without any process.

mod answer;
mod api;
mod entry;
mod files;
mod once;
mod order;
mod spent;
mod sse;
mod talk;
mod tools;
mod work;

use std::sync::Arc;

use serde_json::json;
use tokio::time::Instant;

pub use self::api::AnthropicSetup;
use crate::{
    domain::{
        details::UnderWay,
        run::{Failure, FailureCode, MessageKind, RunResult},
    },
    executor::{
        BoxFuture, Executor, RunSink, RunSpec, Stopped,
        anthropic::{files::Files, order::Order, spent::Spent, talk::Talk, tools::Tools, work::Work},
        ground::Ground,
        mask::Mask,
        pipes::Meter,
        skills::Chosen,
        tools::{masked, out_of_time},
    },
};

/// Runs agents that are a model and nothing else.
pub struct AnthropicExecutor {
    ground: Arc<Ground>,
    setup: AnthropicSetup,
}

impl Executor for AnthropicExecutor {
    fn run<'a>(&'a self, spec: &'a RunSpec, sink: &'a mut dyn RunSink) -> BoxFuture<'a, Result<RunResult, Stopped>> {
        Box::pin(self.attempt(spec, sink))
    }
}

impl AnthropicExecutor {
    pub(super) const fn new(ground: Arc<Ground>, setup: AnthropicSetup) -> Self {
        Self { ground, setup }
    }

    async fn attempt(&self, spec: &RunSpec, sink: &mut dyn RunSink) -> Result<RunResult, Stopped> {
        let bounds = self.ground.bounds(spec);
        let until = Instant::now() + bounds.wall_clock;
        if !self.setup.can_ask() {
            let why = "there is no key for the model's API; set anthropic.api_key or claude.api_key";
            return Err(Failure::new(FailureCode::ModelAuth, why).into());
        }
        let mask = Mask::new(spec, &self.setup.api_key);
        let chosen = Chosen::of(spec, sink).await?;
        let order = Order::of(&spec.agent.spec, &self.setup.settings, &chosen)?;
        let host = spec.tools.clone().map(|host| masked(host, &mask));
        let tools = Tools::of(spec, host, &chosen)?;
        let taken_up = Talk::take_up(spec, &mask).await?;
        if let Some(text) = taken_up.said {
            sink.message(MessageKind::Status, json!({"text": text})).await?;
        }
        if let Some(host) = spec.tools.as_ref().filter(|_| spec.interrupted || spec.attempt > 1) {
            host.heard(taken_up.talk.heard());
        }
        let mut work = Work {
            spec,
            sink,
            mask: &mask,
            api: &self.setup,
            order,
            tools,
            talk: taken_up.talk,
            files: Files::of(spec.run.as_str(), &spec.attachments)?,
            bounds,
            turns: self.ground.turns(spec),
            until,
            meter: Meter::new(bounds.output_bytes),
            spent: Spent::after(spec.spent),
            reminded: false,
            said: None,
        };
        work.note_price().await?;
        let ended = tokio::select! {
            biased;
            () = spec.cancel.cancelled() => Err(Stopped::Canceled),
            () = out_of_time(until, spec.tools.as_ref()) => Err(Work::too_long(&bounds).into()),
            ended = work.run() => ended,
        };
        work.sink.model(&work.order.model);
        work.sink.under_way(UnderWay::default());
        work.sink.spent(&work.order.model, work.spent.usage().into());
        work.sink.turns(work.spent.usage().turns);
        match ended {
            Err(Stopped::Failed(failure, _)) => Err(Stopped::Failed(failure, work.spent.usage())),
            ended => ended,
        }
    }
}
