//! A Postgres of one test's own, which can be crashed without harm to other tests.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use sqlx::{AssertSqlSafe, Connection};
use tempfile::TempDir;

use crate::{chaos::disk::run, support::eventually};

/// A running server. It ends when dropped.
pub(crate) struct OwnPostgres {
    port: u16,
    home: PathBuf,
    /// `setpriv` and its words, when we are root and Postgres may not be.
    user: Vec<String>,
    server: Child,
    _folder: TempDir,
}

impl OwnPostgres {
    pub(crate) async fn start() -> Self {
        let folder = TempDir::with_prefix("postern-pg-").unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let home = folder.path().join("home");
        fs::create_dir(&home).unwrap();
        let mut user = Vec::new();
        if rustix::process::geteuid().is_root() {
            own(&home);
            let words = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--init-groups"];
            user.extend(words.map(str::to_owned));
        }
        let data = home.join("data");
        let words =
            ["initdb", "-D", text(&data), "-U", "postern", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"];
        let all: Vec<&str> = user.iter().map(String::as_str).chain(words).collect();
        run(&all);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = serve(&user, &home, port);
        let postgres = Self { port, home, user, server, _folder: folder };
        postgres.answers().await;
        postgres
    }

    /// For the role `postern`, which needs no password.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postern@127.0.0.1:{}/{database}", self.port)
    }

    /// Ends every process of the server at once, without a checkpoint.
    pub(crate) fn crash(&mut self) {
        let id = Pid::from_raw(i32::try_from(self.server.id()).unwrap()).unwrap();
        let _ = kill_process(id, Signal::QUIT);
        self.server.wait().unwrap();
    }

    /// Starts it again; it recovers from its log.
    pub(crate) async fn revive(&mut self) {
        if self.server.try_wait().unwrap().is_some() {
            self.server = serve(&self.user, &self.home, self.port);
        }
        self.answers().await;
    }

    /// Makes a database whose tables lie in a directory.
    pub(crate) async fn database_in(&self, name: &str, place: &Path) {
        own(place);
        self.execute(&format!("CREATE TABLESPACE {name} LOCATION '{}'", text(place))).await;
        self.execute(&format!("CREATE DATABASE {name} TABLESPACE {name}")).await;
    }

    /// As the superuser.
    pub(crate) async fn execute(&self, sql: &str) {
        let mut connection = sqlx::PgConnection::connect(&self.url("postgres")).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    async fn answers(&self) {
        eventually("Postgres to answer", Duration::from_secs(30), async || {
            sqlx::PgConnection::connect(&self.url("postgres")).await.ok()
        })
        .await;
    }
}

impl Drop for OwnPostgres {
    fn drop(&mut self) {
        self.crash();
    }
}

fn serve(user: &[String], home: &Path, port: u16) -> Child {
    let log = fs::File::options().create(true).append(true).open(home.join("log")).unwrap();
    let (data, port) = (home.join("data"), port.to_string());
    let words = ["postgres", "-D", text(&data), "-p", &port, "-k", text(home), "-c", "listen_addresses=127.0.0.1"];
    let all: Vec<&str> = user.iter().map(String::as_str).chain(words).collect();
    #[expect(clippy::disallowed_methods, reason = "a database server for tests")]
    Command::new(all[0])
        .args(&all[1..])
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// Postgres refuses to run as root, and needs what is its own.
fn own(place: &Path) {
    if rustix::process::geteuid().is_root() {
        run(&["chown", "postgres:", text(place)]);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
