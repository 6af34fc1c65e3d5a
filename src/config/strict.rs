//! Strict reading of a JSON tree into a type: every fault with its path and in plain words.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;

use crate::{config::problem::suggest, domain::template::clip};

/// Faults of one file that are reported at most; the rest shows after these are mended.
const MAX_FAULTS: usize = 50;

/// One step of a path into a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A key of a table.
    Key(String),
    /// A place in a list, from 0.
    Index(usize),
}

/// One thing that does not fit the type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Where.
    pub(crate) path: Vec<Step>,
    /// What, with the path.
    pub(crate) message: String,
    /// What to do.
    pub(crate) help: Option<String>,
}

/// `a.b[0].c`.
pub(crate) fn path_text(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => text.push_str(&format!(".{key}")),
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

/// Keys and indexes as a path.
pub(crate) fn keys(keys: &[&str]) -> Vec<Step> {
    keys.iter().map(|key| key.parse().map_or_else(|_| Step::Key((*key).to_owned()), Step::Index)).collect()
}

/// Reads `value`. After each fault its place is set back to what `default` has there, or removed, and
/// reading goes on, so that one pass finds them all.
pub(crate) fn read<T: DeserializeOwned>(mut value: Value, default: &Value) -> Result<T, Vec<Fault>> {
    let mut faults: Vec<Fault> = Vec::new();
    let mut removed: Vec<Vec<Step>> = Vec::new();
    for _ in 0..MAX_FAULTS {
        let error = match serde_path_to_error::deserialize::<_, T>(&value) {
            Ok(read) if faults.is_empty() => return Ok(read),
            Ok(_) => break,
            Err(error) => error,
        };
        let mut path: Vec<Step> = error.path().iter().filter_map(step).collect();
        let text = error.inner().to_string();
        if let Some(name) = quoted(&text, "unknown field `")
            && path.last() != Some(&Step::Key(name.to_owned()))
        {
            path.push(Step::Key(name.to_owned()));
        }
        let missing = quoted(&text, "missing field `").map(|name| [&path[..], &[Step::Key(name.to_owned())]].concat());
        let cut = cut(&mut value, default, &path);
        let original = restore(&path, &removed);
        if cut && matches!(path.last(), Some(Step::Index(_))) {
            removed.push(original.clone());
        }
        let known = missing.map(|path| restore(&path, &removed));
        if known.is_none_or(|missing| faults.iter().all(|fault| fault.path != missing)) {
            faults.push(explain(original, &text));
        }
        if !cut {
            break;
        }
    }
    Err(faults)
}

fn step(segment: &Segment) -> Option<Step> {
    match segment {
        Segment::Seq { index } => Some(Step::Index(*index)),
        Segment::Map { key } => Some(Step::Key(key.clone())),
        Segment::Enum { .. } | Segment::Unknown => None,
    }
}

/// Puts the default at `path`, or removes what is there; `false` when nothing was there.
fn cut(value: &mut Value, default: &Value, path: &[Step]) -> bool {
    let Some((last, parents)) = path.split_last() else {
        return false;
    };
    let mut at = value;
    let mut usual = Some(default);
    for step in parents {
        usual = usual.and_then(|value| child(value, step));
        let next = match step {
            Step::Key(key) => at.get_mut(key.as_str()),
            Step::Index(index) => at.get_mut(*index),
        };
        match next {
            Some(next) => at = next,
            None => return false,
        }
    }
    match (at, last, usual.and_then(|value| child(value, last))) {
        (Value::Object(map), Step::Key(key), Some(usual)) => map.insert(key.clone(), usual.clone()).is_some(),
        (Value::Object(map), Step::Key(key), None) => map.remove(key).is_some(),
        (Value::Array(list), Step::Index(index), _) if *index < list.len() => {
            list.remove(*index);
            true
        }
        _ => false,
    }
}

fn child<'a>(value: &'a Value, step: &Step) -> Option<&'a Value> {
    match step {
        Step::Key(key) => value.get(key.as_str()),
        Step::Index(index) => value.get(*index),
    }
}

/// The path in the tree as it was before items were removed from its lists.
fn restore(path: &[Step], removed: &[Vec<Step>]) -> Vec<Step> {
    let mut original: Vec<Step> = Vec::with_capacity(path.len());
    for step in path {
        let step = match step {
            Step::Key(_) => step.clone(),
            Step::Index(index) => {
                let mut gone: Vec<usize> = removed
                    .iter()
                    .filter_map(|path| path.split_last())
                    .filter(|(_, parents)| *parents == original)
                    .filter_map(|(last, _)| if let Step::Index(index) = last { Some(*index) } else { None })
                    .collect();
                gone.sort_unstable();
                Step::Index(gone.into_iter().fold(*index, |index, gone| if gone <= index { index + 1 } else { index }))
            }
        };
        original.push(step);
    }
    original
}

fn quoted<'a>(text: &'a str, before: &str) -> Option<&'a str> {
    text.strip_prefix(before)?.split('`').next()
}

