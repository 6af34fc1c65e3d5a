//! What is owed to whom when a run has ended: pure rules, no I/O.
//!
//! People are answered, machines are not (RFC 3834), and nothing can be made to answer itself.

mod mail;

use serde_json::{Value, json};

use crate::{
    domain::{
        delivery::{Message, SmsMessage, WebhookMessage},
        details::RunDetails,
        event::{AgentEvent, Content, Sms},
        id::RunId,
        run::{Failure, RunResult, Usage},
        texting::on_channel,
        trigger::{Reply, ReplyWord, WebhookReply},
    },
    outbound::markdown,
};

/// How a run ended.
#[derive(Clone, Copy, Debug)]
pub struct Finished<'a> {
    /// The run.
    pub run: &'a RunId,
    /// Its agent's name.
    pub agent: &'a str,
    /// Its result, or why it has none.
    pub outcome: Result<&'a RunResult, &'a Failure>,
    /// What all its attempts took.
    pub usage: Usage,
    /// The rest of what is known of them.
    pub details: &'a RunDetails,
}

/// What is owed.
#[derive(Clone, Debug, PartialEq)]
pub enum Answered {
    /// One message.
    Send(Box<Message>),
    /// No message; why, for the run's record.
    Nothing {
        /// In words.
        reason: String,
    },
}

impl Answered {
    fn send(message: Message) -> Self {
        Self::Send(Box::new(message))
    }

    fn nothing(reason: impl Into<String>) -> Self {
        Self::Nothing { reason: reason.into() }
    }
}

/// What `reply` (an agent's trigger) makes of the end of a run that `event` started. Without a
/// `reply`, mail and text messages are answered the way they came, and webhooks are not.
#[must_use]
pub fn answer(event: &AgentEvent, reply: Option<&Reply>, finished: &Finished<'_>) -> Answered {
    match reply {
        Some(Reply::Word(ReplyWord::None)) => Answered::nothing("the trigger says `reply: none`"),
        Some(Reply::Webhook(reply)) => Answered::send(callback(event, reply, finished)),
        None | Some(Reply::Word(ReplyWord::Same) | Reply::Sms(_) | Reply::Email(_) | Reply::Files(_)) => {
            for_people(event, reply, finished)
        }
    }
}

/// What an agent says while it is at work.
#[derive(Clone, Copy, Debug)]
pub struct Interim<'a> {
    /// The run.
    pub run: &'a RunId,
    /// Its agent's name.
    pub agent: &'a str,
    /// In Markdown.
    pub text: &'a str,
}

/// What `reply` makes of such words, under the same rules as of an answer. Receivers of callbacks see `run.reply`, and
/// `status` is `running`.
#[must_use]
pub fn interim(event: &AgentEvent, reply: Option<&Reply>, said: &Interim<'_>) -> Answered {
    let result = RunResult { text: said.text.to_owned(), ..RunResult::default() };
    let details = RunDetails::default();
    let finished =
        Finished { run: said.run, agent: said.agent, outcome: Ok(&result), usage: Usage::default(), details: &details };
    let mut answered = answer(event, reply, &finished);
    if let Answered::Send(message) = &mut answered
        && let Message::Webhook(callback) = message.as_mut()
    {
        "run.reply".clone_into(&mut callback.kind);
        callback.data["status"] = json!("running");
    }
    answered
}

/// A few words of ours to whoever sent `event`, the way it came; under the same rules as an answer.
#[must_use]
pub fn notice(event: &AgentEvent, text: String) -> Answered {
    if let Some(reason) = &event.automatic {
        return Answered::nothing(format!("a machine sent this ({reason}), and machines are not answered"));
    }
    match &event.content {
        Content::Email(email) => mail::same_thread(event, email, text),
        Content::Sms(sms) => text_back(&event.kind, sms, text),
        Content::Webhook(_) | Content::Schedule(_) | Content::Agent(_) => {
            Answered::nothing("nobody is there to be told")
        }
    }
}

