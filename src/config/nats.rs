//! `nats:`: the NATS server, and how to log in there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;

use super::fields::{is_empty, path, secret};
use super::shapes::{NATS, NATS_LOGIN, TLS};
use crate::yaml::{FieldReader, MapReader};

/// `nats:`.
#[derive(Debug, Clone)]
pub struct NatsConfig {
    /// Its address or addresses, separated by commas (default nats://127.0.0.1:4222).
    pub url: String,
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub password: Option<NatsSecret>,
    /// Token, instead of a user.
    pub token: Option<NatsSecret>,
    /// A file with an nkey seed, instead.
    pub nkey_seed_file: Option<PathBuf>,
    /// A `.creds` file, instead.
    pub credentials_file: Option<PathBuf>,
    /// TLS.
    pub tls: NatsTlsConfig,
    /// Copies of each stream that is made (default 1; 3 in a cluster).
    pub replicas: usize,
    /// How long to wait at the start for a server that cannot be reached (default 30 s).
    pub connect_wait: Duration,
    /// The login that may purge, where the other one may not; none: the other one is asked.
    pub cleaner: Option<NatsLogin>,
    /// The login in the account of FastAgency's Python tiers, where they have one of their own.
    pub python: Option<NatsLogin>,
    /// The login of tools with `nats`; none: that of the worker.
    pub tools: Option<NatsLogin>,
}

/// A secret of a login. One that comes from a file is read again for each connection.
#[derive(Debug, Clone)]
pub struct NatsSecret {
    /// What it was when the configuration was read.
    pub value: SecretString,
    /// The file, where the whole value is one `${file:…}`.
    pub file: Option<PathBuf>,
}

impl<T: Into<SecretString>> From<T> for NatsSecret {
    /// One that is written down.
    fn from(value: T) -> Self {
        Self { value: value.into(), file: None }
    }
}

/// Another way to log in at the same server.
#[derive(Debug, Clone, Default)]
pub struct NatsLogin {
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub password: Option<NatsSecret>,
    /// Token, instead of a user.
    pub token: Option<NatsSecret>,
    /// A file with an nkey seed, instead.
    pub nkey_seed_file: Option<PathBuf>,
    /// A `.creds` file, instead.
    pub credentials_file: Option<PathBuf>,
}

impl NatsConfig {
    /// The same server with another login.
    pub fn with(&self, login: &NatsLogin) -> Self {
        let NatsLogin { user, password, token, nkey_seed_file, credentials_file } = login.clone();
        // A login in the address is the first one's.
        let one = |url: &str| match (url.find("://"), url.rfind('@')) {
            (Some(scheme), Some(at)) if at > scheme => format!("{}{}", &url[..scheme + 3], &url[at + 1..]),
            (None, Some(at)) => url[at + 1..].to_owned(),
            _ => url.to_owned(),
        };
        let url = self.url.split(',').map(|url| one(url.trim())).collect::<Vec<_>>().join(",");
        Self {
            url,
            user,
            password,
            token,
            nkey_seed_file,
            credentials_file,
            cleaner: None,
            python: None,
            tools: None,
            ..self.clone()
        }
    }
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self {
            url: "nats://127.0.0.1:4222".to_owned(),
            user: None,
            password: None,
            token: None,
            nkey_seed_file: None,
            credentials_file: None,
            tls: NatsTlsConfig::default(),
            replicas: 1,
            connect_wait: Duration::from_secs(30),
            cleaner: None,
            python: None,
            tools: None,
        }
    }
}

/// `nats.tls:`.
#[derive(Debug, Clone, Default)]
pub struct NatsTlsConfig {
    /// Refuse a connection without TLS.
    pub required: bool,
    /// Authorities to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Our certificate, for servers that ask for one.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
}

pub(super) fn nats(field: &FieldReader<'_>, folder: &Path) -> Option<NatsConfig> {
    let fields = field.fields(&NATS)?;
    let url = fields.read("url", |field| {
        let url = field.text()?;
        let fits = url.split(',').all(|one| !one.trim().is_empty() && !one.trim().contains(char::is_whitespace));
        if fits { Some(url.to_owned()) } else { field.is_not("an address like nats://127.0.0.1:4222") }
    });
    let login = login(field, &fields, folder);
    let tls = fields.read("tls", |field| {
        let fields = field.fields(&TLS)?;
        let (cert_file, key_file) = (path(&fields, "cert_file", folder), path(&fields, "key_file", folder));
        if cert_file.is_some() != key_file.is_some() {
            field.note("`cert_file` and `key_file` go together");
        }
        let required = fields.read("required", FieldReader::bool).unwrap_or(false);
        Some(NatsTlsConfig { required, ca_file: path(&fields, "ca_file", folder), cert_file, key_file })
    });
    let default = NatsConfig::default();
    Some(NatsConfig {
        url: url.unwrap_or(default.url),
        user: login.user,
        password: login.password,
        token: login.token,
        nkey_seed_file: login.nkey_seed_file,
        credentials_file: login.credentials_file,
        tls: tls.unwrap_or_default(),
        replicas: fields.read("replicas", |field| field.whole(1)).unwrap_or(default.replicas),
        connect_wait: fields.read("connect_wait", FieldReader::duration).unwrap_or(default.connect_wait),
        cleaner: fields.read("cleaner", |field| other_login(field, folder)),
        python: fields.read("python", |field| other_login(field, folder)),
        tools: fields.read("tools", |field| other_login(field, folder)),
    })
}

/// A login beside the first one.
fn other_login(field: &FieldReader<'_>, folder: &Path) -> Option<NatsLogin> {
    let fields = field.fields(&NATS_LOGIN)?;
    let login = login(field, &fields, folder);
    if ["user", "token", "nkey_seed_file", "credentials_file"].into_iter().all(|key| fields.get(key).is_none()) {
        return field.is_not("a login: `user` and `password`, or `token`, `nkey_seed_file` or `credentials_file`");
    }
    Some(login)
}

fn login_secret(fields: &MapReader<'_>, key: &'static str) -> Option<NatsSecret> {
    let value = secret(fields, key)?;
    let file = fields.get(key).and_then(|field| field.file().map(Path::to_owned));
    Some(NatsSecret { value, file })
}

fn login(field: &FieldReader<'_>, fields: &MapReader<'_>, folder: &Path) -> NatsLogin {
    let ways = ["user", "token", "nkey_seed_file", "credentials_file"];
    let given: Vec<_> = ways.into_iter().filter(|key| fields.get(key).is_some_and(|field| !is_empty(&field))).collect();
    if let [first, second, ..] = given.as_slice() {
        field
            .review
            .add(fields.problem_at_key(second, format!("there is {first:?} already; one way to log in is enough")));
    }
    if fields.get("password").is_some() && fields.get("user").is_none() {
        field.review.add(fields.problem_at_key("password", "a password needs a `user`"));
    }
    NatsLogin {
        user: fields.read("user", FieldReader::text).filter(|user| !user.is_empty()).map(str::to_owned),
        password: login_secret(fields, "password"),
        token: login_secret(fields, "token"),
        nkey_seed_file: path(fields, "nkey_seed_file", folder),
        credentials_file: path(fields, "credentials_file", folder),
    }
}
