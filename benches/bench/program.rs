//! The program as a process: a project for it, its start, its memory, its children.

use std::{
    collections::HashMap,
    fs,
    io::{BufReader, Read},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use data_encoding::BASE64;
use serde_json::Value;
use tempfile::TempDir;
use url::Url;

use crate::load::KEY;

/// The program under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_postern");

/// A project with the sources `hook`, which starts `/bin/cat`, and `quiet`, which starts nothing.
pub(crate) struct Project {
    dir: TempDir,
    password: String,
}

impl Project {
    /// On Postgres at this URL, or on SQLite in the project's directory.
    pub(crate) fn new(postgres: Option<&Url>, sandbox: &str, callback: Option<SocketAddr>) -> Self {
        let dir = TempDir::new().unwrap();
        let (database, password) = match postgres {
            None => ("url = \"sqlite:bench.db\"".to_owned(), String::new()),
            Some(url) => {
                let mut bare = url.clone();
                bare.set_password(None).unwrap();
                let text = format!("url = \"{bare}\"\npassword = {{ env = \"BENCH_PASSWORD\" }}");
                (text, url.password().unwrap_or_default().to_owned())
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
        let agent = format!(
            "---\ndescription: Says what it is told\nexecutor: command\ncommand: [/bin/cat]\ntriggers:\n  - source: hook\n{reply}---\n"
        );
        fs::write(dir.path().join("postern.toml"), settings).unwrap();
        fs::create_dir(dir.path().join("agents")).unwrap();
        fs::write(dir.path().join("agents/cat.md"), agent).unwrap();
        Self { dir, password }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Starts `postern up` or `postern serve` and waits until it listens.
    pub(crate) fn start(&self, command: &str) -> Program {
        let log = fs::File::create(self.path().join("log")).unwrap();
        let mut child = Command::new(BINARY)
            .args(["--json", "-C"])
            .arg(self.path())
            .arg(command)
            // It refuses POSTERN_ variables that are no settings, such as those of the benchmark.
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("BENCH_PASSWORD", &self.password)
            .env("BENCH_KEY", format!("whsec_{}", BASE64.encode(KEY)))
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let said = serde_json::Deserializer::from_reader(&mut output).into_iter::<Value>().next();
        let said = said.and_then(Result::ok).unwrap_or_else(|| panic!("{command}: {}", self.log()));
        let address = said["listening"].as_str().and_then(|address| address.parse().ok());
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        Program { child, address: address.unwrap_or_else(|| panic!("it listens nowhere: {said}")) }
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
}

impl Program {
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
