//! The process environment, read once, and the settings in it.

use std::{collections::BTreeMap, fmt};

use serde_json::{Map, Value};

use crate::config::{
    problem::{Problem, suggest},
    strict::Step,
};

/// Names that are no settings: the command line's, an agent's, the tests', and what Kubernetes sets
/// for a service named `postern`.
const RESERVED: [&str; 11] =
    ["API_KEY", "URL", "EVENT", "RUN", "PROMPT", "SESSION", "AGENT", "ATTEMPT", "TEST_", "SERVICE_", "PORT"];

/// The environment as it was when it was read. Values are never printed.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// That of this process. Variables that are no UTF-8 are left out.
    #[must_use]
    pub fn of_process() -> Self {
        Self(
            std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
        )
    }

    /// One of these names and values.
    #[must_use]
    pub fn of<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// The value of a variable.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Names and values of settings: `SERVER__LISTEN` for `POSTERN_SERVER__LISTEN`.
    fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .filter_map(|(name, value)| Some((name.strip_prefix("POSTERN_")?, value.as_str())))
            .filter(|(name, _)| name.contains("__") || !is_reserved(name))
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Environment({} variables)", self.0.len())
    }
}

fn is_reserved(name: &str) -> bool {
    RESERVED.iter().any(|reserved| match name.strip_prefix(reserved) {
        Some(rest) => rest.is_empty() || reserved.ends_with('_') || rest.starts_with('_'),
        None => false,
    })
}

/// A variable that was laid over the files: where, and its name.
pub(crate) struct Override {
    pub(crate) path: Vec<Step>,
    pub(crate) variable: String,
}

/// Lays `POSTERN_SECTION__KEY` over `settings`. Variables that secrets are read from are no settings.
pub(crate) fn lay_over(settings: &mut Value, environment: &Environment) -> (Vec<Override>, Vec<Problem>) {
    let secrets = referenced(settings);
    let (mut overrides, mut problems) = (Vec::new(), Vec::new());
    for (name, text) in environment.settings() {
        let variable = format!("POSTERN_{name}");
        if secrets.contains(&variable) {
            continue;
        }
        let keys: Vec<&str> = name.split("__").collect();
        if keys.len() < 2 || keys.iter().any(|key| key.is_empty()) {
            let sections = settings.as_object().into_iter().flat_map(Map::keys).map(String::as_str);
            let help = suggest(keys[0].split('_').next().unwrap_or_default(), sections)
                .map_or_else(String::new, |help| format!(" ({help})"));
            let problem = Problem::error("environment", format!("`{variable}` is no setting"));
            problems.push(problem.help(format!("write POSTERN_SECTION__KEY with two underscores{help}, or unset it")));
            continue;
        }
        match put(settings, &keys, scalar(text)) {
            Some(path) => overrides.push(Override { path, variable }),
            None => problems.push(
                Problem::error("environment", format!("`{variable}` goes into something that is no table"))
                    .help("unset it, or shorten its name"),
            ),
        }
    }
    (overrides, problems)
}

/// Names of variables in `{ env = "NAME" }` anywhere below.
fn referenced(value: &Value) -> Vec<String> {
    let (mut found, mut pending) = (Vec::new(), vec![value]);
    while let Some(value) = pending.pop() {
        match value {
            Value::Object(map) => {
                found.extend(map.get("env").and_then(Value::as_str).map(str::to_owned));
                pending.extend(map.values());
            }
            Value::Array(items) => pending.extend(items),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    found
}

/// Puts a value at keys in capitals; `-` in a name is `_` here. The path that it went to.
fn put(settings: &mut Value, keys: &[&str], value: Value) -> Option<Vec<Step>> {
    let (last, parents) = keys.split_last()?;
    let (mut at, mut path) = (settings, Vec::new());
    for key in parents {
        let map = at.as_object_mut()?;
        let name = existing(map, key);
        path.push(Step::Key(name.clone()));
        at = map.entry(name).or_insert_with(|| Value::Object(Map::new()));
    }
    let map = at.as_object_mut()?;
    let name = existing(map, last);
    if matches!(name.as_str(), "env" | "file") {
        map.retain(|key, _| !matches!(key.as_str(), "env" | "file"));
    }
    path.push(Step::Key(name.clone()));
    map.insert(name, value);
    Some(path)
}

fn existing(map: &Map<String, Value>, key: &str) -> String {
    let key = key.to_lowercase();
    map.keys().find(|name| name.to_lowercase().replace('-', "_") == key).cloned().unwrap_or(key)
}

/// A TOML scalar or array, or else the text itself.
fn scalar(text: &str) -> Value {
    let read = toml::from_str::<toml::Table>(&format!("value = {text}")).ok().filter(|table| table.len() == 1);
    match read.and_then(|mut table| table.remove("value")) {
        Some(toml::Value::Integer(number)) => number.into(),
        Some(toml::Value::Float(number)) => number.into(),
        Some(toml::Value::Boolean(switch)) => switch.into(),
        Some(toml::Value::String(text)) => text.into(),
        Some(toml::Value::Array(items)) => serde_json::to_value(items).unwrap_or(Value::Null),
        Some(toml::Value::Datetime(_) | toml::Value::Table(_)) | None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Environment, lay_over};

    #[test]
    fn variables_lie_over_files() {
        let mut settings =
            json!({ "server": { "listen": "a" }, "sources": { "my-mail": { "secret": { "env": "POSTERN_KEY" } } } });
        let environment = Environment::of([
            ("POSTERN_SERVER__LISTEN", "0.0.0.0:80"),
            ("POSTERN_SERVER__MAX_HEADERS", "7"),
            ("POSTERN_SOURCES__MY_MAIL__SECRET__FILE", "key"),
            ("POSTERN_KEY", "hunter2"),
            ("POSTERN_API_KEY", "pst_1"),
            ("POSTERN_EVENT_FILE", "x"),
            ("POSTERN_PORT_8080_TCP", "x"),
        ]);
        let (overrides, problems) = lay_over(&mut settings, &environment);
        assert_eq!((overrides.len(), problems), (3, vec![]));
        assert_eq!(
            settings,
            json!({ "server": { "listen": "0.0.0.0:80", "max_headers": 7 }, "sources": { "my-mail": { "secret": { "file": "key" } } } })
        );
    }

    #[test]
    fn a_variable_that_is_no_setting_is_named() {
        let mut settings = json!({ "server": {} });
        let (_, problems) = lay_over(&mut settings, &Environment::of([("POSTERN_SERVER_LISTEN", "x")]));
        assert_eq!(
            problems[0].to_string(),
            "environment: `POSTERN_SERVER_LISTEN` is no setting; write POSTERN_SECTION__KEY with two underscores \
             (did you mean `server`?), or unset it"
        );
    }
}
