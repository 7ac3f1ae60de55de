//! What a dialect changes in a request.

use serde_json::{Map, Value, json};

use super::body::body;
use crate::config::{ChatDialect, FormRequest, LlmConfig, ModelProvider, ReasoningReturn, TokenLimitKey};
use crate::model::testing::llm;
use crate::protocol::dialogue::ModelRequest;

fn sent(llm: &LlmConfig, messages: Value, parameters: Value) -> Value {
    let Value::Object(parameters) = parameters else { panic!("no map") };
    let tools = vec![json!({"type": "function", "function": {"name": "f"}})];
    let messages = crate::bounds::from_value(messages).unwrap();
    let (text, _) = body(llm, &ModelRequest { messages, parameters, tools, ..ModelRequest::default() });
    serde_json::from_str(&text).unwrap()
}

fn by(name: &str, content: &str) -> Value {
    json!({"role": "user", "name": name, "content": content})
}

fn with(dialect: ChatDialect) -> LlmConfig {
    LlmConfig { dialect, ..llm("http://x/v1") }
}

#[test]
fn without_names_the_texts_say_who_speaks_where_several_do() {
    let strict = with(ChatDialect { names: false, ..ChatDialect::OPEN });
    let alone = sent(&strict, json!([by("ann", "a"), by("ann", "b")]), json!({}));
    assert_eq!(alone["messages"], json!([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]));
    let parts = json!({"role": "user", "name": "bob", "content": [{"type": "text", "text": "b"}]});
    let model = json!({"role": "assistant", "name": "me", "content": "c"});
    let both = sent(&strict, json!([by("ann", "a"), parts, model]), json!({}));
    assert_eq!(
        both["messages"],
        json!([
            {"role": "user", "content": "ann: a"},
            {"role": "user", "content": [{"type": "text", "text": "bob:"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": "c"},
        ])
    );
}

#[test]
fn roles_take_turns_with_calls_between_them() {
    let call = json!({"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": {"model": "other", "google": {"thought_signature": "s"}}});
    let conversation = json!([
        {"role": "system", "content": "Be kind."},
        by("ann", "a"),
        by("bob", "b"),
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "3"},
        by("bob", "c"),
        {"role": "assistant", "content": "d"},
        {"role": "system", "content": "Summarize."},
    ]);
    let alternating = ChatDialect { roles_alternate: true, ..ChatDialect::OPEN };
    let body = sent(&with(alternating), conversation.clone(), json!({}));
    assert_eq!(
        body["messages"],
        json!([
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "ann: a\n\nbob: b"},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "1", "content": "3"},
            {"role": "assistant", "content": "I have the results."},
            {"role": "user", "content": "bob: c"},
            {"role": "assistant", "content": "d"},
            {"role": "user", "content": "Summarize."},
        ])
    );
    let without = sent(&with(ChatDialect { system: false, ..alternating }), conversation.clone(), json!({}));
    assert_eq!(without["messages"][0], json!({"role": "user", "content": "Be kind.\n\nann: a\n\nbob: b"}));
    let plain = sent(&with(ChatDialect { system: false, ..ChatDialect::OPEN }), conversation, json!({}));
    assert_eq!(plain["messages"][0], json!({"role": "user", "content": "System message: Be kind."}));
}

