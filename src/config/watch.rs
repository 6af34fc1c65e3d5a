//! Tells when something in a project directory changed.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher, event::ModifyKind};
use tokio::sync::mpsc;

/// Silence after a change before it counts: editors write in several steps.
const QUIET: Duration = Duration::from_millis(200);

/// How long a change waits for quiet at most, when changes do not end.
const LONGEST: Duration = Duration::from_secs(2);

/// Watches a project until dropped.
pub struct Watch {
    root: PathBuf,
    changes: mpsc::Receiver<()>,
    watcher: RecommendedWatcher,
}

impl Watch {
    /// Begins to watch `postern.toml`, `agents/`, `skills/`, `setup/` in `dir`, also such as come later.
    ///
    /// # Errors
    /// When the system cannot watch the directory.
    pub fn begin(dir: &Path) -> notify::Result<Self> {
        // One place: a change that is not yet heard stands for those that come meanwhile.
        let (sender, changes) = mpsc::channel(1);
        let root = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
        let base = root.clone();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let counts = match &event {
                Ok(event) => is_change(event.kind) && event.paths.iter().any(|path| is_ours(&base, path)),
                Err(_) => true,
            };
            if counts {
                // Full means that a change is already waiting; closed, that nobody listens.
                let _ = sender.try_send(());
            }
        })?;
        watcher.watch(&root, RecursiveMode::NonRecursive)?;
        let mut watch = Self { root, changes, watcher };
        watch.watch_folders()?;
        Ok(watch)
    }

    /// Waits for the next change and for 200 ms of quiet after it, 2 s at most. `None` when watching
    /// ended. Changes that come while nobody waits are heard by the next call.
    pub async fn changed(&mut self) -> Option<()> {
        self.changes.recv().await?;
        let quiet = async { while let Ok(Some(())) = tokio::time::timeout(QUIET, self.changes.recv()).await {} };
        // Past the bound the change counts all the same.
        let _ = tokio::time::timeout(LONGEST, quiet).await;
        if let Err(fault) = self.watch_folders() {
            tracing::warn!(%fault, "cannot watch the project's folders");
        }
        Some(())
    }

    /// Folders that came after the start are watched as well; watching one again changes nothing.
    fn watch_folders(&mut self) -> notify::Result<()> {
        for part in ["agents", "skills", "setup"].map(|part| self.root.join(part)).iter().filter(|part| part.is_dir()) {
            self.watcher.watch(part, RecursiveMode::Recursive)?;
        }
        Ok(())
    }
}

fn is_change(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(_)))
}

/// Whether the path is one that a project is read from.
fn is_ours(base: &Path, path: &Path) -> bool {
    let first = path.strip_prefix(base).ok().and_then(|rest| rest.components().next());
    first.is_some_and(|part| matches!(part.as_os_str().to_str(), Some("postern.toml" | "agents" | "skills" | "setup")))
}
