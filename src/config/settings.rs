//! What `postern.toml` can say. `default.toml` beside this file documents every key and is the default.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::domain::{
    concurrency::Strategy,
    mount::GitProtocol,
    retention::{Keep, Retention},
    source::{SecretRef, SourceSpec},
    time::Span,
};

/// The whole file.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The HTTP server.
    pub server: ServerSettings,
    /// Where records are kept.
    pub database: DatabaseSettings,
    /// Who works.
    pub worker: WorkerSettings,
    /// How work is shared out, and how much of it may wait.
    pub queue: QueueSettings,
    /// What agents get when their file names no limit.
    pub limits: LimitSettings,
    /// How long conversations are kept.
    pub sessions: SessionSettings,
    /// What agents' setups prepare.
    pub layers: LayerSettings,
    /// What may be uploaded for agents.
    pub uploads: UploadSettings,
    /// What ends a conversation of machines.
    pub loops: LoopSettings,
    /// How long records are kept.
    pub retention: RetentionSettings,
    /// The `claude` executor.
    pub claude: ClaudeSettings,
    /// The `anthropic` executor.
    pub anthropic: AnthropicSettings,
    /// How agents are kept apart from the machine.
    pub sandbox: SandboxSettings,
    /// The ways out.
    pub channels: ChannelSettings,
    /// Connections outward.
    pub egress: EgressSettings,
    /// Logs.
    pub log: LogSettings,
    /// Secrets that agents and replies use by name.
    pub secrets: BTreeMap<String, SecretRef>,
    /// Inbound addresses by name.
    pub sources: BTreeMap<String, SourceSpec>,
}

/// `[server]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerSettings {
    /// Address and port to listen on; port 0 takes a free one.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// How the outside reaches this server; default `http://` and `listen`.
    pub public_url: Option<String>,
    /// Bytes of a request body.
    pub max_body_bytes: usize,
    /// Bytes of the bodies of all open requests, which are read before anybody is believed; beyond them
    /// requests are answered 503. Those of the API have as much again.
    pub max_body_memory_bytes: usize,
    /// Bytes of a request's head.
    pub max_header_bytes: usize,
    /// Header lines of a request.
    pub max_headers: usize,
    /// Open connections.
    pub max_connections: usize,
    /// Open connections of one remote address; loopback has no such limit.
    pub max_connections_per_address: usize,
    /// Requests to one source that are worked on at the same time, where the source says nothing else.
    pub max_in_flight_per_source: usize,
    /// Proxies whose `X-Forwarded-For` is believed, as CIDR; their connections have no limit for each address.
    #[schemars(with = "Vec<String>")]
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// From the first byte, or from the last answer, until a request's head is complete.
    pub header_timeout: Span,
    /// Longest silence while a body arrives.
    pub body_timeout: Span,
    /// From the complete head to the end of the answer, streams apart.
    pub request_timeout: Span,
    /// How long an accepted request may wait for its commit before it is answered 503.
    pub commit_timeout: Span,
    /// Events waiting for a commit; beyond them requests are answered 503.
    pub max_waiting_commits: usize,
    /// How long running agents may go on after SIGTERM before they are given back.
    pub shutdown_grace: Span,
}

/// `[database]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSettings {
    /// `sqlite:PATH` (relative to the project directory) or a `postgres://` URL without its password.
    pub url: String,
    /// The password of the Postgres role, when it needs one.
    pub password: Option<SecretRef>,
    /// Connections to Postgres, or readers of SQLite.
    pub max_connections: u32,
}

/// `[worker]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkerSettings {
    /// Runs at the same time in one process; 0 is two for each core.
    pub concurrency: usize,
    /// Deliveries at the same time in one process.
    pub deliveries: usize,
    /// How long a claimed job belongs to its worker without a sign of life.
    pub lease: Span,
    /// How often the queue is looked at when no wake-up came.
    pub poll: Span,
    /// How often a run is taken up again after its worker vanished.
    pub max_lost: u32,
    /// How often a delivery is tried.
    pub delivery_attempts: u32,
    /// Where agents work; default `work` beside the database or in the project's `.postern`.
    pub work_dir: PathBuf,
}

/// `[queue]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueueSettings {
    /// Runs of one tenant at the same time, over all workers; 0 is no limit.
    pub concurrent_per_tenant: u32,
    /// What becomes of a run that comes when a tenant has as many.
    pub tenant_strategy: Strategy,
    /// Runs of one tenant that may wait; beyond them requests are answered 429, or 503 where the sender would give up.
    pub max_waiting: u64,
}

/// `[limits]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitSettings {
    /// Time of one run.
    pub wall_clock: Span,
    /// Time without output.
    pub idle: Span,
    /// Bytes of output of one run.
    pub output_bytes: u64,
    /// Turns of a run of executor `claude` or `anthropic`.
    pub turns: u32,
}

