//! Running a setup: in walls of its own, bounded in time, in size and in what is kept of its output.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::Arc,
    time::Duration,
};

use data_encoding::BASE64;
use serde_json::json;
use tokio::{
    io::AsyncReadExt as _,
    time::{Instant, MissedTickBehavior, interval_at},
};

use super::Slot;
use crate::{
    domain::{
        run::{Failure, FailureCode, MessageKind},
        setup::{LAYER, SetupRun},
    },
    executor::{
        Belief, LeaseLost, RunSink, Stopped, environment, keeping,
        lines::Line,
        mask::Mask,
        mounts::Mount,
        pipes::{READ_BYTES, Stream},
        processes::{self, Launch, Process},
        sandbox::{self, Inside},
        trash::{Held, real_dir},
        workdir::{self, plain_path, write_new},
    },
};

/// How much of the end of its output is kept.
const MOST_OUTPUT: usize = 64 * 1024;
/// How often its size is looked at, and the record hears that it goes on.
const LOOK: Duration = Duration::from_secs(5);
/// Looks between two lines of the record.
const LOOKS_OF_A_LINE: u32 = 2;
/// Limits the size of files, then becomes the program.
const LIMITED: &str = "ulimit -f \"$1\" || exit 1; shift; exec \"$@\"";

/// A layer that was filled.
pub(super) struct Prepared {
    /// What it takes on the disk.
    pub(super) bytes: u64,
    /// The end of what was said.
    pub(super) output: String,
}

/// Why a layer was not filled.
pub(super) enum Fault {
    /// The run is over; nothing is known of the setup.
    Stopped(Stopped),
    /// The setup is at fault, or the machine.
    Failed {
        /// In words.
        why: String,
        /// The end of what was said.
        output: String,
    },
}

impl From<LeaseLost> for Fault {
    fn from(lost: LeaseLost) -> Self {
        Self::Stopped(lost.into())
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        Self::Failed { why: failure.message, output: String::new() }
    }
}

