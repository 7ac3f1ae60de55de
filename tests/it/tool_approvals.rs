//! Approvals of tools that are more than steps: operations of an OpenAPI specification, functions of a Python file, tools of an MCP server,
//! programs, requests, services on NATS, agents, and workflows. Each way around an approval is tried on each kind.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::extract::{Request, State};
use bytes::Bytes;
use fastagency::auth::{ApiKey, UserDirectory, new_key};
use fastagency::broker::services::{ServiceError, ServiceReply, ServiceRequest, ServiceRequests};
use fastagency::broker::{self, Broker};
use fastagency::config::{self, AuthConfig};
use fastagency::ids::{MessageId, Name, RunId, UserId};
use fastagency::message::MessageContent;
use fastagency::model::open_all;
use fastagency::outside::OutsideServices;
use fastagency::protocol::signable::Signable;
use fastagency::run;
use fastagency::run::answer::{AnswerPayload, SubmittedAnswer, answer};
use fastagency::run::record::{LogEntry, RecordBody, RunOutcome};
use fastagency::signing::{SignedStatement, StatementSigner};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::answerers::{FOR_SUPPORT, SUPPORT, asked, auth, call, decide, ended, socket_of, start, workflows};
use crate::approvals::results;
use crate::mcp::fake_server::FakeServer;
use crate::support::client::{Socket, hear_json, say};
use crate::support::eventually::eventually;
use crate::support::system::{Follower, System, count};

/// A kind of tool: one that refunds, and one beside it.
struct ToolKind {
    name: &'static str,
    /// The entries of `tools`.
    tools: &'static str,
    /// What its tools are called with, and a change of that.
    arguments: &'static str,
    change: (&'static str, &'static str),
    /// What it is called with after the change.
    changed: &'static str,
}

const MONEY: &str = r#"{"amount":120,"number":"INV-1001"}"#;
const LESS_MONEY: &str = r#"{"amount":20,"number":"INV-1001"}"#;
const OF_AMOUNT: (&str, &str) = ("/amount", "20");

const KINDS: [ToolKind; 8] = [
    ToolKind {
        name: "openapi",
        tools: "  desk: { openapi: desk.json, approve: APPROVE }\n",
        arguments: MONEY,
        change: OF_AMOUNT,
        changed: LESS_MONEY,
    },
    ToolKind {
        name: "mcp",
        tools: "  desk: { mcp: desk, approve: APPROVE }\n",
        arguments: MONEY,
        change: OF_AMOUNT,
        changed: LESS_MONEY,
    },
    ToolKind {
        name: "python",
        tools: "  desk: { python: desk.py, approve: APPROVE }\n",
        arguments: MONEY,
        change: OF_AMOUNT,
        changed: LESS_MONEY,
    },
    ToolKind {
        name: "command",
        tools: "  refund: { description: Refunds, params: PARAMS, command: desk, approve: APPROVE }\n  credit: { description: Credits, params: PARAMS, command: desk, approve: APPROVE }\n",
        arguments: MONEY,
        change: OF_AMOUNT,
        changed: LESS_MONEY,
    },
    ToolKind {
        name: "http",
        tools: "  refund: { description: Refunds, params: PARAMS, http: POST URL/refunds, approve: APPROVE }\n  credit: { description: Credits, params: PARAMS, http: POST URL/credits, approve: APPROVE }\n",
        arguments: MONEY,
        change: OF_AMOUNT,
        changed: LESS_MONEY,
    },
    ToolKind {
        name: "nats",
        tools: "  refund: { description: Refunds, params: PARAMS, nats: desk.refund, approve: APPROVE }\n  credit: { description: Credits, params: PARAMS, nats: desk.credit, approve: APPROVE }\n",
        arguments: MONEY,
        change: OF_AMOUNT,
        changed: LESS_MONEY,
    },
    ToolKind {
        name: "agent",
        tools: "  refund: { agent: expert, approve: APPROVE }\n  credit: { agent: expert, approve: APPROVE }\n",
        arguments: r#"{"message":"refund INV-1001"}"#,
        change: ("/message", "\"refund nothing\""),
        changed: r#"{"message":"refund nothing"}"#,
    },
    ToolKind {
        name: "workflow",
        tools: "  refund: { workflow: payout, approve: APPROVE }\n  credit: { workflow: payout, approve: APPROVE }\n",
        arguments: MONEY,
        change: OF_AMOUNT,
        changed: LESS_MONEY,
    },
];

const PARAMS: &str = "{ type: object, properties: { number: { type: string }, amount: { type: number, maximum: 500 } }, required: [number, amount] }";

/// What a workflow that is called says.
const PAYOUT: &str = r#"
version: 1
name: payout
description: Pays out
params: PARAMS
steps:
  - message: 'done {"amount":{{ params.amount }},"number":"{{ params.number }}"}'
  - return: refunded
