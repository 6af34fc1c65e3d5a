//! What every request of a run says alike.

use serde_json::{Value, json};

use crate::{
    config::settings::{AnthropicSettings, ModelPrice},
    domain::{
        agent::AgentSpec,
        claude::{Effort, Thinking, ThinkingWord},
        price::Price,
        run::{Failure, FailureCode},
    },
    executor::{anthropic::tools::Tools, skills::Chosen},
};

/// Tokens of an answer where the agent's file says nothing, beside those that it may think.
const MAX_TOKENS: u32 = 16_384;

/// The unchanging part of a run's requests.
pub(super) struct Order {
    /// Which model.
    pub(super) model: String,
    /// Tokens of one answer.
    pub(super) max_tokens: u32,
    /// What it costs, when that is known.
    pub(super) price: Option<Price>,
    /// Millionths of a US dollar that the run may cost.
    pub(super) budget_micros: Option<f64>,
    system: String,
    thinking: Option<Value>,
    effort: Option<Effort>,
}

impl Order {
    /// What the agent's file says.
    pub(super) fn of(spec: &AgentSpec, settings: &AnthropicSettings, skills: &Chosen) -> Result<Self, Failure> {
        let model = spec.model.clone().unwrap_or_else(|| settings.model.clone());
        let price = settings.prices.get(&model).map(priced).or_else(|| Price::of(&model));
        if spec.limits.budget_usd.is_some() && price.is_none() {
            let why =
                format!("what `{model}` costs is not known, so no budget can be kept; write it into anthropic.prices");
            return Err(Failure::new(FailureCode::Setup, why));
        }
        let (thinking, thought) = match spec.thinking {
            None => (None, 0),
            Some(Thinking::Word(ThinkingWord::Adaptive)) => (Some(json!({"type": "adaptive"})), 0),
            Some(Thinking::Word(ThinkingWord::Off)) => (Some(json!({"type": "disabled"})), 0),
            Some(Thinking::Tokens(tokens)) => (Some(json!({"type": "enabled", "budget_tokens": tokens})), tokens),
        };
        let files = |name: &str| format!("The files of this skill are read with the tool skill, by the name {name}.");
        Ok(Self {
            model,
            max_tokens: spec.max_tokens.unwrap_or_else(|| MAX_TOKENS.saturating_add(thought)),
            price,
            budget_micros: spec.limits.budget_usd.map(|dollars| dollars * 1_000_000.0),
            system: skills.in_words(&spec.prompt, files),
            thinking,
            effort: spec.effort,
        })
    }

    /// A request with these messages. The end of what never changes, and of all that was said, is marked to be cached.
    pub(super) fn body(&self, tools: &Tools, mut messages: Vec<Value>) -> Vec<u8> {
        let cached = json!({"type": "ephemeral"});
        if let Some(Value::Array(content)) = messages.last_mut().and_then(|message| message.get_mut("content"))
            && let Some(block) = content.last_mut().and_then(Value::as_object_mut)
        {
            block.insert("cache_control".to_owned(), cached.clone());
        }
        let mut body = json!({
            "model": self.model, "max_tokens": self.max_tokens, "stream": true, "messages": messages,
        });
        let mut definitions = tools.definitions().to_vec();
        if !self.system.trim().is_empty() {
            body["system"] = json!([{"type": "text", "text": self.system, "cache_control": cached}]);
        } else if let Some(tool) = definitions.last_mut().and_then(Value::as_object_mut) {
            tool.insert("cache_control".to_owned(), cached);
        }
        if !definitions.is_empty() {
            body["tools"] = Value::Array(definitions);
        }
        if let Some(thinking) = &self.thinking {
            body["thinking"] = thinking.clone();
        }
        if let Some(effort) = self.effort {
            body["output_config"] = json!({"effort": effort.as_str()});
        }
        body.to_string().into_bytes()
    }
}

fn priced(price: &ModelPrice) -> Price {
    Price {
        input: price.input,
        output: price.output,
        cache_read: price.cache_read.unwrap_or(price.input * 0.1),
        cache_write: price.cache_write.unwrap_or(price.input * 1.25),
        long: None,
    }
}
