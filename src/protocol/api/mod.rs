//! The HTTP interface `/api` as types: what the gateway sends, what a client reads, and what `/openapi.json` describes. The
//! description of a field in `/openapi.json` is its comment here.
//!
//! Fields are written in the order in which they stand here. A field that may be null is always sent; a field that may be left
//! out says so with `skip_serializing_if`, and its schema is that of the value without null.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::ids::{MessageId, RunId};
use crate::protocol::answerers::{AnswererRule, Answerers};
use crate::protocol::message::{InnerConversation, MessageContent};
pub use crate::protocol::run_state::{RunOutcome, RunState, RunUsage};

mod audit;
mod fastagency;
mod overview;
mod queries;
mod service;
mod verification;

pub use audit::*;
pub use fastagency::*;
pub use overview::*;
pub use queries::*;
pub use service::*;
pub use verification::*;

/// The body of every refusal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Error")]
pub struct ApiErrorBody {
    /// What is wrong.
    pub error: ApiErrorView,
}

/// What is wrong with a request, or with the gateway.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ErrorDetails")]
pub struct ApiErrorView {
    /// The name of the error, to decide by.
    pub code: String,
    /// A sentence for a person.
    pub message: String,
    /// What may help.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// With `internal`: the gateway's log has more under this id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// With `already_answered`: who gave the answer that counts; null: nobody in particular.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-may-be-null" = true))]
    pub by: Option<Option<String>>,
    /// With `already_answered`: when that answer came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

/// A workflow that can be started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Workflow")]
pub struct WorkflowView {
    /// Its name.
    pub name: String,
    /// What people see instead of the name.
    pub title: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// A JSON Schema of its parameters; null: it has none, or a Python worker does not say.
    #[schemars(with = "Option<Map<String, Value>>")]
    pub params: Option<Value>,
    /// Whether a living worker serves it now.
    pub available: bool,
}

/// The workflows that the caller may start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkflowList {
    /// The workflows.
    pub workflows: Vec<WorkflowView>,
}

/// A run in a few words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Run")]
pub struct RunView {
    /// Its id: 32 hexadecimal digits.
    pub id: RunId,
    /// The name of its workflow; null: how the run began cannot be read.
    pub workflow: Option<String>,
    /// What it is about: the first answer that says something, or the title that a person gave it.
    pub title: Option<String>,
    /// How it is doing.
    pub state: RunState,
    /// How it ended; null: it has not.
    pub outcome: Option<RunOutcome>,
    /// Why it did not end well.
    pub reason: Option<String>,
    /// The oldest question that it waits with, those first that the caller may answer.
    pub question: Option<RunQuestionView>,
    /// The user that it belongs to.
    pub user: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When something last happened to it.
    pub updated_at: Timestamp,
    /// What the caller may do with it; left out in the audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<RunRight>")]
    pub may: Option<Vec<RunRight>>,
    /// What of its log cannot be read, in sentences; left out if all of it can.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<String>,
}

/// What a caller may do with a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunRight {
    /// Answer its questions, but for those that are for others.
    Answer,
    /// Stop it.
    Cancel,
    /// Give it another title.
    Rename,
    /// Remove it.
    Remove,
}

/// The question that a run waits with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RunQuestion")]
pub struct RunQuestionView {
    /// Its id: the uuid of the message that asks.
    pub id: MessageId,
    /// What it asks, shortened.
    pub prompt: String,
    /// When nobody had answered it for a while, the last time that this was told; left out if it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Timestamp")]
    pub reminded_at: Option<Timestamp>,
    /// Whom it waits for, in words; left out if the caller may answer it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub waits_for: Option<String>,
}

/// A list of runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunList {
    /// The runs: those that wait for a person first, then the newest first.
    pub runs: Vec<RunView>,
    /// The `cursor` of the next page; left out: this is the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// An open question, and the run that asks it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Question")]
