//! The body of a request to `generateContent`.

use serde_json::{Map, Value, json};

use crate::bounds::{OUTSIDE, read};
use crate::config::LlmConfig;
use crate::model::draft::OUR_CALL_IDS;
use crate::model::form;
use crate::model::parameters::{RequestParameters, parameters, stops};
use crate::model::thoughts::{self, NO_SIGNATURE, demands_signatures};
use crate::model::turns::{ModelTurn, TurnConversation, TurnImage, TurnPart, turns};
use crate::protocol::dialogue::{ModelRequest, ToolCall};

/// Parameters and what they are called in `generationConfig`.
const SETTINGS: [(&str, &str); 9] = [
    ("temperature", "temperature"),
    ("top_p", "topP"),
    ("max_tokens", "maxOutputTokens"),
    ("max_completion_tokens", "maxOutputTokens"),
    ("seed", "seed"),
    ("presence_penalty", "presencePenalty"),
    ("frequency_penalty", "frequencyPenalty"),
    ("logprobs", "responseLogprobs"),
    ("top_logprobs", "logprobs"),
];
/// The body, and whether it asks for a stream.
pub(super) fn body(llm: &LlmConfig, request: &ModelRequest) -> (Value, bool) {
    let mut parameters = parameters(llm, request);
    let streamed = parameters.streamed;
    let form = form::asked(parameters.response_format.take(), llm.dialect.response_format, !request.tools.is_empty());
    parameters.response_format = form.format;
    let request = &*form::instructed(request, form.words.as_deref());
    let TurnConversation { system, turns } = turns(&request.messages, true);
    let model = llm.model.rsplit('/').next().unwrap_or_default();

    let mut body = Map::new();
    if let Some(system) = system {
        body.insert("systemInstruction".to_owned(), json!({"parts": [{"text": system}]}));
    }
    body.insert("contents".to_owned(), turns.iter().map(|turn| content(turn, llm)).collect());
    let settings = settings(model, &mut parameters);
    if !settings.is_empty() {
        body.insert("generationConfig".to_owned(), Value::Object(settings));
    }
    if !request.tools.is_empty() {
        body.insert("tools".to_owned(), tools(&request.tools));
    }
    if let Some(choice) = parameters.take("tool_choice")
        && !request.tools.is_empty()
    {
        body.insert("toolConfig".to_owned(), json!({"functionCallingConfig": tool_choice(&choice)}));
    }
    for (key, value) in parameters.rest() {
        match (body.get_mut(&key), value) {
            // `extra: {generationConfig: {topK: 5}}` adds to what is there.
            (Some(Value::Object(there)), Value::Object(more)) => there.extend(more),
            (_, value) => drop(body.insert(key, value)),
        }
    }
    (Value::Object(body), streamed)
}

fn content(turn: &ModelTurn<'_>, llm: &LlmConfig) -> Value {
    let mut first_call = true;
    let parts: Vec<Value> = turn
        .parts
        .iter()
        .map(|part| match part {
            TurnPart::Text(text) => json!({"text": text}),
            TurnPart::Image(TurnImage::Data { media_type, base64 }) => {
                json!({"inlineData": {"mimeType": media_type, "data": base64}})
            }
            TurnPart::Image(TurnImage::At(url)) => {
                json!({"fileData": {"mimeType": media_type_of(url), "fileUri": url}})
            }
            TurnPart::Call(call) => function_call(call, std::mem::take(&mut first_call), llm),
            TurnPart::Result { call, text } => {
                let mut response = json!({"name": call.function.name, "response": result(text)});
                add_id(&mut response, call);
                json!({"functionResponse": response})
            }
        })
        .collect();
    json!({"role": if turn.by_model { "model" } else { "user" }, "parts": parts})
}

