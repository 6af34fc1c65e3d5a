//! Schemas of bodies that stand in files of their own, read into their sources: what is applied needs no files.

use std::path::Path;

use serde_json::Value;

use crate::{
    config::{agents::read_bounded, load, problem::Problem, settings::Settings},
    domain::schema::BodySchema,
};

/// Puts every schema that is named in its place; what cannot be read is told and left out.
pub(super) fn read(settings: &mut Settings, dir: &Path, text: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, source) in &mut settings.sources {
        let Some(BodySchema::File(path)) = &source.schema else { continue };
        let found = read_bounded(&load::join(dir, path)).map_err(|fault| fault.to_string());
        let found = found.and_then(|text| serde_json::from_str(&text).map_err(|fault| format!("is no JSON: {fault}")));
        let found = found.and_then(|value| match value {
            Value::Object(schema) => Ok(BodySchema::Inline(schema)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Err("is no JSON object".to_owned())
            }
        });
        source.schema = match found {
            Ok(schema) => Some(schema),
            Err(fault) => {
                let place = load::place(text, &["sources", name, "schema"]);
                let message = format!("`sources.{name}.schema`: `{path}`: {fault}");
                problems.push(Problem::error(load::FILE, message).at(place));
                None
            }
        };
    }
    problems
}
