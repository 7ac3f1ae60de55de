//! Giving an answer to a run, for REST and socket alike. A password is sealed, or told and not
//! stored.

use serde_json::Value;

use crate::auth::Caller;
use crate::broker::InboxSlot;
use crate::fastagency::foreign_worker;
use crate::gateway::permissions::answering;
use crate::gateway::{GatewayState, caller_token};
use crate::ids::UserId;
use crate::message::Message;
use crate::protocol::log::RunOrigin;
use crate::protocol::signable::Signable;
use crate::run::answer::{AnswerAcceptance, AnswerPayload, SubmittedAnswer};
use crate::run::run_ref::RunRef;
use crate::run::{Result, answer, secret};
use crate::signing::SignedStatement;

/// Why a caller may not answer a question, in a sentence that names who may; none: the question is for the caller, too. That the
/// caller may answer in the run at all is asked elsewhere.
pub fn refusal(question: &Message, caller: &Caller, starter: Option<&UserId>, escalated: usize) -> Option<String> {
    question.says.answerers()?.refusal(answering(caller), starter, escalated)
}

/// An answer of a caller. Where not everybody may answer, it says what the caller belongs to: the worker looks, too.
pub fn given(question: &Message, answer: AnswerPayload, caller: &Caller) -> SubmittedAnswer {
    let groups = question.says.answerers().map(|_| caller.groups.clone().into_boxed_slice());
    SubmittedAnswer { groups: groups.unwrap_or_default(), ..SubmittedAnswer::new(answer, caller.user.clone()) }
}

/// Answers a question. It counts once this returns [`AnswerAcceptance::Yes`].
pub async fn give(
    gateway: &GatewayState,
    target: &RunRef,
    question: &Message,
    given: SubmittedAnswer,
    caller: &Caller,
) -> Result<AnswerAcceptance> {
    let broker = &gateway.broker;
    if target.origin == RunOrigin::ForeignWorker {
        return foreign_worker::answer(broker, &gateway.settings.redactor, target, question, given).await;
    }
    // Before the answer counts: the run goes on with it at once.
    caller_token::renew(gateway, target, caller).await;
    let mut told = None;
    let mut given = match (secret_of(question, &given.answer), &gateway.settings.sealer) {
        (None, _) => given,
        (Some(secret), Some(sealer)) => {
            let sealed = secret::seal(broker, sealer, target.run, question.uuid, &secret).await?;
            SubmittedAnswer { answer: AnswerPayload::Sealed(sealed), ..given }
        }
        (Some(secret), None) => {
            // Stored is a mark that says whose password counts; the password itself is told, once its mark was the first.
            told = Some(secret);
            SubmittedAnswer { answer: AnswerPayload::NotStored, ..given }
        }
    };
    if let Some(gateway_signer) = &gateway.settings.gateway_signer {
        given = given.signed(gateway_signer, SignedStatement::Answer(target.run, question.uuid));
    }
    let accepted = answer::answer(broker, &target.workflow, target.run, question.uuid, &given).await?;
    if accepted == AnswerAcceptance::Yes
        && let Some(secret) = told
    {
        broker.inbox.notify(target.run, InboxSlot::Answer(question.uuid), secret.into()).await?;
    }
    Ok(accepted)
}

/// The password that an answer is.
fn secret_of(question: &Message, answer: &AnswerPayload) -> Option<String> {
    if !question.says.is_secret() {
        return None;
    }
    match answer {
        AnswerPayload::Text(text) => Some(text.clone()),
        AnswerPayload::Value(Value::String(text)) => Some(text.clone()),
        AnswerPayload::Value(other) => Some(other.to_string()),
        AnswerPayload::Sealed(_) | AnswerPayload::NotStored | AnswerPayload::Cancel | AnswerPayload::TimedOut => None,
    }
}

/// Ends a run.
pub async fn cancel(gateway: &GatewayState, target: &RunRef, by: Option<UserId>) -> Result<()> {
    let gateway_signer = gateway.settings.gateway_signer.as_ref();
    answer::cancel(&gateway.broker, &target.workflow, target.run, by, gateway_signer).await?;
    if target.origin == RunOrigin::ForeignWorker {
        // No worker of ours reads its inbox, and a FastAgency worker cannot be stopped: it goes on unheard.
        let redactor = &gateway.settings.redactor;
        foreign_worker::end(&gateway.broker, redactor, target.run, crate::protocol::log::RunOutcome::Cancelled, None)
            .await?;
    }
    Ok(())
}
