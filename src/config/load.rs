//! Reading a project: the default file, `postern.toml` over it, the environment over both.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use crate::{
    config::{
        agents::{self, LoadedAgent},
        environment::{Environment, Override, lay_over},
        locate,
        problem::Problem,
        schemas,
        settings::Settings,
        strict::{self, Fault, Step},
        validate,
    },
    domain::{
        fetch::FetchSpec,
        source::{SecretRef, SourceSecret},
    },
};

/// The documented default, in full.
pub const DEFAULT: &str = include_str!("default.toml");

/// The name of a project's settings file.
pub const FILE: &str = "postern.toml";

/// Largest settings file, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// A project directory, read and checked.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The directory, absolute.
    pub dir: PathBuf,
    /// What `postern.toml` says, paths absolute.
    pub settings: Settings,
    /// Agents whose file is good, by name.
    pub agents: BTreeMap<String, LoadedAgent>,
    /// Names of agents whose file is not; their last good version stays.
    pub broken: Vec<String>,
    /// What is wrong with broken agents, and warnings.
    pub problems: Vec<Problem>,
    text: String,
}

/// A project on disk.
pub struct Project;

impl Project {
    /// Reads the project in `dir`. A broken agent file does not stop it; see [`Loaded::broken`].
    ///
    /// # Errors
    /// What is wrong with `postern.toml` or with settings in the environment, all of it; or that the
    /// folder of agents cannot be read.
    pub fn load(dir: &Path, environment: &Environment) -> Result<Loaded, Vec<Problem>> {
        let dir = std::path::absolute(dir)
            .map_err(|fault| vec![Problem::error(dir.display().to_string(), format!("cannot be found: {fault}"))])?;
        let text = read_settings_file(&dir)?;
        let mut settings = read_settings(&text, environment)?;
        make_absolute(&mut settings, &dir);
        let mut problems = schemas::read(&mut settings, &dir, &text);
        problems.extend(validate::check(&settings, &text));
        if problems.iter().any(Problem::is_error) {
            return Err(problems);
        }
        let read = agents::load(&dir, &settings).map_err(|problem| vec![problem])?;
        problems.extend(read.problems);
        Ok(Loaded { dir, settings, agents: read.agents, broken: read.broken, problems, text })
    }
}

impl Loaded {
    /// Whether there is any error among the problems.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.problems.iter().any(Problem::is_error)
    }

    /// Errors for sources whose provider is not among `known`.
    #[must_use]
    pub fn check_providers(&self, known: &[&str]) -> Vec<Problem> {
        validate::check_providers(&self.settings.sources, &self.text, known)
    }
}

fn read_settings_file(dir: &Path) -> Result<String, Vec<Problem>> {
    let path = dir.join(FILE);
    let file = fs::File::open(&path).map_err(|fault| {
        let problem = Problem::error(FILE, format!("cannot be read in {}: {fault}", dir.display()));
        vec![problem.help("`postern init` makes a project")]
    })?;
    let mut text = String::new();
    match file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text) {
        Ok(read) if read as u64 > MAX_FILE_BYTES => Err(vec![Problem::error(FILE, "is larger than 1 MiB")]),
        Ok(_) => Ok(text),
        Err(fault) => Err(vec![Problem::error(FILE, format!("cannot be read: {fault}"))]),
    }
}

/// Merges and reads strictly. Every problem of file and environment is found in one pass.
pub(crate) fn read_settings(text: &str, environment: &Environment) -> Result<Settings, Vec<Problem>> {
    let default = parse(DEFAULT)?;
    let mut merged = default.clone();
    merge(&mut merged, parse(text)?);
    let (overrides, mut problems) = lay_over(&mut merged, environment);
    match strict::read(merged, &default) {
        Ok(settings) if problems.is_empty() => Ok(settings),
        Ok(_) => Err(problems),
        Err(faults) => {
            problems.extend(faults.into_iter().map(|fault| problem_of(fault, text, &overrides)));
            Err(problems)
        }
    }
}

fn parse(text: &str) -> Result<Value, Vec<Problem>> {
    let fault = |fault: &toml::de::Error| {
        let place = fault.span().map(|span| locate::place(text, span.start));
        Problem::error(FILE, format!("is not valid TOML: {}", fault.message())).at(place)
    };
    let (_, faults) = toml::de::DeTable::parse_recoverable(text);
    if !faults.is_empty() {
        return Err(faults.iter().take(20).map(fault).collect());
    }
    let table: toml::Table = toml::from_str(text).map_err(|error| vec![fault(&error)])?;
    Ok(to_json(toml::Value::Table(table)))
}

fn to_json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(switch) => switch.into(),
        toml::Value::Datetime(at) => at.to_string().into(),
        toml::Value::Array(items) => items.into_iter().map(to_json).collect(),
        toml::Value::Table(table) => {
            Value::Object(table.into_iter().map(|(key, value)| (key, to_json(value))).collect::<Map<_, _>>())
        }
    }
}

fn merge(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                merge(under.entry(key).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over,
    }
}

fn problem_of(fault: Fault, text: &str, overrides: &[Override]) -> Problem {
    let variable =
        overrides.iter().find(|over| over.path.starts_with(&fault.path) || fault.path.starts_with(&over.path));
    let mut problem = match variable {
        Some(over) => Problem::error("environment", format!("{}: {}", over.variable, fault.message)),
        None => Problem::error(FILE, fault.message).at(locate::in_toml(text, &fault.path)),
    };
    problem.help = fault.help;
    problem
}

