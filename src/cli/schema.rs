//! `schema`: JSON Schemas for editors.

use clap::ValueEnum;

use crate::{cli::output, config::schema};

/// Whose schema.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Schema {
    /// Of `postern.toml`.
    Config,
    /// Of the frontmatter of `agents/*.md`.
    Agent,
}

pub(super) fn schema(of: Schema) {
    output::json(&match of {
        Schema::Config => schema::config_schema(),
        Schema::Agent => schema::agent_schema(),
    });
}
