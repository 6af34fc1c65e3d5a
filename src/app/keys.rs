//! API keys that are made here.

use crate::{
    crypto,
    domain::id::TenantId,
    store::{Store, StoreError},
};

/// Makes the tenant's first API key.
pub(super) async fn first(store: &Store, tenant: &TenantId) -> Result<Option<String>, StoreError> {
    if store.has_key(tenant).await? {
        return Ok(None);
    }
    let Some(key) = fresh() else { return Ok(None) };
    store.add_key(tenant, "made at first start", &key).await?;
    Ok(Some(key))
}

/// An API key that nobody can guess; `None` when the system has no randomness to give.
#[must_use]
pub fn fresh() -> Option<String> {
    let bytes = crypto::random::<32>().ok()?;
    Some(format!("pst_{}", data_encoding::BASE32_DNSSEC.encode(&bytes)))
}
