//! The names that a file gives to agents and tools, right or wrong: whoever names one of them is right, and a mistake in it is
//! said once, where it is.

use std::collections::BTreeSet;

use super::shapes::TOOLSET_KINDS;
use crate::ids::Name;
use crate::problem::did_you_mean;
use crate::yaml::{FieldReader, NodeContent, YamlNode};

/// The names of agents and tools.
#[derive(Debug, Default)]
pub struct DeclaredNames {
    agents: BTreeSet<String>,
    tools: BTreeSet<String>,
    /// Those of the tools that stand for sets.
    toolsets: BTreeSet<String>,
}

impl DeclaredNames {
    /// The names that the root of a file gives.
    pub fn of(root: &YamlNode) -> Self {
        let keys = |key: &str| match root.get(key).map(|node| &node.content) {
            Some(NodeContent::Map(entries)) => entries.iter().map(|entry| entry.key.clone()).collect(),
            _ => BTreeSet::new(),
        };
        let toolsets = match root.get("tools").map(|node| &node.content) {
            Some(NodeContent::Map(entries)) => {
                let sets =
                    entries.iter().filter(|entry| TOOLSET_KINDS.iter().any(|kind| entry.value.get(kind).is_some()));
                sets.map(|entry| entry.key.clone()).collect()
            }
            _ => BTreeSet::new(),
        };
        Self { agents: keys("agents"), tools: keys("tools"), toolsets }
    }

    /// An agent's name.
    pub fn agent(&self, field: &FieldReader<'_>) -> Option<Name> {
        known(field, &self.agents, "agent", &[])
    }

    /// An agent's name, where one of these words could stand as well.
    pub fn agent_or_word(&self, field: &FieldReader<'_>, words: &[&str]) -> Option<Name> {
        known(field, &self.agents, "agent", words)
    }

    /// Several agents' names, each once.
    pub fn agents(&self, field: &FieldReader<'_>) -> Option<Vec<Name>> {
        each_once(field, |item| self.agent(item))
    }

    /// Several tools' names, each once.
    pub fn tools(&self, field: &FieldReader<'_>) -> Option<Vec<Name>> {
        each_once(field, |item| self.tool(item))
    }

    /// A tool's name, that of a set, or `set.tool`.
    pub fn tool(&self, field: &FieldReader<'_>) -> Option<Name> {
        if let Some((set, _)) = field.scalar().and_then(|scalar| scalar.text.split_once('.'))
            && self.toolsets.contains(set)
        {
            return Name::foreign(field.text()?).ok().or_else(|| field.is_not("a set of tools and one of its tools"));
        }
        known(field, &self.tools, "tool", &[])
    }
}

fn known(field: &FieldReader<'_>, names: &BTreeSet<String>, what: &str, words: &[&str]) -> Option<Name> {
    let name = field.name()?;
    if names.contains(name.as_str()) {
        return Some(name);
    }
    let hint = did_you_mean(name.as_str(), names.iter().map(String::as_str).chain(words.iter().copied()))
        .unwrap_or_else(|| match names.len() {
            0 => format!("this workflow has no `{what}s:`"),
            _ => format!("there is {}", names.iter().cloned().collect::<Vec<_>>().join(", ")),
        });
    field.note_with_hint(format!("there is no {what} {:?}", name.as_str()), hint);
    None
}

fn each_once(field: &FieldReader<'_>, read: impl Fn(&FieldReader<'_>) -> Option<Name>) -> Option<Vec<Name>> {
    let mut names = Vec::new();
    for item in field.items()? {
        let Some(name) = read(&item) else { continue };
        if names.contains(&name) {
            item.note(format!("{:?} is there twice", name.as_str()));
        } else {
            names.push(name);
        }
    }
    Some(names)
}
