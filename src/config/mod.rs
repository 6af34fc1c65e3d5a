//! The project directory: `postern.toml`, `agents/*.md`, `skills/`, and the environment.

pub mod settings;
