//! Git repositories as mounts: what an agent sees of them, and what nobody gets out of them.

use std::{fs, os::unix::fs::symlink, path::Path};

use postern::{
    config::settings::SandboxMode,
    domain::run::{FailureCode, MessageKind},
    executor::{RunSpec, Stopped},
};
use serde_json::{Value, json};

use crate::support::bench::{Bench, Record, spec};

#[expect(clippy::disallowed_methods, reason = "the test makes a repository")]
fn git(dir: &Path, args: &[&str]) -> String {
    let mut command = std::process::Command::new("git");
    command.args(["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]).args(args).current_dir(dir);
    let done = command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// A repository with a handbook, and with links that lead out of it.
fn repository() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    git(dir.path(), &["init", "-q", "-b", "main"]);
    fs::create_dir(dir.path().join("docs")).unwrap();
    fs::write(dir.path().join("docs/page.md"), "first edition").unwrap();
    symlink("/etc/passwd", dir.path().join("docs/link")).unwrap();
    symlink("docs", dir.path().join("alias")).unwrap();
    commit(dir.path());
    dir
}

fn commit(dir: &Path) -> String {
    git(dir, &["add", "-A"]);
    git(dir, &["commit", "-q", "-m", "more"]);
    git(dir, &["rev-parse", "HEAD"])
}

fn agent(dir: &Path, more: &Value, script: &str) -> RunSpec {
    let mut mount = json!({"git": format!("file://{}", dir.display()), "to": "/context/docs"});
    more.as_object().unwrap().iter().for_each(|(key, value)| mount[key] = value.clone());
    spec(json!({"executor": "command", "command": ["sh", "-c", script], "mounts": [mount]}))
}

/// The same agent as `run` in another run.
fn again(run: &RunSpec, more: &Value, dir: &Path, script: &str) -> RunSpec {
    let mut next = agent(dir, more, script);
    let mut version = (*next.agent).clone();
    version.agent = run.agent.agent.clone();
    next.agent = version.into();
    next
}

#[tokio::test]
async fn a_repository_is_mounted_at_a_commit_that_the_record_names() {
    for (mode, place) in [(SandboxMode::Off, "context/docs"), (SandboxMode::Required, "/context/docs")] {
        let dir = repository();
        let (bench, record) = (Bench::new(mode), Record::default());
        let script = format!("cat {place}/page.md; echo; cat {place}/link; echo; ls -a {place}");
        let main = json!({"ref": "main", "path": "docs"});
        let first = agent(dir.path(), &main, &script);
        let text = bench.run(&first, &record).await.unwrap().text;
        assert_eq!(text, "first edition\n/etc/passwd\n.\n..\nlink\npage.md");
        let before = git(dir.path(), &["rev-parse", "HEAD"]);
        assert!(record.texts(MessageKind::Status).iter().any(|text| text.contains(&before)), "{}", record.all());

        fs::write(dir.path().join("docs/page.md"), "second edition").unwrap();
        let after = commit(dir.path());
        let kept = json!({"ref": "main", "path": "docs", "refresh": "1h"});
        let old = bench.run(&again(&first, &kept, dir.path(), &script), &record).await.unwrap();
        assert!(old.text.starts_with("first edition"), "a young enough copy is used: {}", old.text);
        let new = bench.run(&again(&first, &main, dir.path(), &script), &record).await.unwrap();
        assert!(new.text.starts_with("second edition"), "{}", new.text);
        assert!(record.all().contains(&after));
        let pinned = json!({"ref": "main", "path": "docs/page.md", "to": "/context/docs"});
        let page = bench.run(&again(&first, &pinned, dir.path(), &format!("cat {place}")), &record).await.unwrap();
        assert_eq!(page.text, "second edition");
    }
}

#[tokio::test]
async fn nothing_can_be_written_into_a_repository_in_a_sandbox() {
    let dir = repository();
    let (bench, record) = (Bench::new(SandboxMode::Required), Record::default());
    let script = "echo x > /context/docs/new || echo sealed";
    assert_eq!(bench.run(&agent(dir.path(), &json!({}), script), &record).await.unwrap().text, "sealed");
}

#[tokio::test]
async fn what_a_repository_does_not_hold_or_leads_elsewhere_fails_the_setup() {
    let dir = repository();
    let bench = Bench::new(SandboxMode::Auto);
    for (more, why) in [
        (json!({"path": "nothing"}), "`nothing` is not in it"),
        (json!({"path": "docs/link"}), "its path is a link"),
        (json!({"path": "alias"}), "its path is a link"),
        (json!({"path": "alias/page.md"}), "is not in it"),
        (json!({"ref": "release"}), "couldn't find remote ref release"),
        (json!({"git": "http://git.example.com/x"}), "not among egress.git_protocols"),
        (json!({"git": "ext::sh -c id"}), "not among egress.git_protocols"),
        (json!({"git": "file:///nonexistent/repository"}), "git says"),
        (json!({"to": "/etc/docs"}), "that place inside is taken"),
    ] {
        match bench.run(&agent(dir.path(), &more, "true"), &Record::default()).await {
            Err(Stopped::Failed(failure, _)) => {
                assert_eq!(failure.code, FailureCode::Setup);
                assert!(failure.message.contains(why), "{more}: {}", failure.message);
            }
            other => panic!("{more}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn hooks_of_a_repository_are_not_run() {
    let dir = repository();
    let (bench, record) = (Bench::new(SandboxMode::Off), Record::default());
    let mark = dir.path().join("mark");
    let first = agent(dir.path(), &json!({}), "true");
    bench.run(&first, &record).await.unwrap();
    let caches: Vec<_> = fs::read_dir(bench.root().join("git")).unwrap().flatten().collect();
    assert_eq!(caches.len(), 1);
    let hooks = caches[0].path().join("bare/hooks");
    fs::create_dir_all(&hooks).unwrap();
    for hook in ["post-checkout", "reference-transaction", "post-index-change"] {
        let hook = hooks.join(hook);
        fs::write(&hook, format!("#!/bin/sh\ntouch {}\n", mark.display())).unwrap();
        fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    fs::write(dir.path().join("docs/page.md"), "again").unwrap();
    commit(dir.path());
    bench.run(&again(&first, &json!({}), dir.path(), "true"), &record).await.unwrap();
    assert!(!mark.exists(), "a hook ran");
}

#[tokio::test]
async fn a_cache_that_a_killed_fetch_left_is_made_anew() {
    let dir = repository();
    let (bench, record) = (Bench::new(SandboxMode::Off), Record::default());
    let script = "cat context/docs/docs/page.md";
    let first = agent(dir.path(), &json!({}), script);
    bench.run(&first, &record).await.unwrap();
    let cache = fs::read_dir(bench.root().join("git")).unwrap().flatten().next().unwrap().path().join("bare");
    for (edition, damage) in [
        // What git leaves when it is killed in the middle of a shallow fetch.
        (|bare: &Path| fs::write(bare.join("shallow.lock"), "").unwrap()) as fn(&Path),
        // What a power cut leaves.
        |bare| fs::write(bare.join("HEAD"), "").unwrap(),
        |bare| fs::remove_dir_all(bare.join("objects")).unwrap(),
    ]
    .into_iter()
    .enumerate()
    {
        let text = format!("edition {edition}");
        fs::write(dir.path().join("docs/page.md"), &text).unwrap();
        commit(dir.path());
        damage(&cache);
        let run = again(&first, &json!({}), dir.path(), script);
        assert_eq!(bench.run(&run, &record).await.unwrap().text, text);
    }
    // Objects that are gone show themselves when files are laid out, not before.
    let kept = json!({"refresh": "1h"});
    fs::remove_dir_all(cache.parent().unwrap().join("trees")).unwrap();
    fs::remove_dir_all(cache.join("objects/pack")).ok();
    for entry in fs::read_dir(cache.join("objects")).unwrap().flatten() {
        fs::remove_dir_all(entry.path()).unwrap();
    }
    let run = again(&first, &kept, dir.path(), script);
    assert_eq!(bench.run(&run, &record).await.unwrap().text, "edition 2");
}
