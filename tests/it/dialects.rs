//! Whole runs with models' servers that hold to their own rules: what each must get back, what each refuses, and what is said
//! where the cause lies between.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use assert_cmd::Command;
use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::openapi_tools::certificates;

type Behaviour = dyn Fn(usize, &Value) -> Result<Value, (u16, Value)> + Send + Sync;

/// A server of models that does what a test says; the nth request, counted from 0, gets an answer or a refusal.
#[derive(Clone)]
struct ModelServer {
    address: String,
    behaviour: Arc<Behaviour>,
    /// The paths and bodies of the requests.
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl ModelServer {
    async fn start(behaviour: impl Fn(usize, &Value) -> Result<Value, (u16, Value)> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { address, behaviour: Arc::new(behaviour), asked: Arc::default() };
        let app = Router::new().fallback(Self::answer).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        server
    }

    async fn answer(State(server): State<Self>, request: Request) -> Response {
        let path = request.uri().to_string();
        let bytes = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
        let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let number = {
            let mut asked = server.asked.lock().unwrap();
            asked.push((path, body.clone()));
            asked.len() - 1
        };
        match (server.behaviour)(number, &body) {
            Ok(answer) => axum::Json(answer).into_response(),
            Err((status, error)) => {
                (axum::http::StatusCode::from_u16(status).unwrap(), axum::Json(error)).into_response()
            }
        }
    }

    fn bodies(&self) -> Vec<Value> {
        self.asked.lock().unwrap().iter().map(|(_, body)| body.clone()).collect()
    }

    fn paths(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|(path, _)| path.clone()).collect()
    }
}

fn says(text: &str) -> Value {
    json!({"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]})
}

/// A reply with a call of `weather` for each of these ids, and what stands beside it.
fn calls(ids: &[&str], beside: &Value) -> Value {
    let call = |(id, place): (&&str, &str)| json!({"id": id, "type": "function", "function": {"name": "weather", "arguments": json!({"place": place}).to_string()}});
    let mut message = json!({"role": "assistant", "content": null});
    message["tool_calls"] = ids.iter().zip(["Oslo", "Rome"]).map(call).collect();
    message.as_object_mut().unwrap().extend(beside.as_object().cloned().unwrap_or_default());
    json!({"choices": [{"message": message, "finish_reason": "tool_calls"}]})
}

fn refusal(message: &str) -> (u16, Value) {
    (400, json!({"error": {"message": message, "type": "invalid_request_error", "code": null}}))
}

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
    chat: { recipient: helper, message: What weather?, max_turns: 2, summary_method: last_msg }
  - return: "{{ steps.talk.summary }}"
"#;

fn project(llms: &str, workflow: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("workflows")).unwrap();
    std::fs::write(folder.path().join("workflows/ask.yaml"), workflow).unwrap();
    std::fs::write(folder.path().join("fastagency.yaml"), format!("version: 1\nllms:\n{llms}")).unwrap();
    folder
}

/// What the program says in a project, all of it.
async fn fastagency(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fastagency"));
    command.args(arguments).current_dir(folder).timeout(Duration::from_secs(60));
    for name in [
        "FASTAGENCY_CONFIG",
        "NATS_URL",
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
        "NO_PROXY",
        "no_proxy",
    ] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied());
    let output = tokio::task::spawn_blocking(move || command.output().expect("the program starts")).await.unwrap();
    let all = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), all)
}

async fn run(folder: &TempDir) -> (bool, String) {
    fastagency(folder.path(), &["run", "ask"], &[]).await
}

fn messages(body: &Value) -> Vec<Value> {
    body["messages"].as_array().cloned().unwrap_or_default()
}

