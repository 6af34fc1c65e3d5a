//! What several suites stand on.

pub(crate) mod messages_api;
