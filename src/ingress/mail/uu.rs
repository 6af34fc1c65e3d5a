//! Files that old mailers wrote into the text (POSIX `uuencode`): `begin 644 name`, lines, `end`.

use crate::ingress::mail::{RawFile, check::RawLines};

/// Files of one text that are taken out.
const FILES: usize = 50;

/// The text with its encoded files taken out; `[file: name]` stands in their place. What has no end stays text.
pub(super) fn without_files(text: &str) -> Option<(String, Vec<RawFile>)> {
    if !RawLines(text.as_bytes()).any(|line| line.starts_with(b"begin ")) {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    let mut files: Vec<RawFile> = Vec::new();
    let mut open: Option<Open<'_>> = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let start = at;
        at += line.len();
        let bare = line.trim_end_matches(['\r', '\n']);
        match &mut open {
            Some(file) if bare == "end" => {
                let file = std::mem::take(&mut open).map(|file| file.into_file()).unwrap_or_default();
                out.push_str(&format!("[file: {}]\n", super::safe_filename(&file.filename)));
                files.push(file);
            }
            Some(file) => {
                if !add_line(bare.as_bytes(), &mut file.bytes) {
                    out.push_str(text.get(file.start..at).unwrap_or(""));
                    open = None;
                }
            }
            None => match name_in(bare).filter(|_| files.len() < FILES) {
                Some(name) => open = Some(Open { name, start, bytes: Vec::new() }),
                None => out.push_str(line),
            },
        }
    }
    if let Some(file) = open {
        out.push_str(text.get(file.start..).unwrap_or(""));
    }
    (!files.is_empty()).then_some((out, files))
}

/// A part that is one encoded file; `None` when it is not.
pub(super) fn decoded(raw: &[u8]) -> Option<Vec<u8>> {
    let mut lines = raw.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    lines.by_ref().find(|line| line.starts_with(b"begin "))?;
    let mut bytes = Vec::new();
    for line in lines {
        if line == b"end" || !add_line(line, &mut bytes) {
            break;
        }
    }
    Some(bytes)
}

struct Open<'a> {
    name: &'a str,
    start: usize,
    bytes: Vec<u8>,
}

impl Open<'_> {
    fn into_file(self) -> RawFile {
        RawFile {
            filename: self.name.to_owned(),
            content_type: "application/octet-stream".to_owned(),
            bytes: self.bytes,
            content_id: None,
            within: Some("text".to_owned()),
        }
    }
}

/// `begin 644 name`.
fn name_in(line: &str) -> Option<&str> {
    let (mode, name) = line.strip_prefix("begin ")?.split_once(' ')?;
    let is_mode = matches!(mode.len(), 3 | 4) && mode.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    (is_mode && !name.trim().is_empty()).then_some(name.trim())
}

/// A length, then four characters for three bytes. Whether it was such a line.
fn add_line(line: &[u8], out: &mut Vec<u8>) -> bool {
    let Some((first, data)) = line.split_first() else { return true };
    let value = |byte: u8| (byte.wrapping_sub(b' ')) & 0x3f;
    let is_line = matches!(first, b' '..=b'`') && data.iter().all(|byte| matches!(byte, b' '..=b'`'));
    let length = usize::from(value(*first));
    // Some mailers drop blanks at the end.
    if !is_line || data.len() > length.div_ceil(3) * 4 + 2 {
        return false;
    }
    let end = out.len() + length;
    for group in data.chunks(4) {
        let at = |nth: usize| u32::from(value(group.get(nth).copied().unwrap_or(b' ')));
        let bits = (at(0) << 18) | (at(1) << 12) | (at(2) << 6) | at(3);
        out.extend_from_slice(bits.to_be_bytes().get(1..).unwrap_or_default());
    }
    out.resize(end, 0);
    true
}

#[cfg(test)]
mod tests {
    use super::{decoded, without_files};

    #[test]
    fn files_are_taken_out_of_the_text() {
        let text = "Hello\nbegin 644 a.txt\n$86)C9```\n`\nend\nBye\n";
        let (rest, files) = without_files(text).unwrap();
        assert_eq!(rest, "Hello\n[file: a.txt]\nBye\n");
        assert_eq!((files[0].filename.as_str(), files[0].bytes.as_slice()), ("a.txt", b"abcd".as_slice()));
        assert_eq!(decoded(b"begin 644 a.txt\r\n$86)C9```\r\n`\r\nend\r\n").unwrap(), b"abcd");
    }

    #[test]
    fn prose_stays_prose() {
        for text in [
            "begin 644 work\nand then go on with lower case\nend\n",
            "begin 644 a\n$86)C9```\n",
            "begin the day\nend\n",
        ] {
            assert_eq!(without_files(text), None, "{text}");
        }
    }
}
