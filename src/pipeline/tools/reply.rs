//! `reply`: an answer while the run goes on, or the one that it ends with, with files of the work directory.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    crypto::sha256_hex,
    domain::{
        delivery::{MAX_SENT_BYTES, MAX_SENT_FILES, Message, SentFile},
        id::DeliveryId,
    },
    executor::outbox::WorkPlace,
    ingress::mail::safe_filename,
    outbound::{
        answer::{Answered, Interim, interim},
        email::media_type::media_type,
    },
    pipeline::{
        answering,
        tools::{Context, Said, lease_lost, store_failed},
    },
    store::{ChosenAnswer, Replied, RunWork},
};

/// Interim answers of one run.
const MOST_INTERIM: i64 = 10;
/// Bytes of one answer's text.
const MAX_TEXT_BYTES: usize = 128 * 1024;
/// Characters of a subject.
const MAX_SUBJECT_CHARS: usize = 250;

/// What it is told.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// In Markdown.
    text: String,
    /// For mail.
    #[serde(default)]
    subject: Option<String>,
    /// Paths in the work directory.
    #[serde(default)]
    attachments: Vec<String>,
    /// Whether it is the run's answer.
    #[serde(default, rename = "final")]
    is_final: bool,
}

/// The files of an answer: what is said of them, and their bytes.
#[derive(Default)]
struct Files {
    named: Vec<SentFile>,
    bytes: Vec<Vec<u8>>,
}

pub(super) fn describe() -> (&'static str, Value) {
    let says = "Answers whoever started this conversation, the way they wrote. Without `final` the text is sent at once \
                and you go on; your last message is sent as well when you end. With `final: true` this text, with its \
                files, is what you end with, and your last message is not sent. Who is answered is not yours to choose.";
    let schema = json!({
        "type": "object",
        "properties": {
            "text": {"type": "string", "description": "What is sent, in Markdown"},
            "subject": {"type": "string", "description": "A subject of its own, for mail only; best left out"},
            "attachments": {"type": "array", "items": {"type": "string"}, "maxItems": MAX_SENT_FILES,
                "description": "Paths of files in your work directory that go with it; for mail only"},
            "final": {"type": "boolean", "description": "This is your answer, instead of your last message"},
        },
        "required": ["text"],
        "additionalProperties": false,
    });
    (says, schema)
}

pub(super) async fn call(context: &Context, input: Input) -> Said {
    let text = input.text.trim();
    if text.is_empty() {
        return Err("`text` is empty; say something".to_owned());
    }
    if text.len() > MAX_TEXT_BYTES {
        return Err(format!("`text` is longer than {} KiB; send the rest as a file", MAX_TEXT_BYTES / 1024));
    }
    let store = &context.execute.store;
    let merged = store.merged_runs(&context.work.run.tenant, &context.work.run.id).await;
    let merged = merged.map_err(|fault| store_failed(context, &fault))?;
    let work = RunWork { merged, ..context.work.without_bytes() };
    let (event, position) = work.newest();
    let reply = work.agent.spec.triggers.get(position).and_then(|trigger| trigger.reply.as_ref());
    let said = Interim { run: &work.run.id, agent: &work.agent.name, text };
    let answered = interim(&event.event, reply, &said);
    let message = match &answered {
        Answered::Send(message) => Some(message.as_ref()),
        Answered::Nothing { .. } => None,
    };
    let subject = input.subject.as_deref().map(str::trim).filter(|subject| !subject.is_empty());
    fits(message, subject, &input)?;
    let files = read_files(context, &input.attachments).await?;
    match (answered, input.is_final) {
        (answered, true) => choose(context, &input, subject, files, &answered).await,
        (Answered::Nothing { reason }, false) => {
            Err(format!("nothing was sent: {reason}. Do not try again; say it in your last message"))
        }
        (Answered::Send(message), false) => send(context, &work, *message, subject, files).await,
    }
}

/// Whether the way out carries what is asked of it.
fn fits(message: Option<&Message>, subject: Option<&str>, input: &Input) -> Result<(), String> {
    if subject.is_some_and(|subject| subject.chars().count() > MAX_SUBJECT_CHARS) {
        return Err(format!("`subject` is longer than {MAX_SUBJECT_CHARS} characters"));
    }
    if input.attachments.len() > MAX_SENT_FILES {
        return Err(format!("{} files are too many; send {MAX_SENT_FILES} at most", input.attachments.len()));
    }
    let way = match message {
        None if input.attachments.is_empty() => return Ok(()),
        None => return Err("nobody is answered, so no files can go with it; leave `attachments` out".to_owned()),
        Some(Message::Email(_)) => return Ok(()),
        Some(Message::Sms(_)) => "a text message",
        Some(Message::Webhook(_)) => "a callback",
    };
    if !input.attachments.is_empty() {
        return Err(format!("the answer goes out as {way}, which carries no files; put what matters into `text`"));
    }
    if subject.is_some() {
        return Err(format!("the answer goes out as {way}, which has no subject; leave `subject` out"));
    }
    Ok(())
}

