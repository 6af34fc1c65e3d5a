//! Reports of services that work on a run: proved by the run's own token, not by a key.

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    domain::id::RunId,
    executor::callbacks,
    http::{
        error::ApiError,
        extract::{Path, Query, unread},
        gateway::Gateway,
        memory::Unread,
    },
    store::{Report, Reported},
};

/// Bytes of one report.
const MAX_REPORT: usize = callbacks::MAX_LINE_BYTES;
/// Lines of one report.
const MAX_LINES: usize = 2_000;

/// How a report counts its lines.
#[derive(Deserialize)]
pub(in crate::http) struct Counted {
    from: Option<i64>,
}

pub(in crate::http) async fn report(
    State(gateway): State<Gateway>,
    Path(id): Path<String>,
    Query(counted): Query<Counted>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    let refused = || {
        let detail = "send `Authorization: Bearer` with the token that came with the run";
        ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    };
    let (parts, body) = request.into_parts();
    let headers = &parts.headers;
    let token = bearer(headers).ok_or_else(refused)?;
    let run: RunId = id.parse().map_err(|_| refused())?;
    // Nobody makes us read what nobody here asked for.
    if !gateway.store.knows_callback(&run, token).await? {
        return Err(refused());
    }
    let body = gateway.bodies.read(body, headers, MAX_REPORT).await.map_err(|why| unread(why, too_large))?;
    let (lines, is_last) = read(&body)?;
    if counted.from.is_some_and(|from| from < 0) {
        return Err(ApiError::bad("`from` is a number from 0"));
    }
    let report = Report { run: &run, token, lines: &lines, from: counted.from, is_last };
    let answer = |status: &str, lines: i64| Ok(Json(json!({"status": status, "lines": lines})));
    match gateway.store.report(&report).await? {
        Reported::Kept(lines) => answer("kept", lines),
        Reported::Over(lines) => answer("duplicate", lines),
        Reported::Gap(known) => {
            let detail = format!("lines are missing before it; {known} are known, send those from {known}");
            Err(ApiError::new(StatusCode::CONFLICT, "gap", detail))
        }
        Reported::Behind(known) => {
            let detail = format!("{known} lines are known and its last word is none of them; send it from {known}");
            Err(ApiError::new(StatusCode::CONFLICT, "gap", detail))
        }
        Reported::Unknown => Err(refused()),
        Reported::Ended => {
            Err(ApiError::new(StatusCode::GONE, "run_ended", "nobody waits for this run any more; stop working on it"))
        }
        Reported::TooMuch => {
            let detail = "the reports of this run are more than are kept";
            Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail))
        }
    }
}

fn too_large() -> String {
    format!("a report has {} MiB at most; send its lines in several", MAX_REPORT >> 20)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && token.len() <= 128 && !token.is_empty()).then_some(token)
}

/// Its lines, and whether the last is the last word. A body that is one object without a type is a result.
fn read(body: &[u8]) -> Result<(Vec<String>, bool), ApiError> {
    let text = std::str::from_utf8(body).map_err(|_| ApiError::bad("the report is no UTF-8"))?;
    let text = callbacks::without_tokens(text.trim());
    if let Ok(Value::Object(whole)) = serde_json::from_str(&text) {
        if whole.contains_key("type") {
            let is_last = is_last(&Value::Object(whole));
            return Ok((vec![text.into_owned()], is_last));
        }
        // The rest stays as it came: written anew its numbers may be longer.
        let comma = if whole.is_empty() { "" } else { "," };
        let line = text.replacen('{', &format!("{{\"type\":\"result\"{comma}"), 1);
        let is_too_large = line.len() > callbacks::MAX_LINE_BYTES;
        return if is_too_large { Err(unread(Unread::TooLarge, too_large)) } else { Ok((vec![line], true)) };
    }
    let mut lines = Vec::new();
    let mut over = false;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if over || lines.len() == MAX_LINES {
            let why =
                if over { "lines follow the last word".to_owned() } else { format!("more than {MAX_LINES} lines") };
            return Err(ApiError::bad(why));
        }
        let said: Value = serde_json::from_str(line)
            .ok()
            .filter(Value::is_object)
            .ok_or_else(|| ApiError::bad(format!("line {} is no JSON object", lines.len() + 1)))?;
        over = is_last(&said);
        lines.push(line.to_owned());
    }
    if lines.is_empty() { Err(ApiError::bad("the report is empty")) } else { Ok((lines, over)) }
}

fn is_last(line: &Value) -> bool {
    matches!(line["type"].as_str(), Some("result" | "error"))
}
