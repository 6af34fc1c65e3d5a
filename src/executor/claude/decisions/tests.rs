//! What the record is told of decisions.

use serde_json::{Value, json};

use super::{By, Decided, Decisions, MAX_CALLS, Verdict, Word, denied_by_cli};
use crate::domain::run::MessageKind;

fn decided(id: &str, word: Word, by: By) -> Decided {
    let verdict = Verdict { by, rule: Some("deny: Read".to_owned()), reason: "as it says".to_owned() };
    Decided { tool: "Read".to_owned(), id: Some(id.to_owned()), verdict: Some((word, verdict)) }
}

fn result(id: &str, text: &str, is_error: bool) -> (MessageKind, Value) {
    (MessageKind::ToolResult, json!({"id": id, "is_error": is_error, "content": text}))
}

fn call(id: &str) -> (MessageKind, Value) {
    (MessageKind::ToolCall, json!({"id": id, "name": "Read", "input": {}, "parent": "toolu_0"}))
}

#[test]
fn a_denial_is_told_once_and_an_allowance_with_its_result() {
    let mut decisions = Decisions::default();
    decisions.told(vec![call("a"), call("b")]);
    let (_, line) = decisions.decide(decided("a", Word::Deny, By::Rule)).unwrap();
    let told = json!({"text": "Read was denied: as it says", "call": "a", "tool": "Read", "decision": "deny",
        "by": "rule", "rule": "deny: Read", "reason": "as it says", "parent": "toolu_0"});
    assert_eq!(line, told);
    assert!(decisions.told(vec![denied_by_cli("Read", "a", "again")]).is_empty());
    assert!(decisions.decide(decided("b", Word::Allow, By::Default)).is_none());
    let lines = decisions.told(vec![result("a", "has been denied", true), result("b", "text", false)]);
    let words: Vec<&Value> = lines.iter().map(|(_, body)| &body["permission"]["decision"]).collect();
    assert_eq!(words, ["deny", "allow"]);
    assert!(decisions.open.is_empty() && decisions.order.is_empty());
    assert!(decisions.decide(decided("c", Word::Allow, By::Human)).is_some());
}

#[test]
fn what_the_cli_denies_itself_is_told_and_what_only_failed_is_not() {
    let mut decisions = Decisions::default();
    let refusal = "File is in a directory that is denied by your permission settings.";
    let lines = decisions.told(vec![call("a"), result("a", refusal, true)]);
    assert_eq!((lines.len(), &lines[1].1["by"], &lines[1].1["call"]), (3, &json!("cli"), &json!("a")));
    assert_eq!(lines[2].1["permission"]["decision"], "deny");
    assert_eq!(decisions.told(vec![call("b"), result("b", "File does not exist.", true)]).len(), 2);
    // A command that was let through may print such words.
    decisions.decide(Decided { tool: "Bash".to_owned(), id: Some("c".to_owned()), verdict: None });
    assert_eq!(decisions.told(vec![result("c", "access has been denied", true)]).len(), 1);
    // The CLI's rules stand behind ours.
    decisions.decide(decided("d", Word::Allow, By::Rule));
    let (kind, mut body) = result("d", "no", true);
    body["permission"] = json!({"decision": "deny", "by": "cli", "reason": "rule"});
    assert_eq!(decisions.told(vec![(kind, body)]).len(), 2);
}

#[test]
fn calls_that_never_end_are_forgotten() {
    let mut decisions = Decisions::default();
    for number in 0..2 * MAX_CALLS {
        decisions.told(vec![call(&number.to_string())]);
    }
    assert_eq!((decisions.open.len(), decisions.order.len()), (MAX_CALLS, MAX_CALLS));
}
