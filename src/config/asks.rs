//! Checks of whom an agent asks, and which agents it may start.

use crate::{
    config::{
        agents::Checker,
        checks::{Files, check_reply},
        problem::suggest,
        settings::Settings,
        validate::{Kind, kind_of},
    },
    domain::{
        agent::{AgentSpec, ExecutorKind},
        ask::{Ask, AskSpec, LONGEST_WAIT, SHORTEST_WAIT, Whom},
        own_tool::OwnTool,
        permission::Effect,
        source::{SecretRef, is_valid_name},
        trigger::{EmailReply, Reply, ReplySecret, SmsReply, WebhookReply},
    },
};

/// Agents that one may start at most.
const MOST_AGENTS: usize = 50;

/// Checks `ask` and `may_trigger`, and makes the path of a secret's file absolute.
pub(super) fn check(spec: &mut AgentSpec, files: Files<'_>, settings: &Settings, checker: &mut Checker<'_>) {
    if matches!(spec.executor, ExecutorKind::Command | ExecutorKind::Http) {
        return;
    }
    check_agents(spec, files, checker);
    let asks = spec.permissions.iter().any(|rule| matches!(rule.effect(), Some((Effect::Ask, _))));
    let has_tool = has(spec, OwnTool::AskHuman);
    let is_reachable = has_sender(spec, settings);
    match &mut spec.ask {
        None if has_tool && !is_reachable => {
            let help = "write for example `ask: { email: team@example.com }`";
            checker.warning(
                &["tools"],
                "`ask_human` finds nobody to ask: no trigger is one of mail or text messages",
                help,
            );
        }
        None => {}
        Some(ask) => {
            if !asks && !has_tool {
                let help = "remove it, add `mcp__postern__ask_human` to `tools`, or write a rule `ask:`";
                checker.warning(&["ask"], "nothing of this agent asks anybody", help);
            }
            if ask.whom() == Whom::Sender && !is_reachable {
                let help = "name somebody: `ask: { email: team@example.com }`";
                checker.error(&["ask"], "no event of this agent has a sender who could be asked", help);
            }
            if let Ask::Named(named) = ask {
                check_named(named, files, settings, checker);
            }
        }
    }
    let texts = spec.triggers.iter().any(|trigger| is_kind(settings, &trigger.source, Kind::Sms));
    if let Some(Ask::Named(named)) = &spec.ask
        && named.sms.is_some()
        && named.from.is_none()
        && !texts
    {
        let help = "add `from: \"+15550001111\"`, a number of yours";
        checker.error(&["ask", "sms"], "there is no number of ours to text from", help);
    }
}

