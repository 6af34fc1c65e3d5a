//! Who is answered by mail, and in which thread.

use crate::{
    domain::{
        delivery::{EmailMessage, Message, Quote},
        event::{AgentEvent, Content, Email, Mailbox, SenderAuth},
        organisation::{Alignment, is_aligned},
        thread::base_address,
    },
    outbound::answer::Answered,
};

/// Longer chains are loops, whatever else they are.
const MAX_REFERENCES: usize = 50;

/// To the sender, from the address that was written to, in the same thread.
pub(super) fn same_thread(event: &AgentEvent, email: &Email, text: String) -> Answered {
    if let Some(reason) = not_to_answer(event, email) {
        return Answered::nothing(reason);
    }
    let (Some(sender), Some(ours)) = (recipient(event, email), own_address(email)) else {
        return Answered::nothing("the mail does not say who wrote it, or to which address of ours");
    };
    let mut references = match email.references.as_slice() {
        // RFC 5322 §3.6.4: a parent without References lends its one In-Reply-To
        [] if email.in_reply_to.len() == 1 => email.in_reply_to.clone(),
        references => references.to_vec(),
    };
    if let Some(id) = &email.message_id
        && references.last() != Some(id)
    {
        references.push(id.clone());
    }
    Answered::send(Message::Email(EmailMessage {
        from: ours,
        to: sender.address.clone(),
        subject: reply_subject(&email.subject),
        text,
        in_reply_to: email.message_id.clone(),
        references,
        quote: quote(event, email),
        reply_token: None,
        hops: email.hops().saturating_add(1),
        hops_proof: None,
        files: Vec::new(),
    }))
}

/// To somebody whom the trigger names, outside the thread: they do not have the mail that came.
pub(super) fn to_third(event: &AgentEvent, to: &str, agent: &str, text: String) -> Answered {
    let (from, subject, quote) = match &event.content {
        Content::Email(email) => {
            if own_addresses(email).any(|own| own.eq_ignore_ascii_case(&base_address(to))) {
                return Answered::nothing("the trigger's `reply` names our own address");
            }
            (own_address(email).unwrap_or_default(), reply_subject(&email.subject), quote(event, email))
        }
        Content::Sms(_) | Content::Webhook(_) => (String::new(), format!("{agent}: {}", event.kind), None),
        Content::Schedule(tick) => (String::new(), format!("{agent}: {}", tick.local_time), None),
        Content::Agent(note) => (String::new(), format!("{agent}: {} by {}", event.kind, note.by), None),
    };
    Answered::send(Message::Email(EmailMessage {
        from,
        to: to.to_owned(),
        subject,
        text,
        in_reply_to: None,
        references: Vec::new(),
        quote,
        reply_token: None,
        hops: match &event.content {
            Content::Email(email) => email.hops().saturating_add(1),
            Content::Sms(_) | Content::Webhook(_) | Content::Schedule(_) | Content::Agent(_) => 1,
        },
        hops_proof: None,
        files: Vec::new(),
    }))
}

/// To somebody whom the agent's file names, about what it works on: they do not have the mail that came, and are not
/// shown it.
pub(super) fn question(
    event: &AgentEvent,
    (to, from): (&str, Option<&str>),
    subject: String,
    text: String,
) -> Answered {
    let email = match &event.content {
        Content::Email(email) => Some(email),
        Content::Sms(_) | Content::Webhook(_) | Content::Schedule(_) | Content::Agent(_) => None,
    };
    let ours = from.map(str::to_owned).or_else(|| own_address(email?)).unwrap_or_default();
    let is_ours = |address: String| address.eq_ignore_ascii_case(&base_address(to));
    if is_ours(ours.clone()) || email.is_some_and(|email| own_addresses(email).any(is_ours)) {
        return Answered::nothing("the agent's `ask` names our own address");
    }
    Answered::send(Message::Email(EmailMessage {
        from: ours,
        to: to.to_owned(),
        subject,
        text,
        in_reply_to: None,
        references: Vec::new(),
        quote: None,
        reply_token: None,
        hops: email.map_or(1, |email| email.hops().saturating_add(1)),
        hops_proof: None,
        files: Vec::new(),
    }))
}

