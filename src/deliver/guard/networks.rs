//! The special-purpose networks of IANA's registries, and which addresses a packet reaches in the end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// Special-purpose IPv4 networks (<https://www.iana.org/assignments/iana-ipv4-special-registry>) and multicast. No endpoint is
/// in any of them, nor in those few that are reachable from everywhere.
const REFUSED_V4: &[(Ipv4Net, &str)] = &[
    (v4(0, 0, 0, 0, 8), "this-host"),
    (v4(10, 0, 0, 0, 8), "private"),
    (v4(100, 64, 0, 0, 10), "carrier-grade NAT"),
    (v4(127, 0, 0, 0, 8), "loopback"),
    (v4(169, 254, 0, 0, 16), "link-local"),
    (v4(172, 16, 0, 0, 12), "private"),
    (v4(192, 0, 0, 0, 24), "reserved"),
    (v4(192, 0, 2, 0, 24), "documentation"),
    (v4(192, 31, 196, 0, 24), "reserved"),
    (v4(192, 52, 193, 0, 24), "reserved"),
    (v4(192, 88, 99, 0, 24), "6to4 relay"),
    (v4(192, 168, 0, 0, 16), "private"),
    (v4(192, 175, 48, 0, 24), "reserved"),
    (v4(198, 18, 0, 0, 15), "benchmark"),
    (v4(198, 51, 100, 0, 24), "documentation"),
    (v4(203, 0, 113, 0, 24), "documentation"),
    (v4(224, 0, 0, 0, 4), "multicast"),
    (v4(240, 0, 0, 0, 4), "reserved"),
];

/// Special-purpose IPv6 networks (<https://www.iana.org/assignments/iana-ipv6-special-registry>), the narrower ones first.
/// What is outside of the global unicast network is refused anyway; those of it that are here have a name.
const REFUSED_V6: &[(Ipv6Net, &str)] = &[
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), "this-host"),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "loopback"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32), "Teredo"),
    (v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48), "benchmark"),
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), "documentation"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), "reserved"),
    (v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), "6to4"),
    (v6([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48), "reserved"),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), "documentation"),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), "private"),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "link-local"),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), "private"),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "multicast"),
];

const GLOBAL_UNICAST: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// The well-known prefix of NAT64 (RFC 6052): the IPv4 address is the last 32 bits.
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);

/// What networks may use for a NAT64 of their own (RFC 8215), by a prefix of any length that RFC 6052 has.
const LOCAL_NAT64: Ipv6Net = v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48);

/// Where RFC 6052 puts the IPv4 address behind prefixes of 48, 56, 64 and 96 bits: around octet 8, which it leaves out.
const EMBEDDED: [[usize; 4]; 4] = [[6, 7, 9, 10], [7, 9, 10, 11], [9, 10, 11, 12], [12, 13, 14, 15]];

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(groups: [u16; 8], prefix: u8) -> Ipv6Net {
    let [a, b, c, d, e, f, g, h] = groups;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix)
}

/// The addresses that a packet may reach in the end, all of which have to be good: of an IPv4-mapped or a NAT64 address the
/// one inside of it, of any other the address itself.
pub(super) fn targets(address: IpAddr) -> Vec<IpAddr> {
    match address {
        IpAddr::V6(v6) if NAT64.contains(&v6) => vec![embedded(v6, [12, 13, 14, 15]).into()],
        IpAddr::V6(v6) if LOCAL_NAT64.contains(&v6) => local_targets(v6),
        address => vec![address.to_canonical()],
    }
}

/// How long the prefix is only its network knows, so each place is looked at, and what is part of a prefix may be taken for
/// an address: that refuses too much rather than too little. Zeros are where none of the address is: `0.…` counts only where
/// nothing else is found.
fn local_targets(address: Ipv6Addr) -> Vec<IpAddr> {
    let possible = EMBEDDED.map(|places| embedded(address, places));
    let found: Vec<IpAddr> = possible.into_iter().filter(|v4| v4.octets()[0] != 0).map(IpAddr::from).collect();
    if found.is_empty() { vec![IpAddr::V4(possible[3])] } else { found }
}

fn embedded(address: Ipv6Addr, places: [usize; 4]) -> Ipv4Addr {
    let octets = address.octets();
    Ipv4Addr::from(places.map(|place| octets[place]))
}

