//! A workflow as checked: every name resolves, every template parses, every default is filled in. What a file may hold is in
//! `shapes`, how it is read and what may be wrong with it in `reading` and `steps`, what a place in it may name in `scope`,
//! how files find each other in `folder`; nothing above this module ever sees an unchecked workflow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::ids::Name;
use crate::money::Usd;
use crate::protocol::failure::FailureKind;
use crate::protocol::toolset::ListedTool;

mod address;
mod answerers;
mod approval;
mod called;
mod chat_steps;
mod conversation;
pub mod expression;
mod folder;
mod http;
mod inject;
mod json_schema;
mod lost_calls;
mod names;
mod nats;
mod params;
mod questions;
mod rate;
mod reader;
mod reading;
mod scope;
mod shapes;
mod steps;
mod tool_table;
mod tools;
mod toolset;
mod values;

pub use address::AddressPart;
pub use answerers::{AnswererTerms, answerer_terms};
pub use called::{apply_defaults, called, checked_params};
pub use conversation::{
    AgentHandoffs, ApprovalRule, ApprovalTimeout, ContextHandoff, GroupChat, GroupChatManager, GroupPattern,
    HandoffGroup, HandoffTarget, LlmHandoff, NestedCarryover, NestedChat, NestedChatTrigger, NestedChats, OnCut,
    OnLost, SelectionMethod, SelectionPrompts, SelectionRole, SpeakerTransitions, SummaryMethod, ToolApproval,
    ToolReturn, TwoAgentChat, WorkflowTool,
};
pub use expression::{EvaluationError, Expression, Template};
pub use folder::{
    FolderReading, check_hosts, check_models, check_programs, check_secrets, check_services, from_definition,
    load_folder, load_folder_without, look_through,
};
pub use http::{HttpBody, HttpRequest};
pub use inject::{InjectedArguments, InjectedSecret, SecretReceiver};
pub use nats::{NatsStep, is_token, refuses_subject};
pub use rate::ToolRate;
pub use reader::{ToolCallStep, WrittenArgument};
pub use shapes::json_schema;
pub use tool_table::{MOST_TOOLS_OF_AN_AGENT, ProgramStep, ToolTable, ToolsetStep};
pub use toolset::{McpSource, OpenApiSource, PythonSource, ToolsetDeclaration, ToolsetSource};

/// A map from text to JSON values, in the order written.
pub type ValueMap = Map<String, Value>;

/// A workflow, ready to run.
#[derive(Debug, Clone)]
pub struct Workflow {
    /// Its name: the key that clients start it by.
    pub name: Name,
    /// What people see instead of the name.
    pub title: Option<String>,
    /// What it is for, in a sentence.
    pub description: Option<String>,
    /// The schema of its parameters; none: it takes no parameters, and ignores what it gets.
    pub params: Option<Arc<CompiledSchema>>,
    /// The declared variables and their first values.
    pub vars: ValueMap,
    /// What a run may use up.
    pub limits: RunLimits,
    /// The agents by name.
    pub agents: BTreeMap<Name, Arc<Agent>>,
    /// The tools, and the sets of tools.
    pub tools: ToolTable,
    /// What is done, in order.
    pub steps: Vec<WorkflowStep>,
    /// The models that its steps name, each with a problem at its place; the message is to be filled in.
    models: Vec<(Name, crate::problem::Problem)>,
    /// The secrets that its requests name.
    secrets: Vec<reader::SecretUse>,
    /// The servers that its requests ask, each with a problem at its place; the message is to be filled in.
    hosts: Vec<(String, crate::problem::Problem)>,
    /// The programs that its tools name.
    programs: Vec<reader::ProgramUse>,
    /// A problem at the place of each tool that asks a service on NATS; the message is to be filled in.
    services: Vec<crate::problem::Problem>,
    /// The steps that call tools.
    tool_calls: Arc<[ToolCallStep]>,
    /// The tools of sets that steps offer to agents, each with a problem at its place; the message is to be filled in.
    offered: Arc<[(Name, crate::problem::Problem)]>,
    /// What is most likely not meant, and fails in some runs.
    doubts: Arc<[crate::problem::Problem]>,
    /// What it was made from.
    pub definition: Arc<WorkflowDefinition>,
    /// The file that it was read from, for messages to people.
    pub file: String,
}

