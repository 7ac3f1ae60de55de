//! The vocabulary of what is stored, signed and sent. What has a type here is written and read here, and nowhere else: a
//! log outlives every version of the program.

pub mod answer;
pub mod answerers;
pub mod api;
pub mod caller_token;
pub mod dialogue;
pub mod effect_key;
pub mod failure;
pub mod log;
pub mod message;
pub mod participant;
pub mod queue_name;
pub mod run_line;
pub mod run_state;
pub mod signable;
pub mod token_entry;
pub mod toolset;
