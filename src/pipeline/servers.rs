//! Secrets that MCP servers of an agent are given.

use std::collections::BTreeMap;

use crate::{
    crypto::{Secret, SecretSource},
    domain::{agent::EnvValue, claude::McpServer},
};

/// The values of variables and headers, under the names by which an executor finds them.
///
/// # Errors
/// Why one of them is not there; never its value.
pub(super) fn secrets(
    servers: &BTreeMap<String, McpServer>,
    source: &dyn SecretSource,
) -> Result<BTreeMap<String, Secret>, String> {
    let mut secrets = BTreeMap::new();
    for (name, server) in servers {
        for (part, values) in [("env", &server.env), ("headers", &server.headers)] {
            for (key, value) in values {
                let value = match value {
                    EnvValue::Named { secret } => source.named(secret)?,
                    EnvValue::Reference(reference) => source.secret(reference)?,
                    EnvValue::Text(_) | EnvValue::Number(_) | EnvValue::Switch(_) => continue,
                };
                secrets.insert(McpServer::secret_name(name, part, key), value);
            }
        }
    }
    Ok(secrets)
}
