//! The secrets of `secrets:`: requests may hold them, and nothing else does. A server that sends one back has it taken out of its answer.

mod oauth;
mod sources;
mod token_store;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use super::addresses::AddressRules;
use super::hidden::{HiddenTexts, basic_login};
use super::http::{ClientCertificate, HttpSender};
use crate::config::{OAuthConfig, OAuthGrant, SecretConfig, SecretSource};
use crate::workflow::{SecretReceiver, Workflow, called};

use oauth::{OAuthFetch, SpecifiedServer};
pub use oauth::{grant_name, origin};
use sources::SecretCommand;
pub use token_store::{
    FetchedToken, KnownGrant, LocalTokenStore, MOST_SETS_OF_SCOPES, StoredToken, TokenFetch, TokenFlights, TokenStore,
    WantedToken,
};

/// What to do about a secret whose variable is not set.
pub const HOW_TO_SET: &str = "set the variable in the environment of `fastagency`, which reads no .env file by itself";

/// Secrets by name.
#[derive(Debug)]
pub struct Secrets {
    secrets: BTreeMap<String, SecretConfig>,
    hidden: Arc<HiddenTexts>,
    /// What asks for tokens; none: nothing does.
    http: Option<Arc<HttpSender>>,
    /// Tokens that servers give.
    tokens: Arc<dyn TokenStore>,
    /// What the commands of this machine print.
    printed: LocalTokenStore,
}

/// What a secret is wanted for.
#[derive(Debug, Default, Clone, Copy)]
pub struct CredentialRequest<'a> {
    /// What a token is to allow, where the configuration does not say it.
    pub scopes: &'a [String],
    /// Where a token is given, where the configuration does not say it.
    pub token_url: Option<&'a Url>,
    /// Where the document about the server that gives it is (OpenID Connect Discovery), where nothing else says it.
    pub discovery_url: Option<&'a Url>,
    /// The value that a server has refused.
    pub refused: Option<&'a SecretString>,
    /// Whose run it is wanted for; none: there is no run.
    pub caller: Option<&'a dyn CallerTokenSource>,
}

/// What knows the access token of the person whose run it is.
#[async_trait]
pub trait CallerTokenSource: Send + Sync + fmt::Debug {
    /// The token as it is now; the error is a sentence that says why there is none, and what to do.
    async fn caller_token(&self) -> Result<SecretString, String>;
}

impl Default for Secrets {
    fn default() -> Self {
        Self::new(BTreeMap::new())
    }
}

impl Secrets {
    /// Those with these names. They ask no server for a token yet: [`Self::with_http`].
    pub fn new(secrets: BTreeMap<String, SecretConfig>) -> Self {
        let hidden = HiddenTexts::default();
        for (name, secret) in &secrets {
            for text in configured_texts(&secret.source) {
                hidden.add(name, &text);
            }
        }
        let (tokens, printed) = (Arc::new(LocalTokenStore::default()), LocalTokenStore::default());
        Self { secrets, hidden: Arc::new(hidden), http: None, tokens, printed }
    }

    /// The same, with what asks for tokens.
    pub fn with_http(self, http: Arc<HttpSender>) -> Self {
        Self { http: Some(http), ..self }
    }

    /// The same, with another place where tokens are kept, such as one that several workers share.
    pub fn with_tokens(self, tokens: Arc<dyn TokenStore>) -> Self {
        Self { tokens, ..self }
    }

    /// The same, where these texts are hidden, too.
    pub fn beside(mut self, others: &Arc<HiddenTexts>) -> Self {
        let hidden = Arc::get_mut(&mut self.hidden).expect("nobody else has it before the secrets are there");
        hidden.put_beside(others.clone());
        self
    }

    /// What is hidden, for others to hide it, too.
    pub fn shared_hidden_texts(&self) -> Arc<HiddenTexts> {
        self.hidden.clone()
    }

    /// What is hidden, which grows when tokens are fetched.
    pub fn hidden_texts(&self) -> &HiddenTexts {
        &self.hidden
    }

    /// Where a secret comes from.
    pub fn source(&self, name: &str) -> Option<&SecretSource> {
        self.secrets.get(name).map(|secret| &secret.source)
    }

