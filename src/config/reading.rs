//! Reads `fastagency.yaml`: everything that is wrong in it is noted in one pass.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::shapes::{
    AUDIT, CONFIG, GATEWAY, GATEWAY_LIMITS, LINK, NATS, NATS_LOGIN, REDACT, TLS, UI, UI_LIMITS, WEBHOOK, WORKER,
};
use super::variables::{self, Environment};
use super::{
    Audit, Auth, AuthMode, Config, Gateway, KEEP_EVIDENCE, Limits, Nats, NatsLogin, Occasion, Section, Tls, Ui,
    UiLimits, Webhook, Worker,
};
use super::{models, operation};
use crate::ids::Name;
use crate::problem::{Problem, Problems};
use crate::redact::Redactor;
use crate::vouch::PublicKey;
use crate::yaml::{self, Content, Field, Fields, Node, Review};

/// Reads a configuration's text. Paths in it are relative to the folder.
pub fn read(file: &Path, source: &str, folder: &Path, environment: Environment<'_>) -> Result<Config, Problems> {
    let review = Review::of_secrets(file.display().to_string(), source);
    let config = yaml::parse(source, &review).and_then(|mut root| {
        review.hide_secrets(&root);
        let files = variables::substitute(&mut root, environment, folder, &review);
        review.hide_secrets(&root);
        let reader = Reader { folder, environment };
        Some(Config { files, ..reader.config(&Field::root(&root, &review), file)? })
    });
    review.finish()?;
    config.ok_or_else(|| Problem::of_file(file.display().to_string(), "the file cannot be understood").into())
}

/// Reads sections that need more than themselves.
pub(super) struct Reader<'e> {
    folder: &'e Path,
    pub(super) environment: Environment<'e>,
}

