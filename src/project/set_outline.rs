//! What is known of the tools of a set before its owner is asked.

use std::collections::BTreeSet;

use crate::problem::did_you_mean;
use crate::protocol::toolset::ListedTool;
use crate::workflow::{ToolsetDeclaration, ToolsetSource};

/// So many tools are named where there is none of a name.
const MOST_NAMED: usize = 12;

/// What is known of the tools of a set.
#[derive(Debug, Clone, Default)]
pub(super) struct SetOutline {
    /// Those that it has.
    pub(super) tools: Vec<ListedTool>,
    /// Names that may be those of tools, too.
    pub(super) perhaps: BTreeSet<String>,
    /// Whether there may be still others.
    pub(super) is_open: bool,
}

impl SetOutline {
    /// All that it has.
    pub(super) fn whole(tools: Vec<ListedTool>) -> Self {
        Self { tools, ..Self::default() }
    }

    /// Whether its tools are known by their names, all of them.
    pub(super) fn is_whole(&self) -> bool {
        !self.is_open && self.perhaps.is_empty()
    }

    /// The names of the tools that it has.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.tools.iter().map(|tool| tool.name.as_str())
    }

    /// Whether a tool may have this name.
    pub(super) fn may_have(&self, name: &str) -> bool {
        self.is_open || self.perhaps.contains(name) || self.names().any(|known| known == name)
    }

    /// Whether a tool may have a name that is so.
    pub(super) fn may_have_one(&self, is_so: impl Fn(&str) -> bool) -> bool {
        self.is_open || self.perhaps.iter().any(|name| is_so(name)) || self.names().any(is_so)
    }
}

/// The tool of a set that was probably meant, or what there is.
pub(super) fn near_tool(set: &ToolsetDeclaration, outline: &SetOutline, name: &str) -> String {
    let short = name.strip_prefix(set.prefix.as_str()).filter(|_| !set.prefix.is_empty());
    if let Some(short) = short.filter(|short| outline.names().any(|known| known == *short)) {
        return format!("without the prefix: {short}");
    }
    if let Some(near) = did_you_mean(name, outline.names()) {
        return near;
    }
    let names: Vec<&str> = outline.names().take(MOST_NAMED + 1).collect();
    match (&names[..], &set.source) {
        ([], _) => "it has none".to_owned(),
        (names, ToolsetSource::OpenApi(_)) if names.len() > MOST_NAMED => {
            "fastagency tools list shows their names".to_owned()
        }
        (names, _) => format!("it has {}", names.join(", ")),
    }
}