impl Workflow {
    /// Whether a tool, or a set of tools, may be called only so often.
    pub fn has_rates(&self) -> bool {
        let of_step = |step: &WorkflowStep| match &step.action {
            StepAction::Http(request) => request.rate.is_some(),
            StepAction::Program(step) => step.rate.is_some(),
            StepAction::Nats(step) => step.rate.is_some(),
            _ => false,
        };
        self.tools.values().any(|tool| tool.steps.iter().any(of_step))
            || self.tools.sets().values().any(|set| set.rate.is_some())
    }

    /// The secrets that it names itself.
    pub fn named_secrets(&self) -> impl Iterator<Item = &str> {
        self.secrets.iter().map(|used| used.name.as_str())
    }

    /// Its steps and those of its tools, with all that they have inside.
    pub fn every_step(&self) -> Vec<&WorkflowStep> {
        let lists = std::iter::once(&self.steps).chain(self.tools.values().map(|tool| &tool.steps));
        lists.flat_map(|steps| all_steps(steps)).collect()
    }

    /// The steps that call tools, wherever they are in it.
    pub fn tool_calls(&self) -> &[ToolCallStep] {
        &self.tool_calls
    }

    /// The tools of sets that steps offer to agents, each with a problem at its place, whose message is to be filled in.
    pub fn offered_by_steps(&self) -> &[(Name, crate::problem::Problem)] {
        &self.offered
    }

    /// What is most likely not meant, and fails in some runs: a sentence for each, with its place.
    pub fn doubts(&self) -> &[crate::problem::Problem] {
        &self.doubts
    }

    /// Whether it has the operations of a specification as tools, which name secrets of their own.
    pub fn has_specification(&self) -> bool {
        self.tools.sets().values().any(|set| matches!(set.source, ToolsetSource::OpenApi(_)))
    }

    /// The workflow with the tools of one more of its sets, whatever the others have. The error is a sentence for who wrote it.
    pub fn with_list(&self, set: &Name, listed: Vec<ListedTool>) -> Result<Self, String> {
        Ok(Self { tools: self.tools.with_lists(&[(set.clone(), listed)])?, ..self.clone() })
    }

    /// Says which agent has more tools than models take. A run that goes on with the tools that it has had is not refused them.
    pub fn refuse_too_many(&self) -> Result<(), String> {
        for agent in self.agents.values() {
            let offered: BTreeSet<&Name> = self.tools.offered(&agent.tools).map(|tool| &tool.name).collect();
            if offered.len() > MOST_TOOLS_OF_AN_AGENT {
                return Err(too_many_tools(agent, offered.len()));
            }
        }
        Ok(())
    }

    /// The workflow with tools that a set has for certain, and perhaps not alone. The error is a sentence for who wrote it.
    pub fn with_some_tools(&self, set: &Name, tools: Vec<ListedTool>) -> Result<Self, String> {
        let longer = Self { tools: self.tools.with_some(set, &tools)?, ..self.clone() };
        longer.refuse_too_many()?;
        Ok(longer)
    }

    /// The workflow with the tools that its sets have now. The error is a sentence for who wrote it.
    pub fn with_lists(&self, lists: &[(Name, Vec<ListedTool>)]) -> Result<Self, String> {
        let tools = self.tools.with_lists(lists)?;
        let named = self.agents.values().flat_map(|agent| agent.tools.iter().chain(&agent.executes));
        if let Some(unknown) =
            named.filter(|name| name.as_str().contains('.')).find(|name| tools.named(name).is_empty())
        {
            return Err(format!("there is no tool {:?}", unknown.as_str()));
        }
        Ok(Self { tools, ..self.clone() })
    }
}

