//! `fastagency tools list WORKFLOW`: the tools that the agents of a workflow have, as their models are offered them.

use std::collections::{BTreeMap, BTreeSet};
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
use crate::workflow::{Agent, AgentRequest, ApprovalRule, NestedChat, StepAction, TwoAgentChat, Workflow};

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
    let workflows = project::workflows_for(workflow, &config)?;
    let workflow = workflow_named(&workflows, workflow)?;
    let agents = agents_of(workflow, agent)?;
    let services = OutsideServices::new(&config);
    // What no agent is offered may still be what steps call.
    let called: BTreeSet<Name> = match agents.is_empty() {
        true => workflow.tool_calls().iter().map(|step| step.tool.clone()).collect(),
        false => BTreeSet::new(),
    };
    if agents.is_empty() && called.is_empty() {
        let words =
            format!("no agent of the workflow {:?} is offered tools, and its steps call none", workflow.name.as_str());
        return Err(CliError::Usage(words));
    }
    let (workflow, failures) = with_sets(workflow, &agents, &called, &services).await;
    services.toolsets.close().await;
    let mut offers: Vec<AgentOffer> = agents.iter().flat_map(|agent| AgentOffer::all_of(&workflow, agent)).collect();
    let called = chat::offered(&workflow.tools, &called.into_iter().collect::<Vec<_>>());
    if as_json {
        let agents: Vec<Value> = offers.iter().map(AgentOffer::json).collect();
        let mut json = json!({ "agents": agents, "errors": failures });
        if !called.is_empty() {
            json["steps"] = json!(called);
        }
        println!("{json}");
    } else {
        if agents.is_empty() {
            eprintln!("no agent of the workflow {:?} is offered tools; its steps call these", workflow.name.as_str());
            offers.push(AgentOffer {
                agent: "steps".to_owned(),
                place: None,
                tools: called,
                conditions: BTreeMap::new(),
                approvals: BTreeSet::new(),
            });
        }
        offers.iter_mut().for_each(|offer| offer.note_approvals(&workflow));

        let text: Vec<String> = offers.iter().map(AgentOffer::table).collect();
        println!("{}", outcome::shown(&text.join("\n")));
        failures.iter().for_each(|failure| eprintln!("error: {}", outcome::shown(failure)));
    }
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The agents that are meant; without a name those that are offered tools anywhere.
fn agents_of<'w>(workflow: &'w Workflow, named: Option<&str>) -> Result<Vec<&'w Agent>, CliError> {
    let Some(named) = named else {
        let agents = workflow.agents.values().map(Arc::as_ref);
        let has_tools = |agent: &Agent| {
            !agent.tools.is_empty()
                || AgentOffer::all_of(workflow, agent)
                    .iter()
                    .any(|offer| offer.place.is_some() && !offer.tools.is_empty())
                || steps_that_offer(workflow, agent).next().is_some()
        };
        return Ok(agents.filter(|agent| has_tools(agent)).collect());
    };
    workflow.agents.get(named).map(|agent| vec![agent.as_ref()]).ok_or_else(|| {
        let names: Vec<&str> = workflow.agents.keys().map(Name::as_str).collect();
        let near = did_you_mean(named, names.iter().copied()).unwrap_or_else(|| listed("there is", &names));
        CliError::Usage(format!("the workflow {:?} has no agent {named:?}: {near}", workflow.name.as_str()))
    })
}

