//! `up`, `serve` and `worker`: the processes that stay.

use std::{net::SocketAddr, process::ExitCode};

use anyhow::Context as _;
use clap::Args;
use futures_util::FutureExt;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    app::{App, Role},
    cli::{Context, output},
    config::{
        bundle,
        load::{Loaded, Project},
        secrets::Secrets,
        settings::{LogFormat, LogSettings, Settings},
        watch::Watch,
    },
    domain::source::SourceSpec,
    ingress::providers,
    telemetry,
};

/// How to run a project.
#[derive(Debug, Args)]
pub(super) struct Up {
    /// For development: nothing leaves, mail and SMS are kept in the database and shown.
    #[arg(long)]
    dev: bool,
}

pub(super) async fn up(context: &Context, up: &Up) -> anyhow::Result<ExitCode> {
    let Some(mut loaded) = load(context) else { return Ok(ExitCode::from(1)) };
    loaded.settings.channels.capture |= up.dev;
    let mut ends = Ends::new()?;
    // Before it starts: what changes meanwhile is applied afterwards.
    let mut watch = Watch::begin(&loaded.dir).context("the project directory cannot be watched")?;
    let mut app = start(context, &loaded, Role::All).await?;
    greet(context, &loaded, &mut app);
    loop {
        tokio::select! {
            () = ends.wait(&app) => break,
            Some(()) = watch.changed() => follow(context, &app).await,
        }
    }
    shut_down(app).await
}

pub(super) async fn serve(context: &Context) -> anyhow::Result<ExitCode> {
    stay(context, Role::Gateway).await
}

pub(super) async fn worker(context: &Context) -> anyhow::Result<ExitCode> {
    stay(context, Role::Worker).await
}

async fn stay(context: &Context, role: Role) -> anyhow::Result<ExitCode> {
    let Some(loaded) = load(context) else { return Ok(ExitCode::from(1)) };
    if loaded.settings.database.url.starts_with("sqlite:") {
        anyhow::bail!(
            "gateway and workers apart need Postgres: set database.url = \"postgres://…\", or run `postern up`"
        );
    }
    let mut ends = Ends::new()?;
    let mut app = start(context, &loaded, role).await?;
    greet(context, &loaded, &mut app);
    ends.wait(&app).await;
    shut_down(app).await
}

/// Reads the project and checks what only a running process needs: providers and secrets.
fn load(context: &Context) -> Option<Loaded> {
    let loaded = output::load(context)?;
    output::problems(&loaded.check_providers(&providers::names()));
    output::problems(&Secrets::new(&loaded.dir, context.environment.clone(), &loaded.settings).check(&loaded));
    Some(loaded)
}

async fn start(context: &Context, loaded: &Loaded, role: Role) -> anyhow::Result<App> {
    start_logs(&loaded.settings.log)?;
    Ok(App::start(loaded, &context.environment, role).await?)
}

fn start_logs(settings: &LogSettings) -> anyhow::Result<()> {
    let format = match settings.format {
        LogFormat::Text => telemetry::Format::Text,
        LogFormat::Json => telemetry::Format::Json,
    };
    telemetry::start(&settings.filter, format).map_err(anyhow::Error::msg)
}

/// Says where it runs and, once, the first key.
fn greet(context: &Context, loaded: &Loaded, app: &mut App) {
    let key = app.first_key.take();
    if context.json {
        output::json(&serde_json::json!({
            "listening": app.address, "api_key": key, "engine": app.store.engine_name(),
            "sources": loaded.settings.sources.keys().collect::<Vec<_>>(),
            "agents": loaded.agents.keys().collect::<Vec<_>>(),
        }));
        return;
    }
    if let Some(address) = app.address {
        output::line(format!("postern listens on http://{address} ({})", app.store.engine_name()));
        for line in places(&loaded.settings, address) {
            output::line(line);
        }
        let agents: Vec<&str> = loaded.agents.keys().map(String::as_str).collect();
        output::line(format!("agents: {}", if agents.is_empty() { "none".to_owned() } else { agents.join(", ") }));
    }
    for (name, fault) in app.broken_sources() {
        output::note(format!("source {name} refuses everything: {fault}"));
    }
    if let Some(key) = key {
        output::line(format!("\nYour API key, shown only now:\n\n  export POSTERN_API_KEY={key}\n"));
    }
    if app.address.is_some() {
        output::line("next: `postern events list` shows what comes in, `postern runs tail ID` follows a run");
    }
}

/// Each source with what its sender is to call.
fn places(settings: &Settings, address: SocketAddr) -> Vec<String> {
    let base = settings.server.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
    let width = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or_default();
    let names = width(&mut settings.sources.keys().map(String::len));
    let providers = width(&mut settings.sources.values().map(|source| source.provider.len()));
    let line = |(name, source): (&String, &SourceSpec)| {
        let place = match (&source.imap, &source.public_url) {
            (Some(imap), _) => format!("{}@{}", imap.username, imap.host),
            (None, Some(url)) => url.clone(),
            (None, None) => format!("{}/in/{name}", base.trim_end_matches('/')),
        };
        format!("  {name:<names$}  {:<providers$}  {place}", source.provider)
    };
    settings.sources.iter().map(line).collect()
}

/// Applies the project after a change. What is broken is reported; the last good version stays.
async fn follow(context: &Context, app: &App) {
    match Project::load(&context.project, &context.environment) {
        Err(problems) => {
            output::problems(&problems);
            output::note("the project was not applied; the last good version stays");
        }
        Ok(loaded) => {
            output::problems(&loaded.problems);
            match app.apply(&bundle::bundle(&loaded)).await {
                Ok(report) => {
                    for change in report.changes.iter().filter(|change| change.action != "unchanged") {
                        let version = change.version.map(|version| format!(" (version {version})")).unwrap_or_default();
                        output::line(format!("{} {} {}{version}", change.kind, change.name, change.action));
                    }
                }
                Err(fault) => output::note(format!("the project could not be applied: {fault}")),
            }
        }
    }
}

async fn shut_down(app: App) -> anyhow::Result<ExitCode> {
    tracing::info!("stopping: no new requests; runs may end");
    let is_superseded = app.superseded().now_or_never().is_some();
    app.stop().await;
    tracing::info!("stopped");
    Ok(if is_superseded { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The signals that end a process: SIGTERM and Ctrl-C. Made before anything listens: until then a
/// signal would end the process at once.
struct Ends {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Ends {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Until a signal, or until a newer version has the database to itself.
    async fn wait(&mut self, app: &App) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            () = app.superseded() => {}
        }
    }
}
