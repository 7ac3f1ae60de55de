//! What is done outside, once: what came of it is remembered, and what was under way when a worker was lost is done again only if that
//! does no harm.

use serde_json::Value;

use super::cut_off::begins_again;
use super::{ScopedEffects, diverged};
use crate::chat::{Result, WorkflowStop};
use crate::engine::journal::RememberedEffect;
use crate::ids::MessageId;
use crate::protocol::failure::FailureKind;
use crate::protocol::log::{EffectOutcome, RecordBody};

/// Performs it, unless the log remembers what came of it. It is given a name that stays the same over every attempt. `before` comes
/// first, while nothing has been begun.
pub(in crate::engine) async fn outside(
    effects: &ScopedEffects,
    is_idempotent: bool,
    before: impl AsyncFnOnce() -> Result<()>,
    perform: impl AsyncFnOnce(&str) -> Result<Value>,
) -> Result<Value> {
    let key = effects.key();
    let log = &effects.journal.log;
    match log.remembered(&key) {
        Some(RememberedEffect::Did(EffectOutcome::Value(value))) => return Ok(value),
        Some(RememberedEffect::Did(EffectOutcome::Failed { kind, message })) => {
            return Err(WorkflowStop::failed(kind, message));
        }
        Some(other) => return Err(diverged(&key, "what came from outside", &other)),
        None => {}
    }
    let begun = effects.begun();
    let is_cut_off = matches!(log.remembered(&begun), Some(RememberedEffect::Did(_)));
    let begins_again = match &effects.call {
        Some(call) if is_cut_off && !is_idempotent => begins_again(effects, call).await?,
        _ => is_idempotent,
    };
    let _busy = effects.journal.idle.busy();
    if is_cut_off && !begins_again {
        let message = match &effects.call {
            Some(_) => {
                "the worker was lost while this was under way, so nobody knows whether it was done; a person decided that it is not \
                 called again"
            }
            None => {
                "the worker was lost while this was under way, so nobody knows whether it was done; it is not done twice \
                 (`idempotent: true` says that this does no harm)"
            }
        };
        let outcome = EffectOutcome::Failed { kind: FailureKind::Lost, message: message.to_owned() };
        log.append(RecordBody::Did { key, outcome }).await?;
        return Err(WorkflowStop::failed(FailureKind::Lost, message));
    }
    if !is_cut_off {
        effects.check_new(&key)?;
    }
    if let Err(stop) = before().await {
        if let WorkflowStop::Failed(failure) = &stop {
            let outcome = EffectOutcome::Failed { kind: failure.kind.clone(), message: failure.message.clone() };
            log.append(RecordBody::Did { key, outcome }).await?;
        }
        return Err(stop);
    }
    if !is_cut_off {
        match is_idempotent {
            true => log.settle().await?,
            false => {
                let outcome = EffectOutcome::Value(Value::Bool(true));
                log.append(RecordBody::Did { key: begun, outcome }).await?;
            }
        }
    }
    let call =
        effects.journal.run.derive::<MessageId>(&format!("call/{}", effects.scope.of_every_attempt())).to_string();
    let performed = perform(&call).await;
    // Many people's tokens are in use at once; that of this run is certainly not in what its log remembers.
    let token = &effects.journal.caller_token;
    let outcome = match performed {
        Ok(value) => EffectOutcome::Value(token.hidden_in(value)),
        Err(WorkflowStop::Failed(failure)) => {
            EffectOutcome::Failed { kind: failure.kind, message: token.hidden(&failure.message) }
        }
        Err(stop) => return Err(stop),
    };
    effects.journal.budget.has_waited();
    log.came(key, outcome.clone()).await?;
    match outcome {
        EffectOutcome::Failed { kind, message } => Err(WorkflowStop::failed(kind, message)),
        EffectOutcome::Value(value) => Ok(value),
        _ => Ok(Value::Null),
    }
}
