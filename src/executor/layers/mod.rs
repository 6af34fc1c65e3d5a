//! Layers: what an agent's `setup` prepares once on this machine, for all of its runs.
//!
//! `<root>/layers/<agent>/<digest>/layer` has it, from the first moment on under the path that runs see without a
//! sandbox. It counts once `ready` stands beside it, which is renamed there; anything else is left of a preparation that
//! did not end, and made anew. Runs keep the directory by a shared lock, whoever prepares it keeps `preparing`.

mod prepare;
mod state;
mod sweep;

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::fs::FlockOperation;
use serde_json::json;

use crate::{
    clock::Clock,
    config::settings::LayerSettings,
    crypto::sha256_hex,
    domain::{
        agent::AgentVersion,
        run::{Failure, FailureCode, MessageKind},
        setup::{LAYER, LayerReport, SetupSpec},
    },
    executor::{
        RunSink, RunSpec, Stopped,
        environment::Environment,
        layers::state::{Failed, Ready},
        mounts::Mount,
        processes::Keeper,
        trash::{self, Held, Trash, real_dir},
        workdir::{self, Workdir},
    },
};

/// How long after its own time limit a preparation by another run is waited for.
const WAIT_MORE: Duration = Duration::from_secs(120);
/// The wait after the first failure, before anybody on this machine tries again; it doubles with each further one.
const FIRST_WAIT_MS: i64 = 10_000;
const LONGEST_WAIT_MS: i64 = 600_000;

/// The layers of this worker's disk.
pub(super) struct Layers {
    /// `<root>`
    root: PathBuf,
    keeper: Arc<Keeper>,
    trash: Arc<Trash>,
    path: OsString,
    settings: LayerSettings,
    place: String,
}

/// A layer that a run uses.
pub(super) struct Layer {
    /// Read-only.
    pub(super) mount: Mount,
    /// Keeps it from being removed.
    pub(super) held: Held,
}

/// One layer, there or not.
struct Slot<'a> {
    layers: &'a Layers,
    spec: &'a RunSpec,
    setup: &'a SetupSpec,
    /// bubblewrap's path; `None` without walls.
    bwrap: Option<&'a Path>,
    digest: String,
    dir: PathBuf,
}

impl Layers {
    pub(super) fn new(
        root: &Path,
        keeper: Arc<Keeper>,
        trash: Arc<Trash>,
        path: OsString,
        settings: LayerSettings,
    ) -> io::Result<Self> {
        let place = super::keeping::place_name(root)?;
        Ok(Self { root: root.to_owned(), keeper, trash, path, settings, place })
    }

    /// The layer of the run's agent, prepared when it is not there; `None` for an agent without one.
    pub(super) async fn bring(
        &self,
        spec: &RunSpec,
        sink: &mut dyn RunSink,
        bwrap: Option<&Path>,
    ) -> Result<Option<Layer>, Stopped> {
        let Some(setup) = &spec.agent.spec.setup else { return Ok(None) };
        let digest = digest(&spec.agent, setup, bwrap.is_some());
        let dir = self.root.join("layers").join(spec.agent.agent.as_str()).join(&digest);
        let slot = Slot { layers: self, spec, setup, bwrap, digest, dir };
        tokio::select! {
            brought = slot.bring(sink) => Ok(Some(brought?)),
            () = spec.cancel.cancelled() => Err(Stopped::Canceled),
        }
    }
}

/// What the layer is made from; other agents have others, because what one may read another perhaps may not.
fn digest(agent: &AgentVersion, setup: &SetupSpec, is_walled: bool) -> String {
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let platform = [std::env::consts::OS, std::env::consts::ARCH, system.as_str()];
    let all = json!([agent.agent, setup, agent.files, platform, is_walled]);
    sha256_hex(all.to_string().as_bytes()).chars().take(32).collect()
}

/// What programs of the agent find of its layer in their environment.
pub(super) fn environment(env: &mut Environment, workdir: &Workdir, is_walled: bool) {
    let Some(mount) = workdir.mounts.iter().find(|mount| mount.container == Path::new(LAYER)) else { return };
    let seen = if is_walled { PathBuf::from(LAYER) } else { mount.host.clone() };
    let mut path: Vec<PathBuf> = BINARIES.iter().map(|folder| seen.join(folder)).collect();
    path.extend(env.get(&OsString::from("PATH")).into_iter().flat_map(std::env::split_paths));
    if let Ok(path) = std::env::join_paths(path) {
        env.insert("PATH".into(), path);
    }
    for (name, folder) in [("PYTHONPATH", "python"), ("NODE_PATH", "node_modules")] {
        if mount.host.join(folder).is_dir() {
            env.insert(name.into(), seen.join(folder).into());
        }
    }
    env.insert("POSTERN_LAYER".into(), seen.into());
}

/// Where in a layer programs are looked up.
const BINARIES: [&str; 3] = ["bin", "node_modules/.bin", "python/bin"];

/// A program of the layer by its bare name, as the agent sees it.
pub(super) fn find_program(name: &str, workdir: &Workdir) -> Option<PathBuf> {
    let mount = workdir.mounts.iter().find(|mount| mount.container == Path::new(LAYER))?;
    let path = std::env::join_paths(BINARIES.iter().map(|folder| mount.host.join(folder))).ok()?;
    let found = super::sandbox::find_program(name.as_ref(), &path).filter(|_| !name.contains('/'))?;
    Some(workdir.seen(mount).join(found.strip_prefix(&mount.host).ok()?))
}

