//! The words of real servers, and what is made of them.

use super::*;
use crate::model::testing::{asking, llm};

/// What is asked instead after such an error of a server that was sent these parameters.
fn instead(provider: ModelProvider, status: u16, message: &str, parameters: &[&str]) -> Option<Adaptation> {
    let parameters = parameters.iter().map(|name| ((*name).to_owned(), json!(1))).collect();
    let llm = LlmConfig { provider, parameters, ..llm("http://x") };
    let error =
        Error::Status { model: "m".to_owned(), status, in_answer: false, message: message.to_owned(), code: None };
    Adaptation::after(&error, &llm, &asking("x"))
}

#[test]
fn what_servers_refuse_is_told_by_their_words() {
    let mistral = |field: &str| {
        json!({"detail": [{"type": "extra_forbidden", "loc": ["body", "messages", 0, "user", field], "msg": "Extra inputs are not permitted", "input": "Tom"}]})
            .to_string()
    };
    let stream = json!([{"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}]);
    let compatible = ModelProvider::Compatible;
    for (status, words, parameters, expected) in [
        (422, mistral("name").as_str(), &[][..], Adaptation::WithoutNames),
        (
            400,
            "'messages.1' : for 'role:user' the following must be satisfied[('messages.1' : property 'name' is unsupported)]",
            &[],
            Adaptation::WithoutNames,
        ),
        (400, "property 'name' is unsupported", &[], Adaptation::WithoutNames),
        (400, "Extra inputs are not permitted, field: 'messages[1].name', value: 'Tom'", &[], Adaptation::WithoutNames),
        (422, &stream.to_string(), &[], Adaptation::WithoutStreamOptions),
        (400, "Unrecognized request argument supplied: stream_options", &[], Adaptation::WithoutStreamOptions),
        (
            400,
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            &["max_tokens"],
            Adaptation::Limit(TokenLimitKey::MaxCompletionTokens),
        ),
        (
            422,
            r#"[{"type":"extra_forbidden","loc":["body","max_completion_tokens"],"msg":"Extra inputs are not permitted"}]"#,
            &["max_completion_tokens"],
            Adaptation::Limit(TokenLimitKey::MaxTokens),
        ),
        (
            400,
            "Unsupported value: 'temperature' does not support 0.8 with this model. Only the default (1) value is supported.",
            &["temperature", "top_p"],
            Adaptation::Without("temperature"),
        ),
        (400, "property 'store' is unsupported, did you mean 'stop'?", &["store"], Adaptation::Without("store")),
        (
            400,
            "Unrecognized request argument supplied: parallel_tool_calls",
            &["parallel_tool_calls"],
            Adaptation::Without("parallel_tool_calls"),
        ),
        (400, "Conversation roles must alternate user/assistant/user/assistant/...", &[], Adaptation::RolesInTurn),
        (
            500,
            "Error: Jinja Exception: After the optional system message, conversation roles must alternate user and assistant roles except for tool calls and results.",
            &[],
            Adaptation::RolesInTurn,
        ),
        (400, "Unexpected role 'user' after role 'tool'", &[], Adaptation::RolesInTurn),
        (
            400,
            "Expected last role User or Tool (or Assistant with prefix True) for serving but got system",
            &[],
            Adaptation::RolesInTurn,
        ),
        (400, "System role not supported", &[], Adaptation::WithoutSystem),
        (
            400,
            "Tool call id was functions.x:0 but must be a-z, A-Z, 0-9, with a length of 9.",
            &[],
            Adaptation::CallIds(CallIdForm::Nine),
        ),
        (
            400,
            "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'",
            &[],
            Adaptation::CallIds(CallIdForm::Plain),
        ),
        (400, "messages.1.content.1: `tool_use` ids must be unique", &[], Adaptation::CallIds(CallIdForm::Plain)),
        (
            400,
            "Invalid 'messages[2].tool_calls[0].id': string too long. Expected a string with maximum length 40, but got a string with length 46 instead.",
            &[],
            Adaptation::CallIds(CallIdForm::Plain),
        ),
        (
            400,
            "thinking is enabled but reasoning_content is missing in assistant tool call message at index 2",
            &[],
            Adaptation::Reasoning(ReasoningReturn::WithCalls),
        ),
        (
            400,
            "Missing `reasoning_content` field in the assistant message at message index 2.",
            &[],
            Adaptation::Reasoning(ReasoningReturn::Always),
        ),
        (
            400,
            "The `reasoning_content` in the thinking mode must be passed back to the API.",
            &[],
            Adaptation::Reasoning(ReasoningReturn::Always),
        ),
        (
            400,
            "'messages.1' : for 'role:assistant' the following must be satisfied[('messages.1' : property 'reasoning_content' is unsupported)]",
            &[],
            Adaptation::Reasoning(ReasoningReturn::Never),
        ),
        (
            400,
            "'messages.2' : for 'role:assistant' the following must be satisfied[('messages.2' : property 'reasoning' is unsupported, did you mean 'role'?)]",
            &[],
            Adaptation::Reasoning(ReasoningReturn::Never),
        ),
    ] {
        assert_eq!(instead(compatible, status, words, parameters), Some(expected), "{words}");
    }
    for (words, parameters, expected) in [
        (
            "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`. When `thinking` is enabled, a final `assistant` message must start with a thinking block",
            &[][..],
            Adaptation::NotThinking,
        ),
        ("messages.1.content.0: Invalid `signature` in `thinking` block", &[], Adaptation::NotThinking),
        (
            "`temperature` may only be set to 1 when thinking is enabled.",
            &["temperature"],
            Adaptation::Without("temperature"),
        ),
        ("`temperature` is deprecated for this model.", &["temperature"], Adaptation::Without("temperature")),
        (
            "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
            &["temperature", "top_p"],
            Adaptation::Without("top_p"),
        ),
    ] {
        assert_eq!(instead(ModelProvider::Anthropic, 400, words, parameters), Some(expected), "{words}");
    }
}

#[test]
fn google_says_that_a_call_has_no_signature() {
    let words = "Function call is missing a thought_signature in functionCall parts. Additional data, function call `default_api:f` , position 2.";
    for provider in [ModelProvider::Gemini, ModelProvider::Compatible] {
        assert_eq!(instead(provider, 400, words, &[]), Some(Adaptation::MarkedCalls));
    }
    assert_eq!(instead(ModelProvider::Gemini, 400, "Corrupted thought signature.", &[]), None);
}

#[test]
fn what_a_person_must_change_stays_an_error() {
    for (status, words, parameters) in [
        (400, "Invalid value for temperature: 3, must be between 0 and 2", &["temperature"][..]),
        (400, "Unsupported value: 'temperature' does not support 0.8 with this model.", &[]),
        (400, "'tools' is not supported with this model", &["temperature"]),
        (422, "Extra inputs are not permitted, field: 'top_k', value: 40", &["top_k"]),
        (404, "Unknown request: 'temperature'", &["temperature"]),
        (401, "property 'name' is unsupported in 'messages.1'", &[]),
        (500, "stream_options is not supported", &[]),
        (
            400,
            "Unsupported parameter: 'response_format' of type 'json_schema' is not supported with this model.",
            &["seed"],
        ),
        (400, "Invalid 'tools[0].function.name': string too long", &[]),
        (400, "no", &["user"]),
        (400, "this user is unknown", &["user"]),
    ] {
        assert_eq!(instead(ModelProvider::Compatible, status, words, parameters), None, "{words}");
    }
    // Nobody reads a page of an error for it.
    let page = "<p>no</p> ".repeat(6000) + "'stream_options' is not supported";
    assert_eq!(instead(ModelProvider::Compatible, 400, &page, &[]), None);
    // What a conversation says does not count, only the path beside it.
    let detail = json!([{"type": "missing", "loc": ["body", "model"], "msg": "Field required, unknown", "input": "'messages' and 'name' are unsupported, and so is 'stream_options'"}]);
    assert_eq!(instead(ModelProvider::Compatible, 422, &detail.to_string(), &[]), None);
}

#[test]
fn nothing_is_asked_twice_in_the_same_way() {
    let words = "Unrecognized request argument supplied: stream_options";
    let error =
        Error::Status { model: "m".to_owned(), status: 400, in_answer: false, message: words.to_owned(), code: None };
    let mut llm = llm("http://x");
    let found = Adaptation::after(&error, &llm, &asking("x")).unwrap();
    found.apply(&mut llm);
    assert_eq!(Adaptation::after(&error, &llm, &asking("x")), None);
}

/// What is asked instead after such an error of a request with these messages, tools and this form.
fn instead_of(provider: ModelProvider, words: &str, request: &ModelRequest) -> Option<Adaptation> {
    let llm = LlmConfig { provider, ..llm("http://x") };
    let status = if words.contains("tool call arguments") { 500 } else { 400 };
    let error =
        Error::Status { model: "m".to_owned(), status, in_answer: false, message: words.to_owned(), code: None };
    Adaptation::after(&error, &llm, request)
}

#[test]
fn what_servers_refuse_of_a_conversation_is_told_by_their_words_and_by_what_it_has() {
    let request = |messages: Value| ModelRequest {
        messages: crate::bounds::from_value(messages).unwrap(),
        ..ModelRequest::default()
    };
    let calls = |content: Value, arguments: &str| {
        request(json!([
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": content, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}]},
            {"role": "tool", "tool_call_id": "1", "content": "3"},
        ]))
    };
    let with_tools = |mut request: ModelRequest| {
        request.tools = vec![json!({"type": "function", "function": {"name": "f"}})];
        request
    };
    let malformed = || with_tools(calls(json!("a"), "{\"a\": "));
    let null = || with_tools(calls(Value::Null, "{}"));
    let empty = || request(json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}]));
    let whole = || request(json!([{"role": "user", "content": "a"}]));
    let tells = || calls(json!("a"), "{}");
    for (words, made, expected, other) in [
        (
            "Expecting ',' delimiter: line 1 column 54 (char 53)",
            &malformed as &dyn Fn() -> ModelRequest,
            Adaptation::ObjectArguments,
            &null as &dyn Fn() -> ModelRequest,
        ),
        ("Unterminated string starting at: line 1 column 14 (char 13)", &malformed, Adaptation::ObjectArguments, &null),
        (
            "Failed to parse tool call arguments as JSON: unexpected end of input",
            &malformed,
            Adaptation::ObjectArguments,
            &null,
        ),
        ("Can only get item pairs from a mapping.", &malformed, Adaptation::ObjectArguments, &null),
        (
            "Invalid request: the message at position 8 with role 'assistant' must not be empty",
            &empty,
            Adaptation::NothingEmpty,
            &whole,
        ),
        ("messages: text content blocks must be non-empty", &empty, Adaptation::NothingEmpty, &null),
        ("Each message must have at least one content element.", &empty, Adaptation::NothingEmpty, &whole),
        (
            "Invalid 'content': 'content' field must be a string or an array of objects.",
            &null,
            Adaptation::NoNull,
            &whole,
        ),
        (
            r#"[{"type":"string_type","loc":["body","messages",1,"content"],"msg":"Input should be a valid string","input":null}]"#,
            &null,
            Adaptation::NoNull,
            &whole,
        ),
        (
            "Bedrock doesn't support tool calling without `tools=` param specified.",
            &tells,
            Adaptation::CallsAsText,
            &null,
        ),
        (
            "Requests which have `tool_use` or `tool_result` blocks in messages must define tools",
            &tells,
            Adaptation::CallsAsText,
            &whole,
        ),
        (
            "The toolConfig field must be defined when using toolUse and toolResult content blocks.",
            &tells,
            Adaptation::CallsAsText,
            &null,
        ),
    ] {
        assert_eq!(instead_of(ModelProvider::Compatible, words, &made()), Some(expected), "{words}");
        assert_eq!(instead_of(ModelProvider::Compatible, words, &other()), None, "it has none: {words}");
    }
    for words in [
        "System message must be at the beginning.",
        "Error: Jinja Exception: System message must be at the beginning.",
        "invalid params, chat content has multiple system messages",
    ] {
        assert_eq!(instead_of(ModelProvider::Compatible, words, &whole()), Some(Adaptation::RolesInTurn), "{words}");
    }
}

