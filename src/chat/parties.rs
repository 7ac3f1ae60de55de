//! Who talks with whom: a conversation that is about to begin, one that is over, and groups.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::chat::memory::RememberedMessages;
use crate::chat::{ChatEvent, ConversationContext, Result};
use crate::ids::Name;
use crate::workflow::{
    Agent, Expression, GroupChatManager, OnCut, SelectionMethod, SelectionPrompts, SpeakerTransitions, SummaryMethod,
};

/// A conversation that is about to begin.
#[derive(Debug, Clone)]
pub struct ChatRequest {
    /// Who begins; none: somebody called `user`, who has no model and executes the recipient's tools.
    pub sender: Option<Name>,
    /// Without a sender: `user` asks a person each time.
    pub user_input: bool,
    /// Who answers first.
    pub recipient: Name,
    /// The first message: a text, a list of parts, or an object with `content`; none: a person is asked for it.
    pub message: Option<Value>,
    /// How many turns at most; none: until somebody ends it.
    pub max_turns: Option<u32>,
    /// How it is summed up.
    pub summary: SummaryMethod,
    /// What is added to the first message.
    pub carryover: Vec<String>,
    /// Of the chats before it in a list, those whose summaries are not added.
    pub without_summaries_of: Vec<usize>,
    /// Whether the two forget first what they said before.
    pub clear_history: bool,
    /// Whether nothing of what they say is told.
    pub silent: bool,
    /// What is done about replies that are cut off; none: what is done outside, or what each agent says.
    pub on_cut: Option<OnCut>,
}

/// Whom a conversation is with.
pub(super) enum ChatRecipient {
    Agent(Arc<Agent>),
    Group(Arc<SpeakerGroup>),
}

impl ChatRecipient {
    pub(super) fn name(&self) -> &Name {
        match self {
            ChatRecipient::Agent(agent) => &agent.name,
            ChatRecipient::Group(group) => &group.manager.name,
        }
    }

    pub(super) fn rule(&self) -> Option<&Expression> {
        match self {
            ChatRecipient::Agent(agent) => agent.is_termination_msg.as_ref(),
            ChatRecipient::Group(group) => group.manager.is_termination_msg.as_ref(),
        }
    }

    /// How many replies it may give; a group may always go on.
    pub(super) fn most_replies(&self) -> u32 {
        match self {
            ChatRecipient::Agent(agent) => agent.max_consecutive_auto_reply,
            ChatRecipient::Group(_) => u32::MAX,
        }
    }
}

/// A conversation that is over.
pub(super) struct FinishedChat {
    pub sender: Name,
    pub recipient: Name,
    pub summary: String,
    /// What the sender remembers of it.
    pub messages: RememberedMessages,
    pub turns: u32,
    pub stop_reason: &'static str,
    pub last_speaker: Name,
}

impl FinishedChat {
    pub(super) fn result(&self) -> Value {
        let messages: Vec<Value> = self.messages.iter().map(|line| json!(**line)).collect();
        json!({
            "summary": self.summary,
            "messages": messages,
            "last": self.messages.last().map(|last| last.text()).unwrap_or_default(),
            "turns": self.turns,
            "stop_reason": self.stop_reason,
            "last_speaker": self.last_speaker,
        })
    }
}

/// Tells that a chat is over.
pub(super) async fn completed(ctx: &ConversationContext<'_>, ended: &FinishedChat) -> Result<()> {
    let FinishedChat { summary, messages, last_speaker, .. } = ended;
    let (summary, messages, last_speaker) = (summary.clone(), messages.clone(), last_speaker.clone());
    ctx.tell(ChatEvent::Completed { summary, messages, last_speaker }).await
}

/// A group, and how it goes on.
pub(super) struct SpeakerGroup {
    pub manager: GroupChatManager,
    pub members: Vec<Arc<Agent>>,
    pub max_round: u32,
    pub introduces: bool,
    pub speaker_selection: SpeakerSelection,
    pub transitions: SpeakerTransitions,
    pub selection: Arc<SelectionPrompts>,
}

/// How the next speaker is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SpeakerSelection {
    /// This method.
    Method(SelectionMethod),
    /// The group that is playing (`pattern`).
    Pattern,
}

impl SpeakerGroup {
    pub(super) fn is_member(&self, name: &Name) -> bool {
        self.members.iter().any(|member| &member.name == name)
    }

    pub(super) fn member(&self, name: &str) -> Option<&Arc<Agent>> {
        self.members.iter().find(|member| member.name.as_str() == name)
    }

    /// Names and descriptions, one a line.
    pub(super) fn roles(members: &[Arc<Agent>]) -> String {
        let role = |member: &Arc<Agent>| format!("{}: {}", member.name, member.description).trim().to_owned();
        members.iter().map(role).collect::<Vec<_>>().join("\n")
    }
}
