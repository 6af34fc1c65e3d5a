//! Clocks that are set while everything is at work, by four hundred seconds forth and back, in every process of the
//! cluster at once (`libfaketime`; the monotonic clock stays as it is, as when an operator or a time server sets the time).

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use crate::{
    chaos::{
        cluster::{Cluster, LEASE, SCRIPT},
        journal::Journal,
        load::{Acknowledged, Load},
    },
    support::{
        e2e_project::{Engine, on_both_engines},
        e2e_senders::{Mail, now_s},
        eventually,
    },
};

on_both_engines!(steps_of_the_clock_lose_nothing_double_nothing_and_break_no_lease,);

/// How far clocks are set.
const STEP_S: i64 = 400;
/// The time before delayed runs begin.
const DELAY_S: f64 = 8.0;
/// The time between two throttled runs.
const PACE_S: f64 = 2.0;

/// A clock for all processes of a project.
struct Hand {
    file: PathBuf,
    ahead_s: Arc<AtomicI64>,
}

impl Hand {
    fn set(&self, ahead_s: i64) {
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{ahead_s:+}\n")).unwrap();
        fs::rename(new, &self.file).unwrap();
        self.ahead_s.store(ahead_s, Ordering::SeqCst);
    }
}

/// Where the library is that shows programs another time; `scripts/test` installs it.
fn library() -> PathBuf {
    let places =
        fs::read_dir("/usr/lib").unwrap().flatten().map(|place| place.path().join("faketime/libfaketime.so.1"));
    places
        .into_iter()
        .find(|path| path.exists())
        .expect("libfaketime is not installed; run scripts/test, which does it")
}

/// When the executions with an event began, in seconds since the machine started.
fn began(cluster: &Cluster, key: &str) -> Vec<f64> {
    let log = cluster.project.out("log");
    let lines = log.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let of_key = lines.filter(|words| words[0] == "start" && words[2] == key);
    of_key.map(|words| words[5].parse().unwrap()).collect()
}

fn uptime() -> f64 {
    fs::read_to_string("/proc/uptime").unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// Posts a mail to one of the agents that wait; when.
async fn post(cluster: &Cluster, (to, key): (&'static str, &'static str), hand: &Hand) -> f64 {
    let at = now_s() + hand.ahead_s.load(Ordering::SeqCst);
    let reply = cluster.api.send(&Mail { text: key, at, ..Mail::new(key, to) }.call()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    uptime()
}

async fn start(engine: Engine) -> (Cluster, Hand) {
    let (mut file, library) = (PathBuf::new(), library());
    let cluster = Cluster::start_on(engine, 7, &[], |project, receiver| {
        file = project.path().join("out/clock");
        fs::write(&file, "+0\n").unwrap();
        let reply = format!("reply: {{webhook: '{}', secret: callback}}", receiver.url);
        let front = |to: &str, word: &str| {
            let prompt = "session: event, prompt: 'session=none key={{ text }} '";
            format!("triggers: [{{source: mail, from: ['*'], to: {to}@agents.example, {word}, {prompt}, {reply}}}]")
        };
        project.agent("later", SCRIPT, &front("later", &format!("delay: {DELAY_S}s")));
        project.agent("paced", SCRIPT, &front("paced", &format!("throttle: {{limit: 1, per: {PACE_S}s}}")));
        for (name, value) in variables(&library, &file) {
            project.set(name, &value);
        }
    })
    .await;
    (cluster, Hand { file, ahead_s: Arc::default() })
}

fn variables(library: &Path, file: &Path) -> Vec<(&'static str, String)> {
    vec![
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
        ("FAKETIME_CACHE_DURATION", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("NO_FAKE_STAT", "1".to_owned()),
    ]
}

async fn steps_of_the_clock_lose_nothing_double_nothing_and_break_no_lease(engine: Engine) {
    let (cluster, hand) = start(engine).await;
    let load = Load::start_under(Some(&hand.ahead_s), &cluster.addresses, 4, Duration::from_millis(400));
    let mut more = vec![cluster.begin_slow("9-1").await];
    let active = async || (cluster.starts("9-1") == 1).then_some(());
    eventually("the agent to begin", Duration::from_secs(20), active).await;
    let mut waiting = Vec::new();
    let rounds = [
        (STEP_S, ["d-1", "p-1", "p-2", "p-3"]),
        (0, ["d-2", "p-4", "p-5", "p-6"]),
        (-STEP_S, ["d-3", "p-7", "p-8", "p-9"]),
        (0, ["d-4", "p-a", "p-b", "p-c"]),
    ];
    for (ahead_s, [delayed, paced @ ..]) in rounds {
        // They wait when the clock is set.
        waiting.push((delayed, post(&cluster, ("later@agents.example", delayed), &hand).await));
        for key in paced {
            post(&cluster, ("paced@agents.example", key), &hand).await;
        }
        more.extend(
            [delayed].into_iter().chain(paced).map(|key| Acknowledged { key: key.to_owned(), took: Duration::ZERO }),
        );
        let before = load.count();
        hand.set(ahead_s);
        // Beyond a lease, and beyond the pause in which the library looks for the time.
        tokio::time::sleep(LEASE + Duration::from_secs(2)).await;
        eventually("senders to be heard", Duration::from_secs(20), async || (load.count() > before + 10).then_some(()))
            .await;
        assert_eq!(cluster.starts("9-1"), 1, "the run that was active still is");
    }
    cluster.let_go();
    let mut acknowledged = load.stop().await;
    acknowledged.extend(more);
    assert!(cluster.settle(Duration::from_secs(60)).await, "work is left that nobody does");
    let journal = Journal::of(&cluster, &acknowledged);
    // No execution more than events: no lease was lost, nothing was done twice.
    journal.judge(0).unwrap();
    for run in cluster.api.all("/v1/runs").await {
        assert_eq!((&run["attempt"], &run["state"]), (&1.into(), &"succeeded".into()), "{run}");
    }
    for (key, at) in waiting {
        let took = began(&cluster, key)[0] - at;
        println!("{engine:?}: {key} began after {took:.1} s of {DELAY_S}");
        assert!(took < DELAY_S * 2.0 + 20.0, "{key} waited {took} s");
        // Processes on Postgres have its clock, which is not set here.
        assert!(engine == Engine::Sqlite || took >= DELAY_S - 1.0, "{key} waited {took} s");
    }
    if engine == Engine::Postgres {
        let keys = rounds.iter().flat_map(|(_, keys)| &keys[1..]);
        let mut paced: Vec<f64> = keys.flat_map(|key| began(&cluster, key)).collect();
        paced.sort_by(f64::total_cmp);
        let whole = paced[11] - paced[0];
        assert!(whole >= 11.0 * PACE_S - 2.0, "twelve throttled runs within {whole} s");
    }
    cluster.ends_clean().await;
}
