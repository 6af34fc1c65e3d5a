//! How git is started: with nothing of the machine's configuration, bounded in time and in what it writes.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use data_encoding::BASE64;
use tokio::io::AsyncReadExt as _;

use crate::{
    domain::template::clip,
    executor::{
        Belief,
        environment::Environment,
        git::{Fault, Repository, setup},
        processes::Launch,
    },
};

/// For one command of git.
const TIME_LIMIT: Duration = Duration::from_secs(120);
/// One file that git writes, packs above all, in blocks of 512 bytes: 512 MiB.
const MOST_BLOCKS: u64 = 1024 * 1024;
/// What is read of git's output.
const MOST_OUTPUT: u64 = 32 * 1024 * 1024;
/// What is read of its complaints.
const MOST_SAID: u64 = 64 * 1024;
/// Limits the size of files, then becomes the program.
const LIMITED: &str = "ulimit -f \"$1\" || exit 1; shift; exec \"$@\"";
/// Nothing of the repository is run, followed or linked to.
const SETTINGS: [&str; 7] = [
    "core.hooksPath=/dev/null",
    "core.symlinks=false",
    "core.fsmonitor=false",
    "protocol.allow=never",
    "http.followRedirects=false",
    "gc.auto=0",
    "maintenance.auto=false",
];

impl Repository<'_> {
    /// Runs git in the bare repository; what it wrote to standard output.
    pub(super) async fn run(&self, args: &[&str], more: &[(&str, OsString)]) -> Result<Vec<u8>, Fault> {
        let mut all: Vec<OsString> = ["-c", LIMITED, "sh"].map(OsString::from).to_vec();
        all.extend([MOST_BLOCKS.to_string().into(), self.program.clone().into()]);
        let protocols = self.git.protocols.iter().map(|way| format!("protocol.{}.allow=always", way.as_str()));
        for setting in SETTINGS.map(str::to_owned).into_iter().chain(protocols) {
            all.extend([OsString::from("-c"), setting.into()]);
        }
        all.push(format!("--git-dir={}", self.dir.join("bare").display()).into());
        all.extend(args.iter().map(OsString::from));
        let (env, directory) = (self.environment(more), self.dir.clone());
        self.heard(Launch { program: PathBuf::from("/bin/sh"), args: all, env, directory, belief: Belief::default() })
            .await
    }

    async fn heard(&self, launch: Launch) -> Result<Vec<u8>, Fault> {
        let started = self.git.keeper.spawn(launch).await;
        let mut process = started.map_err(|error| setup(self.mount, &format!("git does not start: {error}")))?;
        drop(process.child.stdin.take());
        let (mut out, mut said) = (Vec::new(), Vec::new());
        let (stdout, stderr) = (process.child.stdout.take(), process.child.stderr.take());
        let heard = async {
            let answers = async {
                if let Some(stdout) = stdout {
                    drop(stdout.take(MOST_OUTPUT + 1).read_to_end(&mut out).await);
                }
            };
            let complaints = async {
                if let Some(stderr) = stderr {
                    drop(stderr.take(MOST_SAID).read_to_end(&mut said).await);
                }
            };
            tokio::join!(answers, complaints);
            process.child.wait().await
        };
        let status = tokio::time::timeout(TIME_LIMIT, heard).await;
        process.end().await;
        let lasting = |why: &str| Err(Fault::Lasting(setup(self.mount, why)));
        match status {
            Ok(Ok(status)) if status.success() && out.len() as u64 <= MOST_OUTPUT => Ok(out),
            Ok(Ok(_)) if out.len() as u64 > MOST_OUTPUT => lasting("it has too many files"),
            Ok(Ok(_)) => Err(setup(self.mount, &format!("git says: {}", self.last_words(&said))).into()),
            Ok(Err(error)) => lasting(&error.to_string()),
            Err(_) => lasting(&format!("git took longer than {} s", TIME_LIMIT.as_secs())),
        }
    }

    /// All that git gets. The token stands here, and so in no argument and no file.
    fn environment(&self, more: &[(&str, OsString)]) -> Environment {
        let mut env = Environment::new();
        for (name, value) in [
            ("HOME", "/nonexistent"),
            ("LC_ALL", "C"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_LITERAL_PATHSPECS", "1"),
        ] {
            env.insert(name.into(), value.into());
        }
        env.insert("PATH".into(), self.git.path.clone());
        if let Some(token) = self.token {
            let mut pair = format!("{}:", self.mount.user).into_bytes();
            pair.extend_from_slice(token.expose().trim_ascii());
            let header = format!("Authorization: Basic {}", BASE64.encode(&pair));
            env.insert("GIT_CONFIG_COUNT".into(), "1".into());
            env.insert("GIT_CONFIG_KEY_0".into(), format!("http.{}.extraHeader", self.mount.git).into());
            env.insert("GIT_CONFIG_VALUE_0".into(), header.into());
        }
        env.extend(more.iter().map(|(name, value)| (OsString::from(name), value.clone())));
        env
    }

    /// The last line that git complained with, harmless.
    fn last_words(&self, said: &[u8]) -> String {
        let text = String::from_utf8_lossy(said);
        let line = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("nothing");
        let mut line: String = line.chars().filter(|c| !c.is_control()).collect();
        if let Some(token) = self.token {
            let token = String::from_utf8_lossy(token.expose().trim_ascii()).into_owned();
            if !token.is_empty() {
                line = line.replace(&token, "[secret]");
            }
        }
        clip(&line, 300).to_owned()
    }
}
