//! Project directories: what is read, what is refused, and in what words.

mod cases;

use std::{fs, path::Path, time::Duration};

use postern::{
    config::{
        bundle::bundle,
        environment::Environment,
        init::{InitError, init},
        load::{DEFAULT, Loaded, Project},
        secrets::Secrets,
        validate::check_bundle,
        watch::Watch,
    },
    crypto::SecretSource,
    domain::{filter::Filter, mount::MountSpec, source::SecretRef},
};
use tempfile::TempDir;

const SETTINGS: &str = r#"
[sources.mail]
provider = "mailgun"
secret = { env = "KEY" }

[sources.hooks]
provider = "github"
secret = { file = "key" }

[secrets]
callback = { env = "CALLBACK" }
"#;

pub(crate) fn project(files: &[(&str, &str)]) -> TempDir {
    let dir = TempDir::new().unwrap();
    write(dir.path(), "postern.toml", SETTINGS);
    for (path, text) in files {
        write(dir.path(), path, text);
    }
    dir
}

pub(crate) fn write(dir: &Path, path: &str, text: &str) {
    let path = dir.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

pub(crate) fn load(dir: &Path) -> Loaded {
    Project::load(dir, &Environment::default()).unwrap()
}

/// What is said of one agent file with this frontmatter.
pub(crate) fn said(yaml: &str) -> Vec<String> {
    let dir = project(&[
        ("agents/a.md", &format!("---\n{yaml}\n---\nYou answer.\n")),
        ("book/page", "x"),
        ("skills/tone/SKILL.md", "---\nname: tone\ndescription: d\n---\nText\n"),
    ]);
    let shown = dir.path().display().to_string();
    load(dir.path()).problems.iter().map(|problem| problem.to_string().replace(&shown, "DIR")).collect()
}

#[test]
fn a_wrong_agent_file_says_what_and_where_and_the_way_out() {
    let wrong: Vec<String> = cases::CASES
        .iter()
        .filter_map(|(yaml, expected)| {
            let said = said(yaml);
            (!said.iter().any(|line| line.contains(expected)))
                .then(|| format!("{yaml}\n  want {expected}\n  said {said:#?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn rules_that_do_something_are_not_warned_of() {
    let rules = [
        "tools: [Read, Grep]\npermissions: [{ allow: Read }, { allow: Grep }]",
        "tools: [Bash]\nask: { email: a@example.com }\npermissions: [{ deny: Bash(rm *) }, { ask: Bash(git *) }, { allow: Bash }]",
        "tools: [Bash]\npermissions: [{ allow: Bash, trust: verified }, { deny: Bash }]",
        "tools: [mcp__postern__reply]\npermissions: [{ allow: mcp__postern }]",
        "tools: [Task]\npermissions: [{ deny: Agent(spy) }]",
    ];
    for rules in rules {
        let said = said(&format!("executor: claude\n{rules}")).join("\n");
        for word in ["never reached", "does nothing", "denies every call"] {
            assert!(!said.contains(word), "{rules}: {said}");
        }
    }
}

#[test]
fn a_danger_that_is_acknowledged_is_no_error() {
    let file = "executor: claude\nenv: { KEY: { secret: callback } }\ntriggers:\n- { source: mail, from: '*' }\n\
                acknowledge: [untrusted-secrets-egress]";
    assert!(said(file).iter().all(|line| !line.contains("holds secrets")), "{:?}", said(file));
}

/// What is said of `front`, an agent that everybody can start, beside `middle` and `back`, which it starts.
fn said_of_reach(front: &str, back: &str) -> Vec<String> {
    let starts =
        |other: &str| format!("executor: anthropic\ntools: [mcp__postern__trigger_agent]\nmay_trigger: [{other}]\n");
    let open = format!("{}triggers: [{{ source: mail, from: '*' }}]\n{front}", starts("middle"));
    let file = |yaml: &str| format!("---\n{yaml}\n---\nYou answer.\n");
    let hooks = "triggers: [{ source: hooks, from: octocat }]\n";
    let dir = project(&[
        ("agents/front.md", &file(&open)),
        ("agents/middle.md", &file(&format!("{}{hooks}", starts("back, front")))),
        ("agents/back.md", &file(&format!("{hooks}{back}"))),
    ]);
    let loaded = load(dir.path());
    let sent = check_bundle(&bundle(&loaded), &loaded.settings, &["mailgun", "github"]);
    assert!(sent.is_empty(), "what is refused is not sent: {sent:?}");
    let errors = loaded.problems.iter().filter(|problem| problem.is_error());
    errors.map(ToString::to_string).collect()
}

#[test]
fn agents_that_start_each_other_are_one_danger() {
    let secret = "env: { KEY: { secret: callback } }";
    let claude = format!("executor: claude\n{secret}");
    let found = said_of_reach("", &claude);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("agents/front.md:4:1: everybody can start this agent, and with those that it may start there are secrets (`back`) and the network (`back`)"),
        "{found:?}"
    );
    // The secret is on one side, the network on the other.
    let quiet = format!("executor: command\ncommand: [x]\n{secret}");
    let none: Vec<String> = Vec::new();
    assert_eq!(said_of_reach("", &quiet), none);
    assert_eq!(said_of_reach("", "executor: claude"), none);
    assert_eq!(said_of_reach("acknowledge: [untrusted-secrets-egress]", &claude), none);
    let named = "network: true";
    assert!(said_of_reach("", &format!("{quiet}\n{named}"))[0].contains("with those that it may start"));
}

#[test]
fn a_bundle_is_looked_at_as_a_whole() {
    let spec = |more: serde_json::Value| {
        let mut spec =
            serde_json::json!({"executor": "anthropic", "prompt": "x", "tools": ["mcp__postern__trigger_agent"]});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::json!({"spec": spec})
    };
    let bundle = serde_json::json!({
        "sources": {"mail": {"provider": "mailgun", "secret": {"env": "A"}}},
        "agents": {
            "front": spec(serde_json::json!({"may_trigger": ["back"], "triggers": [{"source": "mail", "from": ["*"]}]})),
            "back": {"spec": {"executor": "claude", "env": {"KEY": {"env": "A"}}}},
        },
    });
    let dir = project(&[]);
    let found = check_bundle(&serde_json::from_value(bundle).unwrap(), &load(dir.path()).settings, &["mailgun"]);
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(found.len() == 1 && found[0].contains("secrets (`back`)"), "{found:?}");
}

#[test]
fn a_broken_agent_does_not_take_the_others_down() {
    let good = "---\nexecutor: command\ncommand: [/bin/cat]\ntriggers: [{ source: hooks }]\n---\n";
    let dir = project(&[
        ("agents/good.md", good),
        ("agents/bad.md", "---\nexecutor: 7\n---\n"),
        ("agents/Wrong Name.md", good),
    ]);
    let loaded = load(dir.path());
    let bundle = bundle(&loaded);
    assert_eq!(bundle.agents.keys().collect::<Vec<_>>(), ["good"]);
    assert_eq!(bundle.keep, ["Wrong Name", "bad"]);
    assert_eq!(bundle.sources.len(), 2);
    assert!(loaded.has_errors());
}

#[test]
fn files_of_a_setup_come_with_the_agent_and_lie_in_their_folder() {
    let agent = "---\nexecutor: command\ncommand: [a]\nsetup: { run: npm ci, files: [shop/package.json] }\n\
                 triggers: [{ source: hooks }]\n---\n";
    let dir = project(&[("agents/a.md", agent), ("setup/shop/package.json", "{}")]);
    let loaded = load(dir.path());
    assert_eq!(loaded.agents["a"].files["shop/package.json"], "e30=");
    assert_eq!(bundle(&loaded).agents["a"].files.len(), 1);
    write(dir.path(), "setup/shop/package.json", &"x".repeat(2 * 1024 * 1024 + 1));
    assert!(problems(dir.path()).contains("makes the files of the setup larger than 2 MiB"));
    fs::remove_dir_all(dir.path().join("setup/shop")).unwrap();
    std::os::unix::fs::symlink("/etc", dir.path().join("setup/shop")).unwrap();
    assert!(problems(dir.path()).contains("`setup/shop/package.json` lies behind a link"), "{}", problems(dir.path()));
}

#[test]
fn skills_are_complete_and_bounded() {
    let agent = "---\nexecutor: claude\nskills: [tone]\ntriggers: [{ source: hooks }]\n---\nHi\n";
    let skill = "---\nname: tone\ndescription: How to sound\n---\nText\n";
    let dir = project(&[("agents/a.md", agent), ("skills/tone/SKILL.md", skill), ("skills/tone/more/x.txt", "y")]);
    let loaded = load(dir.path());
    let found = &loaded.agents["a"].skills[0];
    assert_eq!(found.description, "How to sound");
    assert_eq!(found.files["more/x.txt"], "eQ==");

    std::os::unix::fs::symlink("/etc/hostname", dir.path().join("skills/tone/more/link")).unwrap();
    assert!(problems(dir.path()).contains("skills/tone/more/link: is a link or a special file"));
    fs::remove_file(dir.path().join("skills/tone/more/link")).unwrap();
    write(dir.path(), "skills/tone/big", &"x".repeat(1024 * 1024));
    assert!(problems(dir.path()).contains("makes the skill larger than 1 MiB"));
    fs::remove_file(dir.path().join("skills/tone/big")).unwrap();
    write(dir.path(), "skills/tone/SKILL.md", "---\nname: other\ndescription: d\n---\n");
    assert!(problems(dir.path()).contains("is named `other` in the folder `tone`; write `name: tone`"));
}

pub(crate) fn problems(dir: &Path) -> String {
    load(dir).problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn paths_are_absolute_against_the_project() {
    let agent = "---\nexecutor: command\ncommand: [/bin/cat]\nmounts: ['./book:/context/book']\nenv: { A: { file: a } }\ntriggers: [{ source: hooks }]\n---\n";
    let dir = project(&[("agents/a.md", agent), ("book/page", "x")]);
    let (loaded, root) = (load(dir.path()), dir.path().display());
    assert_eq!(loaded.settings.database.url, format!("sqlite:{root}/.postern/postern.db"));
    assert_eq!(loaded.settings.worker.work_dir.display().to_string(), format!("{root}/.postern/work"));
    assert_eq!(loaded.agents["a"].spec.mounts, [MountSpec::Host(format!("{root}/./book:/context/book:ro"))]);
    let file = format!("{root}/key");
    assert_eq!(loaded.settings.sources["hooks"].secret.as_ref().unwrap().reference(), &SecretRef::File { file });
}

#[test]
fn secrets_come_from_variables_and_files_and_are_never_named() {
    let dir = project(&[("key", "hunter2-hunter2-hunter2\r\n")]);
    let loaded = load(dir.path());
    let environment = Environment::of([("KEY", "hunter2"), ("CALLBACK", "")]);
    let secrets = Secrets::new(dir.path(), environment, &loaded.settings);
    let file = SecretRef::File { file: "key".to_owned() };
    assert_eq!(secrets.secret(&file).unwrap().expose(), b"hunter2-hunter2-hunter2");
    assert_eq!(
        secrets.named("callback").unwrap_err(),
        "secret `callback`: the environment variable CALLBACK is empty; set it"
    );
    assert!(secrets.named("other").is_err());
    let said: String = secrets.check(&loaded).iter().map(|problem| format!("{problem}\n")).collect();
    assert!(said.contains("`sources.mail`: the secret is short") && said.contains("chmod 600"), "{said}");
    assert!(!said.contains("hunter2") && !format!("{secrets:?}").contains("hunter2"));
}

#[test]
fn unknown_providers_are_named_with_the_nearest() {
    let dir = project(&[]);
    let found = load(dir.path()).check_providers(&["mailgun", "githab"]);
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].to_string(),
        "postern.toml:7:1: `sources.hooks`: there is no provider `github`; did you mean `githab`?"
    );
}

#[test]
fn a_new_project_is_good_and_never_overwritten() {
    let dir = TempDir::new().unwrap();
    let files = init(dir.path()).unwrap();
    let loaded = load(dir.path());
    assert_eq!((loaded.problems, loaded.broken), (vec![], Vec::<String>::new()));
    assert_eq!(loaded.agents.keys().collect::<Vec<_>>(), ["receipt", "support"]);
    assert!(matches!(init(dir.path()), Err(InitError::Exists(path)) if path == files[0]));
}

#[test]
fn the_demo_is_good() {
    let loaded = load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo"));
    let errors: Vec<_> = loaded.problems.iter().filter(|problem| problem.is_error()).map(ToString::to_string).collect();
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!(loaded.agents.keys().collect::<Vec<_>>(), ["claude", "concierge", "inbox", "triage"]);
}

#[test]
fn the_scripts_of_the_demo_answer() {
    let work = TempDir::new().unwrap();
    write(work.path(), "prompt.txt", "From: ann@example.com\nSubject: Our numbers\n\nWhen do you open?\n");
    write(work.path(), "attachments/sales.csv", "month,amount\r\njan,1\r\nfeb,2.5\r\n");
    let inbox = answer("inbox.sh", work.path());
    assert!(
        inbox.contains("\"Our numbers\" has 4 words") && inbox.contains("amount: sum 3.5, average 1.75"),
        "{inbox}"
    );
    let concierge = answer("concierge.sh", work.path());
    assert!(concierge.lines().last().unwrap().starts_with("We are open"), "{concierge}");
    let triage: serde_json::Value = serde_json::from_str(&answer("triage.sh", work.path())).unwrap();
    assert_eq!(triage["label"], "enhancement");
}

#[expect(clippy::disallowed_methods, reason = "the scripts are tried without an executor")]
fn answer(script: &str, work: &Path) -> String {
    let output = std::process::Command::new("/bin/sh")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo/bin").join(script))
        .env_clear()
        .env("POSTERN_PROMPT_FILE", work.join("prompt.txt"))
        .env("POSTERN_ATTACHMENTS", work.join("attachments"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_expression_of_any_depth_is_answered() {
    for deep in ["(", "[", "{1:", "a(", "-", "!", "a ? ", "a.", "1+", "1 in ", "a && ", "\"\\\"\" + "] {
        for times in [20, 100, 700, 20_000] {
            let said =
                said(&format!("executor: claude\ntriggers:\n- source: hooks\n  where: '{}1'", deep.repeat(times)));
            assert!(times < 700 || said[0].contains("`where` is no CEL expression: it has"), "{said:?}");
        }
    }
}

#[test]
fn an_expression_as_deep_as_allowed_is_evaluated() {
    for (open, close, times) in
        [("(", ")", 12), ("[", "]", 12), ("-(", ")", 12), ("1 + ", "", 30), ("true && ", "", 60)]
    {
        let text = format!("{}1{} == 1", open.repeat(times), close.repeat(times));
        // Whatever it answers, the process is there afterwards.
        let _ = Filter::parse(&text).and_then(|filter| filter.passes(&serde_json::json!({})));
    }
}

/// Lines that are commented out as examples are keys that hold: the file documents nothing wrong.
#[test]
fn every_example_of_the_default_file_is_valid() {
    let examples = DEFAULT
        .split("\n\n")
        .flat_map(|paragraph| paragraph.split("\n#\n"))
        .map(|part| {
            part.lines()
                .map(|line| {
                    line.strip_prefix("# ")
                        .filter(|line| line.contains(" = ") && !line.contains('`') || line.starts_with('['))
                        .unwrap_or(line)
                })
                .collect::<Vec<_>>()
                .join("\n")
        })
        .filter(|part| part.contains('['));
    let mut count = 0;
    for text in examples {
        let dir = TempDir::new().unwrap();
        write(dir.path(), "postern.toml", &text);
        let read = Project::load(dir.path(), &Environment::default());
        assert!(read.is_ok(), "{text}\n{:#?}", read.err());
        count += 1;
    }
    assert!(count > 10, "{count}");
}

#[tokio::test]
async fn a_change_of_any_file_of_the_project_is_heard() {
    let dir = project(&[]);
    let mut watch = Watch::begin(dir.path()).unwrap();
    for path in ["postern.toml", "agents/new.md", "agents/new.md"] {
        write(dir.path(), path, "# changed\n");
        tokio::time::timeout(Duration::from_secs(20), watch.changed()).await.unwrap().unwrap();
    }
    // As editors and deployments do: beside it, then in its place.
    for (new, name) in [("postern.toml.new", "postern.toml"), ("agents.new", "agents")] {
        match new.contains("toml") {
            true => write(dir.path(), new, "# another\n"),
            false => {
                write(dir.path(), "agents.new/new.md", "# another\n");
                std::fs::rename(dir.path().join("agents"), dir.path().join("agents.old")).unwrap();
            }
        }
        std::fs::rename(dir.path().join(new), dir.path().join(name)).unwrap();
        tokio::time::timeout(Duration::from_secs(20), watch.changed()).await.unwrap().unwrap();
    }
    write(dir.path(), "agents/new.md", "# in the folder that came later\n");
    tokio::time::timeout(Duration::from_secs(20), watch.changed()).await.unwrap().unwrap();
    write(dir.path(), ".postern/postern.db", "x");
    write(dir.path(), "log", "x");
    assert!(tokio::time::timeout(Duration::from_millis(1_200), watch.changed()).await.is_err());
}
