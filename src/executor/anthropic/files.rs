//! Files that came with an event, as a model is shown them: images and PDF as blocks of their own, text as text. A
//! conversation keeps where they stood, not their bytes.

use std::collections::HashSet;

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::{
    domain::{
        run::{Failure, FailureCode},
        template::clip,
    },
    executor::{AttachmentFile, Marks, anthropic::entry},
};

/// Files that are shown; with more than 20 images the API takes only small ones.
const MAX_FILES: usize = 20;
/// Bytes of an image as base64 (docs.claude.com, "Vision").
const MAX_IMAGE_BYTES: usize = 5 * 1024 * 1024;
/// Bytes of all images and PDF as base64: a request has 32 MB with all that was said.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of all texts.
const MAX_TEXT_BYTES: usize = 200_000;
/// Bytes of a file's name, as the model and the record are told it.
const MAX_NAME_BYTES: usize = 200;
/// How a block that stands for a file is called in a conversation; the API never sees it.
const STANDS_FOR: &str = "postern_file";

/// The files of one run.
#[derive(Debug, Default)]
pub(super) struct Files {
    run: String,
    blocks: Vec<Value>,
    content: Vec<Value>,
    told: Option<String>,
    are_withdrawn: bool,
}

/// What one file is for a model.
enum Shown {
    /// A block as the API takes it.
    Block(Value),
    Text(String),
    LeftOut(String),
}

impl Files {
    /// What is shown of `attachments`.
    ///
    /// # Errors
    /// When the system has no randomness for the marks.
    pub(super) fn of(run: &str, attachments: &[AttachmentFile]) -> Result<Self, Failure> {
        let mut files = Self { run: run.to_owned(), ..Self::default() };
        if attachments.is_empty() {
            return Ok(files);
        }
        let marks = Marks::new().map_err(|fault| Failure::new(FailureCode::Executor, fault))?;
        let (mut room, mut text_room) = (MAX_BYTES, MAX_TEXT_BYTES);
        let (mut list, mut texts, mut left_out) = (String::new(), Vec::new(), Vec::new());
        let mut shown = 0;
        for (number, file) in (1..).zip(attachments) {
            let name = clip(&file.filename, MAX_NAME_BYTES);
            let seen = if shown < MAX_FILES {
                show(file, &mut room, &mut text_room)
            } else {
                Shown::LeftOut(format!("{MAX_FILES} files are shown at most"))
            };
            let said = match seen {
                Shown::Block(block) => {
                    files.blocks.push(block);
                    shown += 1;
                    format!("shown as block {} below", files.blocks.len())
                }
                Shown::Text(text) => {
                    shown += 1;
                    texts.push(format!("File {number}:\n{text}"));
                    "its text is below".to_owned()
                }
                Shown::LeftOut(why) => {
                    left_out.push(format!("{name} ({why})"));
                    format!("not shown: {why}")
                }
            };
            list.push_str(&format!("{number}. {name}, {} bytes: {said}\n", file.bytes.len()));
        }
        let mut before = vec![marks.text(format!("Files that came with it:\n{list}").trim_end())];
        before.extend(texts.iter().map(|text| marks.text(text.trim_end())));
        files.content = entry::texts(&before);
        let stands = |number| json!({"type": STANDS_FOR, "run": run, "number": number});
        files.content.extend((1..=files.blocks.len()).map(stands));
        let from = match files.blocks.len() {
            0 => "files of the event".to_owned(),
            count => format!("files of the event, and so did the {count} images and documents behind them"),
        };
        files.content.extend(entry::texts(&[marks.note(&from)]));
        let total = attachments.len();
        files.told = Some(if left_out.is_empty() {
            format!("the model is shown {total} files of the event")
        } else {
            let named = clip(&left_out.join(", "), 4 * MAX_NAME_BYTES).to_owned();
            format!("the model is shown {shown} of {total} files of the event; not shown: {named}")
        });
        Ok(files)
    }

