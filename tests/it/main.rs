//! The one integration-test binary: every suite is a module of it.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod architecture;
mod config;
mod demo;
mod executor_claude;
mod executor_command;
mod executor_killed;
mod mail;
mod outbound;
mod queue;
mod store;
mod support;
mod vectors;
