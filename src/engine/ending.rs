//! How a run ends: what people see of it, and its last record.

use std::sync::Arc;

use serde_json::Value;

use crate::chat::{Result, WorkflowStop};
use crate::engine::effects::{ScopedEffects, say_cut_off};
use crate::engine::journal::Journal;
use crate::ids::UserId;
use crate::message::{FAILED, MessageContent};
use crate::protocol::effect_key::EffectScope;
use crate::protocol::log::{RecordBody, RunEnd, RunOutcome, completed_message};
use crate::protocol::participant::{USER, WORKFLOW};
use crate::workflow::Workflow;

/// How a run left memory in order; otherwise there is an [`Error`](crate::engine::Error).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriveEnd {
    /// It has ended.
    Ended,
    /// It only waits; whatever it waits for will queue it again.
    Parked,
    /// It is to be taken up again at once, here or elsewhere.
    HandedBack,
}

/// The scope of what the engine itself says of a run: one that no step has. Kept logs have the plain name wherever it was free.
pub(super) fn own_scope(workflow: &Workflow, name: &str) -> EffectScope {
    let is_taken = workflow.steps.iter().any(|step| step.path == name);
    EffectScope::of_engine(name, is_taken)
}

/// Ends a run whose workflow has returned or failed.
pub(super) async fn finish(journal: &Arc<Journal>, done: Result<Value>, scope: EffectScope) -> Result<DriveEnd> {
    let failure = match done {
        Ok(result) => match end(journal, RunOutcome::Completed, None, result.clone(), result).await {
            Ok(()) => return Ok(DriveEnd::Ended),
            Err(WorkflowStop::Failed(failure)) => failure,
            Err(halted) => return Err(halted),
        },
        Err(WorkflowStop::Failed(failure)) => failure,
        Err(halted) => return Err(halted),
    };
    let told = match &failure.step {
        Some(step) => format!("{} ({step})", failure.message),
        None => failure.message.clone(),
    };
    let user = journal.created.user.as_ref().map(UserId::as_str);
    // Not its words: they may quote what people and models said. The run's own log has them.
    let (kind, step) = (failure.kind.as_str(), failure.step.as_deref());
    tracing::warn!(run.id = %journal.run, workflow = %journal.created.workflow, user.id = user, kind, step, "the run failed");
    let says = MessageContent::Error { short: Some(format!("{FAILED}.")), long: Some(told.clone()) };
    ScopedEffects::of_end(journal.clone(), scope).say(WORKFLOW, USER, says, None).await?;
    let words = Value::String(format!("{FAILED}: {told}"));
    end(journal, RunOutcome::Failed, Some(told), Value::Null, words).await?;
    Ok(DriveEnd::Ended)
}

/// Ends a run that somebody has cancelled.
pub(super) async fn cancel(journal: &Arc<Journal>, payload: &[u8], scope: EffectScope) -> Result<DriveEnd> {
    let by = journal.inbox.cancelled_by(payload);
    say_cut_off(&ScopedEffects::of_end(journal.clone(), scope)).await?;
    let reason = match by {
        Some(by) => format!("stopped by {by}"),
        None => "stopped".to_owned(),
    };
    let words = Value::String(format!("The run was {reason}."));
    end(journal, RunOutcome::Cancelled, Some(reason), Value::Null, words).await?;
    Ok(DriveEnd::Ended)
}

async fn end(
    journal: &Arc<Journal>,
    outcome: RunOutcome,
    reason: Option<String>,
    result: Value,
    shown: Value,
) -> Result<()> {
    let message = completed_message(journal.run, shown);
    let ended = RunEnd { outcome, reason, result, usage: journal.budget.usage(), message };
    journal.log.append(RecordBody::Ended(ended)).await?;
    Box::pin(journal.secrets.forget()).await;
    Ok(())
}
