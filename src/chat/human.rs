//! Whether a conversation is over, and whether a person has a say in it (`docs/reference/ag2-semantics.md`, section 3,
//! "termination check and human input"). The prompts and the reasons are AG2's, to the letter.

use serde_json::Value;

use crate::chat::memory::Utterance;
use crate::chat::voice::{Silence, ends_conversation};
use crate::chat::{Answer, Effects, Event, Line, Question, Result, Stage, ToolResponse};
use crate::ids::Name;
use crate::message::{Content, InShort, TextInput};
use crate::protocol::participant::USER;
use crate::workflow::{Agent, HumanInputMode};

const END: &str = "Press enter or type 'exit' to stop the conversation: ";
const SKIP: &str = "Press enter to skip and use auto-reply, or type 'exit' to stop the conversation: ";
const SKIP_ALWAYS: &str = "Press enter to skip and use auto-reply, or type 'exit' to end the conversation: ";

/// What the check says.
pub(super) enum Verdict {
    /// No reply.
    Stop(Silence),
    /// A person's words are the reply.
    Reply(Utterance),
    /// The agent replies by itself.
    GoOn,
}

/// Why a conversation would be over.
enum Over {
    Limit,
    Rule,
    RuleAndNoInput,
    UserExit,
}

/// Checks before a reply of `agent` to the `last` message of `peer`.
pub(super) async fn check_termination(
    stage: &mut Stage<'_>,
    agent: &Agent,
    peer: &Name,
    last: &Line,
) -> Result<Verdict> {
    let over = ends_conversation(agent.is_termination_msg.as_ref(), &agent.name, last)?;
    let count = stage.memory.auto_replies(&agent.name, peer);
    let exhausted = count >= agent.max_consecutive_auto_reply;
    let reply = format!("Your reply to {peer}");
    let (prompt, in_short) = match agent.human_input_mode {
        HumanInputMode::Always => (
            format!("Replying as {}. Provide feedback to {peer}. {SKIP_ALWAYS}", agent.name),
            InShort::new(reply, [skip(), end()]),
        ),
        HumanInputMode::Never if exhausted => return stop(stage, agent, peer, Over::Limit).await,
        HumanInputMode::Never if over => return stop(stage, agent, peer, Over::Rule).await,
        HumanInputMode::Terminate if over => (
            format!("Please give feedback to {peer}. {END}"),
            InShort::new(format!("{reply}; without one the conversation ends"), [end()]),
        ),
        HumanInputMode::Terminate if exhausted => {
            (format!("Please give feedback to {peer}. {SKIP}"), InShort::new(reply, [skip(), end()]))
        }
        HumanInputMode::Never | HumanInputMode::Terminate => return go_on(stage, agent, peer, count).await,
    };
    let says = TextInput { prompt: Some(prompt), in_short: Some(in_short), ..TextInput::default() };
    let input = ask_person(agent.name.as_str(), says, stage.fx).await?;
    if input.is_empty() {
        stage.tell(Event::NoHumanInput { sender: peer.clone(), recipient: agent.name.clone() }).await?;
    }
    let always = agent.human_input_mode == HumanInputMode::Always;
    match input.as_str() {
        "exit" if always || exhausted => stop(stage, agent, peer, Over::UserExit).await,
        "" if always && over => stop(stage, agent, peer, Over::Rule).await,
        "" | "exit" if over => stop(stage, agent, peer, Over::RuleAndNoInput).await,
        // With a limit of 0 even an empty input is the reply.
        "" if agent.max_consecutive_auto_reply > 0 => go_on(stage, agent, peer, count).await,
        _ => {
            stage.memory.set_auto_replies(&agent.name, peer, 0);
            Ok(Verdict::Reply(interruption(input, last)))
        }
    }
}

fn skip() -> (String, String) {
    ("Skip".to_owned(), String::new())
}

fn end() -> (String, String) {
    ("End the conversation".to_owned(), "exit".to_owned())
}

async fn go_on(stage: &mut Stage<'_>, agent: &Agent, peer: &Name, count: u32) -> Result<Verdict> {
    stage.memory.set_auto_replies(&agent.name, peer, count + 1);
    let mode = agent.human_input_mode;
    if mode != HumanInputMode::Never {
        stage.tell(Event::UsingAutoReply { sender: peer.clone(), recipient: agent.name.clone(), mode }).await?;
    }
    Ok(Verdict::GoOn)
}

async fn stop(stage: &mut Stage<'_>, agent: &Agent, peer: &Name, over: Over) -> Result<Verdict> {
    stage.memory.set_auto_replies(&agent.name, peer, 0);
    let met = format!("Termination message condition on agent '{}' met", agent.name);
    let (silence, reason) = match over {
        Over::Limit => (Silence::MaxAutoReplies, "Maximum number of consecutive auto-replies reached".to_owned()),
        Over::Rule => (Silence::Termination, met),
        Over::RuleAndNoInput => (Silence::Termination, format!("{met} and no human input provided")),
        Over::UserExit => (Silence::UserExit, "User requested to end the conversation".to_owned()),
    };
    stage.tell(Event::Termination { sender: agent.name.clone(), recipient: peer.clone(), reason }).await?;
    Ok(Verdict::Stop(silence))
}

/// A person's words; tools that were about to be called are not, and the model is told so.
fn interruption(input: String, last: &Line) -> Utterance {
    let interrupted = |call| ToolResponse::new(call, "USER INTERRUPTED");
    Utterance { tool_responses: last.tool_calls.iter().map(interrupted).collect(), ..Utterance::text(input) }
}

/// Asks a person for a line of text; nobody ever answers in time for somebody else, so there is no time-out.
pub(super) async fn ask_person(sender: &str, says: TextInput, fx: &dyn Effects) -> Result<String> {
    let question = Question {
        sender: sender.to_owned(),
        recipient: USER.to_owned(),
        says: Content::TextInput(says),
        timeout: None,
        default: None,
    };
    Ok(match fx.ask(question).await? {
        Answer::Given(Value::String(text)) => text,
        Answer::Given(other) => other.to_string(),
        Answer::TimedOut => String::new(),
    })
}
