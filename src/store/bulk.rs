//! The two ways to write a batch of acceptances. Postgres takes whole columns as arrays in one
//! statement, so that a batch without sessions is one round trip and one commit; SQLite takes rows.

use std::collections::HashSet;

use sqlx::{Connection, Postgres as PostgresDatabase, QueryBuilder, Sqlite as SqliteDatabase, Transaction};

use crate::{
    domain::{event::Content, id::SessionId},
    store::{
        StoreError, clean,
        connect::{Postgres, Sqlite},
        effects, fetches,
        flow::Written,
        flow_rows, groups,
        intake::{Fresh, NewRun, Prepared, SessionKey, SessionOf, newest, session_keys, sessions_of},
        mails, steering, threads,
    },
};

/// Events, and for those that are new their requests, runs and jobs. `$1` to `$16` are columns of events,
/// `$17` to `$20` of requests, `$21` to `$29`, `$32` and `$33` of runs, and `$34` is the place of all of them in their
/// lanes. A job with a lane begins blocked.
macro_rules! accept_sql {
    ($runs_conflict:literal) => {
        concat!(
            "\
WITH fresh AS (
  INSERT INTO events (id, tenant_id, source_id, source_name, request_id, dedupe_key, content_key, kind, thread_key,
                      sender, automatic, status, reason, routing, content, summary, body_in_request, received_at)
  SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                       $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[],
                       $31::text[], $30::bool[], $16::bigint[])
  ON CONFLICT DO NOTHING RETURNING id, request_id, tenant_id, received_at
), requests AS (
  INSERT INTO raw_requests (id, tenant_id, method, url, headers, body, received_at)
  SELECT f.request_id, f.tenant_id, r.method, r.url, r.headers, r.body, f.received_at
  FROM unnest($5::text[], $17::text[], $18::text[], $19::text[], $20::bytea[]) AS r (id, method, url, headers, body)
  JOIN fresh f ON f.request_id = r.id
), new_runs AS (
  INSERT INTO runs (id, tenant_id, event_id, trigger_id, trigger_position, agent_id, agent_name, agent_version,
                    session_id, once_key, priority, created_at)
  SELECT n.id, f.tenant_id, f.id, n.trigger_id, n.position, n.agent_id, n.agent_name, n.version, n.session_id,
         n.once_key, n.priority, f.received_at
  FROM unnest($21::text[], $22::text[], $23::text[], $24::bigint[], $25::text[], $26::text[], $27::bigint[], $28::text[],
              $32::text[], $33::bigint[])
       AS n (id, event_id, trigger_id, position, agent_id, agent_name, version, session_id, once_key, priority)
  JOIN fresh f ON f.id = n.event_id
",
            $runs_conflict,
            "
  RETURNING id, tenant_id, session_id, agent_id, priority, created_at
), new_jobs AS (
  INSERT INTO jobs (id, tenant_id, queue, lane, agent_id, priority, state, run_at, arrival)
  SELECT id, tenant_id, $29, session_id, agent_id, priority, CASE WHEN session_id IS NULL THEN 'ready' ELSE 'blocked' END, created_at, $34
  FROM new_runs
)
SELECT id FROM fresh UNION ALL SELECT id FROM new_runs"
        )
    };
}

/// For batches in which every run stands alone, which need not look for copies.
const ACCEPT: &str = accept_sql!("");

/// For batches with copies of mails: of runs with one key the first stays. Runs go in by what copies share, since two
/// writers with copies of the same mails in another order would wait for each other.
const ACCEPT_ONCE: &str = accept_sql!(
    "ORDER BY n.once_key, n.agent_id \
     ON CONFLICT (agent_id, once_key) WHERE once_key IS NOT NULL DO NOTHING"
);

/// Holds the lanes until the transaction ends, and draws a number: a batch that comes later to one of them gets a higher one.
const UPSERT_SESSIONS: &str = "\
INSERT INTO sessions (id, tenant_id, agent_id, key, created_at, last_event_at)
SELECT id, tenant_id, agent_id, key, at, at
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[]) AS s (id, tenant_id, agent_id, key, at)
ON CONFLICT (agent_id, key) WHERE closed_at IS NULL DO UPDATE SET last_event_at = GREATEST(sessions.last_event_at, excluded.last_event_at)
RETURNING id, agent_id, key, nextval('arrivals')";

macro_rules! column {
    ($rows:expr, |$row:pat_param| $value:expr) => {
        $rows.iter().map(|$row| $value).collect::<Vec<_>>()
    };
}

