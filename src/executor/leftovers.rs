//! Directories of attempts whose worker is gone: the next attempt of the run clears them away, but a run that had
//! just ended has none.

use std::{collections::BTreeSet, fs, path::Path};

use crate::{
    domain::id::RunId,
    executor::trash::{self, Trash},
};

/// At most so many are looked at in one round.
const MAX_LOOK: usize = 10_000;

/// The runs that have a directory in which nobody works. Blocks.
pub(super) fn abandoned(root: &Path) -> Vec<RunId> {
    let found: BTreeSet<RunId> =
        attempts(root).filter(|(_, path)| trash::try_hold(path).is_some()).map(|(run, _)| run).collect();
    found.into_iter().collect()
}

/// Takes the directories of these runs away in which nobody works. Returns how many. Blocks.
pub(super) fn remove(root: &Path, trash: &Trash, runs: &[RunId]) -> usize {
    let mut count = 0;
    for (_, path) in attempts(root).filter(|(run, _)| runs.contains(run)) {
        if let Some(_held) = trash::try_hold(&path)
            && trash.take(&path).is_ok()
        {
            count += 1;
        }
    }
    count
}

fn attempts(root: &Path) -> impl Iterator<Item = (RunId, std::path::PathBuf)> {
    let entries = fs::read_dir(root.join("runs")).into_iter().flatten().flatten().take(MAX_LOOK);
    entries.filter_map(|entry| {
        let name = entry.file_name();
        let (run, _fence) = name.to_str()?.rsplit_once('-')?;
        Some((run.parse().ok()?, entry.path()))
    })
}