/// A question of an agent to somebody by mail, outside of the thread of `event`. Without `from` it comes from the address
/// that the event came to, else from the channel's own.
#[must_use]
pub fn question(event: &AgentEvent, (to, from): (&str, Option<&str>), subject: String, text: String) -> Answered {
    mail::question(event, (to, from), subject, text)
}

fn for_people(event: &AgentEvent, reply: Option<&Reply>, finished: &Finished<'_>) -> Answered {
    if let Some(reason) = &event.automatic {
        return Answered::nothing(format!("a machine sent this ({reason}), and machines are not answered"));
    }
    let text = match words(finished) {
        Some(text) => text,
        None => return Answered::nothing("the agent's answer is empty"),
    };
    match (reply, &event.content) {
        (Some(Reply::Sms(reply)), content) => text_to(&reply.sms, content, text),
        (Some(Reply::Email(reply)), _) => mail::to_third(event, &reply.email, finished.agent, text),
        (_, Content::Email(email)) => mail::same_thread(event, email, text),
        (_, Content::Sms(sms)) => text_back(&event.kind, sms, text),
        (_, Content::Agent(_)) => Answered::nothing("an agent asked, and finds the answer in this run"),
        (_, Content::Schedule(_)) => {
            Answered::nothing("nobody asked: schedules are answered where the trigger names a `reply`")
        }
        (_, Content::Webhook(_)) => Answered::nothing("webhooks are not answered unless the trigger names a `reply`"),
    }
}

/// The answer for people: the agent's text, or one sentence that says nothing of our insides.
fn words(finished: &Finished<'_>) -> Option<String> {
    match finished.outcome {
        Ok(result) => {
            let text = markdown::neutral(result.text.trim());
            (!text.trim().is_empty()).then_some(text)
        }
        Err(_) => Some(format!(
            "I could not finish this (reference {}). Please try again later, or ask the people who run me.",
            finished.run
        )),
    }
}

fn text_back(kind: &str, sms: &Sms, text: String) -> Answered {
    if sms.opt_out.is_some() {
        return Answered::nothing("the provider answers STOP, START and HELP itself");
    }
    if sms.from == sms.to {
        return Answered::nothing("the message came from our own number");
    }
    let (from, to) = (on_channel(kind, &sms.to), on_channel(kind, &sms.from));
    Answered::send(Message::Sms(SmsMessage { from, to, text }))
}

fn text_to(number: &str, content: &Content, text: String) -> Answered {
    let Content::Sms(sms) = content else {
        return Answered::nothing("no number of ours to text from: the event did not come by text message");
    };
    if sms.opt_out.is_some() {
        return Answered::nothing("the provider answers STOP, START and HELP itself");
    }
    if sms.to == number {
        return Answered::nothing("the trigger's `reply` names our own number");
    }
    Answered::send(Message::Sms(SmsMessage { from: sms.to.clone(), to: number.to_owned(), text }))
}

fn callback(event: &AgentEvent, reply: &WebhookReply, finished: &Finished<'_>) -> Message {
    let (status, text, structured, failure) = match finished.outcome {
        Ok(result) => ("succeeded", Some(&result.text), result.structured.clone(), Value::Null),
        Err(failure) => {
            ("failed", None, None, json!({ "code": failure.code, "class": failure.class, "message": failure.message }))
        }
    };
    Message::Webhook(WebhookMessage {
        url: reply.webhook.clone(),
        secret: reply.secret.clone(),
        kind: format!("run.{status}"),
        data: json!({
            "run": finished.run,
            "event": event.id,
            "agent": finished.agent,
            "status": status,
            "text": text,
            "structured": structured,
            "failure": failure,
            "thread": event.thread_key,
            "usage": finished.usage,
            "model": finished.details.model,
            "models": finished.details.models,
            "duration_ms": finished.details.duration_ms,
            "api_ms": finished.details.api_ms,
        }),
    })
}

#[cfg(test)]
mod tests;
