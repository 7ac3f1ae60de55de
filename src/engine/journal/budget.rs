//! What a run may use, and what it has used: requests to models, calls of tools, time, the steps of its loops, the records of
//! its log, and what its loops keep. A run that computes gives way to others, hears a cancel, and keeps to its limit of time.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::lock;
use super::projection::LogProjection;
use crate::chat::{Result, WorkflowStop};
use crate::engine::context::EngineContext;
use crate::protocol::dialogue;
use crate::protocol::failure::FailureKind;
use crate::protocol::log::{LogEntry, RunUsage};
use crate::run::active_time::ActiveTime;
use crate::workflow::RunLimits;

/// How long a run computes before others have their turn.
const COMPUTING_TURN: Duration = Duration::from_millis(5);
/// How many bytes the results may take that all loops of a run keep at once.
const MOST_KEPT: usize = 64 << 20;
/// What a value takes beside its text.
const VALUE: usize = 32;

/// What a run may use, and what it has used.
pub(in crate::engine) struct RunBudget {
    pub limits: RunLimits,
    context: Arc<EngineContext>,
    records: AtomicU64,
    steps: AtomicU64,
    kept: AtomicUsize,
    /// Which bound was met: nothing that the workflow does about a failure goes on from there.
    met: OnceLock<String>,
    turn: Mutex<Instant>,
    used: Mutex<BudgetUse>,
}

struct BudgetUse {
    usage: RunUsage,
    spent: ActiveTime,
}

impl RunBudget {
    /// That of a run with this log.
    pub(super) fn new(limits: RunLimits, context: Arc<EngineContext>, history: &[LogEntry]) -> Self {
        Self {
            limits,
            context,
            records: AtomicU64::new(history.len() as u64),
            steps: AtomicU64::new(0),
            kept: AtomicUsize::new(0),
            met: OnceLock::new(),
            turn: Mutex::new(Instant::now()),
            used: Mutex::new(BudgetUse { usage: RunUsage::default(), spent: ActiveTime::of(history) }),
        }
    }

    /// What the run has used so far.
    pub(in crate::engine) fn usage(&self) -> RunUsage {
        lock(&self.used).usage
    }

    /// Counts what a request to a model used; remembered ones count again on replay.
    pub(in crate::engine) fn count(&self, usage: dialogue::ModelUsage) {
        lock(&self.used).usage.add(&usage);
    }

    /// Counts a call of a tool, and returns how many there were.
    pub(super) fn count_tool_call(&self) -> u64 {
        let mut used = lock(&self.used);
        used.usage.tool_calls += 1;
        used.usage.tool_calls
    }

    /// How long the run has been at work so far, waiting for people left out.
    pub(in crate::engine) fn spent(&self) -> Duration {
        lock(&self.used).spent.until(self.context.clock().now())
    }

    /// Whether a bound was met that no step can go on from.
    pub(in crate::engine) fn is_bound_met(&self) -> bool {
        self.met.get().is_some()
    }

    fn met(&self, why: String) -> WorkflowStop {
        WorkflowStop::failed(FailureKind::Limit, self.met.get_or_init(|| why).clone())
    }

    /// Refuses another effect of a run that has met a bound, or whose log has as many records as it may have.
    pub(in crate::engine) fn check_records(&self) -> Result<()> {
        if let Some(why) = self.met.get() {
            return Err(WorkflowStop::failed(FailureKind::Limit, why.clone()));
        }
        let limit = self.limits.records;
        if self.records.load(Ordering::Relaxed) < limit {
            return Ok(());
        }
        Err(self.met(format!("the run's log has {limit} records, its limit (limits.records)")))
    }

    /// The run has waited: others had their turn meanwhile.
    pub(in crate::engine) fn has_waited(&self) {
        *lock(&self.turn) = Instant::now();
    }

    /// Counts a step, and gives way to other runs now and then.
    pub(in crate::engine) async fn count_step(&self) -> Result<()> {
        let limit = self.limits.steps;
        if self.steps.fetch_add(1, Ordering::Relaxed) >= limit {
            return Err(self.met(format!("the run has executed {limit} steps, its limit (limits.steps)")));
        }
        if lock(&self.turn).elapsed() < COMPUTING_TURN {
            return Ok(());
        }
        tokio::task::yield_now().await;
        self.has_waited();
        match self.limits.duration {
            Some(limit) if self.spent() >= limit => {
                Err(self.met(format!("the run has been at work for {limit:?}, its limit")))
            }
            _ => Ok(()),
        }
    }
}

impl LogProjection for Arc<RunBudget> {
    fn apply(&mut self, entry: &LogEntry) {
        self.records.fetch_add(1, Ordering::Relaxed);
        lock(&self.used).spent.apply(entry);
    }
}

/// The results of a loop's iterations, as long as the loop keeps them.
pub(in crate::engine) struct IterationValues<'a> {
    budget: &'a RunBudget,
    values: Vec<Value>,
    bytes: usize,
}

impl<'a> IterationValues<'a> {
    /// None yet.
    pub(in crate::engine) fn new(budget: &'a RunBudget) -> Self {
        Self { budget, values: Vec::new(), bytes: 0 }
    }

    /// Keeps one more.
    pub(in crate::engine) fn push(&mut self, value: Value) -> Result<()> {
        let bytes = size(&value);
        self.values.push(value);
        self.bytes += bytes;
        if self.budget.kept.fetch_add(bytes, Ordering::Relaxed) + bytes > MOST_KEPT {
            let most = MOST_KEPT >> 20;
            return Err(self.budget.met(format!("the results that the run's loops keep are larger than {most} MiB")));
        }
        Ok(())
    }

    /// All of them.
    pub(in crate::engine) fn into_list(mut self) -> Value {
        Value::Array(std::mem::take(&mut self.values))
    }
}

impl Drop for IterationValues<'_> {
    fn drop(&mut self) {
        self.budget.kept.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// How much memory a value takes, more or less.
fn size(value: &Value) -> usize {
    VALUE
        + match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(size).sum(),
            Value::Object(map) => map.iter().map(|(key, value)| VALUE + key.len() + size(value)).sum(),
            _ => 0,
        }
}
