//! The project's configuration as checked: real types, defaults filled in, nothing left to validate. What the file may hold
//! is in `shapes`, how it is read in `reading`, what `${VAR}` becomes in `variables`. Each role gets its own section; nobody
//! carries the whole [`Config`].
//!
//! A variable that is not set matters only where it is used: what a section lacks is kept, and [`Config::usable`] says it to
//! whoever wants to use the section; what a model lacks is in [`Llm::unset`], for the run that asks the model.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Map, Value};

use crate::ids::Name;
use crate::money::Usd;
use crate::problem::{Problem, Problems};
use crate::redact::Redactor;
use crate::vouch::PublicKey;

mod auth;
mod models;
mod operation;
mod reading;
mod shapes;
mod variables;

pub use auth::{Access, Act, Auth, AuthMode, Jwt, JwtAlgorithm, JwtKey, Members, Oidc, TokenIssue, TrustedHeader};
pub use operation::{Metrics, NEEDS_TOKEN, Otlp};
pub use shapes::json_schema;
pub use variables::Environment;

/// `fastagency.yaml`.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file that it was read from.
    pub path: PathBuf,
    /// The project's name.
    pub name: String,
    nats: Nats,
    /// The folder of workflows; in the file it is relative to the file's folder.
    pub workflows: PathBuf,
    /// The models by name.
    pub llms: BTreeMap<Name, Llm>,
    /// The gateway.
    pub gateway: Gateway,
    /// Who may call the gateway.
    pub auth: Auth,
    /// The page.
    pub ui: Ui,
    /// The worker.
    pub worker: Worker,
    /// Where the embedded broker keeps its data (default `data` beside the file).
    pub data_dir: PathBuf,
    /// What the embedded broker's store may hold, in bytes; none: what the disk can spare.
    pub data_max_bytes: Option<u64>,
    /// How long a tier may take to end (default 10 s).
    pub shutdown_grace: Duration,
    /// How long an ended run is kept (default 30 days).
    pub keep_ended: Duration,
    /// Who outside is told that a run waits, or has ended.
    pub webhooks: BTreeMap<Name, Webhook>,
    /// The key that seals passwords in the log; none: they live in memory only.
    pub seal_key: Option<SecretString>,
    /// The keys that sealed before, the newest first: what they sealed is still opened.
    pub previous_seal_keys: Vec<SecretString>,
    /// What proves the logs, and what is not to be seen in them.
    pub audit: Audit,
    /// Where figures are shown.
    pub metrics: Metrics,
    /// Where traces are sent; none: only where the environment says so.
    pub telemetry: Option<Otlp>,
    unset: BTreeMap<Section, Vec<Problem>>,
    /// The files of `${file:…}`.
    files: Vec<PathBuf>,
}

/// A part of the configuration that not every role uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// `nats:`.
    Nats,
    /// `gateway:` and `auth:`.
    Gateway,
    /// `ui:`.
    Ui,
    /// `worker:` and `seal_key:`.
    Worker,
    /// `metrics:` and `telemetry:`.
    Operation,
    /// `audit:`.
    Audit,
}

/// Reads a configuration file; all that is wrong with it is in the error.
pub fn load(path: &Path, environment: Environment<'_>) -> Result<Config, Problems> {
    let source = std::fs::read_to_string(path).map_err(|error| {
        let message = match error.kind() {
            std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
            _ => format!("the file cannot be read: {error}"),
        };
        Problem::of_file(path.display().to_string(), message)
            .with_hint("-c names the configuration (default fastagency.yaml)")
    })?;
    from_text(path, &source, path.parent().unwrap_or(Path::new("")), environment)
}

/// Reads a configuration's text; paths in it are relative to the folder.
pub fn from_text(path: &Path, source: &str, folder: &Path, environment: Environment<'_>) -> Result<Config, Problems> {
    reading::read(path, source, folder, environment)
}

