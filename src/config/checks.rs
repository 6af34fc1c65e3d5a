//! What an agent's frontmatter of the right shape can still get wrong.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use url::Url;

use crate::{
    config::{
        agents::Checker,
        anthropic, asks, claude, commands, executor_keys, exposure, flow, http,
        load::join,
        mounts,
        problem::{nearest, suggest},
        repositories, schedules,
        settings::Settings,
        setups, skill_uses, skills,
        validate::{Kind, kind_of},
    },
    domain::{
        agent::{AgentSpec, EnvValue, ExecutorKind, Skill},
        concurrency::{self, Concurrency},
        filter::{Filter, NAMES},
        glob,
        session::SessionRule,
        source::SecretRef,
        strangers::names_nobody,
        template::{Template, clip},
        time::Span,
        trigger::{Reply, ReplySecret, ReplyWord, TriggerSpec, WhileRunning},
    },
};

/// Where the files are that an agent names.
#[derive(Clone, Copy)]
pub(crate) enum Files<'a> {
    /// In a project directory of this machine.
    Project(&'a Path),
    /// Skills came with the agent; all else is on the machines of the workers.
    Sent(&'a [Skill]),
}

impl Files<'_> {
    pub(crate) fn has_skill(self, name: &str) -> bool {
        match self {
            Self::Project(dir) => skills::exists(dir, name),
            Self::Sent(skills) => skills.iter().any(|skill| skill.name == name),
        }
    }

    pub(crate) fn skills(self) -> Vec<String> {
        match self {
            Self::Project(dir) => skills::names(dir),
            Self::Sent(skills) => skills.iter().map(|skill| skill.name.clone()).collect(),
        }
    }

    pub(crate) fn absolute(self, path: &str) -> PathBuf {
        match self {
            Self::Project(dir) => join(dir, path),
            Self::Sent(_) => PathBuf::from(path),
        }
    }
}

/// Checks `spec`, whose frontmatter has the keys `given`, and makes its host paths absolute.
pub(crate) fn check(
    spec: &mut AgentSpec,
    given: &[String],
    files: Files<'_>,
    settings: &Settings,
    checker: &mut Checker<'_>,
) {
    executor_keys::check(spec, given, checker);
    check_executor(spec, checker);
    check_limits(spec, checker);
    check_artifacts(spec, checker);
    skill_uses::check(spec, files, checker);
    mounts::check(&mut spec.mounts, files, settings, checker);
    repositories::check_databases(spec, files, settings, checker);
    match spec.executor {
        ExecutorKind::Claude => claude::check(spec, files, settings, checker),
        ExecutorKind::Anthropic => anthropic::check(spec, settings, checker),
        ExecutorKind::Http => http::check(spec, files, settings, checker),
        ExecutorKind::Command => {}
    }
    asks::check(spec, files, settings, checker);
    check_env(&["env"], spec.executor, &mut spec.env, files, settings, checker);
    setups::check(spec, files, settings, checker);
    for (index, trigger) in spec.triggers.iter_mut().enumerate() {
        check_trigger(trigger, &index.to_string(), settings, checker);
        if trigger.while_running == WhileRunning::Steer && !spec.executor.takes_input() {
            checker.warning(
                &["triggers", &index.to_string(), "while_running"],
                format!("an agent with executor {} cannot be told more while it works", spec.executor.as_str()),
                "its events wait for their turn; write `queue`",
            );
        }
        if trigger.reply.as_ref().is_some_and(|reply| reply.attach().is_some()) && !spec.executor.has_files() {
            checker.error(
                &["triggers", &index.to_string(), "reply"],
                format!("an agent with executor {} leaves no files that could be attached", spec.executor.as_str()),
                "remove `attach`, or write `executor: claude` or `command`",
            );
        }
        if let Some(Reply::Webhook(reply)) = &mut trigger.reply
            && let ReplySecret::Reference(SecretRef::File { file }) = &mut reply.secret
        {
            *file = files.absolute(file).display().to_string();
        }
    }
    schedules::check_names(&spec.triggers, checker);
    if spec.triggers.is_empty() {
        checker.warning(&["triggers"], "nothing starts this agent", "add `triggers` with a `source`");
    }
    exposure::check(spec, settings, checker);
}

fn check_executor(spec: &AgentSpec, checker: &mut Checker<'_>) {
    match spec.executor {
        ExecutorKind::Claude | ExecutorKind::Anthropic if spec.prompt.is_empty() => {
            checker.warning(&[], "this agent has no system prompt", "write it below the second `---`");
        }
        ExecutorKind::Command => commands::check(spec, checker),
        ExecutorKind::Claude | ExecutorKind::Anthropic | ExecutorKind::Http => {}
    }
}

