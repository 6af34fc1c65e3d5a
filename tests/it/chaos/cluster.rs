//! A project with its processes, its database, its receiver, and the faults that can be done to each.

use std::{
    net::{SocketAddr, TcpListener},
    time::{Duration, Instant},
};

use crate::{
    chaos::{disk::Disk, load::Acknowledged, server::OwnPostgres, verdict, wire::Wire},
    support::{
        e2e_client::{Api, Call, send},
        e2e_process::Gateway,
        e2e_project::{Engine, TestProject},
        e2e_receiver::Receiver,
        e2e_senders::github,
    },
};

/// Runs at the same time in one process.
pub(crate) const SLOTS: usize = 4;
/// How long a job belongs to a silent worker here.
pub(crate) const LEASE: Duration = Duration::from_secs(4);
/// How long a start may take: long, since the machine may be at work for others.
const START: Duration = Duration::from_secs(90);
/// Megabytes of the disk where the tables lie.
pub(crate) const ROOM: u64 = 2048;

/// One process of the cluster, started again whenever it is ended.
pub(crate) struct Member {
    command: &'static str,
    /// `up`, `serve-0`, `worker-1`, …
    pub(crate) label: String,
    /// What only this one has in its environment.
    own: Vec<(String, String)>,
    pub(crate) process: Gateway,
    pub(crate) frozen_until: Option<Instant>,
}

/// What a test of faults plays with.
pub(crate) struct Cluster {
    pub(crate) engine: Engine,
    pub(crate) project: TestProject,
    pub(crate) receiver: Receiver,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) members: Vec<Member>,
    pub(crate) wire: Option<Wire>,
    pub(crate) postgres: Option<OwnPostgres>,
    /// Where the tables lie.
    pub(crate) disk: Disk,
    pub(crate) api: Api,
}

impl Member {
    fn start(project: &TestProject, command: &'static str, number: usize, own: Vec<(String, String)>) -> Self {
        let label = format!("{command}-{number}");
        let process = Gateway::start_with(project, command, &label, &own);
        Self { command, label, own, process, frozen_until: None }
    }

    /// Another process takes its place.
    pub(crate) fn restart(&mut self, project: &TestProject) {
        self.process = Gateway::start_with(project, self.command, &self.label, &self.own);
        self.frozen_until = None;
    }

    /// From its next start on it has these in its environment beside its address.
    #[cfg(feature = "sabotage")]
    pub(crate) fn becomes(&mut self, variables: &[(String, String)]) {
        self.own.retain(|(name, _)| name == "POSTERN_SERVER__LISTEN");
        self.own.extend_from_slice(variables);
    }

