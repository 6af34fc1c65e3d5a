//! Where an event goes: which source of which server.

use crate::{
    config::{environment::Environment, load::Loaded, settings::Settings},
    domain::source::SourceSpec,
    ingress::signing::{self, Carries, Draft},
};

/// A source of a running server.
pub(super) struct Target<'a> {
    /// The source's name.
    pub(super) name: &'a str,
    /// How it verifies.
    pub(super) spec: &'a SourceSpec,
    /// The server, without a slash at its end.
    pub(super) server: String,
    /// The URL that is signed.
    pub(super) public_url: String,
    /// `POSTERN_API_KEY`.
    pub(super) api_key: Option<String>,
}

impl<'a> Target<'a> {
    /// Chooses by what was `asked` for: a server's URL, a source's name.
    ///
    /// # Errors
    /// There is no such source, or several would do.
    pub(super) fn find(
        loaded: &'a Loaded,
        environment: &Environment,
        draft: &Draft,
        asked: (Option<&str>, Option<&str>),
    ) -> anyhow::Result<Self> {
        let settings = &loaded.settings;
        let given = asked.0.or_else(|| environment.get("POSTERN_URL")).filter(|url| !url.is_empty());
        let server = match given {
            Some(url) if url.contains("://") => url.trim_end_matches('/').to_owned(),
            Some(address) => format!("http://{}", address.trim_end_matches('/')),
            None if settings.server.listen.port() == 0 => {
                anyhow::bail!("the project listens on any free port; say `--server URL` or set POSTERN_URL")
            }
            None => format!("http://{}", settings.server.listen),
        };
        let (name, spec) = choose(settings, draft, asked.1)?;
        let public_url = spec.public_url.clone().unwrap_or_else(|| format!("{}/in/{name}", base(settings, &server)));
        let api_key = environment.get("POSTERN_API_KEY").map(str::to_owned);
        Ok(Self { name, spec, server, public_url, api_key })
    }

    /// Where the request goes.
    pub(super) fn post_url(&self) -> String {
        format!("{}/in/{}", self.server, self.name)
    }
}

/// What the server takes for its own public URL: as configured, else where it listens.
fn base(settings: &Settings, server: &str) -> String {
    let listen = settings.server.listen;
    let same_port = url::Url::parse(server).is_ok_and(|url| url.port_or_known_default() == Some(listen.port()));
    match &settings.server.public_url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None if same_port => format!("http://{listen}"),
        None => server.to_owned(),
    }
}

fn choose<'a>(settings: &'a Settings, draft: &Draft, asked: Option<&str>) -> anyhow::Result<(&'a str, &'a SourceSpec)> {
    let wanted = match draft {
        Draft::Mail(_) => Carries::Mail,
        Draft::Sms(_) => Carries::Sms,
        Draft::Hook(_) => Carries::Hooks,
    };
    let able = || settings.sources.iter().filter(|(_, spec)| signing::can_carry(&spec.provider, draft));
    let fitting = || able().filter(|(_, spec)| signing::carries(&spec.provider) == Some(wanted));
    let names = || able().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    if let Some(name) = asked {
        if settings.sources.get(name).is_some_and(|spec| spec.imap.is_some()) {
            anyhow::bail!("source `{name}` is a mailbox that Postern reads; send a mail to its address");
        }
        let found = able().find(|(known, _)| *known == name);
        let found = found.map(|(name, spec)| (name.as_str(), spec));
        return found.ok_or_else(|| anyhow::anyhow!("no source `{name}` carries that; there is: {}", names()));
    }
    let mut all = fitting();
    match (all.next(), all.next()) {
        (Some((name, spec)), None) => Ok((name, spec)),
        (Some(_), Some(_)) => anyhow::bail!("several sources would do; say `--source` with one of: {}", names()),
        (None, _) => anyhow::bail!("no source of the project carries that; add one to postern.toml"),
    }
}