    /// Whether a workflow, or one that it calls, may make calls with the access token of the person whose run it is. Which secrets
    /// the operations of a specification ask for is not known before it is read.
    pub fn has_caller_token(&self, workflow: &Workflow) -> bool {
        let is_of_caller = |name: &str| self.secrets.get(name).is_some_and(SecretConfig::is_of_caller);
        if !self.secrets.values().any(SecretConfig::is_of_caller) {
            return false;
        }
        let uses = |one: &Workflow| one.has_specification() || one.named_secrets().any(is_of_caller);
        let others = workflow.definition.sources.keys().filter(|name| **name != workflow.name);
        uses(workflow) || others.filter_map(|name| called(workflow, name).ok()).any(|other| uses(&other))
    }

    /// What the templates of a request to this host, which is sent now, may hold; `refused`: what the server has refused. Kept nowhere.
    pub async fn for_request(
        &self,
        host: &str,
        names: &BTreeSet<&str>,
        caller: Option<&dyn CallerTokenSource>,
        refused: Option<&Value>,
    ) -> Result<Value, String> {
        let mut values = Map::new();
        for name in names {
            if let Some(why) = self.refuses(name, host) {
                return Err(why);
            }
            let refused = refused.and_then(|values| values[*name].as_str()).map(SecretString::from);
            let wanted = CredentialRequest { caller, refused: refused.as_ref(), ..CredentialRequest::default() };
            let value = self.value(name, wanted).await?;
            values.insert((*name).to_owned(), value.expose_secret().into());
        }
        Ok(Value::Object(values))
    }

    /// Why a request to this host may not hold this secret; none: it may.
    pub fn refuses(&self, name: &str, host: &str) -> Option<String> {
        self.refuses_host(name, host).or_else(|| self.refuses_text(name))
    }

    /// Why a tool may not be given this secret as an argument; none: it may.
    pub fn refuses_receiver(&self, name: &str, receiver: &SecretReceiver) -> Option<String> {
        if let SecretReceiver::Host(host) = receiver {
            return self.refuses(name, host);
        }
        if let Some(why) = self.refuses_any(name).or_else(|| self.refuses_text(name)) {
            return Some(why);
        }
        let tools = &self.secrets.get(name)?.tools;
        let names = |listed: &[String], wanted: &str| listed.iter().any(|one| one == wanted);
        let is_for = match receiver {
            // Where it goes is known when it is called, and looked at then.
            SecretReceiver::Host(_) | SecretReceiver::Api => !self.secrets.get(name)?.hosts.is_empty(),
            SecretReceiver::Command(command) => names(&tools.commands, command),
            SecretReceiver::Python(file) => names(&tools.python, file),
            SecretReceiver::Mcp(server) => names(&tools.mcp, server),
            SecretReceiver::Nats(subject) => tools.nats.iter().any(|pattern| covers(pattern, subject)),
        };
        (!is_for).then(|| format!("the secret {name:?} is not for {receiver} (fastagency.yaml: secrets.{name}.tools)"))
    }

    /// What to write in `fastagency.yaml` so that a tool may be given this secret; none: what is written for a text.
    pub fn repair(&self, name: &str, receiver: &SecretReceiver) -> Option<String> {
        let secret = self.secrets.get(name)?;
        if let (true, Some(_)) = (is_unset(&secret.source), &secret.missing) {
            return Some(HOW_TO_SET.to_owned());
        }
        let SecretSource::OAuth(_) = &secret.source else { return None };
        Some(match (is_unset(self.source(name)?), self.refuses_text(name)) {
            (true, _) => format!("set the variable that secrets.{name}.oauth names"),
            (false, Some(_)) => {
                format!(
                    "in fastagency.yaml: secrets.{name}.oauth: {{ token_url: \"https://id.example.com/oauth/token\" }}"
                )
            }
            (false, None) => format!("in fastagency.yaml: secrets.{name}: {{ {} }}", receiver.permission()),
        })
    }

