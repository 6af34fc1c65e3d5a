//! The client of the HTTP API.

use std::{fs, io::Read, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;
use url::Url;

use crate::{
    cli::Context,
    config::load::Project,
    crypto::Secret,
    domain::time::Span,
    egress::{Egress, EgressError, EgressLimits, Policy, Request, answer::Answer},
};

/// Bytes of an answer; the record of a run is the largest.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// Time of one request.
const TIMEOUT: Span = Span(60_000);
/// Bytes of a file with a key.
const MAX_KEY_BYTES: u64 = 4096;
/// What to do without a key.
const NO_KEY: &str = "no API key: `postern up` showed one at its first start (export POSTERN_API_KEY=pst_…); \
                      `postern keys create NAME` makes another";

/// Which server, and with what key.
#[derive(Debug, Args)]
pub(super) struct ServerArguments {
    /// The server's URL. Default: POSTERN_URL, then `server.listen` of the project.
    #[arg(long, global = true, value_name = "URL")]
    server: Option<String>,
    /// A file that holds the API key. Default: POSTERN_API_KEY.
    #[arg(long, global = true, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
}

/// Which part of a list.
#[derive(Debug, Args)]
pub(super) struct PageArguments {
    /// At most this many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=200))]
    limit: u16,
    /// Only what is older than this id.
    #[arg(long, value_name = "ID")]
    before: Option<String>,
}

impl PageArguments {
    /// As parameters of a query.
    pub(super) fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = vec![("limit", self.limit.to_string())];
        query.extend(self.before.clone().map(|before| ("before", before)));
        query
    }
}

/// Talks to one server.
pub(super) struct Client {
    egress: Egress,
    base: Url,
    key: Secret,
}

impl Client {
    /// A client of the server that the arguments, the environment or the project name.
    pub(super) fn new(context: &Context, arguments: &ServerArguments) -> anyhow::Result<Self> {
        let limits = EgressLimits { allow_networks: Vec::new(), timeout: TIMEOUT, max_answer_bytes: MAX_ANSWER_BYTES };
        Ok(Self { base: base(context, arguments)?, key: key(context, arguments)?, egress: Egress::new(&limits)? })
    }

    /// `GET /v1/…`; each part of the path is one segment, whatever it holds.
    pub(super) async fn get(&self, path: &[&str], query: &[(&str, String)]) -> anyhow::Result<Value> {
        self.exchange(Request::get(self.url(path, query)?)).await
    }

    /// `GET /v1/…` of bytes.
    pub(super) async fn bytes(&self, path: &[&str]) -> anyhow::Result<Vec<u8>> {
        let answer = self.ask(Request::get(self.url(path, &[])?)).await?;
        if answer.is_success() { Ok(answer.body) } else { self.read(&answer).map(|_| Vec::new()) }
    }

    /// `POST /v1/…` with a JSON body.
    pub(super) async fn post(&self, path: &[&str], query: &[(&str, String)], body: &Value) -> anyhow::Result<Value> {
        let request = Request::post(self.url(path, query)?, body.to_string());
        self.exchange(request.header("content-type", "application/json")?).await
    }

    /// Another request, with bytes as its body.
    pub(super) async fn send(
        &self,
        method: &'static str,
        path: &[&str],
        query: &[(&str, String)],
        body: Vec<u8>,
    ) -> anyhow::Result<Value> {
        let request = Request::of(method, self.url(path, query)?, body);
        self.exchange(request.header("content-type", "application/octet-stream")?).await
    }

    fn url(&self, path: &[&str], query: &[(&str, String)]) -> anyhow::Result<Url> {
        let mut url = self.base.clone();
        let Ok(mut segments) = url.path_segments_mut() else {
            anyhow::bail!("{} is no address of a server", self.base)
        };
        for part in path {
            if matches!(*part, "" | "." | "..") {
                anyhow::bail!("`{part}` is neither an id nor a name");
            }
        }
        segments.pop_if_empty().push("v1").extend(path);
        drop(segments);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    async fn exchange(&self, request: Request) -> anyhow::Result<Value> {
        self.read(&self.ask(request).await?)
    }

    async fn ask(&self, request: Request) -> anyhow::Result<Answer> {
        let key = self.key.expose_str().unwrap_or_default();
        let request = request.header("authorization", &format!("Bearer {key}")).context("the API key")?;
        match self.egress.send(Policy::Trusted, request).await {
            Ok(answer) => Ok(answer),
            Err(fault @ EgressError::Connect { .. }) => Err(anyhow::Error::new(fault).context(format!(
                "no postern answers at {}; start it with `postern up`, or name it with --server",
                self.base
            ))),
            Err(fault) => Err(anyhow::Error::new(fault).context(format!("{} could not be asked", self.base))),
        }
    }

    fn read(&self, answer: &Answer) -> anyhow::Result<Value> {
        let body: Result<Value, _> = serde_json::from_slice(&answer.body);
        if answer.is_success() {
            return body.with_context(|| format!("{} did not answer in JSON; is it a postern?", self.base));
        }
        let body = body.unwrap_or_default();
        match body["detail"].as_str() {
            Some(_) if answer.status == 401 => {
                anyhow::bail!(
                    "{} refuses this API key; `postern keys list` shows which hold, `postern keys create NAME` makes one",
                    self.base
                )
            }
            Some(detail) => anyhow::bail!("{detail} ({})", body["code"].as_str().unwrap_or("error")),
            None => anyhow::bail!("{} answered {} and no reason; is it a postern?", self.base, answer.status),
        }
    }
}

/// The address of the server.
fn base(context: &Context, arguments: &ServerArguments) -> anyhow::Result<Url> {
    let named = arguments.server.as_deref().or_else(|| context.environment.get("POSTERN_URL"));
    let text = match named {
        Some(text) if text.contains("://") => text.to_owned(),
        Some(text) => format!("http://{text}"),
        None => format!("http://{}", of_project(context)?),
    };
    let url =
        Url::parse(&text).with_context(|| format!("`{text}` is no URL; write for example http://127.0.0.1:8080"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        anyhow::bail!("`{text}` is no address of a server; write for example http://127.0.0.1:8080");
    }
    Ok(url)
}

/// Where the server of the project listens, as seen from this machine.
fn of_project(context: &Context) -> anyhow::Result<std::net::SocketAddr> {
    let loaded = Project::load(&context.project, &context.environment).map_err(|problems| {
        let first = problems.first().map(ToString::to_string).unwrap_or_default();
        anyhow::anyhow!("no server is named (--server URL or POSTERN_URL), and there is no project to tell it: {first}")
    })?;
    let mut address = loaded.settings.server.listen;
    if address.ip().is_unspecified() {
        let loopback: std::net::IpAddr = match address {
            std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        address.set_ip(loopback);
    }
    Ok(address)
}

fn key(context: &Context, arguments: &ServerArguments) -> anyhow::Result<Secret> {
    let text = match &arguments.api_key_file {
        Some(path) => {
            let mut text = String::new();
            let file = fs::File::open(path).and_then(|file| file.take(MAX_KEY_BYTES).read_to_string(&mut text));
            file.with_context(|| format!("the API key in {} cannot be read", path.display()))?;
            text
        }
        None => context.environment.get("POSTERN_API_KEY").unwrap_or_default().to_owned(),
    };
    let key = text.trim();
    if key.is_empty() {
        anyhow::bail!(NO_KEY);
    }
    Ok(Secret::new(key.as_bytes()))
}
