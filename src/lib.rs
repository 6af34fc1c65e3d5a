//! Postern: mail, SMS and webhooks trigger agents, safely.
//!
//! The modules in the order of their layers; each uses only those above it in this list
//! (`tests/it/architecture.rs` checks it).

pub mod domain;

pub mod clock;
pub mod crypto;

pub mod config;

pub mod executor;
pub mod ingress;
pub mod outbound;