/// `[sessions]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionSettings {
    /// A session to which nothing came for so long ends; the next event of its key begins a new one.
    pub idle: Span,
    /// Bytes of the files of all sessions on one worker; beyond them those of the longest unused go.
    pub max_disk_bytes: u64,
}

/// `[layers]`: what agents' setups prepare on one worker.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LayerSettings {
    /// Layers of one agent that stay, the current version's among them; at least 1.
    pub keep: usize,
    /// Bytes of one layer; a setup that makes more fails.
    pub max_bytes: u64,
    /// Bytes of all layers; beyond them those of the longest unused go.
    pub max_disk_bytes: u64,
}

/// `[uploads]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UploadSettings {
    /// Bytes of one upload, unpacked.
    pub max_bytes: u64,
    /// Files of one upload.
    pub max_files: usize,
    /// Bytes of all uploads of a tenant; what several hold alike counts once.
    pub max_bytes_per_tenant: u64,
}

/// `[loops]`: caps on mail that starts runs; 0 is none.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoopSettings {
    /// Mails of one thread in an hour.
    pub thread_hour: u32,
    /// Mails of one sender in one thread in a day.
    pub thread_day: u32,
    /// Mails of one sender in an hour.
    pub sender_hour: u32,
    /// Agents that a mail may have gone through, by its `X-Postern-Hops`; at least 1.
    pub hops: u32,
}

impl LoopSettings {
    /// Whether mails need not be counted.
    #[must_use]
    pub const fn is_off(&self) -> bool {
        self.thread_hour == 0 && self.thread_day == 0 && self.sender_hour == 0
    }
}

/// `[retention]`: how long records are kept; `forever` keeps them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetentionSettings {
    /// Requests to the byte, and with them the JSON bodies of webhooks.
    pub raw_requests: Keep,
    /// The bytes of files.
    pub attachments: Keep,
    /// The records of runs, line by line, from their end on.
    pub messages: Keep,
    /// Deliveries with their attempts, from their end on.
    pub deliveries: Keep,
    /// Events with all that is of them; at least 8d, since repeats are known by them.
    pub events: Keep,
    /// What is different for single tenants, by name.
    pub tenants: BTreeMap<String, TenantRetention>,
}

/// `[retention.tenants.NAME]`: what is different for one tenant.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TenantRetention {
    /// See `retention.raw_requests`.
    pub raw_requests: Option<Keep>,
    /// See `retention.attachments`.
    pub attachments: Option<Keep>,
    /// See `retention.messages`.
    pub messages: Option<Keep>,
    /// See `retention.deliveries`.
    pub deliveries: Option<Keep>,
    /// See `retention.events`.
    pub events: Option<Keep>,
}

impl RetentionSettings {
    /// What holds for the tenant of that name.
    #[must_use]
    pub fn of(&self, tenant: &str) -> Retention {
        let own = self.tenants.get(tenant).copied().unwrap_or_default();
        Retention {
            raw_requests: own.raw_requests.unwrap_or(self.raw_requests),
            attachments: own.attachments.unwrap_or(self.attachments),
            messages: own.messages.unwrap_or(self.messages),
            deliveries: own.deliveries.unwrap_or(self.deliveries),
            events: own.events.unwrap_or(self.events),
        }
    }
}

/// `[claude]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaudeSettings {
    /// The program; a name is looked up in PATH.
    pub program: String,
    /// The version that this Postern was built against. Another one is refused.
    pub version: String,
    /// Start with another version than `version` all the same.
    pub allow_other_version: bool,
    /// The key for the Messages API.
    pub api_key: Option<SecretRef>,
    /// Another Messages API than Anthropic's.
    pub base_url: Option<String>,
    /// The model of agents that name none.
    pub model: String,
    /// CLIs that may be starting at the same time; 0 is one for each core.
    pub max_starting: usize,
    /// From a CLI's start until it begins its work.
    pub start_timeout: Span,
}

/// `[anthropic]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnthropicSettings {
    /// The key for the Messages API; default: `claude.api_key`.
    pub api_key: Option<SecretRef>,
    /// Another Messages API than Anthropic's; default: `claude.base_url`, unless there is an `api_key` here.
    pub base_url: Option<String>,
    /// The model of agents that name none.
    pub model: String,
    /// How long the API may take to begin an answer.
    pub timeout: Span,
    /// What models cost that Postern has no price for, or another one, by their id.
    pub prices: BTreeMap<String, ModelPrice>,
}

/// `[anthropic.prices.MODEL]`: US dollars for a million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelPrice {
    /// Tokens read.
    pub input: f64,
    /// Tokens written.
    pub output: f64,
    /// Tokens read from the cache; default: a tenth of `input`.
    #[serde(default)]
    pub cache_read: Option<f64>,
    /// Tokens written to the cache; default: five fourths of `input`.
    #[serde(default)]
    pub cache_write: Option<f64>,
}

