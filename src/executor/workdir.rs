//! The directory in which a run works: what is in it, and what of it stays.
//!
//! An agent may have left anything there, symbolic links above all, so nothing is written through
//! what an earlier run left: it is removed first.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Component, Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde_json::json;

use crate::{
    domain::{
        agent::Skill,
        run::{Failure, FailureCode},
    },
    executor::{
        RunSpec,
        environment::Environment,
        mounts::{self, Mount},
        sandbox,
    },
};

/// How much of the prompt or event goes into an environment variable.
const MAX_ENV_BYTES: usize = 64 * 1024;

/// A run's directory. Dropped, it is removed unless its session keeps it.
pub(super) struct Workdir {
    root: PathBuf,
    base: PathBuf,
    kept: bool,
    /// What the agent's file mounts.
    pub(super) mounts: Vec<Mount>,
    sandboxed: bool,
}

impl Workdir {
    /// Makes it: `<root>/sessions/<id>` for a run of a session, `<root>/runs/<id>` for one without.
    pub(super) fn prepare(root: &Path, spec: &RunSpec, sandboxed: bool) -> Result<Self, Failure> {
        let mounts = mounts::parse(&spec.agent.spec.mounts)?;
        let base = match &spec.session {
            Some(session) => root.join("sessions").join(session.as_str()),
            None => root.join("runs").join(spec.run.as_str()),
        };
        let workdir = Self { root: root.to_owned(), base, kept: spec.session.is_some(), mounts, sandboxed };
        workdir.lay_out(spec).map_err(|error| {
            Failure::new(FailureCode::Setup, format!("work directory {}: {error}", workdir.base.display()))
        })?;
        Ok(workdir)
    }

    /// Where the agent starts, as the host sees it.
    pub(super) fn work(&self) -> PathBuf {
        self.base.join("work")
    }

    /// Its home, as the host sees it.
    pub(super) fn home(&self) -> PathBuf {
        self.base.join("home")
    }

    /// A directory that only we write to, new in each run.
    pub(super) fn control(&self) -> PathBuf {
        self.base.join("control")
    }

    /// Its `/tmp`, as the host sees it.
    pub(super) fn tmp(&self) -> PathBuf {
        self.base.join("tmp")
    }

    /// Where the agent starts, as it sees it.
    pub(super) fn seen_work(&self) -> PathBuf {
        if self.sandboxed { PathBuf::from(sandbox::WORK) } else { self.work() }
    }

    /// Its home, as it sees it.
    pub(super) fn seen_home(&self) -> PathBuf {
        if self.sandboxed { PathBuf::from(sandbox::HOME) } else { self.home() }
    }

    /// The environment that every agent gets.
    pub(super) fn environment(&self, spec: &RunSpec) -> Environment {
        let mut env = Environment::new();
        let mut set = |name: &str, value: &Path| env.insert(name.into(), value.into());
        let work = self.seen_work();
        set("HOME", &self.seen_home());
        set("TMPDIR", &if self.sandboxed { PathBuf::from("/tmp") } else { self.tmp() });
        set("LANG", Path::new("C.UTF-8"));
        set("POSTERN_RUN_ID", Path::new(spec.run.as_str()));
        set("POSTERN_RUN", Path::new(spec.run.as_str()));
        set("POSTERN_ATTACHMENTS", &work.join("attachments"));
        set("POSTERN_EVENT_FILE", &work.join("event.json"));
        set("POSTERN_PROMPT_FILE", &work.join("prompt.txt"));
        if !self.mounts.is_empty() {
            let places: BTreeMap<_, _> = self.mounts.iter().map(|mount| (&mount.container, self.seen(mount))).collect();
            set("POSTERN_MOUNTS", Path::new(&json!(places).to_string()));
        }
        let event = spec.event.to_string();
        for (name, text) in [("POSTERN_EVENT", &event), ("POSTERN_PROMPT", &spec.prompt.plain)] {
            if text.len() <= MAX_ENV_BYTES && !text.contains('\0') {
                env.insert(name.into(), text.into());
            }
        }
        env
    }

