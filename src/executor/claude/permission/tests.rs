//! What rules allow and deny.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Call, Permissions, Rule, named_of, rules_of, tools_of, view::View};
use crate::domain::{
    agent::AgentSpec,
    permission::{Effect, PermissionRule},
    trust::Trust,
};

mod links;

/// A decision without who decided.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Allow,
    Deny(String),
    Ask(String),
    Unsaid,
}

impl Permissions {
    fn judge(&self, tool: &str, input: &Value) -> Decision {
        match self.decide(Call { tool, input, directory: Some(&self.view.work) }) {
            super::Decision::Allow(_) => Decision::Allow,
            super::Decision::Deny(verdict) => Decision::Deny(verdict.reason),
            super::Decision::Ask(rule) => Decision::Ask(rule),
            super::Decision::Unsaid => Decision::Unsaid,
        }
    }
}

fn decide(rules: &[PermissionRule], tool: &str, input: &Value) -> Decision {
    permissions(rules).judge(tool, input)
}

fn permissions(rules: &[PermissionRule]) -> Permissions {
    Permissions {
        named: Vec::new(),
        tools: ["Read", "Bash", "Write", "Grep", "WebFetch", "Skill", "mcp__orders__*"].map(str::to_owned).to_vec(),
        rules: rules.iter().filter_map(Rule::of).collect(),
        view: View::bare(PathBuf::from("/workspace"), PathBuf::from("/home/agent"), true),
        asks: false,
        skills: vec![PathBuf::from("/run/plugin/skills")],
    }
}

fn allow(text: &str) -> PermissionRule {
    PermissionRule::new(Effect::Allow, text)
}

fn deny(text: &str) -> PermissionRule {
    PermissionRule::new(Effect::Deny, text)
}

#[test]
fn the_first_match_wins() {
    let rules = [allow("Bash(git push origin docs)"), deny("Bash(git push:*)"), allow("Bash(git *)")];
    assert_eq!(decide(&rules, "Bash", &json!({"command": "git push origin docs"})), Decision::Allow);
    assert!(matches!(decide(&rules, "Bash", &json!({"command": "git push"})), Decision::Deny(_)));
    assert_eq!(decide(&rules, "Bash", &json!({"command": "git status"})), Decision::Allow);
    assert_eq!(decide(&rules, "Bash", &json!({"command": "rm x"})), Decision::Unsaid);
    let settings = permissions(&rules).settings();
    assert_eq!(settings["deny"], json!([]));
}

#[test]
fn an_allowed_command_brings_no_other_with_it() {
    let rules = [deny("Bash(rm *)"), allow("Bash(git *)")];
    for command in ["git log; id", "git log && id", "git $(id)", "git log\nid", "git log > /x"] {
        assert_eq!(decide(&rules, "Bash", &json!({"command": command})), Decision::Unsaid, "{command}");
    }
    assert!(matches!(decide(&rules, "Bash", &json!({"command": "git log; rm -r x"})), Decision::Deny(_)));
}

#[test]
fn a_forbidden_command_is_seen_however_it_is_written() {
    let rules = [deny("Bash(git push:*)"), allow("Bash(git *)")];
    for command in ["git  push origin", "git\tpush", "git \"push\" origin", "git pu\\sh", "'git' push"] {
        assert!(matches!(decide(&rules, "Bash", &json!({"command": command})), Decision::Deny(_)), "{command}");
    }
    assert_eq!(decide(&rules, "Bash", &json!({"command": "git pull"})), Decision::Allow);
}

