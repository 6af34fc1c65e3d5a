//! What an agent is asked. Text from outside stands between marks that nobody outside can know, and
//! never in the last block of a prompt, which is ours alone.

use serde_json::Value;

use crate::{
    domain::{
        event::{AgentEvent, Attachment, Content, Email, Media, SenderAuth},
        mail::MailSecurity,
        segment::SegmentKind,
        template::{Template, clip},
        visible::visible,
    },
    executor::{Marks, Prompt},
    pipeline::noted,
};

/// The most of a message's text that is put into a prompt; all of it is in the run's `event.json`.
const MAX_TEXT_BYTES: usize = 200_000;

/// The most of a mail's quoted history that is put into a prompt.
const MAX_HISTORY_BYTES: usize = 4_000;

/// The least of each event's text that is put into the prompt of a run with many.
const MIN_TEXT_BYTES: usize = 1_000;

/// Makes the prompt of a run with one event. `template` is the trigger's, when it has one.
///
/// # Errors
/// When the system has no randomness for the marks.
pub(super) fn build(event: &AgentEvent, view: Value, template: Option<&Template>) -> Result<Prompt, String> {
    build_all(&[(event, view)], template)
}

/// Makes the prompt of a run. Of several events, each with its view and in
/// the order in which they came, each stands between marks of its own; the last one is answered.
///
/// # Errors
/// When the system has no randomness for the marks, or there is no event.
pub(super) fn build_all(events: &[(&AgentEvent, Value)], template: Option<&Template>) -> Result<Prompt, String> {
    let marks = Marks::new()?;
    let (open, close) = marks.tags();
    let (newest, _) = events.last().ok_or_else(|| "the run has no event".to_owned())?;
    // Alone, its parts are cut one by one.
    let most = if events.len() == 1 { usize::MAX } else { (MAX_TEXT_BYTES / events.len()).max(MIN_TEXT_BYTES) };
    let (mut plain, mut blocks) = (Vec::with_capacity(events.len()), Vec::with_capacity(events.len() + 1));
    for (place, (event, view)) in events.iter().enumerate() {
        let (said, marked) = match template {
            Some(template) => {
                (template.render_within(view, ("", ""), most), template.render_within(view, (open, close), most))
            }
            None => (cut_to(&plain_text(event), most), format!("{open}\n{}\n{close}", cut_to(&describe(event), most))),
        };
        let head = heading(place, events.len(), event);
        plain.push(visible(&format!("{head}{said}")));
        blocks.push(visible(&format!("{head}{marked}")));
    }
    let (several, from) = match events.len() {
        1 => (String::new(), origin(newest)),
        count => (
            format!("These are {count} events, in the order in which they came; deal with all of them together. "),
            "each of it as said above it".to_owned(),
        ),
    };
    if matches!(newest.content, Content::Schedule(_)) {
        // All of it is this server's own.
        blocks = plain.clone();
        blocks.push(format!("{several}{}", task(newest, template.is_some())));
        return Ok(Prompt { plain: plain.join("\n\n"), blocks });
    }
    if let (Some(note), [_]) = (newest.note(), events) {
        blocks.push(noted::closing(note, (open, close)));
        return Ok(Prompt { plain: plain.join("\n\n"), blocks });
    }
    let said = marks.note(&from);
    blocks.push(format!("{several}{said} {}", task(newest, template.is_some())));
    Ok(Prompt { plain: plain.join("\n\n"), blocks })
}

/// One event for a model that asks for it: its text between marks, and below them where it is from.
///
/// # Errors
/// When the system has no randomness for the marks.
pub(super) fn quoted(event: &AgentEvent, most: usize) -> Result<String, String> {
    let marks = Marks::new()?;
    let shown = around(&marks, event, most);
    let is_ours = matches!(event.content, Content::Schedule(_));
    Ok(if is_ours { shown } else { format!("{shown}\n{}", marks.note(&origin(event))) })
}

/// What somebody said, for a model that waited for it: between marks, and below them where it is from.
///
/// # Errors
/// When the system has no randomness for the marks.
pub(super) fn marked(text: &str, from: &str) -> Result<String, String> {
    let marks = Marks::new()?;
    Ok(format!("{}\n{}", marks.text(&cut(text)), marks.note(from)))
}

/// What an event says, cut to `most` bytes, between marks; without them where it is this server's own.
pub(super) fn around(marks: &Marks, event: &AgentEvent, most: usize) -> String {
    let said = cut_to(&describe(event), most);
    if matches!(event.content, Content::Schedule(_)) { visible(&said) } else { marks.text(&said) }
}

