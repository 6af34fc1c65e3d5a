//! What a service is sent.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::Read as _,
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::Path,
};

use data_encoding::BASE64;
use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, open, openat, statat},
    io::Errno,
};
use serde_json::{Value, json};

use crate::{
    domain::{
        agent::Skill,
        run::{Failure, FailureCode},
    },
    executor::{
        AttachmentFile, RunSpec, Stopped,
        git::Fetched,
        http::Attempt,
        mount_source::Identity,
        mounts::{self, Mount},
        skills::Chosen,
        trash::Held,
        workdir,
    },
};

/// The version of the body's form.
const VERSION: u32 = 1;
/// Bytes of attachments that are sent with a run; larger ones are named.
const MAX_ATTACHMENT_BYTES: usize = 8 << 20;
/// Bytes of mounted files that are sent with a run.
const MAX_FILE_BYTES: usize = 16 << 20;
/// Mounted files that are sent with a run.
const MAX_FILES: usize = 5_000;
/// Names in mounted directories that are looked at, directories and links counted.
const MAX_NAMES: usize = 20_000;
/// Directories below a mount.
const MAX_DEPTH: usize = 32;
/// Whatever is there by now: no link is followed and no pipe waited for.
const INNER: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(WHOLE);
const WHOLE: OFlags = OFlags::NONBLOCK.union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// The run's skills, and what the agent's file mounts, here on this machine.
pub(in crate::executor) struct Mounted {
    /// Where it lies, and where it belongs.
    pub(in crate::executor) mounts: Vec<Mount>,
    /// Keeps repositories where they are.
    _held: Vec<Held>,
    chosen: Chosen,
}