#[test]
fn parameters_are_called_as_the_server_calls_them_or_left_out() {
    let parameters = json!({"temperature": 0.8, "max_tokens": 50, "top_p": 0.5});
    let keys = |llm: &LlmConfig| {
        let body = sent(llm, json!([]), parameters.clone());
        body.as_object().unwrap().keys().filter(|key| *key != "messages").cloned().collect::<Vec<_>>()
    };
    let dialect = ChatDialect {
        stream_options: false,
        max_tokens_key: Some(TokenLimitKey::MaxCompletionTokens),
        ..ChatDialect::OPEN
    };
    let leave_out = ["temperature".to_owned()].into();
    assert_eq!(
        keys(&LlmConfig { leave_out, ..with(dialect) }),
        ["model", "stream", "top_p", "max_completion_tokens", "tools"]
    );
    // OpenAI's reasoning models.
    let openai =
        |model: &str| keys(&LlmConfig { provider: ModelProvider::OpenAi, model: model.to_owned(), ..llm("http://x") });
    let plain = ["model", "stream", "stream_options", "temperature", "max_tokens", "top_p", "tools"];
    for model in ["o3", "o3-mini", "o4-mini", "gpt-5", "gpt-5-mini", "gpt-5-2025-08-07"] {
        assert_eq!(openai(model), ["model", "stream", "stream_options", "max_completion_tokens", "tools"], "{model}");
    }
    for model in ["gpt-4o", "gpt-5-chat-latest", "gpt-5.1", "o30"] {
        assert_eq!(openai(model), plain, "{model}");
    }
    // OpenAI refuses what is about tools where there are none; AG2 sends it to all.
    let about_tools = |provider: ModelProvider| {
        let parameters = json!({"tool_choice": "auto", "parallel_tool_calls": false}).as_object().unwrap().clone();
        let (text, _) = body(&LlmConfig { provider, parameters, ..llm("http://x") }, &ModelRequest::default());
        text.matches("tool").count()
    };
    assert_eq!([ModelProvider::OpenAi, ModelProvider::Compatible].map(about_tools), [0, 2]);
    assert_eq!(
        keys(&LlmConfig { model: "o3-mini".to_owned(), ..llm("http://x") }),
        plain,
        "elsewhere it may be another"
    );
}

#[test]
fn each_server_gets_the_thoughts_that_it_wants() {
    let thoughts = json!({"reasoning_content": "hm", "reasoning": "hm"});
    let call = |model: &str| json!({"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": {"model": model, "compatible": thoughts}});
    let messages = json!([
        {"role": "assistant", "content": "a"},
        {"role": "assistant", "content": null, "tool_calls": [call("gpt-4o-mini")]},
        {"role": "assistant", "content": null, "tool_calls": [call("another")]},
        by("ann", "b"),
    ]);
    let back = |reasoning: ReasoningReturn| {
        let body = sent(&with(ChatDialect { reasoning, ..ChatDialect::OPEN }), messages.clone(), json!({}));
        let of =
            |message: &Value| message.as_object().cloned().unwrap_or_else(Map::new).get("reasoning_content").cloned();
        body["messages"].as_array().unwrap().iter().map(of).collect::<Vec<_>>()
    };
    let [own, blank, nothing] = ["hm", " ", ""].map(|text| Some(json!(text)));
    assert_eq!(back(ReasoningReturn::Never), [None, None, None, None]);
    assert_eq!(back(ReasoningReturn::AsSent), [None, own.clone(), None, None]);
    assert_eq!(back(ReasoningReturn::WithCalls), [None, own.clone(), blank, None]);
    assert_eq!(back(ReasoningReturn::Always), [nothing.clone(), own, nothing, None]);
}

#[test]
fn googles_compatible_interface_gets_its_own_seals_and_a_mark_for_those_of_others() {
    let call = |id: &str, extra: Value| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": extra});
    let seal = |model: &str| json!({"model": model, "google": {"thought_signature": "s"}});
    let messages = json!([
        {"role": "assistant", "content": null, "tool_calls": [call("1", seal("gemini-3-pro")), call("2", Value::Null)]},
        {"role": "assistant", "content": null, "tool_calls": [call("3", seal("gemini-3-flash")), call("4", Value::Null)]},
        {"role": "assistant", "content": null, "tool_calls": [call("5", Value::Null)]},
    ]);
    let seals = |base_url: &str, model: &str| {
        let llm = LlmConfig { model: model.to_owned(), ..llm(base_url) };
        let body = sent(&llm, messages.clone(), json!({}));
        let calls = body["messages"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|message| message["tool_calls"].as_array().unwrap().clone());
        calls.map(|call| call.pointer("/extra_content/google/thought_signature").cloned()).collect::<Vec<_>>()
    };
    let [own, mark] = ["s", "skip_thought_signature_validator"].map(|text| Some(json!(text)));
    let google = "https://generativelanguage.googleapis.com/v1beta/openai";
    assert_eq!(seals(google, "gemini-3-pro"), [own.clone(), None, mark.clone(), None, mark]);
    assert_eq!(seals("http://x", "gemini-3-pro"), [own, None, None, None, None]);
    assert_eq!(seals(google, "gemini-2.5-flash"), [None, None, None, None, None]);
}

