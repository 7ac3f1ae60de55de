//! Reads `on_lost` of tools.

use serde_json::{Value, json};

use super::OnLost;
use crate::protocol::failure::FailureKind;
use crate::yaml::MapReader;

/// What happens to a call that was cut off.
pub(super) fn on_lost(fields: &MapReader<'_>) -> Option<OnLost> {
    let words = [("ask", OnLost::Ask), ("tell", OnLost::Tell), ("fail", OnLost::Fail)];
    let on_lost = fields.read("on_lost", |field| field.one_of(&words))?;
    // Others read these keys, and say what is wrong with them.
    let value = |key| fields.get(key).map_or(Value::Null, |field| field.json());
    if value("idempotent") == true {
        let problem = fields.problem_at_key("on_lost", "what is `idempotent` is called again, so this never happens");
        fields.field.review.add(problem.with_hint("leave one of the two out"));
    }
    let lost = json!(FailureKind::Lost.as_str());
    let is_repeated = value("retry")["on"].as_array().is_some_and(|kinds| kinds.contains(&lost));
    if is_repeated && on_lost != OnLost::Tell {
        let problem = fields.problem_at_key("on_lost", "`retry` names `lost`, which calls it again without asking");
        fields.field.review.add(problem.with_hint("leave `lost` out of `retry`, or leave `on_lost` out"));
    }
    Some(on_lost)
}
