//! What was decided about calls, by whom and why, as the record tells it.

use std::collections::{HashMap, VecDeque};

use serde_json::{Map, Value, json};

use crate::{
    domain::{run::MessageKind, template::clip},
    executor::claude::record::Line,
};

/// Calls that are remembered until their results come; beyond, the oldest is forgotten.
const MAX_CALLS: usize = 1000;
/// Bytes of a reason in the record.
const MAX_REASON_BYTES: usize = 2000;
/// What the CLI says of calls that it refused by its own rules before it asked us.
const REFUSALS: [&str; 3] =
    ["denied by your permission settings", "deny rule in your permission settings", "has been denied"];

/// Who decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// A rule of the agent's file.
    Rule,
    /// A person, whom a rule wanted to be asked; or nobody answered.
    Human,
    /// No rule: what holds where none says.
    Default,
}

/// Why a call runs, or does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Who decided.
    pub(super) by: By,
    /// The rule with its word, as the file says it.
    pub(super) rule: Option<String>,
    /// In words.
    pub(super) reason: String,
}

/// What was decided about one call.
pub(super) struct Decided {
    /// The tool.
    pub(super) tool: String,
    /// The call's id in the conversation.
    pub(super) id: Option<String>,
    /// Whether it runs, and why; `None` leaves it to the CLI.
    pub(super) verdict: Option<(Word, Verdict)>,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It runs.
    Allow,
    /// It does not.
    Deny,
}

/// A call whose result has not come.
#[derive(Default)]
struct Open {
    tool: String,
    /// The call by which the subagent was started that makes this one.
    parent: Option<Value>,
    /// We were asked about it.
    is_heard: bool,
    verdict: Option<(Word, Verdict)>,
    /// The record has a line about its denial.
    is_told: bool,
}

/// What was decided about the calls of one conversation.
#[derive(Default)]
pub(super) struct Decisions {
    open: HashMap<String, Open>,
    order: VecDeque<String>,
}

impl By {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::Human => "human",
            Self::Default => "default",
        }
    }
}

impl Word {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

impl Decisions {
    /// Remembers what was decided. The line for the record: of each denial, and of what a person allowed.
    pub(super) fn decide(&mut self, decided: Decided) -> Option<Line> {
        let Decided { tool, id, verdict } = decided;
        let open = id.as_ref().map(|id| self.open(id));
        let parent = open.as_ref().and_then(|open| open.parent.clone());
        if let Some(open) = open {
            open.is_heard = true;
            open.tool.clone_from(&tool);
            if verdict.is_some() {
                open.verdict.clone_from(&verdict);
                open.is_told = matches!(verdict, Some((Word::Deny, _)));
            }
        }
        let (word, verdict) = verdict?;
        let text = match (word, verdict.by) {
            (Word::Deny, _) => format!("{tool} was denied: {}", verdict.reason),
            (Word::Allow, By::Human) => {
                format!(
                    "{tool} was allowed by the rule `{}`: {}",
                    verdict.rule.as_deref().unwrap_or("ask"),
                    verdict.reason
                )
            }
            (Word::Allow, By::Rule | By::Default) => return None,
        };
        Some(line(&text, id.map(Value::String), parent, &tool, decision(word, &verdict)))
    }

    /// The same lines: with what was decided in results, and with those before them that say what the CLI denied.
    pub(super) fn told(&mut self, lines: Vec<Line>) -> Vec<Line> {
        let mut told = Vec::with_capacity(lines.len());
        for (kind, mut body) in lines {
            if kind == MessageKind::Status && body["by"] == "cli" && self.is_told_already(&body) {
                continue;
            }
            if kind == MessageKind::ToolCall {
                self.call(&body);
            }
            let own = if kind == MessageKind::ToolResult { self.result(&mut body) } else { None };
            told.extend(own);
            told.push((kind, body));
        }
        told
    }

