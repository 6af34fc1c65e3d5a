//! Postern: mail, SMS and webhooks trigger agents, safely.
//!
//! The modules in the order of their layers; each uses only those above it in this list
//! (`tests/it/architecture.rs` checks it).

pub mod domain;

pub mod archive;
pub mod clock;
pub mod crypto;
pub mod egress;
#[cfg(feature = "sabotage")]
pub mod sabotage;
pub mod telemetry;

pub mod config;

pub mod executor;
pub mod ingress;
pub mod live;
pub mod mailbox;
pub mod outbound;
pub mod store;

pub mod queue;

pub mod pipeline;

pub mod http;

pub mod app;

pub mod cli;
