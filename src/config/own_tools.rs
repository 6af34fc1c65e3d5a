//! Checks of the tools of Postern's own in an agent's file.

use crate::{
    config::{agents::Checker, problem::nearest},
    domain::own_tool::OwnTool,
};

/// Notes what is wrong with an entry of `tools`. `false`: it means another server's tool, or one of the executor's own.
pub(super) fn check(path: &[&str], entry: &str, checker: &mut Checker<'_>) -> bool {
    if !OwnTool::is_meant_by(entry) {
        return false;
    }
    if OwnTool::named_by(entry).next().is_none() {
        let names: Vec<String> = OwnTool::ALL.into_iter().map(OwnTool::qualified).collect();
        let near = nearest(entry, names.iter().map(String::as_str))
            .filter(|_| entry.starts_with("mcp__postern__") && !entry.contains('*'));
        let help = near.map_or_else(
            || format!("there is `mcp__postern__*`: {}", OwnTool::ALL.map(OwnTool::as_str).join(", ")),
            |name| format!("did you mean `{name}`?"),
        );
        checker.error(path, format!("`{entry}`: Postern has no such tool"), help);
    }
    true
}
