//! Numbers are passed on digit for digit: what a person gives or a model writes comes out as it went in, whatever lies in
//! between. Compared is the text of each number, not its value; an exponent is written with its sign (`1e3` as
//! `1e+3`).

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use axum::http::Uri;
use fastagency::config::{WebhookConfig, WebhookTrigger};
use fastagency::ids::{MessageId, Name, RunId};
use fastagency::message::MessageContent;
use fastagency::run::record::{RecordBody, RunOutcome};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::mcp::fake_server::FakeServer;
use crate::support::client::{Socket, hear_json, run_id, say};
use crate::support::eventually::eventually;
use crate::support::nats_server::NatsServer;
use crate::support::project::Project;
use crate::support::system::{System, SystemBuilder};
use crate::talks::scripted;

const WORKFLOW: &str = r#"
version: 1
name: digits
params:
  type: object
  properties: { given: { type: array } }
  required: [given]
vars: { paid: [] }
agents:
  clerk: { system_message: You are a clerk., tools: [pay] }
tools:
  pay:
    description: Pays.
    approve: always
    params:
      type: object
      properties: { amount: { type: number }, number: { type: integer }, all: { type: array }, inner: { type: object } }
      required: [amount, number, all, inner]
    do:
      - set: { paid: "{{ vars.paid + [args] }}" }
      - message: "{{ args.amount }} for {{ args.number }}: {{ args.all | tojson }} {{ args.all | join(' ') }}"
      - return: "{{ args }}"
steps:
  - id: filled
    form:
      prompt: Fill in
      schema: { type: object, properties: { all: { type: array } } }
  - id: written
    text_input: { prompt: How much?, type: number }
  - id: whole
    text_input: { prompt: How many?, type: integer }
  - id: reply
    agent: { agent: clerk, message: Pay. }
  - return:
      params: "{{ params.given }}"
      form: "{{ steps.filled.all }}"
      number: "{{ steps.written }}"
      whole: "{{ steps.whole }}"
      paid: "{{ vars.paid[0] }}"
      first: "{{ params.given[0] }}"
      nested: { deep: ["{{ params.given | last }}"] }
      text: "{{ params.given[1] }} and {{ params.given | join(', ') }}"
      written: [1.10, 20.00, 1e3, 12345678901234567890123]
"#;

/// Numbers as JSON writes them, of every length: those that people met, and random ones, the same each time.
fn numbers() -> Vec<String> {
    let met = [
        "0",
        "0.0",
        "-0",
        "-0.0",
        "1.0",
        "19.90",
        "3.10",
        "-1.50",
        "1e3",
        "1E3",
        "1e+3",
        "1.0e-7",
        "100000000000000000000",
        "2512292042121000001",
        "9007199254740993",
        "18446744073709551615",
        "18446744073709551616",
        "-9223372036854775809",
        "123456789012345678901234567890",
        "0.1234567890123456789012345678901",
        "340282366920938463463374607431768211456",
        "0.1000000000000000055511151231257827",
        "1e-400",
        "1.7976931348623157e308",
        "99999999999999999999999999999999999999999999.000000000000000000000000000000000000000001",
    ];
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let random = (0..60).map(|_| {
        let mut digits = |count: u64| (0..count).map(|_| char::from(b'0' + next(10) as u8)).collect::<String>();
        let whole = digits(40);
        let fraction = digits(40);
        let (long, short, sign) = (1 + next(30) as usize, next(31) as usize, ["", "-"][next(2) as usize]);
        let whole = match whole[..long].trim_start_matches('0') {
            "" => "0",
            whole => whole,
        };
        let fraction = if short > 0 { format!(".{}", &fraction[..short]) } else { String::new() };
        let exponent = match next(4) {
            0 => format!("{}{}{}", ["e", "E"][next(2) as usize], ["", "+", "-"][next(3) as usize], next(200)),
            _ => String::new(),
        };
        format!("{sign}{whole}{fraction}{exponent}")
    });
    met.into_iter().map(str::to_owned).chain(random).collect()
}

fn parsed(json: &str) -> Value {
    serde_json::from_str(json).expect("JSON")
}

/// The text of every number in a value.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Number(number) => vec![number.as_str().to_owned()],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(fields) => fields.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

