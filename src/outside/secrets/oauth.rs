//! Tokens of OAuth 2.0 (RFC 6749), asked for with the secrets of `secrets:`, or with what a person has allowed.

use std::sync::Arc;

use async_trait::async_trait;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::token_store::{FetchedToken, KnownGrant, StoredToken, TokenFetch};
use crate::config::{OAuthConfig, OAuthGrant};
use crate::ids::hex;
use crate::outside::hidden::HiddenTexts;
use crate::outside::http::HttpSender;
use crate::outside::oauth::discovery::{AuthorizationServer, ResourceAuthority};
use crate::outside::oauth::requests::{ClientIdentity, OAuthError, OAuthRequester};
use crate::protocol::token_entry::LoginOrigin;

/// The bytes of a grant's name.
const NAME_BYTES: usize = 16;

/// Asks for a token.
pub(super) struct OAuthFetch {
    /// The secret's name.
    pub(super) name: String,
    pub(super) config: OAuthConfig,
    /// Where the specification of the API says that tokens are given, if the configuration does not say it.
    pub(super) specified: Option<SpecifiedServer>,
    pub(super) scopes: Vec<String>,
    pub(super) http: Arc<HttpSender>,
    pub(super) hidden: Arc<HiddenTexts>,
}

/// What the specification of an API says of the server that gives tokens.
#[derive(Debug, Clone)]
pub(super) enum SpecifiedServer {
    /// Where tokens are given.
    Token(Url),
    /// Where the document about the server is.
    Document(Url),
}

/// The name of the grant that a secret stands for: the same for the same server, client and person. All scopes of one refresh token
/// are one grant.
pub fn grant_name(name: &str, config: &OAuthConfig, specified: &str, scopes: &[String]) -> String {
    let mut hash = Sha256::new();
    let mut add = |part: &str| {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    };
    add(name);
    let configured = [config.token_url.as_ref(), config.resource.as_ref()].map(|url| url.map_or("", Url::as_str));
    configured.into_iter().for_each(&mut add);
    add(config.server.issuer.as_deref().unwrap_or_default());
    add(config.client_id.as_deref().unwrap_or_default());
    let is_login = matches!(config.grant, OAuthGrant::AuthorizationCode);
    // What a specification says may change; the login knows where it was made.
    add(if is_login { "" } else { specified });
    match &config.grant {
        OAuthGrant::ClientCredentials => add("client_credentials"),
        OAuthGrant::Password { username, .. } => ["password", username.as_str()].into_iter().for_each(&mut add),
        OAuthGrant::AuthorizationCode => add("authorization_code"),
        // Another refresh token is another grant: the one before it, and what came of it, are of no use any more.
        OAuthGrant::RefreshToken(token) => {
            add("refresh_token");
            add(&hex(&Sha256::digest(token.as_ref().map_or("", |token| token.expose_secret()))));
        }
    }
    if !config.grant.has_refresh_token() {
        scopes.iter().for_each(|scope| add(scope));
    }
    for (name, value) in &config.parameters {
        add(name);
        add(value);
    }
    hex(&hash.finalize()[..NAME_BYTES])
}

impl OAuthFetch {
    /// The grant that its token is of.
    pub(super) fn grant(&self) -> String {
        let specified = match &self.specified {
            Some(SpecifiedServer::Token(url) | SpecifiedServer::Document(url)) => url.as_str(),
            None => "",
        };
        grant_name(&self.name, &self.config, specified, &self.scopes)
    }

    /// What its token allows: a login is used for all that was allowed.
    pub(super) fn allows(&self) -> String {
        match self.config.grant {
            OAuthGrant::AuthorizationCode => String::new(),
            _ => self.scopes.join(" "),
        }
    }

    fn failed(&self, why: &str) -> String {
        format!("no token for {}: {}", self.whose(), self.hidden.hidden(why))
    }

    fn unset(&self, what: &str) -> String {
        self.failed(&format!("the variable that its {what} comes from is not set"))
    }