/// `[sandbox]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SandboxSettings {
    /// Whether agents run in one.
    pub mode: SandboxMode,
}

/// See [`SandboxSettings::mode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SandboxMode {
    /// With bubblewrap where it works, else without.
    Auto,
    /// With bubblewrap, or not at all.
    Required,
    /// Without.
    Off,
}

/// `[channels]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChannelSettings {
    /// Keep everything that would leave, send nothing. `up --dev` sets it.
    pub capture: bool,
    /// Ask that mail be answered to `name+token@domain`, by which its conversation is found.
    pub reply_tokens: bool,
    /// How mail leaves; captured when not there.
    pub email: Option<EmailChannel>,
    /// How text messages leave; captured when not there.
    pub sms: Option<SmsChannel>,
}

/// `[channels.email]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "provider", rename_all = "lowercase", deny_unknown_fields)]
pub enum EmailChannel {
    /// Mailgun's API.
    Mailgun {
        /// The sending domain.
        domain: String,
        /// The API key.
        api_key: SecretRef,
        /// `https://api.mailgun.net` (default) or `https://api.eu.mailgun.net`.
        base_url: Option<String>,
    },
    /// An SMTP server.
    Smtp {
        /// Its name.
        host: String,
        /// Its port; default 587 with STARTTLS, 465 with TLS, 25 without.
        port: Option<u16>,
        /// How the connection is protected; default `starttls`.
        #[serde(default)]
        security: SmtpSecurity,
        /// The user, when it wants one.
        username: Option<String>,
        /// That user's password.
        password: Option<SecretRef>,
    },
}

/// How an SMTP connection is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SmtpSecurity {
    /// STARTTLS, demanded (RFC 3207).
    #[default]
    Starttls,
    /// TLS from the first byte (RFC 8314).
    Tls,
    /// None; only towards loopback.
    None,
}

/// `[channels.sms]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "provider", rename_all = "lowercase", deny_unknown_fields)]
pub enum SmsChannel {
    /// Twilio's API.
    Twilio {
        /// The account, `AC…`.
        account_sid: String,
        /// The auth token, or an API key's secret.
        auth_token: SecretRef,
        /// An API key, `SK…`, when `auth_token` is its secret.
        api_key: Option<String>,
        /// The Messaging Service, `MG…`, whose sender pool our numbers belong to.
        messaging_service_sid: Option<String>,
        /// Where Twilio tells what becomes of a message: the URL of a `twilio` source.
        status_url: Option<String>,
        /// Another base URL than `https://api.twilio.com`.
        base_url: Option<String>,
    },
    /// Telnyx' API.
    Telnyx {
        /// The API key, `KEY…`.
        api_key: SecretRef,
        /// The messaging profile, where the number alone does not tell it.
        messaging_profile_id: Option<String>,
        /// Where Telnyx tells what becomes of a message: the URL of a `telnyx` source. Default: the profile's.
        status_url: Option<String>,
        /// Another base URL than `https://api.telnyx.com`.
        base_url: Option<String>,
    },
    /// Vonage's Messages API.
    Vonage {
        /// The account's key.
        api_key: String,
        /// Its secret (not the signature secret).
        api_secret: SecretRef,
        /// Where Vonage tells what becomes of a message: the URL of a `vonage` source. Default: the account's.
        status_url: Option<String>,
        /// Another base URL than `https://api.nexmo.com`.
        base_url: Option<String>,
    },
    /// Plivo's API.
    Plivo {
        /// The account, `MA…` or `SA…`.
        auth_id: String,
        /// Its token.
        auth_token: SecretRef,
        /// Where Plivo tells what becomes of a message: the URL of a `plivo` source.
        status_url: Option<String>,
        /// Another base URL than `https://api.plivo.com`.
        base_url: Option<String>,
    },
}

/// `[egress]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EgressSettings {
    /// Private networks that callbacks may reach all the same, as CIDR.
    #[schemars(with = "Vec<String>")]
    pub allow_networks: Vec<ipnet::IpNet>,
    /// The name server that is asked about mail's senders; default: the machine's.
    #[schemars(with = "Option<String>")]
    pub name_server: Option<SocketAddr>,
    /// Protocols by which repositories are fetched.
    pub git_protocols: Vec<GitProtocol>,
    /// Time of one request.
    pub timeout: Span,
    /// Bytes of an answer that are read.
    pub max_answer_bytes: usize,
}

/// `[log]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// What is logged: a level, or `tracing` directives such as `info,postern::queue=debug`.
    pub filter: String,
    /// `text` or `json`.
    pub format: LogFormat,
}

/// See [`LogSettings::format`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}
