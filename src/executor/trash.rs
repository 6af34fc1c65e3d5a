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

use rustix::fs::{FlockOperation, flock};

use crate::clock::Clock;

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
            waiting.iter().for_each(|path| remove_patiently(&path));
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
    let inside = fs::read_dir(dir).ok()?.flatten().filter_map(|entry| changed(&entry.path())).max();
    changed(dir).max(inside)
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
    let lock = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_dir).and_then(|_| fs::File::open(path).ok())?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).ok()?;
    same(&lock, path).then_some(Held { _lock: lock })
}

fn same(lock: &fs::File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let (Ok(held), Ok(there)) = (lock.metadata(), fs::symlink_metadata(path)) else { return false };
    (held.dev(), held.ino()) == (there.dev(), there.ino())
}

/// A directory that is not a link, made when it is not there.
pub(super) fn real_dir(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => fs::remove_file(path)?,
        Err(_) => {}
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
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
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

fn empty(root: &Path) {
    for entry in fs::read_dir(trash(root)).into_iter().flatten().flatten() {
        remove_patiently(&entry.path());
    }
}

/// The last processes may still be writing there while they are killed.
fn remove_patiently(path: &Path) {
    for _ in 0..20 {
        match fs::remove_dir_all(path) {
            Ok(()) => return,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => return drop(fs::remove_file(path)),
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    }
}
