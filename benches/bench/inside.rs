//! The whole program in a process of the benchmark's own, with an executor in place of `command` that starts nothing:
//! it notes when it is called, and sleeps.

use std::{
    collections::HashMap,
    io::Read,
    path::Path,
    process::{Command, ExitCode},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use postern::{
    app::{App, Role},
    config::{environment::Environment, load::Project as Files},
    domain::{agent::ExecutorKind, run::RunResult},
    executor::{BoxFuture, Executor, RunSink, RunSpec, Stopped},
};
use rustix::time::{ClockId, clock_gettime};

use crate::program::{Program, Project};

/// The first argument of the benchmark when it is that process.
pub(crate) const MODE: &str = "--inside";

/// What the executor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Agent {
    /// Notes the event and the time, and is through.
    Notes,
    /// Sleeps for a day.
    Sleeps,
}

/// Starts gateway and workers in one such process.
pub(crate) fn start(project: &Project, agent: Agent) -> Program {
    let mut program = Command::new(std::env::current_exe().unwrap());
    let what = if agent == Agent::Notes { "notes" } else { "sleeps" };
    program.args([MODE, what]).arg(project.path());
    project.launch(program)
}

/// Ends it; when the executor was called with each event.
pub(crate) fn starts(program: &mut Program) -> HashMap<String, Instant> {
    let (here, now) = (Instant::now(), monotonic_ns());
    let lines = program.last_words();
    let of = |line: &String| {
        let (event, at) = line.split_once(' ')?;
        Some((event.to_owned(), here.checked_sub(Duration::from_nanos(now - at.parse::<u64>().ok()?))?))
    };
    lines.iter().filter_map(of).collect()
}

/// That process: works until its standard input ends, then tells what it noted.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let [what, dir] = arguments else { panic!("{MODE} takes what the agent does and a project") };
    let agent = if what == "notes" { Agent::Notes } else { Agent::Sleeps };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let environment = Environment::of_process();
        let loaded = Files::load(Path::new(dir), &environment).unwrap();
        let sleeper = Arc::new(Sleeper { agent, noted: Mutex::default() });
        let own: Arc<dyn Executor> = sleeper.clone();
        let adapt = |executors: postern::executor::Executors| executors.with(ExecutorKind::Command, own);
        let app = App::start_with(&loaded, &environment, Role::All, adapt).await.unwrap();
        println!("{}", serde_json::json!({"listening": app.address}));
        let (sender, ended) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            drop(std::io::stdin().read_to_end(&mut Vec::new()));
            sender.send(())
        });
        drop(ended.await);
        app.stop().await;
        for (event, at) in sleeper.noted.lock().unwrap().iter() {
            println!("{event} {at}");
        }
    });
    ExitCode::SUCCESS
}

struct Sleeper {
    agent: Agent,
    noted: Mutex<Vec<(String, u64)>>,
}

impl Executor for Sleeper {
    fn run<'a>(&'a self, spec: &'a RunSpec, _: &'a mut dyn RunSink) -> BoxFuture<'a, Result<RunResult, Stopped>> {
        Box::pin(async move {
            match self.agent {
                Agent::Notes => {
                    let event = spec.event_json()["id"].as_str().unwrap_or_default().to_owned();
                    self.noted.lock().unwrap().push((event, monotonic_ns()));
                }
                Agent::Sleeps => tokio::select! {
                    () = tokio::time::sleep(Duration::from_secs(86_400)) => {}
                    () = spec.cancel.cancelled() => return Err(Stopped::Canceled),
                },
            }
            Ok(RunResult { text: "done".to_owned(), ..RunResult::default() })
        })
    }
}

/// The clock behind `Instant`, which all processes of a machine share.
fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap()
}