/// What is wrong with an agent that has so many tools.
fn too_many_tools(agent: &Agent, count: usize) -> String {
    let name = &agent.name;
    format!(
        "the agent {name} has {count} tools, and models take {MOST_TOOLS_OF_AN_AGENT} at most. Choose some of a set (only: [\"get_*\"]; \
         or offer SET.TOOL), or share them out among several agents"
    )
}

/// The texts that a workflow was made from: what a run is pinned to.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct WorkflowDefinition {
    /// The name of the workflow.
    pub name: Name,
    /// The YAML text of the workflow, and of every workflow that it calls, by name.
    pub sources: BTreeMap<Name, String>,
}

impl WorkflowDefinition {
    /// The bytes that are stored, and hashed.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a map of texts is JSON")
    }

    /// The SHA-256 of the bytes, in hexadecimal: the same definition has the same hash everywhere.
    pub fn hash(&self) -> String {
        use sha2::Digest;
        crate::ids::hex(&sha2::Sha256::digest(self.to_bytes()))
    }
}

/// A JSON Schema and its compiled validator.
pub struct CompiledSchema {
    /// The schema as written.
    pub json: Value,
    /// Checks values against it.
    pub validator: jsonschema::Validator,
}

impl std::fmt::Debug for CompiledSchema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.json.fmt(f)
    }
}

/// How often a conversation may do the same with nothing new in between, unless its workflow says otherwise. No recorded
/// conversation of AG2 does anything as often, and a model that does is not helped by more of it.
const MOST_REPEATED_CALLS: u64 = 20;

/// How many requests to models a run may make, unless its workflow says otherwise: so many that no conversation of people
/// comes to it, and so few that a model that calls tools that ask models costs no fortune.
const MOST_LLM_CALLS: u64 = 10_000;

/// How many records a run's log may have, unless its workflow says otherwise.
const MOST_RECORDS: u64 = 100_000;

/// How many steps a run may execute, unless its workflow says otherwise; those of loops count each time.
const MOST_STEPS: u64 = 1_000_000;

/// What a run may use up before it is ended with a reason. `None`: no limit.
#[derive(Debug, Clone, PartialEq)]
pub struct RunLimits {
    /// Requests to models.
    pub llm_calls: Option<u64>,
    /// Calls of tools.
    pub tool_calls: Option<u64>,
    /// Tokens, prompt and completion together.
    pub tokens: Option<u64>,
    /// Money, in US dollars.
    pub cost_usd: Option<Usd>,
    /// Time, waiting for people left out.
    pub duration: Option<Duration>,
    /// Records of its log.
    pub records: u64,
    /// Steps that it executes; those of a loop count each time.
    pub steps: u64,
    /// How often one conversation may make the same call with the same result, or send the same request, with nothing new in
    /// between.
    pub repeated_calls: u64,
}

impl Default for RunLimits {
    fn default() -> Self {
        Self {
            llm_calls: Some(MOST_LLM_CALLS),
            tool_calls: None,
            tokens: None,
            cost_usd: None,
            duration: None,
            records: MOST_RECORDS,
            steps: MOST_STEPS,
            repeated_calls: MOST_REPEATED_CALLS,
        }
    }
}

/// AG2's agent classes; they differ in their defaults only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentKind {
    /// `ConversableAgent`.
    Conversable,
    /// `AssistantAgent`.
    Assistant,
    /// `UserProxyAgent`.
    UserProxy,
}

/// When an agent asks a person before it replies (`docs/reference/ag2-semantics.md`, section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HumanInputMode {
    /// Each time.
    Always,
    /// When the conversation would end.
    Terminate,
    /// Never.
    Never,
}

