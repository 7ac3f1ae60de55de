//! Conversations as checked: who talks to whom, who speaks next, who hands over to whom, and the tools that they call. The
//! words, and the defaults, are AG2's (`docs/reference/ag2-semantics.md`); how they are acted on is in `chat`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::{
    AnswererTerms, CompiledSchema, DataTemplate, Expression, InjectedArguments, InjectedSecret, ModelUse, StepAction,
    Template, WorkflowStep,
};
use crate::ids::Name;
use crate::problem::Problem;

/// A conversation of two agents.
#[derive(Debug, Clone)]
pub struct TwoAgentChat {
    /// Who begins; none: somebody called `user`, who has no model and executes the recipient's tools (AG2's `agent.run`
    /// without a recipient).
    pub sender: Option<Name>,
    /// Without a sender: `user` asks a person each time.
    pub user_input: bool,
    /// Who answers first.
    pub recipient: Name,
    /// The first message; none: a person is asked for it.
    pub message: Option<DataTemplate>,
    /// How many turns (a message and its reply) at most; none: until somebody ends it.
    pub max_turns: Option<u32>,
    /// How the result is summed up.
    pub summary: SummaryMethod,
    /// Added to the first message under `Context:`: a text, or a list of texts; none: nothing.
    pub carryover: Option<DataTemplate>,
    /// Of the chats before it in a list, those whose summaries are not added to its first message.
    pub without_summaries_of: Vec<usize>,
    /// Forget what the two said before (default true).
    pub clear_history: bool,
    /// Show nothing of what they say.
    pub silent: bool,
    /// What is done about replies that are cut off; none: what each agent says.
    pub on_cut: Option<OnCut>,
}

/// What is done about a reply that is not all that a model had to say: it was cut off, or it is a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnCut {
    /// It counts as it is, and is marked (AG2 does not look at it).
    #[default]
    Continue,
    /// It is a failure.
    Fail,
    /// The model is asked to go on where its reply stops, and the parts are joined.
    AskOn,
}

/// How a chat is summed up (`docs/reference/ag2-semantics.md`, section 4).
#[derive(Debug, Clone, Default)]
pub enum SummaryMethod {
    /// The last message.
    #[default]
    LastMessage,
    /// A model is asked.
    Reflection {
        /// Instead of AG2's prompt.
        prompt: Option<String>,
        /// Instead of `system`.
        role: Option<String>,
    },
    /// Not at all: the summary is empty.
    Nothing,
}

/// Chats that an agent holds instead of answering by itself (AG2 `register_nested_chats`).
#[derive(Debug, Clone)]
pub struct NestedChats {
    /// Whom it answers so.
    pub trigger: NestedChatTrigger,
    /// The chats, one after the other; the last one's summary is the reply.
    pub chats: Vec<NestedChat>,
}

/// Whose messages start nested chats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NestedChatTrigger {
    /// Those of these agents.
    From(Vec<Name>),
    /// Those of everybody but these.
    Except(Vec<Name>),
}

impl NestedChatTrigger {
    /// Whether a message of this agent starts the chats.
    pub fn fires_on(&self, sender: &Name) -> bool {
        match self {
            NestedChatTrigger::From(names) => names.contains(sender),
            NestedChatTrigger::Except(names) => !names.contains(sender),
        }
    }
}

/// One chat within another.
#[derive(Debug, Clone)]
pub struct NestedChat {
    /// Who begins; none: the agent whose nested chat it is.
    pub sender: Option<Name>,
    /// Who answers first.
    pub recipient: Name,
    /// The first message, `message` is in its context; none: the message that is to be answered, if it is the first chat,
    /// and else there is no chat.
    pub message: Option<DataTemplate>,
    /// How many turns at most.
    pub max_turns: Option<u32>,
    /// How it is summed up.
    pub summary: SummaryMethod,
    /// What of the outer conversation goes with the first message of the first chat.
    pub carryover: Option<NestedCarryover>,
    /// Forget what the two said before.
    pub clear_history: bool,
    /// Show nothing of what they say.
    pub silent: bool,
    /// What is done about replies that are cut off; none: what is done outside.
    pub on_cut: Option<OnCut>,
}

/// What of an outer conversation goes into a nested one (AG2 `carryover_config`).
#[derive(Debug, Clone)]
pub enum NestedCarryover {
    /// Every message.
    All,
    /// The last one.
    LastMessage,
    /// What the recipient's model makes of them.
    Reflection {
        /// Instead of AG2's prompt.
        prompt: Option<String>,
        /// Instead of `system`.
        role: Option<String>,
    },
}

