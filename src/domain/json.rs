//! JSON from outside, read so that nothing of it is lost or can hurt.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Lists and objects inside each other. What is stored lies some levels deeper and must be read again, and
/// the parser goes to 128.
pub const MAX_DEPTH: usize = 100;

/// More digits than this no 64-bit float has: with 17 each is told from its neighbours.
const FLOAT_DIGITS: usize = 17;

/// Why bytes are not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonFault {
    /// Nothing but white space.
    #[error("there is no JSON")]
    Empty,
    /// JSON that nests deeper than [`MAX_DEPTH`].
    #[error("it is nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// JSON that does not parse.
    #[error("it is no JSON: line {line}, column {column}")]
    Malformed {
        /// Where, from 1.
        line: usize,
        /// Where, from 1.
        column: usize,
    },
}

/// Reads JSON. NUL becomes U+FFFD. A number that no 64-bit number holds (an integer beyond them, a decimal with more
/// than 17 digits or beyond the range) stays as its text, in a string, rather than becoming another number.
///
/// # Errors
/// It is no JSON or nested deeper than [`MAX_DEPTH`].
pub fn read(body: &[u8]) -> Result<Value, JsonFault> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(JsonFault::Empty);
    }
    if is_too_deep(body) {
        return Err(JsonFault::TooDeep);
    }
    let kept = keep_wide_numbers(body);
    let mut value = serde_json::from_slice(&kept)
        .or_else(|fault| lone_surrogates_replaced(&kept).map_or(Err(fault), |mended| serde_json::from_slice(&mended)))
        .map_err(|fault| JsonFault::Malformed { line: fault.line(), column: fault.column() })?;
    if body.windows(6).any(|six| six == b"\\u0000") {
        replace_nul(&mut value);
    }
    Ok(value)
}

/// Reads a value as what it should be. What is wrong with it is said in words that name the field.
///
/// # Errors
/// It is something else.
pub fn fit<T: DeserializeOwned>(value: &Value) -> Result<T, String> {
    serde_path_to_error::deserialize(value).map_err(|fault| {
        let path = fault.path().to_string();
        let at = if path == "." { String::new() } else { format!("`{path}`: ") };
        format!("{at}{}", fault.into_inner())
    })
}

/// Whether there are more values in it than that, keys and what is inside others counted.
#[must_use]
pub fn has_more_values_than(body: &[u8], most: usize) -> bool {
    let (mut at, mut values) = (0, 1_usize);
    while let Some(byte) = body.get(at) {
        if *byte == b'"' {
            at = string_end(body, at + 1);
            continue;
        }
        values += usize::from(matches!(byte, b',' | b':' | b'[' | b'{'));
        if values > most {
            return true;
        }
        at += 1;
    }
    values > most
}