    /// Why no text stands for a secret.
    fn refuses_text(&self, name: &str) -> Option<String> {
        match self.source(name)? {
            SecretSource::Certificate { .. } => {
                Some(format!("the secret {name:?} is a certificate, which no text can stand for"))
            }
            SecretSource::OAuth(config)
                if config.token_url.is_none() && config.server.issuer.is_none() && !config.is_login() =>
            {
                Some(format!(
                    "the secret {name:?} needs a token_url or an issuer, as no specification of an API says it here"
                ))
            }
            _ => None,
        }
    }

    /// The same, whatever kind of secret it is.
    pub fn refuses_host(&self, name: &str, host: &str) -> Option<String> {
        if let Some(why) = self.refuses_any(name) {
            return Some(why);
        }
        let secret = self.secrets.get(name)?;
        if is_for(secret, host) {
            return None;
        }
        let hosts =
            if secret.hosts.is_empty() { "no host".to_owned() } else { format!("{} alone", secret.hosts.join(", ")) };
        Some(format!("the secret {name:?} is for {hosts}, and would go to {host}"))
    }

    /// Why nobody gets a secret.
    fn refuses_any(&self, name: &str) -> Option<String> {
        let Some(secret) = self.secrets.get(name) else {
            return Some(format!("there is no secret {name:?} (fastagency.yaml: secrets)"));
        };
        is_unset(&secret.source).then(|| without_value(name, secret))
    }

    /// The grant that a login for this secret belongs to.
    pub fn login_grant(&self, name: &str) -> Option<String> {
        match self.source(name)? {
            SecretSource::OAuth(config) if config.is_login() => Some(grant_name(name, config, "", &[])),
            _ => None,
        }
    }

    /// The text of a secret as it is now; the error is a sentence without secrets. Who asks has made sure that it is for the host.
    pub async fn value(&self, name: &str, wanted: CredentialRequest<'_>) -> Result<SecretString, String> {
        let secret = self.secrets.get(name).ok_or_else(|| format!("there is no secret {name:?}"))?;
        let unset = || without_value(name, secret);
        match &secret.source {
            SecretSource::Value(value) => value.clone().ok_or_else(unset),
            SecretSource::Login { username, password } => {
                let password = password.as_ref().ok_or_else(unset)?;
                Ok(basic_login(username, password.expose_secret()).into())
            }
            SecretSource::File(path) => {
                let text = sources::read(name, path).await?;
                self.hidden.learn(name, &text);
                Ok(text.into())
            }
            SecretSource::Command { command, refresh } => {
                let fetch = SecretCommand { name: name.to_owned(), command: command.clone(), refresh: *refresh };
                let asked = WantedToken { name, grant: name, scopes: "", refused: wanted.refused };
                let printed = self.printed.token(asked, Arc::new(fetch)).await?;
                self.hidden.learn(name, printed.access.expose_secret());
                Ok(printed.access)
            }
            SecretSource::OAuth(config) => self.token(name, secret, config, wanted).await,
            SecretSource::Caller(_) => {
                let caller = wanted.caller.ok_or_else(|| {
                    format!("the secret {name:?} is the access token of the person whose run it is, and there is no run here")
                })?;
                let token =
                    caller.caller_token().await.map_err(|why| format!("no token for the secret {name:?}: {why}"))?;
                self.hidden.learn_of_many(name, token.expose_secret());
                Ok(token)
            }
            SecretSource::Certificate { .. } => Err(format!("the secret {name:?} is a certificate, and no text")),
        }
    }

    async fn token(
        &self,
        name: &str,
        secret: &SecretConfig,
        config: &OAuthConfig,
        wanted: CredentialRequest<'_>,
    ) -> Result<SecretString, String> {
        let http = self.http.clone().ok_or_else(|| format!("nothing asks for tokens of the secret {name:?} here"))?;
        let is_known = config.token_url.is_some()
            || config.server.issuer.is_some()
            || config.resource.is_some()
            || config.is_login();
        let specified = match is_known {
            true => None,
            false => Some(specified(name, secret, &wanted)?),
        };
        let mut scopes = if config.scopes.is_empty() { wanted.scopes } else { &config.scopes }.to_vec();
        scopes.sort();
        scopes.dedup();
        let (name, config, hidden) = (name.to_owned(), config.clone(), self.hidden.clone());
        let fetch = Arc::new(OAuthFetch { name, config, specified, scopes, http, hidden });
        let (grant, scopes) = (fetch.grant(), fetch.allows());
        let asked = WantedToken { name: &fetch.name, grant: &grant, scopes: &scopes, refused: wanted.refused };
        let token = self.tokens.token(asked, fetch.clone()).await?;
        // In use again: of all that were learned it is not the one to be forgotten.
        self.hidden.learn(&fetch.name, token.access.expose_secret());
        Ok(token.access)
    }

