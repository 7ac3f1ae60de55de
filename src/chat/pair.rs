//! A conversation of two agents: AG2's `initiate_chat` (`SEMANTICS.md` 3).

use serde_json::{Value, json};

use crate::chat::agent::{Reply, Silence, content_text, ends_conversation, generate_reply, send};
use crate::chat::human::ask_person;
use crate::chat::summary::summarize;
use crate::chat::{Effects, Memory, Result};
use crate::workflow::{Agent, SummaryMethod};

/// A conversation that is about to begin.
pub struct Chat<'a> {
    /// Who begins.
    pub sender: &'a Agent,
    /// Who answers first.
    pub recipient: &'a Agent,
    /// The first message: a text, or a list of parts; none: a person is asked for it.
    pub message: Option<Value>,
    /// How many turns at most; none: until somebody ends it.
    pub max_turns: Option<u32>,
    /// How it is summed up.
    pub summary: &'a SummaryMethod,
    /// What is added to the first message.
    pub carryover: Vec<String>,
    /// Whether the two forget first what they said before.
    pub clear_history: bool,
}

/// Holds the conversation, and returns the chat result: `{summary, messages, last, turns, stop_reason}`.
pub async fn chat(chat: Chat<'_>, memory: &mut Memory, fx: &dyn Effects) -> Result<Value> {
    let (sender, recipient) = (&chat.sender.name, &chat.recipient.name);
    memory.set_auto_replies(sender, recipient, 0);
    memory.set_auto_replies(recipient, sender, 0);
    if chat.clear_history {
        memory.forget(sender, recipient);
        memory.forget(recipient, sender);
    }
    let before = memory.list(sender, recipient).len();
    let message = match chat.message {
        Some(message) => message,
        None => json!(ask_person(sender.as_str(), ">".to_owned(), fx).await?),
    };
    let opening = Reply { content: with_carryover(message, &chat.carryover), shown_as: None };
    let (turns, stop_reason) = match chat.max_turns {
        Some(max_turns) => take_turns(chat.sender, chat.recipient, opening, max_turns, memory, fx).await?,
        None => ping_pong(chat.sender, chat.recipient, opening, memory, fx).await?,
    };
    let summary = summarize(chat.summary, chat.sender, chat.recipient, memory, fx).await?;
    let messages = &memory.list(sender, recipient)[before.min(memory.list(sender, recipient).len())..];
    let last = messages.last().map(|last| content_text(&last.content)).unwrap_or_default();
    Ok(json!({
        "summary": summary,
        "messages": messages,
        "last": last,
        "turns": turns,
        "stop_reason": stop_reason,
    }))
}

/// The first message with the carryover under `Context:` (`SEMANTICS.md` 7; note the space).
fn with_carryover(message: Value, carryover: &[String]) -> Value {
    if carryover.is_empty() {
        return message;
    }
    let context = format!("\nContext: \n{}", carryover.join("\n"));
    match message {
        Value::String(text) => json!(text + &context),
        Value::Array(mut parts) => {
            parts.push(json!({"type": "text", "text": context}));
            Value::Array(parts)
        }
        other => other,
    }
}

/// A turn is a message of the initiator and a reply of the recipient.
async fn take_turns(
    sender: &Agent,
    recipient: &Agent,
    opening: Reply,
    max_turns: u32,
    memory: &mut Memory,
    fx: &dyn Effects,
) -> Result<(u32, &'static str)> {
    let mut opening = Some(opening);
    for turn in 0..max_turns {
        if memory.auto_replies(&sender.name, &recipient.name) >= recipient.max_consecutive_auto_reply {
            return Ok((turn, Silence::MaxAutoReplies.as_str()));
        }
        let message = match opening.take() {
            Some(opening) => opening,
            None => {
                if recipient_considers_over(sender, recipient, memory)? {
                    return Ok((turn, Silence::Termination.as_str()));
                }
                match generate_reply(sender, &recipient.name, memory, fx).await? {
                    Ok(reply) => reply,
                    Err(silence) => return Ok((turn, silence.as_str())),
                }
            }
        };
        send(sender, recipient, message, memory, fx).await?;
        if let Ok(reply) = generate_reply(recipient, &sender.name, memory, fx).await? {
            send(recipient, sender, reply, memory, fx).await?;
        }
    }
    Ok((max_turns, "max_turns"))
}

/// AG2 asks the recipient's rule about the last message of the chat, whoever wrote it.
fn recipient_considers_over(initiator: &Agent, recipient: &Agent, memory: &Memory) -> Result<bool> {
    match memory.list(&initiator.name, &recipient.name).last() {
        Some(last) if !last.content.is_null() => ends_conversation(recipient, &last.content),
        _ => Ok(false),
    }
}

/// Without a number of turns they answer each other until one does not.
async fn ping_pong(
    sender: &Agent,
    recipient: &Agent,
    opening: Reply,
    memory: &mut Memory,
    fx: &dyn Effects,
) -> Result<(u32, &'static str)> {
    let (mut from, mut to) = (sender, recipient);
    let mut message = opening;
    let mut sent = 0;
    loop {
        send(from, to, message, memory, fx).await?;
        sent += 1;
        message = match generate_reply(to, &from.name, memory, fx).await? {
            Ok(reply) => reply,
            Err(silence) => return Ok((u32::div_ceil(sent, 2), silence.as_str())),
        };
        std::mem::swap(&mut from, &mut to);
    }
}