#[test]
fn a_form_that_a_server_cannot_be_asked_for_is_asked_for_with_less() {
    let schema = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}});
    let request = |tools: bool| ModelRequest {
        response_format: Some(schema.clone()),
        tools: if tools { vec![json!({"type": "function", "function": {"name": "f"}})] } else { Vec::new() },
        ..asking("x")
    };
    let (compatible, gemini, anthropic) = (ModelProvider::Compatible, ModelProvider::Gemini, ModelProvider::Anthropic);
    for (provider, tools, words, expected) in [
        (compatible, false, "This response_format type is unavailable now", FormRequest::Object),
        (
            compatible,
            false,
            "Failed to deserialize the JSON body into the target type: response_format: response_format.type `json_schema` is unavailable now",
            FormRequest::Object,
        ),
        (
            compatible,
            false,
            "'response_format.type' must be 'json_object'; json_schema is not supported",
            FormRequest::Object,
        ),
        (compatible, true, "json mode cannot be combined with tool/function calling", FormRequest::SchemaWithoutTools),
        (
            gemini,
            true,
            "Function calling with a response mime type: 'application/json' is unsupported",
            FormRequest::SchemaWithoutTools,
        ),
        (anthropic, false, "output_config: Extra inputs are not permitted", FormRequest::Words),
    ] {
        assert_eq!(instead_of(provider, words, &request(tools)), Some(Adaptation::Form(expected)), "{words}");
        assert_eq!(instead_of(provider, words, &asking("x")), None, "no form is asked for: {words}");
    }
    let wrong = "Invalid schema for response_format 'x': 'required' is required to be supplied. Unsupported.";
    assert_eq!(instead_of(compatible, wrong, &request(false)), None, "a person must change the schema");
}