"#;

const DESK: &str = r#"
version: 1
name: desk
agents:
  clerk: { system_message: You are a clerk., tools: [TOOLS] }
  expert: { llm: expert, system_message: You know refunds., description: Knows refunds }
tools:
ENTRIES
steps:
  - { id: reply, agent: { agent: clerk, message: Go. } }
  - return: "{{ steps.reply }}"
"#;

/// Everything that tools reach, which writes down what it was called with; and the project that names it.
struct Desk {
    folder: tempfile::TempDir,
    server: Arc<Mutex<Vec<Value>>>,
    /// Where the API of the specification is.
    url: String,
    kind: &'static ToolKind,
    config: config::Config,
    models: fastagency::model::ModelRegistry,
    _mcp: FakeServer,
    _openapi: JoinSet<()>,
}

/// The API of the specification, and the model of the expert.
async fn noted(State(notes): State<Arc<Mutex<Vec<Value>>>>, request: Request) -> axum::Json<Value> {
    let is_model = request.uri().path().ends_with("/chat/completions");
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    if !is_model {
        notes.lock().push(body);
        return axum::Json(json!("refunded"));
    }
    let asked = body["messages"].as_array().and_then(|messages| messages.last()).expect("a message");
    notes.lock().push(json!({"message": asked["content"]}));
    let message = json!({"role": "assistant", "content": "Because."});
    axum::Json(json!({
        "id": "1", "object": "chat.completion", "created": 0, "model": "expert",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }))
}

/// The service of the tools on NATS.
struct NotedService(Arc<Mutex<Vec<Value>>>);

#[async_trait]
impl ServiceRequests for NotedService {
    async fn request(&self, request: ServiceRequest<'_>) -> Result<ServiceReply, ServiceError> {
        self.0.lock().push(serde_json::from_slice(&request.payload).unwrap());
        Ok(ServiceReply { payload: Bytes::from_static(b"refunded"), fault: None })
    }
}

