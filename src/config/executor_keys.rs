//! Which keys of an agent's file mean something with which executor.

use crate::{
    config::agents::Checker,
    domain::agent::{
        AgentSpec,
        ExecutorKind::{self, Anthropic, Claude, Command, Http},
    },
};

/// Keys that not every executor knows; the first executor named is the one that an agent with the key likely wants.
const KEYS: [(&str, &[ExecutorKind]); 31] = [
    ("http", &[Http]),
    ("command", &[Command]),
    ("result", &[Command]),
    ("stdin", &[Command]),
    ("resume", &[Command]),
    ("model", &[Claude, Anthropic]),
    ("max_tokens", &[Anthropic]),
    ("fallback_model", &[Claude]),
    ("effort", &[Claude, Anthropic]),
    ("thinking", &[Claude, Anthropic]),
    ("system_prompt", &[Claude]),
    ("tools", &[Claude, Anthropic]),
    ("permissions", &[Claude]),
    ("allowed", &[Claude]),
    ("disallowed", &[Claude]),
    ("permission_mode", &[Claude]),
    ("ask", &[Claude, Anthropic]),
    ("may_trigger", &[Claude, Anthropic]),
    ("output_schema", &[Claude, Anthropic]),
    ("agents", &[Claude]),
    ("plugins", &[Claude]),
    ("directories", &[Claude]),
    ("claude_md", &[Claude]),
    ("sandbox", &[Claude]),
    ("mcp", &[Claude]),
    ("mounts", &[Claude, Command, Http]),
    ("artifacts", &[Claude, Command]),
    ("databases", &[Claude, Command]),
    ("setup", &[Claude, Command]),
    ("env", &[Claude, Command]),
    ("network", &[Claude, Command]),
];

/// The same for keys of `limits`.
const LIMITS: [(&str, &[ExecutorKind]); 4] = [
    ("turns", &[Claude, Anthropic]),
    ("budget_usd", &[Claude, Anthropic]),
    ("messages", &[Claude]),
    ("file_bytes", &[Claude]),
];

/// Refuses keys among `given`, the frontmatter's, that do nothing.
pub(super) fn check(spec: &AgentSpec, given: &[String], checker: &mut Checker<'_>) {
    let own = spec.executor;
    for (key, known) in KEYS {
        if let Some(other) = stranger(known, own)
            && given.iter().any(|given| given == key)
        {
            let message = format!("`{key}` means nothing with executor {}", own.as_str());
            checker.error(&[key], message, format!("remove it, or write `executor: {}`", other.as_str()));
        }
    }
    let limits = &spec.limits;
    let given =
        [limits.turns.is_some(), limits.budget_usd.is_some(), limits.messages.is_some(), limits.file_bytes.is_some()];
    for ((key, known), given) in LIMITS.into_iter().zip(given) {
        if given && stranger(known, own).is_some() {
            let message = format!("`limits.{key}` means nothing with executor {}", own.as_str());
            checker.error(&["limits", key], message, "remove it");
        }
    }
}

/// The executor that knows a key which this one does not.
fn stranger(known: &[ExecutorKind], own: ExecutorKind) -> Option<ExecutorKind> {
    if known.contains(&own) { None } else { known.first().copied() }
}
