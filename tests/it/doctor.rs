//! `fastagency doctor` on real servers: what is well, and each thing that is not, with what to do about it.

use std::time::Duration;

use assert_cmd::Command;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use fastagency::clock::{Clock, SystemClock};
use fastagency::ids::{Name, WorkerId};
use fastagency::run::directory::{self, WorkerCard};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::nats_server::NatsServer;
use crate::support::ports::{PORT_ELSEWHERE, free_port};
use crate::support::tier::Tier;

const ECHO: &str = "version: 1\nname: echo\nsteps:\n  - id: said\n    text_input: { prompt: What? }\n  - return: \"{{ steps.said }}\"\n";

/// A project with the workflow `echo` and this configuration.
fn project(config: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("workflows")).unwrap();
    std::fs::write(folder.path().join("workflows/echo.yaml"), ECHO).unwrap();
    std::fs::write(folder.path().join("fastagency.yaml"), format!("version: 1\nname: patient\n{config}")).unwrap();
    folder
}

/// What the doctor says of a project.
struct Said {
    healthy: bool,
    findings: Vec<Value>,
    all: String,
}

impl Said {
    /// The finding with these words in it.
    fn finding(&self, words: &str) -> &Value {
        let found = self.findings.iter().find(|finding| finding["found"].as_str().unwrap().contains(words));
        found.unwrap_or_else(|| panic!("nothing says {words:?} in {:#?}", self.findings))
    }

    /// That something is an error or a warning, and that what is to be done holds these words.
    fn says(&self, level: &str, words: &str, todo: &str) {
        let finding = self.finding(words);
        assert_eq!(finding["level"], level, "{finding}");
        assert!(finding["todo"].as_str().unwrap_or_default().contains(todo), "{finding}");
    }
}

