//! The access token that a caller has shown, on its way to the caller's own run: sealed, and only where the workflow makes calls
//! with it.

use crate::auth::Caller;
use crate::clock::Timestamp;
use crate::gateway::GatewayState;
use crate::gateway::workflow_cache::WorkflowOwner;
use crate::protocol::caller_token::CallerToken;
use crate::protocol::log::RecordBody;
use crate::run::Result;
use crate::run::caller_token::{self, CallerTokenSeal};
use crate::run::directory::WorkflowCard;
use crate::run::run_ref::RunRef;
use crate::run::secret;
use crate::run::writer::last_record;

/// What a run of this workflow that the caller starts gets of the caller's token; none: nothing.
pub fn token_for<'g>(
    gateway: &'g GatewayState,
    caller: &Caller,
    workflow: &WorkflowCard,
) -> Option<CallerTokenSeal<'g>> {
    if !gateway.settings.passes_caller_tokens || !workflow.uses_caller_token {
        return None;
    }
    let (sealer, user, shown) =
        (gateway.settings.sealer.as_ref()?, caller.user.clone()?, caller.access_token.as_ref()?);
    let until = Timestamp::from_second(i64::try_from(shown.until).ok()?).ok()?;
    Some(CallerTokenSeal { sealer, token: CallerToken { user, token: shown.token.to_string(), until } })
}

/// Gives a run the token with which its own user has come now. Nobody else's token takes its place, whoever may answer in the run.
/// What the user has come for does not fail with it: a call that needs the token says so.
pub async fn renew(gateway: &GatewayState, target: &RunRef, caller: &Caller) {
    if !gateway.settings.passes_caller_tokens || caller.user.is_none() || caller.user != target.user {
        return;
    }
    let renewed: Result<()> = async {
        let Some(WorkflowOwner::Native(workflow)) = gateway.known.find(target.workflow.as_str()).await? else {
            return Ok(());
        };
        match token_for(gateway, caller, &workflow.card) {
            Some(token) => {
                gateway.limits.stored(caller, weight(&token));
                caller_token::store(&gateway.broker, target.run, &token, gateway.clock.now()).await?;
                // Its secrets are forgotten when it ends, and this may have come after that.
                match last_record(&gateway.broker, target.run).await?.map(|last| last.record.body) {
                    Some(RecordBody::Ended(_) | RecordBody::Removed(_)) | None => {
                        secret::forget(&gateway.broker, target.run).await
                    }
                    Some(_) => Ok(()),
                }
            }
            None => Ok(()),
        }
    }
    .await;
    if let Err(error) = renewed {
        tracing::warn!(run.id = %target.run, "the caller's new token could not be stored for the run: {error}");
    }
}

/// What a token adds to the store, about: it is sealed, and written in base64.
pub fn weight(token: &CallerTokenSeal<'_>) -> usize {
    2 * token.token.token.len()
}
