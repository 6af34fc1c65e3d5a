//! A tenant's sources and triggers, compiled, and which of them an event concerns.

use std::{cell::OnceCell, collections::BTreeMap, sync::Arc};

use serde_json::Value;

use crate::{
    crypto::{self, SecretSource},
    domain::{
        catalog::Catalog,
        concurrency::{Concurrency, Group},
        event::{AgentEvent, Content, SenderAuth},
        filter::{Filter, Prepared},
        flow::Flow,
        id::{AgentId, RunId, SourceId},
        imap::ImapSpec,
        pattern::fits,
        session::SessionRule,
        source::{Source, SourceSpec},
        template::Template,
        thread::{self, Threads},
        time::Timestamp,
        trigger::{Routing, SenderRule, Trigger, WhileRunning},
    },
    ingress::{LabelledSecret, gate::Gate},
    pipeline::{copies, flow::FlowRoute, groups::Limits},
    store::NewRun,
};

/// The longest key of a session or a flow, in bytes; longer ones are replaced by their hash.
const MAX_KEY: usize = 512;

/// What a tenant's requests and events are matched against.
#[derive(Default)]
pub struct Routes {
    /// The change of the catalog that this was made of.
    pub revision: i64,
    sources: BTreeMap<String, SourceRoute>,
    triggers: Vec<TriggerRoute>,
    /// A hash of the secrets that the sources were made with.
    secrets: String,
}

/// A source, ready to verify.
#[derive(Clone)]
pub struct SourceRoute {
    /// The source.
    pub source: Arc<Source>,
    /// Its verification; or why it cannot verify, so that its requests are answered 503. A mailbox has none.
    pub gate: Result<Arc<Gate>, String>,
    /// The URL that its sender calls, without a query.
    pub public_url: String,
}

struct TriggerRoute {
    trigger: Trigger,
    filter: Option<Filter>,
    session: Option<Template>,
    limits: Limits,
    flow: FlowRoute,
    fault: Option<String>,
}

/// Which runs an event starts, and why or why not.
#[derive(Debug)]
pub struct Matched {
    /// The runs.
    pub runs: Vec<NewRun>,
    /// One entry for each trigger of the event's source, or for the one of its schedule.
    pub routing: Vec<Routing>,
}

impl Routes {
    /// Compiles a catalog. What is broken keeps its place and says why when it is used.
    #[must_use]
    pub fn compile(catalog: &Catalog, public_url: &str, secrets: &dyn SecretSource) -> Self {
        // Before they are used: a change in between is then seen the next time.
        let seen = hash_of_secrets(catalog.sources.values(), secrets);
        let sources = catalog.sources.values().map(|source| {
            let url = source.spec.public_url.clone();
            let url = url.unwrap_or_else(|| format!("{}/in/{}", public_url.trim_end_matches('/'), source.name));
            let gate = match &source.spec.imap {
                Some(_) => Err("it is a mailbox, which nobody calls".to_owned()),
                None => open_gate(&source.spec, &url, secrets),
            };
            if let (Err(fault), None) = (&gate, &source.spec.imap) {
                tracing::error!(source = source.name, fault, "a source cannot verify; its requests are refused");
            }
            let route = SourceRoute { source: Arc::new(source.clone()), gate: gate.map(Arc::new), public_url: url };
            (source.name.clone(), route)
        });
        Self {
            revision: catalog.revision,
            sources: sources.collect(),
            triggers: catalog.triggers.iter().map(|trigger| TriggerRoute::compile(trigger, catalog)).collect(),
            secrets: seen,
        }
    }

    /// The triggers of a catalog alone: enough to match what was verified before.
    #[must_use]
    pub fn of_triggers(catalog: &Catalog) -> Self {
        let triggers = catalog.triggers.iter().map(|trigger| TriggerRoute::compile(trigger, catalog)).collect();
        Self { revision: catalog.revision, triggers, ..Self::default() }
    }

    /// Whether every source's secrets are still what they were, missing ones included.
    #[must_use]
    pub fn has_secrets_of(&self, secrets: &dyn SecretSource) -> bool {
        self.secrets == hash_of_secrets(self.sources.values().map(|route| &*route.source), secrets)
    }