#[tokio::test]
async fn who_thinks_before_a_call_gets_the_thoughts_back_with_it() {
    for (provider, blank) in [("deepseek", ""), ("kimi", "refused")] {
        let server = ModelServer::start(move |number, body| {
            for (index, message) in
                messages(body).iter().enumerate().filter(|(_, message)| message["role"] == "assistant")
            {
                if message.get("reasoning_content").is_none_or(|thoughts| thoughts == blank) {
                    return Err(refusal(&format!(
                        "Missing `reasoning_content` field in the assistant message at message index {index}"
                    )));
                }
            }
            Ok(match number {
                0 => calls(&["functions.weather:0"], &json!({"reasoning_content": "I should look."})),
                _ => says("Sun."),
            })
        })
        .await;
        let folder = project(
            &format!(
                "  default: {{ provider: {provider}, model: m, api_key: sk-of-the-test, base_url: \"{}/v1\", stream: false }}\n",
                server.address
            ),
            WEATHER,
        );
        let (completed, said) = run(&folder).await;
        assert!(completed && said.contains("completed: Sun."), "{said}");
        let second = messages(&server.bodies()[1]);
        let called = second.iter().find(|message| message["role"] == "assistant").unwrap();
        assert_eq!(called["reasoning_content"], "I should look.");
        assert_eq!(called["tool_calls"][0].get("extra_content"), None);
        assert_eq!(called["tool_calls"][0]["id"], "functions.weather:0", "an id goes back as it came");
    }
}

/// What Messages refuses of calls and thoughts.
fn refused_by_claude(body: &Value) -> Option<(u16, Value)> {
    let turns = messages(body);
    let blocks = |turn: &Value| turn["content"].as_array().cloned().unwrap_or_default();
    let of = |kind: &str| turns.iter().flat_map(blocks).filter(|block| block["type"] == kind).collect::<Vec<_>>();
    let uses = of("tool_use");
    for (used, result) in uses.iter().zip(of("tool_result")) {
        let id = used["id"].as_str().unwrap();
        if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)) {
            return Some(refusal("messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"));
        }
        if uses.iter().filter(|other| other["id"] == id).count() > 1 {
            return Some(refusal("messages.1.content.1: `tool_use` ids must be unique"));
        }
        assert_eq!(result["tool_use_id"], id);
        assert_eq!(result["content"], format!("sun in {}", used["input"]["place"].as_str().unwrap()));
    }
    // In the middle of a turn: the last message has results alone.
    let last = blocks(turns.last().unwrap());
    let is_open = !last.is_empty() && last.iter().all(|block| block["type"] == "tool_result");
    let first = blocks(&turns[turns.len().saturating_sub(2)]).first().map(|block| block["type"].clone());
    let lacks = is_open && first.is_some_and(|kind| kind == "tool_use");
    let wants = body["thinking"]["type"] == "enabled" && lacks;
    wants.then(|| {
        refusal("messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`.")
    })
}

