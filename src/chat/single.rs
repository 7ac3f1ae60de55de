//! One question to an agent's model, outside of any conversation.

use std::sync::Arc;

use serde_json::Value;

use crate::chat::memory::{Utterance, unnamed, wire};
use crate::chat::request::request;
use crate::chat::tools::execute_calls;
use crate::chat::voice::tell_sent;
use crate::chat::{Replied, Result, Speaking, Stage, Stop};
use crate::ids::{MessageId, Name};
use crate::protocol::dialogue::Role;
use crate::protocol::failure::FailureKind;
use crate::protocol::participant::USER;
use crate::workflow::{Agent, Schema};

/// One question to one agent's model, whose calls are executed for it.
pub struct Asked<'a> {
    /// The agent.
    pub agent: &'a Agent,
    /// What it is asked.
    pub message: String,
    /// What the reply must be; none: what the agent says.
    pub output: Option<&'a Arc<Schema>>,
    /// The tools that it is offered, and that are executed.
    pub tools: &'a [Name],
    /// How often calls are executed before there must be a reply.
    pub max_tool_rounds: u32,
}

/// Asks, executes what the model calls, and asks again, until it replies: the text, and the id under which it was shown.
pub async fn ask_with_tools(stage: &mut Stage<'_>, asked: Asked<'_>) -> Result<(String, MessageId)> {
    let recipient = super::own_name(USER);
    let agent = Agent {
        tools: asked.tools.to_vec(),
        executes: asked.tools.to_vec(),
        output: asked.output.or(asked.agent.output.as_ref()).cloned(),
        ..asked.agent.clone()
    };
    let Some(llm) = &agent.llm else {
        return Err(Stop::failed(FailureKind::Workflow, format!("agent {:?} has no model", agent.name.as_str())));
    };
    let begins = [unnamed(Role::System, agent.system_message.as_str()), unnamed(Role::User, asked.message)];
    let mut messages: Vec<_> = begins.into_iter().map(Arc::new).collect();
    for round in 0.. {
        let request = request(stage, &agent, llm, messages.clone())?;
        // What people are to read is said; an object is for the workflow.
        let speaking = Speaking { sender: agent.name.as_str(), recipient: recipient.as_str() };
        let speaking = agent.output.is_none().then_some(speaking);
        let Replied { reply, message } = stage.fx.ask_model(llm, request, speaking).await?.map_err(Stop::Failed)?;
        if reply.tool_calls.is_empty() {
            return Ok((reply.content.unwrap_or_default(), message));
        }
        if round == asked.max_tool_rounds {
            let problem = format!("agent {:?} still calls tools after {round} rounds", agent.name.as_str());
            return Err(Stop::failed(FailureKind::Tool, problem));
        }
        let content = reply.content.map_or(Value::Null, Value::String);
        let calls =
            Utterance { content, tool_calls: reply.tool_calls, shown_as: Some(message), ..Utterance::default() };
        tell_sent(stage, &agent.name, &recipient, &calls).await?;
        let calls = calls.line(Role::Assistant, &agent.name);
        let results = execute_calls(stage, &agent, &calls).await?.line(Role::User, &recipient);
        messages.extend(wire([&calls, &results]));
    }
    unreachable!("the rounds are counted")
}
