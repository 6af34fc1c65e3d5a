//! Every route in one place.

use axum::{
    Router,
    http::{HeaderValue, StatusCode, header},
    response::IntoResponse,
    routing::{any, get, post},
};

use crate::http::{
    api::{
        agents, apply, approvals, controls, deliveries, events, explain, followups, left, memory, replay, report, runs,
        schedules, sessions, skills, sources, uploads,
    },
    error::ApiError,
    gateway::Gateway,
    health, hooks, stream,
};

/// The whole surface.
pub fn router(gateway: Gateway) -> Router {
    Router::new()
        .route("/in/{source}", any(hooks::receive))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .nest("/v1", api())
        .fallback(|| async {
            ApiError::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here").into_response()
        })
        .method_not_allowed_fallback(|| async {
            let detail = "this method is not allowed here";
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail).into_response()
        })
        .layer(axum::middleware::map_response(harden))
        .with_state(gateway)
}

/// What needs a key.
fn api() -> Router<Gateway> {
    Router::new()
        .route("/agents", get(agents::list))
        .route("/agents/{name}", get(agents::show))
        .route("/agents/{name}/memory", get(memory::of_agent))
        .route("/agents/{name}/memory/forget", post(memory::forget_of_agent))
        .route("/sources", get(sources::list))
        .route("/sources/{name}", get(sources::show))
        .route("/sources/{name}/explain", post(explain::explain))
        .route("/events", get(events::list))
        .route("/events/{id}", get(events::show))
        .route("/events/{id}/explain", get(explain::event))
        .route("/events/{id}/raw", get(events::raw))
        .route("/events/replay", post(replay::replay_many))
        .route("/events/{id}/replay", post(replay::replay))
        .route("/events/{id}/reparse", post(replay::reparse))
        .route("/events/{id}/attachments/{attachment}", get(events::attachment))
        .route("/runs", get(runs::list))
        .route("/runs/cancel", post(runs::cancel_many))
        .route("/runs/retry", post(runs::retry_many))
        .route("/runs/{id}", get(runs::show))
        .route("/runs/{id}/messages", get(runs::messages))
        .route("/runs/{id}/files", get(left::files))
        .route("/runs/{id}/artifacts", get(left::artifacts))
        .route("/runs/{id}/artifacts/{*name}", get(left::artifact))
        .route("/runs/{id}/stream", get(stream::stream_run))
        .route("/runs/{id}/cancel", post(runs::cancel))
        .route("/runs/{id}/control", get(controls::list).post(controls::add))
        .route("/runs/{id}/retry", post(runs::retry))
        .route("/approvals", get(approvals::list))
        .route("/approvals/{id}", get(approvals::show))
        .route("/approvals/{id}/answer", post(approvals::answer))
        .route("/followups", get(followups::list))
        .route("/followups/{id}", get(followups::show))
        .route("/followups/{id}/cancel", post(followups::cancel))
        .route("/sessions", get(sessions::list))
        .route("/sessions/{id}", get(sessions::show))
        .route("/sessions/{id}/close", post(sessions::close))
        .route("/sessions/{id}/fork", post(sessions::fork))
        .route("/sessions/{id}/memory", get(memory::of_session))
        .route("/sessions/{id}/memory/forget", post(memory::forget_of_session))
        .route("/deliveries", get(deliveries::list))
        .route("/deliveries/cancel", post(deliveries::cancel_many))
        .route("/deliveries/retry", post(deliveries::retry_many))
        .route("/deliveries/{id}", get(deliveries::show))
        .route("/deliveries/{id}/cancel", post(deliveries::cancel))
        .route("/deliveries/{id}/retry", post(deliveries::retry))
        .route("/opt-outs", get(deliveries::opt_outs))
        .route("/suppressions", get(deliveries::suppressions))
        .route("/suppressions/{address}/release", post(deliveries::release))
        .route("/schedules", get(schedules::list))
        .route("/schedules/{name}", get(schedules::show))
        .route("/schedules/{name}/run", post(schedules::run))
        .route("/schedules/{name}/pause", post(schedules::pause))
        .route("/schedules/{name}/resume", post(schedules::resume))
        .route("/tasks", get(schedules::tasks))
        .route("/retention", get(schedules::retention))
        .route("/retention/run", post(schedules::retention_now))
        .route("/skills", get(skills::list))
        .route("/skills/{name}", get(skills::show).put(skills::put).post(skills::put).delete(skills::delete))
        .route("/uploads", get(uploads::list).post(uploads::create))
        .route("/uploads/{name}", get(uploads::show).delete(uploads::delete))
        .route("/apply", post(apply::apply))
        .route("/runs/{id}/report", post(report::report))
}

/// Answers are data: not to be sniffed, framed or kept by caches.
async fn harden(mut response: axum::response::Response) -> axum::response::Response {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