    /// The blocks of a prompt with the files before its last one, which is ours alone.
    pub(super) fn beside(&self, blocks: &[String]) -> Vec<Value> {
        let (last, before) =
            blocks.split_last().map_or((&[][..], blocks), |(last, before)| (std::slice::from_ref(last), before));
        let mut content = entry::texts(before);
        content.extend(self.content.iter().cloned());
        content.extend(entry::texts(last));
        content
    }

    /// What the record is told of them; once.
    pub(super) fn told(&mut self) -> Option<String> {
        self.told.take()
    }

    /// Shows none of the blocks any more. `false` when there is none that was shown.
    pub(super) fn withdraw(&mut self) -> bool {
        let had = !self.blocks.is_empty();
        self.blocks.clear();
        self.are_withdrawn |= had;
        had
    }

    /// Puts the files where they stand in the messages of a request, each where it stands last.
    pub(super) fn fill(&self, messages: &mut [Value]) {
        let mut seen = HashSet::new();
        let contents = messages.iter_mut().rev().filter_map(|message| message.get_mut("content")?.as_array_mut());
        for block in contents.flat_map(|content| content.iter_mut().rev()) {
            if block.get("type").and_then(Value::as_str) != Some(STANDS_FOR) {
                continue;
            }
            let is_own = block.get("run").and_then(Value::as_str) == Some(self.run.as_str());
            let number = block.get("number").and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok());
            let number = number.filter(|_| is_own);
            let own = number.and_then(|number| self.blocks.get(number.checked_sub(1)?)).filter(|_| seen.insert(number));
            *block = match own {
                Some(own) => own.clone(),
                None if is_own && self.are_withdrawn => note("(A file that the model's API does not take.)"),
                None => note("(A file of an earlier message, which is not shown any more.)"),
            };
        }
    }
}