#[test]
fn a_search_does_not_begin_above_what_is_forbidden() {
    let rules = [
        allow("Edit(notes/**)"),
        allow("Read(/context/open/**)"),
        deny("Read(/context/secret/**)"),
        allow("Read(/context/**)"),
    ];
    assert!(matches!(decide(&rules, "Grep", &json!({"path": "/context", "pattern": "."})), Decision::Deny(_)));
    assert_eq!(decide(&rules, "Grep", &json!({"path": "/context/open", "pattern": "."})), Decision::Allow);
    for pattern in ["/etc/**", "~/x", "a/../../x"] {
        assert!(matches!(decide(&rules, "Glob", &json!({"pattern": pattern})), Decision::Deny(_)), "{pattern}");
    }
    // Nothing before it could allow what it forbids: the CLI hears of it, too.
    let settings = permissions(&[allow("Edit(notes/**)"), deny("Read(/context/secret/**)")]).settings();
    assert_eq!(settings["deny"], json!(["Read(//context/secret/**)"]));
}

#[test]
fn what_one_is_allowed_nobody_else_may_by_default() {
    let file = json!({"executor": "claude", "tools": ["mcp__orders__*", "Agent", "Skill"], "permissions": [
        {"allow": "mcp__orders__refund", "trust": "verified"}, {"allow": "Agent(helper)"}]});
    let decide = |trust, tool: &str, input: Value| of_file(file.clone(), trust).judge(tool, &input);
    assert_eq!(decide(Trust::Verified, "mcp__orders__refund", json!({})), Decision::Allow);
    assert!(matches!(decide(Trust::Unknown, "mcp__orders__refund", json!({})), Decision::Deny(_)));
    assert_eq!(decide(Trust::Unknown, "mcp__orders__find", json!({})), Decision::Allow);
    assert_eq!(decide(Trust::Unknown, "Agent", json!({"subagent_type": "helper"})), Decision::Allow);
    assert!(matches!(decide(Trust::Unknown, "Agent", json!({"subagent_type": "other"})), Decision::Deny(_)));
    assert_eq!(decide(Trust::Unknown, "Skill", json!({"skill": "tone"})), Decision::Allow);
}

#[test]
fn paths_are_matched_as_what_they_are() {
    let rules = [allow("Read(/context/**)"), allow("Edit(notes/*.md)")];
    let read = |path: &str| decide(&rules, "Read", &json!({"file_path": path}));
    assert_eq!(read("/context/a/b.md"), Decision::Allow);
    assert_eq!(read("/context/../etc/passwd"), Decision::Unsaid);
    assert_eq!(read("/contextual"), Decision::Unsaid);
    assert_eq!(decide(&rules, "Grep", &json!({"path": "/context"})), Decision::Allow);
    assert_eq!(decide(&rules, "Write", &json!({"file_path": "/workspace/notes/a.md"})), Decision::Allow);
    assert_eq!(decide(&rules, "Write", &json!({"file_path": "notes/../../a.md"})), Decision::Unsaid);
    assert_eq!(permissions(&rules).settings()["allow"], json!(["Read(//context/**)", "Edit(notes/*.md)"]));
}

#[test]
fn a_tool_that_is_not_named_is_denied_whatever_rules_say() {
    assert!(matches!(decide(&[allow("Edit")], "Edit", &json!({})), Decision::Deny(_)));
    assert_eq!(decide(&[allow("mcp__orders")], "mcp__orders__find", &json!({})), Decision::Allow);
    assert!(matches!(decide(&[allow("mcp__other")], "mcp__other__find", &json!({})), Decision::Deny(_)));
}

#[test]
fn nobody_to_ask_means_no() {
    let ask = [PermissionRule::new(Effect::Ask, "Bash")];
    assert!(matches!(decide(&ask, "Bash", &json!({"command": "id"})), Decision::Deny(why) if why.contains("nobody")));
}

#[test]
fn hosts_are_matched_whole() {
    let rules = [allow("WebFetch(domain:example.com)")];
    assert_eq!(decide(&rules, "WebFetch", &json!({"url": "https://example.com/x"})), Decision::Allow);
    assert_eq!(decide(&rules, "WebFetch", &json!({"url": "https://example.com.evil.net/"})), Decision::Unsaid);
}

fn of_file(agent: Value, trust: Trust) -> Permissions {
    let spec: AgentSpec = serde_json::from_value(agent).unwrap();
    Permissions { tools: tools_of(&spec), rules: rules_of(&spec, trust), named: named_of(&spec), ..permissions(&[]) }
}

