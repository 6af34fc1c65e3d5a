//! Runs: their record, their ends, and what operators do with them.

use postern::{
    domain::{
        details::{ModelUsage, RunDetails},
        run::{Failure, FailureCode, RunResult, RunState, Usage},
    },
    store::{RUN_QUEUE, Replay, RunEnd, StoreError},
};
use serde_json::json;

use crate::support::{
    database::each_engine,
    records::{World, failure, page, reap_owners, success},
};

#[tokio::test]
async fn a_record_is_numbered_over_all_attempts() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let run = world.start("a", None).await;
        let work = world.take().await;
        assert_eq!((work.position, work.run.attempt, work.lost), (0, 1, 0));
        assert_eq!(work.agent.name, "helper");
        let many: Vec<_> = (0..450).map(|n| world.message(&format!("line {n} \0 \u{1b}"))).collect();
        assert_eq!(db.store.append_messages(&work.lease, &many).await.unwrap(), Some(1));
        assert_eq!(db.store.append_messages(&work.lease, &[]).await.unwrap(), Some(451));
        let again = RunEnd::Again(Failure::new(FailureCode::ModelBusy, "bu\0sy"), usage(2), db.clock.now());
        let mut work = work;
        work.details = details("big", 2);
        let last = db.store.finish_run(&work, &again, &[world.message("end")], &[]).await.unwrap();
        assert_eq!(last, Some(451));
        let waiting = world.run(&run).await;
        assert_eq!((waiting.state, waiting.finished_at), (RunState::Queued, None));
        assert_eq!(waiting.failure, Some(Failure::new(FailureCode::ModelBusy, "bu\u{fffd}sy")));
        let mut work = world.take().await;
        work.details = details("small", 3);
        let result = RunResult {
            text: "the \0 answer".to_owned(),
            structured: Some(json!({"nul": "\0"})),
            usage: usage(3),
            resume_id: Some("resume\0".to_owned()),
        };
        let last = db.store.finish_run(&work, &RunEnd::Succeeded(result), &[world.message("two")], &[]).await;
        assert_eq!(last.unwrap(), Some(452));
        let ended = world.run(&run).await;
        assert_eq!((ended.state, ended.attempt, ended.failure), (RunState::Succeeded, 2, None));
        assert_eq!(ended.result_text.as_deref(), Some("the \u{fffd} answer"));
        assert_eq!(ended.result_json, Some(json!({"nul": "\0"})));
        assert_eq!(ended.usage, usage(5));
        assert_eq!(ended.details, details("big", 2).plus(&details("small", 3)));
        assert_eq!((ended.details.model.as_deref(), ended.details.usage().cost_micros), (Some("small"), 5));
        assert_eq!(ended.finished_at, Some(db.clock.now()));
        let first = db.store.messages(&world.tenant, &run, 0, 200).await.unwrap();
        assert_eq!(first[0].body, json!({"text": "line 0 \0 \u{1b}"}));
        let rest = db.store.messages(&world.tenant, &run, 449, 1_000).await.unwrap();
        assert_eq!(rest.iter().map(|m| (m.seq, m.attempt)).collect::<Vec<_>>(), [(450, 1), (451, 1), (452, 2)]);
        assert!(db.store.messages(&world.tenant, &run, 0, -1).await.unwrap().is_empty());
    })
    .await;
}

fn details(model: &str, cost_micros: i64) -> RunDetails {
    let mut details = RunDetails { duration_ms: 10, ..RunDetails::default() };
    details.work_with(model);
    details.spend(model, ModelUsage { cost_micros, ..ModelUsage::default() });
    details
}

#[tokio::test]
async fn what_a_dead_worker_had_taken_stays_with_the_run() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let run = world.start("a", None).await;
        let work = world.take().await;
        let so_far = |n: i64| (Usage { turns: n, ..usage(n) }, details("big", n));
        for (lines, n) in [(vec![world.message("one")], 1), (vec![], 2)] {
            assert!(db.store.append_with_taken(&work.lease, &lines, &so_far(n)).await.unwrap().is_some());
        }
        let seen = world.run(&run).await;
        assert_eq!((seen.state, seen.usage, &seen.details), (RunState::Running, so_far(2).0, &so_far(2).1));
        reap_owners(&db.store, RUN_QUEUE, &["one"]).await.unwrap();
        // It is not dead, only slow: what it says now is nobody's.
        assert_eq!(db.store.append_with_taken(&work.lease, &[], &so_far(9)).await.unwrap(), None);
        let mut next = world.take().await;
        assert_eq!((next.spent.turns, next.spent.cost_micros), (2, 2));
        assert_eq!(db.store.append_with_taken(&work.lease, &[world.message("late")], &so_far(9)).await.unwrap(), None);
        (next.details, next.turns) = (details("big", 5), 1);
        let (usage, details) = next.taken();
        assert_eq!((usage.turns, usage.cost_micros, details.duration_ms), (3, 7, 20));
        world.finish(&next, &RunEnd::Canceled).await.unwrap();
        let ended = world.run(&run).await;
        assert_eq!((ended.usage.turns, ended.usage.cost_micros), (3, 7));
        assert_eq!((ended.details.models["big"].cost_micros, ended.details.duration_ms), (7, 20));
    })
    .await;
}

