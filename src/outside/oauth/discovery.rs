//! Where the endpoints of an authorization server are, as it says itself (RFC 8414, OpenID Connect Discovery 1.0), and which
//! authorization server a protected resource has (RFC 9728).

use reqwest::Url;
use serde_json::{Map, Value, json};

use super::requests::{ClientIdentity, OAuthError, OAuthRequester};

/// Most authorization servers of one resource that are looked at.
const MOST_SERVERS: usize = 4;

/// An authorization server.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthorizationServer {
    /// Its own name for itself; none: nothing says it.
    pub issuer: Option<String>,
    /// Where a person allows something.
    pub authorization_url: Option<Url>,
    /// Where tokens are given.
    pub token_url: Url,
    /// Where a device asks for a code.
    pub device_url: Option<Url>,
    /// Where tokens are taken back.
    pub revocation_url: Option<Url>,
    /// Where a client can register itself.
    pub registration_url: Option<Url>,
    /// Whether it says that it knows PKCE with S256; none: it does not say.
    pub knows_s256: Option<bool>,
    /// Whether it says its name when it sends the browser back (RFC 9207).
    pub says_issuer: bool,
    /// Whether a client's name may be the address of a document about it.
    pub takes_client_documents: bool,
    /// Whether it takes a client's secret in the body, and nowhere else.
    pub takes_only_body: bool,
    /// The scopes that it knows.
    pub scopes: Vec<String>,
}

/// A protected resource: a server that wants tokens of an authorization server.
#[derive(Debug, Clone, PartialEq)]
pub struct ProtectedResource {
    /// Its own name, which tokens are asked for (RFC 8707).
    pub resource: String,
    /// Who gives tokens for it.
    pub servers: Vec<String>,
    /// The scopes that it knows.
    pub scopes: Vec<String>,
}

impl AuthorizationServer {
    /// One whose token endpoint alone is known.
    pub fn at(token_url: Url) -> Self {
        Self {
            issuer: None,
            authorization_url: None,
            token_url,
            device_url: None,
            revocation_url: None,
            registration_url: None,
            knows_s256: None,
            says_issuer: false,
            takes_client_documents: false,
            takes_only_body: false,
            scopes: Vec::new(),
        }
    }

    /// Asks the server with this name.
    pub async fn discover(requester: OAuthRequester<'_>, issuer: &str) -> Result<Self, OAuthError> {
        let url =
            read_url(issuer).ok_or_else(|| OAuthError::Failed(format!("{issuer:?} is no address of a server")))?;
        for place in places(&url) {
            if let Some(fields) = requester.document(&place).await? {
                return Self::read(&fields, Some(&url)).map_err(OAuthError::Failed);
            }
        }
        Err(OAuthError::Failed(format!(
            "{issuer} has no document about itself (/.well-known/oauth-authorization-server, /.well-known/openid-configuration)"
        )))
    }

    /// Reads the document at this address, as the scheme `openIdConnect` of a specification names it.
    pub async fn at_document(requester: OAuthRequester<'_>, url: &Url) -> Result<Self, OAuthError> {
        match requester.document(url).await? {
            Some(fields) => Self::read(&fields, None).map_err(OAuthError::Failed),
            None => Err(OAuthError::Failed(format!("there is no document about an authorization server at {url}"))),
        }
    }

