//! Requests and answers as Google's documentation has them.

use super::*;
use crate::config::{FormRequest, ModelProvider};
use crate::model::testing::{
    TestServer, ask, asking, event, http, json_answer, llm, open_one, read_cut_everywhere, stream_answer,
};
use crate::protocol::dialogue::{ModelReply, ModelUsage};
use serde_json::json;

fn gemini(base_url: &str) -> LlmConfig {
    LlmConfig {
        provider: ModelProvider::Gemini,
        model: "gemini-3-pro".to_owned(),
        api_key: Some("AIza-x".into()),
        ..llm(base_url)
    }
}

fn sent(llm: &LlmConfig, request: &ModelRequest) -> Value {
    body::body(llm, request).0
}

fn request(messages: Value) -> ModelRequest {
    ModelRequest { messages: crate::bounds::from_value(messages).unwrap(), ..ModelRequest::default() }
}

fn candidate(parts: Value, reason: Option<&str>) -> Value {
    json!({
        "candidates": [{"content": {"parts": parts, "role": "model"}, "finishReason": reason, "index": 0}],
        "usageMetadata": {
            "promptTokenCount": 20, "cachedContentTokenCount": 8, "candidatesTokenCount": 5, "thoughtsTokenCount": 30,
            "totalTokenCount": 55,
        },
        "modelVersion": "gemini-3-pro", "responseId": "r",
    })
}

fn saying_hello() -> String {
    [
        candidate(json!([{"text": "Hello"}]), None),
        candidate(json!([{"text": "I think", "thought": true}, {"text": ", Zürich 😀"}]), None),
        candidate(json!([{"text": "", "thoughtSignature": "sig"}]), Some("STOP")),
    ]
    .iter()
    .map(event)
    .collect()
}

