//! The authorization code flow with PKCE (RFC 6749, 7636, 9700): a person allows something in a browser, which is sent back here.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use reqwest::Url;
use sha2::{Digest, Sha256};

use super::discovery::AuthorizationServer;
use super::requests::{ClientIdentity, OAuthError, OAuthRequester, TokenAnswer};

/// What a server says of why not, in characters.
const MOST_WORDS: usize = 300;

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct RequestedAccess {
    /// What is to be allowed.
    pub scopes: Vec<String>,
    /// What the server wants beside: `audience`, `resource`, `prompt`.
    pub parameters: Vec<(String, String)>,
}

/// A login that has begun in a browser: what must come back, and what nobody else must know.
pub struct AuthorizationAttempt<'a> {
    server: &'a AuthorizationServer,
    client: &'a ClientIdentity,
    access: &'a RequestedAccess,
    redirect_url: String,
    state: String,
    verifier: String,
}

/// Why what came back is not taken.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CallbackError {
    /// It belongs to another attempt: this one goes on.
    #[error("it belongs to another login (its `state` is not the one that was sent)")]
    OtherState,
    /// The attempt is over.
    #[error("{0}")]
    Refused(String),
}

impl<'a> AuthorizationAttempt<'a> {
    /// Begins.
    pub fn new(
        server: &'a AuthorizationServer,
        client: &'a ClientIdentity,
        access: &'a RequestedAccess,
        redirect_url: String,
    ) -> Result<Self, String> {
        if server.knows_s256 == Some(false) {
            return Err("the server does not know PKCE with S256, without which a code could be stolen".to_owned());
        }
        let secret = || BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        Ok(Self { server, client, access, redirect_url, state: secret(), verifier: secret() })
    }

