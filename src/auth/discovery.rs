//! Where the endpoints of an OpenID provider are, as it says itself.

use reqwest::Client;
use serde::Deserialize;

use super::fetch::{self, FetchError};

/// Where a provider's endpoints are (OpenID Connect Discovery 1.0).
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ProviderEndpoints {
    issuer: String,
    pub authorization_endpoint: String,
    pub token_endpoint: String,
    pub jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

impl ProviderEndpoints {
    /// Asks a provider.
    pub async fn fetch(client: &Client, issuer: &str) -> Result<Self, FetchError> {
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let found: Self = fetch::json(client.get(url)).await?;
        if found.issuer != issuer {
            // Whoever answers for another issuer would sign for it as well.
            let found: String = found.issuer.chars().take(200).collect();
            return Err(FetchError::Unavailable(format!("it calls itself {found:?}, not {issuer:?}")));
        }
        let secure = |url: &str| url.starts_with("https://") || issuer.starts_with("http://");
        if ![&found.authorization_endpoint, &found.token_endpoint, &found.jwks_uri].into_iter().all(|url| secure(url)) {
            return Err(FetchError::Unavailable("it names an endpoint without TLS".to_owned()));
        }
        Ok(found)
    }

    /// Whether a client's secret goes into the form, and nowhere else.
    pub fn takes_only_post(&self) -> bool {
        let methods = self.token_endpoint_auth_methods_supported.as_deref().unwrap_or_default();
        let takes = |wanted: &str| methods.iter().any(|method| method == wanted);
        takes("client_secret_post") && !takes("client_secret_basic")
    }
}
