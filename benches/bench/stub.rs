//! A program in the place of the `claude` CLI that speaks its protocol and says as much as it is told to.

use std::{
    io::{BufRead, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// The first argument of the benchmark when it is that program.
pub(crate) const MODE: &str = "--stub";
/// The version that this Postern was built against.
const VERSION: &str = "2.1.329 (Claude Code)";

/// What it says.
#[derive(Clone, Copy)]
pub(crate) struct Words {
    /// Lines.
    pub(crate) lines: u64,
    /// Of them a second; 0 is as fast as they are taken.
    pub(crate) per_second: u64,
    /// Bytes of text in each.
    pub(crate) bytes: usize,
}

impl Words {
    /// As arguments.
    pub(crate) fn arguments(self) -> [String; 4] {
        [MODE.to_owned(), self.lines.to_string(), self.per_second.to_string(), self.bytes.to_string()]
    }

    /// A program that the setting `claude.program` can name.
    pub(crate) fn program(self, folder: &Path) -> PathBuf {
        let path = folder.join("stub-claude");
        let this = std::env::current_exe().unwrap();
        let script = format!("#!/bin/sh\nexec {} {} \"$@\"\n", this.display(), self.arguments().join(" "));
        write_program(&path, &script);
        path
    }
}

/// Writes a script that can be run.
pub(crate) fn write_program(path: &Path, script: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, script).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// That program. Without arguments of the CLI behind its own it says its lines as they are.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let number = |at: usize| arguments[at].parse::<u64>().unwrap();
    let words = Words { lines: number(0), per_second: number(1), bytes: usize::try_from(number(2)).unwrap() };
    let rest = &arguments[3..];
    if rest.iter().any(|argument| argument == "--version") {
        println!("{VERSION}");
    } else if rest.is_empty() {
        speak(words, str::to_owned);
    } else {
        converse(words);
    }
    ExitCode::SUCCESS
}

fn converse(words: Words) {
    let mut asked = std::io::stdin().lock().lines().map_while(Result::ok);
    for line in asked.by_ref() {
        let line: Value = serde_json::from_str(&line).unwrap();
        if line["type"] == "user" {
            break;
        }
        let response = json!({"hooks_applied": true, "hook_on_failure_supported": true});
        say(&json!({"type": "control_response",
            "response": {"subtype": "success", "request_id": line["request_id"], "response": response}}));
    }
    say(&json!({"type": "system", "subtype": "init", "mcp_servers": []}));
    speak(words, |text| {
        json!({"type": "assistant", "message": {"content": [{"type": "text", "text": text}]}}).to_string()
    });
    say(&json!({"type": "result", "subtype": "success", "is_error": false, "result": "done", "num_turns": 1,
        "terminal_reason": "completed"}));
    say(&json!({"type": "system", "subtype": "session_state_changed", "state": "idle"}));
    asked.for_each(drop);
}

fn speak(words: Words, form: impl Fn(&str) -> String) {
    let began = Instant::now();
    let filler = "x".repeat(words.bytes);
    let mut output = std::io::stdout().lock();
    for number in 0..words.lines {
        if let Some(due) = Duration::from_secs(number).as_nanos().checked_div(u128::from(words.per_second)) {
            let due = began + Duration::from_nanos(u64::try_from(due).unwrap());
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let text = format!("{number} {filler}");
        writeln!(output, "{}", form(&text)).unwrap();
    }
    output.flush().unwrap();
}

fn say(line: &Value) {
    println!("{line}");
}
