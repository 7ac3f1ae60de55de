//! What remains of a conversation (`SEMANTICS.md` 4).

use serde_json::json;

use crate::chat::agent::content_text;
use crate::chat::{Effects, Memory, Replied, Result};
use crate::model::{ChatMessage, Request, Role};
use crate::workflow::{Agent, SummaryMethod};

const REFLECTION_PROMPT: &str = "Summarize the takeaway from the conversation. Do not add any introductory phrases.";

/// The summary of what `sender` and `recipient` said to each other.
pub(super) async fn summarize(
    method: &SummaryMethod,
    sender: &Agent,
    recipient: &Agent,
    memory: &Memory,
    fx: &dyn Effects,
) -> Result<String> {
    let list = memory.list(&recipient.name, &sender.name);
    match method {
        SummaryMethod::Nothing => Ok(String::new()),
        // Every TERMINATE goes, and nothing is trimmed: "Pi. TERMINATE" becomes "Pi. ".
        SummaryMethod::LastMessage => {
            Ok(list.last().map(|last| content_text(&last.content).replace("TERMINATE", "")).unwrap_or_default())
        }
        SummaryMethod::Reflection { prompt, role } => {
            let Some(llm) = recipient.llm.as_ref().or(sender.llm.as_ref()) else { return Ok(String::new()) };
            let mut messages = list.to_vec();
            messages.push(ChatMessage {
                content: json!(prompt.as_deref().unwrap_or(REFLECTION_PROMPT)),
                role: role.as_deref().map_or(Role::System, role_named),
                name: None,
                tool_calls: None,
                tool_call_id: None,
            });
            let request = Request { messages, parameters: llm.parameters.clone(), ..Request::default() };
            match fx.ask_model(llm, request, None).await? {
                Ok(Replied { reply, .. }) => Ok(reply.content.unwrap_or_default()),
                // As in AG2, a summary that cannot be had is empty, and the run goes on.
                Err(failure) => {
                    tracing::warn!("no summary: {}", failure.message);
                    Ok(String::new())
                }
            }
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
