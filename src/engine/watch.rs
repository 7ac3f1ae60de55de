//! What operators see of runs: their figures, and the spans of what they ask and call.

use std::sync::Arc;
use std::time::Instant;

use serde_json::json;

use crate::clock::{self, Timestamp};
use crate::ids::RunId;
use crate::metrics::{OfModel, OfWorkflow, RunState, Told};
use crate::model::{Error, Models, Progress};
use crate::protocol::dialogue::{Reply, Request};
use crate::protocol::log::{Body, Ending, LogEntry};
use crate::redact::Redactor;
use crate::run::summary::{State, Summary};
use crate::traces::{self, KeyValue, Kind, Span, Under, genai};
use crate::workflow::{ModelUse, Tool};

/// Counts a run in the state that it is in, until dropped.
pub(super) struct Watch {
    figures: Arc<OfWorkflow>,
    state: Option<RunState>,
    since: Timestamp,
}

impl Watch {
    /// Begins to watch a run that was claimed just now, and makes its summary on the way.
    pub(super) fn begin(run: RunId, history: &[LogEntry], figures: Arc<OfWorkflow>) -> (Summary, Self) {
        let mut summary = Summary::new(run);
        let (mut state, mut since) = (None, Timestamp::UNIX_EPOCH);
        for placed in history {
            summary.apply(placed);
            let now = state_of(&summary);
            if now != state {
                (state, since) = (now, placed.at);
            }
        }
        match history {
            [created, claimed] => {
                figures.left(RunState::queued, clock::until(created.at, claimed.at));
            }
            _ => drop(figures.resumed.inc()),
        }
        figures.moved(None, state);
        (summary, Self { figures, state, since })
    }

    /// Takes note of a record, after the summary has.
    pub(super) fn saw(&mut self, summary: &Summary, placed: &LogEntry) {
        match &placed.record.body {
            Body::Parked { .. } => drop(self.figures.parked.inc()),
            Body::Ended(ended) => self.figures.ended(match ended.outcome {
                Ending::Completed => "completed",
                Ending::Failed => "failed",
                Ending::Cancelled => "cancelled",
            }),
            _ => {}
        }
        let now = state_of(summary);
        if now != self.state {
            if let Some(before) = self.state {
                self.figures.left(before, clock::until(self.since, placed.at));
            }
            self.figures.moved(self.state, now);
            (self.state, self.since) = (now, placed.at);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.figures.moved(self.state, None);
    }
}

fn state_of(summary: &Summary) -> Option<RunState> {
    match summary.state {
        State::Queued => Some(RunState::queued),
        State::Running => Some(RunState::running),
        State::Waiting => Some(RunState::waiting),
        State::Ended => None,
    }
}

/// A request to a model, as operators see it.
pub(super) struct Asking {
    figures: Arc<OfWorkflow>,
    asked: Arc<OfModel>,
    begun: Instant,
    pub span: Span,
}

impl Asking {
    /// Begins with the request. `run`: what it is asked for.
    pub(super) fn begin(
        figures: &Arc<OfWorkflow>,
        run: RunId,
        models: &Models,
        llm: &ModelUse,
        request: &Request,
        redactor: &Redactor,
    ) -> Self {
        let span = Span::begin(Kind::Client, Under::Current, || {
            let (provider, model) = models.known_as(&llm.name).unwrap_or(("fastagency", llm.name.as_str()));
            let mut known = vec![
                KeyValue::new(genai::OPERATION, "chat"),
                KeyValue::new(genai::PROVIDER, provider),
                KeyValue::new(genai::REQUEST_MODEL, model.to_owned()),
                KeyValue::new(genai::CONVERSATION, run.to_string()),
            ];
            if traces::show_content() {
                known.push(KeyValue::new(genai::INPUT_MESSAGES, shown(json!(request.messages), redactor)));
            }
            (format!("chat {model}"), known)
        });
        Self { figures: figures.clone(), asked: figures.model(llm.name.as_str()), begun: Instant::now(), span }
    }