fn check_artifacts(spec: &AgentSpec, checker: &mut Checker<'_>) {
    if spec.artifacts.len() > glob::MAX_PATTERNS {
        let message = format!("`artifacts` has {} entries", spec.artifacts.len());
        checker.error(&["artifacts"], message, format!("write {} at most", glob::MAX_PATTERNS));
    }
    for (index, pattern) in spec.artifacts.iter().enumerate() {
        if let Err(why) = glob::check(pattern) {
            let message = format!("`{}` names no files of the work directory: {why}", clip(pattern, 80));
            checker.error(&["artifacts", &index.to_string()], message, "write for example report/*.pdf or out/**");
        }
    }
}

fn check_limits(spec: &AgentSpec, checker: &mut Checker<'_>) {
    const LONGEST: Span = Span(30 * 86_400_000);
    let limits = &spec.limits;
    let spans = [("wall_clock", limits.wall_clock), ("idle", limits.idle)];
    for (key, span) in spans.into_iter().filter_map(|(key, span)| span.map(|span| (key, span))) {
        if !(Span(1000)..=LONGEST).contains(&span) {
            checker.error(&["limits", key], format!("`limits.{key}` is {span}"), "write a span between 1s and 30d");
        }
    }
    let counts = [("turns", limits.turns), ("concurrent", limits.concurrent)];
    for (key, _) in counts.into_iter().filter(|(_, count)| *count == Some(0)) {
        checker.error(&["limits", key], format!("`limits.{key}` is 0"), "write 1 or more");
    }
    if limits.concurrent.is_some_and(|count| count > concurrency::MOST_PLACES) {
        let most = concurrency::MOST_PLACES;
        checker.error(&["limits", "concurrent"], "`limits.concurrent` is out of range", format!("write 1 to {most}"));
    }
    if limits.concurrent.is_some() && spec.concurrency.iter().any(|limit| limit.key.is_none()) {
        let message = "`limits.concurrent` and `concurrency` limit the same twice";
        checker.error(&["concurrency"], message, "remove one of them");
    }
    check_concurrency(&["concurrency"], &spec.concurrency, checker);
    let sizes =
        [("output_bytes", limits.output_bytes), ("messages", limits.messages), ("file_bytes", limits.file_bytes)];
    for (key, _) in sizes.into_iter().filter(|(_, size)| *size == Some(0)) {
        checker.error(&["limits", key], format!("`limits.{key}` is 0"), "write 1 or more");
    }
    // The CLI's own records lie in files, too.
    if limits.file_bytes.is_some_and(|bytes| bytes < 16 << 20) {
        checker.error(&["limits", "file_bytes"], "`limits.file_bytes` is too small", "write 16777216 or more");
    }
    if limits.budget_usd.is_some_and(|budget| !(budget > 0.0 && budget <= 1e6)) {
        checker.error(&["limits", "budget_usd"], "`limits.budget_usd` is out of range", "write dollars, such as 0.50");
    }
    if !(1..=20).contains(&spec.attempts) {
        checker.error(&["attempts"], format!("`attempts` is {}", spec.attempts), "write 1 to 20");
    }
    for (class, rule) in spec.retries.named() {
        if let Some(attempts) = rule.attempts.filter(|attempts| !(1..=20).contains(attempts)) {
            let fault = format!("`retries.{class}.attempts` is {attempts}");
            checker.error(&["retries", class, "attempts"], fault, "write 1 to 20");
        }
        if let Some(span) = rule.longest.filter(|span| !(Span(1_000)..=Span(7 * 86_400_000)).contains(span)) {
            let fault = format!("`retries.{class}.longest` is {span}");
            checker.error(&["retries", class, "longest"], fault, "write a span between 1s and 7d");
        }
    }
}

pub(crate) fn check_env(
    at: &[&str],
    executor: ExecutorKind,
    env: &mut BTreeMap<String, EnvValue>,
    files: Files<'_>,
    settings: &Settings,
    checker: &mut Checker<'_>,
) {
    for (name, value) in env {
        let path: Vec<&str> = at.iter().copied().chain([name.as_str()]).collect();
        let of_cli = executor == ExecutorKind::Command && is_of_claude(name);
        if let Some(fault) = env_name_fault(name).filter(|_| !of_cli) {
            checker.error(&path, format!("`{name}` {fault}"), "choose another name, of A-Z, 0-9 and _");
        }
        match value {
            EnvValue::Named { secret } => check_secret_name(&path, secret, settings, checker),
            EnvValue::Reference(SecretRef::File { file }) => *file = files.absolute(file).display().to_string(),
            EnvValue::Text(text) if text.contains('\0') => {
                checker.error(&path, format!("`{name}` has a NUL in it"), "remove it");
            }
            EnvValue::Text(_)
            | EnvValue::Number(_)
            | EnvValue::Switch(_)
            | EnvValue::Reference(SecretRef::Env { .. }) => {}
        }
    }
}

