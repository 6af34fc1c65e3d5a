//! `skills/<name>/SKILL.md` and the files beside it.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Component, Path},
};

use data_encoding::BASE64;
use serde_json::Value;

use crate::{
    archive::{Tree, TreeLimits},
    config::{
        agents::read_bounded,
        locate,
        problem::Problem,
        skill_text,
        strict::keys,
        yaml::{self, MAX_FILE_BYTES},
    },
    domain::{agent::Skill, source::is_valid_name, template::clip},
};

/// Bytes of one skill, all files together.
const MAX_SKILL_BYTES: u64 = 1024 * 1024;

/// Files of one skill, directories counted.
const MAX_FILES: usize = 200;

/// Characters of a description: all of them stand in each conversation.
const MAX_DESCRIPTION: usize = 1024;

/// Directories inside each other.
const MAX_DEPTH: usize = 16;

/// How large a skill may be that is sent as a tar file.
pub const LIMITS: TreeLimits = TreeLimits { bytes: MAX_SKILL_BYTES, files: MAX_FILES, depth: MAX_DEPTH };

/// A skill from its folder, which was sent.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn from_tree(name: &str, tree: Tree) -> Result<Skill, Problem> {
    let main = format!("skills/{name}/SKILL.md");
    if !is_valid_name(name) {
        let problem = Problem::error(format!("skills/{}", clip(name, 100).escape_debug()), "is no name for a skill");
        return Err(problem.help("use 1 to 64 of a-z, 0-9, - and _"));
    }
    let tree = tree.without_folder(name);
    let text = tree.files.get("SKILL.md").map(|file| String::from_utf8(file.bytes.clone()));
    let text = match text {
        Some(Ok(text)) if text.len() <= MAX_FILE_BYTES => text,
        Some(Ok(_)) => return Err(Problem::error(&main, "is larger than 256 KiB")),
        Some(Err(_)) => return Err(Problem::error(&main, "is no UTF-8")),
        None => {
            let problem = Problem::error(&main, "is not there");
            return Err(problem.help("send the skill's folder, or what is in it: tar czf - -C skills/name ."));
        }
    };
    let description = read_description(&main, name, &text)?;
    let files = tree.files.into_iter().map(|(path, file)| (path, BASE64.encode(&file.bytes)));
    let skill = Skill { name: name.to_owned(), description, files: files.collect() };
    check_sent(&skill).map_or(Ok(skill), Err)
}

/// Whether the project has a folder for the skill.
pub(crate) fn exists(dir: &Path, name: &str) -> bool {
    dir.join("skills").join(name).is_dir()
}

/// The skills that the project has folders for.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir.join("skills")).into_iter().flatten().take(1000);
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| is_valid_name(name))
        .collect();
    names.sort();
    names
}

/// Reads one skill, complete.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn load(dir: &Path, name: &str) -> Result<Skill, Problem> {
    let folder = dir.join("skills").join(name);
    let main = format!("skills/{name}/SKILL.md");
    if fs::symlink_metadata(&folder).is_ok_and(|data| data.is_symlink()) {
        return Err(Problem::error(format!("skills/{name}"), "is a link").help("copy the folder"));
    }
    let text = read_bounded(&folder.join("SKILL.md")).map_err(|fault| {
        Problem::error(&main, format!("cannot be read: {fault}")).help("begin it with `---`, name, description, `---`")
    })?;
    let description = read_description(&main, name, &text)?;
    let mut gathered = Gathered { name, files: BTreeMap::new(), left_bytes: MAX_SKILL_BYTES, left_files: MAX_FILES };
    gathered.folder(&folder, "", MAX_DEPTH)?;
    let skill = Skill { name: name.to_owned(), description, files: gathered.files };
    check_sent(&skill).map_or(Ok(skill), Err)
}

/// The first thing that is wrong with a skill that was sent instead of read from its folder.
pub(crate) fn check_sent(skill: &Skill) -> Option<Problem> {
    let fault = |message: &str| Some(Problem::error(format!("skills/{}", skill.name), message));
    let is_inside = |path: &str| {
        let mut parts = Path::new(path).components();
        !path.contains('\0')
            && parts.clone().count() <= MAX_DEPTH
            && parts.all(|part| matches!(part, Component::Normal(_)))
    };
    if !is_valid_name(&skill.name) {
        return fault("is no name for a skill");
    }
    if !skill.files.contains_key("SKILL.md") {
        return fault("has no SKILL.md");
    }
    if skill.files.len() > MAX_FILES
        || skill.files.values().map(String::len).sum::<usize>() as u64 > MAX_SKILL_BYTES * 3 / 2
    {
        return fault("has more than 200 files or 1 MiB");
    }
    if !skill.files.keys().all(|path| !path.is_empty() && is_inside(path)) {
        return fault("has a file outside of it");
    }
    let twice = |path: &&String| path.eq_ignore_ascii_case(skill_text::MAIN) && *path != skill_text::MAIN;
    if let Some(other) = skill.files.keys().find(twice) {
        return fault(&format!("has a `{other}` beside its SKILL.md; Claude Code takes either, so remove it"));
    }
    if !skill.files.values().all(|bytes| BASE64.decode(bytes.as_bytes()).is_ok()) {
        return fault("has a file that is not in base64");
    }
    let main = skill.files.get("SKILL.md").and_then(|text| BASE64.decode(text.as_bytes()).ok());
    let Some(main) = main.and_then(|bytes| String::from_utf8(bytes).ok()) else {
        return fault("has a SKILL.md that is no UTF-8");
    };
    match read_description(&format!("skills/{}/SKILL.md", skill.name), &skill.name, &main) {
        Ok(description) if description == skill.description => None,
        Ok(_) => fault("has another description than its SKILL.md"),
        Err(problem) => Some(problem),
    }
}

