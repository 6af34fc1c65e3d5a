//! The dangerous triple: anybody may start an agent, it holds secrets, and it may use the network. What agents start each
//! other counts as one: the words of a stranger go along, and the answers come back.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    config::{
        agents::Checker,
        settings::Settings,
        validate::{Kind, kind_of},
    },
    domain::{
        agent::{AgentSpec, EnvValue, ExecutorKind},
        claude::Acknowledgement,
        own_tool::OwnTool,
        strangers::names_nobody,
        trigger::{SenderRule, TriggerSpec},
    },
};

/// Agents that are named in one error.
const MOST_NAMED: usize = 5;

/// How strangers come to start an agent.
enum Opening {
    /// Its file lets everybody in.
    Everybody,
    /// Its file does not say whose webhooks of this source it means. That is usual, and a stranger's words may be in them:
    /// a warning.
    Webhook(String),
}

impl Opening {
    fn who(&self) -> String {
        match self {
            Self::Everybody => "everybody can start this agent".to_owned(),
            Self::Webhook(source) => {
                format!("strangers can start this agent by `{source}`, where no `from` names anybody")
            }
        }
    }

    fn report(&self, checker: &mut Checker<'_>, path: &[&str], message: String, help: &str) {
        match self {
            Self::Everybody => checker.error(path, message, help),
            Self::Webhook(_) => checker.warning(path, message, help),
        }
    }
}

/// Refuses what lets anybody carry secrets out by this agent alone, unless the file says that its author knows.
pub(super) fn check(spec: &AgentSpec, settings: &Settings, checker: &mut Checker<'_>) {
    if let (Some((index, open)), true, true) = (open_trigger(spec, settings), holds_secrets(spec), has_network(spec)) {
        let index = index.to_string();
        open.report(
            checker,
            &["triggers", &index],
            format!(
                "{}, it holds secrets and may use the network: what they write may carry the secrets out",
                open.who()
            ),
            "name senders in `from`, take the secrets out of `env` and `mcp`, set `network: false` (executor command), \
             or write `acknowledge: [untrusted-secrets-egress]`",
        );
    }
}

/// Refuses what lets anybody carry secrets out by the agent `name` and those that it may start, and these, and so on.
pub(super) fn check_reach(
    name: &str,
    agents: &BTreeMap<String, &AgentSpec>,
    settings: &Settings,
    checker: &mut Checker<'_>,
) {
    let Some(spec) = agents.get(name).copied() else { return };
    let is_reported = holds_secrets(spec) && has_network(spec);
    let Some((_, open)) = open_trigger(spec, settings).filter(|_| !is_reported) else { return };
    let reached = reach(name, agents);
    let found = |is: fn(&AgentSpec) -> bool| {
        let names = reached.iter().filter(|name| agents.get(**name).is_some_and(|spec| is(spec)));
        names.map(|name| format!("`{name}`")).collect::<Vec<_>>()
    };
    let (secrets, network) = (found(holds_secrets), found(has_network));
    if secrets.is_empty() || network.is_empty() {
        return;
    }
    let words = |names: &[String]| {
        let more = if names.len() > MOST_NAMED { ", …" } else { "" };
        format!("{}{more}", names.iter().take(MOST_NAMED).cloned().collect::<Vec<_>>().join(", "))
    };
    open.report(
        checker,
        &["may_trigger"],
        format!(
            "{}, and with those that it may start there are secrets ({}) and the network ({}): what strangers write \
             may carry the secrets out",
            open.who(),
            words(&secrets),
            words(&network)
        ),
        "name senders in `from`, take agents out of `may_trigger`, or write `acknowledge: [untrusted-secrets-egress]`",
    );
}

/// The agent itself, and all that can be started by it, one after the other.
fn reach<'a>(name: &'a str, agents: &BTreeMap<String, &'a AgentSpec>) -> BTreeSet<&'a str> {
    let (mut reached, mut open) = (BTreeSet::from([name]), vec![name]);
    while let Some(next) = open.pop() {
        let Some(spec) = agents.get(next).copied().filter(|spec| starts_others(spec)) else { continue };
        open.extend(spec.may_trigger.iter().map(String::as_str).filter(|other| reached.insert(other)));
    }
    reached
}

fn starts_others(spec: &AgentSpec) -> bool {
    OwnTool::of(&spec.tools, &spec.disallowed).contains(&OwnTool::TriggerAgent)
}

/// The first trigger by which strangers start it, and how, when its author has not said that he knows.
fn open_trigger(spec: &AgentSpec, settings: &Settings) -> Option<(usize, Opening)> {
    let is_known = spec.acknowledge.contains(&Acknowledgement::UntrustedSecretsEgress);
    let open = spec.triggers.iter().enumerate().filter(|_| !is_known);
    let open = open.filter_map(|(index, trigger)| Some((index, opening(trigger, settings)?)));
    open.min_by_key(|(_, opening)| matches!(opening, Opening::Webhook(_)))
}

/// How people start it whom nobody named, or who only say that they are somebody named.
fn opening(trigger: &TriggerSpec, settings: &Settings) -> Option<Opening> {
    if trigger.schedule.is_some() {
        return None;
    }
    let is_any = !trigger.from.is_empty() && trigger.sender_auth == SenderRule::Any;
    if is_any || trigger.from.iter().any(|from| names_nobody(from)) {
        return Some(Opening::Everybody);
    }
    // Without names mail and text messages start nothing. The source of a webhook says who sent it, not who wrote it:
    // an issue, a form, the name of a customer are a stranger's words.
    let source = settings.sources.get(&trigger.source)?;
    let is_open = trigger.from.is_empty() && kind_of(&source.provider) == Kind::Webhook;
    is_open.then(|| Opening::Webhook(trigger.source.clone()))
}

fn holds_secrets(spec: &AgentSpec) -> bool {
    let is_secret = |value: &EnvValue| matches!(value, EnvValue::Named { .. } | EnvValue::Reference(_));
    let servers = spec.mcp.values().flat_map(|server| server.env.values().chain(server.headers.values()));
    !spec.databases.is_empty() || spec.env.values().chain(servers).any(is_secret)
}

fn has_network(spec: &AgentSpec) -> bool {
    spec.network.unwrap_or(spec.executor == ExecutorKind::Claude)
}
