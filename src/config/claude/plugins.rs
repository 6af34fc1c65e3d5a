//! Checks of plugin folders.

use serde_json::Value;

use crate::{
    config::{
        agents::{Checker, read_bounded},
        checks::Files,
    },
    domain::source::is_valid_name,
};

/// Checks `plugins` and makes the paths absolute. What a folder holds is its author's business: it is the operator's
/// own, and runs inside of the agent's sandbox.
pub(super) fn check(plugins: &mut [String], files: Files<'_>, checker: &mut Checker<'_>) {
    // The agent's skills come as a plugin, too.
    let mut names = vec!["agent".to_owned()];
    for (index, plugin) in plugins.iter_mut().enumerate() {
        let path = ["plugins", &index.to_string()];
        let folder = files.absolute(plugin);
        if !folder.is_absolute() || plugin.contains('\0') {
            let message = format!("`{plugin}` is not absolute");
            checker.error(&path, message, "write the path on the workers' machines");
            continue;
        }
        if matches!(files, Files::Project(_)) {
            match name_of(&folder) {
                Ok(name) if names.contains(&name) => {
                    let message = format!("`{plugin}` is the second plugin of the name `{name}`");
                    checker.error(&path, message, "change `name` in one of their .claude-plugin/plugin.json");
                }
                Ok(name) => names.push(name),
                Err(fault) => {
                    let help = "name a folder with .claude-plugin/plugin.json and a `name` in it";
                    checker.error(&path, format!("`{plugin}` is no plugin: {fault}"), help);
                }
            }
        }
        *plugin = folder.display().to_string();
    }
}

fn name_of(folder: &std::path::Path) -> Result<String, String> {
    let manifest = folder.join(".claude-plugin/plugin.json");
    let text =
        read_bounded(&manifest).map_err(|fault| format!(".claude-plugin/plugin.json cannot be read: {fault}"))?;
    let value: Value = serde_json::from_str(&text).map_err(|fault| format!("plugin.json is no JSON: {fault}"))?;
    let name = value.get("name").and_then(Value::as_str).unwrap_or_default();
    if is_valid_name(name) { Ok(name.to_owned()) } else { Err("plugin.json has no good `name`".to_owned()) }
}