/// The body of the request.
pub(super) async fn body(attempt: &Attempt<'_>, mounted: Option<Mounted>) -> Result<Vec<u8>, Stopped> {
    let spec = attempt.spec;
    let agent = &spec.agent;
    let mut order = json!({
        "version": VERSION,
        "run": spec.run,
        "attempt": spec.attempt,
        "interrupted": spec.interrupted,
        "session": spec.session,
        "conversation": spec.resume_id,
        "task": attempt.task,
        "agent": {"name": agent.name, "version": agent.version, "instructions": agent.spec.prompt},
        "prompt": {"text": spec.prompt.plain, "blocks": spec.prompt.blocks},
        "event": spec.event_json(),
        "trust": spec.trust,
        "attachments": attachments(&spec.attachments),
        "limits": {
            "wall_clock_ms": millis(attempt.bounds.wall_clock),
            "idle_ms": millis(attempt.bounds.idle),
            "output_bytes": attempt.bounds.output_bytes,
        },
    });
    // Who is asked does not report.
    if let Some(way) = attempt.way.as_ref().filter(|_| attempt.http.status_url.is_none()) {
        order["callback"] = json!({"url": way.url, "token": way.token.expose_str()});
    }
    if let Some(mounted) = mounted {
        let skill = |(skill, always): (&Skill, bool)| json!({"name": skill.name, "description": skill.description, "always": always, "files": skill.files});
        order["skills"] = mounted.chosen.given().map(skill).collect();
        let files = workdir::blocking(move || files(&mounted)).await?;
        order["files"] = Value::Array(files);
    }
    let written = serde_json::to_vec(&order);
    written.map_err(|error| Failure::new(FailureCode::Executor, format!("the run cannot be written: {error}")).into())
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Those that fit are whole; `content` of the others is null.
fn attachments(files: &[AttachmentFile]) -> Vec<Value> {
    let mut room = MAX_ATTACHMENT_BYTES;
    let mut one = |file: &AttachmentFile| {
        let content = room.checked_sub(file.bytes.len()).map(|left| {
            room = left;
            BASE64.encode(&file.bytes)
        });
        json!({"filename": file.filename, "size": file.bytes.len(), "content": content})
    };
    files.iter().map(&mut one).collect()
}

fn files(mounted: &Mounted) -> Result<Vec<Value>, Failure> {
    let mut found = Found { files: Vec::new(), room: MAX_FILE_BYTES, names: MAX_NAMES };
    for mount in &mounted.mounts {
        found.mount(mount)?;
    }
    Ok(found.files)
}

/// What is read of mounts. Other agents may be writing there: each name is opened by itself in the directory that was
/// opened before it.
struct Found {
    files: Vec<Value>,
    /// Bytes that are left.
    room: usize,
    /// Names that are left.
    names: usize,
}

impl Found {
    /// Adds a file, or all in a directory; links in it are left out.
    fn mount(&mut self, mount: &Mount) -> Result<(), Failure> {
        let inside = &mount.container;
        let opened = open(&mount.host, OFlags::RDONLY | WHOLE, Mode::empty()).map_err(|why| cannot(inside, why))?;
        let found = Identity::of(&fstat(&opened).map_err(|why| cannot(inside, why))?);
        if mount.judged.as_ref().is_some_and(|judged| judged.now() != found) {
            let inside = inside.display();
            let why =
                format!("mount `{inside}` is not what was looked at: something was put in its way in that moment");
            return Err(Failure::new(FailureCode::FileAccess, why));
        }
        self.add(opened, inside, MAX_DEPTH)
    }

    fn add(&mut self, opened: OwnedFd, inside: &Path, depth: usize) -> Result<(), Failure> {
        let kind = FileType::from_raw_mode(fstat(&opened).map_err(|why| cannot(inside, why))?.st_mode);
        if kind == FileType::Directory {
            self.directory(&opened, inside, depth)
        } else if kind == FileType::RegularFile {
            self.file(File::from(opened), inside)
        } else {
            Ok(())
        }
    }

    fn directory(&mut self, dir: &OwnedFd, inside: &Path, depth: usize) -> Result<(), Failure> {
        let depth = depth.checked_sub(1).ok_or_else(|| fault(inside, "directories are too deep"))?;
        let mut names: Vec<OsString> = Vec::new();
        for entry in Dir::read_from(dir).map_err(|why| cannot(inside, why))? {
            let entry = entry.map_err(|why| cannot(inside, why))?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                self.names = self.names.checked_sub(1).ok_or_else(|| too_much(inside))?;
                names.push(name.to_owned());
            }
        }
        names.sort();
        for name in names {
            let place = inside.join(&name);
            // Looked at first, since a device may do something when it is opened; what is gone since was never there.
            let Ok(seen) = statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            if !matches!(FileType::from_raw_mode(seen.st_mode), FileType::Directory | FileType::RegularFile) {
                continue;
            }
            match openat(dir, &name, INNER, Mode::empty()) {
                Ok(opened) => self.add(opened, &place, depth)?,
                Err(Errno::LOOP | Errno::NOENT | Errno::NXIO) => {}
                Err(why) => return Err(cannot(&place, why)),
            }
        }
        Ok(())
    }

    fn file(&mut self, file: File, inside: &Path) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        if self.files.len() < MAX_FILES {
            let read = file.take(self.room as u64 + 1).read_to_end(&mut bytes);
            read.map_err(|error| fault(inside, &error.to_string()))?;
        }
        let room = self.room.checked_sub(bytes.len()).filter(|_| self.files.len() < MAX_FILES);
        self.room = room.ok_or_else(|| too_much(inside))?;
        self.files.push(json!({"path": inside, "content": BASE64.encode(&bytes)}));
        Ok(())
    }
}

fn fault(inside: &Path, why: &str) -> Failure {
    Failure::new(FailureCode::Setup, format!("mount {}: {why}", inside.display()))
}

fn cannot(inside: &Path, why: Errno) -> Failure {
    fault(inside, &std::io::Error::from(why).to_string())
}

fn too_much(inside: &Path) -> Failure {
    let most = format!("more than {MAX_FILES} files, {MAX_NAMES} names or {MAX_FILE_BYTES} bytes are not sent");
    fault(inside, &format!("{most}; mount less"))
}

