//! What a listener believes of a request before anyone asks who calls: which proxies may speak for others, and, with
//! `auth.mode: none`, which machines and names a request may come by. Gateway and ui both ask here.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;

use crate::auth::origin;
use crate::config::{AuthConfig, AuthMode};

/// What proxies say about the request before them.
const FORWARDED: [HeaderName; 6] = [
    header::FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
];
/// Ends of names that no one outside a local network can register (RFC 6761, 6762, 8375, and ICANN's `internal`).
const LOCAL_ENDS: [&str; 4] = [".localhost", ".local", ".internal", ".home.arpa"];

/// A listener that other machines can reach, where no one is asked who calls.
#[derive(Debug, thiserror::Error)]
#[error(
    "auth.mode is none, and other machines can reach {address}: everyone there could start runs and read them. Set \
     another auth.mode, listen on 127.0.0.1, or set auth.open: true to allow it"
)]
pub struct UnprotectedListener {
    address: SocketAddr,
}

/// What one listener believes and refuses.
#[derive(Debug, Clone)]
pub struct RequestFilter {
    reach: AnonymousReach,
    proxies: Vec<IpNet>,
    /// Names that the configuration says are ours.
    names: Vec<String>,
}

/// How far `auth.mode: none` reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AnonymousReach {
    /// Everyone is asked who calls: names and addresses open nothing.
    Asked,
    /// No one is asked: this machine only.
    ThisMachine,
    /// No one is asked, and the configuration says that this is meant.
    Open,
}

impl RequestFilter {
    /// The filter that the configuration describes. `public_url` is where browsers find the page, if that is configured.
    pub fn new(auth: &AuthConfig, public_url: Option<&str>) -> Self {
        let reach = match auth.mode {
            AuthMode::None if auth.open => AnonymousReach::Open,
            AuthMode::None => AnonymousReach::ThisMachine,
            _ => AnonymousReach::Asked,
        };
        let addresses = auth.origins.iter().map(String::as_str).chain(public_url);
        let names = addresses.map(|address| name_of(origin::host_of(address)).to_ascii_lowercase()).collect();
        Self { reach, proxies: auth.proxies.clone(), names }
    }

    /// Refuses an address that other machines can reach, unless callers are asked who they are or `auth.open` allows it.
    pub fn check_listener(&self, address: SocketAddr) -> Result<(), UnprotectedListener> {
        let is_refused = self.reach == AnonymousReach::ThisMachine && !address.ip().to_canonical().is_loopback();
        if is_refused { Err(UnprotectedListener { address }) } else { Ok(()) }
    }

    /// Whether this address is open to everyone who reaches it: worth a warning.
    pub fn is_open_at(&self, address: SocketAddr) -> bool {
        self.reach == AnonymousReach::Open && !address.ip().to_canonical().is_loopback()
    }

    /// Looks at a request before anything else does: takes away what no named proxy has said, and refuses, with
    /// `auth.mode: none`, what came by another machine or by a name that may be anyone's. The error is a sentence.
    pub fn check_request(&self, headers: &mut HeaderMap, peer: IpAddr) -> Result<(), String> {
        // A claim that speaks against a request needs no one's trust, so it is heard before it may be taken away.
        let verdict = match self.reach {
            AnonymousReach::Asked => Ok(()),
            AnonymousReach::ThisMachine => self.check_machine(headers, peer).and_then(|()| self.check_names(headers)),
            AnonymousReach::Open => self.check_names(headers),
        };
        let peer = peer.to_canonical();
        if !self.proxies.iter().any(|network| network.contains(&peer)) {
            for name in &FORWARDED {
                headers.remove(name);
            }
        }
        verdict
    }

