//! The project's configuration as checked: real types, defaults filled in, nothing left to validate. What the file may hold
//! is in `shapes`; each section has a file that also reads it, and `reading` puts them together; what `${VAR}` becomes in `variables`. Each role gets its own section; nobody
//! carries the whole [`Config`].
//!
//! A variable that is not set matters only where it is used: what a section lacks is kept, and [`Config::usable`] says it to
//! whoever wants to use the section; what a model lacks is in [`LlmConfig::unset`], for the run that asks the model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;

use crate::ids::Name;
use crate::problem::{Problem, Problems};
use crate::yaml;

mod absent;
mod audit;
mod auth;
mod fields;
mod gateway;
mod mcp;
mod model_shapes;
mod models;
mod nats;
mod operation;
mod outgoing;
mod programs;
mod python;
mod reading;
mod secrets;
mod shapes;
mod ui;
mod variables;
mod warnings;
mod webhooks;
mod worker;

pub use audit::{AuditConfig, KEEP_EVIDENCE};
pub use auth::{
    AccessRight, AccessRule, AuthConfig, AuthMode, JwtAlgorithm, JwtConfig, JwtKey, OidcConfig, TokenIssueConfig,
    TrustedHeaderConfig, UsersAndGroups,
};
pub use gateway::{CallerLimits, GatewayConfig};
pub use mcp::{McpAddress, McpCommand, McpCredential, McpReach, McpRevision, McpServerConfig};
pub use models::{
    CallIdForm, ChatDialect, CompatibleServer, FormRequest, LlmConfig, ModelPrice, ModelProvider, ModelRateLimit,
    ModelTimeouts, ReasoningReturn, TokenLimitKey, TokenSource, unpriced,
};
pub use nats::{NatsConfig, NatsLogin, NatsSecret, NatsTlsConfig};
pub use operation::{MetricsConfig, NEEDS_TOKEN, OtlpConfig};
pub use outgoing::OutgoingConfig;
pub use programs::{ProgramConfig, ProgramInput, SandboxConfig};
pub use python::{PythonConfig, PythonVariable};
pub use secrets::{
    OAuthConfig, OAuthGrant, OAuthServerConfig, SHORTEST_HIDDEN, SecretConfig, SecretSource, SecretTools,
};
pub use shapes::json_schema;
pub use ui::{PATHS_OF_THE_PAGE, UiConfig, UiLimits};
pub use variables::Environment;
pub use webhooks::{WebhookConfig, WebhookTrigger};
pub use worker::WorkerConfig;

/// `fastagency.yaml`.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file that it was read from.
    pub path: PathBuf,
    /// The project's name.
    pub name: String,
    nats: NatsConfig,
    /// Whether it says anything of a NATS server.
    pub names_nats: bool,
    /// The folder of workflows; in the file it is relative to the file's folder.
    pub workflows: PathBuf,
    /// The models by name.
    pub llms: BTreeMap<Name, LlmConfig>,
    /// The gateway.
    pub gateway: GatewayConfig,
    /// Who may call the gateway.
    pub auth: AuthConfig,
    /// The page.
    pub ui: UiConfig,
    /// The worker.
    pub worker: WorkerConfig,
    /// Where the embedded broker keeps its data (default `data` beside the file).
    pub data_dir: PathBuf,
    /// What the embedded broker's store may hold, in bytes; none: what the disk can spare.
    pub data_max_bytes: Option<u64>,
    /// How long a tier may take to end (default 10 s).
    pub shutdown_grace: Duration,
    /// How long an ended run is kept (default 30 days).
    pub keep_ended: Duration,
    /// What workflows reach outside.
    pub outgoing: OutgoingConfig,
    /// What requests of workflows may hold and nobody else sees, by name.
    pub secrets: BTreeMap<String, SecretConfig>,
    /// The programs that tools may run, by name.
    pub commands: BTreeMap<String, ProgramConfig>,
    /// The functions of the project's own.
    pub python: PythonConfig,
    /// The servers whose tools workflows may call, by name.
    pub mcp: BTreeMap<Name, McpServerConfig>,
    /// Who outside is told that a run waits, or has ended.
    pub webhooks: BTreeMap<Name, WebhookConfig>,
    /// The key that seals passwords in the log; none: they live in memory only.
    pub seal_key: Option<SecretString>,
    /// The keys that sealed before, the newest first: what they sealed is still opened.
    pub previous_seal_keys: Vec<SecretString>,
    /// What proves the logs, and what is not to be seen in them.
    pub audit: AuditConfig,
    /// Where metrics are shown.
    pub metrics: MetricsConfig,
    /// Where traces are sent; none: only where the environment says so.
    pub telemetry: Option<OtlpConfig>,
    /// What an operator should know of what is written: keys that can be guessed, secrets that cannot be hidden, names that nothing has.
    pub warnings: Vec<Problem>,
    /// The programs, folders and files that it names and that are not on this machine.
    pub absent: Vec<Problem>,
    unset: BTreeMap<ConfigSection, Vec<Problem>>,
    /// The files of `${file:…}`.
    files: Vec<PathBuf>,
}