    /// The certificate of a secret that is one.
    pub async fn certificate(&self, name: &str) -> Result<ClientCertificate, String> {
        let Some(SecretSource::Certificate { certificate, key }) = self.source(name) else {
            return Err(format!("the secret {name:?} is no certificate"));
        };
        Ok(ClientCertificate::new(&sources::read(name, certificate).await?, &sources::read(name, key).await?))
    }

    /// A text in which each secret is replaced by its name.
    pub fn hidden(&self, text: &str) -> String {
        self.hidden.hidden(text)
    }

    /// The same in every text of a value, names of fields included.
    pub fn hidden_in(&self, value: Value) -> Value {
        self.hidden.hidden_in(value)
    }
}

/// The texts of a secret that stand in the configuration.
fn configured_texts(source: &SecretSource) -> Vec<String> {
    let plain = |text: &Option<SecretString>| text.iter().map(|text| text.expose_secret().to_owned()).collect();
    match source {
        SecretSource::Value(value) => plain(value),
        SecretSource::Login { username, password } => {
            let mut texts: Vec<String> = plain(password);
            texts.extend(password.iter().map(|password| basic_login(username, password.expose_secret())));
            texts
        }
        SecretSource::OAuth(oauth) => {
            let mut texts: Vec<String> = plain(&oauth.client_secret);
            match &oauth.grant {
                OAuthGrant::ClientCredentials | OAuthGrant::AuthorizationCode => {}
                OAuthGrant::Password { password: text, .. } | OAuthGrant::RefreshToken(text) => {
                    texts.extend::<Vec<String>>(plain(text));
                }
            }
            texts
        }
        SecretSource::File(_)
        | SecretSource::Command { .. }
        | SecretSource::Caller(_)
        | SecretSource::Certificate { .. } => Vec::new(),
    }
}

fn without_value(name: &str, secret: &SecretConfig) -> String {
    let why = secret.missing.as_deref().unwrap_or("the variable that it comes from is not set");
    format!("the secret {name:?} has no value: {why}")
}

fn is_unset(source: &SecretSource) -> bool {
    match source {
        SecretSource::Value(text) | SecretSource::Login { password: text, .. } => text.is_none(),
        SecretSource::OAuth(oauth) => match &oauth.grant {
            OAuthGrant::ClientCredentials => oauth.client_secret.is_none(),
            OAuthGrant::AuthorizationCode => false,
            OAuthGrant::Password { password: text, .. } | OAuthGrant::RefreshToken(text) => text.is_none(),
        },
        _ => false,
    }
}

/// Where the specification of an API says that a token is given. What somebody else's document says is believed only of hosts that
/// the secret is for.
fn specified(name: &str, secret: &SecretConfig, wanted: &CredentialRequest<'_>) -> Result<SpecifiedServer, String> {
    let own = |url: &&Url| is_for(secret, url.host_str().unwrap_or_default());
    let token = wanted.token_url.filter(own).map(|url| SpecifiedServer::Token(url.clone()));
    let document = || wanted.discovery_url.filter(own).map(|url| SpecifiedServer::Document(url.clone()));
    if let Some(found) = token.or_else(document) {
        return Ok(found);
    }
    let elsewhere = wanted.token_url.or(wanted.discovery_url).and_then(|url| url.host_str());
    Err(match elsewhere {
        Some(host) => format!(
            "no token for the secret {name:?}: the specification says that {host} gives it, which is none of its hosts; write `token_url` or `issuer`, or add the host"
        ),
        None => format!("no token for the secret {name:?}: it needs a `token_url` or an `issuer`"),
    })
}

