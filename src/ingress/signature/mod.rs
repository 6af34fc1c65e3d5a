//! Signature schemes as data, and the one engine that runs them.

pub mod engine;
pub mod key;
pub mod scheme;
pub mod template;
pub mod url_form;