impl Reader<'_> {
    fn config(&self, root: &Field<'_>, file: &Path) -> Option<Config> {
        let fields = root.fields(&CONFIG)?;
        fields.read("version", version);
        let name = fields.read("name", Field::text).unwrap_or("fastagency").to_owned();
        let auth = fields
            .read("auth", |field| self.auth(field))
            .unwrap_or_else(|| Auth { proxies: super::auth::this_machine(), ..Auth::default() });
        // Where only this machine's user can call there is nobody to share with.
        let is_shared = !matches!(auth.mode, AuthMode::None)
            || ["gateway", "ui"].into_iter().any(|tier| fields.get(tier).is_some_and(|field| is_open(&field)));
        let usual = if is_shared { Limits::USUAL } else { Limits::ONLY_CONNECTIONS };
        let gateway = fields.read("gateway", |field| self.gateway(field, usual));
        let gateway = gateway.unwrap_or_else(|| self.default_gateway(usual));
        let ui = match fields.read("ui", |field| self.ui(field, &name, gateway.port)) {
            Some(ui) => ui,
            None => default_ui(&name, gateway.port),
        };
        let prices = fields.read("prices", models::prices).unwrap_or_default();
        let mut llms = fields.read("llms", |field| self.llms(field)).unwrap_or_default();
        for llm in llms.values_mut() {
            llm.price = prices.get(&llm.model).copied();
        }
        let data_dir = self.path(&fields, "data_dir").unwrap_or_else(|| self.folder.join("data"));
        let anchors = data_dir.join("audit");
        Some(Config {
            path: file.to_owned(),
            nats: fields.read("nats", |field| self.nats(field)).unwrap_or_default(),
            workflows: self.path(&fields, "workflows").unwrap_or_else(|| self.folder.join("workflows")),
            llms,
            gateway,
            auth,
            ui,
            worker: fields.read("worker", worker).unwrap_or(Worker {
                max_runs: 10_000,
                max_run_bytes: Some(MAX_RUN_BYTES),
                park_after: Duration::from_secs(60),
                lease: Duration::from_secs(10),
                trusted_gateways: Vec::new(),
                signing_key: None,
                definition_key: None,
                trusted_definition_keys: Vec::new(),
            }),
            data_dir,
            data_max_bytes: fields.read("data_max_bytes", Field::size),
            shutdown_grace: fields.read("shutdown_grace", Field::duration).unwrap_or(Duration::from_secs(10)),
            keep_ended: fields.read("keep_ended", Field::duration).unwrap_or(Duration::from_secs(30 * 24 * 3600)),
            webhooks: fields.read("webhooks", webhooks).unwrap_or_default(),
            seal_key: secret(&fields, "seal_key"),
            previous_seal_keys: secrets(&fields, "previous_seal_keys"),
            audit: fields.read("audit", |field| self.audit(field, &anchors)).unwrap_or(Audit {
                key: None,
                previous_keys: Vec::new(),
                anchors,
                redactor: Redactor::default(),
                keep_evidence: KEEP_EVIDENCE,
            }),
            metrics: fields.read("metrics", operation::metrics).unwrap_or_default(),
            telemetry: fields.read("telemetry", operation::telemetry).flatten(),
            unset: unset(&fields),
            files: Vec::new(),
            name,
        })
    }

    pub(super) fn path(&self, fields: &Fields<'_>, key: &'static str) -> Option<PathBuf> {
        let path = fields.read(key, Field::text)?;
        if path.is_empty() {
            fields.get(key)?.note("a path is missing");
        }
        Some(self.folder.join(path))
    }

    fn audit(&self, field: &Field<'_>, anchors: &Path) -> Option<Audit> {
        let fields = field.fields(&AUDIT)?;
        Some(Audit {
            key: secret(&fields, "key"),
            previous_keys: secrets(&fields, "previous_keys"),
            anchors: self.path(&fields, "anchors").unwrap_or_else(|| anchors.to_owned()),
            redactor: fields.read("redact", redactor).unwrap_or_default(),
            keep_evidence: fields.read("keep_evidence", Field::duration).unwrap_or(KEEP_EVIDENCE),
        })
    }

    fn nats(&self, field: &Field<'_>) -> Option<Nats> {
        let fields = field.fields(&NATS)?;
        let url = fields.read("url", |field| {
            let url = field.text()?;
            let fits = url.split(',').all(|one| !one.trim().is_empty() && !one.trim().contains(char::is_whitespace));
            if fits { Some(url.to_owned()) } else { field.is_not("an address like nats://127.0.0.1:4222") }
        });
        let login = self.nats_login(field, &fields);
        let tls = fields.read("tls", |field| {
            let fields = field.fields(&TLS)?;
            let (cert_file, key_file) = (self.path(&fields, "cert_file"), self.path(&fields, "key_file"));
            if cert_file.is_some() != key_file.is_some() {
                field.note("`cert_file` and `key_file` go together");
            }
            let required = fields.read("required", Field::bool).unwrap_or(false);
            Some(Tls { required, ca_file: self.path(&fields, "ca_file"), cert_file, key_file })
        });
        let default = Nats::default();
        Some(Nats {
            url: url.unwrap_or(default.url),
            user: login.user,
            password: login.password,
            token: login.token,
            nkey_seed_file: login.nkey_seed_file,
            credentials_file: login.credentials_file,
            tls: tls.unwrap_or_default(),
            replicas: fields.read("replicas", |field| field.whole(1)).unwrap_or(default.replicas),
            connect_wait: fields.read("connect_wait", Field::duration).unwrap_or(default.connect_wait),
            cleaner: fields.read("cleaner", |field| self.other_login(field)),
            python: fields.read("python", |field| self.other_login(field)),
        })
    }

    /// A login beside the first one.
    fn other_login(&self, field: &Field<'_>) -> Option<NatsLogin> {
        let fields = field.fields(&NATS_LOGIN)?;
        let login = self.nats_login(field, &fields);
        if ["user", "token", "nkey_seed_file", "credentials_file"].into_iter().all(|key| fields.get(key).is_none()) {
            return field.is_not("a login: `user` and `password`, or `token`, `nkey_seed_file` or `credentials_file`");
        }
        Some(login)
    }

    fn nats_login(&self, field: &Field<'_>, fields: &Fields<'_>) -> NatsLogin {
        let ways = ["user", "token", "nkey_seed_file", "credentials_file"];
        let given: Vec<_> =
            ways.into_iter().filter(|key| fields.get(key).is_some_and(|field| !is_empty(&field))).collect();
        if let [first, second, ..] = given.as_slice() {
            field
                .review
                .add(fields.problem_at_key(second, format!("there is {first:?} already; one way to log in is enough")));
        }
        if fields.get("password").is_some() && fields.get("user").is_none() {
            field.review.add(fields.problem_at_key("password", "a password needs a `user`"));
        }
        NatsLogin {
            user: fields.read("user", Field::text).filter(|user| !user.is_empty()).map(str::to_owned),
            password: secret(fields, "password"),
            token: secret(fields, "token"),
            nkey_seed_file: self.path(fields, "nkey_seed_file"),
            credentials_file: self.path(fields, "credentials_file"),
        }
    }

    fn auth(&self, field: &Field<'_>) -> Option<Auth> {
        super::auth::read(field, &|fields, key| self.path(fields, key))
    }

    fn default_gateway(&self, limits: Limits) -> Gateway {
        Gateway {
            host: Ipv4Addr::LOCALHOST.into(),
            port: 8008,
            static_dir: None,
            limits,
            signing_key: None,
            trusted_definition_keys: Vec::new(),
        }
    }

    fn gateway(&self, field: &Field<'_>, usual: Limits) -> Option<Gateway> {
        let fields = field.fields(&GATEWAY)?;
        let default = self.default_gateway(usual);
        Some(Gateway {
            host: fields.read("host", host).unwrap_or(default.host),
            port: fields.read("port", port).unwrap_or(default.port),
            static_dir: self.path(&fields, "static_dir"),
            limits: fields.read("limits", |field| limits(field, usual)).unwrap_or(usual),
            signing_key: long_secret(&fields, "signing_key"),
            trusted_definition_keys: fields.read("trusted_definition_keys", definition_keys).unwrap_or_default(),
        })
    }

    fn ui(&self, field: &Field<'_>, name: &str, gateway_port: u16) -> Option<Ui> {
        let fields = field.fields(&UI)?;
        let default = default_ui(name, gateway_port);
        let (host, port) = (fields.read("host", host), fields.read("port", port));
        Some(Ui {
            host: host.unwrap_or(default.host),
            port: port.unwrap_or(default.port),
            is_placed: host.is_some() || port.is_some(),
            title: fields.read("title", Field::text).map_or(default.title, str::to_owned),
            logo: self.path(&fields, "logo"),
            css: self.path(&fields, "css"),
            footer: fields.read("footer", Field::text).map(str::to_owned),
            links: fields
                .read("links", |field| Some(field.items()?.iter().filter_map(link).collect()))
                .unwrap_or_default(),
            embed_in: fields
                .read("embed_in", |field| Some(field.items()?.iter().filter_map(origin).collect()))
                .unwrap_or_default(),
            gateway_url: fields.read("gateway_url", base_url).unwrap_or(default.gateway_url),
            public_url: fields.read("public_url", public_url),
            session_key: long_secret(&fields, "session_key"),
            previous_session_keys: secrets(&fields, "previous_session_keys"),
            session_lifetime: fields.read("session_lifetime", Field::duration).unwrap_or(default.session_lifetime),
            limits: fields.read("limits", ui_limits).unwrap_or_default(),
        })
    }
}