pub(super) async fn accept_postgres(db: &Postgres, batch: &[&Prepared]) -> Result<Written, StoreError> {
    let keys = session_keys(batch);
    let has_files = batch.iter().any(|prepared| !prepared.acceptance.files.is_empty());
    let has_more = batch.iter().map(|prepared| &prepared.acceptance).any(|acceptance| {
        !acceptance.effects.is_empty()
            || acceptance.fetch.is_some()
            || acceptance.runs.iter().any(|run| !run.groups.is_empty())
            || matches!(acceptance.event.content, Content::Email(_))
            || acceptance.runs.iter().any(|run| !run.is_plain())
    });
    if keys.is_empty() && !has_files && !has_more {
        let mut writer = db.writers().take().await?;
        let runs = plain_runs(batch, &HashSet::new());
        let fresh = insert_postgres(&mut writer, batch, &runs, &SessionOf::new(), 0).await?;
        db.writers().keep(writer);
        return Ok(Written { fresh, ..Written::default() });
    }
    let mut writer = db.writers().take().await?;
    let written = accept_more_postgres(db, &mut writer, batch, &keys).await?;
    db.writers().keep(writer);
    Ok(written)
}

/// What is more than events with a run that stands alone, in one transaction.
async fn accept_more_postgres(
    db: &Postgres,
    writer: &mut sqlx::PgConnection,
    batch: &[&Prepared],
    keys: &[SessionKey<'_>],
) -> Result<Written, StoreError> {
    let mut tx = writer.begin().await?;
    let (mut sessions, mut arrival) = (SessionOf::new(), 0);
    if !keys.is_empty() {
        let found: Vec<(String, String, String, i64)> = sqlx::query_as(UPSERT_SESSIONS)
            .bind(column!(keys, |(_, _, event)| SessionId::new(event.received_at).to_string()))
            .bind(column!(keys, |(_, _, event)| event.tenant.as_str()))
            .bind(column!(keys, |(agent, _, _)| agent.as_str()))
            .bind(column!(keys, |(_, key, _)| key.as_ref()))
            .bind(column!(keys, |(_, _, event)| event.received_at.0))
            .fetch_all(&mut *tx)
            .await?;
        arrival = found.iter().map(|(.., number)| *number).max().unwrap_or(0);
        let found: Vec<_> = found.into_iter().map(|(id, agent, key, _)| (id, agent, key)).collect();
        sessions = sessions_of(batch, &found)?;
    }
    let known = flow_rows::without_joined!(&mut tx, db, batch);
    let runs = plain_runs(batch, &known);
    let fresh = insert_postgres(&mut tx, batch, &runs, &sessions, arrival).await?;
    let mut written = Written { fresh, arrival, ..Written::default() };
    insert_files_postgres(&mut tx, batch, &written.fresh).await?;
    settle_postgres(&mut tx, db, batch, &sessions, &mut written).await?;
    threads::remember!(&mut tx, batch, &written.fresh);
    mails::insert!(&mut tx, batch, written);
    effects::write!(&mut tx, batch, &written.fresh);
    fetches::write!(&mut tx, batch, &written.fresh);
    groups::write!(&mut tx, db, batch, &written.fresh);
    if !sessions.is_empty() {
        steering::mark!(&mut tx, batch, &written.fresh, &sessions, db);
        let lanes: Vec<String> = sessions.values().map(SessionId::to_string).collect();
        super::jobs::promote!(tx, db, &lanes, newest(batch));
    }
    tx.commit().await?;
    Ok(written)
}

async fn settle_postgres(
    tx: &mut Transaction<'_, PostgresDatabase>,
    db: &Postgres,
    batch: &[&Prepared],
    sessions: &SessionOf,
    written: &mut Written,
) -> Result<(), StoreError> {
    flow_rows::settle!(tx, db, batch, sessions, written);
    Ok(())
}

/// The runs that are made like any other, without those whose mail, by agent and key, has a run already.
fn plain_runs<'a>(batch: &[&'a Prepared], known: &HashSet<(String, String)>) -> Vec<(&'a Prepared, &'a NewRun)> {
    let is_known =
        |run: &NewRun| run.once_key.as_ref().is_some_and(|once| known.contains(&(run.agent.to_string(), once.clone())));
    let runs =
        batch.iter().copied().flat_map(|prepared| prepared.acceptance.runs.iter().map(move |run| (prepared, run)));
    runs.filter(|(_, run)| run.is_plain() && (known.is_empty() || !is_known(run))).collect()
}

