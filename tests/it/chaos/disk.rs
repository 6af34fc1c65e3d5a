//! A small disk that can be full: a tmpfs, whose size is changed while it is mounted (needs root).

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// A mounted file system of its own. Unmounted when dropped.
pub(crate) struct Disk {
    // Before the folder, which must be empty when it goes.
    mount: Mount,
    _folder: TempDir,
}

struct Mount(PathBuf);

impl Disk {
    /// With room for `megabytes`.
    pub(crate) fn new(megabytes: u64) -> Self {
        let folder = TempDir::with_prefix("postern-disk-").unwrap();
        let place = folder.path().join("disk");
        std::fs::create_dir(&place).unwrap();
        run(&["mount", "-t", "tmpfs", "-o", &format!("size={megabytes}m,mode=0777"), "tmpfs", text(&place)]);
        Self { mount: Mount(place), _folder: folder }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.mount.0
    }

    /// From now on not one page more fits.
    pub(crate) fn fill(&self) {
        for _ in 0..50 {
            let found = rustix::fs::statvfs(self.path()).unwrap();
            let used = (found.f_blocks - found.f_bfree) * found.f_frsize;
            // Somebody may write in between.
            if tried(&["mount", "-o", &format!("remount,size={used}"), text(self.path())]).is_ok() {
                return;
            }
        }
        panic!("the disk does not become full");
    }

    /// Room for `megabytes` again.
    pub(crate) fn free(&self, megabytes: u64) {
        run(&["mount", "-o", &format!("remount,size={megabytes}m"), text(self.path())]);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        #[expect(clippy::disallowed_methods, reason = "a disk for tests")]
        let _ = Command::new("umount").args(["-l", text(&self.0)]).status();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub(super) fn run(words: &[&str]) {
    tried(words).unwrap_or_else(|said| panic!("{words:?} (as root?): {said}"));
}

fn tried(words: &[&str]) -> Result<(), String> {
    #[expect(clippy::disallowed_methods, reason = "tools that tests need")]
    let done = Command::new(words[0]).args(&words[1..]).output().unwrap_or_else(|fault| panic!("{words:?}: {fault}"));
    let said = String::from_utf8_lossy(&done.stderr).into_owned() + &String::from_utf8_lossy(&done.stdout);
    if done.status.success() { Ok(()) } else { Err(said) }
}
