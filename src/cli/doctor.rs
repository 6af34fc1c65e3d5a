//! `doctor`: whether this project can run on this machine, and what to do where it cannot.

use std::{net::SocketAddr, process::ExitCode};

use serde::Serialize;
use serde_json::json;
use tokio::net::TcpListener;

use crate::{
    app,
    cli::{Context, output, validate},
    config::{
        load::{Loaded, Project},
        problem::Problem,
        secrets::Secrets,
        settings::Settings,
    },
    crypto::SecretSource,
    domain::{agent::ExecutorKind, imap::ImapSpec, time::Span},
    egress::{Egress, EgressLimits, Policy, Request, stream::Streams},
    mailbox::{self, MailboxError},
    store::{SCHEMA_VERSION, StoreError},
};

/// How it stands with one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warn,
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    name: &'static str,
    level: Level,
    detail: String,
}

impl Finding {
    fn new(name: &'static str, level: Level, detail: impl Into<String>) -> Self {
        Self { name, level, detail: detail.into() }
    }
}

pub(super) async fn doctor(context: &Context) -> ExitCode {
    let findings = match Project::load(&context.project, &context.environment) {
        Err(problems) => of_problems(&problems),
        Ok(loaded) => examine(context, &loaded).await,
    };
    let failed = findings.iter().any(|finding| finding.level == Level::Fail);
    if context.json {
        output::json(&json!({"ok": !failed, "checks": findings}));
    } else {
        for Finding { name, level, detail } in &findings {
            let level = match level {
                Level::Ok => "ok",
                Level::Warn => "warn",
                Level::Fail => "FAIL",
            };
            output::line(format!("{level:<4}  {name:<9}  {}", output::one_line(detail, 400)));
        }
    }
    if failed { ExitCode::from(1) } else { ExitCode::SUCCESS }
}

async fn examine(context: &Context, loaded: &Loaded) -> Vec<Finding> {
    let mut findings = of_problems(&validate::all_problems(context, loaded));
    let secrets = Secrets::new(&loaded.dir, context.environment.clone(), &loaded.settings);
    findings.push(database(&loaded.settings, &secrets).await);
    findings.push(address(loaded.settings.server.listen).await);
    findings.extend(executors(context, loaded, &secrets).await);
    findings.extend(channels(&loaded.settings));
    findings.extend(mailboxes(&loaded.settings, &secrets).await);
    findings
}

/// Project and secrets: a line for each problem, or one that says that there is none.
fn of_problems(problems: &[Problem]) -> Vec<Finding> {
    if problems.is_empty() {
        return vec![Finding::new("project", Level::Ok, "the project is valid, its secrets are there")];
    }
    let finding = |problem: &Problem| {
        Finding::new("project", if problem.is_error() { Level::Fail } else { Level::Warn }, problem.to_string())
    };
    problems.iter().map(finding).collect()
}

async fn database(settings: &Settings, secrets: &Secrets) -> Finding {
    const NAME: &str = "database";
    let shown = app::shown_url(settings);
    let store = match app::open_store(settings, secrets).await {
        Ok(store) => store,
        Err(fault) => {
            return Finding::new(NAME, Level::Fail, format!("{:#}; check database.url", anyhow::Error::new(fault)));
        }
    };
    let (version, judged) = (store.schema_version().await, store.check_schema().await);
    let failing = match judged {
        Ok(()) => store.tasks().await.unwrap_or_default().into_iter().find(|task| task.error.is_some()),
        Err(_) => None,
    };
    let engine = store.engine_name();
    store.close().await;
    if let Some(task) = failing {
        let error = task.error.unwrap_or_default();
        let detail = format!("the task `{}` failed {} times: {error}", task.name, task.failures);
        return Finding::new(NAME, Level::Warn, detail);
    }
    match (version, judged) {
        (Ok(found), Ok(())) => {
            let newer = if found > SCHEMA_VERSION { ", of a newer postern" } else { "" };
            Finding::new(NAME, Level::Ok, format!("{shown} ({engine}, schema {found}{newer})"))
        }
        (Ok(0), _) => {
            Finding::new(NAME, Level::Ok, format!("{shown} ({engine}) is empty; the first start makes the schema"))
        }
        (_, Err(StoreError::OlderSchema { found, needed })) => {
            let detail = format!("{shown} has schema {found} of {needed}; run `postern migrate`");
            Finding::new(NAME, Level::Warn, detail)
        }
        (Err(fault), _) | (_, Err(fault)) => {
            Finding::new(NAME, Level::Fail, format!("{shown}: {:#}", anyhow::Error::new(fault)))
        }
    }
}

