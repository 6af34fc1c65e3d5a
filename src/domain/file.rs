//! Files that a run changed in its work directory, and those of them that it left for people.

use serde::{Deserialize, Serialize};

/// Files of a run that are listed one by one; more are counted.
pub const MAX_LISTED: usize = 1_000;
/// Artifacts of one run.
pub const MAX_ARTIFACTS: usize = 50;
/// Bytes of one artifact.
pub const MAX_ARTIFACT_BYTES: u64 = 25 << 20;
/// Bytes of all artifacts of one run.
pub const MAX_ARTIFACTS_BYTES: u64 = 100 << 20;
/// The folder of a work directory in which everything is an artifact.
pub const ARTIFACTS_FOLDER: &str = "artifacts";

/// What a name in a directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileKind {
    /// A regular file.
    File,
    /// A symbolic link; what it leads to was not looked at.
    Link,
    /// A pipe, a socket or a device; never opened.
    Other,
}

impl FileKind {
    /// The word in columns and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Link => "link",
            Self::Other => "other",
        }
    }
}

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It was not there before.
    Created,
    /// Its bytes are others, or nobody knows that they are not.
    Modified,
    /// It is not there any more.
    Deleted,
}

impl Change {
    /// The word in columns and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Modified => "modified",
            Self::Deleted => "deleted",
        }
    }
}

/// A file that a run changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedFile {
    /// Below the work directory, without secrets; bytes that are no UTF-8 as `\xNN`.
    pub path: String,
    /// What it is now, or was.
    pub kind: FileKind,
    /// What became of it.
    pub change: Change,
    /// Bytes now; `None` when it is gone.
    pub size: Option<i64>,
    /// Bytes before; `None` when it was not there.
    pub size_before: Option<i64>,
    /// SHA-256 of its bytes now, in hex; `None` for what is no regular file, was too large or changed while it was read.
    pub sha256: Option<String>,
    /// The same of its bytes before.
    pub sha256_before: Option<String>,
}

/// How many files a run changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileCounts {
    /// Made.
    pub created: i64,
    /// Written.
    pub modified: i64,
    /// Removed.
    pub deleted: i64,
    /// There may be more, or not all of them are listed.
    pub truncated: bool,
}

/// A file that a run left for people, or why it is not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Artifact {
    /// Its path below the work directory, without `artifacts/` before it. No two of a run have one name.
    pub name: String,
    /// By its name; a type that no browser runs.
    pub content_type: String,
    /// Bytes.
    pub size: i64,
    /// Of its bytes, in hex; `None` when it was not kept.
    pub sha256: Option<String>,
    /// Why its bytes are not kept.
    pub left_out: Option<String>,
}

/// How many artifacts a run has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ArtifactCounts {
    /// Kept.
    pub count: i64,
    /// Bytes of these.
    pub bytes: i64,
    /// Not kept; why stands with each.
    pub left_out: i64,
}

impl Artifact {
    /// The last part of its name, as a file is saved.
    #[must_use]
    pub fn filename(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }
}

/// The type of a file by its name's ending; none that could run in a browser.
#[must_use]
pub fn content_type(name: &str) -> &'static str {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).unwrap_or_default();
    match ending.as_str() {
        "txt" | "log" | "md" => "text/plain; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "json" => "application/json",
        "pdf" => "application/pdf",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "zip" => "application/zip",
        "gz" => "application/gzip",
        "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "pptx" => "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "ics" => "text/calendar; charset=utf-8",
        _ => "application/octet-stream",
    }
}
