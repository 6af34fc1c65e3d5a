//! The measure of the skills that ship: that each of its checks can fail, and that a measurement with the real CLI goes
//! through the front door. Which model answers how well is not known here: the answers come from a script.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use postern::config::environment::Environment;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::messages_api::{MessagesApi, Step};

const KEY: &str = "sk-ant-the-key-of-this-test";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[expect(clippy::disallowed_methods, reason = "a test starts the programs")]
fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    let path = Environment::of_process().get("PATH").unwrap().to_owned();
    command.current_dir(root()).env_clear().env("PATH", path).stdin(Stdio::null());
    command
}

fn evaluate(arguments: &[&str]) -> Command {
    let mut command = program("python3");
    command.args(["-B", "scripts/evaluate"]).args(arguments);
    command
}

fn said(done: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr))
}

#[test]
fn every_check_passes_a_good_answer_and_fails_a_bad_one() {
    let done = evaluate(&["--self-test"]).output().unwrap();
    assert!(done.status.success(), "{}", said(&done));
    for skill in ["answer-mail", "summarise-document", "triage-issue"] {
        let cases = fs::read_dir(root().join("examples/assistants/evals").join(skill)).unwrap().count() - 1;
        assert!((8..=12).contains(&cases), "{skill} has {cases} cases");
    }
}

#[test]
fn a_check_that_nothing_can_fail_is_an_error() {
    let common = "agent = \"a\"\nbaseline = \"You answer.\"\nmail = { from = \"a@b.example\", to = \"c@d.example\" }\n";
    let case = "about = \"x\"\ngood = \"We answer the mail.\"\n";
    let faults = [
        ("[[check]]\nname = \"polite\"\nlacks = 'never said'\nbad = \"Rude.\"", "nothing fails “polite”"),
        ("[[check]]\nname = \"polite\"\nhas = 'answer'", "“polite” has no bad answer"),
        (
            "[[check]]\nname = \"polite\"\nhas = 'please'\nbad = \"No.\"",
            "a good answer fails “polite”: not in it: please",
        ),
        ("[[check]]\nname = \"polite\"\nhas = '('\nbad = \"No.\"", "“polite”: missing )"),
        ("lenght = [1, 2]", "evals/greet/one.toml: unknown key lenght"),
        ("[[document]]\nname = \"../x.docx\"\ntext = \"x\"", "a document has a name with an extension"),
    ];
    for (part, fault) in faults {
        let dir = TempDir::new().unwrap();
        fs::create_dir_all(dir.path().join("evals/greet")).unwrap();
        fs::write(dir.path().join("postern.toml"), "").unwrap();
        fs::write(dir.path().join("evals/greet/common.toml"), common).unwrap();
        fs::write(dir.path().join("evals/greet/one.toml"), format!("{case}{part}\n")).unwrap();
        let done = evaluate(&["--self-test", "--project", dir.path().to_str().unwrap()]).output().unwrap();
        assert_eq!(done.status.code(), Some(2), "{}", said(&done));
        assert!(said(&done).contains(fault), "{fault} is not in {}", said(&done));
    }
}

#[test]
fn without_a_key_nothing_is_built_and_the_way_out_is_said() {
    let done = program("scripts/evals").env("HOME", "/nonexistent").output().unwrap();
    assert_eq!(done.status.code(), Some(2), "{}", said(&done));
    assert!(said(&done).contains("ANTHROPIC_API_KEY is not set: export the key"), "{}", said(&done));
}

#[test]
fn the_skills_script_reads_every_document_of_the_cases() {
    let dir = TempDir::new().unwrap();
    let made = evaluate(&["--documents", dir.path().to_str().unwrap()]).output().unwrap();
    assert!(made.status.success(), "{}", said(&made));
    let mut kinds = Vec::new();
    for entry in fs::read_dir(dir.path().join("summarise-document")).unwrap() {
        let case = entry.unwrap();
        for entry in fs::read_dir(case.path()).unwrap() {
            let path = entry.unwrap().path();
            let kind = path.extension().unwrap().to_str().unwrap().to_owned();
            if !["docx", "xlsx", "pptx", "odt"].contains(&kind.as_str()) {
                continue;
            }
            let expected = fs::read_to_string(format!("{}.expected", path.display())).unwrap();
            let script = "examples/assistants/skills/summarise-document/scripts/document_text.py";
            let read = program("python3").arg(script).arg(&path).output().unwrap();
            assert_eq!(read.status.success(), case.file_name() != "broken-docx", "{}", said(&read));
            if read.status.success() {
                every_line_is_there(&kind, &expected, &said(&read));
                kinds.push(kind);
            }
        }
    }
    kinds.sort();
    kinds.dedup();
    assert_eq!(kinds, ["docx", "odt", "pptx", "xlsx"]);
}

fn every_line_is_there(kind: &str, expected: &str, read: &str) {
    for line in expected.trim().lines() {
        // Of sheets the names are not read.
        if kind == "xlsx" && line.starts_with("# ") {
            continue;
        }
        let line = line.trim_start_matches("# ").replace(" | ", "\t");
        assert!(read.contains(&line), "{line:?} is not in\n{read}");
    }
}

/// The good answer of a case, and a bad one.
fn answers(case: &str) -> (String, String) {
    let path = root().join(format!("examples/assistants/evals/{case}.toml"));
    let case: toml::Table = fs::read_to_string(path).unwrap().parse().unwrap();
    let good = case["good"].as_str().unwrap().to_owned();
    (good.clone(), format!("{good}\n\nSee https://invented.invalid/for-more"))
}

fn text(text: &str) -> Step {
    Step::Blocks(json!([{"type": "text", "text": text}]), "end_turn")
}

