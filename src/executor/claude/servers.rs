//! MCP servers of an agent that the CLI could not use, and why: when a turn begins it says that one failed, and only when
//! it is asked (`mcp_status`) what the server or the system answered.

use serde_json::Value;

use crate::{
    domain::{agent::AgentSpec, template::clip},
    executor::{
        claude::{
            message::Answer,
            protocol::Request,
            record::{self, Line},
        },
        mask::Mask,
    },
};

/// Bytes of a reason in the record.
const MAX_REASON_BYTES: usize = 1_000;
/// What the CLI says of a server that answers 401 and where it finds no way to log in.
const NO_LOGIN: &str = "Client Registration";

/// What is known of them.
pub(super) struct Servers {
    /// Those that the CLI was told of, until it says which it has.
    told_of: Vec<String>,
    /// Those that it has and could not use, without a reason.
    unused: Vec<String>,
    is_asked: bool,
}

impl Servers {
    /// Those of an agent.
    pub(super) fn of(agent: &AgentSpec) -> Self {
        Self { told_of: agent.mcp.keys().cloned().collect(), unused: Vec::new(), is_asked: false }
    }

    /// The CLI says which it has, at the beginning of a turn. The lines of those that are missing there.
    pub(super) fn hear(&mut self, servers: &[Value]) -> Vec<Line> {
        let mut lines = Vec::new();
        for name in self.told_of.drain(..) {
            match servers.iter().find(|server| server["name"] == name.as_str()) {
                None => lines.push(record::status(format!("MCP server `{name}`: the CLI does not take it"))),
                Some(server) if server["status"] == "connected" || server["error"].is_string() => {}
                Some(_) => self.unused.push(name),
            }
        }
        lines
    }

    /// What the CLI is to be asked, once, and only where there is one that it could not use.
    pub(super) fn ask(&mut self) -> Option<Request> {
        if self.is_asked || self.unused.is_empty() {
            return None;
        }
        self.is_asked = true;
        Some(Request::McpStatus)
    }

    /// The CLI's answer: a line for each of them.
    pub(super) fn told(&mut self, answer: &Answer, mask: &Mask) -> Vec<Line> {
        let servers = answer.response["mcpServers"].as_array().map_or(&[][..], Vec::as_slice);
        let unused = std::mem::take(&mut self.unused);
        let line = |name: &String| {
            let server = servers.iter().find(|server| server["name"] == name.as_str())?;
            Some(record::status(words(name, server, mask)?))
        };
        unused.iter().filter_map(line).collect()
    }
}

fn words(name: &str, server: &Value, mask: &Mask) -> Option<String> {
    const KEY: &str = "it wants a login, and nobody can log in here: check its key in `headers`";
    if server["status"] == "needs-auth" {
        return Some(format!("MCP server `{name}`: {KEY}"));
    }
    // Masked before it is cut: the start of a secret is one, too.
    let why = mask.text(server["error"].as_str()?);
    let why = why.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let why = why.collect::<Vec<_>>().join(" ");
    let hint = if why.contains(NO_LOGIN) { format!(" ({KEY})") } else { String::new() };
    Some(format!("MCP server `{name}` failed with: {}{hint}", clip(&why, MAX_REASON_BYTES)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{MAX_REASON_BYTES, Servers};
    use crate::{
        crypto::Secret,
        executor::{claude::message::Answer, mask::Mask},
    };

    fn servers(names: &[&str]) -> Servers {
        Servers { told_of: names.iter().map(|name| (*name).to_owned()).collect(), unused: Vec::new(), is_asked: false }
    }

    fn answer(servers: &serde_json::Value) -> Answer {
        serde_json::from_value(json!({"subtype": "success", "response": {"mcpServers": servers}})).unwrap()
    }

    #[test]
    fn only_what_failed_is_asked_for_and_only_once() {
        let mut all = servers(&["good", "bad", "said", "gone"]);
        assert!(all.ask().is_none());
        let heard = [
            json!({"name": "good", "status": "connected"}),
            json!({"name": "bad", "status": "failed"}),
            json!({"name": "said", "status": "failed", "error": "x"}),
        ];
        assert_eq!(all.hear(&heard).len(), 1);
        assert!(all.ask().is_some() && all.ask().is_none());
        let said = json!([{"name": "bad", "status": "failed", "error": "Connection closed"}]);
        let lines = all.told(&answer(&said), &Mask::empty());
        assert_eq!(lines[0].1["text"], "MCP server `bad` failed with: Connection closed");
        assert!(all.ask().is_none() && all.told(&answer(&said), &Mask::empty()).is_empty());
        assert!(all.hear(&heard).is_empty() && all.ask().is_none());
    }

    #[test]
    fn what_a_server_answered_is_one_bounded_line_without_secrets() {
        let secret = Secret::new("tok-0123456789");
        let mask = Mask::of([&secret].into_iter());
        for at in [0, MAX_REASON_BYTES - 4] {
            let mut all = servers(&["bad"]);
            all.hear(&[json!({"name": "bad", "status": "failed"})]);
            let error = format!("{}tok-0123456789\n\u{1b}[2J{}", "x".repeat(at), "y ".repeat(2_000));
            let lines = all.told(&answer(&json!([{"name": "bad", "status": "failed", "error": error}])), &mask);
            let text = lines[0].1["text"].as_str().unwrap();
            assert!(text.len() < MAX_REASON_BYTES + 100 && !text.contains("tok-") && !text.contains(['\n', '\u{1b}']));
        }
    }

    #[test]
    fn a_server_that_wants_a_login_is_said_to_need_a_key() {
        for told in [
            json!({"status": "needs-auth"}),
            json!({"status": "failed", "error": "Dynamic Client Registration rejected (HTTP 404): nope"}),
        ] {
            let mut all = servers(&["bad"]);
            all.hear(&[json!({"name": "bad", "status": told["status"]})]);
            let mut told = told;
            told["name"] = json!("bad");
            let lines = all.told(&answer(&json!([told])), &Mask::empty());
            assert!(lines[0].1["text"].as_str().unwrap().contains("check its key in `headers`"), "{lines:?}");
        }
        let mut all = servers(&["slow"]);
        all.hear(&[json!({"name": "slow", "status": "pending"})]);
        assert!(all.told(&answer(&json!([{"name": "slow", "status": "pending"}])), &Mask::empty()).is_empty());
    }
}
