//! Events on their way, told as it happens.

use std::time::Duration;

use anyhow::Context as _;
use tokio::time::Instant;

use crate::{
    app::App,
    cli::{
        answers,
        demo::{drafts::Scene, paint::Paint, project::DemoProject, receiver::Receiver},
        output, send,
    },
    clock::Clock,
    crypto::Secret,
    domain::{
        delivery::{Delivery, DeliveryState, Message},
        id::RunId,
        run::{MessageKind, Run, RunMessage, RunState},
        source::SourceSpec,
    },
    egress::{Egress, answer::Answer},
    ingress::signing::{self, SignedRequest, Stamp},
    store::{EventSummary, Page},
};

/// How often the records are looked at.
const GLANCE: Duration = Duration::from_millis(15);

/// Who tells, and of what.
pub(super) struct Story<'a> {
    pub(super) paint: Paint,
    pub(super) app: &'a App,
    pub(super) project: &'a DemoProject,
    pub(super) egress: Egress,
    /// Where the gateway is.
    pub(super) base: String,
    pub(super) receiver: Receiver,
    /// When waiting ends.
    pub(super) deadline: Instant,
}

/// A request that was sent, to be sent again.
pub(super) struct Sent {
    source: &'static str,
    request: SignedRequest,
}

impl Story<'_> {
    /// One event, from the request to the answer.
    pub(super) async fn exchange(&mut self, number: &str, scene: &Scene) -> anyhow::Result<Sent> {
        self.paint.title(number, scene.kind, scene.route);
        self.paint.about(scene.about);
        let began = Instant::now();
        let sent = self.signed(scene, &self.project.secret(scene.secret))?;
        let answer = self.post(&sent).await?;
        let status = answer.status;
        anyhow::ensure!(answer.is_success(), "{}: the gateway answered {status}", scene.about);
        let took = began.elapsed().as_millis();
        self.paint.done("verified", &format!("{}'s signature; answered {status} in {took} ms", scene.signer));
        let event = self.newest_event().await?.context("the event was answered and is not there")?;
        self.paint.done("event", &format!("{} stored before the answer", event.id));
        let page = Page { before: None, limit: 10 };
        let runs = self.app.store.runs(&self.app.tenant, Some(&event.id), None, &page).await?;
        let run = runs.items.first().with_context(|| format!("{} started no run", event.id))?;
        self.paint.done("run", &format!("{} by agent {}", run.id, run.agent_name));
        let ended = self.follow(run).await?;
        if let Some(failure) = &ended.failure {
            self.paint.failed("run", &answers::plain(&failure.message));
            anyhow::bail!("the run of agent {} failed: {}", ended.agent_name, failure.message);
        }
        let delivery = self.answer_of(&ended.id).await?;
        self.show(&delivery, began).await?;
        Ok(sent)
    }

    /// What must not work: a forgery, and the same delivery twice.
    pub(super) async fn refusals(&mut self, mail: &Sent) -> anyhow::Result<()> {
        self.paint.title("4", "Refused", "what does not come from Mailgun, or comes twice");
        let before = self.runs().await?;
        let forged = self.signed(&super::drafts::mail(), &Secret::new(send::unique()?))?;
        let status = self.post(&forged).await?.status;
        anyhow::ensure!(matches!(status, 401 | 403 | 406), "a forged signature was answered {status}");
        self.paint.done("forged", &format!("{status}, nothing stored, nothing said that would help"));
        let again = self.post(mail).await?;
        let (status, word) = (again.status, again.json()["status"].as_str().unwrap_or_default().to_owned());
        anyhow::ensure!(again.is_success() && word == "duplicate", "a repeated delivery was answered {status} {word}");
        anyhow::ensure!(self.runs().await? == before, "a repeated delivery started a run");
        self.paint.done("repeated", &format!("{status} “{word}”: the ids of the first, no second run"));
        Ok(())
    }

    /// What there was in all, and what to do next.
    pub(super) async fn tally(&self, took: Duration) -> anyhow::Result<()> {
        let page = Page { before: None, limit: 200 };
        let (store, tenant) = (&self.app.store, &self.app.tenant);
        let events = store.events(tenant, None, &page).await?.items.len();
        let answers = store.deliveries(tenant, None, Some(DeliveryState::Delivered), &page).await?.items.len();
        let sum =
            format!("{events} events, {} runs, {answers} answers in {:.1} s", self.runs().await?, took.as_secs_f64());
        output::line(format!("\n{}\n", self.paint.strong(&sum)));
        output::line("Next  postern demo --keep   leaves it running, with commands to try");
        output::line(
            "      examples/demo         is the project that just ran; `postern up --dev` runs your copy of it",
        );
        Ok(())
    }

    async fn runs(&self) -> anyhow::Result<usize> {
        let page = Page { before: None, limit: 200 };
        Ok(self.app.store.runs(&self.app.tenant, None, None, &page).await?.items.len())
    }

    fn signed(&self, scene: &Scene, secret: &Secret) -> anyhow::Result<Sent> {
        let unique = send::unique()?;
        let url = format!("{}/in/{}", self.base, scene.source);
        let spec = SourceSpec { provider: scene.signer.to_lowercase(), ..SourceSpec::default() };
        let stamp = Stamp { url: &url, secret: Some(secret), key: None, now: Clock::system().now(), unique: &unique };
        let request = signing::sign(&spec, &scene.draft, &stamp).map_err(anyhow::Error::msg)?;
        Ok(Sent { source: scene.source, request })
    }

    async fn post(&self, sent: &Sent) -> anyhow::Result<Answer> {
        send::post(&self.egress, &format!("{}/in/{}", self.base, sent.source), &sent.request).await
    }

    async fn newest_event(&self) -> anyhow::Result<Option<EventSummary>> {
        let page = Page { before: None, limit: 1 };
        Ok(self.app.store.events(&self.app.tenant, None, &page).await?.items.into_iter().next())
    }

    /// Shows a run's record as it grows, until the run ends. Text that turns out to be the answer is left
    /// to the answer.
    async fn follow(&self, run: &Run) -> anyhow::Result<Run> {
        let (store, tenant) = (&self.app.store, &self.app.tenant);
        let (mut seen, mut held) = (0, Vec::new());
        loop {
            let now = store.run(tenant, &run.id).await?.context("the run is gone")?;
            for line in store.messages(tenant, &run.id, seen, 1_000).await? {
                seen = line.seq;
                self.record(&line, &mut held);
            }
            if now.state.is_final() {
                anyhow::ensure!(now.state != RunState::Canceled, "{} was canceled", now.id);
                held.retain(|line| !is_answer(&now, line));
                held.iter().for_each(|line| self.paint.record(line));
                return Ok(now);
            }
            self.pause(&format!("the end of {} (agent {}, {})", now.id, now.agent_name, now.state.as_str())).await?;
        }
    }

    fn record(&self, line: &RunMessage, held: &mut Vec<String>) {
        let text = line.body["text"].as_str().unwrap_or_default();
        let lines = text.lines().filter(|line| !line.trim().is_empty()).map(answers::plain);
        match line.kind {
            MessageKind::Stderr | MessageKind::Status => lines.for_each(|line| self.paint.record(&line)),
            MessageKind::Text => held.extend(lines),
            MessageKind::ToolCall => {
                held.drain(..).for_each(|line| self.paint.record(&line));
                self.paint.record(&format!("calls {}", line.body["name"].as_str().unwrap_or("a tool")));
            }
            MessageKind::Prompt | MessageKind::Thinking | MessageKind::ToolResult | MessageKind::Result => {}
        }
    }

    async fn answer_of(&self, run: &RunId) -> anyhow::Result<Delivery> {
        let page = Page { before: None, limit: 1 };
        loop {
            let owed = self.app.store.deliveries(&self.app.tenant, Some(run), None, &page).await?;
            let delivery = owed.items.into_iter().next().with_context(|| format!("{run} owes no answer"))?;
            let detail = delivery.last_detail.clone().unwrap_or_default();
            match delivery.state {
                DeliveryState::Delivered => return Ok(delivery),
                DeliveryState::Failed | DeliveryState::Canceled => anyhow::bail!("{} failed: {detail}", delivery.id),
                DeliveryState::Pending | DeliveryState::Sending => {
                    self.pause(&format!("the answer {} ({})", delivery.id, detail)).await?;
                }
            }
        }
    }

    async fn show(&mut self, delivery: &Delivery, began: Instant) -> anyhow::Result<()> {
        let took = began.elapsed().as_millis();
        let mut how = format!("{} {took} ms after the request", delivery.id);
        if matches!(delivery.message, Message::Webhook(_)) {
            let waited = tokio::time::timeout_at(self.deadline, self.receiver.next()).await;
            let callback = waited.ok().flatten().context("the callback did not arrive")?;
            anyhow::ensure!(
                callback.id == delivery.id.as_str(),
                "the callback is of another delivery: {}",
                callback.id
            );
            if let Some(why) = callback.refused {
                anyhow::bail!("the callback's signature is wrong: {why}");
            }
            how.push_str("; signature verified");
        }
        self.paint.done("answer", &how);
        answers::lines(&delivery.message).iter().for_each(|line| self.paint.answer(line));
        Ok(())
    }

    async fn pause(&self, what: &str) -> anyhow::Result<()> {
        anyhow::ensure!(Instant::now() < self.deadline, "{what} did not come in time");
        tokio::time::sleep(GLANCE).await;
        Ok(())
    }
}

fn is_answer(run: &Run, line: &str) -> bool {
    let in_text = run.result_text.as_deref().is_some_and(|text| text.contains(line.trim()));
    in_text || (run.result_json.is_some() && serde_json::from_str(line).ok() == run.result_json)
}
