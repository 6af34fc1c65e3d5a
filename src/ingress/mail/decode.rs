//! Transfer encodings and character sets, undone leniently: a broken part is still somebody's words.

use std::borrow::Cow;

use mail_parser::decoders::charsets::map::charset_decoder;

/// Undoes a `Content-Transfer-Encoding` by name; unknown ones are taken as they are (RFC 2045 §6.4 asks for bytes).
pub(super) fn transfer<'a>(encoding: &str, raw: &'a [u8]) -> Cow<'a, [u8]> {
    let token = encoding.split([';', ' ', '(']).find(|token| !token.is_empty()).unwrap_or("");
    if token.eq_ignore_ascii_case("base64") {
        Cow::Owned(base64(raw))
    } else if token.eq_ignore_ascii_case("quoted-printable") {
        Cow::Owned(quoted_printable(raw))
    } else {
        Cow::Borrowed(raw)
    }
}

/// Skips what is not of the alphabet, as RFC 2045 §6.8 asks; padding ends a group.
fn base64(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len() / 4 * 3);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for byte in raw {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b'=' => {
                (bits, held) = (0, 0);
                continue;
            }
            _ => continue,
        };
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push(((bits >> held) & 0xff) as u8);
            bits &= (1 << held) - 1;
        }
    }
    out
}

/// Broken escapes stay as they were written; blanks at line ends are transport's (RFC 2045 §6.7).
fn quoted_printable(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    for line in raw.split_inclusive(|byte| *byte == b'\n') {
        let end = line.iter().rposition(|byte| !byte.is_ascii_whitespace()).map_or(0, |at| at + 1);
        let (mut content, newline) = (&line[..end], if line.ends_with(b"\r\n") { &b"\r\n"[..] } else { &b"\n"[..] });
        let soft = content.last() == Some(&b'=');
        if soft {
            content = &content[..end - 1];
        }
        let mut at = 0;
        while at < content.len() {
            let escaped = content.get(at + 1..at + 3).and_then(hex_pair);
            match (content[at], escaped) {
                (b'=', Some(byte)) => {
                    out.push(byte);
                    at += 3;
                }
                (byte, _) => {
                    out.push(byte);
                    at += 1;
                }
            }
        }
        if !soft && line.ends_with(b"\n") {
            out.extend_from_slice(newline);
        }
    }
    out
}

/// Two hex digits as a byte.
pub(super) fn hex_pair(digits: &[u8]) -> Option<u8> {
    match digits {
        [high, low] => {
            let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
            Some(value(*high)? * 16 + value(*low)?)
        }
        _ => None,
    }
}

/// Text in a declared character set. What is declared as Latin or not at all is UTF-8 when it is valid UTF-8
/// (the commonest lie), and Windows-1252 otherwise.
pub(super) fn charset(declared: Option<&str>, bytes: &[u8]) -> String {
    let declared = declared.unwrap_or("").trim().to_ascii_lowercase();
    let decoder = charset_decoder(declared.as_bytes()).filter(|_| !declared.is_empty());
    let latin = matches!(declared.as_str(), "us-ascii" | "ascii" | "iso-8859-1" | "windows-1252" | "cp1252" | "latin1");
    match decoder {
        Some(decoder) if !latin && !matches!(declared.as_str(), "utf-8" | "utf8") => decoder(bytes),
        Some(_) if matches!(declared.as_str(), "utf-8" | "utf8") => String::from_utf8_lossy(bytes).into_owned(),
        Some(_) | None => undeclared(bytes),
    }
}

/// UTF-8 when it is, else Windows-1252.
pub(super) fn undeclared(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => charset_decoder(b"windows-1252")
            .map_or_else(|| String::from_utf8_lossy(bytes).into_owned(), |decoder| decoder(bytes)),
    }
}
