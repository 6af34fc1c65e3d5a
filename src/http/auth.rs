//! Who calls the API: a bearer key, looked up by its hash.

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, header, request::Parts},
};

use crate::{
    domain::id::TenantId,
    http::{error::ApiError, gateway::Gateway},
};

/// What every key begins with.
const PREFIX: &str = "pst_";

/// The tenant whose key the request carries.
pub(super) struct Caller(pub(super) TenantId);

impl FromRequestParts<Gateway> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, ApiError> {
        let refused = || {
            ApiError::new(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "send `Authorization: Bearer pst_…` with a valid key",
            )
        };
        let value =
            parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).ok_or_else(refused)?;
        // The scheme's name is in any case (RFC 9110 §11.1).
        let (scheme, key) = value.split_once(' ').ok_or_else(refused)?;
        let key = key.trim();
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(refused());
        }
        if !key.starts_with(PREFIX) || key.len() > 128 {
            return Err(refused());
        }
        gateway.store.tenant_of_key(key).await?.map(Self).ok_or_else(refused)
    }
}
