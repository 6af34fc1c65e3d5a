//! RTF as Outlook puts it into `winmail.dat`: compressed (MS-OXRTFCP), and often holding the HTML it was made from
//! (MS-OXRTFEX).

use crate::ingress::mail::decode;

/// Bytes of RTF that are read.
const RTF_BYTES: usize = 4 * 1024 * 1024;
/// Groups within groups that are kept apart.
const DEPTH: usize = 200;

/// The words that every compressed text may point back to.
const WORDS: &[u8] =
    b"{\\rtf1\\ansi\\mac\\deff0\\deftab720{\\fonttbl;}{\\f0\\fnil \\froman \\fswiss \\fmodern \\fscript \
\\fdecor MS Sans SerifSymbolArialTimes New RomanCourier{\\colortbl\\red0\\green0\\blue0\r\n\\par \
\\pard\\plain\\f0\\fs20\\b\\i\\u\\tab\\tx";

/// What an RTF says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rtf {
    /// The HTML it was made from.
    Html(String),
    /// Its text.
    Text(String),
}

/// Undoes the compression; `None` when it is none.
pub(super) fn decompressed(data: &[u8]) -> Option<Vec<u8>> {
    let number = |at: usize| data.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    let (size, kind) = (usize::try_from(number(4)?).ok()?.min(RTF_BYTES), number(8)?);
    let rest = data.get(16..)?;
    match kind {
        0x414c_454d => return Some(rest.get(..size.min(rest.len()))?.to_vec()),
        0x7546_5a4c => {}
        _ => return None,
    }
    let mut ring = [b' '; 4096];
    ring.get_mut(..WORDS.len())?.copy_from_slice(WORDS);
    let mut place = WORDS.len();
    let mut out = Vec::with_capacity(size);
    let mut bytes = rest.iter().copied();
    'all: while out.len() < size {
        let Some(flags) = bytes.next() else { break };
        for bit in 0..8 {
            let Some(first) = bytes.next() else { break 'all };
            if flags & (1 << bit) == 0 {
                ring[place] = first;
                place = (place + 1) % ring.len();
                out.push(first);
                continue;
            }
            let Some(second) = bytes.next() else { break 'all };
            let reference = (usize::from(first) << 8) | usize::from(second);
            let (offset, length) = (reference >> 4, (reference & 0xf) + 2);
            if offset == place {
                break 'all;
            }
            for step in 0..length {
                let byte = ring[(offset + step) % ring.len()];
                ring[place] = byte;
                place = (place + 1) % ring.len();
                out.push(byte);
            }
        }
    }
    Some(out)
}

/// Reads the text, or the HTML within.
pub(super) fn read(rtf: &[u8]) -> Rtf {
    let rtf = rtf.get(..rtf.len().min(RTF_BYTES)).unwrap_or_default();
    let is_html = contains(rtf, b"\\fromhtml1");
    let mut reader =
        Reader { groups: vec![Group::default()], deeper: 0, bytes: Vec::new(), out: String::new(), skip: 0, is_html };
    let mut rest = rtf;
    while let Some((first, tail)) = rest.split_first() {
        rest = match first {
            b'{' => reader.open(tail),
            b'}' => reader.close(tail),
            b'\\' => reader.control(tail),
            b'\r' | b'\n' => tail,
            byte => {
                reader.byte(*byte);
                tail
            }
        };
    }
    reader.flush();
    if is_html { Rtf::Html(reader.out) } else { Rtf::Text(reader.out) }
}

#[derive(Clone, Copy, Default)]
struct Group {
    /// Nothing of it is shown.
    ignored: bool,
    /// RTF's own picture of the HTML.
    rendered: bool,
    /// A tag of the HTML.
    tag: bool,
}

struct Reader {
    groups: Vec<Group>,
    deeper: usize,
    bytes: Vec<u8>,
    out: String,
    /// Characters that stand in for the last Unicode one.
    skip: usize,
    is_html: bool,
}

impl Reader {
    fn group(&mut self) -> Option<&mut Group> {
        self.groups.last_mut()
    }

    fn open<'a>(&mut self, tail: &'a [u8]) -> &'a [u8] {
        if self.groups.len() < DEPTH {
            let outer = self.groups.last().copied().unwrap_or_default();
            self.groups.push(outer);
        } else {
            self.deeper += 1;
        }
        tail
    }

    fn close<'a>(&mut self, tail: &'a [u8]) -> &'a [u8] {
        if self.deeper > 0 {
            self.deeper -= 1;
        } else if self.groups.len() > 1 {
            self.groups.pop();
        }
        tail
    }

    fn is_shown(&self) -> bool {
        self.groups.last().is_some_and(|group| !group.ignored && (group.tag || !(self.is_html && group.rendered)))
    }

    fn byte(&mut self, byte: u8) {
        if self.skip > 0 {
            self.skip -= 1;
        } else if self.is_shown() {
            self.bytes.push(byte);
        }
    }

    fn text(&mut self, text: &str) {
        if self.is_shown() {
            self.flush();
            self.out.push_str(text);
        }
    }

    fn flush(&mut self) {
        if !self.bytes.is_empty() {
            self.out.push_str(&decode::charset(Some("windows-1252"), &self.bytes));
            self.bytes.clear();
        }
    }

    /// Behind a backslash: a character, `'xx`, or a word with a number.
    fn control<'a>(&mut self, tail: &'a [u8]) -> &'a [u8] {
        let Some((first, rest)) = tail.split_first() else { return tail };
        match first {
            b'\'' => {
                if let Some(byte) = rest.get(..2).and_then(decode::hex_pair) {
                    self.byte(byte);
                }
                return rest.get(2..).unwrap_or_default();
            }
            b'*' => {
                // A destination that readers may not know; Outlook's HTML tags are one.
                let known = rest.starts_with(b"\\htmltag") || rest.starts_with(b"\\mhtmltag");
                if let Some(group) = self.group() {
                    group.ignored |= !known;
                }
                return rest;
            }
            byte if byte.is_ascii_alphabetic() => {}
            b'~' => {
                self.text("\u{a0}");
                return rest;
            }
            byte => {
                self.byte(*byte);
                return rest;
            }
        }
        let letters = tail.iter().take(32).take_while(|byte| byte.is_ascii_alphabetic()).count();
        let (word, rest) = tail.split_at(letters);
        let sign = usize::from(rest.first() == Some(&b'-'));
        let digits = sign + rest.iter().skip(sign).take(10).take_while(|byte| byte.is_ascii_digit()).count();
        let number = rest.get(..digits).and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<i64>().ok());
        let rest = rest.get(digits..).unwrap_or_default();
        self.word(word, number);
        rest.strip_prefix(b" ").unwrap_or(rest)
    }

    fn word(&mut self, word: &[u8], number: Option<i64>) {
        match word {
            b"fonttbl" | b"colortbl" | b"stylesheet" | b"info" | b"pict" | b"generator" | b"mhtmltag" | b"object" => {
                if let Some(group) = self.group() {
                    group.ignored = true;
                }
            }
            b"htmltag" => {
                if let Some(group) = self.group() {
                    group.tag = true;
                }
            }
            b"htmlrtf" => {
                if let Some(group) = self.group() {
                    group.rendered = number != Some(0);
                }
            }
            b"par" | b"line" => self.text("\n"),
            b"tab" => self.text("\t"),
            b"lquote" => self.text("‘"),
            b"rquote" => self.text("’"),
            b"ldblquote" => self.text("“"),
            b"rdblquote" => self.text("”"),
            b"bullet" => self.text("•"),
            b"endash" => self.text("–"),
            b"emdash" => self.text("—"),
            b"u" => {
                let unit = number.map(|number| if number < 0 { number + 0x1_0000 } else { number });
                let c = unit.and_then(|unit| u32::try_from(unit).ok()).and_then(char::from_u32).unwrap_or('\u{fffd}');
                self.text(c.encode_utf8(&mut [0; 4]));
                self.skip = usize::from(self.is_shown());
            }
            _ => {}
        }
    }
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).take(2000).any(|window| window == word)
}

