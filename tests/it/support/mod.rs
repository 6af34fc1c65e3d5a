//! What several suites stand on.

pub(crate) mod database;
pub(crate) mod messages_api;
pub(crate) mod records;
