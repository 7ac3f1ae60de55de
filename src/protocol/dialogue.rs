//! The dialogue with a model: a request in the shape of OpenAI's chat completions (which is what AG2 sends,
//! `docs/reference/ag2-semantics.md`, sections 1 and 2), and the reply. The log keeps both.

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::money::Usd;

/// Who wrote a message of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChatRole {
    /// Instructions.
    System,
    /// Another agent, or a person.
    User,
    /// The agent that is asked.
    Assistant,
    /// The result of a tool.
    Tool,
}

/// A message of a request, in the shape that goes over the wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Text, a list of parts, or null beside tool calls.
    pub content: Value,
    /// Who wrote it.
    pub role: ChatRole,
    /// The agent's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it wants to be called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// The call that this is the result of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// Its JSON, once it was written.
    #[serde(skip)]
    pub written: WrittenJson,
}

impl ChatMessage {
    /// A message with nothing but its content.
    pub fn new(role: ChatRole, content: impl Into<Value>) -> Self {
        Self {
            content: content.into(),
            role,
            name: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
            written: WrittenJson::default(),
        }
    }

    /// Its JSON. It is written once: each request of a conversation has all of its messages again.
    pub fn json(&self) -> &RawValue {
        self.written.0.get_or_init(|| serde_json::value::to_raw_value(self).expect("a message is JSON"))
    }

    /// Changes a message that others may have, too, for this holder alone.
    pub fn make_mut(message: &mut Arc<Self>) -> &mut Self {
        let message = Arc::make_mut(message);
        message.written = WrittenJson::default();
        message
    }
}

/// The JSON of a message, once it was written. A copy of a message may be changed, and is written anew.
#[derive(Default)]
pub struct WrittenJson(OnceLock<Box<RawValue>>);

impl Clone for WrittenJson {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for WrittenJson {
    /// It says nothing that the message does not say.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl std::fmt::Debug for WrittenJson {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.get().is_some() { "written" } else { "not written" })
    }
}

/// A call that a model asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Its id.
    pub id: String,
    /// Always `function`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What to call.
    pub function: FunctionCall,
    /// What its provider wants to see again when the conversation goes on (sealed thoughts, for instance), in the place where
    /// Google's compatible interface has it. Other providers never get it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_content: Option<Value>,
}

/// A function and its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionCall {
    /// Its name.
    pub name: String,
    /// JSON, as the model wrote it: it may be malformed.
    pub arguments: String,
}

/// What a model is asked.
#[derive(Debug, Clone, Default)]
pub struct ModelRequest {
    /// The conversation: messages that a request has in common with the one before are shared with it.
    pub messages: Vec<Arc<ChatMessage>>,
    /// The tools that it may ask for, in the shape of the wire.
    pub tools: Vec<Value>,
    /// What the reply must look like, in the shape of the wire. With it the answer is not streamed (AG2).
    pub response_format: Option<Value>,
    /// Parameters of the agent; a model's own go before them (`docs/reference/ag2-semantics.md`, section 1).
    pub parameters: Map<String, Value>,
    /// How many requests the same agent has made before; a model that is asked in turn begins with another each time.
    pub turn: u32,
    /// Headers that tell what the request is for (run and effect), for logs of proxies and servers.
    pub headers: Vec<(&'static str, String)>,
}

/// What a model answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelReply {
    /// Its text; none beside tool calls.
    pub content: Option<String>,
    /// What it wants to be called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Why it refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// Why it stopped: `stop`, `tool_calls`, `length`, `content_filter`, `refusal`, `pause`, or a word of its provider that
    /// is none of these; none: its provider does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    /// What it used.
    pub usage: ModelUsage,
    /// The name of the model (in `llms:`) that answered: not the one asked, after a fallback.
    pub model: String,
}

impl ModelReply {
    /// Why it is not all that the model had to say; none: it is, as far as anybody knows.
    pub fn cut(&self) -> Option<CutReason> {
        match self.finish_reason.as_deref() {
            Some("length") => Some(CutReason::Length),
            Some("content_filter") => Some(CutReason::ContentFilter),
            Some("pause") => Some(CutReason::Pause),
            Some("refusal") => Some(CutReason::Refusal),
            _ if self.refusal.as_deref().is_some_and(|words| !words.is_empty()) => Some(CutReason::Refusal),
            _ => None,
        }
    }
}

/// Why a reply is not all that a model had to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CutReason {
    /// It was as long as it may be.
    Length,
    /// A filter stopped it.
    ContentFilter,
    /// The model refused.
    Refusal,
    /// The provider paused it.
    Pause,
    /// A reason of a later version.
    #[serde(other)]
    Unknown,
}

