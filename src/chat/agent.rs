//! One agent's reply (`docs/reference/ag2-semantics.md`, section 3, "generate_reply"): whether it hands over, whether the
//! conversation is over and a person has a say, its nested chats, the tools that it was asked to call, its model, and at
//! last what it says by default.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use crate::chat::human::{TerminationVerdict, check_termination};
use crate::chat::memory::{OutgoingMessage, wire};
use crate::chat::request::request;
use crate::chat::voice::AgentReply;
use crate::chat::{
    ConversationContext, IdentifiedReply, RememberedMessage, Result, SpeakingPair, WorkflowStop, cut, executor, nested,
    pattern, tools,
};
use crate::ids::Name;
use crate::protocol::dialogue::{ChatMessage, ChatRole, ToolCall};
use crate::workflow::{Agent, ModelUse};

/// The longest name of a tool that a provider takes.
const LONGEST_TOOL_NAME: usize = 64;
/// What a call without a name is called.
const UNNAMED: &str = "unnamed";

/// What `agent` replies to the last message of its conversation with `peer`.
pub(super) fn generate_reply<'f>(
    ctx: &'f mut ConversationContext<'_>,
    agent: &'f Arc<Agent>,
    peer: &'f Name,
) -> BoxFuture<'f, Result<AgentReply>> {
    // Boxed, because a nested chat has replies in it.
    Box::pin(async move {
        if let Some(handing_over) = pattern::hands_over(ctx, agent).await? {
            return Ok(Ok(handing_over));
        }
        let heard = pattern::heard(ctx, agent, peer);
        if let Some(reply) = executor::own_reply(ctx, agent, &heard).await? {
            return Ok(reply);
        }
        if let Some(last) = heard.last() {
            match check_termination(ctx, agent, peer, last).await? {
                TerminationVerdict::Stop(silence) => return Ok(Err(silence)),
                TerminationVerdict::Reply(words) => return Ok(Ok(*words)),
                TerminationVerdict::GoOn => {}
            }
            if let Some(nested) = agent.nested_chats.iter().rev().find(|nested| nested.trigger.fires_on(peer)) {
                return nested::reply(ctx, agent, &nested.chats, &heard).await;
            }
            if !last.tool_calls.is_empty() {
                return tools::execute_calls(ctx, agent, last).await.map(Ok);
            }
        }
        match &agent.llm {
            Some(llm) => ask_model(ctx, agent, llm, peer, &heard).await.map(Ok),
            None => Ok(Ok(OutgoingMessage::text(agent.default_auto_reply.clone()))),
        }
    })
}

async fn ask_model(
    ctx: &mut ConversationContext<'_>,
    agent: &Arc<Agent>,
    llm: &ModelUse,
    peer: &Name,
    heard: &[Arc<RememberedMessage>],
) -> Result<OutgoingMessage> {
    let mut messages = vec![Arc::new(ChatMessage::new(ChatRole::System, pattern::system_message(ctx, agent)?))];
    messages.extend(wire(heard.iter().map(AsRef::as_ref)));
    let request = request(ctx, agent, llm, messages)?;
    let speaking = SpeakingPair::new(agent.name.as_str(), peer.as_str());
    let IdentifiedReply { reply, message, .. } =
        cut::ask(ctx, Some(agent), llm, request, Some(speaking)).await?.map_err(WorkflowStop::Failed)?;
    let cut = reply.cut();
    let content = match reply.content {
        Some(text) => json!(text),
        None if reply.tool_calls.is_empty() => json!(""),
        None => Value::Null,
    };
    let tool_calls = reply.tool_calls.into_iter().map(with_a_valid_name).collect();
    let (refusal, shown_as) = (reply.refusal, Some(message));
    Ok(OutgoingMessage { content, tool_calls, cut, refusal, shown_as, ..OutgoingMessage::default() })
}

/// What a model made up of a tool's name, as providers take it.
pub(super) fn with_a_valid_name(mut call: ToolCall) -> ToolCall {
    let valid = |letter: char| if letter.is_ascii_alphanumeric() || "_-".contains(letter) { letter } else { '_' };
    call.function.name = call.function.name.chars().map(valid).take(LONGEST_TOOL_NAME).collect();
    // One without a name is refused as any other unknown one, and goes back with that.
    if call.function.name.is_empty() {
        UNNAMED.clone_into(&mut call.function.name);
    }
    call
}
