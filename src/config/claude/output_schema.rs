//! Whether a JSON Schema means something: the CLI ignores a broken one without a word.

use serde_json::{Map, Value};

use crate::{config::agents::Checker, domain::agent::AgentSpec};

const TYPES: [&str; 7] = ["object", "array", "string", "number", "integer", "boolean", "null"];
/// Schemas inside each other.
const MAX_DEPTH: usize = 30;
/// Bytes of the whole.
const MAX_BYTES: usize = 64 * 1024;

/// Notes the first thing that is wrong with an agent's schema, with its place in the schema and the way out.
pub(in crate::config) fn check(spec: &AgentSpec, checker: &mut Checker<'_>) {
    if let Some(schema) = &spec.output_schema
        && let Err((fault, help)) = check_schema(schema)
    {
        checker.error(&["output_schema"], format!("`output_schema` {fault}"), help);
    }
}

/// What is wrong, and what to do.
type Fault = (String, &'static str);

fn check_schema(schema: &Value) -> Result<(), Fault> {
    if schema.to_string().len() > MAX_BYTES {
        return Err(("is longer than 64 KiB".to_owned(), "leave out what the answer need not have"));
    }
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        let help = "write a JSON Schema of type object, with what is wanted below `properties`";
        return Err(("is not of `type: object`".to_owned(), help));
    }
    walk(schema, schema, "", MAX_DEPTH)
}

fn at(place: &str, what: &str, help: &'static str) -> Result<(), Fault> {
    Err((format!("{what} at `{}`", if place.is_empty() { "/" } else { place }), help))
}

fn walk(schema: &Value, root: &Value, place: &str, depth: usize) -> Result<(), Fault> {
    let schema = match schema {
        Value::Object(schema) => schema,
        Value::Bool(_) => return Ok(()),
        Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            return at(place, "has no schema", "write a map such as { type: string } there");
        }
    };
    if depth == 0 {
        return at(place, "is too deep", "nest 30 levels at most, or name parts of it in `$defs`");
    }
    let is_type = |word: &Value| word.as_str().is_some_and(|word| TYPES.contains(&word));
    match schema.get("type") {
        Some(Value::Array(types)) if !types.is_empty() && types.iter().all(is_type) => {}
        Some(word) if is_type(word) => {}
        None => {}
        Some(_) => {
            let help = "write object, array, string, number, integer, boolean or null";
            return at(place, "has a type that is none", help);
        }
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

fn check_words(schema: &Map<String, Value>, root: &Value, place: &str) -> Result<(), Fault> {
    for key in ["properties", "patternProperties", "$defs", "definitions"] {
        if schema.get(key).is_some_and(|value| !value.is_object()) {
            return at(place, &format!("has a `{key}` that is no map"), "write names there, each with its schema");
        }
    }
    for key in ["anyOf", "oneOf", "allOf", "prefixItems", "enum"] {
        if schema.get(key).is_some_and(|value| value.as_array().is_none_or(Vec::is_empty)) {
            let help = if key == "enum" { "list the values that there are" } else { "list schemas, one at least" };
            return at(place, &format!("has a `{key}` that is no list, or an empty one"), help);
        }
    }
    let texts = |value: &Value| value.as_array().is_some_and(|items| items.iter().all(Value::is_string));
    if schema.get("required").is_some_and(|value| !texts(value)) {
        let help = "list names of `properties`, such as [priority]";
        return at(place, "has a `required` that is no list of names", help);
    }
    let numbers = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"];
    let counts = ["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"];
    if let Some(key) = numbers.into_iter().find(|key| schema.get(*key).is_some_and(|value| !value.is_number())) {
        return at(place, &format!("has a `{key}` that is no number"), "write a number, without quotes");
    }
    if let Some(key) = counts.into_iter().find(|key| schema.get(*key).is_some_and(|value| !value.is_u64())) {
        return at(place, &format!("has a `{key}` that is no count"), "write a whole number, 0 or more");
    }
    if schema.get("pattern").is_some_and(|value| !value.is_string()) {
        return at(place, "has a `pattern` that is no text", "put the regular expression in quotes");
    }
    match schema.get("$ref") {
        None => Ok(()),
        Some(Value::String(target)) => match target.strip_prefix('#') {
            Some(pointer) if root.pointer(pointer).is_some() => Ok(()),
            Some(_) => {
                let help = "define it, such as `#/$defs/name` in `$defs`, or correct the name";
                at(place, &format!("refers to `{target}`, which is not there"), help)
            }
            None => {
                let help = "copy that schema into `$defs` and refer to `#/$defs/name`: nothing is fetched";
                at(place, &format!("refers to `{target}`, which lies outside"), help)
            }
        },
        Some(_) => at(place, "has a `$ref` that is no text", "write for example \"#/$defs/name\""),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::check_schema;

    #[test]
    fn a_schema_that_means_something_passes() {
        let good = json!({"type": "object", "properties": {"n": {"type": ["integer", "null"], "minimum": 0},
            "list": {"type": "array", "items": {"$ref": "#/$defs/item"}}}, "required": ["n"],
            "additionalProperties": false, "$defs": {"item": {"enum": ["a", "b"]}}});
        assert_eq!(check_schema(&good), Ok(()));
    }

    #[test]
    fn what_the_cli_would_ignore_is_named_with_its_place() {
        let object = |key: &str, value: Value| {
            let mut schema = json!({"type": "object"});
            schema[key] = value;
            schema
        };
        for (schema, expected, way_out) in [
            (json!({"type": "nonsense"}), "not of `type: object`", "of type object"),
            (json!({"type": "array"}), "not of `type: object`", "of type object"),
            (
                object("properties", json!({"a": {"type": "strnig"}})),
                "a type that is none at `/properties/a`",
                "write object, array",
            ),
            (object("properties", json!(["a"])), "`properties` that is no map at `/`", "each with its schema"),
            (object("properties", json!({"a": "string"})), "no schema at `/properties/a`", "{ type: string }"),
            (object("properties", json!({"a": {"enum": []}})), "`enum`", "the values"),
            (object("required", json!("n")), "`required`", "names of `properties`"),
            (object("anyOf", json!([])), "`anyOf`", "list schemas"),
            (object("minProperties", json!(-1)), "`minProperties` that is no count", "whole number"),
            (object("$ref", json!("#/$defs/x")), "which is not there", "define it"),
            (object("$ref", json!("https://example.com/schema")), "which lies outside", "nothing is fetched"),
        ] {
            let (fault, help) = check_schema(&schema).unwrap_err();
            assert!(fault.contains(expected) && help.contains(way_out), "{schema}: {fault}; {help}");
        }
    }
}
