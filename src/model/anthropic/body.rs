//! The body of a request to Messages.

use serde_json::{Map, Value, json};

use crate::bounds::{OUTSIDE, read};
use crate::config::LlmConfig;
use crate::model::form::{self, ANY_OBJECT};
use crate::model::parameters::{RequestParameters, parameters, stops};
use crate::model::thoughts;
use crate::model::turns::{ModelTurn, TurnConversation, TurnImage, TurnPart, turns};
use crate::protocol::dialogue::{ModelRequest, ToolCall};

/// The longest reply where nobody says another; Messages wants to be told one.
const LONGEST_REPLY_TOKENS: u64 = 8192;
/// The parameter that lets a model think.
const THINKING: &str = "thinking";
/// Parameters whose name and meaning are the same.
const SAME: [&str; 2] = ["temperature", "top_p"];

/// The body, and whether it asks for a stream.
pub(super) fn body(llm: &LlmConfig, request: &ModelRequest) -> (Value, bool) {
    let mut parameters = parameters(llm, request);
    let form = form::asked(parameters.response_format.take(), llm.dialect.response_format, !request.tools.is_empty());
    parameters.response_format = form.format;
    let request = &*form::instructed(request, form.words.as_deref());
    // Calls and results in a conversation are refused where no tools are offered.
    let TurnConversation { mut system, turns } = turns(&request.messages, !request.tools.is_empty());

    let thinking = thinking(&parameters, &turns, &llm.model);
    if thinking == Thinking::OffOnce {
        parameters.take(THINKING);
    }

    let mut body = Map::new();
    body.insert("model".to_owned(), json!(llm.model));
    let longest = parameters.take("max_tokens").or(parameters.take("max_completion_tokens"));
    body.insert("max_tokens".to_owned(), longest.unwrap_or_else(|| longest_with_thoughts(&parameters)));
    let streamed = parameters.streamed;
    if streamed {
        body.insert("stream".to_owned(), json!(true));
    }
    let mut output = Map::new();
    match parameters.schema().cloned() {
        Some(schema) => {
            output.insert("format".to_owned(), json!({"type": "json_schema", "schema": closed(schema)}));
        }
        None if parameters.response_format.is_some() => {
            system = Some(system.map_or(ANY_OBJECT.to_owned(), |system| format!("{system}\n\n{ANY_OBJECT}")));
        }
        None => {}
    }
    if let Some(effort) = parameters.take("reasoning_effort") {
        output.insert("effort".to_owned(), if effort == "minimal" { json!("low") } else { effort });
    }
    if let Some(system) = system {
        body.insert("system".to_owned(), json!(system));
    }
    body.insert("messages".to_owned(), turns.iter().map(|turn| message(turn, thinking, &llm.model)).collect());
    if !request.tools.is_empty() {
        body.insert("tools".to_owned(), request.tools.iter().map(tool).collect());
    }
    if let Some(choice) = tool_choice(&mut parameters)
        && !request.tools.is_empty()
    {
        body.insert("tool_choice".to_owned(), choice);
    }
    for name in SAME {
        body.extend(parameters.take(name).map(|value| (name.to_owned(), value)));
    }
    body.extend(parameters.take("stop").map(|stop| ("stop_sequences".to_owned(), stops(stop))));
    let user = parameters.take("safety_identifier").or(parameters.take("user"));
    body.extend(user.map(|user| ("metadata".to_owned(), json!({"user_id": user}))));
    if !output.is_empty() {
        body.insert("output_config".to_owned(), Value::Object(output));
    }
    body.extend(parameters.rest());
    (Value::Object(body), streamed)
}

/// The longest reply where nobody says another. Thoughts count as a part of it, and Messages refuses a budget for them that is not
/// smaller.
fn longest_with_thoughts(parameters: &RequestParameters) -> Value {
    let budget = parameters.given.get(THINKING).and_then(|thinking| thinking.get("budget_tokens")?.as_u64());
    json!(budget.unwrap_or(0).saturating_add(LONGEST_REPLY_TOKENS))
}

/// Whether the model thinks before it answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Thinking {
    /// Nothing says so; the model may think by itself.
    Unsaid,
    /// It is told to.
    On,
    /// It is told not to.
    Off,
    /// It is told to, but may not in this request.
    OffOnce,
}