impl Desk {
    /// With a clerk's model that says these things, each a line.
    async fn of(kind: &'static ToolKind, script: &[String]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Arc::<Mutex<Vec<Value>>>::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new().fallback(noted).with_state(server.clone());
        let mut openapi = JoinSet::new();
        openapi.spawn(async move { axum::serve(listener, routes).await.unwrap() });

        let schema: Value = json!({
            "type": "object", "required": ["number", "amount"],
            "properties": {"number": {"type": "string"}, "amount": {"type": "number", "maximum": 500}},
        });
        let operation = |id: &str| {
            let body = json!({"required": true, "content": {"application/json": {"schema": schema}}});
            json!({"post": {"operationId": id, "requestBody": body}})
        };
        let specification = json!({
            "openapi": "3.1.0", "info": {"title": "Desk", "version": "1"}, "servers": [{"url": url}],
            "paths": {"/refunds": operation("refund"), "/credits": operation("credit")},
        });
        let (notes, form) = (server.clone(), schema.clone());
        let mcp = FakeServer::start(move |method, params, _| {
            let tool = |name: &str| json!({"name": name, "inputSchema": form});
            Ok(match method {
                "tools/list" => json!({
                    "resultType": "complete", "tools": [tool("refund"), tool("credit")], "ttlMs": 0, "cacheScope": "private",
                }),
                "tools/call" => {
                    notes.lock().push(params["arguments"].clone());
                    json!({"resultType": "complete", "content": [{"type": "text", "text": "refunded"}]})
                }
                _ => Value::Null,
            })
        })
        .await;
        let function = |name: &str| {
            format!(
                "def {name}(number: str, amount: int) -> str:\n    \"\"\"Refunds\"\"\"\n    with open('notes', 'a') as notes:\n        notes.write(json.dumps({{'amount': amount, 'number': number}}) + '\\n')\n    return 'refunded'\n\n\n"
            )
        };
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("desk.json", &specification.to_string());
        write("desk.py", &format!("import json\n\n\n{}{}", function("refund"), function("credit")));
        let notes = folder.path().join("notes");
        let program = format!("cat >> {0}; echo >> {0}; echo refunded", notes.display());
        let script: String = script.iter().map(|line| format!("      {line}\n")).collect();
        let text = format!(
            "version: 1\nname: desk\noutgoing: {{ allow_private: [127.0.0.1] }}\nmcp: {{ desk: {{ url: '{}' }} }}\ncommands: {{ desk: {{ run: [sh, -c, '{program}'] }} }}\npython: {{ interpreter: [python3, -S] }}\nllms:\n  default:\n    provider: scripted\n    stream: false\n    script:\n{script}  expert: {{ provider: compatible, model: expert, stream: false, base_url: '{url}' }}\n",
            mcp.url
        );
        write("fastagency.yaml", &text);
        let config = config::load(&folder.path().join("fastagency.yaml"), &|_| None);
        let config = config.unwrap_or_else(|problems| panic!("{problems}"));
        let models = open_all(&config.llms, false);
        Self { folder, server, url, kind, config, models, _mcp: mcp, _openapi: openapi }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn sources(&self, approve: &str) -> [String; 2] {
        let kind = self.kind;
        let names = if kind.tools.contains("credit") { "refund, credit" } else { "desk" };
        let entries = kind.tools.replace("APPROVE", approve).replace("PARAMS", PARAMS).replace("URL", &self.url);
        let desk = DESK.replace("TOOLS", names).replace("ENTRIES", entries.trim_end());
        [desk, PAYOUT.replace("PARAMS", PARAMS)]
    }

    /// A gateway and a worker over this broker.
    async fn system(
        &self,
        approve: &str,
        broker: &Broker,
        auth: AuthConfig,
        signer: Option<&StatementSigner>,
    ) -> System {
        let sources = self.sources(approve);
        let served = workflows(&sources.each_ref().map(String::as_str));
        let gateway_signer = signer.cloned();
        let services: Arc<dyn ServiceRequests> = Arc::new(NotedService(self.server.clone()));
        System::over(Broker { services: Some(services), ..broker.clone() })
            .gateway(|settings| (settings.auth, settings.gateway_signer) = (auth, gateway_signer))
            .worker_of(served[0].clone())
            .parts(|parts| {
                parts.workflows = served[..1].to_vec();
                parts.outside = OutsideServices::new(&self.config);
                parts.models = self.models.clone();
                parts.settings.trusted_gateways = signer.iter().map(|signer| signer.public()).collect();
            })
            .start()
            .await
    }

    async fn house(&self, approve: &str) -> System {
        let auth = auth(self.path());
        self.system(approve, &broker::embedded::open(&self.data()).unwrap(), auth, None).await
    }

    fn data(&self) -> PathBuf {
        let data = self.path().join("data");
        std::fs::create_dir_all(&data).unwrap();
        data
    }

    /// What was done in these runs: what the outside world and the expert were called with, or what the workflow said.
    async fn done(&self, house: &System, runs: &[RunId]) -> Vec<Value> {
        match self.kind.name {
            "openapi" | "mcp" | "http" | "nats" | "agent" => self.server.lock().clone(),
            "python" | "command" => {
                let notes = std::fs::read_to_string(self.path().join("notes")).unwrap_or_default();
                notes.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
            }
            _ => {
                let mut done = Vec::new();
                for run in runs {
                    let log = run::read(&house.broker, *run, 0).await.unwrap();
                    done.extend(log.iter().filter_map(told));
                }
                done
            }
        }
    }
}

fn told(placed: &LogEntry) -> Option<Value> {
    let RecordBody::Said { message, .. } = &placed.record.body else { return None };
    let MessageContent::TextMessage { body: Some(body), .. } = &message.says else { return None };
    Some(serde_json::from_str(body.strip_prefix("done ")?).unwrap())
}

/// A reply of the clerk that calls a tool.
fn calls(kind: &ToolKind, tool: &str, id: &str) -> String {
    calls_with(kind.arguments, tool, id)
}

fn calls_with(arguments: &str, tool: &str, id: &str) -> String {
    format!("- {{ when: You are a clerk, tool_calls: [{{ id: {id}, name: {tool}, arguments: {arguments} }}] }}")
}

fn says(text: &str) -> String {
    format!("- {{ when: You are a clerk, content: {text} }}")
}

fn one_call(kind: &ToolKind) -> [String; 2] {
    [calls(kind, "refund", "c1"), says("Done.")]
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The next approval: its id, digest and words, and the tool.
async fn next(follower: &mut Follower) -> (MessageId, String, String, String) {
    follower
        .until("an approval", |body| match body {
            RecordBody::Said { message, .. } => match &message.says {
                MessageContent::Approval(asked) => Some((
                    message.uuid,
                    asked.digest.clone().unwrap(),
                    asked.prompt.clone().unwrap(),
                    asked.function_name.clone(),
                )),
                _ => None,
            },
            _ => None,
        })
        .await
}

fn begun(seen: &[LogEntry]) -> usize {
    count(seen, |body| matches!(body, RecordBody::Calling { .. }))
}

/// A key of ann's, for the command line.
fn key_of_ann(auth: &AuthConfig) -> String {
    let path = auth.file.clone().unwrap();
    let mut people = UserDirectory::read(&path).unwrap();
    let (key, sha256) = new_key();
    let groups = vec!["customers".to_owned()];
    people.keys.insert(
        "ann-key".to_owned(),
        ApiKey { sha256, user: "ann".to_owned(), groups, scopes: Vec::new(), account: None },
    );
    people.write(&path).unwrap();
    key
}

/// What the command line of somebody says to this answer, and its exit code.
async fn on_the_command_line(house: &System, folder: &Path, key: &str, run: RunId, answer: &str) -> (i32, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_fastagency"));
    command.args(["run", "--gateway-url", &house.url, "--run", &run.to_string(), "-a", answer]);
    command.env("FASTAGENCY_KEY", key).env_remove("NATS_URL").current_dir(folder).stdin(Stdio::null());
    let output = command.output().await.unwrap();
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test]
async fn who_has_no_right_allows_no_tool_of_any_kind_on_any_way() {
    for kind in &KINDS {
        let desk = Desk::of(kind, &one_call(kind)).await;
        let auth = auth(desk.path());
        let key = key_of_ann(&auth);
        let elsewhere = tempfile::tempdir().unwrap();
        let broker = broker::embedded::open(&desk.data()).unwrap();
        let house = desk.system(SUPPORT, &broker, auth, None).await;
        let name = kind.name;
        let (run, other) = (start(&house, "ann", "desk").await, start(&house, "ann", "desk").await);
        let (question, digest) = asked(&house, run).await;
        asked(&house, other).await;
        let (path, json_text) = kind.change;
        let once = json!({"decision": "once", "digest": digest});
        let with_changes =
            json!({"decision": "once", "digest": digest, "changes": [{"path": path, "json": json_text}]});
        for given in [
            once.clone(),
            json!({"decision": "once", "digest": digest, "arguments": value(kind.changed)}),
            with_changes.clone(),
            json!({"decision": "same", "digest": digest}),
            json!({"decision": "always", "digest": digest}),
            json!({"decision": "deny"}),
        ] {
            let (status, told) = decide(&house, "ann", run, question, given).await;
            assert_eq!((status, told["error"]["message"].as_str()), (403, Some(FOR_SUPPORT)), "{name}: {told}");
        }
        // By another run's id, and by people who may not, an admin among them.
        assert_eq!(decide(&house, "ann", other, question, once.clone()).await.0, 404, "{name}");
        assert_eq!(decide(&house, "sue", other, question, once.clone()).await.0, 404, "{name}");
        for user in ["bob", "root"] {
            assert_eq!(decide(&house, user, run, question, once.clone()).await.0, 403, "{name}: {user}");
        }
        let (code, said) = on_the_command_line(&house, elsewhere.path(), &key, run, "May I call=Allow once").await;
        assert!(code == 5 && said.contains("for the group \"support\""), "{name}: {code} {said}");
        // Over a socket the question is shown, and what is said to it is an answer to nothing.
        let (by_socket, mut socket) = over_a_socket(&house).await;
        loop {
            let frame = hear_json(&mut socket).await;
            let shown = frame.to_string();
            assert!(
                !["input_requested", "text_input", "multiple_choice"].contains(&frame["type"].as_str().unwrap()),
                "{name}: {frame}"
            );
            if shown.contains("This waits for the group") {
                break;
            }
        }
        for words in ["Allow once", "once", r#"{"decision":"once"}"#] {
            say(&mut socket, words).await;
        }
        let (asked_there, _) = asked(&house, by_socket).await;
        // A starter who is in the group is a starter.
        let own = start(&house, "sol", "desk").await;
        let (of_sol, digest_of_sol) = asked(&house, own).await;
        assert_eq!(
            decide(&house, "sol", own, of_sol, json!({"decision": "once", "digest": digest_of_sol})).await.0,
            403
        );
        assert_eq!(desk.done(&house, &[run, other, by_socket, own]).await, [] as [Value; 0], "{name}");

        // A digest of another call counts for nothing either, whoever gives it.
        let (_, digest_there) = asked(&house, other).await;
        let other_call = json!({"decision": "once", "digest": digest_there});
        let (status, told) = decide(&house, "sue", run, question, other_call).await;
        assert_eq!((status, &told["error"]["code"]), (409, &json!("other_digest")), "{name}: {told}");
        // A change that no argument takes is refused, and nothing is answered by it.
        let misspelt = json!({"decision": "once", "digest": digest, "changes": [{"path": "/amout", "json": "1"}]});
        let mut more = value(kind.arguments);
        more["amout"] = json!(1);
        let misspelt_whole = json!({"decision": "once", "digest": digest, "arguments": more});
        let twice = json!({"path": path, "json": json_text});
        let twice = json!({"decision": "once", "digest": digest, "changes": [twice, twice]});
        for (given, sentence) in [
            (misspelt, "there is no argument amout".to_owned()),
            (misspelt_whole, "there is no argument amout".to_owned()),
            (twice, format!("{path}: it is changed twice")),
        ] {
            let (status, told) = decide(&house, "sue", run, question, given).await;
            let words = told["error"]["message"].as_str().unwrap_or_default();
            assert!(status == 422 && words.starts_with(&*sentence), "{name}: {told}");
        }
        // What is allowed is called, once, as it was changed.
        assert_eq!(decide(&house, "sue", run, question, with_changes).await.0, 202, "{name}");
        assert_eq!(ended(&house, run).await, (RunOutcome::Completed, json!("Done.")), "{name}");
        assert_eq!(desk.done(&house, &[run]).await, [value(kind.changed)], "{name}");
        assert_eq!(decide(&house, "ann", run, question, json!({"decision": "deny"})).await.0, 403, "{name}");
        assert_eq!(decide(&house, "sol", run, question, once).await.0, 409, "{name}");
        // A denial is read by the model, and nothing is called.
        let deny = json!({"decision": "deny", "reason": "too much"});
        assert_eq!(decide(&house, "sue", by_socket, asked_there, deny).await.0, 202, "{name}");
        let mut follower = house.follow(by_socket).await;
        assert_eq!(follower.ended().await, (RunOutcome::Completed, json!("Done.")), "{name}");
        assert_eq!(results(&follower.seen), ["Error: a person did not allow this call: too much"], "{name}");
        assert_eq!((begun(&follower.seen), desk.done(&house, &[run, by_socket]).await.len()), (0, 1), "{name}");
        house.close().await;
    }
}

/// A run that ann starts over a socket.
async fn over_a_socket(house: &System) -> (RunId, Socket) {
    let run = RunId::random();
    let socket = eventually("the workflow is known", async || {
        let mut socket = socket_of(house, "ann").await;
        let init = json!({"name": "desk", "workflow_uuid": run.dashed(), "user_id": null, "params": {}});
        say(&mut socket, init.to_string()).await;
        (hear_json(&mut socket).await["type"] == "workflow_started").then_some(socket)
    })
    .await;
    (run, socket)
}

/// `always` is for one tool in one run: not for the tool beside it, and not for another run.
#[tokio::test]
async fn what_is_allowed_for_a_run_is_one_tool_of_this_run() {
    for kind in &KINDS {
        let name = kind.name;
        let script =
            [calls(kind, "refund", "c1"), calls(kind, "refund", "c2"), calls(kind, "credit", "c3"), says("Done.")];
        let desk = Desk::of(kind, &script).await;
        let house = desk.house(SUPPORT).await;
        let run = start(&house, "ann", "desk").await;
        let mut follower = house.follow(run).await;
        let (question, digest, _, tool) = next(&mut follower).await;
        assert_eq!(tool, "refund", "{name}");
        let always = json!({"decision": "always", "digest": digest});
        assert_eq!(decide(&house, "sue", run, question, always).await.0, 202, "{name}");
        let (question, _, _, tool) = next(&mut follower).await;
        assert_eq!((tool.as_str(), begun(&follower.seen)), ("credit", 2), "{name}");
        assert_eq!(decide(&house, "sue", run, question, json!({"decision": "deny"})).await.0, 202, "{name}");
        assert_eq!(follower.ended().await.0, RunOutcome::Completed, "{name}");
        assert_eq!(desk.done(&house, &[run]).await, [value(kind.arguments), value(kind.arguments)], "{name}");
        let other = start(&house, "ann", "desk").await;
        let mut follower = house.follow(other).await;
        assert_eq!((next(&mut follower).await.3.as_str(), begun(&follower.seen)), ("refund", 0), "{name}");
        house.close().await;
    }
}

/// The tools that are asked about from the beginning of a run, each with what is said to it; until there is nothing left to say.
async fn decide_all(house: &System, run: RunId, decisions: &[(&str, Value)]) -> Follower {
    let mut follower = house.follow(run).await;
    for (expected, decision) in decisions {
        let (question, digest, _, tool) = next(&mut follower).await;
        assert_eq!(tool, *expected);
        let mut decision = decision.clone();
        if decision["decision"] != "deny" {
            decision["digest"] = digest.into();
        }
        assert_eq!(decide(house, "sue", run, question, decision).await.0, 202);
    }
    follower
}

/// The digests by which tools were called.
fn digests_called(seen: &[LogEntry]) -> Vec<Option<String>> {
    let digest = |placed: &LogEntry| match &placed.record.body {
        RecordBody::Calling { digest, .. } => Some(digest.clone()),
        _ => None,
    };
    seen.iter().filter_map(digest).collect()
}

/// `same` is for one call of one tool in one run: not for other arguments, and not for the tool beside it.
#[tokio::test]
async fn what_is_allowed_with_its_arguments_is_this_call_and_no_other() {
    for kind in &KINDS {
        let name = kind.name;
        let script = [
            calls(kind, "refund", "c1"),
            calls(kind, "refund", "c2"),
            calls_with(kind.changed, "refund", "c3"),
            calls(kind, "refund", "c4"),
            calls(kind, "credit", "c5"),
            says("Done."),
        ];
        let desk = Desk::of(kind, &script).await;
        let house = desk.house(SUPPORT).await;
        let (same, deny) = (json!({"decision": "same"}), json!({"decision": "deny"}));
        let run = start(&house, "ann", "desk").await;
        let mut follower = decide_all(&house, run, &[("refund", same.clone())]).await;
        let (question, other_digest, ..) = next(&mut follower).await;
        let called = digests_called(&follower.seen);
        assert_eq!((called.len(), &called[0]), (2, &called[1]), "{name}: the third call has other arguments");
        assert!(called[0].is_some() && called[0].as_ref() != Some(&other_digest), "{name}");
        // Another process reads what was allowed from the log.
        drop(follower);
        house.close().await;
        let house = desk.house(SUPPORT).await;
        assert_eq!(decide(&house, "sue", run, question, deny.clone()).await.0, 202, "{name}");
        let mut follower = house.follow(run).await;
        let asked = [next(&mut follower).await.3, next(&mut follower).await.3];
        let (question, _, _, tool) = next(&mut follower).await;
        assert_eq!((asked, tool.as_str()), (["refund".to_owned(), "refund".to_owned()], "credit"), "{name}");
        assert_eq!(digests_called(&follower.seen), [called[0].clone(), called[0].clone(), called[0].clone()], "{name}");
        assert_eq!(decide(&house, "sue", run, question, deny.clone()).await.0, 202, "{name}");
        assert_eq!(follower.ended().await.0, RunOutcome::Completed, "{name}");
        let same_call = value(kind.arguments);
        assert_eq!(desk.done(&house, &[run]).await, vec![same_call.clone(); 3], "{name}");

        // What was changed is allowed as it was changed, and what was asked for is not.
        let (path, json_text) = kind.change;
        let changed = json!({"decision": "same", "changes": [{"path": path, "json": json_text}]});
        let other = start(&house, "ann", "desk").await;
        let decisions =
            [("refund", changed), ("refund", deny.clone()), ("refund", deny.clone()), ("credit", deny.clone())];
        let mut follower = decide_all(&house, other, &decisions).await;
        assert_eq!(follower.ended().await.0, RunOutcome::Completed, "{name}");
        let done = desk.done(&house, &[run, other]).await;
        assert_eq!(done[3..], [value(kind.changed), value(kind.changed)], "{name}: the first call and the third");
        house.close().await;
    }
}

#[tokio::test]
async fn a_question_about_any_tool_that_was_changed_in_the_store_allows_nothing() {
    for kind in &KINDS {
        let name = kind.name;
        let desk = Desk::of(kind, &one_call(kind)).await;
        let house = desk.house(SUPPORT).await;
        let run = start(&house, "ann", "desk").await;
        let (question, digest) = asked(&house, run).await;
        house.close().await;
        let store = rusqlite::Connection::open(desk.data().join("store.sqlite")).unwrap();
        let (written, changed) =
            (format!("\"arguments\":{}", kind.arguments), format!("\"arguments\":{}", kind.changed));
        let change = "update records set payload = cast(replace(cast(payload as text), ?1, ?2) as blob)
                      where cast(payload as text) like '%\"approval\"%' and cast(payload as text) like '%' || ?1 || '%'";
        assert_eq!(store.execute(change, [&written, &changed]).unwrap(), 1, "{name}");
        drop(store);
        let house = desk.house(SUPPORT).await;
        let once = json!({"decision": "once", "digest": digest});
        assert_eq!(decide(&house, "sue", run, question, once).await, (202, Value::String(String::new())), "{name}");
        let mut follower = house.follow(run).await;
        let why = follower
            .until("its end", |body| match body {
                RecordBody::Ended(ended) => Some(ended.reason.clone().unwrap_or_default()),
                _ => None,
            })
            .await;
        assert!(
            why.contains("what was allowed is not what the tool \"refund\" would be called with now"),
            "{name}: {why}"
        );
        assert_eq!((begun(&follower.seen), desk.done(&house, &[run]).await.len()), (0, 0), "{name}");
        house.close().await;
    }
}

/// Past the gateway, into the inbox of the run: the worker takes no answer of those who may not, and none that no gateway has signed.
#[tokio::test]
async fn an_answer_that_goes_around_the_gateway_allows_no_tool_of_any_kind() {
    for kind in &KINDS {
        let name = kind.name;
        let desk = Desk::of(kind, &one_call(kind)).await;
        let signer = StatementSigner::new(&"ours".to_owned().into());
        let broker = broker::embedded::open(&desk.data()).unwrap();
        let house = desk.system(SUPPORT, &broker, auth(desk.path()), Some(&signer)).await;
        let run = start(&house, "ann", "desk").await;
        let mut follower = house.follow(run).await;
        let (mut question, mut digest, ..) = next(&mut follower).await;
        for (user, groups, is_signed, why) in [
            ("ann", ["support"], true, "not used: this question is for the group \"support\""),
            ("bob", ["janitors"], true, "not used: this question is for the group \"support\""),
            ("sue", ["support"], false, "no trusted gateway has signed"),
        ] {
            let value = json!({"decision": "once", "digest": digest});
            let given = SubmittedAnswer {
                groups: groups.iter().map(|&group| group.to_owned()).collect(),
                ..SubmittedAnswer::new(AnswerPayload::Value(value), UserId::new(user))
            };
            let given = match is_signed {
                true => given.signed(&signer, SignedStatement::Answer(run, question)),
                false => given,
            };
            answer(&house.broker, &Name::parse("desk").unwrap(), run, question, &given).await.unwrap();
            let prompt;
            (question, digest, prompt, _) = next(&mut follower).await;
            assert!(prompt.contains(why), "{name}: {user}: {prompt}");
        }
        assert_eq!((begun(&follower.seen), desk.done(&house, &[run]).await.len()), (0, 0), "{name}");
        let once = json!({"decision": "once", "digest": digest});
        assert_eq!(decide(&house, "sue", run, question, once).await.0, 202, "{name}");
        assert_eq!(follower.ended().await.0, RunOutcome::Completed, "{name}");
        assert_eq!(desk.done(&house, &[run]).await, [value(kind.arguments)], "{name}");
        house.close().await;
    }
}

#[tokio::test]
async fn a_call_that_nobody_answers_for_in_time_is_denied_or_fails() {
    for kind in &KINDS {
        let name = kind.name;
        for (more, outcome, told) in [
            (
                "timeout: 0.3",
                RunOutcome::Completed,
                "Error: a person did not allow this call: nobody answered within 300ms",
            ),
            ("timeout: 0.3, on_timeout: fail", RunOutcome::Failed, ""),
        ] {
            let desk = Desk::of(kind, &one_call(kind)).await;
            let house = desk.house(&format!("{{ by: {{ groups: [support] }}, not_by_starter: true, {more} }}")).await;
            let run = start(&house, "ann", "desk").await;
            let mut follower = house.follow(run).await;
            let (question, digest, ..) = next(&mut follower).await;
            assert_eq!(follower.ended().await.0, outcome, "{name}: {more}");
            assert_eq!(results(&follower.seen).join(""), told, "{name}: {more}");
            assert_eq!((begun(&follower.seen), desk.done(&house, &[run]).await.len()), (0, 0), "{name}: {more}");
            let once = json!({"decision": "once", "digest": digest});
            assert_eq!(decide(&house, "sue", run, question, once).await.0, 409, "{name}: it is too late");
            let (_, events) = call(&house, "ann", "GET", &format!("/api/runs/{run}/events?follow=false"), None).await;
            let words = if outcome == RunOutcome::Completed { "the call is denied" } else { "the step fails" };
            assert!(events.to_string().contains(words), "{name}: {events}");
            house.close().await;
        }
    }
}

/// Kinds of tools that are given an argument by their workflow.
const GIVEN: [ToolKind; 6] = [
    ToolKind {
        tools: "  desk: { openapi: desk.json, approve: APPROVE, inject: { number: \"{{ user.id }}\" } }\n",
        arguments: ONLY_AMOUNT,
        ..KINDS[0]
    },
    ToolKind {
        tools: "  desk: { mcp: desk, approve: APPROVE, inject: { number: \"{{ user.id }}\" } }\n",
        arguments: ONLY_AMOUNT,
        ..KINDS[1]
    },
    ToolKind {
        tools: "  desk: { python: desk.py, approve: APPROVE, inject: { number: \"{{ user.id }}\" } }\n",
        arguments: ONLY_AMOUNT,
        ..KINDS[2]
    },
    ToolKind {
        tools: "  refund: { description: Refunds, params: PARAMS, command: desk, approve: APPROVE, inject: { number: \"{{ user.id }}\" } }\n  credit: { description: Credits, params: PARAMS, command: desk }\n",
        arguments: ONLY_AMOUNT,
        ..KINDS[3]
    },
    ToolKind {
        tools: "  refund: { description: Refunds, params: PARAMS, http: POST URL/refunds, approve: APPROVE, inject: { number: \"{{ user.id }}\" } }\n  credit: { description: Credits, params: PARAMS, http: POST URL/credits }\n",
        arguments: ONLY_AMOUNT,
        ..KINDS[4]
    },
    ToolKind {
        tools: "  refund: { description: Refunds, params: PARAMS, nats: desk.refund, approve: APPROVE, inject: { number: \"{{ user.id }}\" } }\n  credit: { description: Credits, params: PARAMS, nats: desk.credit }\n",
        arguments: ONLY_AMOUNT,
        ..KINDS[5]
    },
];

const ONLY_AMOUNT: &str = r#"{"amount":120}"#;

#[tokio::test]
async fn what_the_workflow_gives_is_shown_to_the_approver_and_is_what_is_called() {
    for kind in &GIVEN {
        let name = kind.name;
        let desk = Desk::of(kind, &one_call(kind)).await;
        let house = desk.house(SUPPORT).await;
        let run = start(&house, "ann", "desk").await;
        let (question, digest) = asked(&house, run).await;
        let (_, events) = call(&house, "ann", "GET", &format!("/api/runs/{run}/events?follow=false"), None).await;
        let shown = r#""injected_text":"{\n  \"number\": \"ann\"\n}""#;
        assert!(events.as_str().is_some_and(|events| events.contains(shown)), "{name}: {events}");
        let given = json!({"decision": "once", "digest": digest, "changes": [{"path": "/number", "json": "\"bob\""}]});
        let (status, told) = decide(&house, "sue", run, question, given).await;
        let sentence = "number is given by the workflow, and cannot be changed";
        assert_eq!((status, told["error"]["message"].as_str()), (422, Some(sentence)), "{name}: {told}");
        // It is a part of what was allowed.
        house.close().await;
        let store = rusqlite::Connection::open(desk.data().join("store.sqlite")).unwrap();
        let change = "update records set payload = cast(replace(cast(payload as text), ?1, ?2) as blob)
                      where cast(payload as text) like '%\"approval\"%' and cast(payload as text) like '%' || ?1 || '%'";
        let (written, changed) = (r#""injected":{"number":"ann"}"#, r#""injected":{"number":"bob"}"#);
        assert_eq!(store.execute(change, [written, changed]).unwrap(), 1, "{name}");
        drop(store);
        let house = desk.house(SUPPORT).await;
        let once = json!({"decision": "once", "digest": digest});
        assert_eq!(decide(&house, "sue", run, question, once).await.0, 202, "{name}");
        assert_eq!(ended(&house, run).await.0, RunOutcome::Failed, "{name}");
        // And it is what the tool gets.
        let other = start(&house, "ann", "desk").await;
        let mut follower = decide_all(&house, other, &[("refund", json!({"decision": "once"}))]).await;
        assert_eq!(follower.ended().await.0, RunOutcome::Completed, "{name}");
        assert_eq!(desk.done(&house, &[]).await, [json!({"amount": 120, "number": "ann"})], "{name}");
        house.close().await;
    }
}

#[test]
fn check_looks_at_the_approvals_of_sets_too() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("workflows")).unwrap();
    let _ = auth(folder.path());
    std::fs::write(folder.path().join("desk.py"), "def refund(number: str) -> str:\n    return number\n").unwrap();
    let check = |auth: &str, approve: &str| {
        let text = format!("version: 1\nname: c\nmcp: {{ desk: {{ url: 'https://desk.example/mcp' }} }}\n{auth}");
        std::fs::write(folder.path().join("fastagency.yaml"), text).unwrap();
        let tools = format!(
            "  one: {{ mcp: desk, approve: {approve} }}\n  two: {{ python: desk.py, approve: {approve} }}\n  three: {{ openapi: 'https://desk.example/openapi.json', approve: {approve} }}\n"
        );
        let source = format!("version: 1\nname: desk\ntools:\n{tools}steps:\n  - message: Hi.\n");
        std::fs::write(folder.path().join("workflows/desk.yaml"), source).unwrap();
        let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_fastagency"));
        let output = command.args(["check"]).current_dir(folder.path()).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let basic = "auth: { mode: basic, file: access.yaml, access: [ { workflows: [desk], groups: [support], may: [see, answer] } ] }\n";
    let (code, said) = check(basic, "always");
    assert_eq!(code, Some(0), "{said}");
    for set in ["one", "two", "three"] {
        assert!(said.contains(&format!("the user who starts a run can approve the tools of \"{set}\"")), "{said}");
    }
    assert_eq!(check(basic, SUPPORT), (Some(0), String::new()));
    let (_, said) = check(basic, "{ by: { groups: [suport] } }");
    assert_eq!(said.matches("there is no member of the group \"suport\"").count(), 3, "{said}");
    let (code, said) = check("", SUPPORT);
    assert_eq!((code, said.matches("nobody could answer this: auth.mode is none").count()), (Some(2), 3), "{said}");
    let (code, said) = check(basic, "{ on_timeout: deny }");
    assert_eq!((code, said.matches("without a `timeout` this never happens").count()), (Some(2), 3), "{said}");
}
