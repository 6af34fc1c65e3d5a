//! Folders as bytes: tar files that somebody sent, read within limits, and the one form in which we keep them.

mod pack;
mod tar;

use std::{collections::BTreeMap, io::Read};

use flate2::read::MultiGzDecoder;

/// A folder: files by their path in it, which is plain: no `.` or `..`, not absolute, parted by `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// By path.
    pub files: BTreeMap<String, TreeFile>,
}

/// A file of a [`Tree`].
#[derive(Clone, PartialEq, Eq)]
pub struct TreeFile {
    /// Whether it may be executed.
    pub executable: bool,
    /// All of it.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for TreeFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes{}", self.bytes.len(), if self.executable { ", executable" } else { "" })
    }
}

/// How large a folder may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeLimits {
    /// Bytes of all files.
    pub bytes: u64,
    /// Files, and folders that were named.
    pub files: usize,
    /// Folders inside each other.
    pub depth: usize,
}

/// Why bytes are no folder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// It is cut off, or something else.
    #[error("is no tar or tar.gz file: {0}; make it with `tar czf`")]
    Broken(String),
    /// More than the limits allow.
    #[error("is too large: {0}")]
    TooLarge(String),
    /// Something in it may not be there.
    #[error("`{path}` {why}")]
    Refused {
        /// Its path, harmless.
        path: String,
        /// Why.
        why: &'static str,
    },
}

impl Tree {
    /// Reads a tar file, compressed by gzip or not. What a small file unpacks to is bounded while it is read.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn from_tar(bytes: &[u8], limits: &TreeLimits) -> Result<Self, ArchiveError> {
        // Heads, padding and folders take room beside the files; names are bounded each.
        let most = limits.bytes.saturating_add((limits.files as u64).saturating_mul(16 * 1024)).saturating_add(1 << 20);
        if bytes.starts_with(&[0x1f, 0x8b]) {
            tar::read(MultiGzDecoder::new(bytes).take(most), limits)
        } else {
            tar::read(bytes.take(most), limits)
        }
    }

    /// A tar file of it.
    #[must_use]
    pub fn to_tar(&self) -> Vec<u8> {
        tar::write(self)
    }

    /// Its one form: the same files are the same bytes.
    #[must_use]
    pub fn to_pack(&self) -> Vec<u8> {
        pack::write(self)
    }

    /// Reads what [`Tree::to_pack`] made.
    ///
    /// # Errors
    /// When it is something else.
    pub fn from_pack(bytes: &[u8]) -> Result<Self, ArchiveError> {
        pack::read(bytes)
    }

    /// Adds a file, when its path is plain and nothing clashes with it.
    ///
    /// # Errors
    /// What is wrong with the path.
    pub fn add(&mut self, path: &str, file: TreeFile, depth: usize) -> Result<(), ArchiveError> {
        let path = plain(path, depth)?;
        let refused = |why| Err(ArchiveError::Refused { path: shown(&path), why });
        if self.files.contains_key(&path) {
            return refused("is there twice");
        }
        // A file where another has a folder, or the other way round.
        let inside = format!("{path}/");
        let is_folder = self.files.range(inside.clone()..).next().is_some_and(|(other, _)| other.starts_with(&inside));
        let is_below =
            path.match_indices('/').any(|(at, _)| path.get(..at).is_some_and(|up| self.files.contains_key(up)));
        if is_folder || is_below {
            return refused("is a file and a folder");
        }
        self.files.insert(path, file);
        Ok(())
    }

    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.bytes.len() as u64).sum()
    }

    /// The same without the one folder that all of it is in, when that has this name.
    #[must_use]
    pub fn without_folder(self, name: &str) -> Self {
        let prefix = format!("{name}/");
        if self.files.is_empty() || !self.files.keys().all(|path| path.starts_with(&prefix)) {
            return self;
        }
        let strip = |(path, file): (String, TreeFile)| (path.get(prefix.len()..).unwrap_or_default().to_owned(), file);
        Self { files: self.files.into_iter().map(strip).collect() }
    }
}

/// A path as it stands in a tree. A leading `./` and a trailing `/` are how tar writes it.
fn plain(path: &str, depth: usize) -> Result<String, ArchiveError> {
    let refused = |why| Err(ArchiveError::Refused { path: shown(path), why });
    if path.starts_with('/') {
        return refused("is absolute");
    }
    if path.len() > 4_000 || path.contains(|c: char| c.is_control() || c == '\\') {
        return refused("is no plain path");
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.is_empty() || parts.iter().any(|part| *part == ".." || part.len() > 255) {
        return refused("leads out of the folder, or is no path");
    }
    if parts.len() > depth {
        return refused("lies too deep");
    }
    Ok(parts.join("/"))
}

fn shown(path: &str) -> String {
    path.chars().take(200).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests;
