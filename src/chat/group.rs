//! A group chat (`docs/reference/ag2-semantics.md`, section 6): everybody hears everything, one speaks at a time, and a
//! manager, who says nothing himself, gives the floor.

use std::sync::Arc;

use serde_json::json;

use crate::chat::memory::Utterance;
use crate::chat::parties::Group;
use crate::chat::speaker::next_speaker;
use crate::chat::voice::{Silence, ends_conversation, tell_sent};
use crate::chat::{Event, Line, Result, Stage};
use crate::ids::Name;
use crate::protocol::dialogue::Role;
use crate::workflow::Agent;

const INTRODUCTION: &str =
    "Hello everyone. We have assembled a great team today to answer questions and solve tasks. In attendance are:";

/// How a group ended.
pub(super) struct Outcome {
    pub last_speaker: Name,
    pub ended_by: Silence,
}

/// Leads the group, from the message that `initiator` has just sent to its manager.
pub(super) async fn lead(stage: &mut Stage<'_>, group: &Group, initiator: &Arc<Agent>) -> Result<Outcome> {
    let manager = &group.manager.name;
    if group.introduces {
        introduce(stage, group);
    }
    let first = stage.memory.list(manager, &initiator.name).last();
    let mut message = first.map(|first| Line::clone(first)).unwrap_or_else(|| nothing(&initiator.name));
    let mut speaker = initiator.clone();
    let mut round = 1;
    let (last_speaker, ended_by) = loop {
        let accepted = speaker.name.clone();
        let line = hear(stage, group, message, &speaker.name);
        if ends_conversation(group.manager.is_termination_msg.as_ref(), manager, &line)? {
            break (accepted, Silence::Termination);
        }
        if round == group.max_round {
            break (accepted, Silence::MaxRounds);
        }
        round += 1;
        match next_speaker(stage, group, &speaker).await? {
            Some(next) => speaker = next,
            None => break (accepted, Silence::NoNextSpeaker),
        }
        stage.tell(Event::RunChat { speaker: speaker.name.clone() }).await?;
        match stage.reply(&speaker, manager).await? {
            Ok(reply) => message = speak(stage, group, &speaker.name, &reply).await?,
            Err(_) => break (accepted, Silence::NoReply),
        }
    };
    let reason = match ended_by {
        Silence::Termination => format!("Termination message condition on the GroupChatManager '{manager}' met"),
        Silence::MaxRounds => format!("Maximum rounds ({}) reached", group.max_round),
        Silence::NoNextSpeaker => "No next speaker selected".to_owned(),
        _ => "No reply generated".to_owned(),
    };
    stage.tell(Event::Termination { sender: manager.clone(), recipient: speaker.name.clone(), reason }).await?;
    Ok(Outcome { last_speaker, ended_by })
}

fn nothing(author: &Name) -> Line {
    Utterance::text("").line(Role::User, author)
}

/// The manager says to everybody who is there. The group's own list knows nothing of it.
fn introduce(stage: &mut Stage<'_>, group: &Group) {
    let words = Utterance::text(format!("{INTRODUCTION}\n\n{}", Group::roles(&group.members)));
    let line = Arc::new(words.line(Role::User, &group.manager.name));
    for member in &group.members {
        stage.memory.push(&member.name, &group.manager.name, line.clone());
    }
}

/// The group hears a message: it is noted, and everybody but its author remembers it.
fn hear(stage: &mut Stage<'_>, group: &Group, mut line: Line, speaker: &Name) -> Arc<Line> {
    let heard = line.message_mut();
    heard.name = Some(speaker.to_string());
    // What AG2 makes of a message without text; models see it.
    if heard.content.is_null() {
        heard.content = json!("None");
    }
    let line = Arc::new(line);
    let manager = &group.manager.name;
    stage.memory.push_to_group(manager, line.clone());
    for member in group.members.iter().filter(|member| &member.name != speaker) {
        stage.memory.push(&member.name, manager, line.clone());
    }
    line
}

/// A member says something to the manager: the message as the group will hear it.
async fn speak(stage: &mut Stage<'_>, group: &Group, speaker: &Name, reply: &Utterance) -> Result<Line> {
    let manager = &group.manager.name;
    stage.memory.push(speaker, manager, Arc::new(reply.line(Role::Assistant, speaker)));
    tell_sent(stage, speaker, manager, reply).await?;
    Ok(reply.line(Role::User, speaker))
}