    fn requester(&self) -> OAuthRequester<'_> {
        OAuthRequester { http: &self.http, hidden: &self.hidden, name: &self.name }
    }

    /// The server, and what its token is for.
    async fn server(&self) -> Result<(AuthorizationServer, Option<String>), OAuthError> {
        let config = &self.config;
        let resource = config.resource.as_ref().map(|url| url.as_str().to_owned());
        if let Some(url) = &config.token_url {
            return Ok((AuthorizationServer::at(url.clone()), resource));
        }
        if let Some(issuer) = &config.server.issuer {
            return Ok((AuthorizationServer::discover(self.requester(), issuer).await?, resource));
        }
        match (&config.resource, &self.specified) {
            (Some(url), _) => {
                let found = ResourceAuthority::discover(self.requester(), url, None).await?;
                Ok((found.server, Some(found.resource)))
            }
            (None, Some(SpecifiedServer::Token(url))) => Ok((AuthorizationServer::at(url.clone()), None)),
            (None, Some(SpecifiedServer::Document(url))) => {
                Ok((AuthorizationServer::at_document(self.requester(), url).await?, None))
            }
            (None, None) => Err(OAuthError::Failed("it needs a `token_url` or an `issuer`".to_owned())),
        }
    }

    fn client(&self, server: &AuthorizationServer) -> ClientIdentity {
        ClientIdentity {
            id: self.config.client_id.clone(),
            secret: self.config.client_secret.clone(),
            in_body: self.config.client_in_body || server.takes_only_body,
        }
    }

    /// What is sent, but for the client and what the grant is given for.
    fn beside(&self, resource: Option<&str>) -> Vec<(&str, String)> {
        let mut pairs = Vec::new();
        if !self.scopes.is_empty() && !matches!(self.config.grant, OAuthGrant::AuthorizationCode) {
            pairs.push(("scope", self.scopes.join(" ")));
        }
        pairs.extend(resource.map(|resource| ("resource", resource.to_owned())));
        pairs.extend(self.config.parameters.iter().map(|(name, value)| (name.as_str(), value.clone())));
        pairs
    }

    async fn ask(
        &self,
        server: &AuthorizationServer,
        client: &ClientIdentity,
        given: Vec<(&str, String)>,
        resource: Option<&str>,
    ) -> Result<FetchedToken, OAuthError> {
        let pairs = given.into_iter().chain(self.beside(resource)).collect();
        let answer = self.requester().token(&server.token_url, client, pairs).await?;
        let token = StoredToken { access: answer.access, renew_at: answer.renew_at };
        Ok(FetchedToken { token, refresh: answer.refresh })
    }

    fn renewal(&self, token: &SecretString) -> Vec<(&'static str, String)> {
        // The server may say it again, and only who has used it knows it.
        self.hidden.learn(&self.name, token.expose_secret());
        vec![("grant_type", "refresh_token".to_owned()), ("refresh_token", token.expose_secret().to_owned())]
    }

    /// Renews what a person has allowed, at the server where that was.
    async fn of_login(&self, known: KnownGrant) -> Result<FetchedToken, String> {
        let again = format!("run `fastagency login {}`", self.name);
        let Some(login) = known.login else {
            return Err(self.failed(&format!("nobody has signed in: {again}")));
        };
        let Some(refresh) = known.refresh else {
            let why = "the login has ended, and its server gave nothing to renew it with";
            return Err(self.failed(&format!("{why} (a scope such as offline_access may be needed): {again}")));
        };
        let (server, client) = origin(&login, &self.config).map_err(|why| self.failed(&why))?;
        match self.ask(&server, &client, self.renewal(&refresh), login.resource.as_deref()).await {
            Err(error) if error.is("invalid_grant") => {
                Err(self.failed(&format!("the login is over: {error}; {again}")))
            }
            fetched => fetched.map_err(|error| self.failed(&error.to_string())),
        }
    }
}

/// The server of a login, and the client that it was made as.
pub fn origin(login: &LoginOrigin, config: &OAuthConfig) -> Result<(AuthorizationServer, ClientIdentity), String> {
    let read = |text: &str| Url::parse(text).map_err(|_| format!("{text:?} is no address of a server"));
    let mut server = AuthorizationServer::at(read(&login.token_url)?);
    server.revocation_url = login.revocation_url.as_deref().map(read).transpose()?;
    let given = login.client_secret.clone().map(SecretString::from);
    let secret = given.or_else(|| config.client_secret.clone());
    Ok((server, ClientIdentity { id: Some(login.client_id.clone()), secret, in_body: login.client_in_body }))
}

#[async_trait]
impl TokenFetch for OAuthFetch {
    async fn fetch(&self, known: KnownGrant) -> Result<FetchedToken, String> {
        let given = match &self.config.grant {
            OAuthGrant::AuthorizationCode => return self.of_login(known).await,
            OAuthGrant::ClientCredentials if self.config.client_secret.is_none() => {
                return Err(self.unset("client_secret"));
            }
            OAuthGrant::ClientCredentials => vec![("grant_type", "client_credentials".to_owned())],
            OAuthGrant::Password { username, password } => {
                let password = password.as_ref().ok_or_else(|| self.unset("password"))?;
                vec![
                    ("grant_type", "password".to_owned()),
                    ("username", username.clone()),
                    ("password", password.expose_secret().to_owned()),
                ]
            }
            // Many servers give another one each time, and take one that was used for a theft: the configured one is used once.
            OAuthGrant::RefreshToken(configured) => {
                let token =
                    known.refresh.as_ref().or(configured.as_ref()).ok_or_else(|| self.unset("refresh_token"))?;
                self.renewal(token)
            }
        };
        let asked = async {
            let (server, resource) = self.server().await?;
            let client = self.client(&server);
            self.ask(&server, &client, given, resource.as_deref()).await
        };
        let mut fetched = asked.await.map_err(|error| self.failed(&error.to_string()))?;
        if !self.config.grant.has_refresh_token() {
            // Nothing here is renewed with it.
            fetched.refresh = None;
        }
        Ok(fetched)
    }

    fn whose(&self) -> String {
        // Of an MCP server with `oauth` there is no secret in `secrets:`.
        let kind = if self.config.resource.is_some() { "MCP server" } else { "secret" };
        format!("the {kind} {:?}", self.name)
    }

    fn repair(&self) -> Option<String> {
        match &self.config.grant {
            OAuthGrant::AuthorizationCode => Some(format!("run `fastagency login {}`", self.name)),
            // The server takes the configured one for a theft if it has given another one since.
            OAuthGrant::RefreshToken(_) => {
                Some(format!("run `fastagency logout {}` and configure a new `refresh_token`", self.name))
            }
            OAuthGrant::ClientCredentials | OAuthGrant::Password { .. } => None,
        }
    }
}
