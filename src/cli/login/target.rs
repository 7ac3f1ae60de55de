//! What a person signs in for, and where.

use std::time::Duration;

use anyhow::anyhow;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use serde_json::Value;

use crate::cli::outcome::CliError;
use crate::config::{Config, McpReach, OAuthConfig, SecretSource};
use crate::outside::OutsideServices;
use crate::outside::http::OutgoingRequest;
use crate::outside::oauth::authorization::RequestedAccess;
use crate::outside::oauth::discovery::{AuthorizationServer, ResourceAuthority, named_metadata, parameter};
use crate::outside::oauth::requests::{OAuthError, OAuthRequester};
use crate::outside::openapi::{OpenApiSets, SpecifiedLogin};
use crate::workflow::{self, ToolsetSource};

/// What a server is asked to make it say where its tokens come from.
const QUESTION: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
/// How long it may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// What is read of its answer, in bytes.
const MOST_ANSWER: u64 = 4096;
/// The scope for which servers give what a login is renewed with (OpenID Connect Core, 11).
const OFFLINE: &str = "offline_access";

/// What a person signs in for.
#[derive(Debug)]
pub(super) struct LoginTarget {
    pub(super) name: String,
    pub(super) config: OAuthConfig,
}

/// Where, and for what.
#[derive(Debug)]
pub(super) struct LoginServer {
    pub(super) server: AuthorizationServer,
    pub(super) access: RequestedAccess,
    /// What the tokens are for.
    pub(super) resource: Option<String>,
}

impl LoginTarget {
    /// The secret or the MCP server with this name.
    pub(super) fn find(config: &Config, name: &str) -> Result<Self, CliError> {
        match configured(config, name) {
            Some(found) if found.is_login() => Ok(Self { name: name.to_owned(), config: found.clone() }),
            Some(_) => Err(CliError::Usage(format!(
                "nobody signs in for {name:?}: its flow is another one (fastagency.yaml: `flow: authorization_code`)"
            ))),
            None => {
                let names = Self::names(config).join(", ");
                let known = if names.is_empty() { String::new() } else { format!("; there is {names}") };
                Err(CliError::Usage(format!(
                    "there is no secret and no MCP server {name:?} with `oauth` in fastagency.yaml{known}"
                )))
            }
        }
    }

    /// The names of all that a person signs in for.
    pub(super) fn names(config: &Config) -> Vec<String> {
        let secrets = config.secrets.keys().filter(|name| of_secret(config, name).is_some_and(OAuthConfig::is_login));
        let servers = config.mcp.keys().map(|name| name.as_str());
        let servers = servers.filter(|name| of_server(config, name).is_some_and(OAuthConfig::is_login));
        secrets.cloned().chain(servers.map(str::to_owned)).collect()
    }

    /// Where the person signs in.
    pub(super) async fn server(
        &self,
        config: &Config,
        services: &OutsideServices,
        requester: OAuthRequester<'_>,
    ) -> Result<LoginServer, CliError> {
        let failed = |error: OAuthError| CliError::Failed(anyhow!("cannot sign in for {}: {error}", self.name));
        let own = &self.config;
        let mut scopes = own.scopes.clone();
        let mut resource = own.resource.as_ref().map(|url| url.as_str().to_owned());
        let mut server = if let Some(issuer) = &own.server.issuer {
            AuthorizationServer::discover(requester, issuer).await.map_err(failed)?
        } else if let Some(token_url) = &own.token_url {
            AuthorizationServer::at(token_url.clone())
        } else if let Some(url) = &own.resource {
            let challenge = challenge(services, requester, url).await;
            let named = challenge.as_deref().and_then(named_metadata);
            let found = ResourceAuthority::discover(requester, url, named.as_ref()).await.map_err(failed)?;
            if found.server.knows_s256 != Some(true) {
                let words =
                    "its authorization server does not say that it knows PKCE (code_challenge_methods_supported)";
                return Err(failed(OAuthError::Failed(words.to_owned())));
            }
            resource = Some(found.resource);
            if scopes.is_empty() {
                let asked = challenge.as_deref().and_then(|challenge| parameter(challenge, "scope"));
                scopes = match asked {
                    Some(asked) => asked.split_whitespace().map(str::to_owned).collect(),
                    None => found.scopes,
                };
                let knows_offline = found.server.scopes.iter().any(|scope| scope == OFFLINE);
                if knows_offline && !scopes.iter().any(|scope| scope == OFFLINE) {
                    scopes.push(OFFLINE.to_owned());
                }
            }
            found.server
        } else {
            self.specified(config, services, requester).await?
        };
        let set = |place: &mut Option<Url>, configured: &Option<Url>| {
            if configured.is_some() {
                place.clone_from(configured);
            }
        };
        set(&mut server.authorization_url, &own.server.authorization_url);
        set(&mut server.device_url, &own.server.device_url);
        set(&mut server.revocation_url, &own.server.revocation_url);
        if let Some(token_url) = &own.token_url {
            server.token_url.clone_from(token_url);
        }
        let mut parameters: Vec<(String, String)> = own.parameters.clone().into_iter().collect();
        parameters.extend(resource.iter().map(|resource| ("resource".to_owned(), resource.clone())));
        Ok(LoginServer { server, access: RequestedAccess { scopes, parameters }, resource })
    }

