//! Which hosts may be followed: those that the configuration names, and of those that a server names the ones that lie
//! where that server does. Whoever is followed is sent the password.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whom a connection may be opened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Anywhere: the configuration names the host.
    Anywhere,
    /// Where one that was named by the server at this address can be.
    From {
        /// The address of the server that named it.
        peer: IpAddr,
        /// Whether the host has to prove its name by a certificate before it is sent anything.
        encrypted: bool,
    },
}

/// Where an address can be reached from, the narrowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// This host.
    Loopback,
    /// This link, where clouds have the services that hand out credentials.
    LinkLocal,
    /// This network: RFC 1918, RFC 6598 and RFC 4193.
    Private,
    /// The internet.
    Public,
    /// Nobody has such an address for himself.
    Nowhere,
}

impl Reach {
    /// Whether `address` lies within it.
    pub(super) fn covers(self, address: IpAddr) -> bool {
        let Self::From { peer, encrypted } = self else { return true };
        let (from, to) = (Place::of(peer), Place::of(address));
        match to {
            Place::Loopback | Place::LinkLocal => from == to,
            Place::Private => true,
            // A private cluster has no members on the internet; and in the clear anybody there could read along.
            Place::Public => from == Place::Public || encrypted,
            Place::Nowhere => false,
        }
    }
}

impl Place {
    const fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    const fn of_v4(address: Ipv4Addr) -> Self {
        let [first, second, ..] = address.octets();
        if address.is_loopback() {
            Self::Loopback
        } else if address.is_link_local() {
            Self::LinkLocal
        } else if first == 0 || first >= 224 {
            Self::Nowhere
        } else if address.is_private() || first == 100 && second & 0xc0 == 64 {
            Self::Private
        } else {
            Self::Public
        }
    }

    const fn of_v6(address: Ipv6Addr) -> Self {
        if address.is_loopback() {
            Self::Loopback
        } else if address.is_unicast_link_local() {
            Self::LinkLocal
        } else if address.is_unspecified() || address.is_multicast() {
            Self::Nowhere
        } else if address.is_unique_local() {
            Self::Private
        } else {
            Self::Public
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_a_server_names_lies_where_that_server_can_be() {
        for (peer, named, in_the_clear, encrypted) in [
            ("10.0.0.1", "10.9.8.7", true, true),
            ("10.0.0.1", "192.168.3.4", true, true),
            ("10.0.0.1", "100.64.3.4", true, true),
            ("10.0.0.1", "fd12::7", true, true),
            ("203.0.113.9", "10.0.0.7", true, true),
            ("203.0.113.9", "203.0.113.10", true, true),
            ("10.0.0.1", "203.0.113.9", false, true),
            ("127.0.0.1", "127.0.0.1", true, true),
            ("::1", "127.0.0.1", true, true),
            ("127.0.0.1", "::ffff:127.0.0.1", true, true),
            ("10.0.0.1", "127.0.0.1", false, false),
            ("10.0.0.1", "::1", false, false),
            ("10.0.0.1", "::ffff:127.0.0.1", false, false),
            ("10.0.0.1", "169.254.169.254", false, false),
            ("203.0.113.9", "fe80::1", false, false),
            ("169.254.7.7", "169.254.7.8", true, true),
            ("127.0.0.1", "169.254.169.254", false, false),
            ("10.0.0.1", "0.0.0.0", false, false),
            ("10.0.0.1", "224.0.0.1", false, false),
            ("10.0.0.1", "255.255.255.255", false, false),
            ("10.0.0.1", "ff02::1", false, false),
            ("10.0.0.1", "::", false, false),
        ] {
            for (encrypted, covered) in [(false, in_the_clear), (true, encrypted)] {
                let reach = Reach::From { peer: peer.parse().unwrap(), encrypted };
                assert_eq!(reach.covers(named.parse().unwrap()), covered, "{named} named by {peer}");
                assert!(Reach::Anywhere.covers(named.parse().unwrap()));
            }
        }
    }
}
