//! Whose request it is: the address of the connection, or what proxies that we trust say about it.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

/// The header in which proxies say who called them, one name or address for each hop, the nearest last.
const FORWARDED: &str = "x-forwarded-for";
/// Hops that are looked at: more than any chain of proxies has.
const MOST_HOPS: usize = 20;

/// The remote address of the connection that a request came over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// The address that a request came from. Read from the right: what a trusted proxy added is believed, what
/// stood there before it is not.
#[must_use]
pub(super) fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut nearest = peer.to_canonical();
    if !is_trusted(nearest, trusted) {
        return nearest;
    }
    // By bytes: a line that is no text must not uncover what stands before it.
    let lines = headers.get_all(FORWARDED).iter().rev().map(HeaderValue::as_bytes);
    let hops = lines.flat_map(|line| line.rsplit(|byte| *byte == b',')).take(MOST_HOPS);
    for hop in hops {
        let Some(address) = std::str::from_utf8(hop).ok().and_then(address) else { return nearest };
        nearest = address;
        if !is_trusted(nearest, trusted) {
            return nearest;
        }
    }
    nearest
}

/// Whether an address belongs to a proxy that we trust.
#[must_use]
pub(super) fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|network| network.contains(&address))
}

/// What counts as one sender: an IPv4 address, or an IPv6 /64, which a single customer commands at least.
#[must_use]
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn address(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let bare = match hop.strip_prefix('[') {
        Some(rest) => rest.split(']').next()?,
        None if hop.matches(':').count() == 1 => hop.split(':').next()?,
        None => hop,
    };
    bare.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue};

    use super::{FORWARDED, client, network};

    #[test]
    fn forwarded_addresses_are_read_from_the_right_and_only_from_trusted_peers() {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "2001:db8:1::/48".parse().unwrap()];
        for (peer, lines, expected) in [
            ("198.51.100.7", &["1.2.3.4"][..], "198.51.100.7"),
            ("127.0.0.1", &["1.2.3.4"], "127.0.0.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["1.2.3.4"], "1.2.3.4"),
            ("10.0.0.1", &["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
            ("10.0.0.1", &["6.6.6.6, 1.2.3.4, 10.2.2.2"], "1.2.3.4"),
            ("10.0.0.1", &["6.6.6.6", "1.2.3.4", "10.2.2.2"], "1.2.3.4"),
            ("10.0.0.1", &["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
            ("10.0.0.1", &["6.6.6.6, unknown, 10.2.2.2"], "10.2.2.2"),
            ("10.0.0.1", &["6.6.6.6, "], "10.0.0.1"),
            ("::ffff:10.0.0.1", &["1.2.3.4:5678"], "1.2.3.4"),
            ("2001:db8:1::5", &["[2001:db8:2::9]:443"], "2001:db8:2::9"),
            ("10.0.0.1", &["2001:db8:2::9"], "2001:db8:2::9"),
            ("10.0.0.1", &["::ffff:1.2.3.4"], "1.2.3.4"),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(FORWARDED, line.parse().unwrap());
            }
            let found = client(peer.parse().unwrap(), &headers, &trusted);
            assert_eq!(found.to_string(), expected, "{peer} {lines:?}");
        }
    }

    #[test]
    fn a_line_that_is_no_text_does_not_uncover_what_its_sender_wrote_before_it() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        for (line, expected) in [(&b"\xff, 1.2.3.4"[..], "1.2.3.4"), (b"1.2.3.4, \xff", "10.0.0.1")] {
            let mut headers = HeaderMap::new();
            headers.append(FORWARDED, "6.6.6.6".parse().unwrap());
            headers.append(FORWARDED, HeaderValue::from_bytes(line).unwrap());
            let found = client("10.0.0.1".parse().unwrap(), &headers, &trusted);
            assert_eq!(found.to_string(), expected);
        }
    }

    #[test]
    fn a_chain_without_end_is_cut() {
        let mut headers = HeaderMap::new();
        headers.append(FORWARDED, "10.0.0.9,".repeat(5_000).parse().unwrap());
        let found = client("10.0.0.1".parse().unwrap(), &headers, &["10.0.0.0/8".parse().unwrap()]);
        assert_eq!(found.to_string(), "10.0.0.1", "the last entry is empty");
    }

    #[test]
    fn a_customers_network_counts_as_one() {
        let of = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("192.0.2.9"), "192.0.2.9");
        assert_eq!(of("::ffff:192.0.2.9"), "192.0.2.9");
    }
}
