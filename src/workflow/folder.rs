//! Workflows as they find each other: in a folder of files, or in the definition that a run is pinned to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::reader::{ProgramUse, WorkflowCall};
use super::reading::{self, WorkflowReading};
use super::{SecretReceiver, Workflow, WorkflowDefinition, WorkflowTool};
use crate::ids::Name;
use crate::problem::{Problem, Problems, did_you_mean};
use crate::yaml::{self, FieldReader, FileReview};

/// Reads all workflows of a folder: each `*.yaml` and `*.yml` but `*.test.yaml`. All problems of all files are in the error.
pub fn load_folder(folder: &Path) -> Result<Vec<Workflow>, Problems> {
    load_folder_without(folder, &BTreeSet::new())
}

/// Reads all workflows of a folder but those of these files, as problems name them.
pub fn load_folder_without(folder: &Path, excluded: &BTreeSet<String>) -> Result<Vec<Workflow>, Problems> {
    let mut problems = Vec::new();
    let reads = read_files(folder, excluded, &mut problems)?;
    let workflows = connect(reads, &mut problems);
    Problems::refuse(problems)?;
    Ok(workflows)
}

/// What is in a folder of workflows, whatever is wrong with it.
#[derive(Debug, Default)]
pub struct FolderReading {
    /// The workflows that are right.
    pub workflows: Vec<Workflow>,
    /// What could be read of the others: nobody can run them, and what else is wrong with them can be said.
    pub incomplete: Vec<Workflow>,
    /// All problems of all files.
    pub problems: Vec<Problem>,
}

/// Looks through all workflows of a folder, those in which something is wrong, too.
pub fn look_through(folder: &Path) -> Result<FolderReading, Problems> {
    let mut problems = Vec::new();
    let mut reads = read_files(folder, &BTreeSet::new(), &mut problems)?;
    let incomplete = reads.iter_mut().filter_map(|read| read.incomplete.take()).collect();
    let workflows = connect(reads, &mut problems);
    Ok(FolderReading { workflows, incomplete, problems })
}

/// Reads the workflow that a run is pinned to, with the same checks.
pub fn from_definition(definition: &WorkflowDefinition) -> Result<Workflow, Problems> {
    let Some(own) = definition.sources.get(&definition.name) else {
        let message = format!("the definition has no workflow {:?}", definition.name.as_str());
        return Err(Problem::of_file(definition.name.as_str(), message).into());
    };
    let file = |name: &Name| format!("{name}.yaml");
    let mut reads = vec![reading::read(&file(&definition.name), own)];
    // What it does not call is not looked at.
    let mut next = 0;
    while let Some(read) = reads.get(next) {
        let called: Vec<Name> = read.calls.iter().map(|call| call.name.clone()).collect();
        for name in called {
            let known = reads.iter().any(|read| read.name.as_ref() == Some(&name));
            if let Some(source) = definition.sources.get(&name).filter(|_| !known) {
                reads.push(reading::read(&file(&name), source));
            }
        }
        next += 1;
    }
    let mut problems = Vec::new();
    let workflows = connect(reads, &mut problems);
    Problems::refuse(problems)?;
    let wanted = workflows.into_iter().find(|workflow| workflow.name == definition.name);
    wanted.ok_or_else(|| {
        Problem::of_file(file(&definition.name), "the definition is of a workflow with another name").into()
    })
}

/// Says which agents name a model that is not there, or, where the workflow has a limit of money, one of those that have no
/// price.
pub fn check_models(workflow: &Workflow, known: &BTreeSet<Name>, unpriced: &BTreeSet<Name>) -> Result<(), Problems> {
    let source = workflow.definition.sources.get(&workflow.name).map_or("", String::as_str);
    let review = FileReview::new(&workflow.file, source);
    let Some(root) = yaml::parse(source, &review) else { return review.finish() };
    let needs_price = |name: &Name| workflow.limits.cost_usd.is_some() && unpriced.contains(name);
    for (name, agent) in &workflow.agents {
        let Some(llm) = &agent.llm else { continue };
        let is_known = known.contains(&llm.name);
        if is_known && !needs_price(&llm.name) {
            continue;
        }
        let node = root.get("agents").and_then(|agents| agents.get(name.as_str())).unwrap_or(&root);
        let (node, path) = match node.get("llm") {
            Some(llm) => (llm, format!("agents.{name}.llm")),
            None => (node, format!("agents.{name}")),
        };
        let field = FieldReader { node, path, review: &review };
        if is_known {
            review.add(no_price(&llm.name, field.problem("")));
        } else {
            review.add(no_model(&llm.name, known, field.problem("")));
        }
    }
    for (name, problem) in &workflow.models {
        if !known.contains(name) {
            review.add(no_model(name, known, problem.clone()));
        } else if needs_price(name) {
            review.add(no_price(name, problem.clone()));
        }
    }
    review.finish()
}