    fn read(fields: &Map<String, Value>, asked: Option<&Url>) -> Result<Self, String> {
        let text = |key: &str| fields.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let flag = |key: &str| fields.get(key).and_then(Value::as_bool).unwrap_or(false);
        let list = |key: &str| Some(texts(fields.get(key)?));
        let issuer = text("issuer");
        // Whoever answers for another issuer could have tokens sent to itself (RFC 8414, 3.3).
        if let Some(asked) = asked
            && issuer.and_then(read_url).as_ref() != Some(asked)
        {
            return Err(format!("{asked} calls itself {:?}: write that as the `issuer`", issuer.unwrap_or_default()));
        }
        let url = |key: &str| text(key).and_then(read_url);
        let from = asked.cloned().or_else(|| issuer.and_then(read_url));
        let Some(token_url) = url("token_endpoint") else {
            let server = issuer.unwrap_or("the authorization server");
            return Err(format!("{server} does not say where it gives tokens (token_endpoint)"));
        };
        let is_secure =
            |url: &Url| url.scheme() == "https" || from.as_ref().is_some_and(|from| from.scheme() == "http");
        if !is_secure(&token_url) {
            return Err(format!("the token endpoint {token_url} is not encrypted"));
        }
        let methods = list("token_endpoint_auth_methods_supported").unwrap_or_default();
        let takes = |wanted: &str| methods.iter().any(|method| method == wanted);
        Ok(Self {
            issuer: issuer.map(str::to_owned),
            authorization_url: url("authorization_endpoint").filter(is_secure),
            device_url: url("device_authorization_endpoint").filter(is_secure),
            revocation_url: url("revocation_endpoint").filter(is_secure),
            registration_url: url("registration_endpoint").filter(is_secure),
            knows_s256: list("code_challenge_methods_supported")
                .map(|methods| methods.iter().any(|method| method == "S256")),
            says_issuer: flag("authorization_response_iss_parameter_supported"),
            takes_client_documents: flag("client_id_metadata_document_supported"),
            takes_only_body: takes("client_secret_post") && !takes("client_secret_basic"),
            scopes: list("scopes_supported").unwrap_or_default(),
            token_url,
        })
    }

    /// Registers this program (RFC 7591): a public client, which sends people back to this address.
    pub async fn register(
        &self,
        requester: OAuthRequester<'_>,
        redirect_url: Option<&str>,
        scopes: &[String],
    ) -> Result<ClientIdentity, OAuthError> {
        let Some(url) = &self.registration_url else {
            let hint = "register this program there, and write its `client_id`";
            return Err(OAuthError::Failed(format!("the server registers no clients by itself: {hint}")));
        };
        let mut about = json!({
            "client_name": "FastAgency",
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
            "application_type": "native",
        });
        if let Some(redirect_url) = redirect_url {
            about["redirect_uris"] = json!([redirect_url]);
        } else {
            about["grant_types"] = json!(["urn:ietf:params:oauth:grant-type:device_code", "refresh_token"]);
            about["response_types"] = json!([]);
            about["redirect_uris"] = json!([]);
        }
        if !scopes.is_empty() {
            about["scope"] = json!(scopes.join(" "));
        }
        let fields = requester.post_json(url, &about).await?;
        let text = |key: &str| fields.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let Some(id) = text("client_id") else {
            return Err(OAuthError::Failed("the server registered this program and gave no client_id".to_owned()));
        };
        if let Some(secret) = text("client_secret") {
            requester.hidden.learn(requester.name, secret);
        }
        Ok(ClientIdentity {
            id: Some(id.to_owned()),
            secret: text("client_secret").map(Into::into),
            in_body: text("token_endpoint_auth_method") == Some("client_secret_post"),
        })
    }
}

impl ProtectedResource {
    /// Asks a resource, at the address that it named when it refused a request, or else where the standard says.
    pub async fn discover(
        requester: OAuthRequester<'_>,
        resource: &Url,
        named: Option<&Url>,
    ) -> Result<Option<Self>, OAuthError> {
        // What it names elsewhere is not believed: it would say for this server who gives tokens.
        let named = named.filter(|named| named.origin() == resource.origin()).cloned();
        for place in named.into_iter().chain(resource_places(resource)) {
            if let Some(fields) = requester.document(&place).await? {
                return Self::read(&fields, resource).map(Some).map_err(OAuthError::Failed);
            }
        }
        Ok(None)
    }

