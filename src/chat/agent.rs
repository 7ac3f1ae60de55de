//! One agent's reply (`docs/reference/ag2-semantics.md`, section 3, "generate_reply"): whether it hands over, whether the
//! conversation is over and a person has a say, its nested chats, the tools that it was asked to call, its model, and at
//! last what it says by default.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use crate::chat::human::{Verdict, check_termination};
use crate::chat::memory::{Utterance, unnamed, wire};
use crate::chat::request::request;
use crate::chat::voice::Reply;
use crate::chat::{Line, Replied, Result, Speaking, Stage, Stop, executor, nested, pattern, tools};
use crate::ids::Name;
use crate::protocol::dialogue::{Role, ToolCall};
use crate::workflow::{Agent, ModelUse};

/// The longest name of a tool that a provider takes.
const LONGEST_TOOL_NAME: usize = 64;

/// What `agent` replies to the last message of its conversation with `peer`.
pub(super) fn generate_reply<'f>(
    stage: &'f mut Stage<'_>,
    agent: &'f Arc<Agent>,
    peer: &'f Name,
) -> BoxFuture<'f, Result<Reply>> {
    // Boxed, because a nested chat has replies in it.
    Box::pin(async move {
        if let Some(handing_over) = pattern::hands_over(stage, agent).await? {
            return Ok(Ok(handing_over));
        }
        let heard = pattern::heard(stage, agent, peer);
        if let Some(reply) = executor::own_reply(stage, agent, &heard).await? {
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

/// What a model made up of a tool's name, as providers take it.
fn with_a_valid_name(mut call: ToolCall) -> ToolCall {
    let valid = |letter: char| if letter.is_ascii_alphanumeric() || "_-".contains(letter) { letter } else { '_' };
    call.function.name = call.function.name.chars().map(valid).take(LONGEST_TOOL_NAME).collect();
    call
}
