//! JSON Schemas, so that editors know the keys of `postern.toml` and of agents' frontmatter.

use serde_json::{Map, Value, json};

use crate::{config::settings::Settings, domain::agent::AgentSpec};

/// The schema of `postern.toml`. Nothing in it is required: what is not there has its default.
#[must_use]
pub fn config_schema() -> Value {
    let mut schema = titled(schemars::schema_for!(Settings).into(), "postern.toml", "config");
    drop_required(&mut schema);
    schema
}

/// The schema of the frontmatter of `agents/*.md`.
#[must_use]
pub fn agent_schema() -> Value {
    let mut schema = titled(schemars::schema_for!(AgentSpec).into(), "Frontmatter of an agent", "agent");
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.remove("prompt");
    }
    schema
}

fn titled(mut schema: Value, title: &str, name: &str) -> Value {
    if let Value::Object(map) = &mut schema {
        map.insert("title".to_owned(), json!(title));
        map.insert("$id".to_owned(), json!(format!("urn:postern:schema:{name}")));
    }
    schema
}

/// Sections of settings have a default for every key; the types below them have not.
fn drop_required(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    map.remove("required");
    if let Some(Value::Object(definitions)) = map.get_mut("$defs") {
        let sections: Vec<&mut Map<String, Value>> = definitions
            .iter_mut()
            .filter(|(name, _)| name.ends_with("Settings"))
            .filter_map(|(_, definition)| definition.as_object_mut())
            .collect();
        for section in sections {
            section.remove("required");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{agent_schema, config_schema};
    use crate::config::yaml;

    /// Whether `value` fits as far as types, known and needed keys, choices and references go.
    fn fits(schema: &Value, root: &Value, value: &Value) -> bool {
        if let Some(name) = schema["$ref"].as_str() {
            return fits(&root["$defs"][name.trim_start_matches("#/$defs/")], root, value);
        }
        for choice in ["anyOf", "oneOf"] {
            if let Some(choices) = schema[choice].as_array()
                && !choices.iter().any(|schema| fits(schema, root, value))
            {
                return false;
            }
        }
        let known = schema["enum"].as_array().is_none_or(|known| known.contains(value))
            && schema.get("const").is_none_or(|only| only == value);
        let name = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let names = |names: &Value| match names.as_array() {
            Some(names) => names.contains(&json!(name)),
            None => names.is_null() || names == name || (names == "number" && name == "integer"),
        };
        let needed =
            schema["required"].as_array().into_iter().flatten().all(|key| value.get(key.as_str().unwrap()).is_some());
        let items = value
            .as_array()
            .into_iter()
            .flatten()
            .all(|item| schema.get("items").is_none_or(|items| fits(items, root, item)));
        let entries = value.as_object().into_iter().flatten().all(|(key, value)| {
            match (schema["properties"].get(key), schema.get("additionalProperties")) {
                (Some(schema), _) | (None, Some(schema @ Value::Object(_))) => fits(schema, root, value),
                (None, more) => more != Some(&Value::Bool(false)),
            }
        });
        known && names(&schema["type"]) && (value.as_object().is_none() || needed) && items && entries
    }

    #[test]
    fn the_files_that_ship_fit_their_schemas() {
        let schema = config_schema();
        for text in [
            include_str!("default.toml"),
            include_str!("templates/postern.toml"),
            include_str!("../../examples/demo/postern.toml"),
        ] {
            let value = serde_json::to_value(toml::from_str::<toml::Table>(text).unwrap()).unwrap();
            assert!(fits(&schema, &schema, &value), "{text}");
        }
        assert!(!fits(&schema, &schema, &json!({ "server": { "listn": "x" } })));

        let schema = agent_schema();
        for text in [
            include_str!("templates/support.md"),
            include_str!("templates/receipt.md"),
            include_str!("../../examples/demo/agents/inbox.md"),
            include_str!("../../examples/demo/agents/concierge.md"),
            include_str!("../../examples/demo/agents/triage.md"),
            include_str!("../../examples/demo/agents/claude.md"),
        ] {
            let value = yaml::parse(&yaml::split(text).unwrap()).unwrap();
            assert!(fits(&schema, &schema, &value), "{value}");
        }
        assert!(!fits(&schema, &schema, &json!({ "executor": "clude" })));
        assert!(!fits(
            &schema,
            &schema,
            &json!({ "executor": "claude", "triggers": [{ "source": "a", "form": "b" }] })
        ));
    }

    #[test]
    fn the_schema_of_settings_knows_sections_and_demands_none() {
        let schema = config_schema();
        assert_eq!(schema["$id"], "urn:postern:schema:config");
        assert!(schema.get("required").is_none());
        assert!(schema["$defs"]["ServerSettings"]["properties"]["listen"]["description"].is_string());
        assert!(schema["$defs"]["ServerSettings"].get("required").is_none());
        assert_eq!(schema["additionalProperties"], false);
    }

    #[test]
    fn the_schema_of_agents_names_where() {
        let schema = agent_schema();
        assert_eq!(schema["required"], json!(["executor"]));
        let trigger = &schema["$defs"]["TriggerSpec"];
        assert!(trigger["properties"]["where"].is_object());
        assert!(trigger.get("required").is_none() && trigger["properties"]["schedule"].is_object());
        assert!(schema["properties"].get("prompt").is_none());
    }
}