fn claude_says(content: Value) -> Value {
    json!({"type": "message", "content": content, "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}})
}

#[tokio::test]
async fn a_group_of_models_of_three_providers_calls_tools_in_one_conversation() {
    let has_results = |body: &Value| messages(body).last().is_some_and(|last| last["role"] == "tool");
    let wants_thoughts = |body: &Value, on: fn(&Value) -> bool| {
        let lacks = |message: &&Value| message.get("reasoning_content").is_none_or(|thoughts| *thoughts == "");
        messages(body).iter().filter(|message| on(message)).find(lacks).map(|_| {
            refusal("thinking is enabled but reasoning_content is missing in assistant tool call message at index 2")
        })
    };
    let kimi =
        ModelServer::start(move |_, body| match wants_thoughts(body, |message| message.get("tool_calls").is_some()) {
            Some(refused) => Err(refused),
            None if has_results(body) => Ok(says("Ann knows.")),
            None => Ok(calls(&["functions.weather:0", "functions.weather:1"], &json!({"reasoning_content": "Look."}))),
        })
        .await;
    let groq = ModelServer::start(move |_, body| {
        let unknown = |message: &&Value| {
            ["name", "reasoning_content", "extra_content"].iter().any(|key| message.get(*key).is_some())
        };
        match messages(body).iter().find(unknown) {
            Some(_) => Err(refusal("('messages.1' : property 'name' is unsupported)")),
            None if has_results(body) => Ok(says("Eve knows.")),
            None => Ok(calls(&["call_weather", "call_weather"], &json!({"reasoning": "Look."}))),
        }
    })
    .await;
    let claude = ModelServer::start(|_, body| {
        if let Some(refused) = refused_by_claude(body) {
            return Err(refused);
        }
        let last = messages(body).last().unwrap()["content"].clone();
        if last.as_array().is_some_and(|blocks| blocks.iter().all(|block| block["type"] == "tool_result")) {
            return Ok(claude_says(json!([{"type": "text", "text": "Bob knows."}])));
        }
        let call = json!({"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"place": "Rome"}});
        Ok(claude_says(match body["thinking"]["type"] == "enabled" {
            true => json!([{"type": "thinking", "thinking": "Look.", "signature": "signed"}, call]),
            false => json!([call]),
        }))
    })
    .await;
    let llms = format!(
        "  default: {{ provider: kimi, model: k, api_key: sk-of-the-test, base_url: \"{}/v1\", stream: false }}\n  \
         claude: {{ provider: anthropic, model: c, api_key: sk-of-the-test, base_url: \"{}\", stream: false, extra: {{ thinking: {{ type: enabled, budget_tokens: 2000 }} }} }}\n  \
         groq: {{ provider: groq, model: g, api_key: sk-of-the-test, base_url: \"{}/v1\", stream: false }}\n",
        kimi.address, claude.address, groq.address
    );
    let workflow = WEATHER.split("agents:").next().unwrap().to_owned()
        + "agents:\n  ann: { tools: [weather] }\n  bob: { llm: claude, tools: [weather] }\n  eve: { llm: groq, tools: [weather] }\n\
           steps:\n  - group: { pattern: round_robin, initial_agent: ann, agents: [ann, bob, eve], messages: What weather?, max_rounds: 24 }\n";
    let (completed, said) = run(&project(&llms, &workflow)).await;
    assert!(completed, "{said}");
    for (name, server) in [("Ann", &kimi), ("Bob", &claude), ("Eve", &groq)] {
        assert!(said.matches(&format!("{name} knows.")).count() >= 2, "{name}: {said}");
        assert!(server.bodies().len() >= 4, "{name}");
    }
    assert!(!said.contains("400"), "{said}");
    let thinking: Vec<bool> = claude.bodies().iter().map(|body| body["thinking"]["type"] == "enabled").collect();
    assert!(thinking.iter().all(|thinks| *thinks), "the calls of others are of turns before: {thinking:?}");
}

#[tokio::test]
async fn a_conversation_goes_on_with_a_fallback_of_another_provider_that_thinks() {
    let kimi = ModelServer::start(|number, _| match number {
        0 => Ok(calls(&["functions.weather:0", "functions.weather:0"], &json!({"reasoning_content": "Both."}))),
        _ => Err(refusal("this account is closed")),
    })
    .await;
    let claude = ModelServer::start(|_, body| match refused_by_claude(body) {
        Some(refused) => Err(refused),
        None => Ok(claude_says(json!([{"type": "text", "text": "Sun in both."}]))),
    })
    .await;
    let folder = project(
        &format!(
            "  default: {{ provider: moonshot, model: k, api_key: sk-of-the-test, base_url: \"{}/v1\", stream: false, fallback: [claude] }}\n  \
             claude: {{ provider: anthropic, model: c, api_key: sk-of-the-test, base_url: \"{}\", stream: false, extra: {{ thinking: {{ type: enabled, budget_tokens: 2000 }} }} }}\n",
            kimi.address, claude.address
        ),
        WEATHER,
    );
    let (completed, said) = run(&folder).await;
    assert!(completed && said.contains("completed: Sun in both."), "{said}");
    assert_eq!(claude.bodies().len(), 1, "what it would refuse does not go to it");
}

/// Kimi begins and goes away, and Groq helps where it can, else Claude; when Kimi is back it is asked again, and each gets of the
/// conversation what it takes.
#[tokio::test]
async fn a_conversation_over_three_providers_by_fallback_goes_on_and_comes_back() {
    let away = || (500, json!({"error": {"message": "we are down", "type": "server_error", "code": null}}));
    let kimi = ModelServer::start(move |number, body| {
        let called = messages(body).into_iter().filter(|message| message.get("tool_calls").is_some());
        let thoughts: Vec<Value> = called.map(|message| message["reasoning_content"].clone()).collect();
        match number {
            0 => Ok(calls(&["functions.weather:0"], &json!({"reasoning_content": "I should look."}))),
            1..=3 => Err(away()),
            _ if thoughts == ["I should look.", " "] => Ok(says("Kimi is back.")),
            _ => Err(refusal(&format!("thinking is enabled but reasoning_content is {thoughts:?}"))),
        }
    })
    .await;
    let groq = ModelServer::start(move |number, body| {
        let foreign = |message: &Value| {
            ["name", "reasoning_content", "extra_content"].iter().any(|key| message.get(*key).is_some())
        };
        match number {
            _ if messages(body).iter().any(foreign) => Err(refusal("('messages.1' : property is unsupported)")),
            1 => Ok(calls(&["call_weather", "call_weather"], &json!({"reasoning": "Both."}))),
            _ => Err(away()),
        }
    })
    .await;
    let claude = ModelServer::start(|number, body| match refused_by_claude(body) {
        Some(refused) => Err(refused),
        None => Ok(claude_says(json!([{"type": "text", "text": format!("Claude helps, {number}.")}]))),
    })
    .await;
    let llms = format!(
        "  default: {{ provider: kimi, model: k, api_key: sk-of-the-test, base_url: \"{}/v1\", stream: false, max_retries: 0, fallback: [groq, claude] }}\n  \
         groq: {{ provider: groq, model: g, api_key: sk-of-the-test, base_url: \"{}/v1\", stream: false, max_retries: 0 }}\n  \
         claude: {{ provider: anthropic, model: c, api_key: sk-of-the-test, base_url: \"{}\", stream: false, extra: {{ thinking: {{ type: enabled, budget_tokens: 2000 }} }} }}\n",
        kimi.address, groq.address, claude.address
    );
    let workflow = WEATHER.split("agents:").next().unwrap().to_owned()
        + "agents:\n  ann: { tools: [weather] }\n  bob: { tools: [weather] }\n\
           steps:\n  - group: { pattern: round_robin, initial_agent: ann, agents: [ann, bob], messages: What weather?, max_rounds: 8 }\n";
    let (completed, said) = run(&project(&llms, &workflow)).await;
    assert!(completed && !said.contains("400"), "{said}");
    let order = ["Claude helps, 0.", "Claude helps, 1.", "Kimi is back."].map(|words| said.find(words));
    assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{order:?}: {said}");
    assert_eq!((groq.bodies().len(), claude.bodies().len()), (3, 2), "who answers keeps the others out");
    assert!(kimi.bodies().len() >= 5, "the first is asked again and again");
}

const GROUP: &str = r#"
version: 1
name: ask
agents:
  ann: { system_message: You are Ann. }
  bob: { system_message: You are Bob. }
  eve: { system_message: You are Eve. }
steps:
  - id: talk
    group_chat:
      agents: [ann, bob, eve]
      message: Build a kite.
      max_round: 4
      speaker_selection_method: round_robin
      summary_method: reflection_with_llm
  - return: "{{ steps.talk.summary }}"
"#;

/// What a template says that wants its roles in turn.
fn refused_by_template(body: &Value) -> Option<(u16, Value)> {
    let all = messages(body);
    let spoken = all.iter().skip_while(|message| message["role"] == "system");
    let wrong =
        spoken.enumerate().any(|(at, message)| message["role"] != if at % 2 == 0 { "user" } else { "assistant" });
    wrong.then(|| refusal("Conversation roles must alternate user/assistant/user/assistant/..."))
}

#[tokio::test]
async fn a_group_speaks_with_servers_that_refuse_names_and_want_their_roles_in_turn() {
    let named = |body: &Value| {
        let at = messages(body).iter().position(|message| message.get("name").is_some())?;
        Some((
            422,
            json!({"detail": [{"type": "extra_forbidden", "loc": ["body", "messages", at, "user", "name"], "msg": "Extra inputs are not permitted"}]}),
        ))
    };
    // A known server, one that is described, and one of which nothing is known.
    for (described, requests) in [
        ("provider: mistral", 4),
        ("provider: compatible, dialect: { names: false, roles_alternate: true }", 4),
        ("provider: compatible", 6),
    ] {
        let server = ModelServer::start(move |_, body| match refused_by_template(body).or_else(|| named(body)) {
            Some(refused) => Err(refused),
            None => Ok(says("A line.")),
        })
        .await;
        let llm = format!(
            "  default: {{ {described}, model: m, api_key: sk-of-the-test, base_url: \"{}/v1\", stream: false }}\n",
            server.address
        );
        let (completed, said) = run(&project(&llm, GROUP)).await;
        assert!(completed && said.contains("completed: A line."), "{said}");
        let bodies = server.bodies();
        assert_eq!(bodies.len(), requests, "{described}: {said}");
        let last = messages(bodies.last().unwrap());
        assert_eq!(last.last().unwrap()["role"], "user", "the question for the summary");
        let eve = bodies.iter().map(messages).rfind(|all| all[0]["content"] == "You are Eve.");
        let heard = eve.unwrap()[1]["content"].as_str().unwrap().to_owned();
        assert_eq!(heard, "ann: Build a kite.\n\nbob: A line.");
    }
}

#[tokio::test]
async fn a_field_that_a_server_refuses_is_left_out_once_and_it_is_said() {
    let server = ModelServer::start(|_, body| {
        let detail = |field: &str| (422, json!({"detail": [{"type": "extra_forbidden", "loc": ["body", field], "msg": "Extra inputs are not permitted", "input": true}]}));
        if body.get("stream_options").is_some() {
            return Err(detail("stream_options"));
        }
        if body.get("temperature").is_some() {
            return Err(refusal("Unsupported value: 'temperature' does not support 0.8 with this model. Only the default (1) value is supported."));
        }
        if body.get("max_tokens").is_some() {
            return Err(refusal("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."));
        }
        Ok(says("Yes."))
    })
    .await;
    let workflow = "version: 1\nname: ask\nagents: { a: {}, b: {} }\nsteps:\n  - agent: { agent: a, message: One }\n  - agent: { agent: b, message: Two }\n";
    let llm = format!(
        "  default: {{ provider: compatible, model: m, base_url: \"{}/v1\", temperature: 0.8, max_tokens: 50 }}\n",
        server.address
    );
    let (completed, said) = run(&project(&llm, workflow)).await;
    assert!(completed, "{said}");
    let bodies = server.bodies();
    assert_eq!(bodies.len(), 5, "three refusals, and two answers: {said}");
    for body in &bodies[3..] {
        assert_eq!((body.get("temperature"), body.get("stream_options"), body.get("max_tokens")), (None, None, None));
        assert_eq!((&body["stream"], &body["max_completion_tokens"]), (&json!(true), &json!(50)));
    }
    for setting in ["stream_options: false", "leave_out: [temperature]", "max_tokens_key: max_completion_tokens"] {
        assert_eq!(said.matches(setting).count(), 1, "{said}");
    }
}

#[tokio::test]
async fn an_agent_with_a_long_name_is_handed_over_to() {
    let long = "a_specialist_for_all_questions_of_customs_and_of_foreign_trade_1";
    assert_eq!(long.len(), 64);
    let workflow = format!(
        "version: 1\nname: ask\nagents:\n  triage:\n    handoffs: {{ llm: [ {{ target: {long}, prompt: Customs. }}, {{ target: {long}, prompt: Trade. }} ] }}\n  {long}: {{}}\n\
         steps:\n  - id: help\n    group: {{ initial_agent: triage, agents: [triage, {long}], messages: Help., max_rounds: 4 }}\n"
    );
    let server = ModelServer::start(|number, body| {
        let names: Vec<&str> = body["tools"].as_array().into_iter().flatten().map(|tool| tool["function"]["name"].as_str().unwrap()).collect();
        if let Some(name) = names.iter().find(|name| name.len() > 64) {
            return Err(refusal(&format!("Invalid 'tools[0].function.name': string too long. Expected a string with maximum length 64, but got a string with length {} instead.", name.len())));
        }
        match number {
            0 => {
                assert_ne!(names[0], names[1]);
                let call = json!({"id": "call_1", "type": "function", "function": {"name": names[1], "arguments": "{}"}});
                Ok(json!({"choices": [{"message": {"role": "assistant", "content": null, "tool_calls": [call]}, "finish_reason": "tool_calls"}]}))
            }
            _ => Ok(says("A specialist speaks.")),
        }
    })
    .await;
    let llm = format!(
        "  default: {{ provider: compatible, model: m, base_url: \"{}/v1\", stream: false }}\n",
        server.address
    );
    let folder = project(&llm, &workflow);
    let (completed, said) = run(&folder).await;
    assert!(completed && said.contains("A specialist speaks."), "{said}");
}

#[tokio::test]
async fn the_whole_address_that_a_portal_shows_is_a_base_too_and_a_404_says_what_was_asked() {
    let server = ModelServer::start(|_, _| Ok(says("Yes."))).await;
    let workflow = "version: 1\nname: ask\nagents: { a: {} }\nsteps:\n  - agent: { agent: a, message: One }\n";
    let azure = |path: &str| {
        format!(
            "  default: {{ provider: azure, model: gpt, api_key: sk-of-the-test, base_url: \"{}{path}\", stream: false }}\n",
            server.address
        )
    };
    let whole = azure("/openai/deployments/mine/chat/completions?api-version=2025-01-01");
    let (completed, said) = run(&project(&whole, workflow)).await;
    assert!(completed, "{said}");
    assert_eq!(server.paths(), ["/openai/deployments/mine/chat/completions?api-version=2025-01-01"]);

    let missing = ModelServer::start(|_, _| Err((404, json!({"error": {"message": "Resource not found"}})))).await;
    let host = missing.address.trim_start_matches("http://");
    let llm = format!(
        "  default: {{ provider: compatible, model: m, base_url: \"http://me:geheim@{host}/v2/x?api-version=7&sig=verborgen\", stream: false }}\n"
    );
    let (completed, said) = run(&project(&llm, workflow)).await;
    assert!(!completed && said.contains("Resource not found"), "{said}");
    assert!(said.contains(&format!("(asked at {}/v2/x/chat/completions?api-version=7)", missing.address)), "{said}");
    assert!(!said.contains("geheim") && !said.contains("verborgen"), "{said}");
}

/// A SOCKS5 proxy for one kind of request: to an address of four bytes, without a password.
async fn socks5() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("socks5://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut greeting = [0; 2];
                client.read_exact(&mut greeting).await.unwrap();
                let mut methods = vec![0; usize::from(greeting[1])];
                client.read_exact(&mut methods).await.unwrap();
                client.write_all(&[5, 0]).await.unwrap();
                let mut request = [0; 10];
                client.read_exact(&mut request).await.unwrap();
                assert_eq!(request[..4], [5, 1, 0, 1], "connect to an address of four bytes");
                let [a, b, c, d, high, low] = request[4..].try_into().unwrap();
                let port = u16::from_be_bytes([high, low]);
                let mut server = TcpStream::connect((std::net::Ipv4Addr::new(a, b, c, d), port)).await.unwrap();
                client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    address
}

/// An HTTP proxy that lets in who shows the password `geheim`, and the first lines of what it was asked.
async fn http_proxy() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://me:geheim@{}", listener.local_addr().unwrap());
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = asked.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pass_on(client, seen.clone()));
        }
    });
    (address, asked)
}

