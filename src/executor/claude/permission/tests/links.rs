//! Rules of paths against directories and links that are there.

use std::{fs, os::unix::fs::symlink, path::Path};

use serde_json::{Value, json};

use super::{Decision, allow, deny, permissions};
use crate::{
    domain::permission::PermissionRule,
    executor::claude::permission::{Call, Permissions, view::View},
};

/// A work directory, a home and a mount with something private in it.
struct Host(tempfile::TempDir);

impl Host {
    fn new() -> Self {
        let host = Self(tempfile::tempdir().unwrap());
        for folder in ["work/notes", "home/.claude", "mount/private", "mount/open"] {
            fs::create_dir_all(host.at(folder)).unwrap();
        }
        fs::write(host.at("mount/private/s.txt"), "secret").unwrap();
        host
    }

    fn at(&self, path: &str) -> std::path::PathBuf {
        self.0.path().join(path)
    }

    /// An agent in a sandbox, with the mount at `/context/h`.
    fn walled(&self, rules: &[PermissionRule]) -> Permissions {
        let mut view = View::bare("/workspace".into(), "/home/agent".into(), true);
        for (seen, host) in [("/workspace", "work"), ("/home/agent", "home"), ("/context/h", "mount")] {
            view.lay(Path::new(seen), &self.at(host));
        }
        let tools = ["Read", "Grep", "Glob", "Write", "NotebookEdit", "LSP"].map(str::to_owned).to_vec();
        Permissions { view, tools, ..permissions(rules) }
    }
}

fn is_denied(permissions: &Permissions, tool: &str, input: &Value) -> bool {
    matches!(permissions.judge(tool, input), Decision::Deny(_))
}

fn private() -> [PermissionRule; 3] {
    [allow("Read(/context/h/a.md)"), deny("Read(/context/h/private/**)"), allow("Read")]
}

#[test]
fn a_denial_behind_an_allowance_holds_however_the_path_is_written() {
    let host = Host::new();
    let permissions = host.walled(&private());
    symlink("/context/h/private", host.at("work/link")).unwrap();
    symlink("link", host.at("work/again")).unwrap();
    symlink("../../context", host.at("work/notes/up")).unwrap();
    symlink("/proc/self/root", host.at("work/root")).unwrap();
    symlink("loop", host.at("work/loop")).unwrap();
    for path in [
        "/context/h/private/s.txt",
        "/context//h/./private/s.txt",
        "/context/h/open/../private/s.txt",
        " /context/h/private/s.txt",
        "../context/h/private/s.txt",
        "~/../../context/h/private/s.txt",
        "~//../../context/h/private/s.txt",
        "link/s.txt",
        "again/s.txt",
        "/workspace/notes/up/h/private/s.txt",
        "root/context/h/private/s.txt",
        "/proc/self/root/context/h/private/s.txt",
        "/proc/1/task/1/root/context/h/private/s.txt",
        "/proc/thread-self/cwd/link/s.txt",
        "/dev/fd/5",
        "loop/s.txt",
        "a\0b",
    ] {
        assert!(is_denied(&permissions, "Read", &json!({"file_path": path})), "{path}");
        assert!(is_denied(&permissions, "Grep", &json!({"path": path, "pattern": "."})), "{path}");
        assert!(is_denied(&permissions, "Glob", &json!({"path": path, "pattern": "*"})), "{path}");
        assert!(is_denied(&permissions, "LSP", &json!({"filePath": path})), "{path}");
    }
    for path in ["/context/h/open/x", "notes/x.md", "~/x", "/etc/hostname", "/no/such/thing"] {
        assert_eq!(permissions.judge("Read", &json!({"file_path": path})), Decision::Allow, "{path}");
    }
    assert!(is_denied(&permissions, "Read", &json!({"file_path": ["/context/h/private/s.txt"]})));
    assert!(is_denied(&permissions, "Read", &json!({"file_path": "x", "path": "/context/h/private/s.txt"})));
    let why = permissions.judge("Read", &json!({"file_path": "/proc/self/root/x"}));
    assert!(matches!(&why, Decision::Deny(why) if why.contains("deny: Read(/context/h/private/**)")), "{why:?}");
    assert!(matches!(&why, Decision::Deny(why) if why.contains("not clear")), "{why:?}");
}

