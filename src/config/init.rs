//! What `postern init` writes: a small project that works.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Relative paths and texts of a new project.
const FILES: [(&str, &str); 7] = [
    ("postern.toml", include_str!("templates/postern.toml")),
    ("agents/support.md", include_str!("templates/support.md")),
    ("agents/receipt.md", include_str!("templates/receipt.md")),
    ("bin/receipt.sh", include_str!("templates/receipt.sh")),
    ("skills/tone/SKILL.md", include_str!("templates/tone.md")),
    (".gitignore", include_str!("templates/gitignore")),
    (".env.example", include_str!("templates/env.example")),
];

/// Why no project was made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// There is something already; nothing was written.
    #[error("{} is already there; choose an empty directory", .0.display())]
    Exists(PathBuf),
    /// A file could not be written.
    #[error("cannot write {}", .0.display())]
    Write(PathBuf, #[source] io::Error),
}

/// Writes a new project to `dir`, which is made when it is not there. The files written, in order.
///
/// # Errors
/// When any of its files is there already, or cannot be written. Nothing is ever overwritten.
pub fn init(dir: &Path) -> Result<Vec<PathBuf>, InitError> {
    let paths: Vec<PathBuf> = FILES.iter().map(|(path, _)| dir.join(path)).collect();
    if let Some(there) = paths.iter().find(|path| path.symlink_metadata().is_ok()) {
        return Err(InitError::Exists(there.clone()));
    }
    for (path, (_, text)) in paths.iter().zip(FILES) {
        write_new(path, text).map_err(|fault| InitError::Write(path.clone(), fault))?;
    }
    Ok(paths)
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    OpenOptions::new().write(true).create_new(true).open(path)?.write_all(text.as_bytes())
}
