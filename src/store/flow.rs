//! What becomes of the runs of a batch whose triggers wait, limit or gather: decided in the accepting transaction, under
//! the locks of the rows that hold the counts, in the order in which the events came. No SQL here.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    domain::{
        concurrency::Group,
        delivery::Message,
        flow::{Flow, Gather, OpenRun, Rate, Window},
        id::{DeliveryId, EventId, RunId, SessionId},
        template::clip,
        time::Timestamp,
    },
    store::{
        EventStatus, clean,
        intake::{Fresh, NewRun, Prepared, SessionOf},
        to_json,
    },
};

/// Time for which rows are kept beyond the time when they mean something: clocks differ.
const SPARE_MS: i64 = 3_600_000;
/// Time for which a run that is open for further events is remembered beyond its due time.
const OPEN_MS: i64 = 86_400_000;

/// What became of a run that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is made.
    Starts,
    /// Its event goes with this run.
    Joins(RunId),
    /// It is not made, for this reason.
    Refused(String),
    /// Another copy of the same mail has a run.
    Copy,
}

/// By the id that the run would have.
pub(super) type Fates = BTreeMap<RunId, Fate>;

/// What was written of a batch.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// See [`Fresh`].
    pub(super) fresh: Fresh,
    /// What became of the runs that were looked at.
    pub(super) fates: Fates,
    /// The place of its runs in their lanes.
    pub(super) arrival: i64,
}

impl Written {
    /// What became of an event that was new: its runs, and its status with the reason.
    pub(super) fn outcome(&self, prepared: &Prepared) -> (Vec<RunId>, EventStatus, Option<String>) {
        let acceptance = &prepared.acceptance;
        let mut runs: Vec<RunId> = Vec::new();
        for run in &acceptance.runs {
            let id = match self.fates.get(&run.id) {
                Some(Fate::Joins(joined)) => Some(joined),
                Some(Fate::Starts) => Some(&run.id),
                Some(Fate::Refused(_) | Fate::Copy) => None,
                None => Some(&run.id).filter(|id| self.fresh.contains(id.as_str())),
            };
            runs.extend(id.filter(|id| !runs.contains(id)).cloned());
        }
        match refusal(prepared, &self.fates) {
            Some(reason) => (runs, EventStatus::Ignored, Some(reason)),
            None => (runs, acceptance.status, acceptance.reason.clone()),
        }
    }
}

impl Written {
    /// How many of an event's runs were not refused.
    pub(super) fn wanted(&self, prepared: &Prepared) -> i64 {
        let refused = |run: &&NewRun| matches!(self.fates.get(&run.id), Some(Fate::Refused(_)));
        let wanted = prepared.acceptance.runs.iter().filter(|run| !refused(run)).count();
        i64::try_from(wanted).unwrap_or(i64::MAX)
    }
}

/// Why an event starts nothing whose every run was refused.
fn refusal(prepared: &Prepared, fates: &Fates) -> Option<String> {
    let mut reasons: Vec<&str> = Vec::new();
    for run in &prepared.acceptance.runs {
        let Some(Fate::Refused(reason)) = fates.get(&run.id) else { return None };
        if !reasons.contains(&reason.as_str()) {
            reasons.push(reason);
        }
    }
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// A further event of a run.
pub(super) struct Joined<'a> {
    pub(super) run: RunId,
    pub(super) position: i64,
    pub(super) entry: Entry<'a>,
}

/// A run to be made, and when it begins.
pub(super) struct Started<'a> {
    pub(super) run_at: i64,
    pub(super) entry: Entry<'a>,
}

/// What the sender of an event beyond its limit is told.
pub(super) struct Notice<'a> {
    pub(super) id: DeliveryId,
    pub(super) prepared: &'a Prepared,
    pub(super) message: &'a Message,
}

/// An event none or not all of whose runs are made: its columns.
pub(super) struct Changed<'a> {
    pub(super) event: &'a EventId,
    pub(super) status: &'static str,
    pub(super) reason: Option<String>,
    pub(super) routing: String,
}

#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) prepared: &'a Prepared,
    pub(super) run: &'a NewRun,
    pub(super) session: Option<&'a SessionId>,
}

/// The runs of a batch that are looked at, and all that is known for it.
pub(super) struct Ledger<'a> {
    entries: Vec<Entry<'a>>,
    /// The rows that hold the counts: their state as JSON and when it means nothing any more.
    rows: BTreeMap<String, (String, i64)>,
    /// Those of them that changed.
    changed_rows: BTreeSet<String>,
    /// Of the runs that rows call open: those that nobody has claimed yet.
    open: HashSet<String>,
    /// The last unfinished run of each session.
    last: BTreeMap<String, String>,
    /// Unfinished runs of the groups that take no more than they have places for.
    members: HashMap<String, i64>,
    /// (agent, key) of mails that have a run.
    known: HashSet<(String, String)>,
    pub(super) started: Vec<Started<'a>>,
    pub(super) joined: Vec<Joined<'a>>,
    pub(super) notices: Vec<Notice<'a>>,
    /// When runs that took further events begin now.
    pub(super) moved: BTreeMap<String, i64>,
    pub(super) fates: Fates,
}

