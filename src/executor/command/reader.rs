//! Standard output of a program as what it means: plain text, or the events of a CLI, one JSON object a line.

use std::process::ExitStatus;

use serde_json::{Value, json};

use crate::{
    domain::{
        agent::ResultFrom,
        details::ModelUsage,
        run::{Failure, FailureCode, MessageKind, RunResult, Usage},
    },
    executor::{
        claude::record::Line as Recorded,
        command::{
            answer::Answer,
            claude::Claude,
            codex::Codex,
            conversation::{Conversation, Total, is_id},
            fault,
            gemini::Gemini,
            heard::Heard,
            opencode::Opencode,
        },
        lines::Line,
        mask::Mask,
    },
};

/// Bytes of the longest line that is read as an event.
pub(in crate::executor) const MAX_EVENT_BYTES: usize = 4 * 1024 * 1024;

/// What a CLI's events mean.
pub(in crate::executor) trait Dialect: Send {
    /// Takes in one event, a JSON object.
    fn hear(&mut self, event: &Value, heard: &mut Heard);

    /// Takes in a line that is no JSON object; `false` when it means nothing.
    fn hear_text(&mut self, _line: &str, _heard: &mut Heard) -> bool {
        false
    }

    /// No more comes.
    fn end(&mut self, _heard: &mut Heard) {}

    /// What an exit code says where no event told why it failed.
    fn exit(&self, _code: i32) -> Option<FailureCode> {
        None
    }
}

/// See the module.
pub(super) enum Reader {
    /// What is printed is the answer, or it is part of it.
    Plain(Answer),
    /// A CLI's events.
    Events(Box<Events>),
}

impl Reader {
    /// For an agent of that `result`, whose conversation before had taken `total`.
    pub(super) fn new(from: ResultFrom, total: Total) -> Self {
        let dialect: Box<dyn Dialect> = match from {
            ResultFrom::Stdout | ResultFrom::LastLine | ResultFrom::Json => return Self::Plain(Answer::new(from)),
            ResultFrom::Claude => Box::new(Claude::default()),
            ResultFrom::Codex => Box::new(Codex::new(total)),
            ResultFrom::Gemini => Box::new(Gemini::default()),
            ResultFrom::Opencode => Box::new(Opencode::default()),
        };
        let mut events = Events::new(dialect);
        events.heard.total = total;
        Self::Events(Box::new(events))
    }

    /// What of a line goes into the record.
    pub(super) fn push(&mut self, line: &Line, mask: &Mask) -> Vec<Recorded> {
        match self {
            Self::Plain(answer) => {
                answer.push(line);
                vec![(MessageKind::Text, json!({"text": line.text}))]
            }
            Self::Events(events) => {
                events.push(line, mask);
                events.recorded(mask)
            }
        }
    }

    /// What of the end goes into the record.
    pub(super) fn finish(&mut self, mask: &Mask) -> Vec<Recorded> {
        match self {
            Self::Plain(_) => Vec::new(),
            Self::Events(events) => {
                events.finish(mask);
                events.recorded(mask)
            }
        }
    }

    /// What it took so far.
    pub(super) fn usage(&self) -> Usage {
        match self {
            Self::Plain(_) => Usage::default(),
            Self::Events(events) => events.heard.usage,
        }
    }

    /// What each model took so far, as far as the CLI says so.
    pub(super) fn models(&self) -> Vec<(String, ModelUsage)> {
        match self {
            Self::Plain(_) => Vec::new(),
            Self::Events(events) => events.heard.models(),
        }
    }

    /// The conversation that the next run continues.
    pub(super) fn conversation(&self) -> Option<Conversation> {
        match self {
            Self::Plain(_) => None,
            Self::Events(events) => {
                let heard = &events.heard;
                let id = heard.conversation.clone().filter(|id| heard.has_begun && is_id(id))?;
                Some(Conversation { id, total: heard.total })
            }
        }
    }

    /// The result of a program that ended so, `said` being the end of its standard error.
    pub(super) fn result(self, status: ExitStatus, said: &str, mask: &Mask) -> Result<RunResult, Failure> {
        match self {
            Self::Plain(answer) if status.success() => answer.result(mask),
            Self::Plain(_) => Err(Failure::new(FailureCode::Agent, exited(status, said))),
            Self::Events(events) => events.result(status, said, mask),
        }
    }
}

