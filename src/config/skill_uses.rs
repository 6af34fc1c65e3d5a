//! What `skills:` of an agent's file can get wrong.

use crate::{
    config::{agents::Checker, checks::Files, problem::suggest},
    domain::{
        agent::{AgentSpec, ExecutorKind},
        filter::Filter,
        pattern,
        skill::SkillUse,
        source::is_valid_name,
        template::clip,
    },
};

/// Checks every entry.
pub(crate) fn check(spec: &AgentSpec, files: Files<'_>, checker: &mut Checker<'_>) {
    for (index, entry) in spec.skills.iter().enumerate() {
        let (place, name) = (index.to_string(), entry.name());
        let path = ["skills", place.as_str()];
        if !is_valid_name(name) || !files.has_skill(name) {
            let names = files.skills();
            let help = suggest(name, names.iter().map(String::as_str))
                .unwrap_or_else(|| format!("make skills/{name}/SKILL.md"));
            checker.error(&path, format!("there is no skill `{name}`"), help);
        }
        if spec.skills.iter().take(index).any(|earlier| earlier.name() == name) {
            checker.error(&path, format!("`{name}` is named twice"), "keep one of them; a rule may say `a || b`");
        }
        if let Some(Err(fault)) = entry.when().map(Filter::parse) {
            let fault = format!("`when` is no CEL expression: {}", clip(&fault, 600));
            checker.error(&["skills", &place, "when"], fault, "see https://cel.dev");
        }
        check_use(spec, entry, &place, checker);
    }
}

fn check_use(spec: &AgentSpec, entry: &SkillUse, place: &str, checker: &mut Checker<'_>) {
    let has_tool = spec.tools.iter().any(|tool| pattern::matches(tool, "Skill"));
    match (spec.executor, entry.is_always()) {
        (ExecutorKind::Command, true) => checker.error(
            &["skills", place, "always"],
            "`always` means nothing with executor command, which has no system prompt",
            "remove it; the skill's files are in skills/ of the work directory",
        ),
        (ExecutorKind::Claude, false) if !has_tool => checker.warning(
            &["skills", place],
            format!("the model cannot read `{}` on demand without the tool `Skill`", entry.name()),
            "add Skill to `tools`, or write `always: true`",
        ),
        (ExecutorKind::Command | ExecutorKind::Claude | ExecutorKind::Anthropic | ExecutorKind::Http, _) => {}
    }
}
