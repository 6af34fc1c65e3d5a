//! Files that an agent finds beside its own: of the host, or of a git repository.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{agent::EnvValue, time::Span};

/// In a host path: before it stands the project that names the mount, behind it where it leads, through no link. The check of
/// mounts writes it into relative ones, as it found them.
pub const BORDER: &str = "/./";

/// One entry of `mounts:`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum MountSpec {
    /// A file or directory of the host, as `host:/container` or `host:/container:ro|rw`.
    Host(String),
    /// Files of a git repository, read-only.
    Git(GitMount),
    /// A folder that was uploaded, read-only.
    Upload(UploadMount),
}

/// See [`MountSpec::Upload`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UploadMount {
    /// Its name, of which the newest counts when the agent is applied, or its id.
    pub upload: String,
    /// The file or folder in it; by default all of it.
    #[serde(default)]
    pub path: String,
    /// Where the agent finds it.
    pub to: String,
    /// What it holds, SHA-256 in hexadecimal: written by the server when the agent is applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// See [`MountSpec::Git`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GitMount {
    /// The repository's URL, without a name or password in it.
    pub git: String,
    /// A branch, a tag or a whole commit id; by default what the repository's HEAD names.
    #[serde(default = "head", rename = "ref")]
    pub reference: String,
    /// The file or directory in it; by default all of it.
    #[serde(default)]
    pub path: String,
    /// Where the agent finds it.
    pub to: String,
    /// A secret: what the repository asks for, sent as the password of HTTP basic authentication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<EnvValue>,
    /// The name that goes with `token`; most services take any.
    #[serde(default = "user")]
    pub user: String,
    /// How old what this worker fetched last may be; by default each run asks the repository.
    #[serde(default = "at_once")]
    pub refresh: Span,
}

/// A way to reach a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GitProtocol {
    /// Encrypted.
    Https,
    /// Plain; tokens are not sent over it.
    Http,
    /// A directory of the worker.
    File,
}

impl GitProtocol {
    /// The scheme of its URLs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
            Self::File => "file",
        }
    }
}

fn head() -> String {
    "HEAD".to_owned()
}

fn user() -> String {
    "x-access-token".to_owned()
}

const fn at_once() -> Span {
    Span(0)
}