#[cfg(test)]
mod tests {
    use super::{Rtf, decompressed, read};

    #[test]
    fn the_example_of_the_specification_is_decompressed() {
        // MS-OXRTFCP §3.1.1.
        let data = b"\x2d\0\0\0\x2b\0\0\0LZFu\xf1\xc5\xc7\xa7\x03\0\x0a\0rcpg125\x42\x32\x0a\xf3 hel\x09\0 bw\x05\xb0ld}\x0a\x80\x0f\xa0";
        let found = String::from_utf8(decompressed(data).unwrap()).unwrap();
        assert_eq!(found, "{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n");
        assert_eq!(read(found.as_bytes()), Rtf::Text("hello world".to_owned()));
        assert!((0..data.len()).all(|cut| decompressed(&data[..cut]).is_none_or(|out| out.len() <= 60)));
    }

    #[test]
    fn html_within_rtf_is_taken_out() {
        let rtf = br"{\rtf1\ansi\fromhtml1 {\fonttbl{\f0 Arial;}}{\*\generator Riched20}{\*\htmltag64 <p>}\htmlrtf {\htmlrtf0 Gr\'fc\u223?e{\*\htmltag72 </p>}\htmlrtf }\par\htmlrtf0 }";
        assert_eq!(read(rtf), Rtf::Html("<p>Grüße</p>".to_owned()));
    }

    #[test]
    fn hostile_rtf_ends() {
        assert_eq!(read("{".repeat(500_000).as_bytes()), Rtf::Text(String::new()));
        let loops = [&b"\0\0\0\0\xff\xff\xff\x7fLZFu\0\0\0\0"[..], &[0xff; 1000]].concat();
        assert!(decompressed(&loops).unwrap().len() < 20_000);
    }
}
