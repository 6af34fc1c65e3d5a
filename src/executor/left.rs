//! What a run left in its work directory, handed over when its agent has ended: the files that it changed, and of these
//! those that are for people.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::{
    domain::{
        file::{
            ARTIFACTS_FOLDER, Artifact, Change, ChangedFile, FileCounts, FileKind, MAX_ARTIFACT_BYTES, MAX_ARTIFACTS,
            MAX_ARTIFACTS_BYTES, MAX_LISTED, content_type,
        },
        glob,
        run::{Failure, FailureCode, MessageKind},
    },
    executor::{
        LeaseLost, RunSink, RunSpec, Stopped,
        changes::{Changes, Watched, shown},
        mask::Mask,
        tree::{self, Entry},
        workdir,
    },
};

/// Artifacts that are named with the reason why they are not kept; of more only the number is.
const MAX_LEFT_OUT: usize = 100;

/// The files that a run changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftFiles {
    /// By path; the first thousand.
    pub files: Vec<ChangedFile>,
    /// Of all of them.
    pub counts: FileCounts,
}

/// An artifact on its way into the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewArtifact {
    /// What is told of it.
    pub artifact: Artifact,
    /// Its bytes; empty for one that is left out.
    pub bytes: Vec<u8>,
}

/// A changed file that is for people.
struct Candidate {
    path: PathBuf,
    name: String,
    entry: Entry,
}

/// What was kept so far.
#[derive(Default)]
struct Kept {
    count: usize,
    bytes: u64,
    left_out: usize,
}

/// The end of an attempt, with what it left told before. Every executor that has a work directory ends by it, when the
/// agent's processes are gone.
pub(super) async fn after<T>(
    outcome: Result<T, Stopped>,
    watched: &Watched,
    spec: &RunSpec,
    mask: &Mask,
    sink: &mut dyn RunSink,
) -> Result<T, Stopped> {
    if !matches!(outcome, Err(Stopped::LeaseLost)) {
        gather(watched, spec, mask, sink).await?;
    }
    outcome
}

/// Tells the sink what the run left. Not done for a run that another worker goes on with.
async fn gather(watched: &Watched, spec: &RunSpec, mask: &Mask, sink: &mut dyn RunSink) -> Result<(), LeaseLost> {
    if spec.cancel.is_cancelled() && !spec.over.is_cancelled() {
        return Ok(());
    }
    let (compared, agent, its_mask) = (watched.clone(), spec.agent.clone(), mask.clone());
    let compared = workdir::blocking(move || {
        let fail = |error| Failure::new(FailureCode::FileAccess, format!("{}: {error}", compared.work.display()));
        let changes = compared.end().map_err(fail)?;
        let candidates = candidates(&changes, &agent.spec.artifacts, &its_mask);
        Ok((listed(&changes, &its_mask), candidates))
    });
    let (files, candidates) = match compared.await {
        Ok(found) => found,
        Err(failure) => {
            let text = format!("what it changed in its work directory is not known: {}", failure.message);
            return sink.message(MessageKind::Status, json!({ "text": text })).await;
        }
    };
    sink.files(files);
    let mut kept = Kept::default();
    for candidate in candidates {
        let left = keep(watched, candidate, &kept, mask).await;
        match left.artifact.left_out {
            None => {
                kept.count += 1;
                kept.bytes += left.bytes.len() as u64;
            }
            Some(_) => kept.left_out += 1,
        }
        if left.artifact.left_out.is_none() || kept.left_out <= MAX_LEFT_OUT {
            sink.artifact(left).await?;
        }
    }
    Ok(())
}

fn listed(changes: &Changes, mask: &Mask) -> LeftFiles {
    let mut left = LeftFiles::default();
    left.counts.truncated = changes.truncated || changes.files.len() > MAX_LISTED;
    for (path, changed) in &changes.files {
        match changed.change {
            Change::Created => left.counts.created += 1,
            Change::Modified => left.counts.modified += 1,
            Change::Deleted => left.counts.deleted += 1,
        }
        if left.files.len() < MAX_LISTED {
            let file = changed.told(path);
            left.files.push(ChangedFile { path: mask.text(&file.path), ..file });
        }
    }
    left
}

