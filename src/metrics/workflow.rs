//! What is counted for each workflow, with handles that are looked up once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{DollarCounter, HUMAN, Histogram, HistogramFamily, PATIENT, RunStateLabel};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WorkflowLabels {
    workflow: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WorkflowStateLabels {
    workflow: String,
    state: RunStateLabel,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WorkflowOutcomeLabels {
    workflow: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabels {
    model: String,
    workflow: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelOutcomeLabels {
    model: String,
    workflow: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CutLabels {
    model: String,
    workflow: String,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    model: String,
    workflow: String,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ToolOutcomeLabels {
    tool: String,
    workflow: String,
    outcome: &'static str,
}

/// The families that workflows have their metrics in.
pub(super) struct WorkflowFamilies {
    started: Family<WorkflowLabels, Counter>,
    ended: Family<WorkflowOutcomeLabels, Counter>,
    held: Family<WorkflowStateLabels, Gauge>,
    state_seconds: HistogramFamily<WorkflowStateLabels>,
    parked: Family<WorkflowLabels, Counter>,
    resumed: Family<WorkflowLabels, Counter>,
    deliveries: Family<WorkflowLabels, Counter>,
    redeliveries: Family<WorkflowLabels, Counter>,
    requests: Family<ModelOutcomeLabels, Counter>,
    request_seconds: HistogramFamily<ModelLabels>,
    retries: Family<ModelLabels, Counter>,
    cut: Family<CutLabels, Counter>,
    estimated: Family<ModelLabels, Counter>,
    tokens: Family<TokenLabels, Counter>,
    cost: Family<ModelLabels, DollarCounter>,
    tools: Family<ToolOutcomeLabels, Counter>,
    tool_seconds: HistogramFamily<WorkflowLabels>,
}

impl WorkflowFamilies {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let families = Self {
            started: Family::default(),
            ended: Family::default(),
            held: Family::default(),
            state_seconds: Family::new_with_constructor(|| Histogram::new(HUMAN)),
            parked: Family::default(),
            resumed: Family::default(),
            deliveries: Family::default(),
            redeliveries: Family::default(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(|| Histogram::new(PATIENT)),
            retries: Family::default(),
            cut: Family::default(),
            estimated: Family::default(),
            tokens: Family::default(),
            cost: Family::default(),
            tools: Family::default(),
            tool_seconds: Family::new_with_constructor(|| Histogram::new(PATIENT)),
        };
        let Self { started, ended, held, state_seconds, parked, resumed, deliveries, redeliveries, .. } = &families;
        registry.register("fastagency_runs_started", "Runs that were started here.", started.clone());
        registry.register("fastagency_runs_ended", "Runs that ended here, by how.", ended.clone());
        registry.register("fastagency_worker_runs", "Runs in this worker's memory, by state.", held.clone());
        registry.register(
            "fastagency_run_state_seconds",
            "How long runs were in a state before they left it.",
            state_seconds.clone(),
        );
        registry.register("fastagency_runs_parked", "Runs that left memory to wait.", parked.clone());
        registry.register("fastagency_runs_resumed", "Runs that were taken up again, here.", resumed.clone());
        registry.register(
            "fastagency_queue_deliveries",
            "Jobs that this worker took from the queue.",
            deliveries.clone(),
        );
        registry.register(
            "fastagency_queue_redeliveries",
            "Jobs among them that had been delivered before.",
            redeliveries.clone(),
        );
        let Self { requests, request_seconds, retries, cut, estimated, tokens, cost, tools, tool_seconds, .. } =
            &families;
        registry.register("fastagency_model_requests", "Requests to models, by what came of it.", requests.clone());
        registry.register(
            "fastagency_model_request_seconds",
            "How long models took, further attempts included.",
            request_seconds.clone(),
        );
        registry.register("fastagency_model_retries", "Further attempts after a failed one.", retries.clone());
        registry.register(
            "fastagency_model_cut_replies",
            "Replies that were cut off or are refusals, by why.",
            cut.clone(),
        );
        registry.register(
            "fastagency_model_estimated_replies",
            "Replies whose tokens the server did not count, so that they are estimated.",
            estimated.clone(),
        );
        registry.register("fastagency_model_tokens", "Tokens read and written by models.", tokens.clone());
        registry.register(
            "fastagency_model_cost_usd",
            "What models cost by the price table, in dollars.",
            cost.clone(),
        );
        registry.register("fastagency_tool_calls", "Calls of tools, by what came of it.", tools.clone());
        registry.register("fastagency_tool_call_seconds", "How long calls of tools took.", tool_seconds.clone());
        families
    }
}

/// The metrics of one workflow.
pub struct WorkflowMetrics {
    name: String,
    /// Runs that were started here.
    pub started: Counter,
    /// Runs that left memory to wait.
    pub parked: Counter,
    /// Runs that were taken up again.
    pub resumed: Counter,
    /// Jobs taken from the queue.
    pub deliveries: Counter,
    /// Jobs among them that had been delivered before.
    pub redeliveries: Counter,
    held: [Gauge; 3],
    state_seconds: [Histogram; 3],
    tool_seconds: Histogram,
    ended: Family<WorkflowOutcomeLabels, Counter>,
    tools: Family<ToolOutcomeLabels, Counter>,
    asked: Family<ModelOutcomeLabels, Counter>,
    request_seconds: HistogramFamily<ModelLabels>,
    retries: Family<ModelLabels, Counter>,
    cut: Family<CutLabels, Counter>,
    estimated: Family<ModelLabels, Counter>,
    tokens: Family<TokenLabels, Counter>,
    cost: Family<ModelLabels, DollarCounter>,
    models: RwLock<HashMap<Box<str>, Arc<ModelMetrics>>>,
}

/// The metrics of a model as one workflow uses it.
pub struct ModelMetrics {
    succeeded: Counter,
    failed: Counter,
    timed_out: Counter,
    seconds: Histogram,
    /// Further attempts after a failed one.
    pub retries: Counter,
    /// Replies whose tokens are estimated.
    pub estimated: Counter,
    cut: [Counter; CUT_REASONS.len()],
    input: Counter,
    output: Counter,
    cached: Counter,
    cost: DollarCounter,
}

/// Why a reply is not all that a model had to say.
const CUT_REASONS: [&str; 4] = ["length", "content_filter", "refusal", "pause"];

/// What a model told about a request.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokenUsage {
    /// Tokens read.
    pub input: u64,
    /// Of them, those from a cache.
    pub cached: u64,
    /// Tokens written.
    pub output: u64,
    /// What they cost, in dollars.
    pub cost_usd: f64,
}

const STATES: [RunStateLabel; 3] = [RunStateLabel::queued, RunStateLabel::running, RunStateLabel::waiting];

impl WorkflowMetrics {
    pub(super) fn new(families: &WorkflowFamilies, name: &str) -> Self {
        let of = WorkflowLabels { workflow: name.to_owned() };
        let in_state = |state| WorkflowStateLabels { workflow: name.to_owned(), state };
        Self {
            started: families.started.get_or_create_owned(&of),
            parked: families.parked.get_or_create_owned(&of),
            resumed: families.resumed.get_or_create_owned(&of),
            deliveries: families.deliveries.get_or_create_owned(&of),
            redeliveries: families.redeliveries.get_or_create_owned(&of),
            held: STATES.map(|state| families.held.get_or_create_owned(&in_state(state))),
            state_seconds: STATES.map(|state| families.state_seconds.get_or_create_owned(&in_state(state))),
            tool_seconds: families.tool_seconds.get_or_create_owned(&of),
            ended: families.ended.clone(),
            tools: families.tools.clone(),
            asked: families.requests.clone(),
            request_seconds: families.request_seconds.clone(),
            retries: families.retries.clone(),
            cut: families.cut.clone(),
            estimated: families.estimated.clone(),
            tokens: families.tokens.clone(),
            cost: families.cost.clone(),
            models: RwLock::default(),
            name: name.to_owned(),
        }
    }

    /// A run of this workflow is in memory in that state now, and no longer in the other.
    pub fn moved(&self, from: Option<RunStateLabel>, to: Option<RunStateLabel>) {
        if let Some(from) = from {
            self.held[from as usize].dec();
        }
        if let Some(to) = to {
            self.held[to as usize].inc();
        }
    }

    /// A run has left a state after so long.
    pub fn left(&self, state: RunStateLabel, after: Duration) {
        self.state_seconds[state as usize].observe(after);
    }

    /// A run has ended.
    pub fn ended(&self, outcome: &'static str) {
        self.ended.get_or_create(&WorkflowOutcomeLabels { workflow: self.name.clone(), outcome }).inc();
    }

    /// A tool was called.
    pub fn called(&self, tool: &str, worked: bool, took: Duration) {
        let outcome = if worked { "ok" } else { "error" };
        self.tools
            .get_or_create(&ToolOutcomeLabels { tool: tool.to_owned(), workflow: self.name.clone(), outcome })
            .inc();
        self.tool_seconds.observe(took);
    }

    /// The metrics of a model as this workflow uses it.
    pub fn model(&self, name: &str) -> Arc<ModelMetrics> {
        if let Some(known) = self.models.read().get(name) {
            return known.clone();
        }
        let mut models = self.models.write();
        models.entry(name.into()).or_insert_with(|| Arc::new(self.new_model(name))).clone()
    }

    fn new_model(&self, name: &str) -> ModelMetrics {
        let (model, workflow) = (name.to_owned(), self.name.clone());
        let asked = |outcome| {
            self.asked.get_or_create_owned(&ModelOutcomeLabels {
                model: model.clone(),
                workflow: workflow.clone(),
                outcome,
            })
        };
        let tokens = |kind| {
            self.tokens.get_or_create_owned(&TokenLabels { model: model.clone(), workflow: workflow.clone(), kind })
        };
        let of = ModelLabels { model: model.clone(), workflow: workflow.clone() };
        ModelMetrics {
            succeeded: asked("ok"),
            failed: asked("error"),
            timed_out: asked("timeout"),
            seconds: self.request_seconds.get_or_create_owned(&of),
            retries: self.retries.get_or_create_owned(&of),
            estimated: self.estimated.get_or_create_owned(&of),
            cut: CUT_REASONS.map(|reason| {
                self.cut.get_or_create_owned(&CutLabels { model: model.clone(), workflow: workflow.clone(), reason })
            }),
            input: tokens("input"),
            output: tokens("output"),
            cached: tokens("cached"),
            cost: self.cost.get_or_create_owned(&of),
        }
    }
}

impl ModelMetrics {
    /// It has answered.
    pub fn answered(&self, told: TokenUsage, took: Duration) {
        self.succeeded.inc();
        self.seconds.observe(took);
        self.input.inc_by(told.input);
        self.output.inc_by(told.output);
        self.cached.inc_by(told.cached);
        self.cost.inc_by(told.cost_usd);
    }

    /// Its reply was cut off.
    pub fn cut(&self, reason: &str) {
        if let Some(place) = CUT_REASONS.iter().position(|known| *known == reason) {
            self.cut[place].inc();
        }
    }

    /// It has failed.
    pub fn failed(&self, timed_out: bool, took: Duration) {
        if timed_out { &self.timed_out } else { &self.failed }.inc();
        self.seconds.observe(took);
    }
}
