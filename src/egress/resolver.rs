//! Names to addresses, checked: what is connected to is what was checked.

use std::{
    future::Future,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
};

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::Host;

use crate::egress::address::refusal;

/// What a lookup ends in: every address, or why there is none.
pub type Lookup = Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send>>;

/// Something that knows the addresses of names.
pub trait Names: Send + Sync {
    /// All addresses of `host`.
    fn lookup(&self, host: &str) -> Lookup;
}

/// The operating system's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemNames;

impl Names for SystemNames {
    fn lookup(&self, host: &str) -> Lookup {
        let host = host.to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// A target that is not to be reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{host} is {reason}; name its network in `egress.allow_networks` to allow it")]
pub struct Forbidden {
    /// The host as it stood in the URL, normalised.
    pub host: String,
    /// What kind of address it is.
    pub reason: &'static str,
}

/// Checks hosts and addresses against the refused networks.
#[derive(Clone)]
pub(super) struct Guard {
    names: Arc<dyn Names>,
    allowed: Arc<[IpNet]>,
}

impl Guard {
    pub(super) fn new(names: Arc<dyn Names>, allowed: &[IpNet]) -> Self {
        Self { names, allowed: allowed.into() }
    }

    /// An HTTP client asks no resolver for address literals, so they are checked here. `Url` has
    /// already turned every spelling (decimal, hex, octal, full-width digits) into the address.
    pub(super) fn check_literal(&self, host: &Host<&str>) -> Result<(), Forbidden> {
        let address = match host {
            Host::Domain(_) => return Ok(()),
            Host::Ipv4(address) => IpAddr::V4(*address),
            Host::Ipv6(address) => IpAddr::V6(*address),
        };
        self.check(&host.to_string(), address)
    }

    fn check(&self, host: &str, address: IpAddr) -> Result<(), Forbidden> {
        match refusal(address, &self.allowed) {
            None => Ok(()),
            Some(reason) => Err(Forbidden { host: host.to_owned(), reason }),
        }
    }
}

impl Resolve for Guard {
    /// One refused address refuses the name: a mix of public and private ones is an attack.
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let found = guard.names.lookup(name.as_str()).await?;
            for address in &found {
                guard.check(name.as_str(), *address)?;
            }
            let addresses: Addrs = Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}