/// What a client that follows the run is sent, as text.
async fn events(system: &System, run: RunId) -> String {
    let url = format!("{}/api/runs/{run}/events?follow=false", system.url);
    system.http.get(url).send().await.unwrap().text().await.unwrap()
}

/// Where a person starts and answers.
#[derive(Clone, Copy, PartialEq)]
enum AnswerWay {
    Rest,
    /// FastAgency's, where each answer is a text.
    Socket,
}

/// A run, and how it is answered.
struct AnsweredRun {
    system: System,
    run: RunId,
    socket: Option<Socket>,
}

impl AnsweredRun {
    async fn start(system: System, way: AnswerWay, given: &str) -> Self {
        eventually("the workflow is known", async || {
            let (_, known) = system.get("/api/workflows").await;
            if known["workflows"][0]["available"] == true { Ok(()) } else { Err(known) }
        })
        .await;
        match way {
            AnswerWay::Rest => {
                let body = format!("{{\"workflow\": \"digits\", \"params\": {{\"given\": {given}}}}}");
                let start =
                    system.http.post(format!("{}/api/runs", system.url)).header("Content-Type", "application/json");
                let started = start.body(body).send().await.unwrap().text().await.unwrap();
                let run = run_id(&parsed(&started));
                Self { system, run, socket: None }
            }
            AnswerWay::Socket => {
                let (run, mut socket) = (RunId::random(), system.socket().await);
                let start = format!(
                    "{{\"user_id\": null, \"workflow_uuid\": \"{}\", \"name\": \"digits\", \"params\": {{\"given\": {given}}}}}",
                    run.dashed()
                );
                say(&mut socket, start).await;
                assert_eq!(hear_json(&mut socket).await["type"], "workflow_started");
                Self { system, run, socket: Some(socket) }
            }
        }
    }

    /// Sends an answer, which is JSON or, for a `text_input`, a text.
    async fn answer(&mut self, question: MessageId, answer: &str) {
        let Some(socket) = &mut self.socket else {
            let value = if answer.starts_with('{') { answer.to_owned() } else { json!(answer).to_string() };
            let url = format!("{}/api/runs/{}/answers/{question}", self.system.url, self.run);
            let sent = self.system.http.post(url).header("Content-Type", "application/json");
            let sent = sent.body(format!("{{\"value\": {value}}}")).send().await.unwrap();
            assert_eq!(sent.status(), 202, "{}", sent.text().await.unwrap());
            return;
        };
        // What is sent before a question was asked is for none.
        while hear_json(socket).await["uuid"] != json!(question.to_string()) {}
        say(socket, answer).await;
    }
}

/// Takes what a webhook is sent.
async fn hook() -> (String, Arc<Mutex<Vec<String>>>) {
    let bodies: Arc<Mutex<Vec<String>>> = Arc::default();
    let (listener, heard) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), bodies.clone());
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let app = axum::Router::new().fallback(move |body: String| {
        heard.lock().push(body);
        std::future::ready(())
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, bodies)
}