/// Serves one connection of a proxy: a request with a whole address, or a tunnel.
async fn pass_on(mut client: TcpStream, asked: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let (first, fields) = head.split_once("\r\n").unwrap();
    asked.lock().unwrap().push(first.to_owned());
    // me:geheim
    if !fields.to_lowercase().contains(&"proxy-authorization: Basic bWU6Z2VoZWlt".to_lowercase()) {
        return client
            .write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
            .await
            .unwrap();
    }
    let (method, rest) = first.split_once(' ').unwrap();
    let target = rest.split(' ').next().unwrap();
    let mut server = match target.strip_prefix("http://").and_then(|target| target.split_once('/')) {
        Some((server, path)) => {
            let mut server = TcpStream::connect(server).await.unwrap();
            server.write_all(format!("{method} /{path} HTTP/1.1\r\n{fields}").as_bytes()).await.unwrap();
            server
        }
        None => {
            assert_eq!(method, "CONNECT");
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
            TcpStream::connect(target).await.unwrap()
        }
    };
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}

/// A model's server over TLS that says "Yes." to everything.
const TLS_MODEL: &str = r#"
import http.server, json, ssl
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        message = {"role": "assistant", "content": "Yes."}
        body = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words):
        pass
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("server.pem", "server.key")
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
"#;

