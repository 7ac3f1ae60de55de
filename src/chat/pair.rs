//! A conversation of two agents, or of an agent and a group: AG2's `initiate_chat` (`docs/reference/ag2-semantics.md`,
//! section 3).

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use crate::chat::group::lead;
use crate::chat::human::ask_person;
use crate::chat::memory::OutgoingMessage;
use crate::chat::parties::{ChatRecipient, ChatRequest, FinishedChat, completed};
use crate::chat::summary::summarize;
use crate::chat::voice::{AgentReply, NoReplyReason, ends_conversation, send};
use crate::chat::{ChatEvent, ConversationContext, Result, WorkflowStop, own_name};
use crate::ids::Name;
use crate::message::{ShortTextInput, TextInput};
use crate::protocol::failure::FailureKind;
use crate::workflow::{Agent, Expression, HumanInputMode, SummaryMethod};

/// Holds a conversation, and returns the chat result: `{summary, messages, last, turns, stop_reason, last_speaker}`.
pub async fn hold(ctx: &mut ConversationContext<'_>, chat: ChatRequest) -> Result<Value> {
    let recipient = ctx.agent(&chat.recipient)?;
    let alone = chat.sender.is_none();
    let sender = match &chat.sender {
        Some(sender) => ctx.agent(sender)?,
        None => Arc::new(user_of(&recipient, chat.user_input)),
    };
    let mut ended = initiate(ctx, &sender, &ChatRecipient::Agent(recipient), chat).await?;
    if alone {
        // AG2 always names the agent that was run.
        ended.last_speaker = ended.recipient.clone();
    }
    completed(ctx, &ended).await?;
    Ok(ended.result())
}

/// The one who talks to an agent that runs alone (AG2's `agent.run` without a recipient).
fn user_of(agent: &Agent, asks: bool) -> Agent {
    let mode = if asks { HumanInputMode::Always } else { HumanInputMode::Never };
    let rule = Expression::parse("\"TERMINATE\" in message.content").expect("the rule is an expression");
    Agent {
        is_termination_msg: Some(rule),
        executes: agent.tools.clone(),
        ..Agent::without_model(own_name("user"), mode)
    }
}

/// Holds a conversation between these two.
pub(super) async fn initiate(
    ctx: &mut ConversationContext<'_>,
    sender: &Arc<Agent>,
    recipient: &ChatRecipient,
    chat: ChatRequest,
) -> Result<FinishedChat> {
    let outside = ctx.on_cut;
    ctx.on_cut = chat.on_cut.or(outside);
    let finished = converse(ctx, sender, recipient, chat).await;
    ctx.on_cut = outside;
    finished
}

async fn converse(
    ctx: &mut ConversationContext<'_>,
    sender: &Arc<Agent>,
    recipient: &ChatRecipient,
    chat: ChatRequest,
) -> Result<FinishedChat> {
    check_summary(&chat.summary, sender, recipient)?;
    prepare(ctx, &sender.name, recipient, chat.clear_history);
    let message = match chat.message {
        Some(message) => message,
        None => {
            let says = TextInput {
                prompt: Some(">".to_owned()),
                in_short: Some(ShortTextInput::new(format!("Your message to {}", recipient.name()), [])),
                ..TextInput::default()
            };
            json!(ask_person(&sender.name, sender.answerers.as_ref(), says, ctx.effects).await?)
        }
    };
    let opening = with_carryover(OutgoingMessage::from_value(message)?, &chat.carryover);
    let mut talk = SpeakerPair { sender, recipient, silent: chat.silent, last_speaker: sender.name.clone() };
    let (turns, stop_reason) = match chat.max_turns {
        Some(max_turns) => talk.take_turns(ctx, opening, max_turns).await?,
        None => talk.ping_pong(ctx, opening).await?,
    };
    let last_speaker = talk.last_speaker;
    let summary = summarize(&chat.summary, ctx, sender, recipient).await?;
    Ok(FinishedChat {
        summary,
        messages: ctx.memory.list(&sender.name, recipient.name()).to_vec(),
        turns,
        stop_reason,
        last_speaker,
        sender: sender.name.clone(),
        recipient: recipient.name().clone(),
    })
}

/// A summary by a model needs one of the two to have a model; it is better to know it before anything is said.
fn check_summary(summary: &SummaryMethod, sender: &Agent, recipient: &ChatRecipient) -> Result<()> {
    let of_recipient = match recipient {
        ChatRecipient::Agent(agent) => agent.llm.is_some(),
        ChatRecipient::Group(group) => group.manager.llm.is_some(),
    };
    if matches!(summary, SummaryMethod::Reflection { .. }) && sender.llm.is_none() && !of_recipient {
        let problem =
            format!("neither {} nor {} has a model that could sum up their chat", sender.name, recipient.name());
        return Err(WorkflowStop::failed(FailureKind::Workflow, problem));
    }
    Ok(())
}

