//! The tools of a workflow: its own, and those of its sets once a run has listed them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::toolset::ToolsetDeclaration;
use super::{
    AnswererTerms, ApprovalRule, CompiledSchema, DataTemplate, InjectedArguments, OnError, RetryPolicy, StepAction,
    Template, ToolApproval, ToolRate, ToolReturn, WorkflowStep, WorkflowTool,
};
use crate::ids::Name;
use crate::protocol::toolset::ListedTool;

/// The most tools that an agent may have, and so a set: servers of models take no more.
pub const MOST_TOOLS_OF_AN_AGENT: usize = 128;

/// The tools of a workflow.
#[derive(Debug, Clone, Default)]
pub struct ToolTable {
    tools: BTreeMap<Name, Arc<WorkflowTool>>,
    sets: BTreeMap<Name, Arc<ToolsetDeclaration>>,
    /// The tools of each set, in the order of its owner; empty until a run has listed them.
    members: BTreeMap<Name, Vec<Name>>,
}

impl ToolTable {
    /// A workflow's own tools and its sets.
    pub fn new(tools: BTreeMap<Name, Arc<WorkflowTool>>, sets: BTreeMap<Name, Arc<ToolsetDeclaration>>) -> Self {
        Self { tools, sets, members: BTreeMap::new() }
    }

    /// Every tool that is known.
    pub fn values(&self) -> impl Iterator<Item = &Arc<WorkflowTool>> {
        self.tools.values()
    }

    /// What is said of approvals: of each tool, and of each set before its tools are listed.
    pub fn approvals(&self) -> impl Iterator<Item = (&Name, &ToolApproval)> {
        let of_tools = self.tools.values().map(|tool| (&tool.name, &tool.approve));
        of_tools.chain(self.sets.values().map(|set| (&set.name, &set.approve)))
    }

    /// The sets.
    pub fn sets(&self) -> &BTreeMap<Name, Arc<ToolsetDeclaration>> {
        &self.sets
    }

    /// The tool that models know by this name.
    pub fn get(&self, name: &str) -> Option<&Arc<WorkflowTool>> {
        self.tools.get(name)
    }

    /// The tools that names in a workflow stand for: of a set all that it has, of `set.tool` the one.
    pub fn offered<'a>(&'a self, names: &'a [Name]) -> impl Iterator<Item = &'a Arc<WorkflowTool>> {
        names.iter().flat_map(|name| self.named(name))
    }

    /// The tool that a model calls by this name, if it is one of those that these names stand for.
    pub fn called<'a>(&'a self, names: &'a [Name], function: &str) -> Option<&'a Arc<WorkflowTool>> {
        // An own tool is found without looking at the others.
        match self.tools.get(function) {
            Some(tool) if names.contains(&tool.name) && !self.is_set_of_others(&tool.name) => Some(tool),
            Some(_) if !self.sets.is_empty() => self.offered(names).find(|tool| tool.name.as_str() == function),
            _ => None,
        }
    }

    /// Whether a set has this name and not the one tool that has it, too.
    fn is_set_of_others(&self, name: &Name) -> bool {
        self.sets.contains_key(name) && self.members.get(name).is_none_or(|members| !members.contains(name))
    }

    /// The tools that one name in a workflow stands for.
    pub fn named(&self, name: &Name) -> Vec<&Arc<WorkflowTool>> {
        if let Some(members) = self.members.get(name) {
            return members.iter().filter_map(|member| self.tools.get(member)).collect();
        }
        if let Some((set, tool)) = name.as_str().split_once('.') {
            let members = self.members.get(set).map(Vec::as_slice).unwrap_or_default();
            let prefix = self.sets.get(set).map_or("", |set| set.prefix.as_str());
            let member = members.iter().find(|member| member.as_str().strip_prefix(prefix) == Some(tool));
            return member.and_then(|member| self.tools.get(member)).into_iter().collect();
        }
        self.tools.get(name).into_iter().collect()
    }

    /// The table with the tools that call workflows as these have it; what `complete` gives takes the place of a tool.
    pub(super) fn completed(mut self, complete: impl Fn(&WorkflowTool) -> Option<WorkflowTool>) -> Self {
        for tool in self.tools.values_mut() {
            if let Some(whole) = complete(tool) {
                *tool = Arc::new(whole);
            }
        }
        self
    }

    /// The table with the tools that its sets have now. The error is a sentence for who wrote the workflow.
    pub(super) fn with_lists(&self, lists: &[(Name, Vec<ListedTool>)]) -> Result<Self, String> {
        let mut table = self.clone();
        for (set, listed) in lists {
            let Some(declared) = self.sets.get(set) else { continue };
            if listed.len() > MOST_TOOLS_OF_AN_AGENT {
                let count = listed.len();
                return Err(format!(
                    "{set} has {count} tools; models take {MOST_TOOLS_OF_AN_AGENT} at most. Choose some: only: [\"get_*\"]"
                ));
            }
            let asked_about = |glob: &&String| listed.iter().any(|tool| declared.names(glob, &tool.name));
            if let Some(glob) = declared.approved_tools.iter().find(|glob| !asked_about(glob)) {
                return Err(format!("approve of {set} names {glob:?}, and no tool of the set is called so"));
            }
            table.add(set, declared, listed)?;
        }
        Ok(table)
    }

    /// The table with tools that a set has for certain, and perhaps not alone. The error is a sentence for who wrote the workflow.
    pub(super) fn with_some(&self, set: &Name, tools: &[ListedTool]) -> Result<Self, String> {
        let mut table = self.clone();
        if let Some(declared) = self.sets.get(set) {
            table.add(set, declared, tools)?;
        }
        Ok(table)
    }