pub struct QuestionView {
    /// Its id: the uuid of the message that asks.
    pub id: MessageId,
    /// What it asks, shortened.
    pub prompt: String,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// Whether it asks if a tool may be called.
    #[serde(default)]
    pub approval: bool,
    /// Who may answer it, where that is not everybody who may answer in the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "AnswererRule")]
    pub answerers: Option<AnswererRule>,
    /// How many of its escalations have come.
    #[serde(default)]
    pub escalated: usize,
    /// When nobody had answered it for a while, the last time that this was told; left out if it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Timestamp")]
    pub reminded_at: Option<Timestamp>,
    /// Whom it waits for, in words; left out if the caller may answer it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub waits_for: Option<String>,
    /// The run that asks.
    pub run: AskingRunView,
}

/// The run that asks a question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AskingRun")]
pub struct AskingRunView {
    /// Its id.
    pub id: RunId,
    /// The name of its workflow.
    pub workflow: Option<String>,
    /// What it is about.
    pub title: Option<String>,
    /// The user who started it.
    #[serde(default)]
    pub user: Option<String>,
}

/// Open questions, the oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QuestionList {
    /// The questions.
    pub questions: Vec<QuestionView>,
    /// The `cursor` of the next page; left out: this is the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A record of a run's log, as the events of the run show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Record")]
