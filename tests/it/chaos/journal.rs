//! What was seen outside: the senders' acknowledgements, the agents' log, the receiver's callbacks.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    chaos::{
        cluster::{Cluster, SLOTS},
        faults::Chaos,
        load::Acknowledged,
    },
    support::e2e_project::Engine,
};

/// One execution of an agent, from its own lines.
#[derive(Debug)]
struct Execution {
    session: String,
    key: String,
    /// Seconds since the machine started.
    began: f64,
    last: f64,
    ended: bool,
    /// Where its first line stands in the log.
    first_line: usize,
    last_line: usize,
}

/// Everything that was seen.
pub(crate) struct Journal {
    acknowledged: Vec<Acknowledged>,
    executions: Vec<Execution>,
    /// By key: ids of callbacks, runs that they tell of, and how many came.
    callbacks: BTreeMap<String, (BTreeSet<String>, BTreeSet<String>, usize)>,
}

impl Journal {
    pub(crate) fn of(cluster: &Cluster, acknowledged: &[Acknowledged]) -> Self {
        let mut callbacks: BTreeMap<String, (BTreeSet<String>, BTreeSet<String>, usize)> = BTreeMap::new();
        for callback in cluster.receiver.callbacks() {
            let data = &callback.body["data"];
            let text = data["text"].as_str().unwrap_or_else(|| panic!("a run failed: {data}"));
            let key = text.trim().strip_prefix("key=").unwrap_or_else(|| panic!("an agent's answer: {text}"));
            let seen = callbacks.entry(key.to_owned()).or_default();
            seen.0.insert(callback.id);
            seen.1.insert(data["run"].as_str().unwrap().to_owned());
            seen.2 += 1;
        }
        let executions = executions(&cluster.project.out("log"));
        Self { acknowledged: acknowledged.to_vec(), executions, callbacks }
    }

    /// What must hold, whatever happened.
    ///
    /// # Errors
    /// What does not hold.
    pub(crate) fn judge(&self, interruptions: u64) -> Result<(), String> {
        self.each_event_was_answered_under_one_key()?;
        self.each_event_was_executed(interruptions)?;
        self.no_session_ran_twice_at_once()?;
        self.sessions_ran_in_order()
    }

    fn each_event_was_answered_under_one_key(&self) -> Result<(), String> {
        let sent: BTreeSet<&str> = self.acknowledged.iter().map(|event| event.key.as_str()).collect();
        let lost: Vec<&&str> = sent.iter().filter(|key| !self.callbacks.contains_key(**key)).collect();
        if !lost.is_empty() {
            return Err(format!("{} of {} acknowledged events were never answered: {lost:?}", lost.len(), sent.len()));
        }
        for (key, (ids, runs, _)) in &self.callbacks {
            if !sent.contains(key.as_str()) {
                return Err(format!("{key} was answered, but its sender knows nothing of it"));
            }
            if ids.len() != 1 || runs.len() != 1 {
                return Err(format!("{key} was answered under the keys {ids:?}, by the runs {runs:?}"));
            }
        }
        let all: BTreeSet<&String> = self.callbacks.values().flat_map(|(ids, ..)| ids).collect();
        if all.len() == self.callbacks.len() {
            Ok(())
        } else {
            Err("two events were answered under one key".to_owned())
        }
    }

    fn each_event_was_executed(&self, interruptions: u64) -> Result<(), String> {
        let ended: BTreeSet<&str> =
            self.executions.iter().filter(|one| one.ended).map(|one| one.key.as_str()).collect();
        if let Some(event) = self.acknowledged.iter().find(|event| !ended.contains(event.key.as_str())) {
            return Err(format!("{} was answered, but no agent came to its end with it", event.key));
        }
        let most = self.acknowledged.len() + usize::try_from(interruptions).unwrap_or(usize::MAX) * SLOTS * 2;
        if self.executions.len() > most {
            return Err(format!("{} executions, {most} may be", self.executions.len()));
        }
        Ok(())
    }

    /// Once an execution has written its first line, none that began earlier in its session writes any more.
    fn no_session_ran_twice_at_once(&self) -> Result<(), String> {
        let mut last: BTreeMap<&str, &Execution> = BTreeMap::new();
        for execution in self.executions.iter().filter(|execution| execution.session != "none") {
            if let Some(before) = last.insert(&execution.session, execution)
                && before.last_line > execution.first_line
            {
                return Err(format!("two executions of a session at once: {before:?} and {execution:?}"));
            }
        }
        Ok(())
    }

    /// The sender of a session waits for each acknowledgement, so the numbers of its events are their order.
    fn sessions_ran_in_order(&self) -> Result<(), String> {
        let mut last: BTreeMap<&str, u64> = BTreeMap::new();
        for execution in self.executions.iter().filter(|execution| execution.session != "none") {
            let number = execution.key.split('-').nth(1).and_then(|number| number.parse().ok()).unwrap_or(0);
            if last.insert(&execution.session, number).is_some_and(|before| before > number) {
                return Err(format!("an execution of a session after that of a later event: {execution:?}"));
            }
        }
        Ok(())
    }

    /// Seconds from the last line of an execution that broke off to the next start with the same event; the longest.
    fn slowest_restart(&self) -> f64 {
        let waits = self.executions.iter().enumerate().filter(|(_, one)| !one.ended).filter_map(|(at, broken)| {
            let next = self.executions[at + 1..].iter().find(|next| next.key == broken.key)?;
            Some(next.began - broken.last)
        });
        waits.fold(0.0, f64::max)
    }

    /// What happened, for people.
    pub(crate) fn report(&self, engine: Engine, seed: u64, chaos: &Chaos, took: Duration) -> String {
        let broken = self.executions.iter().filter(|one| !one.ended).count();
        let callbacks: usize = self.callbacks.values().map(|(.., count)| count).sum();
        let slowest = self.acknowledged.iter().map(|event| event.took).max().unwrap_or_default();
        let faults: Vec<String> = chaos.counts.iter().map(|(what, count)| format!("{count} x {what}")).collect();
        format!(
            "chaos on {engine:?}, CHAOS_SEED={seed}, {took:.1?}\n  faults: {}\n  {} events acknowledged, the slowest after \
             {slowest:.1?}\n  {} executions, {broken} of them broken off, the slowest taken up after {:.1} s\n  {callbacks} \
             callbacks, {} of them repeated\n  slowest start of a process {:.1?}",
            faults.join(", "),
            self.acknowledged.len(),
            self.executions.len(),
            self.slowest_restart(),
            callbacks - self.callbacks.len(),
            chaos.slowest_start,
        )
    }
}

fn executions(log: &str) -> Vec<Execution> {
    let mut found: Vec<Execution> = Vec::new();
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    for (number, line) in log.lines().enumerate() {
        let [step, session, key, _run, id, at] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("a line of the agents' log: {line}")
        };
        let at: f64 = at.parse().unwrap();
        let index = *known.entry(id).or_insert(found.len());
        if index == found.len() {
            let (session, key) = (session.to_owned(), key.to_owned());
            found.push(Execution {
                session,
                key,
                began: at,
                last: at,
                ended: false,
                first_line: number,
                last_line: number,
            });
        }
        let execution = &mut found[index];
        (execution.last, execution.last_line) = (at, number);
        execution.ended |= step == "end";
    }
    found
}
