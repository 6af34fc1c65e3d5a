//! Which files a run changed: its work directory before its first attempt, compared with what is there at the end.
//!
//! What was there before is kept beside the work directory, so that an attempt which takes up a run's directory compares
//! with the run's beginning. The hashes of a session's files are kept there, too: what an earlier run of the session left
//! is not read again.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs, io,
    io::Read as _,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
};

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use crate::{
    domain::file::{Change, ChangedFile, FileKind},
    executor::{
        tree::{self, Entry, Tree},
        workdir::write_new,
    },
};

/// Bytes of files that are read before an agent starts, at most.
const MAX_HASHED_BEFORE: u64 = 8 << 20;
/// Bytes of files that are read after it ended, at most.
const MAX_HASHED: u64 = 256 << 20;
/// Bytes of what is kept of a tree.
const MAX_KEPT_BYTES: u64 = 64 << 20;
/// Bytes of a path that is shown.
const MAX_PATH_BYTES: usize = 1_024;
/// What was there before a run.
const BEFORE: &str = "before.json";
/// What was there after the session's last run.
const AFTER: &str = "after.json";

/// Where a run works, and what is kept beside it.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    /// Its work directory.
    pub(super) work: PathBuf,
    /// The directory of the session or run, in which only we write.
    pub(super) base: PathBuf,
    /// The run.
    pub(super) run: String,
    /// Further runs go on in the same directory.
    pub(super) goes_on: bool,
}

/// What a run changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// By their paths as they are.
    pub(super) files: BTreeMap<PathBuf, Changed>,
    /// There may be more.
    pub(super) truncated: bool,
}

/// What became of one file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Changed {
    /// In a word.
    pub(super) change: Change,
    /// What it was; `None` for a new one.
    before: Option<Entry>,
    /// What it is now; `None` for one that is gone.
    pub(super) after: Option<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    run: String,
    complete: bool,
    /// Paths in base64: they may be anything.
    entries: Vec<(String, Entry)>,
}

impl Watched {
    /// Notes what is there before the run; done by its first attempt alone.
    pub(super) fn begin(&self) -> io::Result<()> {
        if self.read(BEFORE).is_some_and(|kept| kept.run == self.run) {
            return Ok(());
        }
        let root = tree::open_root(&self.work)?;
        let mut before = Tree::read(&root)?;
        let known = self.read(AFTER).map(Kept::tree).unwrap_or_default();
        let mut left = MAX_HASHED_BEFORE;
        for (path, entry) in &mut before.entries {
            entry.sha256 = match known.entries.get(path).filter(|known| known.stamp == entry.stamp) {
                Some(known) => known.sha256.clone(),
                None => hash_within(&mut left, &root, path, entry),
            };
        }
        self.write(BEFORE, before)
    }

    /// What the run changed; and notes what is there now.
    pub(super) fn end(&self) -> io::Result<Changes> {
        let before = self.read(BEFORE).filter(|kept| kept.run == self.run).map(Kept::tree).unwrap_or_default();
        let root = tree::open_root(&self.work)?;
        let mut after = Tree::read(&root)?;
        let changes = compare(&before, &mut after, |path, entry, left| hash_within(left, &root, path, entry));
        if self.goes_on {
            self.write(AFTER, after)?;
        }
        Ok(changes)
    }

    fn read(&self, name: &str) -> Option<Kept> {
        let root = tree::open_root(&self.base).ok()?;
        let file = tree::open_beneath(&root, Path::new(name)).ok()?;
        let mut bytes = Vec::new();
        file.take(MAX_KEPT_BYTES).read_to_end(&mut bytes).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Through no link that an agent without walls may have put there.
    fn write(&self, name: &str, tree: Tree) -> io::Result<()> {
        let entries = tree.entries.into_iter().map(|(path, entry)| (BASE64.encode(path.as_os_str().as_bytes()), entry));
        let kept = Kept { run: self.run.clone(), complete: tree.complete, entries: entries.collect() };
        let path = self.base.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        write_new(&path, &serde_json::to_vec(&kept)?, 0o600)
    }
}

impl Kept {
    fn tree(self) -> Tree {
        let path =
            |text: String| Some(PathBuf::from(std::ffi::OsString::from_vec(BASE64.decode(text.as_bytes()).ok()?)));
        let entries = self.entries.into_iter().filter_map(|(text, entry)| Some((path(text)?, entry)));
        Tree { entries: entries.collect(), complete: self.complete }
    }
}

fn hash_within(left: &mut u64, root: &std::os::fd::OwnedFd, path: &Path, entry: &Entry) -> Option<String> {
    if entry.kind != FileKind::File {
        return None;
    }
    *left = left.checked_sub(entry.size)?;
    tree::sha256(root, path, entry)
}

/// Compares, and completes the hashes of `after`. `hash` reads a file as long as it has bytes left.
fn compare(before: &Tree, after: &mut Tree, hash: impl Fn(&Path, &Entry, &mut u64) -> Option<String>) -> Changes {
    let mut changes = Changes { truncated: !before.complete || !after.complete, ..Changes::default() };
    let mut left = MAX_HASHED;
    for (path, entry) in &mut after.entries {
        let old = before.entries.get(path);
        if let Some(old) = old.filter(|old| old.stamp == entry.stamp && old.kind == entry.kind) {
            entry.sha256.clone_from(&old.sha256);
            continue;
        }
        entry.sha256 = hash(path, entry, &mut left);
        let change = match old {
            // The same bytes, written anew.
            Some(old) if old.kind == entry.kind && old.sha256.is_some() && old.sha256 == entry.sha256 => continue,
            Some(_) => Change::Modified,
            // What was passed over before may have been there.
            None if !before.complete => continue,
            None => Change::Created,
        };
        let changed = Changed { change, before: old.cloned(), after: Some(entry.clone()) };
        changes.files.insert(path.clone(), changed);
    }
    let gone = before.entries.iter().filter(|(path, _)| after.complete && !after.entries.contains_key(*path));
    let deleted = |old: &Entry| Changed { change: Change::Deleted, before: Some(old.clone()), after: None };
    changes.files.extend(gone.map(|(path, old)| (path.clone(), deleted(old))));
    changes
}

impl Changed {
    /// How it is told.
    pub(super) fn told(&self, path: &Path) -> ChangedFile {
        let (old, new) = (self.before.as_ref(), self.after.as_ref());
        let size = |entry: Option<&Entry>| entry.map(|entry| i64::try_from(entry.size).unwrap_or(i64::MAX));
        let sha256 = |entry: Option<&Entry>| entry.and_then(|entry| entry.sha256.clone());
        ChangedFile {
            path: shown(path.as_os_str()),
            kind: new.or(old).map_or(FileKind::Other, |entry| entry.kind),
            change: self.change,
            size: size(new),
            size_before: size(old),
            sha256: sha256(new),
            sha256_before: sha256(old),
        }
    }
}

/// A path as text: bytes that are no UTF-8 and control characters escaped, cut off where it grows too long.
pub(super) fn shown(path: &OsStr) -> String {
    // An escape makes it longer, never shorter: what lies beyond is cut off however it is written. Four bytes more are
    // the longest character that is cut in two here.
    let bytes = path.as_bytes();
    let bytes = bytes.get(..MAX_PATH_BYTES + 4).unwrap_or(bytes);
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() { text.extend(c.escape_default()) } else { text.push(c) }
        }
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    let start = crate::domain::template::clip(&text, MAX_PATH_BYTES).len();
    if start < text.len() {
        text.truncate(start);
        text.push('…');
    }
    text.shrink_to_fit();
    text
}

#[cfg(test)]
mod tests;
