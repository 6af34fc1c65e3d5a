//! What was heard of a CLI so far: lines for the record, and what its result is made of.

use serde_json::{Map, Value, json};

use crate::{
    domain::{
        count::believed,
        details::ModelUsage,
        run::{Failure, MessageKind, Usage},
        template::{self, clip},
    },
    executor::{
        claude::record::{Line, bounded, status},
        command::{answer::MAX_ANSWER_BYTES, conversation::Total},
    },
};

/// Longer texts are cut before they are recorded: the record keeps no more of a line than this.
const MAX_TEXT_BYTES: usize = 256 * 1024;
/// Models whose usage is told apart.
const MAX_MODELS: usize = 50;
/// Calls that have begun and not ended, whose ids are known.
const MAX_OPEN_CALLS: usize = 1_000;

/// See the module.
#[derive(Default)]
pub(in crate::executor) struct Heard {
    /// For the record, in order.
    pub(in crate::executor) lines: Vec<Line>,
    /// The agent's last words.
    pub(in crate::executor) answer: Option<String>,
    /// The answer as JSON.
    pub(in crate::executor) structured: Option<Value>,
    /// What it took.
    pub(in crate::executor) usage: Usage,
    /// Tokens of the whole conversation, where the CLI counts so.
    pub(in crate::executor) total: Total,
    /// The CLI's id of the conversation.
    pub(in crate::executor) conversation: Option<String>,
    /// Why it failed.
    pub(in crate::executor) failure: Option<Failure>,
    /// The CLI said that it is done.
    pub(in crate::executor) is_over: bool,
    /// The agent said or did something, so that the conversation holds its prompt.
    pub(in crate::executor) has_begun: bool,
    /// It went well after the CLI had met with an error, which its exit code may still tell of.
    pub(in crate::executor) has_recovered: bool,
    by_model: Vec<(String, ModelUsage)>,
    model: Option<String>,
    open_text: String,
    open_calls: Vec<String>,
}

impl Heard {
    /// Words of the agent, whole.
    pub(in crate::executor) fn text(&mut self, text: &str) {
        self.close_text();
        if text.is_empty() {
            return;
        }
        self.has_begun = true;
        self.lines.push((MessageKind::Text, json!({"text": clip(text, MAX_TEXT_BYTES)})));
        self.answer = Some(shortened(text));
    }

    /// The answer is this, and not the last text alone.
    pub(in crate::executor) fn say_instead(&mut self, text: &str) {
        self.answer = Some(shortened(text));
    }

    /// A piece of the agent's words; they end with whatever else comes.
    pub(in crate::executor) fn piece(&mut self, piece: &str) {
        let room = (MAX_ANSWER_BYTES + 1).saturating_sub(self.open_text.len());
        self.open_text.push_str(clip(piece, room));
    }

    /// Ends words that came in pieces.
    pub(in crate::executor) fn close_text(&mut self) {
        if !self.open_text.is_empty() {
            let text = std::mem::take(&mut self.open_text);
            self.text(&text);
        }
    }

    /// What the model thought.
    pub(in crate::executor) fn thinking(&mut self, text: &str) {
        self.close_text();
        if !text.trim().is_empty() {
            self.lines.push((MessageKind::Thinking, json!({"text": clip(text, MAX_TEXT_BYTES)})));
        }
    }

    /// The agent called a tool; told once for each id.
    pub(in crate::executor) fn call(&mut self, id: &str, name: &str, input: &Value) {
        self.close_text();
        self.has_begun = true;
        if self.open_calls.iter().any(|open| open == id) {
            return;
        }
        if self.open_calls.len() < MAX_OPEN_CALLS {
            self.open_calls.push(id.to_owned());
        }
        self.lines.push((MessageKind::ToolCall, json!({"id": id, "name": name, "input": bounded(input)})));
    }

    /// What a tool gave back.
    pub(in crate::executor) fn outcome(&mut self, id: &str, failed: Failed, content: &Value) {
        self.close_text();
        self.open_calls.retain(|open| open != id);
        let body = json!({"id": id, "is_error": failed == Failed::Yes, "content": bounded(content)});
        self.lines.push((MessageKind::ToolResult, body));
    }

