//! What an agent's file lets it do, decided by us in the hook before each tool, whatever the CLI thinks.
//!
//! Rules are in Claude Code's syntax, except that a path that begins with one `/` is absolute. First
//! match wins. Where it is unclear whether a rule matches, an `allow` does not and a `deny` does.

use std::path::{Component, Path, PathBuf};

use serde_json::{Value, json};

use crate::{
    domain::{
        agent::AgentSpec,
        permission::{Effect, PermissionRule},
        trust::Trust,
    },
    executor::{claude::pattern::Pattern, workdir::Workdir},
};

/// What becomes of one tool call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It runs.
    Allow,
    /// It does not; why, for the model and the record.
    Deny(String),
    /// A person decides; the rule that wants it.
    Ask(String),
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

struct Rule {
    effect: Effect,
    /// As the file says.
    text: String,
    tool: String,
    specifier: Option<String>,
    /// Empty: for everybody.
    trust: Vec<Trust>,
}

/// The rules of one run.
pub(super) struct Permissions {
    tools: Vec<String>,
    rules: Vec<Rule>,
    /// The tools that an `allow` names, whomever it holds for.
    named: Vec<String>,
    work: PathBuf,
    home: PathBuf,
    /// Empty in a sandbox, where mounts are where rules say.
    places: Vec<Place>,
    walled: bool,
    /// Whether a person can be asked.
    asks: bool,
    /// Where its skills are.
    skills: Vec<PathBuf>,
}

impl Permissions {
    /// The rules of `spec` for a run in `workdir`, whose event came from somebody trusted so far.
    pub(super) fn new(spec: &AgentSpec, workdir: &Workdir, walled: bool, trust: Trust) -> Self {
        let place = |mount: &crate::executor::mounts::Mount| Place {
            container: mount.container.clone(),
            seen: workdir.seen(mount),
            host: std::fs::canonicalize(&mount.host).unwrap_or_else(|_| mount.host.clone()),
        };
        let places = if walled { Vec::new() } else { workdir.mounts.iter().map(place).collect() };
        let (tools, rules) = (tools_of(spec), rules_of(spec, trust));
        let named = named_of(spec);
        Self {
            tools,
            rules,
            named,
            work: workdir.seen_work(),
            home: workdir.seen_home(),
            places,
            walled,
            asks: spec.ask.is_some(),
            skills: Vec::new(),
        }
    }

    /// Lets the files of the run's skills be read where no rule says otherwise.
    pub(super) fn reading(self, skills: Vec<PathBuf>) -> Self {
        Self { skills, ..self }
    }

    /// Decides one call.
    pub(super) fn decide(&self, tool: &str, input: &Value) -> Decision {
        let tool = canonical(tool);
        if !self.tools.iter().any(|named| Pattern::words(named).matches(tool)) {
            return Decision::Deny(format!("the tool {tool} is not among this agent's tools"));
        }
        if tool == "Glob" && input.get("pattern").and_then(Value::as_str).is_some_and(leads_away) {
            return Decision::Deny("a pattern of Glob goes on from `path`: put the directory there".to_owned());
        }
        for (at, rule) in self.rules.iter().enumerate() {
            let doubt = if matches!(rule.effect, Effect::Allow) { Doubt::Misses } else { Doubt::Matches };
            let above = || doubt == Doubt::Matches && self.is_limited(at) && self.is_above(rule, tool, input);
            if !self.matches(rule, tool, input, doubt) && !above() {
                continue;
            }
            return match rule.effect {
                Effect::Allow => Decision::Allow,
                Effect::Deny => Decision::Deny(format!("the rule `deny: {}` forbids it", rule.shown())),
                Effect::Ask if self.asks => Decision::Ask(rule.shown()),
                Effect::Ask => {
                    Decision::Deny(format!("the rule `ask: {}` wants a person, and nobody can be asked", rule.shown()))
                }
            };
        }
        // Which skills, which agents and which servers' tools there are is the agent's file's choice already.
        let chosen = matches!(tool, "Skill" | "Agent" | OUTPUT_TOOL) || tool.starts_with("mcp__");
        if chosen && self.named.iter().any(|named| covers(named, tool)) {
            return Decision::Deny(format!("no `allow` of {tool} holds for this call and whoever sent the event"));
        }
        if chosen || self.is_of_a_skill(tool, input) { Decision::Allow } else { Decision::Unsaid }
    }

