//! Plain and protected connections to servers that an operator names, for protocols other than HTTP.

use std::{sync::Arc, time::Duration};

use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::egress::{EgressError, tls};

/// Bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection, protected or not.
pub type BoxedStream = Box<dyn Stream>;

/// Opens connections that are held to one time each.
#[derive(Clone)]
pub struct Streams {
    connector: TlsConnector,
    timeout: Duration,
}

impl Streams {
    /// With the same roots as HTTP. `timeout` is that of a connection, and that of its TLS.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(timeout: Duration) -> Result<Self, EgressError> {
        Ok(Self { connector: TlsConnector::from(Arc::new(tls()?)), timeout })
    }

    /// Connects without protection.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn connect(&self, host: &str, port: u16) -> Result<BoxedStream, EgressError> {
        let fault = |reason: String| EgressError::Connect { host: format!("{host}:{port}"), reason };
        match tokio::time::timeout(self.timeout, TcpStream::connect((host, port))).await {
            Err(_) => Err(fault("time ran out".to_owned())),
            Ok(Err(error)) => Err(fault(error.to_string())),
            Ok(Ok(stream)) => {
                // Commands are short and waited for one by one.
                drop(stream.set_nodelay(true));
                Ok(Box::new(stream))
            }
        }
    }

    /// Protects a connection; the other side must prove that it is `host`.
    ///
    /// # Errors
    /// When it does not.
    pub async fn protect(&self, host: &str, stream: BoxedStream) -> Result<BoxedStream, EgressError> {
        let fault = |reason: String| EgressError::Connect { host: host.to_owned(), reason };
        let name = ServerName::try_from(host.to_owned()).map_err(|_| fault("is no name of a server".to_owned()))?;
        match tokio::time::timeout(self.timeout, self.connector.connect(name, stream)).await {
            Err(_) => Err(fault("time ran out during TLS".to_owned())),
            Ok(Err(error)) => Err(fault(format!("TLS failed: {error}"))),
            Ok(Ok(stream)) => Ok(Box::new(stream)),
        }
    }
}