/// What the `claude` executor sets itself; a command that is that CLI needs them.
fn is_of_claude(name: &str) -> bool {
    let well_formed = name.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'0'..=b'9' | b'_')) && !name.ends_with("_PROXY");
    well_formed && (name.starts_with("ANTHROPIC_") || name.starts_with("CLAUDE"))
}

/// Why a process must not get a variable of this name: such names load code or move its files.
pub(crate) fn env_name_fault(name: &str) -> Option<&'static str> {
    const REFUSED: [&str; 14] = [
        "PATH",
        "HOME",
        "NODE_OPTIONS",
        "BASH_ENV",
        "ENV",
        "IFS",
        "SHELLOPTS",
        "BASHOPTS",
        "PS4",
        "SHELL",
        "TMPDIR",
        "LANG",
        "PROMPT_COMMAND",
        "GCONV_PATH",
    ];
    const REFUSED_STARTS: [&str; 10] =
        ["ANTHROPIC_", "CLAUDE", "LD_", "DYLD_", "PYTHON", "GIT_", "PERL", "RUBY", "BASH_FUNC", "POSTERN_"];
    let good = name.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'0'..=b'9' | b'_'))
        && !name.starts_with(|c: char| c.is_ascii_digit());
    if name.is_empty() || !good {
        Some("is no name of a variable")
    } else if REFUSED.contains(&name)
        || REFUSED_STARTS.iter().any(|start| name.starts_with(start))
        || name.ends_with("_PROXY")
    {
        Some("cannot be set for an agent")
    } else {
        None
    }
}

pub(crate) fn check_secret_name(path: &[&str], name: &str, settings: &Settings, checker: &mut Checker<'_>) {
    if !settings.secrets.contains_key(name) {
        let help = suggest(name, settings.secrets.keys().map(String::as_str));
        let help =
            help.unwrap_or_else(|| format!("add `{name} = {{ env = \"NAME\" }}` below [secrets] in postern.toml"));
        checker.error(path, format!("there is no secret `{name}` in postern.toml"), help);
    }
}

fn check_trigger(trigger: &TriggerSpec, index: &str, settings: &Settings, checker: &mut Checker<'_>) {
    let path = ["triggers", index];
    if let Some(schedule) = &trigger.schedule {
        check_wording(trigger, index, Kind::Webhook, settings, checker);
        return schedules::check(trigger, schedule, index, checker);
    }
    if trigger.source.is_empty() {
        let help = "add `source: name` of a source in postern.toml, or `schedule: { cron: \"0 9 * * mon-fri\" }`";
        return checker.error(&path, "a trigger has a `source` or a `schedule`", help);
    }
    let Some(source) = settings.sources.get(&trigger.source) else {
        let help = suggest(&trigger.source, settings.sources.keys().map(String::as_str));
        let help = help.unwrap_or_else(|| format!("add [sources.{}] to postern.toml", trigger.source));
        return checker.error(&["triggers", index, "source"], format!("there is no source `{}`", trigger.source), help);
    };
    for (key, patterns) in [("to", &trigger.to), ("from", &trigger.from)] {
        if patterns.iter().any(|pattern| pattern.trim().is_empty() || pattern.trim() != pattern) {
            checker.error(
                &["triggers", index, key],
                format!("`triggers[{index}].{key}` has an empty text, or spaces around one"),
                "write addresses, numbers or patterns",
            );
        }
    }
    let kind = kind_of(&source.provider);
    let alone = match &trigger.session {
        None => kind == Kind::Webhook,
        Some(rule) => *rule == SessionRule::Event,
    };
    if alone && trigger.while_running != WhileRunning::Queue {
        checker.warning(
            &["triggers", index, "while_running"],
            "each event is a session of its own here, so no run of it is ever active",
            "write `session: thread`, `sender` or `source`",
        );
    }
    if kind != Kind::Webhook && trigger.from.is_empty() {
        checker.warning(&path, "nobody can start this trigger", "name senders in `from`, such as [\"*@example.com\"]");
    }
    if let Some(pattern) = trigger.from.iter().find(|from| names_nobody(from)) {
        checker.warning(
            &["triggers", index, "from"],
            "everybody can start this trigger",
            format!("name senders instead of `{pattern}` unless that is meant"),
        );
    }
    check_wording(trigger, index, kind, settings, checker);
}