    fn is_of_a_skill(&self, tool: &str, input: &Value) -> bool {
        let path = input.get("file_path").or_else(|| input.get("path")).and_then(Value::as_str);
        let (Some(path), "Read" | "Grep" | "Glob") = (path, tool) else { return false };
        let path = plain(&self.work.join(path));
        // Without walls the agent could have put a link there.
        let path = if self.walled { path } else { std::fs::canonicalize(&path).unwrap_or_default() };
        self.skills.iter().any(|folder| path.starts_with(folder))
    }

    /// The CLI's own tools that are there at all, as it wants them named.
    pub(super) fn built_in_tools(&self) -> Vec<&str> {
        let own =
            self.tools.iter().map(String::as_str).filter(|tool| !tool.starts_with("mcp__") && *tool != OUTPUT_TOOL);
        own.collect()
    }

    /// The rules that the CLI enforces itself besides. There a denial beats every allowance, so a
    /// denial that an earlier allowance limits stays with [`Permissions::decide`] alone.
    pub(super) fn settings(&self) -> Value {
        let (mut allow, mut ask, mut deny) = (Vec::new(), Vec::new(), Vec::new());
        for (at, rule) in self.rules.iter().enumerate() {
            let limited = self.is_limited(at);
            match rule.effect {
                Effect::Allow => allow.extend(self.for_cli(rule)),
                // Where somebody is asked the hook has their answer, and the CLI would ask once more.
                Effect::Ask if !limited && !self.asks => ask.extend(self.for_cli(rule)),
                Effect::Deny if !limited => deny.extend(self.for_cli(rule)),
                Effect::Ask | Effect::Deny => {}
            }
        }
        json!({"allow": allow, "ask": ask, "deny": deny})
    }

    /// Whether an allowance before the rule could hold for what the rule is about.
    fn is_limited(&self, at: usize) -> bool {
        let Some((rule, before)) = self.rules.get(at).zip(self.rules.get(..at)) else { return false };
        before
            .iter()
            .filter(|earlier| matches!(earlier.effect, Effect::Allow))
            .any(|earlier| covers(&earlier.tool, &rule.tool) || covers(&rule.tool, &earlier.tool))
    }

    /// Whether a search begins above what the rule is about: it would find that, too.
    fn is_above(&self, rule: &Rule, tool: &str, input: &Value) -> bool {
        let (Some(wanted), "Grep" | "Glob") = (&rule.specifier, tool) else { return false };
        let path = input.get("path").and_then(Value::as_str).unwrap_or(".");
        let wanted = self.wanted(wanted);
        let fixed: PathBuf =
            wanted.components().take_while(|part| !part.as_os_str().to_string_lossy().contains('*')).collect();
        covers(&rule.tool, tool)
            && self.names_of(&plain(&self.work.join(path))).iter().any(|name| fixed.starts_with(name))
    }

