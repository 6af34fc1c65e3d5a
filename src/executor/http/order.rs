//! What a service is sent.

use std::{fs, path::Path};

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::{
    domain::{
        agent::Skill,
        run::{Failure, FailureCode},
    },
    executor::{
        AttachmentFile, RunSpec, Stopped,
        git::Fetched,
        http::Attempt,
        mounts::{self, Mount},
        skills::Chosen,
        trash::Held,
        workdir,
    },
};

/// The version of the body's form.
const VERSION: u32 = 1;
/// Bytes of attachments that are sent with a run; larger ones are named.
const MAX_ATTACHMENT_BYTES: usize = 8 << 20;
/// Bytes of mounted files that are sent with a run.
const MAX_FILE_BYTES: usize = 16 << 20;
/// Mounted files that are sent with a run.
const MAX_FILES: usize = 5_000;
/// Directories below a mount.
const MAX_DEPTH: usize = 32;

/// The run's skills, and what the agent's file mounts, here on this machine.
pub(in crate::executor) struct Mounted {
    /// Where it lies, and where it belongs.
    pub(in crate::executor) mounts: Vec<Mount>,
    /// Keeps repositories where they are.
    _held: Vec<Held>,
    chosen: Chosen,
}

/// The body of the request.
pub(super) async fn body(attempt: &Attempt<'_>, mounted: Option<Mounted>) -> Result<Vec<u8>, Stopped> {
    let spec = attempt.spec;
    let agent = &spec.agent;
    let mut order = json!({
        "version": VERSION,
        "run": spec.run,
        "attempt": spec.attempt,
        "interrupted": spec.interrupted,
        "session": spec.session,
        "conversation": spec.resume_id,
        "task": attempt.task,
        "agent": {"name": agent.name, "version": agent.version, "instructions": agent.spec.prompt},
        "prompt": {"text": spec.prompt.plain, "blocks": spec.prompt.blocks},
        "event": spec.event_json(),
        "trust": spec.trust,
        "attachments": attachments(&spec.attachments),
        "limits": {
            "wall_clock_ms": millis(attempt.bounds.wall_clock),
            "idle_ms": millis(attempt.bounds.idle),
            "output_bytes": attempt.bounds.output_bytes,
        },
    });
    if let Some(way) = &attempt.way {
        order["callback"] = json!({"url": way.url, "token": way.token.expose_str()});
    }
    if let Some(mounted) = mounted {
        let skill = |(skill, always): (&Skill, bool)| json!({"name": skill.name, "description": skill.description, "always": always, "files": skill.files});
        order["skills"] = mounted.chosen.given().map(skill).collect();
        let files = workdir::blocking(move || files(&mounted)).await?;
        order["files"] = Value::Array(files);
    }
    let written = serde_json::to_vec(&order);
    written.map_err(|error| Failure::new(FailureCode::Executor, format!("the run cannot be written: {error}")).into())
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Those that fit are whole; `content` of the others is null.
fn attachments(files: &[AttachmentFile]) -> Vec<Value> {
    let mut room = MAX_ATTACHMENT_BYTES;
    let mut one = |file: &AttachmentFile| {
        let content = room.checked_sub(file.bytes.len()).map(|left| {
            room = left;
            BASE64.encode(&file.bytes)
        });
        json!({"filename": file.filename, "size": file.bytes.len(), "content": content})
    };
    files.iter().map(&mut one).collect()
}

fn files(mounted: &Mounted) -> Result<Vec<Value>, Failure> {
    let mut found = Found { files: Vec::new(), room: MAX_FILE_BYTES };
    for mount in &mounted.mounts {
        found.add(&mount.host, &mount.container, MAX_DEPTH)?;
    }
    Ok(found.files)
}

struct Found {
    files: Vec<Value>,
    room: usize,
}

impl Found {
    /// Adds a file, or all in a directory; links in it are left out.
    fn add(&mut self, host: &Path, inside: &Path, depth: usize) -> Result<(), Failure> {
        let fault = |why: &str| Failure::new(FailureCode::Setup, format!("mount {}: {why}", inside.display()));
        let cannot = |error: std::io::Error| fault(&error.to_string());
        let kind = fs::metadata(host).map_err(cannot)?;
        if kind.is_dir() {
            let depth = depth.checked_sub(1).ok_or_else(|| fault("directories are too deep"))?;
            let mut entries: Vec<_> = fs::read_dir(host).map_err(cannot)?.flatten().map(|entry| entry.path()).collect();
            entries.sort();
            for path in entries.iter().filter(|path| !path.is_symlink()) {
                let Some(name) = path.file_name() else { continue };
                self.add(path, &inside.join(name), depth)?;
            }
            return Ok(());
        }
        if !kind.is_file() {
            return Ok(());
        }
        let too_much =
            || fault(&format!("more than {MAX_FILES} files or {MAX_FILE_BYTES} bytes are not sent; mount less"));
        let size = usize::try_from(kind.len()).ok().filter(|size| *size <= self.room && self.files.len() < MAX_FILES);
        size.ok_or_else(too_much)?;
        let bytes = fs::read(host).map_err(cannot)?;
        self.room = self.room.checked_sub(bytes.len()).ok_or_else(too_much)?;
        self.files.push(json!({"path": inside, "content": BASE64.encode(&bytes)}));
        Ok(())
    }
}

/// What an agent's file mounts, without its place among a run's files.
pub(in crate::executor) fn mounted(spec: &RunSpec, fetched: Fetched, chosen: Chosen) -> Result<Mounted, Failure> {
    Ok(Mounted { mounts: mounts::parse(&spec.agent.spec.mounts, fetched.mounts)?, _held: fetched.held, chosen })
}
