//! What the file of an `anthropic` agent of the right shape can still get wrong.

use crate::{
    config::{agents::Checker, claude, claude::output_schema, own_tools, settings::Settings},
    domain::{agent::AgentSpec, claude::Thinking, price::Price, template::clip},
};

/// What the API takes at most.
const MOST_TOKENS: u32 = 128_000;
/// Names that only Claude Code turns into ids.
const ALIASES: [(&str, &str); 4] = [
    ("haiku", "claude-haiku-5-5"),
    ("sonnet", "claude-sonnet-5-5"),
    ("opus", "claude-opus-5-5"),
    ("default", "claude-sonnet-5-5"),
];

/// Checks everything that an `anthropic` agent has of its own.
pub(super) fn check(spec: &AgentSpec, settings: &Settings, checker: &mut Checker<'_>) {
    claude::check_models(spec, checker);
    let model = spec.model.as_deref().unwrap_or(&settings.anthropic.model);
    if let Some((alias, id)) = ALIASES.into_iter().find(|(alias, _)| *alias == model) {
        checker.error(&["model"], format!("`{alias}` is no id of a model"), format!("write for example `{id}`"));
    } else if spec.limits.budget_usd.is_some()
        && Price::of(model).is_none()
        && !settings.anthropic.prices.contains_key(model)
    {
        checker.error(
            &["limits", "budget_usd"],
            format!("what `{model}` costs is not known, so no budget can be kept"),
            "write its price into `prices` below [anthropic] in postern.toml, or limit `turns`",
        );
    }
    let budget = match spec.thinking {
        Some(Thinking::Tokens(tokens)) => tokens,
        Some(Thinking::Word(_)) | None => 0,
    };
    match spec.max_tokens {
        Some(tokens) if !(1..=MOST_TOKENS).contains(&tokens) => {
            let help = format!("write 1 to {MOST_TOKENS}");
            checker.error(&["max_tokens"], format!("`max_tokens` is {tokens}"), help);
        }
        Some(tokens) if tokens <= budget => {
            let message = format!("`max_tokens` leaves no room for an answer beside {budget} tokens of `thinking`");
            checker.error(&["max_tokens"], message, "write more, or less `thinking`");
        }
        Some(_) | None => {}
    }
    output_schema::check(spec, checker);
    check_tools(spec, checker);
}

fn check_tools(spec: &AgentSpec, checker: &mut Checker<'_>) {
    for (index, tool) in spec.tools.iter().enumerate() {
        let path = ["tools", &index.to_string()];
        if own_tools::check(&path, tool, checker) {
            continue;
        }
        if tool == "Skill" {
            let help = "remove it: the skills of an anthropic agent need no tool";
            checker.error(&path, "`Skill` is a tool of Claude Code", help);
        } else {
            let message = format!("executor anthropic has no tool `{}`", clip(tool, 100));
            let help = "remove it, or write `executor: claude`; there are only those of Postern, mcp__postern__…";
            checker.error(&path, message, help);
        }
    }
}
