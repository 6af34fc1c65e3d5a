//! What is owed to whom when an attempt of a run has ended.

use serde_json::{Value, json};

use crate::{
    domain::{
        delivery::{Message, SentFile},
        event::Content,
        id::DeliveryId,
        run::{Failure, MessageKind, RunResult, Usage},
        thread,
        trigger::Reply,
    },
    outbound::{
        answer::{Answered, Finished, answer},
        email::compose,
    },
    pipeline::{execute::Execute, senders},
    store::{ChosenAnswer, NewDelivery, NewMessage, RunEnd, RunWork, StoreError},
};

/// For how long an answer is remembered to recognise itself: a day.
const ECHO_MS: i64 = 86_400_000;

impl Execute {
    /// What names the run's conversation to those who answer by mail. Without it their mail is known by what it refers to.
    pub(super) async fn reply_token(&self, work: &RunWork) -> Option<String> {
        let (true, Some(session)) = (self.reply_tokens, &work.run.session) else { return None };
        if !matches!(work.newest().0.event.content, Content::Email(_)) {
            return None;
        }
        let (tenant, agent) = (&work.run.tenant, &work.run.agent);
        let key = self.store.signing_key(tenant).await;
        let key = key.inspect_err(|fault| tracing::warn!(error = ?fault, "an answer goes out without a reply token"));
        Some(senders::reply_token(&key.ok()?, tenant, agent, session))
    }

    /// The deliveries owed at this end, and the last lines of the record.
    pub(super) fn owed(
        &self,
        work: &RunWork,
        end: &RunEnd,
        token: Option<String>,
        chosen: Option<ChosenAnswer>,
    ) -> (Vec<NewDelivery>, Vec<NewMessage>) {
        let now = self.store.clock().now();
        let line = |kind, body| NewMessage { kind, at: now, body };
        let outcome = match end {
            RunEnd::Succeeded(result) => Ok(result),
            RunEnd::Failed(failure, _) => Err(failure),
            RunEnd::Canceled => return (Vec::new(), vec![line(MessageKind::Result, json!({"state": "canceled"}))]),
            RunEnd::Again(failure, _, at) => {
                let body = json!({"text": format!("tried again at {at}"), "failure": failure});
                return (Vec::new(), vec![line(MessageKind::Status, body)]);
            }
        };
        let mut lines = vec![line(MessageKind::Result, result_line(outcome))];
        let attempt = match end {
            RunEnd::Succeeded(result) => result.usage,
            RunEnd::Failed(_, usage) | RunEnd::Again(_, usage, _) => *usage,
            RunEnd::Canceled => Usage::default(),
        };
        let (usage, details) = (work.run.usage.plus(attempt), work.run.details.clone().plus(&work.details));
        let finished = Finished { run: &work.run.id, agent: &work.agent.name, outcome, usage, details: &details };
        let (event, position) = work.newest();
        let reply = work.agent.spec.triggers.get(position).and_then(|trigger| trigger.reply.as_ref());
        match answer(&event.event, reply, &finished) {
            Answered::Send(message) => {
                let chosen = chosen.filter(|_| outcome.is_ok());
                let id = chosen.as_ref().map_or_else(|| DeliveryId::new(now), |chosen| chosen.delivery.clone());
                let mut owed = self.proved(work, delivery(id, *message, reply, token));
                if let Some(ChosenAnswer { subject, files, .. }) = chosen {
                    if !files.is_empty() && !matches!(owed.message, Message::Email(_)) {
                        let text = format!("{} files do not go with the answer: it is no mail", files.len());
                        lines.push(line(MessageKind::Status, json!({ "text": text })));
                    }
                    dress(&mut owed.message, subject.as_deref(), files);
                    owed.echo = echo(work, &owed.message);
                }
                (vec![owed], lines)
            }
            Answered::Nothing { reason } => {
                lines.push(line(MessageKind::Status, json!({"text": format!("no answer goes out: {reason}")})));
                (Vec::new(), lines)
            }
        }
    }