fn redactor(field: &Field<'_>) -> Option<Redactor> {
    let fields = field.fields(&REDACT)?;
    let name = |field: &Field<'_>| field.text().filter(|name| !name.is_empty()).map(str::to_owned);
    let names: Option<Vec<String>> =
        fields.read("fields", |field| Some(field.items()?.iter().filter_map(name).collect()));
    let pattern = |field: &Field<'_>| {
        let text = field.text()?;
        match regex::Regex::new(text) {
            // It would match everywhere.
            Ok(pattern) if pattern.is_match("") => {
                field.note(format!("{text:?} matches where there is nothing"));
                None
            }
            Ok(pattern) => Some(pattern),
            Err(error) => {
                let why = error.to_string().lines().last().unwrap_or_default().to_owned();
                field.note(format!("{text:?} is no regular expression: {why}"));
                None
            }
        }
    };
    let patterns = fields.read("patterns", |field| Some(field.items()?.iter().filter_map(pattern).collect()));
    Some(Redactor::new(&names.unwrap_or_default(), patterns.unwrap_or_default()))
}

fn version(field: &Field<'_>) -> Option<()> {
    let version: u64 = field.whole(1)?;
    if version != 1 {
        field.note_with_hint(format!("{version} is not a version of this language"), "this program reads version 1");
    }
    Some(())
}

