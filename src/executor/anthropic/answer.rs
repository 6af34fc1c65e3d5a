//! One answer of the model, put together from the events of its stream.

use serde_json::{Value, json};

use crate::domain::{count::believed, price::Tokens, template::clip};

/// Blocks of one answer at most.
const MAX_BLOCKS: usize = 1_000;

/// What an event meant.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Nothing that somebody waits for.
    Nothing,
    /// A block is complete.
    Block(Value),
    /// The answer is.
    Done,
}

/// Why an answer cannot be put together.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The API broke off: the error's type, and its words.
    Api(String, String),
    /// This is no answer.
    Nonsense(&'static str),
}

/// An answer in the making.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Complete blocks.
    pub(super) blocks: Vec<Value>,
    /// Why the model stopped, when it said so.
    pub(super) stop: Option<String>,
    /// What it took, as far as the API said.
    pub(super) tokens: Tokens,
    /// Calls whose input was no JSON; it is an empty object in `blocks`.
    pub(super) broken: Vec<String>,
    open: Option<(Value, String)>,
}

impl Answer {
    /// Takes one event.
    pub(super) fn take(&mut self, data: &str) -> Result<Step, Fault> {
        let event: Value = serde_json::from_str(data).map_err(|_| Fault::Nonsense("an event is no JSON"))?;
        let part = |name: &str| event.get(name).cloned().unwrap_or_default();
        match event.get("type").and_then(Value::as_str).unwrap_or_default() {
            "message_start" => self.count(event.pointer("/message/usage")),
            "content_block_start" => {
                if self.open.is_some() || self.blocks.len() >= MAX_BLOCKS {
                    return Err(Fault::Nonsense("blocks begin within each other, or without end"));
                }
                self.open = Some((part("content_block"), String::new()));
            }
            "content_block_delta" => self.add(&part("delta"))?,
            "content_block_stop" => return self.close(),
            "message_delta" => {
                if let Some(stop) = event.pointer("/delta/stop_reason").and_then(Value::as_str) {
                    self.stop = Some(clip(stop, 100).to_owned());
                }
                self.count(event.get("usage"));
            }
            "message_stop" if self.open.is_none() => return Ok(Step::Done),
            "message_stop" => return Err(Fault::Nonsense("it ends within a block")),
            "error" => {
                let text = |place: &str| event.pointer(place).and_then(Value::as_str).unwrap_or_default().to_owned();
                return Err(Fault::Api(text("/error/type"), text("/error/message")));
            }
            // `ping`, and what is not known yet.
            _ => {}
        }
        Ok(Step::Nothing)
    }

    fn add(&mut self, delta: &Value) -> Result<(), Fault> {
        let Some((block, json)) = &mut self.open else { return Err(Fault::Nonsense("a piece belongs to no block")) };
        let (field, piece) = match delta.get("type").and_then(Value::as_str).unwrap_or_default() {
            "text_delta" => ("text", delta.get("text")),
            "thinking_delta" => ("thinking", delta.get("thinking")),
            "signature_delta" => ("signature", delta.get("signature")),
            "input_json_delta" => {
                json.push_str(delta.get("partial_json").and_then(Value::as_str).unwrap_or_default());
                return Ok(());
            }
            _ => return Ok(()),
        };
        let Some(block) = block.as_object_mut() else { return Err(Fault::Nonsense("a block is no object")) };
        let piece = piece.and_then(Value::as_str).unwrap_or_default();
        match block.get_mut(field) {
            Some(Value::String(text)) => text.push_str(piece),
            Some(_) | None => {
                block.insert(field.to_owned(), Value::String(piece.to_owned()));
            }
        }
        Ok(())
    }

    fn close(&mut self) -> Result<Step, Fault> {
        let Some((mut block, json)) = self.open.take() else { return Err(Fault::Nonsense("a block ends twice")) };
        if block.get("type").and_then(Value::as_str) == Some("tool_use") {
            let id = block.get("id").and_then(Value::as_str).filter(|id| !id.is_empty() && id.len() <= 200);
            let Some(id) = id.map(str::to_owned) else { return Err(Fault::Nonsense("a call has no id")) };
            let given = block.get("input").filter(|input| input.is_object()).cloned().unwrap_or_else(|| json!({}));
            block["input"] = match (json.trim(), serde_json::from_str::<Value>(&json)) {
                ("", _) => given,
                (_, Ok(input @ Value::Object(_))) => input,
                (_, _) => {
                    self.broken.push(id);
                    json!({})
                }
            };
        }
        self.blocks.push(block.clone());
        Ok(Step::Block(block))
    }

