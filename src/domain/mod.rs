//! The words of the product and its rules: no I/O, no async, no database.
//!
//! Everything above speaks in these types. One file per noun.

pub mod agent;
pub mod agent_note;
pub mod approval;
pub mod ask;
pub mod catalog;
pub mod claude;
pub mod concurrency;
pub mod database;
pub mod delivery;
pub mod event;
pub mod fetch;
pub mod filter;
pub mod flow;
pub mod id;
pub mod imap;
pub mod json;
pub mod mail;
pub mod mount;
pub mod note;
pub mod organisation;
pub mod own_tool;
pub mod pace;
pub mod pattern;
pub mod permission;
pub mod price;
pub mod report;
pub mod retention;
pub mod retries;
pub mod run;
pub mod schedule;
pub mod schema;
pub mod segment;
pub mod session;
pub mod setup;
pub mod skill;
pub mod source;
pub mod template;
pub mod texting;
pub mod thread;
pub mod time;
pub mod trigger;
pub mod trust;
pub mod upload;
pub mod variables;
