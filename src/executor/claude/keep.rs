//! Brings a conversation that is kept in the store to this machine, and what only this machine has into the store.

use std::{
    fs, io,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    domain::run::{Failure, FailureCode},
    executor::{
        LeaseLost, RunSpec, Stopped,
        claude::transcript::{self, MAX_BYTES, MAX_LINE_BYTES, PROJECT},
        mask::Mask,
        transcripts::{Head, Kept, Piece, Transcripts},
        trash::real_dir,
        workdir::{self, Workdir},
    },
};

/// Bytes of a piece that was not mirrored.
const PIECE_BYTES: usize = 1024 * 1024;
/// More than the store keeps of a conversation: what is longer is not kept there at all.
const MAX_REST_BYTES: usize = 40 * 1024 * 1024;

/// Makes sure that the conversation `id` is on this machine as far as it went. `false`: there is none.
pub(super) async fn bring(spec: &RunSpec, workdir: &Workdir, mask: &Mask, id: &str) -> Result<bool, Stopped> {
    // The id may have come from the outside of this process: it is a file's name here.
    if uuid::Uuid::parse_str(id).is_err() {
        return Ok(false);
    }
    let config = workdir.home().join(".claude");
    let local = transcript::find(&config, id);
    let Some(kept) = &spec.transcripts else { return Ok(local.is_some()) };
    let head = kept.head(id).await.map_err(|why| unreadable(&why))?;
    match (head, local) {
        (None, None) => Ok(false),
        (None, Some(file)) => send_rest(kept.as_ref(), mask, id, file, None).await.map(|()| true),
        (Some(Head { is_cut: true, .. }), local) => Ok(local.is_some()),
        (Some(Head { last: Some(last), .. }), Some(file)) if holds(&file, &last).await? => {
            send_rest(kept.as_ref(), mask, id, file, Some(last)).await.map(|()| true)
        }
        // Another machine went on with it, or it never was here.
        (Some(_), local) => {
            let text = read(kept.as_ref(), id).await?;
            let (id, config) = (id.to_owned(), config);
            workdir::blocking(move || lay_out(&config, local, &id, &text)).await?;
            Ok(true)
        }
    }
}

fn unreadable(why: &str) -> Stopped {
    Failure::new(FailureCode::Setup, format!("the conversation cannot be read from the store: {why}")).into()
}

async fn read(kept: &dyn Transcripts, id: &str) -> Result<String, Stopped> {
    let (mut text, mut after) = (String::new(), 0);
    loop {
        let pieces = kept.read(id, after).await.map_err(|why| unreadable(&why))?;
        let Some((last, _)) = pieces.last() else { return Ok(text) };
        after = *last;
        pieces.iter().for_each(|(_, lines)| text.push_str(lines));
    }
}

/// Puts the conversation where the CLI finds it. The agent may have left links there: none is followed.
fn lay_out(config: &Path, old: Option<PathBuf>, id: &str, text: &str) -> Result<(), Failure> {
    let fail = |error: io::Error| Failure::new(FailureCode::Setup, format!("the conversation's file: {error}"));
    if let Some(old) = old {
        fs::remove_file(old).map_err(fail)?;
    }
    let project = config.join("projects").join(PROJECT);
    for dir in [config, &config.join("projects"), &project] {
        real_dir(dir).map_err(fail)?;
    }
    let file = project.join(format!("{id}.jsonl"));
    if fs::symlink_metadata(&file).is_ok() {
        fs::remove_file(&file).map_err(fail)?;
    }
    workdir::write_new(&file, text.as_bytes(), 0o600).map_err(fail)
}

async fn holds(file: &Path, entry: &str) -> Result<bool, Failure> {
    let (file, entry) = (file.to_owned(), entry.to_owned());
    workdir::blocking(move || Ok(lines(&file).any(|line| id_of(&line).as_deref() == Some(&entry)))).await
}

