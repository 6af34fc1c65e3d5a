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

/// Tables of settings have defaults for all they name; the domain's types below them have not.
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
    use super::{agent_schema, config_schema};

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
        assert_eq!(schema["required"], serde_json::json!(["executor"]));
        let trigger = &schema["$defs"]["TriggerSpec"];
        assert!(trigger["properties"]["where"].is_object());
        assert_eq!(trigger["required"], serde_json::json!(["source"]));
        assert!(schema["properties"].get("prompt").is_none());
    }
}