/// Makes every path of the settings absolute against the project directory.
fn make_absolute(settings: &mut Settings, dir: &Path) {
    if let Some(rest) = settings.database.url.strip_prefix("sqlite:") {
        let path = rest.strip_prefix("//").unwrap_or(rest);
        if !path.is_empty() && !path.starts_with(":memory:") {
            settings.database.url = format!("sqlite:{}", join(dir, path).display());
        }
    }
    settings.worker.work_dir = join(dir, &settings.worker.work_dir);
    secrets_mut(settings, |reference| {
        if let SecretRef::File { file } = reference {
            *file = join(dir, &*file).display().to_string();
        }
    });
}

/// `path` below `dir`, without `.` in between; an absolute one stays.
pub(crate) fn join(dir: &Path, path: impl AsRef<Path>) -> PathBuf {
    dir.join(path).components().filter(|part| !matches!(part, std::path::Component::CurDir)).collect()
}

fn secrets_mut(settings: &mut Settings, mut change: impl FnMut(&mut SecretRef)) {
    use crate::config::settings::{EmailChannel, SmsChannel};
    settings.secrets.values_mut().for_each(&mut change);
    for source in settings.sources.values_mut() {
        for secret in source.secret.iter_mut().chain(&mut source.secrets) {
            match secret {
                SourceSecret::Plain(secret) | SourceSecret::Labelled { secret, .. } => change(secret),
            }
        }
        source.fetch.iter_mut().flat_map(FetchSpec::references_mut).for_each(&mut change);
        if let Some(imap) = &mut source.imap {
            imap.password.iter_mut().chain(&mut imap.token).for_each(&mut change);
        }
    }
    settings.database.password.iter_mut().for_each(&mut change);
    settings.claude.api_key.iter_mut().chain(&mut settings.anthropic.api_key).for_each(&mut change);
    match &mut settings.channels.email {
        Some(EmailChannel::Mailgun { api_key, .. }) => change(api_key),
        Some(EmailChannel::Smtp { password, .. }) => password.iter_mut().for_each(&mut change),
        None => {}
    }
    match &mut settings.channels.sms {
        Some(SmsChannel::Twilio { auth_token: secret, .. } | SmsChannel::Plivo { auth_token: secret, .. }) => {
            change(secret);
        }
        Some(SmsChannel::Telnyx { api_key: secret, .. } | SmsChannel::Vonage { api_secret: secret, .. }) => {
            change(secret);
        }
        None => {}
    }
}

/// The place of keys in a settings file.
pub(crate) fn place(text: &str, keys: &[&str]) -> Option<(usize, usize)> {
    let path: Vec<Step> = keys.iter().map(|key| Step::Key((*key).to_owned())).collect();
    locate::in_toml(text, &path)
}

#[cfg(test)]
mod tests {
    use super::{Environment, read_settings};

    fn problems(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
        let environment = Environment::of(variables.iter().copied());
        read_settings(text, &environment).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_default_file_is_whole() {
        let settings = read_settings("", &Environment::default()).unwrap();
        assert_eq!(settings.server.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(settings.server.commit_timeout.0, 2_500);
        assert_eq!(settings.limits.turns, 30);
    }

    #[test]
    fn every_fault_names_its_place_and_the_way_out() {
        let text = "[server]\nlistn = \"a\"\nlisten = \"localhost\"\nheader_timeout = \"10\"\n\n[sources.mail]\nprovider = 7\nsecret = \"hunter2\"\n\n[channels.email]\nprovider = \"mailgum\"\n\n[sandbox]\nmode = \"on\"\n";
        insta::assert_snapshot!(problems(text, &[]).join("\n"), @r#"
        postern.toml:11:1: `channels.email.provider` cannot be `mailgum`; did you mean `mailgun`?
        postern.toml:14:1: `sandbox.mode` cannot be `on`; there is `auto`, `required`, `off`
        postern.toml:4:1: `server.header_timeout`: `10` is not a time span; write 500ms, 30s, 15m, 2h or 7d
        postern.toml:3:1: `server.listen` is not an address with a port; write for example 127.0.0.1:8080
        postern.toml:2:1: unknown key `server.listn`; did you mean `listen`?
        postern.toml:7:1: `sources.mail.provider` must be text, not the number `7`; put it in quotes
        postern.toml:8:1: `sources.mail.secret` has none of its forms; write { env = "NAME" }, { file = "path" } or { label = "…", secret = { env = "NAME" }, until = "2027-03-01T00:00:00Z" }, never the secret itself
        "#);
    }

    #[test]
    fn faults_of_the_environment_name_the_variable() {
        let found = problems("", &[("POSTERN_SERVER__MAX_HEADERS", "many"), ("POSTERN_SERVR__LISTEN", "x")]);
        insta::assert_snapshot!(found.join("\n"), @r#"
        environment: POSTERN_SERVER__MAX_HEADERS: `server.max_headers` must be a whole number from 0, not the text "many"
        environment: POSTERN_SERVR__LISTEN: unknown key `servr`; did you mean `server`?
        "#);
    }

    #[test]
    fn broken_toml_names_its_line() {
        insta::assert_snapshot!(problems("[server]\nlisten = \n", &[]).join("\n"), @"postern.toml:2:10: is not valid TOML: string values must be quoted, expected literal string");
    }

    #[test]
    fn a_secret_in_the_file_is_refused_and_not_repeated() {
        for text in [
            "secrets = \"hunter2\"",
            "[secrets]\nkey = \"hunter2\"",
            "[database]\npassword = \"hunter2\"",
            "[claude]\napi_key = \"hunter2\"",
            "[channels.sms]\nprovider = \"twilio\"\naccount_sid = \"AC1\"\nauth_token = \"hunter2\"",
        ] {
            let found = problems(text, &[]).join("\n");
            assert!(found.contains("postern.toml:") && !found.contains("hunter2"), "{found}");
        }
    }
}
