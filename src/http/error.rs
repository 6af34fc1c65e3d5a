//! The one type that becomes an error answer: `application/problem+json` (RFC 9457) with a stable code.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{config::problem::Problem, domain::id::IdError, store::StoreError};

/// What went wrong with a request of the API.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    detail: String,
    problems: Vec<String>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), problems: Vec::new() }
    }

    pub(super) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("there is no such {what}"))
    }

    /// What is wrong with what was sent, one entry a thing.
    pub(super) fn invalid(problems: &[Problem]) -> Self {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let detail = problems.first().map_or("it is not valid", String::as_str).to_owned();
        Self { problems, ..Self::new(StatusCode::BAD_REQUEST, "invalid", detail) }
    }

    pub(super) fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }
}

impl From<StoreError> for ApiError {
    fn from(fault: StoreError) -> Self {
        if let StoreError::Conflict(detail) = fault {
            return Self::new(StatusCode::CONFLICT, "conflict", detail);
        }
        tracing::error!(error = ?fault, "a request failed");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the database failed; try again")
    }
}

impl From<IdError> for ApiError {
    fn from(fault: IdError) -> Self {
        Self::bad(fault.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = serde_json::json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        });
        if !self.problems.is_empty() {
            body["problems"] = serde_json::json!(self.problems);
        }
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