/// Counts anew, and forgets what was said before if that is wanted. The members of a group prepare themselves for it.
fn prepare(ctx: &mut ConversationContext<'_>, sender: &Name, recipient: &ChatRecipient, clear_history: bool) {
    let mut pairs = vec![(sender, recipient.name()), (recipient.name(), sender)];
    if let ChatRecipient::Group(group) = recipient {
        pairs.extend(group.members.iter().map(|member| (&member.name, &group.manager.name)));
        if clear_history {
            ctx.memory.forget_group(&group.manager.name);
        }
    }
    for (owner, peer) in pairs {
        ctx.memory.set_auto_replies(owner, peer, 0);
        if clear_history {
            ctx.memory.forget(owner, peer);
        }
    }
}

/// The first message with the carryover under `Context:` (`docs/reference/ag2-semantics.md`, section 7; note the space).
/// Of a list of parts it is the first one.
fn with_carryover(mut message: OutgoingMessage, carryover: &[String]) -> OutgoingMessage {
    if carryover.is_empty() {
        return message;
    }
    let context = format!("\nContext: \n{}", carryover.join("\n"));
    message.content = match message.content {
        Value::String(text) => json!(text + &context),
        Value::Array(mut parts) => {
            parts.insert(0, json!({"type": "text", "text": context}));
            Value::Array(parts)
        }
        other => other,
    };
    message
}

/// Two who talk.
struct SpeakerPair<'a> {
    sender: &'a Arc<Agent>,
    recipient: &'a ChatRecipient,
    silent: bool,
    last_speaker: Name,
}

impl SpeakerPair<'_> {
    /// A turn is a message of the initiator and a reply of the recipient.
    async fn take_turns(
        &mut self,
        ctx: &mut ConversationContext<'_>,
        opening: OutgoingMessage,
        max_turns: u32,
    ) -> Result<(u32, &'static str)> {
        let (sender, recipient) = (self.sender, self.recipient);
        let mut opening = Some(opening);
        let mut ended_by = None;
        for turn in 0..max_turns {
            if ctx.memory.auto_replies(&sender.name, recipient.name()) >= recipient.most_replies() {
                return Ok((turn, NoReplyReason::MaxAutoReplies.as_str()));
            }
            let message = match opening.take() {
                Some(opening) => opening,
                None => {
                    if self.recipient_considers_over(ctx)? {
                        return Ok((turn, NoReplyReason::Termination.as_str()));
                    }
                    match ctx.reply(sender, recipient.name()).await? {
                        Ok(reply) => reply,
                        Err(silence) => return Ok((turn, silence.as_str())),
                    }
                }
            };
            self.say(ctx, message).await?;
            ended_by = match self.reply(ctx).await? {
                Ok(reply) => {
                    self.answer(ctx, reply).await?;
                    None
                }
                Err(silence) => Some(silence),
            };
        }
        let reason = format!("Maximum turns ({max_turns}) reached");
        let (sender, recipient) = (sender.name.clone(), recipient.name().clone());
        ctx.tell(ChatEvent::Termination { sender, recipient, reason }).await?;
        // A group says itself why it has ended; that it had its turns is no reason.
        let of_group = ended_by.filter(|_| matches!(self.recipient, ChatRecipient::Group(_)));
        Ok((max_turns, of_group.map_or("max_turns", NoReplyReason::as_str)))
    }

    /// AG2 asks the recipient's rule about the last message of the chat, whoever wrote it.
    fn recipient_considers_over(&self, ctx: &ConversationContext<'_>) -> Result<bool> {
        match ctx.memory.list(&self.sender.name, self.recipient.name()).last() {
            Some(last) if !last.content.is_null() => {
                ends_conversation(self.recipient.rule(), self.recipient.name(), last)
            }
            _ => Ok(false),
        }
    }

    /// Without a number of turns they answer each other until one does not.
    async fn ping_pong(
        &mut self,
        ctx: &mut ConversationContext<'_>,
        opening: OutgoingMessage,
    ) -> Result<(u32, &'static str)> {
        let mut message = opening;
        for turn in 1.. {
            self.say(ctx, message).await?;
            match self.reply(ctx).await? {
                Ok(reply) => self.answer(ctx, reply).await?,
                Err(silence) => return Ok((turn, silence.as_str())),
            }
            message = match ctx.reply(self.sender, self.recipient.name()).await? {
                Ok(reply) => reply,
                Err(silence) => return Ok((turn, silence.as_str())),
            };
        }
        unreachable!("turns are counted for ever")
    }

    async fn say(&mut self, ctx: &mut ConversationContext<'_>, message: OutgoingMessage) -> Result<()> {
        self.last_speaker = self.sender.name.clone();
        send(ctx, &self.sender.name, self.recipient.name(), &message, self.silent).await
    }

    async fn answer(&mut self, ctx: &mut ConversationContext<'_>, message: OutgoingMessage) -> Result<()> {
        self.last_speaker = self.recipient.name().clone();
        send(ctx, self.recipient.name(), &self.sender.name, &message, self.silent).await
    }

    fn reply<'f, 's: 'f>(&'f mut self, ctx: &'f mut ConversationContext<'s>) -> BoxFuture<'f, Result<AgentReply>> {
        match self.recipient {
            ChatRecipient::Agent(agent) => ctx.reply(agent, &self.sender.name),
            ChatRecipient::Group(group) => Box::pin(async move {
                let led = lead(ctx, group, self.sender).await?;
                self.last_speaker = led.last_speaker;
                Ok(Err(led.ended_by))
            }),
        }
    }
}