/// serde's words in ours.
fn explain(path: Vec<Step>, text: &str) -> Fault {
    let place = path_text(&path);
    let choices: Vec<&str> =
        text.split_once(", expected ").map_or("", |(_, rest)| rest).split('`').skip(1).step_by(2).collect();
    let (message, help) = if let Some(name) = quoted(text, "unknown field `") {
        (format!("unknown key `{place}`"), suggest(name, choices.iter().copied()))
    } else if let Some(name) = quoted(text, "unknown variant `") {
        (format!("`{place}` cannot be `{name}`"), suggest(name, choices.iter().copied()))
    } else if let Some(name) = quoted(text, "missing field `") {
        let owner = if place.is_empty() { String::new() } else { format!("{place}.") };
        (format!("`{owner}{name}` is missing"), Some(format!("add `{name}`")))
    } else if let Some(kind) = text.strip_prefix("data did not match any variant of untagged enum ") {
        (format!("`{place}` has none of its forms"), Some(format!("write {}", forms(kind))))
    } else if let Some((got, wanted)) = text
        .strip_prefix("invalid type: ")
        .or_else(|| text.strip_prefix("invalid value: "))
        .and_then(|rest| rest.split_once(", expected "))
    {
        let help = (wanted == "a string").then(|| "put it in quotes".to_owned());
        let got = if is_sensitive(&path) { got.split_whitespace().next().unwrap_or_default() } else { clip(got, 100) };
        (format!("`{place}` must be {}, not {}", wanted_words(wanted), got_words(got)), help)
    } else if text.contains("invalid socket address") {
        (format!("`{place}` is not an address with a port"), Some("write for example 127.0.0.1:8080".to_owned()))
    } else {
        (format!("`{place}`: {}", clip(text, 300)), None)
    };
    Fault { path, message, help }
}

/// Whether somebody may have written a secret there, so that it is not repeated.
fn is_sensitive(path: &[Step]) -> bool {
    const WORDS: [&str; 5] = ["secret", "password", "token", "key", "env"];
    path.iter().any(|step| matches!(step, Step::Key(key) if WORDS.iter().any(|word| key.to_lowercase().contains(word))))
}

fn forms(kind: &str) -> &'static str {
    match kind {
        "SecretRef" => r#"{ env = "NAME" } or { file = "path" }, never the secret itself"#,
        "SourceSecret" => {
            r#"{ env = "NAME" }, { file = "path" } or { label = "…", secret = { env = "NAME" }, until = "2027-03-01T00:00:00Z" }, never the secret itself"#
        }
        "OneOrMany" => r#"a text or a list of texts, in quotes: "a" or ["a", "b"]"#,
        "SkillUse" => "the name of a folder under skills/, or { name: …, always: true, when: \"CEL over the event\" }",
        "MountSpec" => {
            "host:/container, host:/container:ro or :rw, { git: https://…, ref: main, path: docs, to: /context/docs } or \
             { upload: NAME, path: docs, to: /context/docs }"
        }
        "EnvValue" => r#"a text, a whole number, true, false, { secret: name } or { env: NAME }"#,
        "Reply" => {
            "none, same, { webhook: https://…, secret: name }, { sms: \"+15550001111\" } or { email: a@example.com }; \
             same, webhook and email with `attach: artifacts` to send the run's files: { attach: artifacts }"
        }
        "SetupRun" => "lines for /bin/sh as one text, or a list of a program and its arguments",
        "Thinking" => "adaptive, off, or a number of tokens",
        "ReplySecret" => "the name of an entry under [secrets], or { env: NAME }",
        _ => "it as the documentation shows",
    }
}

fn wanted_words(wanted: &str) -> String {
    match wanted {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number from 0".to_owned(),
        "i64" | "i32" => "a whole number".to_owned(),
        "f64" => "a number".to_owned(),
        "a string" => "text".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a table".to_owned(),
        other if other.starts_with("struct ") || other.starts_with("internally tagged") => "a table".to_owned(),
        "string or map" => "a text or a table".to_owned(),
        other => other.to_owned(),
    }
}

fn got_words(got: &str) -> String {
    match got {
        "map" => "a table".to_owned(),
        "sequence" => "a list".to_owned(),
        "null" | "unit value" => "nothing".to_owned(),
        "string" => "a text".to_owned(),
        "integer" | "floating" => "a number".to_owned(),
        "boolean" => "true or false".to_owned(),
        other => other
            .replace("integer ", "the number ")
            .replace("floating point ", "the number ")
            .replace("string ", "the text ")
            .replace("boolean ", ""),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::read;
    use crate::domain::source::SecretRef;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its shape is read")]
    struct Shape {
        name: String,
        #[serde(default)]
        items: Vec<Item>,
        #[serde(default)]
        secret: Option<SecretRef>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its shape is read")]
    struct Item {
        #[serde(default)]
        size: u32,
    }

    fn faults(value: Value) -> Vec<String> {
        read::<Shape>(value, &Value::Null)
            .unwrap_err()
            .into_iter()
            .map(|fault| format!("{}; {}", fault.message, fault.help.unwrap_or_default()))
            .collect()
    }

    #[test]
    fn every_fault_is_found_at_its_own_place() {
        let found = faults(json!({ "name": "a", "items": [{ "size": "x" }, 7, { "sise": 1 }], "secret": "hunter2" }));
        assert_eq!(
            found,
            [
                "`items[0].size` must be a whole number from 0, not the text \"x\"; ",
                "`items[1]` must be a table, not the number `7`; ",
                "unknown key `items[2].sise`; did you mean `size`?",
                "`secret` has none of its forms; write { env = \"NAME\" } or { file = \"path\" }, never the secret itself",
            ]
        );
    }

    #[test]
    fn a_wrong_value_of_a_needed_key_is_one_fault() {
        assert_eq!(faults(json!({ "name": 7 })), ["`name` must be text, not the number `7`; put it in quotes"]);
        assert_eq!(faults(json!({})), ["`name` is missing; add `name`"]);
    }
}