#[test]
fn rules_hold_for_those_whom_they_name() {
    let file = json!({"executor": "claude", "tools": ["Bash"], "permissions": [
        {"allow": "Bash(git *)"}, {"deny": "Bash", "trust": "unknown"}, {"ask": "Bash", "trust": ["allowed"]},
        {"allow": "Bash(*)", "trust": "verified"}]});
    let decide = |trust, command: &str| of_file(file.clone(), trust).judge("Bash", &json!({"command": command}));
    for trust in [Trust::Verified, Trust::Allowed, Trust::Unknown] {
        assert_eq!(decide(trust, "git status"), Decision::Allow, "{trust}");
    }
    assert_eq!(decide(Trust::Verified, "make"), Decision::Allow);
    assert!(matches!(decide(Trust::Allowed, "make"), Decision::Deny(why) if why.contains("trust: allowed")));
    assert!(matches!(decide(Trust::Unknown, "make"), Decision::Deny(why) if why.contains("trust: unknown")));
}

#[test]
fn what_is_disallowed_goes_before_and_what_is_allowed_behind_the_rules() {
    let file = json!({"executor": "claude", "tools": ["Bash", "Read", "WebFetch"], "disallowed": ["WebFetch", "Bash(rm *)"],
        "permissions": [{"allow": "Bash(rm x)"}, {"deny": "Read(/etc/**)"}], "allowed": ["Bash", "Read"]});
    let permissions = of_file(file, Trust::Unknown);
    assert_eq!(permissions.built_in_tools(), ["Bash", "Read"]);
    assert!(matches!(permissions.judge("Bash", &json!({"command": "rm x"})), Decision::Deny(_)));
    assert_eq!(permissions.judge("Bash", &json!({"command": "make"})), Decision::Allow);
    assert!(matches!(permissions.judge("Read", &json!({"file_path": "/etc/passwd"})), Decision::Deny(_)));
    assert_eq!(permissions.judge("Read", &json!({"file_path": "/workspace/a"})), Decision::Allow);
    assert!(matches!(permissions.judge("WebFetch", &json!({"url": "https://a.example"})), Decision::Deny(_)));
}

#[test]
fn a_subagent_is_given_work_by_either_name_of_the_tool() {
    let file = json!({"executor": "claude", "tools": ["Task"], "permissions": [{"deny": "Task(spy)"}]});
    let permissions = of_file(file, Trust::Unknown);
    assert_eq!(permissions.judge("Agent", &json!({"subagent_type": "helper"})), Decision::Allow);
    assert!(matches!(permissions.judge("Agent", &json!({"subagent_type": "spy"})), Decision::Deny(_)));
    assert_eq!(permissions.settings()["deny"], json!(["Agent(spy)"]));
}

#[test]
fn the_tool_of_structured_answers_is_there_with_a_schema_alone() {
    let file = |more: Value| {
        let mut file = json!({"executor": "claude"});
        file["output_schema"] = more;
        of_file(file, Trust::Unknown).judge("StructuredOutput", &json!({"n": 1}))
    };
    assert_eq!(file(json!({"type": "object"})), Decision::Allow);
    assert!(matches!(file(Value::Null), Decision::Deny(_)));
}

#[test]
fn files_of_skills_are_read_unless_a_rule_forbids_it() {
    let read = |rules: &[PermissionRule], path: &str| decide(rules, "Read", &json!({"file_path": path}));
    assert_eq!(read(&[], "/run/plugin/skills/tone/words.md"), Decision::Allow);
    assert_eq!(read(&[], "/run/plugin/skills/../settings.json"), Decision::Unsaid);
    assert!(matches!(read(&[deny("Read")], "/run/plugin/skills/tone/words.md"), Decision::Deny(_)));
    let write = json!({"file_path": "/run/plugin/skills/tone/words.md"});
    assert_eq!(decide(&[], "Write", &write), Decision::Unsaid);
}