fn note(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

fn show(file: &AttachmentFile, room: &mut usize, text_room: &mut usize) -> Shown {
    if let Some((kind, media_type)) = media_type(&file.bytes) {
        let size = file.bytes.len().div_ceil(3).saturating_mul(4);
        if kind == "image" && size > MAX_IMAGE_BYTES {
            return Shown::LeftOut("images are 3.7 MiB at most".to_owned());
        }
        let Some(left) = room.checked_sub(size) else {
            return Shown::LeftOut("images and PDF are 12 MiB at most together".to_owned());
        };
        *room = left;
        let source = json!({"type": "base64", "media_type": media_type, "data": BASE64.encode(&file.bytes)});
        return Shown::Block(json!({"type": kind, "source": source}));
    }
    let text = std::str::from_utf8(&file.bytes).ok().map(|text| text.trim_start_matches('\u{feff}'));
    let Some(text) = text.filter(|text| !text.chars().any(is_no_text)) else {
        return Shown::LeftOut("it is no image, PDF or text in UTF-8".to_owned());
    };
    if text.trim().is_empty() {
        return Shown::LeftOut("it is empty".to_owned());
    }
    let kept = clip(text, *text_room);
    if kept.is_empty() {
        return Shown::LeftOut(format!("texts are {} kB at most together", MAX_TEXT_BYTES / 1000));
    }
    *text_room -= kept.len();
    let cut = if kept.len() < text.len() { "\n[cut: the rest is not shown]" } else { "" };
    Shown::Text(format!("{kept}{cut}"))
}

/// The kind of block and the type of bytes that the API looks at, by how they begin: names say anything.
fn media_type(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    Some(match bytes {
        [0x89, b'P', b'N', b'G', ..] => ("image", "image/png"),
        [0xff, 0xd8, 0xff, ..] => ("image", "image/jpeg"),
        [b'G', b'I', b'F', b'8', ..] => ("image", "image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => ("image", "image/webp"),
        [b'%', b'P', b'D', b'F', b'-', ..] => ("document", "application/pdf"),
        _ => return None,
    })
}

fn is_no_text(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{c}')
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Files, MAX_IMAGE_BYTES, MAX_TEXT_BYTES};
    use crate::executor::AttachmentFile;

    fn files(given: &[(&str, &[u8])]) -> Files {
        let given: Vec<AttachmentFile> = given
            .iter()
            .map(|(name, bytes)| AttachmentFile { filename: (*name).to_owned(), bytes: bytes.to_vec() })
            .collect();
        Files::of("run_1", &given).unwrap()
    }

    fn message(files: &Files, prompt: &[&str]) -> Value {
        let prompt: Vec<String> = prompt.iter().map(|block| (*block).to_owned()).collect();
        json!({"role": "user", "content": files.beside(&prompt)})
    }

    #[test]
    fn files_stand_before_the_last_block_and_their_texts_between_marks() {
        let mut shown = files(&[
            ("a.png", b"\x89PNG\r\n\x1a\n"),
            ("b.csv", "\u{feff}one,two\u{200b}\n".as_bytes()),
            ("c.exe", b"MZ\0\0"),
            ("d.txt", b"%PDF-1.7 x"),
        ]);
        let mut messages = [message(&shown, &["<o>event</o>", "Deal with it."])];
        shown.fill(&mut messages);
        let content = messages[0]["content"].as_array().unwrap();
        let kinds: Vec<&str> = content.iter().map(|block| block["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["text", "text", "text", "image", "document", "text", "text"]);
        assert_eq!(content[6]["text"], "Deal with it.");
        assert_eq!(content[4]["source"]["media_type"], "application/pdf", "the name is not believed");
        let list = content[1]["text"].as_str().unwrap();
        let tag = list.lines().next().unwrap();
        assert!(
            tag.starts_with("<outside-") && list.contains("3. c.exe, 4 bytes: not shown: it is no image"),
            "{list}"
        );
        assert_eq!(content[2]["text"], format!("{tag}\nFile 2:\none,two\n</{}", &tag[1..]));
        assert!(content[5]["text"].as_str().unwrap().contains(tag));
        assert_eq!(
            shown.told().as_deref(),
            Some(
                "the model is shown 3 of 4 files of the event; not shown: c.exe (it is no image, PDF or text in UTF-8)"
            )
        );
        assert_eq!(shown.told(), None);
        assert!(files(&[]).beside(&["a".to_owned()]).len() == 1);
    }

    #[test]
    fn bytes_stand_once_in_a_request_and_only_those_of_this_run() {
        let mut shown = files(&[("a.gif", b"GIF89a")]);
        let other = json!({"role": "user", "content": [{"type": "postern_file", "run": "run_0", "number": 1}]});
        let mut messages = [other, message(&shown, &["x"]), message(&shown, &["x"])];
        let unfilled = messages.clone();
        shown.fill(&mut messages);
        let said = json!(messages).to_string();
        assert!(!said.contains("postern_file") && said.matches("base64").count() == 1, "{said}");
        assert!(messages[2].to_string().contains("base64"));
        assert!(shown.withdraw() && !shown.withdraw());
        messages = unfilled;
        shown.fill(&mut messages);
        assert!(
            messages[2].to_string().contains("does not take") && messages[0].to_string().contains("earlier message")
        );
    }

    #[test]
    fn what_is_too_large_is_left_out_and_said() {
        let image = [b"\xff\xd8\xff".as_slice(), &vec![0; MAX_IMAGE_BYTES / 4 * 3]].concat();
        let pdf = [b"%PDF-".as_slice(), &vec![0; 7 << 20]].concat();
        let text = "x".repeat(MAX_TEXT_BYTES - 10);
        let mut shown = files(&[
            ("a.jpg", &image),
            ("b.pdf", &pdf),
            ("c.pdf", &pdf),
            ("d.txt", text.as_bytes()),
            ("e.txt", b"more than ten bytes"),
            ("f.txt", b"nothing is left"),
        ]);
        let told = shown.told().unwrap();
        for why in ["shown 3 of 6", "a.jpg (images are", "c.pdf (images and PDF are", "f.txt (texts are"] {
            assert!(told.contains(why), "{told}");
        }
        assert!(message(&shown, &["x"]).to_string().contains("[cut: the rest is not shown]"));
        let many: Vec<(String, Vec<u8>)> = (0..25).map(|number| (format!("{number}.txt"), b"x".to_vec())).collect();
        let many: Vec<(&str, &[u8])> = many.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
        assert!(files(&many).told().unwrap().starts_with("the model is shown 20 of 25 files"));
    }
}
