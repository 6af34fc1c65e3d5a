//! Layers that nobody needs any more.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{digest, state::Ready};
use crate::{
    domain::{agent::AgentVersion, id::AgentId},
    executor::{Executors, keeping, trash, trash::Trash, workdir},
};

/// Directories that are looked at in one round.
const MOST: usize = 10_000;
/// Not removed so soon after its last use: a run of an older version may still come.
const FRESH: Duration = Duration::from_secs(60);

/// One layer on the disk.
struct Found {
    agent: AgentId,
    digest: String,
    path: PathBuf,
    unused: Duration,
}

impl Executors {
    /// The agents that have layers here.
    pub async fn layered_agents(&self) -> Vec<AgentId> {
        let root = self.ground.root.clone();
        let found = workdir::blocking(move || Ok(layers(&root))).await.unwrap_or_default();
        let mut agents: Vec<AgentId> = found.into_iter().map(|found| found.agent).collect();
        agents.dedup();
        agents
    }

    /// Removes layers of agents that are not among `live`, and of those that are all but that of the current version
    /// and the last used up to `keep`; then those that were not used for the longest time while all take more than
    /// `most` bytes. What a run uses stays. Returns how many went, and what is left as (agent, digest).
    pub async fn sweep_layers(
        &self,
        live: Vec<AgentVersion>,
        keep: usize,
        most: u64,
    ) -> (usize, Vec<(AgentId, String)>) {
        let (root, trash) = (self.ground.root.clone(), self.ground.trash.clone());
        let sweep = move || Ok(sweep(&root, &trash, &live, keep, most));
        workdir::blocking(sweep).await.unwrap_or_default()
    }
}

fn layers(root: &Path) -> Vec<Found> {
    let mut found = Vec::new();
    for agent in fs::read_dir(root.join("layers")).into_iter().flatten().flatten() {
        let Some(id) = agent.file_name().to_str().and_then(|name| name.parse::<AgentId>().ok()) else { continue };
        for layer in fs::read_dir(agent.path()).into_iter().flatten().flatten().take(MOST) {
            let Ok(digest) = layer.file_name().into_string() else { continue };
            let Some(unused) = trash::unused_for(&layer.path()) else { continue };
            found.push(Found { agent: id.clone(), digest, path: layer.path(), unused });
        }
    }
    found.sort_by(|one, other| (&one.agent, one.unused).cmp(&(&other.agent, other.unused)));
    found
}

fn sweep(root: &Path, trash: &Trash, live: &[AgentVersion], keep: usize, most: u64) -> (usize, Vec<(AgentId, String)>) {
    let (mut removed, mut kept) = (0, Vec::new());
    let mut places: BTreeMap<AgentId, usize> = BTreeMap::new();
    for layer in layers(root) {
        let version = live.iter().find(|version| version.agent == layer.agent);
        let is_current = version.is_some_and(|version| {
            let setup = version.spec.setup.as_ref();
            setup
                .is_some_and(|setup| [true, false].iter().any(|walled| digest(version, setup, *walled) == layer.digest))
        });
        // The last used come first; the current one has its place whenever it was used.
        let places = places.entry(layer.agent.clone()).or_insert(keep.saturating_sub(1));
        let stays = is_current || (version.is_some() && *places > 0) || layer.unused < FRESH;
        if version.is_some() && !is_current {
            *places = places.saturating_sub(1);
        }
        if !stays && remove(&layer.path, trash) {
            removed += 1;
        } else {
            kept.push(layer);
        }
    }
    removed += make_room(&mut kept, trash, most);
    (removed, kept.into_iter().map(|layer| (layer.agent, layer.digest)).collect())
}

fn make_room(kept: &mut Vec<Found>, trash: &Trash, most: u64) -> usize {
    let bytes = |layer: &Found| match Ready::peek(&layer.path) {
        Some(ready) => ready.bytes,
        None => keeping::size(&layer.path).unwrap_or(most),
    };
    let mut all = kept.iter().fold(0_u64, |all, layer| all.saturating_add(bytes(layer)));
    kept.sort_by_key(|layer| layer.unused);
    let mut removed = 0;
    let mut index = kept.len();
    while all > most && index > 0 {
        index -= 1;
        let Some(layer) = kept.get(index).filter(|layer| layer.unused >= FRESH) else { continue };
        let size = bytes(layer);
        if remove(&layer.path, trash) {
            all = all.saturating_sub(size);
            kept.remove(index);
            removed += 1;
        }
    }
    removed
}

fn remove(path: &Path, trash: &Trash) -> bool {
    let Some(_held) = trash::try_hold(path) else { return false };
    trash.take(path).is_ok()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, path::Path, time::UNIX_EPOCH};

    use serde_json::json;

    use super::{super::digest, sweep};
    use crate::{
        clock::Clock,
        domain::{agent::AgentVersion, id::AgentId, time::Timestamp},
        executor::trash::{self, Trash},
    };

    fn agent(number: i64) -> AgentVersion {
        let spec = json!({"executor": "command", "command": ["true"], "setup": {"run": "true"}});
        AgentVersion {
            agent: AgentId::new(Timestamp(number)),
            name: "a".to_owned(),
            version: 1,
            spec: serde_json::from_value(spec).unwrap(),
            skills: Vec::new(),
            files: BTreeMap::new(),
        }
    }

    /// A layer of one MB, last used so many seconds ago.
    fn keep(root: &Path, agent: &AgentVersion, digest: &str, ago_s: u64) {
        let dir = root.join("layers").join(agent.agent.as_str()).join(digest);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("ready"), json!({"at_ms": 1, "took_ms": 1, "bytes": 1_000_000}).to_string()).unwrap();
        let now = std::time::Duration::from_millis(Clock::system().now().0.unsigned_abs());
        let at = UNIX_EPOCH + now - std::time::Duration::from_secs(ago_s);
        for path in [dir.join("ready"), dir] {
            fs::File::open(path).unwrap().set_modified(at).unwrap();
        }
    }

    #[test]
    fn the_current_layer_and_the_last_used_stay_and_all_of_removed_agents_go() {
        let root = tempfile::tempdir().unwrap();
        let trash = Trash::start(root.path()).unwrap();
        let (live, gone) = (agent(1), agent(2));
        let current = digest(&live, live.spec.setup.as_ref().unwrap(), true);
        for (digest, ago_s) in [(current.as_str(), 9_000), ("old", 100), ("older", 200), ("oldest", 300)] {
            keep(root.path(), &live, digest, ago_s);
        }
        keep(root.path(), &gone, "x", 100);
        keep(root.path(), &gone, "fresh", 1);
        let held = root.path().join("layers").join(live.agent.as_str()).join("oldest");
        let _held = trash::try_hold(&held).unwrap();
        let (removed, left) = sweep(root.path(), &trash, std::slice::from_ref(&live), 2, 1 << 40);
        let mut left: Vec<String> = left.into_iter().map(|(_, digest)| digest).collect();
        left.sort();
        let mut expected = vec![current.clone(), "old".to_owned(), "oldest".to_owned(), "fresh".to_owned()];
        expected.sort();
        assert_eq!((removed, left), (2, expected));
        let (removed, _) = sweep(root.path(), &trash, std::slice::from_ref(&live), 2, 3_000_000);
        assert_eq!(removed, 1, "the longest unused goes for room");
        assert!(!root.path().join("layers").join(live.agent.as_str()).join(current).exists());
    }
}
