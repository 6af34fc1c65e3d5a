//! Commands as they go out: words and strings that the server cannot take for anything else.

use data_encoding::BASE64_NOPAD;

/// A command without its tag.
pub(super) struct Command {
    /// For errors: never with arguments, which may be secret.
    pub(super) name: &'static str,
    /// Sent in order; before each but the first the server must say that it is ready.
    pub(super) pieces: Vec<Vec<u8>>,
}

impl Command {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, pieces: vec![name.as_bytes().to_vec()] }
    }

    /// Adds words that need no protection: numbers, flags, names of items.
    pub(super) fn word(mut self, word: &str) -> Self {
        self.last().push(b' ');
        self.last().extend_from_slice(word.as_bytes());
        self
    }

    /// Adds a string: quoted, or a literal where quoting cannot carry it (RFC 3501 section 4.3).
    pub(super) fn string(mut self, text: &str) -> Self {
        let quotable = text.len() <= 512 && text.bytes().all(|byte| (b' '..0x7f).contains(&byte));
        let last = self.last();
        last.push(b' ');
        if quotable {
            last.push(b'"');
            for byte in text.bytes() {
                if matches!(byte, b'"' | b'\\') {
                    last.push(b'\\');
                }
                last.push(byte);
            }
            last.push(b'"');
        } else {
            last.extend_from_slice(format!("{{{}}}\r\n", text.len()).as_bytes());
            self.pieces.push(text.as_bytes().to_vec());
        }
        self
    }

    /// Adds the name of a folder.
    pub(super) fn folder(self, name: &str) -> Self {
        self.string(&folder_name(name))
    }

    fn last(&mut self) -> &mut Vec<u8> {
        if self.pieces.is_empty() {
            self.pieces.push(Vec::new());
        }
        let at = self.pieces.len() - 1;
        &mut self.pieces[at]
    }
}

/// A folder's name in modified UTF-7 (RFC 3501 section 5.1.3).
fn folder_name(name: &str) -> String {
    let mut written = String::new();
    let mut pending: Vec<u8> = Vec::new();
    let flush = |pending: &mut Vec<u8>, written: &mut String| {
        if !pending.is_empty() {
            written.push('&');
            written.push_str(&BASE64_NOPAD.encode(pending).replace('/', ","));
            written.push('-');
            pending.clear();
        }
    };
    for c in name.chars() {
        if (' '..='~').contains(&c) {
            flush(&mut pending, &mut written);
            written.push(c);
            if c == '&' {
                written.push('-');
            }
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                pending.extend_from_slice(&unit.to_be_bytes());
            }
        }
    }
    flush(&mut pending, &mut written);
    written
}

#[cfg(test)]
mod tests {
    use super::{Command, folder_name};

    #[test]
    fn strings_cannot_leave_their_place() {
        let command = Command::new("LOGIN").string("a\"b\\c").string("pass\r\nA1 DELETE INBOX");
        let pieces: Vec<String> =
            command.pieces.iter().map(|piece| String::from_utf8_lossy(piece).into_owned()).collect();
        assert_eq!(pieces, ["LOGIN \"a\\\"b\\\\c\" {21}\r\n", "pass\r\nA1 DELETE INBOX"]);
    }

    #[test]
    fn folders_are_named_as_the_rfc_shows() {
        assert_eq!(folder_name("~peter/mail/台北/日本語"), "~peter/mail/&U,BTFw-/&ZeVnLIqe-");
        assert_eq!(folder_name("Entwürfe & Reste"), "Entw&APw-rfe &- Reste");
        assert_eq!(folder_name("a😀"), "a&2D3eAA-");
    }
}
