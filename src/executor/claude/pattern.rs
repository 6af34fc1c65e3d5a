//! Patterns with `*`, as permission rules have them.

/// A pattern that is compared with a whole text.
pub(super) struct Pattern(Option<regex::Regex>);

impl Pattern {
    /// `*` stands for anything.
    pub(super) fn words(pattern: &str) -> Self {
        Self::compile(&format!("(?s)^{}$", regex::escape(pattern).replace(r"\*", ".*")))
    }

    /// `**` stands for anything, `*` for anything within one segment; a directory covers what is in it.
    pub(super) fn path(pattern: &str) -> Self {
        let pattern = pattern.strip_suffix("/**").unwrap_or(pattern).trim_end_matches('/');
        let escaped =
            regex::escape(pattern).replace(r"/\*\*/", "/(.*/)?").replace(r"\*\*", ".*").replace(r"\*", "[^/]*");
        Self::compile(&format!("(?s)^{escaped}(/.*)?$"))
    }

    /// Whether `text` is as the pattern says; a pattern that is too large matches nothing.
    pub(super) fn matches(&self, text: &str) -> bool {
        self.0.as_ref().is_some_and(|pattern| pattern.is_match(text))
    }

    fn compile(pattern: &str) -> Self {
        Self(regex::Regex::new(pattern).ok())
    }
}

/// Whether something below the directory `path` may be as the path pattern says.
pub(super) fn reaches_below(pattern: &str, path: &str) -> bool {
    let parts = |text: &str| text.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let (wanted, path) = (parts(pattern), parts(path));
    for (at, part) in wanted.iter().enumerate() {
        if part.contains("**") {
            return true;
        }
        match path.get(at) {
            None => return true,
            Some(here) if Pattern::path(part).matches(here) => {}
            Some(_) => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::{Pattern, reaches_below};

    #[test]
    fn what_may_lie_below_a_directory_is_seen() {
        for (pattern, path) in [
            ("/a/b/**", "/a"),
            ("/a/b", "/"),
            ("/a/**/secret", "/a/c/d"),
            ("/**/.env", "/x"),
            ("/a/*/c", "/a/b"),
            ("/a/b", "/a/b/c"),
        ] {
            assert!(reaches_below(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [("/a/b/**", "/a/c"), ("/a/*.md", "/a/b"), ("/a/*/c", "/a/b/d")] {
            assert!(!reaches_below(pattern, path), "{pattern} {path}");
        }
    }

    #[test]
    fn stars_reach_as_far_as_they_say() {
        assert!(Pattern::words("mcp__a__*").matches("mcp__a__b"));
        assert!(Pattern::words("git *").matches("git push\nx"));
        assert!(!Pattern::words("Read").matches("ReadMore"));
        assert!(Pattern::path("/a/*.md").matches("/a/x.md"));
        assert!(!Pattern::path("/a/*.md").matches("/a/b/x.md"));
        assert!(Pattern::path("/a/**/x.md").matches("/a/x.md"));
        assert!(Pattern::path("/a/**").matches("/a"));
        assert!(!Pattern::path("/a").matches("/ab"));
        assert!(Pattern::path("/**").matches("/etc/passwd"));
    }
}