    fn read(fields: &Map<String, Value>, asked: &Url) -> Result<Self, String> {
        let named = fields.get("resource").and_then(Value::as_str).unwrap_or_default();
        // RFC 9728, 3.3, and as MCP has it: the server itself, or what it is below.
        let is_of = read_url(named).is_some_and(|named| {
            let path = named.path().trim_end_matches('/');
            let rest = asked.path().strip_prefix(path);
            named.origin() == asked.origin() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        if !is_of {
            return Err(format!("{asked} says of itself that it is {named:?}, which is another server"));
        }
        let list = |key: &str| fields.get(key).map(texts).unwrap_or_default();
        let servers: Vec<String> = list("authorization_servers").into_iter().take(MOST_SERVERS).collect();
        if servers.is_empty() {
            return Err(format!("{asked} does not say who gives tokens for it (authorization_servers)"));
        }
        Ok(Self { resource: named.to_owned(), servers, scopes: list("scopes_supported") })
    }
}

/// Who gives tokens for a resource.
#[derive(Debug, Clone, PartialEq)]
pub struct ResourceAuthority {
    /// The server.
    pub server: AuthorizationServer,
    /// The resource's own name.
    pub resource: String,
    /// The scopes that the resource knows.
    pub scopes: Vec<String>,
}

impl ResourceAuthority {
    /// Asks a resource who it is. `named`: where it says that its document is.
    pub async fn discover(
        requester: OAuthRequester<'_>,
        resource: &Url,
        named: Option<&Url>,
    ) -> Result<Self, OAuthError> {
        let Some(found) = ProtectedResource::discover(requester, resource, named).await? else {
            return Self::of_itself(requester, resource).await;
        };
        let mut last = OAuthError::Failed(String::new());
        for issuer in &found.servers {
            match AuthorizationServer::discover(requester, issuer).await {
                Ok(server) => return Ok(Self { server, resource: found.resource, scopes: found.scopes }),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Before RFC 9728 a resource gave its tokens itself.
    async fn of_itself(requester: OAuthRequester<'_>, resource: &Url) -> Result<Self, OAuthError> {
        let issuer = resource.origin().ascii_serialization();
        match AuthorizationServer::discover(requester, &issuer).await {
            Ok(server) => Ok(Self { server, resource: resource.as_str().to_owned(), scopes: Vec::new() }),
            Err(OAuthError::Failed(_)) => Err(OAuthError::Failed(format!(
                "{issuer} does not say who gives tokens for it (/.well-known/oauth-protected-resource): write `issuer`, or `token_url` with `authorization_url`"
            ))),
            Err(error) => Err(error),
        }
    }
}

/// The parameter `resource_metadata` of a header `WWW-Authenticate`.
pub fn named_metadata(challenge: &str) -> Option<Url> {
    parameter(challenge, "resource_metadata").as_deref().and_then(read_url)
}

/// A parameter of a header `WWW-Authenticate`.
pub fn parameter(challenge: &str, name: &str) -> Option<String> {
    let mut rest = challenge;
    while let Some(at) = rest.find(name) {
        let (before, after) = (&rest[..at], &rest[at + name.len()..]);
        rest = after;
        let begins = before.is_empty() || before.ends_with([' ', ',', '\t']);
        let Some(value) = after.trim_start().strip_prefix('=').map(str::trim_start) else { continue };
        if begins {
            return Some(match value.strip_prefix('"') {
                Some(quoted) => quoted.split('"').next().unwrap_or_default().to_owned(),
                None => value.split([',', ' ']).next().unwrap_or_default().to_owned(),
            });
        }
    }
    None
}

/// Where a server has its document, most likely first.
fn places(issuer: &Url) -> Vec<Url> {
    let path = issuer.path().trim_end_matches('/');
    let mut places = vec![
        format!("/.well-known/oauth-authorization-server{path}"),
        format!("/.well-known/openid-configuration{path}"),
    ];
    if !path.is_empty() {
        places.push(format!("{path}/.well-known/openid-configuration"));
    }
    below(issuer, places)
}

/// Where a resource has its document.
fn resource_places(resource: &Url) -> Vec<Url> {
    const PLACE: &str = "/.well-known/oauth-protected-resource";
    let path = resource.path().trim_end_matches('/');
    let mut places = vec![format!("{PLACE}{path}")];
    if !path.is_empty() {
        places.push(PLACE.to_owned());
    }
    below(resource, places)
}

fn below(url: &Url, paths: Vec<String>) -> Vec<Url> {
    let at = |path: String| {
        let mut place = url.clone();
        place.set_path(&path);
        place.set_query(None);
        place.set_fragment(None);
        place
    };
    paths.into_iter().map(at).collect()
}

fn read_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_plain = url.username().is_empty() && url.password().is_none() && url.has_host();
    (matches!(url.scheme(), "http" | "https") && is_plain).then_some(url)
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn fields(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_server_that_calls_itself_something_else_is_not_believed() {
        let document = |issuer: &str, token: &str| fields(json!({"issuer": issuer, "token_endpoint": token}));
        let read = |issuer: &str, token: &str, asked: &str| {
            AuthorizationServer::read(&document(issuer, token), Some(&url(asked)))
        };
        let token = "https://id.example/token";
        assert!(read("https://id.example", token, "https://id.example/").is_ok(), "the same address");
        let other = read("https://evil.example", token, "https://id.example").unwrap_err();
        assert!(other.contains("calls itself \"https://evil.example\""), "{other}");
        assert!(read("https://id.example/a", token, "https://id.example/b").is_err());
        let open = read("https://id.example", "http://id.example/token", "https://id.example").unwrap_err();
        assert!(open.contains("is not encrypted"), "{open}");
        let none = AuthorizationServer::read(&fields(json!({"issuer": "https://id.example"})), None).unwrap_err();
        assert!(none.contains("does not say where it gives tokens"), "{none}");
    }

    #[test]
    fn the_documents_are_looked_for_where_the_standards_say() {
        let found = |places: Vec<Url>| places.into_iter().map(|url| url.to_string()).collect::<Vec<_>>();
        assert_eq!(
            found(places(&url("https://id.example/t1"))),
            [
                "https://id.example/.well-known/oauth-authorization-server/t1",
                "https://id.example/.well-known/openid-configuration/t1",
                "https://id.example/t1/.well-known/openid-configuration"
            ]
        );
        assert_eq!(
            found(resource_places(&url("https://mcp.example/a/mcp?x=1"))),
            [
                "https://mcp.example/.well-known/oauth-protected-resource/a/mcp",
                "https://mcp.example/.well-known/oauth-protected-resource"
            ]
        );
        assert_eq!(found(places(&url("https://id.example"))).len(), 2);
    }

    #[test]
    fn a_resource_speaks_for_itself_alone() {
        let read = |resource: &str| {
            let document = json!({"resource": resource, "authorization_servers": ["https://id.example"]});
            ProtectedResource::read(&fields(document), &url("https://mcp.example/a/mcp"))
        };
        for own in
            ["https://mcp.example/a/mcp", "https://mcp.example/a", "https://mcp.example", "https://mcp.example/a/mcp/"]
        {
            assert!(read(own).is_ok(), "{own}");
        }
        for other in ["https://evil.example/a/mcp", "https://mcp.example/a/m", "https://mcp.example/b", ""] {
            assert!(read(other).is_err(), "{other}");
        }
        let without =
            ProtectedResource::read(&fields(json!({"resource": "https://a.example"})), &url("https://a.example"));
        assert!(without.unwrap_err().contains("does not say who gives tokens"));
    }

    #[test]
    fn a_challenge_names_the_document_about_the_resource() {
        let challenge =
            "Bearer error=\"invalid_token\", resource_metadata=\"https://a.example/.well-known/x\", scope=\"a b\"";
        assert_eq!(named_metadata(challenge), Some(url("https://a.example/.well-known/x")));
        assert_eq!(parameter(challenge, "scope").as_deref(), Some("a b"));
        assert_eq!(parameter("Bearer scope=read", "scope").as_deref(), Some("read"));
        assert_eq!(parameter("Bearer noscope=read", "scope"), None);
        assert_eq!(named_metadata("Basic realm=\"x\""), None);
    }
}
