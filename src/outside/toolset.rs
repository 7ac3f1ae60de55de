//! Sets of tools that somebody else has: the operations of an OpenAPI specification, the functions of a Python file, the tools of
//! an MCP server. A run lists a set once, before its first step, and remembers the list; its calls are effects like any other.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::secrets::CallerTokenSource;
pub use crate::protocol::toolset::ListedTool;
use crate::workflow::InjectedSecret;

/// A call of a tool.
#[derive(Debug, Clone, Copy)]
pub struct ToolsetCall<'a> {
    /// The tool, by its listed name.
    pub tool: &'a str,
    /// What it is called with: checked against its schema.
    pub arguments: &'a Map<String, Value>,
    /// The arguments that are secrets, where the owner alone knows who gets them.
    pub secrets: &'a [InjectedSecret],
    /// What knows the access token of the person whose run it is; none: there is no run.
    pub caller: Option<&'a dyn CallerTokenSource>,
    /// The key of the call, the same over all attempts and all workers.
    pub key: &'a str,
    /// The run that calls.
    pub run: &'a str,
    /// How long it may take without a sign of life.
    pub within: Duration,
    /// How much of a result is kept, in bytes; the rest is cut off, with a mark.
    pub max_result: u64,
    /// What the call goes on with; none: it begins.
    pub resumed: Option<&'a ResumedCall>,
}

/// A call that goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResumedCall {
    /// What the owner gave with [`ToolsetAnswer::Asks`] or [`ToolsetAnswer::Continues`].
    pub state: Value,
    /// What the person answered, if one was asked.
    pub answer: Option<ElicitationAnswer>,
}

/// What a person did with a form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "action")]
pub enum ElicitationAnswer {
    /// Filled it in.
    Accept {
        /// The values by field.
        content: Value,
    },
    /// Said no.
    Decline,
    /// Closed it.
    Cancel,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolsetAnswer {
    /// Its result.
    Value(Value),
    /// A person has to be asked first; the answer goes into [`ToolsetCall::resumed`].
    Asks {
        /// The question.
        message: String,
        /// The JSON Schema of the form; an object with flat properties.
        schema: Value,
        /// What the call goes on with.
        state: Value,
    },
    /// It goes on by itself, elsewhere; ask again.
    Continues {
        /// What the call goes on with.
        state: Value,
        /// When to ask again, in milliseconds from now.
        after_ms: u64,
        /// Whether asking again only looks how it goes: that does no harm, however often.
        only_looks: bool,
    },
    /// The worker that had the open connection on which the question came is gone, so nobody knows what became of the call.
    CutOff {
        /// The same in words for models and people.
        why: String,
    },
}

/// Why there is no answer. The texts are for models and people, without secrets, paths and addresses of this machine.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ToolsetError {
    /// The tool was called and failed, or refused its arguments.
    #[error("{0}")]
    Failed(String),
    /// It was not called, as its arguments do not fit. Who gave them can mend them, and the same ones never fit.
    #[error("{0}")]
    Arguments(String),
    /// It was not called: its owner cannot be reached, or has no such tool.
    #[error("{0}")]
    Unavailable(String),
    /// It gave no sign of life in time.
    #[error("{0}")]
    TimedOut(String),
    /// Nobody knows whether it was done: its owner was lost during the call.
    #[error("{0}")]
    Lost(String),
}

impl ToolsetError {
    /// The same, in other words.
    pub fn map_words(self, words: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Failed(text) => Self::Failed(words(text)),
            Self::Arguments(text) => Self::Arguments(words(text)),
            Self::Unavailable(text) => Self::Unavailable(words(text)),
            Self::TimedOut(text) => Self::TimedOut(words(text)),
            Self::Lost(text) => Self::Lost(words(text)),
        }
    }
}

/// A set of tools.
#[async_trait]
pub trait Toolset: Send + Sync + std::fmt::Debug {
    /// Its tools, as they are now, in the order of the owner.
    async fn list(&self) -> Result<Vec<ListedTool>, ToolsetError>;

    /// Calls a tool, or goes on with a call. Dropped: the call is cancelled.
    async fn call(&self, call: ToolsetCall<'_>) -> Result<ToolsetAnswer, ToolsetError>;
}
