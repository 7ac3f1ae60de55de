//! A conversation over `/api`: start, follow the events, answer by the question's id.

use serde_json::{Map, Value, json};

use super::Stage;
use super::tally::{Conversation, Problem};
use crate::client::Error;
use crate::client::event::{Body, Event};
use crate::message::Content;
use crate::protocol::log::Ending;

pub(super) async fn converse(stage: &Stage, conversation: &mut Conversation) -> Result<(), Problem> {
    let mut permit = stage.may_begin().await;
    conversation.begins();
    let client = &stage.client;
    let key = conversation.secret.to_string();
    let run = stage
        .in_time("the start", client.start(&stage.load.workflow, &Map::new(), &key))
        .await?
        .map_err(|error| Problem::NotStarted(error.to_string()))?;
    let mut follower = client.follow(run.id, 0).give_up_after(stage.load.patience);
    let mut waiting_for = "the first message";
    loop {
        let event = stage.in_time(waiting_for, follower.next()).await?.map_err(broken)?;
        let record = match event {
            None => return Err(Problem::Broken("the events ended".to_owned())),
            Some(Event::Record(record)) => record,
            Some(_) => continue,
        };
        match &record.body {
            Body::Said { message } => {
                conversation.message(&record.json, true);
                waiting_for = "the next message";
                let says = message.says();
                if says.asks() {
                    conversation.asked()?;
                    permit = stage.at_question(conversation, permit).await;
                    let (answer, with_secret) = answer(stage, conversation, &says);
                    conversation.answers(with_secret);
                    stage
                        .in_time("the answer to be taken", client.answer(run.id, message.uuid, &answer))
                        .await?
                        .map_err(|error| Problem::Refused(error.to_string()))?;
                    waiting_for = "what follows the answer";
                }
            }
            Body::Ended(ended) => {
                conversation.message(&record.json, true);
                drop(permit);
                return match ended.outcome {
                    Ending::Completed => Ok(()),
                    Ending::Failed | Ending::Cancelled => {
                        Err(Problem::Failed(ended.reason.clone().unwrap_or_else(|| "without a reason".to_owned())))
                    }
                };
            }
            Body::Created { .. } | Body::Claimed { .. } | Body::Answered { .. } | Body::Parked | Body::Unknown => {}
        }
    }
}

fn answer(stage: &Stage, conversation: &Conversation, question: &Content) -> (Value, bool) {
    match question {
        Content::MultipleChoice(asked) => {
            let choice = asked.default.as_ref().or(asked.choices.first());
            (if asked.single { json!(choice) } else { json!(choice.map(|choice| vec![choice])) }, false)
        }
        _ => (json!(stage.text_answer(conversation.secret)), true),
    }
}

fn broken(error: Error) -> Problem {
    Problem::Broken(error.to_string())
}
