//! How a run is doing, how it ended and what it used: the log keeps it, and `/api` shows it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::money::Usd;
use crate::protocol::dialogue;

/// How a run is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "RunState")]
pub enum RunState {
    /// No worker has taken it yet.
    Queued,
    /// A worker is at it.
    Running,
    /// It waits for a person.
    Waiting,
    /// It is over.
    Ended,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "RunOutcome")]
pub enum RunOutcome {
    /// The workflow returned.
    Completed,
    /// The workflow failed.
    Failed,
    /// Somebody ended it.
    Cancelled,
}

/// What a run used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Usage")]
pub struct RunUsage {
    /// Requests to models that were answered.
    pub llm_calls: u64,
    /// Calls of tools.
    #[serde(default)]
    pub tool_calls: u64,
    /// Requests among those to models whose tokens the server did not count: they are estimated. Left out if none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub estimated_calls: u64,
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
    /// What they cost, as far as the models have prices; left out if nothing.
    #[serde(default, skip_serializing_if = "Usd::is_zero")]
    #[schemars(with = "f64")]
    pub cost_usd: Usd,
}

impl RunUsage {
    /// Counts a request to a model that was answered. Sums stop at the largest number there is: a server may say what it likes.
    pub fn add(&mut self, used: &dialogue::ModelUsage) {
        self.llm_calls += 1;
        self.estimated_calls += u64::from(used.estimated);
        self.prompt_tokens = self.prompt_tokens.saturating_add(used.prompt_tokens);
        self.completion_tokens = self.completion_tokens.saturating_add(used.completion_tokens);
        self.cost_usd += used.cost_usd;
    }

    /// Tokens read and written.
    pub fn tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}
