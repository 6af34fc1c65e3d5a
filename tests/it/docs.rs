//! What README and docs say is so: links lead somewhere, commands and settings exist, agents load.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use postern::config::{
    environment::Environment,
    load::{DEFAULT, Project},
};
use tempfile::TempDir;

/// Sections of `default.toml` by which a text in code marks is known to be a setting.
const SECTIONS: [&str; 14] = [
    "anthropic",
    "server",
    "database",
    "worker",
    "queue",
    "limits",
    "sessions",
    "loops",
    "claude",
    "sandbox",
    "channels",
    "egress",
    "log",
    "retention",
];

/// The project that the agents of the pages are loaded in.
const PROJECT: &str = r#"
[sources.mail]
provider = "mailgun"
secret = { env = "KEY" }
[sources.sms]
provider = "twilio"
secret = { env = "KEY" }
[sources.github]
provider = "github"
secret = { env = "KEY" }
[sources.stripe]
provider = "stripe"
secret = { env = "KEY" }
[sources.own]
provider = "hmac"
secret = { env = "KEY" }
signature = { header = "X-Signature" }
[secrets]
orders-token = { env = "KEY" }
triage-callback = { env = "KEY" }
"#;

/// A page with its path in the repository.
struct Page {
    path: String,
    text: String,
}

/// A fenced block: what stands behind its opening fence, and its lines.
struct Block {
    kind: String,
    text: String,
}