pub(super) fn base_url(field: &Field<'_>) -> Option<String> {
    let url = field.text()?;
    let fits =
        ["http://", "https://"].iter().any(|scheme| url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
    if fits && !url.contains(char::is_whitespace) {
        Some(url.trim_end_matches('/').to_owned())
    } else {
        field.is_not("an address like https://api.openai.com/v1")
    }
}

/// A link of the page. What runs something (`javascript:`) is none.
fn link(field: &Field<'_>) -> Option<(String, String)> {
    let fields = field.fields(&LINK)?;
    let title = fields.read("title", Field::text)?.to_owned();
    let url = fields.read("url", |field| {
        let url = field.text()?;
        let fits = ["https://", "http://", "mailto:", "/"].iter().any(|start| url.starts_with(start));
        if fits { Some(url.to_owned()) } else { field.is_not("an address that begins with https://, mailto: or /") }
    })?;
    Some((title, url))
}

/// A site, as a content security policy names it: nothing in it may end the directive that it becomes part of.
fn origin(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let fits = host.is_some_and(|host| {
        !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '*'))
    });
    if fits {
        Some(text.to_owned())
    } else {
        field.is_not("a site such as https://intranet.example.org, without a path")
    }
}

fn limits(field: &Field<'_>, usual: Limits) -> Option<Limits> {
    let fields = field.fields(&GATEWAY_LIMITS)?;
    let limit = |key| fields.read(key, |field| field.whole(1));
    let or_usual = |key, usual| fields.read(key, |field| field.whole(0)).map_or(usual, none_of_zero);
    Some(Limits {
        starts_per_minute: limit("starts_per_minute"),
        starts_per_hour: or_usual("starts_per_hour", usual.starts_per_hour),
        bytes_per_hour: fields.read("bytes_per_hour", Field::size).map_or(usual.bytes_per_hour, none_of_zero),
        requests_per_minute: limit("requests_per_minute"),
        messages_per_minute: limit("messages_per_minute"),
        sockets: or_usual("sockets", usual.sockets),
        streams: or_usual("streams", usual.streams),
        open_runs: limit("open_runs"),
        connections: limit("connections").or(usual.connections),
        connections_per_address: or_usual("connections_per_address", usual.connections_per_address),
    })
}

/// Whether a tier listens to more than this machine.
fn is_open(tier: &Field<'_>) -> bool {
    let tier = tier.json();
    let host = tier.get("host").and_then(Value::as_str).unwrap_or("127.0.0.1");
    host != "localhost" && !host.parse().is_ok_and(|host: IpAddr| host.is_loopback())
}

/// 0 turns a limit off.
fn none_of_zero<T: Default + PartialEq>(limit: T) -> Option<T> {
    Some(limit).filter(|limit| *limit != T::default())
}

fn ui_limits(field: &Field<'_>) -> Option<UiLimits> {
    let fields = field.fields(&UI_LIMITS)?;
    let usual = UiLimits::default();
    let per_address = fields.read("connections_per_address", |field| field.whole(0));
    Some(UiLimits {
        connections: fields.read("connections", |field| field.whole(1)).or(usual.connections),
        connections_per_address: per_address.map_or(usual.connections_per_address, none_of_zero),
    })
}

fn default_ui(name: &str, gateway_port: u16) -> Ui {
    Ui {
        host: Ipv4Addr::LOCALHOST.into(),
        port: 8888,
        is_placed: false,
        title: name.to_owned(),
        logo: None,
        css: None,
        footer: None,
        links: Vec::new(),
        embed_in: Vec::new(),
        gateway_url: format!("http://127.0.0.1:{gateway_port}"),
        public_url: None,
        session_key: None,
        previous_session_keys: Vec::new(),
        session_lifetime: Duration::from_secs(12 * 3600),
        limits: UiLimits::default(),
    }
}

/// What the log of one run may hold unless it is said.
const MAX_RUN_BYTES: u64 = 64 << 20;