async fn come_out_as_they_went_in(system: SystemBuilder, folder: &std::path::Path, way: AnswerWay) {
    let all = format!("[{}]", numbers().join(", "));
    let arguments = format!(
        "{{\"amount\": 19.90, \"number\": 123456789012345678901234567890, \"all\": {all}, \"inner\": {{\"x\": [1.0]}}}}"
    );
    let script = format!("- tool_calls: [{{ id: call_1, name: pay, arguments: {} }}]\n- Done.\n", json!(arguments));
    let (url, notices) = hook().await;
    let on = vec![WebhookTrigger::Ended];
    let desk = WebhookConfig { url, secret: "a secret of the desk".to_owned().into(), on, redact: true };
    let system = system.gateway(|_| {}).worker(WORKFLOW).models(scripted(folder, &script));
    let system = system.parts(|parts| parts.webhooks = [(Name::parse("desk").unwrap(), desk)].into()).start().await;
    let mut answered = AnsweredRun::start(system, way, &all).await;
    let run = answered.run;
    let mut follower = answered.system.follow(run).await;
    let given = parsed(&all);
    let filled_in = format!("{{\"all\": {all}}}");
    for (prompt, answer) in [
        ("Fill in", filled_in.as_str()),
        ("How much?", "1234567890.12345678901234567890"),
        ("How many?", "123456789012345678901234567890"),
    ] {
        let question = follower.question(prompt).await;
        answered.answer(question, answer).await;
    }
    let asked = follower.until("an approval", |body| match body {
        RecordBody::Said { message, .. } => match &message.says {
            MessageContent::Approval(asked) => Some((message.uuid, asked.clone())),
            _ => None,
        },
        _ => None,
    });
    let (question, approval) = asked.await;
    assert_eq!(Value::Object(approval.arguments.clone()), parsed(&arguments), "what a person is shown");
    let digest = approval.digest.as_deref().unwrap();
    let changes =
        json!([{"path": "/amount", "json": "20.5000000000000000000001"}, {"path": "/inner/x", "json": "[2.00, 1e2]"}]);
    let verdict = format!("{{\"decision\": \"once\", \"digest\": \"{digest}\", \"changes\": {changes}}}");
    answered.answer(question, &verdict).await;
    let (outcome, result) = follower.ended().await;
    assert_eq!(outcome, RunOutcome::Completed, "{result}");
    let paid = format!(
        "{{\"amount\": 20.5000000000000000000001, \"number\": 123456789012345678901234567890, \"all\": {all}, \"inner\": {{\"x\": [2.00, 1e2]}}}}"
    );
    let (first, second, last) = (&given[0], &given[1], given.as_array().unwrap().last().unwrap());
    let joined = texts(&given).join(", ");
    assert_eq!(
        result,
        json!({
            "params": given, "form": given, "number": parsed("1234567890.12345678901234567890"),
            "whole": parsed("123456789012345678901234567890"), "paid": parsed(&paid), "first": first,
            "nested": {"deep": [last]}, "text": format!("{second} and {joined}"),
            "written": parsed("[1.10, 20.00, 1e3, 12345678901234567890123]"),
        }),
    );
    // What every follower is sent, and what is exported, is the text of the log.
    let events = events(&answered.system, run).await;
    for number in texts(&given) {
        assert!(events.matches(number.as_str()).count() >= 4, "{number}");
    }
    let message =
        format!("20.5000000000000000000001 for 123456789012345678901234567890: [{joined}] {}", texts(&given).join(" "));
    assert!(events.contains(&message), "{events}");
    // So is what a webhook is sent of the end.
    let notice = eventually("the webhook is called", async || notices.lock().first().cloned()).await;
    assert_eq!(parsed(&notice)["data"]["result"], result);
    drop(answered.socket);
    answered.system.close().await;
}

#[tokio::test]
async fn numbers_come_out_as_they_went_in_digit_for_digit() {
    let folder = tempfile::tempdir().unwrap();
    come_out_as_they_went_in(System::at(folder.path()), folder.path(), AnswerWay::Rest).await;
}

#[tokio::test]
async fn numbers_come_out_as_they_went_in_digit_for_digit_over_a_socket() {
    let folder = tempfile::tempdir().unwrap();
    come_out_as_they_went_in(System::at(folder.path()), folder.path(), AnswerWay::Socket).await;
}

#[tokio::test]
async fn numbers_come_out_as_they_went_in_digit_for_digit_over_nats() {
    const NAME: &str = "digits::numbers_come_out_as_they_went_in_digit_for_digit_over_nats";
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = NatsServer::start(NAME) else { return };
    come_out_as_they_went_in(System::over(server.broker().await), folder.path(), AnswerWay::Rest).await;
}

/// What the program prints in a project.
async fn printed(project: &Project, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fastagency"));
    command.args(arguments).current_dir(project.path()).env_remove("FASTAGENCY_CONFIG").env_remove("NATS_URL");
    let ended = tokio::task::spawn_blocking(move || command.output().expect("the program starts")).await.unwrap();
    let out = String::from_utf8(ended.stdout).expect("UTF-8");
    assert!(ended.status.success(), "{arguments:?}: {out}{}", String::from_utf8_lossy(&ended.stderr));
    out
}

