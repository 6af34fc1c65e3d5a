//! The project that the demonstration runs: the files of `examples/demo`, in a directory of its own.

use std::{
    fs,
    io::{self, Write},
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use crate::{
    cli::send,
    config::{
        environment::Environment,
        load::{Loaded, Project},
    },
    crypto::Secret,
    domain::source::SecretRef,
};

const FILES: [(&str, &str); 8] = [
    ("postern.toml", include_str!("../../../examples/demo/postern.toml")),
    ("agents/inbox.md", include_str!("../../../examples/demo/agents/inbox.md")),
    ("agents/concierge.md", include_str!("../../../examples/demo/agents/concierge.md")),
    ("agents/triage.md", include_str!("../../../examples/demo/agents/triage.md")),
    ("agents/claude.md", include_str!("../../../examples/demo/agents/claude.md")),
    ("bin/inbox.sh", include_str!("../../../examples/demo/bin/inbox.sh")),
    ("bin/concierge.sh", include_str!("../../../examples/demo/bin/concierge.sh")),
    ("bin/triage.sh", include_str!("../../../examples/demo/bin/triage.sh")),
];

/// Where the files' callbacks go; the receiver's own address takes its place.
const CALLBACK_ADDRESS: &str = "127.0.0.1:8081";

/// Variables of this process that the demonstration passes on.
const PASSED_ON: [&str; 4] = ["PATH", "HOME", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"];

/// A project directory that goes away with this value, unless it is kept.
pub(super) struct DemoProject {
    /// The directory.
    pub(super) dir: PathBuf,
    secrets: Vec<(&'static str, String)>,
    is_kept: bool,
}

impl DemoProject {
    /// Makes an empty directory that only this user can enter, and new secrets.
    pub(super) fn create(environment: &Environment) -> anyhow::Result<Self> {
        let above = environment.get("TMPDIR").filter(|dir| !dir.is_empty()).unwrap_or("/tmp");
        let mark: String = send::unique()?.chars().take(8).collect();
        let dir = Path::new(above).join(format!("postern-demo-{mark}"));
        let made = fs::DirBuilder::new().mode(0o700).create(&dir);
        made.with_context(|| format!("{} cannot be made; set TMPDIR", dir.display()))?;
        let dir = fs::canonicalize(&dir).unwrap_or(dir);
        let mut project = Self { dir, secrets: Vec::new(), is_kept: false };
        for name in ["DEMO_MAIL_KEY", "DEMO_SMS_TOKEN", "DEMO_GITHUB_SECRET"] {
            project.secrets.push((name, send::unique()?));
        }
        let key = data_encoding::BASE64.encode(send::unique()?.as_bytes());
        project.secrets.push(("DEMO_CALLBACK_SECRET", format!("whsec_{key}")));
        Ok(project)
    }

    /// Writes the files and reads them as any project. It listens on a free port of loopback, and answers
    /// callbacks to `callbacks`.
    pub(super) fn load(&self, environment: &Environment, callbacks: SocketAddr) -> anyhow::Result<Loaded> {
        for (name, text) in FILES {
            let path = self.dir.join(name);
            let written = path.parent().map_or(Ok(()), fs::create_dir_all);
            let text = text.replace(CALLBACK_ADDRESS, &callbacks.to_string());
            written.and_then(|()| fs::write(&path, text)).with_context(|| path.display().to_string())?;
        }
        let loaded = Project::load(&self.dir, &self.environment(environment)).map_err(|problems| {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            anyhow::anyhow!("the demo's project is broken: {}", problems.join("; "))
        });
        let mut loaded = loaded?;
        loaded.settings.server.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        if environment.get("ANTHROPIC_API_KEY").is_some() {
            loaded.settings.claude.api_key = Some(SecretRef::Env { env: "ANTHROPIC_API_KEY".to_owned() });
        }
        loaded.settings.claude.base_url = environment.get("ANTHROPIC_BASE_URL").map(str::to_owned);
        Ok(loaded)
    }

    /// What the project's processes see: its secrets and little else.
    pub(super) fn environment(&self, environment: &Environment) -> Environment {
        let passed = PASSED_ON.iter().filter_map(|name| Some((*name, environment.get(name)?.to_owned())));
        Environment::of(passed.chain(self.secrets.clone()))
    }

    /// One of the secrets.
    pub(super) fn secret(&self, name: &str) -> Secret {
        let found = self.secrets.iter().find(|(known, _)| *known == name);
        Secret::new(found.map(|(_, value)| value.as_bytes()).unwrap_or_default())
    }

    /// Leaves the directory where it is, with a file `env` that a shell reads to talk to the server.
    pub(super) fn keep(&mut self, url: &str, api_key: &str) -> io::Result<()> {
        self.is_kept = true;
        let own = [("POSTERN_URL", url.to_owned()), ("POSTERN_API_KEY", api_key.to_owned())];
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(self.dir.join("env"))?;
        own.into_iter()
            .chain(self.secrets.clone())
            .try_for_each(|(name, value)| writeln!(file, "export {name}='{value}'"))
    }
}

impl Drop for DemoProject {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}
