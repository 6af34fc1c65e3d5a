//! Folders that were uploaded for agents to find.

use serde::{Deserialize, Serialize};

use crate::domain::{id::UploadId, time::Timestamp};

/// A folder as it was uploaded. Never changed: what is uploaded under the same name is another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// Its id.
    pub id: UploadId,
    /// What agents call it; of several the newest counts.
    pub name: String,
    /// SHA-256 of what it holds, in hexadecimal.
    pub digest: String,
    /// How many files.
    pub files: i64,
    /// Bytes of them.
    pub bytes: i64,
    /// Its files by path; empty in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listing: Vec<UploadedFile>,
    /// When it came.
    pub created_at: Timestamp,
}

/// A file of an [`Upload`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadedFile {
    /// In the folder.
    pub path: String,
    /// Bytes.
    pub size: i64,
    /// Whether it may be executed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub executable: bool,
}