/// A group chat (AG2 `GroupChat` and `GroupChatManager`; `docs/reference/ag2-semantics.md`, section 6).
#[derive(Debug, Clone)]
pub struct GroupChat {
    /// The members, in order.
    pub agents: Vec<Name>,
    /// Who begins; need not be a member.
    pub initiator: Name,
    /// The first message; none: a person is asked for it.
    pub message: Option<DataTemplate>,
    /// How many messages at most, the first one included.
    pub max_round: u32,
    /// How often the initiator may begin anew.
    pub max_turns: Option<u32>,
    /// How the next speaker is chosen.
    pub method: SelectionMethod,
    /// Who may speak after whom.
    pub transitions: SpeakerTransitions,
    /// Whether everybody is told first who is there.
    pub send_introductions: bool,
    /// How a model is asked for the next speaker.
    pub selection: Arc<SelectionPrompts>,
    /// Who leads it.
    pub manager: GroupChatManager,
    /// How it is summed up.
    pub summary: SummaryMethod,
    /// Added to the first message under `Context:`: a text, or a list of texts; none: nothing.
    pub carryover: Option<DataTemplate>,
    /// Forget what the group said before (default true).
    pub clear_history: bool,
    /// Show nothing of the first message.
    pub silent: bool,
    /// What is done about replies that are cut off; none: what each agent says.
    pub on_cut: Option<OnCut>,
}

/// How the next speaker is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelectionMethod {
    /// A model is asked.
    Auto,
    /// A person is asked.
    Manual,
    /// By chance.
    Random,
    /// In order.
    RoundRobin,
}

/// Who may speak after whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpeakerTransitions {
    /// Everybody after everybody, himself included.
    All,
    /// Everybody after everybody else; only these after themselves.
    Repeating(Vec<Name>),
    /// Only so. After an agent that is not named here the chat is over.
    Allowed(BTreeMap<Name, Vec<Name>>),
    /// Everybody but so.
    Disallowed(BTreeMap<Name, Vec<Name>>),
}

/// How a model is asked for the next speaker. In the texts, `{roles}` is the list of names and descriptions, and
/// `{agentlist}` the list of names.
#[derive(Debug, Clone, PartialEq)]
pub struct SelectionPrompts {
    /// What it is told first.
    pub message: String,
    /// What it is told last; none: the last message of the group, again.
    pub prompt: Option<String>,
    /// What it is told when its answer names nobody.
    pub none: String,
    /// What it is told when its answer names several.
    pub several: String,
    /// The role of what it is told last.
    pub role: SelectionRole,
    /// How often it is told so.
    pub max_retries: u32,
    /// Whether people see it.
    pub verbose: bool,
    /// The model, if it is not the manager's.
    pub llm: Option<ModelUse>,
}

/// A role for the messages that ask for the next speaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelectionRole {
    /// `system`.
    System,
    /// `user`.
    User,
    /// `assistant`.
    Assistant,
}

impl Default for SelectionPrompts {
    fn default() -> Self {
        let lines = |texts: &[&str]| texts.join("\n");
        let rules = [
            "    1. If the context refers to themselves as a speaker e.g. \"As the...\" , choose that speaker's name",
            "    2. If it refers to the \"next\" speaker name, choose that name",
            "    3. Otherwise, choose the first provided speaker's name in the context",
            "    The names are case-sensitive and should not be abbreviated or changed.",
        ];
        let only_the_name = "    Respond with ONLY the name of the speaker and DO NOT provide a reason.";
        let none = "You didn't choose a speaker. As a reminder, to determine the speaker use these prioritised rules:";
        let several = "You provided more than one name in your text, please return just the name of the next speaker. To determine the \
                       speaker use these prioritised rules:";
        Self {
            message: lines(&[
                "You are in a role play game. The following roles are available:",
                "                {roles}.",
                "                Read the following conversation.",
                "                Then select the next role from {agentlist} to play. Only return the role.",
            ]),
            prompt: Some(
                "Read the above conversation. Then select the next role from {agentlist} to play. Only return the role."
                    .to_owned(),
            ),
            none: lines(&[
                none,
                &lines(&rules),
                "    The only names that are accepted are {agentlist}.",
                only_the_name,
            ]),
            several: lines(&[several, &lines(&rules), only_the_name]),
            role: SelectionRole::System,
            max_retries: 2,
            verbose: false,
            llm: None,
        }
    }
}

