//! A conversation over `/api`: start, follow the events, answer by the question's id.

use serde_json::{Map, Value, json};

use super::BenchContext;
use super::tally::{BenchConversation, ConversationProblem};
use crate::client::Error;
use crate::client::event::{Body, ClientEvent};
use crate::message::MessageContent;
use crate::protocol::log::RunOutcome;

pub(super) async fn converse(
    context: &BenchContext,
    conversation: &mut BenchConversation,
) -> Result<(), ConversationProblem> {
    let mut permit = context.may_begin().await;
    conversation.begins();
    let client = &context.client;
    let key = conversation.secret.to_string();
    let run = context
        .in_time("the start", client.start(&context.load.workflow, &Map::new(), &key))
        .await?
        .map_err(|error| ConversationProblem::NotStarted(error.to_string()))?;
    let mut follower = client.follow(run.id, 0).give_up_after(context.load.patience);
    let mut waiting_for = "the first message";
    loop {
        let event = context.in_time(waiting_for, follower.next()).await?.map_err(broken)?;
        let record = match event {
            None => return Err(ConversationProblem::Broken("the events ended".to_owned())),
            Some(ClientEvent::Record(record)) => record,
            Some(_) => continue,
        };
        match &record.body {
            Body::Said { message } => {
                conversation.message(&record.json, true);
                waiting_for = "the next message";
                let says = message.says();
                if says.asks() {
                    conversation.asked()?;
                    permit = context.at_question(conversation, permit).await;
                    let (answer, with_secret) = answer(context, conversation, &says);
                    conversation.answers(with_secret);
                    context
                        .in_time("the answer to be taken", client.answer(run.id, message.uuid, &answer))
                        .await?
                        .map_err(|error| ConversationProblem::Refused(error.to_string()))?;
                    waiting_for = "what follows the answer";
                }
            }
            Body::Ended(ended) => {
                conversation.message(&record.json, true);
                drop(permit);
                return match ended.outcome {
                    RunOutcome::Completed => Ok(()),
                    RunOutcome::Failed | RunOutcome::Cancelled => Err(ConversationProblem::Failed(
                        ended.reason.clone().unwrap_or_else(|| "without a reason".to_owned()),
                    )),
                };
            }
            Body::Created { .. }
            | Body::Claimed { .. }
            | Body::Answered { .. }
            | Body::Reminded { .. }
            | Body::Parked
            | Body::Unknown => {}
        }
    }
}

fn answer(context: &BenchContext, conversation: &BenchConversation, question: &MessageContent) -> (Value, bool) {
    match question {
        MessageContent::MultipleChoice(asked) => {
            let choice = asked.default.as_ref().or(asked.choices.first());
            (if asked.single { json!(choice) } else { json!(choice.map(|choice| vec![choice])) }, false)
        }
        _ => (json!(context.text_answer(conversation.secret)), true),
    }
}

fn broken(error: Error) -> ConversationProblem {
    ConversationProblem::Broken(error.to_string())
}