impl Config {
    /// What a project without a `fastagency.yaml` has.
    pub fn default_in(folder: &Path, environment: Environment<'_>) -> Result<Self, Problems> {
        let folder = if folder == Path::new(".") { Path::new("") } else { folder };
        reading::read(Path::new("the default configuration"), include_str!("default.yaml"), folder, environment)
    }

    /// The NATS server; an error if something about it is not set.
    pub fn nats(&self) -> Result<&Nats, Problems> {
        self.usable(Section::Nats)?;
        Ok(&self.nats)
    }

    /// Takes another address of the NATS server than the file's.
    pub fn override_nats_url(&mut self, url: &str) {
        url.clone_into(&mut self.nats.url);
        // An address that says who connects goes before the file's user.
        if url.contains('@') {
            self.nats.user = None;
            self.nats.password = None;
            self.nats.token = None;
        }
        if let Some(unset) = self.unset.get_mut(&Section::Nats) {
            unset.retain(|problem| problem.path != "nats.url");
        }
    }

    /// The files that hold secrets, each with what names it. Whether they are used in this process does not matter.
    pub fn secret_files(&self) -> Vec<(&'static str, &Path)> {
        let Nats { nkey_seed_file, credentials_file, tls, cleaner, python, .. } = &self.nats;
        let other_logins = || cleaner.iter().chain(python);
        let named = [
            ("auth.file", self.auth.file.as_ref()),
            ("nats.nkey_seed_file", nkey_seed_file.as_ref()),
            ("nats.credentials_file", credentials_file.as_ref()),
            ("nats.tls.key_file", tls.key_file.as_ref()),
        ];
        let named = named.into_iter().filter_map(|(what, path)| Some((what, path?)));
        let seeds = other_logins().filter_map(|login| login.nkey_seed_file.as_ref());
        let credentials = other_logins().filter_map(|login| login.credentials_file.as_ref());
        let tokens = self.llms.values().filter_map(|llm| match &llm.token_source {
            Some(TokenSource::File(path)) => Some(path),
            _ => None,
        });
        named
            .chain(seeds.map(|path| ("an nkey_seed_file", path)))
            .chain(credentials.map(|path| ("a credentials_file", path)))
            .chain(tokens.map(|path| ("a token_file", path)))
            .chain(self.files.iter().map(|path| ("a file of ${file:…}", path)))
            .map(|(what, path)| (what, path.as_path()))
            .collect()
    }

    /// Says what a section lacks: variables that are not set.
    pub fn usable(&self, section: Section) -> Result<(), Problems> {
        Problems::refuse(self.unset.get(&section).cloned().unwrap_or_default())
    }
}

/// `nats:`.
#[derive(Debug, Clone)]
pub struct Nats {
    /// Its address or addresses, separated by commas (default nats://127.0.0.1:4222).
    pub url: String,
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub password: Option<SecretString>,
    /// Token, instead of a user.
    pub token: Option<SecretString>,
    /// A file with an nkey seed, instead.
    pub nkey_seed_file: Option<PathBuf>,
    /// A `.creds` file, instead.
    pub credentials_file: Option<PathBuf>,
    /// TLS.
    pub tls: Tls,
    /// Copies of each stream that is made (default 1; 3 in a cluster).
    pub replicas: usize,
    /// How long to wait at the start for a server that cannot be reached (default 30 s).
    pub connect_wait: Duration,
    /// The login that may purge, where the other one may not; none: the other one is asked.
    pub cleaner: Option<NatsLogin>,
    /// The login in the account of FastAgency's Python tiers, where they have one of their own.
    pub python: Option<NatsLogin>,
}

/// Another way to log in at the same server.
#[derive(Debug, Clone, Default)]
pub struct NatsLogin {
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub password: Option<SecretString>,
    /// Token, instead of a user.
    pub token: Option<SecretString>,
    /// A file with an nkey seed, instead.
    pub nkey_seed_file: Option<PathBuf>,
    /// A `.creds` file, instead.
    pub credentials_file: Option<PathBuf>,
}

