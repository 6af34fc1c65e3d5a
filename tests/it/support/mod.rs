//! What several suites share.

pub(crate) mod database;
pub(crate) mod records;
