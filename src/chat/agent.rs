//! One agent's reply (`docs/reference/ag2-semantics.md`, section 3, "generate_reply"): whether it hands over, whether the
//! conversation is over and a person has a say, its nested chats, the tools that it was asked to call, its model, and at
//! last what it says by default.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use crate::chat::human::{Verdict, check_termination};
use crate::chat::memory::{Utterance, content_text, unnamed, wire};
use crate::chat::{Event, Line, Replied, Result, Speaking, Stage, Stop, nested, pattern, tools};
use crate::ids::Name;
use crate::protocol::dialogue::{ChatMessage, Request, Role, ToolCall};
use crate::protocol::failure::FailureKind;
use crate::workflow::{Agent, Expression, ModelUse, Schema};

/// The longest name of a tool that a provider takes.
const LONGEST_TOOL_NAME: usize = 64;

/// A reply, or why there is none.
pub(super) type Reply = std::result::Result<Utterance, Silence>;

/// Why there is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    /// The last message is a termination message.
    Termination,
    /// A person ended the conversation.
    UserExit,
    /// The agent has given as many replies by itself as it may.
    MaxAutoReplies,
    /// None of the agent's nested chats has anything to begin with.
    NoNestedChat,
    /// The group has said as much as it may.
    MaxRounds,
    /// Nobody in the group speaks next.
    NoNextSpeaker,
    /// The group's next speaker said nothing.
    NoReply,
}

impl Silence {
    /// The word for `stop_reason`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Silence::Termination => "termination",
            Silence::UserExit => "user_exit",
            Silence::MaxAutoReplies => "max_auto_replies",
            Silence::NoNestedChat => "no_nested_chat",
            Silence::MaxRounds => "max_rounds",
            Silence::NoNextSpeaker => "no_next_speaker",
            Silence::NoReply => "no_reply",
        }
    }
}

/// What `agent` replies to the last message of its conversation with `peer`.
pub(super) fn generate_reply<'f, 's: 'f>(
    stage: &'f mut Stage<'s>,
    agent: &'f Arc<Agent>,
    peer: &'f Name,
) -> BoxFuture<'f, Result<Reply>> {
    // Boxed, because a nested chat has replies in it.
    Box::pin(async move {
        if let Some(handing_over) = pattern::hands_over(stage, agent).await? {
            return Ok(Ok(handing_over));
        }
        let heard = pattern::heard(stage, agent, peer);
        if let Some(reply) = pattern::own_reply(stage, agent, &heard).await? {
            return Ok(reply);
        }
        if let Some(last) = heard.last() {
            match check_termination(stage, agent, peer, last).await? {
                Verdict::Stop(silence) => return Ok(Err(silence)),
                Verdict::Reply(words) => return Ok(Ok(words)),
                Verdict::GoOn => {}
            }
            if let Some(nested) = agent.nested_chats.iter().rev().find(|nested| nested.trigger.fires_on(peer)) {
                return nested::reply(stage, agent, &nested.chats, &heard).await;
            }
            if !last.tool_calls.is_empty() {
                return tools::execute_calls(stage, agent, last).await.map(Ok);
            }
        }
        match &agent.llm {
            Some(llm) => ask_model(stage, agent, llm, peer, &heard).await.map(Ok),
            None => Ok(Ok(Utterance::text(agent.default_auto_reply.clone()))),
        }
    })
}

async fn ask_model(
    stage: &mut Stage<'_>,
    agent: &Arc<Agent>,
    llm: &ModelUse,
    peer: &Name,
    heard: &[Arc<Line>],
) -> Result<Utterance> {
    let mut messages = vec![Arc::new(unnamed(Role::System, pattern::system_message(stage, agent)?))];
    messages.extend(wire(heard.iter().map(AsRef::as_ref)));
    let request = request(stage, agent, llm, messages)?;
    let speaking = Speaking { sender: agent.name.as_str(), recipient: peer.as_str() };
    let Replied { reply, message } = stage.fx.ask_model(llm, request, Some(speaking)).await?.map_err(Stop::Failed)?;
    let content = match reply.content {
        Some(text) => json!(text),
        None if reply.tool_calls.is_empty() => json!(""),
        None => Value::Null,
    };
    let tool_calls = reply.tool_calls.into_iter().map(with_a_valid_name).collect();
    Ok(Utterance { content, tool_calls, shown_as: Some(message), ..Utterance::default() })
}

