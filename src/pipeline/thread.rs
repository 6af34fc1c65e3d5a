//! What a mail is to its thread, looked up before it is matched: which of its lines we know already, and whether
//! there was too much of it lately.
//!
//! Only mail that names earlier mails, or would start something, is looked up; nothing else waits for the database.

use std::time::Duration;

use tokio::sync::Semaphore;

use crate::{
    config::settings::LoopSettings,
    domain::{
        event::{Content, Email, SenderAuth},
        id::TenantId,
    },
    ingress::{Parsed, mail},
    pipeline::{
        hops::{Hops, LoopGuard},
        routes::Routes,
    },
    store::{MailTraffic, Store, thread_ids},
};

/// How long a look-up may take. A mail whose look-up fails is taken all the same, by its words alone.
const PATIENCE: Duration = Duration::from_secs(2);
/// Up to so many bytes of text, the mail's and its thread's, are compared where the mail is read.
const CUT_INLINE: usize = 64 * 1024;
/// Larger ones are compared beside the threads that serve requests, so many at once.
static CUTTERS: Semaphore = Semaphore::const_new(4);

/// Cuts a mail's text by what its thread says, and marks in `parsed` whether a machine sent it.
pub(super) async fn recall(store: &Store, tenant: &TenantId, guard: &LoopGuard, routes: &Routes, parsed: &mut Parsed) {
    let Content::Email(email) = &mut parsed.content else { return };
    let ids = thread_ids(email);
    if !ids.is_empty() {
        match tokio::time::timeout(PATIENCE, store.remembered(tenant, &ids)).await {
            Ok(Ok(texts)) if !texts.is_empty() => cut(email, texts).await,
            Ok(Ok(_)) => {}
            Ok(Err(fault)) => tracing::warn!(error = ?fault, "a mail's thread could not be looked up"),
            Err(_) => tracing::warn!("looking a mail's thread up took too long"),
        }
    }
    let (limits, found) = (&guard.limits, guard.read(email));
    let address = parsed.sender.as_ref().map(|sender| sender.address.clone()).unwrap_or_default();
    let sender = address.as_str();
    let disbelieved = parsed.sender.as_ref().is_some_and(|sender| sender.auth == SenderAuth::Failed);
    if matches!(found, Hops::Proved(_)) && !disbelieved && routes.allows_agent(sender) {
        // Our agents' mail says of itself that a machine wrote it. Here that is wanted, for so many hops.
        parsed.automatic = None;
        if let Some(sender) = &mut parsed.sender {
            sender.auth = SenderAuth::Verified;
            sender.auth_reason = "one of our own agents sent it, by its signed hop counter".to_owned();
        }
    }
    if parsed.quiet.is_some() || parsed.automatic.is_some() {
        return;
    }
    if let Hops::Said(hops) | Hops::Proved(hops) = found
        && hops >= limits.hops.max(1)
    {
        parsed.automatic = Some(format!("it has gone through {hops} agents, and `loops.hops` is {}", limits.hops));
        return;
    }
    if routes.is_own_address(sender) {
        parsed.automatic = Some("its sender is an address of one of our agents".to_owned());
    }
}

/// Marks in `parsed` that too much mail of its thread or sender started runs lately. An answer starts none and is not
/// stopped by that; it is noted for the case that it comes too late to be one.
pub(super) async fn limit(store: &Store, tenant: &TenantId, limits: &LoopSettings, parsed: &mut Parsed) {
    let is_answer = parsed.effects.answer.is_some();
    let starts_nothing = parsed.automatic.is_some() || (parsed.quiet.is_some() && !is_answer);
    if limits.is_off() || starts_nothing || !matches!(parsed.content, Content::Email(_)) {
        return;
    }
    let Some(sender) = parsed.sender.as_ref().map(|sender| sender.address.as_str()).filter(|it| !it.is_empty()) else {
        return;
    };
    let thread = parsed.thread_key.as_deref().unwrap_or_default();
    match tokio::time::timeout(PATIENCE, store.mail_traffic(tenant, thread, sender, store.clock().now())).await {
        Ok(Ok(traffic)) if is_answer => parsed.too_much = too_much(limits, traffic),
        Ok(Ok(traffic)) => parsed.quiet = too_much(limits, traffic),
        Ok(Err(fault)) => tracing::warn!(error = ?fault, "a mail's sender could not be looked up"),
        Err(_) => tracing::warn!("looking a mail's sender up took too long"),
    }
}

