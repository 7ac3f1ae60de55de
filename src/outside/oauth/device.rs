//! The device flow (RFC 8628): a person allows something in the browser of another machine, with a code to type in.

use std::time::Duration;

use reqwest::Url;
use serde_json::Value;
use tokio::time::Instant;

use super::authorization::RequestedAccess;
use super::discovery::AuthorizationServer;
use super::requests::{ClientIdentity, OAuthError, OAuthRequester, TokenAnswer};

/// How long a server is waited for at the longest, whatever it allows.
const LONGEST_WAIT: Duration = Duration::from_secs(30 * 60);
/// How often a server is asked unless it says it.
const INTERVAL: Duration = Duration::from_secs(5);
/// How seldom at the most.
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);
/// What is added to that whenever it says that this is too often.
const SLOW_DOWN: Duration = Duration::from_secs(5);

/// What a person is to do.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceAuthorization {
    /// Where to go.
    pub url: Url,
    /// What to type in there.
    pub user_code: String,
    /// Where to go with the code in the address, if the server has such a place.
    pub complete_url: Option<Url>,
    /// How long the code is good for.
    pub expires_in: Duration,
    device_code: String,
    interval: Duration,
}

impl DeviceAuthorization {
    /// Asks for a code.
    pub async fn begin(
        requester: OAuthRequester<'_>,
        server: &AuthorizationServer,
        client: &ClientIdentity,
        access: &RequestedAccess,
    ) -> Result<Self, OAuthError> {
        let Some(url) = &server.device_url else {
            let words = "the server does not say that it has the device flow (device_authorization_endpoint)";
            return Err(OAuthError::Failed(words.to_owned()));
        };
        let mut pairs = Vec::new();
        if !access.scopes.is_empty() {
            pairs.push(("scope", access.scopes.join(" ")));
        }
        pairs.extend(access.parameters.iter().map(|(name, value)| (name.as_str(), value.clone())));
        let answer = requester.post(url, client, pairs).await?;
        let fields = requester.fields(answer)?;
        let text = |key: &str| fields.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let seconds = |key: &str| fields.get(key).and_then(Value::as_f64).filter(|seconds| *seconds >= 0.0);
        let address = |key: &str| {
            text(key).and_then(|text| Url::parse(text).ok()).filter(|url| matches!(url.scheme(), "http" | "https"))
        };
        // Google's word for it came before the standard.
        let url = address("verification_uri").or_else(|| address("verification_url"));
        let (Some(url), Some(user_code), Some(device_code)) = (url, text("user_code"), text("device_code")) else {
            return Err(OAuthError::Failed("the server's answer has no code for the device flow".to_owned()));
        };
        requester.hidden.learn(requester.name, device_code);
        let up_to = |seconds: f64, most: Duration| Duration::from_secs_f64(seconds.min(most.as_secs_f64()));
        let expires_in = seconds("expires_in").map_or(LONGEST_WAIT, |seconds| up_to(seconds, LONGEST_WAIT));
        let interval = seconds("interval").map_or(INTERVAL, |seconds| up_to(seconds, LONGEST_INTERVAL));
        Ok(Self {
            url,
            user_code: user_code.to_owned(),
            complete_url: address("verification_uri_complete"),
            expires_in,
            device_code: device_code.to_owned(),
            interval: interval.max(Duration::from_millis(100)),
        })
    }

    /// Waits until the person has allowed it.
    pub async fn tokens(
        &self,
        requester: OAuthRequester<'_>,
        server: &AuthorizationServer,
        client: &ClientIdentity,
    ) -> Result<TokenAnswer, OAuthError> {
        let end = Instant::now() + self.expires_in;
        let mut interval = self.interval;
        loop {
            if Instant::now() + interval > end {
                return Err(OAuthError::Failed("the code has expired before it was typed in: begin again".to_owned()));
            }
            tokio::time::sleep(interval).await;
            let pairs = vec![
                ("grant_type", "urn:ietf:params:oauth:grant-type:device_code".to_owned()),
                ("device_code", self.device_code.clone()),
            ];
            match requester.token(&server.token_url, client, pairs).await {
                Err(error) if error.is("authorization_pending") => {}
                Err(error) if error.is("slow_down") => interval += SLOW_DOWN,
                Err(error) if error.is("expired_token") => {
                    let words = "the code has expired before it was typed in: begin again";
                    return Err(OAuthError::Failed(words.to_owned()));
                }
                Err(error) if error.is("access_denied") => {
                    return Err(OAuthError::Failed("it was not allowed in the browser (access_denied)".to_owned()));
                }
                // A server that is away for a moment ends no login (RFC 8628, 3.5).
                Err(OAuthError::Failed(_)) => interval += SLOW_DOWN,
                other => return other,
            }
        }
    }
}
