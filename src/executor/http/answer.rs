//! What a service says: one JSON object a line, or one alone.

use serde_json::Value;

use crate::{
    domain::{
        count::micros,
        run::{Failure, FailureCode, Usage},
        template::clip,
    },
    executor::command::{
        heard::{Failed, Heard, count, shortened, text},
        reader::Dialect,
    },
};

/// Bytes of the longest id of a conversation that is kept.
const MAX_ID_BYTES: usize = 256;

/// Models that a result tells apart.
const MAX_MODELS: usize = 50;

/// The lines of a service.
#[derive(Default)]
pub(super) struct Answer;

impl Dialect for Answer {
    fn hear(&mut self, event: &Value, heard: &mut Heard) {
        let null = Value::Null;
        let field = |name: &str| event.get(name).unwrap_or(&null);
        match text(event, "type") {
            "text" => heard.text(text(event, "text")),
            "thinking" => heard.thinking(text(event, "text")),
            "tool_call" => heard.call(text(event, "id"), text(event, "name"), field("input")),
            "tool_result" => {
                let failed = Failed::from(field("is_error").as_bool() == Some(true));
                heard.outcome(text(event, "id"), failed, field("content"));
            }
            "status" => heard.status(text(event, "text")),
            "usage" => {
                heard.model(text(event, "model"));
                let took = usage(event);
                heard.usage = heard.usage.plus(took);
                heard.took_now(took.into());
            }
            "conversation" => converses(event, heard),
            "result" => result(event, heard),
            "error" => fails(event, heard),
            _ => heard.unknown(event),
        }
    }
}

/// The last word.
fn result(event: &Value, heard: &mut Heard) {
    converses(event, heard);
    if let Some(total) = event.get("usage").filter(|usage| usage.is_object()) {
        heard.model(text(total, "model"));
        heard.usage = usage(total);
        let models = total.get("models").and_then(Value::as_object);
        // Of one model, the total is its own; what lines said of several stays.
        if models.is_some() || !heard.has_models() {
            heard.forget_models();
        }
        for (model, took) in models.into_iter().flatten().take(MAX_MODELS) {
            heard.took(model, usage(took).into());
        }
    }
    heard.over();
    if let Some(words) = event.get("text").and_then(Value::as_str) {
        heard.say_instead(words);
    }
    heard.structured = event.get("output").filter(|output| !output.is_null()).cloned();
    if heard.answer.is_none() {
        heard.answer = heard.structured.as_ref().map(|output| shortened(&output.to_string()));
    }
}

fn converses(event: &Value, heard: &mut Heard) {
    let Some(id) = event.get("conversation").and_then(Value::as_str) else { return };
    if id.len() <= MAX_ID_BYTES && !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_graphic()) {
        heard.conversation = Some(id.to_owned());
    } else {
        heard.status("the conversation's id is not kept: it has more than 256 bytes, or others than visible ASCII");
    }
}

fn usage(said: &Value) -> Usage {
    Usage {
        turns: count(said, "turns"),
        input_tokens: count(said, "input_tokens"),
        output_tokens: count(said, "output_tokens"),
        cache_read_tokens: count(said, "cache_read_tokens"),
        cache_write_tokens: count(said, "cache_write_tokens"),
        cost_micros: micros(said.get("cost_usd").and_then(Value::as_f64).unwrap_or(0.0)),
    }
}

fn fails(event: &Value, heard: &mut Heard) {
    let code = match text(event, "code") {
        "max_turns" => FailureCode::MaxTurns,
        "budget" => FailureCode::Budget,
        "timeout" => FailureCode::Timeout,
        "output" => FailureCode::Output,
        "model_auth" => FailureCode::ModelAuth,
        "rate_limit" => FailureCode::RateLimit,
        "model_busy" => FailureCode::ModelBusy,
        "model" => FailureCode::Model,
        "invalid_prompt" => FailureCode::InvalidPrompt,
        "setup" => FailureCode::Setup,
        "executor" => FailureCode::Executor,
        _ => FailureCode::Agent,
    };
    let words =
        Some(text(event, "message")).filter(|words| !words.is_empty()).unwrap_or("the service does not say why");
    let mut failure = Failure::new(code, clip(words, 4_000));
    failure.retry_after_ms = event.get("retry_after_ms").and_then(Value::as_i64).filter(|ms| *ms > 0);
    converses(event, heard);
    heard.fails(failure);
    heard.is_over = true;
}