/// Whether a secret may be sent to a host. A workflow is written by others than who keeps the secret, and a worker executes workflows
/// that other workers have announced.
fn is_for(secret: &SecretConfig, host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    let rules = AddressRules::new(&secret.hosts);
    rules.allows_name(host) || host.parse().is_ok_and(|address| rules.names(address))
}

/// Whether a subject, in which `*` stands for a value, is one of those of a pattern.
fn covers(pattern: &str, subject: &str) -> bool {
    let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
    loop {
        match (pattern.next(), subject.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(wanted), Some(word)) if wanted == word => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug)]
    struct Ada;

    #[async_trait]
    impl CallerTokenSource for Ada {
        async fn caller_token(&self) -> Result<SecretString, String> {
            Ok("access-of-ada".into())
        }
    }

    #[tokio::test]
    async fn the_callers_token_is_of_a_run_and_for_hosts_alone() {
        let place = Box::new(crate::problem::Problem::of_file("fastagency.yaml", ""));
        let secret =
            SecretConfig { source: SecretSource::Caller(place), ..SecretConfig::value("", &["crm.example.com"]) };
        let secrets = Secrets::new(BTreeMap::from([("crm".to_owned(), secret)]));
        let names = BTreeSet::from(["crm"]);
        let values = secrets.for_request("crm.example.com", &names, Some(&Ada), None).await.unwrap();
        assert_eq!(values["crm"], "access-of-ada");
        assert_eq!(secrets.hidden("it is access-of-ada"), "it is [secret crm]");
        let why = secrets.for_request("crm.example.com", &names, None, None).await.unwrap_err();
        assert!(why.ends_with("there is no run here"), "{why}");
        assert!(secrets.for_request("other.example.com", &names, Some(&Ada), None).await.is_err());
        assert!(secrets.refuses_receiver("crm", &SecretReceiver::Command("report".to_owned())).is_some());
        assert_eq!(secrets.refuses_receiver("crm", &SecretReceiver::Api), None);
    }
    use crate::config::SecretTools;

    #[tokio::test]
    async fn a_secret_is_for_its_hosts_and_what_a_server_sends_back_holds_none() {
        let secret = SecretConfig::value;
        let secrets = Secrets::new(BTreeMap::from([
            ("billing".to_owned(), secret("k-12345678", &["billing.example.com", "10.0.0.1"])),
            ("short".to_owned(), secret("ab", &["*.example.com"])),
            (
                "unset".to_owned(),
                SecretConfig { source: SecretSource::Value(None), ..SecretConfig::value("", &["odd.example"]) },
            ),
        ]));
        assert!(secrets.refuses("unset", "odd.example").is_some_and(|why| why.contains("is not set")));
        let echoed = json!({"headers": {"k-12345678": "Bearer k-12345678"}, "list": ["about", 7, null]});
        let hidden = json!({"headers": {"[secret billing]": "Bearer [secret billing]"}, "list": ["about", 7, null]});
        assert_eq!(secrets.hidden_in(echoed), hidden);
        assert!(!format!("{secrets:?}").contains("k-1234"));
        let both = BTreeSet::from(["billing", "short"]);
        let values = secrets.for_request("billing.example.com", &both, None, None).await.unwrap();
        assert_eq!(values, json!({"billing": "k-12345678", "short": "ab"}));
        assert!(secrets.for_request("other.example.com", &both, None, None).await.is_err());
        for host in ["billing.example.com.evil.example", "evil.example", "93.184.215.14", "[::1]", "10.0.0.2"] {
            assert!(secrets.refuses("billing", host).is_some(), "{host}");
        }
        let why = secrets.refuses("billing", "evil.example").unwrap();
        assert_eq!(
            why,
            "the secret \"billing\" is for billing.example.com, 10.0.0.1 alone, and would go to evil.example"
        );
        assert!(secrets.refuses("biling", "billing.example.com").is_some_and(|why| why.contains("there is no secret")));
        assert_eq!(secrets.refuses("billing", "billing.example.com"), None);
        assert_eq!(secrets.refuses("billing", "10.0.0.1"), None);
    }

    #[test]
    fn a_secret_is_for_the_tools_that_are_named() {
        let tools = SecretTools {
            commands: vec!["report".to_owned()],
            python: vec!["tools.py".to_owned()],
            mcp: vec!["docs".to_owned()],
            nats: vec!["orders.lookup".to_owned(), "stock.*.count".to_owned(), "bills.>".to_owned()],
        };
        let secrets = Secrets::new(BTreeMap::from([
            ("key".to_owned(), SecretConfig { tools, ..SecretConfig::value("k-12345678", &["a.example"]) }),
            ("other".to_owned(), SecretConfig::value("k-87654321", &["a.example"])),
        ]));
        let own = |name: &str| name.to_owned();
        let (command, python) = (SecretReceiver::Command(own("report")), SecretReceiver::Python(own("tools.py")));
        let nats = |subject: &str| SecretReceiver::Nats(own(subject));
        let may = [command, python, SecretReceiver::Mcp(own("docs")), SecretReceiver::Api];
        let subjects = ["orders.lookup", "stock.eu.count", "stock.*.count", "bills.a", "bills.a.b"].map(nats);
        for receiver in may.iter().chain(&subjects) {
            assert_eq!(secrets.refuses_receiver("key", receiver), None, "{receiver}");
            let is_api = *receiver == SecretReceiver::Api;
            assert_eq!(secrets.refuses_receiver("other", receiver).is_none(), is_api, "{receiver}");
        }
        for subject in ["orders", "orders.*", "orders.lookup.x", "stock.count", "bills", "lookup"] {
            assert!(secrets.refuses_receiver("key", &nats(subject)).is_some(), "{subject}");
        }
        let why = secrets.refuses_receiver("key", &SecretReceiver::Command(own("shout"))).unwrap();
        assert_eq!(why, "the secret \"key\" is not for the command \"shout\" (fastagency.yaml: secrets.key.tools)");
    }

    #[tokio::test]
    async fn each_kind_of_secret_has_a_text_or_says_why_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "file-one\n").unwrap();
        let count = folder.path().join("count");
        let script = format!("echo x >> '{0}'; printf 'printed-%s\\n' $(wc -l < '{0}')", count.display());
        let source = |source| SecretConfig { source, ..SecretConfig::value("", &["a.example"]) };
        let (certificate, key) = ("cert.pem".into(), "key.pem".into());
        let secrets = Secrets::new(BTreeMap::from([
            ("file".to_owned(), source(SecretSource::File(file.clone()))),
            (
                "command".to_owned(),
                source(SecretSource::Command {
                    command: ["sh".to_owned(), "-c".to_owned(), script].into(),
                    refresh: std::time::Duration::from_secs(60),
                }),
            ),
            (
                "login".to_owned(),
                source(SecretSource::Login { username: "me".to_owned(), password: Some("sesame-1".into()) }),
            ),
            ("certificate".to_owned(), source(SecretSource::Certificate { certificate, key })),
        ]));
        let value = async |name: &str, refused: Option<&SecretString>| {
            let wanted = CredentialRequest { refused, ..CredentialRequest::default() };
            secrets.value(name, wanted).await.map(|text| text.expose_secret().to_owned())
        };
        assert_eq!(value("file", None).await.unwrap(), "file-one");
        std::fs::write(&file, "file-two").unwrap();
        assert_eq!(value("file", None).await.unwrap(), "file-two");
        assert_eq!(value("command", None).await.unwrap(), "printed-1");
        assert_eq!(value("command", None).await.unwrap(), "printed-1");
        assert_eq!(value("command", Some(&"printed-1".into())).await.unwrap(), "printed-2");
        assert_eq!(value("login", None).await.unwrap(), "bWU6c2VzYW1lLTE=");
        assert!(value("certificate", None).await.is_err());
        assert!(secrets.refuses("certificate", "a.example").is_some());
        let echoed = "file-one file-two printed-1 bWU6c2VzYW1lLTE= sesame-1";
        let hidden = "[secret file] [secret file] [secret command] [secret login] [secret login]";
        assert_eq!(secrets.hidden(echoed), hidden);
    }
}
