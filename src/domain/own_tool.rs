//! The tools that Postern itself has for agents, and how an agent's file names them.

use crate::domain::pattern;

/// The name of the MCP server that they come from.
pub const SERVER: &str = "postern";
/// What their names begin with in an agent's file, whether or not its executor speaks MCP.
const PREFIX: &str = "mcp__postern__";

/// A tool of Postern's own. An agent has those alone that its file names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OwnTool {
    /// Answers whoever sent the event, before the run has ended or at its end.
    Reply,
    /// Shows the event that the run is for, or another one of its session.
    GetEvent,
    /// Shows what was said in the session before.
    GetThread,
    /// Asks a person, and waits for what they say.
    AskHuman,
    /// Lets the agent be started again later.
    ScheduleFollowup,
    /// Starts another agent.
    TriggerAgent,
    /// Keeps a note for later runs.
    Remember,
    /// Reads such notes.
    Recall,
}

impl OwnTool {
    /// Every tool.
    pub const ALL: [Self; 8] = [
        Self::Reply,
        Self::GetEvent,
        Self::GetThread,
        Self::AskHuman,
        Self::ScheduleFollowup,
        Self::TriggerAgent,
        Self::Remember,
        Self::Recall,
    ];

    /// Its name as a model is told it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reply => "reply",
            Self::GetEvent => "get_event",
            Self::GetThread => "get_thread",
            Self::AskHuman => "ask_human",
            Self::ScheduleFollowup => "schedule_followup",
            Self::TriggerAgent => "trigger_agent",
            Self::Remember => "remember",
            Self::Recall => "recall",
        }
    }

    /// Its name in an agent's file, such as `mcp__postern__reply`.
    #[must_use]
    pub fn qualified(self) -> String {
        format!("{PREFIX}{}", self.as_str())
    }

    /// Reads the name that a model calls it by.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.as_str() == name)
    }

    /// The tools that one entry of `tools` or `disallowed` names; `*` stands for any text. An entry for other servers
    /// names none, be it `mcp__*`: each of these tools is off unless it is meant.
    pub fn named_by(entry: &str) -> impl Iterator<Item = Self> {
        let is_ours = entry.starts_with(PREFIX) && !entry.chars().any(char::is_uppercase);
        let fits = move |tool: &Self| is_ours && pattern::matches(entry, &tool.qualified());
        Self::ALL.into_iter().filter(fits)
    }

    /// Whether an entry of `tools` can only mean tools of Postern's own.
    #[must_use]
    pub fn is_meant_by(entry: &str) -> bool {
        entry == PREFIX.trim_end_matches('_') || entry.starts_with(PREFIX)
    }

    /// The tools of an agent with these `tools` and `disallowed`, in the order of [`OwnTool::ALL`].
    #[must_use]
    pub fn of(tools: &[String], disallowed: &[String]) -> Vec<Self> {
        let is_in =
            |entries: &[String], tool: Self| entries.iter().any(|entry| Self::named_by(entry).any(|t| t == tool));
        let taken = |tool: Self| disallowed.iter().any(|entry| pattern::matches(entry, &tool.qualified()));
        Self::ALL.into_iter().filter(|tool| is_in(tools, *tool) && !taken(*tool)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::OwnTool;

    fn of(tools: &[&str], disallowed: &[&str]) -> Vec<OwnTool> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        OwnTool::of(&owned(tools), &owned(disallowed))
    }

    #[test]
    fn a_tool_is_off_unless_it_is_meant() {
        assert_eq!(of(&["mcp__postern__reply", "Read"], &[]), [OwnTool::Reply]);
        assert_eq!(of(&["mcp__postern__re*"], &[]), [OwnTool::Reply, OwnTool::Remember, OwnTool::Recall]);
        assert_eq!(of(&["mcp__postern__*"], &[]), OwnTool::ALL);
        assert_eq!(of(&["mcp__*", "reply", "mcp__postern", "mcp__postern__Reply", "*"], &[]), []);
        assert_eq!(of(&["mcp__postern__get_*"], &["mcp__postern__get_thread"]), [OwnTool::GetEvent]);
        assert_eq!(of(&["mcp__postern__*"], &["mcp__*"]), []);
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for tool in OwnTool::ALL {
            assert_eq!(OwnTool::parse(tool.as_str()), Some(tool));
        }
        assert_eq!(OwnTool::parse("mcp__postern__reply"), None);
    }
}
