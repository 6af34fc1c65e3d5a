//! Asks a service for its task, again and again, when it cannot report back.

use std::time::Duration;

use tokio::time::Instant;
use url::Url;

use crate::{
    domain::run::{Failure, FailureCode},
    egress::{EgressError, Policy, Request},
    executor::{
        Stopped,
        http::{
            Attempt,
            ask::{is_lines, of_task, setup},
            listen::{Listener, executor, idle},
        },
    },
};

/// How long nobody asks after an answer, where the agent's file says nothing.
const PAUSE: Duration = Duration::from_secs(5);
/// The longest pause that a service can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);
/// How long one answer may take to begin.
const FIRST: Duration = Duration::from_secs(30);

/// What one answer tells.
enum Told {
    /// The task is known and at work, or something new was said.
    Alive,
    /// Nothing; another time it may.
    Nothing,
}

impl Attempt<'_> {
    /// Until the last word.
    pub(super) async fn poll(&self, url: &str, task: &str, listener: &mut Listener<'_>) -> Result<(), Stopped> {
        let usual = self.http.poll.map_or(PAUSE, |poll| poll.to_std());
        let (mut from, mut heard) = (0, Instant::now());
        loop {
            let url = asked(url, task, from).map_err(setup)?;
            let (told, named) = self.ask_for(url, &mut from, listener).await?;
            if listener.is_over() {
                return Ok(());
            }
            match told {
                Told::Alive => heard = Instant::now(),
                Told::Nothing if heard.elapsed() > self.bounds.idle => return Err(idle(self.bounds).into()),
                Told::Nothing => {}
            }
            tokio::time::sleep(named.map_or(usual, |named| named.clamp(usual, LONGEST_PAUSE))).await;
        }
    }

    /// Asks once, and how long the service wants to be left alone. `from` counts the lines that are known.
    async fn ask_for(
        &self,
        url: String,
        from: &mut i64,
        listener: &mut Listener<'_>,
    ) -> Result<(Told, Option<Duration>), Stopped> {
        let request = self.signed(Request::get(url), b"").map_err(setup)?;
        let accept = |fault: EgressError| setup(fault.to_string());
        let request = request.header("accept", "application/x-ndjson, application/json").map_err(accept)?;
        let mut answer = match self.egress.open(Policy::Public, request, (FIRST, self.bounds.wall_clock)).await {
            Ok(answer) => answer,
            Err(fault) if fault.is_final() => return Err(setup(format!("http.status_url: {fault}")).into()),
            Err(fault) => {
                tracing::info!(run = %self.spec.run, error = %fault, "a task could not be asked for");
                return Ok((Told::Nothing, None));
            }
        };
        let named = answer.retry_after_ms(self.clock.now());
        let named = named.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
        let told = match answer.status {
            202 | 204 => Told::Alive,
            200 if is_lines(&answer) => {
                *from += listener.lines(answer).await?;
                Told::Alive
            }
            200 => {
                let body = self.whole(&mut answer).await?;
                listener.whole(&body).await?;
                Told::Alive
            }
            404 | 410 => {
                let why = "the service does not know its task any more";
                return Err(Failure::new(FailureCode::Executor, why).into());
            }
            408 | 425 | 429 | 500..=599 => Told::Nothing,
            status @ 400..=499 => return Err(self.refused(status, &mut answer).await.into()),
            status => return Err(executor(format!("asked for its task, the service answered {status}")).into()),
        };
        Ok((told, named))
    }
}

/// The URL of a task, with the number of the first line that is not known.
fn asked(url: &str, task: &str, from: i64) -> Result<String, String> {
    let mut url = Url::parse(&of_task(url, task)).map_err(|fault| format!("http.status_url: {fault}"))?;
    url.query_pairs_mut().append_pair("from", &from.to_string());
    Ok(url.into())
}

#[cfg(test)]
mod tests {
    use super::asked;

    #[test]
    fn a_task_stands_in_the_url_and_leads_nowhere_else() {
        let asked = |url: &str, task: &str| asked(url, task, 7).unwrap();
        assert_eq!(asked("https://a.example/t/{task}", "t-1/x"), "https://a.example/t/t-1%2Fx?from=7");
        assert_eq!(asked("https://a.example/t?id={task}", "a&b=c"), "https://a.example/t?id=a%26b%3Dc&from=7");
    }
}