    fn add(&mut self, set: &Name, declared: &Arc<ToolsetDeclaration>, listed: &[ListedTool]) -> Result<(), String> {
        let mut members = Vec::with_capacity(listed.len());
        for tool in listed {
            let tool = tool_of(declared, tool)?;
            if self.tools.contains_key(&tool.name) {
                let name = &tool.name;
                let has_it = |(_, members): &(&Name, &Vec<Name>)| members.contains(name);
                let other = self.members.iter().find(has_it).map(|(other, _)| other.to_string());
                let other = other.unwrap_or_else(|| "the workflow itself".to_owned());
                return Err(format!("{other} and {set} have a tool {name:?} each; give one of them a `prefix`"));
            }
            members.push(tool.name.clone());
            self.tools.insert(tool.name.clone(), Arc::new(tool));
        }
        self.members.insert(set.clone(), members);
        Ok(())
    }
}

/// A tool of a set as a tool of the workflow.
fn tool_of(set: &Arc<ToolsetDeclaration>, listed: &ListedTool) -> Result<WorkflowTool, String> {
    let shown = match set.is_single() {
        true => set.name.to_string(),
        false => format!("{}{}", set.prefix, listed.name),
    };
    let unfit = |why: String| format!("the tool {:?} of {} cannot be used: {why}", listed.name, set.name);
    let name = Name::parse(&shown).map_err(|error| unfit(error.to_string()))?;
    let params = without_injected(&listed.params, &set.inject);
    let validator = crate::schema::validator(&params).map_err(|error| unfit(error.to_string()))?;
    let asks = set.approve.rule != ApprovalRule::Never && set.asks_about(&listed.name);
    let idempotent = set.idempotent.unwrap_or(listed.idempotent);
    let inject = set.injected_into(listed);
    let answerers = set.approve.answerers.clone().filter(|_| asks);
    let call = ToolsetStep { set: set.clone(), tool: listed.name.clone(), idempotent, inject, answerers };
    let call = StepAction::Toolset(Box::new(call));
    Ok(WorkflowTool {
        name,
        description: listed.description.clone(),
        params: Arc::new(CompiledSchema { json: params, validator }),
        returns: ToolReturn::Value,
        approve: if asks { set.approve.clone() } else { ToolApproval::default() },
        any_agent_may_call: set.any_agent_may_call,
        parallel: set.parallel,
        on_lost: set.on_lost,
        asks: None,
        called: None,
        steps: steps_of(&format!("the tool {}", set.name), call, set.retry.clone())
            .ok_or_else(|| unfit("its steps cannot be made".to_owned()))?,
    })
}

/// A step that calls a tool of a set.
#[derive(Debug, Clone)]
pub struct ToolsetStep {
    /// The set.
    pub set: Arc<ToolsetDeclaration>,
    /// The tool, as its owner names it.
    pub tool: String,
    /// Whether it may be called again if nobody knows whether it was.
    pub idempotent: bool,
    /// The arguments of the tool that models do not see.
    pub inject: InjectedArguments,
    /// Who may answer what its owner asks: those who may allow the call; none: all who may answer in the run.
    pub answerers: Option<Arc<AnswererTerms>>,
}

/// A step that runs a program.
#[derive(Debug, Clone)]
pub struct ProgramStep {
    /// Its name in `commands:`.
    pub program: String,
    /// How long it may take.
    pub within: Duration,
    /// What is kept of what it prints, in bytes.
    pub max_result: u64,
    /// Whether it may be run again if nobody knows whether it was.
    pub idempotent: bool,
    /// The words for models and people in place of the program's own.
    pub error_message: Option<String>,
    /// Arguments that models do not see.
    pub inject: InjectedArguments,
    /// How often it may be called.
    pub rate: Option<ToolRate>,
}

/// The schema of what models are asked for.
fn without_injected(params: &Value, inject: &InjectedArguments) -> Value {
    let mut params = params.clone();
    let injected = |name: &str| inject.names().any(|given| given == name);
    if let Some(properties) = params.get_mut("properties").and_then(Value::as_object_mut) {
        properties.retain(|name, _| !injected(name));
    }
    if let Some(required) = params.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| !name.as_str().is_some_and(injected));
    }
    if params.as_object().is_none_or(Map::is_empty) { json!({"type": "object", "properties": {}}) } else { params }
}

/// The same of a tool of the workflow's own.
pub(super) fn visible_params(params: Arc<CompiledSchema>, inject: &InjectedArguments) -> Option<Arc<CompiledSchema>> {
    if inject.is_empty() {
        return Some(params);
    }
    let json = without_injected(&params.json, inject);
    let validator = crate::schema::validator(&json).ok()?;
    Some(Arc::new(CompiledSchema { json, validator }))
}

/// The steps of a tool that does one thing: that, and its result. `place` is said in failures.
pub(super) fn steps_of(place: &str, action: StepAction, retry: Option<RetryPolicy>) -> Option<Vec<WorkflowStep>> {
    let plain = |path: &str, action: StepAction| WorkflowStep {
        id: None,
        path: path.to_owned(),
        place: place.to_owned(),
        when: None,
        timeout: None,
        retry: None,
        on_error: OnError::Fail,
        action,
    };
    let id = Name::parse("result").ok()?;
    let call = WorkflowStep { id: Some(id), retry, ..plain("result", action) };
    let returned = DataTemplate::Text(Template::parse("{{ steps.result }}").ok()?);
    Some(vec![call, plain("1", StepAction::Return(returned))])
}