/// Says which requests and tools name a secret that is not there, or is not for who would get it. `refuses` says why not, and `repair` what
/// to write; none: what is written for a text.
pub fn check_secrets(
    workflow: &Workflow,
    refuses: impl Fn(&str, &SecretReceiver) -> Option<String>,
    repair: impl Fn(&str, &SecretReceiver) -> Option<String>,
) -> Result<(), Problems> {
    let refused = workflow.secrets.iter().filter_map(|used| {
        let message = refuses(&used.name, &used.receiver)?;
        let usual = || {
            format!(
                "in fastagency.yaml: secrets: {{ {}: {{ value: \"${{{}}}\", {} }} }}",
                used.name,
                used.name.to_uppercase().replace('-', "_"),
                used.receiver.permission()
            )
        };
        let hint = repair(&used.name, &used.receiver).unwrap_or_else(usual);
        Some(Problem { message, ..used.problem.clone() }.with_hint(hint))
    });
    Problems::refuse(refused.collect())
}

/// Says which requests go where none may go. `refuses` says why not.
pub fn check_hosts(workflow: &Workflow, refuses: impl Fn(&str) -> Option<String>) -> Result<(), Problems> {
    let refused = workflow.hosts.iter().filter_map(|(host, problem)| {
        let message = refuses(host)?;
        let hint = format!("if workflows may ask it, in fastagency.yaml: outgoing: {{ allow_private: [{host:?}] }}");
        Some(Problem { message, ..problem.clone() }.with_hint(hint))
    });
    Problems::refuse(refused.collect())
}

/// Says which tools run a program that is not there. `refuses` says why not, and `near` which one was probably meant. And which tools
/// have no `code` for a program that reads one (`takes_code`).
pub fn check_programs(
    workflow: &Workflow,
    refuses: impl Fn(&str) -> Option<String>,
    near: impl Fn(&str) -> Option<String>,
    takes_code: impl Fn(&str) -> bool,
) -> Result<(), Problems> {
    let refused = workflow.programs.iter().filter_map(|ProgramUse { name, has_code, problem }| {
        let Some(message) = refuses(name.as_str()) else {
            let message = format!("the command {:?} reads code, and the tool has no argument `code`", name.as_str());
            let hint = "params: { type: object, required: [code], properties: { code: { type: string } } }";
            let is_missing = takes_code(name.as_str()) && !has_code;
            return is_missing.then(|| Problem { message, ..problem.clone() }.with_hint(hint));
        };
        let usual = || format!("in fastagency.yaml: commands: {{ {name}: {{ run: [program, argument] }} }}");
        let hint = near(name.as_str()).unwrap_or_else(usual);
        Some(Problem { message, ..problem.clone() }.with_hint(hint))
    });
    Problems::refuse(refused.collect())
}

/// Says which tools ask a service on NATS where there is none; `address`: where the configuration has one.
pub fn check_services(workflow: &Workflow, has_nats: bool, address: &str) -> Result<(), Problems> {
    let refused = workflow.services.iter().filter(|_| !has_nats).map(|problem| {
        let message = "a tool with `nats` needs a NATS server, and this broker is the embedded one".to_owned();
        Problem { message, ..problem.clone() }.with_hint(format!("start with --nats, or with --nats-url {address}"))
    });
    Problems::refuse(refused.collect())
}

fn no_price(name: &Name, problem: Problem) -> Problem {
    let message = format!("the limit `cost_usd` needs a price for the model {:?}", name.as_str());
    let hint = "put it, and those of models that stand in for it, under `prices:` of fastagency.yaml";
    Problem { message, ..problem }.with_hint(hint)
}

fn no_model(name: &Name, known: &BTreeSet<Name>, problem: Problem) -> Problem {
    let near = did_you_mean(name.as_str(), known.iter().map(Name::as_str));
    let hint = problem
        .hint
        .clone()
        .or(near)
        .unwrap_or_else(|| "models are described in `llms:` of fastagency.yaml".to_owned());
    Problem { message: format!("there is no model {:?}", name.as_str()), ..problem }.with_hint(hint)
}