async fn insert_postgres(
    connection: &mut sqlx::PgConnection,
    batch: &[&Prepared],
    runs: &[(&Prepared, &NewRun)],
    sessions: &SessionOf,
    arrival: i64,
) -> Result<Fresh, StoreError> {
    let has_copies = runs.iter().any(|(_, run)| run.once_key.is_some());
    let found: Vec<(String,)> = sqlx::query_as(if has_copies { ACCEPT_ONCE } else { ACCEPT })
        .bind(column!(batch, |p| p.acceptance.event.id.as_str()))
        .bind(column!(batch, |p| p.acceptance.event.tenant.as_str()))
        .bind(column!(batch, |p| p.acceptance.event.source.as_str()))
        .bind(column!(batch, |p| p.acceptance.event.source_name.as_str()))
        .bind(column!(batch, |p| p.request_id.as_str()))
        .bind(column!(batch, |p| p.dedupe_key.as_str()))
        .bind(column!(batch, |p| p.content_key.as_deref()))
        .bind(column!(batch, |p| p.kind.as_str()))
        .bind(column!(batch, |p| p.thread_key.as_deref()))
        .bind(column!(batch, |p| p.sender.as_deref()))
        .bind(column!(batch, |p| p.automatic.as_deref()))
        .bind(column!(batch, |p| p.acceptance.status.as_str()))
        .bind(column!(batch, |p| p.reason.as_deref()))
        .bind(column!(batch, |p| p.routing.as_str()))
        .bind(column!(batch, |p| p.content.as_str()))
        .bind(column!(batch, |p| p.acceptance.event.received_at.0))
        .bind(column!(batch, |p| p.method.as_str()))
        .bind(column!(batch, |p| p.url.as_str()))
        .bind(column!(batch, |p| p.headers.as_str()))
        .bind(column!(batch, |p| &p.acceptance.request.body[..]))
        .bind(column!(runs, |(_, run)| run.id.as_str()))
        .bind(column!(runs, |(p, _)| p.acceptance.event.id.as_str()))
        .bind(column!(runs, |(_, run)| run.trigger.as_str()))
        .bind(column!(runs, |(_, run)| run.position))
        .bind(column!(runs, |(_, run)| run.agent.as_str()))
        .bind(column!(runs, |(_, run)| run.agent_name.as_str()))
        .bind(column!(runs, |(_, run)| run.agent_version))
        .bind(column!(runs, |(_, run)| sessions.get(&run.id).map(SessionId::as_str)))
        .bind(super::jobs::RUN_QUEUE)
        .bind(column!(batch, |p| p.body_in_request))
        .bind(column!(batch, |p| p.summary.as_str()))
        .bind(column!(runs, |(_, run)| run.once_key.as_deref()))
        .bind(column!(runs, |(_, run)| run.flow.priority))
        .bind(arrival)
        .fetch_all(connection)
        .await?;
    Ok(found.into_iter().map(|(id,)| id).collect())
}

fn optional(text: Option<&str>) -> Option<String> {
    text.map(|text| clean(text).into_owned())
}

/// Files one by one: few, and each may be megabytes.
const INSERT_FILE: &str = "INSERT INTO attachments (id, tenant_id, event_id, position, filename, content_type, size, sha256, \
    content_id, bytes, sniffed_type, within, refused) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";

macro_rules! insert_files {
    ($tx:expr, $batch:expr, $fresh:expr) => {
        for prepared in $batch {
            let event = &prepared.acceptance.event;
            if !$fresh.contains(event.id.as_str()) {
                continue;
            }
            for (position, (file, bytes)) in event.attachments.iter().zip(&prepared.acceptance.files).enumerate() {
                sqlx::query(INSERT_FILE)
                    .bind(file.id.as_str())
                    .bind(event.tenant.as_str())
                    .bind(event.id.as_str())
                    .bind(i64::try_from(position).unwrap_or(i64::MAX))
                    .bind(clean(&file.filename).into_owned())
                    .bind(clean(&file.content_type).into_owned())
                    .bind(i64::try_from(file.size).unwrap_or(i64::MAX))
                    .bind(&file.sha256)
                    .bind(optional(file.content_id.as_deref()))
                    .bind(&bytes[..])
                    .bind(optional(file.sniffed_type.as_deref()))
                    .bind(optional(file.within.as_deref()))
                    .bind(optional(file.refused.as_deref()))
                    .execute(&mut **$tx)
                    .await?;
            }
        }
    };
}

