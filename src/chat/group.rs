//! A group chat (`docs/reference/ag2-semantics.md`, section 6): everybody hears everything, one speaks at a time, and a
//! manager, who says nothing, chooses the next speaker.

use std::sync::Arc;

use serde_json::json;

use crate::chat::memory::OutgoingMessage;
use crate::chat::parties::SpeakerGroup;
use crate::chat::speaker::next_speaker;
use crate::chat::voice::{NoReplyReason, ends_conversation, tell_sent};
use crate::chat::{ChatEvent, ConversationContext, RememberedMessage, Result};
use crate::ids::Name;
use crate::protocol::dialogue::ChatRole;
use crate::workflow::Agent;

const INTRODUCTION: &str =
    "Hello everyone. We have assembled a great team today to answer questions and solve tasks. In attendance are:";

/// How a group ended.
pub(super) struct GroupChatEnd {
    pub last_speaker: Name,
    pub ended_by: NoReplyReason,
}

/// Leads the group, from the message that `initiator` has just sent to its manager.
pub(super) async fn lead(
    ctx: &mut ConversationContext<'_>,
    group: &SpeakerGroup,
    initiator: &Arc<Agent>,
) -> Result<GroupChatEnd> {
    let manager = &group.manager.name;
    if group.introduces {
        introduce(ctx, group);
    }
    let first = ctx.memory.list(manager, &initiator.name).last();
    let mut message = first.map(|first| RememberedMessage::clone(first)).unwrap_or_else(|| nothing(&initiator.name));
    let mut speaker = initiator.clone();
    let mut round = 1;
    let (last_speaker, ended_by) = loop {
        let accepted = speaker.name.clone();
        let line = hear(ctx, group, message, &speaker.name);
        if ends_conversation(group.manager.is_termination_msg.as_ref(), manager, &line)? {
            break (accepted, NoReplyReason::Termination);
        }
        if round == group.max_round {
            break (accepted, NoReplyReason::MaxRounds);
        }
        round += 1;
        match next_speaker(ctx, group, &speaker).await? {
            Some(next) => speaker = next,
            None => break (accepted, NoReplyReason::NoNextSpeaker),
        }
        ctx.tell(ChatEvent::RunChat { speaker: speaker.name.clone() }).await?;
        match ctx.reply(&speaker, manager).await? {
            Ok(reply) => message = speak(ctx, group, &speaker.name, &reply).await?,
            Err(_) => break (accepted, NoReplyReason::NoReply),
        }
    };
    let reason = match ended_by {
        NoReplyReason::Termination => format!("Termination message condition on the GroupChatManager '{manager}' met"),
        NoReplyReason::MaxRounds => format!("Maximum rounds ({}) reached", group.max_round),
        NoReplyReason::NoNextSpeaker => "No next speaker selected".to_owned(),
        _ => "No reply generated".to_owned(),
    };
    ctx.tell(ChatEvent::Termination { sender: manager.clone(), recipient: speaker.name.clone(), reason }).await?;
    Ok(GroupChatEnd { last_speaker, ended_by })
}

fn nothing(author: &Name) -> RememberedMessage {
    OutgoingMessage::text("").line(ChatRole::User, author)
}

/// The manager says to everybody who is there. The group's own list knows nothing of it.
fn introduce(ctx: &mut ConversationContext<'_>, group: &SpeakerGroup) {
    let words = OutgoingMessage::text(format!("{INTRODUCTION}\n\n{}", SpeakerGroup::roles(&group.members)));
    let line = Arc::new(words.line(ChatRole::User, &group.manager.name));
    for member in &group.members {
        ctx.memory.push(&member.name, &group.manager.name, line.clone());
    }
}

/// The group hears a message: it is noted, and everybody but its author remembers it.
fn hear(
    ctx: &mut ConversationContext<'_>,
    group: &SpeakerGroup,
    mut line: RememberedMessage,
    speaker: &Name,
) -> Arc<RememberedMessage> {
    let heard = line.message_mut();
    heard.name = Some(speaker.to_string());
    // What AG2 makes of a message without text; models see it.
    if heard.content.is_null() {
        heard.content = json!("None");
    }
    let line = Arc::new(line);
    let manager = &group.manager.name;
    ctx.memory.push_to_group(manager, line.clone());
    for member in group.members.iter().filter(|member| &member.name != speaker) {
        ctx.memory.push(&member.name, manager, line.clone());
    }
    line
}

/// A member says something to the manager: the message as the group will hear it.
async fn speak(
    ctx: &mut ConversationContext<'_>,
    group: &SpeakerGroup,
    speaker: &Name,
    reply: &OutgoingMessage,
) -> Result<RememberedMessage> {
    let manager = &group.manager.name;
    ctx.memory.push(speaker, manager, Arc::new(reply.line(ChatRole::Assistant, speaker)));
    tell_sent(ctx, speaker, manager, reply).await?;
    Ok(reply.line(ChatRole::User, speaker))
}