/// The workflow of the property test, and one that calls it and asks for nothing by itself.
const CALLING: &str = r#"
version: 1
name: calling
params: { type: object, properties: { given: { type: array } }, required: [given] }
steps:
  - id: called
    workflow: { name: digits, params: { given: "{{ params.given }}" } }
  - return: { called: "{{ steps.called }}", given: "{{ params.given }}" }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn numbers_pass_through_the_terminal_a_called_workflow_and_the_exports_digit_for_digit() {
    let all = format!("[{}]", numbers().join(", "));
    let given = parsed(&all);
    let arguments = format!("{{\"amount\": 19.90, \"number\": 12345678901234567890, \"all\": {all}, \"inner\": {{}}}}");
    let script = format!("[ {{ tool_calls: [ {{ id: c, name: pay, arguments: {} }} ] }}, Done. ]", json!(arguments));
    let config =
        format!("version: 1\nname: terminal\nllms: {{ default: {{ provider: scripted, script: {script} }} }}\n");
    let project = Project::new(&config, &[("digits.yaml", WORKFLOW), ("calling.yaml", CALLING)]);
    let (param, form) = (format!("given={all}"), format!("Fill in={{\"all\": {all}}}"));
    let run = [
        "run",
        "calling",
        "--json",
        "-p",
        &param,
        "-a",
        &form,
        "-a",
        "How much?=19.90",
        "-a",
        "How many?=123456789012345678901234567890",
        "-a",
        "May I call=amount=20.500000000000000000000100",
    ];
    let told = printed(&project, &run).await;
    let last = parsed(told.lines().last().unwrap());
    let [called, passed] = ["called", "given"].map(|key| last["result"][key].clone());
    assert_eq!((&passed, &called["params"], &called["form"]), (&given, &given, &given), "{last}");
    assert_eq!(called["number"], parsed("19.90"));
    assert_eq!(called["whole"], parsed("123456789012345678901234567890"));
    assert_eq!(called["paid"]["amount"], parsed("20.500000000000000000000100"));
    assert_eq!((&called["paid"]["all"], &called["paid"]["number"]), (&given, &parsed("12345678901234567890")));

    let listed = parsed(printed(&project, &["audit", "list", "--json"]).await.lines().next().unwrap());
    let id = listed["id"].as_str().unwrap();
    for (exported, least) in [
        (&["audit", "show", id, "--json"][..], 8),
        (&["audit", "export", "--format", "jsonl"], 8),
        (&["audit", "export", "--format", "csv"], 8),
    ] {
        let exported_text = printed(&project, exported).await;
        for number in texts(&given).iter().filter(|number| number.len() > 8) {
            assert!(exported_text.matches(number.as_str()).count() >= least, "{exported:?}: {number}");
        }
    }
}

/// Says back what it is asked, and keeps it.
async fn echo() -> (String, Arc<Mutex<Vec<(String, String)>>>) {
    let asked: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
    let (listener, heard) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), asked.clone());
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = axum::Router::new().fallback(move |uri: Uri, body: String| {
        heard.lock().push((uri.path().to_owned(), body.clone()));
        std::future::ready(([("content-type", "application/json")], body))
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, asked)
}

const TOOLS: &str = r#"
version: 1
name: office
agents:
  clerk: { system_message: You are a clerk., tools: [by_steps, by_command, by_http, pets, by_workflow, docs, functions, expert] }
  expert: { system_message: You know., description: Knows, llm: expert }
tools:
  by_steps: { description: d, params: PARAMS, do: [ { return: { n: "{{ args.n }}" } } ] }
  by_command: { description: d, params: PARAMS, command: same }
  by_http: { description: d, params: PARAMS, http: "POST SERVER/http" }
  by_workflow: { workflow: child }
  pets: { openapi: api.json }
  docs: { mcp: docs }
  functions: { python: tools.py }
  expert: { agent: expert }
steps:
  - id: said
    agent: { agent: clerk, message: Go. }
  - return: "{{ steps.said }}"
"#;

const CHILD: &str = r#"
version: 1
name: child
description: A child
params: { type: object, required: [n], properties: { n: { type: array } } }
steps:
  - return: { n: "{{ params.n }}" }
"#;

/// Python keeps the digits of what is a whole number or a `Decimal`.
const FUNCTIONS: &str = r#"
from decimal import Decimal

