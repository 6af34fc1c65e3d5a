//! Schedules, and the tasks that processes do one at a time.

use axum::{extract::State, http::StatusCode};
use serde_json::{Value, json};

use crate::{
    domain::{id::TenantId, schedule::Schedule, time::Timestamp},
    http::{auth::Caller, error::ApiError, extract::Path, gateway::Gateway},
    pipeline::{
        retention::{self, Cleaner},
        schedules::{self, ScheduleError},
    },
    store::{ScheduleRecord, StoreError},
};

/// Next times that are shown.
const SHOWN: usize = 5;

pub(in crate::http) async fn list(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
) -> Result<axum::Json<Value>, ApiError> {
    let now = gateway.clock().now();
    let found = gateway.store.schedules(&tenant).await?;
    let items: Vec<Value> = found.iter().map(|record| view(record, now)).collect();
    Ok(axum::Json(json!({"items": items, "next": null})))
}

pub(in crate::http) async fn show(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(name): Path<String>,
) -> Result<axum::Json<Value>, ApiError> {
    let record = find(&gateway, &tenant, &name).await?;
    Ok(axum::Json(view(&record, gateway.clock().now())))
}

/// Makes the event of a time that is now, beside the plan.
pub(in crate::http) async fn run(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(name): Path<String>,
) -> Result<(StatusCode, axum::Json<Value>), ApiError> {
    let record = find(&gateway, &tenant, &name).await?;
    let accepted = gateway.schedules.run_now(&record).await.map_err(|fault| match fault {
        ScheduleError::Store(fault) => ApiError::from(fault),
        ScheduleError::Unreadable(detail) => ApiError::from(StoreError::Conflict(detail)),
    })?;
    let answer = json!({
        "event": accepted.event, "runs": accepted.runs, "status": accepted.status, "reason": accepted.reason,
    });
    Ok((StatusCode::ACCEPTED, axum::Json(answer)))
}

pub(in crate::http) async fn pause(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(name): Path<String>,
) -> Result<axum::Json<Value>, ApiError> {
    let record = find(&gateway, &tenant, &name).await?;
    gateway.store.pause_schedule(&tenant, &record.trigger).await?;
    changed(&gateway, &tenant, &name).await
}

/// Lets a schedule go on from now: what it missed while it rested is not made up for.
pub(in crate::http) async fn resume(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(name): Path<String>,
) -> Result<axum::Json<Value>, ApiError> {
    let record = find(&gateway, &tenant, &name).await?;
    let schedule =
        Schedule::parse(&record.spec).map_err(|fault| ApiError::from(StoreError::Conflict(fault.message)))?;
    let planned_at = schedule.next_after(gateway.store.shared_now());
    gateway.store.resume_schedule(&tenant, &record.trigger, planned_at).await?;
    changed(&gateway, &tenant, &name).await
}

/// What is done by one process of all at a time, and how it went.
pub(in crate::http) async fn tasks(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
) -> Result<axum::Json<Value>, ApiError> {
    of_the_installation(&gateway, &tenant)?;
    Ok(axum::Json(json!({"items": gateway.store.tasks().await?, "next": null})))
}

/// How long records are kept, and what of them would go now.
pub(in crate::http) async fn retention(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
) -> Result<axum::Json<Value>, ApiError> {
    let cleaner = Cleaner { store: gateway.store.clone(), settings: gateway.settings.retention.clone() };
    let tenants = gateway.store.tenants().await?;
    let name = tenants.into_iter().find(|(id, _)| *id == tenant).map(|(_, name)| name).unwrap_or_default();
    let would_go = cleaner.would_go(&tenant, &name).await?;
    let task = gateway.store.tasks().await?.into_iter().find(|task| task.name == retention::TASK);
    Ok(axum::Json(json!({"keep": cleaner.kept(&name), "would_go": would_go, "task": task})))
}

/// Removes what is old now, and not in its time.
pub(in crate::http) async fn retention_now(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
) -> Result<(StatusCode, axum::Json<Value>), ApiError> {
    of_the_installation(&gateway, &tenant)?;
    gateway.store.hurry_task(retention::TASK).await?;
    gateway.wakes.tasks();
    Ok((StatusCode::ACCEPTED, axum::Json(json!({"status": "accepted"}))))
}

/// What concerns all tenants is for the tenant of the installation alone.
fn of_the_installation(gateway: &Gateway, tenant: &TenantId) -> Result<(), ApiError> {
    if *tenant == gateway.tenant { Ok(()) } else { Err(ApiError::not_found("task")) }
}

async fn changed(gateway: &Gateway, tenant: &TenantId, name: &str) -> Result<axum::Json<Value>, ApiError> {
    gateway.store.hurry_task(schedules::TASK).await?;
    gateway.wakes.tasks();
    Ok(axum::Json(view(&find(gateway, tenant, name).await?, gateway.clock().now())))
}

async fn find(gateway: &Gateway, tenant: &TenantId, name: &str) -> Result<ScheduleRecord, ApiError> {
    let found = gateway.store.schedules(tenant).await?;
    let found = found.into_iter().find(|record| record.name == name || record.trigger.as_str() == name);
    found.ok_or_else(|| ApiError::not_found("schedule"))
}

fn view(record: &ScheduleRecord, now: Timestamp) -> Value {
    let mut view = json!(record);
    view["rule"] = json!(record.spec.words());
    let times = match (Schedule::parse(&record.spec), record.paused_at) {
        (Ok(schedule), None) => {
            let times = schedule.next_times(now, SHOWN).into_iter();
            times.map(|at| json!({"at": at, "local": schedule.local(at)})).collect()
        }
        (_, _) => Vec::new(),
    };
    view["next_times"] = json!(times);
    view
}
