//! The offline tools as people use them: the real binary on files.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

#[expect(clippy::disallowed_methods, reason = "the program is started as its users start it")]
fn postern(arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
    command.args(arguments).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // What it prints may fill a pipe before it has read everything.
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    output
}

fn lines(output: &Output) -> Vec<Value> {
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn fixtures(folder: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder).display().to_string()
}

#[test]
fn recorded_requests_are_run_and_counted() {
    let output = postern(&["verify", "vectors", &fixtures("vectors/http")], b"");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let found = lines(&output);
    assert!(said.contains(&format!("{0} of {0} agree with what is expected; {0} were run", found.len())), "{said}");
    let of = |name: &str| found.iter().find(|line| line["name"] == name).unwrap_or_else(|| panic!("no {name}"));
    let sms = of("twilio/sms");
    assert_eq!((&sms["verdict"], &sms["fields"]["text"]), (&json!("accept"), &json!("Restart job 88213 please")));
    assert_eq!(sms["response"]["body"], "<Response></Response>");
    assert_eq!(of("slack/stale-301s")["reason"], "stale_timestamp");
    assert_eq!(of("generic/no-secret-configured")["reason"], "missing_secret");
    assert_eq!(of("mailgun-replay#4")["verdict"], "duplicate-content");
}

#[test]
fn what_disagrees_is_named_and_fails() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("own.json");
    let mut entry = json!({
        "name": "own/one", "scheme": "bearer", "method": "POST", "url": "https://h.example/in/x", "now_unix": 0,
        "headers": [["Authorization", "Bearer right"]], "body_base64": "e30=", "secrets": ["wrong"], "expect": "accept",
    });
    fs::write(&path, json!([entry]).to_string()).unwrap();
    let output = postern(&["verify", "vectors", path.to_str().unwrap()], b"");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("own/one: verdict: reject (bad_signature") && said.contains("0 of 1 agree"), "{said}");
    // Without an expectation a run is only shown.
    entry.as_object_mut().unwrap().remove("expect");
    fs::write(&path, entry.to_string()).unwrap();
    let output = postern(&["verify", "vectors", path.to_str().unwrap()], b"");
    assert_eq!((output.status.code(), &lines(&output)[0]["verdict"]), (Some(0), &json!("reject")));
    fs::write(&path, "[{\"name\": 1}]").unwrap();
    let output = postern(&["verify", "vectors", path.to_str().unwrap()], b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("own.json, entry 1"), "{output:?}");
}

#[test]
fn mails_are_read_one_by_one_and_in_batches() {
    let raw = b"From: a@example.org\r\nSubject: Hi\r\n\r\nHello.\r\n";
    let output = postern(&["parse", "mail"], raw);
    let mail: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&mail["subject"], &mail["reply_text"]), (&json!("Hi"), &json!("Hello.")));
    let folder = TempDir::new().unwrap();
    let good = folder.path().join("good.eml");
    fs::write(&good, raw).unwrap();
    let deep = folder.path().join("deep.eml");
    fs::write(&deep, "Content-Type: multipart/mixed; boundary=x\n\n--x\n".repeat(5000)).unwrap();
    let paths = format!("{0}\n/nowhere/at all\n{1}\n{2}\n{0}", good.display(), deep.display(), folder.path().display());
    let output = postern(&["parse", "mail", "--batch"], paths.as_bytes());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let found = lines(&output);
    let codes: Vec<&Value> = found.iter().map(|line| &line["code"]).collect();
    let expected =
        [&Value::Null, &json!("unreadable_file"), &json!("too_deep"), &json!("unreadable_file"), &Value::Null];
    assert_eq!(codes, expected);
    assert_eq!(found[4]["from"], json!(["a@example.org"]));
    let output = postern(&["parse", "mail", good.to_str().unwrap()], b"");
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap()["text"], "Hello.");
}
