//! What counts in a recording, and what does not: which requests, questions, results and events must be the same.

use serde_json::{Map, Value};

/// What of a run is compared with its recording.
#[derive(Debug, Default)]
pub struct Actual {
    pub requests: Vec<Value>,
    pub prompts: Vec<Value>,
    pub results: Vec<Value>,
    pub events: Vec<Value>,
}

/// The events that must be the same.
const CORE: [&str; 17] = [
    "text",
    "tool_call",
    "tool_response",
    "execute_function",
    "executed_function",
    "input_request",
    "termination",
    "using_auto_reply",
    "termination_and_human_reply_no_input",
    "group_chat_run_chat",
    "select_speaker",
    "select_speaker_invalid_input",
    "select_speaker_try_count_exceeded",
    "stream",
    "run_completion",
    "error",
    "post_carryover_processing",
];

/// What a recording says of itself.
struct Hints<'a> {
    cut_after: Vec<&'a str>,
    python_repr: bool,
}

/// All differences, each with its place.
pub fn differences(trace: &Value, actual: &Actual) -> Vec<String> {
    let hints = Hints {
        cut_after: trace["compare"]["cut_after"].as_array().into_iter().flatten().filter_map(Value::as_str).collect(),
        python_repr: trace["compare"]["python_repr"] == true,
    };
    let mut found = Vec::new();
    let mut same = |expected: Vec<Value>, actual: Vec<Value>, place: &str| {
        found.extend(first_difference(&Value::Array(expected), &Value::Array(actual), place));
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let requests = |requests: &[Value]| requests.iter().map(|request| clean_request(request, &hints)).collect();
    same(requests(&list(&trace["requests"])), requests(&actual.requests), "requests");
    let prompts = list(&trace["human"]).iter().map(|human| human["prompt"].clone()).collect();
    same(prompts, actual.prompts.clone(), "human");
    let events = |events: &[Value]| {
        let core = events.iter().filter(|event| CORE.iter().any(|kind| event["type"] == *kind));
        core.map(|event| clean_event(event, &hints)).collect()
    };
    same(events(&list(&trace["events"])), events(&actual.events), "events");
    let results = list(&trace["results"]);
    if results.len() != actual.results.len() {
        found.push(format!("results: {} are expected, there are {}", results.len(), actual.results.len()));
    }
    for (index, (expected, actual)) in results.iter().zip(&actual.results).enumerate() {
        let failed = |result: &Value| result.get("error").is_some();
        if failed(expected) != failed(actual) {
            found.push(format!(
                "results/{index}: {} is expected, not {}",
                short(&expected["error"]),
                short(&actual["error"])
            ));
            continue;
        }
        for key in ["chat_history", "summary", "last_speaker", "context_variables"] {
            if key == "summary" && hints.python_repr {
                continue;
            }
            let part = |result: &Value| clean(&result[key], &hints, false);
            found.extend(first_difference(&part(expected), &part(actual), &format!("results/{index}/{key}")));
        }
    }
    found
}

fn clean(value: &Value, hints: &Hints<'_>, in_tool: bool) -> Value {
    match value {
        Value::Object(map) => {
            let tool = in_tool || map.get("role").is_some_and(|role| role == "tool");
            let mut kept = Map::new();
            for (key, value) in map {
                let nothing = value.is_null() && key != "content";
                let of_stream = key == "index" && map.contains_key("function");
                let of_python = key == "content" && tool && hints.python_repr;
                if !nothing && !of_stream && !of_python && key != "uuid" && key != "respond" {
                    kept.insert(key.clone(), clean(value, hints, tool));
                }
            }
            if kept.contains_key("tool_calls") && kept.get("content").is_some_and(Value::is_null) {
                kept.remove("content");
            }
            Value::Object(kept)
        }
        Value::Array(items) => items.iter().map(|item| clean(item, hints, in_tool)).collect(),
        Value::String(text) => {
            let mut text = text.as_str();
            for mark in &hints.cut_after {
                if let Some(at) = text.find(mark) {
                    text = &text[..at + mark.len()];
                }
            }
            text.into()
        }
        other => other.clone(),
    }
}

fn clean_request(request: &Value, hints: &Hints<'_>) -> Value {
    let mut cleaned = clean(request, hints, false);
    if let Value::Object(map) = &mut cleaned {
        // Schemas are compared as they are: `default: null` counts.
        if let Some(tools) = request.get("tools").filter(|tools| !tools.is_null()) {
            map.insert("tools".to_owned(), tools.clone());
        }
        if map.get("stream") == Some(&Value::Bool(false)) {
            map.remove("stream");
        }
    }
    cleaned
}

fn clean_event(event: &Value, hints: &Hints<'_>) -> Value {
    let mut content = event["content"].as_object().cloned().unwrap_or_default();
    let kind = event["type"].as_str().unwrap_or_default();
    let only = |content: &Map<String, Value>, keys: &[&str]| -> Map<String, Value> {
        keys.iter().map(|key| ((*key).to_owned(), content.get(*key).cloned().unwrap_or_default())).collect()
    };
    match kind {
        "error" => content.clear(),
        "executed_function" if hints.python_repr || !content.get("content").is_some_and(Value::is_string) => {
            content.remove("content");
        }
        "tool_response" if hints.python_repr => {
            content.remove("content");
        }
        "run_completion" => content = only(&content, &["summary", "last_speaker"]),
        "post_carryover_processing" => {
            let info = content.get("chat_info").and_then(Value::as_object).cloned().unwrap_or_default();
            let info = only(&info, &["carryover", "message", "sender", "recipient"]);
            content = Map::from_iter([("chat_info".to_owned(), Value::Object(info))]);
        }
        "input_request" => content = only(&content, &["prompt"]),
        "tool_call" => content = only(&content, &["content", "sender", "recipient", "tool_calls"]),
        _ => {}
    }
    clean(&serde_json::json!({"type": kind, "content": content}), hints, false)
}

fn first_difference(expected: &Value, actual: &Value, place: &str) -> Option<String> {
    match (expected, actual) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            keys.into_iter().find_map(|key| match (a.get(key), b.get(key)) {
                (Some(a), Some(b)) => first_difference(a, b, &format!("{place}/{key}")),
                (Some(a), None) => Some(format!("{place}/{key}: {} is missing", short(a))),
                (None, b) => Some(format!("{place}/{key}: {} is too much", short(b.unwrap_or(&Value::Null)))),
            })
        }
        (Value::Array(a), Value::Array(b)) => {
            let inside = a.iter().zip(b).enumerate();
            let inside = inside.map(|(index, (a, b))| first_difference(a, b, &format!("{place}/{index}")));
            inside.flatten().next().or_else(|| match a.len() == b.len() {
                true => None,
                false => {
                    let next = a.get(b.len()).or_else(|| b.get(a.len())).unwrap_or(&Value::Null);
                    Some(format!("{place}: {} are expected, there are {}; then {}", a.len(), b.len(), short(next)))
                }
            })
        }
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => None,
        _ if expected == actual => None,
        _ => Some(format!("{place}: {} is expected, not {}", short(expected), short(actual))),
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 300 { text } else { format!("{}…", text.chars().take(300).collect::<String>()) }
}
