//! Which addresses the open internet may be reached at.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Why `address` is not to be connected to, or `None` when it is an address of the open internet
/// or lies inside one of `allowed`.
///
/// Refused are all blocks that the IANA special-purpose registries (RFC 6890) do not call globally
/// reachable, multicast, and the IPv6 blocks that carry an IPv4 address inside.
#[must_use]
pub fn refusal(address: IpAddr, allowed: &[IpNet]) -> Option<&'static str> {
    let plain = address.to_canonical();
    if allowed.iter().any(|network| network.contains(&address) || network.contains(&plain)) {
        return None;
    }
    match address {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => v6(address),
    }
}

fn v4(address: Ipv4Addr) -> Option<&'static str> {
    Some(match address.octets() {
        [0, ..] => "this network (0.0.0.0/8)",
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => "a private network",
        [100, 64..=127, ..] => "a carrier's private network (100.64.0.0/10)",
        [127, ..] => "loopback",
        [169, 254, ..] => "link-local",
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 18..=19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => {
            "a reserved network"
        }
        [224..=239, ..] => "multicast",
        [240..=255, ..] => "a reserved network",
        _ => return None,
    })
}

fn v6(address: Ipv6Addr) -> Option<&'static str> {
    Some(match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => "the unspecified address",
        [0, 0, 0, 0, 0, 0, 0, 1] => "loopback",
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => "an IPv4 address inside an IPv6 one",
        [0x64, 0xff9b, ..] => "an IPv4 address behind NAT64",
        [0x2002, ..] => "an IPv4 address behind 6to4",
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => "a reserved network",
        [0xfc00..=0xfdff, ..] => "a private network",
        [0xfe80..=0xfebf, ..] => "link-local",
        [0xff00..=0xffff, ..] => "multicast",
        [0x2000..=0x3fff, ..] => return None,
        _ => "outside the public IPv6 range",
    })
}

#[cfg(test)]
mod tests {
    use super::refusal;

    #[test]
    fn only_addresses_of_the_open_internet_pass() {
        let refused = [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "3fff::1",
        ];
        for text in refused {
            assert!(refusal(text.parse().unwrap(), &[]).is_some(), "{text}");
        }
        for text in ["8.8.8.8", "1.1.1.1", "100.128.0.1", "172.32.0.1", "2606:4700::1111", "2001:4860:4860::8888"] {
            assert_eq!(refusal(text.parse().unwrap(), &[]), None, "{text}");
        }
    }

    #[test]
    fn an_allowed_network_opens_itself_and_nothing_else() {
        let allowed = ["10.1.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()];
        assert_eq!(refusal("10.1.9.9".parse().unwrap(), &allowed), None);
        assert_eq!(refusal("::ffff:10.1.9.9".parse().unwrap(), &allowed), None);
        assert_eq!(refusal("fd00::5".parse().unwrap(), &allowed), None);
        assert!(refusal("10.2.0.1".parse().unwrap(), &allowed).is_some());
    }
}
