//! The body of a request as AG2 sends it: which keys, whose value wins, the rules of the o1 models, and what a server's dialect
//! changes.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};
use serde_json::{Map, Value, json};

use super::alternating;
use super::empty::{instead_of_nothing, is_empty};
use super::thoughts::{going_back, sent_calls};
use crate::config::{LlmConfig, ModelProvider, TokenLimitKey};
use crate::model::content;
use crate::model::form;
use crate::model::parameters::parameters;
use crate::protocol::dialogue::{ChatMessage, ChatRole, ModelRequest, ToolCall};

/// What AG2 takes from requests to o1 models.
const NOT_FOR_O1: [&str; 7] =
    ["temperature", "top_p", "frequency_penalty", "presence_penalty", "logprobs", "top_logprobs", "logit_bias"];
/// What OpenAI refuses in requests without tools. AG2 sends it all the same.
const ABOUT_TOOLS: [&str; 2] = ["parallel_tool_calls", "tool_choice"];
/// The models that know no system messages.
const WITHOUT_SYSTEM: [&str; 4] = ["o1-mini", "o1-preview", "o1-mini-2024-09-12", "o1-preview-2024-09-12"];

/// The body, and whether it asks for a stream. It is written at once, without a tree of values in between: conversations are
/// long, and each of their requests says all of it again.
pub(super) fn body(llm: &LlmConfig, request: &ModelRequest) -> (String, bool) {
    let parameters = parameters(llm, request);
    let o1 = llm.model.starts_with("o1");
    let streamed = parameters.streamed && !o1;
    let mut given = parameters.given;
    let form = form::asked(parameters.response_format, llm.dialect.response_format, !request.tools.is_empty());
    if let Some(format) = form.format {
        given.insert("response_format".to_owned(), format);
    }
    let request = &*form::instructed(request, form.words.as_deref());
    if request.tools.is_empty() && matches!(llm.provider, ModelProvider::OpenAi | ModelProvider::Azure) {
        given.retain(|key, _| !ABOUT_TOOLS.contains(&key.as_str()));
    }
    let reasons = o1 || reasons(llm);
    if reasons {
        suit_o1(&mut given);
    }
    if let Some(key) = llm.dialect.max_tokens_key.or(reasons.then_some(TokenLimitKey::MaxCompletionTokens)) {
        rename_limit(&mut given, key);
    }
    let body = RequestBody { llm, request, given, streamed };
    (serde_json::to_string(&body).expect("values and texts are JSON"), streamed)
}

struct RequestBody<'r> {
    llm: &'r LlmConfig,
    request: &'r ModelRequest,
    given: Map<String, Value>,
    streamed: bool,
}

impl Serialize for RequestBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { llm, request, given, streamed } = self;
        let mut body = serializer.serialize_map(None)?;
        // Azure calls a model by its deployment.
        body.serialize_entry("model", llm.deployment.as_deref().unwrap_or(&llm.model))?;
        if *streamed {
            body.serialize_entry("stream", &true)?;
        }
        if *streamed && llm.dialect.stream_options {
            body.serialize_entry("stream_options", &json!({ "include_usage": true }))?;
        }
        let calls_are_told = request.tools.is_empty() && !llm.dialect.calls_without_tools && has_calls(request);
        if llm.dialect.roles_alternate || calls_are_told {
            body.serialize_entry("messages", &alternating::messages(llm, request))?;
        } else {
            body.serialize_entry("messages", &RequestMessages::new(llm, &request.messages))?;
        }
        for (name, value) in given {
            body.serialize_entry(name, value)?;
        }
        if !request.tools.is_empty() {
            body.serialize_entry("tools", &request.tools)?;
        }
        body.end()
    }
}

/// Whether the conversation tells of calls.
pub(in crate::model) fn has_calls(request: &ModelRequest) -> bool {
    request.messages.iter().any(|message| !message.tool_calls.is_empty() || message.role == ChatRole::Tool)
}

struct RequestMessages<'r> {
    llm: &'r LlmConfig,
    messages: &'r [Arc<ChatMessage>],
    /// The model knows no system messages.
    without_system: bool,
    /// Several people or agents speak as users, and only their texts can say who.
    named_in_texts: bool,
}

impl<'r> RequestMessages<'r> {
    fn new(llm: &'r LlmConfig, messages: &'r [Arc<ChatMessage>]) -> Self {
        let speakers = || {
            let by_users = messages.iter().filter(|message| message.role == ChatRole::User);
            by_users.filter_map(|message| message.name.as_deref()).collect::<BTreeSet<_>>().len()
        };
        Self {
            llm,
            messages,
            without_system: !llm.dialect.system || WITHOUT_SYSTEM.contains(&llm.model.as_str()),
            named_in_texts: !llm.dialect.names && speakers() > 1,
        }
    }

