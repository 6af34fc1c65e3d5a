//! What the CLI wrote down of a conversation, read to see how far an earlier attempt came.

use std::{
    fs,
    io::{BufRead, BufReader, Read as _},
    path::{Path, PathBuf},
};

use serde_json::Value;

/// The longest line, and the most of a transcript, that is read.
const MAX_LINE_BYTES: u64 = 32 * 1024 * 1024;
const MAX_BYTES: u64 = 1024 * 1024 * 1024;

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
    let Ok(file) = fs::File::open(transcript) else { return Progress::Untaken };
    let mut reader = BufReader::new(file.take(MAX_BYTES));
    let mut progress = Progress::Untaken;
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return progress,
            Ok(_) => {}
        }
        if let Ok(entry) = serde_json::from_slice::<Value>(&line) {
            progress = after(progress, &entry, message);
        }
    }
}

fn after(progress: Progress, entry: &Value, message: &str) -> Progress {
    let text = |name: &str| entry.get(name).and_then(Value::as_str);
    let kind = text("type").unwrap_or_default();
    if kind == "user" && text("uuid") == Some(message) {
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

    use super::{Progress, after};

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
        assert_eq!(progress(&[prompt, word, note]), Progress::Answered("done".to_owned()));
    }
}
