//! What an agent's file lets it do, decided by us in the hook before each tool, whatever the CLI thinks.
//!
//! Rules are in Claude Code's syntax, except that a path that begins with one `/` is absolute. First
//! match wins. Where it is unclear whether a rule matches, an `allow` does not and a `deny` does.

use std::path::{Component, Path, PathBuf};

use serde_json::{Value, json};

use crate::{
    domain::agent::{AgentSpec, PermissionRule},
    executor::{claude::pattern::Pattern, workdir::Workdir},
};

/// What becomes of one tool call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It runs.
    Allow,
    /// It does not; why, for the model and the record.
    Deny(String),
    /// No rule says; the CLI's own judgement holds, and what it would ask is denied.
    Unsaid,
}

/// A mount as rules name it, as the agent finds it, and as the host has it.
struct Place {
    container: PathBuf,
    seen: PathBuf,
    host: PathBuf,
}

/// What holds where a rule cannot be compared with a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Doubt {
    Matches,
    Misses,
}

#[derive(Clone, Copy)]
enum Effect {
    Allow,
    Ask,
    Deny,
}

struct Rule {
    effect: Effect,
    /// As the file says.
    text: String,
    tool: String,
    specifier: Option<String>,
}

/// The rules of one run.
pub(super) struct Permissions {
    tools: Vec<String>,
    rules: Vec<Rule>,
    work: PathBuf,
    home: PathBuf,
    /// Empty in a sandbox, where mounts are where rules say.
    places: Vec<Place>,
    walled: bool,
}

impl Permissions {
    /// The rules of `spec` for a run in `workdir`.
    pub(super) fn new(spec: &AgentSpec, workdir: &Workdir, walled: bool) -> Self {
        let place = |mount: &crate::executor::mounts::Mount| Place {
            container: mount.container.clone(),
            seen: workdir.seen(mount),
            host: std::fs::canonicalize(&mount.host).unwrap_or_else(|_| mount.host.clone()),
        };
        let places = if walled { Vec::new() } else { workdir.mounts.iter().map(place).collect() };
        let rules = spec.permissions.iter().map(Rule::parse).collect();
        Self { tools: spec.tools.clone(), rules, work: workdir.seen_work(), home: workdir.seen_home(), places, walled }
    }

    /// Decides one call.
    pub(super) fn decide(&self, tool: &str, input: &Value) -> Decision {
        if !self.tools.iter().any(|named| Pattern::words(named).matches(tool)) {
            return Decision::Deny(format!("the tool {tool} is not among this agent's tools"));
        }
        for rule in &self.rules {
            let doubt = if matches!(rule.effect, Effect::Allow) { Doubt::Misses } else { Doubt::Matches };
            if !self.matches(rule, tool, input, doubt) {
                continue;
            }
            return match rule.effect {
                Effect::Allow => Decision::Allow,
                Effect::Deny => Decision::Deny(format!("the rule `deny: {}` forbids it", rule.text)),
                Effect::Ask => {
                    Decision::Deny(format!("the rule `ask: {}` wants a person, and nobody can be asked", rule.text))
                }
            };
        }
        // Which skills and which servers' tools there are is the agent's file's choice already.
        if tool == "Skill" || tool.starts_with("mcp__") { Decision::Allow } else { Decision::Unsaid }
    }

    /// The rules that the CLI enforces itself besides. There a denial beats every allowance, so a
    /// denial that an earlier allowance limits stays with [`Permissions::decide`] alone.
    pub(super) fn settings(&self) -> Value {
        let (mut allow, mut ask, mut deny) = (Vec::new(), Vec::new(), Vec::new());
        for (at, rule) in self.rules.iter().enumerate() {
            let limited = self.rules[..at].iter().any(|earlier| matches!(earlier.effect, Effect::Allow));
            match rule.effect {
                Effect::Allow => allow.extend(self.for_cli(rule)),
                Effect::Ask if !limited => ask.extend(self.for_cli(rule)),
                Effect::Deny if !limited => deny.extend(self.for_cli(rule)),
                Effect::Ask | Effect::Deny => {}
            }
        }
        json!({"allow": allow, "ask": ask, "deny": deny, "defaultMode": "default"})
    }

