//! Warnings of permission rules that do nothing, or not what they seem to.

use crate::{
    config::{agents::Checker, claude::permissions::is_known},
    domain::{
        agent::AgentSpec,
        pattern,
        permission::{Effect, PermissionRule, family},
        trust::Trust,
    },
};

/// A rule in its parts.
struct Parts<'a> {
    effect: Effect,
    text: &'a str,
    tool: &'a str,
    /// `None` for every call.
    specifier: Option<&'a str>,
    trust: &'a [Trust],
}

/// Warns of rules that are asked about with nobody to ask, that are never reached, or for tools that are not there.
pub(super) fn check(spec: &AgentSpec, checker: &mut Checker<'_>) {
    let rules: Vec<Option<Parts<'_>>> = spec.permissions.iter().map(parts).collect();
    for (index, rule) in rules.iter().enumerate() {
        let Some(rule) = rule else { continue };
        let path = ["permissions", &index.to_string()];
        let shown = format!("`{}: {}`", rule.effect.as_str(), rule.text);
        if !is_there(spec, rule.tool) && is_known(rule.tool) {
            let help = format!("add `{}` to `tools`, or remove the rule", rule.tool);
            checker.warning(&path, format!("{shown} does nothing: the agent has no such tool"), help);
            continue;
        }
        let earlier = rules.iter().take(index).flatten().find(|earlier| earlier.hides(rule));
        if let Some(earlier) = earlier {
            let before = format!("`{}: {}`", earlier.effect.as_str(), earlier.text);
            let message = format!("{shown} is never reached: {before} stands before it, and the first match decides");
            checker.warning(&path, message, format!("write it before {before}, or remove it"));
        } else if matches!(rule.effect, Effect::Ask) && spec.ask.is_none() {
            let message = format!("{shown} denies every call: the agent's file names nobody to ask");
            checker.warning(&path, message, "add `ask: sender` or `ask: { email: team@example.com }`, or write `deny`");
        }
    }
}

impl Parts<'_> {
    /// Whether no call is left for `later`, which says something else.
    fn hides(&self, later: &Parts<'_>) -> bool {
        let holds_for = |trust: &Trust| self.trust.is_empty() || self.trust.contains(trust);
        let everybody = [Trust::Verified, Trust::Allowed, Trust::Unknown];
        let of_all = if later.trust.is_empty() { &everybody[..] } else { later.trust };
        let is_wider = self.specifier.is_none() || (self.specifier == later.specifier && self.tool == later.tool);
        self.effect != later.effect && is_wider && covers(self.tool, later.tool) && of_all.iter().all(holds_for)
    }
}

fn parts(rule: &PermissionRule) -> Option<Parts<'_>> {
    let (effect, text) = rule.effect()?;
    let text = text.trim();
    let (tool, specifier) = match text.split_once('(') {
        Some((tool, rest)) => (tool, Some(rest.strip_suffix(')').unwrap_or(rest)).filter(|wanted| *wanted != "*")),
        None => (text, None),
    };
    Some(Parts { effect, text, tool: canonical(tool), specifier, trust: &rule.trust })
}

/// Both names are those of one tool.
fn canonical(tool: &str) -> &str {
    if tool == "Task" { "Agent" } else { tool }
}

/// Whether a rule for `named` holds for every tool that `tool` stands for.
fn covers(named: &str, tool: &str) -> bool {
    pattern::matches(named, tool)
        || tool.strip_prefix(named).is_some_and(|rest| named.starts_with("mcp__") && rest.starts_with("__"))
        || family(tool) == Some(named)
}

/// Whether the agent has a tool that a rule for `named` is about.
fn is_there(spec: &AgentSpec, named: &str) -> bool {
    let is_taken = |tool: &str| spec.disallowed.iter().any(|taken| pattern::matches(canonical(taken), tool));
    let own = spec.tools.iter().map(|tool| canonical(tool)).filter(|tool| !is_taken(tool));
    let answers = spec.output_schema.is_some().then_some("StructuredOutput");
    own.chain(answers).any(|tool| covers(named, tool) || covers(tool, named))
}