const ONE_QUESTION: &str = "version: 1\nname: ask\nagents: { a: {} }\nsteps:\n  - agent: { agent: a, message: One }\n";

#[tokio::test]
async fn models_are_asked_through_an_http_proxy_with_and_without_tls() {
    let server = ModelServer::start(|_, _| Ok(says("Yes."))).await;
    let llm = |url: &str| {
        format!(
            "  default: {{ provider: compatible, model: m, base_url: \"{url}/v1\", stream: false, max_retries: 0 }}\n"
        )
    };
    let folder = project(&llm(&server.address), ONE_QUESTION);
    let (proxy, asked) = http_proxy().await;
    let (completed, said) = fastagency(folder.path(), &["run", "ask"], &[("HTTP_PROXY", &proxy)]).await;
    assert!(completed && said.contains("Yes."), "{said}");
    let path = format!("POST {}/v1/chat/completions HTTP/1.1", server.address);
    assert_eq!(*asked.lock().unwrap(), [path]);
    assert_eq!(server.paths(), ["/v1/chat/completions"]);

    let wrong = proxy.replace("geheim", "verkehrt");
    let (completed, said) = fastagency(folder.path(), &["run", "ask"], &[("HTTP_PROXY", &wrong)]).await;
    assert!(!completed && said.contains("407") && said.contains("HTTP_PROXY"), "{said}");
    assert!(!said.contains("verkehrt"), "{said}");

    if !certificates::can_start("dialects::models_are_asked_through_an_http_proxy_with_and_without_tls") {
        return;
    }
    let (_tls, url) = certificates::started(folder.path(), TLS_MODEL);
    let sealed = project(&llm(&url), ONE_QUESTION);
    let authority = folder.path().join("authority.pem");
    let tunnel = [("HTTPS_PROXY", proxy.as_str()), ("SSL_CERT_FILE", authority.to_str().unwrap())];
    let (completed, said) = fastagency(sealed.path(), &["run", "ask"], &tunnel).await;
    assert!(completed && said.contains("Yes."), "{said}");
    let connect = format!("CONNECT {} HTTP/1.1", url.trim_start_matches("https://"));
    assert_eq!(asked.lock().unwrap().last(), Some(&connect));
}

