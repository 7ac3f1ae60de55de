//! Holding the chat of a group that hands over, from a first message or from several that were said before.

use std::sync::Arc;

use serde_json::Value;

use crate::chat::group_chat::{Start, begin};
use crate::chat::memory::Utterance;
use crate::chat::parties::{Floor, Group, completed};
use crate::chat::pattern::{Grouped, Playing, USER};
use crate::chat::{Event, Result, Stage, Stop};
use crate::ids::Name;
use crate::protocol::dialogue::Role;
use crate::protocol::failure::FailureKind;
use crate::workflow::{Agent, Selection, Transitions};

/// Holds a group's chat, and returns the chat result with `context_variables`.
pub async fn hold_group(stage: &mut Stage<'_>, grouped: Grouped<'_>) -> Result<Value> {
    let (playing, members) = Playing::begin(stage, &grouped)?;
    let messages = opening(grouped.messages)?;
    stage.playing = Some(playing);
    let ended = play(stage, grouped.group, members, messages).await;
    let playing = stage.playing.take();
    let mut result = ended?;
    result["context_variables"] = Value::Object(playing.map(|playing| playing.context).unwrap_or_default());
    Ok(result)
}

/// The messages that a group begins with.
fn opening(messages: Value) -> Result<Vec<Value>> {
    let is_message = |value: &Value| value.get("content").is_some() || value.get("tool_calls").is_some();
    match messages {
        Value::Array(list) if list.iter().all(is_message) && !list.is_empty() => Ok(list),
        Value::Array(list) if list.is_empty() => {
            Err(Stop::failed(FailureKind::Message, "a group begins with a message"))
        }
        one => Ok(vec![one]),
    }
}

async fn play(
    stage: &mut Stage<'_>,
    described: &crate::workflow::Group,
    members: Vec<Arc<Agent>>,
    messages: Vec<Value>,
) -> Result<Value> {
    let group = Group {
        manager: described.manager.clone(),
        members,
        max_round: described.max_rounds,
        introduces: false,
        floor: Floor::Pattern,
        transitions: Transitions::All,
        selection: Arc::new(Selection::default()),
    };
    let resumes = messages.len() > 1;
    let (initiator, message) = if resumes {
        resume(stage, &group, messages).await?
    } else {
        let message = messages.into_iter().next().unwrap_or_default();
        (first_speaker(stage, &group, &message)?, message)
    };
    let start = Start {
        message: Some(message),
        carryover: Vec::new(),
        max_turns: None,
        summary: described.summary.clone(),
        clear_history: !resumes,
        silent: false,
    };
    let mut ended = begin(stage, initiator, group, start).await?;
    for line in &mut ended.messages {
        // Nobody knows who that is.
        if line.name.as_deref() == Some(USER) {
            Arc::make_mut(line).message_mut().name = None;
        }
    }
    completed(stage, &ended).await?;
    Ok(ended.result())
}

/// Who says the one message that the group begins with: whom it names, or the user.
fn first_speaker(stage: &Stage<'_>, group: &Group, message: &Value) -> Result<Arc<Agent>> {
    let playing = stage.playing.as_ref();
    let user = playing.and_then(|playing| playing.user.as_ref()).map_or(USER, Name::as_str);
    let name = message.get("name").and_then(Value::as_str).unwrap_or(user);
    let found = group.member(name).cloned();
    found.ok_or_else(|| {
        Stop::failed(FailureKind::Message, format!("the message is from {name:?}, who is not in the group"))
    })
}

/// Loads all messages but the last, and says who goes on with it (AG2's `resume`).
async fn resume(stage: &mut Stage<'_>, group: &Group, messages: Vec<Value>) -> Result<(Arc<Agent>, Value)> {
    let manager = &group.manager.name;
    let author = |message: &Value| {
        let name = message.get("name").and_then(Value::as_str).unwrap_or_default();
        let unknown = || {
            Stop::failed(
                FailureKind::Message,
                format!("a message to go on from is from {name:?}, who is not in the group"),
            )
        };
        group.member(name).cloned().ok_or_else(unknown)
    };
    stage.memory.forget_group(manager);
    for member in &group.members {
        stage.memory.forget(&member.name, manager);
        stage.memory.forget(manager, &member.name);
    }
    let (last, before) = messages.split_last().expect("there are several");
    for message in before {
        let author = author(message)?;
        let said = Utterance::from_value(message.clone())?;
        let heard = Arc::new(said.line(Role::User, &author.name));
        for member in &group.members {
            let own = member.name == author.name;
            let line = if own { Arc::new(said.line(Role::Assistant, &author.name)) } else { heard.clone() };
            stage.memory.push(&member.name, manager, line);
        }
        stage.memory.push_to_group(manager, heard);
    }
    let speaker = author(last)?;
    let last_speaker = speaker.name.to_string();
    stage.tell(Event::Resumed { last_speaker, messages: messages.clone() }).await?;
    Ok((speaker, last.clone()))
}