async fn doctor(folder: &TempDir, more: &[&str]) -> Said {
    let (path, more) = (folder.path().to_owned(), more.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    let ran = tokio::task::spawn_blocking(move || {
        Command::new(env!("CARGO_BIN_EXE_fastagency"))
            .current_dir(path)
            .args(["doctor", "--json", "--nats-monitor", "http://127.0.0.1:1"])
            .args(more)
            .env_remove("FASTAGENCY_CONFIG")
            .env_remove("NATS_URL")
            .timeout(Duration::from_secs(60))
            .output()
            .expect("the program starts")
    });
    let output = ran.await.unwrap();
    let all = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {all}"));
    Said { healthy: output.status.success(), findings: said["findings"].as_array().unwrap().clone(), all }
}

/// A model's server that lists one model for whoever has the key.
async fn model_server() -> String {
    let list = async |headers: HeaderMap| match headers.get("authorization") {
        Some(key) if key == "Bearer the-right-key" => Ok(axum::Json(json!({"data": [{"id": "good"}]}))),
        _ => Err(StatusCode::UNAUTHORIZED),
    };
    let app = axum::Router::new().route("/v1/models", get(list));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

#[tokio::test]
async fn an_address_that_other_machines_reach_is_told_where_no_one_is_asked_who_calls() {
    let closed = project("gateway: { host: 0.0.0.0 }\nui: { host: 127.0.0.2 }\n");
    let said = doctor(&closed, &[]).await;
    said.says("error", "gateway will not start", "auth.open: true allows it");
    assert!(!said.all.contains("ui will not start"), "{}", said.all);
    let open = project("auth: { mode: none, open: true }\nui: { host: 0.0.0.0 }\n");
    doctor(&open, &[]).await.says("warning", "everyone who reaches the ui", "set another auth.mode");
}

#[tokio::test]
async fn a_program_for_one_machine_is_well_without_a_nats_server() {
    let (port, ui_port, nowhere) = (free_port(), free_port(), free_port());
    let folder = project(&format!(
        "nats: {{ url: \"nats://127.0.0.1:{nowhere}\" }}\ngateway: {{ port: {port} }}\nui: {{ port: {ui_port} }}\n"
    ));
    doctor(&folder, &[]).await.says("error", "no NATS server can be reached", "`fastagency all` needs none");
    let mut all = Tier::start(folder.path(), &["all", "--mock-llm"]);
    let url = all.url("gateway");
    let said = doctor(&folder, &[]).await;
    assert!(said.healthy && !said.all.contains("WARN"), "{}", said.all);
    assert_eq!(said.finding(&format!("`fastagency all` runs at {url}"))["level"], "ok");
    assert_eq!(said.finding("the gateway at")["level"], "ok");
    assert_eq!(said.finding("the page at")["level"], "ok");
    all.terminate();
    assert!(!doctor(&folder, &[]).await.healthy, "it is not there any more");
}

#[tokio::test]
async fn a_fresh_project_that_names_no_nats_server_is_well_without_one() {
    let (port, ui_port) = (free_port(), free_port());
    let folder = project(&format!("gateway: {{ port: {port} }}\nui: {{ port: {ui_port} }}\n"));
    let said = doctor(&folder, &[]).await;
    assert!(said.healthy, "{}", said.all);
    let nowhere = format!("nats://127.0.0.1:{}", free_port());
    doctor(&folder, &["--nats-url", &nowhere]).await.says("error", "no NATS server can be reached", "set nats.url");
}

#[tokio::test]
async fn what_this_machine_does_not_have_is_a_fault_of_this_machine() {
    let config = "python: { interpreter: nowhere/python }\ncommands: { report: { run: [no-such-program-0815] } }\n\
                  mcp: { files: { command: [cat], folder: no-such-folder } }\nsecrets: { key: { file: key.txt, hosts: [a.example] } }\n";
    let said = doctor(&project(config), &[]).await;
    assert!(!said.healthy);
    for words in [
        "python.interpreter: there is no program \"nowhere/python\" on this machine",
        "commands.report.run[0]: there is no program \"no-such-program-0815\" on this machine",
        "mcp.files.folder: there is no folder no-such-folder on this machine",
        "secrets.key.file: there is no file key.txt on this machine",
    ] {
        said.says("error", words, "install it here");
    }
}

#[tokio::test]
async fn a_system_that_is_well_is_told_so_with_all_who_are_up() {
    let test = "doctor::a_system_that_is_well_is_told_so_with_all_who_are_up";
    let Some(server) = NatsServer::start(test) else { return };
    let (models, port, ui_port) = (model_server().await, free_port(), free_port());
    let folder = project(&format!(
        "nats: {{ url: \"{}\" }}\ngateway: {{ port: {port} }}\nui: {{ port: {ui_port} }}\nllms: {{ default: {{ provider: compatible, model: good, api_key: the-right-key, base_url: \"{models}\" }} }}\n",
        server.url()
    ));
    let mut worker = Tier::start(folder.path(), &["worker"]);
    worker.says("worker ready");
    let mut gateway = Tier::start(folder.path(), &["gateway"]);
    gateway.url("gateway");
    let said = doctor(&folder, &[]).await;
    assert!(said.healthy, "{}", said.all);
    let errors: Vec<&Value> = said.findings.iter().filter(|finding| finding["level"] == "error").collect();
    assert_eq!(errors, Vec::<&Value>::new());
    for words in [
        "fastagency.yaml is right, with 1 workflow",
        "answers within",
        "its clock and this machine's differ by",
        "the runs take",
        "we may append records",
        "default: the server is there and lets us in",
        "has this version",
        "serves echo",
        &format!("the gateway at http://127.0.0.1:{port} has this version"),
        "GB are free",
    ] {
        assert_eq!(said.finding(words)["level"], "ok", "{words}");
    }
    said.says("note", &format!("no page is up at http://127.0.0.1:{ui_port}"), "fastagency ui");
    said.says("warning", "its monitoring does not answer", "http: 127.0.0.1:8222");
    assert!(!said.all.contains("the-right-key"), "{}", said.all);
    // It has changed nothing: whoever looks for runs finds none.
    assert!(server.broker().await.catalogue.list(fastagency::broker::Bucket::Runs, None).await.unwrap().is_empty());
    assert!(worker.terminate().success() && gateway.terminate().success());
}

#[tokio::test]
async fn what_is_not_well_is_told_with_what_to_do() {
    let test = "doctor::what_is_not_well_is_told_with_what_to_do";
    let Some(server) = NatsServer::start(test) else { return };
    let broker = server.broker().await;
    let card = WorkerCard {
        id: WorkerId::random(),
        workflows: vec![Name::parse("other").unwrap()],
        started_at: SystemClock.now(),
        version: "0.0.9".into(),
        runs: 0,
        max_runs: 1,
        cleans: true,
        takes_created: false,
    };
    directory::renew(&broker, &card, Duration::from_secs(60)).await.unwrap();
    let jetstream = {
        let client = async_nats::connect(server.url()).await.unwrap();
        async_nats::jetstream::new(client)
    };
    let mut runs = jetstream.get_stream("FA_RUNS").await.unwrap().info().await.unwrap().config.clone();
    runs.max_age = Duration::from_secs(3600);
    runs.max_bytes = 1;
    // What is there already is more than that.
    jetstream.publish("fa.inbox.x.y", "something".into()).await.unwrap().await.unwrap();
    jetstream.update_stream(runs).await.unwrap();

    let models = model_server().await;
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, ui_port) = (other.local_addr().unwrap().port(), PORT_ELSEWHERE);
    tokio::spawn(async move { axum::serve(other, axum::Router::new()).await });
    let folder = project(&format!(
        "nats: {{ url: \"{}\", replicas: 3 }}
gateway: {{ port: {port} }}
ui: {{ host: 203.0.113.7, port: {ui_port} }}
llms:
  wrong: {{ provider: compatible, model: good, api_key: sk-wrong, base_url: \"{models}\" }}
  keyless: {{ provider: compatible, model: good, base_url: \"{models}\" }}
  away: {{ provider: compatible, model: good, base_url: \"http://127.0.0.1:1/v1\" }}
  renamed: {{ provider: compatible, model: bad, api_key: the-right-key, base_url: \"{models}\" }}
  unset: {{ provider: compatible, model: good, base_url: \"${{NOWHERE_SET}}\" }}
",
        server.url()
    ));
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::fs::write(folder.path().join("data/seal.key"), "0000").unwrap();
    use std::os::unix::fs::PermissionsExt;
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(folder.path().join("data/seal.key"), open).unwrap();

    let said = doctor(&folder, &[]).await;
    assert!(!said.healthy);
    said.says("error", "throws messages away after 3600s", "--max-age 0");
    said.says("warning", "the stream FA_RUNS holds", "--max-bytes");
    said.says("warning", "nats.replicas is 3", "--replicas 3");
    said.says("warning", "has version 0.0.9", "workers first");
    said.says("warning", "no worker serves the workflow \"echo\"", "start a worker");
    said.says("error", "wrong: the server refuses the key (status 401)", "set llms.wrong.api_key");
    said.says("error", "keyless: the server wants a key", "set llms.keyless.api_key");
    said.says("error", "away: the server cannot be reached", "llms.away.base_url");
    said.says("warning", "renamed: the server is there, and does not list \"bad\"", "llms.renamed.model");
    said.says("error", "NOWHERE_SET", "where the worker runs");
    said.says("error", "is another program", "set another port");
    said.says("error", "nobody can listen at 203.0.113.7", "an address of this machine");
    said.says("error", "can read data/seal.key", "chmod 600");
    assert!(!said.all.contains("sk-wrong"), "{}", said.all);
}

#[tokio::test]
async fn a_broker_that_is_away_or_locked_is_told() {
    let folder = project("nats: { url: \"nats://u:geheim@127.0.0.1:1\" }\n");
    let said = doctor(&folder, &[]).await;
    assert!(!said.healthy);
    said.says("error", "no NATS server can be reached at nats://127.0.0.1:1", "nats-server -c nats-server.conf");
    assert!(!said.all.contains("geheim"));
    let test = "doctor::a_broker_that_is_away_or_locked_is_told";
    let Some(server) = NatsServer::start_with(test, &["-js", "--user", "somebody", "--pass", "else"]) else { return };
    let folder = project(&format!("nats: {{ url: \"{}\", user: somebody, password: geheim }}\n", server.url()));
    let said = doctor(&folder, &[]).await;
    said.says("error", "does not let the user \"somebody\" in", "nats.password");
    assert!(!said.all.contains("geheim"));
    let Some(server) = NatsServer::start_with(test, &[]) else { return };
    let folder = project(&format!("nats: {{ url: \"{}\" }}\n", server.url()));
    doctor(&folder, &[]).await.says("error", "has no JetStream", "jetstream {");
}

#[tokio::test]
async fn a_file_that_is_wrong_is_told_and_a_person_can_read_it() {
    let folder = project("gateway: { port: 70000 }\n");
    let said = doctor(&folder, &[]).await;
    assert!(!said.healthy);
    said.says("error", "70000 is not a port", "");
    let folder = project("nats: { url: \"nats://127.0.0.1:1\" }\n");
    let path = folder.path().to_owned();
    let ran = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fastagency"));
        command.current_dir(path).arg("doctor").env_remove("NATS_URL").output().unwrap()
    });
    let output = ran.await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("ERROR    nats    no NATS server can be reached"), "{text}");
    assert!(text.contains("→ start it") && text.contains("1 error, "), "{text}");
}

#[tokio::test]
async fn what_a_login_may_not_do_is_told() {
    let test = "doctor::what_a_login_may_not_do_is_told";
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("nats.conf");
    let users = r#"
jetstream {}
authorization { users: [
  { user: all, password: all }
  { user: narrow, password: narrow, permissions: {
      publish: { allow: ["$JS.API.>"], deny: ["$JS.API.STREAM.INFO.FA_QUEUE"] }
      subscribe: { allow: ["_INBOX.>"] } } }
  { user: earlier, password: earlier, permissions: {
      publish: { allow: [">"], deny: ["$JS.API.CONSUMER.INFO.FA_RUNS.*", "$JS.ACK.FA_RUNS.>", "fa.run.*.new-doctor"] } } }
  { user: gateway, password: gateway, permissions: { publish: { allow: [">"], deny: ["$JS.ACK.>"] } } }
] }
"#;
    std::fs::write(&config, users).unwrap();
    let Some(server) = NatsServer::start_with(test, &["-c", config.to_str().unwrap()]) else { return };
    let settings = |user: &str| fastagency::config::NatsConfig {
        url: server.url(),
        user: Some(user.to_owned()),
        password: Some(user.to_owned().into()),
        ..Default::default()
    };
    fastagency::broker::nats::connect(&settings("all"), "a test").await.unwrap();
    let nats = |user: &str| format!("nats: {{ url: \"{}\", user: {user}, password: {user} }}\n", server.url());
    let said = doctor(&project(&nats("narrow")), &[]).await;
    assert!(!said.healthy);
    said.says("error", "we may not look at the stream FA_QUEUE", "docs/explanation/broker.md");
    said.says("error", "we may not append records", "publish to fa.>");
    assert_eq!(said.finding("the runs take")["level"], "ok", "what it may look at is looked at");
    let said = doctor(&project(&nats("all")), &[]).await;
    assert!(said.healthy, "{}", said.all);
    for permitted in ["append records", "store the start of a run with its job", "count new runs", "settle new runs"] {
        assert_eq!(said.finding(&format!("we may {permitted}"))["level"], "ok");
    }
    let said = doctor(&project(&nats("earlier")), &[]).await;
    assert!(said.healthy, "{}", said.all);
    for missing in ["store the start of a run with its job", "count new runs", "settle new runs"] {
        said.says("warning", &format!("we may not {missing}"), "nats-server.tiers.conf of this version");
    }
    let said = doctor(&project(&nats("gateway")), &[]).await;
    assert!(said.healthy && !said.all.contains("settle new runs"), "{}", said.all);
}

/// A NATS server as it would be if its clock were some years behind: all that it says passes through here.
async fn years_behind(server: &NatsServer) -> String {
    let now = SystemClock.now().strftime("%Y").to_string();
    let (now, then) = (format!("\"ts\":\"{now}-"), format!("\"ts\":\"{}-", now.parse::<u32>().unwrap() - 4));
    let (listener, real) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), server.url().replace("nats://", ""));
    let url = format!("nats://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (mut from_client, mut to_client) = client.into_split();
            let (from_server, mut to_server) = tokio::net::TcpStream::connect(&real).await.unwrap().into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            let (now, then) = (now.clone(), then.clone());
            tokio::spawn(async move {
                // Its lines are whole here, so that no time is cut in two.
                let mut lines = tokio::io::BufReader::new(from_server);
                let mut line = Vec::new();
                while lines.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
                    let text = String::from_utf8_lossy(&line).replace(&now, &then);
                    if to_client.write_all(text.as_bytes()).await.is_err() {
                        break;
                    }
                    line.clear();
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn clocks_that_differ_are_told() {
    let Some(server) = NatsServer::start("doctor::clocks_that_differ_are_told") else { return };
    drop(server.broker().await);
    let url = years_behind(&server).await;
    let port = free_port();
    let folder = project(&format!("nats: {{ url: \"{url}\" }}\ngateway: {{ port: {port} }}\n"));
    let said = doctor(&folder, &[]).await;
    // Nor is anybody else up, which may be as it should be on this machine.
    said.says("note", &format!("no gateway is up at http://127.0.0.1:{port}"), "fastagency gateway");
    let finding = said.finding("behind this machine's");
    let words = finding["found"].as_str().unwrap();
    let seconds: f64 = words.split_whitespace().find_map(|word| word.parse().ok()).expect("how far");
    assert!((seconds / 86_400.0 - 4.0 * 365.25).abs() < 2.0, "{words}");
    said.says("warning", "behind this machine's", "NTP");
}

#[tokio::test]
async fn python_tiers_are_told_of() {
    let Some(server) = NatsServer::start("doctor::python_tiers_are_told_of") else { return };
    let broker = server.broker().await;
    let contract = broker.contract.clone().expect("FastAgency's side");
    contract.prepare().await.unwrap();
    contract.announce("simple_learning", "As a Python worker announces it").await.unwrap();
    // What FastAPI makes of FastAgency's gateway.
    let python = axum::Router::new()
        .route("/openapi.json", get(async || axum::Json(json!({"paths": {"/fastagency/initiate_workflow": {}}}))));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, python).await });
    let said = doctor(
        &project(&format!("nats: {{ url: \"{}\" }}\nui: {{ gateway_url: \"http://{at}\" }}\n", server.url())),
        &[],
    )
    .await;
    assert_eq!(said.finding("announced by FastAgency workers in Python: simple_learning")["level"], "ok");
    assert_eq!(said.finding(&format!("a FastAgency gateway in Python is up at http://{at}"))["level"], "ok");
    said.says("warning", "no worker is up", "fastagency worker");
}