/// Messages refuses to think in the middle of a turn that began without: since the user last spoke, each message with calls must
/// begin with thoughts. Those that another model made, or this one when it did not think, have none.
fn thinking(parameters: &RequestParameters, turns: &[ModelTurn<'_>], model: &str) -> Thinking {
    match parameters.given.get(THINKING).and_then(|thinking| thinking.get("type")?.as_str()) {
        None => Thinking::Unsaid,
        Some("disabled") => Thinking::Off,
        Some(_) => {
            // Words beside the results begin a new turn.
            let answers = |turn: &ModelTurn<'_>| turn.parts.iter().all(|part| matches!(part, TurnPart::Result { .. }));
            let open = turns.iter().rev().take_while(|turn| turn.by_model || answers(turn));
            let lacks = |turn: &ModelTurn<'_>| {
                let mut calls = turn.parts.iter().filter_map(TurnPart::call).peekable();
                calls.peek().is_some() && !calls.any(|call| thoughts_of(call, model).is_some_and(|all| !all.is_empty()))
            };
            if open.into_iter().any(lacks) { Thinking::OffOnce } else { Thinking::On }
        }
    }
}

/// The sealed thoughts that led to a call.
fn thoughts_of<'c>(call: &'c ToolCall, model: &str) -> Option<&'c Vec<Value>> {
    thoughts::own(call, "anthropic", model)?.get("thinking")?.as_array()
}

fn message(turn: &ModelTurn<'_>, thinking: Thinking, model: &str) -> Value {
    let role = if turn.by_model { "assistant" } else { "user" };
    if let [TurnPart::Text(text)] = turn.parts.as_slice() {
        return json!({"role": role, "content": text});
    }
    // Sealed thoughts come first in their turn, or the calls after them are refused.
    let goes_back = matches!(thinking, Thinking::On | Thinking::Unsaid);
    let calls = turn.parts.iter().filter_map(TurnPart::call).filter(|_| goes_back);
    let thoughts = calls.filter_map(|call| thoughts_of(call, model));
    let content: Vec<Value> = thoughts.flatten().cloned().chain(turn.parts.iter().map(block)).collect();
    json!({"role": role, "content": content})
}

fn block(part: &TurnPart<'_>) -> Value {
    match part {
        TurnPart::Text(text) => json!({"type": "text", "text": text}),
        TurnPart::Image(TurnImage::Data { media_type, base64 }) => {
            json!({"type": "image", "source": {"type": "base64", "media_type": media_type, "data": base64}})
        }
        TurnPart::Image(TurnImage::At(url)) => json!({"type": "image", "source": {"type": "url", "url": url}}),
        TurnPart::Call(call) => {
            json!({"type": "tool_use", "id": call.id, "name": call.function.name, "input": arguments(call)})
        }
        TurnPart::Result { call, text } => json!({"type": "tool_result", "tool_use_id": call.id, "content": text}),
    }
}

/// The arguments as an object, which they must be; what is none was refused when it was to be called.
fn arguments(call: &ToolCall) -> Value {
    let arguments = read(call.function.arguments.as_bytes(), &OUTSIDE).ok().filter(Value::is_object);
    arguments.unwrap_or_else(|| json!({}))
}

fn tool(tool: &Value) -> Value {
    // One of the provider's own tools.
    let Some(function) = tool.get("function") else { return tool.clone() };
    let mut made = Map::new();
    for (theirs, ours) in [("name", "name"), ("description", "description"), ("input_schema", "parameters")] {
        made.extend(
            function.get(ours).filter(|value| !value.is_null()).map(|value| (theirs.to_owned(), value.clone())),
        );
    }
    made.entry("input_schema").or_insert_with(|| json!({"type": "object", "properties": {}}));
    if function.get("strict") == Some(&json!(true)) {
        made.insert("strict".to_owned(), json!(true));
    }
    Value::Object(made)
}

fn tool_choice(parameters: &mut RequestParameters) -> Option<Value> {
    let one_at_a_time = parameters.take("parallel_tool_calls") == Some(json!(false));
    let mut choice = match parameters.take("tool_choice") {
        None if one_at_a_time => json!({"type": "auto"}),
        None => return None,
        Some(Value::String(word)) => match word.as_str() {
            "required" => json!({"type": "any"}),
            other => json!({"type": other}),
        },
        Some(choice) => match choice.pointer("/function/name") {
            Some(name) => json!({"type": "tool", "name": name}),
            None => choice,
        },
    };
    if one_at_a_time && choice["type"] != "none" {
        choice["disable_parallel_tool_use"] = json!(true);
    }
    Some(choice)
}

/// The schema with every object in it closed, as Messages demands.
fn closed(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(map) => {
            let is_object = map.get("type").is_some_and(|kind| kind == "object") || map.contains_key("properties");
            for (_, inner) in map.iter_mut() {
                *inner = closed(inner.take());
            }
            if is_object && !map.contains_key("additionalProperties") {
                map.insert("additionalProperties".to_owned(), json!(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = closed(item.take())),
        _ => {}
    }
    schema
}