/// The changed files in the folder for artifacts, and those that the agent's file names; each under a name of its own.
fn candidates(changes: &Changes, patterns: &[String], mask: &Mask) -> Vec<Candidate> {
    let mut names = BTreeSet::new();
    let mut found = Vec::new();
    for (path, changed) in &changes.files {
        let Some(entry) = &changed.after else { continue };
        let inner = path.strip_prefix(ARTIFACTS_FOLDER).ok().map(|inner| shown(inner.as_os_str()));
        if inner.is_none() && patterns.is_empty() {
            continue;
        }
        let text = shown(path.as_os_str());
        if inner.is_none() && !patterns.iter().any(|pattern| glob::fits(pattern, &text)) {
            continue;
        }
        let mut name = mask.text(inner.as_deref().unwrap_or(&text));
        if !names.insert(name.clone()) {
            name = format!("{} ({})", mask.text(&text), names.len());
            names.insert(name.clone());
        }
        found.push(Candidate { path: path.clone(), name, entry: entry.clone() });
    }
    found
}

async fn keep(watched: &Watched, candidate: Candidate, kept: &Kept, mask: &Mask) -> NewArtifact {
    let Candidate { path, name, entry } = candidate;
    let mut artifact = Artifact {
        content_type: content_type(&name).to_owned(),
        name,
        size: i64::try_from(entry.size).unwrap_or(i64::MAX),
        sha256: None,
        left_out: refusal(&entry, kept),
    };
    if artifact.left_out.is_some() {
        return NewArtifact { artifact, bytes: Vec::new() };
    }
    let (work, secrets) = (watched.work.clone(), mask.finder());
    let read = workdir::blocking(move || {
        let Some(bytes) = read(&work, &path, &entry) else { return Ok(Err("it changed while it was read")) };
        if secrets.is_some_and(|secrets| secrets.is_match(&bytes)) {
            return Ok(Err("the value of a secret is in it"));
        }
        let hash = crate::crypto::sha256_hex(&bytes);
        Ok(Ok((bytes, hash)))
    });
    match read.await {
        Ok(Ok((bytes, hash))) => {
            artifact.sha256 = Some(hash);
            NewArtifact { artifact, bytes }
        }
        Ok(Err(why)) => {
            artifact.left_out = Some(why.to_owned());
            NewArtifact { artifact, bytes: Vec::new() }
        }
        Err(failure) => {
            artifact.left_out = Some(failure.message);
            NewArtifact { artifact, bytes: Vec::new() }
        }
    }
}

/// Why a file is not kept, as far as that is known without reading it.
fn refusal(entry: &Entry, kept: &Kept) -> Option<String> {
    match entry.kind {
        FileKind::Link => return Some("it is a link".to_owned()),
        FileKind::Other => return Some("it is no file".to_owned()),
        FileKind::File => {}
    }
    if entry.size > MAX_ARTIFACT_BYTES {
        return Some(format!("it is larger than {} MiB", MAX_ARTIFACT_BYTES >> 20));
    }
    if kept.count >= MAX_ARTIFACTS {
        return Some(format!("the run has {MAX_ARTIFACTS} artifacts before it"));
    }
    let most = MAX_ARTIFACTS_BYTES >> 20;
    (kept.bytes + entry.size > MAX_ARTIFACTS_BYTES).then(|| format!("with those before it, it is more than {most} MiB"))
}

fn read(work: &Path, path: &Path, entry: &Entry) -> Option<Vec<u8>> {
    let root = tree::open_root(work).ok()?;
    let mut bytes = Vec::with_capacity(usize::try_from(entry.size).ok()?);
    tree::read(&root, path, entry, |part| bytes.extend_from_slice(part))?;
    Some(bytes)
}
