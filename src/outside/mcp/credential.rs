//! The token that requests to a server show: fetched for each of them, as a connection lives longer than a token.

use std::sync::Arc;

use secrecy::SecretString;

use crate::outside::secrets::{CredentialRequest, Secrets};

/// Where the token of a server comes from.
#[derive(Debug, Clone)]
pub(super) struct TokenSupply {
    /// The secrets, with the one that is meant.
    pub(super) secrets: Arc<Secrets>,
    /// Its name.
    pub(super) name: String,
    /// Whether a person signs in for it.
    pub(super) is_login: bool,
}

/// Why a request was not sent, or was refused for its token.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct TokenRefusal(pub(super) String);

impl TokenSupply {
    /// The token as it is now; `refused` is one that the server has refused.
    pub(super) async fn token(&self, refused: Option<&SecretString>) -> Result<SecretString, TokenRefusal> {
        let wanted = CredentialRequest { refused, ..CredentialRequest::default() };
        self.secrets.value(&self.name, wanted).await.map_err(TokenRefusal)
    }

    /// What is said where the server refuses the token.
    pub(super) fn refused(&self, scope: Option<&str>) -> TokenRefusal {
        let why = match scope {
            Some(scope) => format!("its token does not allow enough: the server wants the scope {scope:?}"),
            None => "it does not take its token".to_owned(),
        };
        let again = match (self.is_login, scope) {
            (true, Some(_)) => format!("; write it in `scopes`, and run `fastagency login {}`", self.name),
            (true, None) => format!("; run `fastagency login {}`", self.name),
            (false, _) => String::new(),
        };
        TokenRefusal(format!("{why}{again}"))
    }
}