    fn check_machine(&self, headers: &HeaderMap, peer: IpAddr) -> Result<(), String> {
        let is_here = |hop: &str| address_of(hop).is_some_and(|address| address.is_loopback());
        let said = said(headers, "x-forwarded-for", "for").chain(said(headers, "x-real-ip", ""));
        let elsewhere = said.map(str::to_owned).find(|hop| !is_here(hop));
        let elsewhere = elsewhere.or_else(|| (!peer.to_canonical().is_loopback()).then(|| peer.to_string()));
        match elsewhere {
            None => Ok(()),
            Some(from) => Err(format!(
                "auth.mode is none, so only this machine may call, and the request comes from {from:?}; set another \
                 auth.mode, or auth.open: true"
            )),
        }
    }

    /// Every name that a request came by, from the browser's on, must be ours: a name that leads here may belong to anyone
    /// (DNS rebinding), and the page behind it can send any header but `Host`.
    fn check_names(&self, headers: &HeaderMap) -> Result<(), String> {
        let hosts = values(headers, &header::HOST).map(str::trim);
        let foreign = { hosts }.chain(said(headers, "x-forwarded-host", "host")).find(|host| !self.is_ours(host));
        match foreign {
            None => Ok(()),
            Some(host) => {
                let host: String = host.chars().take(200).collect();
                Err(format!("{host:?} is no name of this machine; if it is yours, add http://{host} to auth.origins"))
            }
        }
    }

    fn is_ours(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let name = name_of(&host);
        if origin::is_loopback(&host) || self.names.iter().any(|known| known == name) {
            return true;
        }
        // An address is no name, and one without a dot, or with such an end, is no one's outside this network.
        let is_local = || !name.contains('.') || LOCAL_ENDS.iter().any(|end| name.ends_with(end));
        self.reach == AnonymousReach::Open && (address_of(&host).is_some() || is_local())
    }
}

/// The values of a header, those that are text.
fn values<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    // What is no text is no name and no address either.
    headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("\u{fffd}"))
}

/// What proxies say in a list of their own kind of header, and under a key of `Forwarded` (RFC 7239).
fn said<'h>(headers: &'h HeaderMap, name: &'static str, key: &'static str) -> impl Iterator<Item = &'h str> {
    let own = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("\u{fffd}"));
    let own = own.flat_map(|value| value.split(',')).map(str::trim).filter(|value| !value.is_empty());
    let pairs = values(headers, &header::FORWARDED).flat_map(|value| value.split([',', ';']));
    let standard = pairs.filter_map(move |pair| {
        let (found, value) = pair.split_once('=')?;
        (!key.is_empty() && found.trim().eq_ignore_ascii_case(key)).then(|| value.trim().trim_matches('"'))
    });
    own.chain(standard)
}

/// A host without its port.
fn name_of(host: &str) -> &str {
    let host = host.split('/').next().unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name)
}

