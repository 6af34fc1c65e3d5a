//! What settings of the right shape can still get wrong.

use std::collections::BTreeMap;

use url::Url;

use crate::{
    config::{
        agents,
        load::{FILE, place},
        problem::{Problem, suggest},
        settings::{AnthropicSettings, EmailChannel, Settings, SmtpSecurity},
    },
    domain::{
        catalog::Bundle,
        concurrency,
        retention::{Keep, Kept, SHORTEST, SHORTEST_EVENTS},
        schema::BodyCheck,
        source::{SourceSpec, is_valid_name},
        time::Span,
    },
};

/// The ways that events come in, as far as a provider's name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Mail.
    Email,
    /// Text messages.
    Sms,
    /// Anything else.
    Webhook,
}

/// What a provider's events are.
#[must_use]
pub fn kind_of(provider: &str) -> Kind {
    match provider {
        "mailgun" | "postmark" | "sendgrid" | "cloudflare" | "cloudflare-email" | "ses" | "resend" | "mailersend"
        | "mandrill" | "sparkpost" | "brevo" | "mime" | "email" | "imap" | "raw_mail" => Kind::Email,
        "twilio" | "vonage" | "vonage_sms" | "telnyx" | "plivo" | "messagebird" | "bird" | "sinch" | "sms" => Kind::Sms,
        _ => Kind::Webhook,
    }
}

/// Every problem of `settings`, with its place in `text`, the project's own file.
pub(crate) fn check(settings: &Settings, text: &str) -> Vec<Problem> {
    let mut checker = Checker { text, problems: Vec::new() };
    checker.numbers(settings);
    checker.spans(settings);
    checker.retention(settings);
    checker.database(settings);
    checker.urls(settings);
    for (name, source) in &settings.sources {
        checker.source(name, source, settings.server.listen.ip().is_loopback());
    }
    for name in settings.secrets.keys().filter(|name| !is_valid_name(name)) {
        checker.error(&["secrets", name], NAME_RULE);
    }
    checker.problems
}

/// Every error of a bundle that was sent instead of read from a project directory: the rules are the same.
/// `settings` are this server's, whose sources do not count.
#[must_use]
pub fn check_bundle(bundle: &Bundle, settings: &Settings, providers: &[&str]) -> Vec<Problem> {
    let settings = Settings { sources: bundle.sources.clone(), ..settings.clone() };
    let mut checker = Checker { text: "", problems: Vec::new() };
    for (name, source) in &settings.sources {
        checker.source(name, source, settings.server.listen.ip().is_loopback());
    }
    let mut problems = checker.problems;
    problems.extend(check_providers(&settings.sources, "", providers));
    problems.extend(bundle.agents.iter().flat_map(|(name, agent)| agents::check_sent(name, agent, &settings)));
    problems.extend(agents::check_sent_together(&bundle.agents, &settings));
    problems.retain(Problem::is_error);
    problems
}

/// Errors for sources whose provider is not among `known`.
pub(crate) fn check_providers(sources: &BTreeMap<String, SourceSpec>, text: &str, known: &[&str]) -> Vec<Problem> {
    let unknown =
        sources.iter().filter(|(_, source)| source.provider != IMAP && !known.contains(&source.provider.as_str()));
    unknown
        .map(|(name, source)| {
            let problem = Problem::error(FILE, format!("`sources.{name}`: there is no provider `{}`", source.provider));
            let mut problem = problem.at(place(text, &["sources", name, "provider"]));
            problem.help = suggest(&source.provider, known.iter().copied().chain([IMAP]));
            problem
        })
        .collect()
}

/// The provider that is a mailbox.
const IMAP: &str = "imap";

const NAME_RULE: &str = "is no name; use 1 to 64 of a-z, 0-9, - and _";

