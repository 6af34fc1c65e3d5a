//! What the body of a webhook must look like (JSON Schema, json-schema.org; draft 2020-12 unless it names another).

use std::fmt;

use jsonschema::{PatternOptions, Validator};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Bytes of a schema at most.
pub const LARGEST_BYTES: usize = 256 * 1024;
/// Bytes of one compiled pattern at most.
const PATTERN_BYTES: usize = 1 << 20;
/// Faults of one body that are told at most, and the characters of one.
const MOST_FAULTS: usize = 3;
const LONGEST_FAULT: usize = 200;

/// A schema as an operator writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum BodySchema {
    /// A JSON file, relative to the project directory; it is read when the project is.
    File(String),
    /// The schema itself.
    Inline(Map<String, Value>),
}

/// A compiled schema. It reads nothing from anywhere: a reference leads into the schema or nowhere.
pub struct BodyCheck(Validator);

impl BodyCheck {
    /// Compiles a schema.
    ///
    /// # Errors
    /// It is too large, no JSON Schema, or refers to something outside of it.
    pub fn compile(schema: &BodySchema) -> Result<Self, String> {
        let BodySchema::Inline(schema) = schema else {
            return Err(
                "`schema` names a file, which only a project directory can have; send the schema itself".to_owned()
            );
        };
        let schema = Value::Object(schema.clone());
        if schema.to_string().len() > LARGEST_BYTES {
            return Err(format!("`schema` is larger than {} KB", LARGEST_BYTES / 1024));
        }
        // The engine that is linear in time: bodies come from outside.
        let patterns = PatternOptions::regex().size_limit(PATTERN_BYTES);
        let options = jsonschema::options().with_pattern_options(patterns);
        let fault = |fault: jsonschema::ValidationError<'_>| {
            format!("`schema` cannot be used: {}", clipped(&fault.to_string()))
        };
        options.build(&schema).map(Self).map_err(fault)
    }

    /// Where and why the body does not fit; `None` when it does. Holds none of the body's values.
    #[must_use]
    pub fn misfit(&self, body: &Value) -> Option<String> {
        if self.0.is_valid(body) {
            return None;
        }
        let told = self.0.iter_errors(body).take(MOST_FAULTS).map(|fault| {
            let place = fault.instance_path().to_string();
            let place = if place.is_empty() { "the body" } else { &place };
            clipped(&format!("{place}: {}", fault.masked()))
        });
        Some(told.collect::<Vec<_>>().join("; "))
    }
}

impl fmt::Debug for BodyCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyCheck").finish_non_exhaustive()
    }
}

fn clipped(text: &str) -> String {
    text.chars().take(LONGEST_FAULT).filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{BodyCheck, BodySchema};

    fn compile(schema: Value) -> Result<BodyCheck, String> {
        BodyCheck::compile(&serde_json::from_value::<BodySchema>(schema).unwrap())
    }

    #[test]
    fn misfits_name_the_place_and_not_the_value() {
        let schema = json!({
            "type": "object", "required": ["id"],
            "properties": { "id": { "type": "integer" }, "mail": { "type": "string", "pattern": "^[a-z]+@" } },
        });
        let check = compile(schema).unwrap();
        assert_eq!(check.misfit(&json!({ "id": 1, "mail": "a@b" })), None);
        let told = check.misfit(&json!({ "id": "hunter2", "mail": "hunter2" })).unwrap();
        assert!(told.contains("/id: ") && told.contains("/mail: ") && !told.contains("hunter2"), "{told}");
        assert!(check.misfit(&json!([])).unwrap().starts_with("the body: "));
    }

    #[test]
    fn references_lead_nowhere_outside() {
        for outside in ["https://schemas.example/a.json", "file:///etc/passwd", "other.json"] {
            assert!(compile(json!({ "$ref": outside })).is_err(), "{outside}");
        }
        assert!(compile(json!({ "type": "no such type" })).is_err());
        assert!(compile(json!({ "pattern": "(" })).is_err());
        assert!(compile(json!({ "description": "x".repeat(300_000) })).unwrap_err().contains("256 KB"));
        assert!(compile(json!("order.json")).unwrap_err().contains("names a file"));
    }

    #[test]
    fn references_in_circles_and_deep_bodies_end() {
        let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
        for circle in [
            json!({ "$ref": "#" }),
            json!({ "allOf": [{ "$ref": "#" }], "type": "array" }),
            json!({ "$ref": "#/$defs/a", "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "$ref": "#/$defs/a" } } }),
            json!({ "anyOf": [{ "type": "integer" }, { "type": "array", "items": { "$ref": "#" } }] }),
        ] {
            if let Ok(check) = compile(circle) {
                let _ = check.misfit(&deep);
                let _ = check.misfit(&json!("x"));
            }
        }
        let tree = compile(json!({ "anyOf": [{ "type": "integer" }, { "type": "array", "items": { "$ref": "#" } }] }));
        assert_eq!(tree.unwrap().misfit(&deep), None);
    }
}