impl<'a> Ledger<'a> {
    /// The runs of the new events that are not made like any other, in the order in which the events came.
    pub(super) fn new(batch: &[&'a Prepared], fresh: &Fresh, sessions: &'a SessionOf) -> Self {
        let new = batch.iter().copied().filter(|prepared| fresh.contains(prepared.acceptance.event.id.as_str()));
        let mut entries: Vec<Entry<'a>> = new
            .flat_map(|prepared| prepared.acceptance.runs.iter().map(move |run| (prepared, run)))
            .filter(|(_, run)| !run.is_plain())
            .map(|(prepared, run)| Entry { prepared, run, session: sessions.get(&run.id) })
            .collect();
        entries.sort_by(|a, b| {
            let place = |entry: &Entry<'a>| (entry.prepared.acceptance.event.received_at, entry.run.id.clone());
            place(a).cmp(&place(b))
        });
        let rows = entries.iter().flat_map(Entry::keys).map(|key| (key, (String::new(), 0))).collect();
        Self {
            entries,
            rows,
            changed_rows: BTreeSet::new(),
            open: HashSet::new(),
            last: BTreeMap::new(),
            members: HashMap::new(),
            known: HashSet::new(),
            started: Vec::new(),
            joined: Vec::new(),
            notices: Vec::new(),
            moved: BTreeMap::new(),
            fates: Fates::new(),
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The keys of the rows that are to be locked, in order, with the tenant of each.
    pub(super) fn keys(&self) -> Vec<(String, String)> {
        let mut tenants: BTreeMap<String, &str> = BTreeMap::new();
        for entry in &self.entries {
            for key in entry.keys() {
                tenants.insert(key, entry.prepared.acceptance.event.tenant.as_str());
            }
        }
        tenants.into_iter().map(|(key, tenant)| (key, tenant.to_owned())).collect()
    }

    /// Takes the rows as they were found.
    pub(super) fn load(&mut self, found: Vec<(String, String, i64)>) {
        self.rows.extend(found.into_iter().map(|(key, state, expires)| (key, (state, expires))));
    }

    /// The runs that rows call open.
    pub(super) fn candidates(&self) -> Vec<String> {
        let gathers = self.entries.iter().filter_map(Entry::gather_key);
        let found: BTreeSet<String> =
            gathers.filter_map(|key| self.state::<OpenRun>(&key)).map(|open| open.run.to_string()).collect();
        found.into_iter().collect()
    }

    pub(super) fn set_open(&mut self, found: Vec<(String,)>) {
        self.open = found.into_iter().map(|(id,)| id).collect();
    }

    /// The sessions whose unfinished runs matter.
    pub(super) fn lanes(&self) -> Vec<String> {
        let matters = |flow: &Flow| flow.drops || matches!(flow.gather, Some((Gather::Collect, _)));
        let lanes: BTreeSet<String> = self
            .entries
            .iter()
            .filter(|entry| matters(&entry.run.flow))
            .filter_map(|entry| entry.session.map(SessionId::to_string))
            .collect();
        lanes.into_iter().collect()
    }

    pub(super) fn set_last(&mut self, found: Vec<(String, String)>) {
        self.last = found.into_iter().collect();
    }

    /// The groups whose unfinished runs are counted, as JSON rows. Whoever adds one holds the row of its count.
    pub(super) fn dropping(&self) -> Option<String> {
        let groups = self.entries.iter().flat_map(|entry| entry.run.dropping());
        let ids: BTreeSet<[&str; 1]> = groups.map(|group| [group.id.as_str()]).collect();
        (!ids.is_empty()).then(|| to_json(&ids))
    }

    pub(super) fn set_members(&mut self, found: Vec<(String, i64)>) {
        self.members = found.into_iter().collect();
    }

    /// What copies of mails share, as lists of agents and keys.
    pub(super) fn once_keys(&self) -> (Vec<String>, Vec<String>) {
        let keyed =
            self.entries.iter().filter_map(|entry| Some((entry.run.agent.to_string(), entry.run.once_key.clone()?)));
        keyed.unzip()
    }

    pub(super) fn set_known(&mut self, found: Vec<(String, String)>) {
        self.known = found.into_iter().collect();
    }

    /// Decides, event by event.
    pub(super) fn decide(&mut self) {
        for entry in std::mem::take(&mut self.entries) {
            let fate = self.fate(entry);
            self.fates.insert(entry.run.id.clone(), fate);
        }
    }

    fn fate(&mut self, entry: Entry<'a>) -> Fate {
        let run = entry.run;
        if let Some(once) = &run.once_key
            && !self.known.insert((run.agent.to_string(), once.clone()))
        {
            return Fate::Copy;
        }
        let open = run.flow.gather.as_ref().and_then(|(gather, _)| self.open_run(entry, *gather));
        if let Some(reason) = self.refusal(entry, open.is_some()) {
            // Its copies are refused for themselves.
            if let Some(once) = &run.once_key {
                self.known.remove(&(run.agent.to_string(), once.clone()));
            }
            return Fate::Refused(reason);
        }
        match (run.flow.gather.as_ref().map(|(gather, _)| *gather), open) {
            (Some(gather), Some((key, open))) => self.join(entry, gather, key, open),
            (gather, _) => self.start(entry, gather),
        }
    }

    /// Why its run is not made. An event that joins another run needs no place.
    fn refusal(&mut self, entry: Entry<'a>, joins: bool) -> Option<String> {
        let flow = &entry.run.flow;
        let full = entry.run.dropping().find(|group| {
            let members = self.members.get(&group.id).copied().unwrap_or_default();
            !joins && members >= group.places
        });
        if let Some(group) = full {
            return Some(format!(
                "{} has {} unfinished, which is the most that its `concurrency` allows with `drop_newest`",
                group.label,
                if group.places == 1 { "one run".to_owned() } else { format!("{} runs", group.places) }
            ));
        }
        if flow.drops && entry.session.is_some_and(|session| self.last.contains_key(session.as_str())) {
            return Some("a run of its session is not finished, and the trigger says `while_running: drop`".to_owned());
        }
        let (rate, _) = flow.rate.as_ref()?;
        let (key, now) = (entry.rate_key()?, entry.at());
        let mut window: Window = self.state(&key).unwrap_or_default();
        let fits = rate.take(&mut window, now);
        self.set(key, &window, window.since_ms.saturating_add(rate.per_ms));
        if fits {
            return None;
        }
        self.notify(entry, rate);
        let per = crate::domain::time::Span(rate.per_ms);
        Some(format!(
            "{} events in {per} were worked on, which is the most that the trigger's `rate_limit` allows",
            rate.limit
        ))
    }

    /// Owes the sender a notice, unless there was one in this time.
    fn notify(&mut self, entry: Entry<'a>, rate: &'a Rate) {
        let (Some(message), Some(key)) = (&rate.notice, entry.notice_key()) else { return };
        let (now, told) = (entry.at(), self.state::<i64>(&key));
        if told.is_some_and(|told| now.0 >= told && now.0 - told < rate.per_ms) {
            return;
        }
        self.set(key, &now.0, now.0.saturating_add(rate.per_ms));
        self.notices.push(Notice { id: DeliveryId::new(now), prepared: entry.prepared, message });
    }

    /// The open run that still takes the event, with its key.
    fn open_run(&self, entry: Entry<'a>, gather: Gather) -> Option<(String, OpenRun)> {
        let key = entry.gather_key()?;
        let open: OpenRun = self.state(&key)?;
        let (bytes, session) = (entry.bytes(), entry.session.map(SessionId::as_str));
        let is_last =
            || session.and_then(|session| self.last.get(session)).is_none_or(|last| last == open.run.as_str());
        let takes = self.open.contains(open.run.as_str())
            && open.version == entry.run.agent_version
            && open.has_room(gather, bytes)
            // Beyond a run of another kind it would be worked on before its turn.
            && (gather != Gather::Collect || is_last());
        takes.then_some((key, open))
    }

    fn join(&mut self, entry: Entry<'a>, gather: Gather, key: String, mut open: OpenRun) -> Fate {
        open.add(entry.bytes(), entry.at());
        let (run, due) = (open.run.clone(), open.due(gather).0);
        match self.started.iter_mut().find(|started| started.entry.run.id == run) {
            Some(started) => started.run_at = due,
            None => drop(self.moved.insert(run.to_string(), due)),
        }
        self.joined.push(Joined { run: run.clone(), position: open.events - 1, entry });
        self.set(key, &open, due.saturating_add(OPEN_MS));
        Fate::Joins(run)
    }

    fn start(&mut self, entry: Entry<'a>, gather: Option<Gather>) -> Fate {
        let (run, now) = (entry.run, entry.at());
        let mut not_before = now.plus_ms(run.flow.delay_ms);
        if let (Some((pace, _)), Some(key)) = (&run.flow.throttle, entry.throttle_key()) {
            let mut arrival_us: i64 = self.state(&key).unwrap_or_default();
            not_before = not_before.max(pace.next(&mut arrival_us, now));
            self.set(key, &arrival_us, arrival_us / 1_000);
        }
        let mut run_at = not_before.0;
        if let (Some(gather), Some(key)) = (gather, entry.gather_key()) {
            let open = OpenRun {
                run: run.id.clone(),
                version: run.agent_version,
                first_ms: now.0,
                last_ms: now.0,
                not_before_ms: not_before.0,
                events: 1,
                bytes: entry.bytes(),
            };
            run_at = open.due(gather).0;
            self.set(key, &open, run_at.saturating_add(OPEN_MS));
            self.open.insert(run.id.to_string());
        }
        if let Some(session) = entry.session {
            let last = self.last.entry(session.to_string()).or_default();
            *last = run.id.to_string().max(std::mem::take(last));
        }
        for group in run.dropping() {
            *self.members.entry(group.id.clone()).or_default() += 1;
            self.keep(places_key(group), now);
        }
        self.started.push(Started { run_at, entry });
        Fate::Starts
    }

    /// What a row says; `None` when it is new, or of a version that this program cannot read.
    fn state<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        self.rows.get(key).and_then(|(state, _)| serde_json::from_str(state).ok())
    }

    fn set<T: Serialize>(&mut self, key: String, state: &T, until_ms: i64) {
        // Whole hours, so that most updates leave the column as it is.
        let expires = until_ms.saturating_add(SPARE_MS) / SPARE_MS * SPARE_MS + SPARE_MS;
        self.changed_rows.insert(key.clone());
        self.rows.insert(key, (to_json(state), expires));
    }

    /// Lets a row that is a lock alone stay for a while, rather than being made anew each time.
    fn keep(&mut self, key: String, now: Timestamp) {
        if self.rows.get(&key).is_none_or(|(_, expires)| *expires <= now.0) {
            self.set(key, &(), now.0);
        }
    }

    /// The rows that are to be written: key, state and when it means nothing any more.
    pub(super) fn rows(&self) -> Vec<(&str, &str, i64)> {
        let changed = self.changed_rows.iter().filter_map(|key| self.rows.get_key_value(key));
        changed.map(|(key, (state, expires))| (key.as_str(), state.as_str(), *expires)).collect()
    }

    /// The events some of whose runs were refused.
    pub(super) fn changed(&self, batch: &[&'a Prepared]) -> Vec<Changed<'a>> {
        let mut changed = Vec::new();
        for prepared in batch {
            let acceptance = &prepared.acceptance;
            let mut routing = acceptance.routing.clone();
            let mut any = false;
            for run in &acceptance.runs {
                let Some(Fate::Refused(reason)) = self.fates.get(&run.id) else { continue };
                any = true;
                for entry in routing.iter_mut().filter(|entry| entry.trigger == run.trigger) {
                    (entry.matched, entry.reason) = (false, reason.clone());
                }
            }
            if any {
                let reason = refusal(prepared, &self.fates);
                let status = if reason.is_some() { EventStatus::Ignored } else { acceptance.status };
                changed.push(Changed {
                    event: &acceptance.event.id,
                    status: status.as_str(),
                    reason: reason.or_else(|| prepared.reason.clone()),
                    routing: to_json(&routing),
                });
            }
        }
        changed
    }
}

/// The lock of a group's count of unfinished runs, for those that add some.
fn places_key(group: &Group) -> String {
    format!("places:{}", group.id)
}

impl Entry<'_> {
    fn at(&self) -> Timestamp {
        self.prepared.acceptance.event.received_at
    }

    fn bytes(&self) -> i64 {
        i64::try_from(self.prepared.size()).unwrap_or(i64::MAX)
    }

    fn key(&self, kind: &str, key: &str) -> String {
        format!("{kind}:{}:{}", self.run.trigger, clean(key))
    }

    fn throttle_key(&self) -> Option<String> {
        self.run.flow.throttle.as_ref().map(|(_, key)| self.key("throttle", key))
    }

    fn rate_key(&self) -> Option<String> {
        self.run.flow.rate.as_ref().map(|(_, key)| self.key("rate", key))
    }

    fn notice_key(&self) -> Option<String> {
        let (rate, _) = self.run.flow.rate.as_ref()?;
        rate.notice.as_ref().map(|message| self.key("notice", clip(message.recipient(), 300)))
    }

    /// Events of different sessions never go together: a run has one conversation.
    fn gather_key(&self) -> Option<String> {
        let (_, key) = self.run.flow.gather.as_ref()?;
        let session = self.session.map(SessionId::as_str).unwrap_or_default();
        Some(self.key("open", &format!("{session}:{key}")))
    }

    fn keys(&self) -> impl Iterator<Item = String> {
        let of_trigger = [self.throttle_key(), self.rate_key(), self.notice_key(), self.gather_key()];
        of_trigger.into_iter().flatten().chain(self.run.dropping().map(places_key))
    }
}
