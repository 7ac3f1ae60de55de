//! What is kept of the tokens that a server outside gives: an entry for each grant (a login of a person, a client's own right), with
//! one refresh token and the access tokens that came of it. It is stored sealed, and never leaves the store otherwise.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// What is kept of one grant.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TokenEntry {
    /// The secret that it belongs to.
    pub name: String,
    /// Access tokens by what they allow: scopes, separated by blanks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub access: BTreeMap<String, AccessToken>,
    /// What the next access token is given for. A grant has one, whatever an access token allows (RFC 6749, 6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh: Option<String>,
    /// The login that the grant came from; none: it came from the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<LoginOrigin>,
    /// Who asks for a token now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<RenewalLease>,
    /// What came of the last request, if it was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<RenewalFailure>,
}

/// An access token.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct AccessToken {
    /// What requests show.
    pub token: String,
    /// When it is too old to be used; none: nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_at: Option<Timestamp>,
}

/// Where a person has logged in, and as which client.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct LoginOrigin {
    /// Who gives the tokens, by the name that the server has for itself; none: it has said none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Where tokens are given.
    pub token_url: String,
    /// Where tokens are taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation_url: Option<String>,
    /// What the server knows this program as.
    pub client_id: String,
    /// The program's secret there, if the server gave it one when it was registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
    /// Whether client and secret are sent in the body.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub client_in_body: bool,
    /// What the tokens are for (RFC 8707), if that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// What the person allowed, as far as the server says it; empty: what was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// When.
    pub at: Timestamp,
}

/// The right of one worker to ask for the next token of a grant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RenewalLease {
    /// Who has it: a random text for each request.
    pub holder: String,
    /// When it is over, by the clock of its holder.
    pub until: Timestamp,
}

/// Why a request for a token has failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RenewalFailure {
    /// Who had asked.
    pub holder: String,
    /// What the token was to allow.
    pub scopes: String,
    /// Why, in words without secrets.
    pub words: String,
}

impl fmt::Debug for TokenEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenEntry({:?}, {} access tokens)", self.name, self.access.len())
    }
}

impl fmt::Debug for LoginOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoginOrigin({:?}, {:?})", self.issuer, self.client_id)
    }
}

impl TokenEntry {
    /// Whether there is anything in it that a server has given.
    pub fn has_tokens(&self) -> bool {
        self.refresh.is_some() || !self.access.is_empty()
    }

    /// Reads an entry.
    pub fn read(text: &str) -> Option<Self> {
        crate::bounds::parse(text.as_bytes()).ok()
    }

    /// The entry as a text.
    pub fn written(&self) -> String {
        serde_json::to_string(self).expect("an entry is texts and times")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_as_it_was_written_and_shows_no_token() {
        let at = "2026-01-01T00:00:00Z".parse().unwrap();
        let login = LoginOrigin {
            issuer: Some("https://id.example".to_owned()),
            token_url: "https://id.example/token".to_owned(),
            revocation_url: None,
            client_id: "c".to_owned(),
            client_secret: Some("client-secret".to_owned()),
            client_in_body: false,
            resource: None,
            scopes: vec!["a".to_owned()],
            at,
        };
        let access = AccessToken { token: "access-1".to_owned(), renew_at: Some(at) };
        let entry = TokenEntry {
            name: "crm".to_owned(),
            access: [("a b".to_owned(), access)].into(),
            refresh: Some("refresh-1".to_owned()),
            login: Some(login),
            lease: Some(RenewalLease { holder: "h".to_owned(), until: at }),
            failure: Some(RenewalFailure { holder: "g".to_owned(), scopes: String::new(), words: "no".to_owned() }),
        };
        let text = entry.written();
        assert_eq!(TokenEntry::read(&text), Some(entry.clone()));
        let shown = format!("{entry:?}");
        assert!(!["access-1", "refresh-1", "client-secret"].iter().any(|secret| shown.contains(secret)), "{shown}");
        assert_eq!(
            TokenEntry::read("{\"name\": \"crm\"}"),
            Some(TokenEntry { name: "crm".to_owned(), ..TokenEntry::default() })
        );
        assert_eq!(TokenEntry::read("no"), None);
    }
}