/// A call with the signature that it came with. Of several at once only the first has one.
fn function_call(call: &ToolCall, first: bool, llm: &LlmConfig) -> Value {
    let arguments = read(call.function.arguments.as_bytes(), &OUTSIDE).ok().filter(Value::is_object);
    let mut function = json!({"name": call.function.name, "args": arguments.unwrap_or_else(|| json!({}))});
    add_id(&mut function, call);
    let mut part = json!({"functionCall": function});
    // A seal of another model is refused.
    let signature = thoughts::own(call, "google", &llm.model).and_then(|google| google.get("thought_signature"));
    let demanded = first && demands_signatures(llm);
    match signature {
        Some(signature) => part["thoughtSignature"] = signature.clone(),
        None if demanded => part["thoughtSignature"] = json!(NO_SIGNATURE),
        None => {}
    }
    part
}

/// Says which call is meant, if the server gave it an id; otherwise their order does.
fn add_id(of: &mut Value, call: &ToolCall) {
    if !call.id.starts_with(OUR_CALL_IDS) {
        of["id"] = json!(call.id);
    }
}

/// A result as an object, which it must be.
fn result(text: &str) -> Value {
    let object = read(text.as_bytes(), &OUTSIDE).ok().filter(Value::is_object);
    object.unwrap_or_else(|| json!({"result": text}))
}

fn media_type_of(url: &str) -> &'static str {
    let path = url.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    match path.rsplit('.').next() {
        Some("png") => "image/png",
        Some("webp") => "image/webp",
        Some("gif") => "image/gif",
        Some("heic") => "image/heic",
        _ => "image/jpeg",
    }
}

fn settings(model: &str, parameters: &mut RequestParameters) -> Map<String, Value> {
    let mut settings = Map::new();
    for (ours, theirs) in SETTINGS {
        settings.extend(parameters.take(ours).map(|value| (theirs.to_owned(), value)));
    }
    settings.extend(parameters.take("stop").map(|stop| ("stopSequences".to_owned(), stops(stop))));
    if let Some(effort) = parameters.take("reasoning_effort") {
        settings.insert("thinkingConfig".to_owned(), thinking(model, effort));
    }
    if parameters.response_format.is_some() {
        settings.insert("responseMimeType".to_owned(), json!("application/json"));
        settings.extend(parameters.schema().map(|schema| ("responseJsonSchema".to_owned(), schema.clone())));
    }
    settings
}

/// How long to reason: a level, or for older models a number of tokens, as Google's compatible interface has them.
fn thinking(model: &str, effort: Value) -> Value {
    if !model.starts_with("gemini-2") {
        return json!({"thinkingLevel": effort});
    }
    let budget = match effort.as_str() {
        Some("none") => 0,
        Some("minimal" | "low") => 1024,
        Some("high") => 24_576,
        _ => 8192,
    };
    json!({"thinkingBudget": budget})
}

/// The functions in one list, and the provider's own tools as they are.
fn tools(tools: &[Value]) -> Value {
    let mut declarations = Vec::new();
    let mut others = Vec::new();
    for tool in tools {
        let Some(function) = tool.get("function") else {
            others.push(tool.clone());
            continue;
        };
        let mut made = Map::new();
        for key in ["name", "description"] {
            made.extend(
                function.get(key).filter(|value| !value.is_null()).map(|value| (key.to_owned(), value.clone())),
            );
        }
        let parameters = function.get("parameters");
        // A function without parameters must not declare an empty object.
        let has_some =
            |schema: &&Value| schema.get("properties").and_then(Value::as_object).is_some_and(|all| !all.is_empty());
        made.extend(parameters.filter(has_some).map(|schema| ("parametersJsonSchema".to_owned(), schema.clone())));
        declarations.push(Value::Object(made));
    }
    if !declarations.is_empty() {
        others.insert(0, json!({"functionDeclarations": declarations}));
    }
    Value::Array(others)
}

fn tool_choice(choice: &Value) -> Value {
    match choice.as_str() {
        Some("none") => json!({"mode": "NONE"}),
        Some("required") => json!({"mode": "ANY"}),
        Some(_) => json!({"mode": "AUTO"}),
        None => match choice.pointer("/function/name") {
            Some(name) => json!({"mode": "ANY", "allowedFunctionNames": [name]}),
            None => choice.clone(),
        },
    }
}
