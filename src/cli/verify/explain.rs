//! `verify explain`: why a captured request is believed or not.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Args;

use crate::{
    cli::{Context, output, verify::captured::Captured},
    clock::Clock,
    config::secrets::Secrets,
    crypto::Secret,
    domain::{source::SourceSpec, time::Timestamp},
    ingress::{
        LabelledSecret,
        explain::{Case, Explanation, Reveal},
        signature::public_key::PublicKey,
        vectors::{Request, Vector},
    },
    pipeline::routes,
};

/// Which request, and which source it came to.
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The request: an HTTP message (first line, headers, blank line, body), what `events show ID --raw` printed, or a
    /// JSON entry as for `verify vectors`.
    file: PathBuf,
    /// The entry of a JSON file with several.
    #[arg(long, value_name = "NAME")]
    entry: Option<String>,
    /// The project's source; the one of the request's path when it is left out.
    #[arg(long, conflicts_with = "provider")]
    source: Option<String>,
    /// A provider instead of a source of the project.
    #[arg(long, requires = "secret_env")]
    provider: Option<String>,
    /// The environment variable with the secret, with `--provider`; may be repeated.
    #[arg(long, value_name = "NAME")]
    secret_env: Vec<String>,
    /// The URL that the sender calls, with `--provider`.
    #[arg(long)]
    url: Option<String>,
    /// When the request came: RFC 3339, or Unix seconds. Default: what the file says, else now.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
}

/// Everything that a case borrows.
struct Setup {
    spec: SourceSpec,
    public_url: String,
    secrets: Vec<LabelledSecret>,
    request: Request,
    key: Option<PublicKey>,
}

