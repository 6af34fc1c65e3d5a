//! What stands beside a layer: that it is ready, or that it could not be made.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::domain::time::Timestamp;

/// A layer that can be used.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Ready {
    /// When its preparation began.
    pub(super) at_ms: i64,
    /// How long that took.
    pub(super) took_ms: i64,
    /// What it takes on the disk.
    pub(super) bytes: u64,
}

/// A preparation that failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Failed {
    /// In a row.
    pub(super) failures: u32,
    /// Nobody tries again before.
    pub(super) until_ms: i64,
    /// Why, without secrets.
    pub(super) message: String,
}

impl Ready {
    /// Reads it, and notes the use of the layer by the directory's time.
    pub(super) fn read(dir: &Path) -> Option<Self> {
        let ready = read(dir, "ready")?;
        fs::write(dir.join("used"), "").ok();
        Some(ready)
    }

    /// Reads it, and notes nothing.
    pub(super) fn peek(dir: &Path) -> Option<Self> {
        read(dir, "ready")
    }

    /// Says that the layer is ready, once all of it is on the disk.
    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        let layer = fs::File::open(dir.join("layer"))?;
        rustix::fs::syncfs(&layer)?;
        write(dir, "ready", self)?;
        fs::remove_file(dir.join("failed")).ok();
        Ok(())
    }

    /// `in 12 s, 34 MB`
    pub(super) fn in_words(&self) -> String {
        let at = Timestamp(self.at_ms);
        format!("in {:.1} s, {:.1} MB, {at}", self.took_ms as f64 / 1e3, self.bytes as f64 / 1e6)
    }
}

impl Failed {
    /// Reads it.
    pub(super) fn read(dir: &Path) -> Option<Self> {
        read(dir, "failed")
    }

    /// Writes it.
    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        write(dir, "failed", self)
    }
}

fn read<T: DeserializeOwned>(dir: &Path, name: &str) -> Option<T> {
    serde_json::from_slice(&fs::read(dir.join(name)).ok()?).ok()
}

/// Whole or not at all: renamed into its place.
fn write<T: Serialize>(dir: &Path, name: &str, value: &T) -> io::Result<()> {
    let part = dir.join(format!("{name}.part"));
    fs::write(&part, serde_json::to_vec(value)?)?;
    fs::rename(part, dir.join(name))
}