    /// The source of that name.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<&SourceRoute> {
        self.sources.get(name)
    }

    /// The source of that id.
    #[must_use]
    pub fn source_with_id(&self, id: &SourceId) -> Option<&SourceRoute> {
        self.sources.values().find(|route| route.source.id == *id)
    }

    /// The sources that cannot verify, with the reason.
    pub fn broken_sources(&self) -> impl Iterator<Item = (&str, &str)> {
        let called = self.sources.iter().filter(|(_, route)| route.source.spec.imap.is_none());
        called.filter_map(|(name, route)| Some((name.as_str(), route.gate.as_ref().err()?.as_str())))
    }

    /// The sources that are mailboxes.
    pub fn mailboxes(&self) -> impl Iterator<Item = (&Arc<Source>, &ImapSpec)> {
        self.sources.values().filter_map(|route| Some((&route.source, route.source.spec.imap.as_ref()?)))
    }

    /// The patterns of senders that triggers of a source allow.
    pub fn allowed<'a>(&'a self, source: &'a str) -> impl Iterator<Item = &'a str> {
        let triggers = self.triggers.iter().map(|route| &route.trigger.spec).filter(move |spec| spec.source == source);
        triggers.flat_map(|spec| &spec.from).map(String::as_str)
    }

    /// Whether a trigger's `from` names the address in full: by that an agent may write to another one.
    #[must_use]
    pub fn allows_agent(&self, address: &str) -> bool {
        self.triggers.iter().any(|route| names(&route.trigger.spec.from, address))
    }

    /// Whether the address is that of an agent that may not write to others: a trigger's `to` names it in full, and no
    /// trigger's `from` does.
    #[must_use]
    pub fn is_own_address(&self, address: &str) -> bool {
        self.triggers.iter().any(|route| names(&route.trigger.spec.to, address)) && !self.allows_agent(address)
    }

    /// Matches an event against every trigger of its source. `threads` are the conversations that it goes on with.
    #[must_use]
    pub fn matching(&self, event: &AgentEvent, threads: &Threads) -> Matched {
        let mut matched = Matched { runs: Vec::new(), routing: Vec::new() };
        let views = Views::new(event, threads);
        let once = copies::once_key(event);
        for route in self.triggers.iter().filter(|route| route.trigger.listens_to(event)) {
            let verdict = route.judge(&views);
            let (is_match, reason) = match verdict {
                Ok(()) => (true, "matches".to_owned()),
                Err(reason) => (false, reason),
            };
            matched.routing.push(Routing {
                trigger: route.trigger.id.clone(),
                agent: route.trigger.agent_name.clone(),
                matched: is_match,
                reason,
            });
            if is_match {
                let mut run = route.run(&views);
                let place = matched.runs.iter().filter(|other| other.agent == run.agent).count();
                run.once_key = once.as_ref().map(|once| format!("{once}:{place}"));
                matched.runs.push(run);
            }
        }
        matched
    }
}

/// What triggers look at of an event, each made once, when the first one asks for it: bodies can be large.
struct Views<'a> {
    event: &'a AgentEvent,
    threads: &'a Threads,
    view: OnceCell<Value>,
    prepared: OnceCell<Result<Prepared, String>>,
}

impl<'a> Views<'a> {
    const fn new(event: &'a AgentEvent, threads: &'a Threads) -> Self {
        Self { event, threads, view: OnceCell::new(), prepared: OnceCell::new() }
    }

    fn view(&self) -> &Value {
        self.view.get_or_init(|| self.event.view())
    }

    fn prepared(&self) -> Result<&Prepared, String> {
        self.prepared.get_or_init(|| Prepared::new(self.view())).as_ref().map_err(Clone::clone)
    }
}

impl TriggerRoute {
    fn compile(trigger: &Trigger, catalog: &Catalog) -> Self {
        let mut fault = None;
        let filter = trigger.spec.filter.as_deref().and_then(|text| {
            Filter::parse(text).map_err(|reason| fault = Some(format!("its `where` is broken: {reason}"))).ok()
        });
        let session = match &trigger.spec.session {
            Some(SessionRule::Template(text)) => {
                Template::parse(text).map_err(|reason| fault = Some(format!("its `session` is broken: {reason}"))).ok()
            }
            Some(SessionRule::Thread | SessionRule::Sender | SessionRule::Source | SessionRule::Event) | None => None,
        };
        let limits = Limits::compile(trigger, catalog).unwrap_or_else(|reason| {
            fault = Some(reason);
            Limits::default()
        });
        let flow = FlowRoute::compile(&trigger.spec).map_err(|reason| fault = Some(reason)).unwrap_or_default();
        Self { trigger: trigger.clone(), filter, session, limits, flow, fault }
    }

