//! The HTTP surface: senders at `/in/{source}`, operators at `/v1`.

pub mod accept;
mod api;
mod auth;
mod certificates;
mod error;
mod extract;
mod gateway;
mod health;
mod hooks;
mod memory;
mod peer;
mod pressure;
pub mod router;
mod stream;

pub use gateway::{Gateway, GatewayOptions};
