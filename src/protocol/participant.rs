//! The names of the participants that a run has without its workflow naming them, as FastAgency and AG2 call them.

/// The person whom the run belongs to, or who answers for them.
pub const USER: &str = "User";
/// The workflow itself: what speaks where no agent does.
pub const WORKFLOW: &str = "Workflow";
/// Who manages a group where the workflow gives no name.
pub const GROUP_MANAGER: &str = "chat_manager";
/// Who executes the tools of a group that hands over.
pub const GROUP_TOOL_EXECUTOR: &str = "_Group_Tool_Executor";
/// Who speaks for the user where a group names nobody.
pub const GROUP_USER: &str = "_User";
/// How the names of the tools begin by which models hand over; the target and a number follow.
const TRANSFER: &str = "transfer_to_";

/// Whether people have never heard of a participant: the workflow does not name it.
pub fn is_internal(name: &str) -> bool {
    matches!(name, GROUP_MANAGER | GROUP_USER) || name.starts_with(GROUP_TOOL_EXECUTOR)
}

/// Who is handed over to by a tool of this name, if it is one that hands over.
pub fn transfer_target(tool: &str) -> Option<&str> {
    let (target, number) = tool.strip_prefix(TRANSFER)?.rsplit_once('_')?;
    (!target.is_empty() && !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())).then_some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_workflow_names_is_told_from_what_it_does_not() {
        let internal = ["chat_manager", "_User", "_Group_Tool_Executor", "_Group_Tool_Executor_2"];
        assert!(internal.iter().all(|name| is_internal(name)));
        assert!(!["User", "Workflow", "manager", "billing"].iter().any(|name| is_internal(name)));
        assert_eq!(transfer_target("transfer_to_my_billing_12"), Some("my_billing"));
        for other in ["transfer_to_billing", "transfer_to__1", "transfer_money_1", "transfer_to_a_x1"] {
            assert_eq!(transfer_target(other), None, "{other}");
        }
    }
}
