//! `--wait`: follows what an event started until its answers are out.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use crate::{
    cli::{Context, answers, output, send::target::Target},
    domain::{delivery::Message, template::clip},
    egress::{Egress, Policy, Request},
};

/// How often the server is asked.
const PAUSE: Duration = Duration::from_millis(250);

/// Something to wait for.
pub(super) struct Waiting<'a> {
    pub(super) context: &'a Context,
    pub(super) egress: &'a Egress,
    pub(super) target: &'a Target<'a>,
}

/// Lines of a result that are shown.
const RESULT_LINES: usize = 40;
/// Bytes of one of them.
const RESULT_LINE_BYTES: usize = 2_000;

/// What came of it.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) runs: Vec<Value>,
    pub(super) deliveries: Vec<Value>,
    pub(super) all_succeeded: bool,
}

impl Waiting<'_> {
    /// Waits for the runs that `answer` names; where the provider is told no ids, for those of the event
    /// that has `unique` in it.
    pub(super) async fn follow(&self, answer: &Value, unique: &str) -> anyhow::Result<Outcome> {
        let runs = match answer["runs"].as_array() {
            Some(runs) => runs.clone(),
            None => self.runs_of(unique).await?,
        };
        let mut outcome = Outcome { all_succeeded: true, ..Outcome::default() };
        for run in runs.iter().filter_map(Value::as_str) {
            let mut run = run.to_owned();
            let mut ended = self.until(&format!("runs/{run}"), is_final).await?;
            // Another run has its event, and answers for both. That one began before it and is never merged itself.
            if let Some(into) = ended["merged_into"].as_str().map(str::to_owned) {
                self.say(&run_line(&ended));
                run = into;
                ended = self.until(&format!("runs/{run}"), is_final).await?;
            }
            outcome.all_succeeded &= ended["state"] == "succeeded";
            self.say(&run_line(&ended));
            let owed = self.until(&format!("deliveries?run={run}"), all_final).await?;
            for delivery in owed["items"].as_array().into_iter().flatten() {
                self.show(delivery);
                outcome.deliveries.push(delivery.clone());
            }
            if owed["items"].as_array().is_none_or(Vec::is_empty) {
                // Nobody is sent it: it is nowhere else to be seen.
                self.show_result(&ended);
            }
            outcome.runs.push(ended);
        }
        if runs.is_empty() {
            self.say("no run was started");
        }
        Ok(outcome)
    }

    async fn runs_of(&self, unique: &str) -> anyhow::Result<Vec<Value>> {
        let mark: String = unique.chars().take(24).collect();
        let newest = self.get("events?limit=50").await?;
        for event in newest["items"].as_array().into_iter().flatten() {
            let Some(id) = event["id"].as_str() else { continue };
            let event = self.get(&format!("events/{id}")).await?;
            if event.to_string().contains(&mark) {
                let runs = event["runs"].as_array().into_iter().flatten();
                return Ok(runs.map(|run| run["id"].clone()).collect());
            }
        }
        anyhow::bail!("the event is not among the server's newest ones")
    }

    async fn until(&self, path: &str, done: fn(&Value) -> bool) -> anyhow::Result<Value> {
        loop {
            let value = self.get(path).await?;
            if done(&value) {
                return Ok(value);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let key = self.target.api_key.as_deref().unwrap_or_default();
        let url = format!("{}/v1/{path}", self.target.server);
        let request = Request::get(&url).header("authorization", &format!("Bearer {key}"))?;
        let answer = self.egress.send(Policy::Trusted, request).await?;
        anyhow::ensure!(
            answer.is_success(),
            "{url} answered {}: {}",
            answer.status,
            answers::plain(&String::from_utf8_lossy(&answer.body))
        );
        serde_json::from_slice(&answer.body).with_context(|| format!("the answer of {url} is no JSON"))
    }

    fn show(&self, delivery: &Value) {
        let text = |key: &str| delivery[key].as_str().unwrap_or_default();
        self.say(&format!("{} {}", text("id"), text("state")));
        match serde_json::from_value::<Message>(delivery["message"].clone()) {
            Ok(message) => answers::lines(&message).iter().for_each(|line| self.say(&format!("  {line}"))),
            Err(_) => self.say(&format!("  {}", delivery["message"])),
        }
    }

    fn show_result(&self, run: &Value) {
        let text = run["result_text"].as_str().unwrap_or_default();
        for line in text.lines().take(RESULT_LINES) {
            self.say(&format!("  {}", answers::plain(clip(line, RESULT_LINE_BYTES))));
        }
        if text.lines().nth(RESULT_LINES).is_some() {
            self.say(&format!("  … all of it: postern runs show {}", run["id"].as_str().unwrap_or_default()));
        }
    }

    fn say(&self, line: &str) {
        if !self.context.json {
            output::line(line.trim_end());
        }
    }
}

fn is_final(run: &Value) -> bool {
    matches!(run["state"].as_str(), Some("succeeded" | "failed" | "canceled" | "merged"))
}

fn all_final(deliveries: &Value) -> bool {
    let mut items = deliveries["items"].as_array().into_iter().flatten();
    items.all(|delivery| matches!(delivery["state"].as_str(), Some("delivered" | "failed" | "canceled")))
}

fn run_line(run: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut line = format!("{} {} {}", text(&run["id"]), text(&run["agent_name"]), text(&run["state"]));
    if let Some(reason) = run["failure"]["message"].as_str() {
        line.push_str(&format!(": {}", answers::plain(reason)));
    }
    line
}
