//! A wire to Postgres that can be cut.

use std::net::SocketAddr;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::support::e2e_project::TestProject;

/// Forwards connections to the database of a project, which goes through it from now on.
pub(super) struct Wire {
    at: SocketAddr,
    database: SocketAddr,
    work: Option<tokio::task::JoinHandle<()>>,
}

impl Wire {
    pub(super) async fn before_the_database_of(project: &mut TestProject) -> Self {
        let mut url = url::Url::parse(&project.database_url()).unwrap();
        let database = url.socket_addrs(|| Some(5432)).unwrap()[0];
        let at = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        url.set_password(None).unwrap();
        url.set_port(Some(at.port())).unwrap();
        project.set("POSTERN_DATABASE__URL", url.as_str());
        let mut wire = Self { at, database, work: None };
        wire.mend().await;
        wire
    }

    /// Ends every connection and takes no more.
    pub(super) async fn cut(&mut self) {
        if let Some(work) = self.work.take() {
            work.abort();
            let _ = work.await;
        }
    }

    pub(super) async fn mend(&mut self) {
        let listener = TcpListener::bind(self.at).await.unwrap();
        let database = self.database;
        self.work = Some(tokio::spawn(async move {
            // Connections end with this set.
            let mut connections = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                connections.spawn(async move {
                    let mut far = TcpStream::connect(database).await.unwrap();
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                });
            }
        }));
    }
}