/// Who leads a group (AG2 `GroupChatManager`). Neither its name nor a system message is ever sent to a model.
#[derive(Debug, Clone)]
pub struct GroupChatManager {
    /// Its name; the group remembers under it what was said.
    pub name: Name,
    /// The model that is asked for the next speaker and for a summary; none: it has no model.
    pub llm: Option<ModelUse>,
    /// Whether a message ends the group's chat; none: its content equals `TERMINATE`.
    pub is_termination_msg: Option<Expression>,
    /// Who may answer when a person chooses who speaks next; none: all who may answer in the run.
    pub answerers: Option<Arc<AnswererTerms>>,
}

/// A group that hands over (AG2 `run_group_chat` with a pattern; `docs/reference/ag2-semantics.md`, section 8).
#[derive(Debug, Clone)]
pub struct HandoffGroup {
    /// Who speaks when nobody hands over.
    pub pattern: GroupPattern,
    /// Who speaks first.
    pub initial_agent: Name,
    /// The members, in order.
    pub agents: Vec<Name>,
    /// Who stands for the person; none: somebody called `_User` says the first message.
    pub user_agent: Option<Name>,
    /// The first message, or a list of messages to go on from.
    pub messages: DataTemplate,
    /// What the agents share, at first.
    pub context: Vec<(String, DataTemplate)>,
    /// Who speaks after an agent that does not say it.
    pub after_work: HandoffTarget,
    /// How many messages at most, the first one included.
    pub max_rounds: u32,
    /// Whether agents see neither the calls that hand over nor their results.
    pub exclude_transit_message: bool,
    /// Who leads it.
    pub manager: GroupChatManager,
    /// How it is summed up.
    pub summary: SummaryMethod,
    /// What is done about replies that are cut off; none: what each agent says.
    pub on_cut: Option<OnCut>,
}

/// Who speaks when nobody hands over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupPattern {
    /// Whom `after_work` names.
    Default,
    /// Whom the manager's model chooses.
    Auto,
    /// Each in turn, the first agent first and the user last.
    RoundRobin,
    /// Anybody else, by chance.
    Random,
    /// Whom a person chooses.
    Manual,
}

/// When an agent hands over (AG2 `Handoffs`). `context` is in the context of all expressions and templates.
#[derive(Debug, Clone, Default)]
pub struct AgentHandoffs {
    /// When its model says so: each is a tool of it.
    pub llm: Vec<LlmHandoff>,
    /// When the shared variables say so, before its model is asked.
    pub context: Vec<ContextHandoff>,
    /// After it has spoken; the first one that holds counts.
    pub after_work: Vec<ContextHandoff>,
}

/// A tool with which a model hands over.
#[derive(Debug, Clone)]
pub struct LlmHandoff {
    /// To whom.
    pub target: HandoffTarget,
    /// When, in words for the model.
    pub prompt: Template,
    /// Whether the tool is offered.
    pub available: Option<Expression>,
}

/// A condition under which an agent hands over.
#[derive(Debug, Clone)]
pub struct ContextHandoff {
    /// To whom.
    pub target: HandoffTarget,
    /// The condition; none: always.
    pub when: Option<Expression>,
    /// Whether it counts.
    pub available: Option<Expression>,
}

/// To whom is handed over.
#[derive(Debug, Clone)]
pub enum HandoffTarget {
    /// An agent.
    Agent(Name),
    /// One of these, by chance; never the one who hands over.
    Random(Vec<Name>),
    /// Chats whose last summary is said to the group; then the agent goes on.
    NestedChats(Vec<NestedChat>),
    /// Nobody: the chat is over.
    Terminate,
    /// The same agent again.
    Stay,
    /// The agent that stands for the person.
    RevertToUser,
    /// Whom a person chooses.
    AskUser,
    /// Whom the manager's model chooses.
    GroupManager,
}

