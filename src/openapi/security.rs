//! What a specification asks for before it lets an operation be called. No secret is here: this module says which ones are
//! needed and where they go.

use serde_json::Value;

use super::documents::{DocumentSet, Located};
use super::operations::object;
use super::warning::{JsonPointer, WarningList};

/// One way to be allowed to call an operation: all of these schemes together. Without any, no credential is needed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecurityAlternative {
    /// The schemes.
    pub schemes: Vec<RequiredScheme>,
}

/// A scheme that an alternative asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequiredScheme {
    /// Its name in the document.
    pub name: String,
    /// What it is.
    pub kind: SecuritySchemeKind,
    /// The scopes that the operation needs (OAuth 2.0, OpenID Connect).
    pub scopes: Vec<String>,
}

/// What a security scheme is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecuritySchemeKind {
    /// A key.
    ApiKey(CredentialPlace),
    /// `Authorization: Basic …` (RFC 7617).
    HttpBasic,
    /// `Authorization: Bearer …` (RFC 6750).
    HttpBearer {
        /// What the token is, for people: `JWT`.
        format: Option<String>,
    },
    /// Another scheme of the header `Authorization`, as it is written: `digest`, `hoba`.
    HttpOther {
        /// Its name.
        scheme: String,
    },
    /// OAuth 2.0; the token is sent as a bearer.
    OAuth2(Vec<OAuthFlow>),
    /// OpenID Connect; the token is sent as a bearer.
    OpenIdConnect {
        /// Where the provider describes itself.
        url: String,
    },
    /// A certificate of the client.
    MutualTls,
    /// The document does not say what it is, or says what nobody knows: it cannot be satisfied.
    Unknown {
        /// What is wrong with it.
        why: String,
    },
}

/// Where a credential goes in a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CredentialPlace {
    /// A header of this name.
    Header(String),
    /// A parameter of the query.
    Query(String),
    /// A cookie.
    Cookie(String),
}

/// A way to get a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuthFlow {
    /// Which.
    pub kind: OAuthFlowKind,
    /// Where a person logs in.
    pub authorization_url: Option<String>,
    /// Where a token is given.
    pub token_url: Option<String>,
    /// Where a token is renewed, if that is elsewhere.
    pub refresh_url: Option<String>,
    /// The scopes that there are.
    pub scopes: Vec<String>,
}

/// The flows of OAuth 2.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are OAuth's own")]
pub enum OAuthFlowKind {
    Implicit,
    Password,
    ClientCredentials,
    AuthorizationCode,
    DeviceAuthorization,
}

impl SecuritySchemeKind {
    /// Where the credential goes; none: it is no part of the request, or nobody knows.
    pub fn place(&self) -> Option<CredentialPlace> {
        match self {
            SecuritySchemeKind::ApiKey(place) => Some(place.clone()),
            SecuritySchemeKind::HttpBasic
            | SecuritySchemeKind::HttpBearer { .. }
            | SecuritySchemeKind::HttpOther { .. }
            | SecuritySchemeKind::OAuth2(_)
            | SecuritySchemeKind::OpenIdConnect { .. } => Some(CredentialPlace::Header("Authorization".to_owned())),
            SecuritySchemeKind::MutualTls | SecuritySchemeKind::Unknown { .. } => None,
        }
    }
}

/// The alternatives of an operation, in the order written; empty: no credential is needed or taken.
pub(super) fn alternatives(
    documents: &DocumentSet,
    operation: Located<'_>,
    place: &JsonPointer<'_>,
    warnings: &mut WarningList,
) -> Vec<SecurityAlternative> {
    let Some(list) = operation.value.get("security").or_else(|| documents.root().value.get("security")) else {
        return Vec::new();
    };
    let Some(list) = list.as_array() else {
        warnings.add(&place.key("security"), "`security` is not a list and is not used");
        return Vec::new();
    };
    let mut found = Vec::new();
    for alternative in list {
        let Some(alternative) = alternative.as_object() else { continue };
        let scheme = |(name, scopes): (&String, &Value)| RequiredScheme {
            name: name.clone(),
            kind: kind_of(documents, name).unwrap_or_else(|why| {
                warnings.add(&place.key("security"), format!("the security scheme {name:?} cannot be used: {why}"));
                SecuritySchemeKind::Unknown { why }
            }),
            scopes: scopes.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
        };
        let alternative = SecurityAlternative { schemes: alternative.iter().map(scheme).collect() };
        if !found.contains(&alternative) {
            found.push(alternative);
        }
    }
    found
}