/// A request with all that goes with an agent's model: its parameters, its tools, and the form of its replies.
pub(super) fn request(
    stage: &mut Stage<'_>,
    agent: &Agent,
    llm: &ModelUse,
    messages: Vec<Arc<ChatMessage>>,
) -> Result<Request> {
    let mut offered = tools::offered(stage, &agent.tools);
    offered.extend(pattern::transfer_tools(stage, agent)?);
    Ok(Request {
        messages,
        tools: offered,
        response_format: agent.output.as_deref().map(response_format),
        parameters: llm.parameters.clone(),
        turn: stage.memory.next_turn(&agent.name),
        ..Request::default()
    })
}

/// What a model made up of a tool's name, as providers take it.
fn with_a_valid_name(mut call: ToolCall) -> ToolCall {
    let valid = |letter: char| if letter.is_ascii_alphanumeric() || "_-".contains(letter) { letter } else { '_' };
    call.function.name = call.function.name.chars().map(valid).take(LONGEST_TOOL_NAME).collect();
    call
}

/// Whether a message ends the conversation by a rule; `owner` is who has the rule.
pub(super) fn ends_conversation(rule: Option<&Expression>, owner: &Name, message: &Line) -> Result<bool> {
    let Some(rule) = rule else { return Ok(message.text() == "TERMINATE") };
    let context = minijinja::context! { message => message.in_context() };
    let in_words =
        |error| Stop::failed(FailureKind::Template, format!("is_termination_msg of {:?}: {error}", owner.as_str()));
    rule.holds(&context).map_err(in_words)
}

/// Sends a message: both remember it, each with its own role, and it is told, unless it is `silent`.
pub(super) async fn send(
    stage: &mut Stage<'_>,
    sender: &Name,
    recipient: &Name,
    utterance: &Utterance,
    silent: bool,
) -> Result<()> {
    stage.memory.push(sender, recipient, Arc::new(utterance.line(Role::Assistant, sender)));
    stage.memory.push(recipient, sender, Arc::new(utterance.line(Role::User, sender)));
    if silent { Ok(()) } else { tell_sent(stage, sender, recipient, utterance).await }
}

/// Tells what was sent.
pub(super) async fn tell_sent(stage: &Stage<'_>, sender: &Name, recipient: &Name, utterance: &Utterance) -> Result<()> {
    let (sender, recipient) = (sender.clone(), recipient.clone());
    let content = utterance.content.clone();
    let event = if utterance.role == Some(Role::Tool) {
        let responses = utterance.tool_responses.clone();
        Event::ToolResponse { sender, recipient, content: content_text(&content), responses }
    } else if !utterance.tool_calls.is_empty() {
        Event::ToolCall { sender, recipient, content, calls: utterance.tool_calls.clone() }
    } else {
        Event::Text { sender, recipient, content }
    };
    stage.fx.tell(event, utterance.shown_as).await
}

/// A schema as OpenAI's structured output wants it (`docs/reference/ag2-semantics.md`, section 1): every object closed,
/// every property required. It is named by its title.
pub fn response_format(schema: &Schema) -> Value {
    let title = schema.json.get("title").and_then(Value::as_str).filter(|title| Name::parse(title).is_ok());
    let mut strict = schema.json.clone();
    make_strict(&mut strict);
    json!({
        "type": "json_schema",
        "json_schema": {"schema": strict, "name": title.unwrap_or("response_format"), "strict": true},
    })
}

fn make_strict(schema: &mut Value) {
    match schema {
        Value::Array(parts) => parts.iter_mut().for_each(make_strict),
        Value::Object(fields) => {
            if fields.get("type").is_some_and(|kind| kind == "object") {
                fields.entry("additionalProperties").or_insert(json!(false));
            }
            if let Some(Value::Object(properties)) = fields.get("properties") {
                let names: Vec<&String> = properties.keys().collect();
                fields.insert("required".to_owned(), json!(names));
            }
            for key in ["properties", "$defs", "definitions"] {
                if let Some(Value::Object(inner)) = fields.get_mut(key) {
                    inner.values_mut().for_each(make_strict);
                }
            }
            for key in ["items", "anyOf", "allOf"] {
                if let Some(inner) = fields.get_mut(key) {
                    make_strict(inner);
                }
            }
        }
        _ => {}
    }
}
