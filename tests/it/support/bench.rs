//! Executors over a directory of their own, with a record that keeps what they say.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use postern::{
    config::settings::{AnthropicSettings, ClaudeSettings, LayerSettings, LimitSettings, SandboxMode, SandboxSettings},
    crypto::Secret,
    domain::{
        agent::{AgentSpec, AgentVersion, Skill},
        details::{ModelUsage, RunDetails, UnderWay},
        id::{AgentId, RunId, SessionId},
        mount::GitProtocol,
        run::{Failure, MessageKind, RunResult},
        time::{Span, Timestamp},
    },
    egress::{Egress, EgressLimits},
    executor::{
        Belief, BoxFuture, ExecutorSetup, Executors, Inputs, LeaseLost, Prompt, RunSink, RunSpec, Stopped, WorkRoot,
        anthropic::AnthropicSetup,
    },
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// Keeps what an executor says.
#[derive(Clone, Default)]
pub(crate) struct Record {
    pub(crate) lines: Arc<Mutex<Vec<(MessageKind, Value)>>>,
    /// The sink refuses once it holds so many.
    pub(crate) lease: Option<usize>,
    pub(crate) details: Arc<Mutex<RunDetails>>,
    pub(crate) under_way: Arc<Mutex<UnderWay>>,
}

impl RunSink for Record {
    fn message(&mut self, kind: MessageKind, body: Value) -> BoxFuture<'_, Result<(), LeaseLost>> {
        let mut lines = self.lines.lock().unwrap();
        lines.push((kind, body));
        let lost = self.lease.is_some_and(|most| lines.len() > most);
        Box::pin(async move { if lost { Err(LeaseLost) } else { Ok(()) } })
    }

    fn model(&mut self, id: &str) {
        self.details.lock().unwrap().work_with(id);
    }

    fn spent(&mut self, model: &str, took: ModelUsage) {
        self.details.lock().unwrap().spend(model, took);
    }

    fn under_way(&mut self, taken: UnderWay) {
        *self.under_way.lock().unwrap() = taken;
    }

    fn broke_off(&mut self) {
        let taken = std::mem::take(&mut *self.under_way.lock().unwrap());
        self.details.lock().unwrap().break_off(&taken);
    }

    fn api_time(&mut self, ms: i64) {
        self.details.lock().unwrap().wait_for_api(ms);
    }
}

impl Record {
    pub(crate) fn details(&self) -> RunDetails {
        self.details.lock().unwrap().clone()
    }

    pub(crate) fn texts(&self, kind: MessageKind) -> Vec<String> {
        let lines = self.lines.lock().unwrap();
        let of_kind = lines.iter().filter(|(had, _)| *had == kind);
        of_kind.map(|(_, body)| body["text"].as_str().map_or_else(|| body.to_string(), str::to_owned)).collect()
    }

    pub(crate) fn all(&self) -> String {
        self.lines.lock().unwrap().iter().map(|(kind, body)| format!("{kind:?} {body}\n")).collect()
    }

    pub(crate) async fn wait_for(&self, text: &str) {
        wait_until(&format!("`{text}` in the record"), || self.all().contains(text)).await;
    }
}