    /// Where the person goes.
    pub fn url(&self) -> Result<Url, String> {
        let Some(mut url) = self.server.authorization_url.clone() else {
            return Err("the server does not say where people sign in (authorization_endpoint)".to_owned());
        };
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(self.verifier.as_bytes()));
        {
            let mut query = url.query_pairs_mut();
            query.append_pair("response_type", "code");
            query.append_pair("client_id", self.client.id.as_deref().unwrap_or_default());
            query.append_pair("redirect_uri", &self.redirect_url);
            if !self.access.scopes.is_empty() {
                query.append_pair("scope", &self.access.scopes.join(" "));
            }
            query.append_pair("state", &self.state);
            query.append_pair("code_challenge", &challenge);
            query.append_pair("code_challenge_method", "S256");
            query.extend_pairs(&self.access.parameters);
        }
        Ok(url)
    }

    /// The code that came back with the browser.
    pub fn code(&self, query: &str) -> Result<String, CallbackError> {
        let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let all = |name: &str| -> Vec<&str> {
            pairs.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
        };
        if all("state") != [self.state.as_str()] {
            return Err(CallbackError::OtherState);
        }
        let refused = |words: String| Err(CallbackError::Refused(words));
        // A code of another server would be sent to this one, or this one's to another (RFC 9207).
        match (&all("iss")[..], &self.server.issuer) {
            ([], _) if !self.server.says_issuer => {}
            ([], _) => return refused("the answer does not say which server it comes from (`iss`)".to_owned()),
            ([named], Some(issuer)) if named == issuer => {}
            // The configuration says no issuer, and neither does the server: there is nothing to compare with.
            ([_], None) => {}
            ([named, ..], issuer) => {
                let issuer = issuer.as_deref().unwrap_or_default();
                return refused(format!("the answer comes from {named:?}, and not from {issuer:?}"));
            }
        }
        if let [error, ..] = all("error")[..] {
            let said: Vec<&str> =
                [Some(error), all("error_description").first().copied()].into_iter().flatten().collect();
            let said: String = said.join(": ").chars().take(MOST_WORDS).collect();
            return refused(match error {
                "access_denied" => format!("it was not allowed in the browser ({said})"),
                _ => format!("the server refused: {said}"),
            });
        }
        match all("code")[..] {
            [code] if !code.is_empty() => Ok(code.to_owned()),
            _ => refused("the answer has no code".to_owned()),
        }
    }

    /// What the code stands for.
    pub async fn tokens(&self, requester: OAuthRequester<'_>, code: &str) -> Result<TokenAnswer, OAuthError> {
        let mut pairs = vec![
            ("grant_type", "authorization_code".to_owned()),
            ("code", code.to_owned()),
            ("redirect_uri", self.redirect_url.clone()),
            ("code_verifier", self.verifier.clone()),
        ];
        pairs.extend(self.access.parameters.iter().map(|(name, value)| (name.as_str(), value.clone())));
        // A server that refuses one often says the code again.
        requester.hidden.learn(requester.name, code);
        requester.hidden.learn(requester.name, &self.verifier);
        requester.token(&self.server.token_url, self.client, pairs).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(issuer: Option<&str>, says_issuer: bool) -> AuthorizationServer {
        let url = |text: &str| Url::parse(text).unwrap();
        AuthorizationServer {
            issuer: issuer.map(str::to_owned),
            authorization_url: Some(url("https://id.example/authorize?tenant=1")),
            says_issuer,
            ..AuthorizationServer::at(url("https://id.example/token"))
        }
    }

    #[test]
    fn a_person_is_sent_to_the_server_with_a_challenge_and_without_the_verifier() {
        let (server, client) = (server(None, false), ClientIdentity { id: Some("c".to_owned()), ..Default::default() });
        let access = RequestedAccess {
            scopes: vec!["a".to_owned(), "b".to_owned()],
            parameters: vec![("resource".to_owned(), "https://mcp.example/mcp".to_owned())],
        };
        let attempt =
            AuthorizationAttempt::new(&server, &client, &access, "http://127.0.0.1:9/callback".to_owned()).unwrap();
        let url = attempt.url().unwrap();
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(attempt.verifier.as_bytes()));
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let expected = [
            ("tenant", "1"),
            ("response_type", "code"),
            ("client_id", "c"),
            ("redirect_uri", "http://127.0.0.1:9/callback"),
            ("scope", "a b"),
            ("state", &attempt.state),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("resource", "https://mcp.example/mcp"),
        ];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(!url.as_str().contains(&attempt.verifier));
        let old = AuthorizationServer { knows_s256: Some(false), ..server.clone() };
        assert!(AuthorizationAttempt::new(&old, &client, &access, String::new()).is_err());
    }

    #[test]
    fn only_the_answer_to_this_attempt_from_this_server_is_taken() {
        let (client, access) = (ClientIdentity::default(), RequestedAccess::default());
        let check = |issuer: Option<&str>, says_issuer: bool, query: &str| {
            let server = server(issuer, says_issuer);
            let attempt = AuthorizationAttempt::new(&server, &client, &access, String::new()).unwrap();
            attempt.code(&query.replace("STATE", &attempt.state)).map_err(|error| error.to_string())
        };
        let id = Some("https://id.example");
        assert_eq!(check(id, false, "code=x&state=STATE").unwrap(), "x");
        assert_eq!(check(id, true, "code=x&state=STATE&iss=https%3A%2F%2Fid.example").unwrap(), "x");
        for (says, query, words) in [
            (false, "code=x&state=other", "another login"),
            (false, "code=x", "another login"),
            (false, "code=x&state=STATE&state=STATE", "another login"),
            (true, "code=x&state=STATE", "does not say which server"),
            (false, "code=x&state=STATE&iss=https://evil.example", "comes from \"https://evil.example\""),
            (
                false,
                "error=access_denied&error_description=no&state=STATE",
                "not allowed in the browser (access_denied: no)",
            ),
            (false, "error=invalid_scope&state=STATE", "the server refused: invalid_scope"),
            (false, "state=STATE", "has no code"),
            (false, "code=x&code=y&state=STATE", "has no code"),
        ] {
            let said = check(id, says, query).unwrap_err();
            assert!(said.contains(words), "{query}: {said}");
        }
    }
}
