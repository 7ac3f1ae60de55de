//! What remains of a conversation (`docs/reference/ag2-semantics.md`, section 4).

use std::sync::Arc;

use crate::chat::memory::{content_text, unnamed, wire};
use crate::chat::parties::Recipient;
use crate::chat::request::request;
use crate::chat::{Line, Replied, Result, Stage};
use crate::ids::Name;
use crate::protocol::dialogue::{Request, Role};
use crate::workflow::{Agent, SummaryMethod};

const REFLECTION_PROMPT: &str = "Summarize the takeaway from the conversation. Do not add any introductory phrases.";

/// The summary of what `sender` and `recipient` said to each other.
pub(super) async fn summarize(
    method: &SummaryMethod,
    stage: &mut Stage<'_>,
    sender: &Agent,
    recipient: &Recipient,
) -> Result<String> {
    match method {
        SummaryMethod::Nothing => Ok(String::new()),
        SummaryMethod::LastMessage => Ok(last_message(stage, &sender.name, recipient)),
        SummaryMethod::Reflection { prompt, role } => {
            let lines = match recipient {
                Recipient::Agent(agent) => stage.memory.list(&agent.name, &sender.name).to_vec(),
                Recipient::Group(group) => stage.memory.group(&group.manager.name).to_vec(),
            };
            reflect(stage, sender, recipient, &lines, prompt.as_deref(), role.as_deref()).await
        }
    }
}

/// Every TERMINATE goes, and nothing is trimmed: "Pi. TERMINATE" becomes "Pi. ".
fn last_message(stage: &Stage<'_>, sender: &Name, recipient: &Recipient) -> String {
    let memory = &stage.memory;
    let last = match recipient {
        Recipient::Agent(agent) => memory.list(&agent.name, sender).last(),
        Recipient::Group(group) if group.is_member(sender) => memory.group(&group.manager.name).last(),
        // Who is no member hears nothing of what the group says.
        Recipient::Group(group) => memory.list(sender, &group.manager.name).last(),
    };
    last.map(|last| content_text(&last.content).replace("TERMINATE", "")).unwrap_or_default()
}

/// Asks the recipient's model, else the sender's, to sum up these messages.
pub(super) async fn reflect(
    stage: &mut Stage<'_>,
    sender: &Agent,
    recipient: &Recipient,
    lines: &[Arc<Line>],
    prompt: Option<&str>,
    role: Option<&str>,
) -> Result<String> {
    let mut messages = wire(lines.iter().map(AsRef::as_ref));
    messages.push(Arc::new(unnamed(role.map_or(Role::System, role_named), prompt.unwrap_or(REFLECTION_PROMPT))));
    let of_recipient = match recipient {
        Recipient::Agent(agent) => agent.llm.as_ref().map(|llm| (llm, Some(agent.as_ref()))),
        Recipient::Group(group) => group.manager.llm.as_ref().map(|llm| (llm, None)),
    };
    let Some((llm, asked)) = of_recipient.or_else(|| sender.llm.as_ref().map(|llm| (llm, Some(sender)))) else {
        return Ok(String::new());
    };
    let request = match asked {
        Some(agent) => request(stage, agent, llm, messages)?,
        None => Request { messages, parameters: llm.parameters.clone(), ..Request::default() },
    };
    match stage.fx.ask_model(llm, request, None).await? {
        Ok(Replied { reply, .. }) => Ok(reply.content.unwrap_or_default()),
        // As in AG2, a summary that cannot be had is empty, and the run goes on.
        Err(failure) => {
            tracing::warn!(kind = failure.kind.as_str(), "no summary could be had, it stays empty");
            Ok(String::new())
        }
    }
}

fn role_named(role: &str) -> Role {
    match role {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        _ => Role::System,
    }
}