struct Checker<'a> {
    text: &'a str,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn error(&mut self, keys: &[&str], message: &str) {
        let (message, help) = message.split_once("; ").unwrap_or((message, ""));
        let mut problem = Problem::error(FILE, format!("`{}` {message}", keys.join("."))).at(place(self.text, keys));
        if !help.is_empty() {
            problem = problem.help(help);
        }
        self.problems.push(problem);
    }

    fn numbers(&mut self, settings: &Settings) {
        let server = &settings.server;
        for (keys, value, least) in [
            (["server", "max_body_bytes"], server.max_body_bytes as u64, 1024),
            (["server", "max_body_memory_bytes"], server.max_body_memory_bytes as u64, server.max_body_bytes as u64),
            (["server", "max_header_bytes"], server.max_header_bytes as u64, 8192),
            (["server", "max_headers"], server.max_headers as u64, 16),
            (["server", "max_connections"], server.max_connections as u64, 1),
            (["server", "max_connections_per_address"], server.max_connections_per_address as u64, 1),
            (["server", "max_in_flight_per_source"], server.max_in_flight_per_source as u64, 1),
            (["server", "max_waiting_commits"], server.max_waiting_commits as u64, 1),
            (["database", "max_connections"], u64::from(settings.database.max_connections), 1),
            (["worker", "deliveries"], settings.worker.deliveries as u64, 1),
            (["worker", "delivery_attempts"], u64::from(settings.worker.delivery_attempts), 1),
            (["queue", "max_waiting"], settings.queue.max_waiting, 1),
            (["limits", "output_bytes"], settings.limits.output_bytes, 1),
            (["limits", "turns"], u64::from(settings.limits.turns), 1),
            (["sessions", "max_disk_bytes"], settings.sessions.max_disk_bytes, 1 << 20),
            (["layers", "keep"], settings.layers.keep as u64, 1),
            (["layers", "max_bytes"], settings.layers.max_bytes, 1 << 20),
            (["layers", "max_disk_bytes"], settings.layers.max_disk_bytes, 1 << 20),
            (["uploads", "max_bytes"], settings.uploads.max_bytes, 1024),
            (["uploads", "max_files"], settings.uploads.max_files as u64, 1),
            (["uploads", "max_bytes_per_tenant"], settings.uploads.max_bytes_per_tenant, 1024),
            (["loops", "hops"], u64::from(settings.loops.hops), 1),
            (["egress", "max_answer_bytes"], settings.egress.max_answer_bytes as u64, 1),
        ] {
            if value < least {
                self.error(&keys, &format!("is {value}; write {least} or more"));
            }
        }
        for (keys, value, most) in [
            (["uploads", "max_bytes"], settings.uploads.max_bytes, 256 << 20),
            (["uploads", "max_files"], settings.uploads.max_files as u64, 50_000),
        ] {
            if value > most {
                self.error(&keys, &format!("is {value}; write {most} or less"));
            }
        }
        let places = settings.queue.concurrent_per_tenant;
        if places > concurrency::MOST_PLACES {
            let most = concurrency::MOST_PLACES;
            self.error(&["queue", "concurrent_per_tenant"], &format!("is {places}; write {most} or less"));
        }
    }

    fn spans(&mut self, settings: &Settings) {
        const DAY_MS: i64 = 86_400_000;
        let server = &settings.server;
        for (keys, value, least_ms) in [
            (["server", "header_timeout"], server.header_timeout, 100),
            (["server", "body_timeout"], server.body_timeout, 100),
            (["server", "request_timeout"], server.request_timeout, 100),
            (["server", "commit_timeout"], server.commit_timeout, 100),
            (["server", "shutdown_grace"], server.shutdown_grace, 0),
            (["worker", "lease"], settings.worker.lease, 1_000),
            (["worker", "poll"], settings.worker.poll, 10),
            (["limits", "wall_clock"], settings.limits.wall_clock, 1_000),
            (["limits", "idle"], settings.limits.idle, 1_000),
            (["claude", "start_timeout"], settings.claude.start_timeout, 1_000),
            (["egress", "timeout"], settings.egress.timeout, 100),
            (["anthropic", "timeout"], settings.anthropic.timeout, 1_000),
        ] {
            if !(least_ms..=30 * DAY_MS).contains(&value.0) {
                self.error(&keys, &format!("is {value}; write a span between {} and 30d", Span(least_ms)));
            }
        }
        let idle = settings.sessions.idle;
        if !(60_000..=3_650 * DAY_MS).contains(&idle.0) {
            self.error(&["sessions", "idle"], &format!("is {idle}; write a span between 1m and 3650d"));
        }
    }

    fn retention(&mut self, settings: &Settings) {
        let names = [None].into_iter().chain(settings.retention.tenants.keys().map(Some));
        for name in names {
            let retention = settings.retention.of(name.map_or("", String::as_str));
            // Artifacts go with attachments.
            for kept in Kept::ALL.into_iter().filter(|kept| *kept != Kept::Artifacts) {
                let least = if kept == Kept::Events { SHORTEST_EVENTS } else { SHORTEST };
                let Keep::For(span) = retention.of(kept) else { continue };
                if span >= least {
                    continue;
                }
                let text = format!("is {span}; write {least} or more, or forever");
                match name {
                    None => self.error(&["retention", kept.as_str()], &text),
                    Some(name) => self.error(&["retention", "tenants", name, kept.as_str()], &text),
                }
            }
        }
    }

    fn database(&mut self, settings: &Settings) {
        let url = &settings.database.url;
        let keys = ["database", "url"];
        if let Some(path) = url.strip_prefix("sqlite:") {
            if path.is_empty() {
                self.error(&keys, "names no file; write sqlite:.postern/postern.db");
            }
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            match Url::parse(url) {
                Ok(url) if url.password().is_some() => {
                    self.error(&keys, "has a password in it; set `password = { env = \"NAME\" }` beside it instead");
                }
                Ok(_) => {}
                Err(fault) => self.error(&keys, &format!("is no URL ({fault}); write postgres://user@host/database")),
            }
        } else {
            self.error(&keys, "is neither SQLite nor Postgres; write sqlite:PATH or postgres://user@host/database");
        }
    }

    fn urls(&mut self, settings: &Settings) {
        self.http_url(&["server", "public_url"], settings.server.public_url.as_deref());
        self.http_url(&["claude", "base_url"], settings.claude.base_url.as_deref());
        self.anthropic(&settings.anthropic);
        match &settings.channels.email {
            Some(EmailChannel::Mailgun { base_url, .. }) => {
                self.http_url(&["channels", "email", "base_url"], base_url.as_deref());
            }
            Some(EmailChannel::Smtp { host, security: SmtpSecurity::None, .. })
                if host != "localhost" && !host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()) =>
            {
                self.error(
                    &["channels", "email", "security"],
                    "is none towards another machine; write starttls or tls",
                );
            }
            Some(EmailChannel::Smtp { username, password, .. }) if username.is_some() != password.is_some() => {
                self.error(&["channels", "email"], "has one of `username` and `password`; write both or none");
            }
            Some(EmailChannel::Smtp { .. }) | None => {}
        }
    }

    fn http_url(&mut self, keys: &[&str], url: Option<&str>) {
        let good =
            |url: &str| Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if url.is_some_and(|url| !good(url)) {
            self.error(keys, "is no URL; write it in full, such as https://postern.example.com");
        }
    }

    fn source(&mut self, name: &str, source: &SourceSpec, loopback: bool) {
        let table = ["sources", name];
        if !is_valid_name(name) {
            self.error(&table, NAME_RULE);
        }
        if source.provider.is_empty() {
            self.error(&table, "names no provider; add for example provider = \"github\"");
        }
        if source.insecure && !loopback {
            self.error(
                &["sources", name, "insecure"],
                "would accept unsigned requests from everywhere; listen on 127.0.0.1, or remove it and set a secret",
            );
        }
        if let Some(fault) = concurrency::fault_of(&source.concurrency) {
            self.error(&["sources", name, "concurrency"], &fault);
        }
        if source.provider == IMAP || source.imap.is_some() {
            return self.mailbox(name, source);
        }
        // Amazon SNS has no secret: the topics say whose messages are taken.
        let names_topics = source.options.contains_key("topic_arn");
        if !source.insecure && !names_topics && source.all_secrets().next().is_none() {
            self.error(
                &table,
                "has no secret; add secret = { env = \"NAME\" }, or insecure = true while listening on loopback",
            );
        }
        if (source.provider == "hmac") != source.signature.is_some() {
            self.error(
                &table,
                "needs `signature` with provider = \"hmac\", and only there; see [sources.<name>.signature]",
            );
        }
        if let Some(Err(fault)) = source.schema.as_ref().map(BodyCheck::compile) {
            self.error(&["sources", name, "schema"], &fault);
        }
        self.http_url(&["sources", name, "public_url"], source.public_url.as_deref());
        if let Some(fetch) = &source.fetch {
            let keys = ["sources", name, "fetch"];
            if let Some(fault) = fetch.fault(&source.provider) {
                self.error(&keys, fault);
            }
            self.http_url(&["sources", name, "fetch", "endpoint"], fetch.endpoint.as_deref());
        }
        self.pressure(name, source);
    }
}