#[tokio::test]
async fn a_run_that_is_stopped_keeps_what_it_had_cost() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let run = world.start("a", None).await;
        let mut work = world.take().await;
        work.details = details("big", 9);
        world.finish(&work, &RunEnd::Canceled).await.unwrap();
        let ended = world.run(&run).await;
        assert_eq!((ended.state, ended.usage.cost_micros), (RunState::Canceled, 9));
        assert_eq!(ended.details, details("big", 9));
    })
    .await;
}

fn usage(n: i64) -> Usage {
    Usage {
        turns: n,
        input_tokens: n * 3_000_000_000,
        output_tokens: n,
        cache_read_tokens: n,
        cache_write_tokens: n,
        cost_micros: n,
    }
}

#[tokio::test]
async fn an_end_writes_session_and_deliveries_with_it() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let run = world.start("a", Some("s")).await;
        let work = world.take().await;
        let result =
            RunResult { text: String::new(), resume_id: Some("conversation".to_owned()), ..RunResult::default() };
        let owed = [world.delivery("one"), world.delivery("two")];
        db.store.finish_run(&work, &RunEnd::Succeeded(result), &[], &owed).await.unwrap().unwrap();
        let session = world.session_of(&run).await;
        let kept = db.store.session(&world.tenant, &session).await.unwrap().unwrap();
        assert_eq!(kept.resume_id.as_deref(), Some("conversation"));
        let found = db.store.deliveries(&world.tenant, Some(&run), None, &page(None, 10)).await.unwrap();
        assert_eq!(found.items.len(), 2);
        assert_eq!(found.items[1].message, owed[0].message);
        world.start("b", Some("s")).await;
        let work = world.take().await;
        assert_eq!(work.resume_id.as_deref(), Some("conversation"));
        world.finish(&work, &failure()).await.unwrap();
        let kept = db.store.session(&world.tenant, &session).await.unwrap().unwrap();
        assert_eq!(kept.resume_id.as_deref(), Some("conversation"), "a failure forgets nothing");
    })
    .await;
}

#[tokio::test]
async fn a_run_can_be_canceled_until_it_ends_and_retried_unless_it_succeeded() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let conflict = |fault: StoreError| assert!(matches!(fault, StoreError::Conflict(_)), "{fault}");
        let run = world.start("a", None).await;
        conflict(db.store.retry_run(&world.tenant, &run).await.unwrap_err());
        let canceled = db.store.cancel_run(&world.tenant, &run).await.unwrap().unwrap();
        assert_eq!(canceled.state, RunState::Canceled);
        conflict(db.store.cancel_run(&world.tenant, &run).await.unwrap_err());
        let retried = db.store.retry_run(&world.tenant, &run).await.unwrap().unwrap();
        assert_eq!((retried.state, retried.cancel_requested_at, retried.finished_at), (RunState::Queued, None, None));
        let work = world.take().await;
        conflict(db.store.retry_run(&world.tenant, &run).await.unwrap_err());
        let asked = db.store.cancel_run(&world.tenant, &run).await.unwrap().unwrap();
        assert_eq!((asked.state, asked.cancel_requested_at), (RunState::Running, Some(db.clock.now())));
        db.clock.advance(5);
        let twice = db.store.cancel_run(&world.tenant, &run).await.unwrap().unwrap();
        assert_eq!(twice.cancel_requested_at, asked.cancel_requested_at);
        world.finish(&work, &failure()).await.unwrap();
        conflict(db.store.cancel_run(&world.tenant, &run).await.unwrap_err());
        db.store.retry_run(&world.tenant, &run).await.unwrap();
        let work = world.take().await;
        assert_eq!(work.run.attempt, 2);
        world.finish(&work, &success("yes")).await.unwrap();
        conflict(db.store.cancel_run(&world.tenant, &run).await.unwrap_err());
        conflict(db.store.retry_run(&world.tenant, &run).await.unwrap_err());
        assert!(world.claim(1).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn an_event_is_replayed_as_often_as_wanted() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let accepted = world.accept(world.work("a", Some("s"))).await;
        let event = db.store.event(&world.tenant, &accepted.event).await.unwrap().unwrap().event;
        let replay = Replay::now(db.clock.now());
        for _ in 0..2 {
            let new = [world.new_run("narrow", None), world.new_run("helper", Some("s"))];
            let made = db.store.add_replays(&event, &new, replay).await.unwrap();
            assert_eq!(made, [new[0].id.clone(), new[1].id.clone()]);
            assert!(world.run(&made[0]).await.replay);
        }
        let runs = db.store.runs(&world.tenant, Some(&accepted.event), None, &page(None, 10)).await.unwrap();
        assert_eq!(runs.items.len(), 5);
        assert_eq!(world.accept(world.work("a", Some("s"))).await.runs, accepted.runs, "replays are not the event's own");
        assert_eq!(world.claim(10).await.len(), 3, "two alone, and the head of the session");
        reap_owners(&db.store, RUN_QUEUE, &["one"]).await.unwrap();
        let twice = format!(
            "INSERT INTO runs (id, tenant_id, event_id, trigger_id, trigger_position, agent_id, agent_name, agent_version, \
             created_at) SELECT 'run_x', tenant_id, event_id, trigger_id, 0, agent_id, agent_name, 1, 1 FROM runs \
             WHERE id = '{}'",
            accepted.runs[0]
        );
        assert!(db.execute(&twice).await.is_err(), "a trigger starts one run of an event");
    })
    .await;
}

