//! The members that a group that hands over has beside its agents: the one that executes the tools of all, and those that hold
//! nested chats.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::chat::cut::call_cut_off;
use crate::chat::memory::{OutgoingMessage, RememberedMessage};
use crate::chat::pattern::{display, handed_over, transfer};
use crate::chat::tools::{at_once, execute, execute_at_once, read_arguments, refuse, results};
use crate::chat::voice::AgentReply;
use crate::chat::{ChatEvent, ConversationContext, HandoffCause, Result, ToolResponse, WorkflowStop, nested};
use crate::ids::Name;
use crate::protocol::dialogue::ToolCall;
use crate::protocol::failure::FailureKind;
use crate::workflow::{Agent, HandoffTarget, ToolReturn};

/// The replies of the members that this module adds; none: it is an agent like any other.
pub(super) async fn own_reply(
    ctx: &mut ConversationContext<'_>,
    agent: &Arc<Agent>,
    heard: &[Arc<RememberedMessage>],
) -> Result<Option<AgentReply>> {
    let Some(handoff_state) = &ctx.handoff_state else { return Ok(None) };
    if handoff_state.executor == agent.name {
        return Ok(Some(Ok(match heard.last() {
            Some(last) if !last.tool_calls.is_empty() => execute_calls(ctx, agent, last).await?,
            _ => OutgoingMessage::text(""),
        })));
    }
    let Some(wrapped) = handoff_state.wrapped.iter().find(|wrapped| wrapped.agent.name == agent.name) else {
        return Ok(None);
    };
    let chats = wrapped.chats.clone();
    nested::reply(ctx, agent, &chats, heard).await.map(Some)
}

/// Executes the calls of a member, one after the other, so that each sees what the one before it has set; the last one that
/// names somebody counts.
async fn execute_calls(
    ctx: &mut ConversationContext<'_>,
    executor: &Agent,
    message: &RememberedMessage,
) -> Result<OutgoingMessage> {
    let source = message.name.as_deref().and_then(|name| Name::parse(name).ok());
    let tools = callable(ctx, source.as_ref());
    if let Some(calls) = at_once(ctx, &tools, message) {
        let responses = execute_at_once(ctx, &executor.name, &tools, &calls).await?;
        if let Some(handoff_state) = &mut ctx.handoff_state {
            handoff_state.next = None;
        }
        return Ok(results(responses, "\n"));
    }
    let mut responses = Vec::with_capacity(message.tool_calls.len());
    let mut next = None;
    for (call, cut) in message.calls() {
        let (text, target) = match transfer(ctx, source.as_ref(), call) {
            _ if let Some(cut) = cut => {
                (refuse(ctx, &executor.name, call, Value::Null, call_cut_off(cut)).await?.text, None)
            }
            Some(target) => match read_arguments(&call.function.arguments) {
                Ok(arguments) => {
                    tell_transfer(ctx, executor, call, arguments, &target).await?;
                    (handed_over(&target), Some((target, HandoffCause::OnModel)))
                }
                Err(error) => (refuse(ctx, &executor.name, call, Value::Null, error).await?.text, None),
            },
            None => call_tool(ctx, executor, &tools, call).await?,
        };
        if let Some((target, because)) = target {
            if let Some(source) = source.clone() {
                ctx.tell(ChatEvent::HandsOver { because, source, target: display(&target) }).await?;
            }
            next = Some(target);
        }
        responses.push(ToolResponse::new(call, text));
    }
    if let Some(handoff_state) = &mut ctx.handoff_state {
        handoff_state.next = next;
    }
    Ok(results(responses, "\n"))
}

/// The tools that a member may call: those that it is offered, and those that any agent may call. A model may know others from what
/// members have called before it.
fn callable(ctx: &ConversationContext<'_>, caller: Option<&Name>) -> Vec<Name> {
    let all = ctx.handoff_state.as_ref().map(|handoff_state| handoff_state.tools.clone()).unwrap_or_default();
    let Some(agent) = caller.and_then(|caller| ctx.agents.get(caller)) else { return all };
    let is_open = |name: &Name| ctx.tools.named(name).iter().any(|tool| tool.any_agent_may_call);
    all.into_iter().filter(|name| agent.tools.contains(name) || is_open(name)).collect()
}

async fn tell_transfer(
    ctx: &ConversationContext<'_>,
    executor: &Agent,
    call: &ToolCall,
    arguments: Map<String, Value>,
    target: &HandoffTarget,
) -> Result<()> {
    let (agent, call, arguments) = (executor.name.clone(), call.clone(), Value::Object(arguments));
    let content = json!({"target": display(target)});
    ctx.tell(ChatEvent::ExecuteFunction { agent: agent.clone(), call: call.clone(), arguments: arguments.clone() })
        .await?;
    ctx.tell(ChatEvent::ExecutedFunction { agent, call, arguments, content, success: true }).await
}

/// Calls a tool of the group; its result may name who speaks next, and set what the agents share.
async fn call_tool(
    ctx: &mut ConversationContext<'_>,
    executor: &Agent,
    tools: &[Name],
    call: &ToolCall,
) -> Result<(String, Option<(HandoffTarget, HandoffCause)>)> {
    let done = execute(ctx, &executor.name, tools, call).await?;
    let decides =
        ctx.tools.get(call.function.name.as_str()).is_some_and(|tool| tool.returns == ToolReturn::ReplyResult);
    let Some(Value::Object(mut result)) = done.returned.filter(|_| decides) else { return Ok((done.text, None)) };
    if let (Some(Value::Object(set)), Some(handoff_state)) =
        (result.remove("context_variables"), &mut ctx.handoff_state)
    {
        handoff_state.context.extend(set);
    }
    let target = match result.remove("target") {
        None | Some(Value::Null) => None,
        Some(target) => Some((target_of(&target, call)?, HandoffCause::OnReplyResult)),
    };
    Ok((done.text, target))
}

/// A target as a tool names it: an agent's name, one of the words, `{agent: …}` or `{random: […]}`.
fn target_of(value: &Value, call: &ToolCall) -> Result<HandoffTarget> {
    let name = |value: &Value| value.as_str().and_then(|text| Name::parse(text).ok());
    let target = match value {
        Value::String(word) => HandoffTarget::word(word).or_else(|| name(value).map(HandoffTarget::Agent)),
        Value::Object(fields) => match (fields.get("agent"), fields.get("random").and_then(Value::as_array)) {
            (Some(agent), _) => name(agent).map(HandoffTarget::Agent),
            (None, Some(names)) => names.iter().map(name).collect::<Option<Vec<_>>>().map(HandoffTarget::Random),
            (None, None) => None,
        },
        _ => None,
    };
    target.ok_or_else(|| {
        WorkflowStop::failed(
            FailureKind::Tool,
            format!("the tool {:?} hands over to {value}, which is no target", call.function.name),
        )
    })
}