impl Nats {
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
            ..self.clone()
        }
    }
}

impl Default for Nats {
    fn default() -> Self {
        Self {
            url: "nats://127.0.0.1:4222".to_owned(),
            user: None,
            password: None,
            token: None,
            nkey_seed_file: None,
            credentials_file: None,
            tls: Tls::default(),
            replicas: 1,
            connect_wait: Duration::from_secs(30),
            cleaner: None,
            python: None,
        }
    }
}

/// `nats.tls:`.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Refuse a connection without TLS.
    pub required: bool,
    /// Authorities to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Our certificate, for servers that ask for one.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
}

/// `audit:`.
#[derive(Debug, Clone)]
pub struct Audit {
    /// What the logs are chained with; none: they are not, but for those of an embedded broker, which makes a key.
    pub key: Option<SecretString>,
    /// What they were chained with before, the newest first: those links still prove something.
    pub previous_keys: Vec<SecretString>,
    /// The folder of the anchors (default: `audit` in the data folder).
    pub anchors: PathBuf,
    /// What is redacted.
    pub redactor: Redactor,
    /// How long it is kept what a removed run was, and who removed it (default a year).
    pub keep_evidence: Duration,
}

/// How long it is kept what a removed run was: a year, as accounts are looked through once a year.
pub const KEEP_EVIDENCE: Duration = Duration::from_secs(365 * 24 * 3600);

/// `gateway:`.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// The address it listens on (default 127.0.0.1).
    pub host: IpAddr,
    /// Its port (default 8008).
    pub port: u16,
    /// A folder of the user's own front end, served at `/`.
    pub static_dir: Option<PathBuf>,
    /// What one caller may take of it.
    pub limits: Limits,
    /// What it vouches with for its users; none: it does not.
    pub signing_key: Option<SecretString>,
    /// The workers whose workflows are started; none: those that anybody announces.
    pub trusted_definition_keys: Vec<PublicKey>,
}

/// `gateway.limits:`: what one caller may take of the gateway. `None`: no limit. A caller is a user, or, where nobody is asked
/// who he is, an address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
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

impl Limits {
    /// What counts where nothing else is configured and others than this machine's user may call: far more than a person does,
    /// and little enough that one caller cannot fill the memory or the disk in a day.
    pub const USUAL: Limits = Limits {
        starts_per_minute: None,
        starts_per_hour: Some(10_000),
        bytes_per_hour: Some(256 << 20),
        requests_per_minute: None,
        messages_per_minute: None,
        sockets: Some(1_000),
        streams: Some(1_000),
        open_runs: None,
        ..Limits::ONLY_CONNECTIONS
    };
    /// What counts in any case.
    pub const ONLY_CONNECTIONS: Limits = Limits {
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

/// `ui.limits:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UiLimits {
    /// Connections at once, in all.
    pub connections: Option<u32>,
    /// Connections of one address at once, believed proxies left aside.
    pub connections_per_address: Option<u32>,
}

impl Default for UiLimits {
    fn default() -> Self {
        let Limits { connections, connections_per_address, .. } = Limits::ONLY_CONNECTIONS;
        Self { connections, connections_per_address }
    }
}

/// `ui:`.
#[derive(Debug, Clone)]
pub struct Ui {
    /// The address it listens on (default 127.0.0.1).
    pub host: IpAddr,
    /// Its port (default 8888).
    pub port: u16,
    /// Whether the configuration says where it listens.
    pub is_placed: bool,
    /// The page's title (default: the project's name).
    pub title: String,
    /// A picture beside the title.
    pub logo: Option<PathBuf>,
    /// A style sheet that is applied after the page's own.
    pub css: Option<PathBuf>,
    /// A sentence below everything.
    pub footer: Option<String>,
    /// Links below everything: their words and addresses.
    pub links: Vec<(String, String)>,
    /// The origins of the sites that may show the page in a frame.
    pub embed_in: Vec<String>,
    /// Where the gateway is (default: `http://127.0.0.1:8008`).
    pub gateway_url: String,
    /// Where browsers find the page, without a slash at the end (default: what a request says).
    pub public_url: Option<String>,
    /// What the cookies of logins are sealed with; none: a key of this machine's own.
    pub session_key: Option<SecretString>,
    /// What they were sealed with before: those cookies count until they end.
    pub previous_session_keys: Vec<SecretString>,
    /// How long a login lasts (default 12 h).
    pub session_lifetime: Duration,
    /// How many connections it takes.
    pub limits: UiLimits,
}

/// `worker:`.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Runs in memory at once, at most (default 10 000).
    pub max_runs: usize,
    /// What the log of one run may hold, in bytes (default 64 MiB); none: no limit.
    pub max_run_bytes: Option<u64>,
    /// How long a run that only waits is kept in memory (default 60 s).
    pub park_after: Duration,
    /// How long a worker that says nothing is believed to live (default 10 s).
    pub lease: Duration,
    /// The gateways without whose word nothing is done in anybody's name; none: whoever can write to the broker is believed.
    pub trusted_gateways: Vec<PublicKey>,
    /// What it vouches with for the runs that workflows start; none: it does not.
    pub signing_key: Option<SecretString>,
    /// What it signs the workflows with that it announces; none: nothing is signed.
    pub definition_key: Option<SecretString>,
    /// The workers whose workflows are executed; none: those that anybody announces.
    pub trusted_definition_keys: Vec<PublicKey>,
}

