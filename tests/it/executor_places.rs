//! Walls that come and go, directories of attempts, and what is swept away.

use std::{fs, path::Path};

use postern::{config::settings::SandboxMode, domain::run::MessageKind};
use serde_json::json;

use crate::executor_command::{Bench, Record, no_claude, spec};

/// A `bwrap` that says `refusal` and counts while `bad` exists, and is the real one otherwise.
fn moody_bwrap(dir: &Path, refusal: &str) {
    let (bad, calls) = (dir.join("bad"), dir.join("calls"));
    let script = format!(
        "#!/bin/sh\nif [ -e {} ]; then echo x >> {}; echo 'bwrap: {refusal}' >&2; exit 1; fi\nexec /usr/bin/bwrap \"$@\"\n",
        bad.display(),
        calls.display()
    );
    fs::write(&bad, "").unwrap();
    fs::write(dir.join("bwrap"), script).unwrap();
    fs::set_permissions(dir.join("bwrap"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn a_bad_moment_takes_walls_from_no_later_run() {
    let bin = tempfile::tempdir().unwrap();
    moody_bwrap(bin.path(), "Creating new namespace failed: Resource temporarily unavailable");
    let path = format!("{}:/usr/bin:/bin", bin.path().display());
    let bench = Bench::on_path(SandboxMode::Auto, no_claude(), None, &path);
    let run = spec(json!({"executor": "command", "command": ["sh", "-c", "pwd"], "network": true}));
    let record = Record::default();
    assert_ne!(bench.run(&run, &record).await.unwrap().text, "/workspace");
    let said = record.texts(MessageKind::Status).join("");
    assert!(said.contains("without a sandbox") && said.contains("temporarily unavailable"), "{said}");
    fs::remove_file(bin.path().join("bad")).unwrap();
    let record = Record::default();
    assert_eq!(bench.run(&run, &record).await.unwrap().text, "/workspace");
    assert_eq!(record.texts(MessageKind::Status), Vec::<String>::new());
}

#[tokio::test]
async fn a_kernel_that_refuses_is_asked_twice_and_every_run_says_so() {
    let bin = tempfile::tempdir().unwrap();
    moody_bwrap(bin.path(), "No permissions to create new namespace");
    let path = format!("{}:/usr/bin:/bin", bin.path().display());
    let bench = Bench::on_path(SandboxMode::Auto, no_claude(), None, &path);
    let run = spec(json!({"executor": "command", "command": ["sh", "-c", "pwd"], "network": true}));
    for _ in 0..3 {
        let record = Record::default();
        bench.run(&run, &record).await.unwrap();
        assert!(record.texts(MessageKind::Status).join("").contains("No permissions"), "{}", record.all());
    }
    assert_eq!(fs::read_to_string(bin.path().join("calls")).unwrap().lines().count(), 2);
}