    fn open(&mut self, id: &str) -> &mut Open {
        if !self.open.contains_key(id) {
            if self.order.len() >= MAX_CALLS
                && let Some(oldest) = self.order.pop_front()
            {
                self.open.remove(&oldest);
            }
            self.order.push_back(id.to_owned());
        }
        self.open.entry(id.to_owned()).or_default()
    }

    fn call(&mut self, body: &Value) {
        let Some(id) = body["id"].as_str() else { return };
        let open = self.open(id);
        body["name"].as_str().unwrap_or_default().clone_into(&mut open.tool);
        open.parent = body.get("parent").cloned();
    }

    fn is_told_already(&mut self, body: &Value) -> bool {
        let Some(id) = body["call"].as_str() else { return false };
        std::mem::replace(&mut self.open(id).is_told, true)
    }

    fn result(&mut self, body: &mut Value) -> Option<Line> {
        let id = body["id"].as_str()?.to_owned();
        let open = self.open.remove(&id).unwrap_or_default();
        self.order.retain(|known| *known != id);
        let said = body["permission"]["decision"].as_str();
        let text = words(&body["content"]);
        let refused = said == Some("deny")
            || (said.is_none()
                && !open.is_heard
                && body["is_error"] == true
                && REFUSALS.iter().any(|refusal| text.contains(refusal)));
        match &open.verdict {
            Some((word, verdict)) if *word == Word::Deny || !refused => {
                body["permission"] = Value::Object(decision(*word, verdict));
                return None;
            }
            Some(_) | None if !refused => return None,
            Some(_) | None => {}
        }
        let reason = clip(text, MAX_REASON_BYTES).to_owned();
        let denial = of_cli(Word::Deny, &reason);
        body["permission"] = Value::Object(denial.clone());
        if open.is_told {
            return None;
        }
        let text = format!("{} was denied by the CLI's own rules: {reason}", open.tool);
        Some(line(&text, Some(Value::String(id)), open.parent, &open.tool, denial))
    }
}

/// What the CLI says that it decided itself: `{"decision", "source", "reason_type"}`.
pub(super) fn of_cli_itself(said: &Value) -> Value {
    let word = if said["decision"] == "accept" { Word::Allow } else { Word::Deny };
    let reason = said["reason_type"].as_str().or_else(|| said["source"].as_str()).unwrap_or("unknown");
    Value::Object(of_cli(word, clip(reason, MAX_REASON_BYTES)))
}

/// A line about a call that the CLI denied.
pub(super) fn denied_by_cli(tool: &str, call: &str, why: &str) -> Line {
    let why = clip(why, MAX_REASON_BYTES);
    let call = (!call.is_empty()).then(|| Value::String(call.to_owned()));
    line(&format!("{tool} was denied: {why}"), call, None, tool, of_cli(Word::Deny, why))
}

fn of_cli(word: Word, reason: &str) -> Map<String, Value> {
    let fields = [("decision", word.as_str()), ("by", "cli"), ("reason", reason)];
    fields.into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect()
}

fn decision(word: Word, verdict: &Verdict) -> Map<String, Value> {
    let reason = clip(&verdict.reason, MAX_REASON_BYTES);
    let mut fields: Map<String, Value> = [("decision", word.as_str()), ("by", verdict.by.as_str()), ("reason", reason)]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), json!(value)))
        .collect();
    if let Some(rule) = &verdict.rule {
        fields.insert("rule".to_owned(), json!(rule));
    }
    fields
}

fn line(text: &str, call: Option<Value>, parent: Option<Value>, tool: &str, mut fields: Map<String, Value>) -> Line {
    fields.insert("text".to_owned(), json!(text));
    fields.insert("tool".to_owned(), json!(tool));
    fields.extend(call.map(|call| ("call".to_owned(), call)));
    fields.extend(parent.map(|parent| ("parent".to_owned(), parent)));
    (MessageKind::Status, Value::Object(fields))
}

/// The first text of a result.
fn words(content: &Value) -> &str {
    let of_blocks = || content.as_array()?.iter().find_map(|block| block["text"].as_str());
    content.as_str().or_else(of_blocks).unwrap_or_default()
}

#[cfg(test)]
mod tests;
