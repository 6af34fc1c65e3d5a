//! What a run is given beside its prompt: its event, secrets looked up, and how it knows that it is still wanted here.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    crypto::Secret,
    domain::{
        agent::{AgentSpec, EnvValue},
        claude::McpServer,
        database::{self, DatabaseSpec},
        mount::MountSpec,
        trigger::TriggerSpec,
    },
    executor::Belief,
    pipeline::{
        execute::{Execute, trigger_of},
        servers,
    },
    queue::Job,
    store::RunWork,
};

/// What the agent finds as its event: the newest one, with all of them as `events` where there may be several.
pub(super) fn event(work: &RunWork, views: Vec<Value>) -> String {
    let mut view = views.last().cloned().unwrap_or_default();
    if views.len() > 1 || trigger_of(work).is_some_and(TriggerSpec::gathers) {
        view["events"] = Value::Array(views);
    }
    let mut text = view.to_string();
    // It stays as long as the agent works.
    text.shrink_to_fit();
    text
}

/// Whether the run may still be believed to be this worker's.
pub(super) fn belief(job: &Job) -> Belief {
    let job = job.clone();
    Belief::new(move || job.is_believed())
}

impl Execute {
    /// The agent's environment, its own databases in it.
    pub(super) fn environment(&self, agent: &AgentSpec) -> Result<BTreeMap<String, Secret>, String> {
        let mut env = BTreeMap::new();
        for (name, value) in &agent.env {
            env.insert(name.clone(), self.value(value)?);
        }
        for database in agent.databases.values().filter(|database| database.server().is_none()) {
            env.insert(database.env.clone(), self.database_url(database)?);
        }
        Ok(env)
    }

    /// Secrets of MCP servers, the databases among them that one of them alone is given.
    pub(super) fn server_secrets(&self, agent: &AgentSpec) -> Result<BTreeMap<String, Secret>, String> {
        let mut secrets = servers::secrets(&agent.mcp, &*self.secrets)?;
        for database in agent.databases.values() {
            if let Some(server) = database.server() {
                secrets.insert(McpServer::secret_name(server, "env", &database.env), self.database_url(database)?);
            }
        }
        Ok(secrets)
    }

    fn database_url(&self, database: &DatabaseSpec) -> Result<Secret, String> {
        let url = self.value(&database.url)?;
        let url = std::str::from_utf8(url.expose()).map(database::read_only);
        url.map(Secret::new).map_err(|_| format!("the URL in {} is no UTF-8", database.env))
    }

    /// The environment of the agent's setup.
    pub(super) fn setup_environment(&self, agent: &AgentSpec) -> Result<BTreeMap<String, Secret>, String> {
        let env = agent.setup.iter().flat_map(|setup| &setup.env);
        env.map(|(name, value)| Ok((name.clone(), self.value(value)?))).collect()
    }

    /// What else must not stand in the record.
    pub(super) fn hidden(&self, agent: &AgentSpec) -> Result<Vec<Secret>, String> {
        let mut hidden = Vec::new();
        for database in agent.databases.values() {
            let url = self.value(&database.url)?;
            let passwords = std::str::from_utf8(url.expose()).map(database::passwords).unwrap_or_default();
            hidden.extend(passwords.into_iter().map(Secret::new));
            hidden.push(url);
        }
        Ok(hidden)
    }

    /// What its repositories ask for, by where they are mounted.
    pub(super) fn mount_tokens(&self, mounts: &[MountSpec]) -> Result<BTreeMap<String, Secret>, String> {
        let git = mounts.iter().filter_map(|mount| match mount {
            MountSpec::Git(mount) => Some((mount, mount.token.as_ref()?)),
            MountSpec::Host(_) | MountSpec::Upload(_) => None,
        });
        git.map(|(mount, token)| Ok((mount.to.clone(), self.value(token)?))).collect()
    }

    pub(super) fn value(&self, value: &EnvValue) -> Result<Secret, String> {
        Ok(match value {
            EnvValue::Text(text) => Secret::new(text.as_bytes()),
            EnvValue::Number(number) => Secret::new(number.to_string()),
            EnvValue::Switch(on) => Secret::new(on.to_string()),
            EnvValue::Named { secret } => self.secrets.named(secret)?,
            EnvValue::Reference(reference) => self.secrets.secret(reference)?,
        })
    }
}