    fn for_cli(&self, rule: &Rule) -> Vec<String> {
        let Some(path) = rule.specifier.as_deref().filter(|path| is_file_rule(&rule.tool) && path.starts_with('/'))
        else {
            return vec![rule.text.clone()];
        };
        let path = format!("/{}", path.trim_start_matches('/'));
        let mut paths = vec![path.clone()];
        for place in &self.places {
            if let Ok(rest) = Path::new(&path).strip_prefix(&place.container) {
                paths.extend([&place.seen, &place.host].map(|at| at.join(rest).display().to_string()));
            }
        }
        paths.into_iter().map(|path| format!("{}(/{path})", rule.tool)).collect()
    }

    fn matches(&self, rule: &Rule, tool: &str, input: &Value, doubt: Doubt) -> bool {
        let text = |key: &str| input.get(key).and_then(Value::as_str);
        let covers = Pattern::words(&rule.tool).matches(tool)
            || tool
                .strip_prefix(&rule.tool)
                .is_some_and(|rest| rule.tool.starts_with("mcp__") && rest.starts_with("__"))
            || (rule.tool == "Read" && matches!(tool, "Grep" | "Glob"))
            || (rule.tool == "Edit" && matches!(tool, "Write" | "NotebookEdit" | "MultiEdit"));
        if !covers {
            return false;
        }
        let Some(wanted) = rule.specifier.as_deref().filter(|wanted| *wanted != "*") else { return true };
        match tool {
            "Bash" => {
                text("command").map_or(doubt == Doubt::Matches, |command| command_matches(wanted, command, doubt))
            }
            "Read" | "Grep" | "Glob" | "Edit" | "Write" | "NotebookEdit" | "MultiEdit" => {
                let path = text("file_path").or_else(|| text("path")).or_else(|| text("notebook_path"));
                self.path_matches(wanted, path.unwrap_or("."), doubt)
            }
            "WebFetch" => {
                let host = text("url").and_then(|url| url::Url::parse(url).ok()?.host_str().map(str::to_owned));
                let domain = Pattern::words(wanted.strip_prefix("domain:").unwrap_or(wanted));
                host.map_or(doubt == Doubt::Matches, |host| domain.matches(&host))
            }
            "Skill" => text("skill").or_else(|| text("command")).map_or(doubt == Doubt::Matches, |name| {
                Pattern::words(wanted).matches(name) || name.ends_with(&format!(":{wanted}"))
            }),
            "Task" | "Agent" => {
                text("subagent_type").map_or(doubt == Doubt::Matches, |name| Pattern::words(wanted).matches(name))
            }
            _ => doubt == Doubt::Matches,
        }
    }

    fn path_matches(&self, wanted: &str, path: &str, doubt: Doubt) -> bool {
        let wanted = match wanted.strip_prefix("~/") {
            Some(rest) => self.home.join(rest),
            None if wanted.starts_with('/') => PathBuf::from(format!("/{}", wanted.trim_start_matches('/'))),
            None => self.work.join(wanted.trim_start_matches("./")),
        };
        let asked = plain(&self.work.join(path));
        if doubt == Doubt::Misses && !self.walled && !self.is_ours(&asked) {
            return false;
        }
        let mut names = vec![asked.clone()];
        for place in &self.places {
            for at in [&place.seen, &place.host] {
                names.extend(asked.strip_prefix(at).map(|rest| plain(&place.container.join(rest))));
            }
        }
        let pattern = Pattern::path(&wanted.to_string_lossy());
        names.iter().any(|name| pattern.matches(&name.to_string_lossy()))
    }

