//! What an agent's file lets it do, decided by us in the hook before each tool, whatever the CLI thinks.
//!
//! Rules are in Claude Code's syntax, except that a path that begins with one `/` is absolute. First
//! match wins. Where it is unclear whether a rule matches, an `allow` does not and a `deny` does.

mod view;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::{
    domain::{
        agent::AgentSpec,
        permission::{Effect, PermissionRule, family},
        trust::Trust,
    },
    executor::{
        claude::{
            decisions::{By, Verdict},
            pattern::{Pattern, reaches_below},
            permission::view::{Meanings, View, composed},
        },
        workdir::Workdir,
    },
};

/// What becomes of one tool call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It runs.
    Allow(Verdict),
    /// It does not; the reason is for the model and the record.
    Deny(Verdict),
    /// A person decides; the rule that wants it, without its word `ask`.
    Ask(String),
    /// No rule says; the CLI's own judgement holds, and what it would ask is denied.
    Unsaid,
}

/// One call of a tool.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    /// The tool.
    pub(super) tool: &'a str,
    /// What it is told.
    pub(super) input: &'a Value,
    /// Where relative paths go on from, when that is known: the model may have changed it.
    pub(super) directory: Option<&'a Path>,
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
    view: View,
    /// Whether a person can be asked.
    asks: bool,
    /// Where its skills are.
    skills: Vec<PathBuf>,
}

impl Permissions {
    /// The rules of `spec` for a run in `workdir`, whose event came from somebody trusted so far.
    pub(super) fn new(spec: &AgentSpec, workdir: &Workdir, walled: bool, trust: Trust) -> Self {
        Self {
            tools: tools_of(spec),
            rules: rules_of(spec, trust),
            named: named_of(spec),
            view: View::new(spec, workdir, walled),
            asks: spec.ask.is_some(),
            skills: Vec::new(),
        }
    }

    /// Lets the files of the run's skills be read where no rule says otherwise.
    pub(super) fn reading(mut self, skills: Vec<PathBuf>) -> Self {
        skills.iter().for_each(|folder| self.view.lay_as_it_is(folder));
        Self { skills, ..self }
    }

    /// Decides one call. Looks at the links that its paths have now.
    pub(super) fn decide(&self, call: Call<'_>) -> Decision {
        let call = Call { tool: canonical(call.tool), ..call };
        let tool = call.tool;
        let by_default = |why: String| Verdict { by: By::Default, rule: None, reason: why };
        if !self.tools.iter().any(|named| Pattern::words(named).matches(tool)) {
            return Decision::Deny(by_default(format!("the tool {tool} is not among this agent's tools")));
        }
        if tool == "Glob" && call.input.get("pattern").and_then(Value::as_str).is_some_and(leads_away) {
            let why = "a pattern of Glob goes on from `path`: put the directory there";
            return Decision::Deny(by_default(why.to_owned()));
        }
        let paths = is_file_rule(tool).then(|| self.view.meanings(call.input, call.directory));
        let found = self.rules.iter().enumerate().find(|(at, rule)| self.holds(*at, rule, call, paths.as_ref()));
        if let Some((_, rule)) = found {
            return self.follow(rule, paths.is_some_and(|paths| paths.is_unclear));
        }
        // Which skills, which agents and which servers' tools there are is the agent's file's choice already.
        let chosen = matches!(tool, "Skill" | "Agent" | OUTPUT_TOOL) || tool.starts_with("mcp__");
        if chosen && self.named.iter().any(|named| covers(named, tool)) {
            let why = format!("no `allow` of {tool} holds for this call and whoever sent the event");
            return Decision::Deny(by_default(why));
        }
        if chosen {
            return Decision::Allow(by_default("the agent's file gives it this tool".to_owned()));
        }
        match paths {
            Some(paths) if family(tool) == Some("Read") && paths.lie_in(&self.skills) => {
                Decision::Allow(by_default("a file of the run's skills".to_owned()))
            }
            Some(_) | None => Decision::Unsaid,
        }
    }

    /// What a call is denied with that no rule allows, nor the CLI.
    pub(super) fn unsaid(&self) -> Verdict {
        let asks = self.rules.iter().any(|rule| matches!(rule.effect, Effect::Ask));
        let why = match (asks, self.asks) {
            (true, true) => "no rule allows it, and no rule `ask` is about it",
            (true, false) => "no rule allows it, and the agent's file names nobody to ask (`ask`)",
            (false, _) => "no rule allows it, and no rule asks a person",
        };
        Verdict { by: By::Default, rule: None, reason: why.to_owned() }
    }