/// The workflow with the tools that the sets of these agents have now, and why others could not be asked.
async fn with_sets(
    workflow: &Workflow,
    agents: &[&Agent],
    called: &BTreeSet<Name>,
    services: &OutsideServices,
) -> (Workflow, Vec<String>) {
    let (mut whole, mut failures) = (workflow.clone(), Vec::new());
    let of_steps = agents.iter().flat_map(|agent| steps_that_offer(workflow, agent)).flat_map(|(_, tools)| tools);
    let names: Vec<&Name> = agents.iter().flat_map(|agent| &agent.tools).chain(of_steps).chain(called).collect();
    let set_of = |name: &&Name| name.as_str().split_once('.').map_or(name.as_str(), |(set, _)| set).to_owned();
    let used: BTreeSet<String> = names.iter().map(set_of).collect();
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
    for name in names {
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

/// The `agent` steps that offer an agent others than its own tools: where each is, and the names of the tools.
fn steps_that_offer<'w>(workflow: &'w Workflow, agent: &Agent) -> impl Iterator<Item = (&'w str, &'w [Name])> {
    let name = agent.name.clone();
    workflow.every_step().into_iter().filter_map(move |step| match &step.action {
        StepAction::Agent(AgentRequest { agent, tools: Some(tools), .. }) if *agent == name => {
            Some((step.place.as_str(), tools.as_slice()))
        }
        _ => None,
    })
}

/// Whether an agent's model is asked in a step that is no group, and that offers it its own tools.
fn speaks_outside_of_groups(workflow: &Workflow, name: &Name) -> bool {
    let is_in = |chat: &TwoAgentChat| chat.recipient == *name || chat.sender.as_ref() == Some(name);
    let is_nested = |chat: &NestedChat| chat.recipient == *name || chat.sender.as_ref() == Some(name);
    let speaks = |action: &StepAction| match action {
        StepAction::Agent(asked) => asked.agent == *name && asked.tools.is_none(),
        StepAction::Chat(chat) => is_in(chat),
        StepAction::Chats(chats) => chats.iter().any(is_in),
        StepAction::GroupChat(chat) => chat.agents.contains(name) || chat.initiator == *name,
        _ => false,
    };
    workflow.every_step().into_iter().any(|step| speaks(&step.action))
        || workflow
            .agents
            .values()
            .flat_map(|agent| &agent.nested_chats)
            .flat_map(|nested| &nested.chats)
            .any(is_nested)
}

/// Where an agent is offered what it is not offered elsewhere.
enum OfferPlace {
    /// In a group, which adds the tools with which it hands over.
    Group(String),
    /// In an `agent` step with tools of its own.
    Step(String),
}

/// What an agent is offered.
struct AgentOffer {
    agent: String,
    /// Where; none: wherever it is asked and nothing else is said.
    place: Option<OfferPlace>,
    /// In the shape of OpenAI's chat completions.
    tools: Vec<Value>,
    /// The names of the tools that are offered under a condition alone, each with the condition.
    conditions: BTreeMap<String, String>,
    /// The names of the tools that a run asks a person about first.
    approvals: BTreeSet<String>,
}

impl AgentOffer {
    /// What it is offered in each group, elsewhere, and in each step that offers others.
    fn all_of(workflow: &Workflow, agent: &Agent) -> Vec<Self> {
        let mut offers = Vec::new();
        for step in workflow.every_step() {
            let StepAction::Group(group) = &step.action else { continue };
            let members = chat::offered_in_group(workflow, group).into_iter();
            offers.extend(members.filter(|member| member.agent == agent.name).map(|member| Self {
                agent: member.agent.to_string(),
                place: Some(OfferPlace::Group(step.place.clone())),
                tools: member.tools,
                conditions: member.conditions,
                approvals: BTreeSet::new(),
            }));
        }
        let plain = |place, tools: &[Name]| Self {
            agent: agent.name.to_string(),
            place,
            tools: chat::offered(&workflow.tools, tools),
            conditions: BTreeMap::new(),
            approvals: BTreeSet::new(),
        };
        let is_plain = !agent.tools.is_empty() && speaks_outside_of_groups(workflow, &agent.name);
        let is_nowhere_else = offers.is_empty() && steps_that_offer(workflow, agent).next().is_none();
        if is_plain || is_nowhere_else {
            offers.push(plain(None, &agent.tools));
        }
        let steps = steps_that_offer(workflow, agent);
        offers.extend(steps.map(|(place, tools)| plain(Some(OfferPlace::Step(place.to_owned())), tools)));
        offers
    }

    /// Has the table say of which tools a person is asked first.
    fn note_approvals(&mut self, workflow: &Workflow) {
        let asks = |tool: &Value| {
            let name = tool["function"]["name"].as_str()?;
            let tool = workflow.tools.get(name).filter(|tool| tool.approve.rule != ApprovalRule::Never)?;
            Some(tool.name.to_string())
        };
        self.approvals = self.tools.iter().filter_map(asks).collect();
    }

    fn json(&self) -> Value {
        let mut json = json!({ "agent": self.agent, "tools": self.tools });
        match &self.place {
            None => {}
            Some(OfferPlace::Group(place)) => json["group"] = json!(place),
            Some(OfferPlace::Step(place)) => json["step"] = json!(place),
        }
        if !self.conditions.is_empty() {
            json["conditions"] = json!(self.conditions);
        }
        json
    }

    /// Each tool with its arguments and the beginning of its description.
    fn table(&self) -> String {
        let count = self.tools.len();
        let place = match &self.place {
            None => String::new(),
            Some(OfferPlace::Group(place)) => format!(" in the group at {place}"),
            Some(OfferPlace::Step(place)) => format!(" in the step at {place}"),
        };
        let mut text = format!("{}{place}: {count} tool{}\n", self.agent, if count == 1 { "" } else { "s" });
        let rows: Vec<(&str, String, String)> = self.tools.iter().map(row).collect();
        let width = |cell: fn(&(&str, String, String)) -> usize, head: usize| {
            rows.iter().map(cell).max().unwrap_or(0).max(head)
        };
        let (name, arguments) = (width(|row| row.0.chars().count(), 4), width(|row| row.1.chars().count(), 9));
        if !rows.is_empty() {
            text += &format!("  {:<name$}  {:<arguments$}  DESCRIPTION\n", "NAME", "ARGUMENTS");
        }
        for (called, takes, about) in &rows {
            let condition =
                self.conditions.get(*called).map(|condition| format!("(if {condition}) ")).unwrap_or_default();
            let approval = if self.approvals.contains(*called) { "(asks for approval) " } else { "" };
            text += format!("  {called:<name$}  {takes:<arguments$}  {condition}{approval}{about}").trim_end();
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
