//! `ask_human`: a question to a person, and `ask` rules: whether a call may be made.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    crypto,
    domain::{
        approval::{AnswerWay, Approval, ApprovalKind},
        own_tool::OwnTool,
        template::clip,
    },
    executor::tools::{PermissionAsked, Permit},
    pipeline::{
        prompt,
        tools::{
            Context, Said,
            asking::{self, Asker, Question},
            store_failed,
            waits::Waits,
        },
    },
    store::CallKey,
};

/// Bytes of a question.
const MAX_QUESTION_BYTES: usize = 4_000;
/// Answers that are offered.
const MAX_OPTIONS: usize = 10;
/// Bytes of one of them.
const MAX_OPTION_BYTES: usize = 200;
/// Bytes of a call's input that a person is shown.
const SHOWN_INPUT_BYTES: usize = 2_000;
/// Calls that one run may have a person decide about; how often it asks is limited besides.
const MOST_PERMISSIONS: i64 = 1_000;

/// What it is told.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    question: String,
    #[serde(default)]
    options: Vec<String>,
}

pub(super) fn describe() -> (&'static str, Value) {
    let says = "Asks a person a question and waits for the answer, which may take long. Ask only what you cannot find out \
                and cannot go on without; put all that they need to know into the question. What comes back was written by \
                that person: material for your work.";
    let question = json!({"type": "string", "description": "The question, in full sentences"});
    let options = json!({"type": "array", "items": {"type": "string"}, "maxItems": MAX_OPTIONS,
        "description": "Answers to choose from; they may give another one all the same"});
    let properties = json!({"question": question, "options": options});
    (says, json!({"type": "object", "properties": properties, "required": ["question"], "additionalProperties": false}))
}

pub(super) async fn call(context: &Context, waits: &Waits, call: Option<&str>, input: Input) -> Said {
    let text = input.question.trim().to_owned();
    if text.is_empty() || text.len() > MAX_QUESTION_BYTES {
        return Err(format!("`question` has {} bytes; write 1 to {MAX_QUESTION_BYTES}", text.len()));
    }
    let options: Vec<String> = input.options.iter().map(|option| option.trim().to_owned()).collect();
    let is_off = |option: &String| option.is_empty() || option.len() > MAX_OPTION_BYTES || option.contains('\n');
    if options.len() > MAX_OPTIONS || options.iter().any(is_off) {
        return Err(format!("`options` are at most {MAX_OPTIONS}, each of one line of 1 to {MAX_OPTION_BYTES} bytes"));
    }
    let key = crypto::sha256_hex(json!(["question", text, options]).to_string().as_bytes());
    let question = Question { kind: ApprovalKind::Question, key, text, options };
    let asker = Asker { tool: &OwnTool::AskHuman.qualified(), call, rule: None };
    let approval = asking::ask(context, waits, question, &asker).await?;
    let what = if approval.denied { "refused to answer" } else { "answered" };
    let from = format!("what {} said", who(&approval));
    let said = prompt::marked(approval.answer.as_deref().unwrap_or_default(), &from)?;
    Ok(format!("{} {what} ({}):\n{said}", who(&approval), approval.id))
}

/// Asks whether a call may be made.
pub(super) async fn permit(context: &Context, waits: &Waits, asked: PermissionAsked) -> Permit {
    match decide(context, waits, asked).await {
        Ok(permit) => permit,
        Err(why) => Permit::Denied(why),
    }
}

async fn decide(context: &Context, waits: &Waits, asked: PermissionAsked) -> Result<Permit, String> {
    let content = crypto::sha256_hex(json!([asked.tool, asked.input]).to_string().as_bytes());
    let call = CallKey { tool: "permission", content: &content, id: asked.id.as_deref() };
    let number = context.number(&call, MOST_PERMISSIONS, "this run has asked too often").await?;
    let input = serde_json::to_string_pretty(&asked.input).unwrap_or_default();
    let shown = clip(&input, SHOWN_INPUT_BYTES);
    let cut = if shown.len() < input.len() { "\n[cut: it is longer]" } else { "" };
    let text = format!("May it call the tool {} with this?\n\n{shown}{cut}", asked.tool);
    let key = format!("permission:{content}:{number}");
    let question = Question { kind: ApprovalKind::Permission, key, text, options: Vec::new() };
    let asker = Asker { tool: &asked.tool, call: asked.id.as_deref(), rule: Some(&asked.rule) };
    let approval = asking::ask(context, waits, question, &asker).await?;
    let (who, answer) = (who(&approval), approval.answer.as_deref().unwrap_or_default());
    if !approval.denied {
        // One yes is for one call. A worker that dies between this and the call's end makes somebody say it again.
        let used = context.execute.store.use_up_call(&context.work.lease, &call, number).await;
        if !used.map_err(|fault| store_failed(context, &fault))? {
            return Err("this run goes on elsewhere".to_owned());
        }
        return Ok(Permit::Allowed(format!("{who} said yes ({})", approval.id)));
    }
    let words = match answer.to_lowercase().as_str() {
        "" | "no" | "no." | "n" => String::new(),
        _ => format!("\n{}", prompt::marked(answer, &format!("what {who} said"))?),
    };
    Ok(Permit::Denied(format!("{who} did not allow it ({}){words}", approval.id)))
}

fn who(approval: &Approval) -> String {
    let by = approval.answered_by.as_deref().unwrap_or("somebody");
    match approval.answered_way {
        Some(AnswerWay::Api) | None => format!("{by} (by the API)"),
        Some(way @ (AnswerWay::Email | AnswerWay::Sms)) => format!("{by} (by {})", way.as_str()),
    }
}
