//! The names of the two participants that every run has, as FastAgency calls them.

/// The person whom the run belongs to, or who answers for them.
pub const USER: &str = "User";
/// The workflow itself: what speaks where no agent does.
pub const WORKFLOW: &str = "Workflow";
