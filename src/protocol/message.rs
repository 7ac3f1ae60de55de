//! What a run says: messages and questions, as the log keeps them. Our types know more than FastAgency's (forms, several
//! kinds of text input, choices with values).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::ids::MessageId;
use crate::protocol::answerers::AnswererRule;
use crate::protocol::dialogue::CutReason;

/// One message of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Its id; a question is answered by it.
    pub uuid: MessageId,
    /// What a foreign workflow called it instead, if that is no UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Who says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// To whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// FastAgency's flag; false in everything that we say.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub auto_reply: bool,
    /// The conversations inside the workflow's own that it belongs to, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub within: Vec<InnerConversation>,
    /// What it says.
    pub says: MessageContent,
}

/// A conversation inside another one: a workflow that is called, a nested chat. Pages fold it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "Within")]
pub struct InnerConversation {
    /// What tells it from others in the same conversation.
    pub id: String,
    /// What it is about, in a few words.
    pub title: String,
}

/// What a message says, by FastAgency's types.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum MessageContent {
    /// Text; markdown.
    TextMessage {
        /// The text.
        body: Option<String>,
        /// It was cut off by a cancel.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        stopped: bool,
        /// Why it is not all that a model had to say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cut: Option<CutReason>,
    },
    /// A model wants a function called.
    SuggestedFunctionCall {
        /// Its name.
        function_name: Option<String>,
        /// The call's id.
        call_id: Option<String>,
        /// Its arguments.
        arguments: Map<String, Value>,
    },
    /// A function was called.
    FunctionCallExecution {
        /// Its name.
        function_name: Option<String>,
        /// The call's id.
        call_id: Option<String>,
        /// What it returned.
        retval: Value,
    },
    /// Asks for a text.
    TextInput(TextInput),
    /// Asks to choose.
    MultipleChoice(MultipleChoice),
    /// Asks for a form to be filled in.
    Form(FormQuestion),
    /// Asks whether a tool may be called.
    Approval(Box<ApprovalQuestion>),
    /// Something about the system.
    SystemMessage {
        /// Any map.
        message: Map<String, Value>,
    },
    /// The connection is alive.
    KeepAlive,
    /// The workflow has begun.
    WorkflowStarted {
        /// Its name.
        name: String,
        /// Its description.
        description: Option<String>,
        /// Its parameters.
        params: Map<String, Value>,
    },
    /// The workflow has ended.
    WorkflowCompleted {
        /// What it returned.
        result: Value,
    },
    /// Something went wrong.
    Error {
        /// In a sentence.
        short: Option<String>,
        /// More about it.
        long: Option<String>,
    },
    /// What a foreign worker sent and nobody here knows.
    Other {
        /// Its type, as sent.
        kind: String,
        /// Its content, as sent.
        content: Value,
    },
}

/// A question for a text.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TextInput {
    /// What is asked; markdown.
    pub prompt: Option<String>,
    /// Answers to pick from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suggestions: Vec<String>,
    /// A suggestion is put into the field, to be finished there, instead of being sent at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suggestions_fill: bool,
    /// The answer is a secret.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub password: bool,
    /// A large field.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub multiline: bool,
    /// What a valid answer matches, from its first character to its last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// What kind of value the answer is.
    #[serde(default)]
    pub value_type: TextValue,
    /// The same for whoever can show buttons: AG2's own prompts are made for a terminal. The prompt is not needed then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_short: Option<ShortTextInput>,
    /// Who may answer, and who is told when nobody does; none: all who may answer in the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answerers: Option<Box<AnswererRule>>,
    /// When it is too late.
    #[serde(flatten)]
    pub deadline: AnswerDeadline,
}

/// A text input for a page: a shorter prompt, and buttons.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ShortTextInput {
    /// What is asked; markdown.
    pub prompt: String,
    /// Answers that stand for something else than their words. Nothing written is one of them, or means what the prompt says.
    pub answers: Vec<ShortAnswer>,
}

/// An answer that a button gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShortAnswer {
    /// The words on the button.
    pub label: String,
    /// What is sent; it may be empty.
    pub answer: String,
}

impl ShortTextInput {
    /// A prompt, and pairs of a label and its answer.
    pub fn new(prompt: impl Into<String>, answers: impl IntoIterator<Item = (String, String)>) -> Self {
        let answers = answers.into_iter().map(|(label, answer)| ShortAnswer { label, answer }).collect();
        Self { prompt: prompt.into(), answers }
    }
}

