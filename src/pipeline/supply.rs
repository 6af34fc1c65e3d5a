//! What agents that are applied name of what was uploaded: their skills are put in, their uploads pinned to what they hold.

use std::sync::Arc;

use crate::{
    config::problem::Problem,
    domain::{
        agent::Skill,
        catalog::{Bundle, BundledAgent},
        id::TenantId,
        mount::MountSpec,
        skill::SkillUse,
    },
    executor::{BoxFuture, uploads::Uploads},
    store::{Store, StoreError},
};

/// Completes a bundle with the tenant's skills and uploads. What an agent brings itself goes before. Returns the
/// agents that name an upload which is not there; missing skills are found by the bundle's own check.
///
/// # Errors
/// When the database fails.
pub async fn complete(
    store: &Store,
    tenant: &TenantId,
    bundle: &mut Bundle,
) -> Result<Vec<(String, Problem)>, StoreError> {
    let mut problems = Vec::new();
    for (name, agent) in &mut bundle.agents {
        add_skills(store, tenant, agent).await?;
        for mount in &mut agent.spec.mounts {
            let MountSpec::Upload(mount) = mount else { continue };
            match store.upload(tenant, &mount.upload).await? {
                Some(found) => mount.digest = Some(found.digest),
                None => {
                    let named: String = mount.upload.chars().take(100).collect();
                    let problem = Problem::error(format!("agents/{name}.md"), format!("there is no upload `{named}`"));
                    let problem = problem.help(format!("postern uploads create PATH --name {named}"));
                    problems.push((name.clone(), problem));
                }
            }
        }
    }
    Ok(problems)
}

async fn add_skills(store: &Store, tenant: &TenantId, agent: &mut BundledAgent) -> Result<(), StoreError> {
    let named: Vec<&str> = agent.spec.skills.iter().map(SkillUse::name).collect();
    let missing = named.iter().filter(|name| !agent.skills.iter().any(|skill| skill.name == **name));
    let mut found: Vec<Skill> = Vec::new();
    for name in missing {
        found.extend(store.skill(tenant, name, None).await?.map(|kept| kept.skill));
    }
    if !found.is_empty() {
        agent.skills.append(&mut found);
        let place = |skill: &Skill| named.iter().position(|name| *name == skill.name);
        agent.skills.sort_by_key(place);
    }
    Ok(())
}

/// The tenant's uploads, for an executor.
pub(super) struct KeptUploads {
    pub(super) store: Store,
    pub(super) tenant: TenantId,
}

impl KeptUploads {
    /// For the runs of a tenant whose agent mounts any.
    pub(super) fn of(store: &Store, tenant: &TenantId, mounts: &[MountSpec]) -> Option<Arc<dyn Uploads>> {
        let any = mounts.iter().any(|mount| matches!(mount, MountSpec::Upload(_)));
        any.then(|| Arc::new(Self { store: store.clone(), tenant: tenant.clone() }) as Arc<dyn Uploads>)
    }
}

impl Uploads for KeptUploads {
    fn piece<'a>(&'a self, digest: &'a str, seq: i64) -> BoxFuture<'a, Result<Option<Vec<u8>>, String>> {
        Box::pin(async move {
            let found = self.store.upload_piece(&self.tenant, digest, seq).await;
            found.map_err(|fault| {
                tracing::warn!(tenant = %self.tenant, error = ?fault, "an upload could not be read");
                "the database failed".to_owned()
            })
        })
    }
}
