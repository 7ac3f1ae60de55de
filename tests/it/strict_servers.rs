//! Whole runs with models' servers of which each refuses, or does, something of its own: what is in a conversation when that comes
//! is nothing unusual, and the run must go on.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use assert_cmd::Command;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What the server answers.
enum Reply {
    /// One JSON text.
    Whole(Value),
    /// A stream of these.
    Events(Vec<Value>),
    /// A refusal in these words.
    Refused(String),
}

type Behaviour = dyn Fn(usize, &Value) -> Reply + Send + Sync;

/// A server of models that does what a test says; the nth request is counted from 0.
#[derive(Clone)]
struct StrictServer {
    address: String,
    behaviour: Arc<Behaviour>,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl StrictServer {
    async fn start(behaviour: impl Fn(usize, &Value) -> Reply + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { address, behaviour: Arc::new(behaviour), asked: Arc::default() };
        let app = Router::new().fallback(Self::answer).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        server
    }

    async fn answer(State(server): State<Self>, request: Request) -> Response {
        let bytes = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
        let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let number = {
            let mut asked = server.asked.lock().unwrap();
            asked.push(body.clone());
            asked.len() - 1
        };
        match (server.behaviour)(number, &body) {
            Reply::Whole(answer) => axum::Json(answer).into_response(),
            Reply::Events(events) => {
                let text: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
                ([(CONTENT_TYPE, "text/event-stream")], text + "data: [DONE]\n\n").into_response()
            }
            Reply::Refused(message) => {
                let error = json!({"error": {"message": message, "type": "invalid_request_error", "code": null}});
                (StatusCode::BAD_REQUEST, axum::Json(error)).into_response()
            }
        }
    }

    fn bodies(&self) -> Vec<Value> {
        self.asked.lock().unwrap().clone()
    }

    /// The line of `llms:` that asks it as this provider.
    fn llm(&self, provider: &str, more: &str) -> String {
        let path = match provider {
            "anthropic" => "",
            "gemini" => "/v1beta",
            _ => "/v1",
        };
        let address = &self.address;
        format!(
            "  default: {{ provider: {provider}, model: m, api_key: sk-of-the-test, base_url: \"{address}{path}\", max_retries: 0{more} }}\n"
        )
    }
}

fn project(llms: &str, workflow: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("workflows")).unwrap();
    std::fs::write(folder.path().join("workflows/ask.yaml"), workflow).unwrap();
    std::fs::write(folder.path().join("fastagency.yaml"), format!("version: 1\nllms:\n{llms}")).unwrap();
    folder
}

