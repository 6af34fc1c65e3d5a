//! `parse`: what Postern reads in a file, without a server.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, BufRead, Read, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::{
    cli::{Context, output},
    ingress::mail::{self, MailLimits},
};

/// Bytes of a line of paths at most.
const LONGEST_PATH: u64 = 64 * 1024;

/// What to read.
#[derive(Debug, Args)]
pub(super) struct Parse {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Read a raw mail (RFC 5322) and print what Postern makes of it, as JSON.
    ///
    /// A mail that breaks a limit prints `{"error": …, "code": …}`; that is no failure of the command.
    Mail {
        /// The mail; standard input when it is left out.
        file: Option<PathBuf>,
        /// Read paths from standard input, one a line, and print one line of JSON each.
        #[arg(long, conflicts_with = "file")]
        batch: bool,
    },
}

pub(super) fn parse(_: &Context, arguments: &Parse) -> anyhow::Result<ExitCode> {
    match &arguments.what {
        What::Mail { batch: true, .. } => batch(&mut io::stdin().lock()).context("standard input cannot be read")?,
        What::Mail { file, batch: false } => {
            let raw = match file {
                Some(path) => read_file(path)?,
                None => bounded(io::stdin().lock()).context("standard input cannot be read")?,
            };
            output::json(&read(&raw));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One line a path, in order, each written out before the next path is read.
fn batch(paths: &mut impl BufRead) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        paths.take(LONGEST_PATH).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        let path = Path::new(OsStr::from_bytes(line.strip_suffix(b"\n").unwrap_or(&line)));
        let found = match read_file(path) {
            Ok(raw) => read(&raw),
            Err(fault) => json!({ "error": format!("{fault:#}"), "code": "unreadable_file" }),
        };
        let mut out = io::stdout().lock();
        if writeln!(out, "{found}").and_then(|()| out.flush()).is_err() {
            // Nobody reads any more.
            return Ok(());
        }
    }
}

fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    let file = File::open(path).and_then(bounded);
    file.with_context(|| format!("{} cannot be read", path.display()))
}

/// One byte more than a mail may have is enough to refuse it.
fn bounded(from: impl Read) -> io::Result<Vec<u8>> {
    let mut raw = Vec::new();
    from.take(MailLimits::default().raw_bytes as u64 + 1).read_to_end(&mut raw)?;
    Ok(raw)
}

fn read(raw: &[u8]) -> Value {
    match mail::read_mime(raw, &MailLimits::default()) {
        Ok(mail) => mail::to_json(&mail),
        Err(fault) => json!({ "error": fault.to_string(), "code": fault.code() }),
    }
}
