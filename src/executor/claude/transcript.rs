//! What the CLI wrote down of a conversation, read to see how far an earlier attempt came.

use std::{
    collections::HashSet,
    fs,
    io::{BufRead, BufReader, Read as _},
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    domain::run::{Failure, FailureCode},
    executor::{trash::real_dir, workdir},
};

/// Where the CLI keeps conversations of the work directory of a sandbox; it looks into the others, too.
pub(super) const PROJECT: &str = "-workspace";

/// The longest line, and the most of a transcript, that is read.
pub(super) const MAX_LINE_BYTES: u64 = 32 * 1024 * 1024;
pub(super) const MAX_BYTES: u64 = 128 * 1024 * 1024;
/// Messages of ours, or results, in a transcript that are looked for at most.
const MAX_MESSAGES: usize = 100_000;
/// Bytes of a call's id; what is longer was written by somebody else.
const MAX_ID_BYTES: usize = 256;

/// How far a prompt came in a conversation.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The conversation does not hold it: the CLI would take it.
    Untaken,
    /// It was taken, and the turn is not over.
    Open,
    /// It was taken, and the turn was stopped or failed: the CLI does not go on with it by itself.
    Stopped,
    /// It was taken, and this is the model's last word.
    Answered(String),
}

/// Where the conversation `id` is written down: `projects/<directory>/<id>.jsonl`.
pub(super) fn find(config: &Path, id: &str) -> Option<PathBuf> {
    // The id may have come from the outside of this process: it is a file's name here.
    uuid::Uuid::parse_str(id).ok()?;
    let name = format!("{id}.jsonl");
    let projects = fs::read_dir(config.join("projects")).ok()?;
    let mut paths = projects.flatten().map(|project| project.path().join(&name));
    paths.find(|path| fs::symlink_metadata(path).is_ok_and(|found| found.is_file()))
}

/// Reads how far the prompt `message` came in `transcript`. What cannot be read counts as not there.
pub(super) fn progress(transcript: &Path, message: &str) -> Progress {
    let mut progress = Progress::Untaken;
    each_entry(transcript, |entry| {
        progress = after(std::mem::replace(&mut progress, Progress::Untaken), entry, message);
    });
    progress
}

fn each_entry(transcript: &Path, mut heed: impl FnMut(&Value)) {
    let Ok(file) = fs::File::open(transcript) else { return };
    let mut reader = BufReader::new(file.take(MAX_BYTES));
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if let Ok(entry) = serde_json::from_slice::<Value>(&line) {
            heed(&entry);
        }
    }
}

/// Lays the conversation `id` of another home out in this one; the messages of ours that it holds. `None`: it is not there.
pub(super) fn copy(from: &Path, id: &str, to: &Path) -> Result<Option<HashSet<String>>, Failure> {
    let fail = |error: std::io::Error| Failure::new(FailureCode::Setup, format!("the forked conversation: {error}"));
    let Some(file) = find(from, id) else { return Ok(None) };
    if find(to, id).is_none() {
        let mut bytes = Vec::new();
        let open = fs::File::open(&file).map_err(fail)?;
        open.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(fail)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Ok(None);
        }
        let project = to.join("projects").join(PROJECT);
        for directory in [to, &to.join("projects"), &project] {
            real_dir(directory).map_err(fail)?;
        }
        workdir::write_new(&project.join(format!("{id}.jsonl")), &bytes, 0o600).map_err(fail)?;
    }
    Ok(Some(messages(&file)))
}

/// The ids of the messages of ours that `transcript` holds.
pub(super) fn messages(transcript: &Path) -> HashSet<String> {
    let mut known = HashSet::new();
    each_entry(transcript, |entry| {
        // The file is the agent's own: what it may have written there by itself must not fill memory.
        let is_ours = |id: &&str| uuid::Uuid::parse_str(id).is_ok_and(|id| id.get_version_num() == 5);
        let room = known.len() < MAX_MESSAGES;
        known.extend(message_of(entry).filter(|id| room && is_ours(id)).map(str::to_owned));
    });
    known
}

/// The calls whose results `transcript` holds.
pub(super) fn heard(transcript: &Path) -> HashSet<String> {
    let mut heard = HashSet::new();
    each_entry(transcript, |entry| {
        let room = MAX_MESSAGES.saturating_sub(heard.len());
        heard.extend(results_of(entry).take(room).map(str::to_owned));
    });
    heard
}

/// The calls whose results an entry holds.
fn results_of(entry: &Value) -> impl Iterator<Item = &str> {
    let is_user = entry.get("type").and_then(Value::as_str) == Some("user");
    let blocks = entry.pointer("/message/content").and_then(Value::as_array).filter(|_| is_user);
    let ids = blocks.into_iter().flatten().filter(|block| block["type"] == "tool_result");
    ids.filter_map(|block| block["tool_use_id"].as_str()).filter(|id| id.len() <= MAX_ID_BYTES)
}

