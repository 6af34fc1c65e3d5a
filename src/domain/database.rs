//! Databases that an agent may read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::domain::agent::EnvValue;

/// What makes a session of Postgres refuse to write, as libpq and its kin take it.
const READ_ONLY: &str = "-c default_transaction_read_only=on";

/// One entry of `databases:`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSpec {
    /// The connection's URL, as a secret.
    pub url: EnvValue,
    /// The variable in which the agent and its MCP servers over stdio find it, or the server that `to` names.
    pub env: String,
    /// `claude`: `mcp.<name>`, the one MCP server over stdio that is given it; the agent is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

impl DatabaseSpec {
    /// The name of the MCP server that alone is given it.
    #[must_use]
    pub fn server(&self) -> Option<&str> {
        self.to.as_deref().map(|to| to.strip_prefix("mcp.").unwrap_or(to))
    }
}

/// A connection's URL that asks for a session which only reads: by `options` for Postgres, by `mode=ro` for SQLite.
/// Anything else stays as it is.
#[must_use]
pub fn read_only(url: &str) -> String {
    let Ok(mut parsed) = Url::parse(url.trim()) else { return url.to_owned() };
    let (name, value) = match parsed.scheme() {
        "postgres" | "postgresql" => {
            let before =
                parsed.query_pairs().filter(|(name, _)| name == "options").map(|(_, value)| value.into_owned());
            ("options", before.chain([READ_ONLY.to_owned()]).collect::<Vec<_>>().join(" "))
        }
        "sqlite" => ("mode", "ro".to_owned()),
        _ => return url.to_owned(),
    };
    let query = parsed.query().unwrap_or_default();
    let others = query.split('&').filter(|pair| !pair.is_empty() && pair.split('=').next() != Some(name));
    let mut pairs: Vec<String> = others.map(str::to_owned).collect();
    // `+` stands for a space only in forms; drivers do not read it so.
    let value: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
    pairs.push(format!("{name}={}", value.replace('+', "%20")));
    parsed.set_query(Some(&pairs.join("&")));
    parsed.to_string()
}

/// The password of a connection's URL, as it stands there and as it is: records must not have either.
#[must_use]
pub fn passwords(url: &str) -> Vec<String> {
    let Some(written) = Url::parse(url.trim()).ok().and_then(|url| url.password().map(str::to_owned)) else {
        return Vec::new();
    };
    // `+` stands for a space only in forms.
    let form = format!("p={}", written.replace('+', "%2B"));
    let plain = url::form_urlencoded::parse(form.as_bytes()).next().map(|(_, plain)| plain.into_owned());
    std::iter::once(written).chain(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::{passwords, read_only};

    #[test]
    fn passwords_are_known_as_they_stand_and_as_they_are() {
        assert_eq!(passwords("postgres://ada:p%40+w@db/shop"), ["p%40+w", "p@+w"]);
        assert!(passwords("host=db").is_empty());
    }

    #[test]
    fn sessions_of_postgres_and_sqlite_only_read() {
        for (url, expected) in [
            (
                "postgres://ada:pw%40x@db.example.com:5432/shop",
                "postgres://ada:pw%40x@db.example.com:5432/shop?options=-c%20default_transaction_read_only%3Don",
            ),
            (
                "postgresql://db/shop?sslmode=require&options=-c%20search_path%3Dx",
                "postgresql://db/shop?sslmode=require&options=-c%20search_path%3Dx%20-c%20default_transaction_read_only%3Don",
            ),
            ("sqlite:///srv/shop.db?mode=rwc", "sqlite:///srv/shop.db?mode=ro"),
            ("mysql://db/shop", "mysql://db/shop"),
            ("host=db user=ada", "host=db user=ada"),
        ] {
            assert_eq!(read_only(url), expected);
        }
    }
}
