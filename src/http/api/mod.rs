//! The API under `/v1`, one file a noun.

pub(super) mod agents;
pub(super) mod apply;
pub(super) mod deliveries;
pub(super) mod events;
pub(super) mod explain;
pub(super) mod runs;
pub(super) mod sessions;
pub(super) mod sources;

use serde::Deserialize;

use crate::{http::error::ApiError, store::Page};

/// The part of a list that is wanted, and of what state.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ListQuery {
    before: Option<String>,
    limit: Option<i64>,
    state: Option<String>,
    event: Option<String>,
    run: Option<String>,
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

    /// The state asked for, read by `parse`.
    fn state<T>(&self, parse: impl Fn(&str) -> Option<T>, words: &str) -> Result<Option<T>, ApiError> {
        match &self.state {
            None => Ok(None),
            Some(word) => parse(word).map(Some).ok_or_else(|| ApiError::bad(format!("`state` is one of {words}"))),
        }
    }
}
