//! What this worker keeps of sessions between their runs.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    crypto,
    domain::id::SessionId,
    executor::{
        Executors,
        trash::{self, Trash},
        workdir,
    },
};

/// Files of one session that are counted.
const MOST_COUNTED: usize = 1_000_000;
/// Bytes of the paths of directories that wait to be counted.
const MOST_PATHS: usize = 32 << 20;
/// Not removed for room so soon after its last use.
const FRESH: Duration = Duration::from_secs(60);

impl Executors {
    /// What this worker's disk is called: its machine's name, and letters that its work directory keeps.
    pub fn place(&self) -> &str {
        &self.ground.place_name
    }

    /// The sessions whose files are here.
    pub async fn kept_sessions(&self) -> Vec<SessionId> {
        let root = self.ground.root.clone();
        let found = workdir::blocking(move || Ok(sessions(&root).map(|(id, _)| id).collect())).await;
        found.unwrap_or_default()
    }

    /// Removes the files of sessions that have ended. Those that a run still uses stay. Returns how many.
    pub async fn forget_sessions(&self, ended: Vec<SessionId>) -> usize {
        let (root, trash) = (self.ground.root.clone(), self.ground.trash.clone());
        let forget = move || {
            let paths = ended.iter().map(|id| root.join("sessions").join(id.as_str()));
            Ok(paths.filter(|path| remove(path, &trash)).count())
        };
        workdir::blocking(forget).await.unwrap_or(0)
    }

    /// Removes the files of the sessions that were not used for the longest time while all take more than `most`
    /// bytes, and before these of those that cannot be counted. Returns how many.
    pub async fn make_room(&self, most: u64) -> usize {
        let (root, trash) = (self.ground.root.clone(), self.ground.trash.clone());
        workdir::blocking(move || Ok(bound(&root, &trash, most))).await.unwrap_or(0)
    }
}