/// A part of the configuration that not every role uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigSection {
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
    from_text(path, &source_of(path)?, path.parent().unwrap_or(Path::new("")), environment)
}

/// A configuration file as far as it can be read, and what is wrong with it.
pub fn look_through(path: &Path, environment: Environment<'_>) -> (Option<Config>, Option<Problems>) {
    match source_of(path) {
        Ok(source) => reading::look_through(path, &source, path.parent().unwrap_or(Path::new("")), environment),
        Err(problems) => (None, Some(problems)),
    }
}

fn source_of(path: &Path) -> Result<String, Problems> {
    let bytes = std::fs::read(path).map_err(|error| {
        let message = match error.kind() {
            std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
            _ => format!("the file cannot be read: {error}"),
        };
        Problem::of_file(path.display().to_string(), message)
            .with_hint("-c names the configuration (default fastagency.yaml)")
    })?;
    Ok(yaml::decoded(path, bytes).map_err(|problem| *problem)?)
}

/// Reads a configuration's text; paths in it are relative to the folder.
pub fn from_text(path: &Path, source: &str, folder: &Path, environment: Environment<'_>) -> Result<Config, Problems> {
    reading::read(path, source, folder, environment)
}

impl Config {
    /// What a project without a `fastagency.yaml` has.
    pub fn default_in(folder: &Path, environment: Environment<'_>) -> Result<Self, Problems> {
        let folder = if folder == Path::new(".") { Path::new("") } else { folder };
        let read =
            reading::read(Path::new("the default configuration"), include_str!("default.yaml"), folder, environment)?;
        Ok(Self { names_nats: false, ..read })
    }

    /// The NATS server; an error if something about it is not set.
    pub fn nats(&self) -> Result<&NatsConfig, Problems> {
        self.usable(ConfigSection::Nats)?;
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
        if let Some(unset) = self.unset.get_mut(&ConfigSection::Nats) {
            unset.retain(|problem| problem.path != "nats.url");
        }
    }

    /// The files that hold secrets, each with what names it. Whether they are used in this process does not matter.
    pub fn secret_files(&self) -> Vec<(&'static str, &Path)> {
        let NatsConfig { nkey_seed_file, credentials_file, tls, cleaner, python, .. } = &self.nats;
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
        let of_secrets = self.secrets.values().filter_map(|secret| match &secret.source {
            SecretSource::File(path) | SecretSource::Certificate { key: path, .. } => Some(path),
            _ => None,
        });
        named
            .chain(seeds.map(|path| ("an nkey_seed_file", path)))
            .chain(credentials.map(|path| ("a credentials_file", path)))
            .chain(tokens.map(|path| ("a token_file", path)))
            .chain(of_secrets.map(|path| ("a file of secrets", path)))
            .chain(self.files.iter().map(|path| ("a file of ${file:…}", path)))
            .map(|(what, path)| (what, path.as_path()))
            .collect()
    }

    /// Says what a section lacks: variables that are not set.
    pub fn usable(&self, section: ConfigSection) -> Result<(), Problems> {
        Problems::refuse(self.unset.get(&section).cloned().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