#[tokio::test]
async fn a_proxy_is_named_where_it_is_in_the_way_and_socks_is_understood() {
    let server = ModelServer::start(|_, _| Ok(says("Yes."))).await;
    let workflow = "version: 1\nname: ask\nagents: { a: {} }\nsteps:\n  - agent: { agent: a, message: One }\n";
    let llm = format!(
        "  default: {{ provider: compatible, model: m, base_url: \"{}/v1\", stream: false, max_retries: 0 }}\n",
        server.address
    );
    let folder = project(&llm, workflow);
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let proxy = format!("http://me:geheim@{nobody}");
    let ask = async |variables: &[(&str, &str)]| fastagency(folder.path(), &["run", "ask"], variables).await;

    let (completed, said) = ask(&[("HTTP_PROXY", &proxy)]).await;
    assert!(!completed && said.contains(&format!("through the proxy http://{nobody} (HTTP_PROXY")), "{said}");
    assert!(said.contains("NO_PROXY") && !said.contains("geheim"), "{said}");
    let (_, said) = fastagency(folder.path(), &["doctor"], &[("ALL_PROXY", &proxy)]).await;
    assert!(
        said.contains(&format!("through the proxy http://{nobody} (ALL_PROXY")) && !said.contains("geheim"),
        "{said}"
    );
    assert!(server.paths().is_empty());

    let (completed, said) = ask(&[("HTTP_PROXY", &proxy), ("NO_PROXY", "127.0.0.1")]).await;
    assert!(completed, "{said}");
    let (completed, said) = ask(&[("ALL_PROXY", &socks5().await)]).await;
    assert!(completed, "{said}");
    assert_eq!(server.paths().len(), 2);
}