/// The id of the message of ours that an entry is: one that the CLI took in the middle of a turn is an attachment.
fn message_of(entry: &Value) -> Option<&str> {
    let id = match entry.get("type").and_then(Value::as_str)? {
        "user" => entry.get("uuid"),
        "attachment" => entry.pointer("/attachment/source_uuid"),
        _ => None,
    };
    id.and_then(Value::as_str)
}

fn after(progress: Progress, entry: &Value, message: &str) -> Progress {
    let text = |name: &str| entry.get(name).and_then(Value::as_str);
    let kind = text("type").unwrap_or_default();
    if message_of(entry) == Some(message) {
        return Progress::Open;
    }
    if progress == Progress::Untaken || entry.get("isSidechain") == Some(&Value::Bool(true)) {
        return progress;
    }
    match kind {
        "user" if is_stop(entry) => Progress::Stopped,
        "user" => Progress::Open,
        "assistant" => {
            let said = entry.get("message");
            let part = |name: &str| said.and_then(|said| said.get(name));
            let model = part("model").and_then(Value::as_str);
            let over = part("stop_reason").and_then(Value::as_str) == Some("end_turn");
            let last = part("content").and_then(Value::as_array).and_then(|blocks| blocks.last());
            let words = last.and_then(|block| block.get("text")).and_then(Value::as_str);
            match words {
                // The CLI's own words when the API failed for good.
                Some(_) if model == Some("<synthetic>") => Progress::Stopped,
                Some(words) if over => Progress::Answered(words.to_owned()),
                Some(_) | None => Progress::Open,
            }
        }
        _ => progress,
    }
}

/// The CLI's own note of an interrupt.
fn is_stop(entry: &Value) -> bool {
    let blocks = entry.get("message").and_then(|said| said.get("content")).and_then(Value::as_array);
    let texts = blocks.into_iter().flatten().filter_map(|block| block.get("text").and_then(Value::as_str));
    texts.into_iter().any(|text| text.starts_with("[Request interrupted by user"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Progress, after, results_of};

    fn progress(entries: &[Value]) -> Progress {
        entries.iter().fold(Progress::Untaken, |progress, entry| after(progress, entry, "p1"))
    }

    #[test]
    fn a_turn_is_over_with_the_last_word_alone() {
        let prompt = json!({"type": "user", "uuid": "p1"});
        let tool =
            json!({"type": "assistant", "message": {"stop_reason": "tool_use", "content": [{"type": "tool_use"}]}});
        let result = json!({"type": "user", "uuid": "r1"});
        let word = json!({"type": "assistant", "message": {"stop_reason": "end_turn", "content": [{"type": "text", "text": "done"}]}});
        let stop = json!({"type": "user", "message": {"content": [{"type": "text", "text": "[Request interrupted by user]"}]}});
        let note = json!({"type": "cost-state"});
        assert_eq!(progress(std::slice::from_ref(&word)), Progress::Untaken);
        assert_eq!(progress(&[prompt.clone(), tool.clone()]), Progress::Open);
        assert_eq!(progress(&[prompt.clone(), tool, result]), Progress::Open);
        assert_eq!(progress(&[prompt.clone(), stop]), Progress::Stopped);
        let fault = json!({"type": "assistant", "message": {"model": "<synthetic>", "stop_reason": "stop_sequence",
            "content": [{"type": "text", "text": "API Error: 529"}]}});
        assert_eq!(progress(&[prompt.clone(), fault]), Progress::Stopped);
        let handed_in = json!({"type": "attachment", "attachment": {"type": "queued_command", "source_uuid": "p1"}});
        assert_eq!(progress(std::slice::from_ref(&handed_in)), Progress::Open);
        assert_eq!(progress(&[handed_in, word.clone()]), Progress::Answered("done".to_owned()));
        assert_eq!(progress(&[prompt, word, note]), Progress::Answered("done".to_owned()));
    }

    #[test]
    fn results_are_those_that_the_model_was_told() {
        let blocks = json!([{"type": "tool_result", "tool_use_id": "t1", "content": "x"}, {"type": "text", "text": "y"},
            {"type": "tool_result", "tool_use_id": "x".repeat(300)}, {"type": "tool_result", "tool_use_id": "t2"}]);
        let told = json!({"type": "user", "message": {"content": blocks}});
        assert_eq!(results_of(&told).collect::<Vec<_>>(), ["t1", "t2"]);
        let said = json!({"type": "assistant", "message": {"content": blocks}});
        assert_eq!(
            results_of(&said).count() + results_of(&json!({"type": "user", "message": {"content": "hi"}})).count(),
            0
        );
    }
}