fn kind_of(documents: &DocumentSet, name: &str) -> Result<SecuritySchemeKind, String> {
    let schemes = documents.root().get("components").and_then(|components| components.get("securitySchemes"));
    let scheme = schemes.and_then(|schemes| schemes.get(name)).ok_or("the document does not have it")?;
    let scheme = documents.follow(scheme)?.value;
    let text = |key: &str| scheme.get(key).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
    match text("type").map(str::to_ascii_lowercase).as_deref() {
        Some("apikey") => {
            let name = text("name").ok_or("its `name` is missing")?.to_owned();
            match text("in") {
                Some("header") => Ok(SecuritySchemeKind::ApiKey(CredentialPlace::Header(name))),
                Some("query") => Ok(SecuritySchemeKind::ApiKey(CredentialPlace::Query(name))),
                Some("cookie") => Ok(SecuritySchemeKind::ApiKey(CredentialPlace::Cookie(name))),
                _ => Err("its `in` must be header, query or cookie".to_owned()),
            }
        }
        Some("http") => match text("scheme").map(str::to_ascii_lowercase).as_deref() {
            Some("basic") => Ok(SecuritySchemeKind::HttpBasic),
            Some("bearer") => Ok(SecuritySchemeKind::HttpBearer { format: text("bearerFormat").map(str::to_owned) }),
            Some(_) => Ok(SecuritySchemeKind::HttpOther { scheme: text("scheme").unwrap_or_default().to_owned() }),
            None => Err("its `scheme` is missing".to_owned()),
        },
        // What Swagger 2.0 calls so stands in documents of version 3, too.
        Some("basic") => Ok(SecuritySchemeKind::HttpBasic),
        Some("oauth2") => Ok(SecuritySchemeKind::OAuth2(flows(scheme))),
        Some("openidconnect") => {
            Ok(SecuritySchemeKind::OpenIdConnect { url: text("openIdConnectUrl").unwrap_or_default().to_owned() })
        }
        Some("mutualtls") => Ok(SecuritySchemeKind::MutualTls),
        Some(other) => Err(format!("its type {other:?} is unknown")),
        None => Err("its `type` is missing".to_owned()),
    }
}

fn flows(scheme: &Value) -> Vec<OAuthFlow> {
    let flow = |(name, flow): (&String, &Value)| {
        let kind = match name.as_str() {
            "implicit" => OAuthFlowKind::Implicit,
            "password" => OAuthFlowKind::Password,
            "clientCredentials" => OAuthFlowKind::ClientCredentials,
            "authorizationCode" => OAuthFlowKind::AuthorizationCode,
            "deviceAuthorization" => OAuthFlowKind::DeviceAuthorization,
            _ => return None,
        };
        let text = |key: &str| flow.get(key).and_then(Value::as_str).map(str::to_owned);
        Some(OAuthFlow {
            kind,
            authorization_url: text("authorizationUrl"),
            token_url: text("tokenUrl"),
            refresh_url: text("refreshUrl"),
            scopes: object(flow.get("scopes")).map(|(scope, _)| scope.clone()).collect(),
        })
    };
    object(scheme.get("flows")).filter_map(flow).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::openapi::source::DocumentSource;

    #[test]
    fn the_alternatives_are_those_of_the_operation_or_of_the_document() {
        let root = json!({
            "security": [{"key": []}, {"oauth": ["read"], "mtls": []}],
            "components": {"securitySchemes": {
                "key": {"type": "apiKey", "in": "query", "name": "api_key"},
                "bearer": {"type": "http", "scheme": "Bearer", "bearerFormat": "JWT"},
                "basic": {"type": "http", "scheme": "basic"},
                "digest": {"type": "http", "scheme": "digest"},
                "mtls": {"type": "mutualTLS"},
                "oidc": {"type": "openIdConnect", "openIdConnectUrl": "https://id.example"},
                "oauth": {"type": "oauth2", "flows": {"clientCredentials": {"tokenUrl": "https://id.example/token", "scopes": {"read": "", "write": ""}}, "x-y": {}}},
                "linked": {"$ref": "#/components/securitySchemes/basic"},
                "odd": {"type": "magic"},
            }},
            "none": {"security": []},
            "optional": {"security": [{}, {"bearer": []}]},
            "kinds": {"security": [{"basic": []}, {"digest": []}, {"oidc": []}, {"linked": []}, {"odd": []}, {"gone": []}]},
            "inherits": {},
        });
        let source = DocumentSource::parse("x.json").unwrap();
        let set = DocumentSet::load(root, &source, &|_| Err("none".to_owned()));
        let place = JsonPointer::root("#/x");
        let mut warnings = WarningList::default();
        let mut of = |key: &str| alternatives(&set, set.root().get(key).unwrap(), &place, &mut warnings);
        assert_eq!(of("none"), []);
        let inherited = of("inherits");
        assert_eq!(inherited[0].schemes[0].kind.place(), Some(CredentialPlace::Query("api_key".to_owned())));
        assert_eq!(inherited[1].schemes[0].scopes, ["read"]);
        let flow = OAuthFlow {
            kind: OAuthFlowKind::ClientCredentials,
            authorization_url: None,
            token_url: Some("https://id.example/token".to_owned()),
            refresh_url: None,
            scopes: vec!["read".to_owned(), "write".to_owned()],
        };
        assert_eq!(inherited[1].schemes[0].kind, SecuritySchemeKind::OAuth2(vec![flow]));
        assert_eq!(inherited[1].schemes[1].kind, SecuritySchemeKind::MutualTls);
        let optional = of("optional");
        assert!(optional[0].schemes.is_empty());
        let format = Some("JWT".to_owned());
        assert_eq!(optional[1].schemes[0].kind, SecuritySchemeKind::HttpBearer { format });
        let kinds: Vec<SecuritySchemeKind> = of("kinds").into_iter().map(|one| one.schemes[0].kind.clone()).collect();
        assert_eq!(kinds[0], SecuritySchemeKind::HttpBasic);
        assert_eq!(kinds[1], SecuritySchemeKind::HttpOther { scheme: "digest".to_owned() });
        assert_eq!(kinds[3], SecuritySchemeKind::HttpBasic);
        assert_eq!(kinds[4], SecuritySchemeKind::Unknown { why: "its type \"magic\" is unknown".to_owned() });
        assert!(matches!(&kinds[5], SecuritySchemeKind::Unknown { why } if why == "the document does not have it"));
        assert_eq!(warnings.finish(&place).len(), 2);
    }
}