    /// Where the specifications of the project's workflows say it.
    async fn specified(
        &self,
        config: &Config,
        services: &OutsideServices,
        requester: OAuthRequester<'_>,
    ) -> Result<AuthorizationServer, CliError> {
        let sets = OpenApiSets::new(services.documents.clone(), services.http.clone(), services.secrets.clone());
        let workflows = workflow::load_folder(&config.workflows)?;
        let declared = workflows.iter().flat_map(|workflow| workflow.tools.sets());
        let mut failures = Vec::new();
        for (_, set) in declared {
            let ToolsetSource::OpenApi(source) = &set.source else { continue };
            match sets.toolset(source).login_server(&self.name).await {
                Ok(Some(SpecifiedLogin::Document(url))) => {
                    let found = AuthorizationServer::at_document(requester, &url).await;
                    return found
                        .map_err(|error| CliError::Failed(anyhow!("cannot sign in for {}: {error}", self.name)));
                }
                Ok(Some(SpecifiedLogin::Endpoints { authorization, token })) => {
                    let at = AuthorizationServer::at(token);
                    return Ok(AuthorizationServer { authorization_url: Some(authorization), ..at });
                }
                Ok(None) => {}
                Err(error) => failures.push(error.to_string()),
            }
        }
        let beside = failures.first().map(|why| format!(" ({why})")).unwrap_or_default();
        Err(CliError::Usage(format!(
            "nothing says where people sign in for {:?}: write `issuer`, or `authorization_url` and `token_url`; a specification counts where it names a host of the secret's `hosts`{beside}",
            self.name
        )))
    }
}

/// How the tokens of a secret or of an MCP server are asked for.
pub(super) fn configured<'c>(config: &'c Config, name: &str) -> Option<&'c OAuthConfig> {
    of_secret(config, name).or_else(|| of_server(config, name))
}

fn of_secret<'c>(config: &'c Config, name: &str) -> Option<&'c OAuthConfig> {
    match &config.secrets.get(name)?.source {
        SecretSource::OAuth(found) => Some(found),
        _ => None,
    }
}

fn of_server<'c>(config: &'c Config, name: &str) -> Option<&'c OAuthConfig> {
    let server = config.mcp.iter().find(|(known, _)| known.as_str() == name)?.1;
    match &server.reach {
        McpReach::Address(address) => address.oauth(),
        McpReach::Command(_) => None,
    }
}

/// What a server says when it is asked without a token.
async fn challenge(services: &OutsideServices, requester: OAuthRequester<'_>, url: &Url) -> Option<String> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    let request = OutgoingRequest {
        method: Method::POST,
        url: url.clone(),
        headers,
        body: Some(QUESTION.into()),
        within: ANSWER_WITHIN,
    };
    let answer = services.http.send(request, MOST_ANSWER, requester.hidden).await.ok()?;
    let found = answer.headers.get("www-authenticate").and_then(Value::as_str).map(str::to_owned);
    found.filter(|_| matches!(answer.status, 401 | 403))
}
