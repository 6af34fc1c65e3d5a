//! Tokens of a turn before its result tells them: of a CLI that dies, is killed or loses its worker there is no result.
//!
//! They are told where an answer of the model begins and ends (its pieces), with each block of it, and by the transcript, which
//! alone has the ends of subagents' answers. All of these name the answer, and the largest count of each kind is believed.

use std::collections::VecDeque;

use serde_json::Value;

use crate::{
    domain::{
        count::believed,
        details::{ModelUsage, RunDetails, UnderWay},
    },
    executor::claude::message::{Content, Mirror, Piece},
};

/// Answers that may still grow; beyond them the oldest is counted as it is.
const MAX_OPEN: usize = 64;
/// Answers whose counts are final which are remembered, so that none is counted again.
const MAX_CLOSED: usize = 1_000;
/// Bytes of an answer's name; a longer one is not the API's.
const MAX_ID_BYTES: usize = 200;
/// What the CLI says in the model's name.
const SYNTHETIC: &str = "<synthetic>";

/// What a turn took so far.
#[derive(Default)]
pub(super) struct Spending {
    open: VecDeque<Open>,
    /// What no longer grows.
    sum: RunDetails,
    turns: i64,
    closed: VecDeque<String>,
}

struct Open {
    id: String,
    model: String,
    took: ModelUsage,
    is_turn: bool,
}

impl Spending {
    /// A block of an answer. `true`: something new.
    pub(super) fn block(&mut self, content: &Content) -> bool {
        self.count(&content.id, &content.model, &content.usage)
    }

    /// The beginning or end of an answer. `true`: something new.
    pub(super) fn piece(&mut self, piece: &Piece) -> bool {
        match piece.event.kind.as_str() {
            "message_start" => self.block(&piece.event.message),
            "message_delta" => {
                let is_new = self.count(&piece.api_message_id, &Value::Null, &piece.event.usage);
                let is_own = piece.parent_tool_use_id.is_null();
                let open = self.open.iter_mut().find(|open| is_own && piece.api_message_id == open.id.as_str());
                is_new | open.is_some_and(|open| !std::mem::replace(&mut open.is_turn, true))
            }
            _ => false,
        }
    }

    /// What the CLI wrote down. `true`: something new.
    pub(super) fn written(&mut self, frame: &Mirror) -> bool {
        let mut is_new = false;
        for entry in frame.entries.iter().filter(|entry| entry["type"] == "assistant") {
            let message = &entry["message"];
            is_new |= self.count(&message["id"], &message["model"], &message["usage"]);
        }
        is_new
    }

    /// A result told what it took, of all that was said until now.
    pub(super) fn told(&mut self) {
        while let Some(open) = self.open.pop_front() {
            self.close(open.id);
        }
        (self.sum, self.turns) = (RunDetails::default(), 0);
    }

    /// So far; of nothing of it the cost is known.
    pub(super) fn so_far(&self) -> UnderWay {
        let mut all = self.sum.clone();
        self.open.iter().for_each(|open| all.spend(&open.model, open.took));
        let turns = self.open.iter().filter(|open| open.is_turn).count();
        let turns = self.turns.saturating_add(i64::try_from(turns).unwrap_or(0));
        let unpriced_tokens = all.models.values().fold(ModelUsage::default(), |sum, took| sum.plus(*took)).tokens();
        UnderWay { turns, models: all.models, unpriced_tokens }
    }

    fn count(&mut self, id: &Value, model: &Value, usage: &Value) -> bool {
        let Some(id) = id.as_str().filter(|id| !id.is_empty() && id.len() <= MAX_ID_BYTES) else { return false };
        let took = read(usage);
        if took == ModelUsage::default() || model == SYNTHETIC {
            return false;
        }
        let known = self.open.iter_mut().rev().find(|open| open.id == id);
        match (known, model.as_str()) {
            (Some(open), _) => {
                let larger = larger(open.took, took);
                std::mem::replace(&mut open.took, larger) != larger
            }
            (None, Some(model)) if !self.closed.iter().any(|closed| closed == id) => {
                if self.open.len() >= MAX_OPEN
                    && let Some(oldest) = self.open.pop_front()
                {
                    self.sum.spend(&oldest.model, oldest.took);
                    self.turns = self.turns.saturating_add(i64::from(oldest.is_turn));
                    self.close(oldest.id);
                }
                self.open.push_back(Open { id: id.to_owned(), model: model.to_owned(), took, is_turn: false });
                true
            }
            // Counted already, or the end of what was never begun.
            (None, _) => false,
        }
    }

    fn close(&mut self, id: String) {
        if self.closed.len() >= MAX_CLOSED {
            self.closed.pop_front();
        }
        self.closed.push_back(id);
    }
}

