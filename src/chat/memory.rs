//! What agents say, and what they remember of it: for each agent one list for each peer
//! (`docs/reference/ag2-semantics.md`, section 2). The role of a message is relative to the list's owner: his own words
//! are the assistant's.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::chat::{Result, WorkflowStop};
use crate::ids::{MessageId, Name};
use crate::protocol::dialogue::{ChatMessage, ChatRole, CutReason, ToolCall, WrittenJson};
use crate::protocol::failure::FailureKind;

/// A message as somebody remembers it: its role is the one that the list's owner sees.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RememberedMessage {
    /// As models get it. The requests of a conversation share it.
    #[serde(flatten)]
    message: Arc<ChatMessage>,
    /// What came of calls.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_responses: Vec<ToolResponse>,
    /// Why it is not all that a model had to say.
    #[serde(skip)]
    pub cut: Option<CutReason>,
}

impl Deref for RememberedMessage {
    type Target = ChatMessage;

    fn deref(&self) -> &ChatMessage {
        &self.message
    }
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolResponse {
    /// The call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// `tool`.
    pub role: ChatRole,
    /// The result.
    pub content: String,
}

impl ToolResponse {
    /// The result of a call.
    pub(super) fn new(call: &ToolCall, content: impl Into<String>) -> Self {
        Self { tool_call_id: Some(call.id.clone()), role: ChatRole::Tool, content: content.into() }
    }
}

/// A message that is about to be sent.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct OutgoingMessage {
    /// Text, a list of parts, or null beside tool calls.
    pub content: Value,
    /// The role that it has for everybody; none: it depends on whose list it is in.
    pub role: Option<ChatRole>,
    /// The author's name, if it is not the sender's.
    pub name: Option<String>,
    pub tool_calls: Vec<ToolCall>,
    pub tool_responses: Vec<ToolResponse>,
    pub tool_call_id: Option<String>,
    /// Why it is not all that a model had to say.
    pub cut: Option<CutReason>,
    /// The words of a refusal. People see them if there are no others; agents do not hear them (AG2).
    pub refusal: Option<String>,
    /// The id under which it was shown while it was written.
    pub shown_as: Option<MessageId>,
}

impl OutgoingMessage {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self { content: Value::String(text.into()), ..Self::default() }
    }

    /// A message as a workflow gives it: a text, a list of parts, or an object as OpenAI writes messages.
    pub(super) fn from_value(value: Value) -> Result<Self> {
        let mut fields = match value {
            Value::Object(fields) if fields.contains_key("content") || fields.contains_key("tool_calls") => fields,
            Value::String(_) | Value::Array(_) => return Ok(Self { content: value, ..Self::default() }),
            other => return Ok(Self::text(other.to_string())),
        };
        let malformed = |what: &str, error: serde_json::Error| {
            WorkflowStop::failed(FailureKind::Message, format!("the {what} of a message cannot be read: {error}"))
        };
        let list = |fields: &mut Map<String, Value>, key: &str| fields.remove(key).filter(|value| !value.is_null());
        let tool_calls = list(&mut fields, "tool_calls").map(crate::bounds::from_value).transpose();
        let tool_responses = list(&mut fields, "tool_responses").map(crate::bounds::from_value).transpose();
        let utterance = Self {
            tool_calls: tool_calls.map_err(|error| malformed("tool_calls", error))?.unwrap_or_default(),
            tool_responses: tool_responses.map_err(|error| malformed("tool_responses", error))?.unwrap_or_default(),
            // Any other role depends on whose list it is in.
            role: (fields.get("role").and_then(Value::as_str) == Some("tool")).then_some(ChatRole::Tool),
            name: text_field(&fields, "name"),
            tool_call_id: text_field(&fields, "tool_call_id"),
            content: fields.remove("content").unwrap_or_default(),
            cut: None,
            refusal: None,
            shown_as: None,
        };
        match &utterance.content {
            Value::Null if utterance.tool_calls.is_empty() => Err(WorkflowStop::failed(
                FailureKind::Message,
                "a message without content and without tool calls cannot be sent",
            )),
            Value::Null | Value::String(_) | Value::Array(_) => Ok(utterance),
            other => Err(WorkflowStop::failed(
                FailureKind::Message,
                format!("the content of a message is a text or a list, not {other}"),
            )),
        }
    }

    /// The message in a list where its author's words have this role.
    pub(super) fn line(&self, role: ChatRole, author: &Name) -> RememberedMessage {
        let calls = !self.tool_calls.is_empty();
        let message = ChatMessage {
            content: self.content.clone(),
            // Only an assistant calls tools, whoever remembers it.
            role: if calls { ChatRole::Assistant } else { self.role.unwrap_or(role) },
            name: self.name.clone().or_else(|| (!calls).then(|| author.to_string())),
            tool_calls: self.tool_calls.clone(),
            tool_call_id: self.tool_call_id.clone(),
            written: WrittenJson::default(),
        };
        RememberedMessage { message: Arc::new(message), tool_responses: self.tool_responses.clone(), cut: self.cut }
    }
}

fn text_field(fields: &Map<String, Value>, key: &str) -> Option<String> {
    fields.get(key).and_then(Value::as_str).map(str::to_owned)
}