/// Whether brackets outside strings nest deeper than [`MAX_DEPTH`].
fn is_too_deep(body: &[u8]) -> bool {
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(byte) = body.get(at) {
        match byte {
            b'"' => {
                at = string_end(body, at + 1);
                continue;
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return true;
        }
        at += 1;
    }
    false
}

/// No deeper than [`MAX_DEPTH`].
fn replace_nul(value: &mut Value) {
    match value {
        Value::String(text) => *text = text.replace('\0', "\u{fffd}"),
        Value::Array(values) => values.iter_mut().for_each(replace_nul),
        Value::Object(fields) => {
            let replaced = std::mem::take(fields).into_iter().map(|(name, mut value)| {
                replace_nul(&mut value);
                (name.replace('\0', "\u{fffd}"), value)
            });
            *fields = replaced.collect();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Escapes of half a surrogate pair, which JSON allows and no text can hold, as U+FFFD; `None` without any.
/// Python writes them for bytes that are no UTF-8, such as in mail headers.
fn lone_surrogates_replaced(body: &[u8]) -> Option<Vec<u8>> {
    let unit = |at: usize| {
        let digits = body.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let mut mended = body.to_vec();
    let mut at = 0;
    while let Some(byte) = body.get(at) {
        at += match (byte, unit(at), unit(at + 6)) {
            (b'\\', Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (b'\\', Some(0xd800..=0xdfff), _) => {
                if let Some(digits) = mended.get_mut(at + 2..at + 6) {
                    digits.copy_from_slice(b"fffd");
                }
                6
            }
            (b'\\', _, _) => 2,
            _ => 1,
        };
    }
    (mended != body).then_some(mended)
}

/// Puts quotes around numbers that would not survive.
fn keep_wide_numbers(body: &[u8]) -> Cow<'_, [u8]> {
    let mut out: Vec<u8> = Vec::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(byte) = body.get(at) {
        match byte {
            b'"' => at = string_end(body, at + 1),
            b'-' | b'0'..=b'9' => {
                let length = body[at..]
                    .iter()
                    .take_while(|b| matches!(b, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'))
                    .count();
                if is_too_wide(&body[at..at + length]) {
                    out.extend_from_slice(&body[copied..at]);
                    out.push(b'"');
                    out.extend_from_slice(&body[at..at + length]);
                    out.push(b'"');
                    copied = at + length;
                }
                at += length;
            }
            _ => at += 1,
        }
    }
    if copied == 0 {
        return Cow::Borrowed(body);
    }
    out.extend_from_slice(&body[copied..]);
    Cow::Owned(out)
}

fn string_end(body: &[u8], mut at: usize) -> usize {
    while let Some(byte) = body.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    body.len()
}

fn is_too_wide(number: &[u8]) -> bool {
    let is_integer = number.iter().all(|b| matches!(b, b'-' | b'0'..=b'9'));
    if is_integer && number.len() < 19 || number.len() < 3 {
        return false;
    }
    let Ok(text) = std::str::from_utf8(number) else { return false };
    // What is no number in JSON (`01`, `1.`, `--1`) is left for the parser to refuse.
    if serde_json::from_slice::<&serde_json::value::RawValue>(number).is_err() {
        return false;
    }
    if is_integer {
        return text.parse::<i64>().is_err() && text.parse::<u64>().is_err();
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_infinite() => true,
        // Nobody who has a 64-bit number writes more digits of it: these are somebody's exact ones.
        Ok(number) if text.len() > FLOAT_DIGITS || number == 0.0 => {
            let exact = digits(text);
            exact.0.len() > if number == 0.0 { 0 } else { FLOAT_DIGITS } && exact != digits(&format!("{number:e}"))
        }
        Ok(_) => false,
        Err(_) => false,
    }
}

/// The digits that count of a number in JSON, and the power of ten behind the last one.
fn digits(number: &str) -> (String, i64) {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{}{fraction}", whole.trim_start_matches('-'));
    let counting = all.trim_end_matches('0');
    let behind = (all.len() - counting.len()) as i64 - fraction.len() as i64;
    let exponent = exponent.parse::<i64>().unwrap_or(0).saturating_add(behind);
    let counting = counting.trim_start_matches('0');
    (counting.to_owned(), if counting.is_empty() { 0 } else { exponent })
}

#[cfg(test)]
mod tests {
    use super::{JsonFault, has_more_values_than, read};

    #[test]
    fn values_are_counted_without_what_stands_in_texts() {
        for (text, values) in [("7", 1), ("\",,,[[[\\\",\"", 1), ("[0,0,0]", 4), ("{\"a\":{\"b,c\":[]}}", 6)] {
            assert!(has_more_values_than(text.as_bytes(), values - 1), "{text}");
            assert!(!has_more_values_than(text.as_bytes(), values), "{text}");
        }
        assert!(has_more_values_than("[".repeat(9).as_bytes(), 9));
    }

    #[test]
    fn what_nests_too_deep_to_be_read_again_is_refused() {
        let deep = |times: usize| format!("{}\"[[\\\"{{\"{}", "[".repeat(times), "]".repeat(times));
        assert!(read(deep(100).as_bytes()).is_ok());
        assert_eq!(read(deep(101).as_bytes()), Err(JsonFault::TooDeep));
        assert_eq!(read("{\"a\":".repeat(127).as_bytes()), Err(JsonFault::TooDeep));
        assert!(read(format!("[{}1]", "[],{},".repeat(200)).as_bytes()).is_ok(), "beside each other");
    }

    #[test]
    fn wide_numbers_keep_their_digits() {
        let value = read(br#"{"id":123456789012345678901234567890,"n":[18446744073709551615,-9223372036854775808,1e400,1.5],"s":"12345678901234567890123 \" 1e999"}"#).unwrap();
        assert_eq!(
            value.to_string(),
            r#"{"id":"123456789012345678901234567890","n":[18446744073709551615,-9223372036854775808,"1e400",1.5],"s":"12345678901234567890123 \" 1e999"}"#
        );
        let value = read(b"[0.1,1e5,1.10,100.0,0.30000000000000004,0.10000000000000001,-0.0,0e9,12345678901234567.25,1e-400,3.14159265358979323846,0.10000000000000000000000]").unwrap();
        assert_eq!(
            value.to_string(),
            r#"[0.1,100000.0,1.1,100.0,0.30000000000000004,0.1,-0.0,0.0,"12345678901234567.25","1e-400","3.14159265358979323846",0.1]"#
        );
        for bad in ["{\"a\":0123456789012345678901234}", "[1e400.5]", "{", "\"\\", "[--1234567890123456789012]"] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(read(&b"[".repeat(100_000)).is_err());
    }

    #[test]
    fn what_no_text_can_hold_is_replaced() {
        assert_eq!(
            read(br#"["\udc80 \ud83d\ude00 \ud83d\\ud83d"]"#).unwrap().to_string(),
            "[\"\u{fffd} \u{1f600} \u{fffd}\\\\ud83d\"]"
        );
        assert_eq!(read(br#"{"a\u0000":["\u0000"]}"#).unwrap().to_string(), "{\"a\u{fffd}\":[\"\u{fffd}\"]}");
    }
}
