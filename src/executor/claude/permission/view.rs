//! What the paths of a call mean: as text, and where links lead from there, as the agent's own system sees them.

use std::{
    ffi::OsString,
    io,
    path::{Component, Path, PathBuf},
};

use serde_json::Value;
use unicode_normalization::{UnicodeNormalization as _, is_nfc};

use crate::{
    domain::{agent::AgentSpec, path::without_dots},
    executor::{mounts::Mount, sandbox, workdir::Workdir},
};

/// Where a path leads nobody can say but the process that asks: links to other processes' files and roots.
const UNCLEAR: [&str; 2] = ["/proc", "/dev"];
/// Links that are followed for one path (Linux follows as many, path_resolution(7)).
const MAX_LINKS: usize = 40;
/// Bytes of a path (`PATH_MAX`, limits.h).
const MAX_PATH_BYTES: usize = 4096;
/// Under these keys the CLI's tools are told paths.
const KEYS: [&str; 4] = ["file_path", "path", "notebook_path", "filePath"];

/// The files that an agent finds.
pub(super) struct View {
    /// Its work directory, as it sees it.
    pub(super) work: PathBuf,
    /// Its home, as it sees it.
    pub(super) home: PathBuf,
    /// Whether there is a sandbox. Without one every path is the host's.
    pub(super) walled: bool,
    /// What of the host lies where in the sandbox; what lies nowhere has no links that the agent could have made.
    lays: Vec<Lay>,
    /// Mounts, which have several names without a sandbox.
    places: Vec<Place>,
    /// Without a sandbox: where its own files are, links resolved.
    roots: Vec<PathBuf>,
}

struct Lay {
    seen: PathBuf,
    host: PathBuf,
}

/// A mount as rules name it, as the agent finds it, and as the host has it.
struct Place {
    container: PathBuf,
    seen: PathBuf,
    host: PathBuf,
}

/// What the paths of one call may mean.
pub(super) struct Meanings {
    /// Each meaning, under all names that it has.
    pub(super) all: Vec<Vec<PathBuf>>,
    /// Where links lead.
    landings: Vec<PathBuf>,
    /// Perhaps it means something else: what links lead to cannot be said.
    pub(super) is_unclear: bool,
}

impl View {
    /// What the agent of `spec` sees.
    pub(super) fn new(spec: &AgentSpec, workdir: &Workdir, walled: bool) -> Self {
        let place = |mount: &Mount| Place {
            container: mount.container.clone(),
            seen: workdir.seen(mount),
            host: real(&mount.host),
        };
        let mut view = Self::bare(workdir.seen_work(), workdir.seen_home(), walled);
        if walled {
            let own = [(sandbox::WORK, workdir.work()), (sandbox::HOME, workdir.home()), ("/tmp", workdir.tmp())];
            own.iter().for_each(|(seen, host)| view.lay(Path::new(seen), host));
            workdir.mounts.iter().for_each(|mount| view.lay(&mount.container, &mount.host));
            let shown = sandbox::ETC.iter().chain(&sandbox::ETC_OF_NETWORK).map(|name| format!("/etc/{name}"));
            shown.chain(["/usr".to_owned()]).for_each(|path| view.lay_as_it_is(Path::new(&path)));
            let plugins = spec.plugins.iter().filter_map(|plugin| std::fs::canonicalize(plugin).ok());
            plugins.for_each(|plugin| view.lay_as_it_is(&plugin));
        } else {
            view.places = workdir.mounts.iter().map(place).collect();
            let roots = [&view.work, &view.home].map(|root| real(root));
            view.roots = roots.into_iter().chain(view.places.iter().map(|place| place.host.clone())).collect();
        }
        view
    }

    /// One in which nothing of the host lies anywhere.
    pub(super) fn bare(work: PathBuf, home: PathBuf, walled: bool) -> Self {
        Self { work, home, walled, lays: Vec::new(), places: Vec::new(), roots: Vec::new() }
    }

    /// A directory of the host lies at `seen`.
    pub(super) fn lay(&mut self, seen: &Path, host: &Path) {
        self.lays.push(Lay { seen: seen.to_owned(), host: real(host) });
    }

    /// A directory of the host lies where it lies there.
    pub(super) fn lay_as_it_is(&mut self, path: &Path) {
        self.lay(path, path);
    }

    /// What the paths that a tool is told mean; `directory` is where it goes on from, when that is known.
    pub(super) fn meanings(&self, input: &Value, directory: Option<&Path>) -> Meanings {
        let mut meanings = Meanings { all: Vec::new(), landings: Vec::new(), is_unclear: false };
        let told: Vec<&Value> = KEYS.iter().filter_map(|key| input.get(key)).filter(|told| !told.is_null()).collect();
        meanings.is_unclear = told.iter().any(|told| !told.is_string());
        let paths: Vec<&str> = told.into_iter().filter_map(Value::as_str).collect();
        for path in if paths.is_empty() { &["."][..] } else { &paths[..] } {
            self.mean(path, directory, &mut meanings);
        }
        meanings
    }

    fn mean(&self, told: &str, directory: Option<&Path>, meanings: &mut Meanings) {
        // The CLI trims paths and composes their letters before it uses them.
        let trimmed = told.trim_matches(|c: char| c == '\u{feff}' || (c.is_whitespace() && c != '\u{85}'));
        meanings.is_unclear |= trimmed != told || !is_nfc(trimmed);
        if trimmed.contains('\0') || trimmed.len() > MAX_PATH_BYTES {
            meanings.is_unclear = true;
            return;
        }
        let path = composed(trimmed);
        let from_home = path.strip_prefix("~/").or_else(|| (path == "~").then_some(""));
        let paths = match from_home {
            Some(rest) => vec![self.home.join(rest.trim_start_matches('/'))],
            None if path.starts_with('/') => vec![PathBuf::from(&path)],
            None => {
                meanings.is_unclear |= directory.is_none();
                let elsewhere = directory.filter(|directory| *directory != self.work);
                elsewhere.into_iter().chain([&*self.work]).map(|from| from.join(&path)).collect()
            }
        };
        for path in paths {
            self.follow(&path, meanings);
        }
    }

