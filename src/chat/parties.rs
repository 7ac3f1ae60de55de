//! Who talks with whom: a conversation that is about to begin, one that is over, and groups.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::chat::memory::Lines;
use crate::chat::{Event, Result, Stage};
use crate::ids::Name;
use crate::workflow::{Agent, Expression, Manager, Selection, SelectionMethod, SummaryMethod, Transitions};

/// A conversation that is about to begin.
#[derive(Debug, Clone)]
pub struct Chat {
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
}

/// Whom a conversation is with.
pub(super) enum Recipient {
    Agent(Arc<Agent>),
    Group(Arc<Group>),
}

impl Recipient {
    pub(super) fn name(&self) -> &Name {
        match self {
            Recipient::Agent(agent) => &agent.name,
            Recipient::Group(group) => &group.manager.name,
        }
    }

    pub(super) fn rule(&self) -> Option<&Expression> {
        match self {
            Recipient::Agent(agent) => agent.is_termination_msg.as_ref(),
            Recipient::Group(group) => group.manager.is_termination_msg.as_ref(),
        }
    }

    /// How many replies it may give; a group may always go on.
    pub(super) fn most_replies(&self) -> u32 {
        match self {
            Recipient::Agent(agent) => agent.max_consecutive_auto_reply,
            Recipient::Group(_) => u32::MAX,
        }
    }
}

/// A conversation that is over.
pub(super) struct Ended {
    pub sender: Name,
    pub recipient: Name,
    pub summary: String,
    /// What the sender remembers of it.
    pub messages: Lines,
    pub turns: u32,
    pub stop_reason: &'static str,
    pub last_speaker: Name,
}

impl Ended {
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
pub(super) async fn completed(stage: &Stage<'_>, ended: &Ended) -> Result<()> {
    let Ended { summary, messages, last_speaker, .. } = ended;
    let (summary, messages, last_speaker) = (summary.clone(), messages.clone(), last_speaker.clone());
    stage.tell(Event::Completed { summary, messages, last_speaker }).await
}

/// A group, and how it goes on.
pub(super) struct Group {
    pub manager: Manager,
    pub members: Vec<Arc<Agent>>,
    pub max_round: u32,
    pub introduces: bool,
    pub floor: Floor,
    pub transitions: Transitions,
    pub selection: Arc<Selection>,
}

/// Who gives the floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Floor {
    /// This method.
    Method(SelectionMethod),
    /// The group that is playing (`pattern`).
    Pattern,
}

impl Group {
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
