//! What of a `SKILL.md` reaches Claude Code: words for the model. Its frontmatter can start programs, grant tools and
//! change the model; an agent has these from its own file alone.

use serde_json::{Value, json};

use crate::{
    config::{
        locate,
        problem::Problem,
        strict::keys,
        yaml::{self, Document},
    },
    domain::{agent::Skill, template::clip},
};

/// The file of a skill that has frontmatter.
pub(super) const MAIN: &str = "SKILL.md";

/// Keys that tell the model when and how to use a skill, or take tools away. Nothing else is laid out.
const CARRIED: [&str; 7] = [
    "when_to_use",
    "argument-hint",
    "arguments",
    "disable-model-invocation",
    "user-invocable",
    "paths",
    "disallowed-tools",
];

/// Keys that are for people and catalogues.
const FOR_PEOPLE: [&str; 11] = [
    "name",
    "description",
    "license",
    "metadata",
    "version",
    "compatibility",
    "author",
    "homepage",
    "repository",
    "keywords",
    "displayName",
];

/// Keys that would start programs or change what holds for the agent, as [`plain`] writes them.
const REFUSED: [&str; 10] = [
    "hooks",
    "pretooluse",
    "permissionrequest",
    "mcpservers",
    "lspservers",
    "monitors",
    "channels",
    "settings",
    "permissions",
    "permissionmode",
];

/// The first key of the frontmatter that is refused.
pub(super) fn refused(file: &str, document: &Document<'_>, front: &Value) -> Option<Problem> {
    let fields = front.as_object()?;
    let key = fields.keys().find(|key| REFUSED.contains(&plain(key).as_str()))?;
    let message = format!("has `{}`, which would start programs or grant rights to every agent with it", shown(key));
    let help = "remove it: an agent has only what its own file names in `permissions`, `mcp` and `plugins`";
    Some(Problem::error(file, message).at(place(document, key)).help(help))
}

/// What of a skill does nothing here, though it would elsewhere.
pub(super) fn warnings(file: &str, text: &str) -> Vec<Problem> {
    let Ok(document) = yaml::split(text) else { return Vec::new() };
    let front = yaml::parse(&document).unwrap_or_default();
    let known = |key: &str| CARRIED.contains(&key) || FOR_PEOPLE.contains(&key);
    let fields = front.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
    let mut found: Vec<Problem> = fields
        .filter(|key| !known(key) && !REFUSED.contains(&plain(key).as_str()))
        .map(|key| {
            let problem = Problem::warning(file, format!("`{}` has no effect", shown(key))).at(place(&document, key));
            problem.help(instead(key))
        })
        .collect();
    if let Some(offset) = command_in(document.markdown) {
        // The Markdown is a piece of the text that ends where the text does, but for blanks.
        let start = text.trim_end().len().saturating_sub(document.markdown.len());
        let message = "the command here is not run when the skill is read: the model sees it as text";
        let problem = Problem::warning(file, message).at(Some(locate::place(text, start + offset)));
        found.push(problem.help("tell the model to run it, and allow it in the `permissions` of the agent"));
    }
    found
}

/// The text of `path`, a file of `skill`, as Claude Code gets it; `None` for one that it reads as it is.
///
/// Holds for skills of any age: those that were kept before their frontmatter was checked, too.
#[must_use]
pub fn laid_out(skill: &Skill, path: &str, bytes: &[u8]) -> Option<String> {
    let name = path.rsplit('/').next().unwrap_or(path);
    // The CLI takes the file's name in any case.
    if !name.eq_ignore_ascii_case(MAIN) {
        return None;
    }
    let text = String::from_utf8_lossy(bytes);
    let document = yaml::split(&text).ok();
    let front = document.as_ref().and_then(|document| yaml::parse(document).ok()).unwrap_or_default();
    let word = |key: &str| front.get(key).and_then(Value::as_str).unwrap_or_default();
    let (name, description) = match path == MAIN {
        true => (skill.name.as_str(), skill.description.as_str()),
        false => (word("name"), word("description")),
    };
    let mut written = format!("---\n{}{}", line("name", &json!(name)), line("description", &json!(description)));
    for (key, value) in CARRIED.iter().filter_map(|key| Some((key, front.get(key)?))) {
        if is_plain(value) {
            written.push_str(&line(key, value));
        }
    }
    written.push_str("---\n\n");
    written.push_str(&inert(document.map_or(text.trim(), |document| document.markdown)));
    written.push('\n');
    Some(written)
}

/// JSON is YAML. The CLI ends a frontmatter at the first three hyphens, wherever they stand.
fn line(key: &str, value: &Value) -> String {
    format!("{key}: {}\n", value.to_string().replace("---", "\\u002d\\u002d\\u002d"))
}