    fn follow(&self, rule: &Rule, is_unclear: bool) -> Decision {
        let shown = rule.shown();
        let unclear = if is_unclear && rule.specifier.is_some() { ": where that path leads is not clear" } else { "" };
        let verdict =
            |reason| Verdict { by: By::Rule, rule: Some(format!("{}: {shown}", rule.effect.as_str())), reason };
        match rule.effect {
            Effect::Allow => Decision::Allow(verdict(format!("the rule `allow: {shown}` allows it"))),
            Effect::Deny => Decision::Deny(verdict(format!("the rule `deny: {shown}` forbids it{unclear}"))),
            Effect::Ask if self.asks => Decision::Ask(shown),
            Effect::Ask => {
                let why = "and nobody can be asked: the agent's file names nobody (`ask`)";
                Decision::Deny(verdict(format!("the rule `ask: {shown}` wants a person, {why}")))
            }
        }
    }

    fn holds(&self, at: usize, rule: &Rule, call: Call<'_>, paths: Option<&Meanings>) -> bool {
        let doubt = if matches!(rule.effect, Effect::Allow) { Doubt::Misses } else { Doubt::Matches };
        self.matches(rule, call, paths, doubt)
            || (doubt == Doubt::Matches && self.is_limited(at) && self.is_above(rule, call.tool, paths))
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

    /// Whether a search begins above something that the rule is about: it would find that, too.
    fn is_above(&self, rule: &Rule, tool: &str, paths: Option<&Meanings>) -> bool {
        let (Some(wanted), Some(paths), "Grep" | "Glob") = (&rule.specifier, paths, tool) else { return false };
        covers(&rule.tool, tool)
            && self.wanted(wanted, Doubt::Matches).iter().any(|wanted| {
                paths.all.iter().flatten().any(|name| reaches_below(wanted, &composed(&name.to_string_lossy())))
            })
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
        paths.extend(self.view.other_names(Path::new(&path)).iter().map(|path| path.display().to_string()));
        paths.into_iter().map(|path| format!("{}(/{path})", rule.tool)).collect()
    }

    fn matches(&self, rule: &Rule, call: Call<'_>, paths: Option<&Meanings>, doubt: Doubt) -> bool {
        let text = |key: &str| call.input.get(key).and_then(Value::as_str);
        if !covers(&rule.tool, call.tool) {
            return false;
        }
        let Some(wanted) = rule.specifier.as_deref().filter(|wanted| *wanted != "*") else { return true };
        if let Some(paths) = paths {
            return self.paths_match(wanted, paths, doubt);
        }
        match call.tool {
            "Bash" => {
                text("command").map_or(doubt == Doubt::Matches, |command| command_matches(wanted, command, doubt))
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

    /// An allowance must hold for everything that a path may mean, a denial for one of it.
    fn paths_match(&self, wanted: &str, paths: &Meanings, doubt: Doubt) -> bool {
        let patterns: Vec<Pattern> = self.wanted(wanted, doubt).iter().map(|path| Pattern::path(path)).collect();
        let is_meant = |name: &PathBuf| {
            let name = composed(&name.to_string_lossy());
            patterns.iter().any(|pattern| pattern.matches(&name))
        };
        let mut all = paths.all.iter().map(|names| names.iter().any(is_meant));
        match doubt {
            Doubt::Matches => paths.is_unclear || all.any(|matches| matches),
            Doubt::Misses => !paths.is_unclear && paths.are_of(&self.view) && all.all(|matches| matches),
        }
    }

    /// A rule's path. Where it goes through links, a denial is also of what they lead to; an allowance is not, since the
    /// agent might have made them.
    fn wanted(&self, wanted: &str, doubt: Doubt) -> Vec<String> {
        let text = self.view.wanted(wanted);
        let behind = if doubt == Doubt::Matches { self.view.wanted_behind_links(&text) } else { None };
        [Some(text), behind].into_iter().flatten().map(|path| path.to_string_lossy().into_owned()).collect()
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
        || family(tool) == Some(named)
}

/// Whether a pattern of files leaves the directory that it goes on from, or may.
fn leads_away(pattern: &str) -> bool {
    pattern.trim().starts_with(['/', '~']) || pattern.contains("..")
}

/// Whether calls of the tool, and rules for it, name files.
fn is_file_rule(tool: &str) -> bool {
    family(tool).is_some()
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
