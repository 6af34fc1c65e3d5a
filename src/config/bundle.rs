//! A loaded project as the one value that `apply` sends.

use crate::{
    config::load::Loaded,
    domain::catalog::{Bundle, BundledAgent},
};

/// Everything that the project says of sources and agents.
#[must_use]
pub fn bundle(loaded: &Loaded) -> Bundle {
    Bundle {
        sources: loaded.settings.sources.clone(),
        agents: loaded
            .agents
            .iter()
            .map(|(name, agent)| {
                (
                    name.clone(),
                    BundledAgent { spec: agent.spec.clone(), skills: agent.skills.clone(), files: agent.files.clone() },
                )
            })
            .collect(),
        keep: loaded.broken.clone(),
    }
}