/// An entry of `webhooks:`.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Where to.
    pub url: String,
    /// What the notices are signed with.
    pub secret: SecretString,
    /// When.
    pub on: Vec<Occasion>,
    /// Whether what is not to be seen is taken out of what it is sent.
    pub redact: bool,
}

/// When a webhook is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// A run waits for a person.
    Waiting,
    /// A run has ended.
    Ended,
}

/// Where a token that expires is fetched from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// A file that somebody renews.
    File(PathBuf),
    /// A program, with its arguments, that prints it.
    Command(Vec<String>),
}

/// A model as `llms:` describes it, checked.
#[derive(Debug, Clone)]
pub struct Llm {
    /// Who serves it.
    pub provider: Provider,
    /// The model's name, as the provider knows it.
    pub model: String,
    /// The key; none: not set.
    pub api_key: Option<SecretString>,
    /// What a person must set if the key is missing, e.g. `OPENAI_API_KEY`; none: unknown.
    pub api_key_variable: Option<String>,
    /// A bearer token, which goes before the key: of Entra ID for Azure, of Google Cloud for Vertex AI.
    pub token: Option<SecretString>,
    /// Where a bearer token that expires is fetched from, again and again; none: nowhere.
    pub token_source: Option<TokenSource>,
    /// Where the interface begins, e.g. `https://api.openai.com/v1`.
    pub base_url: String,
    /// Azure: what the deployment of the model is called; none: as the model.
    pub deployment: Option<String>,
    /// Azure, Anthropic: the version of the interface; none: the newest that this program knows, or the address says it.
    pub api_version: Option<String>,
    /// Parameters that are sent with each request as they are (temperature, top_p, seed, …).
    pub parameters: Map<String, Value>,
    /// Whether the answer is streamed (default true).
    pub stream: bool,
    /// How long to wait for what.
    pub timeout: Timeouts,
    /// How often a failed request is tried again (AG2's client: 2).
    pub max_retries: u32,
    /// Models to ask, in this order, when this one fails.
    pub fallback: Vec<Name>,
    /// How often it may be asked.
    pub rate: Rate,
    /// What it costs, by the price table; none: not known.
    pub price: Option<Price>,
    /// Whether each next request of an agent begins with the next of them, instead of always with this one.
    pub round_robin: bool,
    /// The replies of a scripted model; empty: it makes them up from the request.
    pub script: Vec<Value>,
    /// What the model lacks, each a sentence about a variable that is not set; the key is left out, it has a field of its
    /// own. Empty: nothing. A model that lacks something must not be asked.
    pub unset: Vec<String>,
}