#[test]
fn nothing_is_written_past_a_denial() {
    let host = Host::new();
    let rules = [allow("Edit(/workspace/**)"), deny("Edit(/context/h/**)"), allow("Edit")];
    let permissions = host.walled(&rules);
    symlink("/context/h", host.at("work/out")).unwrap();
    symlink("/context/h/new", host.at("work/dangling")).unwrap();
    for path in ["/proc/self/root/context/h/new", "out/new", "/workspace/out/new", "dangling", "out/a/b/c"] {
        assert!(is_denied(&permissions, "Write", &json!({"file_path": path, "content": ""})), "{path}");
        assert!(is_denied(&permissions, "NotebookEdit", &json!({"notebook_path": path})), "{path}");
    }
    assert_eq!(permissions.judge("Write", &json!({"file_path": "notes/new.md"})), Decision::Allow);
    // An allowance of a path is none of what a link there leads to.
    let alone = host.walled(&rules[..1]);
    assert_eq!(alone.judge("Write", &json!({"file_path": "out/new"})), Decision::Unsaid);
    assert_eq!(alone.judge("Write", &json!({"file_path": "notes/new"})), Decision::Allow);
}

#[test]
fn a_search_finds_nothing_that_is_denied() {
    let host = Host::new();
    let permissions = host.walled(&[allow("Read(/context/**)"), deny("Read(~/**)"), allow("Read")]);
    for path in ["~/.claude", "~", "/home", "/", "/proc/self/cwd"] {
        assert!(is_denied(&permissions, "Grep", &json!({"path": path, "pattern": "."})), "{path}");
    }
    assert_eq!(permissions.judge("Grep", &json!({"path": "notes", "pattern": "."})), Decision::Allow);
    let permissions = host.walled(&[allow("Read(/x)"), deny("Read(/context/**/private)"), allow("Read")]);
    assert!(is_denied(&permissions, "Grep", &json!({"path": "/context/h/open", "pattern": "."})));
    assert_eq!(permissions.judge("Grep", &json!({"pattern": "."})), Decision::Allow);
}

#[test]
fn a_denial_of_a_link_is_one_of_what_it_leads_to() {
    let host = Host::new();
    symlink("private", host.at("mount/current")).unwrap();
    let permissions = host.walled(&[allow("Read(/x)"), deny("Read(/context/h/current/**)"), allow("Read")]);
    assert!(is_denied(&permissions, "Read", &json!({"file_path": "/context/h/private/s.txt"})));
    assert!(is_denied(&permissions, "Grep", &json!({"path": "/context/h", "pattern": "."})));
}

#[test]
fn a_relative_path_goes_on_from_where_the_cli_is() {
    let host = Host::new();
    let permissions = host.walled(&private());
    let input = json!({"path": "private", "pattern": "."});
    let from = |directory: Option<&str>| {
        permissions.decide(Call { tool: "Grep", input: &input, directory: directory.map(Path::new) })
    };
    assert!(matches!(from(Some("/context/h")), super::super::Decision::Deny(_)));
    assert!(matches!(from(None), super::super::Decision::Deny(_)));
    assert!(matches!(from(Some("/workspace")), super::super::Decision::Allow(_)));
}

#[test]
fn letters_are_compared_as_the_cli_opens_them() {
    let host = Host::new();
    let permissions = host.walled(&[allow("Read(/x)"), deny("Read(/context/h/caf\u{e9}/**)"), allow("Read")]);
    for path in ["/context/h/caf\u{e9}/a", "/context/h/cafe\u{301}/a"] {
        assert!(is_denied(&permissions, "Read", &json!({"file_path": path})), "{path}");
    }
    let decomposed = host.walled(&[allow("Read(/x)"), deny("Read(/context/h/cafe\u{301}/**)"), allow("Read")]);
    assert!(is_denied(&decomposed, "Read", &json!({"file_path": "/context/h/caf\u{e9}/a"})));
}
