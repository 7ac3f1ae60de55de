//! A start of a FastAgency gateway that is refused. No run begins: the gateway's client is told why in the two messages with
//! which a workflow ends that failed (`docs/reference/fastagency-wire.md`, sections 3 and 5).

use serde_json::Value;

use crate::broker::contract::FastAgencyContract;
use crate::broker::{self, Error};
use crate::fastagency::envelope::envelope;
use crate::ids::{RunId, UserId, user_token};
use crate::message::{Message, MessageContent};
use crate::protocol::log::completed_message;
use crate::protocol::participant::{USER, WORKFLOW};
use crate::redact::Redactor;
use crate::run::redaction;

/// What the client reads first.
const NOT_STARTED: &str = "The workflow was not started";

/// Tells the client of a conversation why its workflow was not started. A second call for the same conversation, as after a
/// crash, tells nothing twice.
pub async fn refuse(
    contract: &dyn FastAgencyContract,
    run: RunId,
    user: Option<&UserId>,
    why: &str,
    redactor: &Redactor,
) -> broker::Result<()> {
    let user = user_token(user);
    let last = contract.last_copy(&user, run).await?;
    let already = last.as_ref().and_then(|last| last.copy_of).unwrap_or(0);
    let mut previous = last.map_or(0, |last| last.seq);
    let told = [error(run, why), completed_message(run, Value::String(format!("{NOT_STARTED}: {why}")))];
    for (number, mut message) in (1..).zip(told).filter(|(number, _)| *number > already) {
        redaction::message(redactor, &mut message);
        let body = serde_json::to_vec(&envelope(run, &message)).expect("an envelope is JSON");
        match contract.copy(&user, run, message.uuid, number, previous, body.into()).await {
            Ok(seq) => previous = seq,
            // Another worker tells the same.
            Err(Error::Conflict { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn error(run: RunId, why: &str) -> Message {
    Message {
        uuid: run.derive("refused"),
        sender: Some(WORKFLOW.to_owned()),
        recipient: Some(USER.to_owned()),
        auto_reply: false,
        alias: None,
        within: Vec::new(),
        says: MessageContent::Error { short: Some(format!("{NOT_STARTED}.")), long: Some(why.to_owned()) },
    }
}