impl Slot<'_> {
    async fn bring(&self, sink: &mut dyn RunSink) -> Result<Layer, Stopped> {
        let dir = self.dir.clone();
        let held = workdir::blocking(move || Ok(trash::hold(&dir, FlockOperation::NonBlockingLockShared))).await?;
        let held = held.map_err(|fault| self.failure(&fault.to_string()))?;
        let mount = Mount { host: self.dir.join("layer"), judged: None, container: LAYER.into(), read_only: true };
        if let Some(ready) = self.ready().await? {
            let text = format!("layer {}, prepared {}", self.short(), ready.in_words());
            sink.message(MessageKind::Status, json!({"text": text})).await?;
            return Ok(Layer { mount, held });
        }
        let preparing = Arc::new(self.wait_for_turn(sink).await?);
        if self.ready().await?.is_none() {
            self.prepare_or_refuse(sink, &preparing).await?;
        }
        Ok(Layer { mount, held })
    }

    /// Whether it is there; its use is noted then.
    async fn ready(&self) -> Result<Option<Ready>, Failure> {
        let dir = self.dir.clone();
        workdir::blocking(move || Ok(Ready::read(&dir))).await
    }

    /// Waits while another run prepares it, of this process or another of the machine.
    async fn wait_for_turn(&self, sink: &mut dyn RunSink) -> Result<Held, Stopped> {
        let until = tokio::time::Instant::now() + self.setup.timeout.to_std() + WAIT_MORE;
        let mut is_told = false;
        loop {
            let lock = self.dir.join("preparing");
            let held = workdir::blocking(move || Ok(real_dir(&lock).map(|()| trash::try_hold(&lock)))).await?;
            if let Some(held) = held.map_err(|fault| self.failure(&fault.to_string()))? {
                return Ok(held);
            }
            if tokio::time::Instant::now() >= until {
                return Err(self.failure("another run is at it and does not end").into());
            }
            if !is_told {
                let text = format!("waits for layer {}, which another run prepares", self.short());
                sink.message(MessageKind::Status, json!({"text": text})).await?;
                is_told = true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Prepares it, unless that failed just now: then all runs hear the same until it makes sense to try again.
    /// Work that goes on when the run is canceled has `preparing` with it, so that nobody else begins meanwhile.
    async fn prepare_or_refuse(&self, sink: &mut dyn RunSink, preparing: &Arc<Held>) -> Result<(), Stopped> {
        let before = Failed::read(&self.dir);
        let now = Clock::system().now();
        if let Some(failed) = before.as_ref().filter(|failed| failed.until_ms > now.0) {
            let left_ms = (failed.until_ms - now.0).min(LONGEST_WAIT_MS);
            let mut failure = self.failure(&failed.message);
            failure.retry_after_ms = Some(left_ms);
            return Err(failure.into());
        }
        let began = Clock::system().now();
        let outcome = self.prepare(sink, preparing).await;
        let took_ms = Clock::system().now().0 - began.0;
        let (fault, output) = match outcome {
            Ok(prepared) => {
                let bytes = i64::try_from(prepared.bytes).unwrap_or(i64::MAX);
                let report = self.report(None, took_ms, bytes, prepared.output);
                let ready = Ready { at_ms: began.0, took_ms, bytes: prepared.bytes };
                let (dir, written, preparing) = (self.dir.clone(), ready.clone(), preparing.clone());
                let work = move || {
                    let written = written.write(&dir);
                    drop(preparing);
                    Ok(written)
                };
                let written = workdir::blocking(work).await?;
                written.map_err(|fault| self.failure(&fault.to_string()))?;
                let text = format!("layer {} is prepared, {}", self.short(), ready.in_words());
                sink.message(MessageKind::Status, json!({"text": text, "layer": report})).await?;
                sink.prepared(&report).await;
                return Ok(());
            }
            Err(prepare::Fault::Stopped(stopped)) => return Err(stopped),
            Err(prepare::Fault::Failed { why, output }) => (why, output),
        };
        let message = if output.is_empty() { fault } else { format!("{fault}: {}", tail(&output)) };
        let failures = before.map_or(0, |failed| failed.failures).saturating_add(1);
        let wait_ms = FIRST_WAIT_MS.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(LONGEST_WAIT_MS);
        let failed = Failed { failures, until_ms: Clock::system().now().plus_ms(wait_ms).0, message: message.clone() };
        failed.write(&self.dir).map_err(|fault| self.failure(&fault.to_string()))?;
        let report = self.report(Some(message.clone()), took_ms, 0, output);
        let text = format!("layer {} could not be prepared", self.short());
        sink.message(MessageKind::Status, json!({"text": text, "layer": report})).await?;
        sink.prepared(&report).await;
        let mut failure = self.failure(&message);
        failure.retry_after_ms = Some(wait_ms);
        Err(failure.into())
    }

    fn report(&self, failure: Option<String>, took_ms: i64, bytes: i64, output: String) -> LayerReport {
        LayerReport { digest: self.digest.clone(), place: self.layers.place.clone(), failure, took_ms, bytes, output }
    }

    fn short(&self) -> &str {
        self.digest.get(..12).unwrap_or(&self.digest)
    }

    fn failure(&self, why: &str) -> Failure {
        Failure::new(FailureCode::Layer, format!("its setup failed: {why}"))
    }
}

/// The end of what was said, for a failure's message.
fn tail(output: &str) -> &str {
    const MOST: usize = 2_000;
    let from = output.len().saturating_sub(MOST);
    let from = (from..=output.len()).find(|at| output.is_char_boundary(*at)).unwrap_or(0);
    output.get(from..).unwrap_or_default().trim()
}