fn exited(status: ExitStatus, said: &str) -> String {
    let why = if said.is_empty() { String::new() } else { format!(": {said}") };
    format!("the program failed ({status}){why}")
}

/// The events of a CLI.
pub(in crate::executor) struct Events {
    dialect: Box<dyn Dialect>,
    heard: Heard,
    /// The pieces of a long line so far.
    partial: String,
    /// Bytes of a line that is too long.
    left_out: usize,
}

impl Events {
    /// Nothing yet.
    pub(in crate::executor) fn new(dialect: Box<dyn Dialect>) -> Self {
        Self { dialect, heard: Heard::default(), partial: String::new(), left_out: 0 }
    }

    /// All that was heard.
    pub(in crate::executor) const fn heard(&self) -> &Heard {
        &self.heard
    }

    /// As [`Events::heard`], at the end.
    pub(in crate::executor) fn into_heard(self) -> Heard {
        self.heard
    }

    /// Takes in a line.
    pub(in crate::executor) fn push(&mut self, line: &Line, mask: &Mask) {
        if self.left_out > 0 || self.partial.len() + line.text.len() > MAX_EVENT_BYTES {
            self.left_out += self.partial.len() + line.text.len();
            self.partial = String::new();
        } else {
            self.partial.push_str(&line.text);
        }
        if line.complete {
            self.finish_line(mask);
        }
    }

    /// Takes in one event, a JSON object.
    pub(in crate::executor) fn hear(&mut self, mut event: Value, mask: &Mask) {
        mask.value(&mut event);
        self.dialect.hear(&event, &mut self.heard);
    }

    fn finish_line(&mut self, mask: &Mask) {
        let (line, left_out) = (std::mem::take(&mut self.partial), std::mem::take(&mut self.left_out));
        if left_out > 0 {
            self.heard.status(&format!("a line of {left_out} bytes was not read; {MAX_EVENT_BYTES} are the most"));
        }
        let text = line.trim();
        if text.is_empty() {
            return;
        }
        let event = serde_json::from_str(text).ok().filter(Value::is_object);
        match event {
            Some(event) => self.hear(event, mask),
            None if self.dialect.hear_text(&line, &mut self.heard) => {}
            None => self.heard.noise(&line),
        }
    }

    /// No more comes.
    pub(in crate::executor) fn finish(&mut self, mask: &Mask) {
        self.finish_line(mask);
        self.dialect.end(&mut self.heard);
        self.heard.close_text();
    }

    /// What goes into the record. Texts that came in pieces may only now show a secret.
    pub(in crate::executor) fn recorded(&mut self, mask: &Mask) -> Vec<Recorded> {
        let mut lines = std::mem::take(&mut self.heard.lines);
        lines.iter_mut().for_each(|(_, body)| mask.value(body));
        lines
    }

    fn result(self, status: ExitStatus, said: &str, mask: &Mask) -> Result<RunResult, Failure> {
        let heard = self.heard;
        if let Some(mut failure) = heard.failure {
            failure.message = mask.text(&failure.message);
            return Err(failure);
        }
        if !status.success() && !heard.has_recovered {
            let known = status.code().and_then(|code| self.dialect.exit(code)).or_else(|| fault::code_of(said));
            let mut failure = Failure::new(known.unwrap_or(FailureCode::Agent), exited(status, said));
            failure.retry_after_ms = fault::retry_after_ms(said);
            return Err(failure);
        }
        if !heard.is_over {
            let why = if said.is_empty() { String::new() } else { format!(": {said}") };
            let code = fault::code_of(said).unwrap_or(FailureCode::Executor);
            return Err(Failure::new(code, format!("the program ended without saying that it was done{why}")));
        }
        let text = mask.text(&heard.answer.unwrap_or_default());
        let resume_id = heard.conversation.filter(|id| is_id(id));
        Ok(RunResult { text, structured: heard.structured, usage: heard.usage, resume_id })
    }
}