    /// Something about the run itself.
    pub(in crate::executor) fn status(&mut self, text: &str) {
        self.close_text();
        self.lines.push(status(clip(text, MAX_TEXT_BYTES).to_owned()));
    }

    /// An event that is not known, kept as it came.
    pub(in crate::executor) fn unknown(&mut self, event: &Value) {
        self.close_text();
        let kind = event.get("type").and_then(Value::as_str).unwrap_or("without a type");
        let text = format!("an event that is not known: {}", clip(kind, 100));
        self.lines.push((MessageKind::Status, json!({"text": text, "event": bounded(event)})));
    }

    /// A line that is no event.
    pub(in crate::executor) fn noise(&mut self, text: &str) {
        self.close_text();
        self.lines.push((MessageKind::Stderr, json!({"text": clip(text, MAX_TEXT_BYTES)})));
    }

    /// The model that works; told when it changes.
    pub(in crate::executor) fn model(&mut self, model: &str) {
        if !model.is_empty() && self.model.as_deref() != Some(model) {
            let model = clip(model, 200).to_owned();
            self.lines.push((MessageKind::Status, json!({"text": format!("the model is {model}"), "model": model})));
            self.model = Some(model);
        }
    }

    /// The one that works now took this, as far as it is known.
    pub(in crate::executor) fn took_now(&mut self, took: ModelUsage) {
        if let Some(model) = self.model.clone() {
            self.took(&model, took);
        }
    }

    /// All that was told of the models apart does not count.
    pub(in crate::executor) fn forget_models(&mut self) {
        self.by_model.clear();
    }

    /// Whether more than one model is told apart.
    pub(in crate::executor) const fn has_models(&self) -> bool {
        self.by_model.len() > 1
    }

    /// A model took this; so many are told apart.
    pub(in crate::executor) fn took(&mut self, model: &str, took: ModelUsage) {
        let room = self.by_model.len() < MAX_MODELS;
        match self.by_model.iter_mut().find(|(known, _)| known == model) {
            Some((_, sum)) => *sum = sum.plus(took),
            None if room => self.by_model.push((clip(model, 200).to_owned(), took)),
            None => {}
        }
    }

    /// What each model took: all of it is the one model's that was told of, where the CLI does not say more.
    pub(in crate::executor) fn models(&self) -> Vec<(String, ModelUsage)> {
        match &self.model {
            Some(model) if self.by_model.is_empty() && self.usage != Usage::default() => {
                vec![(model.clone(), self.usage.into())]
            }
            Some(_) | None => self.by_model.clone(),
        }
    }

    /// All went well in the end.
    pub(in crate::executor) fn over(&mut self) {
        self.close_text();
        self.has_recovered |= self.failure.take().is_some();
        self.is_over = true;
    }

    /// It failed, unless the CLI says later that all went well.
    pub(in crate::executor) fn fails(&mut self, failure: Failure) {
        self.close_text();
        self.failure = Some(failure);
    }
}

/// Whether a tool failed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::executor) enum Failed {
    /// It did.
    Yes,
    /// It did not.
    No,
}

impl From<bool> for Failed {
    fn from(failed: bool) -> Self {
        if failed { Self::Yes } else { Self::No }
    }
}

/// As much of an answer as is kept.
pub(in crate::executor) fn shortened(text: &str) -> String {
    template::shortened(text.to_owned(), MAX_ANSWER_BYTES)
}

/// A field that is a text; empty where there is none.
pub(in crate::executor) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A field that is a count, as far as it is believed.
pub(in crate::executor) fn count(value: &Value, name: &str) -> i64 {
    believed(value.get(name).and_then(Value::as_i64).unwrap_or(0))
}

/// Some fields of an event, as what a tool was given.
pub(in crate::executor) fn fields(value: &Value, names: &[&str]) -> Value {
    let some = names.iter().filter_map(|name| Some(((*name).to_owned(), value.get(*name)?.clone())));
    Value::Object(some.collect::<Map<_, _>>())
}
