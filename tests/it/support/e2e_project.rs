//! Project directories, and a database of its own for each test.

use std::{fs, path::Path, sync::atomic::AtomicU64};

use postern::config::environment::Environment;
use sqlx::Connection;
use tempfile::TempDir;

use crate::support::e2e_senders::SECRETS;

/// Where a test keeps its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

/// Makes a module of tests for each engine out of functions that take the engine.
macro_rules! on_both_engines {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name($crate::support::e2e_project::Engine::Sqlite).await; })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name($crate::support::e2e_project::Engine::Postgres).await; })*
        }
    };
}
pub(crate) use on_both_engines;

/// All providers, one source each.
const SOURCES: &str = r#"
[sources.mail]
provider = "mailgun"
secret = { env = "MAIL_KEY" }
sender_check = "provider"
[sources.sms]
provider = "twilio"
secret = { env = "SMS_TOKEN" }
[sources.github]
provider = "github"
secret = { env = "GITHUB_SECRET" }
[sources.stripe]
provider = "stripe"
secret = { env = "STRIPE_SECRET" }
[sources.slack]
provider = "slack"
secret = { env = "SLACK_SECRET" }
[sources.standard]
provider = "standard"
secret = { env = "STANDARD_SECRET" }
[secrets]
callback = { env = "CALLBACK_SECRET" }
[egress]
allow_networks = ["127.0.0.0/8"]
"#;

/// A project in a directory that goes when this is dropped.
pub(crate) struct TestProject {
    dir: TempDir,
    variables: Vec<(String, String)>,
}

impl TestProject {
    /// A project with all sources and no agents.
    pub(crate) async fn new(engine: Engine) -> Self {
        let dir = TempDir::with_prefix("postern-e2e-").unwrap();
        fs::write(dir.path().join("postern.toml"), SOURCES).unwrap();
        for folder in ["agents", "bin", "out"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let variables = SECRETS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut project = Self { dir, variables };
        project.set("POSTERN_SERVER__LISTEN", "127.0.0.1:0");
        project.set("POSTERN_WORKER__CONCURRENCY", "4");
        if engine == Engine::Postgres {
            let (url, password) = own_database().await;
            project.set("POSTERN_DATABASE__URL", &url);
            project.set("POSTERN_DATABASE__MAX_CONNECTIONS", "5");
            if let Some(password) = password {
                project.set("DATABASE_PASSWORD", &password);
                project.set("POSTERN_DATABASE__PASSWORD__ENV", "DATABASE_PASSWORD");
            }
        }
        project
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A variable of the gateway's environment.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.retain(|(have, _)| have != name);
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let path = Environment::of_process().get("PATH").unwrap_or("/usr/bin:/bin").to_owned();
        self.variables.iter().cloned().chain([("PATH".to_owned(), path)]).collect()
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.variables.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// The whole URL of the database, password and all.
    pub(crate) fn database_url(&self) -> String {
        let Some(url) = self.variable("POSTERN_DATABASE__URL") else {
            return format!("sqlite:{}", self.path().join(".postern/postern.db").display());
        };
        if url.starts_with("sqlite:") {
            return url.to_owned();
        }
        let mut url = url::Url::parse(url).unwrap();
        url.set_password(self.variable("DATABASE_PASSWORD")).unwrap();
        url.to_string()
    }

    /// An agent that runs `script` with `sh`. `front` is more of its frontmatter: its triggers at least.
    /// The script finds the folder `out` of the project, writable, at `$OUT`.
    pub(crate) fn agent(&self, name: &str, script: &str, front: &str) {
        let text = format!(
            "---\nexecutor: command\ncommand: [/bin/sh, /context/bin/{name}.sh]\n\
             mounts: ['./bin:/context/bin:ro', './out:/context/out:rw']\nenv: {{ OUT: /context/out }}\n{front}\n---\nBe brief.\n"
        );
        fs::write(self.path().join(format!("bin/{name}.sh")), script).unwrap();
        self.agent_file(name, &text);
    }

    /// An agent's file as it stands.
    pub(crate) fn agent_file(&self, name: &str, text: &str) {
        fs::write(self.path().join(format!("agents/{name}.md")), text).unwrap();
    }

    /// What agents wrote to a file in `$OUT`; empty when there is none.
    pub(crate) fn out(&self, file: &str) -> String {
        fs::read_to_string(self.path().join("out").join(file)).unwrap_or_default()
    }
}

/// A new database on the Postgres of the tests: its URL without the password, and that.
async fn own_database() -> (String, Option<String>) {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let environment = Environment::of_process();
    let base = environment
        .get("POSTERN_TEST_POSTGRES")
        .unwrap_or_else(|| panic!("POSTERN_TEST_POSTGRES names no Postgres: run the tests with scripts/with-services"));
    let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    let name = format!("e2e_{}_{number}", std::process::id());
    let mut admin = sqlx::PgConnection::connect(base).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut admin).await.unwrap();
    admin.close().await.unwrap();
    let mut url = url::Url::parse(base).unwrap();
    let password = url.password().map(str::to_owned);
    url.set_password(None).unwrap();
    url.set_path(&name);
    (url.to_string(), password)
}
