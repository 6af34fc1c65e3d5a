//! `init`: writes a small project that works.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use serde_json::json;

use crate::{
    cli::{Context, output},
    config::init,
};

/// Where to make a project.
#[derive(Debug, Args)]
pub(super) struct Init {
    /// The new project's directory; default is that of --project.
    dir: Option<PathBuf>,
}

pub(super) fn init(context: &Context, arguments: &Init) -> anyhow::Result<ExitCode> {
    let dir = arguments.dir.as_deref().unwrap_or(&context.project);
    let written = init::init(dir)?;
    if context.json {
        output::json(&json!({"project": dir, "written": written}));
        return Ok(ExitCode::SUCCESS);
    }
    for path in &written {
        output::line(format!("wrote {}", path.display()));
    }
    output::line("\nNext:");
    if dir != Path::new(".") {
        output::line(format!("  cd {}", dir.display()));
    }
    output::line("  cp .env.example .env          # fill in the secrets");
    output::line("  set -a; . ./.env; set +a");
    output::line("  postern validate              # says what is missing");
    output::line("  postern up --dev              # runs it; nothing leaves this machine");
    Ok(ExitCode::SUCCESS)
}
