//! Which events start which agent, with what prompt, in what session, and how it answers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{
    concurrency::{self, Concurrency},
    event::{AgentEvent, Content},
    flow::{Batch, Debounce, RateLimit, Throttle},
    id::{AgentId, TriggerId},
    schedule::ScheduleSpec,
    session::SessionRule,
    source::SecretRef,
    time::Span,
};

/// A trigger as it stands in an agent's file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TriggerSpec {
    /// The name of the source; of a trigger with a `schedule` there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// When it starts the agent by itself, instead of listening to a source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleSpec>,
    /// Addresses or numbers of ours that it listens to; empty is all. `*` stands for any text.
    #[serde(default, with = "one_or_many")]
    #[schemars(with = "OneOrMany")]
    pub to: Vec<String>,
    /// Senders that may start the agent. Email and SMS: nobody until somebody is named. `*` stands
    /// for any text, so `*@example.com` is everybody there and `*` is everybody.
    #[serde(default, with = "one_or_many")]
    #[schemars(with = "OneOrMany")]
    pub from: Vec<String>,
    /// Whether `from` counts only senders of mail that are verified to own their address, or any that nobody refuted.
    #[serde(default)]
    pub sender_auth: SenderRule,
    /// A CEL expression over the event that must be true.
    #[serde(default, rename = "where")]
    pub filter: Option<String>,
    /// A template over the event; what the agent is asked. Default: the event's own text.
    #[serde(default)]
    pub prompt: Option<String>,
    /// Which events share a conversation. Default: `thread` for email and SMS, `event` for webhooks.
    #[serde(default)]
    pub session: Option<SessionRule>,
    /// What happens to an event while a run of the same session is active.
    #[serde(default)]
    pub while_running: WhileRunning,
    /// How many of its runs go at the same time: one limit, or several that all hold.
    #[serde(default, with = "concurrency::one_or_many", skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "concurrency::one_or_many::OneOrMany")]
    pub concurrency: Vec<Concurrency>,
    /// How fast runs begin; more of them wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle: Option<Throttle>,
    /// How many events are worked on in a time; further ones are kept as ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// Events become one run once no more came for a while; all of them are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debounce: Option<Debounce>,
    /// So many events become one run, or those that came within a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<Batch>,
    /// -100 to 100: of the runs that wait for a worker, higher ones begin first. Default: 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = -100, max = 100))]
    pub priority: i8,
    /// How long a run waits before it may begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Span>,
    /// How the answer goes out. Default: the way the event came; webhooks are not answered.
    #[serde(default)]
    pub reply: Option<Reply>,
}

impl TriggerSpec {
    /// Whether its runs may take further events with them.
    #[must_use]
    pub const fn gathers(&self) -> bool {
        self.debounce.is_some() || self.batch.is_some() || matches!(self.while_running, WhileRunning::Collect)
    }
}

/// Which senders of mail count for `from`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SenderRule {
    /// Those who are verified to own their address.
    #[default]
    Verified,
    /// Those whose address nobody refuted, too: anybody can write any address there.
    Any,
}

/// What happens to an event while a run of the same session is active.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WhileRunning {
    /// Its run waits for its turn.
    #[default]
    Queue,
    /// It is handed into the running conversation between two turns; where the agent cannot take it, its run waits
    /// for its turn.
    Steer,
    /// The active run is stopped, and its own begins as soon as that is gone.
    Interrupt,
    /// All that come while a run is active become one further run.
    Collect,
    /// It starts nothing and is kept as ignored.
    Drop,
}

impl WhileRunning {
    /// How the queue is to treat the run besides letting it wait; `None` when waiting is all.
    #[must_use]
    pub const fn manner(self) -> Option<&'static str> {
        match self {
            Self::Queue | Self::Collect | Self::Drop => None,
            Self::Steer => Some("steer"),
            Self::Interrupt => Some("interrupt"),
        }
    }
}

