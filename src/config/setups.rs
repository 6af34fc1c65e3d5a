//! `setup:` of an agent's file, and the files below `setup/` that it names.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    path::{Component, Path},
};

use data_encoding::BASE64;

use crate::{
    config::{
        agents::Checker,
        checks::{Files, check_env},
        problem::Problem,
        settings::Settings,
    },
    domain::{
        agent::AgentSpec,
        catalog::BundledAgent,
        setup::{SetupRun, SetupSpec},
        time::Span,
    },
};

/// Files of one setup.
const MOST_FILES: usize = 50;
/// Bytes of them together.
const MOST_BYTES: u64 = 2 * 1024 * 1024;
/// Bytes of a script.
const MOST_SCRIPT: usize = 64 * 1024;

/// Checks `setup`.
pub(crate) fn check(spec: &mut AgentSpec, files: Files<'_>, settings: &Settings, checker: &mut Checker<'_>) {
    let Some(setup) = &mut spec.setup else { return };
    let words = match &setup.run {
        SetupRun::Script(text) => vec![text],
        SetupRun::Program(words) => words.iter().collect(),
    };
    if words.first().is_none_or(|first| first.trim().is_empty()) {
        let help = "write for example `run: npm ci --prefix \"$POSTERN_LAYER\"`";
        checker.error(&["setup", "run"], "`setup.run` is empty", help);
    }
    if words.iter().any(|word| word.contains('\0') || word.contains("{{") || word.len() > MOST_SCRIPT) {
        let fault = "`setup.run` has a template or a NUL in it, or is longer than 64 KiB";
        checker.error(&["setup", "run"], fault, "a setup is prepared before there is an event; nothing goes into it");
    }
    if !(Span(1_000)..=Span(7_200_000)).contains(&setup.timeout) {
        let fault = format!("`setup.timeout` is {}", setup.timeout);
        checker.error(&["setup", "timeout"], fault, "write a span between 1s and 2h");
    }
    check_env(&["setup", "env"], spec.executor, &mut setup.env, files, settings, checker);
    if setup.files.len() > MOST_FILES {
        let fault = format!("`setup.files` has more than {MOST_FILES} entries");
        checker.error(&["setup", "files"], fault, "name those that the commands need");
    }
    let mut left = MOST_BYTES;
    for (index, file) in setup.files.iter().enumerate() {
        let place = index.to_string();
        let path = ["setup", "files", place.as_str()];
        if setup.files.iter().take(index).any(|earlier| earlier == file) {
            checker.error(&path, format!("`{file}` is named twice"), "keep one of them");
        }
        let found = match files {
            Files::Project(dir) => read(dir, file, left).map(|bytes| bytes.len() as u64),
            Files::Sent(_) => plain(file).map(|()| 0),
        };
        match found {
            Ok(bytes) => left = left.saturating_sub(bytes),
            Err((fault, help)) => checker.error(&path, format!("`setup/{file}` {fault}"), help),
        }
    }
}

/// The files that a setup names, in base64; those that cannot be read were named by [`check`].
pub(crate) fn load(dir: &Path, setup: &SetupSpec) -> BTreeMap<String, String> {
    let named = setup.files.iter().take(MOST_FILES);
    named.filter_map(|file| Some((file.clone(), BASE64.encode(&read(dir, file, MOST_BYTES).ok()?)))).collect()
}

/// What is wrong with the files of an agent that was sent instead of read from its file.
pub(crate) fn check_sent(file: &str, agent: &BundledAgent) -> Option<Problem> {
    let wanted: Vec<&String> = agent.spec.setup.iter().flat_map(|setup| &setup.files).collect();
    let fault = |message: String| Some(Problem::error(file, message));
    if let Some(missing) = wanted.iter().find(|name| !agent.files.contains_key(**name)) {
        return fault(format!("`files` has no `{missing}`, which `setup.files` names"));
    }
    if let Some(more) = agent.files.keys().find(|name| !wanted.contains(name)) {
        return fault(format!("`files` has `{more}`, which `setup.files` does not name"));
    }
    let mut bytes = 0;
    for (name, content) in &agent.files {
        match BASE64.decode(content.as_bytes()) {
            Ok(content) => bytes += content.len() as u64,
            Err(_) => return fault(format!("`files` has `{name}` not in base64")),
        }
    }
    (bytes > MOST_BYTES).then(|| Problem::error(file, "`files` has more than 2 MiB".to_owned()))
}

fn plain(file: &str) -> Result<(), (String, &'static str)> {
    let parts: Vec<Component<'_>> = Path::new(file).components().collect();
    let plain = !file.is_empty()
        && !file.contains(['\0', '\\'])
        && !file.ends_with('/')
        && parts.len() <= 16
        && parts.iter().all(|part| matches!(part, Component::Normal(_)));
    if plain {
        return Ok(());
    }
    Err(("is no plain path below `setup/`".to_owned(), "write it without `.` and `..`, such as shop/package.json"))
}

/// A file below `setup/`, through no link.
fn read(dir: &Path, file: &str, most: u64) -> Result<Vec<u8>, (String, &'static str)> {
    const HELP: &str = "put the file there, and no link to it";
    plain(file)?;
    let mut at = dir.join("setup");
    let mut found = fs::symlink_metadata(&at);
    for part in Path::new(file).components() {
        if found.as_ref().is_ok_and(fs::Metadata::is_symlink) {
            return Err(("lies behind a link".to_owned(), HELP));
        }
        at.push(part);
        found = fs::symlink_metadata(&at);
    }
    match found {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(("is no file".to_owned(), "name files, not folders or links")),
        Err(fault) => return Err((format!("cannot be read: {fault}"), HELP)),
    }
    let mut bytes = Vec::new();
    let read = fs::File::open(&at).and_then(|file| file.take(most + 1).read_to_end(&mut bytes));
    match read {
        Ok(read) if read as u64 > most => {
            Err(("makes the files of the setup larger than 2 MiB".to_owned(), "fetch large files in `setup.run`"))
        }
        Ok(_) => Ok(bytes),
        Err(fault) => Err((format!("cannot be read: {fault}"), HELP)),
    }
}
