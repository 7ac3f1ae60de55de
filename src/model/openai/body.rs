//! The body of a request as AG2 sends it: which keys, whose value wins, and the rules of the o1 models.

use serde_json::{Map, Value, json};

use crate::config::Llm;
use crate::model::content;
use crate::model::{ChatMessage, Request, Role};

/// Settings of AG2 and of its client that are never sent, and keys that are not parameters.
const NEVER_SENT: [&str; 13] = [
    "cache_seed",
    "price",
    "api_type",
    "tags",
    "timeout",
    "max_retries",
    "routing_method",
    "model",
    "messages",
    "tools",
    "response_format",
    "stream",
    "stream_options",
];
/// What AG2 takes from requests to o1 models.
const NOT_FOR_O1: [&str; 7] =
    ["temperature", "top_p", "frequency_penalty", "presence_penalty", "logprobs", "top_logprobs", "logit_bias"];
/// The models that know no system messages.
const WITHOUT_SYSTEM: [&str; 4] = ["o1-mini", "o1-preview", "o1-mini-2024-09-12", "o1-preview-2024-09-12"];

/// The body, and whether it asks for a stream.
pub(super) fn body(llm: &Llm, request: &Request) -> (Value, bool) {
    let parameters = parameters(llm, request);
    let response_format = request.response_format.as_ref().or_else(|| llm.parameters.get("response_format"));
    let response_format = response_format.or_else(|| request.parameters.get("response_format"));
    let response_format = response_format.filter(|format| !format.is_null());
    let o1 = llm.model.starts_with("o1");
    let streamed = llm.stream && response_format.is_none() && !o1;

    let mut body = Map::new();
    body.insert("model".to_owned(), json!(llm.model));
    if streamed {
        body.insert("stream".to_owned(), json!(true));
        body.insert("stream_options".to_owned(), json!({ "include_usage": true }));
    }
    body.insert("messages".to_owned(), messages(&llm.model, &request.messages));
    body.extend(parameters);
    if let Some(format) = response_format {
        body.insert("response_format".to_owned(), format.clone());
    }
    if !request.tools.is_empty() {
        body.insert("tools".to_owned(), json!(request.tools));
    }
    if o1 {
        suit_o1(&mut body);
    }
    (Value::Object(body), streamed)
}

/// The agent's parameters, and over them the model's.
fn parameters(llm: &Llm, request: &Request) -> Map<String, Value> {
    let mut parameters = request.parameters.clone();
    parameters.extend(llm.parameters.clone());
    parameters.retain(|key, value| !value.is_null() && !NEVER_SENT.contains(&key.as_str()));
    parameters
}

fn messages(model: &str, messages: &[ChatMessage]) -> Value {
    if !WITHOUT_SYSTEM.contains(&model) {
        return json!(messages);
    }
    let without_system = messages.iter().map(|message| match message.role {
        Role::System => {
            let content = content::text_of(&message.content).unwrap_or_default();
            ChatMessage {
                role: Role::User,
                content: Value::String(format!("System message: {content}")),
                ..message.clone()
            }
        }
        Role::User | Role::Assistant | Role::Tool => message.clone(),
    });
    json!(without_system.collect::<Vec<_>>())
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
    use crate::model::testing::{llm, user};

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(map) = value else { panic!("{value} is no object") };
        map
    }

    fn system(text: &str) -> ChatMessage {
        ChatMessage { content: json!(text), role: Role::System, name: None, tool_calls: None, tool_call_id: None }
    }

    fn request(parameters: Value) -> Request {
        let named = ChatMessage { name: Some("Student_Agent".to_owned()), ..user("Teach me.") };
        Request {
            messages: vec![system("You are a math teacher."), named],
            parameters: object(parameters),
            ..Request::default()
        }
    }

    #[test]
    fn a_plain_request_is_what_ag2_sends() {
        let llm = Llm { stream: false, ..llm("http://x/v1") };
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
        let llm = Llm { parameters: object(json!({"temperature": 0.9, "top_p": 0.5})), ..llm("http://x/v1") };
        let (sent, streamed) = body(&llm, &Request { tools: vec![json!({"type": "function"})], ..request(parameters) });
        assert!(streamed);
        let keys: Vec<&String> = sent.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["model", "stream", "stream_options", "messages", "temperature", "seed", "top_p", "tools"]);
        assert_eq!(sent["temperature"], json!(0.9));
        assert_eq!(sent["stream_options"], json!({"include_usage": true}));
    }

    #[test]
    fn an_answer_of_a_given_form_is_not_streamed() {
        let format = json!({"type": "json_object"});
        let of_agent = Request { response_format: Some(format.clone()), ..request(json!({})) };
        for (llm, request) in [
            (llm("http://x/v1"), of_agent),
            (Llm { parameters: object(json!({"response_format": format})), ..llm("http://x/v1") }, request(json!({}))),
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
        let o1 = Llm { model: "o1-mini".to_owned(), ..llm("http://x/v1") };
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
        let (sent, _) = body(&Llm { model: "o1".to_owned(), ..o1 }, &request(json!({"top_p": 1})));
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
        let (sent, _) = body(&llm("http://x/v1"), &Request { messages, ..Request::default() });
        assert_eq!(sent["messages"], json!([call, result]));
    }
}
