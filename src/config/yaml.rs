//! YAML in front of Markdown, as a JSON tree of bounded size.

use std::fmt;

use serde::de::{DeserializeSeed, EnumAccess, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Largest file of Markdown with frontmatter, in bytes.
pub(crate) const MAX_FILE_BYTES: usize = 256 * 1024;

/// Values and keys of one frontmatter, aliases expanded: what stops an alias bomb.
const MAX_NODES: usize = 20_000;

/// Bytes of all its texts, aliases expanded.
const MAX_TEXT_BYTES: usize = 4 * MAX_FILE_BYTES;

/// A file in its two halves.
pub(crate) struct Document<'a> {
    /// The YAML between the `---` lines. Its first line is line 2 of the file.
    pub(crate) yaml: &'a str,
    /// What follows, trimmed.
    pub(crate) markdown: &'a str,
}

/// What is wrong with a frontmatter.
#[derive(Debug)]
pub(crate) struct YamlFault {
    /// In the file, from 1.
    pub(crate) place: Option<(usize, usize)>,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl YamlFault {
    fn at_top(message: &str, help: &str) -> Self {
        Self { place: Some((1, 1)), message: message.to_owned(), help: Some(help.to_owned()) }
    }
}

/// Splits a file.
pub(crate) fn split(text: &str) -> Result<Document<'_>, YamlFault> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let missing =
        || YamlFault::at_top("has no frontmatter", "begin the file with a line `---`, YAML, and a line `---`");
    let (first, rest) = text.split_once('\n').ok_or_else(missing)?;
    if first.trim_end() != "---" {
        return Err(missing());
    }
    let mut at = 0;
    for line in rest.split_inclusive('\n') {
        if line.trim_end() == "---" {
            return Ok(Document { yaml: &rest[..at], markdown: rest[at + line.len()..].trim() });
        }
        at += line.len();
    }
    Err(YamlFault::at_top("has a frontmatter without an end", "add a line `---` below the YAML"))
}

/// Reads the YAML of a document into a table.
pub(crate) fn parse(document: &Document<'_>) -> Result<Value, YamlFault> {
    let mut budget = Budget { nodes: MAX_NODES, text_bytes: MAX_TEXT_BYTES };
    let read = Tree(&mut budget).deserialize(serde_yaml_ng::Deserializer::from_str(document.yaml));
    match read {
        Ok(Value::Null) => Ok(Value::Object(Map::new())),
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(YamlFault::at_top("has a frontmatter that is no table", "write lines such as `executor: claude`")),
        Err(error) => Err(explain(&error)),
    }
}

fn explain(error: &serde_yaml_ng::Error) -> YamlFault {
    let place = error.location().map(|at| (at.line() + 1, at.column()));
    let text = error.to_string();
    let message = text.split(" at line ").next().unwrap_or(&text);
    let help = if text.contains("unknown anchor") || text.contains("alias") {
        Some("put a text that begins with `*` or `&` in quotes")
    } else if text.contains("mapping values are not allowed") {
        Some("put a text with `: ` in it in quotes")
    } else if text.contains("cannot start any token") {
        Some("indent with spaces, and put texts that begin with @, ` or % in quotes")
    } else {
        None
    };
    YamlFault { place, message: format!("is not valid YAML: {message}"), help: help.map(str::to_owned) }
}

struct Budget {
    nodes: usize,
    text_bytes: usize,
}

impl Budget {
    fn take<E: Error>(&mut self, text_bytes: usize) -> Result<(), E> {
        let left = self.nodes.checked_sub(1).zip(self.text_bytes.checked_sub(text_bytes));
        (self.nodes, self.text_bytes) =
            left.ok_or_else(|| E::custom("the frontmatter is too large with its aliases expanded"))?;
        Ok(())
    }
}

struct Tree<'b>(&'b mut Budget);

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("plain YAML")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        self.0.take(0).map(|()| Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        self.0.take(0).map(|()| value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        self.0.take(0).map(|()| value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        self.0.take(0)?;
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number must be finite"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.0.take(value.len()).map(|()| value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        self.0.take(0).map(|()| Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.0.take(0)?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Tree(self.0))? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        self.0.take(0)?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key_seed(Key { budget: self.0, taken: &map })? {
            let value = entries.next_value_seed(Tree(self.0))?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Value, A::Error> {
        Err(A::Error::custom("YAML tags (`!name`) mean nothing here; put the text in quotes"))
    }
}

/// A key of a table; it fails where it stands, so that the fault has its line.
struct Key<'b> {
    budget: &'b mut Budget,
    taken: &'b Map<String, Value>,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = String;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Key<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key in quotes")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<String, E> {
        self.budget.take(key.len())?;
        if self.taken.contains_key(key) {
            return Err(E::custom(format!("the key `{key}` stands there twice")));
        }
        Ok(key.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{parse, split};

    #[test]
    fn frontmatter_and_text_are_told_apart() {
        let document = split("---\r\na: 1\r\n---\r\n\r\nHello\n---\nthere\n").unwrap();
        assert_eq!(parse(&document).unwrap(), json!({ "a": 1 }));
        assert_eq!(document.markdown, "Hello\n---\nthere");
        assert!(split("# Hello").is_err());
        assert!(split("---\na: 1\n").is_err());
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut text = "---\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let items = vec![format!("*a{}", level - 1); 10].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{items}]\n"));
        }
        text.push_str("---\n");
        assert!(parse(&split(&text).unwrap()).is_err());
        let deep = format!("---\na: {}{}\n---\n", "[".repeat(5000), "]".repeat(5000));
        assert!(parse(&split(&deep).unwrap()).is_err());
    }

    #[test]
    fn faults_stand_at_their_line_of_the_file() {
        for (yaml, line, word) in [
            ("a: 1\nfrom: *@example.com\n", 3, "quotes"),
            ("a: 1\nb: x: y\n", 3, "quotes"),
            ("a: 1\na: 2\n", 3, "twice"),
            ("a: !secret x\n", 2, "tags"),
        ] {
            let text = format!("---\n{yaml}---\n");
            let fault = parse(&split(&text).unwrap()).unwrap_err();
            assert_eq!(fault.place.map(|(line, _)| line), Some(line), "{yaml}{}", fault.message);
            assert!(format!("{} {:?}", fault.message, fault.help).contains(word), "{yaml}{fault:?}");
        }
    }
}
