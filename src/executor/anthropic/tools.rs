//! The tools of one run: those of Postern, the skills that are read on demand, and the one by which JSON is given.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::{
    config::skills::body,
    domain::{
        agent::Skill,
        run::{Failure, FailureCode},
        schema::{BodyCheck, BodySchema},
        template::clip,
    },
    executor::{
        RunSpec,
        anthropic::entry::Call,
        skills::{Chosen, main_of},
        tools::{ToolCall, ToolHost, ToolReply},
    },
};

/// How tools of Postern are called, as they stand in agents' files and in the record of every executor.
const OWN: &str = "mcp__postern__";
/// The tool by which skills are read.
const SKILL: &str = "skill";
/// The tool by which an answer as JSON is given; as Claude Code calls it.
pub(super) const GIVEN: &str = "StructuredOutput";
/// How long one call may take.
const CALL_LIMIT: Duration = Duration::from_secs(10 * 60);
/// Bytes of what a call is told, and of what it gives back.
const MAX_INPUT_BYTES: usize = 1024 * 1024;
const MAX_REPLY_BYTES: usize = 256 * 1024;

/// What the model may call.
pub(super) struct Tools {
    host: Option<Arc<dyn ToolHost>>,
    skills: BTreeMap<String, Skill>,
    schema: Option<(Value, BodyCheck)>,
    definitions: Vec<Value>,
}

impl Tools {
    /// The tools of a run with these skills.
    pub(super) fn of(spec: &RunSpec, host: Option<Arc<dyn ToolHost>>, chosen: &Chosen) -> Result<Self, Failure> {
        let wanted = |(skill, always): &(&Skill, bool)| !always || skill.files.len() > 1;
        let skills: BTreeMap<String, Skill> =
            chosen.given().filter(wanted).map(|(skill, _)| (skill.name.clone(), skill.clone())).collect();
        let schema = match &spec.agent.spec.output_schema {
            None => None,
            Some(schema @ Value::Object(fields)) => {
                let check = BodyCheck::compile(&BodySchema::Inline(fields.clone()));
                let fault = |why: String| Failure::new(FailureCode::Setup, format!("output_schema: {why}"));
                Some((schema.clone(), check.map_err(fault)?))
            }
            Some(_) => return Err(Failure::new(FailureCode::Setup, "output_schema is no map")),
        };
        let own = host.iter().flat_map(|host| host.list()).map(|tool| {
            json!({"name": format!("{OWN}{}", tool.name), "description": tool.description,
                "input_schema": tool.input_schema})
        });
        let mut definitions: Vec<Value> = own.collect();
        if !skills.is_empty() {
            definitions.push(skill_tool(&skills));
        }
        if let Some((schema, _)) = &schema {
            let description = "Gives your answer. Call it once, when your work is done: nothing else of what you say \
                               is used.";
            definitions.push(json!({"name": GIVEN, "description": description, "input_schema": schema}));
        }
        Ok(Self { host, skills, schema, definitions })
    }

    /// As the API takes them.
    pub(super) fn definitions(&self) -> &[Value] {
        &self.definitions
    }

    /// The tool by which the answer is given, when there is one.
    pub(super) fn given(&self) -> Option<&'static str> {
        self.schema.is_some().then_some(GIVEN)
    }

    /// Does one call.
    pub(super) async fn call(&self, call: &Call) -> ToolReply {
        let Some(input) = &call.input else { return failed("the input was no JSON object; call it again") };
        if input.to_string().len() > MAX_INPUT_BYTES {
            return failed("the input is longer than 1 MiB");
        }
        let reply = match (call.name.as_str(), &self.host, &self.schema) {
            (GIVEN, _, Some((_, schema))) => match schema.misfit(input) {
                None => said("This is your answer now."),
                Some(why) => failed(format!("this does not fit the schema: {why}; call it again")),
            },
            (SKILL, ..) if !self.skills.is_empty() => self.skill(input),
            (name, Some(host), _) => match own_name(name, host.as_ref()) {
                Some(name) => {
                    within(host.as_ref(), ToolCall { name, input: input.clone(), id: Some(call.id.clone()) }).await
                }
                None => failed("there is no such tool"),
            },
            (_, _, _) => failed("there is no such tool"),
        };
        let kept = clip(&reply.text, MAX_REPLY_BYTES);
        if kept.len() == reply.text.len() {
            return reply;
        }
        ToolReply { text: format!("{kept}\n[cut: it was longer]"), ..reply }
    }

    fn skill(&self, input: &Value) -> ToolReply {
        let text = |name: &str| input.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let Some(skill) = text("name").and_then(|name| self.skills.get(name)) else {
            let names = self.skills.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            return failed(format!("there is no skill of that name; there are: {names}"));
        };
        let others = || skill.files.keys().filter(|path| *path != "SKILL.md").map(String::as_str).collect::<Vec<_>>();
        let Some(path) = text("file") else {
            let mut words = body(&main_of(skill)).to_owned();
            if !others().is_empty() {
                words.push_str(&format!("\n\nIts other files, by `file`: {}", others().join(", ")));
            }
            return said(words);
        };
        let file = skill.files.get(path).and_then(|file| BASE64.decode(file.as_bytes()).ok());
        match file.map(String::from_utf8) {
            Some(Ok(text)) => said(text),
            Some(Err(_)) => failed("this file is no text"),
            None => failed(format!("the skill has no such file; it has: {}", others().join(", "))),
        }
    }
}

fn skill_tool(skills: &BTreeMap<String, Skill>) -> Value {
    let list: String =
        skills.values().map(|skill| format!("\n- {}: {}", skill.name, clip(&skill.description, 1024))).collect();
    json!({
        "name": SKILL,
        "description": format!("Reads one of your skills, or a file of it. Read a skill before you do what it is for.{list}"),
        "input_schema": {"type": "object", "required": ["name"], "additionalProperties": false, "properties": {
            "name": {"type": "string", "enum": skills.keys().collect::<Vec<_>>()},
            "file": {"type": "string", "description": "The path of one of its files; without it the skill itself."},
        }},
    })
}

fn own_name(name: &str, host: &dyn ToolHost) -> Option<String> {
    let name = name.strip_prefix(OWN)?;
    host.list().into_iter().map(|tool| tool.name).find(|known| known == name)
}

async fn within(host: &dyn ToolHost, call: ToolCall) -> ToolReply {
    let limit = host.patience(&call.name).unwrap_or(CALL_LIMIT);
    match tokio::time::timeout(limit, host.call(call)).await {
        Ok(reply) => reply,
        Err(_) => failed(format!("it took longer than {} s", limit.as_secs())),
    }
}

fn said(text: impl Into<String>) -> ToolReply {
    ToolReply { text: text.into(), is_error: false }
}

fn failed(text: impl Into<String>) -> ToolReply {
    ToolReply { text: text.into(), is_error: true }
}
