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
use crate::protocol::participant::is_internal;
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
    let own = effects.message_id(&key);
    let message = speaking.and_then(|speaking| speaking.after).map_or(own, |before| before.message);
    match effects.journal.log.remembered(&key) {
        Some(RememberedEffect::Did(EffectOutcome::Reply(reply))) => {
            effects.journal.budget.count(reply.usage);
            return Ok(Ok(IdentifiedReply { reply: *reply, message, attempt: 1 }));
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
    let mut attempt = 1;
    let replying = asking.span.instrument(async {
        match speaking {
            None => asked.complete(&request, &mut |progress| asking.saw(progress)).await,
            Some(speaking) => {
                let told = ToldText::of(message, speaking);
                let (replied, last) = complete_aloud(effects, &*asked, &request, told, &asking).await;
                attempt = last;
                replied
            }
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
            Ok(Ok(IdentifiedReply { reply, message, attempt }))
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
    let about = if used.estimated_calls > 0 { " (estimated, as its models do not count all tokens)" } else { "" };
    if limits.cost_usd.is_some() && !effects.journal.context.models.has_price(&llm.name) {
        return Some(format!(
            "the run has a limit of money, and what the model {:?} costs, or one that stands in for it, is not known: put its price under prices: in the configuration",
            llm.name.as_str()
        ));
    }
    if let Some(limit) = limits.cost_usd
        && used.cost_usd >= limit
    {
        return Some(format!("the run has cost {}{about}, its limit is {limit}", used.cost_usd));
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
        return Some(format!("the run has used {tokens} tokens{about}, its limit is {limit}"));
    }
    effects.journal.log.too_large()
}

/// A text that is told while it is written.
struct ToldText<'a> {
    message: MessageId,
    speaking: SpeakingPair<'a>,
    /// What was written of it in an earlier request, in which attempt.
    before: &'a str,
    attempts: u32,
}

impl<'a> ToldText<'a> {
    fn of(message: MessageId, speaking: SpeakingPair<'a>) -> Self {
        let (before, attempts) = speaking.after.map_or(("", 0), |part| (part.text, part.attempt.saturating_sub(1)));
        Self { message, speaking, before, attempts }
    }

    /// What is to be told when an attempt begins: with the first one those who look on go on where they are.
    fn begun(&self, attempt: u32) -> UnsentText {
        UnsentText { attempt: self.attempts + attempt, offset: 0, text: self.before.to_owned() }
    }
}

/// Asks a model, and tells people its text while it writes: what came while one piece was being told is told in one. The number
/// of the last attempt is returned as well.
async fn complete_aloud(
    effects: &ScopedEffects,
    asked: &dyn model::ChatModel,
    request: &ModelRequest,
    told: ToldText<'_>,
    asking: &ModelRequestMetrics,
) -> (std::result::Result<ModelReply, model::Error>, u32) {
    let unsaid = Mutex::new(told.begun(1));
    let something = Notify::new();
    let mut progress = |progress: ModelProgress<'_>| {
        asking.saw(progress);
        let mut unsaid = unsaid.lock().unwrap_or_else(PoisonError::into_inner);
        match progress {
            ModelProgress::Attempt(attempt) => *unsaid = told.begun(attempt),
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
                (unsaid.attempt, offset, text)
            };
            if text.is_empty() {
                continue;
            }
            tell(effects, told.message, attempt, offset, text, told.speaking).await;
        }
    };
    let replied = tokio::select! {
        replied = asked.complete(request, &mut progress) => replied,
        () = tell => unreachable!("telling goes on until the model has answered"),
    };
    let attempt = unsaid.lock().unwrap_or_else(PoisonError::into_inner).attempt;
    (replied, attempt)
}

async fn tell(
    effects: &ScopedEffects,
    message: MessageId,
    attempt: u32,
    offset: usize,
    text: String,
    speaking: SpeakingPair<'_>,
) {
    let SpeakingPair { sender, recipient, .. } = speaking;
    let known = |name: &str| (!is_internal(name)).then(|| name.to_owned());
    let delta = TextDelta {
        message,
        attempt,
        offset,
        text,
        sender: known(sender),
        recipient: known(recipient),
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
        let says = MessageContent::TextMessage { body: Some(text), stopped: true, cut: None };
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
struct UnsentText {
    attempt: u32,
    /// How much of the text was told before.
    offset: usize,
    text: String,
}
