//! The groups whose limits hold for a run: those of its trigger, its agent, its source and its tenant.

use serde_json::Value;

use crate::{
    crypto,
    domain::{
        catalog::Catalog,
        concurrency::{Concurrency, Group, Strategy, fault_of},
        event::AgentEvent,
        id::AgentId,
        template::{Template, clip},
        trigger::Trigger,
    },
};

/// Bytes of a key that people are shown.
const SHOWN_KEY: usize = 80;

/// The limits of a trigger's runs, compiled, from the narrowest.
#[derive(Debug, Default)]
pub(super) struct Limits(Vec<Limit>);

#[derive(Debug)]
struct Limit {
    /// What the group's id begins with: whose limit it is.
    owner: String,
    label: String,
    places: i64,
    strategy: Strategy,
    key: Option<(String, Template)>,
}

impl Limits {
    /// The limits that hold for a trigger's runs.
    ///
    /// # Errors
    /// One of them is broken.
    pub(super) fn compile(trigger: &Trigger, catalog: &Catalog) -> Result<Self, String> {
        let number = trigger.position + 1;
        let source = catalog.sources.get(&trigger.spec.source);
        let mut limits = Self::default();
        let of_trigger =
            (format!("trigger:{}", trigger.id), format!("trigger {number} of agent {}", trigger.agent_name));
        limits.add(of_trigger, &trigger.spec.concurrency)?;
        let of_agent = (format!("agent:{}", trigger.agent), format!("agent {}", trigger.agent_name));
        limits.add(of_agent, &trigger.agent_limits)?;
        if let Some(source) = source {
            let of_source = (format!("source:{}", source.id), format!("source {}", source.name));
            limits.add(of_source, &source.spec.concurrency)?;
        }
        limits.close(catalog);
        Ok(limits)
    }

    /// The limits that hold for a run that no trigger starts: those of its agent, of its event's source and of the tenant.
    ///
    /// # Errors
    /// One of them is broken.
    pub(super) fn without_trigger(
        (agent, name): (&AgentId, &str),
        of_agent: &[Concurrency],
        event: &AgentEvent,
        catalog: &Catalog,
    ) -> Result<Self, String> {
        let mut limits = Self::default();
        limits.add((format!("agent:{agent}"), format!("agent {name}")), of_agent)?;
        if let Some(source) = catalog.sources.values().find(|source| source.id == event.source) {
            let of_source = (format!("source:{}", source.id), format!("source {}", source.name));
            limits.add(of_source, &source.spec.concurrency)?;
        }
        limits.close(catalog);
        Ok(limits)
    }

    /// Puts the narrowest first and the tenant's last.
    fn close(&mut self, catalog: &Catalog) {
        // A key makes a group narrower than any without one.
        self.0.sort_by_key(|limit| limit.key.is_none());
        if let Some(Group { id, label, places, strategy }) = catalog.tenant_group.clone() {
            self.0.push(Limit { owner: id, label, places, strategy, key: None });
        }
    }

    fn add(&mut self, (owner, label): (String, String), limits: &[Concurrency]) -> Result<(), String> {
        if let Some(fault) = fault_of(limits) {
            return Err(format!("the `concurrency` of {label} {fault}"));
        }
        for limit in limits {
            let key = limit.key.as_ref().map(|text| Template::parse(text).map(|template| (text.clone(), template)));
            self.0.push(Limit {
                owner: owner.clone(),
                label: label.clone(),
                places: i64::from(limit.limit.max(1)),
                strategy: limit.strategy,
                key: key.transpose()?,
            });
        }
        Ok(())
    }

    /// The groups of an event's run. `view` is called only when a limit has a key.
    pub(super) fn groups<'a>(&self, view: impl Fn() -> &'a Value) -> Vec<Group> {
        let group = |limit: &Limit| {
            let (mut id, mut label) = (limit.owner.clone(), limit.label.clone());
            if let Some((text, template)) = &limit.key {
                let key = template.render(view());
                let hash = crypto::sha256_hex(format!("{text}\0{}", key.trim()).as_bytes());
                id = format!("{id}:{}", clip(&hash, 32));
                label = format!("{label}, key `{}`", clip(key.trim(), SHOWN_KEY));
            }
            Group { id, label, places: limit.places, strategy: limit.strategy }
        };
        self.0.iter().map(group).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Limits;
    use crate::domain::{
        catalog::Catalog,
        concurrency::{Group, Strategy, TenantLimit},
        id::{AgentId, SourceId, TenantId, TriggerId},
        source::Source,
        time::Timestamp,
        trigger::Trigger,
    };

    const NOW: Timestamp = Timestamp(1_795_000_000_000);

    fn world() -> (Trigger, Catalog) {
        let spec = json!({"provider": "github", "concurrency": {"limit": 9}});
        let source = Source {
            id: SourceId::new(NOW),
            tenant: TenantId::new(NOW),
            name: "hub".to_owned(),
            spec: serde_json::from_value(spec).unwrap(),
        };
        let trigger = Trigger {
            id: TriggerId::new(NOW),
            agent: AgentId::new(NOW),
            agent_name: "triage".to_owned(),
            agent_version: 1,
            position: 0,
            agent_limits: serde_json::from_value(json!([{"limit": 4}])).unwrap(),
            spec: serde_json::from_value(json!({"source": "hub", "concurrency": [
                {"limit": 3}, {"limit": 1, "key": "{{ body.repository.id }}", "strategy": "cancel_running"}]}))
            .unwrap(),
        };
        let sources = [("hub".to_owned(), source)].into();
        let limit = TenantLimit { places: 20, strategy: Strategy::DropNewest };
        let tenant_group = Some(Group::of_tenant(&TenantId::new(NOW), limit));
        (trigger, Catalog { sources, tenant_group, ..Catalog::default() })
    }

    #[test]
    fn the_narrowest_group_comes_first_and_the_tenants_last() {
        let (trigger, catalog) = world();
        let limits = Limits::compile(&trigger, &catalog).unwrap();
        let of = |view: Value| limits.groups(|| &*Box::leak(Box::new(view.clone())));
        let groups = of(json!({"body": {"repository": {"id": 42}}}));
        let labels: Vec<&str> = groups.iter().map(|group| group.label.as_str()).collect();
        assert_eq!(
            labels,
            [
                "trigger 1 of agent triage, key `42`",
                "trigger 1 of agent triage",
                "agent triage",
                "source hub",
                "the tenant"
            ]
        );
        assert_eq!(groups.iter().map(|group| group.places).collect::<Vec<_>>(), [1, 3, 4, 9, 20]);
        let other = of(json!({"body": {"repository": {"id": 43}}}));
        assert_ne!(groups[0].id, other[0].id);
        assert_eq!(groups[1..], other[1..]);
        assert_eq!(of(json!({}))[0].id, of(json!({"body": {}}))[0].id, "those without a key are one group");
    }

    #[test]
    fn the_tenants_limit_holds_without_any_source() {
        let (mut trigger, mut catalog) = world();
        catalog.sources.clear();
        trigger.spec.concurrency.clear();
        let groups = Limits::compile(&trigger, &catalog).unwrap().groups(|| &Value::Null);
        let labels: Vec<&str> = groups.iter().map(|group| group.label.as_str()).collect();
        assert_eq!(labels, ["agent triage", "the tenant"]);
        assert_eq!(groups[1].strategy, Strategy::DropNewest);
    }
}