fn read(usage: &Value) -> ModelUsage {
    let count = |name: &str| believed(usage[name].as_i64().unwrap_or(0));
    ModelUsage {
        input_tokens: count("input_tokens"),
        output_tokens: count("output_tokens"),
        cache_read_tokens: count("cache_read_input_tokens"),
        cache_write_tokens: count("cache_creation_input_tokens"),
        cost_micros: 0,
    }
}

fn larger(one: ModelUsage, other: ModelUsage) -> ModelUsage {
    ModelUsage {
        input_tokens: one.input_tokens.max(other.input_tokens),
        output_tokens: one.output_tokens.max(other.output_tokens),
        cache_read_tokens: one.cache_read_tokens.max(other.cache_read_tokens),
        cache_write_tokens: one.cache_write_tokens.max(other.cache_write_tokens),
        cost_micros: 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{MAX_OPEN, Spending};
    use crate::executor::claude::message::{Message, parse};

    fn hear(spending: &mut Spending, message: &Value) -> bool {
        let message = parse(message.to_string().as_bytes()).unwrap();
        if let Message::StreamEvent(piece) = &message {
            return piece.as_ref().is_some_and(|piece| spending.piece(piece));
        }
        if let Message::Mirror(frame) = &message {
            return spending.written(frame);
        }
        matches!(message, Message::Assistant(speech) if spending.block(&speech.message))
    }

    fn answer(id: &str, input: i64, output: i64) -> Value {
        json!({"id": id, "model": "big", "content": [], "usage": {"input_tokens": input, "output_tokens": output,
            "cache_read_input_tokens": null, "cache_creation_input_tokens": 3}})
    }

    fn start(id: &str) -> Value {
        json!({"type": "stream_event", "event": {"type": "message_start", "message": answer(id, 100, 1)},
            "api_message_id": id, "parent_tool_use_id": null})
    }

    fn end(id: &str) -> Value {
        json!({"type": "stream_event", "event": {"type": "message_delta", "usage": {"output_tokens": 50}},
            "api_message_id": id, "parent_tool_use_id": null})
    }

    #[test]
    fn an_answer_is_counted_once_however_often_it_is_told() {
        let mut spending = Spending::default();
        let block = json!({"type": "assistant", "message": answer("a", 100, 1)});
        let written = json!({"type": "transcript_mirror", "filePath": "x",
            "entries": [{"type": "user"}, {"type": "assistant", "message": answer("a", 100, 50)}]});
        let word = json!({"type": "stream_event", "event": {"type": "content_block_delta", "delta": {"text": "x"}}});
        let told = [&start("a"), &block, &word, &block, &end("a"), &written];
        assert_eq!(told.map(|message| hear(&mut spending, message)), [true, false, false, false, true, false]);
        let so_far = spending.so_far();
        let took = so_far.models["big"];
        assert_eq!((took.input_tokens, took.output_tokens, took.cache_write_tokens, took.cost_micros), (100, 50, 3, 0));
        assert_eq!((so_far.turns, so_far.unpriced_tokens), (1, 153));
        // What its result told is not counted by what comes after it.
        spending.told();
        assert!(!hear(&mut spending, &written) && spending.so_far().models.is_empty());
    }

    #[test]
    fn a_subagents_answers_are_counted_and_are_no_turns_of_the_agent() {
        let mut spending = Spending::default();
        hear(
            &mut spending,
            &json!({"type": "assistant", "message": answer("s", 7, 1), "parent_tool_use_id": "toolu_1"}),
        );
        hear(
            &mut spending,
            &json!({"type": "assistant", "message": {"id": "x", "model": "<synthetic>",
            "usage": {"input_tokens": 5}}}),
        );
        let so_far = spending.so_far();
        assert_eq!((so_far.turns, so_far.usage().input_tokens), (0, 7));
    }

    #[test]
    fn answers_without_end_take_no_memory_without_end() {
        let mut spending = Spending::default();
        for n in 0..5_000 {
            hear(&mut spending, &start(&format!("a{n}")));
            hear(&mut spending, &end(&format!("a{n}")));
        }
        assert!(spending.open.len() <= MAX_OPEN && spending.closed.len() <= 1_000);
        let so_far = spending.so_far();
        assert_eq!((so_far.turns, so_far.usage().output_tokens), (5_000, 250_000));
    }

    #[test]
    fn counts_that_make_no_sense_are_bounded() {
        let mut spending = Spending::default();
        let odd = json!({"type": "assistant", "message": {"id": "a", "model": 5, "usage": "much"}});
        assert!(!hear(&mut spending, &odd));
        let odd = json!({"type": "assistant", "message": {"id": "a", "model": "m",
            "usage": {"input_tokens": i64::MAX, "output_tokens": -5}}});
        assert!(hear(&mut spending, &odd));
        assert_eq!((spending.so_far().usage().input_tokens, spending.so_far().usage().output_tokens), (1 << 40, 0));
    }
}
