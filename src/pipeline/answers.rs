//! Mails and text messages that answer a question which a run waits on: they are the answer, and start no run of their own.

use crate::{
    domain::{
        approval::{self, AnswerWay, Answering, Approval, ApprovalState},
        event::{Content, Email, SenderAuth, Sms},
        id::TenantId,
        texting::{number_key, on_channel},
        thread,
    },
    ingress::Parsed,
    store::{MailIds, Store, StoreError},
};

/// How long after its end, also by an answer, a question by text message may still be meant by a text.
const MEANT_MS: i64 = 86_400_000;

/// Looks whether a message answers a question, and notes that in `parsed`: it is quiet then.
///
/// A mail answers the question whose `Message-ID` it names, when its sender is the one who was asked and verified to be. A
/// text answers the one question to its number that is open; where there are or were others of late, answered ones as
/// well, the one whose reference it names.
///
/// # Errors
/// When the database fails: an answer that starts a run instead is worse than one that comes again.
pub(super) async fn look(store: &Store, tenant: &TenantId, parsed: &mut Parsed) -> Result<(), StoreError> {
    if parsed.quiet.is_some() || parsed.automatic.is_some() {
        return Ok(());
    }
    let found = match &parsed.content {
        // Agents decide nothing for each other, be they our own.
        Content::Email(email) if email.hops() == 0 => of_mail(store, tenant, email, parsed).await?,
        Content::Sms(sms) if sms.opt_out.is_none() => of_text(store, tenant, sms, &parsed.kind).await?,
        Content::Email(_) | Content::Sms(_) | Content::Webhook(_) | Content::Schedule(_) | Content::Agent(_) => None,
    };
    let Some((approval, text)) = found else { return Ok(()) };
    if approval.state != ApprovalState::Waiting {
        parsed.quiet = Some(format!("a copy of the mail that answered {}", approval.id));
        return Ok(());
    }
    let way = if matches!(parsed.content, Content::Email(_)) { AnswerWay::Email } else { AnswerWay::Sms };
    parsed.quiet = Some(format!("it answers {}, on which {} waits", approval.id, approval.run));
    parsed.effects.answer = Some(Answering {
        said: approval::read(approval.kind, &approval.options, &text),
        by: approval.asked.clone(),
        approval: approval.id,
        way,
    });
    Ok(())
}

async fn of_mail(
    store: &Store,
    tenant: &TenantId,
    email: &Email,
    parsed: &Parsed,
) -> Result<Option<(Approval, String)>, StoreError> {
    let answered = thread::answered(&email.in_reply_to, &email.references);
    let verified = parsed.sender.as_ref().filter(|sender| sender.auth == SenderAuth::Verified);
    let is_empty = answered.is_empty() || email.new_text.trim().is_empty();
    let (Some(sender), [from], false) = (verified, email.from.as_slice(), is_empty) else {
        return Ok(None);
    };
    let ids = MailIds {
        deliveries: answered.iter().filter_map(|id| thread::delivery_in_id(id)).map(|id| id.to_string()).collect(),
        answered: answered.into_iter().map(str::to_owned).collect(),
        own: email.message_id.clone().unwrap_or_default(),
    };
    let is_asked = |approval: &Approval| {
        approval.asked.eq_ignore_ascii_case(&sender.address) && approval.asked.eq_ignore_ascii_case(&from.address)
    };
    let counts = |approval: &Approval| matches!(approval.state, ApprovalState::Waiting | ApprovalState::Answered);
    let found = store.approvals_of_mail(tenant, &ids).await?;
    Ok(found.into_iter().find(|one| is_asked(one) && counts(one)).map(|one| (one, email.new_text.clone())))
}

async fn of_text(
    store: &Store,
    tenant: &TenantId,
    sms: &Sms,
    kind: &str,
) -> Result<Option<(Approval, String)>, StoreError> {
    let key = |number: &str| number_key(&on_channel(kind, number));
    let (theirs, ours) = (key(&sms.from), key(&sms.to));
    let since = store.clock().now().plus_ms(-MEANT_MS);
    let found = store.approvals_of_number(tenant, (&theirs, &ours), since).await?;
    let mut named: Vec<(&Approval, String)> = found
        .iter()
        .filter_map(|one| Some((one, approval::without_reference(&sms.text, &approval::short_reference(&one.id))?)))
        .collect();
    let meant = match (named.len(), found.as_slice()) {
        (0, [only]) => Some((only, sms.text.clone())),
        (1, _) => named.pop(),
        _ => None,
    };
    let meant = meant.filter(|(approval, _)| approval.state == ApprovalState::Waiting);
    Ok(meant.map(|(approval, text)| (approval.clone(), text)))
}
