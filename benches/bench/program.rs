//! The program as a process: a project for it, its start, its memory, its children.

use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader, Read},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Mutex, mpsc::Receiver},
    time::{Duration, Instant},
};

use data_encoding::BASE64;
use serde_json::Value;
use sqlx::Connection;
use tempfile::TempDir;
use url::Url;

use crate::load::KEY;

/// The program under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_postern");

/// A project with the sources `hook`, which starts `/bin/cat` or what is put in its place, and `quiet`, which starts
/// nothing.
pub(crate) struct Project {
    dir: TempDir,
    variables: Vec<(String, String)>,
    url: String,
}

impl Project {
    /// On Postgres at this URL, or on SQLite in the project's directory.
    pub(crate) fn new(postgres: Option<&Url>, sandbox: &str, callback: Option<SocketAddr>) -> Self {
        let dir = TempDir::new().unwrap();
        let (database, password, url) = match postgres {
            None => {
                let url = format!("sqlite:{}", dir.path().join("bench.db").display());
                ("url = \"sqlite:bench.db\"".to_owned(), String::new(), url)
            }
            Some(url) => {
                let mut bare = url.clone();
                bare.set_password(None).unwrap();
                let text = format!("url = \"{bare}\"\npassword = {{ env = \"BENCH_PASSWORD\" }}");
                (text, url.password().unwrap_or_default().to_owned(), url.to_string())
            }
        };
        let settings = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nmax_connections_per_address = 1024\n[database]\n{database}\n\
             [sandbox]\nmode = \"{sandbox}\"\n[egress]\nallow_networks = [\"127.0.0.0/8\"]\n\
             [secrets]\ncallback = {{ env = \"BENCH_KEY\" }}\n\
             [sources.hook]\nprovider = \"standard\"\nsecret = {{ env = \"BENCH_KEY\" }}\n\
             [sources.quiet]\nprovider = \"standard\"\nsecret = {{ env = \"BENCH_KEY\" }}\n"
        );
        let reply = callback
            .map(|address| format!("    reply: {{ webhook: \"http://{address}/\", secret: callback }}\n"))
            .unwrap_or_default();
        fs::write(dir.path().join("postern.toml"), settings).unwrap();
        fs::create_dir(dir.path().join("agents")).unwrap();
        let variables = vec![
            ("PATH".to_owned(), std::env::var("PATH").unwrap_or_default()),
            // It refuses POSTERN_ variables that are no settings, such as those of the benchmark.
            ("BENCH_PASSWORD".to_owned(), password),
            ("BENCH_KEY".to_owned(), format!("whsec_{}", BASE64.encode(KEY))),
        ];
        let project = Self { dir, variables, url };
        project.agent(&format!("executor: command\ncommand: [/bin/cat]\ntriggers:\n  - source: hook\n{reply}"));
        project
    }

    /// Puts another agent in the place of `/bin/cat`; without `description`.
    pub(crate) fn agent(&self, head: &str) {
        let text = format!("---\ndescription: Works for a measurement\n{}\n---\nWork.\n", head.trim_end());
        fs::write(self.dir.path().join("agents/agent.md"), text).unwrap();
    }

    /// Sets a variable of the processes that are started from now on.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// A number out of its database.
    pub(crate) fn number(&self, sql: &'static str) -> f64 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let number: i64 = if self.url.starts_with("sqlite:") {
                let mut connection = sqlx::SqliteConnection::connect(&self.url).await.unwrap();
                sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
            } else {
                let mut connection = sqlx::PgConnection::connect(&self.url).await.unwrap();
                sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
            };
            number as f64
        })
    }

    /// Waits until that number is at least so large; how long that took.
    pub(crate) fn wait_until(&self, sql: &'static str, least: f64, most: Duration) -> Duration {
        let began = Instant::now();
        while self.number(sql) < least {
            assert!(
                began.elapsed() < most,
                "still {} of {least} after {most:?}: {sql}\n{}",
                self.number(sql),
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        began.elapsed()
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Starts `postern up`, `serve` or `worker` and waits until it is up.
    pub(crate) fn start(&self, command: &str) -> Program {
        let mut program = Command::new(BINARY);
        program.args(["--json", "-C"]).arg(self.path()).arg(command);
        self.launch(program)
    }

    /// Starts what says on its standard output where it listens, as `postern --json` does.
    pub(crate) fn launch(&self, mut program: Command) -> Program {
        let log = fs::File::options().create(true).append(true).open(self.path().join("log")).unwrap();
        let mut child = program
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let said: Option<Value> =
            serde_json::Deserializer::from_reader(&mut output).into_iter().next().and_then(Result::ok);
        let greeting = said.as_ref().and_then(|said| said.get("listening"));
        let greeting = greeting.unwrap_or_else(|| panic!("it does not start: {said:?}\n{}", self.log()));
        // A worker listens nowhere.
        let address = greeting.as_str().unwrap_or("127.0.0.1:0").parse().unwrap();
        let (lines, rest) = std::sync::mpsc::channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
        Program { stdin: child.stdin.take(), child, address, lines: Mutex::new(rest) }
    }

    /// From the start to the first 200 of `/healthz`; the program is stopped again.
    pub(crate) fn start_time(&self) -> Duration {
        let began = Instant::now();
        let program = self.start("up");
        while !program.is_healthy() {
            std::thread::sleep(Duration::from_millis(1));
        }
        began.elapsed()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path().join("log")).unwrap_or_default()
    }
}

/// A running program; killed when dropped.
pub(crate) struct Program {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    child: Child,
    stdin: Option<ChildStdin>,
    /// Behind a lock, so that threads share the program.
    lines: Mutex<Receiver<String>>,
}

impl Program {
    /// Ends its standard input and returns what it says from then on.
    pub(crate) fn last_words(&mut self) -> Vec<String> {
        self.stdin = None;
        self.lines.lock().unwrap().iter().collect()
    }

    /// Processor time that it took, and what those took that it started and that have ended, in seconds.
    pub(crate) fn processor_time(&self) -> (f64, f64) {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        // USER_HZ is 100 on every architecture that we know (proc(5), time(7)).
        let ticks = |at: usize| fields[at].parse::<f64>().unwrap() / 100.0;
        (ticks(11) + ticks(12), ticks(13) + ticks(14))
    }

    /// The most memory (RSS) that it had since [`Program::forget_peak`], in MB.
    pub(crate) fn peak_mb(&self) -> f64 {
        self.status("VmHWM:") / 1000.0
    }

    /// Lets the peak begin anew (proc(5), `clear_refs`).
    pub(crate) fn forget_peak(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
    }

    /// How many threads it has.
    pub(crate) fn threads(&self) -> f64 {
        self.status("Threads:")
    }

    fn status(&self, key: &str) -> f64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn is_healthy(&self) -> bool {
        use std::io::Write as _;
        let Ok(mut stream) = TcpStream::connect(self.address) else { return false };
        let mut answer = [0; 12];
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").is_ok()
            && stream.read_exact(&mut answer).is_ok()
            && answer.ends_with(b"200")
    }

    /// Its share of memory (PSS) in MB.
    pub(crate) fn memory_mb(&self) -> f64 {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1000.0
    }

    /// How many processes descend from it.
    pub(crate) fn descendants(&self) -> usize {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(process) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
            let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
            if let Some(parent) = after_name.split_whitespace().nth(1).and_then(|parent| parent.parse().ok()) {
                children.entry(parent).or_default().push(process);
            }
        }
        let (mut open, mut count) = (vec![self.child.id()], 0);
        while let Some(process) = open.pop() {
            let own = children.remove(&process).unwrap_or_default();
            count += own.len();
            open.extend(own);
        }
        count
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