#[test]
fn every_link_leads_somewhere() {
    let mut faults = Vec::new();
    for page in pages() {
        let base = root().join(&page.path);
        for target in links(&outside_blocks(&page.text)) {
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let file = if path.is_empty() { base.clone() } else { base.parent().unwrap().join(path) };
            if !file.exists() {
                faults.push(format!("{}: `{target}` is not there", page.path));
            } else if !anchor.is_empty() && !anchors(&fs::read_to_string(&file).unwrap()).contains(anchor) {
                faults.push(format!("{}: `{target}` has no such heading", page.path));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn every_command_and_option_that_is_named_exists() {
    let mut helps = Helps::default();
    assert!(helps.commands(&[]).len() > 3, "`postern --help` names no commands");
    let mut faults = Vec::new();
    for page in pages() {
        for line in commands(&page.text) {
            let path = match helps.path(&line) {
                Ok(path) => path,
                Err(word) => {
                    faults.push(format!("{}: `postern {line}`: there is no `{word}`", page.path));
                    continue;
                }
            };
            let help = helps.text(&path);
            for option in line.split_whitespace().filter(|word| word.starts_with("--")) {
                let option = option.split('=').next().unwrap();
                if !help.contains(option) {
                    faults.push(format!("{}: `postern {line}`: there is no `{option}`", page.path));
                }
            }
        }
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn every_setting_that_is_named_exists() {
    let known = settings();
    assert!(known.contains("server.listen") && known.contains("channels.email.provider"), "{known:?}");
    let mut faults = Vec::new();
    for page in pages() {
        for span in spans(&page.text) {
            let name = span.split([' ', '=']).next().unwrap();
            let section = name.split('.').next().unwrap();
            let plain = name.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '.' | '_'));
            if plain && name.contains('.') && SECTIONS.contains(&section) && !known.contains(name) {
                faults.push(format!("{}: there is no setting `{name}`", page.path));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn every_agent_that_is_shown_loads() {
    let mut count = 0;
    for page in pages() {
        for block in blocks(&page.text).into_iter().filter(|block| block.kind == "markdown") {
            count += 1;
            let dir = project();
            write(dir.path(), "agents/shown.md", &block.text);
            let loaded = Project::load(dir.path(), &Environment::default()).unwrap();
            let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
            assert!(!loaded.has_errors(), "{}:\n{}\n{}", page.path, block.text, problems.join("\n"));
            assert!(loaded.agents.contains_key("shown"), "{}: no agent in\n{}", page.path, block.text);
        }
    }
    assert!(count >= 2, "README and docs/agents.md show an agent each");
}

#[test]
fn every_settings_file_that_is_shown_loads() {
    for page in pages() {
        for block in blocks(&page.text).into_iter().filter(|block| block.kind == "toml") {
            let dir = TempDir::new().unwrap();
            write(dir.path(), "postern.toml", &block.text);
            if let Err(problems) = Project::load(dir.path(), &Environment::default()) {
                let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                panic!("{}:\n{}\n{}", page.path, block.text, problems.join("\n"));
            }
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn pages() -> Vec<Page> {
    let mut paths: Vec<String> =
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(str::to_owned).to_vec();
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") {
            paths.push(format!("docs/{name}"));
        }
    }
    paths.sort();
    let page = |path: String| {
        let text = fs::read_to_string(root().join(&path)).unwrap_or_else(|fault| panic!("{path}: {fault}"));
        Page { path, text }
    };
    paths.into_iter().map(page).collect()
}

fn blocks(text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(kind), None) => open = Some(Block { kind: kind.trim().to_owned(), text: String::new() }),
            (Some(_), Some(block)) => found.push(block),
            (None, Some(mut block)) => {
                block.text.push_str(line);
                block.text.push('\n');
                open = Some(block);
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    found
}

fn outside_blocks(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// Texts between single code marks.
fn spans(text: &str) -> Vec<String> {
    outside_blocks(text).split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Targets of links that are relative paths or headings.
fn links(text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:")).map(str::to_owned).collect()
}

/// The headings of a page as links name them.
fn anchors(text: &str) -> BTreeSet<String> {
    let heading = |line: &str| {
        let text = line.trim_start_matches('#').trim().to_lowercase();
        let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    text.lines().filter(|line| line.starts_with('#')).map(heading).collect()
}

/// What is called as `postern …`: in code marks, in `sh` blocks, and behind the prompts of `console` blocks.
fn commands(text: &str) -> Vec<String> {
    let mut calls = spans(text);
    for block in blocks(text) {
        for line in block.text.replace("\\\n", " ").lines() {
            let call = match block.kind.as_str() {
                "sh" => Some(line),
                "console" => line.strip_prefix("$ "),
                _ => None,
            };
            calls.extend(call.and_then(|call| call.split(" #").next()).map(str::to_owned));
        }
    }
    let mut found = Vec::new();
    for call in calls {
        let mut words = call.split_whitespace();
        if words.next().is_some_and(|program| program == "postern" || program.ends_with("/postern")) {
            let rest: Vec<&str> = words.take_while(|word| !matches!(*word, "&" | "&&" | "|" | ">")).collect();
            found.push(rest.join(" "));
        }
    }
    found
}

/// The words before the first option's value or argument that could be commands.
fn words_of(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.split_whitespace();
    while let Some(word) = rest.next() {
        if matches!(word, "-C" | "--project") {
            rest.next();
        } else if !word.starts_with('-') {
            if !word.chars().all(|c| c.is_ascii_lowercase() || c == '-') {
                break;
            }
            words.push(word.to_owned());
        }
    }
    words
}

/// What the program says of its commands, asked once each.
#[derive(Default)]
struct Helps(BTreeMap<Vec<String>, String>);

impl Helps {
    fn text(&mut self, path: &[String]) -> &str {
        self.0.entry(path.to_vec()).or_insert_with(|| help(path))
    }

    /// The commands below a command.
    fn commands(&mut self, path: &[String]) -> BTreeSet<String> {
        let lines = self.text(path).lines().skip_while(|line| *line != "Commands:").skip(1);
        let listed = lines.take_while(|line| !line.is_empty());
        listed.filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next()).map(str::to_owned).collect()
    }

    /// The command that a line calls.
    ///
    /// # Errors
    /// The word that is no command.
    fn path(&mut self, line: &str) -> Result<Vec<String>, String> {
        let mut path = Vec::new();
        for word in words_of(line) {
            let below = self.commands(&path);
            if below.is_empty() {
                break;
            }
            if !below.contains(&word) {
                return Err(word);
            }
            path.push(word);
        }
        Ok(path)
    }
}

#[expect(clippy::disallowed_methods, reason = "the program is asked what it can do")]
fn help(path: &[String]) -> String {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_postern"));
    let output = command.args(path).arg("--help").output().unwrap();
    assert!(output.status.success(), "postern {} --help: {}", path.join(" "), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The blocks of the README that are complete by themselves, run as they stand; the build is this one.
#[test]
#[expect(clippy::disallowed_methods, reason = "a reader of the README starts a shell")]
fn the_five_minutes_of_the_readme_run_as_they_stand() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let blocks = readme.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let block = blocks.into_iter().find(|block| block.contains("postern init")).unwrap();
    let lines: Vec<&str> =
        block.lines().filter(|line| !line.starts_with("cargo ") && !line.starts_with("export ")).collect();
    assert!(lines.len() >= 4 && lines.contains(&"postern validate"), "{lines:?}");
    let program = Path::new(env!("CARGO_BIN_EXE_postern")).parent().unwrap();
    let path = postern::config::environment::Environment::of_process().get("PATH").unwrap().to_owned();
    let dir = TempDir::new().unwrap();
    let done = std::process::Command::new("sh")
        .args(["-eu", "-c", &lines.join("\n")])
        .current_dir(dir.path())
        .env_clear()
        .env("PATH", format!("{}:{path}", program.display()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned() + &String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{said}");
}

/// `section.key` for every key of the default file, those that are commented out included.
fn settings() -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    let mut section = String::new();
    for line in DEFAULT.lines() {
        let line = line.trim_start_matches('#').trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            if name.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '.' | '_')) {
                section = name.to_owned();
                known.insert(section.clone());
            }
        } else if let Some((key, _)) = line.split_once('=') {
            let key = key.trim();
            if !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
                known.insert(format!("{section}.{key}"));
            }
        }
    }
    known
}

/// A project with the sources, secrets, skills and folders that the agents of the pages name.
fn project() -> TempDir {
    let dir = TempDir::new().unwrap();
    write(dir.path(), "postern.toml", PROJECT);
    write(dir.path(), "handbook/page.md", "x");
    write(dir.path(), "bin/answer.sh", "#!/bin/sh\n");
    for skill in ["refunds", "tone"] {
        let text = format!("---\nname: {skill}\ndescription: d\n---\nText\n");
        write(dir.path(), &format!("skills/{skill}/SKILL.md"), &text);
    }
    dir
}

fn write(dir: &Path, path: &str, text: &str) {
    let path = dir.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}
