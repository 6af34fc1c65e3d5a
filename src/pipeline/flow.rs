//! What a trigger's words about time mean for one event: their keys are rendered, and the sender's notice is written.

use serde_json::Value;

use crate::{
    domain::{
        delivery::Message,
        event::AgentEvent,
        flow::{Flow, Gather, Pace, Rate, RateKey, RateLimit},
        template::Template,
        trigger::{TriggerSpec, WhileRunning},
    },
    outbound::answer::{Answered, notice},
    pipeline::routes::bounded,
};

/// The words of a trigger, compiled.
#[derive(Default)]
pub(super) struct FlowRoute {
    priority: i64,
    delay_ms: i64,
    throttle: Option<(Pace, Option<Template>)>,
    rate: Option<(RateLimit, Option<Template>)>,
    gather: Option<(Gather, Option<Template>)>,
    drops: bool,
}

impl FlowRoute {
    /// # Errors
    /// Which template is broken, and how.
    pub(super) fn compile(spec: &TriggerSpec) -> Result<Self, String> {
        let template = |word: &str, text: Option<&str>| {
            let broken = |reason| format!("the key of its `{word}` is broken: {reason}");
            text.map(Template::parse).transpose().map_err(broken)
        };
        let mut route = Self {
            priority: i64::from(spec.priority),
            delay_ms: spec.delay.map_or(0, |delay| delay.0),
            drops: spec.while_running == WhileRunning::Drop,
            ..Self::default()
        };
        if let Some(word) = &spec.throttle {
            route.throttle = Some((Pace::of(word), template("throttle", word.key.as_deref())?));
        }
        if let Some(word) = &spec.rate_limit {
            let text = match &word.key {
                RateKey::Template(text) => Some(text.as_str()),
                RateKey::Sender | RateKey::Source => None,
            };
            route.rate = Some((word.clone(), template("rate_limit", text)?));
        }
        route.gather = match (&spec.debounce, &spec.batch) {
            (Some(word), _) => Some((Gather::debounce(word), template("debounce", word.key.as_deref())?)),
            (None, Some(word)) => Some((Gather::batch(word), template("batch", word.key.as_deref())?)),
            (None, None) => (spec.while_running == WhileRunning::Collect).then_some((Gather::Collect, None)),
        };
        Ok(route)
    }

    /// What they mean for an event. Its view is only made when a key needs it.
    pub(super) fn of<'a>(&self, event: &AgentEvent, view: impl Fn() -> &'a Value) -> Flow {
        let key = |template: &Option<Template>| {
            bounded(template.as_ref().map(|template| template.render(view()).trim().to_owned()).unwrap_or_default())
        };
        let sender = || event.sender.as_ref().map(|sender| sender.address.to_lowercase()).unwrap_or_default();
        Flow {
            priority: self.priority,
            delay_ms: self.delay_ms,
            throttle: self.throttle.as_ref().map(|(pace, template)| (*pace, key(template))),
            rate: self.rate.as_ref().map(|(word, template)| {
                let key = match &word.key {
                    RateKey::Sender => bounded(sender()),
                    RateKey::Source => String::new(),
                    RateKey::Template(_) => key(template),
                };
                (rate(word, event), key)
            }),
            gather: self.gather.as_ref().map(|(gather, template)| (*gather, key(template))),
            drops: self.drops,
        }
    }
}

fn rate(word: &RateLimit, event: &AgentEvent) -> Rate {
    Rate {
        limit: i64::from(word.limit),
        per_ms: word.per.0,
        notice: word.notice.then(|| notice_of(word, event)).flatten(),
    }
}

fn notice_of(word: &RateLimit, event: &AgentEvent) -> Option<Box<Message>> {
    let text = format!(
        "Your message has arrived and is kept, but it is not worked on: no more than {} in {} are. \
         Please send it again later.",
        word.limit, word.per
    );
    match notice(event, text) {
        Answered::Send(message) => Some(message),
        Answered::Nothing { .. } => None,
    }
}
