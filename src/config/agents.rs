//! `agents/*.md`: YAML frontmatter and a system prompt.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    path::Path,
};

use serde_json::Value;

use crate::{
    config::{
        checks::{self, Files},
        exposure, locate,
        problem::Problem,
        settings::Settings,
        setups, skills,
        strict::{self, Step},
        yaml::{self, MAX_FILE_BYTES},
    },
    domain::{
        agent::{AgentSpec, Skill},
        catalog::BundledAgent,
        skill::SkillUse,
        source::is_valid_name,
    },
};

/// Agents of one project at most.
const MAX_AGENTS: usize = 1000;

/// An agent whose file is good.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedAgent {
    /// What its file says; host paths of mounts and secret files are absolute.
    pub spec: AgentSpec,
    /// The skills that it names, complete, in its order.
    pub skills: Vec<Skill>,
    /// The files of its setup, as `BundledAgent::files`.
    pub files: BTreeMap<String, String>,
}

/// What `agents/` holds.
#[derive(Debug, Default)]
pub(crate) struct Agents {
    pub(crate) agents: BTreeMap<String, LoadedAgent>,
    pub(crate) broken: Vec<String>,
    pub(crate) problems: Vec<Problem>,
}

/// Reads every agent of the project. A broken one does not take the others down.
///
/// # Errors
/// When the folder itself cannot be read: then nobody knows which agents there are.
pub(crate) fn load(dir: &Path, settings: &Settings) -> Result<Agents, Problem> {
    let mut found = Agents::default();
    let names = agent_names(dir).map_err(|fault| Problem::error("agents", format!("cannot be read: {fault}")))?;
    if names.is_empty() {
        found.problems.push(Problem::warning("agents", "has no agent").help("add a file such as agents/support.md"));
    }
    let mut loaded = BTreeMap::new();
    for name in names {
        let file = format!("agents/{name}.md");
        if !is_valid_name(&name) {
            let problem = Problem::error(&file, format!("`{name}` is no name for an agent"));
            found.problems.push(problem.help("name the file with 1 to 64 of a-z, 0-9, - and _"));
            found.broken.push(name);
            continue;
        }
        let mut problems = Vec::new();
        let agent = load_agent(dir, settings, &file, &mut problems).map(|spec| {
            let skills = load_skills(dir, &spec, &mut loaded, &mut problems);
            let files = spec.setup.as_ref().map(|setup| setups::load(dir, setup)).unwrap_or_default();
            LoadedAgent { spec, skills, files }
        });
        match agent {
            Some(agent) if !problems.iter().any(Problem::is_error) => {
                found.agents.insert(name, agent);
            }
            Some(_) | None => found.broken.push(name),
        }
        found.problems.extend(problems);
    }
    check_reach(dir, settings, &mut found);
    Ok(found)
}

/// Takes out the agents that are dangerous by those that they start.
fn check_reach(dir: &Path, settings: &Settings, found: &mut Agents) {
    let specs = found.agents.iter().map(|(name, agent)| (name.clone(), &agent.spec)).collect();
    let mut problems = Vec::new();
    for (name, _) in found.agents.iter().filter(|(_, agent)| !agent.spec.may_trigger.is_empty()) {
        let (file, mut own) = (format!("agents/{name}.md"), Vec::new());
        let text = read_bounded(&dir.join(&file)).unwrap_or_default();
        let yaml = yaml::split(&text).map_or("", |document| document.yaml);
        exposure::check_reach(name, &specs, settings, &mut Checker { file: &file, yaml, problems: &mut own });
        if !own.is_empty() {
            problems.push((name.clone(), own));
        }
    }
    for (name, own) in problems {
        if own.iter().any(Problem::is_error) {
            found.agents.remove(&name);
            found.broken.push(name);
        }
        found.problems.extend(own);
    }
}

fn agent_names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir.join("agents")) {
        Ok(entries) => entries,
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(fault) => return Err(fault),
    };
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        if path.extension().is_some_and(|extension| extension == "md") && !name.starts_with('.') {
            names.push(name);
        }
        if names.len() > MAX_AGENTS {
            return Err(io::Error::other(format!("there are more than {MAX_AGENTS} agents")));
        }
    }
    names.sort();
    Ok(names)
}

fn load_agent(dir: &Path, settings: &Settings, file: &str, problems: &mut Vec<Problem>) -> Option<AgentSpec> {
    match read_bounded(&dir.join(file)) {
        Ok(text) => read_agent(dir, settings, file, &text, problems),
        Err(fault) => {
            problems.push(Problem::error(file, format!("cannot be read: {fault}")));
            None
        }
    }
}

/// What is wrong with an agent that was sent instead of read from its file.
pub(crate) fn check_sent(name: &str, agent: &BundledAgent, settings: &Settings) -> Vec<Problem> {
    let (file, mut problems) = (format!("agents/{name}.md"), Vec::new());
    if !is_valid_name(name) {
        let problem = Problem::error(&file, format!("`{name}` is no name for an agent"));
        problems.push(problem.help("use 1 to 64 of a-z, 0-9, - and _"));
    }
    let mut spec = agent.spec.clone();
    let given = keys_given(&spec);
    let mut checker = Checker { file: &file, yaml: "", problems: &mut problems };
    checks::check(&mut spec, &given, Files::Sent(&agent.skills), settings, &mut checker);
    problems.extend(agent.skills.iter().filter_map(skills::check_sent));
    problems.extend(setups::check_sent(&file, agent));
    problems
}

