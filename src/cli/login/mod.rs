//! `fastagency login` and `fastagency logout`: a person signs in to a server outside, and what came of it is stored sealed, for all workers.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use crate::cli::outcome::{self, CliError};
use crate::cli::{CommonArguments, project};
use crate::clock;
use crate::config::{Config, ConfigSection, OAuthConfig};
use crate::outside::OutsideServices;
use crate::outside::hidden::HiddenTexts;
use crate::outside::oauth::authorization::{AuthorizationAttempt, CallbackError};
use crate::outside::oauth::device::DeviceAuthorization;
use crate::outside::oauth::discovery::AuthorizationServer;
use crate::outside::oauth::requests::{ClientIdentity, OAuthError, OAuthRequester, TokenAnswer};
use crate::outside::secrets::{grant_name, origin};
use crate::protocol::token_entry::{AccessToken, LoginOrigin, TokenEntry};
use crate::tokens::SealedEntries;

mod browser;
mod target;

use browser::CallbackListener;
use target::{LoginServer, LoginTarget};

/// How long a person may take in the browser.
const SIGN_IN_WITHIN: Duration = Duration::from_secs(10 * 60);

/// Where logins are stored.
#[derive(Args)]
struct LoginPlaceArguments {
    /// Use the NATS server of the configuration instead of the data folder (as --nats-url does).
    #[arg(long)]
    nats: bool,
    /// The data folder of the embedded broker.
    #[arg(long, value_name = "DIR", conflicts_with = "nats")]
    data_dir: Option<PathBuf>,
}

/// Sign in to a server outside, for the workers.
#[derive(Args)]
pub(super) struct LoginCommand {
    /// The secret or the MCP server to sign in for.
    #[arg(required_unless_present = "list", conflicts_with = "list")]
    name: Option<String>,
    /// List the logins of the project.
    #[arg(long)]
    list: bool,
    /// Sign in with a code, in the browser of another machine.
    #[arg(long, conflicts_with = "list")]
    device: bool,
    /// Print the address only, and open no browser.
    #[arg(long, conflicts_with_all = ["list", "device"])]
    no_browser: bool,
    #[command(flatten)]
    place: LoginPlaceArguments,
}

/// End a login: at its server, and here.
#[derive(Args)]
pub(super) struct LogoutCommand {
    /// The secret or the MCP server.
    name: String,
    #[command(flatten)]
    place: LoginPlaceArguments,
}

impl LoginPlaceArguments {
    async fn open(&self, config: &Config, common: &CommonArguments) -> Result<SealedEntries, CliError> {
        let stored = project::open_tokens(config, common, self.nats, self.data_dir.as_ref()).await?;
        stored.ok_or_else(|| {
            let words = "there is no `seal_key`: set it in fastagency.yaml, the same for all workers, as a login is stored sealed with it";
            CliError::Usage(words.to_owned())
        })
    }
}

/// A login that is being made.
struct PendingLogin<'a> {
    target: &'a LoginTarget,
    login: LoginServer,
    requester: OAuthRequester<'a>,
}

/// What came of it.
struct FinishedLogin {
    client: ClientIdentity,
    answer: TokenAnswer,
}