    /// The message in another form, where the server must get it so; none: as it is.
    fn suited<'m>(&self, message: &'m ChatMessage) -> Option<SuitedMessage<'m>> {
        let thoughts = going_back(self.llm, message);
        let tool_calls = sent_calls(self.llm, &message.tool_calls);
        let is_foreign = message.role == ChatRole::System && self.without_system;
        let is_named = !self.llm.dialect.names && message.name.is_some();
        let filled = instead_of_nothing(&self.llm.dialect, message);
        let is_as_it_is = thoughts.is_empty() && filled.is_none() && matches!(tool_calls, Cow::Borrowed(_));
        if !is_foreign && !is_named && is_as_it_is {
            return None;
        }
        let name = message.name.as_deref();
        let spoken_by = name.filter(|_| is_named && self.named_in_texts && message.role == ChatRole::User);
        let content = match spoken_by {
            _ if is_foreign => {
                let content = content::text_of(&message.content).unwrap_or_default();
                Cow::Owned(json!(format!("System message: {content}")))
            }
            Some(name) => Cow::Owned(with_name(filled.as_ref().unwrap_or(&message.content), name)),
            None => filled.map_or(Cow::Borrowed(&message.content), Cow::Owned),
        };
        Some(SuitedMessage {
            content,
            role: if is_foreign { ChatRole::User } else { message.role },
            name: name.filter(|_| !is_named),
            tool_calls,
            tool_call_id: message.tool_call_id.as_deref(),
            thoughts,
        })
    }
}

impl Serialize for RequestMessages<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sent = serializer.serialize_seq(None)?;
        // Empty instructions are none.
        let is_left_out = |message: &&Arc<ChatMessage>| {
            !self.llm.dialect.empty_content && message.role == ChatRole::System && is_empty(&message.content)
        };
        for message in self.messages.iter().filter(|message| !is_left_out(message)) {
            match self.suited(message) {
                Some(other) => sent.serialize_element(&other)?,
                None => sent.serialize_element(message.json())?,
            }
        }
        sent.end()
    }
}

/// A message in the form that this server takes, with what it gets beside.
#[derive(Serialize)]
struct SuitedMessage<'m> {
    content: Cow<'m, Value>,
    role: ChatRole,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'m str>,
    #[serde(skip_serializing_if = "<[ToolCall]>::is_empty")]
    tool_calls: Cow<'m, [ToolCall]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'m str>,
    #[serde(flatten)]
    thoughts: Map<String, Value>,
}

