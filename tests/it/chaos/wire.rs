//! A wire to Postgres that can be cut, stalled and slowed down.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use crate::support::e2e_project::TestProject;

/// How bytes pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// At once.
    Free,
    /// Each piece after that time.
    Slow(Duration),
    /// Not at all, while connections stay open: what a firewall does that drops packets.
    Stalled,
}

/// Forwards connections to the database of a project, which goes through it from now on.
pub(crate) struct Wire {
    at: SocketAddr,
    database: SocketAddr,
    flow: watch::Sender<Flow>,
    work: Option<JoinHandle<()>>,
}

impl Wire {
    pub(crate) async fn before_the_database_of(project: &mut TestProject) -> Self {
        let mut url = url::Url::parse(&project.database_url()).unwrap();
        let database = url.socket_addrs(|| Some(5432)).unwrap()[0];
        let at = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        url.set_password(None).unwrap();
        url.set_port(Some(at.port())).unwrap();
        project.set("POSTERN_DATABASE__URL", url.as_str());
        let mut wire = Self { at, database, flow: watch::Sender::new(Flow::Free), work: None };
        wire.mend().await;
        wire
    }

    /// Ends every connection and takes no more.
    pub(crate) async fn cut(&mut self) {
        if let Some(work) = self.work.take() {
            work.abort();
            let _ = work.await;
        }
    }

    /// Changes how bytes pass, on open connections too.
    pub(crate) fn flows(&self, flow: Flow) {
        self.flow.send_replace(flow);
    }

    pub(crate) async fn mend(&mut self) {
        self.flows(Flow::Free);
        if self.work.is_some() {
            return;
        }
        let listener = TcpListener::bind(self.at).await.unwrap();
        let (database, flow) = (self.database, self.flow.subscribe());
        self.work = Some(tokio::spawn(async move {
            // Connections end with this set.
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let flow = flow.clone();
                connections.spawn(async move {
                    // A database that is down is a connection that ends.
                    let Ok(far) = TcpStream::connect(database).await else { return };
                    let (near, far) = (near.into_split(), far.into_split());
                    tokio::select! {
                        () = pass(near.0, far.1, flow.clone()) => {}
                        () = pass(far.0, near.1, flow) => {}
                    }
                });
            }
        }));
    }
}

async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut flow: watch::Receiver<Flow>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let Ok(now) = flow.wait_for(|flow| *flow != Flow::Stalled).await.map(|flow| *flow) else { return };
        if let Flow::Slow(time) = now {
            tokio::time::sleep(time).await;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
