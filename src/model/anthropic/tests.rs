//! Requests and answers as Anthropic's documentation has them.

use super::*;
use crate::config::{FormRequest, ModelProvider};
use crate::model::testing::{
    TestServer, ask, asking, http, json_answer, llm, open_one, read_cut_everywhere, stream_answer,
};
use crate::protocol::dialogue::{ModelReply, ModelUsage};
use serde_json::json;

fn claude(base_url: &str) -> LlmConfig {
    LlmConfig {
        provider: ModelProvider::Anthropic,
        model: "claude-sonnet-4-5".to_owned(),
        api_key: Some("sk-ant-x".into()),
        ..llm(base_url)
    }
}

fn sent(llm: &LlmConfig, request: &ModelRequest) -> Value {
    body::body(llm, request).0
}

fn request(messages: Value) -> ModelRequest {
    ModelRequest { messages: crate::bounds::from_value(messages).unwrap(), ..ModelRequest::default() }
}

fn weather() -> Value {
    json!({"type": "function", "function": {
        "name": "get_weather", "description": "The weather of a place",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    }})
}

/// A stream as the documentation shows it, each event with its name.
fn events(events: &[Value]) -> String {
    let named = |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap());
    events.iter().map(named).collect()
}

fn start(usage: Value) -> Value {
    json!({"type": "message_start", "message": {
        "id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "claude-sonnet-4-5",
        "stop_reason": null, "stop_sequence": null, "usage": usage,
    }})
}

fn end(reason: &str, output_tokens: u64) -> [Value; 2] {
    [
        json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null}, "usage": {"output_tokens": output_tokens}}),
        json!({"type": "message_stop"}),
    ]
}

fn saying_hello() -> String {
    let usage = json!({"input_tokens": 25, "cache_creation_input_tokens": 40, "cache_read_input_tokens": 100, "output_tokens": 1});
    let [delta, stop] = end("end_turn", 15);
    events(&[
        start(usage),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "ping"}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": ", Zürich 😀"}}),
        json!({"type": "content_block_stop", "index": 0}),
        delta,
        stop,
    ])
}

#[tokio::test]
async fn a_request_and_its_streamed_answer() {
    let server = TestServer::start(vec![stream_answer(&saying_hello())]).await;
    let model = open_one(&claude(&server.base_url));
    let (outcome, heard) = ask(&*model, &asking("Teach me.")).await;
    let usage = ModelUsage {
        prompt_tokens: 165,
        completion_tokens: 15,
        cached_tokens: 100,
        cache_write_tokens: 40,
        ..ModelUsage::default()
    };
    let expected = ModelReply {
        content: Some("Hello, Zürich 😀".to_owned()),
        tool_calls: vec![],
        refusal: None,
        finish_reason: Some("stop".to_owned()),
        usage,
        model: "default".to_owned(),
    };
    assert_eq!(outcome.unwrap(), expected);
    assert_eq!(heard, ["#1", "Hello", ", Zürich 😀"]);
    let seen = &server.seen()[0];
    let head = seen.head.to_lowercase();
    assert!(head.starts_with("post /v1/messages http/1.1"), "{head}");
    assert!(head.contains("x-api-key: sk-ant-x\r\n") && head.contains("anthropic-version: 2023-06-01"), "{head}");
    assert!(!head.contains("authorization"), "{head}");
    assert_eq!(
        seen.body,
        json!({
            "model": "claude-sonnet-4-5", "max_tokens": 8192, "stream": true, "system": "You are a math teacher.",
            "messages": [{"role": "user", "content": "Teach me."}],
        })
    );
}

