//! Whether a JSON Schema means something: the CLI ignores a broken one without a word.

use serde_json::{Map, Value};

const TYPES: [&str; 7] = ["object", "array", "string", "number", "integer", "boolean", "null"];
/// Schemas inside each other.
const MAX_DEPTH: usize = 30;
/// Bytes of the whole.
const MAX_BYTES: usize = 64 * 1024;

/// Checks a schema of an answer.
///
/// # Errors
/// The first thing that is wrong with it, with its place.
pub(in crate::config) fn check(schema: &Value) -> Result<(), String> {
    if schema.to_string().len() > MAX_BYTES {
        return Err("is longer than 64 KiB".to_owned());
    }
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        return Err("is not of `type: object`".to_owned());
    }
    walk(schema, schema, "", MAX_DEPTH)
}

fn walk(schema: &Value, root: &Value, place: &str, depth: usize) -> Result<(), String> {
    let fault = |what: &str| Err(format!("{what} at `{}`", if place.is_empty() { "/" } else { place }));
    let schema = match schema {
        Value::Object(schema) => schema,
        Value::Bool(_) => return Ok(()),
        Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => return fault("has no schema"),
    };
    if depth == 0 {
        return fault("is too deep");
    }
    let is_type = |word: &Value| word.as_str().is_some_and(|word| TYPES.contains(&word));
    match schema.get("type") {
        Some(Value::Array(types)) if !types.is_empty() && types.iter().all(is_type) => {}
        Some(word) if is_type(word) => {}
        None => {}
        Some(_) => return fault("has a type that is none"),
    }
    check_words(schema, root, place)?;
    for key in ["items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"] {
        if let Some(inner) = schema.get(key) {
            walk(inner, root, &format!("{place}/{key}"), depth - 1)?;
        }
    }
    for key in ["anyOf", "oneOf", "allOf", "prefixItems"] {
        for (index, inner) in schema.get(key).and_then(Value::as_array).into_iter().flatten().enumerate() {
            walk(inner, root, &format!("{place}/{key}/{index}"), depth - 1)?;
        }
    }
    for key in ["properties", "patternProperties", "$defs", "definitions"] {
        for (name, inner) in schema.get(key).and_then(Value::as_object).into_iter().flatten() {
            walk(inner, root, &format!("{place}/{key}/{name}"), depth - 1)?;
        }
    }
    Ok(())
}

fn check_words(schema: &Map<String, Value>, root: &Value, place: &str) -> Result<(), String> {
    let fault = |what: String| Err(format!("{what} at `{}`", if place.is_empty() { "/" } else { place }));
    for key in ["properties", "patternProperties", "$defs", "definitions"] {
        if schema.get(key).is_some_and(|value| !value.is_object()) {
            return fault(format!("has a `{key}` that is no map"));
        }
    }
    for key in ["anyOf", "oneOf", "allOf", "prefixItems", "enum"] {
        if schema.get(key).is_some_and(|value| value.as_array().is_none_or(Vec::is_empty)) {
            return fault(format!("has a `{key}` that is no list, or an empty one"));
        }
    }
    let texts = |value: &Value| value.as_array().is_some_and(|items| items.iter().all(Value::is_string));
    if schema.get("required").is_some_and(|value| !texts(value)) {
        return fault("has a `required` that is no list of names".to_owned());
    }
    let numbers = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"];
    let counts = ["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"];
    if let Some(key) = numbers.into_iter().find(|key| schema.get(*key).is_some_and(|value| !value.is_number())) {
        return fault(format!("has a `{key}` that is no number"));
    }
    if let Some(key) = counts.into_iter().find(|key| schema.get(*key).is_some_and(|value| !value.is_u64())) {
        return fault(format!("has a `{key}` that is no count"));
    }
    let pattern = schema.get("pattern");
    if pattern.is_some_and(|value| !value.is_string()) {
        return fault("has a `pattern` that is no text".to_owned());
    }
    match schema.get("$ref") {
        None => Ok(()),
        Some(Value::String(target)) => match target.strip_prefix('#') {
            Some(pointer) if root.pointer(pointer).is_some() => Ok(()),
            Some(_) => fault(format!("refers to `{target}`, which is not there")),
            None => fault(format!("refers to `{target}`, which lies outside")),
        },
        Some(_) => fault("has a `$ref` that is no text".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::check;

    #[test]
    fn a_schema_that_means_something_passes() {
        let good = json!({"type": "object", "properties": {"n": {"type": ["integer", "null"], "minimum": 0},
            "list": {"type": "array", "items": {"$ref": "#/$defs/item"}}}, "required": ["n"],
            "additionalProperties": false, "$defs": {"item": {"enum": ["a", "b"]}}});
        assert_eq!(check(&good), Ok(()));
    }

    #[test]
    fn what_the_cli_would_ignore_is_named_with_its_place() {
        let object = |key: &str, value: Value| {
            let mut schema = json!({"type": "object"});
            schema[key] = value;
            schema
        };
        for (schema, expected) in [
            (json!({"type": "nonsense"}), "not of `type: object`"),
            (json!({"type": "array"}), "not of `type: object`"),
            (object("properties", json!({"a": {"type": "strnig"}})), "a type that is none at `/properties/a`"),
            (object("properties", json!(["a"])), "`properties` that is no map at `/`"),
            (object("properties", json!({"a": "string"})), "no schema at `/properties/a`"),
            (object("required", json!("n")), "`required`"),
            (object("anyOf", json!([])), "`anyOf`"),
            (object("minProperties", json!(-1)), "`minProperties` that is no count"),
            (object("$ref", json!("#/$defs/x")), "which is not there"),
            (object("$ref", json!("https://example.com/schema")), "which lies outside"),
        ] {
            assert!(check(&schema).unwrap_err().contains(expected), "{schema}");
        }
    }
}
