//! What is wrong with a project, where, and what to do about it.

use std::fmt;

use serde::Serialize;

/// One thing that is wrong. Holds no secret values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Whether it stops anything.
    pub level: Level,
    /// The file relative to the project directory, or `environment`.
    pub file: String,
    /// Counts from 1; `None` when the problem has no place in the file.
    pub line: Option<usize>,
    /// Counts characters from 1.
    pub column: Option<usize>,
    /// What is wrong; names the key.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

/// Whether a problem stops anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The file is not used.
    Error,
    /// The file is used; somebody should look.
    Warning,
}

impl Problem {
    /// An error in a file as a whole.
    #[must_use]
    pub fn error(file: impl Into<String>, message: impl Into<String>) -> Self {
        Self { level: Level::Error, file: file.into(), line: None, column: None, message: message.into(), help: None }
    }

    /// A warning about a file as a whole.
    #[must_use]
    pub fn warning(file: impl Into<String>, message: impl Into<String>) -> Self {
        Self { level: Level::Warning, ..Self::error(file, message) }
    }

    /// The same with its place: line and column, from 1.
    #[must_use]
    pub fn at(mut self, place: Option<(usize, usize)>) -> Self {
        self.line = place.map(|(line, _)| line);
        self.column = place.map(|(_, column)| column);
        self
    }

    /// The same with what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Whether it stops anything.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.level == Level::Error
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(column) = self.column {
            write!(f, ":{column}")?;
        }
        f.write_str(": ")?;
        if self.level == Level::Warning {
            f.write_str("warning: ")?;
        }
        f.write_str(&self.message)?;
        if let Some(help) = &self.help {
            write!(f, "; {help}")?;
        }
        Ok(())
    }
}

/// The one of `names` that `wrong` was likely meant to be.
#[must_use]
pub fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = wrong.to_lowercase();
    names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&wrong, &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// "did you mean …?" where something is near, else the choice.
pub(crate) fn suggest<'a>(wrong: &str, names: impl Iterator<Item = &'a str> + Clone) -> Option<String> {
    if let Some(name) = nearest(wrong, names.clone()) {
        return Some(format!("did you mean `{name}`?"));
    }
    let names: Vec<String> = names.take(40).map(|name| format!("`{name}`")).collect();
    (!names.is_empty()).then(|| format!("there is {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::{Problem, nearest};

    #[test]
    fn a_problem_reads_as_one_line() {
        let problem = Problem::error("postern.toml", "unknown key `server.listn`").at(Some((7, 1)));
        assert_eq!(
            problem.help("did you mean `listen`?").to_string(),
            "postern.toml:7:1: unknown key `server.listn`; did you mean `listen`?"
        );
    }

    #[test]
    fn only_a_near_name_is_suggested() {
        assert_eq!(nearest("listn", ["listen", "limits"]), Some("listen"));
        assert_eq!(nearest("zzz", ["listen", "limits"]), None);
    }
}