fn worker(field: &Field<'_>) -> Option<Worker> {
    let fields = field.fields(&WORKER)?;
    let lease = fields.read("lease", |field| {
        let lease = field.duration()?;
        if lease < Duration::from_secs(1) { field.is_not("at least a second") } else { Some(lease) }
    });
    Some(Worker {
        max_runs: fields.read("max_runs", |field| field.whole(1)).unwrap_or(10_000),
        max_run_bytes: Some(fields.read("max_run_bytes", Field::size).unwrap_or(MAX_RUN_BYTES))
            .filter(|most| *most > 0),
        park_after: fields.read("park_after", Field::duration).unwrap_or(Duration::from_secs(60)),
        lease: lease.unwrap_or(Duration::from_secs(10)),
        trusted_gateways: fields.read("trusted_gateways", public_keys).unwrap_or_default(),
        signing_key: long_secret(&fields, "signing_key"),
        definition_key: long_secret(&fields, "definition_key"),
        trusted_definition_keys: fields.read("trusted_definition_keys", definition_keys).unwrap_or_default(),
    })
}

/// The keys of those whose workflows are trusted: one at least, as none would mean everybody's.
fn definition_keys(field: &Field<'_>) -> Option<Vec<PublicKey>> {
    let key = |field: &Field<'_>| match PublicKey::parse(field.text()?) {
        Some(key) => Some(key),
        None => field.is_not("a public key: a worker with a `definition_key` prints its own when it starts"),
    };
    let items = field.items()?;
    if items.is_empty() {
        return field.is_not("a list of public keys; leave it out to trust what any worker announces");
    }
    items.iter().map(key).collect()
}

/// The keys of gateways: one at least, as none would mean that everybody is believed.
fn public_keys(field: &Field<'_>) -> Option<Vec<PublicKey>> {
    let key = |field: &Field<'_>| match PublicKey::parse(field.text()?) {
        Some(key) => Some(key),
        None => field.is_not("the public key of a gateway: one with a `signing_key` says it when it starts"),
    };
    let items = field.items()?;
    if items.is_empty() {
        return field.is_not(
            "a list of public keys of gateways; leave it out to trust every process that can write to the broker",
        );
    }
    items.iter().map(key).collect()
}

/// The longest name of a webhook: it becomes part of the name of a queue.
const LONGEST_WEBHOOK: usize = 55;

fn webhooks(field: &Field<'_>) -> Option<BTreeMap<Name, Webhook>> {
    let read = |(name, _, field): (Name, _, Field<'_>)| {
        if name.as_str().len() > LONGEST_WEBHOOK {
            field.note(format!("a webhook's name has at most {LONGEST_WEBHOOK} characters"));
        }
        Some((name, webhook(&field)?))
    };
    Some(field.named_entries()?.into_iter().filter_map(read).collect())
}

fn webhook(field: &Field<'_>) -> Option<Webhook> {
    let fields = field.fields(&WEBHOOK)?;
    let url = fields.read("url", base_url);
    let occasion = |field: &Field<'_>| field.one_of(&[("waiting", Occasion::Waiting), ("ended", Occasion::Ended)]);
    let on = fields.read("on", |field| Some(field.items()?.iter().filter_map(occasion).collect()));
    let secret = secret(&fields, "secret");
    if secret.is_none() && fields.get("secret").is_some_and(|field| is_empty(&field)) {
        field.note("\"secret\" is empty; without it nobody can know that a notice is ours");
    }
    // What lacks a variable is said by the section that uses it; here it only must not be taken for something else.
    Some(Webhook {
        url: url.unwrap_or_default(),
        secret: secret.unwrap_or_default(),
        on: on.unwrap_or_else(|| vec![Occasion::Waiting, Occasion::Ended]),
        redact: fields.read("redact", Field::bool).unwrap_or(true),
    })
}

fn host(field: &Field<'_>) -> Option<IpAddr> {
    match field.text()? {
        "localhost" => Some(Ipv4Addr::LOCALHOST.into()),
        text => text.parse().ok().or_else(|| field.is_not("an IP address like 127.0.0.1 or 0.0.0.0")),
    }
}

fn port(field: &Field<'_>) -> Option<u16> {
    let number: u64 = field.whole(0)?;
    match u16::try_from(number) {
        Ok(port) if port > 0 => Some(port),
        _ => field.is_not("a port (1 to 65535)"),
    }
}

