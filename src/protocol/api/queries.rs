//! What may stand after the question mark of a path: each is read as one of these types, described from it, and written from it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::RunState;
use crate::clock::Timestamp;

/// How many runs or questions a list shows unless it is asked for more or less.
pub const LISTED: usize = 50;
/// How many it shows at most: what a person may look through.
pub const MOST_LISTED: usize = 500;
/// Where an answer goes on until it is over.
const YES: bool = true;

/// The query of `POST /api/runs`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StartRunQuery {
    /// Answer only when the run has ended or asks something, or after so many seconds (at most 55).
    #[schemars(range(min = 0))]
    pub wait: Option<f64>,
}

/// The query of `GET /api/runs`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListRunsQuery {
    /// Only those in this state.
    pub state: Option<RunState>,
    /// Only those of this workflow.
    pub workflow: Option<String>,
    /// Only those created then or later (RFC 3339).
    pub since: Option<Timestamp>,
    /// Only those created before then (RFC 3339).
    pub until: Option<Timestamp>,
    /// Only those with these words in their title, or with words that begin so.
    pub title: Option<String>,
    /// Only those with this in their title, workflow or id. One answer looks through 10000 runs; `next` goes on.
    pub search: Option<String>,
    /// At most so many.
    #[schemars(range(max = MOST_LISTED), extend("default" = LISTED))]
    pub limit: Option<usize>,
    /// The `next` of the answer before: what comes after it.
    pub cursor: Option<String>,
    /// All that the caller may see.
    #[schemars(extend("default" = false))]
    pub everybody: Option<bool>,
}

/// The query of `GET /api/questions`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListQuestionsQuery {
    /// Only those of runs of this workflow.
    pub workflow: Option<String>,
    /// Only those of runs that this user started.
    pub user: Option<String>,
    /// Only those with this in what they ask, or in the title, the workflow, the user or the id of their run.
    pub search: Option<String>,
    /// Only those that were asked before this moment (RFC 3339).
    pub asked_before: Option<Timestamp>,
    /// How many at most.
    #[schemars(range(max = MOST_LISTED), extend("default" = LISTED))]
    pub limit: Option<usize>,
    /// The `next` of the answer before: what comes after it.
    pub cursor: Option<String>,
    /// All that the caller may answer.
    #[schemars(extend("default" = false))]
    pub everybody: Option<bool>,
}

/// The query of `DELETE /api/runs/{id}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemoveRunQuery {
    /// Why; the audit keeps it.
    #[schemars(length(max = super::LONGEST_REASON))]
    pub reason: Option<String>,
}

/// The query of `GET /api/runs/{id}/events`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunEventsQuery {
    /// Only what comes after this record.
    pub after: Option<u64>,
    /// False: end after what is there.
    #[schemars(extend("default" = YES))]
    pub follow: Option<bool>,
}

/// The most runs that one stream of `GET /api/events` follows: their names fit into 8 KiB, which proxies take.
pub const MOST_FOLLOWED: usize = 150;

/// The query of `GET /api/events`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventsQuery {
    /// The runs, parted by commas: each its id, with `:` and the sequence of a record if only what comes after that is wanted. At
    /// most 150.
    pub runs: Option<String>,
    /// True: what happens in all runs as well, as `GET /api/audit/events` tells it to auditors.
    #[schemars(extend("default" = false))]
    pub audit: Option<bool>,
}

/// The page of `GET /api/audit/runs`; which runs are listed is read beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditPageQuery {
    /// At most so many.
    #[schemars(range(max = MOST_LISTED), extend("default" = LISTED))]
    pub limit: Option<usize>,
    /// The `next` of the answer before: what comes after it.
    pub cursor: Option<String>,
}

/// The query of `GET /api/audit/runs/{id}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditRunQuery {
    /// With each request to a model whole, as `prompt`.
    #[schemars(extend("default" = false))]
    pub prompts: Option<bool>,
}

/// The query of `GET /api/audit/events`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditEventsQuery {
    /// Only in runs of this workflow.
    pub workflow: Option<String>,
    /// Only in this user's.
    pub user: Option<String>,
    /// Only in this one.
    pub run: Option<String>,
}

/// A query as names and values; what is not said is left out.
pub fn query_pairs(query: &impl Serialize) -> Vec<(String, String)> {
    let Ok(Value::Object(fields)) = serde_json::to_value(query) else { return Vec::new() };
    let said = |(name, value)| match value {
        Value::Null => None,
        Value::String(text) => Some((name, text)),
        other => Some((name, other.to_string())),
    };
    fields.into_iter().filter_map(said).collect()
}
