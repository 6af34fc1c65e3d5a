//! The conversations of CLIs that keep them in their home: which one a session's home holds, so that only one which is
//! there is continued, and how far its tokens were counted.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    domain::run::{Failure, FailureCode},
    executor::{
        RunSpec,
        workdir::{self, Workdir, write_new},
    },
};

/// Bytes of the longest id that is believed.
const MAX_ID_BYTES: usize = 128;
/// Bytes of the file, which has few.
const MAX_FILE_BYTES: u64 = 4096;

/// A conversation that a CLI can go on with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::executor) struct Conversation {
    /// The CLI's own id; see [`is_id`].
    pub(super) id: String,
    /// Tokens of all its turns, for CLIs that count on when they resume.
    #[serde(default)]
    pub(super) total: Total,
}

/// Tokens of a conversation over all its turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::executor) struct Total {
    /// Read, cached ones among them.
    pub(super) input: i64,
    /// Read from the cache.
    pub(super) cached: i64,
    /// Written.
    pub(super) output: i64,
}

/// Whether `id` may stand in an argument of its own: letters, digits, `_` and `-`, and no option.
pub(super) fn is_id(id: &str) -> bool {
    id.len() <= MAX_ID_BYTES
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// The conversation of the run's session, when this machine has it.
pub(super) async fn before(spec: &RunSpec, workdir: &Workdir) -> Result<Option<Conversation>, Failure> {
    let (Some(wanted), Some(file)) = (spec.resume_id.clone(), workdir.conversation_file()) else { return Ok(None) };
    let kept = workdir::blocking(move || Ok(read(&file))).await?;
    Ok(kept.filter(|kept| kept.id == wanted && is_id(&kept.id)))
}

/// Writes down which conversation the session's home holds now; none: it is not to be continued.
pub(super) async fn keep(spec: &RunSpec, workdir: &Workdir, conversation: Option<Conversation>) -> Result<(), Failure> {
    let known = spec.resume_id.is_some();
    let Some(file) = workdir.conversation_file().filter(|_| conversation.is_some() || known) else { return Ok(()) };
    workdir::blocking(move || {
        write(&file, conversation.as_ref()).map_err(|error| {
            Failure::new(FailureCode::Executor, format!("the id of the conversation cannot be kept: {error}"))
        })
    })
    .await
}

fn read(file: &Path) -> Option<Conversation> {
    let found = fs::symlink_metadata(file).ok().filter(|found| found.is_file() && found.len() <= MAX_FILE_BYTES);
    found.and_then(|_| serde_json::from_slice(&fs::read(file).ok()?).ok())
}

fn write(file: &Path, conversation: Option<&Conversation>) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    conversation.map_or(Ok(()), |conversation| write_new(file, &serde_json::to_vec(conversation)?, 0o600))
}

#[cfg(test)]
mod tests {
    use super::is_id;

    #[test]
    fn only_what_can_be_no_option_and_no_path_is_an_id() {
        for id in ["0199a213-81c0-7800-8aa1-bbab2a035a53", "ses_494719016ffe85dkDMj0FPRbHK", "7"] {
            assert!(is_id(id), "{id}");
        }
        let long = "a".repeat(129);
        for id in ["", "-last", "--all", "_x", "a b", "../x", "a/b", "a.b", "a;b", "é", "a\n", long.as_str()] {
            assert!(!is_id(id), "{id:?}");
        }
    }
}
