//! The audit: what happened in which run, for whoever must account for it. Every kind of record is shown, and never a password;
//! what the configuration redacts is redacted here, whether or not the run has ended.
//!
//! The command line and the gateway both stand on this; it knows no HTTP.

pub mod erase;
mod event;
mod export;
mod history;
pub mod keep;
mod prompts;
mod runs;
mod select;
pub mod verify;

pub use event::{event, unreadable};
pub use export::{CsvColumns, ExportFormat};
pub use history::{RunHistory, history};
pub use prompts::PromptHistory;
pub use runs::{every_run, listed};
pub use select::{RunSelection, RunStatus};
