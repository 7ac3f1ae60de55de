//! How everybody's runs are doing, and who works at them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::RunId;
use crate::money::Usd;

/// How everybody's runs are doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Overview {
    /// What an operator should change.
    pub warnings: Vec<String>,
    /// How many runs are in which state.
    pub runs: StateCounts,
    /// How many runs ended in which way.
    pub outcomes: OutcomeCounts,
    /// What waits in the queue, by workflow.
    pub queue: Vec<QueueDepthView>,
    /// Whether anybody may remove runs for ever.
    pub cleaner: bool,
    /// What runs cost, the dearest first; removed runs are counted.
    pub costs: Costs,
    /// What people are waited for.
    pub questions: WaitingQuestions,
}

/// How many runs are in which state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StateCounts {
    /// No worker has taken them yet.
    pub queued: usize,
    /// A worker is at them.
    pub running: usize,
    /// They wait for a person.
    pub waiting: usize,
    /// They are over.
    pub ended: usize,
}

/// How many runs ended in which way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutcomeCounts {
    /// The workflow returned.
    pub completed: usize,
    /// The workflow failed.
    pub failed: usize,
    /// Somebody ended them.
    pub cancelled: usize,
}

/// What waits in the queue of a workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "QueueDepth")]
pub struct QueueDepthView {
    /// The workflow.
    pub workflow: String,
    /// Jobs that no worker has taken.
    pub waiting: u64,
    /// Jobs that workers have taken.
    pub taken: u64,
}

/// What runs cost.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Costs {
    /// By workflow.
    pub by_workflow: Vec<WorkflowCost>,
    /// By the user that they belong to.
    pub by_user: Vec<UserCost>,
}

/// What the runs of a workflow cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkflowCost {
    /// The workflow; null: it cannot be read.
    pub workflow: Option<String>,
    /// What they cost.
    #[serde(flatten)]
    pub cost: Cost,
}

/// What the runs of a user cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UserCost {
    /// The user; null: anonymous callers.
    pub user: Option<String>,
    /// What they cost.
    #[serde(flatten)]
    pub cost: Cost,
}

/// What some runs cost.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cost {
    /// How many runs.
    pub runs: u64,
    /// Tokens read and written.
    pub tokens: u64,
    /// In dollars, as far as the models have prices.
    #[schemars(with = "f64")]
    pub cost_usd: Usd,
    /// Some of the tokens, and what they cost, are estimated: a model's server did not count them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
}

/// What people are waited for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WaitingQuestions {
    /// How many questions are open.
    pub open: usize,
    /// Those that somebody has waited for longest.
    pub oldest: Vec<WaitingQuestionView>,
}

/// An open question, as operators see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "WaitingQuestion")]
pub struct WaitingQuestionView {
    /// The run that asks.
    pub run: RunId,
    /// Its workflow.
    pub workflow: Option<String>,
    /// The user that it belongs to.
    pub user: Option<String>,
    /// What it asks, shortened.
    pub prompt: String,
    /// When it was asked.
    pub asked_at: Timestamp,
}

/// A worker that is up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Worker")]
pub struct WorkerView {
    /// Its id.
    pub id: String,
    /// The workflows that it serves.
    pub workflows: Vec<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// The version of its program.
    pub version: String,
    /// Runs in its memory.
    pub runs: usize,
    /// Runs that it can hold there.
    pub max_runs: usize,
    /// Whether it may remove runs for ever.
    pub cleans: bool,
}

/// The workers that are up, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerList {
    /// The workers.
    pub workers: Vec<WorkerView>,
}