/// A text, or a list of parts, that says whose it is.
fn with_name(content: &Value, name: &str) -> Value {
    match content {
        Value::String(text) => json!(format!("{name}: {text}")),
        Value::Array(parts) => {
            let said_by = json!({"type": "text", "text": format!("{name}:")});
            std::iter::once(said_by).chain(parts.iter().cloned()).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => content.clone(),
    }
}

fn suit_o1(body: &mut Map<String, Value>) {
    body.retain(|key, _| !NOT_FOR_O1.contains(&key.as_str()));
}

/// Whether OpenAI refuses it what it refuses o1 models, too: other servers have other models of such names.
fn reasons(llm: &LlmConfig) -> bool {
    let begins = |with: &str| {
        let rest = llm.model.strip_prefix(with)?;
        Some(rest.is_empty() || rest.starts_with('-') && !rest.starts_with("-chat"))
    };
    let is_openai = matches!(llm.provider, ModelProvider::OpenAi | ModelProvider::Azure);
    is_openai && ["o3", "o4", "gpt-5"].iter().any(|name| begins(name) == Some(true))
}

/// Calls the longest reply what the server calls it.
fn rename_limit(body: &mut Map<String, Value>, key: TokenLimitKey) {
    for other in [TokenLimitKey::MaxTokens, TokenLimitKey::MaxCompletionTokens].iter().filter(|other| **other != key) {
        if let Some(limit) = body.shift_remove(other.word()) {
            body.entry(key.word()).or_insert(limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::{llm, shared, user};

    fn body(llm: &LlmConfig, request: &ModelRequest) -> (Value, bool) {
        let (text, streamed) = super::body(llm, request);
        (serde_json::from_str(&text).expect("JSON"), streamed)
    }

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(map) = value else { panic!("{value} is no object") };
        map
    }

    fn system(text: &str) -> ChatMessage {
        ChatMessage::new(ChatRole::System, text)
    }

    fn request(parameters: Value) -> ModelRequest {
        let named = ChatMessage { name: Some("Student_Agent".to_owned()), ..user("Teach me.") };
        ModelRequest {
            messages: shared([system("You are a math teacher."), named]),
            parameters: object(parameters),
            ..ModelRequest::default()
        }
    }

    #[test]
    fn a_plain_request_is_what_ag2_sends() {
        let llm = LlmConfig { stream: false, ..llm("http://x/v1") };
        let (sent, streamed) = body(&llm, &request(json!({})));
        assert!(!streamed);
        assert_eq!(
            sent,
            json!({
                "model": "gpt-4o-mini",
                "messages": [
                    {"content": "You are a math teacher.", "role": "system"},
                    {"content": "Teach me.", "role": "user", "name": "Student_Agent"},
                ],
            })
        );
    }

    #[test]
    fn a_models_parameters_go_before_an_agents_and_settings_stay_here() {
        let parameters = json!({
            "temperature": 0.1, "seed": 7, "user": null, "max_retries": 3, "timeout": 5, "cache_seed": 41, "price": [1, 2], "stream": false,
        });
        let llm = LlmConfig { parameters: object(json!({"temperature": 0.9, "top_p": 0.5})), ..llm("http://x/v1") };
        let (sent, streamed) =
            body(&llm, &ModelRequest { tools: vec![json!({"type": "function"})], ..request(parameters) });
        assert!(streamed);
        let keys: Vec<&String> = sent.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["model", "stream", "stream_options", "messages", "temperature", "seed", "top_p", "tools"]);
        assert_eq!(sent["temperature"], json!(0.9));
        assert_eq!(sent["stream_options"], json!({"include_usage": true}));
    }

    #[test]
    fn an_answer_of_a_given_form_is_not_streamed() {
        let format = json!({"type": "json_object"});
        let of_agent = ModelRequest { response_format: Some(format.clone()), ..request(json!({})) };
        for (llm, request) in [
            (llm("http://x/v1"), of_agent),
            (
                LlmConfig { parameters: object(json!({"response_format": format})), ..llm("http://x/v1") },
                request(json!({})),
            ),
            (llm("http://x/v1"), request(json!({"response_format": format}))),
        ] {
            let (sent, streamed) = body(&llm, &request);
            assert!(!streamed);
            assert_eq!((sent.get("stream"), sent.get("stream_options")), (None, None));
            assert_eq!(sent["response_format"], format);
        }
    }

    #[test]
    fn o1_models_get_what_they_take() {
        let o1 = LlmConfig { model: "o1-mini".to_owned(), ..llm("http://x/v1") };
        let (sent, streamed) = body(&o1, &request(json!({"temperature": 0.5, "max_tokens": 50})));
        assert!(!streamed);
        assert_eq!(
            sent,
            json!({
                "model": "o1-mini",
                "messages": [
                    {"content": "System message: You are a math teacher.", "role": "user"},
                    {"content": "Teach me.", "role": "user", "name": "Student_Agent"},
                ],
                "max_completion_tokens": 50,
            })
        );
        let (sent, _) = body(&LlmConfig { model: "o1".to_owned(), ..o1 }, &request(json!({"top_p": 1})));
        assert_eq!(sent["messages"][0]["role"], "system");
        assert_eq!(sent.get("top_p"), None);
    }

    #[test]
    fn calls_and_their_results_keep_their_form() {
        let call = json!({
            "content": null, "role": "assistant",
            "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "add", "arguments": "{}"}}],
        });
        let result = json!({"content": "3", "role": "tool", "tool_call_id": "call_1"});
        let messages = [&call, &result].map(|message| crate::bounds::from_value(message.clone()).unwrap()).to_vec();
        let (sent, _) = body(&llm("http://x/v1"), &ModelRequest { messages, ..ModelRequest::default() });
        assert_eq!(sent["messages"], json!([call, result]));
    }

    #[test]
    fn what_google_sealed_goes_back_to_compatible_servers_only_and_other_seals_to_nobody() {
        let sent = |provider: ModelProvider, extra: Value| {
            let call = json!({"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": extra});
            let message = json!({"content": null, "role": "assistant", "tool_calls": [call]});
            let messages = vec![crate::bounds::from_value(message).unwrap()];
            let llm = LlmConfig { provider, ..llm("http://x/v1") };
            let (sent, _) = body(&llm, &ModelRequest { messages, ..ModelRequest::default() });
            sent["messages"][0]["tool_calls"][0].get("extra_content").cloned()
        };
        let google = json!({"google": {"thought_signature": "s"}});
        assert_eq!(sent(ModelProvider::Compatible, google.clone()), Some(google.clone()));
        assert_eq!(sent(ModelProvider::OpenAi, google.clone()), None);
        assert_eq!(sent(ModelProvider::Azure, google), None);
        assert_eq!(sent(ModelProvider::Compatible, json!({"anthropic": {"thinking": []}})), None);
    }
}