/// The files of workflows in a folder, in their order.
fn paths_of(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_workflow = name.ends_with(".yaml") || name.ends_with(".yml");
        let is_test = name.ends_with(".test.yaml") || name.ends_with(".test.yml");
        if is_workflow && !is_test && !name.starts_with('.') {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read_files(
    folder: &Path,
    excluded: &BTreeSet<String>,
    problems: &mut Vec<Problem>,
) -> Result<Vec<WorkflowReading>, Problems> {
    let unreadable = |error: std::io::Error| {
        let problem =
            Problem::of_file(folder.display().to_string(), format!("the folder of workflows cannot be read: {error}"));
        Problems::from(problem.with_hint("make it, or name another one with `workflows:` in the configuration"))
    };
    let mut reads = Vec::new();
    for path in paths_of(folder).map_err(unreadable)? {
        let file = path.display().to_string();
        if excluded.contains(&file) {
            continue;
        }
        match std::fs::read(&path).map(|bytes| yaml::decoded(&path, bytes)) {
            Ok(Ok(source)) => reads.push(reading::read(&file, &source)),
            Ok(Err(problem)) => problems.push(*problem),
            Err(error) => problems.push(Problem::of_file(file, format!("the file cannot be read: {error}"))),
        }
    }
    Ok(reads)
}

/// Checks what the files say of each other, and gives each workflow the texts of those that it calls.
fn connect(mut reads: Vec<WorkflowReading>, problems: &mut Vec<Problem>) -> Vec<Workflow> {
    for read in &mut reads {
        problems.append(&mut read.problems);
    }
    let mut by_name: BTreeMap<Name, &WorkflowReading> = BTreeMap::new();
    for read in &reads {
        let Some(name) = &read.name else { continue };
        if let Some(first) = by_name.get(name) {
            let message = format!("there is a workflow {:?} already", name.as_str());
            problems
                .push(Problem { message, ..read.name_problem.clone() }.with_hint(format!("it is in {}", first.file)));
        } else {
            by_name.insert(name.clone(), read);
        }
    }
    for read in &reads {
        problems.extend(read.calls.iter().filter_map(|call| call_problem(read, call, &by_name)));
    }
    let closure = |name: &Name| -> BTreeMap<Name, String> {
        let reached = reached(name, &by_name);
        reached.into_iter().filter_map(|name| Some((name.clone(), by_name.get(&name)?.source.clone()))).collect()
    };
    let with_sources = |read: &WorkflowReading| {
        let workflow = with_called(read.workflow.clone()?, &by_name);
        let definition = WorkflowDefinition { name: workflow.name.clone(), sources: closure(&workflow.name) };
        Some(Workflow { definition: Arc::new(definition), ..workflow })
    };
    reads.iter().filter_map(with_sources).collect()
}

/// The workflow with the descriptions and parameters of the workflows that are its tools.
fn with_called(workflow: Workflow, by_name: &BTreeMap<Name, &WorkflowReading>) -> Workflow {
    let tools = workflow.tools.clone().completed(|tool| {
        let called = by_name.get(tool.called.as_ref()?)?.workflow.as_ref()?;
        let own =
            called.description.clone().or_else(|| called.title.clone()).unwrap_or_else(|| called.name.to_string());
        let description = if tool.description.is_empty() { own } else { tool.description.clone() };
        let params = called.params.clone().unwrap_or_else(|| tool.params.clone());
        Some(WorkflowTool { description, params, ..tool.clone() })
    });
    Workflow { tools, ..workflow }
}

/// A workflow, and those that it calls, and those that they call.
fn reached(name: &Name, by_name: &BTreeMap<Name, &WorkflowReading>) -> BTreeSet<Name> {
    let mut reached = BTreeSet::new();
    let mut open = vec![name.clone()];
    while let Some(name) = open.pop() {
        if let Some(read) = by_name.get(&name)
            && reached.insert(name)
        {
            open.extend(read.calls.iter().map(|call| call.name.clone()));
        }
    }
    reached
}

fn call_problem(
    read: &WorkflowReading,
    call: &WorkflowCall,
    by_name: &BTreeMap<Name, &WorkflowReading>,
) -> Option<Problem> {
    let problem = |message: String| Problem { message, ..call.problem.clone() };
    let name = call.name.as_str();
    let Some(called) = by_name.get(&call.name) else {
        let hint = did_you_mean(name, by_name.keys().map(Name::as_str));
        let hint = hint.unwrap_or_else(|| "a workflow is a file in the folder of workflows".to_owned());
        return Some(problem(format!("there is no workflow {name:?}")).with_hint(hint));
    };
    if read.name.as_ref().is_some_and(|own| reached(&call.name, by_name).contains(own)) {
        let hint = "a workflow must not call itself, not even through others; use a loop";
        return Some(problem(format!("{name:?} would call this workflow again")).with_hint(hint));
    }
    let params = call.params.as_ref()?;
    let schema = &called.workflow.as_ref()?.params;
    let json = schema.as_ref().map_or(&serde_json::Value::Null, |schema| &schema.json);
    let properties = json.get("properties").and_then(serde_json::Value::as_object);
    let given = params.iter().map(|name| (name.clone(), serde_json::Value::Null)).collect();
    let unknown = crate::schema::unknown_fields(json, &given);
    let has_default = |key: &str| properties.and_then(|properties| properties.get(key)?.get("default")).is_some();
    let required = json.get("required").and_then(serde_json::Value::as_array).into_iter().flatten();
    let missing = required
        .filter_map(|key| key.as_str())
        .find(|key| !params.iter().any(|given| given == key) && !has_default(key));
    let missing = missing.map(|key| format!("the workflow {name:?} needs the parameter {key:?}"));
    let said: Vec<String> = missing.into_iter().chain(unknown).collect();
    (!said.is_empty()).then(|| problem(said.join("; ")))
}
