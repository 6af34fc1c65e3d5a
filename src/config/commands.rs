//! What an agent that is a command can get wrong.

use crate::{
    config::agents::Checker,
    domain::agent::{AgentSpec, RESUME_ID, ResultFrom},
};

/// Checks program, arguments and what is read of them.
pub(super) fn check(spec: &AgentSpec, checker: &mut Checker<'_>) {
    if spec.command.first().is_none_or(|program| program.trim().is_empty()) {
        checker.error(
            &["command"],
            "`command` is missing",
            "add for example `command: [/bin/sh, /context/bin/answer.sh]`",
        );
    }
    for (key, words) in [("command", &spec.command), ("resume", &spec.resume)] {
        if words.iter().any(|word| word.contains('\0') || word.contains("{{")) {
            let help = "nothing of an event goes into a command; the prompt comes on standard input";
            checker.error(&[key], format!("`{key}` has a template or a NUL in it"), help);
        }
    }
    if spec.command.iter().any(|word| word.contains(RESUME_ID)) {
        let help = "a new conversation has no id yet; write the arguments that go on with one in `resume`";
        checker.error(&["command"], format!("`{RESUME_ID}` means nothing in `command`"), help);
    }
    check_resume(spec, checker);
    if spec.result.is_of_cli() && spec.network != Some(true) {
        let message =
            format!("this CLI asks a model, and the network is closed to it (`result: {}`)", word(spec.result));
        checker.warning(&["result"], message, "add `network: true`");
    }
}

fn check_resume(spec: &AgentSpec, checker: &mut Checker<'_>) {
    if spec.resume.is_empty() {
        return;
    }
    let marks = spec.resume.iter().filter(|word| *word == RESUME_ID).count();
    let within = spec.resume.iter().filter(|word| word.contains(RESUME_ID)).count();
    if spec.resume.first().is_some_and(|program| program.trim().is_empty() || program == RESUME_ID) {
        checker.error(&["resume"], "`resume` names no program", "begin it with the program of `command`");
    }
    if marks != 1 || within != 1 {
        let help = format!("write \"{RESUME_ID}\" once, as an argument of its own");
        checker.error(&["resume"], format!("`resume` has {marks} arguments that are `{RESUME_ID}`"), help);
    }
    if !spec.result.is_of_cli() {
        let message =
            format!("with `result: {}` no conversation is known that `resume` goes on with", word(spec.result));
        checker.error(&["resume"], message, "write `result: claude`, `codex`, `gemini` or `opencode`");
    }
}

const fn word(result: ResultFrom) -> &'static str {
    match result {
        ResultFrom::Stdout => "stdout",
        ResultFrom::LastLine => "last-line",
        ResultFrom::Json => "json",
        ResultFrom::Claude => "claude",
        ResultFrom::Codex => "codex",
        ResultFrom::Gemini => "gemini",
        ResultFrom::Opencode => "opencode",
    }
}