    /// Lays out skills as `<under>/<name>/…`.
    pub(super) fn lay_out_skills(&self, skills: &[Skill], under: &Path) -> Result<(), Failure> {
        let refuse = |why: String| Failure::new(FailureCode::Setup, why);
        for skill in skills {
            let name = plain_path(&skill.name).filter(|name| name.components().count() == 1);
            let name = name.ok_or_else(|| refuse(format!("skill `{}`: not a folder's name", skill.name)))?;
            for (path, content) in &skill.files {
                let fault = |why: &str| refuse(format!("skill `{}`, file `{path}`: {why}", skill.name));
                let relative = plain_path(path).ok_or_else(|| fault("not a path inside the skill's folder"))?;
                let bytes = data_encoding::BASE64.decode(content.as_bytes()).map_err(|_| fault("not base64"))?;
                let target = under.join(&name).join(relative);
                let parent = target.parent().unwrap_or(under);
                let script = bytes.starts_with(b"#!");
                fs::create_dir_all(parent)
                    .and_then(|()| write_new(&target, &bytes, if script { 0o700 } else { 0o600 }))
                    .map_err(|error| fault(&error.to_string()))?;
            }
        }
        Ok(())
    }

    /// Where the agent finds a mount.
    pub(super) fn seen(&self, mount: &Mount) -> PathBuf {
        if self.sandboxed { mount.container.clone() } else { self.work().join(relative(&mount.container)) }
    }

    fn lay_out(&self, spec: &RunSpec) -> io::Result<()> {
        real_dir(&self.base)?;
        let (work, control) = (self.work(), self.control());
        real_dir(&work)?;
        real_dir(&self.home())?;
        for fresh in [&control, &self.tmp(), &work.join("attachments"), &work.join("skills")] {
            remove(fresh)?;
        }
        for fresh in [&control, &self.tmp(), &work.join("attachments")] {
            real_dir(fresh)?;
        }
        write_new(&control.join("passwd"), b"agent:x:1000:1000:agent:/home/agent:/bin/sh\n", 0o644)?;
        write_new(&control.join("group"), b"agent:x:1000:\n", 0o644)?;
        for (name, text) in [("event.json", spec.event.to_string()), ("prompt.txt", spec.prompt.plain.clone())] {
            remove(&work.join(name))?;
            write_new(&work.join(name), text.as_bytes(), 0o600)?;
        }
        for file in &spec.attachments {
            let name = plain_path(&file.filename).filter(|name| name.components().count() == 1);
            let name =
                name.ok_or_else(|| io::Error::other(format!("attachment `{}`: not a safe name", file.filename)))?;
            write_new(&work.join("attachments").join(name), &file.bytes, 0o600)?;
        }
        if !self.sandboxed {
            self.mounts.iter().try_for_each(|mount| self.link(mount))?;
        }
        Ok(())
    }

    fn link(&self, mount: &Mount) -> io::Result<()> {
        let mut at = self.work();
        let inside = relative(&mount.container);
        for part in inside.parent().into_iter().flat_map(Path::components) {
            at.push(part);
            real_dir(&at)?;
        }
        let link = self.work().join(inside);
        match fs::symlink_metadata(&link) {
            Ok(old) if old.is_symlink() => fs::remove_file(&link)?,
            Ok(_) => {
                return Err(io::Error::other(format!("mount {}: a file is in its place", mount.container.display())));
            }
            Err(_) => {}
        }
        std::os::unix::fs::symlink(&mount.host, link)
    }
}

impl Drop for Workdir {
    fn drop(&mut self) {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let gone = if self.kept { vec![self.control(), self.tmp()] } else { vec![self.base.clone()] };
        let trash = trash(&self.root);
        drop(real_dir(&trash));
        for path in gone {
            // Out of the way at once, since the next attempt may begin; removed by and by.
            let name = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let aside = trash.join(name);
            let aside = if fs::rename(&path, &aside).is_ok() { aside } else { path };
            // On its own thread: the run's future may be dropped on one that must not wait.
            let removal = std::thread::Builder::new().name("postern-remove".to_owned());
            drop(removal.spawn(move || remove_patiently(&aside)));
        }
    }
}

/// Removes what runs of an earlier process left to be removed.
pub(super) fn empty_trash(root: &Path) {
    remove_patiently(&trash(root));
}

fn trash(root: &Path) -> PathBuf {
    root.join("trash")
}

/// The last processes may still be writing there while they are killed.
fn remove_patiently(path: &Path) {
    for _ in 0..20 {
        if remove(path).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A directory that is not a link, made when it is not there.
fn real_dir(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => fs::remove_file(path)?,
        Err(_) => {}
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Removes what is there, links themselves and not what they lead to.
fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

/// Writes a file that is not there yet, through no link (`O_EXCL`, open(2)).
pub(super) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?.write_all(bytes)
}

/// A relative path without `.` and `..`.
fn plain_path(path: &str) -> Option<PathBuf> {
    let plain = !path.is_empty()
        && !path.contains('\0')
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    plain.then(|| PathBuf::from(path))
}

fn relative(container: &Path) -> &Path {
    container.strip_prefix("/").unwrap_or(container)
}