/// An agent, with the defaults of its class filled in.
#[derive(Debug, Clone)]
pub struct Agent {
    /// Its name.
    pub name: Name,
    /// Its class.
    pub kind: AgentKind,
    /// What its model is told first; sent even if it is empty.
    pub system_message: String,
    /// What it is for; the system message if not given (AG2).
    pub description: String,
    /// The model that it asks; none: it has no model.
    pub llm: Option<ModelUse>,
    /// When it asks a person.
    pub human_input_mode: HumanInputMode,
    /// Who may answer then, where it is said.
    pub answerers: Option<Arc<AnswererTerms>>,
    /// How many replies it may give by itself (AG2's default: 100).
    pub max_consecutive_auto_reply: u32,
    /// What it says if nothing else gives a reply.
    pub default_auto_reply: String,
    /// Whether a message ends the conversation; none: its content equals `TERMINATE`. `message` is in the context.
    pub is_termination_msg: Option<Expression>,
    /// The tools that its model is offered.
    pub tools: Vec<Name>,
    /// The tools that it executes when another agent calls them.
    pub executes: Vec<Name>,
    /// What its model's replies must be.
    pub output: Option<Arc<CompiledSchema>>,
    /// Chats that it holds instead of answering by itself; the last that fits counts, as the last registered does in AG2.
    pub nested_chats: Vec<NestedChats>,
    /// When it hands over, in a group.
    pub handoffs: AgentHandoffs,
    /// Its system message in a group, made anew before each reply; `context` is in the context.
    pub update_system_message: Option<Template>,
    /// What is done about replies of its model that are cut off.
    pub on_cut: Option<OnCut>,
}

/// AG2's default system message of a conversable agent.
pub(crate) const CONVERSABLE_SYSTEM_MESSAGE: &str = "You are a helpful AI Assistant.";
/// AG2's limit of the replies that an agent gives by itself.
pub(crate) const MOST_AUTO_REPLIES: u32 = 100;

impl Agent {
    /// An agent with AG2's defaults and without a model.
    pub fn without_model(name: Name, human_input_mode: HumanInputMode) -> Self {
        Self {
            name,
            kind: AgentKind::Conversable,
            system_message: CONVERSABLE_SYSTEM_MESSAGE.to_owned(),
            description: CONVERSABLE_SYSTEM_MESSAGE.to_owned(),
            llm: None,
            human_input_mode,
            answerers: None,
            max_consecutive_auto_reply: MOST_AUTO_REPLIES,
            default_auto_reply: String::new(),
            is_termination_msg: None,
            tools: Vec::new(),
            executes: Vec::new(),
            output: None,
            nested_chats: Vec::new(),
            handoffs: AgentHandoffs::default(),
            update_system_message: None,
            on_cut: None,
        }
    }
}

/// A model by its name in `llms:`, and what an agent sets for it.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelUse {
    /// The name in `llms:`.
    pub name: Name,
    /// Request parameters that go before the model's own (temperature, seed, …).
    pub parameters: ValueMap,
}

/// One step: one action, and what surrounds it.
#[derive(Debug, Clone)]
pub struct WorkflowStep {
    /// Where its value is found: `steps.<id>`.
    pub id: Option<Name>,
    /// Its place in the workflow, the same for the same text: `2`, `2/do/0`, or its id where it has one. The keys of its effects
    /// begin with it.
    pub path: String,
    /// Where it stands, for messages to people: `workflows/echo.yaml:14`.
    pub place: String,
    /// Run it only if this holds.
    pub when: Option<Expression>,
    /// Wall time it may take.
    pub timeout: Option<Duration>,
    /// Whether and when it is tried again after a failure.
    pub retry: Option<RetryPolicy>,
    /// What to do about a failure that remains.
    pub on_error: OnError,
    /// What it does.
    pub action: StepAction,
}

/// Trying again after a failure.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// How often it is tried again, at most.
    pub max: u32,
    /// How long to wait before.
    pub delay: Duration,
    /// The kinds of failure that it is for; empty: every kind.
    pub on: Vec<FailureKind>,
}

impl RetryPolicy {
    /// Whether a failure of this kind is tried again. Without a list every kind is, but for what must not be done twice, and what the same
    /// parameters never mend.
    pub fn covers(&self, kind: &FailureKind) -> bool {
        if self.on.is_empty() {
            !matches!(kind, FailureKind::Lost | FailureKind::Params)
        } else {
            self.on.contains(kind)
        }
    }
}

