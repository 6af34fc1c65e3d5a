//! What an agent's process may find in its environment.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
};

use crate::{
    crypto::Secret,
    domain::{
        agent::ExecutorKind,
        run::{Failure, FailureCode},
    },
    executor::RunSpec,
};

/// Beginnings of names that change what programs load or run, or where they connect.
const REFUSED_PREFIXES: &[&str] = &["LD_", "DYLD_", "POSTERN_", "PYTHON", "GIT_", "PERL", "RUBY"];
/// Beginnings of names that the `claude` executor sets.
const REFUSED_CLAUDE: &[&str] = &["ANTHROPIC_", "CLAUDE"];
/// Names of the same kind.
const REFUSED: &[&str] =
    &["BASH_ENV", "ENV", "SHELLOPTS", "BASHOPTS", "PS4", "IFS", "NODE_OPTIONS", "HOME", "TMPDIR", "LANG"];

/// An environment in the making; later values win.
pub(super) type Environment = BTreeMap<OsString, OsString>;

/// The environment that the agent's file names.
pub(super) fn of_agent(spec: &RunSpec) -> Result<Environment, Failure> {
    of_names(&spec.env, spec.agent.spec.executor)
}

/// Variables whose names do no harm.
pub(super) fn of_names(given: &BTreeMap<String, Secret>, executor: ExecutorKind) -> Result<Environment, Failure> {
    let mut env = Environment::new();
    for (name, value) in given {
        check(name, executor)?;
        if value.expose().contains(&0) {
            return Err(refusal(name, "its value holds a NUL byte"));
        }
        env.insert(name.into(), OsStr::from_bytes(value.expose()).to_owned());
    }
    Ok(env)
}

fn check(name: &str, executor: ExecutorKind) -> Result<(), Failure> {
    let well_formed = name.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'0'..=b'9' | b'_'));
    if !well_formed || name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(refusal(name, "names are made of A-Z, 0-9 and _"));
    }
    let refused = REFUSED.contains(&name)
        || name.ends_with("_PROXY")
        || REFUSED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || (executor != ExecutorKind::Command && REFUSED_CLAUDE.iter().any(|prefix| name.starts_with(prefix)));
    if refused { Err(refusal(name, "it would change how programs start; use another name")) } else { Ok(()) }
}

fn refusal(name: &str, why: &str) -> Failure {
    let name: String = name.chars().take(64).collect();
    Failure::new(FailureCode::Setup, format!("environment variable `{}` is refused: {why}", name.escape_default()))
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::domain::agent::ExecutorKind;

    #[test]
    fn names_that_change_how_programs_start_are_refused() {
        for name in ["LD_PRELOAD", "BASH_ENV", "HTTPS_PROXY", "POSTERN_MARK", "NODE_OPTIONS", "lower", "A=B", "", "1A"]
        {
            assert!(check(name, ExecutorKind::Command).is_err(), "{name}");
        }
        for name in ["ORDERS_URL", "PATH", "_X1", "API_KEY"] {
            assert!(check(name, ExecutorKind::Claude).is_ok(), "{name}");
        }
        assert!(check("ANTHROPIC_API_KEY", ExecutorKind::Command).is_ok());
        assert!(check("ANTHROPIC_API_KEY", ExecutorKind::Claude).is_err());
    }
}
