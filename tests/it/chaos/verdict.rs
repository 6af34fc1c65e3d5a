//! What must hold afterwards, seen from outside: the API, the receiver, the agents' own log, `/proc`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::Value;
use sqlx::Connection;

use crate::{
    chaos::load::Acknowledged,
    support::{e2e_client::Api, e2e_project::TestProject, e2e_receiver::Receiver, eventually},
};

/// Waits until every accepted event's run is over and every delivery has left.
pub(crate) async fn settled(api: &Api, accepted: &[Acknowledged], limit: Duration) {
    eventually("everything to settle", limit, async || {
        let open = [
            "/v1/runs?state=queued&limit=1",
            "/v1/runs?state=running&limit=1",
            "/v1/deliveries?state=pending&limit=1",
            "/v1/deliveries?state=sending&limit=1",
        ];
        for path in open {
            if !api.get(path).await["items"].as_array().unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(200)).await;
                return None;
            }
        }
        Some(())
    })
    .await;
    assert!(!accepted.is_empty());
}

/// No event is lost, none is there twice, each has one run, and that succeeded.
pub(crate) async fn each_event_ran_once(api: &Api, accepted: &[Acknowledged]) {
    let runs = api.all("/v1/runs").await;
    let mut of_event: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for run in &runs {
        assert_eq!(run["state"], "succeeded", "{run}");
        of_event.entry(run["event"].as_str().unwrap()).or_default().push(run);
    }
    let events = api.all("/v1/events").await;
    for event in &events {
        let id = event["id"].as_str().unwrap();
        assert_eq!(of_event.get(id).map_or(0, Vec::len), 1, "runs of {event}");
    }
    // Each sender waits for its acknowledgement before its next event, so nothing else may be there.
    assert_eq!(events.len(), accepted.len(), "events that are there and events that were acknowledged");
    let texts =
        accepted.iter().filter(|event| event.key.split('-').next().unwrap().parse::<usize>().unwrap() % 3 == 0).count();
    assert_eq!(events.iter().filter(|event| event["channel"] == "sms").count(), texts);
}

/// Each run's callback arrived, always under one id, and no other run's under the same.
pub(crate) async fn each_run_was_called_back(api: &Api, receiver: &Receiver) {
    let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for callback in receiver.callbacks() {
        let run = callback.body["data"]["run"].as_str().unwrap().to_owned();
        ids.entry(run).or_default().insert(callback.id);
    }
    let mut seen = BTreeSet::new();
    for run in api.all("/v1/runs").await {
        let run = run["id"].as_str().unwrap();
        let of_run = ids.remove(run).unwrap_or_default();
        assert_eq!(of_run.len(), 1, "ids of the callbacks of {run}: {of_run:?}");
        assert!(seen.insert(of_run), "two runs share a callback's id");
    }
    assert!(ids.is_empty(), "callbacks of runs that are not there: {ids:?}");
}

/// By the agents' own log: within a session, nobody begins before the one before has ended or is dead.
/// Executions that never ended were killed with the gateway; after their last line nothing more may come of them.
/// The number of executions.
pub(crate) fn no_session_ran_twice_at_once(project: &TestProject) -> usize {
    let log = project.out("log");
    let mut running: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    let (mut ended, mut starts) = (BTreeMap::<&str, usize>::new(), 0);
    for line in log.lines() {
        let [step, run, session, process] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("a line of the agents' log: {line}")
        };
        if step == "start" {
            starts += 1;
        } else {
            *ended.entry(run).or_default() += 1;
        }
        if session == "none" {
            continue;
        }
        if step == "start" {
            running.insert(session, (run, process));
        } else {
            let last = running.remove(session);
            assert_eq!(last, Some((run, process)), "another one had begun in {session} when {run} ended");
        }
    }
    println!("{starts} executions of {} runs", ended.len());
    starts
}

/// No job is left in the queue. Looks into the database itself, so the gateway must be down.
pub(crate) async fn queue_is_empty(project: &TestProject) {
    let url = project.database_url();
    let sql = "SELECT count(*) FROM jobs";
    let jobs: i64 = if url.starts_with("sqlite:") {
        let mut database = sqlx::SqliteConnection::connect(&url).await.unwrap();
        sqlx::query_scalar(sql).fetch_one(&mut database).await.unwrap()
    } else {
        let mut database = sqlx::PgConnection::connect(&url).await.unwrap();
        sqlx::query_scalar(sql).fetch_one(&mut database).await.unwrap()
    };
    assert_eq!(jobs, 0, "jobs are left in the queue");
}

/// No process has this project's mark or folder.
pub(crate) async fn no_agent_lives(project: &TestProject) {
    let folder = project.path().to_str().unwrap().to_owned();
    eventually("the agents to be gone", Duration::from_secs(2), async || {
        let living = std::fs::read_dir("/proc").unwrap().flatten().filter(|process| {
            let read = |file: &str| std::fs::read(process.path().join(file)).unwrap_or_default();
            let text = [read("cmdline"), read("environ")].concat();
            String::from_utf8_lossy(&text).contains(&folder)
        });
        (living.count() == 0).then_some(())
    })
    .await;
}

/// No attempt's directory is left; those of sessions stay.
pub(crate) fn no_work_directory_is_left(project: &TestProject) {
    let runs = project.path().join(".postern/work/runs");
    let left: Vec<_> = std::fs::read_dir(runs).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "{left:?}");
}