pub(crate) async fn wait_until(what: &str, done: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < until, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Executors over a directory of their own.
pub(crate) struct Bench {
    pub(crate) dir: Arc<tempfile::TempDir>,
    pub(crate) executors: Executors,
    mode: SandboxMode,
}

fn executors(dir: &Path, mode: SandboxMode, claude: (ClaudeSettings, Option<Secret>), path: &str) -> Executors {
    let outward = EgressLimits { allow_networks: Vec::new(), timeout: Span(5_000), max_answer_bytes: 1_000 };
    let setup = ExecutorSetup {
        anthropic: asking(&claude.0, claude.1.clone()),
        claude: claude.0,
        api_key: claude.1,
        egress: Egress::new(&outward).unwrap(),
        sandbox: SandboxSettings { mode },
        limits: LimitSettings { wall_clock: Span(60_000), idle: Span(60_000), output_bytes: 10_000_000, turns: 20 },
        layers: LayerSettings { keep: 2, max_bytes: 100_000_000, max_disk_bytes: 1_000_000_000 },
        root: WorkRoot(dir.join("work")),
        git_protocols: vec![GitProtocol::Https, GitProtocol::File],
        path: path.into(),
    };
    Executors::new(setup).unwrap()
}

impl Bench {
    pub(crate) fn new(mode: SandboxMode) -> Self {
        Self::with(mode, no_claude(), None)
    }

    pub(crate) fn with(mode: SandboxMode, claude: ClaudeSettings, api_key: Option<Secret>) -> Self {
        Self::on_path(mode, claude, api_key, "/usr/local/bin:/usr/bin:/bin")
    }

    /// One whose programs are looked up in `path`.
    pub(crate) fn on_path(mode: SandboxMode, claude: ClaudeSettings, api_key: Option<Secret>, path: &str) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let executors = executors(dir.path(), mode, (claude, api_key), path);
        Self { dir, executors, mode }
    }

    /// Another worker of the same machine: it works in the same directory.
    pub(crate) fn beside(&self) -> Self {
        let executors = executors(self.dir.path(), self.mode, (no_claude(), None), "/usr/local/bin:/usr/bin:/bin");
        Self { dir: self.dir.clone(), executors, mode: self.mode }
    }

    /// One in a directory of another process, which stays.
    pub(crate) fn at(dir: &Path, mode: SandboxMode) -> Self {
        let executors = executors(dir, mode, (no_claude(), None), "/usr/local/bin:/usr/bin:/bin");
        Self { dir: Arc::new(tempfile::tempdir().unwrap()), executors, mode }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    pub(crate) async fn run(&self, spec: &RunSpec, record: &Record) -> Result<RunResult, Stopped> {
        let executor = self.executors.get(spec.agent.spec.executor);
        let outcome = executor.run(spec, &mut record.clone()).await;
        assert_eq!(left_of(spec), Vec::<String>::new(), "processes were left");
        outcome
    }
}

/// A run of an agent as its file would say it.
pub(crate) fn spec(agent: Value) -> RunSpec {
    let at = Timestamp(1_795_000_000_000);
    let spec: AgentSpec = serde_json::from_value(agent).unwrap();
    let version = AgentVersion {
        agent: AgentId::new(at),
        name: "test".to_owned(),
        version: 1,
        spec,
        skills: Vec::new(),
        files: BTreeMap::new(),
    };
    RunSpec {
        run: RunId::new(at),
        attempt: 1,
        fence: 1,
        interrupted: false,
        spent: Default::default(),
        session: None,
        resume_id: None,
        forked_from: None,
        agent: Arc::new(version),
        event: json!({"subject": "hello"}).to_string(),
        prompt: Prompt { plain: "Do it.".to_owned(), blocks: vec!["Do it.".to_owned()] },
        attachments: Arc::default(),
        env: BTreeMap::new(),
        setup_env: BTreeMap::new(),
        mount_tokens: BTreeMap::new(),
        hidden: Vec::new(),
        http: None,
        inputs: Inputs::default(),
        orders: postern::executor::Orders::default(),
        taken: Vec::new(),
        mcp_secrets: BTreeMap::new(),
        trust: postern::domain::trust::Trust::Unknown,
        tools: None,
        uploads: None,
        transcripts: None,
        belief: Belief::default(),
        cancel: CancellationToken::new(),
        over: CancellationToken::new(),
    }
}

/// A session's id.
pub(crate) fn session() -> SessionId {
    SessionId::new(Timestamp(1_795_000_000_000))
}

/// A skill of one file.
pub(crate) fn skill(name: &str, path: &str, text: &str) -> Skill {
    let files = BTreeMap::from([(path.to_owned(), data_encoding::BASE64.encode(text.as_bytes()))]);
    Skill { name: name.to_owned(), description: "A skill".to_owned(), files }
}

pub(crate) fn with_skill(mut run: RunSpec, skill: Skill) -> RunSpec {
    let mut version = (*run.agent).clone();
    version.skills = vec![skill];
    run.agent = Arc::new(version);
    run
}

/// The command lines of living processes of this run.
pub(crate) fn left_of(spec: &RunSpec) -> Vec<String> {
    let mark = format!("POSTERN_RUN={}", spec.run);
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let marked = processes.filter(|entry| {
        let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes())
    });
    marked.map(|entry| fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default()).collect()
}

/// Why a run failed.
pub(crate) fn failed(outcome: Result<RunResult, Stopped>) -> Failure {
    match outcome {
        Err(Stopped::Failed(failure, _)) => failure,
        other => panic!("did not fail: {other:?}"),
    }
}

/// All conversations that the CLI wrote down below `dir`.
pub(crate) fn transcripts(dir: &Path) -> String {
    let (mut pending, mut text) = (vec![dir.to_owned()], String::new());
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => pending.push(path),
                Ok(_) if path.extension().is_some_and(|extension| extension == "jsonl") => {
                    text.push_str(&fs::read_to_string(path).unwrap_or_default());
                }
                Ok(_) | Err(_) => {}
            }
        }
    }
    text
}

/// What asks the API that `claude` names.
fn asking(claude: &ClaudeSettings, api_key: Option<Secret>) -> AnthropicSetup {
    let limits = EgressLimits { allow_networks: Vec::new(), timeout: Span(10_000), max_answer_bytes: 65_536 };
    let settings = AnthropicSettings {
        api_key: None,
        base_url: claude.base_url.clone(),
        model: "claude-haiku-5-5".to_owned(),
        timeout: Span(10_000),
        prices: Default::default(),
    };
    AnthropicSetup { settings, api_key, egress: Egress::new(&limits).unwrap() }
}

/// No CLI at all.
pub(crate) fn no_claude() -> ClaudeSettings {
    ClaudeSettings {
        program: "/nonexistent".to_owned(),
        version: "0".to_owned(),
        allow_other_version: false,
        api_key: None,
        base_url: None,
        model: "sonnet".to_owned(),
        max_starting: 0,
        start_timeout: Span(60_000),
    }
}
