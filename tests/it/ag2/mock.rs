//! A server that speaks OpenAI's chat completions: it gives the replies of a recording, in the order of the requests, and
//! notes what it is asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};

/// A running server.
pub struct Mock {
    pub base_url: String,
    script: Arc<Script>,
    task: tokio::task::JoinHandle<()>,
}

struct Script {
    replies: Vec<Value>,
    requests: Mutex<Vec<Value>>,
}

impl Mock {
    pub async fn start(replies: &Value) -> Self {
        let replies = replies.as_array().cloned().unwrap_or_default();
        let script = Arc::new(Script { replies, requests: Mutex::default() });
        let routes = Router::new().route("/v1/chat/completions", post(answer)).with_state(script.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base_url = format!("http://{}/v1", listener.local_addr().expect("an address"));
        let task = tokio::spawn(async move { axum::serve(listener, routes).await.expect("a server") });
        Self { base_url, script, task }
    }

    /// The bodies of all requests so far.
    pub fn requests(&self) -> Vec<Value> {
        self.script.requests.lock().unwrap().clone()
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State(script): State<Arc<Script>>, body: String) -> Response {
    let body: Value = serde_json::from_str(&body).expect("a request is JSON");
    let number = {
        let mut requests = script.requests.lock().unwrap();
        requests.push(body.clone());
        requests.len() - 1
    };
    let reply = match script.replies.get(number) {
        Some(Value::String(text)) => json!({"content": text}),
        Some(reply) => reply.clone(),
        None => json!({"status": 400, "body": {"error": {"message": "the script is exhausted"}}}),
    };
    if let Some(delay) = reply["delay_s"].as_f64() {
        tokio::time::sleep(Duration::from_secs_f64(delay)).await;
    }
    let status = reply["status"].as_u64().unwrap_or(200);
    let (kind, text) = if let Some(raw) = reply["raw"].as_str() {
        ("application/json", raw.to_owned())
    } else if status != 200 {
        let usual = json!({"error": {"message": format!("mock error {status}"), "type": "mock_error", "code": null}});
        ("application/json", reply.get("body").unwrap_or(&usual).to_string())
    } else if body["stream"] == true {
        ("text/event-stream", stream(number, &body, &reply))
    } else {
        ("application/json", whole(number, &body, &reply).to_string())
    };
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static(kind));
    for (name, value) in reply["headers"].as_object().into_iter().flatten() {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header's name");
        headers.insert(name, HeaderValue::from_str(value.as_str().unwrap_or_default()).expect("a header's value"));
    }
    let status = StatusCode::from_u16(u16::try_from(status).expect("a status")).expect("a status");
    (status, headers, text).into_response()
}

fn calls(reply: &Value) -> Vec<Value> {
    let call = |call: &Value| {
        let arguments = match &call["arguments"] {
            Value::String(text) => text.clone(),
            Value::Null => "{}".to_owned(),
            other => as_python_writes(other),
        };
        json!({"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": arguments}})
    };
    reply["tool_calls"].as_array().into_iter().flatten().map(call).collect()
}

/// JSON with a space after each comma and colon, and ASCII only.
fn as_python_writes(value: &Value) -> String {
    let text = |text: &str| {
        let quoted = json!(text).to_string();
        let mut ascii = String::new();
        for letter in quoted.chars() {
            if letter.is_ascii() {
                ascii.push(letter);
            } else {
                let mut units = [0; 2];
                letter.encode_utf16(&mut units).iter().for_each(|unit| ascii.push_str(&format!("\\u{unit:04x}")));
            }
        }
        ascii
    };
    match value {
        Value::Object(map) => {
            let entries: Vec<_> =
                map.iter().map(|(key, value)| format!("{}: {}", text(key), as_python_writes(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(as_python_writes).collect::<Vec<_>>().join(", "))
        }
        Value::String(string) => text(string),
        other => other.to_string(),
    }
}

fn finish_reason(reply: &Value) -> &str {
    let usual = if calls(reply).is_empty() { "stop" } else { "tool_calls" };
    reply["finish_reason"].as_str().unwrap_or(usual)
}

fn usage(reply: &Value) -> Value {
    let read = |key: &str, usual: u64| reply["usage"][key].as_u64().unwrap_or(usual);
    let (prompt, completion) = (read("prompt_tokens", 10), read("completion_tokens", 5));
    json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion})
}

fn whole(number: usize, body: &Value, reply: &Value) -> Value {
    let mut message = json!({"role": "assistant", "content": reply["content"]});
    let calls = calls(reply);
    if !calls.is_empty() {
        message["tool_calls"] = json!(calls);
    }
    if let Some(refusal) = reply.get("refusal") {
        message["refusal"] = refusal.clone();
    }
    json!({
        "id": format!("chatcmpl-mock-{number}"), "object": "chat.completion", "created": 1_700_000_000, "model": body["model"],
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish_reason(reply)}],
        "usage": usage(reply),
    })
}

fn stream(number: usize, body: &Value, reply: &Value) -> String {
    let chunk = |choices: Value| {
        json!({
            "id": format!("chatcmpl-mock-{number}"), "object": "chat.completion.chunk", "created": 1_700_000_000,
            "model": body["model"], "choices": choices,
        })
    };
    let delta = |delta: Value, finish: Value| chunk(json!([{"index": 0, "delta": delta, "finish_reason": finish}]));
    let cut = |text: &str, size: usize| -> Vec<String> {
        let letters: Vec<char> = text.chars().collect();
        letters.chunks(size).map(|piece| piece.iter().collect()).collect()
    };
    let content = reply["content"].as_str().unwrap_or_default();
    let calls = calls(reply);
    let first = if !calls.is_empty() && content.is_empty() { Value::Null } else { json!("") };
    let mut chunks = vec![delta(json!({"role": "assistant", "content": first}), Value::Null)];
    let pieces = match reply["chunks"].as_array() {
        Some(pieces) => pieces.iter().filter_map(|piece| piece.as_str().map(str::to_owned)).collect(),
        None => cut(content, 8),
    };
    chunks.extend(pieces.into_iter().map(|piece| delta(json!({"content": piece}), Value::Null)));
    for (index, call) in calls.iter().enumerate() {
        let function = json!({"name": call["function"]["name"], "arguments": ""});
        let begun = json!({"index": index, "id": call["id"], "type": "function", "function": function});
        chunks.push(delta(json!({"tool_calls": [begun]}), Value::Null));
        let arguments = cut(call["function"]["arguments"].as_str().unwrap_or_default(), 6);
        let piece = |arguments: String| json!({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]});
        chunks.extend(arguments.into_iter().map(|arguments| delta(piece(arguments), Value::Null)));
    }
    chunks.push(delta(json!({}), json!(finish_reason(reply))));
    if body["stream_options"]["include_usage"] == true {
        let mut last = chunk(json!([]));
        last["usage"] = usage(reply);
        chunks.push(last);
    }
    chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect::<String>() + "data: [DONE]\n\n"
}