impl LoginCommand {
    pub(super) async fn run(self, common: CommonArguments) -> Result<ExitCode, CliError> {
        let config = project::load(&common)?;
        config.usable(ConfigSection::Worker)?;
        let Some(name) = &self.name else {
            let entries = self.place.open(&config, &common).await?;
            return list(&config, &entries).await;
        };
        let target = LoginTarget::find(&config, name)?;
        // First, as nobody signs in for nothing.
        let entries = self.place.open(&config, &common).await?;
        let services = OutsideServices::new(&config);
        let hidden = HiddenTexts::default();
        let requester = OAuthRequester { http: &services.http, hidden: &hidden, name };
        let login = target.server(&config, &services, requester).await?;
        let pending = PendingLogin { target: &target, login, requester };
        let finished = match self.device {
            true => pending.with_device().await?,
            false => pending.with_browser(!self.no_browser).await?,
        };
        let entry = pending.entry(&finished);
        let grant = grant_name(name, &target.config, "", &[]);
        let stored = entries.replace(&grant, &entry).await;
        stored.map_err(|error| CliError::Unreachable(anyhow!("the login could not be stored: {error}")))?;
        println!("Signed in for {name}. The login is stored sealed in {}.", entries.place());
        if entry.refresh.is_none() {
            let until = entry.access.values().find_map(|token| token.renew_at);
            let until = until.map_or_else(|| "its server ends it".to_owned(), |at| at.to_string());
            println!(
                "The server gave nothing to renew it with, so it lasts until {until}. Many servers give a refresh token for the scope offline_access."
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl LogoutCommand {
    pub(super) async fn run(self, common: CommonArguments) -> Result<ExitCode, CliError> {
        let config = project::load(&common)?;
        config.usable(ConfigSection::Worker)?;
        let entries = self.place.open(&config, &common).await?;
        let (stored, _) = entries.all().await.map_err(unreadable)?;
        let own: Vec<_> =
            stored.into_iter().filter(|(_, entry)| entry.name == self.name && entry.has_tokens()).collect();
        if own.is_empty() && remove_sealed(&config, &entries, &self.name).await? {
            println!("Removed the tokens of {}, which were sealed with another seal_key.", self.name);
            eprintln!("The server was not asked to end the login, because it could not be opened. End it there.");
            return Ok(ExitCode::FAILURE);
        }
        if own.is_empty() {
            let words =
                format!("nobody has signed in for {:?} (`fastagency login --list` shows the logins)", self.name);
            return Err(CliError::Usage(words));
        }
        let services = OutsideServices::new(&config);
        let mut is_revoked = true;
        let is_login = own.iter().any(|(_, entry)| entry.login.is_some());
        for (grant, entry) in own {
            let revoked = revoke(&config, &services, &entry).await;
            // Here it ends whatever the server says.
            entries.remove(&grant).await.map_err(unreadable)?;
            if let Err(why) = revoked {
                is_revoked = false;
                eprintln!("{}", outcome::shown(&format!("The server did not end the login: {why}. End it there.")));
            }
        }
        match is_login {
            true => println!("Signed out of {}. No worker uses the login any more.", self.name),
            false => println!("Removed the stored tokens of {}. A worker that needs one gets a new one.", self.name),
        }
        Ok(if is_revoked { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Removes what is stored for a secret or an MCP server and was sealed with another key; `false`: there is nothing.
async fn remove_sealed(config: &Config, entries: &SealedEntries, name: &str) -> Result<bool, CliError> {
    let Some(oauth) = target::configured(config, name) else { return Ok(false) };
    let mut scopes = oauth.scopes.clone();
    scopes.sort();
    scopes.dedup();
    let grant = grant_name(name, oauth, "", &scopes);
    let is_there = entries.is_sealed(&grant).await.map_err(unreadable)?;
    if is_there {
        entries.remove(&grant).await.map_err(unreadable)?;
    }
    Ok(is_there)
}

/// A time in words.
fn in_words(time: Duration) -> String {
    let (number, noun) = match time.as_secs() {
        seconds @ ..120 => (seconds, "second"),
        seconds => (seconds / 60, "minute"),
    };
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Asks the server to take its tokens back.
async fn revoke(config: &Config, services: &OutsideServices, entry: &TokenEntry) -> Result<(), String> {
    let Some(login) = &entry.login else { return Ok(()) };
    let configured = LoginTarget::find(config, &entry.name).map(|target| target.config).unwrap_or_default();
    let (server, client) = origin(login, &configured)?;
    let Some(url) = &server.revocation_url else {
        return Err("it has no place where a login is ended (revocation_endpoint)".to_owned());
    };
    let hidden = HiddenTexts::default();
    let requester = OAuthRequester { http: &services.http, hidden: &hidden, name: &entry.name };
    // A server that takes a refresh token back takes its access tokens back, too (RFC 7009, 2.1).
    let refresh = entry.refresh.iter().map(|token| (token, "refresh_token"));
    let access = entry.access.values().map(|access| (&access.token, "access_token"));
    for (token, kind) in refresh.chain(access) {
        let token = SecretString::from(token.as_str());
        hidden.learn(&entry.name, token.expose_secret());
        requester.revoke(url, &client, &token, kind).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

async fn list(config: &Config, entries: &SealedEntries) -> Result<ExitCode, CliError> {
    let (stored, others) = entries.all().await.map_err(unreadable)?;
    let now = clock::system().now();
    let mut names = LoginTarget::names(config);
    for (_, TokenEntry { name, login, access, refresh, failure, .. }) in &stored {
        let Some(login) = login else { continue };
        names.retain(|known| known != name);
        let server = login.issuer.as_ref().unwrap_or(&login.token_url);
        let until = access.values().find_map(|token| token.renew_at);
        let by_itself = match (refresh, until) {
            (Some(_), _) => "is renewed by itself".to_owned(),
            (None, Some(until)) if until <= now => format!("has ended: fastagency login {name}"),
            (None, Some(until)) => format!("until {until}"),
            (None, None) => "until the server ends it".to_owned(),
        };
        let of_workers = failure.as_ref().map(|failure| format!("could not be renewed: {}", failure.words));
        let state = of_workers.unwrap_or(by_itself);
        println!("{}", outcome::shown(&format!("{name}  {server}  since {}  {state}", login.at)));
    }
    for name in names {
        println!("{name}  nobody has signed in: fastagency login {name}");
    }
    if others > 0 {
        eprintln!("{others} entries were sealed with another seal_key and cannot be read.");
    }
    Ok(ExitCode::SUCCESS)
}

fn unreadable(error: crate::broker::Error) -> CliError {
    CliError::Unreachable(anyhow::Error::from(error).context("the logins cannot be read"))
}

impl PendingLogin<'_> {
    fn server(&self) -> &AuthorizationServer {
        &self.login.server
    }

    fn failed(&self, why: &str) -> CliError {
        let hidden = self.requester.hidden.hidden(why);
        CliError::Failed(anyhow!("cannot sign in for {}: {hidden}", self.target.name))
    }

    fn config(&self) -> &OAuthConfig {
        &self.target.config
    }

    /// The client that the configuration names, or one that the server registers now.
    async fn client(&self, redirect_url: Option<&str>) -> Result<ClientIdentity, CliError> {
        let config = self.config();
        if config.client_id.is_some() {
            return Ok(ClientIdentity {
                id: config.client_id.clone(),
                secret: config.client_secret.clone(),
                in_body: config.client_in_body || self.server().takes_only_body,
            });
        }
        let scopes = &self.login.access.scopes;
        let registered = self.server().register(self.requester, redirect_url, scopes).await;
        registered.map_err(|error| self.failed(&format!("there is no `client_id`, and {error}")))
    }

    async fn with_device(&self) -> Result<FinishedLogin, CliError> {
        let failed = |error: OAuthError| self.failed(&error.to_string());
        let client = self.client(None).await?;
        let access = &self.login.access;
        let begun = DeviceAuthorization::begin(self.requester, self.server(), &client, access).await.map_err(failed)?;
        let place = begun.complete_url.as_ref().unwrap_or(&begun.url);
        let words = format!(
            "Open this address on any machine, and enter the code {} (good for {}):\n  {place}",
            begun.user_code,
            in_words(begun.expires_in)
        );
        eprintln!("{}", outcome::shown(&words));
        let answer = begun.tokens(self.requester, self.server(), &client).await.map_err(failed)?;
        Ok(FinishedLogin { client, answer })
    }

    async fn with_browser(&self, opens_browser: bool) -> Result<FinishedLogin, CliError> {
        let listener = CallbackListener::open(self.config().redirect_url.as_ref()).await;
        let mut listener = listener.map_err(|why| self.failed(&why))?;
        let redirect_url = listener.url().to_owned();
        let client = self.client(Some(&redirect_url)).await?;
        let attempt = AuthorizationAttempt::new(self.server(), &client, &self.login.access, redirect_url)
            .map_err(|why| self.failed(&why))?;
        let url = attempt.url().map_err(|why| self.failed(&why))?;
        if !(opens_browser && browser::open(&url)) {
            let hint = "On a machine without a browser, use --device.";
            eprintln!("Open this address in a browser on this machine. {hint}");
        } else {
            eprintln!("A browser opens. If it does not, open this address in one on this machine:");
        }
        eprintln!("  {url}");
        let end = tokio::time::Instant::now() + SIGN_IN_WITHIN;
        loop {
            let Ok(called) = tokio::time::timeout_at(end, listener.next()).await else {
                let minutes = SIGN_IN_WITHIN.as_secs() / 60;
                return Err(self.failed(&format!("nobody came back from the browser within {minutes} minutes")));
            };
            let callback = called.context("the listener for the browser has ended")?;
            let code = match attempt.code(&callback.query) {
                Ok(code) => code,
                Err(CallbackError::OtherState) => {
                    let words = CallbackError::OtherState.to_string();
                    eprintln!("A browser came back that is not taken: {words}.");
                    callback.refuse(&format!("Not signed in: {words}."));
                    continue;
                }
                Err(error) => {
                    callback.refuse(&format!("Not signed in: {error}."));
                    listener.close().await;
                    return Err(self.failed(&error.to_string()));
                }
            };
            let answer = attempt.tokens(self.requester, &code).await;
            match &answer {
                Ok(_) => callback.welcome(&format!("Signed in for {}. You can close this page.", self.target.name)),
                Err(_) => callback.refuse("Not signed in: the program in the terminal says why."),
            }
            listener.close().await;
            let answer = answer.map_err(|error| self.failed(&error.to_string()))?;
            return Ok(FinishedLogin { client, answer });
        }
    }

    fn entry(&self, finished: &FinishedLogin) -> TokenEntry {
        let FinishedLogin { client, answer } = finished;
        let text = |secret: &SecretString| secret.expose_secret().to_owned();
        let is_registered = self.config().client_id.is_none();
        let server = self.server();
        let login = LoginOrigin {
            issuer: server.issuer.clone(),
            token_url: server.token_url.to_string(),
            revocation_url: server.revocation_url.as_ref().map(ToString::to_string),
            client_id: client.id.clone().unwrap_or_default(),
            client_secret: client.secret.as_ref().filter(|_| is_registered).map(text),
            client_in_body: client.in_body,
            resource: self.login.resource.clone(),
            scopes: answer.scopes.clone().unwrap_or_default(),
            at: clock::system().now(),
        };
        let access = AccessToken { token: text(&answer.access), renew_at: answer.renew_at };
        TokenEntry {
            name: self.target.name.clone(),
            access: [(String::new(), access)].into(),
            refresh: answer.refresh.as_ref().map(text),
            login: Some(login),
            ..TokenEntry::default()
        }
    }
}