    /// Without walls a link could lead anywhere: what it leads to must be the agent's, too.
    fn is_ours(&self, path: &Path) -> bool {
        let Some(there) = path.ancestors().find(|at| at.exists()) else { return false };
        let Ok(real) = std::fs::canonicalize(there) else { return false };
        let roots = [&self.work, &self.home].map(|root| std::fs::canonicalize(root).unwrap_or_else(|_| root.clone()));
        roots.iter().chain(self.places.iter().map(|place| &place.host)).any(|root| real.starts_with(root))
    }
}

impl Rule {
    fn parse(rule: &PermissionRule) -> Self {
        let (effect, text) = match rule {
            PermissionRule::Allow(text) => (Effect::Allow, text),
            PermissionRule::Ask(text) => (Effect::Ask, text),
            PermissionRule::Deny(text) => (Effect::Deny, text),
        };
        let text = text.trim().to_owned();
        let (tool, specifier) = match text.split_once('(') {
            Some((tool, rest)) => (tool.to_owned(), Some(rest.strip_suffix(')').unwrap_or(rest).to_owned())),
            None => (text.clone(), None),
        };
        Self { effect, text, tool, specifier }
    }
}

fn is_file_rule(tool: &str) -> bool {
    matches!(tool, "Read" | "Grep" | "Glob" | "Edit" | "Write" | "NotebookEdit" | "MultiEdit")
}

/// `.` and `..` resolved by text alone.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            Component::Normal(_) | Component::RootDir | Component::Prefix(_) => plain.push(part),
        }
    }
    plain
}

/// `git push:*`, `git push *`, `git *`, `git status`.
fn command_matches(wanted: &str, command: &str, doubt: Doubt) -> bool {
    let wanted = wanted.strip_suffix(":*").map_or_else(|| wanted.to_owned(), |begin| format!("{begin} *"));
    let pattern = Pattern::words(&wanted);
    let one = |command: &str| {
        let command = command.trim();
        pattern.matches(command) || wanted.strip_suffix(" *").is_some_and(|begin| begin == command)
    };
    let several = |c: char| matches!(c, ';' | '&' | '|' | '\n' | '\r' | '`' | '(' | ')' | '<' | '>' | '$' | '{' | '}');
    match doubt {
        Doubt::Misses => !command.contains(several) && one(command),
        Doubt::Matches => command.split(several).any(one) || one(command),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::{Value, json};

    use super::{Decision, Permissions, Rule};
    use crate::domain::agent::PermissionRule;

    fn decide(rules: &[PermissionRule], tool: &str, input: &Value) -> Decision {
        permissions(rules).decide(tool, input)
    }

    fn permissions(rules: &[PermissionRule]) -> Permissions {
        Permissions {
            tools: ["Read", "Bash", "Write", "Grep", "WebFetch", "Skill", "mcp__orders__*"].map(str::to_owned).to_vec(),
            rules: rules.iter().map(Rule::parse).collect(),
            work: PathBuf::from("/workspace"),
            home: PathBuf::from("/home/agent"),
            places: Vec::new(),
            walled: true,
        }
    }

    fn allow(text: &str) -> PermissionRule {
        PermissionRule::Allow(text.to_owned())
    }

    fn deny(text: &str) -> PermissionRule {
        PermissionRule::Deny(text.to_owned())
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
        let ask = [PermissionRule::Ask("Bash".to_owned())];
        assert!(
            matches!(decide(&ask, "Bash", &json!({"command": "id"})), Decision::Deny(why) if why.contains("nobody"))
        );
    }

    #[test]
    fn hosts_are_matched_whole() {
        let rules = [allow("WebFetch(domain:example.com)")];
        assert_eq!(decide(&rules, "WebFetch", &json!({"url": "https://example.com/x"})), Decision::Allow);
        assert_eq!(decide(&rules, "WebFetch", &json!({"url": "https://example.com.evil.net/"})), Decision::Unsaid);
    }
}
