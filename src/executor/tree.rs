//! What is in a work directory. Its agent may have left anything there: no link is followed, nothing but regular files is
//! opened, and nothing is without end.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read as _},
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, open, openat, readlinkat, statat};
use serde::{Deserialize, Serialize};

use crate::{crypto::Sha256Stream, domain::file::FileKind};

/// Names that are looked at, directories counted.
const MAX_NAMES: usize = 50_000;
/// Bytes of the paths of these, all together.
const MAX_PATHS_BYTES: usize = 8 << 20;
/// Bytes of one path: longer ones are passed over (`PATH_MAX`, limits.h).
const MAX_PATH_BYTES: usize = 4_096;
/// Directories within directories.
const MAX_DEPTH: usize = 32;
/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;
/// What of the work directory is ours: laid out anew for each run.
const OURS: &str = "skills";

/// All files below a directory.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tree {
    /// By their paths below it.
    pub(super) entries: BTreeMap<PathBuf, Entry>,
    /// Nothing was passed over.
    pub(super) complete: bool,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// What it is.
    pub(super) kind: FileKind,
    /// Bytes.
    pub(super) size: u64,
    /// Equal as long as nobody wrote it: size, inode, and times in nanoseconds; of a link, where it leads.
    pub(super) stamp: String,
    /// SHA-256 of its bytes in hex, where it is known.
    pub(super) sha256: Option<String>,
}

impl Tree {
    /// What is below `root` on its own file system.
    ///
    /// # Errors
    /// When `root` cannot be read, or is no directory.
    pub(super) fn read(root: &OwnedFd) -> io::Result<Self> {
        let tree = Self { entries: BTreeMap::new(), complete: true };
        let mut walk = Walk { tree, device: fstat(root)?.st_dev, left: MAX_NAMES, left_bytes: MAX_PATHS_BYTES };
        walk.directory(root, Path::new(""), 0)?;
        Ok(walk.tree)
    }
}

/// Opens a directory that is no link.
pub(super) fn open_root(path: &Path) -> io::Result<OwnedFd> {
    Ok(open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
}

/// The hash of a file's bytes; `None` when it is not the file that was seen, or changes while it is read.
pub(super) fn sha256(root: &OwnedFd, path: &Path, entry: &Entry) -> Option<String> {
    let mut hash = Sha256Stream::default();
    read(root, path, entry, |bytes| hash.update(bytes))?;
    Some(hash.hex())
}

/// Reads a file bit by bit; `None` when it is not the one that was seen, or changes meanwhile.
pub(super) fn read(root: &OwnedFd, path: &Path, entry: &Entry, mut each: impl FnMut(&[u8])) -> Option<()> {
    let mut file = open_beneath(root, path).ok()?;
    let is_same = |file: &File| fstat(file).is_ok_and(|stat| stamp(&stat) == entry.stamp);
    if entry.kind != FileKind::File || !is_same(&file) {
        return None;
    }
    let (mut buffer, mut left) = (vec![0; READ_BYTES], entry.size);
    while left > 0 {
        let count = file.read(&mut buffer).ok().filter(|count| *count > 0)?;
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(count);
        each(buffer.get(..wanted)?);
        left -= wanted as u64;
    }
    is_same(&file).then_some(())
}

/// Opens a file part by part, through no link, and never waits for a pipe's other end.
pub(super) fn open_beneath(root: &OwnedFd, path: &Path) -> io::Result<File> {
    let base = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut parts = path.iter().peekable();
    let mut dir: Option<OwnedFd> = None;
    while let Some(part) = parts.next() {
        let within = dir.as_ref().unwrap_or(root);
        if parts.peek().is_none() {
            let file = File::from(openat(within, part, base, Mode::empty())?);
            let is_file = FileType::from_raw_mode(fstat(&file)?.st_mode) == FileType::RegularFile;
            return if is_file { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) };
        }
        dir = Some(openat(within, part, base | OFlags::DIRECTORY, Mode::empty())?);
    }
    Err(io::ErrorKind::InvalidInput.into())
}

struct Walk {
    tree: Tree,
    device: u64,
    left: usize,
    left_bytes: usize,
}

impl Walk {
    /// Takes in a directory; `depth` bounds the recursion.
    fn directory(&mut self, dir: &OwnedFd, at: &Path, depth: usize) -> io::Result<()> {
        let mut names: Vec<OsString> = Vec::new();
        for found in Dir::read_from(dir)? {
            let Ok(found) = found else {
                self.tree.complete = false;
                break;
            };
            let name = OsStr::from_bytes(found.file_name().to_bytes());
            if name == "." || name == ".." || (depth == 0 && name == OURS) {
                continue;
            }
            let bytes = at.as_os_str().len() + 1 + name.len();
            if bytes > MAX_PATH_BYTES {
                self.tree.complete = false;
                continue;
            }
            let room = self.left.checked_sub(1).zip(self.left_bytes.checked_sub(bytes));
            let Some((left, left_bytes)) = room else {
                self.tree.complete = false;
                break;
            };
            (self.left, self.left_bytes) = (left, left_bytes);
            names.push(name.to_owned());
        }
        for name in names {
            self.name(dir, &name, at.join(&name), depth);
        }
        Ok(())
    }

    fn name(&mut self, dir: &OwnedFd, name: &OsStr, path: PathBuf, depth: usize) {
        // What is gone since was never there.
        let Ok(stat) = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) else { return };
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let (kind, stamp) = match FileType::from_raw_mode(stat.st_mode) {
            // Another file system is a mount, which is not part of the work directory.
            FileType::Directory if stat.st_dev != self.device => return,
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let opened = (depth < MAX_DEPTH).then(|| openat(dir, name, flags, Mode::empty()).ok()).flatten();
                let read = opened.and_then(|inner| self.directory(&inner, &path, depth + 1).ok());
                self.tree.complete &= read.is_some();
                return;
            }
            FileType::RegularFile => (FileKind::File, stamp(&stat)),
            FileType::Symlink => (FileKind::Link, target(dir, name)),
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => (FileKind::Other, stamp(&stat)),
        };
        self.tree.entries.insert(path, Entry { kind, size, stamp, sha256: None });
    }
}

fn stamp(stat: &Stat) -> String {
    let [modified, changed] = [(stat.st_mtime, stat.st_mtime_nsec), (stat.st_ctime, stat.st_ctime_nsec)];
    format!("{}:{}:{}.{:09}:{}.{:09}", stat.st_size, stat.st_ino, modified.0, modified.1, changed.0, changed.1)
}

fn target(dir: &OwnedFd, name: &OsStr) -> String {
    let target = readlinkat(dir, name, Vec::new()).map(|target| target.into_bytes()).unwrap_or_default();
    crate::crypto::sha256_hex(&target)
}

#[cfg(test)]
mod tests;