/// Free, or taken by a postern.
async fn address(listen: SocketAddr) -> Finding {
    const NAME: &str = "address";
    let fault = match TcpListener::bind(listen).await {
        Ok(_) => return Finding::new(NAME, Level::Ok, format!("{listen} is free")),
        Err(fault) => fault,
    };
    let limits = EgressLimits { allow_networks: Vec::new(), timeout: Span(2_000), max_answer_bytes: 65_536 };
    let answer = match Egress::new(&limits) {
        Ok(egress) => egress.send(Policy::Trusted, Request::get(format!("http://{listen}/readyz"))).await.ok(),
        Err(_) => None,
    };
    match answer.map(|answer| answer.json()["ready"].as_bool()) {
        Some(Some(true)) => Finding::new(NAME, Level::Ok, format!("a postern answers on {listen}")),
        Some(Some(false)) => {
            Finding::new(NAME, Level::Warn, format!("a postern answers on {listen}, but is not ready; see its log"))
        }
        Some(None) | None => {
            let detail = format!("cannot listen on {listen}: {fault}; set another server.listen");
            Finding::new(NAME, Level::Fail, detail)
        }
    }
}

/// The work directory, the sandbox, and Claude Code when an agent needs it.
async fn executors(context: &Context, loaded: &Loaded, secrets: &Secrets) -> Vec<Finding> {
    let work_dir = loaded.settings.worker.work_dir.display();
    let egress = Egress::new(&EgressLimits::from(&loaded.settings.egress)).map_err(app::StartError::from);
    let executors = egress.and_then(|egress| app::executors(&loaded.settings, &context.environment, secrets, egress));
    let executors = match executors {
        Ok(executors) => executors,
        Err(fault) => {
            let fault = anyhow::Error::new(fault);
            let detail = format!("{fault:#}; check worker.work_dir, claude.api_key and anthropic.api_key");
            return vec![Finding::new("work", Level::Fail, detail)];
        }
    };
    let mut findings = vec![match tempfile_in(&loaded.settings.worker.work_dir) {
        Ok(()) => Finding::new("work", Level::Ok, format!("agents work in {work_dir}")),
        Err(fault) => {
            Finding::new("work", Level::Fail, format!("{work_dir} cannot be written: {fault}; set worker.work_dir"))
        }
    }];
    let claude = loaded.agents.values().any(|agent| agent.spec.executor == ExecutorKind::Claude);
    for check in executors.check().await {
        let (level, hint) = match (check.ok, check.name) {
            (true, _) => (Level::Ok, ""),
            (false, "claude") if !claude => (Level::Warn, " (no agent uses it)"),
            (false, _) => (Level::Fail, ""),
        };
        findings.push(Finding::new(check.name, level, format!("{}{hint}", check.detail)));
    }
    findings
}

/// Writes and removes a file.
fn tempfile_in(dir: &std::path::Path) -> std::io::Result<()> {
    let path = dir.join(format!(".doctor-{}", std::process::id()));
    std::fs::write(&path, b"")?;
    std::fs::remove_file(path)
}

/// Whether each mailbox opens, and each of its folders. Nothing in it is changed.
async fn mailboxes(settings: &Settings, secrets: &Secrets) -> Vec<Finding> {
    const NAME: &str = "mailbox";
    let mut findings = Vec::new();
    for (name, imap) in settings.sources.iter().filter_map(|(name, source)| Some((name, source.imap.as_ref()?))) {
        findings.push(match look_into(imap, secrets).await {
            Ok(detail) => Finding::new(NAME, Level::Ok, format!("{name}: {detail}")),
            Err(fault) => Finding::new(NAME, Level::Fail, format!("{name}: {fault}; check sources.{name}.imap")),
        });
    }
    findings
}

async fn look_into(imap: &ImapSpec, secrets: &Secrets) -> Result<String, MailboxError> {
    let streams = Streams::new(std::time::Duration::from_secs(10))?;
    let reference = imap.credential().ok_or_else(|| MailboxError::Secret("it has no password".to_owned()))?;
    let secret = secrets.secret(reference).map_err(MailboxError::Secret)?;
    let mut session = mailbox::open(&streams, imap, &secret).await?;
    for folder in &imap.folders {
        session.select(folder, true).await?;
    }
    let news = if session.has("IDLE") { "tells of new mail at once" } else { "is looked at now and then: no IDLE" };
    let shown = format!("{}@{} opens, folders {}; it {news}", imap.username, imap.host, imap.folders.join(", "));
    session.close().await;
    Ok(shown)
}

fn channels(settings: &Settings) -> Vec<Finding> {
    let channels = &settings.channels;
    let there = [("email", channels.email.is_some()), ("sms", channels.sms.is_some())];
    let finding = |(name, configured): (&'static str, bool)| match (channels.capture, configured) {
        (true, _) => Finding::new(name, Level::Warn, "nothing leaves: channels.capture is set"),
        (false, true) => Finding::new(name, Level::Ok, "configured"),
        (false, false) => Finding::new(
            name,
            Level::Warn,
            format!("answers are kept and shown, not sent; set [channels.{name}] to send"),
        ),
    };
    there.into_iter().map(finding).collect()
}
