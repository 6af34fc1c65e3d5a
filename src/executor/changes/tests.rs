use std::{fs, os::unix::fs::symlink, path::Path};

use super::{Changes, MAX_HASHED_BEFORE, Watched, shown};
use crate::{crypto::sha256_hex, domain::file::Change};

struct Bench {
    dir: tempfile::TempDir,
    watched: Watched,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path().join("work");
        fs::create_dir(&work).unwrap();
        let watched = Watched { work, base: dir.path().to_owned(), run: "run-1".to_owned(), goes_on: true };
        Self { dir, watched }
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.watched.work.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn next_run(&mut self) {
        self.watched.run.push('+');
        self.watched.begin().unwrap();
    }

    fn end(&self) -> Changes {
        self.watched.end().unwrap()
    }
}

fn told(changes: &Changes) -> Vec<(&str, Change)> {
    changes.files.iter().map(|(path, file)| (path.to_str().unwrap(), file.change)).collect()
}

#[test]
fn files_are_told_by_what_became_of_them_with_their_hashes() {
    let mut bench = Bench::new();
    bench.watched.begin().unwrap();
    for (name, text) in [("kept", "same"), ("changed", "old"), ("gone", "bye"), ("touched", "same")] {
        bench.write(name, text);
    }
    let first = bench.end();
    assert!(first.files.values().all(|file| file.change == Change::Created) && first.files.len() == 4);
    bench.next_run();
    bench.write("changed", "new!");
    bench.write("made/here", "hi");
    bench.write("touched", "same");
    fs::remove_file(bench.watched.work.join("gone")).unwrap();
    symlink("/etc", bench.watched.work.join("link")).unwrap();
    let changes = bench.end();
    let expected = [
        ("changed", Change::Modified),
        ("gone", Change::Deleted),
        ("link", Change::Created),
        ("made/here", Change::Created),
    ];
    assert_eq!((told(&changes).as_slice(), changes.truncated), (&expected[..], false));
    let file = |name: &str| changes.files[Path::new(name)].told(Path::new(name));
    assert_eq!(file("changed").sha256, Some(sha256_hex(b"new!")));
    assert_eq!(file("changed").sha256_before, Some(sha256_hex(b"old")));
    assert_eq!((file("changed").size, file("changed").size_before), (Some(4), Some(3)));
    assert_eq!((file("gone").size, file("gone").sha256_before), (None, Some(sha256_hex(b"bye"))));
    assert_eq!((file("link").sha256, file("made/here").size_before), (None, None));
}

#[test]
fn a_later_attempt_compares_with_the_beginning_of_its_run() {
    let mut bench = Bench::new();
    bench.write("before", "x");
    bench.watched.begin().unwrap();
    bench.write("first", "1");
    // The worker died here; the next one begins with what it left.
    bench.watched.begin().unwrap();
    bench.write("second", "2");
    assert_eq!(told(&bench.end()), [("first", Change::Created), ("second", Change::Created)]);
    bench.next_run();
    assert_eq!(told(&bench.end()), []);
}

#[test]
fn an_old_file_too_large_to_be_read_first_is_told_when_it_is_written() {
    let bench = Bench::new();
    let big = bench.watched.work.join("big");
    fs::write(&big, vec![b'x'; usize::try_from(MAX_HASHED_BEFORE).unwrap() + 1]).unwrap();
    bench.watched.begin().unwrap();
    assert_eq!(told(&bench.end()), []);
    fs::OpenOptions::new()
        .append(true)
        .open(&big)
        .and_then(|mut file| std::io::Write::write_all(&mut file, b"y"))
        .unwrap();
    let changes = bench.end();
    let (path, file) = changes.files.first_key_value().unwrap();
    let file = file.told(path);
    assert_eq!((file.change, file.sha256_before.is_some(), file.sha256.is_some()), (Change::Modified, false, true));
}

#[test]
fn what_was_passed_over_is_not_taken_for_new() {
    let bench = Bench::new();
    let deep = format!("{}x", "d/".repeat(40));
    bench.write(&deep, "old");
    bench.write("known", "old");
    bench.watched.begin().unwrap();
    bench.write("known", "written");
    bench.write("new", "new");
    let changes = bench.end();
    assert_eq!((told(&changes), changes.truncated), (vec![("known", Change::Modified)], true));
}

#[test]
fn what_is_kept_beside_it_is_neither_believed_nor_followed() {
    let bench = Bench::new();
    bench.watched.begin().unwrap();
    bench.write("new", "x");
    let before = bench.dir.path().join("before.json");
    for spoil in [
        (|path: &Path| fs::write(path, "{no json").unwrap()) as fn(&Path),
        |path| fs::remove_file(path).unwrap(),
        |path| symlink("/dev/zero", path).unwrap(),
    ] {
        spoil(&before);
        let changes = bench.end();
        assert!(changes.truncated && changes.files.is_empty(), "{changes:?}");
    }
    let target = bench.dir.path().join("target");
    fs::write(&target, "mine").unwrap();
    fs::remove_file(&before).unwrap();
    symlink(&target, &before).unwrap();
    bench.watched.begin().unwrap();
    assert_eq!(fs::read_to_string(target).unwrap(), "mine");
}

#[test]
fn paths_are_told_as_text_whatever_they_are() {
    use std::os::unix::ffi::OsStrExt as _;
    let told = |bytes: &[u8]| shown(std::ffi::OsStr::from_bytes(bytes));
    assert_eq!(told("grüße.txt".as_bytes()), "grüße.txt");
    assert_eq!(told(b"a\xffb\nc\x1b"), "a\\xffb\\nc\\u{1b}");
    for long in [&[b'x'; 4_000][..], &[b'\x01'; 4_000], &[0xff; 4_000], "ü€".repeat(1_000).as_bytes()] {
        let text = told(long);
        assert!(text.ends_with('…') && text.len() < 1_028 && text.capacity() < 1_100, "{} of {text}", text.capacity());
    }
    let euros = "€".repeat(4_000);
    assert_eq!(told(euros.as_bytes()), format!("{}…", "€".repeat(341)));
}
