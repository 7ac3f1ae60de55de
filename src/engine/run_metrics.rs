//! What operators see of runs: their metrics, and the spans of what they ask and call.

use std::sync::Arc;
use std::time::Instant;

use serde_json::json;

use crate::clock::{self, Timestamp};
use crate::ids::RunId;
use crate::metrics::{ModelMetrics, RunStateLabel, TokenUsage, WorkflowMetrics};
use crate::model::{Error, ModelProgress, ModelRegistry};
use crate::protocol::dialogue::{ModelReply, ModelRequest};
use crate::protocol::log::{LogEntry, RecordBody, RunOutcome};
use crate::redact::Redactor;
use crate::run::summary::{RunState, RunSummary};
use crate::traces::{self, KeyValue, Kind, SpanParent, TraceSpan, genai};
use crate::workflow::{ModelUse, WorkflowTool};

/// Counts a run in the state that it is in, until dropped.
pub(super) struct RunMetrics {
    workflow_metrics: Arc<WorkflowMetrics>,
    state: Option<RunStateLabel>,
    since: Timestamp,
}

impl RunMetrics {
    /// Begins to watch a run that was claimed just now, and makes its summary on the way.
    pub(super) fn begin(
        run: RunId,
        history: &[LogEntry],
        workflow_metrics: Arc<WorkflowMetrics>,
    ) -> (RunSummary, Self) {
        let mut summary = RunSummary::new(run);
        let (mut state, mut since) = (None, Timestamp::UNIX_EPOCH);
        for placed in history {
            summary.apply(placed);
            let now = state_of(&summary);
            if now != state {
                (state, since) = (now, placed.at);
            }
        }
        match history {
            // It leaves the queue with its first record.
            [_created] => {}
            [created, claimed] => {
                workflow_metrics.left(RunStateLabel::queued, clock::until(created.at, claimed.at));
            }
            _ => drop(workflow_metrics.resumed.inc()),
        }
        workflow_metrics.moved(None, state);
        (summary, Self { workflow_metrics, state, since })
    }

    /// Takes note of a record, after the summary has.
    pub(super) fn saw(&mut self, summary: &RunSummary, placed: &LogEntry) {
        match &placed.record.body {
            RecordBody::Parked { .. } => drop(self.workflow_metrics.parked.inc()),
            RecordBody::Ended(ended) => self.workflow_metrics.ended(match ended.outcome {
                RunOutcome::Completed => "completed",
                RunOutcome::Failed => "failed",
                RunOutcome::Cancelled => "cancelled",
            }),
            _ => {}
        }
        let now = state_of(summary);
        if now != self.state {
            if let Some(before) = self.state {
                self.workflow_metrics.left(before, clock::until(self.since, placed.at));
            }
            self.workflow_metrics.moved(self.state, now);
            (self.state, self.since) = (now, placed.at);
        }
    }
}

impl Drop for RunMetrics {
    fn drop(&mut self) {
        self.workflow_metrics.moved(self.state, None);
    }
}

fn state_of(summary: &RunSummary) -> Option<RunStateLabel> {
    match summary.state {
        RunState::Queued => Some(RunStateLabel::queued),
        RunState::Running => Some(RunStateLabel::running),
        RunState::Waiting => Some(RunStateLabel::waiting),
        RunState::Ended => None,
    }
}

/// A request to a model, as operators see it.
pub(super) struct ModelRequestMetrics {
    workflow_metrics: Arc<WorkflowMetrics>,
    asked: Arc<ModelMetrics>,
    begun: Instant,
    pub span: TraceSpan,
}

impl ModelRequestMetrics {
    /// Begins with the request. `run`: what it is asked for.
    pub(super) fn begin(
        workflow_metrics: &Arc<WorkflowMetrics>,
        run: RunId,
        models: &ModelRegistry,
        llm: &ModelUse,
        request: &ModelRequest,
        redactor: &Redactor,
    ) -> Self {
        let span = TraceSpan::begin(Kind::Client, SpanParent::Current, || {
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
        Self {
            workflow_metrics: workflow_metrics.clone(),
            asked: workflow_metrics.model(llm.name.as_str()),
            begun: Instant::now(),
            span,
        }
    }

    /// Takes note of what happens meanwhile.
    pub(super) fn saw(&self, progress: ModelProgress<'_>) {
        if matches!(progress, ModelProgress::Attempt(attempt) if attempt > 1) {
            self.asked.retries.inc();
        }
    }

    /// Takes note of what came of it.
    pub(super) fn end(self, replied: &Result<ModelReply, Error>, redactor: &Redactor) {
        let took = self.begun.elapsed();
        match replied {
            Ok(reply) => {
                let usage = &reply.usage;
                let told = TokenUsage {
                    input: usage.prompt_tokens,
                    cached: usage.cached_tokens,
                    output: usage.completion_tokens,
                    cost_usd: usage.cost_usd.dollars(),
                };
                // Another model may have stood in.
                let answered = self.workflow_metrics.model(&reply.model);
                answered.answered(told, took);
                if let Some(cut) = reply.cut() {
                    answered.cut(cut.as_str());
                }
                if usage.estimated {
                    answered.estimated.inc();
                }
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

    fn tell(&self, reply: &ModelReply, redactor: &Redactor) {
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
pub(super) struct ToolCallMetrics {
    workflow_metrics: Option<Arc<WorkflowMetrics>>,
    begun: Instant,
    pub span: TraceSpan,
}

impl ToolCallMetrics {
    /// Begins with the call.
    pub(super) fn begin(
        workflow_metrics: &Arc<WorkflowMetrics>,
        run: RunId,
        tool: &WorkflowTool,
        is_new: bool,
    ) -> Self {
        let span = match is_new {
            true => TraceSpan::begin(Kind::Internal, SpanParent::Current, || {
                let known = vec![
                    KeyValue::new(genai::OPERATION, "execute_tool"),
                    KeyValue::new(genai::TOOL, tool.name.to_string()),
                    KeyValue::new(genai::CONVERSATION, run.to_string()),
                ];
                (format!("execute_tool {}", tool.name), known)
            }),
            false => TraceSpan::default(),
        };
        Self { workflow_metrics: is_new.then(|| workflow_metrics.clone()), begun: Instant::now(), span }
    }

    /// Takes note of what came of it.
    pub(super) fn end<T, E>(self, tool: &WorkflowTool, done: &Result<T, E>) {
        if let Some(workflow_metrics) = self.workflow_metrics {
            workflow_metrics.called(tool.name.as_str(), done.is_ok(), self.begun.elapsed());
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
