//! What is kept of a conversation, one JSON object a line, and what the API is told of it.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::domain::id::RunId;

/// What a call is answered whose run ended before it was done.
const NEVER_DONE: &str = "this was not done: the work was ended before";

/// One step of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Its id, the same whoever adds it again.
    pub(super) uuid: String,
    /// The run that added it.
    pub(super) run: String,
    /// What it is.
    #[serde(flatten)]
    pub(super) said: Said,
}

/// See [`Entry::said`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Said {
    /// To the model.
    User {
        /// Blocks as the API takes them.
        content: Vec<Value>,
    },
    /// By the model, complete.
    Assistant {
        /// Blocks as the API gave them.
        content: Vec<Value>,
        /// Why it stopped.
        stop: String,
        /// Calls whose input was no JSON.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        broken: Vec<String>,
    },
    /// What a call gave back.
    Result {
        /// The call's id.
        call: String,
        /// What the model reads.
        text: String,
        /// It failed.
        is_error: bool,
    },
    /// Nothing that the run said before is told the model again.
    Dropped,
}

/// A call of a tool that is not answered yet.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Call {
    /// Its id.
    pub(super) id: String,
    /// The tool.
    pub(super) name: String,
    /// What it is told; `None` where that was no JSON.
    pub(super) input: Option<Value>,
}

/// What follows from a conversation.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// It is the model's turn.
    Ask,
    /// These calls are to be done.
    Calls(Vec<Call>),
    /// The model gave its answer through the tool of that name.
    Given(Value),
    /// The model said its last word.
    Ended(String),
}

/// Reads what was kept; lines that are something else are left out.
pub(super) fn read(lines: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    while let Some(at) = entries.iter().position(|entry| entry.said == Said::Dropped) {
        let run = entries.remove(at).run;
        let mut place = 0;
        entries.retain(|entry| {
            place += 1;
            place > at || entry.run != run
        });
    }
    entries
}

/// What comes next; `given` names the tool by which the answer is given.
pub(super) fn next(entries: &[Entry], given: Option<&str>) -> Next {
    let last = entries.iter().rposition(|entry| !matches!(entry.said, Said::Result { .. }));
    let (Some(last), results) = (last, entries.get(last.map_or(0, |at| at + 1)..).unwrap_or_default()) else {
        return Next::Ask;
    };
    let Some(Said::Assistant { content, stop, broken }) = entries.get(last).map(|entry| &entry.said) else {
        return Next::Ask;
    };
    let calls: Vec<Call> = content.iter().filter_map(|block| call(block, broken)).collect();
    if calls.is_empty() {
        return if stop == "pause_turn" { Next::Ask } else { Next::Ended(text(content)) };
    }
    let answered = |id: &str| {
        results.iter().find_map(|entry| match &entry.said {
            Said::Result { call, is_error, .. } if call == id => Some(*is_error),
            Said::Result { .. } | Said::User { .. } | Said::Assistant { .. } | Said::Dropped => None,
        })
    };
    let open: Vec<Call> = calls.iter().filter(|call| answered(&call.id).is_none()).cloned().collect();
    if !open.is_empty() {
        return Next::Calls(open);
    }
    let taken = calls.into_iter().find(|call| Some(call.name.as_str()) == given && answered(&call.id) == Some(false));
    taken.and_then(|call| call.input).map_or(Next::Ask, Next::Given)
}

/// The messages of a request. What other runs than `run` thought is left out: only the run at work must show its own.
pub(super) fn messages(entries: &[Entry], run: &str) -> Vec<Value> {
    let mut told = Told::default();
    for entry in entries {
        match &entry.said {
            Said::User { content } => {
                told.close();
                told.say("user", content.iter().cloned());
            }
            Said::Assistant { content, broken, .. } => {
                told.close();
                let own = entry.run == run;
                let blocks = content.iter().filter(|block| own || !is_thought(block)).filter(|block| !is_blank(block));
                told.say("assistant", blocks.cloned());
                told.open = content.iter().filter_map(|block| call(block, broken)).map(|call| call.id).collect();
            }
            Said::Result { call, text, is_error } => {
                told.results.insert(call.clone(), (text.clone(), *is_error));
            }
            Said::Dropped => {}
        }
    }
    told.close();
    told.messages
}

#[derive(Default)]
struct Told {
    messages: Vec<Value>,
    open: Vec<String>,
    results: HashMap<String, (String, bool)>,
}

impl Told {
    /// Answers all calls of the last answer, in their order: the API wants each of them answered at once.
    fn close(&mut self) {
        let open = std::mem::take(&mut self.open);
        let mut results = std::mem::take(&mut self.results);
        let blocks = open.into_iter().map(|id| {
            let (text, is_error) = results.remove(&id).unwrap_or_else(|| (NEVER_DONE.to_owned(), true));
            json!({"type": "tool_result", "tool_use_id": id, "is_error": is_error,
                "content": [{"type": "text", "text": if text.trim().is_empty() { "(nothing)" } else { &text }}]})
        });
        self.say("user", blocks.collect::<Vec<_>>().into_iter());
    }

    fn say(&mut self, role: &str, blocks: impl Iterator<Item = Value>) {
        let blocks: Vec<Value> = blocks.collect();
        if blocks.is_empty() {
            return;
        }
        if let Some(last) = self.messages.last_mut()
            && last.get("role").and_then(Value::as_str) == Some(role)
            && let Some(Value::Array(content)) = last.get_mut("content")
        {
            content.extend(blocks);
            return;
        }
        self.messages.push(json!({"role": role, "content": blocks}));
    }
}

