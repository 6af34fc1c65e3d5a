//! What of the host may be mounted: nothing of Postern's own, and of a project nothing that leads out of it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    config::{agents::Checker, checks::Files, load::FILE, settings::Settings},
    domain::{mount::BORDER, path::without_dots},
};

/// Entries of a mounted folder that are looked at for links.
const MAX_ENTRIES: usize = 10_000;

/// A place that no agent gets to see.
struct Closed {
    place: PathBuf,
    what: &'static str,
    /// What lies in it is closed, too; else only what it is or lies in.
    whole: bool,
}

/// Checks what the file calls `text`, to be mounted with `mode`. What was sent may lie on other machines and is judged
/// by its words alone.
pub(super) fn check(
    path: &[&str],
    (text, mode): (&str, &str),
    files: Files<'_>,
    settings: &Settings,
    checker: &mut Checker<'_>,
) {
    let host = files.absolute(text);
    let named = without_dots(&host);
    // By words: `a/..` is nothing, also where `a` is a link. So it is mounted, too.
    let (project, real) = match files {
        Files::Project(dir) => (Some(dir), fs::canonicalize(&named).unwrap_or_else(|_| named.clone())),
        Files::Sent(_) => (None, named.clone()),
    };
    let closed = closed(project, settings);
    if let Some(what) = [&named, &real].into_iter().find_map(|place| shown(place, &closed)) {
        let help = "mount a folder that holds only what the agent needs";
        return checker.error(path, format!("`{text}` would open {what} to the agent"), help);
    }
    let is_sent_with_dots = project.is_none() && named != host;
    let leaves_by_dots =
        project.is_some_and(|dir| Path::new(text).is_relative() && !named.starts_with(without_dots(dir)));
    if is_sent_with_dots || leaves_by_dots {
        let help = format!("write the path itself, {}, if that is meant", named.display());
        return checker.error(path, format!("`{text}` leads away by `..`"), help);
    }
    let Some(dir) = project.filter(|_| Path::new(text).is_relative()) else { return };
    if !real.starts_with(fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned())) {
        let help = format!("write the path itself, {}, if that is meant", real.display());
        return checker.error(path, format!("`{text}` leads out of the project by a link"), help);
    }
    match first_link_out(&real) {
        Links::Out(link) => {
            let link = link.strip_prefix(&real).unwrap_or(&link).display().to_string();
            let message = format!("`{text}` has a link in it that leads out of it: `{}`", link.escape_debug());
            let help = "copy what is meant, or mount it by itself";
            // Where the agent writes it makes links itself; they must not stop the next apply.
            if mode == "rw" { checker.warning(path, message, help) } else { checker.error(path, message, help) }
        }
        Links::Unknown => {
            let message = format!("`{text}` has more than {MAX_ENTRIES} entries; the rest was not looked at for links");
            checker.warning(path, message, "mount a smaller folder");
        }
        Links::None => {}
    }
}

/// What is kept of a relative path that was found to be no fault: where it leads, links resolved, behind the project. So that is
/// what is mounted, and not what a link that is put there later leads to.
pub(super) fn judged(text: &str, files: Files<'_>) -> Option<String> {
    let Files::Project(dir) = files else { return None };
    let real = fs::canonicalize(without_dots(&files.absolute(text))).ok().filter(|_| Path::new(text).is_relative())?;
    let rest = real.strip_prefix(fs::canonicalize(dir).ok()?).ok()?.to_str().filter(|rest| !rest.is_empty())?;
    Some(format!("{}{BORDER}{rest}", without_dots(dir).display()))
}

fn closed(project: Option<&Path>, settings: &Settings) -> Vec<Closed> {
    const DATABASE: &str = "Postern's database";
    let mut found = vec![Closed { place: PathBuf::from("/proc"), what: "the processes of the machine", whole: true }];
    let is_around_project = |place: &Path| {
        project.is_some_and(|dir| dir.starts_with(place)) || place == Path::new("/") || place.join(FILE).exists()
    };
    let mut close = |place: &Path, what, whole| {
        let real = fs::canonicalize(place).ok().filter(|real| real != place);
        found.extend(real.into_iter().chain([place.to_owned()]).map(|place| Closed { place, what, whole }));
    };
    let database = settings.database.url.strip_prefix("sqlite:").and_then(|path| path.split('?').next());
    if let Some(file) = database.map(Path::new).filter(|file| file.is_absolute()) {
        for end in ["", "-wal", "-shm", "-journal"] {
            close(Path::new(&format!("{}{end}", file.display())), DATABASE, true);
        }
        if let Some(folder) = file.parent().filter(|folder| !is_around_project(folder)) {
            close(folder, DATABASE, true);
        }
    }
    let work = &settings.worker.work_dir;
    if work.is_absolute() {
        close(work, "the work directories of all agents", !is_around_project(work));
    }
    if let Some(dir) = project {
        close(&dir.join(".env"), "the project's secrets in .env", true);
    }
    found
}

/// What of the closed places `place` would show.
fn shown(place: &Path, closed: &[Closed]) -> Option<&'static str> {
    if place == Path::new("/") {
        return Some("the whole file system");
    }
    let is_hit =
        |closed: &&Closed| closed.place.starts_with(place) || (closed.whole && place.starts_with(&closed.place));
    closed.iter().find(is_hit).map(|closed| closed.what)
}

enum Links {
    None,
    Out(PathBuf),
    /// There was more than was looked at.
    Unknown,
}

/// The first link in `folder` that leads out of it. Follows none.
fn first_link_out(folder: &Path) -> Links {
    let (mut pending, mut left) = (vec![folder.to_owned()], MAX_ENTRIES);
    while let Some(next) = pending.pop() {
        // A folder that cannot be read here cannot be judged; the sandbox cannot read it either.
        for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
            if left == 0 {
                return Links::Unknown;
            }
            left -= 1;
            let (path, kind) = (entry.path(), entry.file_type());
            if kind.as_ref().is_ok_and(fs::FileType::is_dir) {
                pending.push(path);
            } else if kind.is_ok_and(|kind| kind.is_symlink()) && !leads_into(&path, folder) {
                return Links::Out(path);
            }
        }
    }
    Links::None
}

fn leads_into(link: &Path, folder: &Path) -> bool {
    let words = || Some(without_dots(&link.parent()?.join(fs::read_link(link).ok()?)));
    fs::canonicalize(link).ok().or_else(words).is_some_and(|target| target.starts_with(folder))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::{Links, first_link_out};

    #[test]
    fn only_links_that_lead_out_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let folder = fs::canonicalize(dir.path()).unwrap().join("book");
        fs::create_dir_all(folder.join("deep")).unwrap();
        fs::write(folder.join("page"), "x").unwrap();
        symlink("../page", folder.join("deep/same")).unwrap();
        symlink("nowhere", folder.join("dangling")).unwrap();
        symlink("..", folder.join("deep/loop")).unwrap();
        assert!(matches!(first_link_out(&folder), Links::None));
        for target in ["/etc/passwd", "../../beside", "/no/such/file"] {
            symlink(target, folder.join("deep/out")).unwrap();
            assert!(matches!(first_link_out(&folder), Links::Out(link) if link.ends_with("deep/out")), "{target}");
            fs::remove_file(folder.join("deep/out")).unwrap();
        }
        for number in 0..super::MAX_ENTRIES {
            fs::write(folder.join(format!("{number}")), "").unwrap();
        }
        assert!(matches!(first_link_out(&folder), Links::Unknown));
    }
}
