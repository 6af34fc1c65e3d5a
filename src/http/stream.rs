//! `GET /v1/runs/{id}/stream`: a run's record as server-sent events, from any line on, until it ends.

use std::{collections::VecDeque, convert::Infallible, time::Duration};

use axum::{
    extract::State,
    http::HeaderMap,
    response::sse::{Event, KeepAlive, Sse},
};
use futures_util::{Stream, stream};
use serde::Deserialize;

use crate::{
    domain::{
        id::{RunId, TenantId},
        run::RunMessage,
    },
    http::{
        auth::Caller,
        error::ApiError,
        extract::{Path, Query},
        gateway::Gateway,
    },
    live::Watcher,
};

/// Lines that are read at once.
const PAGE: i64 = 200;
/// How often the record is looked at when nobody told of it: the run may be on another machine.
const LOOK: Duration = Duration::from_millis(500);

/// Where to begin.
#[derive(Deserialize)]
pub(super) struct From {
    after: Option<i64>,
}

struct Reader {
    gateway: Gateway,
    tenant: TenantId,
    run: RunId,
    after: i64,
    ready: VecDeque<RunMessage>,
    watcher: Watcher,
    ended: bool,
}

/// Lines as `message` events with their number as id, then one `end` event with the run.
pub(super) async fn stream_run(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(run): Path<String>,
    Query(from): Query<From>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let run: RunId = run.parse()?;
    if gateway.store.run(&tenant, &run).await?.is_none() {
        return Err(ApiError::not_found("run"));
    }
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse().ok());
    let reader = Reader {
        watcher: gateway.live.watch(&run),
        after: last.or(from.after).unwrap_or(0),
        gateway,
        tenant,
        run,
        ready: VecDeque::new(),
        ended: false,
    };
    Ok(Sse::new(stream::unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        Some((Ok(event), reader))
    }))
    .keep_alive(KeepAlive::new().interval(Duration::from_secs(15))))
}

impl Reader {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                self.after = line.seq;
                let data = serde_json::to_string(&line).unwrap_or_default();
                return Some(Event::default().event("message").id(line.seq.to_string()).data(data));
            }
            if self.ended {
                return None;
            }
            // The state first: lines that come after a final state do not exist.
            let Ok(Some(run)) = self.gateway.store.run(&self.tenant, &self.run).await else { return None };
            let Ok(lines) = self.gateway.store.messages(&self.tenant, &self.run, self.after, PAGE).await else {
                return None;
            };
            if !lines.is_empty() {
                self.ready.extend(lines);
            } else if run.state.is_final() {
                self.ended = true;
                let data = serde_json::to_string(&run).unwrap_or_default();
                return Some(Event::default().event("end").data(data));
            } else {
                let _ = tokio::time::timeout(LOOK, self.watcher.changed()).await;
            }
        }
    }
}
