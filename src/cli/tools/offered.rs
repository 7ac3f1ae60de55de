//! `fastagency tools list WORKFLOW`: the tools under `tools` of each agent of a workflow, as its model is offered them.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::{Value, json};

use super::find::{listed, workflow_named};
use crate::chat;
use crate::cli::outcome::{self, CliError};
use crate::cli::{CommonArguments, project};
use crate::config::ConfigSection;
use crate::ids::Name;
use crate::outside::OutsideServices;
use crate::problem::did_you_mean;
use crate::workflow::{self, Agent, Workflow};

/// How much of a description the table shows, in characters.
const LONGEST_DESCRIPTION: usize = 80;

/// Lists the tools of a workflow's agents, or of one of them.
pub(super) async fn list(
    workflow: &str,
    agent: Option<&str>,
    as_json: bool,
    common: &CommonArguments,
) -> Result<ExitCode, CliError> {
    let config = project::load(common)?;
    config.usable(ConfigSection::Worker)?;
    let workflows = workflow::load_folder(&config.workflows)?;
    let workflow = workflow_named(&workflows, workflow)?;
    let agents = agents_of(workflow, agent)?;
    let services = OutsideServices::new(&config);
    let (workflow, failures) = with_sets(workflow, &agents, &services).await;
    services.toolsets.close().await;
    let offers: Vec<AgentOffer<'_>> = agents.iter().map(|agent| AgentOffer::of(&workflow, agent)).collect();
    if as_json {
        println!(
            "{}",
            json!({ "agents": offers.iter().map(AgentOffer::json).collect::<Vec<_>>(), "errors": failures })
        );
    } else {
        let text: Vec<String> = offers.iter().map(AgentOffer::table).collect();
        println!("{}", outcome::shown(&text.join("\n")));
        failures.iter().for_each(|failure| eprintln!("error: {}", outcome::shown(failure)));
    }
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The agents that are meant; without a name those that have tools.
fn agents_of<'w>(workflow: &'w Workflow, named: Option<&str>) -> Result<Vec<&'w Agent>, CliError> {
    let Some(named) = named else {
        let with_tools: Vec<&Agent> =
            workflow.agents.values().map(Arc::as_ref).filter(|agent| !agent.tools.is_empty()).collect();
        if with_tools.is_empty() {
            let words = format!("no agent of the workflow {:?} has `tools`", workflow.name.as_str());
            return Err(CliError::Usage(words));
        }
        return Ok(with_tools);
    };
    workflow.agents.get(named).map(|agent| vec![agent.as_ref()]).ok_or_else(|| {
        let names: Vec<&str> = workflow.agents.keys().map(Name::as_str).collect();
        let near = did_you_mean(named, names.iter().copied()).unwrap_or_else(|| listed("there is", &names));
        CliError::Usage(format!("the workflow {:?} has no agent {named:?}: {near}", workflow.name.as_str()))
    })
}

/// The workflow with the tools that the sets of these agents have now, and why others could not be asked.
async fn with_sets(workflow: &Workflow, agents: &[&Agent], services: &OutsideServices) -> (Workflow, Vec<String>) {
    let (mut whole, mut failures) = (workflow.clone(), Vec::new());
    let names = agents.iter().flat_map(|agent| &agent.tools).map(Name::as_str);
    let used: BTreeSet<&str> = names.map(|name| name.split_once('.').map_or(name, |(set, _)| set)).collect();
    for (set, declaration) in workflow.tools.sets().iter().filter(|(set, _)| used.contains(set.as_str())) {
        let listed = match services.toolsets.get(&declaration.source) {
            Ok(toolset) => toolset.list().await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match listed.and_then(|listed| whole.with_list(set, listed)) {
            Ok(longer) => whole = longer,
            Err(why) => failures.push(format!("tools.{set}: {why}")),
        }
    }
    for name in agents.iter().flat_map(|agent| &agent.tools) {
        let is_listed = |set: &str| !failures.iter().any(|why| why.starts_with(&format!("tools.{set}: ")));
        if let Some((set, _)) = name.as_str().split_once('.')
            && is_listed(set)
            && whole.tools.named(name).is_empty()
        {
            failures.push(format!("there is no tool {:?}", name.as_str()));
        }
    }
    if let Err(why) = whole.refuse_too_many() {
        failures.push(why);
    }
    (whole, failures)
}

/// What an agent is offered.
struct AgentOffer<'a> {
    agent: &'a Agent,
    /// In the shape of OpenAI's chat completions.
    tools: Vec<Value>,
}

impl<'a> AgentOffer<'a> {
    fn of(workflow: &Workflow, agent: &'a Agent) -> Self {
        Self { agent, tools: chat::offered(&workflow.tools, &agent.tools) }
    }

    fn json(&self) -> Value {
        json!({ "agent": self.agent.name.as_str(), "tools": self.tools })
    }

    /// Each tool with its arguments and the beginning of its description.
    fn table(&self) -> String {
        let count = self.tools.len();
        let mut text = format!("{}: {count} tool{}\n", self.agent.name, if count == 1 { "" } else { "s" });
        let rows: Vec<(&str, String, String)> = self.tools.iter().map(row).collect();
        let width = |cell: fn(&(&str, String, String)) -> usize, head: usize| {
            rows.iter().map(cell).max().unwrap_or(0).max(head)
        };
        let (name, arguments) = (width(|row| row.0.chars().count(), 4), width(|row| row.1.chars().count(), 9));
        if !rows.is_empty() {
            text += &format!("  {:<name$}  {:<arguments$}  DESCRIPTION\n", "NAME", "ARGUMENTS");
        }
        for (called, takes, about) in &rows {
            text += format!("  {called:<name$}  {takes:<arguments$}  {about}").trim_end();
            text.push('\n');
        }
        text
    }
}

/// Name, arguments (`?`: may be left out) and description of a tool.
fn row(tool: &Value) -> (&str, String, String) {
    let function = &tool["function"];
    let parameters = &function["parameters"];
    let required: BTreeSet<&str> =
        parameters["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let names = parameters["properties"].as_object().into_iter().flat_map(|properties| properties.keys());
    let names = names.map(|name| if required.contains(name.as_str()) { name.clone() } else { format!("{name}?") });
    let about = function["description"].as_str().unwrap_or_default();
    let first = about.trim().lines().next().unwrap_or_default();
    let shown = match first.char_indices().nth(LONGEST_DESCRIPTION) {
        Some((end, _)) => format!("{}…", &first[..end]),
        None => first.to_owned(),
    };
    (function["name"].as_str().unwrap_or_default(), names.collect::<Vec<_>>().join(", "), shown)
}
