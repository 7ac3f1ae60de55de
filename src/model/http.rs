//! The HTTP client that all models share: one pool of connections, one verifier of certificates.

use std::time::Duration;

use reqwest::{Client, ClientBuilder, redirect};

use crate::problem::chain;

/// How long a connection may take to stand (OpenAI's client: 5 s); a server far away under load gets the double.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long an unused connection is kept. Servers and proxies close theirs after a minute or so; the sooner of both loses
/// fewer requests to a connection that is just being closed.
const IDLE_CONNECTION: Duration = Duration::from_secs(30);
/// Unused connections kept per server: a burst of calls is over soon, and the next one need not find them all.
const IDLE_CONNECTIONS: usize = 256;

/// Makes the client. Its certificates are the system's (or those of `SSL_CERT_FILE`), its proxies those of the environment.
pub(crate) fn client() -> Result<Client, String> {
    // Another part of the process may have installed it: ring either way.
    let _ = rustls::crypto::ring::default_provider().install_default();
    builder().build().or_else(|error| {
        // A container without certificates is no reason to refuse models on the local network.
        tracing::warn!(
            error = chain(&error),
            "no certificates of authorities can be loaded, so no model can be asked over https; install ca-certificates, or set SSL_CERT_FILE"
        );
        builder().tls_certs_only([]).build().map_err(|error| chain(&error))
    })
}

fn builder() -> ClientBuilder {
    Client::builder()
        .user_agent(concat!("fastagency/", env!("CARGO_PKG_VERSION")))
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_WITHIN)
        .pool_idle_timeout(IDLE_CONNECTION)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        // A redirect would take the conversation, and maybe the key, to where nobody sent them.
        .redirect(redirect::Policy::none())
        // The layer above counts attempts, and tells of each.
        .retry(reqwest::retry::never())
}

/// An error of the client in words, with its causes and without the address, which may hold a password.
pub(crate) fn in_words(error: reqwest::Error) -> String {
    chain(&error.without_url())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_as_often_as_one_likes() {
        assert!(client().is_ok());
        assert!(client().is_ok());
    }

    #[test]
    fn without_certificates_it_is_made_all_the_same() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        assert!(builder().tls_certs_only([]).build().is_ok());
    }
}