/// What kind of value the answer to a text input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TextValue {
    /// Text.
    #[default]
    String,
    /// A whole number.
    Integer,
    /// A number.
    Number,
}

/// What a person may choose of a call that was under way when its worker was lost: to make it again, or not to.
pub const LOST_CALL_CHOICES: [&str; 2] = ["Call it again", "Do not call it again"];

/// A question to choose.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct MultipleChoice {
    /// What is asked; markdown.
    pub prompt: Option<String>,
    /// What is shown, and sent back.
    pub choices: Vec<String>,
    /// A line about each choice; empty if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub descriptions: Vec<Option<String>>,
    /// What is chosen at first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// One only.
    pub single: bool,
    /// At least so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<usize>,
    /// At most so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<usize>,
    /// Who may answer, and who is told when nobody does; none: all who may answer in the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answerers: Option<Box<AnswererRule>>,
    /// When it is too late.
    #[serde(flatten)]
    pub deadline: AnswerDeadline,
}

/// A form to be filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FormQuestion {
    /// What is asked; markdown.
    pub prompt: Option<String>,
    /// What a valid object is.
    pub schema: Value,
    /// Whether the text `decline` is an answer as well: the person does not want to say it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub can_decline: bool,
    /// Who may answer, and who is told when nobody does; none: all who may answer in the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answerers: Option<Box<AnswererRule>>,
    /// When it is too late.
    #[serde(flatten)]
    pub deadline: AnswerDeadline,
}

/// A question whether a tool may be called.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ApprovalQuestion {
    /// What is asked; markdown.
    pub prompt: Option<String>,
    /// The function that is to be called.
    pub function_name: String,
    /// The suggested call that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// What it is to be called with.
    pub arguments: Map<String, Value>,
    /// What the workflow gives it besides, which can be read and not be changed.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub injected: Map<String, Value>,
    /// What valid arguments are; none: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// Stands for exactly this call (`CalledTool::digest`); none in logs of older programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// What the digest was made with; never shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    /// Who may answer, and who is told when nobody does; none: all who may answer in the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answerers: Option<Box<AnswererRule>>,
    /// When it is too late.
    #[serde(flatten)]
    pub deadline: AnswerDeadline,
}

/// The answer to an [`ApprovalQuestion`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalAnswer {
    /// Whether the tool may be called.
    pub decision: ApprovalDecision,
    /// What to call it with instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Map<String, Value>>,
    /// What to change of the arguments that were shown; the rest stays as the server has it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<ArgumentChange>,
    /// The digest of what was shown to whoever decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Why not; the agents are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A change of one field of the arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArgumentChange {
    /// Where: a JSON Pointer to a field of an object.
    pub path: String,
    /// To what: JSON text, so that no program on the way rounds a number; none: the field is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<String>,
}

/// Whether a tool may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApprovalDecision {
    /// This time.
    Once,
    /// Whenever this run wants to call it so: by the same agent, with the same arguments.
    Same,
    /// Whenever this run wants to.
    Always,
    /// No.
    Deny,
}

/// Until when a question waits.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AnswerDeadline {
    /// The time; none: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// What happens then, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_timeout: Option<String>,
}

impl MessageContent {
    /// A text.
    pub fn text(body: impl Into<String>) -> Self {
        MessageContent::TextMessage { body: Some(body.into()), stopped: false, cut: None }
    }

    /// The id of the call that it suggests.
    pub fn suggested_call_id(&self) -> Option<&str> {
        match self {
            MessageContent::SuggestedFunctionCall { call_id, .. } => call_id.as_deref(),
            _ => None,
        }
    }

    /// FastAgency's name of the type.
    pub fn kind(&self) -> &str {
        match self {
            MessageContent::TextMessage { .. } => "text_message",
            MessageContent::SuggestedFunctionCall { .. } => "suggested_function_call",
            MessageContent::FunctionCallExecution { .. } => "function_call_execution",
            MessageContent::TextInput(_) => "text_input",
            MessageContent::MultipleChoice(_) => "multiple_choice",
            MessageContent::Form(_) => "form",
            MessageContent::Approval(_) => "approval",
            MessageContent::SystemMessage { .. } => "system_message",
            MessageContent::KeepAlive => "keep_alive",
            MessageContent::WorkflowStarted { .. } => "workflow_started",
            MessageContent::WorkflowCompleted { .. } => "workflow_completed",
            MessageContent::Error { .. } => "error",
            MessageContent::Other { kind, .. } => kind,
        }
    }