impl Slot<'_> {
    /// Fills the layer from nothing.
    pub(super) async fn prepare(&self, sink: &mut dyn RunSink, preparing: &Arc<Held>) -> Result<Prepared, Fault> {
        let text = format!("preparing layer {}", self.short());
        sink.message(MessageKind::Status, json!({"text": text})).await?;
        self.lay_out(preparing.clone()).await?;
        let mut process = self.start().await?;
        drop(process.child.stdin.take());
        let mask = Mask::new(self.spec, None);
        let mut said = Said { out: Stream::new(&mask), err: Stream::new(&mask), kept: String::new() };
        let status = self.listen(&mut process, &mut said, sink).await;
        process.end().await;
        let output = said.end();
        let failed = |why: String| Fault::Failed { why, output: output.clone() };
        match status {
            Ok(status) if status.success() => {}
            Ok(status) => return Err(failed(format!("it ended with {status}"))),
            Err(Fault::Failed { why, .. }) => return Err(failed(why)),
            Err(stopped @ Fault::Stopped(_)) => return Err(stopped),
        }
        let bytes = self.measure().await.map_err(failed)?;
        let (trash, making, preparing) = (self.layers.trash.clone(), self.dir.join("making"), preparing.clone());
        workdir::blocking(move || Ok((trash.take(&making).is_ok(), preparing))).await?;
        Ok(Prepared { bytes, output })
    }

    /// Takes away what an earlier preparation left, its processes first, and makes room for this one.
    async fn lay_out(&self, preparing: Arc<Held>) -> Result<(), Failure> {
        let (trash, dir, root, mark) =
            (self.layers.trash.clone(), self.dir.clone(), self.layers.root.clone(), self.mark());
        let agent = self.spec.agent.clone();
        workdir::blocking(move || {
            processes::end_attempts(&root, &mark);
            let fail = |error: std::io::Error| Failure::new(FailureCode::Layer, error.to_string());
            let making = dir.join("making");
            for old in [&dir.join("layer"), &making] {
                trash.take(old).map_err(fail)?;
            }
            let [work, home, tmp, control] = ["work", "home", "tmp", "control"].map(|name| making.join(name));
            for fresh in [&dir.join("layer"), &making, &work, &home, &tmp, &control] {
                real_dir(fresh).map_err(fail)?;
            }
            workdir::write_identity(&control).map_err(fail)?;
            for (path, content) in &agent.files {
                let wrong = || Failure::new(FailureCode::Layer, format!("its file `{path}` is not laid out"));
                let bytes = BASE64.decode(content.as_bytes()).map_err(|_| wrong())?;
                let target = work.join(plain_path(path).ok_or_else(wrong)?);
                std::fs::create_dir_all(target.parent().unwrap_or(&work)).map_err(fail)?;
                write_new(&target, &bytes, if bytes.starts_with(b"#!") { 0o700 } else { 0o600 }).map_err(fail)?;
            }
            drop(preparing);
            Ok(())
        })
        .await
    }

    async fn start(&self) -> Result<Process, Failure> {
        let making = self.dir.join("making");
        let [work, home, tmp, control] = ["work", "home", "tmp", "control"].map(|name| making.join(name));
        let layer = self.dir.join("layer");
        let is_walled = self.bwrap.is_some();
        let seen = |inside: &str, outside: &Path| {
            if is_walled { OsString::from(inside) } else { outside.as_os_str().to_owned() }
        };
        let mut env = environment::of_names(&self.spec.setup_env, self.spec.agent.spec.executor)?;
        let bin = PathBuf::from(seen(LAYER, &layer));
        let path = [bin.join("bin"), bin.join("node_modules/.bin")].into_iter();
        let path = std::env::join_paths(path.chain(std::env::split_paths(&self.layers.path)));
        for (name, value) in [
            ("PATH", path.unwrap_or_else(|_| self.layers.path.clone())),
            ("HOME", seen(sandbox::HOME, &home)),
            ("TMPDIR", seen("/tmp", &tmp)),
            ("LANG", "C.UTF-8".into()),
            ("POSTERN_LAYER", seen(LAYER, &layer)),
            ("POSTERN_RUN_ID", self.mark().into()),
        ] {
            env.insert(name.into(), value);
        }
        let (program, args) = self.command();
        let launch = match self.bwrap {
            None => Launch { program, args, env, directory: work, belief: Belief::default() },
            Some(bwrap) => {
                let mount = Mount { host: layer, judged: None, container: LAYER.into(), read_only: false };
                let inside = Inside {
                    work: &work,
                    home: &home,
                    tmp: &tmp,
                    control: &control,
                    mounts: &[mount],
                    readable: Vec::new(),
                    network: self.setup.network,
                };
                let mut all = inside.args();
                all.push(program.into());
                all.extend(args);
                Launch { program: bwrap.to_owned(), args: all, env, directory: work, belief: Belief::default() }
            }
        };
        let started = self.layers.keeper.spawn(launch).await;
        started.map_err(|error| Failure::new(FailureCode::Layer, format!("it does not start: {error}")))
    }

    fn command(&self) -> (PathBuf, Vec<OsString>) {
        let blocks = self.layers.settings.max_bytes.div_ceil(512).to_string();
        let mut args: Vec<OsString> = ["-c", LIMITED, "sh"].map(OsString::from).to_vec();
        args.push(blocks.into());
        match &self.setup.run {
            SetupRun::Script(text) => args.extend(["/bin/sh", "-eu", "-c", text].map(OsString::from)),
            SetupRun::Program(words) => args.extend(words.iter().map(OsString::from)),
        }
        (PathBuf::from("/bin/sh"), args)
    }

    /// Until it ended and its output with it.
    async fn listen(
        &self,
        process: &mut Process,
        said: &mut Said<'_>,
        sink: &mut dyn RunSink,
    ) -> Result<ExitStatus, Fault> {
        let failed = |why: &str| Fault::Failed { why: why.to_owned(), output: String::new() };
        let (Some(mut stdout), Some(mut stderr)) = (process.child.stdout.take(), process.child.stderr.take()) else {
            return Err(failed("it has no pipes"));
        };
        let began = Instant::now();
        let until = began + self.setup.timeout.to_std();
        let mut looks = interval_at(began + LOOK, LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut out_open, mut err_open, mut count) = (true, true, 0_u32);
        let (mut from_out, mut from_err) = (vec![0; READ_BYTES], vec![0; READ_BYTES]);
        while out_open || err_open {
            tokio::select! {
                read = stdout.read(&mut from_out), if out_open => {
                    let chunk = from_out.get(..read.unwrap_or(0)).unwrap_or_default();
                    out_open = !chunk.is_empty();
                    said.heard_out(chunk);
                }
                read = stderr.read(&mut from_err), if err_open => {
                    let chunk = from_err.get(..read.unwrap_or(0)).unwrap_or_default();
                    err_open = !chunk.is_empty();
                    said.heard_err(chunk);
                }
                () = process.exited() => break,
                () = tokio::time::sleep_until(until) => {
                    return Err(failed(&format!("it took longer than {}", self.setup.timeout)));
                }
                _ = looks.tick() => {
                    self.measure().await.map_err(|why| failed(&why))?;
                    count += 1;
                    if count.is_multiple_of(LOOKS_OF_A_LINE) {
                        let text = format!("preparing layer {}, {} s", self.short(), began.elapsed().as_secs());
                        sink.message(MessageKind::Status, json!({"text": text})).await?;
                    }
                }
            }
        }
        tokio::select! {
            () = process.exited() => {}
            () = tokio::time::sleep_until(until) => {
                return Err(failed(&format!("it took longer than {}", self.setup.timeout)));
            }
        }
        // What it left behind may hold the pipes open: it is killed, and the rest is read for a moment.
        process.settle().await;
        let rest = async {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let (mut more_out, mut more_err) =
                ((&mut stdout).take(MOST_OUTPUT as u64), (&mut stderr).take(MOST_OUTPUT as u64));
            let (_, _) = tokio::join!(more_out.read_to_end(&mut out), more_err.read_to_end(&mut err));
            (out, err)
        };
        if let Ok((out, err)) = tokio::time::timeout(Duration::from_secs(2), rest).await {
            said.heard_out(&out);
            said.heard_err(&err);
        }
        process.child.wait().await.map_err(|error| failed(&error.to_string()))
    }

    /// What the layer takes on the disk, when that is allowed.
    async fn measure(&self) -> Result<u64, String> {
        let (layer, most) = (self.dir.join("layer"), self.layers.settings.max_bytes);
        let bytes = workdir::blocking(move || Ok(keeping::size(&layer))).await.map_err(|failure| failure.message)?;
        match bytes {
            Some(bytes) if bytes <= most => Ok(bytes),
            Some(_) => Err(format!("the layer is larger than {most} bytes (layers.max_bytes)")),
            None => {
                Err("the layer has more than a million files, or folders that lie too deep or are closed".to_owned())
            }
        }
    }

    /// What its processes are found by, also after the worker that started them died.
    fn mark(&self) -> String {
        format!("layer-{}", self.digest)
    }
}