    /// Whether the event concerns this trigger; if not, why.
    fn judge(&self, views: &Views<'_>) -> Result<(), String> {
        let event = views.event;
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let spec = &self.trigger.spec;
        let ours = own_addresses(event);
        let is_ours = |address: &String| fits(&spec.to, address) || fits(&spec.to, &thread::base_address(address));
        if !spec.to.is_empty() && !ours.iter().any(is_ours) {
            return Err(format!("it listens to {}, not to {}", spec.to.join(", "), ours.join(", ")));
        }
        self.judge_sender(views)?;
        if let Some(filter) = &self.filter {
            match views.prepared().and_then(|event| filter.passes_prepared(event)) {
                Ok(true) => {}
                Ok(false) => return Err("its `where` is false".to_owned()),
                Err(reason) => return Err(format!("its `where` has no answer: {reason}")),
            }
        }
        Ok(())
    }

    fn judge_sender(&self, views: &Views<'_>) -> Result<(), String> {
        let (event, allowed) = (views.event, &self.trigger.spec.from);
        let personal = matches!(event.content, Content::Email(_) | Content::Sms(_));
        if allowed.is_empty() {
            return if personal { Err("its `from` allows nobody".to_owned()) } else { Ok(()) };
        }
        match &event.sender {
            None => Err("its `from` allows some senders; the event names none".to_owned()),
            Some(sender) if sender.auth == SenderAuth::Failed => {
                Err(format!("the sender is not believed: {}", sender.auth_reason))
            }
            Some(sender) if !fits(allowed, &sender.address) && !self.is_guest(views, &sender.address) => {
                Err("its `from` does not allow the sender".to_owned())
            }
            Some(sender) if !self.believes(event, sender.auth) => Err(format!(
                "its `from` counts verified senders, and this one is not: {}; `sender_auth: any` in the trigger lets in \
                 whoever writes an allowed address",
                sender.auth_reason
            )),
            Some(_) => Ok(()),
        }
    }

    /// Whether the sender goes on in a conversation of the agent into which its trigger's `reply` brought them.
    fn is_guest(&self, views: &Views<'_>, address: &str) -> bool {
        let thread = views.threads.of(&self.trigger.agent);
        thread.is_some_and(|thread| thread.guests.iter().any(|guest| guest.eq_ignore_ascii_case(address)))
    }

    /// Only mail's senders can be verified; who may text a number is said by the number alone.
    fn believes(&self, event: &AgentEvent, auth: SenderAuth) -> bool {
        !matches!(event.content, Content::Email(_))
            || auth == SenderAuth::Verified
            || self.trigger.spec.sender_auth == SenderRule::Any
    }

    fn run(&self, views: &Views<'_>) -> NewRun {
        NewRun {
            id: RunId::new(views.event.received_at),
            trigger: self.trigger.id.clone(),
            position: self.trigger.position,
            agent: self.trigger.agent.clone(),
            agent_name: self.trigger.agent_name.clone(),
            agent_version: self.trigger.agent_version,
            session_key: self.session_key(views),
            while_running: self.trigger.spec.while_running,
            once_key: None,
            groups: self.limits.groups(|| views.view()),
            flow: self.flow.of(views.event, || views.view()),
        }
    }

    /// What the event shares with others of its session; `None` when it stands alone.
    fn session_key(&self, views: &Views<'_>) -> Option<String> {
        let event = views.event;
        let default = match event.content {
            Content::Email(_) | Content::Sms(_) => SessionRule::Thread,
            Content::Webhook(_) | Content::Schedule(_) | Content::Agent(_) => SessionRule::Event,
        };
        let source = &event.source_name;
        let key = match self.trigger.spec.session.as_ref().unwrap_or(&default) {
            SessionRule::Event => None,
            SessionRule::Source => Some(format!("source:{source}")),
            SessionRule::Sender => event.sender.as_ref().map(|sender| format!("sender:{source}:{}", sender.address)),
            SessionRule::Thread if views.threads.of(&self.trigger.agent).is_some() => {
                views.threads.of(&self.trigger.agent).map(|thread| thread.key.clone())
            }
            SessionRule::Thread => event.thread_key.as_ref().map(|key| format!("thread:{source}:{key}")),
            SessionRule::Template(_) => {
                let template = self.session.as_ref()?;
                let text = template.render(views.view());
                (!text.trim().is_empty()).then(|| format!("template:{}", text.trim()))
            }
        }?;
        Some(bounded(key))
    }
}

/// The groups of a run that no trigger starts: those of its agent, by `limits`, of its event's source and of the tenant.
///
/// # Errors
/// One of the limits is broken.
pub fn groups_without_trigger(
    agent: (&AgentId, &str),
    limits: &[Concurrency],
    event: &AgentEvent,
    catalog: &Catalog,
) -> Result<Vec<Group>, String> {
    let view = OnceCell::new();
    let limits = Limits::without_trigger(agent, limits, event, catalog)?;
    Ok(limits.groups(|| view.get_or_init(|| event.view())))
}