/// What to do about a step's failure.
#[derive(Debug, Clone, Default)]
pub enum OnError {
    /// The run fails.
    #[default]
    Fail,
    /// The step's value is null, and the run goes on.
    Continue,
    /// The step's value is this. `error {kind, message, step}` is in the context.
    Value(DataTemplate),
    /// These steps are done, and their last value is the step's. `error` is in their context.
    Do(Vec<WorkflowStep>),
}

/// A JSON value whose texts are templates.
#[derive(Debug, Clone)]
pub enum DataTemplate {
    /// A text with `{{ … }}` in it, or none. A text that is one `{{ expression }}` keeps its type.
    Text(Template),
    /// A list.
    List(Vec<DataTemplate>),
    /// A map, in the order written.
    Map(Vec<(String, DataTemplate)>),
    /// Anything else.
    Plain(Value),
}

impl DataTemplate {
    /// The names that it looks up.
    pub fn names(&self) -> Vec<&expression::NamePath> {
        match self {
            DataTemplate::Text(template) => template.names(),
            DataTemplate::List(items) => items.iter().flat_map(DataTemplate::names).collect(),
            DataTemplate::Map(entries) => entries.iter().flat_map(|(_, data)| data.names()).collect(),
            DataTemplate::Plain(_) => Vec::new(),
        }
    }

    /// Its value, if it is the same in every run.
    pub fn literal(&self) -> Option<Value> {
        match self {
            DataTemplate::Text(template) => template.as_plain().map(Value::from),
            DataTemplate::List(items) => {
                items.iter().map(DataTemplate::literal).collect::<Option<_>>().map(Value::Array)
            }
            DataTemplate::Map(entries) => {
                let literals = entries.iter().map(|(key, data)| Some((key.clone(), data.literal()?)));
                literals.collect::<Option<_>>().map(Value::Object)
            }
            DataTemplate::Plain(value) => Some(value.clone()),
        }
    }

    /// Its value.
    pub fn evaluate(&self, context: &minijinja::Value) -> Result<Value, EvaluationError> {
        Ok(match self {
            DataTemplate::Plain(value) => value.clone(),
            DataTemplate::Text(template) => template.evaluate(context)?,
            DataTemplate::List(items) => {
                items.iter().map(|item| item.evaluate(context)).collect::<Result<_, _>>().map(Value::Array)?
            }
            DataTemplate::Map(entries) => {
                let entry = |(key, data): &(String, DataTemplate)| Ok((key.clone(), data.evaluate(context)?));
                Value::Object(entries.iter().map(entry).collect::<Result<_, EvaluationError>>()?)
            }
        })
    }
}

/// What to do if a question is not answered in time.
#[derive(Debug, Clone, Default)]
pub enum OnTimeout {
    /// The step fails with kind `timeout`.
    #[default]
    Fail,
    /// This is the answer.
    Default(DataTemplate),
}

/// What the answer of a text input becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ValueType {
    /// Text as it was given.
    #[default]
    String,
    /// A whole number.
    Integer,
    /// A number.
    Number,
}

/// Who asks, who is asked, and for how long.
#[derive(Debug, Clone)]
pub struct QuestionTerms {
    /// Shown to the person; markdown.
    pub prompt: Template,
    /// Who asks (default `Workflow`).
    pub sender: Template,
    /// Who is asked (default `User`).
    pub recipient: Template,
    /// How long to wait for an answer; none: for ever.
    pub timeout: Option<Duration>,
    /// What happens then.
    pub on_timeout: OnTimeout,
    /// Who may answer, where it is said.
    pub answerers: Option<Arc<AnswererTerms>>,
}

/// One choice of a multiple choice.
#[derive(Debug, Clone)]
pub struct ChoiceOption {
    /// What is shown.
    pub label: Template,
    /// What the step's value is when it is chosen; none: the label.
    pub value: Option<DataTemplate>,
    /// A line about it.
    pub description: Option<Template>,
}

