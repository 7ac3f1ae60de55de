//! The access token of the person whose run it is, for the calls of the run that are made in the person's name.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::clock;
use crate::engine::context::EngineContext;
use crate::ids::{RunId, UserId};
use crate::outside::hidden::HiddenTexts;
use crate::outside::secrets::CallerTokenSource;
use crate::protocol::caller_token::CallerToken;
use crate::run::caller_token;

/// The name that stands in the place of a token.
const SHOWN: &str = "caller's token";

/// The access token of the person whose run it is.
pub(in crate::engine) struct RunCallerToken {
    run: RunId,
    owner: Option<UserId>,
    context: Arc<EngineContext>,
    /// The tokens that calls of this run were made with.
    used: HiddenTexts,
}

impl fmt::Debug for RunCallerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RunCallerToken").field(&self.run).finish()
    }
}

impl RunCallerToken {
    /// That of a run of this user.
    pub(super) fn new(run: RunId, owner: Option<UserId>, context: Arc<EngineContext>) -> Self {
        Self { run, owner, context, used: HiddenTexts::default() }
    }

    /// The token as it is now, for a run that this one starts; none: there is none that counts.
    pub(in crate::engine) async fn current(&self) -> Option<CallerToken> {
        self.find().await.ok()
    }

    /// What came of a call, without the tokens that calls of this run were made with.
    pub(in crate::engine) fn hidden_in(&self, value: Value) -> Value {
        self.used.hidden_in(value)
    }

    /// The same of words.
    pub(in crate::engine) fn hidden(&self, words: &str) -> String {
        self.used.hidden(words)
    }

    async fn find(&self) -> Result<CallerToken, String> {
        let Some(owner) = &self.owner else {
            return Err(
                "nobody is known to have started this run, as no one is asked who calls; set auth.mode".to_owned()
            );
        };
        let Some(sealer) = &self.context.sealer else {
            return Err(
                "this worker has no seal_key to open it with; give every gateway and worker the same".to_owned()
            );
        };
        let found = caller_token::read(&self.context.broker, sealer, self.run).await;
        let found = found.map_err(|error| {
            tracing::warn!(run.id = %self.run, "the caller's token cannot be read: {error}");
            "the place where it is kept cannot be reached now".to_owned()
        })?;
        let renew = format!("{owner} can sign in again and answer a question of this run, or start it again");
        match found {
            // What another gateway or worker has put there is not believed to be the owner's.
            Some(token) if token.user != *owner => Err(format!("what is kept is the token of somebody else; {renew}")),
            Some(token) if token.until <= clock::system().now() => {
                Err(format!("the token of {owner} has expired; {renew}"))
            }
            Some(token) => Ok(token),
            None => Err(format!(
                "there is no access token of {owner}: it has expired, or {owner} did not show one to the gateway; {renew}"
            )),
        }
    }
}

#[async_trait]
impl CallerTokenSource for RunCallerToken {
    async fn caller_token(&self) -> Result<SecretString, String> {
        let token: SecretString = self.find().await?.token.into();
        self.used.learn(SHOWN, token.expose_secret());
        Ok(token)
    }
}