pub struct RecordView {
    /// Its place in the log. Records that were stored as one have one place.
    pub seq: u64,
    /// Which of the records with its place it is, counted from 1; left out of the last, which most often is the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u32>,
    /// When it was stored.
    pub at: Timestamp,
    /// What it says.
    #[serde(flatten)]
    pub body: RecordBodyView,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RecordBodyView {
    /// The run was started.
    Created {
        /// The name of its workflow.
        workflow: String,
        /// Its parameters.
        #[serde(default)]
        params: Map<String, Value>,
        /// The user that it belongs to.
        user: Option<String>,
    },
    /// A worker took the run over.
    Claimed {
        /// The id of the worker.
        worker: String,
        /// How often the run was taken, this time included.
        epoch: u64,
        /// In the first claim: the message `workflow_started`.
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<Box<MessageView>>,
    },
    /// The run said something, or asks something.
    Said {
        /// The message.
        message: Box<MessageView>,
    },
    /// A question was answered.
    Answered {
        /// The id of the question.
        question: MessageId,
        /// The answer as a text to show; null for a password.
        text: Option<String>,
        /// The answer; null for a password.
        value: Option<Value>,
        /// Why the answer does not fit; the question is asked again.
        refused: Option<String>,
        /// The user who answered.
        by: Option<String>,
        /// Nobody answered in time, and the workflow goes on without an answer.
        #[serde(default)]
        on_timeout: bool,
        /// The arguments that a call was allowed with instead of the model's, as exact JSON text.
        #[serde(skip_serializing_if = "Option::is_none")]
        arguments_text: Option<String>,
    },
    /// Nobody had answered a question for a while, and it was told again.
    Reminded {
        /// The id of the question.
        question: MessageId,
        /// Who may answer, too, from now on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Answerers")]
        escalated_to: Option<Answerers>,
        /// Whom it waits for, in words; left out if the caller may answer it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "String")]
        waits_for: Option<String>,
    },
    /// The run waits, and no worker holds it.
    Parked,
    /// The run is over.
    Ended(Box<EndedView>),
    /// A kind of a later version. No gateway sends it under this name.
    #[serde(other, skip_serializing)]
    Unknown,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EndedView {
    /// Well or not.
    pub outcome: RunOutcome,
    /// Why, if not well.
    pub reason: Option<String>,
    /// The line of the workflow at which it failed, for its author; left out if none is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub place: Option<String>,
    /// What the workflow returned.
    #[serde(default)]
    pub result: Value,
    /// What the run used.
    #[serde(default)]
    pub usage: RunUsage,
    /// The message `workflow_completed`. A reader can do without it.
    #[schemars(with = "MessageView")]
    pub message: Option<MessageView>,
}

/// A message of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Message")]
pub struct MessageView {
    /// Its id.
    pub uuid: MessageId,
    /// Who says it.
    pub sender: Option<String>,
    /// To whom.
    pub recipient: Option<String>,
    /// Whether an agent said it by itself, as AG2 tells it.
    #[serde(default)]
    pub auto_reply: bool,
    /// text_message, suggested_function_call, function_call_execution, text_input, multiple_choice, form, approval, system_message, workflow_started, workflow_completed, error, keep_alive, or what a foreign worker sent
    #[serde(rename = "type")]
    pub kind: String,
    /// What belongs to its type; docs/reference/api.md lists it.
    #[serde(default)]
    #[schemars(with = "Map<String, Value>")]
    pub content: Value,
    /// The conversations inside the workflow's own that it belongs to, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub within: Vec<InnerConversation>,
    /// The text, rendered and made safe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
}

impl MessageView {
    /// What it says, read.
    pub fn says(&self) -> MessageContent {
        let (kind, content) = (self.kind.clone(), self.content.clone());
        let mut tagged = content.as_object().cloned().unwrap_or_default();
        // `other` is how our own log calls what it does not know; on the wire it would be a foreign worker's word.
        if kind != "other" {
            tagged.insert("type".to_owned(), Value::String(kind.clone()));
        }
        crate::bounds::from_value(Value::Object(tagged)).unwrap_or(MessageContent::Other { kind, content })
    }
}

/// A run as auditors see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AuditRun")]
pub struct AuditRunView {
    /// What everybody sees of it.
    #[serde(flatten)]
    pub run: RunView,
    /// The worker that claimed it last.
    pub worker: Option<String>,
    /// Of a run that was removed or erased: when, by whom or by which rule, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed: Option<RemovalView>,
    /// Of a run that was removed or erased: what it used; null: it is not known any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-may-be-null" = true))]
    pub usage: Option<Option<RunUsage>>,
}

/// When a run was removed, by whom or by which rule, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Removal")]
pub struct RemovalView {
    /// When it was removed.
    pub at: Option<Timestamp>,
    /// Who removed it; null: a rule did, or nobody in particular.
    pub by: Option<String>,
    /// Why, in the words of the person who removed it.
    pub reason: Option<String>,
    /// The rule by which it was removed.
    pub rule: Option<String>,
    /// Who erased what was said in it; null: it was not erased.
    pub erased: Option<ErasureView>,
}

/// Who erased what was said in a run, when and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Erasure")]
pub struct ErasureView {
    /// Who erased it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// Everybody's runs, as auditors see them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditRunList {
    /// The runs, the newest first.
    pub runs: Vec<AuditRunView>,
    /// The `cursor` of the next page; null: this is the last one.
    pub next: Option<String>,
}

/// The body of `POST /api/runs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartRun {
    /// The name of the workflow.
    pub workflow: String,
    /// The parameters of the workflow; null or left out: none.
    pub params: Option<Map<String, Value>>,
}

/// The longest title, in characters.
pub const LONGEST_TITLE: usize = 120;
/// The longest reason why a run is removed or erased, in characters.
pub const LONGEST_REASON: usize = 500;

/// The body of `PATCH /api/runs/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RenameRun {
    /// The new title, one line. Null or empty: the first answer is its title again.
    #[schemars(length(max = LONGEST_TITLE))]
    pub title: Option<String>,
}

/// The body of `POST /api/runs/{id}/answers/{question}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerQuestion {
    /// A string for text_input, a choice's text for multiple_choice (a list of them if several may be chosen), an object for form, {"decision": "once", "digest": …} for approval ("same": always with these arguments, "always", "deny").
    pub value: Value,
}

/// The body of `POST /api/audit/erase`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EraseUser {
    /// The user whose words are erased.
    pub user: String,
    /// Why, one line; it is kept.
    #[schemars(length(max = LONGEST_REASON))]
    pub reason: String,
}
