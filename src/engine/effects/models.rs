//! Asking models, within the limits of the run, and telling people what is being written.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Scoped, diverged};
use crate::chat::{Failure, Replied, Result, Speaking, Stop};
use crate::engine::journal::{Remembered, Writing};
use crate::engine::watch::Asking;
use crate::ids::MessageId;
use crate::message::Content;
use crate::model::{self, Progress};
use crate::protocol::dialogue::{Reply, Request};
use crate::protocol::failure::FailureKind;
use crate::protocol::log::Outcome;
use crate::run::attach::Delta;
use crate::traces;
use crate::workflow::ModelUse;

/// Asks a model. With `speaking`, its text is shown while it is written. A failure of the model is remembered too, and so is
/// that a limit was met: when the run is executed again, other branches may not have used as much yet. `in_circles`: why the
/// model must not be asked any more.
pub(in crate::engine) async fn ask_model(
    fx: &Scoped,
    llm: &ModelUse,
    mut request: Request,
    speaking: Option<Speaking<'_>>,
    in_circles: Option<String>,
) -> Result<std::result::Result<Replied, Failure>> {
    let key = fx.key();
    let message = fx.message_id(&key);
    match fx.journal.log.remembered(&key) {
        Some(Remembered::Did(Outcome::Reply(reply))) => {
            fx.journal.budget.count(reply.usage);
            return Ok(Ok(Replied { reply: *reply, message }));
        }
        Some(Remembered::Did(Outcome::Failed { kind: FailureKind::Limit, message })) => {
            return Err(Stop::failed(FailureKind::Limit, message));
        }
        Some(Remembered::Did(Outcome::Failed { kind, message })) => {
            return Ok(Err(Failure { kind, message, step: None }));
        }
        Some(other) => return Err(diverged(&key, "a model's reply", &other)),
        None => fx.check_new(&key)?,
    }
    let _busy = fx.journal.idle.busy();
    if let Some(why) = in_circles.or_else(|| limit_met(fx, llm)) {
        return Err(fx.journal.log.refuse(key, why).await?);
    }
    // A call that is finished is in the log before another begins, so that no crash repeats two.
    fx.journal.log.settle().await?;
    fx.journal.ownership.confirm().await?;
    request.headers.push(("x-fastagency-run", fx.journal.run.to_string()));
    request.headers.push(("x-fastagency-effect", key.to_string()));
    let asked = match fx.journal.context.models.get(&llm.name) {
        Ok(asked) => asked.clone(),
        Err(error) => return Ok(Err(model_failure(&error))),
    };
    let journal = &fx.journal;
    let asking = Asking::begin(
        &journal.figures,
        journal.run,
        &journal.context.models,
        llm,
        &request,
        journal.context.redactor(),
    );
    if let Some(place) = asking.span.place() {
        request.headers.push((traces::HEADER, place));
    }
    let noting = fx.journal.log.note(&key, llm, &request);
    let begun = Instant::now();
    let replying = asking.span.around(async {
        match speaking {
            None => asked.complete(&request, &mut |progress| asking.saw(progress)).await,
            Some(speaking) => complete_aloud(fx, &*asked, &request, message, speaking, &asking).await,
        }
    });
    let replied = fx.within_duration(replying).await;
    fx.journal.texts.finish(message);
    if let Ok(replied) = &replied {
        asking.end(replied, fx.journal.context.redactor());
    }
    match replied? {
        Ok(reply) => {
            fx.journal.budget.count(reply.usage);
            let outcome = Outcome::Reply(Box::new(reply.clone()));
            fx.journal.log.done(key, outcome, noting, begun.elapsed()).await?;
            Ok(Ok(Replied { reply, message }))
        }
        Err(error) => {
            tracing::warn!(run.id = %fx.journal.run, "a model gave no answer: {}", error.in_log());
            let failure = model_failure(&error);
            let Failure { kind, message, .. } = failure.clone();
            let outcome = Outcome::Failed { kind, message };
            fx.journal.log.done(key, outcome, noting, begun.elapsed()).await?;
            Ok(Err(failure))
        }
    }
}

/// The limit that the run has met, in a sentence; none: the model may be asked.
fn limit_met(fx: &Scoped, llm: &ModelUse) -> Option<String> {
    let used = fx.journal.budget.usage();
    let limits = &fx.journal.budget.limits;
    if limits.cost_usd.is_some() && !fx.journal.context.models.has_price(&llm.name) {
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
    fx.journal.log.too_large()
}

/// Asks a model, and tells people its text while it writes: what came while one piece was being told is told in one.
async fn complete_aloud(
    fx: &Scoped,
    asked: &dyn model::ChatModel,
    request: &Request,
    message: MessageId,
    speaking: Speaking<'_>,
    asking: &Asking,
) -> std::result::Result<Reply, model::Error> {
    let unsaid = Mutex::new(Unsaid::default());
    let something = Notify::new();
    let mut progress = |progress: Progress<'_>| {
        asking.saw(progress);
        let mut unsaid = unsaid.lock().unwrap_or_else(PoisonError::into_inner);
        match progress {
            Progress::Attempt(attempt) => *unsaid = Unsaid { attempt, ..Unsaid::default() },
            Progress::Text(piece) => {
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
            tell(fx, message, attempt, offset, text, speaking).await;
        }
    };
    let replied = tokio::select! {
        replied = asked.complete(request, &mut progress) => replied,
        () = tell => unreachable!("telling goes on until the model has answered"),
    };
    replied
}

async fn tell(fx: &Scoped, message: MessageId, attempt: u32, offset: usize, text: String, speaking: Speaking<'_>) {
    let Speaking { sender, recipient } = speaking;
    let delta = Delta {
        message,
        attempt,
        offset,
        text,
        sender: Some(sender.to_owned()),
        recipient: Some(recipient.to_owned()),
        within: fx.within(),
    };
    let told = fx.journal.texts.extend(delta);
    // Nobody sees the beginning of a text before the message that it answers. A failure is the driver's.
    if fx.journal.log.settle().await.is_ok()
        && let Some(delta) = told
    {
        fx.journal.whisper(&delta).await;
    }
}

/// Says what was being written when the run was stopped, marked as cut off.
pub(in crate::engine) async fn say_cut_off(fx: &Scoped) -> Result<()> {
    for (uuid, Writing { sender, recipient, within, text, .. }) in fx.journal.texts.take() {
        let says = Content::TextMessage { body: Some(text), stopped: true };
        let place = Scoped::new(fx.journal.clone(), fx.scope.message(uuid), within);
        place.say(&sender, &recipient, says, Some(uuid)).await?;
    }
    Ok(())
}

fn model_failure(error: &model::Error) -> Failure {
    let kind = match error {
        model::Error::TimedOut { .. } => FailureKind::Timeout,
        _ => FailureKind::Model,
    };
    Failure { kind, message: error.to_string(), step: None }
}

/// What a model has written and nobody was told yet.
#[derive(Default)]
struct Unsaid {
    attempt: u32,
    /// How much of the text was told before.
    offset: usize,
    text: String,
}