impl Checker<'_> {
    fn anthropic(&mut self, settings: &AnthropicSettings) {
        self.http_url(&["anthropic", "base_url"], settings.base_url.as_deref());
        if settings.model.trim().is_empty() {
            self.error(&["anthropic", "model"], "is empty; write an id such as claude-haiku-5-5");
        }
        for (model, price) in &settings.prices {
            let all = [Some(price.input), Some(price.output), price.cache_read, price.cache_write];
            if all.into_iter().flatten().any(|dollars| !(0.0..=10_000.0).contains(&dollars)) {
                let message = "has a price that means nothing; write dollars for a million tokens, 0 to 10000";
                self.error(&["anthropic", "prices", model], message);
            }
        }
    }

    /// How much a source takes: none of it may be nothing.
    fn pressure(&mut self, name: &str, source: &SourceSpec) {
        let rates = [("rate", source.rate), ("rate_per_address", source.rate_per_address)];
        for (key, rate) in rates.into_iter().filter_map(|(key, rate)| Some((key, rate?))) {
            if !(1..=1_000_000).contains(&rate.per_second) || !(1..=1_000_000).contains(&rate.burst()) {
                self.error(&["sources", name, key], "has numbers that mean nothing; write 1 to 1000000");
            }
        }
        if source.max_in_flight == Some(0) {
            self.error(&["sources", name, "max_in_flight"], "is 0; write 1 or more");
        }
        if source.max_body_bytes.is_some_and(|bytes| bytes < 1024) {
            self.error(&["sources", name, "max_body_bytes"], "is too small; write 1024 or more");
        }
    }

    /// A mailbox is read, not called: nothing of what a caller must prove means anything.
    fn mailbox(&mut self, name: &str, source: &SourceSpec) {
        let Some(imap) = source.imap.as_ref().filter(|_| source.provider == IMAP) else {
            let message = "needs `imap` with provider = \"imap\", and only there; see [sources.<name>.imap]";
            return self.error(&["sources", name], message);
        };
        let is_called = source.all_secrets().next().is_some()
            || source.public_url.is_some()
            || source.tolerance.is_some()
            || source.insecure
            || source.signature.is_some();
        if is_called {
            let message = "is a mailbox, which nobody calls; remove what a caller would have to prove";
            self.error(&["sources", name], message);
        }
        if let Some((key, message)) = imap.fault() {
            self.error(&["sources", name, "imap", key], message);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{check, check_bundle};
    use crate::config::{environment::Environment, load::read_settings};

    #[test]
    fn what_is_sent_is_checked_like_what_is_read() {
        let settings = read_settings("[server]\nlisten = \"0.0.0.0:80\"", &Environment::default()).unwrap();
        let source = json!({"provider": "github", "secret": {"env": "A"}});
        let agent = |key: &str, value: serde_json::Value| {
            let mut spec = json!({"executor": "command", "command": ["/bin/true"], "triggers": [{"source": "a"}]});
            spec[key] = value;
            json!({"sources": {"a": source}, "agents": {"b": {"spec": spec}}})
        };
        let skill = json!({"name": "s", "description": "", "files": {"SKILL.md": "", "../x": ""}});
        for (bundle, expected) in [
            (agent("mounts", json!(["/srv/x:/context/x:ro"])), ""),
            (json!({"sources": {"A": source}}), "`sources.A` is no name"),
            (json!({"sources": {"a": {"provider": "githup", "secret": {"env": "A"}}}}), "no provider `githup`"),
            (json!({"sources": {"a": {"provider": "github", "insecure": true}}}), "would accept unsigned requests"),
            (json!({"agents": {"../b": {"spec": {"executor": "command", "command": ["x"]}}}}), "no name for an agent"),
            (agent("mounts", json!(["/srv:/context/../etc"])), "has `.` or `..` in it"),
            (agent("mounts", json!(["/srv:context"])), "is not absolute in the container"),
            (agent("mounts", json!(["srv:/context"])), "`srv` is not absolute"),
            (agent("env", json!({"LD_PRELOAD": "x"})), "cannot be set for an agent"),
            (agent("skills", json!(["s"])), "there is no skill `s`"),
            (agent("triggers", json!([{"source": "a", "where": "body.a =="}])), "`where` is no CEL expression"),
            (agent("triggers", json!([{"source": "a", "prompt": "{{ nonsense }}"}])), "nothing that an event has"),
            (agent("triggers", json!([{"source": "z"}])), "there is no source `z`"),
            (
                json!({"agents": {"b": {"spec": {"executor": "command", "command": ["x"]}, "skills": [skill]}}}),
                "has a file outside of it",
            ),
        ] {
            let bundle = serde_json::from_value(bundle).unwrap();
            let problems = check_bundle(&bundle, &settings, &["github"]);
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            assert_eq!(problems.len(), usize::from(!expected.is_empty()), "{problems:?} {expected}");
            assert!(problems.iter().all(|problem| problem.contains(expected)), "{problems:?} {expected}");
        }
    }

    #[test]
    fn wrong_settings_say_what_would_be_right() {
        for (text, expected) in [
            ("[server]\nmax_headers = 1", "postern.toml:2:1: `server.max_headers` is 1; write 16 or more"),
            (
                "[server]\nmax_body_memory_bytes = 1000000",
                "`server.max_body_memory_bytes` is 1000000; write 26214400 or more",
            ),
            (
                "[retention]\nevents = \"7d\"",
                "postern.toml:2:1: `retention.events` is 7d; write 8d or more, or forever",
            ),
            (
                "[retention.tenants.acme]\nmessages = \"1h\"",
                "postern.toml:2:1: `retention.tenants.acme.messages` is 1h; write 1d or more, or forever",
            ),
            ("[worker]\nlease = \"1ms\"", "postern.toml:2:1: `worker.lease` is 1ms; write a span between 1s and 30d"),
            ("[anthropic]\nbase_url = \"x\"", "postern.toml:2:1: `anthropic.base_url` is no URL"),
            (
                "[anthropic.prices.own]\ninput = -1.0\noutput = 1.0",
                "`anthropic.prices.own` has a price that means nothing; write dollars for a million tokens",
            ),
            ("[database]\nurl = \"mysql:x\"", "postern.toml:2:1: `database.url` is neither SQLite nor Postgres"),
            ("[database]\nurl = \"postgres://u:hunter2@h/d\"", "postern.toml:2:1: `database.url` has a password in it"),
            ("[server]\npublic_url = \"example.com\"", "postern.toml:2:1: `server.public_url` is no URL"),
            ("[sources.mail]\nprovider = \"mailgun\"", "postern.toml:1:10: `sources.mail` has no secret"),
            ("[sources.Mail]\nprovider = \"mailgun\"\ninsecure = true", "postern.toml:1:10: `sources.Mail` is no name"),
            ("[sources.a]\ninsecure = true", "`sources.a` names no provider"),
            ("[sources.a]\nprovider = \"hmac\"\ninsecure = true", "`sources.a` needs `signature`"),
            (
                "[server]\nlisten = \"0.0.0.0:80\"\n[sources.a]\nprovider = \"github\"\ninsecure = true",
                "postern.toml:5:1: `sources.a.insecure` would accept unsigned requests from everywhere",
            ),
            (
                "[channels.email]\nprovider = \"smtp\"\nhost = \"mail.example.com\"\nsecurity = \"none\"",
                "postern.toml:4:1: `channels.email.security` is none towards another machine",
            ),
        ] {
            let settings = read_settings(text, &Environment::default()).unwrap();
            let problems: Vec<String> = check(&settings, text).iter().map(ToString::to_string).collect();
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].contains(expected), "{}\n{expected}", problems[0]);
            assert!(!problems[0].contains("hunter2"));
        }
    }
}
