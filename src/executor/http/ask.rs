//! Sends the run, and reads how it is answered.

use std::time::Duration;

use serde_json::Value;

use crate::{
    crypto::Secret,
    domain::{
        http::{HttpMode, TASK},
        run::{Failure, FailureCode},
        template::clip,
    },
    egress::{EgressError, Policy, Request, signed, streamed::Streamed},
    executor::{
        Stopped,
        command::reader::MAX_EVENT_BYTES,
        http::{Attempt, listen::executor},
    },
};

/// Bytes of a refusal that are quoted.
const MAX_QUOTE_BYTES: usize = 2_000;
/// Bytes of a task's longest id.
const MAX_TASK_BYTES: usize = 256;
/// How long a service may take to hear that a task is called off.
const CALL_OFF: Duration = Duration::from_secs(5);

/// How a service answers.
pub(super) enum Asked {
    /// Line by line.
    Lines(Box<Streamed>),
    /// At once, with one JSON object.
    Whole(Vec<u8>),
    /// It reports back under this id.
    Task(String),
}

impl Attempt<'_> {
    /// Sends the run.
    pub(super) async fn ask(&self, body: Vec<u8>) -> Result<Asked, Stopped> {
        let first = self.http.timeout.map_or(self.bounds.idle, |timeout| timeout.to_std());
        let request = self.signed(Request::post(&self.http.url, body.clone()), &body).map_err(setup)?;
        let request = request.header("content-type", "application/json").map_err(|fault| setup(fault.to_string()))?;
        let request = request.header("accept", "application/x-ndjson, application/json");
        let request = request.map_err(|fault| setup(fault.to_string()))?;
        let answer = self.egress.open(Policy::Public, request, (first, self.bounds.wall_clock)).await;
        let mut answer = answer.map_err(|fault| unreached(&fault))?;
        let is_lines = is_lines(&answer);
        match answer.status {
            200 if is_lines && self.http.mode != HttpMode::Task => Ok(Asked::Lines(Box::new(answer))),
            200 if !is_lines => Ok(Asked::Whole(self.whole(&mut answer).await?)),
            202 if self.way.is_some() || self.http.status_url.is_some() => {
                Ok(Asked::Task(self.task(&mut answer).await?))
            }
            status => Err(self.refused(status, &mut answer).await.into()),
        }
    }

    /// Lets the service know that nobody waits for its task any more.
    pub(super) async fn call_off<T>(&self, outcome: &Result<T, Stopped>) {
        let is_ours = match outcome {
            Ok(_) | Err(Stopped::LeaseLost) => false,
            // Otherwise another worker goes on with it.
            Err(Stopped::Canceled) => self.spec.over.is_cancelled(),
            Err(Stopped::Failed(failure, _)) => {
                matches!(failure.code, FailureCode::Timeout | FailureCode::Idle | FailureCode::OutputLimit)
            }
        };
        let Some(task) = self.task.as_deref().filter(|_| is_ours) else { return };
        let url = match &self.http.cancel_url {
            Some(url) => of_task(url, task),
            None => of_task(&format!("{}/{TASK}", self.http.url.trim_end_matches('/')), task),
        };
        let Ok(request) = self.signed(Request::delete(url).within(CALL_OFF, 0), b"") else { return };
        match self.egress.send(Policy::Public, request).await {
            Ok(answer) if answer.is_success() || matches!(answer.status, 404 | 410) => {}
            Ok(answer) => tracing::info!(run = %self.spec.run, status = answer.status, "a task was not called off"),
            Err(fault) => tracing::info!(run = %self.spec.run, error = %fault, "a task was not called off"),
        }
    }

    /// With the agent's own headers, the key that is the same over all attempts, and the signature.
    pub(super) fn signed(&self, request: Request, body: &[u8]) -> Result<Request, String> {
        let own: Vec<(String, Vec<u8>)> =
            self.access.headers.iter().map(|(name, value)| (name.clone(), value.expose().to_vec())).collect();
        let id = self.spec.run.as_str();
        let build = || request.lines(&own)?.header("idempotency-key", id);
        let request = build().map_err(|fault: EgressError| fault.to_string())?;
        let Some(secret) = &self.access.secret else { return Ok(request) };
        let keys: Vec<Secret> = signed::keys(secret).map_err(|fault| format!("http.secret: {fault}"))?;
        let at = self.clock.now().unix_seconds();
        let signature = signed::signatures(&keys, id, at, body);
        let sign = || {
            let request = request.header("webhook-id", id)?.header("webhook-timestamp", &at.to_string())?;
            request.header("webhook-signature", &signature)
        };
        sign().map_err(|fault: EgressError| fault.to_string())
    }

    /// A body that is one object, all of it.
    pub(super) async fn whole(&self, answer: &mut Streamed) -> Result<Vec<u8>, Stopped> {
        let limit = usize::try_from(self.bounds.output_bytes).unwrap_or(usize::MAX).min(MAX_EVENT_BYTES);
        let mut body = Vec::new();
        let read = async {
            while let Some(chunk) = answer.next().await.map_err(|fault| executor(fault.to_string()))? {
                body.extend_from_slice(&chunk);
                if body.len() > limit {
                    let why = format!("the service's answer has more than {limit} bytes; let it answer line by line");
                    return Err(Failure::new(FailureCode::OutputLimit, why));
                }
            }
            Ok(())
        };
        match tokio::time::timeout(self.bounds.idle, read).await {
            Ok(read) => read?,
            Err(_) => return Err(super::listen::idle(self.bounds).into()),
        }
        Ok(body)
    }

    async fn task(&self, answer: &mut Streamed) -> Result<String, Stopped> {
        let body = answer.rest(MAX_QUOTE_BYTES).await;
        let said: Value = serde_json::from_slice(&body).unwrap_or_default();
        let task = said.get("task").and_then(Value::as_str).unwrap_or(self.spec.run.as_str());
        // Of dots alone it would lead elsewhere in a URL.
        let is_plain = task.bytes().all(|byte| byte.is_ascii_graphic()) && task.bytes().any(|byte| byte != b'.');
        if task.len() > MAX_TASK_BYTES || !is_plain {
            return Err(executor("the service's `task` is no text of 1 to 256 visible ASCII characters").into());
        }
        Ok(task.to_owned())
    }

    pub(super) async fn refused(&self, status: u16, answer: &mut Streamed) -> Failure {
        let body = tokio::time::timeout(CALL_OFF, answer.rest(MAX_QUOTE_BYTES)).await.unwrap_or_default();
        let quoted: String = String::from_utf8_lossy(&body).chars().filter(|c| !c.is_control()).collect();
        let (code, help) = match (status, self.http.mode) {
            (200, _) => (FailureCode::Setup, "; it answers line by line, and `http.mode` is task"),
            (202, HttpMode::Stream) => (FailureCode::Setup, "; it answers with a task, and `http.mode` is stream"),
            (202, HttpMode::Auto | HttpMode::Task) => (
                FailureCode::Setup,
                "; it answers with a task, and cannot report back: set server.public_url, or http.status_url",
            ),
            (401 | 403, _) => (FailureCode::Setup, "; check the headers and the secret of `http`"),
            (300..=399, _) => (FailureCode::Setup, "; redirects are not followed"),
            (429, _) => (FailureCode::RateLimit, ""),
            (503, _) => (FailureCode::ModelBusy, ""),
            (408 | 409 | 425, _) => (FailureCode::Executor, ""),
            (400..=499, _) => (FailureCode::Setup, ""),
            _ => (FailureCode::Executor, ""),
        };
        let words = clip(quoted.trim(), MAX_QUOTE_BYTES);
        let said = if words.is_empty() { String::new() } else { format!(": {words}") };
        let mut failure = Failure::new(code, format!("the service answered {status}{help}{said}"));
        failure.retry_after_ms = answer.retry_after_ms(self.clock.now());
        failure
    }
}

/// Whether a body is lines, one JSON object each.
pub(super) fn is_lines(answer: &Streamed) -> bool {
    matches!(
        answer.content_type.as_str(),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines"
    )
}

/// A URL with the id of a task where it stands.
pub(super) fn of_task(url: &str, task: &str) -> String {
    let encoded = url::form_urlencoded::byte_serialize(task.as_bytes()).collect::<String>().replace('+', "%20");
    url.replace(TASK, &encoded)
}

pub(super) fn setup(why: String) -> Failure {
    Failure::new(FailureCode::Setup, why)
}

/// A service that cannot be reached may be there in a moment; one that may not be reached will not.
fn unreached(fault: &EgressError) -> Failure {
    let code = if fault.is_final() { FailureCode::Setup } else { FailureCode::Executor };
    Failure::new(code, format!("the service was not reached: {fault}"))
}
