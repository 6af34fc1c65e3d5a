//! What an agent that is a service can get wrong.

use url::Url;

use crate::{
    config::{agents::Checker, checks, checks::Files, settings::Settings},
    domain::{
        agent::{AgentSpec, EnvValue},
        http::{HttpMode, HttpSpec, TASK},
        source::SecretRef,
        time::Span,
        trigger::ReplySecret,
    },
};

/// Header lines that are ours, or the connection's.
const OWN: [&str; 14] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "idempotency-key",
    "te",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "expect",
    "trailer",
];

/// Checks `http`, and what goes with it.
pub(super) fn check(spec: &mut AgentSpec, files: Files<'_>, settings: &Settings, checker: &mut Checker<'_>) {
    let mounts = !spec.mounts.is_empty();
    let skills = !spec.skills.is_empty();
    let Some(http) = &mut spec.http else {
        return checker.error(&["http"], "`http` is missing", "add `http: { url: \"https://…\" }`");
    };
    check_urls(http, checker);
    check_headers(http, files, settings, checker);
    match &mut http.secret {
        None => {}
        Some(ReplySecret::Named(name)) => checks::check_secret_name(&["http", "secret"], name, settings, checker),
        Some(ReplySecret::Reference(SecretRef::File { file })) => *file = files.absolute(file).display().to_string(),
        Some(ReplySecret::Reference(SecretRef::Env { .. })) => {}
    }
    if http.timeout.is_some_and(|span| !(Span(1000)..=Span(86_400_000)).contains(&span)) {
        checker.error(&["http", "timeout"], "`http.timeout` is out of range", "write a span between 1s and 24h");
    }
    check_polling(http, checker);
    for (key, given) in [("mounts", mounts), ("skills", skills)] {
        if given && !http.hydrate {
            let message = format!("`{key}` does not reach the service");
            checker.error(&[key], message, "add `hydrate: true` to `http`, or remove it");
        }
    }
    if http.mode == HttpMode::Task && http.status_url.is_none() && settings.server.public_url.is_none() {
        checker.warning(
            &["http", "mode"],
            "the service is told to report back to the address that this server listens on",
            "set server.public_url in postern.toml",
        );
    }
}

fn check_polling(http: &HttpSpec, checker: &mut Checker<'_>) {
    match &http.status_url {
        None if http.poll.is_some() => {
            checker.error(
                &["http", "poll"],
                "`http.poll` means nothing without `status_url`",
                "add it, or remove this",
            );
        }
        None => {}
        Some(_) if http.mode == HttpMode::Stream => {
            let help = "remove it, or write another `mode`";
            checker.error(&["http", "status_url"], "with `mode: stream` there is no task to ask for", help);
        }
        Some(url) if !url.contains(TASK) => {
            let help = "write {task} where the id of a task stands";
            checker.error(&["http", "status_url"], "`http.status_url` does not name the task", help);
        }
        Some(_) => {}
    }
    if http.poll.is_some_and(|span| !(Span(1000)..=Span(3_600_000)).contains(&span)) {
        checker.error(&["http", "poll"], "`http.poll` is out of range", "write a span between 1s and 1h");
    }
}

fn check_urls(http: &HttpSpec, checker: &mut Checker<'_>) {
    let filled = |url: &Option<String>| url.as_ref().map(|url| url.replace(TASK, "task"));
    let (cancel, status) = (filled(&http.cancel_url), filled(&http.status_url));
    for (key, text) in [("url", Some(&http.url)), ("cancel_url", cancel.as_ref()), ("status_url", status.as_ref())] {
        let Some(text) = text else { continue };
        match Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
                if !url.username().is_empty() || url.password().is_some() {
                    let help = "send them as a header, such as `headers: { authorization: { secret: name } }`";
                    checker.error(&["http", key], format!("`http.{key}` has credentials in it"), help);
                }
                if url.fragment().is_some() || text.contains("{{") {
                    let help = "nothing of an event goes into it";
                    checker.error(&["http", key], format!("`http.{key}` has a fragment or a template in it"), help);
                }
            }
            Ok(_) | Err(_) => {
                checker.error(&["http", key], format!("`http.{key}` is no URL"), "write https://HOST/PATH");
            }
        }
    }
}

fn check_headers(http: &mut HttpSpec, files: Files<'_>, settings: &Settings, checker: &mut Checker<'_>) {
    for (name, value) in &mut http.headers {
        let path = ["http", "headers", name.as_str()];
        let lower = name.to_lowercase();
        let good = !name.is_empty()
            && name.len() <= 100
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if !good || OWN.contains(&lower.as_str()) || lower.starts_with("webhook-") || lower.starts_with("proxy-") {
            checker.error(
                &path,
                format!("header `{name}` cannot be set"),
                "choose another name, of letters, digits and -",
            );
        }
        match value {
            EnvValue::Named { secret } => checks::check_secret_name(&path, secret, settings, checker),
            EnvValue::Reference(SecretRef::File { file }) => *file = files.absolute(file).display().to_string(),
            EnvValue::Text(text) if text.bytes().any(|byte| !(b' '..=b'~').contains(&byte)) => {
                checker.error(&path, format!("header `{name}` has characters that no header may have"), "write ASCII");
            }
            EnvValue::Text(_)
            | EnvValue::Number(_)
            | EnvValue::Switch(_)
            | EnvValue::Reference(SecretRef::Env { .. }) => {}
        }
    }
}