/// Why this mail gets no answer (RFC 3834 §2, and a guard against loops).
fn not_to_answer(event: &AgentEvent, email: &Email) -> Option<&'static str> {
    let [from] = email.from.as_slice() else {
        return Some("the mail has no sender or several, so it is not known whom to answer");
    };
    if email.envelope_from.as_deref().is_some_and(|sender| sender.is_empty() || sender == "<>") {
        return Some("the envelope sender is empty: bounces and notices are not answered");
    }
    let envelope = email.envelope_from.as_deref().unwrap_or_default();
    let target = recipient(event, email).map(|mailbox| mailbox.address.as_str()).unwrap_or_default();
    if is_machine(&from.address) || is_machine(target) || local_part(envelope) == "mailer-daemon" {
        return Some("the sender's address is a machine's, which reads no answers");
    }
    let is_ours = |address: &str| own_addresses(email).any(|own| own.eq_ignore_ascii_case(&base_address(address)));
    if is_ours(&from.address) || is_ours(target) {
        return Some("the mail came from our own address");
    }
    let looped = |(name, value): &(String, String)| name.eq_ignore_ascii_case("x-loop") && is_ours(value.trim());
    if email.headers.iter().any(looped) {
        return Some("the mail has passed through our own address before (X-Loop)");
    }
    (email.references.len() > MAX_REFERENCES).then_some("the thread is too long to be anything but a loop")
}

/// `From`, or the one `Reply-To` of a verified sender's own organisation: elsewhere it is how answers are stolen, and of
/// a sender that nobody verified it may be the thief's.
fn recipient<'e>(event: &AgentEvent, email: &'e Email) -> Option<&'e Mailbox> {
    let from = email.from.first().filter(|mailbox| mailbox.address.contains('@'))?;
    let verified = event.sender.as_ref().is_some_and(|sender| sender.auth == SenderAuth::Verified);
    match email.reply_to.as_slice() {
        [reply_to] if verified && is_one_organisation(&reply_to.address, &from.address) => Some(reply_to),
        _ => Some(from),
    }
}

/// The address that was written to: of the envelope, best one that the sender sees too.
fn own_address(email: &Email) -> Option<String> {
    let seen = |own: &String| {
        email.to.iter().chain(&email.cc).any(|mailbox| base_address(&mailbox.address).eq_ignore_ascii_case(own))
    };
    own_addresses(email).find(seen).or_else(|| own_addresses(email).next())
}

/// Those of the envelope; the first of `To` where the provider tells no envelope. Without the tokens of conversations.
fn own_addresses(email: &Email) -> impl Iterator<Item = String> {
    let shown = email.to.first().filter(|_| email.envelope_to.is_empty());
    let written = email.envelope_to.iter().map(String::as_str).chain(shown.map(|mailbox| mailbox.address.as_str()));
    written.map(base_address)
}

fn is_machine(address: &str) -> bool {
    let local = local_part(address);
    let letters: String = local.chars().filter(char::is_ascii_alphanumeric).collect();
    matches!(letters.as_str(), "mailerdaemon" | "postmaster" | "listserv" | "majordomo" | "bounce" | "bounces")
        || letters.starts_with("noreply")
        || letters.starts_with("donotreply")
        || letters.ends_with("noreply")
        || letters.ends_with("donotreply")
        || ["bounce+", "bounces+", "bounce-", "bounces-", "owner-"].iter().any(|start| local.starts_with(start))
        || local.ends_with("-request")
}

fn local_part(address: &str) -> String {
    address.rsplit_once('@').map_or(address, |(local, _)| local).to_ascii_lowercase()
}

fn is_one_organisation(a: &str, b: &str) -> bool {
    let domain = |address: &'_ str| address.rsplit_once('@').map(|(_, domain)| domain.to_owned()).unwrap_or_default();
    is_aligned(&domain(a), &domain(b), Alignment::Relaxed)
}

/// One `Re: `, whatever number of them, or of their kin in other languages, was there.
fn reply_subject(subject: &str) -> String {
    let mut rest = subject.trim();
    while let Some((mark, after)) = rest.split_once(':') {
        if !matches!(mark.trim().to_ascii_lowercase().as_str(), "re" | "aw" | "sv" | "antw") {
            break;
        }
        rest = after.trim_start();
    }
    if rest.is_empty() { "Re: (no subject)".to_owned() } else { format!("Re: {rest}") }
}

fn quote(event: &AgentEvent, email: &Email) -> Option<Quote> {
    let text = if email.new_text.trim().is_empty() { email.text.trim() } else { email.new_text.trim() };
    if text.is_empty() {
        return None;
    }
    let author = email.from.first().map(|from| from.name.clone().unwrap_or_else(|| from.address.clone()));
    let lines: Vec<String> = text.lines().take(20).map(|line| line.chars().take(500).collect()).collect();
    Some(Quote {
        author: author.unwrap_or_else(|| "somebody".to_owned()),
        at: email.date.unwrap_or(event.received_at),
        text: lines.join("\n"),
    })
}
