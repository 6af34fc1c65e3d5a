//! Asking a person: the question goes out with its approval in one transaction, and is waited for until an answer, the
//! end of its time, or the end of the run. A worker that takes the run up again finds the same question by its key.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    domain::{
        approval::{Approval, ApprovalKind, ApprovalState},
        ask::{Ask, AskWord},
        delivery::Message,
        id::{ApprovalId, DeliveryId},
        run::MessageKind,
        template::clip,
        texting::number_key,
    },
    executor::RunSink as _,
    pipeline::{
        answering, prompt,
        tools::{Context, letter::Letter, store_failed, waits::Waits},
    },
    store::{Asked, NewApproval},
};

/// How often an answer is looked for when nobody told of one.
const LOOK: Duration = Duration::from_secs(15);
/// How long the store is left alone after it failed.
const PAUSE: Duration = Duration::from_millis(500);
/// Bytes of what is told of a delivery that failed, which may be the words of a server of others.
const MOST_DETAIL: usize = 300;
/// Bytes of a tool's name, which is the model's.
const MOST_NAME: usize = 200;

/// What is asked.
pub(super) struct Question {
    pub(super) kind: ApprovalKind,
    /// What the same question of the same run has in common.
    pub(super) key: String,
    pub(super) text: String,
    pub(super) options: Vec<String>,
}

/// The call that waits for the answer, as the record tells of it.
pub(super) struct Asker<'a> {
    pub(super) tool: &'a str,
    /// The call's id in the conversation.
    pub(super) call: Option<&'a str>,
    /// The rule that wants a person to decide.
    pub(super) rule: Option<&'a str>,
}

/// Puts a question and waits for its answer; the record says so meanwhile.
///
/// # Errors
/// In words for the model: nobody can be asked, or nobody answered.
pub(super) async fn ask(
    context: &Context,
    waits: &Waits,
    question: Question,
    asker: &Asker<'_>,
) -> Result<Approval, String> {
    if context.work.run.dry_run {
        return Err("this run is a dry run, which asks nobody".to_owned());
    }
    let approval = put(context, question).await?;
    let _waiting = waits.begin();
    if approval.state == ApprovalState::Waiting {
        let told = context.record.clone().message(MessageKind::Status, waiting(&approval, asker)).await;
        told.map_err(|_| "this run goes on elsewhere".to_owned())?;
    }
    wait(context, approval).await
}

/// What the record says while somebody is waited for.
fn waiting(approval: &Approval, asker: &Asker<'_>) -> Value {
    let tool = clip(asker.tool, MOST_NAME);
    let rule = asker.rule.map(|rule| format!("ask: {rule}"));
    let why = rule.as_ref().map_or_else(String::new, |rule| format!("the rule `{rule}` wants a person; "));
    let (id, asked, until) = (&approval.id, &approval.asked, &approval.expires_at);
    let mut line = json!({"text": format!("{tool} waits: {why}{asked} is asked until {until} ({id})"), "tool": tool,
        "approval": id, "asked": asked, "until": until});
    let call = asker.call.map(|call| clip(call, MOST_NAME));
    for (key, value) in [("call", call), ("rule", rule.as_deref())] {
        if let Some(value) = value {
            line[key] = json!(value);
        }
    }
    line
}

async fn put(context: &Context, question: Question) -> Result<Approval, String> {
    let (execute, work) = (&context.execute, &context.work);
    let now = execute.store.clock().now();
    let merged = execute.store.merged_runs(&work.run.tenant, &work.run.id).await;
    let merged = merged.map_err(|fault| store_failed(context, &fault))?;
    let event = merged.last().map_or_else(|| work.newest().0, |merged| &merged.event);
    let default = Ask::Word(AskWord::Sender);
    let ask = work.agent.spec.ask.as_ref().unwrap_or(&default);
    let id = ApprovalId::new(now);
    let expires_at = now.plus_ms(ask.wait().0);
    let letter = Letter { id: &id, agent: &work.agent.name, question: &question, expires_at };
    let message = letter.message(context, &event.event, ask)?;
    let token = execute.reply_token(work).await;
    let mut delivery = answering::delivery(DeliveryId::new(now), message, None, token);
    if let Message::Email(email) = &mut delivery.message {
        execute.loops.prove(email, &delivery.id);
    }
    let ends = match &delivery.message {
        Message::Sms(sms) => (number_key(&sms.to), number_key(&sms.from)),
        Message::Email(_) | Message::Webhook(_) => Default::default(),
    };
    let new = NewApproval {
        asked: delivery.message.recipient().to_owned(),
        kind: question.kind,
        key: question.key,
        question: question.text,
        options: question.options,
        ends,
        expires_at,
        id,
    };
    match execute.store.ask(work, &new, &delivery).await {
        Ok(Asked::Put(approval)) => {
            execute.wakes.deliveries();
            tracing::info!(
                approval = %approval.id, run = %approval.run, tenant = %approval.tenant, agent = approval.agent,
                kind = approval.kind.as_str(), channel = approval.channel, state = approval.state.as_str(), "a person is asked"
            );
            Ok(*approval)
        }
        Ok(Asked::TooMany) => Err("this run has asked as often as a run may; go on without an answer".to_owned()),
        Ok(Asked::LeaseLost) => Err("this run goes on elsewhere".to_owned()),
        Err(fault) => Err(store_failed(context, &fault)),
    }
}

async fn wait(context: &Context, mut approval: Approval) -> Result<Approval, String> {
    let (store, work) = (&context.execute.store, &context.work);
    let mut news = context.execute.wakes.news_to_come();
    loop {
        match approval.state {
            ApprovalState::Answered => return Ok(approval),
            ApprovalState::Canceled => return Err("the question was withdrawn".to_owned()),
            ApprovalState::Waiting | ApprovalState::Expired => {}
        }
        let lost = store.undelivered(&work.run.tenant, &approval.delivery).await;
        let lost = lost.inspect_err(|fault| tracing::debug!(error = ?fault, "a question's delivery could not be read"));
        let why = match (approval.state, lost.unwrap_or_default()) {
            (ApprovalState::Expired, _) => Some(format!(
                "nobody answered in time: {} was asked ({}) until {}",
                approval.asked, approval.id, approval.expires_at
            )),
            (_, Some(detail)) => {
                let said = prompt::marked(clip(&detail, MOST_DETAIL), "what was said of that delivery")?;
                Some(format!("the question did not reach {} ({}):\n{said}", approval.asked, approval.delivery))
            }
            (_, None) => None,
        };
        if let Some(why) = why {
            match store.expire_approval(&work.lease, &approval.id).await {
                Ok(true) => return Err(why),
                // Answered in this moment, perhaps, or written before.
                Ok(false) => {
                    let found = store.approval(&work.run.tenant, &approval.id).await;
                    let found = found.map_err(|fault| store_failed(context, &fault))?;
                    return found.filter(|found| found.state == ApprovalState::Answered).ok_or(why);
                }
                Err(fault) => return Err(store_failed(context, &fault)),
            }
        }
        let left = approval.expires_at.0.saturating_sub(store.clock().now().0);
        let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
        tokio::select! {
            _ = news.changed() => {}
            () = tokio::time::sleep(left.min(LOOK)) => {}
        }
        match store.approval(&work.run.tenant, &approval.id).await {
            Ok(Some(found)) => approval = found,
            Ok(None) => return Err("the question is not kept any more".to_owned()),
            Err(fault) => {
                tracing::warn!(approval = %approval.id, error = ?fault, "a question could not be read; trying again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
