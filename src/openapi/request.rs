//! A request as it is sent, but for the credentials: those are put into their places last, by the sender.

use std::fmt;
use std::sync::Arc;

use reqwest::Url;
use sha2::{Digest, Sha256};

use super::body::RequestBody;
use super::parameters::is_token;
use super::security::{CredentialPlace, SecurityAlternative};
use super::style::encoded;

/// Why there is no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// An argument cannot be sent. A sentence for the model.
    #[error("{0}")]
    Argument(String),
    /// The server is not known. A sentence for who configures the tool.
    #[error("{0}")]
    Server(String),
}

/// A request.
#[derive(Clone)]
pub struct OpenApiRequest {
    method: &'static str,
    url: Url,
    headers: Vec<(String, String)>,
    cookies: Vec<(String, String)>,
    body: Option<RequestBody>,
    security: Arc<[SecurityAlternative]>,
}

impl fmt::Debug for OpenApiRequest {
    /// Shows nothing that may be a credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.method, self.url.origin().ascii_serialization(), self.url.path())
    }
}

impl OpenApiRequest {
    pub(super) fn new(
        method: &'static str,
        url: Url,
        headers: Vec<(String, String)>,
        cookies: Vec<(String, String)>,
        body: Option<RequestBody>,
        security: Arc<[SecurityAlternative]>,
    ) -> Self {
        Self { method, url, headers, cookies, body, security }
    }

    /// `GET`, `POST`, ….
    pub fn method(&self) -> &'static str {
        self.method
    }

    /// The absolute address, with the query.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// All headers that the specification asks for: those of parameters, `Accept`, `Content-Type`, `Cookie`.
    pub fn headers(&self) -> Vec<(String, String)> {
        let mut headers = self.headers.clone();
        if let Some(body) = &self.body {
            headers.push(("Content-Type".to_owned(), body.content_type.clone()));
        }
        if !self.cookies.is_empty() {
            let pairs: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            headers.push(("Cookie".to_owned(), pairs.join("; ")));
        }
        headers
    }

    /// The body; none: the request has none.
    pub fn body(&self) -> Option<&RequestBody> {
        self.body.as_ref()
    }

    /// What the specification asks for before the operation may be called; empty: nothing.
    pub fn security(&self) -> &[SecurityAlternative] {
        &self.security
    }

    /// Puts a credential into its place: a whole value of a header (`Bearer …`), or a value of the query or of a cookie, which is
    /// encoded here.
    pub fn put_credential(&mut self, place: &CredentialPlace, value: &str) -> Result<(), RequestError> {
        match place {
            CredentialPlace::Header(name) => {
                check_header(name, value)
                    .map_err(|why| RequestError::Server(format!("the credential for the header {name} {why}")))?;
                self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
                self.headers.push((name.clone(), value.to_owned()));
            }
            CredentialPlace::Query(name) => {
                let pair = format!("{}={}", encoded(name, false), encoded(value, false));
                let query = match self.url.query() {
                    Some(query) if !query.is_empty() => format!("{query}&{pair}"),
                    _ => pair,
                };
                self.url.set_query(Some(&query));
            }
            CredentialPlace::Cookie(name) => {
                if !is_token(name) {
                    return Err(RequestError::Server(format!("{name:?} is no name of a cookie")));
                }
                self.cookies.retain(|(known, _)| known != name);
                self.cookies.push((name.clone(), encoded(value, false)));
            }
        }
        Ok(())
    }

    /// A hash of everything in the request, in hexadecimal digits: the same for the same request. Taken before credentials are
    /// put in, it tells whether what a person allowed is what is sent.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        let mut add = |part: &[u8]| {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        };
        add(self.method.as_bytes());
        add(self.url.as_str().as_bytes());
        for (name, value) in self.headers() {
            add(name.as_bytes());
            add(value.as_bytes());
        }
        add(self.body.as_ref().map_or(&[], |body| &body.bytes));
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Whether a header may have this value: one line of characters that all servers read alike.
pub(super) fn check_header(name: &str, value: &str) -> Result<(), String> {
    if !is_token(name) {
        return Err("has a name that no header may have".to_owned());
    }
    match value.chars().find(|letter| !matches!(letter, ' '..='~')) {
        Some('\r' | '\n') => Err("may not have line breaks".to_owned()),
        Some(letter) => Err(format!("may not have the character {letter:?}: a header is written in ASCII")),
        None if value.trim() != value => Err("may not begin or end with a space".to_owned()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> OpenApiRequest {
        let url = Url::parse("https://api.example/pets?a=1").unwrap();
        let headers = vec![("X-Key".to_owned(), "old".to_owned())];
        let cookies = vec![("theme".to_owned(), "dark".to_owned())];
        OpenApiRequest::new("GET", url, headers, cookies, None, Arc::from(Vec::new()))
    }

    #[test]
    fn credentials_are_put_into_their_places() {
        let mut request = request();
        let digest = request.digest();
        request.put_credential(&CredentialPlace::Header("x-key".to_owned()), "secret").unwrap();
        request.put_credential(&CredentialPlace::Query("api key".to_owned()), "a&b").unwrap();
        request.put_credential(&CredentialPlace::Cookie("session".to_owned()), "a;b").unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(request.headers(), [pair("x-key", "secret"), pair("Cookie", "theme=dark; session=a%3Bb")]);
        assert_eq!(request.url().as_str(), "https://api.example/pets?a=1&api%20key=a%26b");
        assert_ne!(request.digest(), digest);
        assert_eq!(format!("{request:?}"), "GET https://api.example/pets");
    }

    #[test]
    fn a_header_has_one_line_of_ascii() {
        for value in ["", "a b", "Bearer x.y-z=", "a,b"] {
            check_header("X-A", value).unwrap();
        }
        for value in ["a\r\nX-B: c", "a\nb", "é", "a\0", " a", "a\t"] {
            assert!(check_header("X-A", value).is_err(), "{value:?}");
            let place = CredentialPlace::Header("X-A".to_owned());
            assert!(request().put_credential(&place, value).is_err());
        }
        assert!(check_header("X A", "a").is_err());
        assert!(request().put_credential(&CredentialPlace::Cookie("a=b".to_owned()), "x").is_err());
    }
}
