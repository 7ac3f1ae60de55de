//! Groups that hand over (`docs/reference/ag2-semantics.md`, section 8, AG2's `run_group_chat`): agents share variables
//! and say who speaks next, by a tool that their model calls, by a condition on the variables, by a tool's result, or
//! when their work is done. One internal member executes the tools of all.

use serde_json::{Map, Value};

mod handoff_state;
mod next;
mod transfer_names;
mod transfers;
mod visibility;

pub(super) use handoff_state::HandoffState;
pub(super) use next::{NextSpeaker, next_in_pattern};
pub use transfers::{MemberTools, offered_in_group};
pub(super) use transfers::{display, handed_over, hands_over, transfer, transfer_tools};
pub(super) use visibility::{heard, system_message};

/// A group as it is held, with what a workflow computed for it.
#[derive(Debug, Clone)]
pub struct HandoffGroupRequest<'a> {
    /// The group as checked.
    pub group: &'a crate::workflow::HandoffGroup,
    /// The first message, or a list of messages to go on from.
    pub messages: Value,
    /// What the agents share, at first.
    pub context: Map<String, Value>,
}
