//! Whether a conversation is over, and whether a person has a say in it (`docs/reference/ag2-semantics.md`, section 3,
//! "termination check and human input"). The prompts and the reasons are AG2's, to the letter.

use std::sync::Arc;

use serde_json::Value;

use crate::chat::memory::OutgoingMessage;
use crate::chat::voice::{NoReplyReason, ends_conversation};
use crate::chat::{
    ChatEvent, ConversationContext, Effects, HumanQuestion, HumanReply, RememberedMessage, Result, ToolResponse,
};
use crate::ids::Name;
use crate::message::{MessageContent, ShortTextInput, TextInput};
use crate::protocol::participant::{USER, is_internal};
use crate::workflow::{Agent, AnswererTerms, HumanInputMode};

const END: &str = "Press enter or type 'exit' to stop the conversation: ";
const SKIP: &str = "Press enter to skip and use auto-reply, or type 'exit' to stop the conversation: ";
const SKIP_ALWAYS: &str = "Press enter to skip and use auto-reply, or type 'exit' to end the conversation: ";

/// What the check says.
pub(super) enum TerminationVerdict {
    /// No reply.
    Stop(NoReplyReason),
    /// A person's words are the reply.
    Reply(Box<OutgoingMessage>),
    /// The agent replies by itself.
    GoOn,
}

/// Why a conversation would be over.
enum TerminationCause {
    Limit,
    Rule,
    RuleAndNoInput,
    UserExit,
}

/// Checks before a reply of `agent` to the `last` message of `peer`.
pub(super) async fn check_termination(
    ctx: &mut ConversationContext<'_>,
    agent: &Agent,
    peer: &Name,
    last: &RememberedMessage,
) -> Result<TerminationVerdict> {
    let over = ends_conversation(agent.is_termination_msg.as_ref(), &agent.name, last)?;
    let count = ctx.memory.auto_replies(&agent.name, peer);
    let exhausted = count >= agent.max_consecutive_auto_reply;
    // The manager of a group passes on what others say; people need not know it.
    let reply = if is_internal(peer.as_str()) { "Your reply".to_owned() } else { format!("Your reply to {peer}") };
    let (prompt, in_short) = match agent.human_input_mode {
        HumanInputMode::Always => (
            format!("Replying as {}. Provide feedback to {peer}. {SKIP_ALWAYS}", agent.name),
            ShortTextInput::new(reply, [skip(), end()]),
        ),
        HumanInputMode::Never if exhausted => return stop(ctx, agent, peer, TerminationCause::Limit).await,
        HumanInputMode::Never if over => return stop(ctx, agent, peer, TerminationCause::Rule).await,
        HumanInputMode::Terminate if over => (
            format!("Please give feedback to {peer}. {END}"),
            ShortTextInput::new(format!("{reply}; without one the conversation ends"), [end()]),
        ),
        HumanInputMode::Terminate if exhausted => {
            (format!("Please give feedback to {peer}. {SKIP}"), ShortTextInput::new(reply, [skip(), end()]))
        }
        HumanInputMode::Never | HumanInputMode::Terminate => return go_on(ctx, agent, peer, count).await,
    };
    let says = TextInput { prompt: Some(prompt), in_short: Some(in_short), ..TextInput::default() };
    let input = ask_person(&agent.name, agent.answerers.as_ref(), says, ctx.effects).await?;
    if input.is_empty() {
        ctx.tell(ChatEvent::NoHumanInput { sender: peer.clone(), recipient: agent.name.clone() }).await?;
    }
    let always = agent.human_input_mode == HumanInputMode::Always;
    match input.as_str() {
        "exit" if always || exhausted => stop(ctx, agent, peer, TerminationCause::UserExit).await,
        "" if always && over => stop(ctx, agent, peer, TerminationCause::Rule).await,
        "" | "exit" if over => stop(ctx, agent, peer, TerminationCause::RuleAndNoInput).await,
        // With a limit of 0 even an empty input is the reply.
        "" if agent.max_consecutive_auto_reply > 0 => go_on(ctx, agent, peer, count).await,
        _ => {
            ctx.memory.set_auto_replies(&agent.name, peer, 0);
            Ok(TerminationVerdict::Reply(Box::new(interruption(input, last))))
        }
    }
}

fn skip() -> (String, String) {
    ("Skip".to_owned(), String::new())
}

fn end() -> (String, String) {
    ("End the conversation".to_owned(), "exit".to_owned())
}

async fn go_on(
    ctx: &mut ConversationContext<'_>,
    agent: &Agent,
    peer: &Name,
    count: u32,
) -> Result<TerminationVerdict> {
    ctx.memory.set_auto_replies(&agent.name, peer, count + 1);
    let mode = agent.human_input_mode;
    if mode != HumanInputMode::Never {
        ctx.tell(ChatEvent::UsingAutoReply { sender: peer.clone(), recipient: agent.name.clone(), mode }).await?;
    }
    Ok(TerminationVerdict::GoOn)
}

async fn stop(
    ctx: &mut ConversationContext<'_>,
    agent: &Agent,
    peer: &Name,
    over: TerminationCause,
) -> Result<TerminationVerdict> {
    ctx.memory.set_auto_replies(&agent.name, peer, 0);
    let met = format!("Termination message condition on agent '{}' met", agent.name);
    let (silence, reason) = match over {
        TerminationCause::Limit => {
            (NoReplyReason::MaxAutoReplies, "Maximum number of consecutive auto-replies reached".to_owned())
        }
        TerminationCause::Rule => (NoReplyReason::Termination, met),
        TerminationCause::RuleAndNoInput => (NoReplyReason::Termination, format!("{met} and no human input provided")),
        TerminationCause::UserExit => (NoReplyReason::UserExit, "User requested to end the conversation".to_owned()),
    };
    ctx.tell(ChatEvent::Termination { sender: agent.name.clone(), recipient: peer.clone(), reason }).await?;
    Ok(TerminationVerdict::Stop(silence))
}

/// A person's words; tools that were about to be called are not, and the model is told so.
fn interruption(input: String, last: &RememberedMessage) -> OutgoingMessage {
    let interrupted = |call| ToolResponse::new(call, "USER INTERRUPTED");
    OutgoingMessage {
        tool_responses: last.tool_calls.iter().map(interrupted).collect(),
        ..OutgoingMessage::text(input)
    }
}

/// Asks a person for a line of text; nobody ever answers in time for somebody else, so there is no time-out.
pub(super) async fn ask_person(
    sender: &Name,
    answerers: Option<&Arc<AnswererTerms>>,
    says: TextInput,
    effects: &dyn Effects,
) -> Result<String> {
    let question = HumanQuestion {
        sender: sender.to_string(),
        recipient: USER.to_owned(),
        says: MessageContent::TextInput(says),
        timeout: None,
        default: None,
        answerers: answerers.cloned(),
    };
    Ok(match effects.ask(question).await? {
        HumanReply::Given(Value::String(text)) => text,
        HumanReply::Given(other) => other.to_string(),
        HumanReply::TimedOut => String::new(),
    })
}
