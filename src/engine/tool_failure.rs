//! Failures of what tools reach outside, as runs have them: without secrets, and in the words that the tool has for them.

use crate::chat::WorkflowStop;
use crate::engine::call_reach::CallReach;
use crate::outside::toolset::ToolsetError;
use crate::protocol::failure::FailureKind;

/// A failure of a tool that somebody else has; `instead`: the words for models and people.
pub(super) fn failed(reach: CallReach<'_>, whose: &str, instead: Option<&str>, error: &ToolsetError) -> WorkflowStop {
    let secrets = &reach.outside.secrets;
    let error = &error.clone().map_words(|words| secrets.hidden(&words));
    let words = match instead {
        // Who gave the arguments has to know what is wrong with them.
        Some(words) if !matches!(error, ToolsetError::Arguments(_)) => {
            tracing::warn!(run.id = %reach.run, tools = whose, "a tool failed: {error}");
            words.to_owned()
        }
        _ => error.to_string(),
    };
    WorkflowStop::failed(kind_of(error), words)
}

/// What kind of failure it is.
pub(super) fn kind_of(error: &ToolsetError) -> FailureKind {
    match error {
        ToolsetError::Failed(_) | ToolsetError::Unavailable(_) => FailureKind::Tool,
        ToolsetError::Arguments(_) => FailureKind::Params,
        ToolsetError::TimedOut(_) => FailureKind::Timeout,
        ToolsetError::Lost(_) => FailureKind::Lost,
    }
}
