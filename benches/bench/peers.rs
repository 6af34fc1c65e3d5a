//! What Postern is held against: scripts that print JSON lines, and databases to do it in.

use std::process::{Command, Stdio};

use serde_json::Value;
use url::Url;

/// Runs a script of `benches/peers` and returns its JSON lines.
pub(crate) fn peer(script: &str, arguments: &[&str]) -> Vec<Value> {
    let path = format!("{}/benches/peers/{script}", env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(path).args(arguments).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{script} failed; run it by `make bench`");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &lines {
        println!("{line}");
    }
    lines
}

/// How often a second the disk makes 8 KB durable now.
pub(crate) fn flushes() -> f64 {
    number(&peer("fsync.sh", &[])[0], "per_second")
}

/// A number of a peer's line.
pub(crate) fn number(line: &Value, key: &str) -> f64 {
    line.get(key).and_then(Value::as_f64).unwrap_or_else(|| panic!("{key} is missing in {line}"))
}

/// A new database on the private Postgres, dropped with it.
pub(crate) fn database(name: &str) -> Url {
    let url = std::env::var("POSTERN_TEST_POSTGRES").expect("POSTERN_TEST_POSTGRES is not set: run `make bench`");
    let name = format!("bench_{name}");
    for statement in [format!("drop database if exists {name} with (force)"), format!("create database {name}")] {
        let done = Command::new("psql").args(["-qX", &url, "-c", &statement]).stderr(Stdio::null()).status().unwrap();
        assert!(done.success(), "psql could not: {statement}");
    }
    let mut own = Url::parse(&url).unwrap();
    own.set_path(&name);
    own
}