fn check_named(named: &mut AskSpec, files: Files<'_>, settings: &Settings, checker: &mut Checker<'_>) {
    if let Some(wait) = named.wait.filter(|wait| !(SHORTEST_WAIT..=LONGEST_WAIT).contains(wait)) {
        let help = format!("write a span between {SHORTEST_WAIT} and {LONGEST_WAIT}");
        checker.error(&["ask", "wait"], format!("`ask.wait` is {wait}"), help);
    }
    let ways = [named.email.is_some(), named.sms.is_some(), named.webhook.is_some()];
    if ways.iter().filter(|way| **way).count() > 1 {
        checker.error(&["ask"], "`ask` names several ways", "keep one of `email`, `sms` and `webhook`");
    }
    if let Some(ReplySecret::Reference(SecretRef::File { file })) = &mut named.secret {
        *file = files.absolute(file).display().to_string();
    }
    match (&named.webhook, &named.secret) {
        (Some(_), None) => {
            checker.error(
                &["ask", "webhook"],
                "nothing signs the callback",
                "add `secret: name` of a secret `whsec_…`",
            );
        }
        (None, Some(_)) => checker.error(&["ask", "secret"], "only a `webhook` is signed", "remove it"),
        (Some(webhook), Some(secret)) => {
            let reply = Reply::Webhook(WebhookReply { webhook: webhook.clone(), secret: secret.clone(), attach: None });
            check_reply(&["ask", "webhook"], &reply, Kind::Webhook, settings, checker);
        }
        (None, None) => {}
    }
    if let Some(email) = &named.email {
        check_reply(
            &["ask", "email"],
            &Reply::Email(EmailReply { email: email.clone(), attach: None }),
            Kind::Email,
            settings,
            checker,
        );
    }
    if let Some(sms) = &named.sms {
        check_reply(&["ask", "sms"], &Reply::Sms(SmsReply { sms: sms.clone() }), Kind::Sms, settings, checker);
    }
    match (&named.from, &named.sms, &named.webhook) {
        (Some(_), None, Some(_)) => checker.error(&["ask", "from"], "a callback comes from no address", "remove it"),
        (Some(from), Some(_), _) => {
            check_reply(&["ask", "from"], &Reply::Sms(SmsReply { sms: from.clone() }), Kind::Sms, settings, checker);
        }
        (Some(from), None, None) => {
            let reply = Reply::Email(EmailReply { email: from.clone(), attach: None });
            check_reply(&["ask", "from"], &reply, Kind::Email, settings, checker);
        }
        (None, _, _) => {}
    }
}

fn check_agents(spec: &AgentSpec, files: Files<'_>, checker: &mut Checker<'_>) {
    let has_tool = has(spec, OwnTool::TriggerAgent);
    // A pattern for all tools means it only where there is somebody to start.
    let is_named = spec.tools.contains(&OwnTool::TriggerAgent.qualified());
    if has_tool && is_named && spec.may_trigger.is_empty() {
        let help = "name agents: `may_trigger: [research]`";
        checker.error(&["tools"], "`trigger_agent` may start nobody", help);
    }
    if !has_tool && !spec.may_trigger.is_empty() {
        let help = "add `mcp__postern__trigger_agent` to `tools`";
        checker.error(&["may_trigger"], "nothing of this agent starts others", help);
    }
    if spec.may_trigger.len() > MOST_AGENTS {
        let message = format!("`may_trigger` has {} entries", spec.may_trigger.len());
        checker.error(&["may_trigger"], message, format!("write {MOST_AGENTS} at most"));
    }
    for (index, name) in spec.may_trigger.iter().enumerate() {
        let path = ["may_trigger", &index.to_string()];
        if !is_valid_name(name) {
            checker.error(&path, format!("`{name}` is no name of an agent"), "use 1 to 64 of a-z, 0-9, - and _");
        } else if let Files::Project(dir) = files
            && !dir.join("agents").join(format!("{name}.md")).is_file()
        {
            let others = agents_of(dir);
            let help = suggest(name, others.iter().map(String::as_str)).unwrap_or_else(|| "remove it".to_owned());
            checker.error(&path, format!("there is no agent `{name}`"), help);
        }
    }
}

fn agents_of(dir: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir.join("agents")).into_iter().flatten().flatten().take(1_000);
    let names =
        entries.filter_map(|entry| entry.file_name().into_string().ok()?.strip_suffix(".md").map(str::to_owned));
    names.collect()
}

fn has(spec: &AgentSpec, tool: OwnTool) -> bool {
    OwnTool::of(&spec.tools, &spec.disallowed).contains(&tool)
}

/// Whether some event of it has a sender who is answered the way the event came.
fn has_sender(spec: &AgentSpec, settings: &Settings) -> bool {
    let reachable = |source: &str| is_kind(settings, source, Kind::Email) || is_kind(settings, source, Kind::Sms);
    spec.triggers.iter().any(|trigger| reachable(&trigger.source))
}

fn is_kind(settings: &Settings, source: &str, kind: Kind) -> bool {
    settings.sources.get(source).is_some_and(|source| kind_of(&source.provider) == kind)
}
