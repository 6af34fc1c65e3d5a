//! Long text messages whose provider sends the parts on their own (Vonage's SMS API). Each part is an event
//! that starts nothing and a row that waits; when all parts are there, in whatever order, or when the missing
//! ones are long overdue, they become one event.
//!
//! Nothing is lost by a crash in between: the rows go after the event was committed, and an event made twice of
//! the same parts has the same key.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    crypto,
    domain::{event::Sms, id::TenantId, time::Timestamp},
    ingress::sms,
    pipeline::{
        intake::{self, Intake, Origin},
        routes::Routes,
        senders::Senders,
    },
    queue::Wakes,
    store::{Acceptance, RawRequest, Store, StoreError, StoredPart},
};

/// How long the other parts are waited for after the newest one came.
const PATIENCE_MS: i64 = 60_000;
/// How often overdue parts are looked for.
const EVERY: Duration = Duration::from_secs(5);
/// How often they are looked for when none were waiting.
const SELDOM: Duration = Duration::from_secs(60);
/// Parts that may wait; beyond them the oldest messages are taken as they are.
const MOST_WAITING: usize = 2_000;

/// Joins the parts of one tenant.
pub struct Joiner {
    /// The records.
    pub store: Store,
    /// The way in for the joined events.
    pub intake: Intake,
    /// Who looks up what a message answers.
    pub senders: Senders,
    /// Whose.
    pub tenant: TenantId,
    /// Tells that parts came.
    pub wakes: Arc<Wakes>,
}