    /// Later counts stand for earlier ones; one that is left out has not changed.
    fn count(&mut self, usage: Option<&Value>) {
        let Some(usage) = usage else { return };
        let tokens = &mut self.tokens;
        for (name, count) in [
            ("input_tokens", &mut tokens.input),
            ("output_tokens", &mut tokens.output),
            ("cache_read_input_tokens", &mut tokens.cache_read),
            ("cache_creation_input_tokens", &mut tokens.cache_write),
        ] {
            if let Some(said) = usage.get(name).and_then(Value::as_i64) {
                *count = believed(said);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Answer, Fault, Step};

    fn read(events: &[Value]) -> Result<Answer, Fault> {
        let mut answer = Answer::default();
        for event in events {
            answer.take(&event.to_string())?;
        }
        Ok(answer)
    }

    fn begin(block: &Value) -> Value {
        json!({"type": "content_block_start", "index": 0, "content_block": block})
    }

    fn piece(delta: &Value) -> Value {
        json!({"type": "content_block_delta", "index": 0, "delta": delta})
    }

    #[test]
    fn text_thinking_and_calls_are_put_together() {
        let end = json!({"type": "content_block_stop"});
        let answer = read(&[
            json!({"type": "message_start", "message": {"usage": {"input_tokens": 5, "cache_read_input_tokens": 7}}}),
            json!({"type": "ping"}),
            begin(&json!({"type": "thinking", "thinking": "", "signature": ""})),
            piece(&json!({"type": "thinking_delta", "thinking": "hm"})),
            piece(&json!({"type": "signature_delta", "signature": "abc"})),
            end.clone(),
            begin(&json!({"type": "text", "text": ""})),
            piece(&json!({"type": "text_delta", "text": "Hel"})),
            piece(&json!({"type": "from_the_future"})),
            piece(&json!({"type": "text_delta", "text": "lo"})),
            end.clone(),
            begin(&json!({"type": "tool_use", "id": "t1", "name": "a", "input": {}})),
            piece(&json!({"type": "input_json_delta", "partial_json": "{\"n\""})),
            piece(&json!({"type": "input_json_delta", "partial_json": ":1}"})),
            end.clone(),
            begin(&json!({"type": "tool_use", "id": "t2", "name": "a", "input": {}})),
            end.clone(),
            begin(&json!({"type": "tool_use", "id": "t3", "name": "a", "input": {}})),
            piece(&json!({"type": "input_json_delta", "partial_json": "{\"n"})),
            end,
            json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}}),
        ])
        .unwrap();
        assert_eq!(answer.blocks[0], json!({"type": "thinking", "thinking": "hm", "signature": "abc"}));
        assert_eq!(answer.blocks[1], json!({"type": "text", "text": "Hello"}));
        let inputs: Vec<&Value> = answer.blocks[2..].iter().map(|block| &block["input"]).collect();
        assert_eq!(inputs, [&json!({"n": 1}), &json!({}), &json!({})]);
        assert_eq!(
            (answer.broken.as_slice(), answer.stop.as_deref()),
            (["t3".to_owned()].as_slice(), Some("tool_use"))
        );
        assert_eq!((answer.tokens.input, answer.tokens.output, answer.tokens.cache_read), (5, 9, 7));
    }

    #[test]
    fn what_makes_no_answer_is_refused() {
        let open = begin(&json!({"type": "text", "text": ""}));
        for events in [
            vec![open.clone(), open.clone()],
            vec![piece(&json!({"type": "text_delta", "text": "x"}))],
            vec![json!({"type": "content_block_stop"})],
            vec![open, json!({"type": "message_stop"})],
            vec![begin(&json!("text")), piece(&json!({"type": "text_delta", "text": "x"}))],
            vec![begin(&json!({"type": "tool_use"})), json!({"type": "content_block_stop"})],
        ] {
            assert!(matches!(read(&events), Err(Fault::Nonsense(_))), "{events:?}");
        }
        assert_eq!(Answer::default().take("<html>"), Err(Fault::Nonsense("an event is no JSON")));
        let broken = json!({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}});
        assert_eq!(read(&[broken]).unwrap_err(), Fault::Api("overloaded_error".to_owned(), "busy".to_owned()));
        assert_eq!(Answer::default().take("{\"type\":\"new\"}"), Ok(Step::Nothing));
    }
}
