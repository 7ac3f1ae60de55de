//! Asking models, within the limits of the run, and telling people what is being written.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::{ScopedEffects, diverged};
use crate::chat::{IdentifiedReply, Result, SpeakingPair, WorkflowFailure, WorkflowStop};
use crate::engine::journal::{RememberedEffect, TextInProgress};
use crate::engine::run_metrics::ModelRequestMetrics;
use crate::ids::MessageId;
use crate::message::MessageContent;
use crate::model::{self, ModelProgress};
use crate::protocol::dialogue::{ModelReply, ModelRequest};
use crate::protocol::failure::FailureKind;
use crate::protocol::log::EffectOutcome;
use crate::run::attach::TextDelta;
use crate::traces;
use crate::workflow::ModelUse;

/// Asks a model. With `speaking`, its text is shown while it is written. A failure of the model is remembered too, and so is
/// that a limit was met: when the run is executed again, other branches may not have used as much yet. `in_circles`: why the
/// model must not be asked any more.
pub(in crate::engine) async fn ask_model(
    effects: &ScopedEffects,
    llm: &ModelUse,
    mut request: ModelRequest,
    speaking: Option<SpeakingPair<'_>>,
    in_circles: Option<String>,
) -> Result<std::result::Result<IdentifiedReply, WorkflowFailure>> {
    let key = effects.key();
    let message = effects.message_id(&key);
    match effects.journal.log.remembered(&key) {
        Some(RememberedEffect::Did(EffectOutcome::Reply(reply))) => {
            effects.journal.budget.count(reply.usage);
            return Ok(Ok(IdentifiedReply { reply: *reply, message }));
        }
        Some(RememberedEffect::Did(EffectOutcome::Failed { kind: FailureKind::Limit, message })) => {
            return Err(WorkflowStop::failed(FailureKind::Limit, message));
        }
        Some(RememberedEffect::Did(EffectOutcome::Failed { kind, message })) => {
            return Ok(Err(WorkflowFailure { kind, message, step: None }));
        }
        Some(other) => return Err(diverged(&key, "a model's reply", &other)),
        None => effects.check_new(&key)?,
    }
    let _busy = effects.journal.idle.busy();
    if let Some(why) = in_circles.or_else(|| limit_met(effects, llm)) {
        return Err(effects.journal.log.refuse(key, why).await?);
    }
    // A call that is finished is in the log before another begins, so that no crash repeats two.
    effects.journal.log.settle().await?;
    effects.journal.ownership.confirm().await?;
    request.headers.push(("x-fastagency-run", effects.journal.run.to_string()));
    request.headers.push(("x-fastagency-effect", key.to_string()));
    let asked = match effects.journal.context.models.get(&llm.name) {
        Ok(asked) => asked.clone(),
        Err(error) => return Ok(Err(model_failure(&error))),
    };
    let journal = &effects.journal;
    let asking = ModelRequestMetrics::begin(
        &journal.workflow_metrics,
        journal.run,
        &journal.context.models,
        llm,
        &request,
        journal.context.redactor(),
    );
    if let Some(place) = asking.span.place() {
        request.headers.push((traces::HEADER, place));
    }
    let noting = effects.journal.log.note(&key, llm, &request);
    let begun = Instant::now();
    let replying = asking.span.instrument(async {
        match speaking {
            None => asked.complete(&request, &mut |progress| asking.saw(progress)).await,
            Some(speaking) => complete_aloud(effects, &*asked, &request, message, speaking, &asking).await,
        }
    });
    let replied = effects.within_duration(replying).await;
    effects.journal.texts.finish(message);
    if let Ok(replied) = &replied {
        asking.end(replied, effects.journal.context.redactor());
    }
    match replied? {
        Ok(reply) => {
            effects.journal.budget.count(reply.usage);
            let outcome = EffectOutcome::Reply(Box::new(reply.clone()));
            effects.journal.log.done(key, outcome, noting, begun.elapsed()).await?;
            Ok(Ok(IdentifiedReply { reply, message }))
        }
        Err(error) => {
            tracing::warn!(run.id = %effects.journal.run, "a model gave no answer: {}", error.in_log());
            let failure = model_failure(&error);
            let WorkflowFailure { kind, message, .. } = failure.clone();
            let outcome = EffectOutcome::Failed { kind, message };
            effects.journal.log.done(key, outcome, noting, begun.elapsed()).await?;
            Ok(Err(failure))
        }
    }
}

