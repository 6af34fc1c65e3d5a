//! Parts of a request as axum reads them, with our own answer when they cannot be read.

use axum::{
    body::Bytes,
    extract::{self, FromRequest, FromRequestParts, OptionalFromRequest, Request},
    http::{StatusCode, request::Parts},
};
use serde::de::DeserializeOwned;

use crate::http::error::ApiError;

/// The query string.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let read = extract::Query::from_request_parts(parts, state).await;
        read.map(|extract::Query(query)| Self(query)).map_err(|fault| unreadable(fault.status(), fault.body_text()))
    }
}

/// The variable parts of the path.
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let read = extract::Path::from_request_parts(parts, state).await;
        read.map(|extract::Path(path)| Self(path)).map_err(|fault| unreadable(fault.status(), fault.body_text()))
    }
}

/// A body as it is.
pub(super) struct Raw(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let read = Bytes::from_request(request, state).await;
        read.map(Self).map_err(|fault| unreadable(fault.status(), fault.body_text()))
    }
}

/// A body of JSON; as an `Option` it is `None` when the request has no content type.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let read = <axum::Json<T> as FromRequest<S>>::from_request(request, state).await;
        read.map(|axum::Json(body)| Self(body)).map_err(|fault| unreadable(fault.status(), fault.body_text()))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> OptionalFromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, ApiError> {
        let read = <axum::Json<T> as OptionalFromRequest<S>>::from_request(request, state).await;
        let read = read.map_err(|fault| unreadable(fault.status(), fault.body_text()))?;
        Ok(read.map(|axum::Json(body)| Self(body)))
    }
}

fn unreadable(status: StatusCode, detail: String) -> ApiError {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::new(status, "too_large", detail),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ApiError::new(status, "unsupported_media_type", detail),
        _ => ApiError::bad(detail),
    }
}