/// Sends what the file has behind the entry `after`: a worker that died had not sent it.
async fn send_rest(
    kept: &dyn Transcripts,
    mask: &Mask,
    id: &str,
    file: PathBuf,
    after: Option<String>,
) -> Result<(), Stopped> {
    let rest = workdir::blocking(move || Ok(rest(&file, after.as_deref()))).await?;
    let mut piece = Piece::default();
    for line in rest {
        // Masked by its values: in the line itself a secret may be written with escapes.
        let masked = match serde_json::from_str(&line) {
            Ok(mut entry) => {
                mask.value(&mut entry);
                entry.to_string()
            }
            Err(_) => mask.text(&line),
        };
        piece.push(&masked, id_of(&line).as_deref());
        if piece.lines.len() >= PIECE_BYTES && send(kept, id, &mut piece).await? == Kept::TooLong {
            return Ok(());
        }
    }
    if piece.last.is_some() {
        send(kept, id, &mut piece).await?;
    }
    Ok(())
}

async fn send(kept: &dyn Transcripts, id: &str, piece: &mut Piece) -> Result<Kept, LeaseLost> {
    kept.append(id, &std::mem::take(piece)).await
}

fn rest(file: &Path, after: Option<&str>) -> Vec<String> {
    let (mut found, mut rest, mut bytes) = (after.is_none(), Vec::new(), 0);
    for line in lines(file) {
        if bytes > MAX_REST_BYTES {
            break;
        }
        if found && !kind_of(&line).is_some_and(|kind| kind.starts_with("api-request")) {
            bytes += line.len();
            rest.push(line);
        } else if !found {
            found = id_of(&line).as_deref() == after;
        }
    }
    rest
}

fn lines(file: &Path) -> impl Iterator<Item = String> + use<> {
    let mut reader = fs::File::open(file).ok().map(|file| BufReader::new(file.take(MAX_BYTES)));
    std::iter::from_fn(move || {
        let mut line = Vec::new();
        let read = reader.as_mut()?.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line).ok()?;
        let whole = read > 0 && line.pop() == Some(b'\n');
        // A last line without an end was being written when the machine stopped.
        if whole { String::from_utf8(line).ok() } else { None }
    })
}

fn field(line: &str, name: &str) -> Option<String> {
    let entry: Value = serde_json::from_str(line).ok()?;
    entry.get(name)?.as_str().map(str::to_owned)
}

fn id_of(line: &str) -> Option<String> {
    line.contains("\"uuid\"").then(|| field(line, "uuid")).flatten()
}

fn kind_of(line: &str) -> Option<String> {
    field(line, "type")
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::{lay_out, rest};

    #[test]
    fn what_was_not_sent_is_what_stands_behind_the_last_entry() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("t.jsonl");
        let text = "{\"uuid\":\"a\"}\n{\"type\":\"api-request\"}\n{\"uuid\":\"b\"}\n{\"type\":\"mode\"}\n{\"uuid\":\"c";
        fs::write(&file, text).unwrap();
        assert_eq!(rest(&file, Some("a")), ["{\"uuid\":\"b\"}", "{\"type\":\"mode\"}"]);
        assert_eq!(rest(&file, None).len(), 3);
        assert!(rest(&file, Some("z")).is_empty() && rest(&dir.path().join("none"), None).is_empty());
    }

    #[test]
    fn links_that_an_agent_left_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (config, outside) = (dir.path().join("home/.claude"), dir.path().join("outside"));
        fs::create_dir_all(&outside).unwrap();
        fs::create_dir_all(&config).unwrap();
        symlink(&outside, config.join("projects")).unwrap();
        lay_out(&config, None, "id", "text\n").unwrap();
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        let file = config.join("projects/-workspace/id.jsonl");
        assert_eq!(fs::read_to_string(&file).unwrap(), "text\n");
        fs::remove_file(&file).unwrap();
        let target = outside.join("target");
        fs::write(&target, "kept").unwrap();
        symlink(&target, &file).unwrap();
        lay_out(&config, None, "id", "again\n").unwrap();
        assert_eq!(
            (fs::read_to_string(&target).unwrap(), fs::read_to_string(&file).unwrap()),
            ("kept".into(), "again\n".into())
        );
    }
}