/// The limit that the run has met, in a sentence; none: the model may be asked.
fn limit_met(effects: &ScopedEffects, llm: &ModelUse) -> Option<String> {
    let used = effects.journal.budget.usage();
    let limits = &effects.journal.budget.limits;
    if limits.cost_usd.is_some() && !effects.journal.context.models.has_price(&llm.name) {
        return Some(format!(
            "the run has a limit of money, and what the model {:?} costs, or one that stands in for it, is not known: put its price under prices: in the configuration",
            llm.name.as_str()
        ));
    }
    if let Some(limit) = limits.cost_usd
        && used.cost_usd >= limit
    {
        return Some(format!("the run has cost {}, its limit is {limit}", used.cost_usd));
    }
    if let Some(limit) = limits.llm_calls
        && used.llm_calls >= limit
    {
        return Some(format!("the run has made {limit} requests to models, its limit"));
    }
    let tokens = used.tokens();
    if let Some(limit) = limits.tokens
        && tokens >= limit
    {
        return Some(format!("the run has used {tokens} tokens, its limit is {limit}"));
    }
    effects.journal.log.too_large()
}

/// Asks a model, and tells people its text while it writes: what came while one piece was being told is told in one.
async fn complete_aloud(
    effects: &ScopedEffects,
    asked: &dyn model::ChatModel,
    request: &ModelRequest,
    message: MessageId,
    speaking: SpeakingPair<'_>,
    asking: &ModelRequestMetrics,
) -> std::result::Result<ModelReply, model::Error> {
    let unsaid = Mutex::new(UnsentText::default());
    let something = Notify::new();
    let mut progress = |progress: ModelProgress<'_>| {
        asking.saw(progress);
        let mut unsaid = unsaid.lock().unwrap_or_else(PoisonError::into_inner);
        match progress {
            ModelProgress::Attempt(attempt) => *unsaid = UnsentText { attempt, ..UnsentText::default() },
            ModelProgress::Text(piece) => {
                unsaid.text.push_str(piece);
                something.notify_one();
            }
        }
    };
    let tell = async {
        loop {
            something.notified().await;
            let (attempt, offset, text) = {
                let mut unsaid = unsaid.lock().unwrap_or_else(PoisonError::into_inner);
                let text = std::mem::take(&mut unsaid.text);
                let offset = unsaid.offset;
                unsaid.offset += text.chars().count();
                (unsaid.attempt.max(1), offset, text)
            };
            if text.is_empty() {
                continue;
            }
            tell(effects, message, attempt, offset, text, speaking).await;
        }
    };
    let replied = tokio::select! {
        replied = asked.complete(request, &mut progress) => replied,
        () = tell => unreachable!("telling goes on until the model has answered"),
    };
    replied
}

async fn tell(
    effects: &ScopedEffects,
    message: MessageId,
    attempt: u32,
    offset: usize,
    text: String,
    speaking: SpeakingPair<'_>,
) {
    let SpeakingPair { sender, recipient } = speaking;
    let delta = TextDelta {
        message,
        attempt,
        offset,
        text,
        sender: Some(sender.to_owned()),
        recipient: Some(recipient.to_owned()),
        within: effects.within(),
    };
    let told = effects.journal.texts.extend(delta);
    // Nobody sees the beginning of a text before the message that it answers. A failure is the driver's.
    if effects.journal.log.settle().await.is_ok()
        && let Some(delta) = told
    {
        effects.journal.publish_delta(&delta).await;
    }
}

/// Says what was being written when the run was stopped, marked as cut off.
pub(in crate::engine) async fn say_cut_off(effects: &ScopedEffects) -> Result<()> {
    for (uuid, TextInProgress { sender, recipient, within, text, .. }) in effects.journal.texts.take() {
        let says = MessageContent::TextMessage { body: Some(text), stopped: true };
        let place = ScopedEffects::new(effects.journal.clone(), effects.scope.message(uuid), within);
        place.say(&sender, &recipient, says, Some(uuid)).await?;
    }
    Ok(())
}

fn model_failure(error: &model::Error) -> WorkflowFailure {
    let kind = match error {
        model::Error::TimedOut { .. } => FailureKind::Timeout,
        _ => FailureKind::Model,
    };
    WorkflowFailure { kind, message: error.to_string(), step: None }
}

/// What a model has written and nobody was told yet.
#[derive(Default)]
struct UnsentText {
    attempt: u32,
    /// How much of the text was told before.
    offset: usize,
    text: String,
}