async fn insert_files_postgres(
    tx: &mut Transaction<'_, PostgresDatabase>,
    batch: &[&Prepared],
    fresh: &Fresh,
) -> Result<(), StoreError> {
    insert_files!(tx, batch, fresh);
    Ok(())
}

/// Rows in one statement on SQLite at most; 18 columns each stay far below its limit of 32,766 values.
const LARGEST_PIECE: usize = 64;

/// Cuts rows into pieces whose lengths are powers of two: few different statements, each of which stays prepared.
fn pieces<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let length = 1 << rows.len().min(LARGEST_PIECE).checked_ilog2()?;
        let (piece, rest) = rows.split_at(length);
        rows = rest;
        Some(piece)
    })
}

pub(super) async fn accept_sqlite(db: &Sqlite, batch: &[&Prepared]) -> Result<Written, StoreError> {
    let mut tx = db.begin().await?;
    let mut found = Vec::new();
    for (agent, key, event) in session_keys(batch) {
        let row: (String, String, String) = sqlx::query_as(
            "INSERT INTO sessions (id, tenant_id, agent_id, key, created_at, last_event_at) VALUES ($1, $2, $3, $4, $5, $5) \
             ON CONFLICT (agent_id, key) WHERE closed_at IS NULL DO UPDATE SET last_event_at = MAX(last_event_at, excluded.last_event_at) \
             RETURNING id, agent_id, key",
        )
        .bind(SessionId::new(event.received_at).as_str())
        .bind(event.tenant.as_str())
        .bind(agent.as_str())
        .bind(key.into_owned())
        .bind(event.received_at.0)
        .fetch_one(&mut *tx)
        .await?;
        found.push(row);
    }
    let sessions = sessions_of(batch, &found)?;
    let mut fresh = Fresh::new();
    for piece in pieces(batch) {
        insert_events_sqlite(&mut tx, piece, &mut fresh).await?;
    }
    let new: Vec<&Prepared> =
        batch.iter().copied().filter(|p| fresh.contains(p.acceptance.event.id.as_str())).collect();
    for piece in pieces(&new) {
        insert_requests_sqlite(&mut tx, piece).await?;
    }
    let known = flow_rows::without_joined!(&mut tx, db, &new);
    let runs = plain_runs(&new, &known);
    for piece in pieces(&runs) {
        insert_runs_sqlite(&mut tx, piece, &sessions, &mut fresh).await?;
    }
    let started: Vec<(&Prepared, &NewRun)> =
        runs.into_iter().filter(|(_, run)| fresh.contains(run.id.as_str())).collect();
    for piece in pieces(&started) {
        insert_jobs_sqlite(&mut tx, piece, &sessions).await?;
    }
    let mut written = Written { fresh, ..Written::default() };
    settle_sqlite(&mut tx, db, &new, &sessions, &mut written).await?;
    threads::remember!(&mut tx, &new, &written.fresh);
    insert_files!(&mut tx, &new, written.fresh);
    mails::insert!(&mut tx, &new, written);
    effects::write!(&mut tx, &new, &written.fresh);
    fetches::write!(&mut tx, &new, &written.fresh);
    groups::write!(&mut tx, db, &new, &written.fresh);
    if !sessions.is_empty() {
        steering::mark!(&mut tx, &new, &written.fresh, &sessions, db);
        let lanes: Vec<String> = sessions.values().map(SessionId::to_string).collect();
        super::jobs::promote!(tx, db, &lanes, newest(batch));
    }
    tx.commit().await?;
    Ok(written)
}

async fn settle_sqlite(
    tx: &mut Transaction<'static, SqliteDatabase>,
    db: &Sqlite,
    batch: &[&Prepared],
    sessions: &SessionOf,
    written: &mut Written,
) -> Result<(), StoreError> {
    flow_rows::settle!(tx, db, batch, sessions, written);
    Ok(())
}

