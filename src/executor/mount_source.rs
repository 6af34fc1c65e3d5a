//! Where a mount of a project really leads. That was judged when the project was applied; a link that was put in its way since,
//! perhaps by an agent, is not followed.

use std::{
    fs,
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
};

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, open, openat};

use crate::domain::mount::BORDER;

const MISSING: &str = "there is nothing at that path on this worker";

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// Where it is.
    pub(super) path: PathBuf,
    /// Which file or directory it must be; `None` for a path that the operator wrote out, wherever it leads.
    pub(super) judged: Option<Judged>,
}

/// A path behind which no link is followed, and what was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judged {
    host: String,
    identity: Identity,
}

impl Judged {
    /// What is there now, since files and folders are replaced by others in use; what was there, when now there is nothing
    /// or a link.
    pub(super) fn now(&self) -> Identity {
        let again = find(&self.host).ok().and_then(|source| source.judged);
        again.map_or(self.identity, |judged| judged.identity)
    }
}

/// A file or directory of this machine, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// That of what was opened.
    pub(super) const fn of(found: &Stat) -> Self {
        Self { device: found.st_dev, inode: found.st_ino }
    }

    /// As `stat -c %d:%i` says it.
    pub(super) fn in_words(self) -> String {
        format!("{}:{}", self.device, self.inode)
    }
}

/// Looks where the host path of a mount leads now.
///
/// # Errors
/// In words for the operator: nothing is there, or a link is in its way.
pub(super) fn find(host: &str) -> Result<Source, String> {
    let Some((project, rest)) = host.rsplit_once(BORDER) else {
        let path = PathBuf::from(host);
        return if path.exists() { Ok(Source { path, judged: None }) } else { Err(MISSING.to_owned()) };
    };
    let mut path = fs::canonicalize(project).map_err(|_| MISSING.to_owned())?;
    let how = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at: OwnedFd = open(&path, how, Mode::empty()).map_err(|_| MISSING.to_owned())?;
    let mut identity = None;
    for part in Path::new(rest).components() {
        let Component::Normal(name) = part else {
            return Err(format!("`{rest}` is not a plain path behind `{BORDER}`"));
        };
        path.push(name);
        at = openat(&at, name, how, Mode::empty()).map_err(|_| MISSING.to_owned())?;
        let found = fstat(&at).map_err(|error| error.to_string())?;
        if FileType::from_raw_mode(found.st_mode) == FileType::Symlink {
            return Err(format!(
                "`{}` is a link now, and was none when the project was applied; take it away, or apply the project again",
                path.display()
            ));
        }
        identity = Some(Identity::of(&found));
    }
    Ok(Source { path, judged: identity.map(|identity| Judged { host: host.to_owned(), identity }) })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::find;

    #[test]
    fn no_link_behind_the_border_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir_all(real.join("project/docs/book")).unwrap();
        fs::write(real.join("project/page"), "x").unwrap();
        symlink(real.join("project"), real.join("current")).unwrap();
        let project = real.join("current").display().to_string();
        let found = find(&format!("{project}/./docs/book")).unwrap();
        assert_eq!(found.path, real.join("project/docs/book"), "the way to the project is the operator's");
        let words = found.judged.unwrap().now().in_words();
        assert!(words.split(':').all(|number| number.parse::<u64>().is_ok()), "{words}");
        assert!(find(&format!("{project}/./page")).unwrap().judged.is_some());
        for rest in ["docs/none", "page/deeper", "none"] {
            assert!(find(&format!("{project}/./{rest}")).unwrap_err().contains("nothing at that path"), "{rest}");
        }
        assert!(find(&format!("{project}/./../project/docs")).is_err());
        // Links are put in its way, at its end and before it.
        fs::rename(real.join("project/docs/book"), real.join("book")).unwrap();
        symlink(real.join("book"), real.join("project/docs/book")).unwrap();
        assert!(find(&format!("{project}/./docs/book")).unwrap_err().contains("docs/book` is a link now"));
        fs::rename(real.join("project/docs"), real.join("docs")).unwrap();
        symlink("../docs", real.join("project/docs")).unwrap();
        assert!(find(&format!("{project}/./docs/book")).unwrap_err().contains("project/docs` is a link now"));
        // What the operator wrote out leads where it leads.
        let written = find(&format!("{project}/docs/book")).unwrap();
        assert!(written.judged.is_none() && written.path.starts_with(real.join("current")));
    }
}
