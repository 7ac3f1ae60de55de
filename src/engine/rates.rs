//! The turn of a call: a tool with a `rate:` is called no more often than that.

use crate::chat::Result;
use crate::engine::call_reach::CallReach;
use crate::engine::effects::ScopedEffects;
use crate::engine::tool_failure::failed;
use crate::outside::toolset::ToolsetError;
use crate::workflow::ToolRate;

/// Waits until a tool may be called, or tells that this takes too long. `instead`: the words for models and people.
pub(super) async fn turn(effects: &ScopedEffects, rate: Option<&ToolRate>, instead: Option<&str>) -> Result<()> {
    let Some(rate) = rate else { return Ok(()) };
    // What has happened is in the log, however long this takes.
    effects.journal.log.settle().await?;
    if effects.journal.context.outside.rates.pass(rate).await {
        return Ok(());
    }
    let tool = rate.tool.1.as_str();
    let waited = rate.longest_wait;
    let words = format!(
        "{tool} was not called: it is called as often as its rate allows ({rate}), and there was no turn within {waited:?}"
    );
    Err(failed(CallReach::of_run(effects), tool, instead, &ToolsetError::TimedOut(words)))
}