    fn follow(&self, path: &Path, meanings: &mut Meanings) {
        let text = without_dots(path);
        meanings.all.push(self.names_of(&text));
        // The CLI resolves `..` by text, a system behind links.
        let readings = [Some(text.as_path()), Some(path).filter(|path| *path != text)];
        for reading in readings.into_iter().flatten() {
            let Some(landing) = self.resolve(reading) else {
                meanings.is_unclear = true;
                continue;
            };
            if landing != text {
                meanings.all.push(self.names_of(&landing));
            }
            meanings.landings.push(landing);
        }
    }

    /// A rule's path, as text: in letters that are composed, `.` and `..` resolved.
    pub(super) fn wanted(&self, wanted: &str) -> PathBuf {
        let wanted = composed(wanted);
        without_dots(&match wanted.strip_prefix("~/").or_else(|| (wanted == "~").then_some("")) {
            Some(rest) => self.home.join(rest.trim_start_matches('/')),
            None => self.work.join(wanted),
        })
    }

    /// A rule's path with the links resolved in what of it has no `*`, when it has any.
    pub(super) fn wanted_behind_links(&self, wanted: &Path) -> Option<PathBuf> {
        let has_star = |part: &Component<'_>| part.as_os_str().to_string_lossy().contains('*');
        let fixed: PathBuf = wanted.components().take_while(|part| !has_star(part)).collect();
        let rest: PathBuf = wanted.components().skip_while(|part| !has_star(part)).collect();
        self.resolve(&fixed).filter(|landing| *landing != fixed).map(|landing| landing.join(rest))
    }

    /// The names under which a mount's file, however it is named, is to be found.
    fn names_of(&self, path: &Path) -> Vec<PathBuf> {
        let mut names = vec![path.to_owned()];
        for place in &self.places {
            let all = [&place.container, &place.seen, &place.host];
            if let Some(rest) = all[1..].iter().find_map(|at| path.strip_prefix(at).ok()) {
                names.extend(all.iter().map(|at| without_dots(&at.join(rest))));
            }
        }
        names
    }

    /// Under which other names the CLI itself knows what rules name so.
    pub(super) fn other_names(&self, path: &Path) -> Vec<PathBuf> {
        let of = |place: &Place| {
            let rest = path.strip_prefix(&place.container).ok()?;
            Some([&place.seen, &place.host].map(|at| at.join(rest)))
        };
        self.places.iter().filter_map(of).flatten().collect()
    }

    /// Where all links lead; `None` where that is unclear. What is not there leads to itself.
    fn resolve(&self, path: &Path) -> Option<PathBuf> {
        let mut at = PathBuf::from("/");
        let mut ahead = parts_backwards(path);
        let mut links = 0;
        while let Some(part) = ahead.pop() {
            if part == ".." {
                at.pop();
                continue;
            }
            at.push(part);
            if UNCLEAR.iter().any(|unclear| at.starts_with(unclear)) {
                return None;
            }
            let Some(target) = self.link_at(&at).ok()? else { continue };
            links += 1;
            if links > MAX_LINKS || target.as_os_str().len() > MAX_PATH_BYTES {
                return None;
            }
            if target.is_absolute() {
                at = PathBuf::from("/");
            } else {
                at.pop();
            }
            ahead.extend(parts_backwards(&target));
        }
        Some(at)
    }

    /// What a link of the agent's system holds; `None` for what is no link. All but the last of `at` is none.
    fn link_at(&self, at: &Path) -> io::Result<Option<PathBuf>> {
        let host = if self.walled {
            let Some(lay) = self
                .lays
                .iter()
                .filter(|lay| at.starts_with(&lay.seen))
                .max_by_key(|lay| lay.seen.components().count())
            else {
                let link = sandbox::LINKS.iter().find(|name| at == Path::new("/").join(name));
                return Ok(link.map(|name| Path::new("usr").join(name)));
            };
            match at.strip_prefix(&lay.seen) {
                Ok(rest) if !rest.as_os_str().is_empty() => lay.host.join(rest),
                Ok(_) | Err(_) => return Ok(None),
            }
        } else {
            at.to_owned()
        };
        match std::fs::symlink_metadata(&host) {
            Ok(found) if found.is_symlink() => std::fs::read_link(&host).map(Some),
            Ok(_) => Ok(None),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Meanings {
    /// Without a sandbox a link could lead anywhere: whether all that is meant is the agent's own.
    pub(super) fn are_of(&self, view: &View) -> bool {
        view.walled || self.landings.iter().all(|landing| view.roots.iter().any(|root| landing.starts_with(root)))
    }

    /// Whether everything that is meant lies in one of these folders.
    pub(super) fn lie_in(&self, folders: &[PathBuf]) -> bool {
        let inside = |name: &PathBuf| folders.iter().any(|folder| name.starts_with(folder));
        !self.is_unclear && self.all.iter().flatten().all(inside)
    }
}

/// As the CLI has paths: in composed letters (Unicode's NFC).
pub(super) fn composed(text: &str) -> String {
    text.nfc().collect()
}

fn parts_backwards(path: &Path) -> Vec<OsString> {
    let parts = path.components().rev().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    parts.map(|part| part.as_os_str().to_owned()).collect()
}

fn real(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}