/// What an agent's file mounts, without its place among a run's files.
pub(in crate::executor) fn mounted(spec: &RunSpec, fetched: Fetched, chosen: Chosen) -> Result<Mounted, Failure> {
    Ok(Mounted { mounts: mounts::parse(&spec.agent.spec.mounts, fetched.mounts)?, _held: fetched.held, chosen })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::Path};

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::{Found, MAX_FILE_BYTES, MAX_NAMES};
    use crate::{
        domain::run::{Failure, FailureCode},
        executor::{mount_source, mounts::Mount},
    };

    fn mount(host: &Path) -> Mount {
        Mount { host: host.to_owned(), judged: None, container: "/context".into(), read_only: true }
    }

    fn sent(host: &Path, room: usize) -> Result<Vec<String>, Failure> {
        let mut found = Found { files: Vec::new(), room, names: MAX_NAMES };
        found.mount(&mount(host))?;
        Ok(found.files.iter().map(|file| file["path"].as_str().unwrap().to_owned()).collect())
    }

    #[test]
    fn what_is_mounted_is_sent_without_links_pipes_and_devices() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("secret"), "secret").unwrap();
        fs::create_dir(dir.path().join("in")).unwrap();
        fs::write(dir.path().join("in/b"), "b").unwrap();
        fs::write(dir.path().join("a"), "a").unwrap();
        symlink(outside.path().join("secret"), dir.path().join("link")).unwrap();
        symlink(outside.path(), dir.path().join("in/way-out")).unwrap();
        mknodat(CWD, dir.path().join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert_eq!(sent(dir.path(), MAX_FILE_BYTES).unwrap(), ["/context/a", "/context/in/b"]);
        assert_eq!(sent(&dir.path().join("a"), 1).unwrap(), ["/context"]);
        assert_eq!(sent(&dir.path().join("pipe"), 1).unwrap(), [""; 0]);
        assert!(sent(dir.path(), 1).unwrap_err().message.contains("mount less"));
    }

    #[test]
    fn a_mount_that_was_judged_is_not_followed_elsewhere_and_may_be_replaced() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (place, word) in [(dir.path(), "old"), (outside.path(), "secret")] {
            fs::create_dir(place.join("book")).unwrap();
            fs::write(place.join("book/page"), word).unwrap();
        }
        let source = mount_source::find(&format!("{}/./book", dir.path().display())).unwrap();
        let mount = Mount { judged: source.judged, ..mount(&source.path) };
        let read = || {
            let mut found = Found { files: Vec::new(), room: MAX_FILE_BYTES, names: MAX_NAMES };
            found.mount(&mount).map(|()| found.files[0]["content"].as_str().unwrap().to_owned())
        };
        assert_eq!(read().unwrap(), data_encoding::BASE64.encode(b"old"));
        // As a deployment does it.
        fs::rename(dir.path().join("book"), dir.path().join("book.old")).unwrap();
        fs::create_dir(dir.path().join("book")).unwrap();
        fs::write(dir.path().join("book/page"), "new").unwrap();
        assert_eq!(read().unwrap(), data_encoding::BASE64.encode(b"new"));
        fs::rename(dir.path().join("book"), dir.path().join("book.new")).unwrap();
        symlink(outside.path().join("book"), dir.path().join("book")).unwrap();
        assert_eq!(read().unwrap_err().code, FailureCode::FileAccess);
    }

    #[test]
    fn a_file_that_is_swapped_for_a_link_all_the_time_never_leads_out() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("secret"), "secret").unwrap();
        let (place, file, link) = (dir.path().join("x"), outside.path().join("file"), outside.path().join("link"));
        fs::write(&file, "plain").unwrap();
        symlink(outside.path().join("secret"), &link).unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    for from in [&file, &link] {
                        fs::hard_link(from, dir.path().join("next")).unwrap();
                        fs::rename(dir.path().join("next"), &place).unwrap();
                        // Renaming one name of a file over another of the same file does nothing.
                        fs::remove_file(dir.path().join("next")).ok();
                    }
                }
            });
            let secret = data_encoding::BASE64.encode(b"secret");
            for _ in 0..20_000 {
                let mut found = Found { files: Vec::new(), room: MAX_FILE_BYTES, names: MAX_NAMES };
                found.mount(&mount(dir.path())).unwrap();
                assert!(found.files.iter().all(|file| file["content"] != secret.as_str()), "{:?}", found.files);
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }

    #[test]
    fn directories_alone_are_bounded_too() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..=MAX_NAMES {
            fs::create_dir(dir.path().join(n.to_string())).unwrap();
        }
        assert!(sent(dir.path(), MAX_FILE_BYTES).unwrap_err().message.contains("names"));
    }
}
