//! The project directory: `postern.toml`, `agents/*.md`, `skills/`, and the environment.

pub mod agents;
pub mod bundle;
mod checks;
mod claude;
mod commands;
pub mod environment;
mod flow;
pub mod init;
pub mod load;
mod locate;
mod mounts;
mod own_tools;
pub mod problem;
mod repositories;
mod schedules;
pub mod schema;
mod schemas;
pub mod secrets;
pub mod settings;
mod setups;
mod skill_uses;
pub mod skills;
mod strict;
pub mod validate;
pub mod watch;
mod yaml;