/// How an answer goes out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Reply {
    /// `none` sends nothing, `same` answers the way the event came.
    Word(ReplyWord),
    /// POSTs the result, signed by Standard Webhooks.
    Webhook(WebhookReply),
    /// Texts the result.
    Sms(SmsReply),
    /// Mails the result.
    Email(EmailReply),
    /// As `same`, with files.
    Files(FilesReply),
}

impl Reply {
    /// The files that go with the answer beside those that the agent chose; `None`: no others.
    #[must_use]
    pub const fn attach(&self) -> Option<Attach> {
        match self {
            Self::Word(_) | Self::Sms(_) => None,
            Self::Webhook(reply) => reply.attach,
            Self::Email(reply) => reply.attach,
            Self::Files(reply) => Some(reply.attach),
        }
    }
}

/// Files of a run that go with its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Attach {
    /// Its artifacts: a mail carries them, a callback names them.
    Artifacts,
}

/// See [`Reply::Word`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReplyWord {
    /// Nothing is sent.
    None,
    /// The way the event came.
    Same,
}

/// See [`Reply::Webhook`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookReply {
    /// Where to; not a private address unless the server allows it.
    pub webhook: String,
    /// The name of an entry under `[secrets]`, or a reference: signs the callback (`whsec_…`).
    pub secret: ReplySecret,
    /// Files of the run that the callback names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attach: Option<Attach>,
}

/// The key that signs a callback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ReplySecret {
    /// The name of an entry under `[secrets]` in `postern.toml`.
    Named(String),
    /// Where the value is kept.
    Reference(SecretRef),
}

/// See [`Reply::Sms`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SmsReply {
    /// E.164.
    pub sms: String,
}

/// See [`Reply::Email`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmailReply {
    /// The address.
    pub email: String,
    /// Files of the run that the mail carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attach: Option<Attach>,
}

/// See [`Reply::Files`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilesReply {
    /// Which files a mail carries; text messages carry none, and the run's record says so.
    pub attach: Attach,
}

/// A trigger as intake knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// Ours; stable while the trigger's place in its agent's file is.
    pub id: TriggerId,
    /// The agent that it starts.
    pub agent: AgentId,
    /// That agent's name.
    pub agent_name: String,
    /// That agent's current version.
    pub agent_version: i64,
    /// Its place in the agent's file, from 0.
    pub position: i64,
    /// The agent's own limits: `limits.concurrent` and `concurrency`.
    pub agent_limits: Vec<Concurrency>,
    /// Its words.
    pub spec: TriggerSpec,
}

impl Trigger {
    /// The name of its schedule: the agent's, and its own or its place in the file, from 1.
    #[must_use]
    pub fn schedule_name(&self) -> Option<String> {
        let schedule = self.spec.schedule.as_ref()?;
        Some(match &schedule.name {
            Some(name) => format!("{}.{name}", self.agent_name),
            None => format!("{}.{}", self.agent_name, self.position + 1),
        })
    }

    /// Whether it is asked about an event: one of its source, or of its schedule.
    #[must_use]
    pub fn listens_to(&self, event: &AgentEvent) -> bool {
        match (&event.content, &self.spec.schedule) {
            (Content::Agent(_), _) => false,
            (Content::Schedule(tick), _) => self.schedule_name().is_some_and(|name| name == tick.name),
            (_, Some(_)) => false,
            (_, None) => self.spec.source == event.source_name,
        }
    }
}

/// What became of one trigger for one event; kept with the event and shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routing {
    /// Which trigger.
    pub trigger: TriggerId,
    /// Which agent it would start.
    pub agent: String,
    /// Whether it did.
    pub matched: bool,
    /// Why, in words.
    pub reason: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero(number: &i8) -> bool {
    *number == 0
}

/// Accepts `"a"` and `["a", "b"]` alike.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

mod one_or_many {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::OneOrMany;

    pub(super) fn serialize<S: Serializer>(values: &[String], serializer: S) -> Result<S::Ok, S::Error> {
        values.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
        Ok(match OneOrMany::deserialize(deserializer)? {
            OneOrMany::One(value) => vec![value],
            OneOrMany::Many(values) => values,
        })
    }
}