/// What the program says of a run, all of it.
async fn run(folder: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fastagency"));
    command.args(["run", "ask"]).current_dir(folder).timeout(Duration::from_secs(60));
    for name in
        ["FASTAGENCY_CONFIG", "NATS_URL", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"]
    {
        command.env_remove(name);
    }
    let output = tokio::task::spawn_blocking(move || command.output().expect("the program starts")).await.unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn messages(body: &Value) -> Vec<Value> {
    body["messages"].as_array().cloned().unwrap_or_default()
}

fn calls_in(body: &Value) -> Vec<Value> {
    let calls = |message: &Value| message["tool_calls"].as_array().cloned().unwrap_or_default();
    messages(body).iter().flat_map(calls).collect()
}

fn has_results(body: &Value) -> bool {
    messages(body).iter().any(|message| message["role"] == "tool")
}

fn refused(words: &str) -> Reply {
    Reply::Refused(words.to_owned())
}

fn message(message: Value, finish_reason: &str) -> Reply {
    Reply::Whole(json!({"choices": [{"index": 0, "message": message, "finish_reason": finish_reason}]}))
}

fn says(text: &str) -> Reply {
    message(json!({"role": "assistant", "content": text}), "stop")
}

fn call(name: &str, arguments: &str) -> Value {
    json!({"id": format!("call_{name}"), "type": "function", "function": {"name": name, "arguments": arguments}})
}

fn calls(name: &str, arguments: &str) -> Reply {
    message(json!({"role": "assistant", "content": null, "tool_calls": [call(name, arguments)]}), "tool_calls")
}

const OSLO: &str = r#"{"place": "Oslo"}"#;

/// A chat with a tool; `SUMMARY` is how it is summed up.
const WEATHER: &str = r#"
version: 1
name: ask
tools:
  weather:
    description: The weather of a place
    params: { type: object, properties: { place: { type: string } }, required: [place] }
    do: [ { return: "sun in {{ args.place }}" } ]
agents:
  helper: { tools: [weather] }
steps:
  - id: talk
    chat: { recipient: helper, message: What weather?, max_turns: 2, summary_method: SUMMARY }
  - return: "{{ steps.talk.summary }}"
"#;

fn weather(summary: &str) -> String {
    WEATHER.replace("SUMMARY", summary)
}

/// A group of three; `METHOD` is how they take turns.
const GROUP: &str = r#"
version: 1
name: ask
agents:
  ann: { system_message: You are Ann. }
  bob: { system_message: You are Bob. }
  eve: { system_message: You are Eve. }
steps:
  - id: talk
    group_chat: { agents: [ann, bob, eve], message: Build a kite., max_round: 4, speaker_selection_method: METHOD, summary_method: reflection_with_llm }
  - return: "{{ steps.talk.summary }}"
"#;

/// An agent that is asked alone.
const ALONE: &str = r#"steps:
  - id: reply
    agent: { agent: helper, message: What weather? }
  - return: "{{ steps.reply }}"
"#;

/// A group in which only one has a tool.
const MIXED: &str = r#"agents:
  helper: { system_message: You help., tools: [weather] }
  bob: { system_message: You are Bob. }
steps:
  - group: { pattern: round_robin, initial_agent: helper, agents: [helper, bob], messages: What weather?, max_rounds: 5 }
  - return: done
"#;

/// An agent whose reply is an object, with tools or without.
const FORM: &str = r#"
version: 1
name: ask
tools:
  weather:
    description: The weather of a place
    params: { type: object, properties: { place: { type: string } }, required: [place] }
    do: [ { return: "sun in {{ args.place }}" } ]
agents:
  helper: { TOOLS output: { type: object, properties: { answer: { type: integer } }, required: [answer] } }
steps:
  - id: reply
    agent: { agent: helper, message: How much is it? }
  - return: "{{ steps.reply.answer }} it is"
"#;

#[tokio::test]
async fn a_call_of_what_no_function_can_be_called_does_not_end_the_conversation() {
    for odd in ["multi_tool_use.parallel", "get weather", "wetter-für", ""] {
        let server = StrictServer::start(move |number, body| {
            let is_right = |name: &str| {
                !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
            };
            if calls_in(body).iter().any(|call| !is_right(call["function"]["name"].as_str().unwrap())) {
                return refused("Invalid 'messages[2].tool_calls[0].function.name': string does not match pattern.");
            }
            match number {
                0 => calls(odd, "{}"),
                1 => calls("weather", OSLO),
                _ => says("Sun."),
            }
        })
        .await;
        let alone = WEATHER.split("steps:").next().unwrap().to_owned() + ALONE;
        for workflow in [alone, weather("last_msg").replace("max_turns: 2", "max_turns: 3")] {
            server.asked.lock().unwrap().clear();
            let said = run(project(&server.llm("openai", ", stream: false"), &workflow).path()).await;
            assert!(said.contains("completed: Sun."), "{said}");
            assert_eq!(server.bodies().len(), 3);
        }
    }
}

#[tokio::test]
async fn arguments_that_are_no_object_go_back_as_one_where_a_server_reads_them() {
    for provider in ["vllm", "compatible"] {
        let server = StrictServer::start(|_, body| {
            let arguments = |call: &Value| call["function"]["arguments"].as_str().unwrap().to_owned();
            let is_object = |text: &String| serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object());
            let has_good = calls_in(body).iter().any(|call| arguments(call) == OSLO);
            match calls_in(body).iter().map(arguments).find(|text| !is_object(text)) {
                Some(_) => refused("Expecting ',' delimiter: line 1 column 15 (char 14)"),
                None if has_good => says("Sun."),
                None if has_results(body) => calls("weather", OSLO),
                None => calls("weather", r#"{"place": "Os"lo"}"#),
            }
        })
        .await;
        let said = run(project(
            &server.llm(provider, ", stream: false"),
            &weather("last_msg").replace("max_turns: 2", "max_turns: 3"),
        )
        .path())
        .await;
        assert!(said.contains("completed: Sun."), "{provider}: {said}");
        let tries = if provider == "vllm" { 3 } else { 4 };
        assert_eq!(server.bodies().len(), tries, "a known server refuses nothing, another one once");
    }
}

#[tokio::test]
async fn an_agent_may_say_nothing_where_no_message_may_be_empty() {
    for (provider, tries) in [("moonshot", 4), ("compatible", 5)] {
        let server = StrictServer::start(|_, body| {
            let is_empty = |message: &Value| {
                message.get("tool_calls").is_none()
                    && message["content"].as_str().is_none_or(|text| text.trim().is_empty())
            };
            match messages(body).iter().position(is_empty) {
                Some(at) => refused(&format!(
                    "Invalid request: the message at position {at} with role 'assistant' must not be empty"
                )),
                None if body.to_string().contains("You are Bob.") => says(""),
                None if body.to_string().contains("You are") => says("Wind."),
                None => says("All summed up."),
            }
        })
        .await;
        let workflow = GROUP.replace("METHOD", "round_robin");
        let said = run(project(&server.llm(provider, ", stream: false"), &workflow).path()).await;
        assert!(said.contains("completed: All summed up."), "{provider}: {said}");
        assert_eq!(server.bodies().len(), tries, "{provider}");
    }
}

#[tokio::test]
async fn a_message_with_calls_has_the_content_that_a_server_takes() {
    // LM Studio wants a text, Bedrock wants none that is empty, and a stream without text is the empty text.
    for wants_text in [true, false] {
        let server = StrictServer::start(move |_, body| {
            let is_wrong = |message: &Value| match &message["content"] {
                Value::Null => wants_text,
                content => !wants_text && *content == "",
            };
            if messages(body).iter().any(is_wrong) {
                return match wants_text {
                    true => refused("Invalid 'content': 'content' field must be a string or an array of objects."),
                    false => refused("messages: text content blocks must be non-empty"),
                };
            }
            if has_results(body) {
                return says("Sun.");
            }
            if wants_text {
                return calls("weather", OSLO);
            }
            let mut call = call("weather", OSLO);
            call["index"] = json!(0);
            Reply::Events(vec![
                json!({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}),
                json!({"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]}),
            ])
        })
        .await;
        let more = if wants_text { ", stream: false" } else { "" };
        let said = run(project(&server.llm("compatible", more), &weather("last_msg")).path()).await;
        assert!(said.contains("completed: Sun."), "{said}");
        assert_eq!(server.bodies().len(), 3);
    }
}

#[tokio::test]
async fn an_agent_without_tools_speaks_among_calls_of_others_where_those_are_refused_without_tools() {
    let server = StrictServer::start(|_, body| {
        let has_tools = body.get("tools").is_some();
        match has_results(body) || !calls_in(body).is_empty() {
            true if !has_tools => refused("Bedrock doesn't support tool calling without `tools=` param specified."),
            true => says("Sun in Oslo."),
            false if has_tools => calls("weather", OSLO),
            false => says("So it is."),
        }
    })
    .await;
    let mixed = WEATHER.split("agents:").next().unwrap().to_owned() + MIXED;
    let said = run(project(&server.llm("compatible", ", stream: false"), &mixed).path()).await;
    assert!(said.contains("So it is.") && said.contains("completed: done"), "{said}");
    let told = |body: &Value| body.to_string().contains("[result of weather]\\nsun in Oslo");
    assert!(server.bodies().iter().any(told), "what came of the calls is told");
}

#[tokio::test]
async fn instructions_stand_first_where_a_template_wants_that() {
    let server = StrictServer::start(|_, body| {
        let late = messages(body).iter().skip(1).any(|message| message["role"] == "system");
        match late {
            true => refused("System message must be at the beginning."),
            false if body.to_string().contains("You are") => says("Wind."),
            false => says("All summed up."),
        }
    })
    .await;
    let workflow = GROUP.replace("METHOD", "round_robin");
    let said = run(project(&server.llm("vllm", ", stream: false"), &workflow).path()).await;
    assert!(said.contains("completed: All summed up."), "{said}");
}

#[tokio::test]
async fn who_was_only_thought_of_does_not_speak_next() {
    let server = StrictServer::start(|_, body| {
        let asks_who = !body.to_string().contains("You are");
        match asks_who {
            true if body.to_string().contains("Return the next speaker") || body.to_string().contains("play") => {
                says("<think>\nann has spoken, and eve knows nothing of it.\n</think>\n\nbob")
            }
            true => says("All summed up."),
            false => says(if body.to_string().contains("You are Bob.") { "Bob speaks." } else { "Somebody else." }),
        }
    })
    .await;
    let workflow = GROUP.replace("METHOD", "auto").replace("max_round: 4", "max_round: 2");
    let said = run(project(&server.llm("compatible", ", stream: false"), &workflow).path()).await;
    assert!(said.contains("Bob speaks.") && !said.contains("Somebody else."), "{said}");
    let asked = server.bodies().iter().filter(|body| !body.to_string().contains("You are")).count();
    assert!(asked <= 2, "it is asked once who speaks next: {:?}", server.bodies());
}

#[tokio::test]
async fn an_object_is_replied_with_whatever_a_server_knows_of_forms() {
    let deepseek = |_: usize, body: &Value| {
        let kind = body["response_format"]["type"].as_str().unwrap_or("none").to_owned();
        let said = body["messages"].to_string();
        match kind.as_str() {
            "json_schema" => refused("This response_format type is unavailable now"),
            "json_object" if !said.contains("JSON") => refused(
                "Prompt must contain the word 'json' in some form to use 'response_format' of type 'json_object'.",
            ),
            _ if said.contains("answer") => says(r#"{"answer": 42}"#),
            _ => says(r#"{"something": "else"}"#),
        }
    };
    for (provider, tries) in [("deepseek", 1), ("compatible", 2)] {
        let server = StrictServer::start(deepseek).await;
        let said = run(project(&server.llm(provider, ""), &FORM.replace("TOOLS", "")).path()).await;
        assert!(said.contains("completed: 42 it is"), "{provider}: {said}");
        assert_eq!(server.bodies().len(), tries, "{provider}");
    }
    let gemini = StrictServer::start(|_, body| {
        let has_form = body["generationConfig"]["responseMimeType"] == "application/json";
        if body.get("tools").is_some() && has_form {
            return refused("Function calling with a response mime type: 'application/json' is unsupported");
        }
        let part = match body["contents"].to_string().contains("functionResponse") {
            true => json!({"text": "```json\n{\"answer\": 42}\n```"}),
            false => json!({"functionCall": {"name": "weather", "args": {"place": "Oslo"}}}),
        };
        Reply::Whole(json!({"candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}]}))
    })
    .await;
    let said = run(project(&gemini.llm("gemini", ""), &FORM.replace("TOOLS", "tools: [weather],")).path()).await;
    assert!(said.contains("completed: 42 it is"), "{said}");
    assert_eq!(gemini.bodies().len(), 3);
}

#[tokio::test]
async fn claude_may_think_as_long_as_it_is_told_to_where_nobody_says_how_long_a_reply_is() {
    let server = StrictServer::start(|_, body| {
        let budget = body["thinking"]["budget_tokens"].as_u64().unwrap();
        match budget < body["max_tokens"].as_u64().unwrap() {
            true => Reply::Whole(json!({"type": "message", "content": [{"type": "text", "text": "Sun."}], "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}})),
            false => refused("`max_tokens` must be greater than `thinking.budget_tokens`."),
        }
    })
    .await;
    let more = ", stream: false, extra: { thinking: { type: enabled, budget_tokens: 10000 } }";
    let said =
        run(project(&server.llm("anthropic", more), &weather("last_msg").replace("max_turns: 2", "max_turns: 1"))
            .path())
        .await;
    assert!(said.contains("Sun.") && !said.contains("must be greater"), "{said}");
}

#[tokio::test]
async fn a_tool_is_offered_as_strict_servers_take_it() {
    fn lacking(schema: &Value) -> Option<&'static str> {
        match schema["type"].as_str() {
            Some("object") if schema.get("properties").is_none() => Some("object schema missing properties"),
            Some("array") if schema.get("items").is_none() => Some("array schema missing items"),
            _ => schema["properties"].as_object().into_iter().flatten().find_map(|(_, inner)| lacking(inner)),
        }
    }
    let server = StrictServer::start(|_, body| {
        let tools = body["tools"].as_array().unwrap();
        match tools.iter().find_map(|tool| lacking(&tool["function"]["parameters"])) {
            Some(why) => refused(&format!("Invalid schema for function 'now': In context=(), {why}.")),
            None => says("Noon."),
        }
    })
    .await;
    let workflow = r#"
version: 1
name: ask
tools:
  now: { description: The time, params: { type: object }, do: [ { return: noon } ] }
  tag: { description: Tags it, params: { type: object, properties: { tags: { type: array } } }, do: [ { return: ok } ] }
agents: { helper: { tools: [now, tag] } }
steps:
  - id: reply
    agent: { agent: helper, message: When? }
  - return: "{{ steps.reply }}"
"#;
    let said = run(project(&server.llm("openai", ", stream: false"), workflow).path()).await;
    assert!(said.contains("completed: Noon."), "{said}");
}