fn is_plain(value: &Value) -> bool {
    match value {
        Value::String(_) | Value::Number(_) | Value::Bool(_) => true,
        Value::Array(items) => items.iter().all(Value::is_string),
        Value::Null | Value::Object(_) => false,
    }
}

/// The text with a blank in each mark by which the CLI finds commands: `` !`command` `` and a fence that begins with
/// `` ```! ``. The second kind of mark is one that an argument could complete.
fn inert(markdown: &str) -> String {
    markdown.replace("`!", "` !").replace("!`", "! `").replace("!$", "! $")
}

/// Where the CLI would find the first command.
fn command_in(markdown: &str) -> Option<usize> {
    let fence = markdown.find("```!");
    let inline = markdown.match_indices("!`").map(|(at, _)| at).find(|at| {
        let (before, after) = (markdown.get(..*at).unwrap_or_default(), markdown.get(at + 2..).unwrap_or_default());
        let is_open = before.is_empty() || before.ends_with(char::is_whitespace);
        is_open && after.find('`').is_some_and(|length| length > 0)
    });
    fence.into_iter().chain(inline).min()
}

/// The key as the CLI compares it: it takes several ways of writing.
fn plain(key: &str) -> String {
    key.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn shown(key: &str) -> String {
    clip(key, 60).escape_debug().to_string()
}

fn instead(key: &str) -> &'static str {
    match plain(key).as_str() {
        "allowedtools" | "tools" => {
            "what an agent may do, the `permissions` of its own file say; remove it, and allow there what the skill needs"
        }
        "model" | "effort" => "an agent's file says which model works, and how much; remove it",
        "context" | "agent" | "background" => "a skill is read in the agent's own conversation; remove it",
        "shell" => "no command of a skill's text is run; remove it",
        _ => "remove it, or put it below `metadata`",
    }
}

fn place(document: &Document<'_>, key: &str) -> Option<(usize, usize)> {
    locate::in_yaml(document.yaml, &keys(&[key])).map(|(line, column)| (line + 1, column))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{laid_out, warnings};
    use crate::domain::agent::Skill;

    fn written(path: &str, text: &str) -> String {
        let (name, description) = ("tone".to_owned(), "How --- we write".to_owned());
        let skill = Skill { name, description, files: BTreeMap::new() };
        laid_out(&skill, path, text.as_bytes()).unwrap()
    }

    #[test]
    fn what_runs_or_grants_is_not_laid_out() {
        let text = "---\nname: tone\ndescription: x\nhooks: {PreToolUse: []}\nAllowed-Tools: Bash(rm *)\n\
                    allowed_tools: [Bash]\nmodel: opus\nwhen_to_use: \"a --- b\"\npaths: [\"*.md\"]\n\
                    disallowed-tools: {a: 1}\n---\nRead !`rm x` and\n```!\nrm y\n```\n!$0";
        insta::assert_snapshot!(written("SKILL.md", text), @r#"
        ---
        name: "tone"
        description: "How \u002d\u002d\u002d we write"
        when_to_use: "a \u002d\u002d\u002d b"
        paths: ["*.md"]
        ---

        Read ! `rm x` and
        ``` !
        rm y
        ```
        ! $0
        "#);
    }

    #[test]
    fn a_file_of_that_name_in_any_case_and_folder_is_written_anew() {
        let text = "---\nname: other\ndescription: d\nhooks: {}\n---\nText";
        for path in ["skill.md", "Skill.MD", "deep/er/SKILL.md"] {
            assert_eq!(written(path, text), "---\nname: \"other\"\ndescription: \"d\"\n---\n\nText\n", "{path}");
        }
        let skill = Skill { name: String::new(), description: String::new(), files: BTreeMap::new() };
        assert_eq!(laid_out(&skill, "notes.md", b"!`rm x`"), None);
        assert!(written("SKILL.md", "---\nbroken: [\n---\n---\nhooks: {}\n---\nText").contains("name: \"tone\""));
    }

    #[test]
    fn what_has_no_effect_is_said_with_its_line() {
        let text = "---\nname: tone\ndescription: d\nallowed-tools: Bash\nlicense: MIT\nfoo: 1\n---\n\nSee `!` and a!`b`.\n\nNow !`ls`\n";
        let found: Vec<String> = warnings("s", text).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found[0].starts_with("s:4:1: warning: `allowed-tools` has no effect; what an agent may do"),
            "{found:?}"
        );
        assert!(found[1].starts_with("s:6:1: warning: `foo` has no effect"), "{found:?}");
        assert!(found[2].starts_with("s:11:5: warning: the command here is not run"), "{found:?}");
    }
}
