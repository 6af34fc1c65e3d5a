//! `postern demo` and `postern send`, as the real program.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;

const CALLBACK_KEY: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

#[expect(clippy::disallowed_methods, reason = "a test starts the program")]
fn postern(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
    command.args(arguments).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_demo_shows_three_answers_and_leaves_nothing() {
    let above = tempfile::tempdir().unwrap();
    let done = postern(&["demo"]).env("TMPDIR", above.path()).output().unwrap();
    let (shown, said) = (text(&done.stdout), text(&done.stderr));
    assert!(done.status.success(), "{shown}\n{said}");
    for part in [
        "3 events, 3 runs, 3 answers",
        "Subject: Re: Sales in October",
        "In-Reply-To: <",
        "revenue: sum 5910.4",
        "We are open Monday",
        "signature verified",
        "“duplicate”",
        "forged",
    ] {
        assert!(shown.contains(part), "{part} is missing in\n{shown}\n{said}");
    }
    assert!(!shown.contains('\u{1b}'), "no colours into a pipe");
    assert_eq!(fs::read_dir(above.path()).unwrap().count(), 0, "the demo leaves no directory");
}

/// `postern up --dev` of a copy of examples/demo.
struct Up {
    dir: tempfile::TempDir,
    child: Child,
    url: String,
    key: String,
}

impl Up {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo"), dir.path());
        let mut command = with_secrets(postern(&["--json", "-C", dir.path().to_str().unwrap(), "up", "--dev"]));
        command.env("POSTERN_SERVER__LISTEN", "127.0.0.1:0").stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut greeting = String::new();
        let greeting: Value = loop {
            greeting.push_str(&lines.next().unwrap().unwrap());
            if let Ok(value) = serde_json::from_str(&greeting) {
                break value;
            }
        };
        let url = format!("http://{}", greeting["listening"].as_str().unwrap());
        Self { dir, child, url, key: greeting["api_key"].as_str().unwrap().to_owned() }
    }

    fn send(&self, arguments: &[&str]) -> Output {
        let mut all = vec!["--json", "-C", self.dir.path().to_str().unwrap(), "send"];
        all.extend(arguments);
        let mut command = with_secrets(postern(&all));
        command.env("POSTERN_URL", &self.url).env("POSTERN_API_KEY", &self.key).output().unwrap()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn with_secrets(mut command: Command) -> Command {
    for name in ["DEMO_MAIL_KEY", "DEMO_SMS_TOKEN", "DEMO_GITHUB_SECRET"] {
        command.env(name, "0123456789abcdef");
    }
    command.env("DEMO_CALLBACK_SECRET", CALLBACK_KEY);
    command
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { fs::copy(&path, &target).map(drop).unwrap() }
    }
}

fn answered(done: &Output) -> Value {
    assert!(done.status.success(), "{}\n{}", text(&done.stdout), text(&done.stderr));
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(report["deliveries"].as_array().unwrap().len(), 1, "{report}");
    report["deliveries"][0]["message"].clone()
}

#[test]
fn what_is_sent_by_each_channel_is_believed_and_answered() {
    let up = Up::start();
    let file = up.dir.path().join("numbers.csv");
    fs::write(&file, "a,b\n1,2\n3,4\n").unwrap();
    let mail = up.send(&[
        "email",
        "--wait",
        "--from",
        "you@example.com",
        "--to",
        "inbox@agents.example.com",
        "--subject",
        "Numbers",
        "--text",
        "Please add.",
        "--attach",
        file.to_str().unwrap(),
    ]);
    let mail = answered(&mail);
    assert_eq!((&mail["to"], &mail["subject"]), (&"you@example.com".into(), &"Re: Numbers".into()));
    assert!(mail["text"].as_str().unwrap().contains("b: sum 6"), "{mail}");

    let sms = up.send(&["sms", "--wait", "--from", "+15550007", "--to", "+15550100", "--text", "Where are you?"]);
    let sms = answered(&sms);
    assert!(sms["text"].as_str().unwrap().contains("Harbour Street"), "{sms}");

    let body = r#"{"action":"opened","issue":{"number":1,"title":"A question","body":"How do I pay?"},"repository":{"full_name":"a/b"}}"#;
    let hook = up.send(&["webhook", "--wait", "--event", "issues.opened", "--body", body]);
    assert_eq!(answered(&hook)["data"]["text"], "Labelled question, priority 3.");

    let refused = up.send(&["sms", "--source", "github", "--from", "+15550007", "--to", "+15550100", "--text", "x"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stdout).contains("no source `github` carries that; there is: "), "{}", text(&refused.stdout));
}