/// The address that a host or hop is, with or without a port.
fn address_of(host: &str) -> Option<IpAddr> {
    let bare = |text: &str| text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    bare(host).or_else(|| bare(name_of(host))).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn filter(open: bool) -> RequestFilter {
        let proxies = vec!["127.0.0.0/8".parse().unwrap()];
        let auth =
            AuthConfig { open, proxies, origins: vec!["https://chat.example.com".into()], ..AuthConfig::default() };
        RequestFilter::new(&auth, Some("https://public.example.com:8443"))
    }

    #[test]
    fn with_mode_none_every_name_and_every_hop_must_be_of_this_machine() {
        let admits = |open: bool, pairs: &[(&'static str, &'static str)]| {
            filter(open).check_request(&mut headers(pairs), HERE).is_ok()
        };
        for host in [
            "localhost:8008",
            "127.0.0.1",
            "[::1]:8008",
            "127.9.9.9:1",
            "a.localhost",
            "LOCALHOST",
            "chat.example.com",
            "public.example.com:8443",
        ] {
            assert!(admits(false, &[("host", host)]), "{host}");
        }
        for bad in [
            &[("host", "evil.example")][..],
            &[("host", "192.168.1.7:8008")],
            &[("host", "localhost.evil.example")],
            &[("host", "127.0.0.1.evil.example:8008")],
            &[("host", "evil.example"), ("x-forwarded-host", "localhost")],
            &[("host", "localhost"), ("x-forwarded-host", "evil.example")],
            &[("host", "localhost"), ("x-forwarded-host", "localhost, evil.example")],
            &[("host", "localhost"), ("x-forwarded-host", "localhost"), ("x-forwarded-host", "evil.example")],
            &[("host", "localhost"), ("forwarded", "for=127.0.0.1;host=evil.example")],
            &[("host", "localhost"), ("forwarded", "for=\"[2001:db8::1]:4711\"")],
            &[("host", "localhost"), ("x-forwarded-for", "203.0.113.9")],
            &[("host", "localhost"), ("x-forwarded-for", "127.0.0.1, 203.0.113.9")],
            &[("host", "localhost"), ("x-forwarded-for", "unknown")],
            &[("host", "localhost"), ("x-real-ip", "203.0.113.9")],
        ] {
            assert!(!admits(false, bad), "{bad:?}");
        }
        assert!(admits(
            false,
            &[("host", "localhost"), ("x-forwarded-for", "127.0.0.1, ::1"), ("x-real-ip", "127.0.0.1:9")]
        ));
        let elsewhere = "192.168.1.9".parse().unwrap();
        assert!(filter(false).check_request(&mut headers(&[("host", "localhost")]), elsewhere).is_err());
        assert!(filter(true).check_request(&mut headers(&[("host", "192.168.1.7")]), elsewhere).is_ok());
        // What is open is open to addresses and to names of this network, and to no name that anyone can register.
        for host in
            ["192.168.1.7:8888", "[2001:db8::1]:8888", "gateway:8008", "desk.local", "gateway.fa.svc.cluster.local"]
        {
            assert!(admits(true, &[("host", host), ("x-forwarded-for", "203.0.113.9")]), "{host}");
        }
        assert!(!admits(true, &[("host", "rebound.example")]));
        assert!(!admits(true, &[("host", "192.168.1.7"), ("x-forwarded-host", "rebound.example")]));
    }

    #[test]
    fn what_proxies_say_is_kept_from_named_ones_only() {
        let asked = AuthConfig {
            mode: AuthMode::ApiKey,
            proxies: vec!["10.0.0.1/32".parse().unwrap()],
            ..AuthConfig::default()
        };
        let filter = RequestFilter::new(&asked, None);
        let sent = [
            ("host", "x.example"),
            ("x-forwarded-host", "y.example"),
            ("x-forwarded-for", "203.0.113.9"),
            ("forwarded", "host=y.example"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "203.0.113.9"),
        ];
        let mut from_proxy = headers(&sent);
        filter.check_request(&mut from_proxy, "10.0.0.1".parse().unwrap()).unwrap();
        assert_eq!(from_proxy.len(), sent.len());
        for other in ["10.0.0.2", "127.0.0.1", "::1"] {
            let mut from_other = headers(&sent);
            filter.check_request(&mut from_other, other.parse().unwrap()).unwrap();
            assert_eq!(from_other.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["host"], "{other}");
        }
    }

    #[test]
    fn only_this_machine_is_listened_to_unless_it_is_said() {
        let at = |address: &str| address.parse::<SocketAddr>().unwrap();
        for here in ["127.0.0.1:1", "127.0.0.2:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(filter(false).check_listener(at(here)).is_ok(), "{here}");
        }
        for other in ["0.0.0.0:1", "[::]:1", "192.168.1.7:1", "[2001:db8::1]:1"] {
            assert!(filter(false).check_listener(at(other)).is_err(), "{other}");
            assert!(filter(true).check_listener(at(other)).is_ok() && filter(true).is_open_at(at(other)), "{other}");
            let asked = RequestFilter::new(&AuthConfig { mode: AuthMode::ApiKey, ..AuthConfig::default() }, None);
            assert!(asked.check_listener(at(other)).is_ok() && !asked.is_open_at(at(other)), "{other}");
        }
    }
}
