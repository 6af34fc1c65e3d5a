//! What we ask of the CLI, and what it answers.

use serde_json::Value;
use tokio::time::Instant;

use crate::{
    domain::run::{Failure, FailureCode},
    executor::{
        Order, Stopped,
        claude::{
            conversation::{Conversation, Opening, PATIENCE},
            message::Answer,
            protocol::{self, Request},
            record,
        },
    },
};

impl Conversation<'_> {
    /// The model is heard, so its first request waits for nothing any more that the CLI is asked.
    pub(super) fn ask_for_servers(&mut self) {
        if let Some(request) = self.servers.ask() {
            self.state.pending.extend(request.line());
        }
    }

    pub(super) fn order(&mut self, order: Order) {
        self.state.orders += 1;
        let id = format!("postern-order-{}", self.state.orders);
        self.state.pending.extend(protocol::order(&id, &order.control));
        self.state.ordered.push((id, order));
    }

    /// Whether it is the answer to an order; what became of that is recorded.
    async fn hear_order(&mut self, answer: &Answer) -> Result<bool, Stopped> {
        let Some(at) = self.state.ordered.iter().position(|(id, _)| *id == answer.request_id) else { return Ok(false) };
        let (_, order) = self.state.ordered.swap_remove(at);
        let words = order.control.in_words();
        if answer.subtype == "success" {
            self.record(record::status(format!("changed by hand: {words}"))).await?;
            self.state.held.push(order.control.clone());
            order.end(Ok(()));
        } else {
            let why = self.mask.text(answer.error.as_deref().unwrap_or("it says no more"));
            self.record(record::status(format!("could not be changed to {words}: {why}"))).await?;
            order.end(Err(why));
        }
        Ok(true)
    }

    pub(super) async fn hear_answer(&mut self, answer: &Answer) -> Result<(), Stopped> {
        if self.hear_order(answer).await? {
            return Ok(());
        }
        if answer.request_id == Request::McpStatus.id() {
            for line in self.servers.told(answer, self.mask) {
                self.record(line).await?;
            }
            return Ok(());
        }
        Ok(self.hear_setup(answer)?)
    }

    fn hear_setup(&mut self, answer: &Answer) -> Result<(), Failure> {
        if answer.request_id == (Request::Initialize(Value::Null, 0)).id() {
            return self.ready(answer);
        }
        if let Some(at) = self.state.unanswered.iter().position(|id| *id == answer.request_id) {
            let id = self.state.unanswered.swap_remove(at);
            if answer.subtype != "success" {
                let why = answer.error.as_deref().unwrap_or("it says no more");
                return Err(Failure::new(FailureCode::Setup, format!("the CLI refused {id}: {why}")));
            }
            self.open();
        }
        Ok(())
    }

    /// The prompt is sent only when the CLI said that the hook and the rules stand.
    fn ready(&mut self, answer: &Answer) -> Result<(), Failure> {
        self.starting = None;
        let holds = |name: &str| answer.response.get(name) == Some(&Value::Bool(true));
        let refused = |name: &str| answer.response.get(name) == Some(&Value::Bool(false));
        let hooked = holds("hooks_applied") && holds("hook_on_failure_supported");
        if answer.subtype != "success" || !hooked {
            let why = answer.error.clone().unwrap_or_else(|| "it does not apply permission hooks".to_owned());
            return Err(Failure::new(FailureCode::Setup, format!("the CLI refused its setup: {why}")));
        }
        if refused("mcp_servers_applied") || refused("plugins_applied") {
            let why = "the CLI did not take all of the agent's MCP servers or plugins";
            return Err(Failure::new(FailureCode::Setup, why));
        }
        for request in std::mem::take(&mut self.requests) {
            self.state.unanswered.push(request.id());
            self.state.pending.extend(request.line());
        }
        self.open();
        Ok(())
    }

    /// Says what begins the turn, once all that goes before is answered.
    fn open(&mut self) {
        if !self.state.unanswered.is_empty() {
            return;
        }
        match &mut self.opening {
            Opening::Say(prompt) => self.state.pending.append(prompt),
            Opening::Nudge(_) => self.state.nudge_at = Some(Instant::now() + PATIENCE),
        }
    }
}