    /// What is owed now for words that an agent says while it is at work.
    pub(super) async fn owe(&self, work: &RunWork, message: Message) -> NewDelivery {
        let token = self.reply_token(work).await;
        let position = work.newest().1;
        let reply = work.agent.spec.triggers.get(position).and_then(|trigger| trigger.reply.as_ref());
        self.proved(work, delivery(DeliveryId::new(self.store.clock().now()), message, reply, token))
    }

    /// With what recognises it when it comes back.
    fn proved(&self, work: &RunWork, mut owed: NewDelivery) -> NewDelivery {
        owed.echo = echo(work, &owed.message);
        if let Message::Email(email) = &mut owed.message {
            self.loops.prove(email, &owed.id);
        }
        owed
    }

    /// The delivery by which the same words went out in the same thread to the same person not long ago.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn echo_of(&self, work: &RunWork, delivery: &NewDelivery) -> Result<Option<String>, StoreError> {
        match &delivery.echo {
            Some(echo) if !work.run.replay => {
                let since = self.store.clock().now().plus_ms(-ECHO_MS);
                self.store.answered_before(&work.run.tenant, echo, since).await
            }
            Some(_) | None => Ok(None),
        }
    }

    /// Leaves out the answer that went out in the same thread to the same person not long ago: two machines that do not
    /// know each other for such end there. What an operator runs again is sent again.
    pub(super) async fn without_echoes(
        &self,
        work: &RunWork,
        deliveries: Vec<NewDelivery>,
        lines: &mut Vec<NewMessage>,
    ) -> Vec<NewDelivery> {
        let now = self.store.clock().now();
        let mut kept = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            match self.echo_of(work, &delivery).await {
                Ok(Some(first)) => {
                    let text = format!("no answer goes out: the same one went out in this thread before ({first})");
                    lines.push(NewMessage { kind: MessageKind::Status, at: now, body: json!({ "text": text }) });
                }
                Ok(None) => kept.push(delivery),
                Err(fault) => {
                    tracing::warn!(run = %work.run.id, error = ?fault, "earlier answers could not be looked up");
                    kept.push(delivery);
                }
            }
        }
        kept
    }
}

/// Gives a mail the subject and the files that its agent chose.
pub(super) fn dress(message: &mut Message, subject: Option<&str>, files: Vec<SentFile>) {
    if let Message::Email(email) = message {
        if let Some(subject) = subject {
            subject.clone_into(&mut email.subject);
        }
        email.files = files;
    }
}

/// A delivery of a message, with what finds the conversation by it.
pub(super) fn delivery(
    id: DeliveryId,
    mut message: Message,
    reply: Option<&Reply>,
    token: Option<String>,
) -> NewDelivery {
    let (mut message_id, mut reply_token, mut guest) = (None, None, None);
    if let Message::Email(email) = &mut message {
        reply_token = token.filter(|token| thread::with_token(&email.from, token).is_some());
        email.reply_token.clone_from(&reply_token);
        message_id = compose::message_id(email, &id);
        guest = matches!(reply, Some(Reply::Email(_))).then(|| email.to.to_lowercase());
    }
    NewDelivery { id, message, message_id, reply_token, guest, echo: None }
}

/// See [`NewDelivery::echo`]. Only answers within a mail's own thread can be echoes; other files make another answer.
pub(super) fn echo(work: &RunWork, message: &Message) -> Option<String> {
    let event = &work.newest().0.event;
    let (Message::Email(email), Content::Email(_)) = (message, &event.content) else { return None };
    let thread = event.thread_key.as_deref().filter(|_| email.in_reply_to.is_some())?;
    let words: String = email.text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut parts = vec![thread, &email.from, &email.to, &words];
    parts.extend(email.files.iter().map(|file| file.sha256.as_str()));
    Some(crate::crypto::sha256_hex(parts.join("\n").to_lowercase().as_bytes()))
}

fn result_line(outcome: Result<&RunResult, &Failure>) -> Value {
    match outcome {
        Ok(result) => {
            json!({"state": "succeeded", "text": result.text, "structured": result.structured, "usage": result.usage})
        }
        Err(failure) => json!({"state": "failed", "failure": failure}),
    }
}
