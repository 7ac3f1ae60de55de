//! What happened in runs, as auditors see it.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{AuditRunView, ErasureView, RunOutcome, RunUsage};
use crate::clock::Timestamp;
use crate::ids::{MessageId, RunId};
use crate::protocol::answerers::Answerers;
use crate::protocol::dialogue::{self, ChatMessage, ToolCall};
use crate::protocol::effect_key::EffectKey;
use crate::protocol::message::InnerConversation;

/// What happened in a run, as the audit shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AuditEvent")]
pub struct AuditEventView {
    /// The run.
    pub run: RunId,
    /// Its place in the log; null for what lies beside the log (`renamed`).
    pub seq: Option<u64>,
    /// When it was stored.
    pub at: Timestamp,
    /// The workflow of the run: with `created` and `removed`, and with every event of the live tail and of exports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// The user that the run belongs to, where `workflow` is there; null or empty: an anonymous caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-may-be-null" = true))]
    pub user: Option<Option<String>>,
    /// What happened.
    #[serde(flatten)]
    pub body: AuditEventBodyView,
    /// With the reply of a model, or its failure: how long it took, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
    /// With the reply of a model, or its failure: what was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<Box<ModelRequestView>>,
    /// With `prompts=true`: the request to the model whole, as it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<Box<PromptView>>,
}

/// What an event says, by its `kind`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AuditEventBodyView {
    /// The run was started.
    Created {
        /// The hash of the workflow's definition.
        #[serde(skip_serializing_if = "Option::is_none")]
        definition: Option<String>,
        /// Its parameters.
        params: Map<String, Value>,
        /// What its user belonged to.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        groups: Vec<String>,
        /// Where it came from: gateway, fast_agency or foreign_worker.
        origin: String,
        /// The place in a trace that it was started from.
        #[serde(skip_serializing_if = "Option::is_none")]
        trace: Option<String>,
        /// The signature of the gateway that started it.
        #[serde(alias = "vouched", skip_serializing_if = "Option::is_none")]
        signature: Option<String>,
    },
    /// A worker took the run; the second and later ones took it over.
    Claimed {
        /// The id of the worker.
        worker: String,
        /// How often the run was taken, this time included.
        epoch: u64,
        /// In the first claim: the message `workflow_started`.
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<AuditMessageView>,
    },
    /// The run said something.
    Said {
        /// The key of the effect.
        key: EffectKey,
        /// The message.
        message: AuditMessageView,
    },
    /// The run asked something.
    Asked {
        /// The key of the effect.
        key: EffectKey,
        /// The message.
        message: AuditMessageView,
    },
    /// A question was answered.
    Answered {
        /// The id of the question.
        question: MessageId,
        /// The answer.
        #[serde(skip_serializing_if = "Option::is_none")]
        value: Option<Value>,
        /// The answer as a text to show.
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// Why the answer does not fit; the question is asked again.
        #[serde(skip_serializing_if = "Option::is_none")]
        refused: Option<String>,
        /// The user who answered.
        #[serde(skip_serializing_if = "Option::is_none")]
        by: Option<String>,
        /// Nobody answered in time.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        on_timeout: bool,
        /// A password was given; it is shown nowhere.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        secret: bool,
        /// The key of the effect.
        key: EffectKey,
    },
    /// A model replied.
    Replied {
        /// Its text.
        #[serde(skip_serializing_if = "Option::is_none")]
        content: Option<String>,
        /// What it wants to be called, in the shape of OpenAI's chat completions.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(with = "Vec<Map<String, Value>>")]
        tool_calls: Vec<ToolCall>,
        /// Why it refused.
        #[serde(skip_serializing_if = "Option::is_none")]
        refusal: Option<String>,
        /// Why it stopped: stop, length, tool_calls, and others.
        #[serde(skip_serializing_if = "Option::is_none")]
        finish_reason: Option<String>,
        /// What the request used.
        usage: dialogue::ModelUsage,
        /// The name of the model that answered.
        model: String,
        /// The key of the effect.
        key: EffectKey,
    },
    /// An effect failed.
    Failed {
        /// The kind of failure.
        error: String,
        /// In a sentence.
        reason: String,
        /// The key of the effect.
        key: EffectKey,
    },
    /// A value was made, once: a time, a random choice, a tool's result.
    Made {
        /// The value; left out if it is null.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        value: Value,
        /// The key of the effect.
        key: EffectKey,
    },
    /// Nobody had answered a question for a while, and it was told again.
    Reminded {
        /// The id of the question.
        question: MessageId,
        /// Who may answer, too, from now on.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Answerers")]
        escalated_to: Option<Answerers>,
        /// The key of the effect.
        key: EffectKey,
    },
    /// A tool is about to be called.
    Calling {
        /// The key of the effect.
        key: EffectKey,
        /// The digest of the call that a person allowed.
        #[serde(skip_serializing_if = "Option::is_none")]
        digest: Option<String>,
    },
    /// The run waits, and no worker holds it.
    Parked {
        /// Until when, if that is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// The run is over.
    Ended {
        /// Well or not.
        outcome: RunOutcome,
        /// Why, if not well.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// What the workflow returned; left out if it is null.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        result: Value,
        /// What the run used.
        usage: RunUsage,
        /// The message `workflow_completed`.
        message: AuditMessageView,
    },
    /// A piece of a large record.
    Part,
    /// What is left of a run that was removed or erased.
    Removed(Box<RemovedRunView>),
    /// Somebody gave the run another title.
    Renamed {
        /// Who did it.
        by: Option<String>,
        /// The title before; null: the first answer.
        from: Option<String>,
        /// The title after; null: the first answer.
        to: Option<String>,
        /// How many renames came after it that are not kept.
        dropped: u64,
    },
    /// The log of the ended run was stored anew without what is not to be seen.
    Redacted,
    /// A record that cannot be read, or not whole.
    Unreadable {
        /// Why.
        reason: String,
    },
    /// A kind of a later version. No gateway sends it under this name.
    #[serde(other, skip_serializing)]
    Unknown,
}

