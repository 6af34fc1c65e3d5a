//! Tells when something in a project directory changed.

use std::{
    fs::Metadata,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher, event::ModifyKind};
use tokio::sync::mpsc;

/// Silence after a change before it counts: editors write in several steps.
const QUIET: Duration = Duration::from_millis(200);

/// How long a change waits for quiet at most, when changes do not end.
const LONGEST: Duration = Duration::from_secs(2);

/// How often the project directory itself is looked at. It is not watched, since others write there: a log, a database.
const LOOK: Duration = Duration::from_millis(500);

/// What is looked at: the file, and folders that are watched once they are there.
const SETTINGS: &str = "postern.toml";
const FOLDERS: [&str; 3] = ["agents", "skills", "setup"];

/// Watches a project until dropped.
pub struct Watch {
    root: PathBuf,
    changes: mpsc::Receiver<()>,
    watcher: RecommendedWatcher,
    seen: Seen,
}

/// The settings by file, size and time of their last change, and which folders are there.
#[derive(PartialEq, Eq)]
struct Seen {
    settings: Option<(u64, u64, i64, i64)>,
    folders: [Option<u64>; 3],
}

impl Watch {
    /// Begins to watch `postern.toml`, `agents/`, `skills/`, `setup/` in `dir`, also such as come later.
    ///
    /// # Errors
    /// When the system cannot watch the directory.
    pub fn begin(dir: &Path) -> notify::Result<Self> {
        // One place: a change that is not yet heard stands for those that come meanwhile.
        let (sender, changes) = mpsc::channel(1);
        let root = dir.canonicalize()?;
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.as_ref().map_or(true, |event| is_change(event.kind)) {
                // Full means that a change is already waiting; closed, that nobody listens.
                let _ = sender.try_send(());
            }
        })?;
        let mut watch = Self { seen: Seen::now(&root), root, changes, watcher };
        watch.watch_folders()?;
        Ok(watch)
    }

    /// Waits for the next change and for 200 ms of quiet after it, 2 s at most. `None` when watching
    /// ended. Changes that come while nobody waits are heard by the next call.
    pub async fn changed(&mut self) -> Option<()> {
        while !self.changes_within(LOOK).await? {}
        let quiet = async { while self.changes_within(QUIET).await == Some(true) {} };
        // Past the bound the change counts all the same.
        let _ = tokio::time::timeout(LONGEST, quiet).await;
        if let Err(fault) = self.watch_folders() {
            tracing::warn!(%fault, "cannot watch the project's folders");
        }
        Some(())
    }

    /// Whether something changed in that time or before; at once when it did.
    async fn changes_within(&mut self, time: Duration) -> Option<bool> {
        match tokio::time::timeout(time, self.changes.recv()).await {
            Ok(heard) => heard.map(|()| true),
            Err(_) => {
                let before = std::mem::replace(&mut self.seen, Seen::now(&self.root));
                Some(before != self.seen)
            }
        }
    }

    /// Folders that came after the start are watched as well; watching one again changes nothing.
    fn watch_folders(&mut self) -> notify::Result<()> {
        for part in FOLDERS.map(|part| self.root.join(part)).iter().filter(|part| part.is_dir()) {
            self.watcher.watch(part, RecursiveMode::Recursive)?;
        }
        Ok(())
    }
}

impl Seen {
    fn now(root: &Path) -> Self {
        let of = |name: &str| std::fs::metadata(root.join(name)).ok();
        let file = |file: Metadata| (file.ino(), file.size(), file.mtime(), file.mtime_nsec());
        Self { settings: of(SETTINGS).map(file), folders: FOLDERS.map(|name| of(name).map(|folder| folder.ino())) }
    }
}

fn is_change(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(_)))
}
