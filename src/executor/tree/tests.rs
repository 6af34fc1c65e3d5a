use std::{
    fs,
    os::unix::{ffi::OsStringExt as _, fs::symlink, net::UnixListener},
    path::{Path, PathBuf},
};

use rustix::fs::{FileType, Mode, mknodat};

use super::{Entry, MAX_DEPTH, MAX_NAMES, MAX_PATH_BYTES, MAX_PATHS_BYTES, Tree, open_root, read, sha256};
use crate::domain::file::FileKind;

fn tree(dir: &Path) -> Tree {
    Tree::read(&open_root(dir).unwrap()).unwrap()
}

fn kinds(tree: &Tree) -> Vec<(&str, FileKind)> {
    tree.entries.iter().map(|(path, entry)| (path.to_str().unwrap(), entry.kind)).collect()
}

#[test]
fn links_are_not_followed_and_what_is_no_file_is_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "x").unwrap();
    fs::write(dir.path().join("file"), "hello").unwrap();
    symlink(outside.path(), dir.path().join("way-out")).unwrap();
    symlink(".", dir.path().join("circle")).unwrap();
    symlink("/etc/passwd", dir.path().join("passwd")).unwrap();
    let root = open_root(dir.path()).unwrap();
    mknodat(&root, "pipe", FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let _socket = UnixListener::bind(dir.path().join("socket")).unwrap();
    let tree = tree(dir.path());
    assert!(tree.complete);
    let expected = [
        ("circle", FileKind::Link),
        ("file", FileKind::File),
        ("passwd", FileKind::Link),
        ("pipe", FileKind::Other),
        ("socket", FileKind::Other),
        ("way-out", FileKind::Link),
    ];
    assert_eq!(kinds(&tree), expected);
    for (path, entry) in &tree.entries {
        let hash = sha256(&root, path, entry);
        assert_eq!(hash.is_some(), entry.kind == FileKind::File, "{}", path.display());
    }
    // A way through a link is none either, whatever was seen before, and a pipe without a writer does not hold us up.
    let seen = Entry { kind: FileKind::File, ..tree.entries[Path::new("file")].clone() };
    for path in ["way-out/secret", "passwd", "pipe", "circle/file", "../x", "nothing", ""] {
        assert_eq!(sha256(&root, Path::new(path), &seen), None, "{path}");
    }
    assert!(open_root(&dir.path().join("way-out")).is_err());
}

#[test]
fn a_deep_tree_and_one_of_many_files_end_and_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let deep: PathBuf = std::iter::repeat_n("d", MAX_DEPTH + 5).collect();
    fs::create_dir_all(dir.path().join(&deep)).unwrap();
    fs::write(dir.path().join(&deep).join("bottom"), "x").unwrap();
    fs::write(dir.path().join("top"), "x").unwrap();
    let found = tree(dir.path());
    assert_eq!((kinds(&found), found.complete), (vec![("top", FileKind::File)], false));

    let dir = tempfile::tempdir().unwrap();
    let many = dir.path().join("many");
    fs::create_dir(&many).unwrap();
    fs::write(many.join("0"), "").unwrap();
    // Names of one file are as many names, and cheaper to make.
    for n in 1..100_000 {
        fs::hard_link(many.join(format!("{}", n / 40_000 * 40_000)), many.join(n.to_string()))
            .or_else(|_| fs::write(many.join(n.to_string()), ""))
            .unwrap();
    }
    let found = tree(dir.path());
    assert!(!found.complete && found.entries.len() == MAX_NAMES - 1, "{}", found.entries.len());
}

#[test]
fn long_paths_are_bounded_each_and_together() {
    let dir = tempfile::tempdir().unwrap();
    let name = "\u{1}".repeat(250);
    // Each file's path takes 3,500 bytes and more: all of them are more than what is kept.
    let mut at = open_root(dir.path()).unwrap();
    for _ in 0..13 {
        rustix::fs::mkdirat(&at, &name, Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, &name, rustix::fs::OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    let make = |at: &std::os::fd::OwnedFd, name: &str| {
        mknodat(at, name, FileType::RegularFile, Mode::from_raw_mode(0o600), 0).unwrap();
    };
    (0..5_000).for_each(|n| make(&at, &format!("{n:0>240}")));
    let found = tree(dir.path());
    let bytes: usize = found.entries.keys().map(|path| path.as_os_str().len()).sum();
    assert!(!found.complete && bytes <= MAX_PATHS_BYTES && bytes > MAX_PATHS_BYTES / 2, "{bytes}");

    let dir = tempfile::tempdir().unwrap();
    let mut at = open_root(dir.path()).unwrap();
    for _ in 0..MAX_DEPTH - 1 {
        rustix::fs::mkdirat(&at, &name, Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, &name, rustix::fs::OFlags::DIRECTORY, Mode::empty()).unwrap();
        make(&at, "file");
    }
    let found = tree(dir.path());
    assert!(!found.complete && found.entries.len() == MAX_PATH_BYTES / 251, "{}", found.entries.len());
}

#[test]
fn names_that_are_no_text_are_names() {
    let dir = tempfile::tempdir().unwrap();
    let name = std::ffi::OsString::from_vec(b"a\xff\n\x01b".to_vec());
    fs::write(dir.path().join(&name), "x").unwrap();
    let root = open_root(dir.path()).unwrap();
    let tree = tree(dir.path());
    let (path, entry) = tree.entries.first_key_value().unwrap();
    assert_eq!(path.as_os_str(), name);
    assert!(sha256(&root, path, entry).is_some());
}

#[test]
fn a_file_that_changes_while_it_is_read_has_no_hash() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, vec![b'x'; 300_000]).unwrap();
    let root = open_root(dir.path()).unwrap();
    for change in [
        (|file: &Path| fs::write(file, vec![b'y'; 300_000]).unwrap()) as fn(&Path),
        |file| fs::write(file, "short").unwrap(),
        |file| fs::remove_file(file).unwrap(),
    ] {
        fs::write(&file, vec![b'x'; 300_000]).unwrap();
        let entry = tree(dir.path()).entries[Path::new("file")].clone();
        assert!(sha256(&root, Path::new("file"), &entry).is_some());
        let mut first = true;
        let mut count = 0;
        let whole = read(&root, Path::new("file"), &entry, |bytes| {
            count += bytes.len();
            if std::mem::take(&mut first) {
                change(&file);
            }
        });
        assert_eq!(whole, None);
        assert!(count <= 300_000);
        assert_eq!(sha256(&root, Path::new("file"), &entry), None);
    }
}

#[test]
fn what_we_lay_out_anew_is_passed_over_at_the_top_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("skills/tone")).unwrap();
    fs::create_dir_all(dir.path().join("own/skills")).unwrap();
    fs::write(dir.path().join("skills/tone/SKILL.md"), "x").unwrap();
    fs::write(dir.path().join("own/skills/x"), "x").unwrap();
    assert_eq!(kinds(&tree(dir.path())), [("own/skills/x", FileKind::File)]);
}
