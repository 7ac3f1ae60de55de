//! Asks other models, in order, when one gives no answer.

use std::sync::Arc;

use async_trait::async_trait;

use super::{ChatModel, Error, ModelProgress};
use crate::protocol::dialogue::{ModelReply, ModelRequest};

/// Several models; when one fails, the next is asked. Each has its own retries.
pub(super) struct FallbackModel {
    models: Vec<Arc<dyn ChatModel>>,
    round_robin: bool,
}

impl FallbackModel {
    /// Puts the models in order. With `round_robin` an agent's next request begins with the next of them.
    pub(super) fn new(models: Vec<Arc<dyn ChatModel>>, round_robin: bool) -> Self {
        Self { models, round_robin }
    }
}

#[async_trait]
impl ChatModel for FallbackModel {
    async fn complete(
        &self,
        request: &ModelRequest,
        progress: &mut (dyn for<'a> FnMut(ModelProgress<'a>) + Send),
    ) -> Result<ModelReply, Error> {
        let begin = if self.round_robin { request.turn as usize % self.models.len() } else { 0 };
        let mut order = self.models[begin..].iter().chain(&self.models[..begin]);
        let first = order.next().expect("there are several models");
        let mut attempts = 0;
        let mut outcome = ask(first, request, &mut attempts, progress).await;
        for other in order {
            match outcome {
                Err(error) if goes_on_after(&error) => {
                    tracing::warn!(error = error.in_log(), "asking the next model instead");
                    outcome = ask(other, request, &mut attempts, progress).await;
                }
                _ => break,
            }
        }
        outcome
    }
}

/// Asks one of them; its attempts are counted on from those of the models before it.
async fn ask(
    model: &Arc<dyn ChatModel>,
    request: &ModelRequest,
    attempts: &mut u32,
    progress: &mut (dyn for<'a> FnMut(ModelProgress<'a>) + Send),
) -> Result<ModelReply, Error> {
    let before = *attempts;
    let mut counting = |heard: ModelProgress<'_>| match heard {
        ModelProgress::Attempt(attempt) => {
            *attempts = before + attempt;
            progress(ModelProgress::Attempt(before + attempt));
        }
        ModelProgress::Text(text) => progress(ModelProgress::Text(text)),
    };
    model.complete(request, &mut counting).await
}

/// Whether another model may do better. AG2's exceptions: what a filter refused is not carried to the next model, and an
/// answer that cannot be read is a bug to be seen.
fn goes_on_after(error: &Error) -> bool {
    match error {
        Error::Malformed { .. } => false,
        Error::Status { code, .. } => code.as_deref() != Some("content_filter"),
        Error::NoKey { .. }
        | Error::OddKey { .. }
        | Error::NoToken { .. }
        | Error::Unset { .. }
        | Error::TimedOut { .. }
        | Error::Down { .. }
        | Error::Crowded { .. }
        | Error::Unreachable { .. }
        | Error::BrokenOff { .. }
        | Error::Unknown { .. }
        | Error::ScriptExhausted { .. } => true,
    }
}