/// The id of a run's prompt, whoever says it.
pub(super) fn prompt_id(run: &RunId) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("postern:prompt:{run}").as_bytes()).to_string()
}

/// Blocks of texts, for the model to read; the API refuses blank ones.
pub(super) fn texts(blocks: &[String]) -> Vec<Value> {
    blocks.iter().filter(|text| !text.trim().is_empty()).map(|text| json!({"type": "text", "text": text})).collect()
}

/// The text of an answer.
fn text(content: &[Value]) -> String {
    let texts = content.iter().filter(|block| kind(block) == "text");
    texts.filter_map(|block| block.get("text")?.as_str()).collect::<Vec<_>>().join("")
}

fn call(block: &Value, broken: &[String]) -> Option<Call> {
    let text = |name: &str| block.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    if kind(block) != "tool_use" {
        return None;
    }
    let id = text("id");
    let input = (!broken.contains(&id)).then(|| block.get("input").cloned().unwrap_or_default());
    Some(Call { id, name: text("name"), input })
}

fn kind(block: &Value) -> &str {
    block.get("type").and_then(Value::as_str).unwrap_or_default()
}

fn is_thought(block: &Value) -> bool {
    matches!(kind(block), "thinking" | "redacted_thinking")
}

fn is_blank(block: &Value) -> bool {
    kind(block) == "text" && block.get("text").and_then(Value::as_str).is_none_or(|text| text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Entry, Next, Said, messages, next, read, texts};

    fn entry(run: &str, said: Said) -> Entry {
        Entry { uuid: "u".to_owned(), run: run.to_owned(), said }
    }

    fn user(run: &str, text: &str) -> Entry {
        entry(run, Said::User { content: texts(&[text.to_owned(), " ".to_owned()]) })
    }

    fn assistant(run: &str, content: Value, stop: &str) -> Entry {
        let Value::Array(content) = content else { panic!("no list") };
        entry(run, Said::Assistant { content, stop: stop.to_owned(), broken: Vec::new() })
    }

    fn calls(run: &str, ids: &[&str]) -> Entry {
        let thought = json!({"type": "thinking", "thinking": "hm", "signature": "s"});
        let calls = ids.iter().map(|id| json!({"type": "tool_use", "id": id, "name": "given", "input": {"of": id}}));
        assistant(run, Value::Array(std::iter::once(thought).chain(calls).collect()), "tool_use")
    }

    fn result(run: &str, call: &str, is_error: bool) -> Entry {
        entry(run, Said::Result { call: call.to_owned(), text: format!("of {call}"), is_error })
    }

    #[test]
    fn a_conversation_says_what_comes_next() {
        let text = json!([{"type": "text", "text": "Hi"}]);
        assert_eq!(next(&[], None), Next::Ask);
        assert_eq!(next(&[user("a", "x")], None), Next::Ask);
        assert_eq!(
            next(&[user("a", "x"), assistant("a", text.clone(), "end_turn")], None),
            Next::Ended("Hi".to_owned())
        );
        assert_eq!(next(&[user("a", "x"), assistant("a", text, "pause_turn")], None), Next::Ask);
        let mut talk = vec![user("a", "x"), calls("a", &["1", "2"]), result("a", "2", false)];
        let Next::Calls(open) = next(&talk, Some("given")) else { panic!("no calls") };
        assert_eq!((open.len(), open[0].id.as_str(), &open[0].input), (1, "1", &Some(json!({"of": "1"}))));
        talk.push(result("a", "1", true));
        assert_eq!(next(&talk, Some("given")), Next::Given(json!({"of": "2"})));
        assert_eq!(next(&talk, None), Next::Ask);
    }

    #[test]
    fn every_call_is_answered_in_the_order_of_the_calls() {
        let talk = [
            user("a", "x"),
            calls("a", &["1", "2", "3"]),
            result("a", "3", true),
            result("a", "1", false),
            user("b", "y"),
        ];
        let told = messages(&talk, "b");
        assert_eq!(told.len(), 3);
        assert_eq!(told[1]["content"].as_array().unwrap().len(), 3, "the thought of another run is left out");
        let blocks = told[2]["content"].as_array().unwrap();
        let ids: Vec<&Value> = blocks.iter().map(|block| &block["tool_use_id"]).collect();
        assert_eq!(ids, [&json!("1"), &json!("2"), &json!("3"), &Value::Null]);
        assert_eq!(
            (&blocks[0]["is_error"], &blocks[1]["is_error"], &blocks[3]["text"]),
            (&json!(false), &json!(true), &json!("y"))
        );
        assert_eq!(messages(&talk, "a")[1]["content"][0]["type"], "thinking");
    }

    #[test]
    fn what_was_dropped_is_not_said_again() {
        let talk = [user("a", "x"), user("b", "bad"), entry("b", Said::Dropped), user("b", "again")];
        let lines: String = talk.iter().map(|entry| format!("{}\n", serde_json::to_string(entry).unwrap())).collect();
        let left = read(&format!("no json\n{lines}{{\"type\":\"other\"}}\n"));
        assert_eq!(left, [user("a", "x"), user("b", "again")]);
        assert_eq!(messages(&left, "b").len(), 1, "neighbours become one message");
    }

    #[test]
    fn blank_words_reach_no_request() {
        let blank = json!([{"type": "text", "text": " "}]);
        assert_eq!(messages(&[user("a", "x"), assistant("a", blank, "end_turn"), user("b", "y")], "b").len(), 1);
    }
}