/// The end of what a setup says, both streams together.
struct Said<'a> {
    out: Stream<'a>,
    err: Stream<'a>,
    kept: String,
}

impl Said<'_> {
    fn heard_out(&mut self, chunk: &[u8]) {
        let lines = if chunk.is_empty() { Vec::new() } else { self.out.push(chunk) };
        self.keep(&lines);
    }

    fn heard_err(&mut self, chunk: &[u8]) {
        let lines = if chunk.is_empty() { Vec::new() } else { self.err.push(chunk) };
        self.keep(&lines);
    }

    fn keep(&mut self, lines: &[Line]) {
        for line in lines {
            self.kept.push_str(&line.text);
            if line.complete {
                self.kept.push('\n');
            }
            if self.kept.len() > MOST_OUTPUT * 2 {
                let from = self.kept.len() - MOST_OUTPUT;
                let from = (from..self.kept.len()).find(|at| self.kept.is_char_boundary(*at)).unwrap_or(0);
                self.kept.drain(..from);
            }
        }
    }

    fn end(mut self) -> String {
        let rest = self.out.push(&[]);
        self.keep(&rest);
        let rest = self.err.push(&[]);
        self.keep(&rest);
        let from = self.kept.len().saturating_sub(MOST_OUTPUT);
        let from = (from..=self.kept.len()).find(|at| self.kept.is_char_boundary(*at)).unwrap_or(0);
        self.kept.split_off(from)
    }
}