/// What a step does. Its value is what `steps.<id>` is afterwards.
#[derive(Debug, Clone)]
pub enum StepAction {
    /// Asks a person for a text. Value: the text (or number).
    TextInput {
        /// Who and how long.
        asking: QuestionTerms,
        /// Answers to pick from; a list of texts, or one expression that gives a list.
        suggestions: DataTemplate,
        /// A suggestion is put into the field, to be finished there, instead of being sent at once.
        suggestions_fill: bool,
        /// The answer is a secret.
        password: bool,
        /// A large field.
        multiline: bool,
        /// What a valid answer matches.
        pattern: Option<String>,
        /// What the answer becomes.
        value_type: ValueType,
    },
    /// Asks a person to choose. Value: the choice, or a list if `single` is false.
    MultipleChoice {
        /// Who and how long.
        asking: QuestionTerms,
        /// What there is to choose.
        choices: ChoiceList,
        /// The label that is chosen at first.
        default: Option<Template>,
        /// One only.
        single: bool,
        /// At least so many (`single: false`).
        min: Option<usize>,
        /// At most so many (`single: false`).
        max: Option<usize>,
    },
    /// Asks a person to fill in a form. Value: the object.
    Form {
        /// Who and how long.
        asking: QuestionTerms,
        /// What a valid object is.
        schema: Arc<CompiledSchema>,
    },
    /// Shows something. Value: null.
    Message(MessageAction),
    /// One question to one agent's model. Value: its text, or the object if `output` is given.
    Agent(AgentRequest),
    /// A conversation of two agents (AG2 `initiate_chat`). Value: the chat result.
    Chat(Box<TwoAgentChat>),
    /// Conversations one after the other (AG2 `initiate_chats`). Value: the list of the chat results.
    Chats(Vec<TwoAgentChat>),
    /// A group chat (AG2 `GroupChat`). Value: the chat result.
    GroupChat(Box<GroupChat>),
    /// A group that hands over (AG2 `run_group_chat`). Value: the chat result.
    Group(Box<HandoffGroup>),
    /// Calls a tool. Value: its result.
    Call {
        /// The tool.
        tool: Name,
        /// Its arguments.
        args: Vec<(String, DataTemplate)>,
    },
    /// The first whose condition holds. Value: that of its last step.
    Branch(Vec<BranchArm>),
    /// The steps, several times. Value: the list of the iterations' values.
    Loop {
        /// Never more often than this.
        max: u64,
        /// Tested before or after each iteration.
        condition: Option<LoopCondition>,
        /// The steps.
        body: Vec<WorkflowStep>,
    },
    /// The steps, once for each item. Value: the list of the iterations' values.
    Foreach {
        /// What gives the list.
        items: DataTemplate,
        /// The name of the item in the context.
        variable: Name,
        /// How many at once.
        parallel: usize,
        /// The steps.
        body: Vec<WorkflowStep>,
    },
    /// Several bodies at once. Value: a map of their values.
    Parallel(Vec<(Name, Vec<WorkflowStep>)>),
    /// Calls a tool of a set. Value: its result. No workflow writes this step: the tools of sets consist of it.
    Toolset(Box<ToolsetStep>),
    /// Runs a program of `commands:` with the arguments of the tool. Value: what it prints. No workflow writes this step: the
    /// tools with `command` consist of it.
    Program(Box<ProgramStep>),
    /// A request to a service on NATS with the arguments of the tool. Value: its reply. No workflow writes this step: the tools
    /// with `nats` consist of it.
    Nats(Box<NatsStep>),
    /// A request to a server. Value: its answer.
    Http(Box<HttpRequest>),
    /// Another workflow. Value: its return, or its run id if `wait` is false.
    Workflow {
        /// Its name.
        name: Name,
        /// Its parameters.
        params: Vec<(String, DataTemplate)>,
        /// Whether they are the arguments of the tool that this is a step of.
        all_args: bool,
        /// Whether to wait for its end.
        wait: bool,
    },
    /// Sets variables. Value: null.
    Set(Vec<(Name, DataTemplate)>),
    /// Waits. Value: null.
    Wait(WaitTime),
    /// Ends the run (or the tool, or the called workflow) with a value.
    Return(DataTemplate),
    /// Ends the run as failed.
    Fail(Template),
}

