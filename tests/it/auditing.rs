//! `fastagency audit` as an auditor uses it, in a script and at a terminal: what it shows is what models were really sent and
//! what REST tells, and what it exports has nothing else in it.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::client::client;
use crate::support::tier::Tier;

/// An agent adds with a tool; a workflow that says what it was told.
const SUMS: &str = r#"
version: 1
name: sums
tools:
  add:
    description: Adds two numbers
    params: { type: object, properties: { a: { type: integer }, b: { type: integer } }, required: [a, b] }
    do: [ { return: "{{ args.a + args.b }}" } ]
agents:
  clerk: { system_message: You add., tools: [add], temperature: 0.25 }
steps:
  - id: said
    agent: { agent: clerk, message: "What are 2 and 3?" }
  - return: "{{ steps.said }}"
"#;

/// What the model's server was sent: the body of each request.
type Sent = Arc<Mutex<Vec<Value>>>;

/// Calls the tool first, and says what came of it then.
async fn complete(State(sent): State<Sent>, Json(body): Json<Value>) -> Json<Value> {
    let mut sent = sent.lock().unwrap();
    sent.push(body);
    let call = json!({"id": "c1", "type": "function", "function": {"name": "add", "arguments": r#"{"a": 2, "b": 3}"#}});
    let (message, used) = match sent.len() {
        1 => (json!({"role": "assistant", "content": null, "tool_calls": [call]}), (40, 20)),
        _ => (json!({"role": "assistant", "content": "It is five."}), (70, 5)),
    };
    let usage = json!({"prompt_tokens": used.0, "completion_tokens": used.1, "total_tokens": used.0 + used.1});
    Json(json!({"id": "x", "object": "chat.completion", "created": 1, "model": "played", "usage": usage,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}))
}

/// A project whose model is that server, at 1 and 10 dollars for a million tokens.
async fn project() -> (TempDir, Sent) {
    let sent = Sent::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let app = Router::new().route("/v1/chat/completions", post(complete)).with_state(sent.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("workflows")).unwrap();
    std::fs::write(folder.path().join("workflows/sums.yaml"), SUMS).unwrap();
    let config = format!(
        "version: 1\nllms: {{ default: {{ provider: compatible, model: played, api_key: x, stream: false, base_url: \"{url}\" }} }}\n\
         prices: {{ played: {{ input: 1, output: 10 }} }}\n"
    );
    std::fs::write(folder.path().join("fastagency.yaml"), config).unwrap();
    (folder, sent)
}

async fn fastagency(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fastagency"));
    command.args(arguments).current_dir(folder).env_remove("FASTAGENCY_CONFIG").env_remove("NATS_URL");
    // The model's server goes on meanwhile.
    tokio::task::spawn_blocking(move || command.output().expect("the program starts")).await.unwrap()
}

async fn printed(folder: &Path, arguments: &[&str]) -> String {
    let output = fastagency(folder, arguments).await;
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_auditor_sees_what_models_were_sent_and_what_it_cost_as_rest_tells_it() {
    let (folder, sent) = project().await;
    printed(folder.path(), &["run", "sums"]).await;
    let sent = sent.lock().unwrap().clone();
    assert_eq!(sent.len(), 2);
    let id = lines(&printed(folder.path(), &["audit", "list", "--json"]).await)[0]["id"].as_str().unwrap().to_owned();

    let text = printed(folder.path(), &["audit", "show", &id, "--prompts"]).await;
    let prompts = lines(&text);
    assert_eq!(prompts.len(), 2, "{text}");
    for (prompt, sent) in prompts.iter().zip(&sent) {
        assert_eq!((&prompt["messages"], &prompt["tools"]), (&sent["messages"], &sent["tools"]), "{sent}");
        assert_eq!(prompt["parameters"]["temperature"], sent["temperature"]);
    }
    assert_eq!(sent[0]["messages"][1]["content"], "What are 2 and 3?");

    // In words: 40 tokens read for 1 and 20 written for 10 dollars a million, then 70 and 5.
    let words = printed(folder.path(), &["audit", "show", &id]).await;
    for wanted in [
        "model default replied (40 tokens read, 20 written, $0.00024, calls add)",
        "model default replied (70 tokens read, 5 written, $0.00012): It is five.",
    ] {
        assert!(words.contains(wanted), "{wanted:?}: {words}");
    }

    // A gateway says the same, to clients and to the command.
    let mut all = Tier::start(folder.path(), &["all", "--port", "0", "--ui-port", "0"]);
    let url = all.url("gateway");
    let told = client().get(format!("{url}/api/audit/runs/{id}?prompts=true"));
    let token = std::fs::read_to_string(folder.path().join("data/admin-token")).unwrap();
    let told = told.bearer_auth(token).send().await.unwrap();
    let told: Value = told.json().await.unwrap();
    let replied: Vec<&Value> =
        told["events"].as_array().unwrap().iter().filter(|event| event["kind"] == "replied").collect();
    assert_eq!(replied.len(), 2, "{told}");
    for (event, prompt) in replied.iter().zip(&prompts) {
        let mut prompt = prompt.clone();
        let place = prompt.as_object_mut().unwrap();
        assert_eq!(
            (place.remove("key").unwrap(), place.remove("seq").unwrap()),
            (event["key"].clone(), event["seq"].clone())
        );
        assert_eq!(event["prompt"], prompt);
        assert!(event["took_ms"].is_u64(), "{event}");
    }
    let usage = |event: &Value| {
        let usage = &event["usage"];
        (usage["prompt_tokens"].clone(), usage["completion_tokens"].clone(), usage["cost_usd"].clone())
    };
    assert_eq!(usage(replied[0]), (json!(40), json!(20), json!(0.000_24)));
    assert_eq!(usage(replied[1]), (json!(70), json!(5), json!(0.000_12)));
    let ended = told["events"].as_array().unwrap().last().unwrap();
    assert_eq!(usage(ended), (json!(110), json!(25), json!(0.000_36)), "{ended}");
    assert_eq!(printed(folder.path(), &["audit", "show", &id, "--prompts", "--gateway-url", &url]).await, text);
    assert!(all.terminate().success());

    let nothing = fastagency(folder.path(), &["audit", "show", &"0".repeat(32), "--prompts"]).await;
    let why = String::from_utf8_lossy(&nothing.stderr).into_owned();
    assert!(nothing.status.code() == Some(2) && why.contains("there is no run"), "{why}");
}

/// Runs the program with a terminal for its errors, and what it prints in a file; gives what the terminal was sent. None:
/// this machine has no `script`.
async fn at_a_terminal(folder: &Path, arguments: &str) -> Option<String> {
    let mut command = Command::new("script");
    let line = format!("stty cols 100; exec {} {arguments} >printed", env!("CARGO_BIN_EXE_fastagency"));
    command.args(["-qec", &line, "/dev/null"]).current_dir(folder).stdin(Stdio::null());
    command.env("TERM", "xterm").env_remove("FASTAGENCY_CONFIG").env_remove("NATS_URL");
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().ok()?;
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments}: {shown}");
    Some(shown)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_shows_on_the_terminal_how_far_it_is_and_nowhere_else() {
    let (folder, _) = project().await;
    let mut all = Tier::start(folder.path(), &["all", "--port", "0", "--ui-port", "0"]);
    let url = all.url("gateway");
    let mut ended = 0;
    while ended < 3 {
        let start = client().post(format!("{url}/api/runs?wait=30")).json(&json!({"workflow": "sums"}));
        let run: Value = start.send().await.unwrap().json().await.unwrap();
        // Its worker may not have told of the workflow yet.
        ended += usize::from(run["error"]["code"] != "unknown_workflow");
        assert!(run["state"] == "ended" || run["error"]["code"] == "unknown_workflow", "{run}");
    }
    let through = format!("audit export --gateway-url {url}");
    let Some(shown) = at_a_terminal(folder.path(), &through).await else {
        eprintln!("SKIP auditing::an_export_shows_on_the_terminal_how_far_it_is_and_nowhere_else: no `script` here");
        return;
    };
    assert!(shown.contains("received"), "{shown:?}");
    let of_gateway = std::fs::read_to_string(folder.path().join("printed")).unwrap();
    assert!(all.terminate().success());

    let quiet = fastagency(folder.path(), &["audit", "export"]).await;
    assert_eq!(String::from_utf8_lossy(&quiet.stderr), "", "no terminal, no bar");
    let events = String::from_utf8(quiet.stdout).unwrap();
    let runs: std::collections::BTreeSet<String> =
        lines(&events).iter().map(|event| event["run"].to_string()).collect();
    assert_eq!(runs.len(), 3);
    assert_eq!(of_gateway, events, "byte for byte, through a gateway and a terminal");

    let shown = at_a_terminal(folder.path(), "audit export").await.unwrap();
    assert!(shown.contains("runs ") && shown.contains("/3 "), "{shown:?}");
    assert_eq!(std::fs::read_to_string(folder.path().join("printed")).unwrap(), events);
    assert!(!shown.contains("\"run\""), "{shown:?}");
    // Into a file: the terminal has the bar all the same, and the standard output nothing.
    let shown = at_a_terminal(folder.path(), "audit export -o events.jsonl").await.unwrap();
    assert!(shown.contains("/3 "), "{shown:?}");
    assert_eq!(std::fs::read_to_string(folder.path().join("events.jsonl")).unwrap(), events);
    assert_eq!(std::fs::read_to_string(folder.path().join("printed")).unwrap(), "");
}
