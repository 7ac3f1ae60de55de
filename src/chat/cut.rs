//! Replies that are not all that a model had to say: how the replies of a conversation ended, and what is done about one that
//! was cut off (`on_cut`). AG2 does not look at it; so by default a conversation goes on, and the reply is marked.

use std::sync::Arc;

use crate::chat::{
    ConversationContext, IdentifiedReply, Result, SpeakingPair, SpokenPart, WorkflowFailure, WorkflowStop,
};
use crate::protocol::dialogue::{ChatMessage, ChatRole, CutReason, ModelReply, ModelRequest};
use crate::protocol::failure::FailureKind;
use crate::workflow::{Agent, ModelUse, OnCut};

/// How often a model is asked to go on with one reply.
const MOST_CONTINUATIONS: usize = 4;
/// How a model is asked to go on.
const GO_ON: &str =
    "Your reply was cut off. Go on exactly where it stops: repeat nothing of it, and put nothing before its next word.";

/// How the replies of models in a conversation ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplyEnds {
    /// Why the last one did; none: its provider does not say, or there was none.
    pub finish_reason: Option<String>,
    /// Whether any of them was cut off.
    pub cut: bool,
}

impl ReplyEnds {
    fn note(&mut self, reply: &ModelReply) {
        let cut = reply.cut();
        self.finish_reason = cut.map(|cut| cut.as_str().to_owned()).or_else(|| reply.finish_reason.clone());
        self.cut |= cut.is_some();
    }
}

/// Asks the model of `agent`, or of somebody who is none, and does about a reply that was cut off what is to be done about it.
pub(super) async fn ask(
    ctx: &mut ConversationContext<'_>,
    agent: Option<&Agent>,
    llm: &ModelUse,
    request: ModelRequest,
    speaking: Option<SpeakingPair<'_>>,
) -> Result<std::result::Result<IdentifiedReply, WorkflowFailure>> {
    let on_cut = ctx.on_cut.or(agent.and_then(|agent| agent.on_cut)).unwrap_or_default();
    let again = (on_cut == OnCut::AskOn).then(|| request.clone());
    let mut replied = ctx.effects.ask_model(llm, request, speaking).await?;
    if let (Some(again), Ok(begun)) = (again, &mut replied)
        && let Err(failure) = go_on(ctx, llm, again, speaking, begun).await?
    {
        return Ok(Err(failure));
    }
    if let Ok(IdentifiedReply { reply, .. }) = &replied {
        ctx.replies.note(reply);
        if let (OnCut::Fail, Some(cut)) = (on_cut, reply.cut()) {
            return Err(failed(agent, cut));
        }
    }
    Ok(replied)
}

/// Asks the model to go on as long as its reply is cut off, so often at most, and joins the parts.
async fn go_on(
    ctx: &ConversationContext<'_>,
    llm: &ModelUse,
    request: ModelRequest,
    speaking: Option<SpeakingPair<'_>>,
    begun: &mut IdentifiedReply,
) -> Result<std::result::Result<(), WorkflowFailure>> {
    for _ in 0..MOST_CONTINUATIONS {
        let reply = &begun.reply;
        let text = reply.content.clone().unwrap_or_default();
        // Of a call the model is told in the call's result.
        if !reply.cut().is_some_and(CutReason::may_go_on) || !reply.tool_calls.is_empty() || text.is_empty() {
            break;
        }
        let so_far = [ChatMessage::new(ChatRole::Assistant, text.as_str()), ChatMessage::new(ChatRole::User, GO_ON)];
        let messages = request.messages.iter().cloned().chain(so_far.map(Arc::new)).collect();
        // The rest of an object is none.
        let request = ModelRequest { messages, response_format: None, ..request.clone() };
        let part = SpokenPart { message: begun.message, attempt: begun.attempt, text: &text };
        let speaking = speaking.map(|speaking| SpeakingPair { after: Some(part), ..speaking });
        match ctx.effects.ask_model(llm, request, speaking).await? {
            Ok(IdentifiedReply { reply, attempt, .. }) => {
                let content = Some(text + reply.content.as_deref().unwrap_or_default());
                begun.reply = ModelReply { content, ..reply };
                begun.attempt = attempt;
            }
            Err(failure) => return Ok(Err(failure)),
        }
    }
    Ok(Ok(()))
}

fn failed(agent: Option<&Agent>, cut: CutReason) -> WorkflowStop {
    let of = agent.map(|agent| format!(" of agent {:?}", agent.name.as_str())).unwrap_or_default();
    let help = match cut {
        CutReason::Length => "; give its model a higher max_tokens, or ask it on with `on_cut: ask_on`",
        _ => "",
    };
    let problem = format!("the reply{of} {} (finish_reason: {}){help}", cut.in_words(), cut.as_str());
    WorkflowStop::failed(FailureKind::Cut, problem)
}

/// What a model is told of a call that was cut off.
pub(super) fn call_cut_off(cut: CutReason) -> String {
    format!(
        "Error: this call was not made: the reply that it stands in {}, so its arguments may not be complete.\n Make the call again, with shorter arguments or in several calls.",
        cut.in_words()
    )
}
