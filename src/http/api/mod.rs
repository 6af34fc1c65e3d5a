//! The API under `/v1`, one file a noun.

pub(super) mod agents;
pub(super) mod apply;
pub(super) mod approvals;
pub(super) mod controls;
pub(super) mod deliveries;
pub(super) mod events;
pub(super) mod explain;
pub(super) mod followups;
pub(super) mod left;
mod many;
pub(super) mod memory;
pub(super) mod replay;
pub(super) mod report;
pub(super) mod runs;
pub(super) mod schedules;
pub(super) mod sessions;
pub(super) mod skills;
pub(super) mod sources;
pub(super) mod uploads;

use serde::Deserialize;

use crate::{http::error::ApiError, store::Page};

/// The part of a list that is wanted.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ListQuery {
    before: Option<String>,
    limit: Option<i64>,
}

impl ListQuery {
    fn page(&self) -> Result<Page, ApiError> {
        let limit = self.limit.unwrap_or(50);
        if !(1..=200).contains(&limit) {
            return Err(ApiError::bad("`limit` is a number from 1 to 200"));
        }
        let is_id =
            |text: &String| text.len() <= 64 && text.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric());
        if self.before.as_ref().is_some_and(|before| !is_id(before)) {
            return Err(ApiError::bad("`before` is the `next` of an earlier page"));
        }
        Ok(Page { before: self.before.clone(), limit })
    }
}
