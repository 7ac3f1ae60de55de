//! `gateway:`: the tier that clients call, and what one caller may take of it.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::fields::{definition_keys, host, long_secret, none_of_zero, path, port};
use super::shapes::{GATEWAY, GATEWAY_LIMITS};
use crate::signing::PublicKey;
use crate::yaml::FieldReader;

/// `gateway:`.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// The address it listens on (default 127.0.0.1).
    pub host: IpAddr,
    /// Its port (default 8008).
    pub port: u16,
    /// A folder of the user's own front end, served at `/`.
    pub static_dir: Option<PathBuf>,
    /// What one caller may take of it.
    pub limits: CallerLimits,
    /// The key that it signs with for its users; none: it does not.
    pub signing_key: Option<SecretString>,
    /// The workers whose workflows are started; none: those that anybody announces.
    pub trusted_definition_keys: Vec<PublicKey>,
}

/// `gateway.limits:`: what one caller may take of the gateway. `None`: no limit. A caller is a user, or, where nobody is asked
/// who he is, an address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallerLimits {
    /// Runs started in a minute.
    pub starts_per_minute: Option<u32>,
    /// Runs started in an hour.
    pub starts_per_hour: Option<u32>,
    /// Bytes of parameters and answers that are stored in an hour.
    pub bytes_per_hour: Option<u64>,
    /// Requests in a minute, of whatever kind.
    pub requests_per_minute: Option<u32>,
    /// Answers in a minute, over REST and sockets.
    pub messages_per_minute: Option<u32>,
    /// Sockets that are open at once.
    pub sockets: Option<u32>,
    /// Streams of events that are open at once.
    pub streams: Option<u32>,
    /// Runs that have not ended.
    pub open_runs: Option<u32>,
    /// Connections of one address at once, believed proxies left aside.
    pub connections_per_address: Option<u32>,
    /// Connections at once, in all.
    pub connections: Option<u32>,
}

impl CallerLimits {
    /// What counts where nothing else is configured and others than this machine's user may call: far more than a person does,
    /// and little enough that one caller cannot fill the memory or the disk in a day.
    pub const DEFAULT: CallerLimits = CallerLimits {
        starts_per_minute: None,
        starts_per_hour: Some(10_000),
        bytes_per_hour: Some(256 << 20),
        requests_per_minute: None,
        messages_per_minute: None,
        sockets: Some(1_000),
        streams: Some(1_000),
        open_runs: None,
        ..CallerLimits::ONLY_CONNECTIONS
    };
    /// What counts in any case.
    pub const ONLY_CONNECTIONS: CallerLimits = CallerLimits {
        starts_per_minute: None,
        starts_per_hour: None,
        bytes_per_hour: None,
        requests_per_minute: None,
        messages_per_minute: None,
        sockets: None,
        streams: None,
        open_runs: None,
        connections_per_address: Some(1_000),
        connections: Some(20_000),
    };
}

impl GatewayConfig {
    /// What counts where nothing else is configured.
    pub(super) fn with(limits: CallerLimits) -> Self {
        Self {
            host: Ipv4Addr::LOCALHOST.into(),
            port: 8008,
            static_dir: None,
            limits,
            signing_key: None,
            trusted_definition_keys: Vec::new(),
        }
    }
}

pub(super) fn gateway(field: &FieldReader<'_>, folder: &Path, usual: CallerLimits) -> Option<GatewayConfig> {
    let fields = field.fields(&GATEWAY)?;
    let default = GatewayConfig::with(usual);
    Some(GatewayConfig {
        host: fields.read("host", host).unwrap_or(default.host),
        port: fields.read("port", port).unwrap_or(default.port),
        static_dir: path(&fields, "static_dir", folder),
        limits: fields.read("limits", |field| limits(field, usual)).unwrap_or(usual),
        signing_key: long_secret(&fields, "signing_key"),
        trusted_definition_keys: fields.read("trusted_definition_keys", definition_keys).unwrap_or_default(),
    })
}

fn limits(field: &FieldReader<'_>, usual: CallerLimits) -> Option<CallerLimits> {
    let fields = field.fields(&GATEWAY_LIMITS)?;
    let limit = |key| fields.read(key, |field| field.whole(1));
    let or_usual = |key, usual| fields.read(key, |field| field.whole(0)).map_or(usual, none_of_zero);
    Some(CallerLimits {
        starts_per_minute: limit("starts_per_minute"),
        starts_per_hour: or_usual("starts_per_hour", usual.starts_per_hour),
        bytes_per_hour: fields.read("bytes_per_hour", FieldReader::size).map_or(usual.bytes_per_hour, none_of_zero),
        requests_per_minute: limit("requests_per_minute"),
        messages_per_minute: limit("messages_per_minute"),
        sockets: or_usual("sockets", usual.sockets),
        streams: or_usual("streams", usual.streams),
        open_runs: limit("open_runs"),
        connections: limit("connections").or(usual.connections),
        connections_per_address: or_usual("connections_per_address", usual.connections_per_address),
    })
}
