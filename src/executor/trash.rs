//! What is removed: out of the way at once, and gone by and by, so that no run waits for a tree that an agent made.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use rustix::fs::{CWD, FlockOperation, Mode, flock};

use crate::{
    clock::Clock,
    executor::removal::{open_up, remove_tree},
};

/// What waits to be removed; beyond it, it stays until the next start or [`sweep`].
const MAX_WAITING: usize = 1024;

/// Where things go, and the thread that removes them there.
pub(super) struct Trash {
    root: PathBuf,
    removal: SyncSender<PathBuf>,
}

impl Trash {
    /// Starts the thread. It begins with what earlier processes left.
    pub(super) fn start(root: &Path) -> io::Result<Arc<Self>> {
        let (removal, waiting) = sync_channel::<PathBuf>(MAX_WAITING);
        let earlier = root.to_owned();
        thread::Builder::new().name("postern-remove".to_owned()).spawn(move || {
            empty(&earlier);
            waiting.iter().for_each(|path| remove(&path));
        })?;
        Ok(Arc::new(Self { root: root.to_owned(), removal }))
    }

    /// Takes away what is at `path`, if anything is: links themselves and not what they lead to.
    pub(super) fn take(&self, path: &Path) -> io::Result<()> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(found) if !found.is_dir() => fs::remove_file(path),
            Ok(_) => {
                let aside = aside(&self.root, path)?;
                self.removal.try_send(aside).ok();
                Ok(())
            }
        }
    }
}

/// Removes what no run uses and nobody touched for `older_than`: directories of attempts that a dead
/// gateway left, sessions (with their conversations), repositories, uploads, and all trash. Returns how many directories.
/// Blocks; spares what a living gateway of this machine uses, by its lock (flock(2)).
pub fn sweep(root: &Path, older_than: Duration) -> usize {
    let oldest = Clock::system().now().0.saturating_sub(i64::try_from(older_than.as_millis()).unwrap_or(i64::MAX));
    let mut swept = 0;
    for kind in ["runs", "sessions", "git", "uploads"] {
        for entry in fs::read_dir(root.join(kind)).into_iter().flatten().flatten() {
            let path = entry.path();
            if touched_ms(&path).is_some_and(|at| at <= oldest)
                && let Some(_held) = try_hold(&path)
                && aside(root, &path).is_ok()
            {
                swept += 1;
            }
        }
    }
    empty(root);
    swept
}

/// How long ago the directory or something right in it changed last.
pub(super) fn unused_for(dir: &Path) -> Option<Duration> {
    let ago_ms = Clock::system().now().0.saturating_sub(touched_ms(dir)?);
    Some(Duration::from_millis(ago_ms.max(0).unsigned_abs()))
}

/// When the directory or something right in it changed last, in milliseconds since 1970.
fn touched_ms(dir: &Path) -> Option<i64> {
    let changed = |path: &Path| {
        let at = fs::symlink_metadata(path).and_then(|found| found.modified()).ok()?;
        i64::try_from(at.duration_since(std::time::UNIX_EPOCH).ok()?.as_millis()).ok()
    };
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return None,
        entries => entries.into_iter().flatten().flatten(),
    };
    changed(dir).max(entries.filter_map(|entry| changed(&entry.path())).max())
}

/// A directory that is kept from [`sweep`] and later attempts until this is dropped.
pub(super) struct Held {
    _lock: fs::File,
}

/// Makes the directory when it is not there, and keeps it. With others, when `how` is shared.
pub(super) fn hold(path: &Path, how: FlockOperation) -> io::Result<Held> {
    for _ in 0..200 {
        real_dir(path)?;
        let Ok(lock) = fs::File::open(path) else { continue };
        match flock(&lock, how) {
            // Someone may have moved it away in between.
            Ok(()) if same(&lock, path) => return Ok(Held { _lock: lock }),
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => thread::sleep(Duration::from_millis(10)),
            // A file system without locks.
            Err(_) => return Ok(Held { _lock: lock }),
        }
    }
    Err(io::Error::other("it is in use"))
}

/// Keeps a directory that nobody else keeps.
pub(super) fn try_hold(path: &Path) -> Option<Held> {
    let lock = fs::File::from(open_up(CWD, path).ok()?);
    flock(&lock, FlockOperation::NonBlockingLockExclusive).ok()?;
    same(&lock, path).then_some(Held { _lock: lock })
}

fn same(lock: &fs::File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let (Ok(held), Ok(there)) = (lock.metadata(), fs::symlink_metadata(path)) else { return false };
    (held.dev(), held.ino()) == (there.dev(), there.ino())
}

/// A directory that is not a link, made when it is not there, and opened to us when an agent closed it.
pub(super) fn real_dir(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() && Mode::from_raw_mode(found.mode()).contains(Mode::RWXU) => return Ok(()),
        Ok(found) if found.is_dir() => return Ok(open_up(CWD, path).map(drop)?),
        Ok(_) => fs::remove_file(path)?,
        Err(_) => {}
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A new directory in `dir`, named after `prefix`, in which something is made that [`settle`] puts in its place. What
/// attempts before left under that prefix is taken away. For whoever keeps others from doing the same.
pub(super) fn part_dir(trash: &Trash, dir: &Path, prefix: &str) -> io::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt as _;
    static COUNT: AtomicU64 = AtomicU64::new(0);
    for entry in fs::read_dir(dir)?.flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes()) {
            trash.take(&entry.path())?;
        }
    }
    // Never the name of another attempt, which may still write there by its path.
    let part = dir.join(format!("{prefix}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    fs::DirBuilder::new().mode(0o700).create(&part)?;
    Ok(part)
}

/// Puts what was made in its place once all of it is on the disk: after a power cut it is there whole or not at all.
/// Fine when an attempt before was faster.
pub(super) fn settle(part: &Path, done: &Path) -> io::Result<()> {
    rustix::fs::syncfs(fs::File::open(part)?)?;
    match fs::rename(part, done) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        renamed => renamed,
    }
}

fn trash(root: &Path) -> PathBuf {
    root.join("trash")
}

/// Moves a directory into the trash, under a name that no other process takes.
fn aside(root: &Path, path: &Path) -> io::Result<PathBuf> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let trash = trash(root);
    real_dir(&trash)?;
    let mut outcome = Err(io::Error::other("the trash takes nothing"));
    for _ in 0..16 {
        // A number is not a process for ever, above all in containers: then the next name is tried.
        let name = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let aside = trash.join(name);
        if fs::symlink_metadata(&aside).is_ok() {
            continue;
        }
        outcome = fs::rename(path, &aside).map(|()| aside);
        match &outcome {
            Ok(_) => break,
            // Whoever moves a directory elsewhere writes in it (rename(2)), and an agent may have closed it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => drop(open_up(CWD, path)?),
            Err(_) => {}
        }
    }
    outcome
}

fn empty(root: &Path) {
    for entry in fs::read_dir(trash(root)).into_iter().flatten().flatten() {
        remove(&entry.path());
    }
}

fn remove(path: &Path) {
    if let Err(error) = remove_tree(path) {
        tracing::warn!(path = %path.display(), %error, "what was removed is still on the disk; an hourly sweep tries again");
    }
}
