//! Asking the server of identities: with an end to patience, to size, and to being sent elsewhere.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, StatusCode, redirect};
use serde::de::DeserializeOwned;

use crate::bounds::{self, OUTSIDE};
use crate::problem::chain;

/// How long an answer may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest answer that is read.
const LARGEST_RESPONSE: usize = 256 * 1024;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum FetchError {
    /// The server says no.
    Refused { status: StatusCode, words: String },
    /// It cannot be asked now, or what it says cannot be understood.
    Unavailable(String),
}

impl std::fmt::Display for FetchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused { status, words } => write!(f, "it says {status}: {words}"),
            Self::Unavailable(why) => f.write_str(why),
        }
    }
}

/// A client for addresses like this one; the reason if there can be none.
pub(super) fn client(url: &str) -> Result<Client, String> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = || Client::builder().timeout(FETCH_TIMEOUT).redirect(redirect::Policy::none());
    builder()
        .build()
        // A container without certificates can still reach an address without TLS.
        .or_else(|error| if url.starts_with("http:") { builder().tls_certs_only([]).build() } else { Err(error) })
        .map_err(|error| chain(&error.without_url()))
}

/// Sends a request and reads the JSON of its answer.
pub(super) async fn json<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, FetchError> {
    let unavailable = |error: reqwest::Error| FetchError::Unavailable(chain(&error.without_url()));
    let mut answer = request.send().await.map_err(unavailable)?;
    let status = answer.status();
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(unavailable)? {
        body.extend_from_slice(&chunk);
        if body.len() > LARGEST_RESPONSE {
            return Err(FetchError::Unavailable(format!("its answer has more than {LARGEST_RESPONSE} bytes")));
        }
    }
    if status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT && status != StatusCode::TOO_MANY_REQUESTS {
        return Err(FetchError::Refused { status, words: String::from_utf8_lossy(&body).chars().take(300).collect() });
    }
    if !status.is_success() {
        return Err(FetchError::Unavailable(format!("it says {status}")));
    }
    bounds::read(&body, &OUTSIDE)
        .map_err(|error| FetchError::Unavailable(format!("its answer cannot be read: {error}")))
}