#[tokio::test]
async fn what_attempts_took_counts_until_somebody_asks_for_a_retry() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let run = world.start("a", None).await;
        let work = world.take().await;
        assert_eq!(work.spent, Usage::default());
        let busy = Failure::new(FailureCode::ModelBusy, "busy");
        world.finish(&work, &RunEnd::Again(busy.clone(), usage(2), db.clock.now())).await.unwrap();
        let work = world.take().await;
        assert_eq!(work.spent, Usage { turns: 2, cost_micros: 2, ..Usage::default() });
        world.finish(&work, &RunEnd::Failed(busy, usage(3))).await.unwrap();
        db.store.retry_run(&world.tenant, &run).await.unwrap();
        let work = world.take().await;
        assert_eq!((work.spent, work.run.usage.turns), (Usage::default(), 5));
    })
    .await;
}

#[tokio::test]
async fn counts_stay_at_the_most_and_sessions_add_them_up() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let (most, all) = ((1_i64 << 53) - 1, i64::MAX);
        let too_much = Usage {
            turns: -5,
            input_tokens: all,
            output_tokens: all,
            cache_read_tokens: all,
            cache_write_tokens: all,
            cost_micros: all,
        };
        let kept = Usage {
            turns: 0,
            input_tokens: most,
            output_tokens: most,
            cache_read_tokens: most,
            cache_write_tokens: most,
            cost_micros: most,
        };
        for key in ["a", "b"] {
            let run = world.start(key, Some("s")).await;
            for _ in 0..2 {
                let work = world.take().await;
                let busy = Failure::new(FailureCode::ModelBusy, "busy");
                world.finish(&work, &RunEnd::Again(busy, too_much, db.clock.now())).await.unwrap();
            }
            world.finish(&world.take().await, &success("done")).await.unwrap();
            assert_eq!(world.run(&run).await.usage, kept);
            let session = world.session_of(&run).await;
            let summary = db.store.session_summary(&world.tenant, &session).await.unwrap().unwrap();
            assert_eq!(summary.cost_micros, most);
        }
    })
    .await;
}

#[tokio::test]
async fn a_list_of_runs_has_no_more_than_the_beginnings_of_answers() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let structured = Some(json!({"text": "x".repeat(5_000)}));
        for (key, end) in [
            ("a", RunEnd::Failed(Failure::new(FailureCode::Agent, "f".repeat(9_000)), Usage::default())),
            ("b", RunEnd::Succeeded(RunResult { text: "\u{e9}".repeat(5_000), structured, ..RunResult::default() })),
            ("c", RunEnd::Succeeded(RunResult { structured: Some(json!({"n": 1})), ..RunResult::default() })),
        ] {
            let run = world.start(key, None).await;
            world.finish(&world.take().await, &end).await.unwrap();
            let whole = world.run(&run).await;
            let list = db.store.runs(&world.tenant, None, None, &page(None, 1)).await.unwrap().items.remove(0);
            assert_eq!((&list.id, list.state), (&run, whole.state));
            match key {
                "a" => {
                    assert_eq!(whole.failure.unwrap().message.len(), 9_000);
                    assert_eq!(list.failure.unwrap().message.len(), 2_000);
                }
                "b" => {
                    assert_eq!(whole.result_text.unwrap().chars().count(), 5_000);
                    assert_eq!(list.result_text.unwrap().chars().count(), 2_000);
                    assert!(whole.result_json.is_some() && list.result_json.is_none());
                }
                _ => assert_eq!((list.result_text, list.result_json), (whole.result_text, whole.result_json)),
            }
        }
    })
    .await;
}