    fn for_cli(&self, rule: &Rule) -> Vec<String> {
        let Some(path) = rule.specifier.as_deref().filter(|path| is_file_rule(&rule.tool) && path.starts_with('/'))
        else {
            return vec![match &rule.specifier {
                Some(specifier) => format!("{}({specifier})", rule.tool),
                None => rule.tool.clone(),
            }];
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
        if !covers(&rule.tool, tool) {
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
            "Agent" => {
                text("subagent_type").map_or(doubt == Doubt::Matches, |name| Pattern::words(wanted).matches(name))
            }
            _ => doubt == Doubt::Matches,
        }
    }

    fn path_matches(&self, wanted: &str, path: &str, doubt: Doubt) -> bool {
        let wanted = self.wanted(wanted);
        let asked = plain(&self.work.join(path));
        if doubt == Doubt::Misses && !self.walled && !self.is_ours(&asked) {
            return false;
        }
        let names = self.names_of(&asked);
        let pattern = Pattern::path(&wanted.to_string_lossy());
        names.iter().any(|name| pattern.matches(&name.to_string_lossy()))
    }

    fn wanted(&self, wanted: &str) -> PathBuf {
        match wanted.strip_prefix("~/") {
            Some(rest) => self.home.join(rest),
            None if wanted.starts_with('/') => PathBuf::from(format!("/{}", wanted.trim_start_matches('/'))),
            None => self.work.join(wanted.trim_start_matches("./")),
        }
    }

    /// The path as it is, and as rules name it.
    fn names_of(&self, asked: &Path) -> Vec<PathBuf> {
        let mut names = vec![asked.to_owned()];
        for place in &self.places {
            for at in [&place.seen, &place.host] {
                names.extend(asked.strip_prefix(at).map(|rest| plain(&place.container.join(rest))));
            }
        }
        names
    }

    /// Without walls a link could lead anywhere: what it leads to must be the agent's, too.
    fn is_ours(&self, path: &Path) -> bool {
        let Some(there) = path.ancestors().find(|at| at.exists()) else { return false };
        let Ok(real) = std::fs::canonicalize(there) else { return false };
        let roots = [&self.work, &self.home].map(|root| std::fs::canonicalize(root).unwrap_or_else(|_| root.clone()));
        roots.iter().chain(self.places.iter().map(|place| &place.host)).any(|root| real.starts_with(root))
    }
}

/// The tool by which a model gives an answer that fits a schema.
const OUTPUT_TOOL: &str = "StructuredOutput";

/// The tools that a run has: those that its file names and does not take away again.
fn tools_of(spec: &AgentSpec) -> Vec<String> {
    let taken = |tool: &str| spec.disallowed.iter().any(|taken| Pattern::words(canonical(taken)).matches(tool));
    let named = spec.tools.iter().map(|tool| canonical(tool).to_owned()).filter(|tool| !taken(tool));
    named.chain(spec.output_schema.is_some().then(|| OUTPUT_TOOL.to_owned())).collect()
}

/// The tools that an `allow` of the file names, whomever it holds for.
fn named_of(spec: &AgentSpec) -> Vec<String> {
    let rules = spec.permissions.iter().filter_map(Rule::of);
    rules.filter(|rule| matches!(rule.effect, Effect::Allow)).map(|rule| rule.tool).collect()
}

/// What the file disallows, its rules for such a sender, what it allows.
fn rules_of(spec: &AgentSpec, trust: Trust) -> Vec<Rule> {
    let before = spec.disallowed.iter().map(|text| Rule::parse(Effect::Deny, text, &[]));
    let after = spec.allowed.iter().map(|text| Rule::parse(Effect::Allow, text, &[]));
    let own = spec.permissions.iter().filter(|rule| rule.holds_for(trust)).filter_map(Rule::of);
    before.chain(own).chain(after).collect()
}

/// The CLI takes both names for the one tool.
fn canonical(tool: &str) -> &str {
    if tool == "Task" { "Agent" } else { tool }
}

impl Rule {
    fn of(rule: &PermissionRule) -> Option<Self> {
        rule.effect().map(|(effect, text)| Self::parse(effect, text, &rule.trust))
    }

    fn parse(effect: Effect, text: &str, trust: &[Trust]) -> Self {
        let text = text.trim().to_owned();
        let (tool, specifier) = match text.split_once('(') {
            Some((tool, rest)) => (canonical(tool), Some(rest.strip_suffix(')').unwrap_or(rest).to_owned())),
            None => (canonical(&text), None),
        };
        Self { effect, tool: tool.to_owned(), specifier, trust: trust.to_vec(), text }
    }

    /// As the file says.
    fn shown(&self) -> String {
        let trust: Vec<&str> = self.trust.iter().map(|trust| trust.as_str()).collect();
        if trust.is_empty() { self.text.clone() } else { format!("{}, trust: {}", self.text, trust.join(", ")) }
    }
}

/// Whether a rule for `named` is one for `tool`.
fn covers(named: &str, tool: &str) -> bool {
    Pattern::words(named).matches(tool)
        || tool.strip_prefix(named).is_some_and(|rest| named.starts_with("mcp__") && rest.starts_with("__"))
        || (named == "Read" && matches!(tool, "Grep" | "Glob"))
        || (named == "Edit" && matches!(tool, "Write" | "NotebookEdit" | "MultiEdit"))
}

/// Whether a pattern of files leaves the directory that it goes on from.
fn leads_away(pattern: &str) -> bool {
    pattern.starts_with(['/', '~']) || pattern.split('/').any(|part| part == "..")
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
        Doubt::Matches => {
            // As the shell sees it: quotes do not count, and white space is one blank.
            let seen: String = command.chars().filter(|c| !matches!(c, '"' | '\'' | '\\')).collect();
            let is_one = |part: &str| one(&part.split_whitespace().collect::<Vec<_>>().join(" "));
            seen.split(several).any(is_one) || is_one(&seen) || command.split(several).any(one) || one(command)
        }
    }
}

#[cfg(test)]
mod tests;
