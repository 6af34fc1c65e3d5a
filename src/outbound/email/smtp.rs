//! Any SMTP server (RFC 5321), by lettre.

use std::time::Duration;

use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport, Tokio1Executor,
    address::Envelope,
    transport::smtp::{
        authentication::Credentials,
        client::{Tls, TlsParameters},
        extension::ClientId,
    },
};

use crate::{
    config::settings::SmtpSecurity,
    crypto::Secret,
    domain::delivery::{Attempt, Outgoing},
    outbound::{
        BoxFuture, Channel, ChannelError,
        email::{
            compose::{Composed, address},
            written,
        },
        outcome::{delivered, excerpt, later, refused},
    },
};

/// Sends by one connection for each message: mail is rare, and a kept connection is often dead.
#[derive(Clone)]
pub struct Smtp {
    server: SmtpServer,
    timeout: Duration,
}

/// A server and how to speak with it.
#[derive(Clone, Debug)]
pub struct SmtpServer {
    /// Its name, which its certificate must have.
    pub host: String,
    /// `None` is 587 with STARTTLS, 465 with TLS, 25 without.
    pub port: Option<u16>,
    /// How the connection is protected.
    pub security: SmtpSecurity,
    /// User and password, when it wants them.
    pub login: Option<(String, Secret)>,
}

impl Smtp {
    /// `timeout` bounds a whole attempt.
    ///
    /// # Errors
    /// When an unprotected connection would leave the machine.
    pub fn new(server: SmtpServer, timeout: Duration) -> Result<Self, ChannelError> {
        if server.security == SmtpSecurity::None && !is_loopback(&server.host) {
            return Err(ChannelError::Unprotected(server.host));
        }
        Ok(Self { server, timeout })
    }

    async fn deliver(&self, outgoing: &Outgoing) -> Attempt {
        let own = self.server.login.as_ref().and_then(|(user, _)| address(user));
        let composed = match written(outgoing, own.as_deref()) {
            Ok(composed) => composed,
            Err(reason) => return refused(reason),
        };
        let Some(envelope) = envelope(&composed) else {
            return refused("the addresses do not fit into an SMTP envelope");
        };
        let transport = match self.transport(&composed) {
            Ok(transport) => transport,
            Err(error) => return outcome(&error),
        };
        match tokio::time::timeout(self.timeout, transport.send_raw(&envelope, &composed.bytes)).await {
            Err(_) => later(format!("{} did not answer in time", self.server.host)),
            Ok(Err(error)) => outcome(&error),
            Ok(Ok(response)) => {
                let text: Vec<&str> = response.message().collect();
                let detail = format!("{} {}", response.code(), excerpt(&text.join(" ")));
                delivered(Some(composed.message_id), detail.trim_end().to_owned())
            }
        }
    }

    fn transport(
        &self,
        composed: &Composed,
    ) -> Result<AsyncSmtpTransport<Tokio1Executor>, lettre::transport::smtp::Error> {
        let server = &self.server;
        let (port, tls) = match server.security {
            SmtpSecurity::Starttls => (587, Tls::Required(TlsParameters::new(server.host.clone())?)),
            SmtpSecurity::Tls => (465, Tls::Wrapper(TlsParameters::new(server.host.clone())?)),
            SmtpSecurity::None => (25, Tls::None),
        };
        let name = composed.from.rsplit('@').next().unwrap_or("localhost");
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&server.host)
            .port(server.port.unwrap_or(port))
            .tls(tls)
            .timeout(Some(self.timeout))
            .hello_name(ClientId::Domain(name.to_owned()));
        if let Some((user, password)) = &server.login {
            let password = password.expose_str().unwrap_or_default().to_owned();
            builder = builder.credentials(Credentials::new(user.clone(), password));
        }
        Ok(builder.build())
    }
}

impl Channel for Smtp {
    fn send<'a>(&'a self, outgoing: &'a Outgoing) -> BoxFuture<'a, Attempt> {
        Box::pin(self.deliver(outgoing))
    }
}

fn is_loopback(host: &str) -> bool {
    match url::Host::parse(host) {
        Ok(url::Host::Domain(name)) => name == "localhost",
        Ok(url::Host::Ipv4(address)) => address.is_loopback(),
        Ok(url::Host::Ipv6(address)) => address.is_loopback(),
        Err(_) => host == "::1",
    }
}

fn envelope(composed: &Composed) -> Option<Envelope> {
    let from: Address = composed.from.parse().ok()?;
    let to: Address = composed.to.parse().ok()?;
    Envelope::new(Some(from), vec![to]).ok()
}

/// 5xx is final, 4xx is not (RFC 5321 §4.2.1), and neither is a broken connection.
fn outcome(error: &lettre::transport::smtp::Error) -> Attempt {
    let mut detail = error.to_string();
    if error.status().is_none()
        && let Some(cause) = std::error::Error::source(error)
        && !detail.contains(&cause.to_string())
    {
        detail = format!("{detail}: {cause}");
    }
    let detail = excerpt(&detail);
    if error.is_permanent() { refused(detail) } else { later(detail) }
}