/// What of a good skill does nothing here, though it would elsewhere.
#[must_use]
pub fn warnings(skill: &Skill) -> Vec<Problem> {
    let main = skill.files.get(skill_text::MAIN).and_then(|text| BASE64.decode(text.as_bytes()).ok());
    let text = String::from_utf8(main.unwrap_or_default()).unwrap_or_default();
    skill_text::warnings(&format!("skills/{}/{}", skill.name, skill_text::MAIN), &text)
}

/// The text below the frontmatter of a `SKILL.md`; all of it when there is none.
#[must_use]
pub fn body(text: &str) -> &str {
    yaml::split(text).map_or(text.trim(), |document| document.markdown)
}

fn read_description(file: &str, name: &str, text: &str) -> Result<String, Problem> {
    let (document, value) = yaml::split(text)
        .and_then(|document| yaml::parse(&document).map(|value| (document, value)))
        .map_err(|fault| {
            let mut problem = Problem::error(file, fault.message).at(fault.place);
            problem.help = fault.help;
            problem
        })?;
    let word = |key: &str| value.get(key).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
    if let Some(problem) = skill_text::refused(file, &document, &value) {
        return Err(problem);
    }
    let fault = |key: &str, message: String| {
        let place = locate::in_yaml(document.yaml, &keys(&[key])).map(|(line, column)| (line + 1, column));
        Problem::error(file, message).at(place)
    };
    match (word("name"), word("description")) {
        (Some(own), _) if own != name => {
            Err(fault("name", format!("is named `{own}` in the folder `{name}`")).help(format!("write `name: {name}`")))
        }
        (None, _) => {
            Err(fault("name", "has no `name`".to_owned()).help(format!("write `name: {name}` in its frontmatter")))
        }
        (_, None) => {
            Err(fault("description", "has no `description`".to_owned())
                .help("say in one line when an agent should use it"))
        }
        (_, Some(long)) if long.chars().count() > MAX_DESCRIPTION => {
            Err(fault("description", format!("has a description of more than {MAX_DESCRIPTION} characters"))
                .help("say only when an agent should use it; the rest goes below the frontmatter"))
        }
        _ if document.markdown.is_empty() => {
            Err(Problem::error(file, "has nothing below its frontmatter").help("write there what an agent is to do"))
        }
        (Some(_), Some(description)) => Ok(description.to_owned()),
    }
}

struct Gathered<'a> {
    name: &'a str,
    files: BTreeMap<String, String>,
    left_bytes: u64,
    left_files: usize,
}

impl Gathered<'_> {
    /// Takes a directory with all that is in it; goes no deeper than `depth`, follows no link.
    fn folder(&mut self, folder: &Path, prefix: &str, depth: usize) -> Result<(), Problem> {
        let skill = self.name;
        let fault = |path: &str, message: &str| Problem::error(format!("skills/{skill}/{path}"), message);
        let broken = |error: std::io::Error| fault(prefix, &format!("cannot be read: {error}"));
        if depth == 0 {
            return Err(fault(prefix, "lies too deep"));
        }
        for entry in fs::read_dir(folder).map_err(broken)? {
            let entry = entry.map_err(broken)?;
            let Ok(name) = entry.file_name().into_string() else {
                return Err(fault(prefix, "has a file whose name is no UTF-8"));
            };
            let path = format!("{prefix}{name}");
            self.left_files = self
                .left_files
                .checked_sub(1)
                .ok_or_else(|| fault(&path, "is one file too many; a skill has 200 at most"))?;
            let kind = entry.file_type().map_err(|error| fault(&path, &format!("cannot be read: {error}")))?;
            if kind.is_dir() {
                self.folder(&entry.path(), &format!("{path}/"), depth - 1)?;
            } else if kind.is_file() {
                self.file(&entry.path(), path)?;
            } else {
                return Err(fault(&path, "is a link or a special file").help("copy the file that is meant"));
            }
        }
        Ok(())
    }

    fn file(&mut self, from: &Path, path: String) -> Result<(), Problem> {
        let fault = |message: String| Problem::error(format!("skills/{}/{path}", self.name), message);
        let mut bytes = Vec::new();
        let read = fs::File::open(from).and_then(|file| file.take(self.left_bytes + 1).read_to_end(&mut bytes));
        let read = read.map_err(|error| fault(format!("cannot be read: {error}")))? as u64;
        self.left_bytes = self
            .left_bytes
            .checked_sub(read)
            .ok_or_else(|| fault("makes the skill larger than 1 MiB".to_owned()).help("mount large files instead"))?;
        self.files.insert(path, BASE64.encode(&bytes));
        Ok(())
    }
}
