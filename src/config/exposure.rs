//! The dangerous triple: anybody may start an agent, it holds secrets, and it may use the network. What agents start each
//! other counts as one: the words of a stranger go along, and the answers come back.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    config::agents::Checker,
    domain::{
        agent::{AgentSpec, EnvValue, ExecutorKind},
        claude::Acknowledgement,
        own_tool::OwnTool,
        trigger::{SenderRule, TriggerSpec},
        trust,
    },
};

/// Agents that are named in one error.
const MOST_NAMED: usize = 5;

/// Refuses what lets anybody carry secrets out by this agent alone, unless the file says that its author knows.
pub(super) fn check(spec: &AgentSpec, checker: &mut Checker<'_>) {
    if let (Some(index), true, true) = (open_trigger(spec), holds_secrets(spec), has_network(spec)) {
        let index = index.to_string();
        checker.error(
            &["triggers", &index],
            "everybody can start this agent, it holds secrets and may use the network: what they write may carry the \
             secrets out",
            "name senders in `from`, take the secrets out of `env` and `mcp`, set `network: false` (executor command), \
             or write `acknowledge: [untrusted-secrets-egress]`",
        );
    }
}

/// Refuses what lets anybody carry secrets out by the agent `name` and those that it may start, and these, and so on.
pub(super) fn check_reach(name: &str, agents: &BTreeMap<String, &AgentSpec>, checker: &mut Checker<'_>) {
    let Some(spec) = agents.get(name).copied() else { return };
    let is_reported = holds_secrets(spec) && has_network(spec);
    if open_trigger(spec).is_none() || is_reported {
        return;
    }
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
    checker.error(
        &["may_trigger"],
        format!(
            "everybody can start this agent, and with those that it may start there are secrets ({}) and the network \
             ({}): what strangers write may carry the secrets out",
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

/// The first trigger by which strangers start it, when its author has not said that he knows.
fn open_trigger(spec: &AgentSpec) -> Option<usize> {
    let is_known = spec.acknowledge.contains(&Acknowledgement::UntrustedSecretsEgress);
    spec.triggers.iter().position(is_open).filter(|_| !is_known)
}

/// Whether people start it whom nobody named, or who only say that they are somebody named.
fn is_open(trigger: &TriggerSpec) -> bool {
    trigger.from.iter().any(|from| trust::names_nobody(from))
        || (!trigger.from.is_empty() && trigger.sender_auth == SenderRule::Any)
}

fn holds_secrets(spec: &AgentSpec) -> bool {
    let is_secret = |value: &EnvValue| matches!(value, EnvValue::Named { .. } | EnvValue::Reference(_));
    let servers = spec.mcp.values().flat_map(|server| server.env.values().chain(server.headers.values()));
    !spec.databases.is_empty() || spec.env.values().chain(servers).any(is_secret)
}

fn has_network(spec: &AgentSpec) -> bool {
    spec.network.unwrap_or(spec.executor == ExecutorKind::Claude)
}
