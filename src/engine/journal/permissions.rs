//! What the people of a run have allowed for more than one call: a tool with whatever arguments, or one call of it again and again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::chat::CallPermit;

/// The permissions of a run that stand.
#[derive(Debug, Default)]
pub(super) struct StandingPermissions {
    /// Tools, as `workflow/tool`.
    tools: HashSet<Arc<str>>,
    /// Calls of tools.
    calls: HashMap<String, Vec<CallPermit>>,
}

impl StandingPermissions {
    /// Whether every call of a tool is allowed.
    pub(super) fn has_tool(&self, tool: &str) -> bool {
        self.tools.contains(tool)
    }

    /// The calls of a tool that are allowed.
    pub(super) fn calls_of(&self, tool: &str) -> Vec<CallPermit> {
        self.calls.get(tool).cloned().unwrap_or_default()
    }

    /// Allows every call of a tool.
    pub(super) fn add_tool(&mut self, tool: Arc<str>) {
        self.tools.insert(tool);
    }

    /// Allows a call of a tool.
    pub(super) fn add_call(&mut self, tool: &str, permit: CallPermit) {
        self.calls.entry(tool.to_owned()).or_default().push(permit);
    }
}
