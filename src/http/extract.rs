//! Parts of a request as axum reads them, with our own answer when they cannot be read.

use axum::{
    body::{Body, Bytes},
    extract::{self, FromRequest, FromRequestParts, OptionalFromRequest, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use serde::de::DeserializeOwned;

use crate::{
    domain::json,
    http::{error::ApiError, gateway::Gateway, memory::Unread},
};

/// Bytes of most bodies of JSON at most.
const SMALL: usize = 1 << 20;
/// Bytes of the largest bodies: uploads, an apply with skills, a request that is explained.
pub(super) const LARGE: usize = 64 << 20;
/// Values of a body of JSON at most, those inside others counted: in memory they take far more than as text.
const MOST_VALUES: usize = 100_000;

/// The query string.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let read = extract::Query::from_request_parts(parts, state).await;
        read.map(|extract::Query(query)| Self(query)).map_err(|fault| ApiError::bad(fault.body_text()))
    }
}

/// The variable parts of the path.
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let read = extract::Path::from_request_parts(parts, state).await;
        read.map(|extract::Path(path)| Self(path)).map_err(|fault| ApiError::bad(fault.body_text()))
    }
}

/// A body of at most [`LARGE`] bytes as it is. It has its part of the memory for bodies until it is dropped.
pub(super) struct Raw(pub(super) Bytes);

impl FromRequest<Gateway> for Raw {
    type Rejection = ApiError;

    async fn from_request(request: Request, gateway: &Gateway) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        read(gateway, &parts, body, LARGE).await.map(Self)
    }
}

/// A body of JSON of at most `MOST` bytes; as an `Option` it is `None` when the request has no content type.
pub(super) struct Json<T, const MOST: usize = SMALL>(pub(super) T);

impl<T: DeserializeOwned + Send + 'static, const MOST: usize> FromRequest<Gateway> for Json<T, MOST> {
    type Rejection = ApiError;

    async fn from_request(request: Request, gateway: &Gateway) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        if !is_json(&parts.headers) {
            let detail = "send JSON with `Content-Type: application/json`";
            return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail));
        }
        let body = read(gateway, &parts, body, MOST).await?;
        if body.len() <= SMALL {
            return parse(&body).map(Self);
        }
        let parsed = gateway.beside(move || parse(&body)).await;
        let unread = || ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the body could not be read");
        parsed.unwrap_or_else(|| Err(unread())).map(Self)
    }
}

impl<T: DeserializeOwned + Send + 'static, const MOST: usize> OptionalFromRequest<Gateway> for Json<T, MOST> {
    type Rejection = ApiError;

    async fn from_request(request: Request, gateway: &Gateway) -> Result<Option<Self>, ApiError> {
        if !request.headers().contains_key(header::CONTENT_TYPE) {
            return Ok(None);
        }
        <Self as FromRequest<Gateway>>::from_request(request, gateway).await.map(Some)
    }
}

/// `application/json`, or a type whose name ends in `+json`.
fn is_json(headers: &HeaderMap) -> bool {
    let named = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = named.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind.strip_prefix("application/").is_some_and(|kind| kind == "json" || kind.ends_with("+json"))
}

async fn read(gateway: &Gateway, parts: &Parts, body: Body, most: usize) -> Result<Bytes, ApiError> {
    let too_large = || format!("the body has more than {most} bytes");
    gateway.api_bodies.read(body, &parts.headers, most).await.map_err(|why| unread(why, too_large))
}

/// The answer to a body that was not read.
pub(super) fn unread(why: Unread, too_large: impl FnOnce() -> String) -> ApiError {
    match why {
        Unread::TooLarge => ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", too_large()),
        Unread::NoMemory => {
            let detail = "too much is received at once; send it again in a moment";
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "no_memory", detail)
        }
        Unread::Broken => ApiError::bad("the body did not arrive whole"),
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    if json::has_more_values_than(body, MOST_VALUES) {
        let detail = format!("the body has more than {MOST_VALUES} values");
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail));
    }
    let text = std::str::from_utf8(body).map_err(|fault| ApiError::bad(format!("the body is no UTF-8: {fault}")))?;
    serde_json::from_str(text).map_err(|fault| {
        // Read once more, for the place in words.
        let place = serde_json::from_str(text).ok().and_then(|value| json::fit::<T>(&value).err());
        ApiError::bad(format!("the body does not fit: {}", place.unwrap_or_else(|| fault.to_string())))
    })
}