def by_python(n: list[Decimal], order: int) -> dict:
    """Gives back"""
    return {"n": n, "order": order}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn numbers_reach_each_kind_of_tool_and_come_back_digit_for_digit() {
    const ORDER: &str = "123456789012345678901234567890";
    let some = ["19.90", "1.0", "1e+3", "-0.50", "2512292042121000001", ORDER, "0.1234567890123456789012345678901"];
    let sent = format!("{{\"n\":[{}]}}", some.join(","));
    let by_python = format!("{{\"n\":[{}],\"order\":{ORDER}}}", some.join(","));
    let question = format!("Is {sent} right?");
    let mut calls: Vec<Value> = ["by_steps", "by_command", "by_http", "by_openapi", "by_workflow", "by_mcp"]
        .map(|tool| json!({"id": tool, "name": tool, "arguments": sent}))
        .into();
    calls.push(json!({"id": "by_python", "name": "by_python", "arguments": by_python}));
    calls.push(json!({"id": "expert", "name": "expert", "arguments": json!({"message": question}).to_string()}));

    let (server, asked) = echo().await;
    let by_mcp: Arc<Mutex<Vec<Value>>> = Arc::default();
    let heard = by_mcp.clone();
    let docs = FakeServer::start(move |method, params, _| {
        Ok(match method {
            "tools/list" => {
                let tool = json!({"name": "by_mcp", "inputSchema": {"type": "object", "properties": {"n": {"type": "array"}}}});
                json!({"resultType": "complete", "tools": [tool], "ttlMs": 0, "cacheScope": "private"})
            }
            "tools/call" => {
                heard.lock().push(params["arguments"].clone());
                json!({"resultType": "complete", "content": [], "structuredContent": params["arguments"]})
            }
            _ => Value::Null,
        })
    })
    .await;
    let config = format!(
        "version: 1\nname: office\noutgoing: {{ allow_private: [127.0.0.1] }}\ncommands: {{ same: {{ run: [cat] }} }}\n\
         mcp: {{ docs: {{ url: \"{}\" }} }}\npython: {{ interpreter: [python3, -S] }}\n\
         llms:\n  default: {{ provider: scripted, script: [ {{ tool_calls: {} }}, Done. ] }}\n  expert: {{ provider: scripted, script: [ {} ] }}\n",
        docs.url,
        json!(calls),
        json!(format!("Yes, {sent}.")),
    );
    let office =
        TOOLS.replace("SERVER", &server).replace("PARAMS", "{ type: object, properties: { n: { type: array } } }");
    let project = Project::new(&config, &[("office.yaml", &office), ("child.yaml", CHILD)]);
    let body = json!({"content": {"application/json": {"schema": {"type": "object", "properties": {"n": {"type": "array"}}}}}});
    let paths = json!({"/openapi": {"post": {"operationId": "by_openapi", "requestBody": body}}});
    let api = json!({"openapi": "3.1.0", "servers": [{"url": server}], "paths": paths});
    std::fs::write(project.path().join("api.json"), api.to_string()).unwrap();
    std::fs::write(project.path().join("tools.py"), FUNCTIONS).unwrap();

    let told = printed(&project, &["run", "office", "--json"]).await;
    let executed = told.lines().map(parsed).filter(|event| event["message"]["type"] == "function_call_execution");
    let results: BTreeMap<String, String> = executed
        .map(|event| event["message"]["content"].clone())
        .map(|result| ["function_name", "retval"].map(|key| result[key].as_str().unwrap_or_default().to_owned()))
        .map(|[tool, result]| (tool, result))
        .collect();
    let numbers = |json: &str| texts(&parsed(json));
    for tool in ["by_steps", "by_command", "by_http", "by_openapi", "by_workflow", "by_mcp"] {
        assert_eq!(numbers(&results[tool]), some, "{tool}");
    }
    assert_eq!(numbers(&results["by_python"]), [&some[..], &[ORDER]].concat());
    assert_eq!(results["expert"], format!("Yes, {sent}."));
    assert!(told.contains(&json!(question).to_string()), "the expert is asked in these words");
    let mut reached = asked.lock().clone();
    reached.sort();
    let bodies = reached.iter().map(|(path, body)| (path.as_str(), numbers(body)));
    let some = some.map(str::to_owned).to_vec();
    assert_eq!(bodies.collect::<Vec<_>>(), [("/http", some.clone()), ("/openapi", some.clone())]);
    assert_eq!(by_mcp.lock().iter().map(texts).collect::<Vec<_>>(), [some]);
}
