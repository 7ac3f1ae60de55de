//! Reads `approve` of tools.

use super::answerers::answerers;
use super::shapes::APPROVE;
use super::{ApprovalRule, ToolApproval};
use crate::yaml::FieldReader;

/// Whether a person is asked before a tool is called: a word, or a map that also says who.
pub(super) fn approval(field: &FieldReader<'_>) -> Option<ToolApproval> {
    let problem = Some(field.problem(""));
    let (first, always) = (("first", ApprovalRule::First), ("always", ApprovalRule::Always));
    if !field.is_map() {
        let rule = field.one_of(&[("never", ApprovalRule::Never), first, always])?;
        return Some(ToolApproval { rule, answerers: None, problem });
    }
    let fields = field.fields(&APPROVE)?;
    let rule = fields.read("ask", |field| field.one_of(&[first, always])).unwrap_or(ApprovalRule::Always);
    Some(ToolApproval { rule, answerers: answerers(&fields), problem })
}
