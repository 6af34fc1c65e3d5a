//! Signature schemes as data, and the one engine that runs them.

pub mod canonical;
mod condition;
pub mod engine;
mod find;
pub mod handshake;
pub(in crate::ingress) mod hash_choice;
mod jwt;
pub mod key;
pub(in crate::ingress) mod mac;
pub mod public_key;
pub mod scheme;
pub mod source;
pub mod template;
pub mod trace;
pub mod url_form;
mod variant;
mod window;