    /// Whether it waits for a person's answer.
    pub fn asks(&self) -> bool {
        matches!(
            self,
            MessageContent::TextInput(_)
                | MessageContent::MultipleChoice(_)
                | MessageContent::Form(_)
                | MessageContent::Approval(_)
        )
    }

    /// Whether the answer must never be shown or stored in clear.
    pub fn is_secret(&self) -> bool {
        matches!(self, MessageContent::TextInput(TextInput { password: true, .. }))
    }

    /// Whether a person may say in place of the answer that there will be none.
    pub fn can_decline(&self) -> bool {
        matches!(self, MessageContent::Form(FormQuestion { can_decline: true, .. }))
    }

    /// What a question asks, as markdown.
    pub fn prompt(&self) -> Option<&str> {
        match self {
            MessageContent::TextInput(TextInput { prompt, .. })
            | MessageContent::MultipleChoice(MultipleChoice { prompt, .. })
            | MessageContent::Form(FormQuestion { prompt, .. }) => prompt.as_deref(),
            MessageContent::Approval(asked) => asked.prompt.as_deref(),
            _ => None,
        }
    }

    /// What a question asks, in as few words as it can be asked.
    pub fn short_prompt(&self) -> Option<&str> {
        match self {
            MessageContent::TextInput(TextInput { in_short: Some(in_short), .. }) => Some(&in_short.prompt),
            other => other.prompt(),
        }
    }

    /// Makes a question ask something else, for everybody.
    pub fn set_prompt(&mut self, words: String) {
        if let MessageContent::TextInput(asked) = self {
            asked.in_short = None;
        }
        match self {
            MessageContent::TextInput(TextInput { prompt, .. })
            | MessageContent::MultipleChoice(MultipleChoice { prompt, .. })
            | MessageContent::Form(FormQuestion { prompt, .. }) => *prompt = Some(words),
            MessageContent::Approval(asked) => asked.prompt = Some(words),
            _ => {}
        }
    }

    /// Until when a question waits, and what happens then; `None` for what asks nothing.
    pub fn answer_deadline(&self) -> Option<&AnswerDeadline> {
        match self {
            MessageContent::TextInput(TextInput { deadline, .. })
            | MessageContent::MultipleChoice(MultipleChoice { deadline, .. })
            | MessageContent::Form(FormQuestion { deadline, .. }) => Some(deadline),
            MessageContent::Approval(asked) => Some(&asked.deadline),
            _ => None,
        }
    }

    /// Sets until when a question waits.
    pub fn set_deadline(&mut self, until: AnswerDeadline) {
        match self {
            MessageContent::TextInput(TextInput { deadline, .. })
            | MessageContent::MultipleChoice(MultipleChoice { deadline, .. })
            | MessageContent::Form(FormQuestion { deadline, .. }) => *deadline = until,
            MessageContent::Approval(asked) => asked.deadline = until,
            _ => {}
        }
    }

    /// Who may answer a question, where it is said.
    pub fn answerers(&self) -> Option<&AnswererRule> {
        match self {
            MessageContent::TextInput(TextInput { answerers, .. })
            | MessageContent::MultipleChoice(MultipleChoice { answerers, .. })
            | MessageContent::Form(FormQuestion { answerers, .. }) => answerers.as_deref(),
            MessageContent::Approval(asked) => asked.answerers.as_deref(),
            _ => None,
        }
    }

    /// Sets who may answer a question.
    pub fn set_answerers(&mut self, rule: Option<AnswererRule>) {
        let rule = rule.map(Box::new);
        match self {
            MessageContent::TextInput(TextInput { answerers, .. })
            | MessageContent::MultipleChoice(MultipleChoice { answerers, .. })
            | MessageContent::Form(FormQuestion { answerers, .. }) => *answerers = rule,
            MessageContent::Approval(asked) => asked.answerers = rule,
            _ => {}
        }
    }

    /// Until when a question waits.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.answer_deadline()?.deadline
    }
}