impl RememberedMessage {
    /// What models get of it, to change it for this list alone.
    pub(super) fn message_mut(&mut self) -> &mut ChatMessage {
        ChatMessage::make_mut(&mut self.message)
    }

    /// Its calls, each with why it is not whole: models write one after the other, so of a message that was cut off it is the
    /// last one.
    pub(super) fn calls(&self) -> impl Iterator<Item = (&ToolCall, Option<CutReason>)> {
        let last = self.tool_calls.len().saturating_sub(1);
        self.tool_calls.iter().enumerate().map(move |(index, call)| (call, self.cut.filter(|_| index == last)))
    }

    /// Its text; `""` where there is none.
    pub fn text(&self) -> String {
        content_text(&self.content)
    }

    /// What expressions see as `message`.
    pub(super) fn in_context(&self) -> minijinja::Value {
        minijinja::context! { content => self.text(), name => self.name.as_deref().unwrap_or_default() }
    }
}

/// The text of a content: a text as it is; the texts of a list of parts, one a line, with `<image>` for an image; nothing
/// for null.
pub(super) fn content_text(content: &Value) -> String {
    let part = |part: &Value| match part.get("text").and_then(Value::as_str) {
        Some(text) => Some(text.to_owned()),
        None => {
            part.get("type").and_then(Value::as_str).filter(|kind| kind.contains("image")).map(|_| "<image>".into())
        }
    };
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(part).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    }
}

/// Messages as they go to a model: results of several calls become one message each (`docs/reference/ag2-semantics.md`,
/// section 2).
pub(super) fn wire<'a>(lines: impl IntoIterator<Item = &'a RememberedMessage>) -> Vec<Arc<ChatMessage>> {
    let mut messages = Vec::new();
    for line in lines {
        let results = line.tool_responses.iter().map(|response| {
            let content = json!(response.content);
            Arc::new(ChatMessage {
                tool_call_id: response.tool_call_id.clone(),
                ..ChatMessage::new(response.role, content)
            })
        });
        messages.extend(results);
        // What a tool says is in its results; what a person says beside them is not.
        if line.tool_responses.is_empty() || line.role != ChatRole::Tool {
            messages.push(line.message.clone());
        }
    }
    messages
}

/// What one list holds; what was said to a whole group is there only once.
pub(super) type RememberedMessages = Vec<Arc<RememberedMessage>>;

/// What the agents of one run remember of their conversations. A parallel branch works on a copy.
#[derive(Debug, Clone, Default)]
pub struct AgentMemory {
    agents: HashMap<Name, HashMap<Name, RememberedConversation>>,
    /// What each group said, by its manager's name.
    groups: HashMap<Name, RememberedMessages>,
    /// How often each agent's model was asked.
    asked: HashMap<Name, u32>,
}

#[derive(Debug, Clone, Default)]
struct RememberedConversation {
    lines: RememberedMessages,
    /// How many replies the owner has given by himself since a person had a say.
    auto_replies: u32,
}

impl AgentMemory {
    fn conversation(&mut self, owner: &Name, peer: &Name) -> &mut RememberedConversation {
        if !self.agents.contains_key(owner) {
            self.agents.insert(owner.clone(), HashMap::new());
        }
        let peers = self.agents.get_mut(owner).expect("it was put there");
        peers.entry(peer.clone()).or_default()
    }

    /// What `owner` remembers of its conversation with `peer`.
    pub(super) fn list(&self, owner: &Name, peer: &Name) -> &[Arc<RememberedMessage>] {
        self.agents.get(owner).and_then(|peers| peers.get(peer)).map_or(&[], |conversation| &conversation.lines)
    }

    pub(super) fn push(&mut self, owner: &Name, peer: &Name, line: Arc<RememberedMessage>) {
        self.conversation(owner, peer).lines.push(line);
    }

    pub(super) fn forget(&mut self, owner: &Name, peer: &Name) {
        self.conversation(owner, peer).lines.clear();
    }

    pub(super) fn auto_replies(&self, owner: &Name, peer: &Name) -> u32 {
        self.agents.get(owner).and_then(|peers| peers.get(peer)).map_or(0, |conversation| conversation.auto_replies)
    }

    pub(super) fn set_auto_replies(&mut self, owner: &Name, peer: &Name, count: u32) {
        self.conversation(owner, peer).auto_replies = count;
    }

    /// How often the agent's model was asked before; counts this time.
    pub(super) fn next_turn(&mut self, agent: &Name) -> u32 {
        let asked = self.asked.entry(agent.clone()).or_default();
        *asked = asked.wrapping_add(1);
        asked.wrapping_sub(1)
    }

    /// What the group of a manager said.
    pub(super) fn group(&self, manager: &Name) -> &[Arc<RememberedMessage>] {
        self.groups.get(manager).map_or(&[], Vec::as_slice)
    }

    pub(super) fn push_to_group(&mut self, manager: &Name, line: Arc<RememberedMessage>) {
        self.groups.entry(manager.clone()).or_default().push(line);
    }

    pub(super) fn forget_group(&mut self, manager: &Name) {
        self.groups.remove(manager);
    }
}