async fn insert_events_sqlite(
    tx: &mut Transaction<'static, SqliteDatabase>,
    piece: &[&Prepared],
    fresh: &mut Fresh,
) -> Result<(), StoreError> {
    let mut events = QueryBuilder::<SqliteDatabase>::new(
        "INSERT INTO events (id, tenant_id, source_id, source_name, request_id, dedupe_key, content_key, kind, thread_key, \
         sender, automatic, status, reason, routing, content, summary, body_in_request, received_at) ",
    );
    events.push_values(piece, |mut row, p| {
        let (acceptance, event) = (&p.acceptance, &p.acceptance.event);
        row.push_bind(event.id.as_str()).push_bind(event.tenant.as_str()).push_bind(event.source.as_str());
        row.push_bind(&event.source_name).push_bind(&p.request_id).push_bind(&p.dedupe_key);
        row.push_bind(&p.content_key).push_bind(&p.kind);
        row.push_bind(&p.thread_key).push_bind(&p.sender);
        row.push_bind(&p.automatic).push_bind(acceptance.status.as_str());
        row.push_bind(&p.reason).push_bind(&p.routing).push_bind(&p.content);
        row.push_bind(&p.summary);
        row.push_bind(p.body_in_request).push_bind(event.received_at.0);
    });
    events.push(" ON CONFLICT DO NOTHING RETURNING id");
    let found: Vec<(String,)> = events.build_query_as().fetch_all(&mut **tx).await?;
    fresh.extend(found.into_iter().map(|(id,)| id));
    Ok(())
}

async fn insert_requests_sqlite(
    tx: &mut Transaction<'static, SqliteDatabase>,
    piece: &[&Prepared],
) -> Result<(), StoreError> {
    let mut requests = QueryBuilder::<SqliteDatabase>::new(
        "INSERT INTO raw_requests (id, tenant_id, method, url, headers, body, received_at) ",
    );
    requests.push_values(piece, |mut row, p| {
        let request = &p.acceptance.request;
        row.push_bind(&p.request_id).push_bind(p.acceptance.event.tenant.as_str()).push_bind(&p.method);
        row.push_bind(&p.url).push_bind(&p.headers).push_bind(&request.body[..]);
        row.push_bind(p.acceptance.event.received_at.0);
    });
    requests.build().execute(&mut **tx).await?;
    Ok(())
}

async fn insert_runs_sqlite(
    tx: &mut Transaction<'static, SqliteDatabase>,
    piece: &[(&Prepared, &NewRun)],
    sessions: &SessionOf,
    fresh: &mut Fresh,
) -> Result<(), StoreError> {
    let mut rows = QueryBuilder::<SqliteDatabase>::new(
        "INSERT INTO runs (id, tenant_id, event_id, trigger_id, trigger_position, agent_id, agent_name, agent_version, \
         session_id, once_key, priority, created_at) ",
    );
    rows.push_values(piece, |mut row, (p, run)| {
        let event = &p.acceptance.event;
        row.push_bind(run.id.as_str()).push_bind(event.tenant.as_str()).push_bind(event.id.as_str());
        row.push_bind(run.trigger.as_str()).push_bind(run.position).push_bind(run.agent.as_str());
        row.push_bind(&run.agent_name).push_bind(run.agent_version);
        row.push_bind(sessions.get(&run.id).map(SessionId::as_str)).push_bind(run.once_key.as_deref());
        row.push_bind(run.flow.priority).push_bind(event.received_at.0);
    });
    rows.push(" ON CONFLICT (agent_id, once_key) WHERE once_key IS NOT NULL DO NOTHING RETURNING id");
    let added: Vec<(String,)> = rows.build_query_as().fetch_all(&mut **tx).await?;
    fresh.extend(added.into_iter().map(|(id,)| id));
    Ok(())
}

async fn insert_jobs_sqlite(
    tx: &mut Transaction<'static, SqliteDatabase>,
    piece: &[(&Prepared, &NewRun)],
    sessions: &SessionOf,
) -> Result<(), StoreError> {
    let mut jobs = QueryBuilder::<SqliteDatabase>::new(
        "INSERT INTO jobs (id, tenant_id, queue, lane, agent_id, priority, state, run_at) ",
    );
    jobs.push_values(piece, |mut row, (p, run)| {
        let event = &p.acceptance.event;
        let lane = sessions.get(&run.id).map(SessionId::as_str);
        row.push_bind(run.id.as_str()).push_bind(event.tenant.as_str()).push_bind(super::jobs::RUN_QUEUE);
        row.push_bind(lane).push_bind(run.agent.as_str()).push_bind(run.flow.priority);
        row.push_bind(if lane.is_some() { "blocked" } else { "ready" }).push_bind(event.received_at.0);
    });
    jobs.build().execute(&mut **tx).await?;
    Ok(())
}
