//! Uploads that agents' files mount: laid out once on this worker for each agent, checked by what they hold.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::fs::FlockOperation;

use crate::{
    archive::Tree,
    crypto::sha256_hex,
    domain::{
        mount::{MountSpec, UploadMount},
        run::{Failure, FailureCode},
    },
    executor::{
        BoxFuture, RunSpec, Stopped,
        git::Fetched,
        mounts::{self, Mount},
        trash::{self, Held, Trash, part_dir, settle},
        workdir::{self, plain_path, write_new},
    },
};

/// Bytes of one upload, with the names of its files.
const MOST_BYTES: usize = 512 << 20;
/// How long another run is waited for that lays out the same.
const LOCK_LIMIT: Duration = Duration::from_secs(120);

/// Where uploads are kept.
pub trait Uploads: Send + Sync {
    /// A piece of what has that digest, from 0; `None` behind the last one. Why not, in words.
    fn piece<'a>(&'a self, digest: &'a str, seq: i64) -> BoxFuture<'a, Result<Option<Vec<u8>>, String>>;
}

/// Lays out what the agent mounts of uploads, beside what was fetched already.
pub(super) async fn lay_out(
    root: &Path,
    trash: &Arc<Trash>,
    spec: &RunSpec,
    fetched: &mut Fetched,
) -> Result<(), Stopped> {
    for mount in &spec.agent.spec.mounts {
        let MountSpec::Upload(mount) = mount else { continue };
        let (mount, held) = tokio::select! {
            done = one(root, trash, spec, mount) => done?,
            () = spec.cancel.cancelled() => return Err(Stopped::Canceled),
        };
        fetched.mounts.push(mount);
        fetched.held.extend(held);
    }
    Ok(())
}

async fn one(
    root: &Path,
    trash: &Arc<Trash>,
    spec: &RunSpec,
    mount: &UploadMount,
) -> Result<(Mount, Vec<Held>), Failure> {
    let fail = |why: &str| failure(mount, why);
    let digest = mount.digest.as_deref().filter(|digest| is_digest(digest));
    let digest = digest.ok_or_else(|| fail("it is not pinned; apply the agent again"))?.to_owned();
    // For each agent its own: without walls one could write there.
    let dir = root.join("uploads").join(format!("{}-{digest}", spec.agent.agent));
    let mut used = hold(dir.clone(), FlockOperation::NonBlockingLockShared).await.map_err(|why| fail(&why))?;
    let tree = dir.join("tree");
    if !tree.is_dir() {
        let making = hold(dir.join("making"), FlockOperation::NonBlockingLockExclusive).await;
        let making = making.map_err(|why| fail(&why))?;
        if !tree.is_dir() {
            let pack = read(spec, &digest).await.map_err(|why| fail(&why))?;
            let trash = trash.clone();
            // The locks go with the work, which goes on when the run is canceled.
            let work = move || {
                let written = write(&trash, &pack, &dir);
                drop(making);
                Ok((written, used))
            };
            let written;
            (written, used) = workdir::blocking(work).await?;
            written.map_err(|fault| fail(&fault.to_string()))?;
        }
    }
    let host = match mount.path.as_str() {
        "" => tree,
        path => tree.join(plain_path(path).ok_or_else(|| fail("`path` is no plain path"))?),
    };
    if !host.exists() {
        return Err(fail(&format!("`{}` is not in it", mount.path)));
    }
    let container = mounts::container(&mount.to).map_err(fail)?;
    Ok((Mount { host, judged: None, container, read_only: true }, vec![used]))
}

async fn hold(path: PathBuf, how: FlockOperation) -> Result<Held, String> {
    let until = tokio::time::Instant::now() + LOCK_LIMIT;
    loop {
        let wanted = path.clone();
        let held = workdir::blocking(move || Ok(trash::hold(&wanted, how))).await.map_err(|fault| fault.message)?;
        match held {
            Ok(held) => return Ok(held),
            Err(error) if error.kind() != io::ErrorKind::Other || tokio::time::Instant::now() >= until => {
                return Err(error.to_string());
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// All of it, when it is what it should be.
async fn read(spec: &RunSpec, digest: &str) -> Result<Vec<u8>, String> {
    let uploads = spec.uploads.as_ref().ok_or("uploads are not to be had here")?;
    let mut pack = Vec::new();
    let mut seq = 0;
    while let Some(piece) = uploads.piece(digest, seq).await? {
        if pack.len() + piece.len() > MOST_BYTES {
            return Err("it is too large".to_owned());
        }
        pack.extend_from_slice(&piece);
        seq += 1;
    }
    if pack.is_empty() {
        return Err("it was deleted; upload it again and apply the agent".to_owned());
    }
    if sha256_hex(&pack) != digest {
        return Err("what is kept of it is not what was uploaded".to_owned());
    }
    Ok(pack)
}

/// Files aside first, then all of them in their place at once.
fn write(trash: &Trash, pack: &[u8], dir: &Path) -> io::Result<()> {
    let part = part_dir(trash, dir, "part")?;
    let tree = Tree::from_pack(pack).map_err(io::Error::other)?;
    for (path, file) in &tree.files {
        let relative = plain_path(path).ok_or_else(|| io::Error::other("a path leads out of it"))?;
        let target = part.join(relative);
        fs::create_dir_all(target.parent().unwrap_or(&part))?;
        write_new(&target, &file.bytes, if file.executable { 0o755 } else { 0o644 })?;
    }
    settle(&part, &dir.join("tree"))
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn failure(mount: &UploadMount, why: &str) -> Failure {
    Failure::new(FailureCode::Setup, format!("upload `{}`: {why}", mount.upload))
}