/// Cuts a mail's text once more, now that its thread is known. Where that fails the first cut stays.
async fn cut(email: &mut Email, remembered: Vec<String>) {
    fn segment(email: &mut Email, remembered: &[String]) {
        let remembered: Vec<&str> = remembered.iter().map(String::as_str).collect();
        mail::segment(email, &remembered);
    }
    let own = email.text.len() + email.html.as_ref().map_or(0, String::len);
    if own + remembered.iter().map(String::len).sum::<usize>() <= CUT_INLINE {
        return segment(email, &remembered);
    }
    let Ok(place) = CUTTERS.acquire().await else { return };
    let mut copy = email.clone();
    #[expect(clippy::disallowed_methods, reason = "bounded by the places of `CUTTERS`")]
    let done = tokio::task::spawn_blocking(move || {
        let _place = place;
        segment(&mut copy, &remembered);
        (copy.segments, copy.new_text)
    });
    match done.await {
        Ok((segments, new_text)) => {
            email.segments = segments;
            email.new_text = new_text;
        }
        Err(fault) => tracing::warn!(error = %fault, "a mail's text could not be compared with its thread"),
    }
}

/// Why a mail starts nothing although a person may have written it.
fn too_much(limits: &LoopSettings, traffic: MailTraffic) -> Option<String> {
    let over = |count: i64, limit: u32| limit > 0 && count >= i64::from(limit);
    let found = if over(traffic.thread_hour, limits.thread_hour) {
        ("mails of this thread started runs in the last hour", "loops.thread_hour", limits.thread_hour)
    } else if over(traffic.thread_day, limits.thread_day) {
        ("mails of this sender in this thread started runs in the last day", "loops.thread_day", limits.thread_day)
    } else if over(traffic.sender_hour, limits.sender_hour) {
        ("mails of this sender started runs in the last hour", "loops.sender_hour", limits.sender_hour)
    } else {
        return None;
    };
    let (what, key, limit) = found;
    Some(format!("{limit} {what}, which is the most that `{key}` allows"))
}

#[cfg(test)]
mod tests {
    use super::{CUT_INLINE, cut, too_much};
    use crate::{config::settings::LoopSettings, domain::event::Email, store::MailTraffic};

    #[tokio::test]
    async fn a_large_mail_is_cut_by_its_thread_as_a_small_one_is() {
        for lines in [3, 3000] {
            let old: String = (0..lines).map(|line| format!("Line {line} of what we wrote before.\n")).collect();
            assert_eq!(old.len() > CUT_INLINE, lines > 3);
            let text = format!("Yes, do that.\n\n{old}");
            let mut email = Email { text, in_reply_to: vec!["a@x.example".to_owned()], ..Email::default() };
            cut(&mut email, vec![old]).await;
            assert_eq!(email.new_text.trim(), "Yes, do that.", "{lines} lines");
        }
    }

    #[test]
    fn a_cap_is_reached_with_as_many_mails_as_it_says_and_zero_is_none() {
        let limits = LoopSettings { thread_hour: 2, thread_day: 4, sender_hour: 0, hops: 3 };
        let traffic = |thread_hour, thread_day, sender_hour| MailTraffic { thread_hour, thread_day, sender_hour };
        assert_eq!(too_much(&limits, traffic(1, 3, 900)), None);
        assert!(too_much(&limits, traffic(2, 0, 0)).unwrap().contains("`loops.thread_hour`"));
        assert!(too_much(&limits, traffic(0, 4, 0)).unwrap().starts_with("4 mails of this sender in this thread"));
    }
}
