//! Secrets by reference: read when they are used, so that a changed file holds at once.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::{
    config::{
        environment::Environment,
        load::{FILE, Loaded, join},
        problem::Problem,
        settings::Settings,
    },
    crypto::{Secret, SecretSource},
    domain::source::SecretRef,
};

/// Largest secret file, in bytes.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// Secrets shorter than this are worth a warning, in bytes.
const SHORT_BYTES: usize = 16;

/// Where a project's secrets are found.
#[derive(Clone, Debug)]
pub struct Secrets {
    dir: PathBuf,
    environment: Environment,
    named: BTreeMap<String, SecretRef>,
}

impl Secrets {
    /// The secrets of `settings`; relative files are looked for in `dir`.
    #[must_use]
    pub fn new(dir: &Path, environment: Environment, settings: &Settings) -> Self {
        Self { dir: dir.to_owned(), environment, named: settings.secrets.clone() }
    }

    /// Errors for secrets that are missing, warnings for such as others can read or guess.
    #[must_use]
    pub fn check(&self, loaded: &Loaded) -> Vec<Problem> {
        let settings = &loaded.settings;
        let named = settings.secrets.iter().map(|(name, secret)| (format!("secrets.{name}"), secret));
        let sources = settings.sources.iter().flat_map(|(name, source)| {
            source.references().map(move |reference| (format!("sources.{name}"), reference))
        });
        sources.chain(named).flat_map(|(place, reference)| self.problems_of(&place, reference)).collect()
    }

    fn problems_of(&self, place: &str, reference: &SecretRef) -> Vec<Problem> {
        let mut problems = Vec::new();
        match self.secret(reference) {
            Err(fault) => problems.push(Problem::error(FILE, format!("`{place}`: {fault}"))),
            Ok(secret) if secret.expose().len() < SHORT_BYTES => problems
                .push(Problem::warning(FILE, format!("`{place}`: the secret is short")).help("use 16 bytes or more")),
            Ok(_) => {}
        }
        if let SecretRef::File { file } = reference {
            let path = join(&self.dir, file);
            if fs::metadata(&path).is_ok_and(|data| data.permissions().mode() & 0o007 != 0) {
                let problem =
                    Problem::warning(FILE, format!("`{place}`: everybody on this machine can read {}", path.display()));
                problems.push(problem.help(format!("chmod 600 {}", path.display())));
            }
        }
        problems
    }
}

impl SecretSource for Secrets {
    fn secret(&self, reference: &SecretRef) -> Result<Secret, String> {
        read_secret(reference, &self.dir, &self.environment)
    }

    fn named(&self, name: &str) -> Result<Secret, String> {
        let reference =
            self.named.get(name).ok_or_else(|| format!("there is no secret `{name}`; add it below [secrets]"))?;
        self.secret(reference).map_err(|fault| format!("secret `{name}`: {fault}"))
    }
}

/// The value behind a reference, outside of any project; relative files are looked for in `dir`.
///
/// # Errors
/// Why there is none, naming the variable or file and never its content.
pub fn read_secret(reference: &SecretRef, dir: &Path, environment: &Environment) -> Result<Secret, String> {
    match reference {
        SecretRef::Env { env } => match environment.get(env) {
            Some("") => Err(format!("the environment variable {env} is empty; set it")),
            Some(value) => Ok(Secret::new(value.as_bytes())),
            None => Err(format!("the environment variable {env} is not set; set it")),
        },
        SecretRef::File { file } => read_file(&join(dir, file)),
    }
}

fn read_file(path: &Path) -> Result<Secret, String> {
    let shown = path.display();
    let broken = |fault: std::io::Error| format!("the secret file {shown} cannot be read: {fault}");
    if !fs::metadata(path).map_err(broken)?.is_file() {
        return Err(format!("the secret file {shown} is no regular file"));
    }
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    let file = fs::File::open(path).map_err(broken)?;
    let read = file.take(MAX_SECRET_BYTES + 1).read_to_end(&mut bytes).map_err(broken)?;
    if read as u64 > MAX_SECRET_BYTES {
        return Err(format!("the secret file {shown} is larger than 64 KiB"));
    }
    let text = bytes.strip_suffix(b"\n").map_or(&bytes[..], |rest| rest.strip_suffix(b"\r").unwrap_or(rest));
    if text.is_empty() { Err(format!("the secret file {shown} is empty")) } else { Ok(Secret::new(text)) }
}
