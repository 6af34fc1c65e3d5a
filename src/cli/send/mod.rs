//! `send`: a correctly signed event for a source of the project.

mod drafts;
mod target;
mod wait;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::{
    cli::{Context, answers, output, send::target::Target},
    clock::Clock,
    config::{load::Loaded, secrets::Secrets},
    crypto::{self, Secret, SecretSource},
    domain::{
        source::{SecretRef, SourceSecret},
        time::Span,
    },
    egress::{Egress, EgressLimits, Policy, Request, answer::Answer},
    ingress::signing::{self, Draft, PrivateKey, SignedRequest, Stamp},
};

/// Bytes of a server's answer that are read.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// What to send, and where.
#[derive(Debug, Args)]
pub(super) struct Send {
    #[command(subcommand)]
    what: What,
    /// The source; default is the only one that fits.
    #[arg(long, global = true, value_name = "NAME")]
    source: Option<String>,
    /// The running server; default POSTERN_URL, else where the project listens.
    #[arg(long, global = true, value_name = "URL")]
    server: Option<String>,
    /// The private half of a public key among the source's secrets, for providers that sign with one: env:NAME or
    /// file:PATH.
    #[arg(long, global = true, value_name = "REFERENCE", value_parser = secret_ref)]
    key: Option<SecretRef>,
    /// Wait for the runs and show their answers. Needs POSTERN_API_KEY.
    #[arg(long, global = true)]
    wait: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A mail, as the source's provider hands it over.
    Email(drafts::Email),
    /// A text message, as the source's provider hands it over.
    Sms(drafts::Sms),
    /// An event, signed as the source's provider signs.
    Webhook(drafts::Webhook),
}

/// Sends one event. Exit code 1 unless it is answered 2xx (and, with `--wait`, every run succeeds).
pub(super) async fn send(context: &Context, send: &Send) -> anyhow::Result<ExitCode> {
    let draft = match &send.what {
        What::Email(email) => Draft::Mail(email.draft()?),
        What::Sms(sms) => Draft::Sms(sms.draft()?),
        What::Webhook(webhook) => Draft::Hook(webhook.draft()?),
    };
    let Some(loaded) = output::load_settings(context) else { return Ok(ExitCode::from(1)) };
    let target = Target::find(&loaded, &context.environment, &draft, (send.server.as_deref(), send.source.as_deref()))?;
    if send.wait && target.api_key.is_none() {
        anyhow::bail!("`--wait` reads the runs from the server; set POSTERN_API_KEY to the key that it showed");
    }
    let egress = to_server()?;
    let unique = unique()?;
    let request = signed((context, &loaded), send.key.as_ref(), &target, &draft, &unique)?;
    let answer = post(&egress, &target.post_url(), &request).await?;
    let mut report = json!({"status": answer.status, "source": target.name, "body": body(&answer)});
    if !context.json {
        print_answer(&target, &answer);
    }
    let mut good = answer.is_success();
    if send.wait && good {
        let waiting = wait::Waiting { context, egress: &egress, target: &target };
        let outcome = waiting.follow(&answer.json(), &unique).await?;
        good = outcome.all_succeeded;
        report["runs"] = Value::Array(outcome.runs);
        report["deliveries"] = Value::Array(outcome.deliveries);
    }
    if context.json {
        output::json(&report);
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// The way to a server of ours.
pub(super) fn to_server() -> anyhow::Result<Egress> {
    let limits = EgressLimits { allow_networks: Vec::new(), timeout: Span(60_000), max_answer_bytes: MAX_ANSWER_BYTES };
    Ok(Egress::new(&limits)?)
}

/// 64 hex digits that were never used before.
pub(super) fn unique() -> anyhow::Result<String> {
    let bytes = crypto::random::<32>().map_err(|fault| anyhow::anyhow!("the system gives no random bytes: {fault}"))?;
    Ok(data_encoding::HEXLOWER.encode(&bytes))
}

/// Posts a signed request.
pub(super) async fn post(egress: &Egress, url: &str, request: &SignedRequest) -> anyhow::Result<Answer> {
    let request = Request::post(url, request.body.clone()).lines(&request.headers)?;
    egress
        .send(Policy::Trusted, request)
        .await
        .with_context(|| format!("is the server running? nothing came from {url}"))
}

fn signed(
    (context, loaded): (&Context, &Loaded),
    key: Option<&SecretRef>,
    target: &Target<'_>,
    draft: &Draft,
    unique: &str,
) -> anyhow::Result<SignedRequest> {
    let secrets = Secrets::new(&loaded.dir, context.environment.clone(), &loaded.settings);
    let now = Clock::system().now();
    let of_source = |fault: String| anyhow::anyhow!("source {}: {fault}", target.name);
    let key = match key {
        Some(reference) => {
            let key = secrets.secret(reference).and_then(|secret| PrivateKey::parse(&secret));
            Some(key.map_err(|fault| anyhow::anyhow!("--key: {fault}"))?)
        }
        None => None,
    };
    let sign = |secret: Option<&Secret>| {
        let stamp = Stamp { url: &target.public_url, secret, key: key.as_ref(), now, unique };
        signing::sign(target.spec, draft, &stamp)
    };
    let mut holding = target.spec.all_secrets().filter(|secret| secret.until().is_none_or(|end| now < end)).peekable();
    if holding.peek().is_none() {
        return sign(None).map_err(of_source);
    }
    // With a key of one's own it may be that of any of them.
    let tried = if key.is_some() { usize::MAX } else { 1 };
    let mut fault = String::new();
    for secret in holding.take(tried).map(SourceSecret::reference) {
        match secrets.secret(secret).and_then(|secret| sign(Some(&secret))) {
            Ok(request) => return Ok(request),
            Err(refused) => fault = refused,
        }
    }
    Err(of_source(fault))
}

/// Where a secret is, as it is said on a command line.
fn secret_ref(text: &str) -> Result<SecretRef, String> {
    match text.split_once(':') {
        Some(("env", name)) if !name.is_empty() => Ok(SecretRef::Env { env: name.to_owned() }),
        Some(("file", path)) if !path.is_empty() => Ok(SecretRef::File { file: path.to_owned() }),
        _ => Err("write env:NAME or file:PATH; a secret itself never stands in a command line".to_owned()),
    }
}

fn body(answer: &Answer) -> Value {
    let text = || String::from_utf8_lossy(&answer.body).into_owned();
    serde_json::from_slice(&answer.body).unwrap_or_else(|_| Value::String(text()))
}

fn print_answer(target: &Target<'_>, answer: &Answer) {
    output::line(format!("{} from {}", answer.status, target.post_url()));
    for line in String::from_utf8_lossy(&answer.body).lines() {
        output::line(format!("  {}", answers::plain(line)));
    }
}