impl CutReason {
    /// The word that workflows and clients know.
    pub fn as_str(self) -> &'static str {
        match self {
            CutReason::Length => "length",
            CutReason::ContentFilter => "content_filter",
            CutReason::Refusal => "refusal",
            CutReason::Pause => "pause",
            CutReason::Unknown => "unknown",
        }
    }

    /// What happened to the reply: the end of a sentence that begins with it.
    pub fn in_words(self) -> &'static str {
        match self {
            CutReason::Length => "was cut off at its greatest length",
            CutReason::ContentFilter => "was cut off by a content filter",
            CutReason::Refusal => "is a refusal",
            CutReason::Pause => "was paused by the provider",
            CutReason::Unknown => "was cut off",
        }
    }

    /// Whether the model may go on if it is asked to.
    pub fn may_go_on(self) -> bool {
        matches!(self, CutReason::Length | CutReason::Pause)
    }
}

/// What one request used; 0 where a server did not say, and nothing was there to be estimated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
#[schemars(rename = "ModelUsage")]
pub struct ModelUsage {
    /// Tokens read, those of the cache included.
    pub prompt_tokens: u64,
    /// Tokens written, those of reasoning included.
    pub completion_tokens: u64,
    /// Of the tokens read: those that came from the provider's cache.
    #[serde(skip_serializing_if = "is_nothing")]
    pub cached_tokens: u64,
    /// Of the tokens read: those that were put into the provider's cache, where it takes more for them.
    #[serde(skip_serializing_if = "is_nothing")]
    pub cache_write_tokens: u64,
    /// Of the tokens written: those of reasoning that nobody sees.
    #[serde(skip_serializing_if = "is_nothing")]
    pub reasoning_tokens: u64,
    /// The server did not count tokens read or written, and they are estimated.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
    /// What they cost by the price table; nothing where the model has no price.
    #[serde(skip_serializing_if = "Usd::is_zero")]
    #[schemars(with = "f64")]
    pub cost_usd: Usd,
}

impl ModelUsage {
    /// Tokens read and written. A server may say what it likes: the sum stops at the largest number there is.
    pub fn tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }
}

fn is_nothing(count: &u64) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_reply_is_cut_by_its_reason_or_by_a_refusal_that_came_as_its_own_text() {
        let cut = |finish_reason: Option<&str>, refusal: Option<&str>| {
            let (finish_reason, refusal) = (finish_reason.map(str::to_owned), refusal.map(str::to_owned));
            let (content, tool_calls, usage) = (None, Vec::new(), ModelUsage::default());
            ModelReply { content, tool_calls, refusal, finish_reason, usage, model: String::new() }.cut()
        };
        for whole in [None, Some("stop"), Some("tool_calls"), Some("a word of its provider")] {
            assert_eq!(cut(whole, None), None);
            assert_eq!(cut(whole, Some("")), None);
            assert_eq!(cut(whole, Some("no")), Some(CutReason::Refusal));
        }
        for reason in [CutReason::Length, CutReason::ContentFilter, CutReason::Refusal, CutReason::Pause] {
            assert_eq!(cut(Some(reason.as_str()), None), Some(reason));
            assert_eq!(json!(reason), reason.as_str());
        }
    }

    #[test]
    fn a_message_is_written_once_and_anew_when_it_was_changed() {
        let message = Arc::new(ChatMessage::new(ChatRole::User, "first"));
        let mut changed = message.clone();
        assert_eq!(message.json().get(), r#"{"content":"first","role":"user"}"#);
        assert!(std::ptr::eq(message.json(), changed.json()));
        for words in ["shared", "alone"] {
            ChatMessage::make_mut(&mut changed).content = words.into();
            assert_eq!(changed.json().get(), format!(r#"{{"content":"{words}","role":"user"}}"#));
        }
        assert_eq!(message.json().get(), r#"{"content":"first","role":"user"}"#);
        assert_eq!(*message, ChatMessage::new(ChatRole::User, "first"), "whether it was written makes no difference");
    }

    #[test]
    fn a_reason_of_a_later_version_is_read() {
        assert_eq!(crate::bounds::from_value::<CutReason>(json!("of tomorrow")).unwrap(), CutReason::Unknown);
        let usage: ModelUsage = crate::bounds::from_value(json!({"prompt_tokens": 1})).unwrap();
        assert_eq!(
            json!(usage),
            json!({"prompt_tokens": 1, "completion_tokens": 0}),
            "nothing is added to older records"
        );
    }
}