/// The name of the disk under `root`; made with the first start.
pub(super) fn place_name(root: &Path) -> io::Result<String> {
    let file = root.join("place");
    let kept = fs::read_to_string(&file).ok();
    let known = kept
        .as_deref()
        .map(str::trim)
        .filter(|text| !text.is_empty() && text.len() <= 32 && text.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let letters = match known {
        Some(letters) => letters.to_owned(),
        None => {
            let random = crypto::random::<5>().map_err(|fault| io::Error::other(fault.to_string()))?;
            let letters = data_encoding::BASE32_DNSSEC.encode(&random);
            fs::write(&file, &letters)?;
            letters
        }
    };
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String =
        host.trim().chars().filter(|c| c.is_ascii_alphanumeric() || "-._".contains(*c)).take(64).collect();
    Ok(format!("{host}:{letters}"))
}

fn sessions(root: &Path) -> impl Iterator<Item = (SessionId, PathBuf)> + use<> {
    let entries = fs::read_dir(root.join("sessions")).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
}

fn remove(path: &Path, trash: &Trash) -> bool {
    let Some(_held) = trash::try_hold(path) else { return false };
    trash.take(path).is_ok()
}

fn bound(root: &Path, trash: &Trash, most: u64) -> usize {
    let (mut kept, mut uncounted) = (Vec::new(), Vec::new());
    for (_, path) in sessions(root) {
        let Some(unused) = trash::unused_for(&path) else { continue };
        match size(&path) {
            Some(bytes) => kept.push((unused, bytes, path)),
            None => uncounted.push((unused, path)),
        }
    }
    // What cannot be counted goes itself: other sessions, of other tenants perhaps, make no room for it.
    let idle = uncounted.iter().filter(|(unused, _)| *unused >= FRESH);
    let mut removed = idle.filter(|(_, path)| remove(path, trash)).count();
    let mut all = kept.iter().fold(0_u64, |all, (_, bytes, _)| all.saturating_add(*bytes));
    kept.sort_by_key(|(unused, ..)| std::cmp::Reverse(*unused));
    for (unused, bytes, path) in kept {
        if all <= most || unused < FRESH {
            break;
        }
        if remove(&path, trash) {
            all = all.saturating_sub(bytes);
            removed += 1;
        }
    }
    removed
}

/// What a tree takes on the disk; `None` when it has too many files to count, or directories that lie too deep or are
/// closed to us.
pub(super) fn size(tree: &Path) -> Option<u64> {
    let mut open = vec![tree.to_owned()];
    let (mut bytes, mut count, mut waiting) = (0_u64, 0, 0_usize);
    while let Some(directory) = open.pop() {
        waiting = waiting.saturating_sub(directory.as_os_str().len());
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            // It is gone since.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => continue,
            Err(_) => return None,
        };
        for entry in entries.flatten() {
            count += 1;
            if count > MOST_COUNTED || waiting > MOST_PATHS {
                return None;
            }
            let Ok(found) = entry.metadata() else { continue };
            bytes = bytes.saturating_add(found.blocks().saturating_mul(512));
            if found.is_dir() {
                let path = entry.path();
                waiting = waiting.saturating_add(path.as_os_str().len());
                open.push(path);
            }
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::Path,
        time::{Duration, UNIX_EPOCH},
    };

    use super::{bound, place_name, sessions, size};
    use crate::{
        clock::Clock,
        domain::{id::SessionId, time::Timestamp},
        executor::trash::{self, Trash},
    };

    /// A session's files, last used so many seconds ago.
    fn keep(root: &Path, number: i64, ago_s: u64) -> SessionId {
        let id = SessionId::new(Timestamp(number));
        let dir = root.join("sessions").join(id.as_str());
        fs::create_dir_all(dir.join("work")).unwrap();
        fs::write(dir.join("work/file"), vec![1; 1 << 20]).unwrap();
        for path in [dir.join("work"), dir] {
            let now = Duration::from_millis(Clock::system().now().0.unsigned_abs());
            let at = UNIX_EPOCH + now - Duration::from_secs(ago_s);
            fs::File::open(path).unwrap().set_modified(at).unwrap();
        }
        id
    }

    #[test]
    fn room_is_made_by_what_was_not_used_for_the_longest_time() {
        let root = tempfile::tempdir().unwrap();
        let trash = Trash::start(root.path()).unwrap();
        let [fresh, old, oldest, held] =
            [(1, 0), (2, 1_000), (3, 3_000), (4, 9_000)].map(|(number, ago_s)| keep(root.path(), number, ago_s));
        let one = size(&root.path().join("sessions").join(old.as_str())).unwrap();
        assert!(one >= 1 << 20, "{one}");
        let _held = trash::try_hold(&root.path().join("sessions").join(held.as_str())).unwrap();
        assert_eq!(bound(root.path(), &trash, 4 * one + 4 * 65_536), 0, "there is room");
        assert_eq!(bound(root.path(), &trash, 3 * one + 3 * 4_096), 1);
        let left = || -> Vec<SessionId> { sessions(root.path()).map(|(id, _)| id).collect() };
        assert!(!left().contains(&oldest) && left().len() == 3, "{:?}", left());
        assert_eq!(bound(root.path(), &trash, 0), 1, "what a run uses, and what was used just now, stays");
        assert!(left().contains(&fresh) && left().contains(&held) && left().len() == 2, "{:?}", left());
    }

    #[test]
    fn what_cannot_be_counted_goes_and_takes_no_other_with_it() {
        use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
        let root = tempfile::tempdir().unwrap();
        let trash = Trash::start(root.path()).unwrap();
        let [oldest, endless] = [(1, 9_000), (2, 1_000)].map(|(number, ago_s)| keep(root.path(), number, ago_s));
        let dir = root.path().join("sessions").join(endless.as_str());
        let before = fs::metadata(&dir).unwrap().modified().unwrap();
        let mut at = openat(CWD, dir.join("work"), OFlags::DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..30 {
            let name = "n".repeat(250);
            mkdirat(&at, &name, Mode::RWXU).unwrap();
            at = openat(&at, &name, OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        for path in [dir.join("work"), dir.clone()] {
            fs::File::open(path).unwrap().set_modified(before).unwrap();
        }
        assert_eq!(size(&dir), None);
        assert_eq!(bound(root.path(), &trash, 1 << 30), 1);
        let left: Vec<SessionId> = sessions(root.path()).map(|(id, _)| id).collect();
        assert_eq!(left, [oldest]);
    }

    #[test]
    fn a_disk_keeps_its_name_and_believes_no_other() {
        let root = tempfile::tempdir().unwrap();
        let name = place_name(root.path()).unwrap();
        assert!(name.contains(':') && place_name(root.path()).unwrap() == name);
        fs::write(root.path().join("place"), "../x y\n").unwrap();
        assert_ne!(place_name(root.path()).unwrap(), name);
    }
}
