//! The tools of a set that somebody else has, as a run's log remembers them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A tool as its owner lists it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListedTool {
    /// The name that models know it by: 1 to 64 of `A-Z a-z 0-9 _ -`. No two tools of a set share one.
    pub name: String,
    /// What it does, for models.
    pub description: String,
    /// The JSON Schema of its arguments; an object.
    pub params: Value,
    /// Whether it may be called again if nobody knows whether it was.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub idempotent: bool,
}