impl Joiner {
    /// Joins until `stop`. `routes` are the sources and triggers as last read.
    pub async fn keep(self, routes: impl Fn() -> Arc<Routes> + Send, stop: CancellationToken) {
        loop {
            // Parts that came to this process wake it; those of a process that died are found in time.
            let wait = if self.join(&routes()).await { EVERY } else { SELDOM };
            tokio::select! {
                () = self.wakes.parts_came() => {}
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Whether parts may still wait.
    async fn join(&self, routes: &Routes) -> bool {
        let most = i64::try_from(MOST_WAITING).unwrap_or(i64::MAX);
        let waiting = match self.store.waiting_parts(&self.tenant, most).await {
            Ok(waiting) => waiting,
            Err(fault) => {
                tracing::warn!(error = ?fault, "looking for parts of long messages failed; trying again");
                return true;
            }
        };
        let are_waiting = !waiting.is_empty();
        let now = self.store.clock().now();
        for set in due(waiting, now) {
            let events: Vec<String> = set.iter().map(|part| part.event.clone()).collect();
            match self.acceptance(&set, routes).await {
                Ok(Some(acceptance)) => {
                    if let Err(fault) = self.intake.accept(acceptance).await {
                        tracing::warn!(error = %fault, "a long message could not be committed; trying again");
                        continue;
                    }
                }
                // A source that is new is known in a moment, or to the process that its parts came to.
                Ok(None) if !is_overdue(&set, now) => continue,
                // One that is gone has no triggers; its parts stay on record as events of their own.
                Ok(None) => {}
                Err(fault) => {
                    tracing::warn!(error = ?fault, "what a long message answers could not be looked up; trying again");
                    continue;
                }
            }
            if let Err(fault) = self.store.forget_parts(&self.tenant, &events).await {
                tracing::warn!(error = ?fault, "parts of a long message could not be forgotten; trying again");
            }
        }
        are_waiting
    }

    async fn acceptance(&self, set: &[StoredPart], routes: &Routes) -> Result<Option<Acceptance>, StoreError> {
        let Some(first) = set.first() else { return Ok(None) };
        let Some(route) = routes.source_with_id(&first.source) else { return Ok(None) };
        let ids: Vec<&str> = set.iter().map(|part| part.message_id.as_str()).collect();
        let key = format!("joined:{}", crypto::sha256_hex(ids.join("\n").as_bytes()));
        let message = Sms {
            message_id: first.message_id.clone(),
            from: first.from.clone(),
            to: first.to.clone(),
            text: text(set),
            ..Sms::default()
        };
        let events: Vec<&str> = set.iter().map(|part| part.event.as_str()).collect();
        let body = json!({ "joined": events, "of": first.part.total });
        let request = RawRequest {
            method: "POST".to_owned(),
            url: format!("/in/{}", route.source.name),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: Bytes::from(body.to_string()),
        };
        let mut parsed = sms::joined(&first.kind, message, key);
        self.senders.settle(&route.source, routes, &mut parsed).await?;
        let origin = Origin { tenant: &self.tenant, source: &route.source, request };
        Ok(Some(intake::acceptance(origin, parsed, routes, self.store.clock())))
    }
}

/// The messages that are complete or overdue, each with its parts in order.
fn due(waiting: Vec<StoredPart>, now: Timestamp) -> Vec<Vec<StoredPart>> {
    let crowded = waiting.len() >= MOST_WAITING;
    let oldest = waiting.first().map(|part| part.event.clone());
    let mut sets: Vec<Vec<StoredPart>> = Vec::new();
    for part in waiting {
        match sets.iter_mut().find(|set| belongs(set, &part)) {
            Some(set) => set.push(part),
            None => sets.push(vec![part]),
        }
    }
    let is_due = |set: &Vec<StoredPart>| {
        let complete = set.first().is_some_and(|part| set.len() == usize::from(part.part.total));
        complete || is_overdue(set, now) || (crowded && set.first().map(|part| &part.event) == oldest.as_ref())
    };
    sets.retain(is_due);
    for set in &mut sets {
        set.sort_by_key(|part| part.part.number);
    }
    sets
}

/// Whether the newest part has waited for long.
fn is_overdue(set: &[StoredPart], now: Timestamp) -> bool {
    let newest = set.iter().map(|part| part.at.0).max().unwrap_or(0);
    now.0 - newest >= PATIENCE_MS
}

/// References come again: a part whose place is taken belongs to a later message.
fn belongs(set: &[StoredPart], part: &StoredPart) -> bool {
    set.first().is_some_and(|first| {
        first.source == part.source
            && first.from == part.from
            && first.to == part.to
            && first.part.reference == part.part.reference
            && first.part.total == part.part.total
    }) && set.iter().all(|other| other.part.number != part.part.number)
}

/// The parts one behind the other; what is missing is said.
fn text(set: &[StoredPart]) -> String {
    let mut text = String::new();
    let total = set.first().map_or(0, |part| part.part.total);
    for number in 1..=total {
        match set.iter().find(|part| part.part.number == number) {
            Some(part) => text.push_str(&part.text),
            None => text.push_str(&format!(" [part {number} of {total} did not arrive] ")),
        }
    }
    text.trim_matches(' ').to_owned()
}

#[cfg(test)]
mod tests {
    use super::{PATIENCE_MS, due, text};
    use crate::{
        domain::{id::SourceId, texting::MessagePart, time::Timestamp},
        store::StoredPart,
    };

    fn part(source: &SourceId, reference: &str, number: u16, text: &str, at: i64) -> StoredPart {
        StoredPart {
            event: format!("evt_{reference}{number}{text}"),
            source: source.clone(),
            kind: "sms".to_owned(),
            from: "1".to_owned(),
            to: "2".to_owned(),
            part: MessagePart { reference: reference.to_owned(), number, total: 3 },
            message_id: format!("m{reference}{number}"),
            text: text.to_owned(),
            at: Timestamp(at),
        }
    }

    #[test]
    fn parts_are_joined_in_order_however_they_come() {
        let source = SourceId::new(Timestamp(1));
        let all = vec![part(&source, "7", 3, "c", 1), part(&source, "7", 1, "a ", 2), part(&source, "7", 2, "b", 3)];
        let sets = due(all.clone(), Timestamp(4));
        assert_eq!(sets.iter().map(|set| text(set)).collect::<Vec<_>>(), ["a bc"]);
        assert!(due(all[..2].to_vec(), Timestamp(4)).is_empty(), "one is missing");
        let late = due(all[..2].to_vec(), Timestamp(2 + PATIENCE_MS));
        assert_eq!(text(&late[0]), "a  [part 2 of 3 did not arrive] c");
    }

    #[test]
    fn a_reference_that_comes_again_is_another_message() {
        let source = SourceId::new(Timestamp(1));
        let texts = [(1, "a"), (1, "x"), (2, "b"), (3, "c"), (2, "y"), (3, "z")];
        let all = texts.iter().zip(1..).map(|((number, text), at)| part(&source, "7", *number, text, at)).collect();
        let sets = due(all, Timestamp(10));
        assert_eq!(sets.iter().map(|set| text(set)).collect::<Vec<_>>(), ["abc", "xyz"]);
    }
}