#[tokio::test]
async fn a_key_with_a_letter_that_no_key_has_is_not_sent_and_the_letter_is_named() {
    let server = ModelServer::start(|_, _| {
        Err((400, json!({"error": {"message": "run `ollama pull llama3.1`, or none at all"}})))
    })
    .await;
    let workflow = "version: 1\nname: ask\nagents: { a: {} }\nsteps:\n  - agent: { agent: a, message: One }\n";
    let llm = |key: &str| {
        format!(
            "  default: {{ provider: compatible, model: m, api_key: \"{key}\", base_url: \"{}/v1\", stream: false }}\n",
            server.address
        )
    };
    let odd = project(&llm("\\u201Csk-secret\\u201D"), workflow);
    for command in [&["run", "ask"][..], &["doctor"]] {
        let (_, said) = fastagency(odd.path(), command, &[]).await;
        assert!(said.contains("character 1 is a typographic quotation mark (U+201C)"), "{said}");
        assert!(!said.contains("sk-secret"), "{said}");
    }
    assert!(server.paths().is_empty(), "nothing was sent");
    for key in ["ollama", "none"] {
        let (_, said) = run(&project(&llm(key), workflow)).await;
        assert!(
            said.contains("run `ollama pull llama3.1`, or none at all"),
            "what is no secret hides no words: {said}"
        );
    }
}
