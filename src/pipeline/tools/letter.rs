//! A question in the words of each channel.

use serde_json::json;

use crate::{
    domain::{
        approval::{ApprovalKind, short_reference},
        ask::{Ask, Whom},
        delivery::{Message, SmsMessage, WebhookMessage},
        event::{AgentEvent, Content},
        id::ApprovalId,
        template::clip,
        time::Timestamp,
        trust::Trust,
    },
    outbound::answer::{Answered, notice, question},
    pipeline::{
        execute::trust_of,
        tools::{Context, asking::Question},
    },
};

/// Characters of a question in the subject of its mail.
const MOST_SUBJECT: usize = 80;
/// Bytes of a question in a text message.
const MOST_TEXT: usize = 600;

/// A question on its way to somebody.
pub(super) struct Letter<'a> {
    /// Its approval.
    pub(super) id: &'a ApprovalId,
    /// The agent's name.
    pub(super) agent: &'a str,
    /// What is asked.
    pub(super) question: &'a Question,
    /// Until when an answer counts.
    pub(super) expires_at: Timestamp,
}

impl Letter<'_> {
    /// The message to whom `ask` names, or why nobody can be asked.
    pub(super) fn message(&self, context: &Context, event: &AgentEvent, ask: &Ask) -> Result<Message, String> {
        let answered = match ask.whom() {
            Whom::Sender => {
                if self.question.kind == ApprovalKind::Permission && trust_of(&context.work).0 == Trust::Unknown {
                    return Err(
                        "whoever sent the event is nobody who may decide this, and nobody else can be asked".into()
                    );
                }
                let text = if matches!(event.content, Content::Sms(_)) { self.short() } else { self.long() };
                notice(event, text)
            }
            Whom::Email(to) => question(event, (to, ask.from()), self.subject(), self.long()),
            Whom::Sms(to) => return self.text(event, to, ask.from()),
            Whom::Webhook(url, secret) => {
                return Ok(Message::Webhook(WebhookMessage {
                    url: url.to_owned(),
                    secret: secret.clone(),
                    kind: "approval.waiting".to_owned(),
                    data: json!({
                        "approval": self.id, "run": context.work.run.id, "agent": self.agent, "event": event.id,
                        "kind": self.question.kind, "question": self.question.text, "options": self.question.options,
                        "expires_at": self.expires_at,
                    }),
                }));
            }
        };
        match answered {
            Answered::Send(message) => Ok(*message),
            Answered::Nothing { reason } => Err(format!("nobody can be asked: {reason}")),
        }
    }

    fn text(&self, event: &AgentEvent, to: &str, from: Option<&str>) -> Result<Message, String> {
        let ours = match (&event.content, from) {
            (_, Some(from)) => from,
            (Content::Sms(sms), None) => &sms.to,
            (_, None) => return Err("nobody can be asked: there is no number of ours to text from".to_owned()),
        };
        Ok(Message::Sms(SmsMessage { from: ours.to_owned(), to: to.to_owned(), text: self.short() }))
    }

    fn subject(&self) -> String {
        let line = self.question.text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let cut: String = line.chars().take(MOST_SUBJECT).collect();
        let more = if cut.len() < line.len() { "…" } else { "" };
        format!("{} asks: {cut}{more}", self.agent)
    }

    fn long(&self) -> String {
        let mut text = format!("The agent {} asks:\n\n{}\n", self.agent, self.question.text);
        for (number, option) in (1..).zip(&self.question.options) {
            text.push_str(&format!("\n{number}. {option}"));
        }
        let how = match self.question.kind {
            ApprovalKind::Question => "Reply to this mail to answer",
            ApprovalKind::Permission => "Reply to this mail with `yes` to allow it; any other words refuse it",
        };
        text.push_str(&format!("\n\n{how}. It waits until {} ({}).", self.expires_at, self.id));
        text
    }

    fn short(&self) -> String {
        let options: Vec<String> =
            (1..).zip(&self.question.options).map(|(number, option)| format!("{number} {option}")).collect();
        let options = if options.is_empty() { String::new() } else { format!("\n{}", options.join("\n")) };
        let reference = short_reference(self.id);
        let how = match self.question.kind {
            ApprovalKind::Question => format!("Reply with your answer and Ref {reference}"),
            ApprovalKind::Permission => format!("Reply yes Ref {reference} to allow it; other words refuse it."),
        };
        format!("{} asks: {}{options}\n{how}", self.agent, clip(&self.question.text, MOST_TEXT))
    }
}
