//! The program as people use it: the real binary, on a real project directory.

mod send;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// A project as `init` writes it.
struct Project {
    _folder: TempDir,
    dir: PathBuf,
}

impl Project {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let dir = folder.path().join("project");
        let project = Self { _folder: folder, dir };
        let made = output(postern(Path::new("/")).arg("init").arg(&project.dir));
        assert!(text(&made.stdout).contains("postern up --dev"), "{made:?}");
        project
    }

    fn postern(&self, arguments: &[&str]) -> Command {
        let mut command = postern(&self.dir);
        command.args(arguments);
        command
    }

    /// Runs a command that is to succeed.
    fn ok(&self, arguments: &[&str]) -> String {
        let done = output(&mut self.postern(arguments));
        assert_eq!(done.status.code(), Some(0), "{arguments:?}: {done:?}");
        text(&done.stdout)
    }

    /// Runs a command that is to fail. What it says.
    fn fails(&self, arguments: &[&str]) -> String {
        let done = output(&mut self.postern(arguments));
        assert_eq!(done.status.code(), Some(1), "{arguments:?}: {done:?}");
        text(&done.stdout) + &text(&done.stderr)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let printed = self.ok(&[arguments, &["--json"]].concat());
        serde_json::from_str(&printed).unwrap_or_else(|fault| panic!("{arguments:?}: {fault}: {printed}"))
    }

    fn up(&self) -> Up {
        let mut child = self.postern(&["up", "--dev", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut banner = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        while lines.read_line(&mut banner).unwrap() > 0 && !banner.ends_with("\n}\n") {}
        let banner: Value = serde_json::from_str(&banner).unwrap();
        let part = |key: &str| banner[key].as_str().unwrap().to_owned();
        Up { child, address: part("listening"), key: part("api_key") }
    }
}

/// A running `postern up`, killed when the test is over.
struct Up {
    child: Child,
    address: String,
    key: String,
}

impl Up {
    fn client<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("POSTERN_URL", &self.address).env("POSTERN_API_KEY", &self.key)
    }

    fn ok(&self, project: &Project, arguments: &[&str]) -> String {
        let done = output(self.client(&mut project.postern(arguments)));
        assert_eq!(done.status.code(), Some(0), "{arguments:?}: {done:?}");
        text(&done.stdout)
    }

    fn json(&self, project: &Project, arguments: &[&str]) -> Value {
        let printed = self.ok(project, &[arguments, &["--json"]].concat());
        serde_json::from_str(&printed).unwrap_or_else(|fault| panic!("{arguments:?}: {fault}: {printed}"))
    }

    fn terminate(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[expect(clippy::disallowed_methods, reason = "the program under test is started as its users start it")]
fn postern(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("POSTERN_SERVER__LISTEN", "127.0.0.1:0");
    for name in ["MAILGUN_SIGNING_KEY", "TWILIO_AUTH_TOKEN", "GITHUB_WEBHOOK_SECRET"] {
        command.env(name, "0123456789abcdef0123456789abcdef");
    }
    if dir.is_dir() {
        command.current_dir(dir);
    }
    command.stdin(Stdio::null());
    command
}

fn output(command: &mut Command) -> Output {
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_new_project_is_valid_runs_and_is_seen_from_the_command_line() {
    let project = Project::new();
    assert!(project.ok(&["validate"]).contains("the project is valid: 3 sources, 2 agents"));
    let up = project.up();

    let sources = up.ok(&project, &["sources", "list"]);
    assert!(sources.starts_with("NAME") && sources.contains("twilio"), "{sources}");
    assert!(up.ok(&project, &["sources", "show", "mail"]).contains("mailgun"));
    assert!(up.ok(&project, &["agents", "list"]).contains("receipt"));
    let agent = up.ok(&project, &["agents", "show", "receipt"]);
    assert!(agent.contains("/bin/sh, /context/bin/receipt.sh"), "{agent}");
    for noun in ["events", "runs", "sessions", "deliveries"] {
        assert!(up.ok(&project, &[noun, "list"]).starts_with("ID"), "{noun}");
        assert!(up.json(&project, &[noun, "list"])["items"].as_array().unwrap().is_empty(), "{noun}");
    }
    assert_eq!(up.json(&project, &["sources", "list"])["items"].as_array().unwrap().len(), 3);
    assert_eq!(up.json(&project, &["agents", "list"])["items"].as_array().unwrap().len(), 2);
    assert_eq!(up.terminate(), Some(0), "a stop that was asked for is no failure");
}

#[test]
fn a_changed_project_is_compared_and_applied() {
    let project = Project::new();
    let up = project.up();
    assert_eq!(up.ok(&project, &["diff"]), "nothing differs\n");
    // A project of another directory, so that `up` does not take the change up by itself.
    let other = Project::new();
    let receipt = fs::read_to_string(other.dir.join("agents/receipt.md")).unwrap();
    fs::write(other.dir.join("agents/receipt.md"), receipt.replace("30s", "31s")).unwrap();
    assert_eq!(up.ok(&other, &["diff"]), "agent receipt would be updated (version 2)\n");
    assert_eq!(up.ok(&other, &["apply", "--dry-run"]), "agent receipt would be updated (version 2)\n");
    assert_eq!(up.ok(&other, &["apply"]), "agent receipt updated (version 2)\n");
    assert_eq!(up.json(&other, &["diff"])["changes"][0]["action"], "unchanged");
    fs::write(other.dir.join("agents/receipt.md"), "---\nexecutor: nothing\n---\n").unwrap();
    let refused = output(up.client(&mut other.postern(&["apply"])));
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("nothing was applied"), "{refused:?}");
}

#[test]
fn what_goes_wrong_with_a_server_names_the_way_out() {
    let project = Project::new();
    let up = project.up();
    let no_key = project.fails(&["runs", "list", "--server", &up.address]);
    assert!(no_key.contains("postern keys create NAME"), "{no_key}");
    let wrong_key = output(up.client(&mut project.postern(&["runs", "list"])).env("POSTERN_API_KEY", "pst_wrong"));
    assert!(text(&wrong_key.stderr).contains("refuses this API key"), "{wrong_key:?}");
    let key_file = project.dir.join("key");
    fs::write(&key_file, format!("{}\n", up.key)).unwrap();
    project.ok(&["runs", "list", "--server", &up.address, "--api-key-file", key_file.to_str().unwrap()]);

    let none = output(up.client(&mut project.postern(&["runs", "show", "run_1"])));
    assert_eq!(none.status.code(), Some(1));
    assert!(text(&none.stderr).contains("`run_1` is not an id of the form `run_…` (bad_request)"), "{none:?}");
    let id = "run_00000000000000000000000000";
    for command in [&["runs", "tail", id], &["runs", "cancel", id], &["runs", "retry", id]] {
        let none = output(up.client(&mut project.postern(command)));
        assert!(text(&none.stderr).contains("there is no such run (not_found)"), "{none:?}");
    }
    let outside = output(up.client(&mut project.postern(&["agents", "show", "../runs"])));
    assert!(text(&outside.stderr).contains("there is"), "a name is one segment of the path: {outside:?}");

    let address = up.address.clone();
    let key = up.key.clone();
    assert_eq!(up.terminate(), Some(0));
    let gone = output(project.postern(&["runs", "list", "--server", &address]).env("POSTERN_API_KEY", key));
    assert!(text(&gone.stderr).contains("start it with `postern up`"), "{gone:?}");
}

#[test]
fn wrong_usage_ends_with_two() {
    let project = Project::new();
    for arguments in [&["rnus"][..], &[], &["runs"], &["runs", "list", "--limit", "0"], &["keys", "revoke", "x"]] {
        let done = output(&mut project.postern(arguments));
        assert_eq!(done.status.code(), Some(2), "{arguments:?}: {done:?}");
    }
    assert_eq!(output(&mut project.postern(&["--help"])).status.code(), Some(0));
}

#[test]
fn a_broken_project_names_file_line_and_fix() {
    let project = Project::new();
    let file = project.dir.join("agents/receipt.md");
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("executor: command", "executor: comand")).unwrap();
    let said = project.fails(&["validate"]);
    assert!(said.contains("agents/receipt.md:3:") && said.contains("did you mean `command`?"), "{said}");
    fs::write(project.dir.join("postern.toml"), "[server]\nlistn = \"127.0.0.1:1\"\n").unwrap();
    let said = project.fails(&["validate"]);
    assert!(said.contains("postern.toml:2:1: unknown key `server.listn`; did you mean `listen`?"), "{said}");
    let said: Value = serde_json::from_str(&project.fails(&["validate", "--json"])).unwrap();
    assert_eq!(said["valid"], false);
    assert_eq!(said["problems"][0]["line"], 2);
    assert!(project.fails(&["init", "."]).contains("is already there"));
    assert!(project.fails(&["up"]).contains("unknown key"));
}

#[test]
fn a_missing_secret_is_an_error_of_the_project() {
    let project = Project::new();
    let done = output(project.postern(&["validate"]).env_remove("TWILIO_AUTH_TOKEN"));
    assert_eq!(done.status.code(), Some(1));
    assert!(text(&done.stderr).contains("TWILIO_AUTH_TOKEN"), "{done:?}");
}

#[test]
fn keys_are_made_listed_and_revoked_while_the_server_runs() {
    let project = Project::new();
    assert!(project.fails(&["keys", "list"]).contains("postern migrate"));
    let mut up = project.up();
    let made = project.json(&["keys", "create", "for ci"]);
    let (id, key) = (made["id"].as_str().unwrap(), made["api_key"].as_str().unwrap());
    assert!(key.starts_with("pst_"));
    let listed = project.ok(&["keys", "list"]);
    assert!(listed.contains(id) && listed.contains("for ci") && !listed.contains(key), "{listed}");
    up.key = key.to_owned();
    up.ok(&project, &["runs", "list"]);
    project.ok(&["keys", "revoke", id]);
    let refused = output(up.client(&mut project.postern(&["runs", "list"])));
    assert_eq!(refused.status.code(), Some(1));
    assert!(project.json(&["keys", "list"])["items"][0]["revoked_at"].is_string());
    assert!(project.fails(&["keys", "revoke", "key_00000000000000000000000000"]).contains("there is no key"));
}

#[test]
fn schemas_and_completions_are_printed() {
    let project = Project::new();
    let config: Value = serde_json::from_str(&project.ok(&["schema", "config"])).unwrap();
    assert_eq!(config["title"], "postern.toml");
    let agent: Value = serde_json::from_str(&project.ok(&["schema", "agent"])).unwrap();
    assert!(agent["properties"]["executor"].is_object());
    for shell in ["bash", "zsh", "fish"] {
        assert!(project.ok(&["completions", shell]).contains("postern"), "{shell}");
    }
}

#[test]
fn doctor_looks_at_everything_and_says_what_to_do() {
    let project = Project::new();
    fs::remove_file(project.dir.join("agents/support.md")).unwrap();
    let done = output(&mut project.postern(&["doctor", "--json"]));
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let level = |name: &str| checks.iter().find(|check| check["name"] == name).map(|check| check["level"].clone());
    for name in ["database", "address", "work"] {
        assert_eq!(level(name).unwrap(), "ok", "{report}");
    }
    assert!(level("sandbox").is_some() && level("project").is_some(), "{report}");
    assert_ne!(level("claude").unwrap(), "fail", "no agent uses it: {report}");
    assert_eq!(level("email").unwrap(), "warn", "{report}");
    assert_eq!(report["ok"], true, "{report}");

    let up = project.up();
    let taken = output(project.postern(&["doctor"]).env("POSTERN_SERVER__LISTEN", &up.address));
    assert!(text(&taken.stdout).contains("a postern answers on"), "{taken:?}");
    fs::write(project.dir.join("postern.toml"), "[server\n").unwrap();
    assert!(project.fails(&["doctor"]).starts_with("FAIL  project    postern.toml:1:"));
}

const HOOK: &str = r#"
[sources.hook]
provider = "bearer"
insecure = true
[secrets]
callback = { env = "GITHUB_WEBHOOK_SECRET" }
"#;

const ECHO: &str = r#"---
description: Says hello
executor: command
command: [/bin/sh, -c, "printf 'hello \\033[31mworld\\033[0m\\n'"]
triggers:
  - source: hook
    where: body.go == true
    reply: { webhook: "https://ci.example.com/done", secret: callback }
---
"#;

const FAIL: &str = "---\nexecutor: command\ncommand: [/bin/sh, -c, 'exit 3']\ntriggers:\n  - source: hook\n    where: body.go == false\n---\n";

/// The answer to a webhook: its event and its first run.
fn post_hook(up: &Up, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(&up.address).unwrap();
    let head = format!(
        "POST /in/hook HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        up.address,
        body.len()
    );
    stream.write_all((head + body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let body: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    (body["event"].as_str().unwrap().to_owned(), body["runs"][0].as_str().unwrap().to_owned())
}

#[test]
fn an_event_is_followed_from_request_to_delivery() {
    let project = Project::new();
    fs::write(project.dir.join("postern.toml"), HOOK).unwrap();
    fs::remove_dir_all(project.dir.join("agents")).unwrap();
    fs::create_dir(project.dir.join("agents")).unwrap();
    fs::write(project.dir.join("agents/echo.md"), ECHO).unwrap();
    fs::write(project.dir.join("agents/fail.md"), FAIL).unwrap();
    let up = project.up();

    let (event, run) = post_hook(&up, r#"{"go": true, "note": "\u202eseen"}"#);
    let tailed = up.ok(&project, &["runs", "tail", &run]);
    assert!(tailed.contains("hello world\n") && tailed.contains("result       succeeded"), "{tailed}");
    let lines = up.ok(&project, &["runs", "tail", &run, "--json"]);
    assert!(lines.lines().count() > 2);
    assert!(lines.lines().all(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].is_i64()), "{lines}");

    let shown = up.ok(&project, &["events", "show", &event]);
    assert!(shown.contains("echo   yes") && shown.contains("fail   no"), "why each agent was started: {shown}");
    assert!(shown.contains(&run) && shown.contains("\"note\": \"seen\""), "{shown}");
    let shown = up.ok(&project, &["runs", "show", &run]);
    assert!(
        shown.contains("echo (version 1)") && shown.contains("$0.0000") && shown.contains("hello world"),
        "{shown}"
    );
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
    let page = up.json(&project, &["deliveries", "list", "--run", &run]);
    let delivery = page["items"][0]["id"].as_str().unwrap();
    let whole = up.json(&project, &["runs", "show", &run]);
    assert_eq!((&whole["deliveries"][0]["id"], &whole["changed_files"]), (&delivery.into(), &Value::Array(Vec::new())));
    assert!(whole["record"].as_array().unwrap().iter().any(|line| line["kind"] == "result"), "{whole}");
    assert!(shown.contains(delivery), "{shown}");
    let shown = up.ok(&project, &["deliveries", "show", delivery]);
    assert!(shown.contains("POST          https://ci.example.com/done") && shown.contains("hello"), "{shown}");

    let replayed = up.json(&project, &["events", "replay", &event, "--agent", "echo"]);
    up.ok(&project, &["runs", "tail", replayed["runs"][0].as_str().unwrap()]);
    let wrong = output(up.client(&mut project.postern(&["events", "replay", &event, "--agent", "nobody"])));
    assert!(text(&wrong.stderr).contains("there is no agent `nobody`"), "{wrong:?}");

    let (_, run) = post_hook(&up, r#"{"go": false}"#);
    let tail = |id: &str| output(up.client(&mut project.postern(&["runs", "tail", id]))).status.code();
    assert_eq!(tail(&run), Some(1), "a run that failed is a failure");
    assert!(up.ok(&project, &["runs", "list", "--state", "failed"]).contains("exit status: 3"));
    assert_eq!(up.ok(&project, &["runs", "retry", &run]), format!("{run} is queued\n"));
    assert_eq!(tail(&run), Some(1));
    let page = up.json(&project, &["runs", "list", "--limit", "1"]);
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    let rest = up.json(&project, &["runs", "list", "--before", page["next"].as_str().unwrap()]);
    assert_eq!(rest["items"].as_array().unwrap().len(), 2);

    // Whose answer goes nowhere is shown it.
    fs::write(
        project.dir.join("agents/quiet.md"),
        ECHO.replace("    reply: { webhook: \"https://ci.example.com/done\", secret: callback }\n", "")
            .replace("go == true", "go == 7"),
    )
    .unwrap();
    up.ok(&project, &["apply"]);
    let waited = up.ok(&project, &["send", "webhook", "--wait", "--source", "hook", "--body", r#"{"go": 7}"#]);
    assert!(waited.contains("quiet succeeded") && waited.contains("\n  hello"), "{waited}");
}