#[tokio::test]
async fn a_request_and_its_streamed_answer() {
    let server = TestServer::start(vec![stream_answer(&saying_hello())]).await;
    let model = open_one(&gemini(&server.base_url));
    let (outcome, heard) = ask(&*model, &asking("Teach me.")).await;
    let usage = ModelUsage {
        prompt_tokens: 20,
        completion_tokens: 35,
        cached_tokens: 8,
        reasoning_tokens: 30,
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
    assert!(
        seen.head.starts_with("POST /v1/models/gemini-3-pro:streamGenerateContent?alt=sse HTTP/1.1"),
        "{}",
        seen.head
    );
    assert!(seen.head.to_lowercase().contains("x-goog-api-key: aiza-x\r\n"), "{}", seen.head);
    assert_eq!(
        seen.body,
        json!({
            "systemInstruction": {"parts": [{"text": "You are a math teacher."}]},
            "contents": [{"role": "user", "parts": [{"text": "Teach me."}]}],
        })
    );
}

#[tokio::test]
async fn an_answer_that_comes_at_once_or_as_a_list() {
    let whole = candidate(json!([{"text": "Pi."}]), Some("STOP"));
    let list = json!([candidate(json!([{"text": "P"}]), None), candidate(json!([{"text": "i."}]), Some("STOP"))]);
    let server = TestServer::start(vec![json_answer(&whole), json_answer(&list)]).await;
    let model = open_one(&LlmConfig { stream: false, ..gemini(&server.base_url) });
    for _ in 0..2 {
        let (outcome, heard) = ask(&*model, &asking("x")).await;
        assert_eq!((outcome.unwrap().content.as_deref(), heard.len()), (Some("Pi."), 1));
    }
    assert!(server.seen()[0].head.starts_with("POST /v1/models/gemini-3-pro:generateContent HTTP/1.1"));
}

#[test]
fn calls_go_back_with_their_signatures() {
    let text: String = [
        candidate(
            json!([
                {"functionCall": {"id": "fc1", "name": "weather", "args": {"place": "Rome"}}, "thoughtSignature": "sealed"},
                {"functionCall": {"name": "now", "args": {}}},
            ]),
            None,
        ),
        candidate(json!([{"text": ""}]), Some("STOP")),
    ]
    .iter()
    .map(event)
    .collect();
    let reply = read_cut_everywhere(&GenerateContentApi, &text);
    assert_eq!((reply.content.as_deref(), reply.finish_reason.as_deref()), (None, Some("tool_calls")));
    assert_eq!(reply.tool_calls[0].function.arguments, r#"{"place":"Rome"}"#);

    let results = json!([
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": null, "tool_calls": reply.tool_calls},
        {"role": "tool", "tool_call_id": reply.tool_calls[1].id, "content": "noon"},
        {"role": "tool", "tool_call_id": "fc1", "content": "{\"sky\": \"blue\"}"},
    ]);
    assert_eq!(
        sent(&gemini("http://x"), &request(results))["contents"],
        json!([
            {"role": "user", "parts": [{"text": "Weather?"}]},
            {"role": "model", "parts": [
                {"functionCall": {"name": "weather", "args": {"place": "Rome"}, "id": "fc1"}, "thoughtSignature": "sealed"},
                {"functionCall": {"name": "now", "args": {}}},
            ]},
            {"role": "user", "parts": [
                {"functionResponse": {"name": "weather", "response": {"sky": "blue"}, "id": "fc1"}},
                {"functionResponse": {"name": "now", "response": {"result": "noon"}}},
            ]},
        ])
    );
}

#[test]
fn a_call_of_another_model_is_marked_where_a_signature_is_demanded() {
    let call = json!({"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "not json"}});
    let conversation =
        json!([{"role": "user", "content": "x"}, {"role": "assistant", "content": null, "tool_calls": [call]}]);
    let part = |model: &str| {
        let llm = LlmConfig { model: model.to_owned(), ..gemini("http://x") };
        sent(&llm, &request(conversation.clone()))["contents"][1]["parts"][0].clone()
    };
    let plain = json!({"functionCall": {"name": "f", "args": {}, "id": "call_1"}});
    assert_eq!(part("gemini-2.5-pro"), plain);
    assert_eq!(part("publishers/google/models/gemini-2.5-pro"), plain);
    assert_eq!(part("gemini-3-pro")["thoughtSignature"], "skip_thought_signature_validator");
}

#[test]
fn tools_their_choice_and_parameters() {
    let weather = json!({"type": "function", "function": {
        "name": "weather", "description": "d", "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
    }});
    let bare =
        json!({"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}});
    let body = |parameters: Value, model: &str| {
        let llm = LlmConfig {
            model: model.to_owned(),
            parameters: parameters.as_object().unwrap().clone(),
            ..gemini("http://x")
        };
        sent(
            &llm,
            &ModelRequest { tools: vec![weather.clone(), bare.clone(), json!({"googleSearch": {}})], ..asking("x") },
        )
    };
    assert_eq!(
        body(json!({}), "gemini-3-pro")["tools"],
        json!([
            {"functionDeclarations": [
                {"name": "weather", "description": "d", "parametersJsonSchema": {"type": "object", "properties": {"place": {"type": "string"}}}},
                {"name": "now"},
            ]},
            {"googleSearch": {}},
        ])
    );
    for (choice, config) in [
        (json!("auto"), json!({"mode": "AUTO"})),
        (json!("none"), json!({"mode": "NONE"})),
        (json!("required"), json!({"mode": "ANY"})),
        (
            json!({"type": "function", "function": {"name": "now"}}),
            json!({"mode": "ANY", "allowedFunctionNames": ["now"]}),
        ),
    ] {
        let body = body(json!({"tool_choice": choice}), "gemini-3-pro");
        assert_eq!(body["toolConfig"]["functionCallingConfig"], config);
    }
    let given = json!({
        "temperature": 0.5, "top_p": 0.9, "max_tokens": 100, "stop": ["A", "B"], "seed": 7, "reasoning_effort": "low", "user": "u",
        "generationConfig": {"topK": 5}, "safetySettings": [],
    });
    let settings = json!({
        "temperature": 0.5, "topP": 0.9, "maxOutputTokens": 100, "seed": 7, "stopSequences": ["A", "B"],
        "thinkingConfig": {"thinkingLevel": "low"}, "topK": 5,
    });
    let three = body(given.clone(), "gemini-3-pro");
    assert_eq!(
        (&three["generationConfig"], &three["safetySettings"], three.get("user")),
        (&settings, &json!([]), None)
    );
    let older = body(given, "gemini-2.5-flash");
    assert_eq!(older["generationConfig"]["thinkingConfig"], json!({"thinkingBudget": 1024}));
}

#[test]
fn an_answer_of_a_given_form_and_images() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "a", "schema": schema}});
    let parts = json!([
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
        {"type": "image_url", "image_url": {"url": "https://x/y.webp?z=1"}},
    ]);
    let request =
        ModelRequest { response_format: Some(format), ..request(json!([{"role": "user", "content": parts}])) };
    let (body, streamed) = body::body(&gemini("http://x"), &request);
    assert!(!streamed);
    assert_eq!(body["generationConfig"], json!({"responseMimeType": "application/json", "responseJsonSchema": schema}));
    assert_eq!(
        body["contents"][0]["parts"],
        json!([
            {"inlineData": {"mimeType": "image/png", "data": "aGk="}},
            {"fileData": {"mimeType": "image/webp", "fileUri": "https://x/y.webp?z=1"}},
        ])
    );
}

#[test]
fn a_form_is_asked_for_in_words_where_it_does_not_go_with_tools() {
    let format = json!({"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}});
    let mut older = gemini("http://x");
    older.dialect.response_format = FormRequest::SchemaWithoutTools;
    let mut request =
        ModelRequest { response_format: Some(format), ..request(json!([{"role": "user", "content": "a"}])) };
    let (plain, _) = body::body(&older, &request);
    assert_eq!(plain["generationConfig"]["responseMimeType"], "application/json");
    request.tools = vec![json!({"type": "function", "function": {"name": "f"}})];
    let (with_tools, _) = body::body(&older, &request);
    assert_eq!(with_tools.get("generationConfig"), None);
    let told = with_tools["systemInstruction"]["parts"][0]["text"].as_str().unwrap();
    assert!(told.ends_with("It must fit this JSON Schema: {\"type\":\"object\"}"), "{told}");
}

#[test]
fn reasons_to_stop_have_openais_names() {
    for (theirs, ours) in [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("OTHER", "OTHER"),
    ] {
        let reply = read_cut_everywhere(&GenerateContentApi, &event(&candidate(json!([{"text": "x"}]), Some(theirs))));
        assert_eq!(reply.finish_reason.as_deref(), Some(ours));
    }
}

#[tokio::test]
async fn errors_are_told_by_kind_and_tried_again_when_they_may_pass() {
    let error = |code: u16, status: &str, message: &str, details: Value| {
        let body = json!({"error": {"code": code, "message": message, "status": status, "details": details}});
        http(code, "", &body.to_string())
    };
    let soon = json!([{"@type": "type.googleapis.com/google.rpc.Help"}, {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.02s"}]);
    let blocked = json!({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 4}});
    let bad_call =
        json!({"candidates": [{"content": {}, "finishReason": "MALFORMED_FUNCTION_CALL", "finishMessage": "no call"}]});
    let in_stream = event(&candidate(json!([{"text": "x"}]), None))
        + &event(&json!({"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}));
    for (act, words, requests) in [
        (error(429, "RESOURCE_EXHAUSTED", "Quota", soon), "answered 429 (its limit is reached): Quota", 2),
        (error(400, "INVALID_ARGUMENT", "API key not valid.", json!([])), "answered 400 (it refuses the key): API", 1),
        (
            error(
                400,
                "INVALID_ARGUMENT",
                "The input token count (2000000) exceeds the maximum number of tokens allowed (1048576).",
                json!([]),
            ),
            "answered 400 (the conversation is too long for it): The input",
            1,
        ),
        (
            http(200, "", &blocked.to_string()),
            "answered 400 (a filter refused it): the conversation was blocked (SAFETY)",
            1,
        ),
        (stream_answer(&event(&bad_call)), "answered with an error: no call", 2),
        (stream_answer(&in_stream), "answered 503 (it is overloaded): The model is overloaded.", 2),
    ] {
        let server = TestServer::start(vec![act]).await;
        let model = open_one(&LlmConfig { max_retries: 1, ..gemini(&server.base_url) });
        let error = ask(&*model, &asking("x")).await.0.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert_eq!(server.seen().len(), requests, "{error}");
    }
}

#[tokio::test]
async fn a_bearer_token_goes_before_a_key() {
    let server = TestServer::start(vec![stream_answer(&saying_hello())]).await;
    let vertex = LlmConfig {
        model: "publishers/google/models/gemini-3-pro".to_owned(),
        token: Some("ya29.x".into()),
        ..gemini(&server.base_url)
    };
    ask(&*open_one(&vertex), &asking("x")).await.0.unwrap();
    let head = server.seen()[0].head.clone();
    assert!(head.starts_with("POST /v1/publishers/google/models/gemini-3-pro:streamGenerateContent?alt=sse"), "{head}");
    let head = head.to_lowercase();
    assert!(head.contains("authorization: bearer ya29.x\r\n") && !head.contains("x-goog-api-key"), "{head}");
}
