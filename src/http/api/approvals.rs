//! Questions that runs wait on.

use axum::{Json as Answer, extract::State};
use serde::Deserialize;

use crate::{
    domain::{
        approval::{self, AnswerWay, Answering, Approval, ApprovalKind, ApprovalState, MOST_ANSWER, Read},
        id::ApprovalId,
    },
    http::{
        api::ListQuery,
        auth::Caller,
        error::ApiError,
        extract::{Json, Path, Query},
        gateway::Gateway,
    },
    store::{ApprovalFilter, PageOf},
};

/// Bytes of the name that a caller may give itself.
const MOST_NAME: usize = 200;

/// Which approvals are listed.
#[derive(Deserialize)]
pub(in crate::http) struct Which {
    state: Option<String>,
    run: Option<String>,
}

/// What is said.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Said {
    /// The answer; a permission is given by `yes`.
    answer: Option<String>,
    /// Refuse: the run hears that it may not, or gets no answer.
    #[serde(default)]
    deny: bool,
    /// Why, with `deny`.
    reason: Option<String>,
    /// Who says it, for the record.
    by: Option<String>,
}

pub(in crate::http) async fn list(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Query(query): Query<ListQuery>,
    Query(which): Query<Which>,
) -> Result<Answer<PageOf<Approval>>, ApiError> {
    let state = |word: &str| {
        let names = ApprovalState::ALL.map(ApprovalState::as_str).join(", ");
        ApprovalState::parse(word).ok_or_else(|| ApiError::bad(format!("`state` is one of {names}")))
    };
    let filter = ApprovalFilter {
        state: which.state.as_deref().map(state).transpose()?,
        run: which.run.as_deref().map(str::parse).transpose()?,
    };
    Ok(Answer(gateway.store.approvals(&tenant, &filter, &query.page()?).await?))
}

pub(in crate::http) async fn show(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(id): Path<String>,
) -> Result<Answer<Approval>, ApiError> {
    let id: ApprovalId = id.parse()?;
    gateway.store.approval(&tenant, &id).await?.map(Answer).ok_or_else(|| ApiError::not_found("approval"))
}

pub(in crate::http) async fn answer(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(id): Path<String>,
    Json(said): Json<Said>,
) -> Result<Answer<Approval>, ApiError> {
    let id: ApprovalId = id.parse()?;
    let approval = gateway.store.approval(&tenant, &id).await?.ok_or_else(|| ApiError::not_found("approval"))?;
    let by = said.by.as_deref().map_or("api", str::trim).to_owned();
    if by.is_empty() || by.len() > MOST_NAME || by.chars().any(char::is_control) {
        return Err(ApiError::bad(format!("`by` is a name of 1 to {MOST_NAME} bytes")));
    }
    let answering = Answering { said: read(&approval, said)?, by, approval: id, way: AnswerWay::Api };
    let answered = gateway.store.answer_approval(&tenant, &answering).await?;
    gateway.wakes.news();
    answered.map(Answer).ok_or_else(|| ApiError::not_found("approval"))
}

fn read(approval: &Approval, said: Said) -> Result<Read, ApiError> {
    match (said.answer, said.deny, said.reason) {
        (None, true, reason) => {
            let answer = reason.unwrap_or_default();
            let answer = if answer.trim().is_empty() { "no".to_owned() } else { bounded(&answer)?.to_owned() };
            Ok(Read { answer, denied: true })
        }
        (Some(answer), false, None) => {
            let read = approval::read(approval.kind, &approval.options, bounded(&answer)?);
            // Over the API a person does not see that other words than these refuse.
            let is_no = || matches!(read.answer.to_lowercase().as_str(), "no" | "n");
            if approval.kind == ApprovalKind::Permission && read.denied && !is_no() {
                return Err(ApiError::bad("this asks for a permission: `answer` is `yes` or `no`, or write `deny`"));
            }
            Ok(read)
        }
        (_, _, _) => Err(ApiError::bad("write `answer`, or `deny: true` with or without a `reason`")),
    }
}

fn bounded(text: &str) -> Result<&str, ApiError> {
    let text = text.trim();
    if text.is_empty() || text.len() > MOST_ANSWER {
        return Err(ApiError::bad(format!("the answer has {} bytes; write 1 to {MOST_ANSWER}", text.len())));
    }
    Ok(text)
}