/// What stands above each of several events.
fn heading(place: usize, count: usize, event: &AgentEvent) -> String {
    if count == 1 {
        return String::new();
    }
    format!("Event {} of {count}, received {}, {}:\n", place + 1, event.received_at, origin(event))
}

/// The message alone, for programs that take a prompt.
fn plain_text(event: &AgentEvent) -> String {
    match &event.content {
        Content::Email(email) => with_forwards(email),
        Content::Sms(sms) => [cut(&sms.text), missing_files(&sms.media)].concat().trim_start().to_owned(),
        Content::Webhook(hook) => cut(&pretty(&hook.body.view())),
        Content::Schedule(tick) => format!("The schedule {} is due: {}", tick.name, tick.local_time),
        Content::Agent(note) => noted::described(note),
    }
}

/// What was written now, and below it what was passed on with it: that is what the words are about.
fn with_forwards(email: &Email) -> String {
    let mut text = cut(&email.new_text);
    let passed_on = email.pieces().filter(|(kind, piece)| *kind == SegmentKind::Forward && !text.contains(piece));
    for piece in passed_on.map(|(_, piece)| cut(piece)).collect::<Vec<_>>() {
        text.push_str(&format!("\n\n[passed on with it]\n{piece}"));
    }
    text
}

/// The start of what a mail quotes of its thread, for an agent that may not know it; `None` when it quotes nothing, or
/// keeps the quotes above its answers.
fn history(email: &Email) -> Option<String> {
    let quoted: Vec<&str> =
        email.pieces().filter(|(kind, _)| *kind == SegmentKind::Quote).map(|(_, piece)| piece).collect();
    let (whole, lines) = (quoted.join("\n"), quoted.iter().map(|piece| piece.lines().count()).sum::<usize>());
    if whole.is_empty() || email.new_text.contains(&whole) {
        return None;
    }
    let shown = clip(&whole, MAX_HISTORY_BYTES);
    let rest = if shown.len() < whole.len() { "; its start, all of it is in event.json" } else { "" };
    Some(format!("[quoted from earlier in the thread, {lines} lines{rest}]\n{shown}"))
}

/// The message with what belongs to it, for a model.
fn describe(event: &AgentEvent) -> String {
    match &event.content {
        Content::Email(email) => describe_email(event, email),
        Content::Sms(sms) => {
            let (files, missing) = (attachment_line(event), missing_files(&sms.media));
            format!("From: {}\nTo: {}\n{files}\n{}{missing}", sms.from, sms.to, cut(&sms.text))
        }
        Content::Webhook(hook) => format!("Event: {}\n\n{}", event.kind, cut(&pretty(&hook.body.view()))),
        Content::Schedule(_) | Content::Agent(_) => plain_text(event),
    }
}

fn describe_email(event: &AgentEvent, email: &Email) -> String {
    let list = |boxes: &[crate::domain::event::Mailbox]| {
        boxes.iter().map(|mailbox| mailbox.address.as_str()).collect::<Vec<_>>().join(", ")
    };
    let mut text = format!("From: {}\nTo: {}\nSubject: {}\n", list(&email.from), list(&email.to), email.subject);
    text.push_str(&attachment_line(event));
    match email.security {
        Some(MailSecurity::Encrypted) => text.push_str("Encrypted: its text cannot be read here\n"),
        Some(MailSecurity::Signed) => text.push_str("Signed: the signature was not checked\n"),
        None => {}
    }
    email.invites.iter().for_each(|invite| text.push_str(&format!("\n{}", invite.describe())));
    text.push('\n');
    text.push_str(&with_forwards(email));
    for mail in &email.forwarded {
        text.push_str(&format!("\n\n{}", cut(&mail.describe())));
    }
    if let Some(history) = history(email) {
        text.push_str("\n\n");
        text.push_str(&history);
    }
    text
}

fn attachment_line(event: &AgentEvent) -> String {
    let names: Vec<String> = event.attachments.iter().map(file_line).collect();
    if names.is_empty() { String::new() } else { format!("Attachments: {}\n", names.join(", ")) }
}

/// What belongs to a text message and is not there, so that nobody takes the text for all of it.
fn missing_files(media: &[Media]) -> String {
    let line = |media: &Media| {
        let kind = if media.content_type.is_empty() { "of unknown type" } else { clip(&media.content_type, 100) };
        match (&media.file, &media.missing) {
            (Some(_), _) => None,
            (None, Some(why)) => Some(format!("[a file of this message is missing ({kind}): {why}]")),
            (None, None) => {
                Some(format!("[a file of this message was not fetched ({kind}): {}]", clip(&media.url, 2_000)))
            }
        }
    };
    let lines: Vec<String> = media.iter().filter_map(line).collect();
    if lines.is_empty() { String::new() } else { format!("\n\n{}", lines.join("\n")) }
}

