//! Whether a conversation is over, and whether a person has a say in it (`SEMANTICS.md` 3, "termination check and human
//! input"). The prompts are AG2's, to the letter.

use crate::chat::agent::{Silence, ends_conversation};
use crate::chat::{Answer, Effects, Memory, Question, Result};
use crate::ids::Name;
use crate::message::{Content, TextInput};
use crate::workflow::{Agent, HumanInputMode};

/// What the check says.
pub(super) enum Verdict {
    /// No reply.
    Stop(Silence),
    /// A person's words are the reply.
    Reply(String),
    /// The agent replies by itself.
    GoOn,
}

/// Checks before a reply of `agent` to `peer`.
pub(super) async fn check_termination(
    agent: &Agent,
    peer: &Name,
    memory: &mut Memory,
    fx: &dyn Effects,
) -> Result<Verdict> {
    let last = memory.list(&agent.name, peer).last();
    let over = match last {
        Some(last) => ends_conversation(agent, &last.content)?,
        None => false,
    };
    let count = memory.auto_replies(&agent.name, peer);
    let exhausted = count >= agent.max_consecutive_auto_reply;
    let prompt = match agent.human_input_mode {
        HumanInputMode::Always => format!(
            "Replying as {}. Provide feedback to {peer}. Press enter to skip and use auto-reply, or type 'exit' to end the conversation: ",
            agent.name
        ),
        HumanInputMode::Never if exhausted => return Ok(stop(agent, peer, memory, Silence::MaxAutoReplies)),
        HumanInputMode::Never if over => return Ok(stop(agent, peer, memory, Silence::Termination)),
        HumanInputMode::Terminate if over => {
            format!("Please give feedback to {peer}. Press enter or type 'exit' to stop the conversation: ")
        }
        HumanInputMode::Terminate if exhausted => format!(
            "Please give feedback to {peer}. Press enter to skip and use auto-reply, or type 'exit' to stop the conversation: "
        ),
        HumanInputMode::Never | HumanInputMode::Terminate => {
            memory.set_auto_replies(&agent.name, peer, count + 1);
            return Ok(Verdict::GoOn);
        }
    };
    let input = ask_person(agent.name.as_str(), prompt, fx).await?;
    let always = agent.human_input_mode == HumanInputMode::Always;
    match input.as_str() {
        "exit" if always || !over => Ok(stop(agent, peer, memory, Silence::UserExit)),
        "" | "exit" if over => Ok(stop(agent, peer, memory, Silence::Termination)),
        // With a limit of 0 even an empty input is the reply.
        "" if agent.max_consecutive_auto_reply > 0 => {
            memory.set_auto_replies(&agent.name, peer, count + 1);
            Ok(Verdict::GoOn)
        }
        _ => {
            memory.set_auto_replies(&agent.name, peer, 0);
            Ok(Verdict::Reply(input))
        }
    }
}

fn stop(agent: &Agent, peer: &Name, memory: &mut Memory, silence: Silence) -> Verdict {
    memory.set_auto_replies(&agent.name, peer, 0);
    Verdict::Stop(silence)
}

/// Asks a person for a line of text; nobody ever answers in time for somebody else, so there is no time-out.
pub(super) async fn ask_person(sender: &str, prompt: String, fx: &dyn Effects) -> Result<String> {
    let says = Content::TextInput(TextInput { prompt: Some(prompt), ..TextInput::default() });
    let question =
        Question { sender: sender.to_owned(), recipient: "User".to_owned(), says, timeout: None, default: None };
    Ok(match fx.ask(question).await? {
        Answer::Given(serde_json::Value::String(text)) => text,
        Answer::Given(other) => other.to_string(),
        Answer::TimedOut => String::new(),
    })
}