impl WorkflowStep {
    /// The lists of steps that it has inside: its arms, bodies and branches, and what is done when it fails.
    pub fn bodies(&self) -> Vec<&[Self]> {
        let mut bodies: Vec<&[Self]> = match &self.action {
            StepAction::Branch(arms) => arms.iter().map(|arm| arm.body.as_slice()).collect(),
            StepAction::Loop { body, .. } | StepAction::Foreach { body, .. } => vec![body],
            StepAction::Parallel(branches) => branches.iter().map(|(_, body)| body.as_slice()).collect(),
            _ => Vec::new(),
        };
        if let OnError::Do(body) = &self.on_error {
            bodies.push(body);
        }
        bodies
    }
}

/// These steps and all that they have inside, each before what is in it.
pub fn all_steps(steps: &[WorkflowStep]) -> Vec<&WorkflowStep> {
    let mut all = Vec::new();
    for step in steps {
        all.push(step);
        step.bodies().into_iter().for_each(|body| all.extend(all_steps(body)));
    }
    all
}

impl StepAction {
    /// Whether agents' models are asked in it, and by no steps of its own.
    pub fn asks_a_model(&self) -> bool {
        matches!(self, Self::Agent(_) | Self::Chat(_) | Self::Chats(_) | Self::GroupChat(_) | Self::Group(_))
    }
}

/// A question to an agent's model.
#[derive(Debug, Clone)]
pub struct AgentRequest {
    /// The agent.
    pub agent: Name,
    /// What it is asked.
    pub message: Template,
    /// What the reply must be; none: what the agent says.
    pub output: Option<Arc<CompiledSchema>>,
    /// The tools that it is offered, and that are executed for it; none: its own.
    pub tools: Option<Vec<Name>>,
    /// How often its calls are executed before it must reply.
    pub max_tool_rounds: u32,
    /// What is done about replies that are cut off; none: what the agent says.
    pub on_cut: Option<OnCut>,
}

/// The choices of a multiple choice.
#[derive(Debug, Clone)]
pub enum ChoiceList {
    /// As written.
    Written(Vec<ChoiceOption>),
    /// An expression that gives a list of texts, or of `{value, label, description}`.
    Computed(Template),
}

/// What a `message` step shows.
#[derive(Debug, Clone)]
pub struct MessageAction {
    /// What kind of message.
    pub content: MessageStepContent,
    /// Who says it (default `Workflow`).
    pub sender: Template,
    /// To whom (default `User`).
    pub recipient: Template,
}

/// The content of a `message` step.
#[derive(Debug, Clone)]
pub enum MessageStepContent {
    /// Text; markdown.
    Text(Template),
    /// A system message: any map.
    System(Vec<(String, DataTemplate)>),
    /// An error: a short sentence, and more.
    Error {
        /// The sentence.
        short: Template,
        /// More about it.
        long: Option<Template>,
    },
}

/// One arm of a branch.
#[derive(Debug, Clone)]
pub struct BranchArm {
    /// Its condition; none for `else`.
    pub when: Option<Expression>,
    /// Its steps.
    pub body: Vec<WorkflowStep>,
}

/// When a loop ends.
#[derive(Debug, Clone)]
pub enum LoopCondition {
    /// Goes on while it holds; tested before an iteration.
    While(Expression),
    /// Ends when it holds; tested after an iteration.
    Until(Expression),
}

/// How long a `wait` step waits.
#[derive(Debug, Clone)]
pub enum WaitTime {
    /// A duration, as text (`10s`, `2h 30m`) or as a number of seconds.
    For(DataTemplate),
    /// Until a time (RFC 3339).
    Until(DataTemplate),
}

#[cfg(test)]
mod tests;