fn file_line(file: &Attachment) -> String {
    let kind = file.sniffed_type.as_ref().unwrap_or(&file.content_type);
    let from = file.within.as_ref().map(|outer| format!(", out of {outer}")).unwrap_or_default();
    match &file.refused {
        None => format!("attachments/{} ({kind}, {} bytes{from})", file.filename, file.size),
        Some(why) => format!("{} ({kind}, {} bytes{from}; not kept: {why})", file.filename, file.size),
    }
}

fn origin(event: &AgentEvent) -> String {
    let surely = match event.sender.as_ref().map(|sender| sender.auth) {
        Some(SenderAuth::Verified) => "from a sender whose address was verified",
        Some(SenderAuth::Failed) => "from a sender whose address failed verification",
        Some(SenderAuth::Unknown) => "from a sender whose address was not verified",
        None => "signed by the provider, which vouches for the delivery and not for what people wrote into it",
    };
    let what = match event.content {
        Content::Email(_) => "an email",
        Content::Sms(_) => "a text message",
        Content::Webhook(_) => "a webhook",
        Content::Schedule(_) => return "made by this server's own schedule".to_owned(),
        Content::Agent(ref note) => return noted::origin(note),
    };
    format!("{what} {surely}")
}

fn task(event: &AgentEvent, has_template: bool) -> String {
    let deal = if has_template { "Do what the request above asks" } else { "Deal with it as your instructions say" };
    match event.content {
        Content::Email(_) => format!("{deal}. Your last message is sent to the sender as the reply to that email."),
        Content::Sms(_) => format!("{deal}. Your last message is sent back as a text message, so keep it short."),
        Content::Webhook(_) | Content::Schedule(_) | Content::Agent(_) => {
            format!("{deal}. Your last message is the result.")
        }
    }
}

fn pretty(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            serde_json::to_string_pretty(value).unwrap_or_default()
        }
    }
}

fn cut(text: &str) -> String {
    cut_to(text, MAX_TEXT_BYTES)
}

fn cut_to(text: &str, most: usize) -> String {
    let kept = clip(text, most);
    if kept.len() == text.len() { kept.to_owned() } else { format!("{kept}\n[cut: all of it is in event.json]") }
}

#[cfg(test)]
mod tests {
    use super::{history, missing_files, with_forwards};
    use crate::{
        domain::event::{Email, Media},
        ingress::mail,
    };

    fn email(text: &str) -> Email {
        let mut email = Email { text: text.to_owned(), ..Email::default() };
        mail::segment(&mut email, &[]);
        email
    }

    #[test]
    fn what_is_passed_on_belongs_to_the_task_and_history_stands_apart() {
        let forward = email(
            "Please pay this.\n\n---------- Forwarded message ---------\nFrom: Bob <bob@example.com>\n\
             Date: Tue, Jan 14, 2025 at 9:12 AM\nSubject: Bill\nTo: <a@example.org>\n\nThe bill is attached.",
        );
        assert_eq!(with_forwards(&forward), "Please pay this.\n\n[passed on with it]\nThe bill is attached.");
        assert_eq!(history(&forward), None);
        let reply = email("Yes.\n\nOn Tue, Jan 14, 2025 at 9:12 AM Bob <bob@example.com> wrote:\n> Twelve?\n> Or ten?");
        assert_eq!(with_forwards(&reply), "Yes.");
        let expected = "[quoted from earlier in the thread, 2 lines]\n> Twelve?\n> Or ten?";
        assert_eq!(history(&reply).as_deref(), Some(expected));
        assert_eq!(history(&email("No quote at all.")), None);
    }

    #[test]
    fn files_of_a_message_that_are_not_there_are_told_of() {
        let media = |file: Option<&str>, missing: Option<&str>| Media {
            url: "https://a.example/1".to_owned(),
            content_type: "image/png".to_owned(),
            file: file.map(str::to_owned),
            missing: missing.map(str::to_owned),
        };
        assert_eq!(missing_files(&[media(Some("a.png"), None)]), "");
        let told = missing_files(&[media(Some("a.png"), None), media(None, Some("gone")), media(None, None)]);
        let lines = [
            "[a file of this message is missing (image/png): gone]",
            "[a file of this message was not fetched (image/png): https://a.example/1]",
        ];
        assert_eq!(told, format!("\n\n{}", lines.join("\n")));
    }
}
