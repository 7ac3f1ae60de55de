//! Giving an answer to a run, for REST and socket alike. A password is sealed, or told and not
//! stored.

use serde_json::Value;

use crate::broker::Slot;
use crate::fastagency::foreign_worker;
use crate::gateway::Gateway;
use crate::ids::UserId;
use crate::message::Message;
use crate::protocol::log::Origin;
use crate::protocol::signable::Signable;
use crate::run::answer::{Accepted, Answer, Given};
use crate::run::run_ref::RunRef;
use crate::run::{Result, answer, secret};
use crate::vouch::SignedStatement;

/// Answers a question. It counts once this returns [`Accepted::Yes`].
pub async fn give(gateway: &Gateway, target: &RunRef, question: &Message, given: Given) -> Result<Accepted> {
    let broker = &gateway.broker;
    if target.origin == Origin::ForeignWorker {
        return foreign_worker::answer(broker, &gateway.settings.redactor, target, question, given).await;
    }
    let mut told = None;
    let mut given = match (secret_of(question, &given.answer), &gateway.settings.sealer) {
        (None, _) => given,
        (Some(secret), Some(sealer)) => {
            let sealed = secret::seal(broker, sealer, target.run, question.uuid, &secret).await?;
            Given::new(Answer::Sealed(sealed), given.by)
        }
        (Some(secret), None) => {
            // Stored is a mark that says whose password counts; the password itself is told, once its mark was the first.
            told = Some(secret);
            Given::new(Answer::Told, given.by)
        }
    };
    if let Some(voucher) = &gateway.settings.voucher {
        given = given.signed(voucher, SignedStatement::Answer(target.run, question.uuid));
    }
    let accepted = answer::answer(broker, &target.workflow, target.run, question.uuid, &given).await?;
    if accepted == Accepted::Yes
        && let Some(secret) = told
    {
        broker.inbox.tell(target.run, Slot::Answer(question.uuid), secret.into()).await?;
    }
    Ok(accepted)
}

/// The password that an answer is.
fn secret_of(question: &Message, answer: &Answer) -> Option<String> {
    if !question.says.is_secret() {
        return None;
    }
    match answer {
        Answer::Text(text) => Some(text.clone()),
        Answer::Value(Value::String(text)) => Some(text.clone()),
        Answer::Value(other) => Some(other.to_string()),
        Answer::Sealed(_) | Answer::Told | Answer::Cancel | Answer::TimedOut => None,
    }
}

/// Ends a run.
pub async fn cancel(gateway: &Gateway, target: &RunRef, by: Option<UserId>) -> Result<()> {
    let voucher = gateway.settings.voucher.as_ref();
    answer::cancel(&gateway.broker, &target.workflow, target.run, by, voucher).await?;
    if target.origin == Origin::ForeignWorker {
        // No worker of ours reads its inbox, and a FastAgency worker cannot be stopped: it goes on unheard.
        let redactor = &gateway.settings.redactor;
        foreign_worker::end(&gateway.broker, redactor, target.run, crate::protocol::log::Ending::Cancelled, None)
            .await?;
    }
    Ok(())
}