/// A run by one trigger, whatever that listens to: its limits hold, and its priority; it waits for its turn. The keys of
/// limits are made of `event`.
///
/// # Errors
/// What of the trigger cannot be read.
pub(super) fn run_of(
    trigger: &Trigger,
    catalog: &Catalog,
    event: &AgentEvent,
    now: Timestamp,
) -> Result<NewRun, String> {
    let route = TriggerRoute::compile(trigger, catalog);
    if let Some(fault) = &route.fault {
        return Err(fault.clone());
    }
    let threads = Threads::default();
    let run = route.run(&Views::new(event, &threads));
    let flow = Flow { priority: run.flow.priority, ..Flow::default() };
    Ok(NewRun { id: RunId::new(now), session_key: None, while_running: WhileRunning::Queue, flow, ..run })
}

/// A key as it is stored.
pub(super) fn bounded(key: String) -> String {
    if key.len() > MAX_KEY { format!("sha256:{}", crypto::sha256_hex(key.as_bytes())) } else { key }
}

/// A hash over the hashes of all secrets, in order; the values leave no trace.
fn hash_of_secrets<'a>(sources: impl Iterator<Item = &'a Source>, secrets: &dyn SecretSource) -> String {
    let mut seen = String::new();
    for reference in sources.flat_map(|source| source.spec.references()) {
        match secrets.secret(reference) {
            Ok(value) => seen.push_str(&crypto::sha256_hex(value.expose())),
            Err(reason) => seen.push_str(&reason),
        }
        seen.push('\n');
    }
    crypto::sha256_hex(seen.as_bytes())
}

fn open_gate(spec: &SourceSpec, url: &str, secrets: &dyn SecretSource) -> Result<Gate, String> {
    Gate::new(spec, url, secrets_of(spec, secrets)?)
}

/// The values of a source's secrets, under their labels.
///
/// # Errors
/// One of them is not to be had.
pub fn secrets_of(spec: &SourceSpec, secrets: &dyn SecretSource) -> Result<Vec<LabelledSecret>, String> {
    let mut labelled = Vec::new();
    for (number, secret) in spec.all_secrets().enumerate() {
        let label = secret.shown_label(number);
        labelled.push(LabelledSecret { label, secret: secrets.secret(secret.reference())?, until: secret.until() });
    }
    Ok(labelled)
}

/// The addresses and numbers of ours that the event came to.
fn own_addresses(event: &AgentEvent) -> Vec<String> {
    match &event.content {
        Content::Email(email) => email.own_addresses(),
        Content::Sms(sms) => vec![sms.to.clone()],
        Content::Webhook(_) | Content::Schedule(_) | Content::Agent(_) => Vec::new(),
    }
}

fn names(patterns: &[String], address: &str) -> bool {
    patterns.iter().any(|name| name.eq_ignore_ascii_case(address))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::Routes;
    use crate::{
        crypto::{Secret, SecretSource},
        domain::{
            catalog::Catalog,
            id::{SourceId, TenantId},
            source::{SecretRef, Source, SourceSecret, SourceSpec},
            time::Timestamp,
        },
    };

    #[derive(Default)]
    struct OneFile(Mutex<Option<&'static str>>);

    impl SecretSource for OneFile {
        fn secret(&self, _: &SecretRef) -> Result<Secret, String> {
            self.0.lock().unwrap().map(Secret::new).ok_or_else(|| "the file is missing".to_owned())
        }

        fn named(&self, name: &str) -> Result<Secret, String> {
            Err(name.to_owned())
        }
    }

    #[test]
    fn a_secret_that_changes_or_appears_is_noticed() {
        let secret = SourceSecret::Plain(SecretRef::File { file: "key".to_owned() });
        let spec = SourceSpec { provider: "github".to_owned(), secret: Some(secret), ..SourceSpec::default() };
        let (id, tenant) = (SourceId::new(Timestamp(0)), TenantId::new(Timestamp(0)));
        let source = Source { id, tenant, name: "a".to_owned(), spec };
        let catalog = Catalog { sources: [("a".to_owned(), source)].into(), ..Catalog::default() };
        let file = OneFile::default();
        let routes = Routes::compile(&catalog, "http://localhost", &file);
        assert!(routes.has_secrets_of(&file) && routes.broken_sources().count() == 1);
        *file.0.lock().unwrap() = Some("0123456789abcdef");
        assert!(!routes.has_secrets_of(&file));
        let routes = Routes::compile(&catalog, "http://localhost", &file);
        assert!(routes.has_secrets_of(&file) && routes.broken_sources().count() == 0);
        *file.0.lock().unwrap() = Some("fedcba9876543210");
        assert!(!routes.has_secrets_of(&file));
    }
}