async fn read_files(context: &Context, paths: &[String]) -> Result<Files, String> {
    if paths.is_empty() {
        return Ok(Files::default());
    }
    let work = &context.work;
    let place = WorkPlace { run: &work.run.id, fence: work.lease.fence, session: work.run.session.as_ref() };
    let bytes = context.execute.executors.read_made(place, paths.to_vec(), MAX_SENT_BYTES).await?;
    let named = paths.iter().zip(&bytes).map(|(path, bytes)| {
        let filename = safe_filename(path);
        SentFile {
            media_type: media_type(&filename).to_owned(),
            size: bytes.len() as u64,
            sha256: sha256_hex(bytes),
            filename,
        }
    });
    Ok(Files { named: named.collect(), bytes })
}

/// Keeps it as what the run ends with.
async fn choose(context: &Context, input: &Input, subject: Option<&str>, files: Files, answered: &Answered) -> Said {
    let chosen = ChosenAnswer {
        text: input.text.trim().to_owned(),
        subject: subject.map(str::to_owned),
        files: files.named,
        delivery: DeliveryId::new(context.execute.store.clock().now()),
    };
    let kept = context.execute.store.choose_answer(&context.work, &chosen, &files.bytes).await;
    match (kept.map_err(|fault| store_failed(context, &fault))?, answered) {
        (false, _) => Err(lease_lost()),
        (true, Answered::Send(_)) => {
            Ok("kept: it is sent when you end, instead of your last message; call this again to change it".to_owned())
        }
        (true, Answered::Nothing { reason }) => {
            Ok(format!("kept as the result of this run; nobody is sent it: {reason}"))
        }
    }
}

/// Sends it now, once: another attempt that says the same says it for the second time.
async fn send(context: &Context, work: &RunWork, message: Message, subject: Option<&str>, files: Files) -> Said {
    let (execute, store) = (&context.execute, &context.execute.store);
    let hashes: Vec<&str> = files.named.iter().flat_map(|file| [file.filename.as_str(), &file.sha256]).collect();
    let words = json!([text_of(&message), subject, hashes]).to_string();
    let once_key = sha256_hex(words.as_bytes());
    let before = |id: &dyn std::fmt::Display| format!("you sent exactly this before ({id}), so it was not sent again");
    let known = store.said_before(&work.run.id, &once_key).await.map_err(|fault| store_failed(context, &fault))?;
    if let Some(id) = known {
        return Ok(before(&id));
    }
    let mut owed = execute.owe(work, message).await;
    let echo = execute.echo_of(work, &owed).await.map_err(|fault| store_failed(context, &fault))?;
    if let Some(first) = echo {
        return Err(format!("nothing was sent: the same words went out in this thread before ({first})"));
    }
    answering::dress(&mut owed.message, subject, files.named);
    let replied = store.add_reply(work, &once_key, &owed, &files.bytes, MOST_INTERIM).await;
    match replied.map_err(|fault| store_failed(context, &fault))? {
        Replied::Owed => {
            execute.wakes.deliveries();
            Ok(format!("on its way ({}); go on", owed.id))
        }
        Replied::Before(id) => Ok(before(&id)),
        Replied::TooMany => Err(format!(
            "nothing was sent: a run sends {MOST_INTERIM} messages before its answer at most; say the rest in your last message"
        )),
        Replied::LeaseLost => Err(lease_lost()),
    }
}

fn text_of(message: &Message) -> Value {
    match message {
        Message::Email(email) => json!([email.to, email.text]),
        Message::Sms(sms) => json!([sms.to, sms.text]),
        Message::Webhook(webhook) => json!([webhook.url, webhook.data["text"]]),
    }
}

#[cfg(test)]
mod tests {
    use super::{Input, fits};
    use crate::domain::delivery::{Message, SmsMessage};

    fn input(attachments: usize) -> Input {
        let attachments = vec!["a".to_owned(); attachments];
        Input { text: "hello".to_owned(), subject: None, attachments, is_final: false }
    }

    #[test]
    fn what_a_way_out_cannot_carry_is_refused_in_words() {
        let sms = Message::Sms(SmsMessage { from: "+1".to_owned(), to: "+2".to_owned(), text: "hello".to_owned() });
        assert_eq!(fits(Some(&sms), None, &input(0)), Ok(()));
        assert!(fits(Some(&sms), None, &input(1)).unwrap_err().contains("a text message, which carries no files"));
        assert!(fits(Some(&sms), Some("Hi"), &input(0)).unwrap_err().contains("leave `subject` out"));
        assert!(fits(None, None, &input(1)).unwrap_err().contains("nobody is answered"));
        assert!(fits(None, None, &input(11)).unwrap_err().contains("10 at most"));
        assert!(fits(None, Some(&"x".repeat(251)), &input(0)).unwrap_err().contains("250 characters"));
    }
}