#[test]
fn what_strict_servers_refuse_in_messages_is_filled_in() {
    let call =
        |arguments: &str| json!({"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}});
    let messages = json!([
        {"role": "system", "content": ""},
        {"role": "user", "content": " "},
        {"role": "assistant", "content": "", "tool_calls": [call("{\"a\": 1}")]},
        {"role": "tool", "tool_call_id": "1", "content": ""},
        {"role": "assistant", "content": null, "tool_calls": [call("{\"a\": "), call("[1]"), call("")]},
        {"role": "assistant", "content": ""},
    ]);
    let taken = |dialect: ChatDialect| sent(&with(dialect), messages.clone(), json!({}))["messages"].clone();
    let contents = |dialect: ChatDialect| {
        taken(dialect).as_array().unwrap().iter().map(|message| message["content"].clone()).collect::<Vec<_>>()
    };
    let open = ChatDialect::OPEN;
    assert_eq!(
        contents(open),
        [json!(""), json!(" "), json!(""), json!(""), Value::Null, json!("")],
        "as AG2 sends them"
    );
    let (nothing, no_result) = (json!("(nothing)"), json!("(no result)"));
    let filled = ChatDialect { empty_content: false, ..open };
    assert_eq!(contents(filled), [nothing.clone(), Value::Null, no_result.clone(), Value::Null, nothing.clone()]);
    let without_null = ChatDialect { null_content: false, ..open };
    assert_eq!(contents(without_null), [json!(""), json!(" "), json!(""), json!(""), json!(""), json!("")]);
    let neither = ChatDialect { null_content: false, ..filled };
    assert_eq!(contents(neither), [nothing.clone(), nothing.clone(), no_result, nothing.clone(), nothing]);
    let arguments = |dialect: ChatDialect| {
        let calls = taken(dialect)
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|message| message["tool_calls"].as_array().cloned().unwrap_or_default())
            .collect::<Vec<_>>();
        calls.iter().map(|call| call["function"]["arguments"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(arguments(open), ["{\"a\": 1}", "{\"a\": ", "[1]", ""]);
    assert_eq!(arguments(ChatDialect { any_arguments: false, ..open }), ["{\"a\": 1}", "{}", "{}", "{}"]);
}

#[test]
fn calls_are_told_as_text_where_a_request_without_tools_may_have_none() {
    let call = json!({"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let messages: Vec<std::sync::Arc<crate::protocol::dialogue::ChatMessage>> = crate::bounds::from_value(json!([
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "3"},
        {"role": "system", "content": "Summarize."},
    ]))
    .unwrap();
    let dialect = ChatDialect { calls_without_tools: false, ..ChatDialect::OPEN };
    let sent = |tools: Vec<Value>| {
        let request = ModelRequest { messages: messages.clone(), tools, ..ModelRequest::default() };
        serde_json::from_str::<Value>(&body(&with(dialect), &request).0).unwrap()["messages"].clone()
    };
    assert_eq!(
        sent(Vec::new()),
        json!([
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "[called f with {}]"},
            {"role": "user", "content": "[result of f]\n3\n\nSummarize."},
        ])
    );
    assert_eq!(sent(vec![json!({"type": "function", "function": {"name": "f"}})])[1]["tool_calls"], json!([call]));
}

#[test]
fn a_form_is_asked_for_as_the_server_knows_it() {
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}});
    let messages = json!([{"role": "system", "content": "Be kind."}, {"role": "user", "content": "a"}]);
    let asked = |response_format: FormRequest| {
        let body = sent(
            &with(ChatDialect { response_format, ..ChatDialect::OPEN }),
            messages.clone(),
            json!({"response_format": format}),
        );
        (body["response_format"].clone(), body["messages"][0]["content"].as_str().unwrap().to_owned())
    };
    let told =
        "Be kind.\n\nAnswer with one JSON object and nothing else. It must fit this JSON Schema: {\"type\":\"object\"}";
    assert_eq!(asked(FormRequest::Schema), (format.clone(), "Be kind.".to_owned()));
    assert_eq!(asked(FormRequest::Object), (json!({"type": "json_object"}), told.to_owned()));
    assert_eq!(asked(FormRequest::SchemaWithoutTools), (Value::Null, told.to_owned()), "the requests here have tools");
    assert_eq!(asked(FormRequest::Words), (Value::Null, told.to_owned()));
}