    /// Takes note of what happens meanwhile.
    pub(super) fn saw(&self, progress: Progress<'_>) {
        if matches!(progress, Progress::Attempt(attempt) if attempt > 1) {
            self.asked.retries.inc();
        }
    }

    /// Takes note of what came of it.
    pub(super) fn end(self, replied: &Result<Reply, Error>, redactor: &Redactor) {
        let took = self.begun.elapsed();
        match replied {
            Ok(reply) => {
                let usage = &reply.usage;
                let told = Told {
                    input: usage.prompt_tokens,
                    cached: usage.cached_tokens,
                    output: usage.completion_tokens,
                    cost_usd: usage.cost_usd.dollars(),
                };
                // Another model may have stood in.
                self.figures.model(&reply.model).answered(told, took);
                if self.span.is_seen() {
                    self.tell(reply, redactor);
                }
            }
            Err(error) => {
                let timed_out = matches!(error, Error::TimedOut { .. });
                self.asked.failed(timed_out, took);
                self.span.fail(if timed_out { "timeout" } else { "model_error" });
            }
        }
    }

    fn tell(&self, reply: &Reply, redactor: &Redactor) {
        let count = |tokens: u64| i64::try_from(tokens).unwrap_or(i64::MAX);
        self.span.set(genai::RESPONSE_MODEL, reply.model.clone());
        self.span.set(genai::INPUT_TOKENS, count(reply.usage.prompt_tokens));
        self.span.set(genai::OUTPUT_TOKENS, count(reply.usage.completion_tokens));
        if let Some(reason) = &reply.finish_reason {
            self.span.set(genai::FINISH_REASONS, traces::texts([reason.clone()]));
        }
        if traces::show_content() {
            let said = json!([{"role": "assistant", "content": reply.content, "tool_calls": reply.tool_calls}]);
            self.span.set(genai::OUTPUT_MESSAGES, shown(said, redactor));
        }
    }
}

/// What is said to and by models, as a collector sees it: without what nobody is to see.
fn shown(mut said: serde_json::Value, redactor: &Redactor) -> String {
    redactor.value(&mut said);
    said.to_string()
}

/// A call of a tool, as operators see it. One that the log remembers was seen before, and is not seen again.
pub(super) struct Calling {
    figures: Option<Arc<OfWorkflow>>,
    begun: Instant,
    pub span: Span,
}

impl Calling {
    /// Begins with the call.
    pub(super) fn begin(figures: &Arc<OfWorkflow>, run: RunId, tool: &Tool, is_new: bool) -> Self {
        let span = match is_new {
            true => Span::begin(Kind::Internal, Under::Current, || {
                let known = vec![
                    KeyValue::new(genai::OPERATION, "execute_tool"),
                    KeyValue::new(genai::TOOL, tool.name.to_string()),
                    KeyValue::new(genai::CONVERSATION, run.to_string()),
                ];
                (format!("execute_tool {}", tool.name), known)
            }),
            false => Span::default(),
        };
        Self { figures: is_new.then(|| figures.clone()), begun: Instant::now(), span }
    }

    /// Takes note of what came of it.
    pub(super) fn end<T, E>(self, tool: &Tool, done: &Result<T, E>) {
        if let Some(figures) = self.figures {
            figures.called(tool.name.as_str(), done.is_ok(), self.begun.elapsed());
        }
        if done.is_err() {
            self.span.fail("tool_error");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_is_to_see_is_in_no_trace() {
        let redactor = Redactor::new(&["iban".to_owned()], vec![regex::Regex::new("[0-9]{16}").unwrap()]);
        let said = json!([{"role": "assistant", "content": "card 4111111111111111",
            "tool_calls": [{"arguments": {"iban": "DE02", "amount": 3}}]}]);
        let seen = shown(said, &redactor);
        assert!(!seen.contains("4111") && !seen.contains("DE02") && seen.contains("amount"), "{seen}");
    }
}
