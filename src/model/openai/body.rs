//! The body of a request as AG2 sends it: which keys, whose value wins, and the rules of the o1 models.

use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::{Map, Value, json};

use crate::config::{LlmConfig, ModelProvider};
use crate::model::content;
use crate::model::parameters::parameters;
use crate::protocol::dialogue::{ChatMessage, ChatRole, ModelRequest, ToolCall};

/// What AG2 takes from requests to o1 models.
const NOT_FOR_O1: [&str; 7] =
    ["temperature", "top_p", "frequency_penalty", "presence_penalty", "logprobs", "top_logprobs", "logit_bias"];
/// The models that know no system messages.
const WITHOUT_SYSTEM: [&str; 4] = ["o1-mini", "o1-preview", "o1-mini-2024-09-12", "o1-preview-2024-09-12"];

/// The body, and whether it asks for a stream. It is written at once, without a tree of values in between: conversations are
/// long, and each of their requests says all of it again.
pub(super) fn body(llm: &LlmConfig, request: &ModelRequest) -> (String, bool) {
    let parameters = parameters(llm, request);
    let o1 = llm.model.starts_with("o1");
    let streamed = parameters.streamed && !o1;
    let mut given = parameters.given;
    if let Some(format) = parameters.response_format {
        given.insert("response_format".to_owned(), format);
    }
    if o1 {
        suit_o1(&mut given);
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
            body.serialize_entry("stream_options", &json!({ "include_usage": true }))?;
        }
        body.serialize_entry("messages", &RequestMessages(llm, &request.messages))?;
        for (name, value) in given {
            body.serialize_entry(name, value)?;
        }
        if !request.tools.is_empty() {
            body.serialize_entry("tools", &request.tools)?;
        }
        body.end()
    }
}

struct RequestMessages<'r>(&'r LlmConfig, &'r [Arc<ChatMessage>]);

impl Serialize for RequestMessages<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(llm, messages) = self;
        let mut sent = serializer.serialize_seq(Some(messages.len()))?;
        for message in *messages {
            match suited(llm, message) {
                Some(other) => sent.serialize_element(&other)?,
                None => sent.serialize_element(&**message)?,
            }
        }
        sent.end()
    }
}

/// A message that this model must get in another form; none: as it is.
fn suited(llm: &LlmConfig, message: &ChatMessage) -> Option<ChatMessage> {
    if message.role == ChatRole::System && WITHOUT_SYSTEM.contains(&llm.model.as_str()) {
        let content = content::text_of(&message.content).unwrap_or_default();
        let content = json!(format!("System message: {content}"));
        return Some(ChatMessage { role: ChatRole::User, content, ..message.clone() });
    }
    // OpenAI refuses what it does not know; Google's compatible interface wants its own back.
    let foreign = |call: &ToolCall| {
        let google = |extra: &Value| llm.provider == ModelProvider::Compatible && extra.get("google").is_some();
        call.extra_content.as_ref().is_some_and(|extra| !google(extra))
    };
    if !message.tool_calls.iter().any(foreign) {
        return None;
    }
    let own = |call: &ToolCall| {
        let extra_content = call.extra_content.clone().filter(|_| !foreign(call));
        ToolCall { extra_content, ..call.clone() }
    };
    Some(ChatMessage { tool_calls: message.tool_calls.iter().map(own).collect(), ..message.clone() })
}

fn suit_o1(body: &mut Map<String, Value>) {
    body.retain(|key, _| !NOT_FOR_O1.contains(&key.as_str()));
    if let Some(limit) = body.shift_remove("max_tokens") {
        body.insert("max_completion_tokens".to_owned(), limit);
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
        ChatMessage {
            content: json!(text),
            role: ChatRole::System,
            name: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
        }
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
        let messages = [&call, &result].map(|message| serde_json::from_value(message.clone()).unwrap()).to_vec();
        let (sent, _) = body(&llm("http://x/v1"), &ModelRequest { messages, ..ModelRequest::default() });
        assert_eq!(sent["messages"], json!([call, result]));
    }

    #[test]
    fn what_google_sealed_goes_back_to_compatible_servers_only_and_other_seals_to_nobody() {
        let sent = |provider: ModelProvider, extra: Value| {
            let call = json!({"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": extra});
            let message = json!({"content": null, "role": "assistant", "tool_calls": [call]});
            let messages = vec![serde_json::from_value(message).unwrap()];
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