impl HandoffTarget {
    /// The targets that have a word of their own, and the word.
    pub const WORDS: [(&'static str, HandoffTarget); 5] = [
        ("terminate", HandoffTarget::Terminate),
        ("stay", HandoffTarget::Stay),
        ("revert_to_user", HandoffTarget::RevertToUser),
        ("ask_user", HandoffTarget::AskUser),
        ("group_manager", HandoffTarget::GroupManager),
    ];

    /// The target with this word.
    pub fn word(word: &str) -> Option<Self> {
        Self::WORDS.into_iter().find(|(known, _)| *known == word).map(|(_, target)| target)
    }
}

/// A tool.
#[derive(Debug, Clone)]
pub struct WorkflowTool {
    /// Its name, as models know it.
    pub name: Name,
    /// What it does, for models.
    pub description: String,
    /// Its parameters.
    pub params: Arc<CompiledSchema>,
    /// What its `return` is.
    pub returns: ToolReturn,
    /// Whether a person is asked before it is called.
    pub approve: ToolApproval,
    /// Whether agents may call it that it is not offered to, as in AG2.
    pub any_agent_may_call: bool,
    /// Whether it may be called at the same time as the other calls of a reply.
    pub parallel: bool,
    /// What happens to a call of it that nobody knows to be done; none: who calls it decides.
    pub on_lost: Option<OnLost>,
    /// The agent that it asks: people see that conversation folded.
    pub asks: Option<Name>,
    /// The workflow that it calls, whose parameters are its own.
    pub called: Option<Name>,
    /// What is done; `args` is in the context.
    pub steps: Vec<WorkflowStep>,
}

impl WorkflowTool {
    /// The secrets among its arguments.
    pub fn secrets(&self) -> &[InjectedSecret] {
        self.injected().map(|inject| inject.secrets.as_slice()).unwrap_or_default()
    }

    /// The one thing that it does, where that needs no run; none: it has steps, asks an agent or calls a workflow.
    pub fn single_action(&self) -> Option<&StepAction> {
        self.steps.first().map(|step| &step.action).filter(|action| match action {
            StepAction::Http(request) => request.is_whole_tool,
            action => matches!(action, StepAction::Toolset(_) | StepAction::Program(_) | StepAction::Nats(_)),
        })
    }

    /// The schemas of its arguments by name; none: it may take others, too.
    pub fn known_arguments(&self) -> Option<&Map<String, Value>> {
        let schema = &self.params.json;
        let is_closed = schema.get("additionalProperties").is_none_or(|more| *more == Value::Bool(false))
            && schema.get("patternProperties").is_none();
        schema.get("properties").and_then(Value::as_object).filter(|_| is_closed)
    }

    /// The arguments that models do not see, if it may have some.
    pub fn injected(&self) -> Option<&InjectedArguments> {
        self.steps.first().and_then(|step| match &step.action {
            StepAction::Toolset(call) => Some(&call.inject),
            StepAction::Http(request) => Some(&request.inject),
            StepAction::Program(step) => Some(&step.inject),
            StepAction::Nats(step) => Some(&step.inject),
            _ => None,
        })
    }
}

/// Whether a person is asked before a tool is called, and who may answer.
#[derive(Debug, Clone, Default)]
pub struct ToolApproval {
    /// Whether.
    pub rule: ApprovalRule,
    /// Who may answer, where it is said.
    pub answerers: Option<Arc<AnswererTerms>>,
    /// How long an answer is waited for; none: for ever.
    pub timeout: Option<Duration>,
    /// What happens then.
    pub on_timeout: ApprovalTimeout,
    /// A problem at the place where it is said; its message is to be filled in. None: nothing is said.
    pub problem: Option<Problem>,
}

/// What happens to a call that nobody has allowed or denied in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ApprovalTimeout {
    /// It is denied.
    #[default]
    Deny,
    /// It fails, as a question does that nobody answers in time.
    Fail,
}

/// Whether a person is asked before a tool is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ApprovalRule {
    /// No.
    #[default]
    Never,
    /// Until it was allowed once in the run.
    First,
    /// Each time, unless the person allows it for the whole run.
    Always,
}

/// What happens to a call that was under way when its worker was lost, if it may not be made again without being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnLost {
    /// A person says whether it is made again. What an agent calls has this by itself.
    Ask,
    /// The call fails with the kind `lost`: a model is told, or the `on_error` of a step decides. What a step calls has this by itself.
    Tell,
    /// The conversation in which an agent called it fails.
    Fail,
}

/// What a tool's `return` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ToolReturn {
    /// The result.
    #[default]
    Value,
    /// `{message, target, context_variables}` (AG2 `ReplyResult`): the result, who speaks next, and what is set for all.
    ReplyResult,
}
