//! Reads `on_lost` of tools.

use super::OnLost;
use crate::yaml::{FieldReader, MapReader};

/// What happens to a call that was cut off.
pub(super) fn on_lost(fields: &MapReader<'_>) -> Option<OnLost> {
    let words = [("ask", OnLost::Ask), ("tell", OnLost::Tell), ("fail", OnLost::Fail)];
    let on_lost = fields.read("on_lost", |field| field.one_of(&words))?;
    if fields.read("idempotent", FieldReader::bool) == Some(true) {
        let problem = fields.problem_at_key("on_lost", "what is `idempotent` is called again, so this never happens");
        fields.field.review.add(problem.with_hint("leave one of the two out"));
    }
    Some(on_lost)
}