/// The models of which it is not known what a reply costs, because they have no price, or a model that stands in for them
/// has none. A scripted model without a price costs nothing.
pub fn unpriced(llms: &BTreeMap<Name, Llm>) -> BTreeSet<Name> {
    let has_none = |llm: &Llm| llm.price.is_none() && llm.provider != Provider::Scripted;
    let mut found: BTreeSet<Name> =
        llms.iter().filter(|(_, llm)| has_none(llm)).map(|(name, _)| name.clone()).collect();
    loop {
        let leads_to = |llm: &Llm| llm.fallback.iter().any(|name| found.contains(name));
        let more: Vec<Name> = llms
            .iter()
            .filter(|(name, llm)| !found.contains(*name) && leads_to(llm))
            .map(|(name, _)| name.clone())
            .collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

/// Who serves a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// OpenAI.
    OpenAi,
    /// OpenAI's models at Microsoft Azure.
    Azure,
    /// Anthropic, by its Messages.
    Anthropic,
    /// Google, by Gemini's `generateContent`.
    Gemini,
    /// Any server that speaks OpenAI's chat completions; a key is not needed.
    Compatible,
    /// Nobody: replies from a script, or made up, with no key and no network.
    Scripted,
}

impl Provider {
    /// What its interface is called in errors.
    pub fn api(self) -> &'static str {
        match self {
            // AG2's word, whoever is compatible (`docs/reference/ag2-semantics.md`, section 9).
            Provider::OpenAi | Provider::Compatible | Provider::Scripted => "OpenAI",
            Provider::Azure => "Azure OpenAI",
            Provider::Anthropic => "Anthropic",
            Provider::Gemini => "Gemini",
        }
    }

    /// The parameters of chat completions that it has no word for. An agent's are left out for such a model; the model's own
    /// are refused when the configuration is checked.
    pub fn lacks(self) -> &'static [&'static str] {
        match self {
            Provider::OpenAi | Provider::Azure | Provider::Compatible | Provider::Scripted => &[],
            Provider::Anthropic => &[
                "seed",
                "presence_penalty",
                "frequency_penalty",
                "logit_bias",
                "logprobs",
                "top_logprobs",
                "verbosity",
                "service_tier",
                "store",
                "metadata",
                "prompt_cache_key",
            ],
            Provider::Gemini => &[
                "logit_bias",
                "verbosity",
                "parallel_tool_calls",
                "user",
                "service_tier",
                "store",
                "metadata",
                "prompt_cache_key",
                "safety_identifier",
            ],
        }
    }
}

/// How often a model may be asked, by all workers together. `None`: no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rate {
    /// Requests, retries included.
    pub requests_per_minute: Option<u64>,
    /// Tokens, read and written.
    pub tokens_per_minute: Option<u64>,
}

impl Rate {
    /// Whether it limits nothing.
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.requests_per_minute, self.tokens_per_minute) {
            (None, None) => f.write_str("no limit"),
            (Some(requests), None) => write!(f, "{requests} requests per minute"),
            (None, Some(tokens)) => write!(f, "{tokens} tokens per minute"),
            (Some(requests), Some(tokens)) => write!(f, "{requests} requests and {tokens} tokens per minute"),
        }
    }
}

/// What a model costs: each the price of a million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// Tokens read.
    pub input: Usd,
    /// Tokens written.
    pub output: Usd,
    /// Tokens read from the provider's cache; none: as other tokens read.
    pub cached_input: Option<Usd>,
    /// Tokens put into the provider's cache; none: as other tokens read.
    pub cache_write: Option<Usd>,
}

/// How long a request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the first byte of the answer.
    pub first_token: Duration,
    /// Between two pieces of it.
    pub idle: Duration,
    /// All in all (AG2's default: 600 s).
    pub total: Duration,
}

#[cfg(test)]
mod tests;
