//! Finds the tool of a workflow that a person names: as models know it, as its set lists it, or as `SET.TOOL`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cli::outcome::CliError;
use crate::ids::Name;
use crate::outside::OutsideServices;
use crate::outside::toolset::ToolsetError;
use crate::problem::did_you_mean;
use crate::workflow::{StepAction, ToolsetDeclaration, Workflow, WorkflowTool};

/// So many tools are named where there is none of a name.
const MOST_NAMED: usize = 20;

/// A tool, and the workflow that has it.
pub(super) struct FoundTool {
    pub(super) workflow: Workflow,
    pub(super) tool: Arc<WorkflowTool>,
}

/// What was found in the sets of a workflow.
#[derive(Default)]
struct SetSearch {
    /// By `SET.TOOL`.
    found: BTreeMap<String, FoundTool>,
    /// All that there is, by the names that can be given.
    known: Vec<String>,
    /// Why sets could not be asked.
    failures: Vec<String>,
}

/// The tool of a workflow that a name means.
pub(super) async fn find(
    workflows: &[Workflow],
    name: &str,
    wanted: &str,
    outside: &OutsideServices,
) -> Result<FoundTool, CliError> {
    let workflow = workflow_named(workflows, name)?;
    if let Some(tool) = workflow.tools.get(wanted) {
        return Ok(FoundTool { workflow: workflow.clone(), tool: tool.clone() });
    }
    let mut search = SetSearch::default();
    for (set, declaration) in sets_to_ask(workflow, wanted) {
        search.look(workflow, set, declaration, wanted, outside).await;
    }
    search.ended(workflow, wanted)
}

/// The workflow of a name.
pub(super) fn workflow_named<'w>(workflows: &'w [Workflow], name: &str) -> Result<&'w Workflow, CliError> {
    workflows.iter().find(|workflow| workflow.name.as_str() == name).ok_or_else(|| {
        let names: Vec<&str> = workflows.iter().map(|workflow| workflow.name.as_str()).collect();
        let near = match names.is_empty() {
            true => "the project has none".to_owned(),
            false => did_you_mean(name, names.iter().copied()).unwrap_or_else(|| listed("there is", &names)),
        };
        CliError::Usage(format!("there is no workflow {name:?}: {near}"))
    })
}

/// The sets that a name can mean a tool of: those that it names itself, else all.
fn sets_to_ask<'w>(workflow: &'w Workflow, wanted: &str) -> Vec<(&'w Name, &'w Arc<ToolsetDeclaration>)> {
    let sets = workflow.tools.sets();
    let named = wanted.split_once('.').and_then(|(set, _)| sets.get_key_value(set));
    match named.or(sets.get_key_value(wanted)) {
        Some(named) => vec![named],
        None => sets.iter().collect(),
    }
}

impl SetSearch {
    async fn look(
        &mut self,
        workflow: &Workflow,
        set: &Name,
        declaration: &ToolsetDeclaration,
        wanted: &str,
        outside: &OutsideServices,
    ) {
        let listed = async {
            let listed = outside.toolsets.get(&declaration.source)?.list().await?;
            workflow.with_list(set, listed).map_err(ToolsetError::Unavailable)
        };
        let listed = match listed.await {
            Ok(listed) => listed,
            Err(why) => return self.failures.push(format!("tools.{set}: {why}")),
        };
        let tools = listed.tools.named(set);
        let is_only = tools.len() == 1 && wanted == set.as_str();
        for tool in tools {
            let Some(StepAction::Toolset(call)) = tool.single_action() else { continue };
            let full = format!("{set}.{}", call.tool);
            if is_only || [full.as_str(), tool.name.as_str(), call.tool.as_str()].contains(&wanted) {
                let found = FoundTool { workflow: listed.clone(), tool: tool.clone() };
                self.found.insert(full, found);
            }
            self.known.push(tool.name.to_string());
        }
    }

    fn ended(mut self, workflow: &Workflow, wanted: &str) -> Result<FoundTool, CliError> {
        if self.found.len() > 1 {
            let names: Vec<&str> = self.found.keys().map(String::as_str).collect();
            let words = format!("several sets have a tool {wanted:?}: name one of {}", names.join(", "));
            return Err(CliError::Usage(words));
        }
        if let Some((_, found)) = self.found.pop_first() {
            return Ok(found);
        }
        if !self.failures.is_empty() {
            return Err(CliError::Usage(self.failures.join("; ")));
        }
        if workflow.tools.sets().contains_key(wanted) {
            let known: Vec<&str> = self.known.iter().map(String::as_str).collect();
            let example = known.first().copied().unwrap_or("TOOL");
            let words = format!(
                "{wanted:?} is a set of {} tools: name one of them, like {example}; {}",
                known.len(),
                listed("there is", &known)
            );
            return Err(CliError::Usage(words));
        }
        if let Some((set, _)) = wanted.split_once('.').filter(|(set, _)| workflow.tools.sets().contains_key(*set)) {
            let known: Vec<&str> = self.known.iter().map(String::as_str).collect();
            let near = listed("its tools are", &known);
            return Err(CliError::Usage(format!("the set {set:?} has no tool {wanted:?}: {near}")));
        }
        self.known.extend(workflow.tools.values().map(|tool| tool.name.to_string()));
        let known: Vec<&str> = self.known.iter().map(String::as_str).collect();
        let near = did_you_mean(wanted, known.iter().copied()).unwrap_or_else(|| listed("its tools are", &known));
        Err(CliError::Usage(format!("the workflow {:?} has no tool {wanted:?}: {near}", workflow.name.as_str())))
    }
}

/// The names that there are, but not too many of them.
pub(super) fn listed(what: &str, names: &[&str]) -> String {
    match names {
        [] => "there is none".to_owned(),
        names if names.len() > MOST_NAMED => format!("{what} {}, …", names[..MOST_NAMED].join(", ")),
        names => format!("{what} {}", names.join(", ")),
    }
}