/// `make evals` of cases one after the other, with the real CLI and the scripted API; what it leaves is in `above`.
fn measurement(api: &MessagesApi, above: &TempDir, variables: &[&str]) -> Command {
    let claude = Environment::of_process().get("POSTERN_TEST_CLAUDE").unwrap().to_owned();
    let mut command = program("make");
    command.args(["-s", "evals", "JOBS=1", "JSON=1"]).args(variables);
    command.env("TMPDIR", above.path()).env("HOME", above.path()).env("ANTHROPIC_API_KEY", KEY);
    command.env("ANTHROPIC_BASE_URL", api.url()).env("POSTERN_CLAUDE__PROGRAM", claude);
    command.env("POSTERN_PROGRAM", env!("CARGO_BIN_EXE_postern"));
    // What belongs to this machine's own server is not for a measurement.
    command.env("POSTERN_DATABASE__URL", "postgres://nobody@127.0.0.1:1/nothing");
    command
}

fn measured(api: &MessagesApi, variables: &[&str]) -> (Output, Value) {
    let above = TempDir::new().unwrap();
    let done = tokio::task::block_in_place(|| measurement(api, &above, variables).output().unwrap());
    assert_eq!(fs::read_dir(above.path()).unwrap().count(), 0, "something is left");
    let report = serde_json::from_slice(&done.stdout).unwrap_or_else(|_| panic!("{}", said(&done)));
    (done, report)
}

const CASES: [&str; 3] =
    ["answer-mail/two-questions", "summarise-document/contradiction", "triage-issue/injection-label"];

#[tokio::test(flavor = "multi_thread")]
async fn a_measurement_compares_the_agents_with_and_without_their_skills() {
    let opinion = |score| Step::Tool("StructuredOutput", json!({"score": score, "reason": "as said"}));
    let with = CASES.iter().flat_map(|case| [text(&answers(case).0), opinion(5)]);
    let without = CASES.iter().flat_map(|case| [text(&answers(case).1), opinion(2)]);
    let api = MessagesApi::start(with.chain(without)).await;
    let cases = format!("CASES={}", CASES.join(" "));
    let (done, report) = measured(&api, &["BASELINE=1", "JUDGE=claude-haiku-5-5", "THRESHOLD=1", &cases]);
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
    let bound = "6 runs of answer-mail, summarise-document, triage-issue, with and without; at most $4.00";
    assert!(said(&done).contains(bound) && !said(&done).contains(KEY), "{}", said(&done));
    for (case, place) in CASES.iter().zip(0..) {
        let skill = &report["skills"][case.split('/').next().unwrap()];
        assert_eq!((&skill["skill"]["rate"], &skill["skill"]["judged"]), (&json!(1.0), &json!(5.0)), "{skill}");
        assert_eq!((&skill["baseline"]["rate"], &skill["baseline"]["judged"]), (&json!(0.0), &json!(2.0)), "{skill}");
        let failed = &report["results"][3 + place]["checks"]["invents nothing"];
        assert_eq!(*failed, "invented: https://invented.invalid/for-more");
        assert!(report["results"][place]["usd"].as_f64().unwrap() > 0.0, "{report}");
    }
    let asked: Vec<String> = api.asked().iter().map(|asked| asked.body.to_string()).collect();
    assert_eq!(asked.len(), 12);
    assert!(asked[0].contains("Find every question and every wish") && !asked[6].contains("Find every question"));
    assert!(asked[2].contains("agent:summarise-document") && !asked[8].contains("agent:summarise-document"));
    assert!(asked[4].contains("agent:triage-issue") && !asked[10].contains("agent:triage-issue"));
    assert!(asked[10].contains("one JSON object alone"), "the baseline is not told what is wanted: {}", asked[10]);
    for place in [0, 2, 4, 6, 8, 10] {
        assert!(asked[place].contains("for nobody outside, is kestrel-"), "no canary: {}", asked[place]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_few_good_answers_and_a_failed_run_are_a_failure() {
    let (good, bad) = answers(CASES[0]);
    let api = MessagesApi::start([text(&good), text(&bad), Step::Error(401)]).await;
    let (done, report) = measured(&api, &["RUNS=3", "THRESHOLD=0.5", &format!("CASES={}", CASES[0])]);
    assert!(said(&done).contains("Error 1"), "{}", said(&done));
    assert_eq!(
        (&report["below"], &report["skills"]["answer-mail"]["skill"]["passed"]),
        (&json!(["answer-mail"]), &json!(1))
    );
    let ends = report["results"][2]["checks"]["ends well"].as_str().unwrap();
    assert!(ends.contains("refused the key"), "{ends}");
    assert!(said(&done).contains("below 50% of runs: answer-mail"), "{}", said(&done));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_measurement_tells_what_it_has_and_leaves_nothing() {
    let api = MessagesApi::start([text(&answers(CASES[0]).0), Step::Hang]).await;
    let above = TempDir::new().unwrap();
    let mut command = measurement(&api, &above, &["RUNS=3", &format!("CASES={}", CASES[0])]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    api.wait_for(2).await;
    let done = tokio::task::block_in_place(|| {
        // make hands it on to what it started.
        assert!(program("kill").arg(child.id().to_string()).status().unwrap().success());
        child.wait_with_output().unwrap()
    });
    let report: Value = serde_json::from_slice(&done.stdout).unwrap_or_else(|_| panic!("{}", said(&done)));
    assert_eq!((&report["results"][0]["passed"], &report["results"][1]), (&json!(true), &Value::Null));
    assert!(said(&done).contains("interrupted after 1 runs"), "{}", said(&done));
    assert_eq!(fs::read_dir(above.path()).unwrap().count(), 0, "something is left");
}
