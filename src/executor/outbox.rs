//! Files that an agent has made and wants to be sent: read out of its work directory, and out of nowhere else.
//!
//! The agent may put links there at any moment, also while it is read; so each part of a path is opened by itself, in
//! the directory that was opened before it, and never through a link.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Component, Path, PathBuf},
};

use rustix::fs::{Mode, OFlags, openat};

use crate::{
    domain::{
        id::{RunId, SessionId},
        run::{Failure, FailureCode},
    },
    executor::{Executors, sandbox, workdir::blocking},
};

/// Parts of the longest path.
const MAX_PARTS: usize = 32;

/// The attempt whose work directory is meant.
#[derive(Clone, Copy, Debug)]
pub struct WorkPlace<'a> {
    /// Its run.
    pub run: &'a RunId,
    /// The fence of its lease.
    pub fence: i64,
    /// The conversation, whose runs share one directory.
    pub session: Option<&'a SessionId>,
}

impl Executors {
    /// Reads files of an attempt's work directory by the paths that its agent gives, not more than `most` bytes of all.
    ///
    /// # Errors
    /// Which of them cannot be read and why, in words for the agent.
    pub async fn read_made(&self, place: WorkPlace<'_>, paths: Vec<String>, most: u64) -> Result<Vec<Vec<u8>>, String> {
        let root = &self.ground.root;
        let base = match place.session {
            Some(session) => root.join("sessions").join(session.as_str()),
            None => root.join("runs").join(format!("{}-{}", place.run, place.fence)),
        };
        let read =
            move || read_all(&base.join("work"), &paths, most).map_err(|why| Failure::new(FailureCode::Setup, why));
        blocking(read).await.map_err(|failure| failure.message)
    }
}

fn read_all(work: &Path, paths: &[String], most: u64) -> Result<Vec<Vec<u8>>, String> {
    let mut left = most;
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let named = |why: &str| format!("`{}` {why}", crate::domain::template::clip(path, 200));
        let inside = inside(work, path).ok_or_else(|| named("is no path of a file in your work directory"))?;
        let file = open(work, &inside).map_err(|fault| named(&in_words(&fault)))?;
        let mut bytes = Vec::new();
        let read = file.take(left.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|fault| named(&format!("cannot be read: {fault}")))?;
        left = u64::try_from(bytes.len()).ok().and_then(|size| left.checked_sub(size)).ok_or_else(|| {
            format!("the files are larger than {} MiB together; send fewer or smaller ones", most / (1024 * 1024))
        })?;
        files.push(bytes);
    }
    Ok(files)
}

/// The path relative to the work directory; `None` when it leads out of it, or to itself.
fn inside(work: &Path, path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    let path = path.strip_prefix(sandbox::WORK).or_else(|_| path.strip_prefix(work)).unwrap_or(path);
    let parts = path.components().filter(|part| !matches!(part, Component::CurDir));
    let plain: PathBuf = parts
        .map(|part| match part {
            Component::Normal(name) => Some(name),
            Component::ParentDir | Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect::<Option<_>>()?;
    let count = plain.components().count();
    ((1..=MAX_PARTS).contains(&count) && !plain.to_string_lossy().contains('\0')).then_some(plain)
}

fn open(work: &Path, path: &Path) -> io::Result<File> {
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = rustix::fs::open(work, directory, Mode::empty())?;
    for part in path.parent().into_iter().flat_map(Path::components) {
        at = openat(&at, part.as_os_str(), directory, Mode::empty())?;
    }
    let name = path.file_name().ok_or(io::ErrorKind::NotFound)?;
    // A pipe that nobody writes to is not waited for.
    let plain = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(openat(&at, name, plain, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(file)
}

fn in_words(fault: &io::Error) -> String {
    use rustix::io::Errno;
    match fault.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT) => "is not in your work directory; write the file first".to_owned(),
        Some(Errno::LOOP | Errno::NOTDIR) => {
            "leads through a link or a mount; copy the file into your work directory first".to_owned()
        }
        None if fault.kind() == io::ErrorKind::InvalidInput => "is no regular file".to_owned(),
        Some(_) | None => format!("cannot be opened: {fault}"),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::read_all;

    fn read(work: &std::path::Path, paths: &[&str]) -> Result<Vec<String>, String> {
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        let files = read_all(work, &paths, 10)?;
        Ok(files.into_iter().map(|bytes| String::from_utf8(bytes).unwrap()).collect())
    }

    #[test]
    fn only_files_of_the_work_directory_are_read() {
        let dir = tempfile::TempDir::new().unwrap();
        let work = dir.path().join("work");
        fs::create_dir_all(work.join("out")).unwrap();
        fs::write(dir.path().join("secret"), "secret").unwrap();
        fs::write(work.join("out/a.txt"), "a").unwrap();
        fs::write(work.join("b.txt"), "b").unwrap();
        symlink(dir.path().join("secret"), work.join("link")).unwrap();
        symlink(dir.path(), work.join("away")).unwrap();
        symlink("b.txt", work.join("near")).unwrap();
        let own = work.join("b.txt").display().to_string();
        assert_eq!(read(&work, &["out/a.txt", "./b.txt", "/workspace/b.txt", &own]).unwrap(), ["a", "b", "b", "b"]);
        for path in [
            "../secret",
            "out/../../secret",
            "/etc/hostname",
            "link",
            "away/secret",
            "near",
            "out",
            "",
            ".",
            "/workspace",
        ] {
            read(&work, &[path]).unwrap_err();
        }
        assert!(read(&work, &["link"]).unwrap_err().contains("copy the file"));
        assert!(read(&work, &["c.txt"]).unwrap_err().contains("write the file first"));
        assert!(read(&work, &["out"]).unwrap_err().contains("no regular file"));
    }

    #[test]
    fn files_are_bounded_together_and_pipes_are_not_waited_for() {
        let dir = tempfile::TempDir::new().unwrap();
        fs::write(dir.path().join("six"), "123456").unwrap();
        assert!(read(dir.path(), &["six"]).is_ok());
        assert!(read(dir.path(), &["six", "six"]).unwrap_err().contains("larger than"));
        rustix::fs::mknodat(
            rustix::fs::CWD,
            dir.path().join("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        assert!(read(dir.path(), &["pipe"]).unwrap_err().contains("no regular file"));
    }
}
