//! Where a process is reached from outside.

use std::net::SocketAddr;

use crate::config::settings::Settings;

/// The server's URL without a slash at its end: the one that is named, else that of the address on which the gateway of
/// this process listens.
pub(super) fn public_url(settings: &Settings, address: Option<SocketAddr>) -> Option<String> {
    let named = settings.server.public_url.as_ref().map(|url| url.trim_end_matches('/').to_owned());
    named.or_else(|| address.map(|address| format!("http://{address}")))
}
