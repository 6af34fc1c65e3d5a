//! The CLI as the gateway starts it, started without the gateway: with the arguments, the environment, the files and
//! the words that a run of the gateway's had.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{messages_api::MessagesApi, stub::write_program};

/// What a CLI was given.
pub(crate) struct Captured {
    program: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// Of the run: work directory, home, files for the CLI.
    place: PathBuf,
    /// The folder of its settings, copied.
    files: TempDir,
    /// Requests and prompt, a line each.
    words: Vec<String>,
}

impl Captured {
    /// Lets `run` start the CLI by a wrapper, whose path it gets.
    pub(crate) fn by(run: impl FnOnce(&str), program: &str) -> Self {
        let files = TempDir::new().unwrap();
        let kept = files.path().display();
        let wrapper = files.path().join("claude");
        let script = format!(
            "#!/bin/sh\ncase \"$1\" in --version) exec {program} --version ;; esac\n\
             printf '%s\\0' \"$@\" > {kept}/arguments\nenv -0 > {kept}/environment\npwd > {kept}/work\n\
             for argument do\n\
             [ \"$before\" != --settings ] || cp -r \"$(dirname \"$argument\")\" {kept}/control\n\
             before=$argument\ndone\ntee {kept}/words | {program} \"$@\"\n"
        );
        write_program(&wrapper, &script);
        run(&wrapper.display().to_string());
        let read = |name: &str| fs::read_to_string(files.path().join(name)).unwrap();
        let list = |name: &str| -> Vec<String> { read(name).split_terminator('\0').map(ToOwned::to_owned).collect() };
        let environment = list("environment")
            .iter()
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let place = Path::new(read("work").trim()).parent().unwrap().to_owned();
        let (arguments, words) = (list("arguments"), read("words").lines().map(ToOwned::to_owned).collect());
        Self { program: program.to_owned(), arguments, environment, place, files, words }
    }

    /// Starts it in a place of its own and lets it end; how long until it asked the model.
    pub(crate) fn run(&self, api: &MessagesApi, key: &str) -> Duration {
        let place = TempDir::new().unwrap();
        for folder in ["work", "home", "tmp"] {
            fs::create_dir(place.path().join(folder)).unwrap();
        }
        let control = format!("{}/", self.files.path().join("control").display());
        let here = place.path().display().to_string();
        let moved = |text: &str| text.replace(&self.place.display().to_string(), &here);
        let session = format!("--session-id={}", uuid::Uuid::new_v4());
        let mut arguments: Vec<String> = self.arguments.iter().map(|argument| moved(argument)).collect();
        for at in 0..arguments.len() {
            if arguments[at].starts_with("--session-id=") {
                arguments[at].clone_from(&session);
            } else if arguments[at] == "--settings" {
                let name = Path::new(&arguments[at + 1]).file_name().unwrap().to_str().unwrap().to_owned();
                arguments[at + 1] = format!("{control}{name}");
            }
        }
        let environment = self.environment.iter().filter(|(name, _)| name != "CLAUDE_CODE_API_KEY_FILE_DESCRIPTOR");
        api.forget();
        let began = Instant::now();
        let mut child = Command::new(&self.program)
            .args(arguments)
            .env_clear()
            .envs(environment.map(|(name, value)| (name, moved(value))))
            .env("ANTHROPIC_BASE_URL", api.url())
            .env("ANTHROPIC_API_KEY", key)
            .current_dir(place.path().join("work"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (mut input, mut said) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()).lines());
        let (first, rest) = self.words.split_first().expect("the gateway said nothing to the CLI");
        writeln!(input, "{first}").unwrap();
        let is_answer = |line: &String| line.contains("\"control_response\"");
        said.by_ref().map_while(Result::ok).find(is_answer).expect("the CLI refused its setup");
        for line in rest {
            writeln!(input, "{line}").unwrap();
        }
        let took = api.next().duration_since(began);
        let is_end = |line: &String| line.contains("\"type\":\"result\"");
        said.by_ref().map_while(Result::ok).find(is_end).expect("the CLI gave no result");
        drop(input);
        said.for_each(drop);
        assert!(child.wait().unwrap().success(), "the CLI failed");
        took
    }
}
