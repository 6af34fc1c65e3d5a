//! Connections outward, by HTTP and for mailboxes, and questions to the DNS: the only module that opens them.
//!
//! No redirect is followed unless the caller asks for it ([`follow`]), no proxy is taken from the environment, every request has a time and
//! every answer a size.

pub mod address;
pub mod answer;
pub mod dns;
pub mod follow;
pub mod resolver;
pub mod signed;
pub mod sigv4;
pub mod stream;
pub mod streamed;

use std::{error::Error as _, sync::Arc, time::Duration};

use reqwest::{
    Method,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use url::Url;

use crate::{
    domain::time::Span,
    egress::{
        answer::Answer,
        resolver::{Forbidden, Guard, Names, SystemNames},
    },
};

/// Why a request got no answer. Names the host at most, since URLs hold tokens.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// The client could not be made.
    #[error("cannot set up outgoing connections: {0}")]
    Setup(String),
    /// The URL is none, or not one of http and https.
    #[error("{0}")]
    Url(&'static str),
    /// A header's value has bytes that no header may have.
    #[error("the value for header `{0}` has characters that no header may have")]
    Header(&'static str),
    /// As [`EgressError::Header`], for a header that is named elsewhere.
    #[error("header `{0}` has characters that no header may have")]
    HeaderLine(String),
    /// Not to be reached.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// A redirect leads where none may.
    #[error("{0}")]
    Redirect(&'static str),
    /// No connection, so the other side never saw the request.
    #[error("cannot connect to {host}: {reason}")]
    Connect {
        /// The host.
        host: String,
        /// Why, in words.
        reason: String,
    },
    /// The request may have been seen and acted upon, and no answer came.
    #[error("{host} did not answer: {reason}")]
    NoAnswer {
        /// The host.
        host: String,
        /// Why, in words.
        reason: String,
    },
}

impl EgressError {
    /// Whether another try of the same request can never go better.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Url(_) | Self::Header(_) | Self::HeaderLine(_) | Self::Forbidden(_) | Self::Redirect(_))
    }
}

/// What every connection is held to.
#[derive(Clone, Debug)]
pub struct EgressLimits {
    /// Networks that [`Policy::Public`] reaches although they are not of the open internet.
    pub allow_networks: Vec<ipnet::IpNet>,
    /// Time of one request, from the lookup of the name to the end of the answer.
    pub timeout: Span,
    /// Bytes of an answer that are read; the rest is left.
    pub max_answer_bytes: usize,
}

/// Who chose the URL of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The operator, in `postern.toml`: may be internal.
    Trusted,
    /// Somebody else: only the open internet and `egress.allow_networks`.
    Public,
}

/// A request to be made.
#[derive(Clone, Debug)]
pub struct Request {
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Vec<u8>,
    bounds: Option<(Duration, usize)>,
}

impl Request {
    /// A POST of `body`.
    #[must_use]
    pub fn post(url: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self { method: Method::POST, url: url.into(), headers: HeaderMap::new(), body: body.into(), bounds: None }
    }

    /// A GET.
    #[must_use]
    pub fn get(url: impl Into<String>) -> Self {
        Self { method: Method::GET, url: url.into(), headers: HeaderMap::new(), body: Vec::new(), bounds: None }
    }

    /// Another request, by its method's name; one that is no method is a GET.
    #[must_use]
    pub fn of(method: &str, url: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        let method = Method::from_bytes(method.as_bytes()).unwrap_or(Method::GET);
        Self { method, url: url.into(), headers: HeaderMap::new(), body: body.into(), bounds: None }
    }

    /// A DELETE.
    #[must_use]
    pub fn delete(url: impl Into<String>) -> Self {
        Self { method: Method::DELETE, ..Self::get(url) }
    }

    /// Holds this request to a time and a size of its answer of its own, instead of those of [`EgressLimits`].
    #[must_use]
    pub const fn within(mut self, timeout: Duration, max_answer_bytes: usize) -> Self {
        self.bounds = Some((timeout, max_answer_bytes));
        self
    }

    /// Adds a header; its value is kept out of `Debug`.
    ///
    /// # Errors
    /// When the value has characters that no header may have.
    pub fn header(mut self, name: &'static str, value: &str) -> Result<Self, EgressError> {
        let mut value = HeaderValue::from_str(value).map_err(|_| EgressError::Header(name))?;
        value.set_sensitive(true);
        self.headers.append(HeaderName::from_static(name), value);
        Ok(self)
    }

    /// Adds header lines that were made elsewhere; their values are kept out of `Debug`.
    ///
    /// # Errors
    /// When a name or value has characters that no header may have.
    pub fn lines(mut self, lines: &[(String, Vec<u8>)]) -> Result<Self, EgressError> {
        for (name, value) in lines {
            let fault = || EgressError::HeaderLine(name.clone());
            let known = HeaderName::from_bytes(name.as_bytes()).map_err(|_| fault())?;
            let mut value = HeaderValue::from_bytes(value).map_err(|_| fault())?;
            value.set_sensitive(true);
            self.headers.append(known, value);
        }
        Ok(self)
    }
}

/// The way to other machines. Clones share connections.
#[derive(Clone)]
pub struct Egress {
    trusted: reqwest::Client,
    public: reqwest::Client,
    guard: Guard,
    timeout: Duration,
    max_answer_bytes: usize,
}

impl Egress {
    /// Two clients, one for each [`Policy`].
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(limits: &EgressLimits) -> Result<Self, EgressError> {
        Self::with_names(limits, Arc::new(SystemNames))
    }

    /// As [`Egress::new`], with another resolver for [`Policy::Public`].
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn with_names(limits: &EgressLimits, names: Arc<dyn Names>) -> Result<Self, EgressError> {
        let guard = Guard::new(names, &limits.allow_networks);
        let timeout = limits.timeout.to_std();
        let tls = tls()?;
        let setup = |error: reqwest::Error| EgressError::Setup(error.to_string());
        Ok(Self {
            trusted: client(timeout, tls.clone()).build().map_err(setup)?,
            public: client(timeout, tls).dns_resolver(guard.clone()).build().map_err(setup)?,
            guard,
            timeout,
            max_answer_bytes: limits.max_answer_bytes,
        })
    }

    /// How long one request may take, from the lookup of the name to the end of the answer.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Makes one request and reads the start of its answer.
    ///
    /// # Errors
    /// When the target is not to be reached or no answer came; an answer of any status is `Ok`.
    pub async fn send(&self, policy: Policy, request: Request) -> Result<Answer, EgressError> {
        let url = Url::parse(&request.url).map_err(|_| EgressError::Url("the URL cannot be read"))?;
        let (client, host) = self.client_for(policy, &url)?;
        let (timeout, most) = request.bounds.unwrap_or((self.timeout, self.max_answer_bytes));
        let sent = client.request(request.method, url).headers(request.headers).body(request.body);
        match sent.timeout(timeout).send().await {
            Ok(response) => Ok(Answer::read(response, most).await),
            Err(error) => Err(failure(host, &error)),
        }
    }

    /// The client for a URL that may be asked, and its host.
    fn client_for(&self, policy: Policy, url: &Url) -> Result<(&reqwest::Client, String), EgressError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(EgressError::Url("the URL is neither http nor https"));
        }
        let host = url.host().ok_or(EgressError::Url("the URL has no host"))?;
        let client = match policy {
            Policy::Trusted => &self.trusted,
            Policy::Public => {
                self.guard.check_literal(&host)?;
                &self.public
            }
        };
        Ok((client, host.to_string()))
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that makes HTTP clients")]
fn client(timeout: Duration, tls: rustls::ClientConfig) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("Postern/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .timeout(timeout)
        .pool_idle_timeout(Duration::from_secs(30))
        .pool_max_idle_per_host(4)
        .tls_backend_preconfigured(tls)
}

/// The machine's roots, so that an internal authority works; Mozilla's where the machine has none,
/// as in bare containers.
fn tls() -> Result<rustls::ClientConfig, EgressError> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| EgressError::Setup(error.to_string()))?;
    Ok(versions.with_root_certificates(roots).with_no_client_auth())
}

fn failure(host: String, error: &reqwest::Error) -> EgressError {
    let mut reason = None;
    let mut cause = error.source();
    while let Some(current) = cause {
        if let Some(forbidden) = current.downcast_ref::<Forbidden>() {
            return EgressError::Forbidden(forbidden.clone());
        }
        reason = Some(current.to_string());
        cause = current.source();
    }
    if error.is_timeout() {
        reason = Some("time ran out".to_owned());
    }
    let reason = reason.unwrap_or_else(|| "the request could not be made".to_owned());
    if error.is_connect() || error.is_builder() {
        EgressError::Connect { host, reason }
    } else {
        EgressError::NoAnswer { host, reason }
    }
}