    /// Waits until it is well. One that cannot reach its database at its start ends, and is started again, as by whatever
    /// looks after it.
    async fn is_up(&mut self, project: &TestProject, address: Option<SocketAddr>) {
        let until = Instant::now() + START;
        loop {
            let is_up = match address {
                Some(address) => send(address, &Call::get("/healthz")).await.is_ok_and(|reply| reply.status == 200),
                None => self.process.hears_signals() && self.process.takes_runs(),
            };
            if is_up {
                return;
            }
            if let Some(status) = self.process.ended() {
                let (label, log) = (&self.label, self.process.log());
                assert_eq!(status.code(), Some(1), "{label}: {status}\n{}", tail(&log));
                println!("{label} ended at its start and is started again: {}", log.lines().last().unwrap_or_default());
                self.restart(project);
            }
            assert!(Instant::now() < until, "{} is not up after {START:?}\n{}", self.label, tail(&self.process.log()));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn is_worker(&self) -> bool {
        self.command == "worker"
    }
}

impl Cluster {
    /// One process on SQLite; two gateways and two workers, with a wire before the database, on Postgres.
    pub(crate) async fn start(engine: Engine, seed: u64) -> Self {
        Self::start_with(engine, seed, &[]).await
    }

    /// With more variables of the environment.
    pub(crate) async fn start_with(engine: Engine, seed: u64, variables: &[(&str, &str)]) -> Self {
        Self::start_on(engine, seed, variables, |_, _| ()).await
    }

    /// With more in its project, too.
    pub(crate) async fn start_on(
        engine: Engine,
        seed: u64,
        variables: &[(&str, &str)],
        prepare: impl FnOnce(&mut TestProject, &Receiver),
    ) -> Self {
        let receiver = Receiver::start().await;
        receiver.misbehave(seed);
        let mut project = TestProject::new(Engine::Sqlite).await;
        agents(&project, &receiver);
        prepare(&mut project, &receiver);
        let lease = format!("{}s", LEASE.as_secs());
        let settings = [
            ("POSTERN_WORKER__MAX_LOST", "1000"),
            ("POSTERN_WORKER__LEASE", &lease),
            ("POSTERN_LOG__FILTER", "warn"),
            ("POSTERN_SERVER__SHUTDOWN_GRACE", "1s"),
            ("POSTERN_DATABASE__MAX_CONNECTIONS", "5"),
        ];
        settings.iter().chain(variables).for_each(|(name, value)| project.set(name, value));
        let (mut wire, mut postgres) = (None, None);
        let disk = Disk::new(ROOM);
        if engine == Engine::Postgres {
            let server = OwnPostgres::start().await;
            server.database_in("chaos", disk.path()).await;
            project.set("POSTERN_DATABASE__URL", &server.url("chaos"));
            wire = Some(Wire::before_the_database_of(&mut project).await);
            postgres = Some(server);
        } else {
            project.set("POSTERN_DATABASE__URL", &format!("sqlite:{}", disk.path().join("postern.db").display()));
        }
        let roles: &[&str] = if engine == Engine::Postgres { &["serve", "serve", "worker", "worker"] } else { &["up"] };
        let free = |_| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let addresses: Vec<SocketAddr> = roles.iter().filter(|role| **role != "worker").map(free).collect();
        project.set("POSTERN_SERVER__PUBLIC_URL", &format!("http://{}", addresses[0]));
        let mut members: Vec<Member> = Vec::new();
        let mut key = String::new();
        for (number, role) in roles.iter().enumerate() {
            let listen =
                addresses.get(number).map(|address| ("POSTERN_SERVER__LISTEN".to_owned(), address.to_string()));
            members.push(Member::start(&project, role, number, listen.into_iter().collect()));
            if number == 0 {
                key = members[0].process.key().await;
            }
            members[number].is_up(&project, addresses.get(number).copied()).await;
        }
        let api = Api { address: addresses[0], key };
        Self { engine, project, receiver, addresses, members, wire, postgres, disk, api }
    }

    /// Starts a member again and waits until it is well; how long that took.
    pub(crate) async fn revive(&mut self, member: usize) -> Duration {
        let began = Instant::now();
        self.members[member].restart(&self.project);
        self.members[member].is_up(&self.project, self.addresses.get(member).copied()).await;
        began.elapsed()
    }

    /// Waits until no run and no delivery is open; `false` when that does not happen in time. As long as
    /// something moves, time does not run.
    pub(crate) async fn settle(&self, limit: Duration) -> bool {
        let open = [
            "/v1/runs?state=queued&limit=1",
            "/v1/runs?state=running&limit=1",
            "/v1/deliveries?state=pending&limit=1",
            "/v1/deliveries?state=sending&limit=1",
        ];
        let (mut moved, mut lines, mut left) = (Instant::now(), 0, Vec::new());
        while moved.elapsed() < limit {
            left.clear();
            for path in open {
                let call = Call::get(path).with("authorization", format!("Bearer {}", self.api.key));
                match send(self.api.address, &call).await {
                    Ok(reply) if reply.status == 200 && reply.json()["items"] == serde_json::json!([]) => {}
                    Ok(reply) => left.push(reply.text()),
                    Err(fault) => left.push(fault.to_string()),
                }
            }
            if left.is_empty() {
                return true;
            }
            let now = self.project.out("log").len() + self.receiver.callbacks().len();
            if now != lines {
                (moved, lines) = (Instant::now(), now);
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        println!("left: {left:#?}\nagents' log:\n{}", tail(&self.project.out("log")));
        println!("{}", self.logs());
        false
    }

    /// The last lines of every member.
    pub(crate) fn logs(&self) -> String {
        let logs = self.members.iter().map(|member| format!("{}:\n{}\n", member.label, tail(&member.process.log())));
        logs.collect()
    }

    /// Posts an event whose agent works until [`Cluster::let_go`].
    pub(crate) async fn begin_slow(&self, key: &str) -> Acknowledged {
        let reply = self.api.send(&github(key, "push", &serde_json::json!({"key": key}))).await;
        assert_eq!(reply.status, 202, "{}", reply.text());
        Acknowledged { key: key.to_owned(), took: Duration::ZERO }
    }

    /// How often an agent began with an event.
    pub(crate) fn starts(&self, key: &str) -> usize {
        let begins = |line: &&str| line.starts_with("start ") && line.split(' ').nth(2) == Some(key);
        self.project.out("log").lines().filter(begins).count()
    }

    /// Lets slow agents come to their end.
    pub(crate) fn let_go(&self) {
        std::fs::write(self.project.path().join("out/go"), "").unwrap();
    }

    /// Ends every process as an operator would; nothing may be left of them.
    pub(crate) async fn ends_clean(mut self) {
        for member in &self.members {
            member.process.terminate();
        }
        for member in &mut self.members {
            let status = member.process.exit(Duration::from_secs(30)).await;
            assert!(status.success(), "{}: {status}", member.label);
            assert!(!member.process.log().contains("panicked"), "{}", member.process.log());
        }
        verdict::queue_is_empty(&self.project).await;
        verdict::no_agent_lives(&self.project).await;
        verdict::no_work_directory_is_left(&self.project);
    }
}

/// The end of a log.
pub(crate) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// What agents do: they write it into one file, one line a write: lines of runs at the same time do not mix (write(2)
/// with `O_APPEND`). Some leave a process behind that has a session of its own.
pub(crate) const SCRIPT: &str = "read -r id < /proc/sys/kernel/random/uuid\n\
        session=${POSTERN_PROMPT#*session=}; session=${session%% *}\n\
        key=${POSTERN_PROMPT#*key=}; key=${key%% *}\n\
        tell() { read -r up idle < /proc/uptime; echo \"$1 $session $key $POSTERN_RUN $id $up\" >> \"$OUT/log\"; }\n\
        tell start\n\
        case $key in *7) setsid sleep 300 > /dev/null 2>&1 < /dev/null & ;; esac\n\
        sleep 0.07; tell beat; sleep 0.07\n\
        tell end\necho \"key=$key \"\n";

/// An agent whose events stand alone, and one whose events are in sessions.
fn agents(project: &TestProject, receiver: &Receiver) {
    let script = SCRIPT;
    let head = script.split("sleep 0.07").next().unwrap();
    let wait = "sleep 1000 &\nsetsid sleep 1000 > /dev/null 2>&1 < /dev/null &\n\
        until [ -e \"$OUT/go\" ]; do sleep 0.05; done\ntell end\necho \"key=$key \"\n";
    let reply = format!("reply: {{webhook: '{}', secret: callback}}", receiver.url);
    let prompt = "prompt: 'session=none key={{ body.key }} '";
    project.agent("hook", script, &format!("triggers: [{{source: standard, {prompt}, {reply}}}]"));
    let slow = format!("triggers: [{{source: github, {prompt}, {reply}}}]");
    project.agent("slow", &format!("{head}{wait}"), &slow);
    let prompt = "from: ['+1555*'], prompt: 'session={{ from }} key={{ text }} '";
    project.agent("text", script, &format!("triggers: [{{source: sms, {prompt}, {reply}}}]"));
}
