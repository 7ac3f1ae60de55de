//! `outgoing:`: what workflows reach outside.

use reqwest::Url;

use super::shapes::OUTGOING;
use crate::yaml::FieldReader;

/// `outgoing:`.
#[derive(Debug, Clone, Default)]
pub struct OutgoingConfig {
    /// Hosts (`*.internal` for all below), addresses and networks that are not public and may be asked all the same.
    pub allow_private: Vec<String>,
    /// Hosts, addresses and networks that an answer may send on to; nothing that was for the first server goes along.
    pub allow_hosts: Vec<String>,
    /// The proxy that all requests of workflows go through; none: they go there themselves.
    pub proxy: Option<String>,
}

pub(super) fn outgoing(field: &FieldReader<'_>) -> Option<OutgoingConfig> {
    let fields = field.fields(&OUTGOING)?;
    let hosts = |key| fields.read(key, |field| field.items()?.iter().map(host).collect::<Option<Vec<_>>>());
    let (allow_private, allow_hosts) = (hosts("allow_private"), hosts("allow_hosts"));
    let proxy = fields.read("proxy", |field| {
        let text = field.text()?;
        match Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https" | "socks5" | "socks5h") && url.has_host() => {
                Some(text.to_owned())
            }
            _ => field.is_not("the address of a proxy, like http://proxy.example.com:3128"),
        }
    });
    Some(OutgoingConfig {
        allow_private: allow_private.unwrap_or_default(),
        allow_hosts: allow_hosts.unwrap_or_default(),
        proxy,
    })
}

/// A host, an address or a network.
pub(super) fn host(field: &FieldReader<'_>) -> Option<String> {
    let text = field.text()?;
    let is_network = text.parse::<ipnet::IpNet>().is_ok() || text.parse::<std::net::IpAddr>().is_ok();
    let name = text.strip_prefix("*.").unwrap_or(text);
    let is_name =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    match is_network || is_name {
        true => Some(text.to_owned()),
        false => field.is_not("a host (billing.internal, *.internal), an address or a network (10.0.0.0/8), without scheme, port and path"),
    }
}