#[tokio::test]
async fn an_answer_that_comes_at_once() {
    let whole = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
        "content": [
            {"type": "text", "text": "I'll look."},
            {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"place": "Rome"}},
            {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}},
        ],
        "stop_reason": "tool_use", "usage": {"input_tokens": 10, "output_tokens": 5},
    });
    let server = TestServer::start(vec![json_answer(&whole)]).await;
    let model = open_one(&LlmConfig { stream: false, ..claude(&server.base_url) });
    let (outcome, heard) = ask(&*model, &asking("x")).await;
    let reply = outcome.unwrap();
    assert_eq!((reply.content.as_deref(), reply.finish_reason.as_deref()), (Some("I'll look."), Some("tool_calls")));
    let calls: Vec<_> =
        reply.tool_calls.iter().map(|call| (call.id.as_str(), call.function.arguments.as_str())).collect();
    assert_eq!(calls, [("toolu_1", r#"{"place":"Rome"}"#), ("toolu_2", "{}")]);
    assert_eq!(heard, ["#1"]);
}

#[test]
fn calls_and_thoughts_are_put_together_and_go_back_as_they_came() {
    let [delta, stop] = end("tool_use", 89);
    let block =
        |index: u64, block: Value| json!({"type": "content_block_start", "index": index, "content_block": block});
    let piece = |index: u64, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
    let json_piece = |index: u64, json: &str| piece(index, json!({"type": "input_json_delta", "partial_json": json}));
    let text = events(&[
        start(json!({"input_tokens": 472, "output_tokens": 2})),
        block(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
        piece(0, json!({"type": "thinking_delta", "thinking": "Rome, "})),
        piece(0, json!({"type": "thinking_delta", "thinking": "then."})),
        piece(0, json!({"type": "signature_delta", "signature": "EqQB"})),
        json!({"type": "content_block_stop", "index": 0}),
        block(1, json!({"type": "redacted_thinking", "data": "sealed"})),
        block(2, json!({"type": "text", "text": ""})),
        piece(2, json!({"type": "text_delta", "text": "Okay."})),
        block(3, json!({"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}})),
        json_piece(3, ""),
        json_piece(3, "{\"place\": \"Ro"),
        json_piece(3, "me\"}"),
        block(4, json!({"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}})),
        json!({"type": "content_block_stop", "index": 4}),
        delta,
        stop,
    ]);
    let reply = read_cut_everywhere(&MessagesApi, &text);
    assert_eq!(reply.content.as_deref(), Some("Okay."));
    assert_eq!((reply.usage.prompt_tokens, reply.usage.completion_tokens), (472, 89));
    let calls: Vec<_> =
        reply.tool_calls.iter().map(|call| (call.function.name.as_str(), call.function.arguments.as_str())).collect();
    assert_eq!(calls, [("get_weather", "{\"place\": \"Rome\"}"), ("now", "{}")]);

    let conversation = request(json!([
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": reply.content, "tool_calls": reply.tool_calls},
        {"role": "tool", "tool_call_id": "toolu_1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "toolu_2", "content": "noon"},
    ]));
    let body = sent(&claude("http://x"), &ModelRequest { tools: vec![weather()], ..conversation });
    assert_eq!(
        body["messages"],
        json!([
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "Rome, then.", "signature": "EqQB"},
                {"type": "redacted_thinking", "data": "sealed"},
                {"type": "text", "text": "Okay."},
                {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"place": "Rome"}},
                {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"},
                {"type": "tool_result", "tool_use_id": "toolu_2", "content": "noon"},
            ]},
        ])
    );
}

#[test]
fn tools_and_their_choice() {
    let body = |parameters: Value| {
        let llm = LlmConfig { parameters: parameters.as_object().unwrap().clone(), ..claude("http://x") };
        let bare = json!({"type": "function", "function": {"name": "now", "description": null}});
        let own = json!({"type": "web_search_20250305", "name": "web_search"});
        sent(&llm, &ModelRequest { tools: vec![weather(), bare, own], ..asking("x") })
    };
    assert_eq!(
        body(json!({}))["tools"],
        json!([
            {
                "name": "get_weather", "description": "The weather of a place",
                "input_schema": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
            },
            {"name": "now", "input_schema": {"type": "object", "properties": {}}},
            {"type": "web_search_20250305", "name": "web_search"},
        ])
    );
    for (given, expected) in [
        (json!({}), Value::Null),
        (json!({"tool_choice": "auto"}), json!({"type": "auto"})),
        (json!({"tool_choice": "none", "parallel_tool_calls": false}), json!({"type": "none"})),
        (json!({"tool_choice": "required"}), json!({"type": "any"})),
        (
            json!({"tool_choice": {"type": "function", "function": {"name": "now"}}, "parallel_tool_calls": true}),
            json!({"type": "tool", "name": "now"}),
        ),
        (json!({"parallel_tool_calls": false}), json!({"type": "auto", "disable_parallel_tool_use": true})),
    ] {
        assert_eq!(body(given.clone())["tool_choice"], expected, "{given}");
    }
    let chosen =
        LlmConfig { parameters: json!({"tool_choice": "required"}).as_object().unwrap().clone(), ..claude("http://x") };
    assert_eq!(sent(&chosen, &asking("x")).get("tool_choice"), None, "without tools there is nothing to choose");
}

#[test]
fn parameters_get_their_names_here_and_what_has_none_is_left_out() {
    let parameters = json!({
        "temperature": 0.5, "top_p": 0.9, "max_tokens": 100, "stop": "END", "user": "u-1", "reasoning_effort": "minimal",
        "seed": 7, "presence_penalty": 1, "top_k": 5, "thinking": {"type": "enabled", "budget_tokens": 2000},
    });
    let request = ModelRequest { parameters: parameters.as_object().unwrap().clone(), ..asking("x") };
    let mut body = sent(&claude("http://x"), &request);
    for key in ["messages", "system", "model", "stream"] {
        body.as_object_mut().unwrap().remove(key);
    }
    assert_eq!(
        body,
        json!({
            "max_tokens": 100, "temperature": 0.5, "top_p": 0.9, "stop_sequences": ["END"], "metadata": {"user_id": "u-1"},
            "output_config": {"effort": "low"}, "top_k": 5, "thinking": {"type": "enabled", "budget_tokens": 2000},
        })
    );
}

#[test]
fn thoughts_have_room_beside_the_longest_reply_where_nobody_says_one() {
    let longest = |parameters: Value| {
        let request = ModelRequest { parameters: parameters.as_object().unwrap().clone(), ..asking("x") };
        sent(&claude("http://x"), &request)["max_tokens"].clone()
    };
    let thinking = json!({"type": "enabled", "budget_tokens": 10_000});
    assert_eq!(longest(json!({})), 8192);
    assert_eq!(longest(json!({ "thinking": thinking })), 18_192);
    assert_eq!(longest(json!({"thinking": thinking, "max_tokens": 12_000})), 12_000, "what is said is said");
    assert_eq!(longest(json!({"thinking": {"type": "adaptive"}})), 8192);
}

#[test]
fn an_answer_of_a_given_form() {
    let schema = json!({"type": "object", "properties": {"steps": {"type": "array", "items": {"type": "object", "properties": {}}}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "plan", "schema": schema}});
    let body = sent(&claude("http://x"), &ModelRequest { response_format: Some(format), ..asking("x") });
    assert_eq!(body.get("stream"), None);
    assert_eq!(
        body["output_config"]["format"],
        json!({"type": "json_schema", "schema": {
            "type": "object",
            "properties": {"steps": {"type": "array", "items": {"type": "object", "properties": {}, "additionalProperties": false}}},
            "additionalProperties": false,
        }})
    );
    let any = ModelRequest { response_format: Some(json!({"type": "json_object"})), ..asking("x") };
    let body = sent(&claude("http://x"), &any);
    assert_eq!(body["system"], "You are a math teacher.\n\nAnswer with one JSON object and nothing else.");
    assert_eq!(body.get("output_config"), None);
    let schema = json!({"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}});
    let mut older = claude("http://x");
    older.dialect.response_format = FormRequest::Words;
    let body = sent(&older, &ModelRequest { response_format: Some(schema), ..asking("x") });
    assert_eq!(body.get("output_config"), None);
    assert!(body["system"].as_str().unwrap().ends_with("It must fit this JSON Schema: {\"type\":\"object\"}"));
}

#[test]
fn images_go_in_both_ways() {
    let parts = json!([
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
        {"type": "image_url", "image_url": {"url": "https://x/y.jpg"}},
        {"type": "text", "text": "What is it?"},
    ]);
    let body = sent(&claude("http://x"), &request(json!([{"role": "user", "content": parts}])));
    assert_eq!(
        body["messages"][0]["content"],
        json!([
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
            {"type": "image", "source": {"type": "url", "url": "https://x/y.jpg"}},
            {"type": "text", "text": "What is it?"},
        ])
    );
}

#[test]
fn reasons_to_stop_have_openais_names() {
    for (theirs, ours) in [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "refusal"),
        ("pause_turn", "pause"),
        ("something_new", "something_new"),
    ] {
        let [delta, stop] = end(theirs, 1);
        let reply = read_cut_everywhere(&MessagesApi, &events(&[start(json!({})), delta, stop]));
        assert_eq!((reply.finish_reason.as_deref(), reply.content), (Some(ours), None));
    }
}

#[tokio::test]
async fn errors_are_told_by_kind_and_tried_again_when_they_may_pass() {
    let error = |kind: &str, message: &str| json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"});
    let in_stream =
        format!("{}event: error\ndata: {}\n\n", events(&[start(json!({}))]), error("overloaded_error", "Overloaded"));
    for (act, words, requests) in [
        (
            http(529, "retry-after-ms: 1\r\n", &error("overloaded_error", "Overloaded").to_string()),
            "answered 529 (it is overloaded): Overloaded",
            3,
        ),
        (
            http(429, "retry-after: 0\r\n", &error("rate_limit_error", "Number of requests").to_string()),
            "answered 429 (its limit is reached): Number of requests",
            3,
        ),
        (
            http(401, "", &error("authentication_error", "invalid x-api-key").to_string()),
            "answered 401 (it refuses the key): invalid x-api-key",
            1,
        ),
        (
            http(
                400,
                "",
                &error("invalid_request_error", "prompt is too long: 208310 tokens > 200000 maximum").to_string(),
            ),
            "answered 400 (the conversation is too long for it): prompt is too long",
            1,
        ),
        (stream_answer(&in_stream), "answered 529 (it is overloaded): Overloaded", 2),
    ] {
        let server = TestServer::start(vec![act]).await;
        let retries = if requests == 2 { 1 } else { 2 };
        let model = open_one(&LlmConfig { max_retries: retries, ..claude(&server.base_url) });
        let error = ask(&*model, &asking("x")).await.0.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert_eq!(server.seen().len(), requests, "{error}");
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_no_answer_and_a_late_break_is_none() {
    let whole = saying_hello();
    let broken = &whole[..whole.find("event: message_delta").unwrap()];
    let server = TestServer::start(vec![stream_answer(broken), stream_answer(&whole)]).await;
    let (outcome, heard) = ask(&*open_one(&claude(&server.base_url)), &asking("x")).await;
    assert_eq!(outcome.unwrap().content.as_deref(), Some("Hello, Zürich 😀"));
    assert_eq!(heard.iter().filter(|heard| heard.starts_with('#')).count(), 2);
}

#[test]
fn addresses_and_tokens() {
    let url = |base: &str| {
        let mut url = Url::parse(base).unwrap();
        MessagesApi.complete_url(&claude(base), true, &mut url);
        url.to_string()
    };
    assert_eq!(url("https://api.anthropic.com"), "https://api.anthropic.com/v1/messages");
    assert_eq!(url("https://api.anthropic.com/v1/"), "https://api.anthropic.com/v1/messages");
    assert_eq!(url("https://gateway/anthropic"), "https://gateway/anthropic/v1/messages");
    assert_eq!(
        MessagesApi.headers(&LlmConfig { api_version: Some("2030-01-01".into()), ..claude("x") })[0].1,
        "2030-01-01"
    );
}
