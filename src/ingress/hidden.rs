//! What of a request is kept out of events and records, since it is a credential.

use crate::ingress::{
    body,
    signature::{engine::Engine, source::Source},
};

/// See the module. Names of headers are in lower case.
#[derive(Default)]
pub(super) struct Hidden {
    headers: Vec<String>,
    secret_headers: Vec<String>,
    secret_queries: Vec<String>,
}

impl Hidden {
    pub(super) fn of(engine: &Engine) -> Self {
        let mut hidden =
            Self { headers: engine.signature_headers().map(str::to_ascii_lowercase).collect(), ..Self::default() };
        for place in engine.secret_places() {
            match place {
                Source::Header(name) => hidden.secret_headers.push(name.to_ascii_lowercase()),
                Source::Query(name) => hidden.secret_queries.push(name.clone()),
                Source::Json(_)
                | Source::Form(_)
                | Source::Capture(_)
                | Source::Claim(_)
                | Source::Literal(_)
                | Source::Secret
                | Source::Method
                | Source::Url
                | Source::Body => {}
            }
        }
        hidden
    }

    /// Whether the header carries a signature.
    pub(super) fn is_signature_header(&self, name: &str) -> bool {
        self.headers.iter().any(|hidden| hidden == name)
    }

    /// Whether the header carries the secret itself.
    pub(super) fn is_secret_header(&self, name: &str) -> bool {
        self.secret_headers.iter().any(|hidden| hidden == name)
    }

    /// Whether the query parameter carries the secret itself.
    pub(super) fn is_secret_query(&self, name: &str) -> bool {
        self.secret_queries.iter().any(|hidden| hidden == name)
    }

    /// A URL or path without those query parameters.
    pub(super) fn without_secrets(&self, url: &str) -> String {
        let Some((base, query)) = url.split_once('?').filter(|_| !self.secret_queries.is_empty()) else {
            return url.to_owned();
        };
        let is_secret = |pair: &&str| {
            let form = body::read_urlencoded(pair.as_bytes()).unwrap_or_default();
            self.secret_queries.iter().any(|name| form.last(name).is_some())
        };
        let kept: Vec<&str> = query.split('&').filter(|pair| !is_secret(pair)).collect();
        if kept.is_empty() { base.to_owned() } else { format!("{base}?{}", kept.join("&")) }
    }
}
