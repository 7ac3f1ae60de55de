//! Groups that hand over (`docs/reference/ag2-semantics.md`, section 8, AG2's `run_group_chat`): agents share variables
//! and say who speaks next, by a tool that their model calls, by a condition on the variables, by a tool's result, or
//! when their work is done. One internal member executes the tools of all.

use serde_json::{Map, Value};

mod hearing;
mod next;
mod playing;
mod transfer_names;
mod transfers;

pub(super) use hearing::{heard, system_message};
pub(super) use next::{Next, next_in_pattern};
pub(super) use playing::{Playing, USER};
pub(super) use transfers::{display, handed_over, hands_over, transfer, transfer_tools};

/// A group as it is held, with what a workflow computed for it.
#[derive(Debug, Clone)]
pub struct Grouped<'a> {
    /// The group as checked.
    pub group: &'a crate::workflow::Group,
    /// The first message, or a list of messages to go on from.
    pub messages: Value,
    /// What the agents share, at first.
    pub context: Map<String, Value>,
}