/// Expression, templates and reply.
fn check_wording(trigger: &TriggerSpec, index: &str, kind: Kind, settings: &Settings, checker: &mut Checker<'_>) {
    if let Some(Err(fault)) = trigger.filter.as_deref().map(Filter::parse) {
        checker.error(
            &["triggers", index, "where"],
            format!("`where` is no CEL expression: {}", clip(&fault, 600)),
            "see https://cel.dev",
        );
    }
    if let Some(prompt) = &trigger.prompt {
        check_template(&["triggers", index, "prompt"], prompt, checker);
    }
    if let Some(SessionRule::Template(template)) = &trigger.session {
        let path = ["triggers", index, "session"];
        if Template::parse(template).is_ok_and(|template| !template.has_values()) {
            let help = nearest(template, ["thread", "sender", "source", "event"])
                .map(|name| format!("did you mean `{name}`?"));
            let help = help.unwrap_or_else(|| {
                "write thread, sender, source, event, or a template such as {{ body.id }}".to_owned()
            });
            checker.error(&path, format!("`session: {template}` is no rule"), help);
        }
        check_template(&path, template, checker);
    }
    check_concurrency(&["triggers", index, "concurrency"], &trigger.concurrency, checker);
    flow::check(trigger, index, kind, checker);
    if let Some(reply) = &trigger.reply {
        check_reply(&["triggers", index, "reply"], reply, kind, settings, checker);
    }
}

fn check_concurrency(path: &[&str], limits: &[Concurrency], checker: &mut Checker<'_>) {
    if let Some(fault) = concurrency::fault_of(limits) {
        let (message, help) = fault.split_once("; ").unwrap_or((&fault, ""));
        return checker.error(path, format!("`concurrency` {message}"), help);
    }
    for key in limits.iter().filter_map(|limit| limit.key.as_deref()) {
        check_template(path, key, checker);
    }
}

pub(crate) fn check_template(path: &[&str], text: &str, checker: &mut Checker<'_>) {
    const MORE: [&str; 5] = ["in_reply_to", "references", "date", "opt_out", "profile_name"];
    if let Err(fault) = Template::parse(text) {
        return checker.error(path, fault, "");
    }
    for part in text.split("{{").skip(1) {
        let name = part.trim_start().split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default();
        if !name.is_empty() && !NAMES.contains(&name) && !MORE.contains(&name) {
            let help = suggest(name, NAMES.iter().copied()).unwrap_or_default();
            checker.error(path, format!("`{{{{ {name} }}}}` is nothing that an event has"), help);
        }
    }
}

pub(crate) fn check_reply(path: &[&str], reply: &Reply, kind: Kind, settings: &Settings, checker: &mut Checker<'_>) {
    match reply {
        Reply::Word(ReplyWord::Same) | Reply::Files(_) if kind == Kind::Webhook => {
            checker.error(
                path,
                "a webhook has no way back",
                "write { webhook: https://…, secret: name }, { email: … } or { sms: … }",
            );
        }
        Reply::Files(_) if kind == Kind::Sms => {
            let help = "remove it; people find the files where the run is";
            checker.error(path, "a text message carries no files, so `attach` does nothing", help);
        }
        Reply::Word(_) | Reply::Files(_) => {}
        Reply::Webhook(reply) => {
            if !Url::parse(&reply.webhook).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
                checker.error(
                    path,
                    format!("`{}` is no URL to call", reply.webhook),
                    "write it in full, such as https://ci.example.com/done",
                );
            }
            if let ReplySecret::Named(name) = &reply.secret {
                check_secret_name(path, name, settings, checker);
            }
        }
        Reply::Sms(reply) => {
            let digits =
                reply.sms.strip_prefix("whatsapp:").unwrap_or(&reply.sms).strip_prefix('+').unwrap_or_default();
            if !(7..=15).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
                checker.error(path, format!("`{}` is no number", reply.sms), "write it as \"+15550001111\"");
            }
        }
        Reply::Email(reply) => {
            let good = reply
                .email
                .split_once('@')
                .is_some_and(|(name, domain)| !name.is_empty() && domain.contains('.') && !domain.contains('@'));
            if !good || reply.email.chars().any(|c| c.is_whitespace() || c.is_control()) {
                checker.error(
                    path,
                    format!("`{}` is no mail address", reply.email),
                    "write one such as team@example.com",
                );
            }
        }
    }
}