impl AuditEventBodyView {
    /// The key of the effect that it tells of.
    pub fn key(&self) -> Option<&EffectKey> {
        match self {
            Self::Said { key, .. }
            | Self::Asked { key, .. }
            | Self::Answered { key, .. }
            | Self::Replied { key, .. }
            | Self::Failed { key, .. }
            | Self::Made { key, .. }
            | Self::Reminded { key, .. }
            | Self::Calling { key, .. } => Some(key),
            _ => None,
        }
    }
}

/// What is left of a run that was removed or erased: who removed it, and what it was.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RemovedRun")]
pub struct RemovedRunView {
    /// When it was removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed_at: Option<Timestamp>,
    /// Who removed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why, in the words of the person who removed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The rule by which it was removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Who erased what was said in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub erased: Option<ErasureView>,
    /// The hash of the definition that it was pinned to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
    /// Where it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<RunOutcome>,
    /// What it used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<RunUsage>,
    /// How many records there were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
    /// Who gave it another title, and when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub renamed: Vec<RenameView>,
}

/// That a run was given another title.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Rename")]
pub struct RenameView {
    /// Who did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// When.
    pub at: Timestamp,
    /// How many renames came after it that are not kept; left out if none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A message, as the audit shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AuditMessage")]
pub struct AuditMessageView {
    /// Its id.
    pub uuid: MessageId,
    /// Who says it.
    pub sender: Option<String>,
    /// To whom.
    pub recipient: Option<String>,
    /// Its type, as in the events of a run.
    #[serde(rename = "type")]
    pub kind: String,
    /// What belongs to its type.
    #[schemars(with = "Map<String, Value>")]
    pub content: Value,
    /// The conversations inside the workflow's own that it belongs to, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub within: Vec<InnerConversation>,
}

/// What a model was asked: what the request has in common with an earlier one is named, not repeated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ModelRequest")]
pub struct ModelRequestView {
    /// The name of the model that was asked.
    pub llm: String,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// The key of the effect whose request this one begins as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<EffectKey>,
    /// How many messages they have in common; left out if none.
    #[serde(default, skip_serializing_if = "is_none")]
    pub common: usize,
    /// The messages after those, in the shape of OpenAI's chat completions.
    #[schemars(with = "Vec<Map<String, Value>>")]
    pub messages: Vec<Arc<ChatMessage>>,
    /// The tools; left out: those of the other request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<Value>>,
    /// What the reply must look like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_format: Option<Value>,
    /// Parameters of the agent.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub parameters: Map<String, Value>,
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

/// A request to a model, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Prompt")]
pub struct PromptView {
    /// All messages, in the shape of OpenAI's chat completions.
    #[schemars(with = "Vec<Map<String, Value>>")]
    pub messages: Vec<Arc<ChatMessage>>,
    /// The tools.
    pub tools: Vec<Value>,
    /// What the reply must look like.
    pub response_format: Option<Value>,
    /// Parameters of the agent.
    pub parameters: Map<String, Value>,
}

/// Everything that happened in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditHistory {
    /// The run.
    pub run: AuditRunView,
    /// What happened in it, in order.
    pub events: Vec<AuditEventView>,
}

/// An event of the audit's live tail that says no more than its name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EmptyEvent {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_read_under_the_name_that_it_had_before_too() {
        for name in ["signature", "vouched"] {
            let text = format!(r#"{{"kind":"created","params":{{}},"origin":"gateway","{name}":"s"}}"#);
            let AuditEventBodyView::Created { signature, .. } = serde_json::from_str(&text).unwrap() else {
                panic!("{text} is another event");
            };
            assert_eq!(signature.as_deref(), Some("s"), "{text}");
        }
    }
}
