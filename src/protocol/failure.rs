//! The kinds of failure: a workflow reads them as `error.kind` and names them in `retry.on`, and the log keeps them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of failure it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum FailureKind {
    /// No answer of a person fitted the question.
    Answer,
    /// The broker did not take a run that the workflow starts, or a cancel.
    Broker,
    /// A reply of a model was cut off, and `on_cut` says that this is a failure.
    Cut,
    /// A person did not allow the call of a tool.
    Denied,
    /// A step `fail`.
    Fail,
    /// A server outside refused a request, or could not be reached.
    Http,
    /// Something went on for too long, or used too much. A model is never told of one: it could mend nothing.
    Limit,
    /// A worker was lost while something was under way that must not be done twice. It is tried again only where `retry` names it.
    Lost,
    /// A message that a conversation cannot begin with, or go on from.
    Message,
    /// A model gave no answer.
    Model,
    /// An agent's output does not fit its schema.
    Output,
    /// Parameters that another workflow does not take, or arguments that a tool of a set does not. It is tried again only where `retry`
    /// names it.
    Params,
    /// The log does not fit the program. No step can catch it.
    Replay,
    /// Nothing signs a run that the workflow would start.
    Start,
    /// A template cannot be evaluated, or its value cannot be used.
    Template,
    /// It took too long.
    Timeout,
    /// A tool, or a call of one, is wrong.
    Tool,
    /// A time that is too far away to wait for.
    Wait,
    /// The worker gave the run up.
    Worker,
    /// The workflow is wrong in a way that only shows when it is executed.
    Workflow,
    /// A kind that this program does not make: another version wrote it into the log.
    Custom(String),
}

impl FailureKind {
    /// Every kind that this program makes.
    pub const ALL: [FailureKind; 20] = [
        Self::Answer,
        Self::Broker,
        Self::Cut,
        Self::Denied,
        Self::Fail,
        Self::Http,
        Self::Limit,
        Self::Lost,
        Self::Message,
        Self::Model,
        Self::Output,
        Self::Params,
        Self::Replay,
        Self::Start,
        Self::Template,
        Self::Timeout,
        Self::Tool,
        Self::Wait,
        Self::Worker,
        Self::Workflow,
    ];

    /// As workflows and logs have it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Answer => "answer",
            Self::Broker => "broker",
            Self::Cut => "cut",
            Self::Denied => "denied",
            Self::Fail => "fail",
            Self::Http => "http",
            Self::Limit => "limit",
            Self::Lost => "lost",
            Self::Message => "message",
            Self::Model => "model",
            Self::Output => "output",
            Self::Params => "params",
            Self::Replay => "replay",
            Self::Start => "start",
            Self::Template => "template",
            Self::Timeout => "timeout",
            Self::Tool => "tool",
            Self::Wait => "wait",
            Self::Worker => "worker",
            Self::Workflow => "workflow",
            Self::Custom(text) => text,
        }
    }
}

impl From<String> for FailureKind {
    fn from(text: String) -> Self {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).unwrap_or(Self::Custom(text))
    }
}

impl From<FailureKind> for String {
    fn from(kind: FailureKind) -> Self {
        match kind {
            FailureKind::Custom(text) => text,
            kind => kind.as_str().to_owned(),
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_read_and_written_as_its_text() {
        for kind in FailureKind::ALL {
            let text = format!("{:?}", kind.as_str());
            assert_eq!(serde_json::from_str::<FailureKind>(&text).unwrap(), kind);
            assert_eq!(serde_json::to_string(&kind).unwrap(), text);
        }
        let other = FailureKind::Custom("of tomorrow".to_owned());
        assert_eq!(serde_json::from_str::<FailureKind>("\"of tomorrow\"").unwrap(), other);
        assert_eq!(serde_json::to_string(&other).unwrap(), "\"of tomorrow\"");
    }
}
