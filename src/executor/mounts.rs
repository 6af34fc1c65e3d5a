//! Files and directories of the host that an agent's file opens to it.

use std::path::{Component, Path, PathBuf};

use crate::{
    domain::{
        agent::CLOSED_PLACES,
        mount::{BORDER, MountSpec},
        run::{Failure, FailureCode},
    },
    executor::mount_source::{self, Judged, Source},
};

/// One entry of `mounts:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// What is mounted.
    pub(super) host: PathBuf,
    /// Which file or directory that must be, where it was judged before.
    pub(super) judged: Option<Judged>,
    /// Where, absolute and without `.` or `..`.
    pub(super) container: PathBuf,
    /// Nothing can be written there; without a sandbox by convention only.
    pub(super) read_only: bool,
}

/// Reads `host:/container[:ro|rw]`, without either word read-only, and lays what was fetched beside them.
pub(super) fn parse(entries: &[MountSpec], fetched: Vec<Mount>) -> Result<Vec<Mount>, Failure> {
    let mut mounts: Vec<Mount> = Vec::new();
    let of_host = entries.iter().filter_map(|entry| match entry {
        MountSpec::Host(entry) => Some(parse_one(entry)),
        MountSpec::Git(_) | MountSpec::Upload(_) => None,
    });
    for mount in of_host.chain(fetched.into_iter().map(Ok)) {
        let mount = mount?;
        if let Some(other) = mounts.iter().find(|other| overlap(&other.container, &mount.container)) {
            let entry = mount.container.display().to_string();
            return Err(refusal(&entry, &format!("it clashes with `{}`", other.container.display())));
        }
        mounts.push(mount);
    }
    Ok(mounts)
}

fn parse_one(entry: &str) -> Result<Mount, Failure> {
    let (rest, read_only) = match entry.rsplit_once(':') {
        Some((rest, "ro")) => (rest, true),
        Some((rest, "rw")) => (rest, false),
        Some(_) | None => (entry, true),
    };
    let refused = |why: &str| refusal(entry, why);
    let split = rest.rsplit_once(':').ok_or("write host:/container, host:/container:ro or :rw").map_err(refused)?;
    let (host, container) = (split.0, container(split.1).map_err(refused)?);
    if entry.contains('\0') || !Path::new(host).is_absolute() {
        return Err(refused("the path on the host must be absolute"));
    }
    let Source { path, judged } = mount_source::find(host).map_err(|why| {
        let (host, inside) = (host.replace(BORDER, "/"), container.display());
        Failure::new(FailureCode::FileAccess, format!("mount `{host}:{inside}`: {why}"))
    })?;
    Ok(Mount { host: path, judged, container, read_only })
}

/// A place inside that may be mounted on.
pub(super) fn container(inside: &str) -> Result<PathBuf, &'static str> {
    let path = Path::new(inside);
    if !path.is_absolute() {
        return Err("the path inside must be absolute");
    }
    if inside.contains('\0') || path.components().any(|part| matches!(part, Component::ParentDir)) {
        return Err("the path inside may not hold `..`");
    }
    let path: PathBuf = path.components().collect();
    if path == Path::new("/") || CLOSED_PLACES.iter().any(|taken| overlap(Path::new(taken), &path)) {
        return Err("that place inside is taken; use one such as /context/name");
    }
    Ok(path)
}

fn overlap(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

fn refusal(entry: &str, why: &str) -> Failure {
    Failure::new(FailureCode::Setup, format!("mount `{entry}` is refused: {why}"))
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::domain::mount::MountSpec;

    fn host(entries: &[&str]) -> Vec<MountSpec> {
        entries.iter().map(|entry| MountSpec::Host((*entry).to_owned())).collect()
    }

    fn why(entries: &[&str]) -> String {
        parse(&host(entries), Vec::new()).unwrap_err().message
    }

    #[test]
    fn a_mount_without_a_word_is_read_only() {
        let entries = host(&["/usr:/context/a", "/usr:/context/b:rw", "/usr:/context/c:ro"]);
        let read_only: Vec<bool> = parse(&entries, Vec::new()).unwrap().iter().map(|mount| mount.read_only).collect();
        assert_eq!(read_only, [true, false, true]);
    }

    #[test]
    fn what_cannot_be_mounted_is_named() {
        assert!(why(&["/usr:context"]).contains("absolute"));
        assert!(why(&["/usr:/context/../etc"]).contains("`..`"));
        assert!(why(&["/usr:/etc/ssl"]).contains("taken"));
        assert!(why(&["/usr:/"]).contains("taken"));
        assert!(why(&["/no/such/thing:/context"]).contains("/no/such/thing"));
        assert!(why(&["/usr:/context", "/usr:/context/deeper"]).contains("clashes with `/context`"));
        assert!(why(&["handbook:/context"]).contains("host must be absolute"));
    }
}