/// What is wrong with agents of a bundle by those that they start.
pub(crate) fn check_sent_together(agents: &BTreeMap<String, BundledAgent>, settings: &Settings) -> Vec<Problem> {
    let specs = agents.iter().map(|(name, agent)| (name.clone(), &agent.spec)).collect();
    let mut problems = Vec::new();
    for name in agents.keys() {
        let file = format!("agents/{name}.md");
        let mut checker = Checker { file: &file, yaml: "", problems: &mut problems };
        exposure::check_reach(name, &specs, settings, &mut checker);
    }
    problems
}

/// The keys of a frontmatter that say something else than their default.
fn keys_given(spec: &AgentSpec) -> Vec<String> {
    let bare = serde_json::json!({"executor": spec.executor});
    let usual = serde_json::from_value::<AgentSpec>(bare).and_then(serde_json::to_value).unwrap_or_default();
    let Ok(Value::Object(fields)) = serde_json::to_value(spec) else { return Vec::new() };
    fields.into_iter().filter(|(key, value)| usual.get(key) != Some(value)).map(|(key, _)| key).collect()
}

/// The text of a regular file that is not larger than [`MAX_FILE_BYTES`].
pub(crate) fn read_bounded(path: &Path) -> io::Result<String> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut text = String::new();
    let read = fs::File::open(path)?.take(MAX_FILE_BYTES as u64 + 1).read_to_string(&mut text)?;
    if read > MAX_FILE_BYTES { Err(io::Error::other("it is larger than 256 KiB")) } else { Ok(text) }
}

fn read_agent(
    dir: &Path,
    settings: &Settings,
    file: &str,
    text: &str,
    problems: &mut Vec<Problem>,
) -> Option<AgentSpec> {
    let document = yaml::split(text).and_then(|document| yaml::parse(&document).map(|value| (document, value)));
    let (document, mut value) = match document {
        Ok(read) => read,
        Err(fault) => {
            let mut problem = Problem::error(file, fault.message).at(fault.place);
            problem.help = fault.help;
            problems.push(problem);
            return None;
        }
    };
    let mut checker = Checker { file, yaml: document.yaml, problems };
    if value.as_object_mut().and_then(|map| map.remove("prompt")).is_some() {
        checker.error(
            &["prompt"],
            "`prompt` does not stand in the frontmatter",
            "write the system prompt below the second `---`",
        );
    }
    let given: Vec<String> = value.as_object().into_iter().flat_map(serde_json::Map::keys).cloned().collect();
    match strict::read::<AgentSpec>(value, &Value::Null) {
        Ok(mut spec) => {
            document.markdown.clone_into(&mut spec.prompt);
            checks::check(&mut spec, &given, Files::Project(dir), settings, &mut checker);
            Some(spec)
        }
        Err(faults) => {
            for fault in faults {
                checker.push(Problem::error(file, fault.message), &fault.path, fault.help);
            }
            None
        }
    }
}

/// Notes problems with their place in a frontmatter.
pub(crate) struct Checker<'a> {
    file: &'a str,
    yaml: &'a str,
    problems: &'a mut Vec<Problem>,
}

impl Checker<'_> {
    /// Notes an error at a path; digits in it are places in lists.
    pub(crate) fn error(&mut self, path: &[&str], message: impl Into<String>, help: impl Into<String>) {
        let help = Some(help.into()).filter(|help| !help.is_empty());
        self.push(Problem::error(self.file, message), &strict::keys(path), help);
    }

    /// Notes a warning at a path.
    pub(crate) fn warning(&mut self, path: &[&str], message: impl Into<String>, help: impl Into<String>) {
        self.push(Problem::warning(self.file, message), &strict::keys(path), Some(help.into()));
    }

    fn push(&mut self, mut problem: Problem, path: &[Step], help: Option<String>) {
        // The frontmatter's first line is the file's second.
        problem = problem.at(locate::in_yaml(self.yaml, path).map(|(line, column)| (line + 1, column)));
        problem.help = help;
        self.problems.push(problem);
    }
}

fn load_skills(
    dir: &Path,
    spec: &AgentSpec,
    loaded: &mut BTreeMap<String, Result<Skill, Problem>>,
    problems: &mut Vec<Problem>,
) -> Vec<Skill> {
    let mut found = Vec::new();
    for name in spec.skills.iter().map(SkillUse::name).filter(|name| is_valid_name(name) && skills::exists(dir, name)) {
        let read = loaded.entry(name.to_owned()).or_insert_with(|| {
            let read = skills::load(dir, name);
            // Once a project, whichever agents name it.
            problems.extend(read.iter().flat_map(skills::warnings));
            read
        });
        match read {
            Ok(skill) => found.push(skill.clone()),
            Err(problem) => problems.push(problem.clone()),
        }
    }
    found
}
