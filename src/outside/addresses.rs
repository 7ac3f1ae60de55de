//! Which addresses workflows ask. What only this machine or its network reaches (databases, metadata services of clouds, consoles) is
//! asked only where `outgoing.allow_private` names it: a name that leads there, today or after the next look-up, changes nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Where a request may go.
#[derive(Debug, Clone, Default)]
pub struct AddressRules {
    hosts: Vec<String>,
    networks: Vec<IpNet>,
}

impl AddressRules {
    /// Public addresses, and these: names of hosts (`*.internal` for all below), addresses, networks (`10.0.0.0/8`).
    pub fn new(allow_private: &[String]) -> Self {
        let mut rules = Self::default();
        for allowed in allow_private {
            match (allowed.parse::<IpNet>(), allowed.parse::<IpAddr>()) {
                (Ok(network), _) => rules.networks.push(network),
                (_, Ok(address)) => rules.networks.push(address.into()),
                _ => rules.hosts.push(allowed.to_ascii_lowercase()),
            }
        }
        rules
    }

    /// The same, and this host.
    pub fn with_name(mut self, host: Option<String>) -> Self {
        match host.as_deref().map(|host| (host, host.trim_matches(['[', ']']).parse::<IpAddr>())) {
            Some((_, Ok(address))) => self.networks.push(address.into()),
            Some((host, Err(_))) => self.hosts.push(host.to_ascii_lowercase()),
            None => {}
        }
        self
    }

    /// Whether a host may be at any address, because it is named.
    pub fn allows_name(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.hosts.iter().any(|name| match name.strip_prefix('*') {
            Some(below) => host.ends_with(below) && host.len() > below.len(),
            None => host == *name,
        })
    }

    /// Whether an address is among those that are named.
    pub fn names(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address.to_canonical()))
    }

    /// Why a host is not asked, as far as its name says it; none: it may be.
    pub fn refuses_host(&self, host: &str) -> Option<String> {
        let host = host.trim_matches(['[', ']']);
        let is_refused = match host.parse() {
            Ok(address) => !self.allows(address),
            Err(_) => {
                let is_local =
                    host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost");
                is_local && !self.allows_name(host) && !self.names(Ipv4Addr::LOCALHOST.into())
            }
        };
        is_refused.then(|| format!("{host} is an address that only this machine or its network reaches"))
    }

    /// Whether an address may be asked.
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address) || self.names(address)
    }
}

/// Whether an address is one of the internet, as far as an address says (IANA's special-purpose registries).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    let is_special = v4.is_private()
        || v4.is_loopback()
        || v4.is_link_local()
        || v4.is_multicast()
        || v4.is_documentation()
        // This network, shared (RFC 6598), protocol assignments, benchmarks, reserved.
        || a == 0
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (18..20).contains(&b))
        || a >= 240;
    !is_special
}

fn is_public_v6(v6: Ipv6Addr) -> bool {
    let [first, second, third, ..] = v6.segments();
    // Addresses that lead to one of version 4: NAT64, 6to4.
    let embedded = match (first, second) {
        (0x64, 0xff9b) if v6.segments()[2..6] == [0; 4] => Some((v6.segments()[6], v6.segments()[7])),
        (0x2002, _) => Some((second, third)),
        _ => None,
    };
    if let Some((high, low)) = embedded {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    // All that is given out is in 2000::/3; of it, what is for protocols and documents is left out.
    (first & 0xe000) == 0x2000 && !(first == 0x2001 && (second < 0x200 || second == 0xdb8)) && first != 0x3fff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_internet_reaches_is_asked_unless_it_is_named() {
        let allows = |rules: &AddressRules, text: &str| rules.allows(text.parse().unwrap());
        let usual = AddressRules::default();
        for public in ["93.184.215.14", "1.1.1.1", "2606:2800:21f:cb07::1", "64:ff9b::0101:0101"] {
            assert!(allows(&usual, public), "{public}");
        }
        for private in [
            "127.0.0.1",
            "127.9.9.9",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.0.1",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "fd00:ec2::254",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b:1::101:101",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "ff02::1",
            "2001:db8::1",
        ] {
            assert!(!allows(&usual, private), "{private}");
        }
        let named: Vec<String> =
            ["10.1.0.0/16", "127.0.0.1", "Billing.internal", "*.svc.local"].map(str::to_owned).into();
        let rules = AddressRules::new(&named);
        assert!(allows(&rules, "10.1.2.3") && allows(&rules, "::ffff:127.0.0.1") && !allows(&rules, "10.2.0.1"));
        assert!(!allows(&rules, "127.0.0.2"));
        for (host, allowed) in [
            ("billing.internal", true),
            ("BILLING.internal.", true),
            ("a.billing.internal", false),
            ("a.svc.local", true),
            ("svc.local", false),
            ("evilsvc.local", false),
            ("billing.internal.example.com", false),
        ] {
            assert_eq!(rules.allows_name(host), allowed, "{host}");
        }
    }
}