/// What network the address is in, where that is one of those.
pub(super) fn special(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => REFUSED_V4.iter().find(|(network, _)| network.contains(&v4)).map(|(_, name)| *name),
        IpAddr::V6(v6) => {
            let special = REFUSED_V6.iter().find(|(network, _)| network.contains(&v6)).map(|(_, name)| *name);
            special.or_else(|| (!GLOBAL_UNICAST.contains(&v6)).then_some("reserved"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// The first and the last address of each network of the registries, and their neighbours outside.
    #[test]
    fn networks_end_where_the_registries_say() {
        for (first, last, name) in [
            ("0.0.0.0", "0.255.255.255", "this-host"),
            ("10.0.0.0", "10.255.255.255", "private"),
            ("100.64.0.0", "100.127.255.255", "carrier-grade NAT"),
            ("127.0.0.0", "127.255.255.255", "loopback"),
            ("169.254.0.0", "169.254.255.255", "link-local"),
            ("172.16.0.0", "172.31.255.255", "private"),
            ("192.0.0.0", "192.0.0.255", "reserved"),
            ("192.0.2.0", "192.0.2.255", "documentation"),
            ("192.31.196.0", "192.31.196.255", "reserved"),
            ("192.52.193.0", "192.52.193.255", "reserved"),
            ("192.88.99.0", "192.88.99.255", "6to4 relay"),
            ("192.168.0.0", "192.168.255.255", "private"),
            ("192.175.48.0", "192.175.48.255", "reserved"),
            ("198.18.0.0", "198.19.255.255", "benchmark"),
            ("198.51.100.0", "198.51.100.255", "documentation"),
            ("203.0.113.0", "203.0.113.255", "documentation"),
            ("224.0.0.0", "239.255.255.255", "multicast"),
            ("240.0.0.0", "255.255.255.255", "reserved"),
            ("::", "::", "this-host"),
            ("::1", "::1", "loopback"),
            ("100::", "100::ffff:ffff:ffff:ffff", "reserved"),
            ("2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff", "Teredo"),
            ("2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff", "benchmark"),
            ("2001:3::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "reserved"),
            ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "documentation"),
            ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "6to4"),
            ("2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff", "reserved"),
            ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "documentation"),
            ("4000::", "5eff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "reserved"),
            ("5f00::", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "reserved"),
            ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "private"),
            ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "link-local"),
            ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "private"),
            ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "multicast"),
        ] {
            assert_eq!([first, last].map(|text| special(address(text))), [Some(name); 2], "{first} to {last}");
        }
        for good in [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.0.3.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2000::",
            "2001:200::",
            "2001:db7:ffff::",
            "2001:db9::",
            "2003::",
            "2620:4f:7fff::",
            "2620:4f:8001::",
            "3ffe:ffff::",
            "3fff:1000::",
        ] {
            assert_eq!(special(address(good)), None, "{good}");
        }
    }

    #[test]
    fn what_is_inside_of_an_address_is_what_a_packet_reaches() {
        for (text, inside) in [
            ("93.184.216.34", "93.184.216.34"),
            ("2606:2800:220:1::1", "2606:2800:220:1::1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("::10.0.0.1", "::10.0.0.1"),
            ("64:ff9b::10.0.0.1", "10.0.0.1"),
            ("64:ff9b::", "0.0.0.0"),
            ("64:ff9b:1::10.0.0.1", "10.0.0.1"),
            ("64:ff9b:1::", "0.0.0.0"),
            ("64:ff9b:1::1", "0.0.0.1"),
        ] {
            assert_eq!(targets(address(text)), [address(inside)], "{text}");
        }
    }

    /// 10.1.2.3 behind a prefix of each length, and with a public address in the suffix, which a translator ignores.
    #[test]
    fn in_the_local_nat64_prefix_each_place_is_looked_at() {
        for text in [
            "64:ff9b:1:a01:2:300::",
            "64:ff9b:1:a:1:203::",
            "64:ff9b:1:0:a:102:300::",
            "64:ff9b:1::a01:203",
            "64:ff9b:1:abcd::a01:203",
            "64:ff9b:1:a01:2:300:5db8:d822",
        ] {
            assert!(targets(address(text)).contains(&address("10.1.2.3")), "{text}");
        }
    }
}
