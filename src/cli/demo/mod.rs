//! `demo`: the whole way of three events in a few seconds, with senders and receivers of its own.

mod drafts;
mod paint;
mod project;
mod receiver;
mod story;

use std::{path::Path, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Args;
use tokio::time::Instant;

use crate::{
    app::{App, Role},
    cli::{
        Context,
        demo::{paint::Paint, project::DemoProject, receiver::Receiver, story::Story},
        output, send,
    },
    config::environment::Environment,
    telemetry,
};

/// How long all may take; a model's answer has its own time.
const PATIENCE: Duration = Duration::from_secs(50);

/// What to do when it has been shown.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Leave it running, and its directory in place.
    #[arg(long)]
    keep: bool,
}

/// Shows it. Exit code 1 when something that should come does not.
pub(super) async fn demo(context: &Context, demo: &Demo) -> anyhow::Result<ExitCode> {
    telemetry::start("warn", telemetry::Format::Text).map_err(anyhow::Error::msg)?;
    let paint = Paint::new(&context.environment);
    let mut project = DemoProject::create(&context.environment)?;
    let receiver = Receiver::start(project.secret("DEMO_CALLBACK_SECRET")).await?;
    let loaded = project.load(&context.environment, receiver.address)?;
    let environment = project.environment(&context.environment);
    let mut app = App::start(&loaded, &environment, Role::All).await?;
    let told = tokio::select! {
        told = tell(paint, &project, &app, receiver, &context.environment) => told,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    let kept = match &told {
        Ok(_receiver) if demo.keep => keep(paint, &mut project, &mut app).await,
        Ok(_) | Err(_) => Ok(()),
    };
    app.stop().await;
    told?;
    kept?;
    Ok(ExitCode::SUCCESS)
}

/// Three events, and what must not work. Hands the receiver back, so that it goes on for those who keep it.
async fn tell(
    paint: Paint,
    project: &DemoProject,
    app: &App,
    receiver: Receiver,
    environment: &Environment,
) -> anyhow::Result<Receiver> {
    let address = app.address.context("the gateway does not listen")?;
    let began = Instant::now();
    output::line(format!("{}  a gateway, its agents and their senders on this machine alone", paint.strong("Postern")));
    output::line(format!("         http://{address} · {} in {}", app.store.engine_name(), project.dir.display()));
    let mut story = Story {
        paint,
        app,
        project,
        egress: send::to_server()?,
        base: format!("http://{address}"),
        receiver,
        deadline: began + PATIENCE,
    };
    let mail = story.exchange("1", &drafts::mail()).await?;
    story.exchange("2", &drafts::sms()).await?;
    story.exchange("3", &drafts::issue()).await?;
    let took = began.elapsed();
    story.refusals(&mail).await?;
    story.tally(took).await?;
    if can_ask_claude(environment) {
        story.deadline = Instant::now() + Duration::from_secs(300);
        if let Err(fault) = story.exchange("5", &drafts::question()).await {
            paint.failed("claude", &format!("{fault:#}"));
        }
    } else {
        output::line("      Claude answers mail too when `claude` is installed and ANTHROPIC_API_KEY is set");
    }
    Ok(story.receiver)
}

fn can_ask_claude(environment: &Environment) -> bool {
    let set = |name: &str| environment.get(name).is_some_and(|value| !value.is_empty());
    let path = environment.get("PATH").unwrap_or_default();
    let is_there = path.split(':').any(|dir| !dir.is_empty() && Path::new(dir).join("claude").is_file());
    is_there && (set("ANTHROPIC_API_KEY") || set("ANTHROPIC_BASE_URL"))
}

/// Stays until Ctrl-C.
async fn keep(paint: Paint, project: &mut DemoProject, app: &mut App) -> anyhow::Result<()> {
    let (Some(address), Some(key)) = (app.address, app.first_key.take()) else { return Ok(()) };
    project.keep(&format!("http://{address}"), &key)?;
    let dir = project.dir.display();
    output::line(format!("\n{} In another terminal:\n", paint.strong("It goes on.")));
    output::line(format!("  . {dir}/env"));
    output::line(format!(
        "  postern -C {dir} send email --wait --from you@example.com --to inbox@agents.example.com \\"
    ));
    output::line("      --subject Hello --text 'Is anybody there?'");
    output::line(format!("  postern -C {dir} send sms --wait --from +15550007 --to +15550100 --text 'Where are you?'"));
    output::line("  curl -H \"Authorization: Bearer $POSTERN_API_KEY\" $POSTERN_URL/v1/events");
    output::line(format!("\nCtrl-C ends it; then remove {dir}."));
    tokio::signal::ctrl_c().await?;
    Ok(())
}