pub(super) fn explain(context: &Context, arguments: &Explain) -> anyhow::Result<ExitCode> {
    let at = arguments.at.as_deref().map(time).transpose()?;
    let now = at.unwrap_or_else(|| Clock::system().now());
    let mut setup = match Captured::read(&arguments.file, arguments.entry.as_deref(), now)? {
        Captured::Vector(vector) => of_vector(&vector)?,
        Captured::Message(request) if arguments.provider.is_some() => of_provider(context, arguments, request)?,
        Captured::Message(request) => of_project(context, arguments, request)?,
    };
    setup.request.now = at.unwrap_or(setup.request.now);
    let Setup { spec, public_url, secrets, request, key } = &setup;
    let case = Case { spec, public_url, secrets, request, key: key.clone() };
    let explanation =
        case.explain(Reveal::Signatures).map_err(anyhow::Error::msg).context("the source is not ready")?;
    if context.json {
        output::json(&explanation);
    } else {
        print(&explanation);
    }
    Ok(if explanation.verdict == "accept" { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn time(text: &str) -> anyhow::Result<Timestamp> {
    let seconds = text.parse::<i64>().ok().map(|seconds| Timestamp(seconds.saturating_mul(1000)));
    let instant = || text.parse::<jiff::Timestamp>().ok().map(|at| Timestamp(at.as_millisecond()));
    seconds.or_else(instant).with_context(|| format!("`{text}` is no time; write 2026-11-21T14:00:00Z or Unix seconds"))
}

fn of_vector(vector: &Vector) -> anyhow::Result<Setup> {
    let request = vector.request().map_err(anyhow::Error::msg)?;
    let spec = vector.spec().map_err(anyhow::Error::msg)?;
    let key = vector.fetch.values().next().and_then(|pem| PublicKey::from_certificate(pem.as_bytes()));
    Ok(Setup { spec, public_url: vector.public_url().to_owned(), secrets: vector.labelled_secrets(), request, key })
}

fn of_provider(context: &Context, arguments: &Explain, request: Request) -> anyhow::Result<Setup> {
    let spec = SourceSpec { provider: arguments.provider.clone().unwrap_or_default(), ..SourceSpec::default() };
    let mut secrets = Vec::new();
    for name in &arguments.secret_env {
        let value = context.environment.get(name).with_context(|| format!("the variable {name} is not set"))?;
        secrets.push(LabelledSecret::new(name.as_str(), Secret::new(value)));
    }
    let public_url = arguments.url.clone().unwrap_or_else(|| host_url(&request));
    Ok(placed(spec, public_url, secrets, request))
}

fn of_project(context: &Context, arguments: &Explain, request: Request) -> anyhow::Result<Setup> {
    let loaded = output::load_settings(context).context("the project cannot be used; name a `--provider` instead")?;
    let path = request.url.split('?').next().unwrap_or_default();
    let of_path = path.rsplit_once("/in/").map(|(_, name)| name.to_owned());
    let name = arguments.source.clone().or(of_path).context("the path is not /in/NAME; say `--source NAME`")?;
    let spec = loaded.settings.sources.get(&name).cloned();
    let spec = spec.with_context(|| {
        let names: Vec<&str> = loaded.settings.sources.keys().map(String::as_str).collect();
        format!("the project has no source `{name}`; there is {}", names.join(", "))
    })?;
    let kept = Secrets::new(&loaded.dir, context.environment.clone(), &loaded.settings);
    let secrets = routes::secrets_of(&spec, &kept).map_err(anyhow::Error::msg)?;
    let base = loaded.settings.server.public_url.clone();
    let base = base.unwrap_or_else(|| format!("http://{}", loaded.settings.server.listen));
    let url = spec.public_url.clone().unwrap_or_else(|| format!("{}/in/{name}", base.trim_end_matches('/')));
    Ok(placed(spec, url, secrets, request))
}

/// Puts the public URL with the request's own query in the place of its target.
fn placed(spec: SourceSpec, public_url: String, secrets: Vec<LabelledSecret>, mut request: Request) -> Setup {
    request.url = match request.url.split_once('?') {
        Some((_, query)) => format!("{}?{query}", public_url.split('?').next().unwrap_or_default()),
        None => public_url.clone(),
    };
    Setup { spec, public_url, secrets, request, key: None }
}

fn host_url(request: &Request) -> String {
    let host = request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
    let host = host.map_or_else(|| "localhost".into(), |(_, value)| String::from_utf8_lossy(value));
    format!("https://{host}{}", request.url.split('?').next().unwrap_or_default())
}

fn print(found: &Explanation) {
    let line = |name: &str, text: String| output::line(format!("{name:<12} {}", output::clean(&text)));
    line("verdict", format!("{} ({})", found.verdict, found.reason));
    if let Some(detail) = &found.detail {
        line("because", detail.clone());
    }
    if let Some(cause) = &found.cause {
        line("cause", format!("{} ({})", cause.text, cause.code));
    }
    let scheme =
        found.scheme.as_deref().map_or("no shape of its requests fits", |name| if name.is_empty() { "" } else { name });
    line("provider", format!("{} {scheme}", found.provider).trim_end().to_owned());
    line("proved by", format!("{} in {}", found.algorithm, found.places.join(" or ")));
    for secret in &found.secrets {
        let state = match (secret.matches, secret.holds) {
            (true, _) => "matches",
            (false, true) => "does not match",
            (false, false) => "its time is over",
        };
        line("secret", format!("{}: {state}", secret.label));
        for expected in &secret.expected {
            line("  expected", expected.clone());
        }
        if let Some(at) = secret.first_difference {
            line("  differs", format!("from hex digit {} on", at + 1));
        }
    }
    for given in &found.given {
        line("given", given.clone());
    }
    for signed in &found.signed {
        line("signed", signed.clone());
    }
    line("  bytes", found.signed_bytes.to_string());
    if let Some(lacks) = &found.lacks {
        line("lacks", lacks.clone());
    }
    if let Some(age) = found.age_s {
        let (past, future) = found.window_s.unwrap_or_default();
        line("age", format!("{age} s; {past} s back and {future} s ahead are allowed"));
    }
}
