//! One question to an agent's model, outside of any conversation.

use std::sync::Arc;

use serde_json::Value;

use crate::chat::agent::with_a_valid_name;
use crate::chat::memory::{OutgoingMessage, wire};
use crate::chat::request::request;
use crate::chat::tools::execute_calls;
use crate::chat::voice::tell_sent;
use crate::chat::{ConversationContext, IdentifiedReply, Result, SpeakingPair, WorkflowStop, cut};
use crate::ids::{MessageId, Name};
use crate::protocol::dialogue::{ChatMessage, ChatRole, CutReason};
use crate::protocol::failure::FailureKind;
use crate::protocol::participant::USER;
use crate::workflow::{Agent, CompiledSchema, OnCut};

/// One question to one agent's model, whose calls are executed for it.
pub struct AgentQuestion<'a> {
    /// The agent.
    pub agent: &'a Agent,
    /// What it is asked.
    pub message: String,
    /// What the reply must be; none: what the agent says.
    pub output: Option<&'a Arc<CompiledSchema>>,
    /// The tools that it is offered, and that are executed.
    pub tools: &'a [Name],
    /// How often calls are executed before there must be a reply.
    pub max_tool_rounds: u32,
    /// What is done about a reply that is cut off; none: what the agent says.
    pub on_cut: Option<OnCut>,
}

/// What an agent's model replied at last.
pub struct AgentAnswer {
    /// The text.
    pub text: String,
    /// Why it is not all that the model had to say.
    pub cut: Option<CutReason>,
    /// The id under which it was shown.
    pub message: MessageId,
}

/// Asks, executes what the model calls, and asks again, until it replies.
pub async fn ask_with_tools(ctx: &mut ConversationContext<'_>, asked: AgentQuestion<'_>) -> Result<AgentAnswer> {
    ctx.on_cut = asked.on_cut;
    let recipient = super::own_name(USER);
    let agent = Agent {
        tools: asked.tools.to_vec(),
        executes: asked.tools.to_vec(),
        output: asked.output.or(asked.agent.output.as_ref()).cloned(),
        ..asked.agent.clone()
    };
    let Some(llm) = &agent.llm else {
        return Err(WorkflowStop::failed(
            FailureKind::Workflow,
            format!("agent {:?} has no model", agent.name.as_str()),
        ));
    };
    let begins = [
        ChatMessage::new(ChatRole::System, agent.system_message.as_str()),
        ChatMessage::new(ChatRole::User, asked.message),
    ];
    let mut messages: Vec<_> = begins.into_iter().map(Arc::new).collect();
    for round in 0.. {
        let request = request(ctx, &agent, llm, messages.clone())?;
        // What people are to read is said; an object is for the workflow.
        let speaking = SpeakingPair::new(agent.name.as_str(), recipient.as_str());
        let speaking = agent.output.is_none().then_some(speaking);
        let IdentifiedReply { reply, message, .. } =
            cut::ask(ctx, Some(&agent), llm, request, speaking).await?.map_err(WorkflowStop::Failed)?;
        let cut = reply.cut();
        if reply.tool_calls.is_empty() {
            // A refusal's words are better than nothing; AG2, which hears none of them, has no such question.
            let text = reply.content.filter(|text| !text.is_empty()).or(reply.refusal).unwrap_or_default();
            return Ok(AgentAnswer { text, cut, message });
        }
        if round == asked.max_tool_rounds {
            let problem = format!("agent {:?} still calls tools after {round} rounds", agent.name.as_str());
            return Err(WorkflowStop::failed(FailureKind::Tool, problem));
        }
        let content = reply.content.map_or(Value::Null, Value::String);
        let calls = OutgoingMessage {
            content,
            tool_calls: reply.tool_calls.into_iter().map(with_a_valid_name).collect(),
            cut,
            shown_as: Some(message),
            ..OutgoingMessage::default()
        };
        tell_sent(ctx, &agent.name, &recipient, &calls).await?;
        let calls = calls.line(ChatRole::Assistant, &agent.name);
        let results = execute_calls(ctx, &agent, &calls).await?.line(ChatRole::User, &recipient);
        messages.extend(wire([&calls, &results]));
    }
    unreachable!("the rounds are counted")
}
