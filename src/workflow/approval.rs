//! Reads `approve` of tools.

use super::answerers::answerers;
use super::shapes::APPROVE;
use super::{ApprovalRule, ApprovalTimeout, ToolApproval};
use crate::yaml::FieldReader;

/// Whether a person is asked before a tool is called: a word, or a map that also says who.
pub(super) fn approval(field: &FieldReader<'_>) -> Option<ToolApproval> {
    let problem = Some(field.problem(""));
    let (first, always) = (("first", ApprovalRule::First), ("always", ApprovalRule::Always));
    if !field.is_map() {
        let rule = field.one_of(&[("never", ApprovalRule::Never), first, always])?;
        return Some(ToolApproval { rule, problem, ..ToolApproval::default() });
    }
    let fields = field.fields(&APPROVE)?;
    let rule = fields.read("ask", |field| field.one_of(&[first, always])).unwrap_or(ApprovalRule::Always);
    let timeout = fields.read("timeout", FieldReader::duration);
    let words = [("deny", ApprovalTimeout::Deny), ("fail", ApprovalTimeout::Fail)];
    let on_timeout = fields.read("on_timeout", |field| field.one_of(&words)).unwrap_or_default();
    if fields.get("on_timeout").is_some() && fields.get("timeout").is_none() {
        fields.field.review.add(fields.problem_at_key("on_timeout", "without a `timeout` this never happens"));
    }
    Some(ToolApproval { rule, answerers: answerers(&fields), timeout, on_timeout, problem })
}