/// A secret; an empty one is none.
pub(super) fn secret(fields: &Fields<'_>, key: &'static str) -> Option<SecretString> {
    fields.read(key, Field::text).filter(|text| !text.is_empty()).map(|text| text.to_owned().into())
}

/// The shortest secret that is not soon guessed: as long as the digest of the weakest algorithm (RFC 7518, 3.2).
const SHORTEST_SECRET: usize = 32;

/// A secret that much hangs on.
pub(super) fn long_secret(fields: &Fields<'_>, key: &'static str) -> Option<SecretString> {
    let found = secret(fields, key)?;
    if found.expose_secret().len() < SHORTEST_SECRET {
        // Not shown, and neither is its length.
        fields.get(key)?.note(format!("the secret is too short: at least {SHORTEST_SECRET} characters"));
        return None;
    }
    Some(found)
}

/// Secrets from before a change, the newest first: what was made with them is still read. Empty ones are none, so that a
/// variable may be left empty when nothing was changed.
pub(super) fn secrets(fields: &Fields<'_>, key: &'static str) -> Vec<SecretString> {
    let one = |field: &Field<'_>| field.text().filter(|text| !text.is_empty()).map(|text| text.to_owned().into());
    fields.read(key, |field| Some(field.items()?.iter().filter_map(one).collect())).unwrap_or_default()
}

/// The page's own address: an origin, as the page must be at its root.
fn public_url(field: &Field<'_>) -> Option<String> {
    let url = base_url(field)?;
    let host = url.split_once("://").map_or("", |(_, host)| host);
    let fits = !host.contains(['/', '?', '#', '@']);
    if fits { Some(url.to_ascii_lowercase()) } else { field.is_not("an address like https://chat.example.com") }
}

fn is_empty(field: &Field<'_>) -> bool {
    field.scalar().is_some_and(|scalar| scalar.text.is_empty() && scalar.missing.is_none())
}

/// What is not set, by the section that it matters for. What belongs to no section matters at once.
fn unset(fields: &Fields<'_>) -> BTreeMap<Section, Vec<Problem>> {
    let mut unset: BTreeMap<Section, Vec<Problem>> = BTreeMap::new();
    for entry in fields.entries() {
        let sections: &[Section] = match entry.key.as_str() {
            "nats" => &[Section::Nats],
            "gateway" => &[Section::Gateway],
            "auth" => &[Section::Gateway],
            "ui" => &[Section::Ui],
            "worker" | "seal_key" | "previous_seal_keys" | "webhooks" => &[Section::Worker],
            "metrics" | "telemetry" => &[Section::Operation],
            "audit" => &[Section::Audit],
            // Each model keeps its own; a price that is not set is one of the models', which the worker asks.
            "llms" => continue,
            "prices" => &[Section::Worker],
            _ => &[],
        };
        for (node, message) in unset_in(&entry.value, &[]) {
            let inner = entry.value.get_path(node);
            let path = inner.map_or_else(|| entry.key.clone(), |inner| format!("{}.{inner}", entry.key));
            let problem = fields.field.review.problem(node.place, &path, message);
            let problem = problem.with_hint("set it, or give it a default: ${VAR:-default}");
            // Where people log in is the page's matter as well, and its secret the page's alone.
            let sections: &[Section] = match path.as_str() {
                "auth.oidc.client_secret" => &[Section::Ui],
                path if path.starts_with("auth.oidc") => &[Section::Gateway, Section::Ui],
                _ => sections,
            };
            for section in sections {
                unset.entry(*section).or_default().push(problem.clone());
            }
            if sections.is_empty() {
                fields.field.review.add(problem);
            }
        }
    }
    unset
}

/// What is not set in a node, but for some keys of it.
pub(super) fn unset_in<'n>(node: &'n Node, but: &[&str]) -> Vec<(&'n Node, String)> {
    let missing = |node: &'n Node| {
        let scalars = node.scalars().into_iter();
        scalars.filter_map(|(node, scalar)| Some((node, scalar.missing.clone()?))).collect::<Vec<_>>()
    };
    match &node.content {
        Content::Map(entries) => entries
            .iter()
            .filter(|entry| !but.contains(&entry.key.as_str()))
            .flat_map(|entry| missing(&entry.value))
            .collect(),
        _ => missing(node),
    }
}
