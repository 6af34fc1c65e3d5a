//! Transfer encodings and character sets, undone leniently: a broken part is still somebody's words.

use std::borrow::Cow;

use mail_parser::decoders::charsets::map::charset_decoder;

use crate::ingress::mail::uu;

/// Undoes a `Content-Transfer-Encoding` by name; unknown ones are taken as they are (RFC 2045 §6.4 asks for bytes).
pub(super) fn transfer<'a>(encoding: &str, raw: &'a [u8]) -> Cow<'a, [u8]> {
    let token = encoding.split([';', ' ', '(']).find(|token| !token.is_empty()).unwrap_or("");
    if token.eq_ignore_ascii_case("base64") {
        Cow::Owned(base64(raw))
    } else if token.eq_ignore_ascii_case("quoted-printable") {
        Cow::Owned(quoted_printable(raw))
    } else if ["x-uuencode", "uuencode", "x-uue", "uue"].iter().any(|name| token.eq_ignore_ascii_case(name)) {
        uu::decoded(raw).map_or(Cow::Borrowed(raw), Cow::Owned)
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

/// Text in a declared character set. What is declared as Latin, wrongly or not at all is UTF-8 when it is valid UTF-8
/// (the commonest lie), and Windows-1252 otherwise.
pub(super) fn charset(declared: Option<&str>, bytes: &[u8]) -> String {
    let declared = known_name(declared.unwrap_or(""));
    match declared.as_str() {
        "utf-8" => String::from_utf8_lossy(bytes).into_owned(),
        "us-ascii" | "ascii" | "iso-8859-1" | "windows-1252" | "cp1252" | "latin1" | "" => undeclared(bytes),
        "iso-2022-kr" => korean(bytes),
        name => match charset_decoder(name.as_bytes()) {
            None => undeclared(bytes),
            Some(decoder) => {
                let text = decoder(bytes);
                let is_wrong = text.contains('\u{fffd}');
                let utf8 = std::str::from_utf8(bytes).ok().filter(|_| is_wrong && !bytes.is_ascii());
                utf8.map_or(text, str::to_owned)
            }
        },
    }
}

/// The name under which the decoders know a character set, for those that mailers call otherwise.
fn known_name(declared: &str) -> String {
    let name = declared.trim().trim_matches(['"', '\'']).to_ascii_lowercase().replace('_', "-");
    match name.strip_prefix("x-").unwrap_or(&name) {
        "utf8" | "utf-8" | "unicode-1-1-utf-8" | "utf8mb4" | "utf-8mb4" => "utf-8".to_owned(),
        "cp932" | "ms932" | "windows-932" | "sjis" | "shift-jis" | "cp943" => "shift_jis".to_owned(),
        "cp949" | "ms949" | "uhc" | "windows-949" | "ksc5601-1987" => "ks_c_5601-1987".to_owned(),
        "cp950" | "ms950" | "windows-950" => "big5".to_owned(),
        "gbk" | "cp936" | "gb18030-2000" => "gb18030".to_owned(),
        "cp874" | "iso-8859-11" => "windows-874".to_owned(),
        "cp50220" | "cp50221" | "cp50222" => "iso-2022-jp".to_owned(),
        other if other.starts_with("iso-2022-jp") => "iso-2022-jp".to_owned(),
        "iso8859-16" => "iso-8859-16".to_owned(),
        "latin-1" | "8859-1" | "iso-8859-1" | "iso8859-1" => "iso-8859-1".to_owned(),
        "latin-2" => "iso-8859-2".to_owned(),
        "latin9" | "latin-9" => "iso-8859-15".to_owned(),
        "koi8r" => "koi8-r".to_owned(),
        "koi8u" => "koi8-u".to_owned(),
        _ => name,
    }
}

/// ISO-2022-KR (RFC 1557): SO and SI switch to the characters of EUC-KR without their high bits.
fn korean(bytes: &[u8]) -> String {
    let mut euc = Vec::with_capacity(bytes.len());
    let mut shifted = false;
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            0x0e => shifted = true,
            0x0f => shifted = false,
            0x1b if tail.starts_with(b"$)C") => rest = tail.get(3..).unwrap_or_default(),
            byte if shifted && byte.is_ascii_graphic() => euc.push(byte | 0x80),
            byte => euc.push(*byte),
        }
    }
    charset_decoder(b"euc-kr").map_or_else(|| undeclared(&euc), |decoder| decoder(&euc))
}

/// UTF-8 when it is, else Windows-1252.
pub(super) fn undeclared(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => charset_decoder(b"windows-1252")
            .map_or_else(|| String::from_utf8_lossy(bytes).into_owned(), |decoder| decoder(bytes)),
    }
}
