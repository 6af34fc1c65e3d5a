//! Encoded words (RFC 2047), put into a form that every reader takes for what it means.

use crate::ingress::mail::decode;

/// Bytes of the longest charset name that is looked at.
const CHARSET_BYTES: usize = 60;

/// The value unfolded, its encoded words as UTF-8. Words that stand beside each other are decoded as one: mailers cut
/// characters in two. Words may hold blanks, which RFC 2047 forbids and mailers write.
pub(super) fn canonical(value: &[u8]) -> Vec<u8> {
    let value = unfolded(value);
    if !value.windows(2).any(|pair| pair == b"=?") {
        return value;
    }
    let mut out = Vec::with_capacity(value.len());
    let mut run: Option<Run> = None;
    let mut at = 0;
    // Where a word can no longer end: no `?=` comes behind it.
    let last = value.windows(2).rposition(|pair| pair == b"?=").unwrap_or(0);
    while at < value.len() {
        let rest = &value[at..];
        let word = if rest.starts_with(b"=?") && at < last { Word::read(rest) } else { None };
        match (word, &mut run) {
            (Some(word), Some(open)) if open.is_continued_by(&word) => {
                open.bytes.extend_from_slice(&word.bytes);
                open.blanks.clear();
                at += word.length;
            }
            (Some(word), _) => {
                if let Some(mut ended) = run.take() {
                    ended.blanks.clear();
                    ended.write(&mut out);
                    out.push(b' ');
                }
                at += word.length;
                run = Some(Run { charset: word.charset, bytes: word.bytes, blanks: Vec::new() });
            }
            (None, Some(open)) if matches!(rest.first(), Some(b' ' | b'\t')) => {
                open.blanks.extend(rest.first());
                at += 1;
            }
            (None, _) => {
                if let Some(ended) = run.take() {
                    ended.write(&mut out);
                }
                out.extend(rest.first());
                at += 1;
            }
        }
    }
    if let Some(ended) = run {
        ended.write(&mut out);
    }
    out
}

/// Line ends before blanks are the transport's (RFC 5322 §2.2.3).
pub(super) fn unfolded(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((first, tail)) = rest.split_first() {
        let line_end = match (first, tail) {
            (b'\r', [b'\n', b' ' | b'\t', ..]) => 2,
            (b'\n', [b' ' | b'\t', ..]) => 1,
            (_, _) => 0,
        };
        if line_end > 0 {
            rest = &rest[line_end..];
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    out
}

/// Words of one character set beside each other, and the blanks behind them.
struct Run {
    charset: String,
    bytes: Vec<u8>,
    blanks: Vec<u8>,
}

impl Run {
    /// A word in ISO 2022 begins and ends in ASCII by itself; two of them as one would hold an empty stretch, which
    /// decoders take for a fault.
    fn is_continued_by(&self, word: &Word) -> bool {
        let by_itself = self.charset.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("iso-2022"));
        !by_itself && self.charset.eq_ignore_ascii_case(&word.charset)
    }

    fn write(&self, out: &mut Vec<u8>) {
        let text = decode::charset(Some(&self.charset), &self.bytes);
        out.extend_from_slice(b"=?utf-8?B?");
        out.extend_from_slice(data_encoding::BASE64.encode(text.as_bytes()).as_bytes());
        out.extend_from_slice(b"?=");
        out.extend_from_slice(&self.blanks);
    }
}

struct Word {
    charset: String,
    bytes: Vec<u8>,
    length: usize,
}

impl Word {
    /// `=?charset*language?B?text?=`.
    fn read(rest: &[u8]) -> Option<Self> {
        let body = &rest[2..];
        let end = body.iter().take(CHARSET_BYTES).position(|byte| *byte == b'?')?;
        let charset = body[..end].split(|byte| *byte == b'*').next()?;
        if charset.is_empty() || !charset.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.:+".contains(b)) {
            return None;
        }
        let (encoding, text) = (body.get(end + 1)?, body.get(end + 2..)?.strip_prefix(b"?")?);
        // Looked for no further than to where another word begins, so that words without an end cost no more.
        let length = match text.windows(2).position(|pair| matches!(pair, b"?=" | b"=?"))? {
            end if text[end..].starts_with(b"?=") => end,
            // `=?utf-8?Q?=?=`: the sign before the end may be the text's own.
            sign if text[sign..].starts_with(b"=?=") => sign + 1,
            _ => return None,
        };
        let text = &text[..length];
        let bytes = match encoding {
            b'B' | b'b' => decode::transfer("base64", text).into_owned(),
            b'Q' | b'q' => quoted(text),
            _ => return None,
        };
        Some(Self { charset: String::from_utf8_lossy(charset).into_owned(), bytes, length: 2 + end + 3 + length + 2 })
    }
}

/// RFC 2047 §4.2.
fn quoted(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let escaped = text.get(at + 1..at + 3).and_then(decode::hex_pair).filter(|_| *byte == b'=');
        out.push(match (escaped, byte) {
            (Some(escaped), _) => escaped,
            (None, b'_') => b' ',
            (None, byte) => *byte,
        });
        at += if escaped.is_some() { 3 } else { 1 };
    }
    out
}

#[cfg(test)]
mod tests {
    use crate::ingress::mail::head::unstructured;

    #[test]
    fn words_are_decoded_as_mailers_write_them() {
        for (raw, expected) in [
            ("=?utf-8?Q?=C3?= =?utf-8?Q?=BC?=", "ü"),
            ("=?utf-8?B?w6Q=?=\r\n =?UTF-8?q?=C3=B6?= x", "äö x"),
            ("a =?utf-8*de?Q?b_c?= d", "a b c d"),
            ("=?utf-8?Q?two words?=", "two words"),
            ("=?iso-8859-1?Q?=FC?= =?utf-8?Q?=C3=BC?=", "üü"),
            ("=?cp949?B?x9GxuQ==?=", "한국"),
            ("=?iso-2022-jp?B?GyRCJUYbKEI=?= =?iso-2022-jp?B?GyRCJTkbKEI=?=", "テス"),
            ("=?x-nope?Q?abc?=", "abc"),
            ("=?utf-8?X?abc?=", "=?utf-8?X?abc?="),
            ("=?broken", "=?broken"),
            ("1 =? 2 ?= 3", "1 =? 2 ?= 3"),
        ] {
            assert_eq!(unstructured(raw.as_bytes()), expected, "{raw}");
        }
    }
}
