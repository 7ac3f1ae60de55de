//! Tools that ask services on NATS (`nats: SUBJECT`): a real server, and services as the client library makes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_nats::service::ServiceExt;
use async_trait::async_trait;
use bytes::Bytes;
use fastagency::broker::Broker;
use fastagency::broker::services::{ServiceError, ServiceReply, ServiceRequest, ServiceRequests};
use fastagency::config::{NatsConfig, NatsLogin};
use fastagency::ids::RunId;
use fastagency::run::record::{RecordBody, RunOutcome};
use futures_util::StreamExt;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::approvals::results;
use crate::support::deployment::{Deployment, claims};
use crate::support::eventually::eventually;
use crate::support::nats_server::NatsServer;
use crate::support::project::Project;
use crate::support::system::{Follower, System};
use crate::talks::scripted;

/// The requests that a service got: subject, key, payload.
type Requests = Arc<Mutex<Vec<(String, String, Value)>>>;

/// A service of orders. It echoes requests, but for some articles.
async fn orders(client: async_nats::Client, subjects: &[&str]) -> (async_nats::service::Service, Requests) {
    let service = client.service_builder().start("orders", "1.0.0").await.unwrap();
    let requests = Requests::default();
    for subject in subjects {
        let mut endpoint = service.endpoint(*subject).await.unwrap();
        let requests = requests.clone();
        tokio::spawn(async move {
            while let Some(request) = endpoint.next().await {
                let message = &request.message;
                let key = message.headers.as_ref().and_then(|headers| headers.get("Idempotency-Key"));
                let key = key.map(ToString::to_string).unwrap_or_default();
                let payload: Value = serde_json::from_slice(&message.payload).unwrap();
                requests.lock().push((message.subject.to_string(), key, payload.clone()));
                let no_order =
                    || async_nats::service::error::Error { status: "there is no such order".to_owned(), code: 404 };
                let reply = match payload["article"].as_str() {
                    Some("silent") => continue,
                    Some("unknown") => Err(no_order()),
                    Some("text") => Ok(Bytes::from("in stock")),
                    Some("nothing") => Ok(Bytes::new()),
                    Some("bytes") => Ok(Bytes::from_static(b"\x89PNG\xff")),
                    Some("long") => Ok(Bytes::from("x".repeat(5000))),
                    _ => Ok(message.payload.clone()),
                };
                request.respond(reply).await.unwrap();
            }
        });
    }
    client.flush().await.unwrap();
    (service, requests)
}

async fn client(server: &NatsServer) -> async_nats::Client {
    async_nats::connect(server.url()).await.unwrap()
}

const CLERK: &str = r#"
version: 1
name: clerk
agents:
  clerk: { system_message: You are a clerk., tools: [lookup, stock, patient, hasty] }
tools:
  lookup:
    description: Looks an order up
    params: { type: object, properties: { article: { type: string }, price: { type: number }, customer: { type: string } } }
    inject: { customer: "{{ vars.who }}", call: "{{ call.id }}" }
    max_result: 1KiB
    retry: { max: 1, on: [tool] }
    nats: orders.lookup
  stock:
    description: Says what is in stock
    params: { type: object, properties: { region: { type: string }, article: { type: string } }, required: [region] }
    nats: orders.{{ args.region }}.stock
  patient:
    description: Waits for the service
    idempotent: true
    nats: orders.late
  hasty:
    description: Does not wait
    timeout: 300ms
    params: { type: object, properties: { article: { type: string } } }
    error_message: The desk is closed.
    nats: orders.lookup
vars: { who: Ann }
steps:
  - id: reply
    agent: { agent: clerk, message: Go. }
  - return: "{{ steps.reply }}"
"#;

async fn played(broker: Broker, script: &str) -> (tempfile::TempDir, System, Follower) {
    let folder = tempfile::tempdir().unwrap();
    let system = System::over(broker).worker(CLERK).models(scripted(folder.path(), script)).start().await;
    let run = RunId::random();
    system.start(run).await;
    let follower = system.follow(run).await;
    (folder, system, follower)
}

/// What the calls of a script came to.
async fn results_of(broker: Broker, calls: &[(&str, Value)]) -> Vec<String> {
    let mut script = String::new();
    for (number, (tool, arguments)) in calls.iter().enumerate() {
        script += &format!("- tool_calls: [{{ id: c{number}, name: {tool}, arguments: {arguments} }}]\n");
    }
    let (_folder, system, mut follower) = played(broker, &format!("{script}- Done.\n")).await;
    let (outcome, end) = follower.ended().await;
    assert_eq!((outcome, end), (RunOutcome::Completed, json!("Done.")));
    system.end().await;
    results(&follower.seen)
}

#[tokio::test]
async fn a_service_is_asked_and_what_it_replies_is_the_result() {
    let Some(server) = NatsServer::start("nats_tools::a_service_is_asked_and_what_it_replies_is_the_result") else {
        return;
    };
    let (_service, requests) = orders(client(&server).await, &["orders.lookup", "orders.eu.stock"]).await;
    let calls = [
        ("lookup", json!({"article": "a", "price": 1.5, "customer": "Eve"})),
        ("lookup", json!({"article": "text"})),
        ("lookup", json!({"article": "nothing"})),
        ("lookup", json!({"article": "bytes"})),
        ("lookup", json!({"article": "long"})),
        ("stock", json!({"region": "eu", "article": "b"})),
        ("stock", json!({"region": "eu.stock"})),
        ("stock", json!({"region": "*"})),
        ("stock", json!({"region": "eu stock"})),
    ];
    let came = results_of(server.broker().await, &calls).await;
    let first: Value = serde_json::from_str(&came[0]).unwrap();
    let key = requests.lock()[0].1.clone();
    assert!(!key.is_empty());
    assert_eq!(first, json!({"article": "a", "price": 1.5, "customer": "Ann", "call": key}));
    assert_eq!(came[1], "in stock");
    assert_eq!(came[2], "null");
    assert_eq!(came[3], "Error: orders.lookup replied with bytes, and not with JSON or a text");
    assert_eq!(came[4], format!("{}… [cut off after 1024 bytes]", "x".repeat(1024)));
    assert_eq!(serde_json::from_str::<Value>(&came[5]).unwrap(), json!({"article": "b"}));
    for (result, value) in came[6..].iter().zip(["eu.stock", "*", "eu stock"]) {
        assert_eq!(*result, format!("Error: args.region: {value:?} is not one word of a subject"));
    }
    assert!(requests.lock().iter().all(|request| ["orders.lookup", "orders.eu.stock"].contains(&&*request.0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_calls_a_tool_that_asks_a_service() {
    let Some(server) = NatsServer::start("nats_tools::a_person_calls_a_tool_that_asks_a_service") else {
        return;
    };
    let (_service, _requests) = orders(client(&server).await, &["orders.lookup"]).await;
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    std::fs::create_dir(folder.path().join("workflows")).unwrap();
    write("fastagency.yaml", &format!("version: 1\nnats: {{ url: \"{}\" }}\n", server.url()));
    write("workflows/clerk.yaml", CLERK);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_fastagency"));
    command.args(["tools", "call", "clerk", "lookup", "--args", r#"{"article": "a"}"#, "--json"]);
    command.current_dir(folder.path()).env_remove("FASTAGENCY_CONFIG").env_remove("NATS_URL");
    let said = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let error = String::from_utf8_lossy(&said.stderr);
    let found: Value = serde_json::from_slice(&said.stdout).unwrap_or_else(|_| panic!("{error}"));
    assert_eq!((&found["result"]["article"], &found["result"]["customer"]), (&json!("a"), &json!("Ann")));
}

#[tokio::test]
async fn an_error_of_a_service_is_one_for_the_model_and_a_repeated_call_has_the_same_key() {
    let test = "nats_tools::an_error_of_a_service_is_one_for_the_model_and_a_repeated_call_has_the_same_key";
    let Some(server) = NatsServer::start(test) else { return };
    let (_service, requests) = orders(client(&server).await, &["orders.lookup"]).await;
    let calls = [
        ("lookup", json!({"article": "unknown"})),
        ("hasty", json!({"article": "silent"})),
        ("stock", json!({"region": "us"})),
    ];
    let came = results_of(server.broker().await, &calls).await;
    let said = [
        "Error: orders.lookup replied with an error: 404: there is no such order",
        "Error: The desk is closed.",
        "Error: nobody serves orders.us.stock",
    ];
    assert_eq!(came, said);
    let requests = requests.lock().clone();
    let keys: Vec<&str> = requests.iter().map(|(_, key, _)| key.as_str()).collect();
    assert!(keys.len() == 3 && keys[0] == keys[1] && keys[1] != keys[2], "{keys:?}");
}

const DESK: &str = r#"
version: 1
name: desk
tools:
  place:
    description: Places an order
    params: { type: object, properties: { article: { type: string } } }
    inject: { call: "{{ call.id }}" }
    nats: orders.placeMORE
steps:
  - id: it
    call: { tool: place, args: { article: pen } }
    on_error: { value: "{{ error.kind }}: {{ error.message }}" }
  - return: "{{ steps.it }}"
"#;

/// A service that gives its first request no reply, and each later one a reply at once; and what it was asked.
async fn slow_at_first(client: async_nats::Client) -> (async_nats::service::Service, Requests) {
    silent_for(1, client).await
}

/// A service that gives so many requests no reply, and each later one a reply at once; and what it was asked.
async fn silent_for(first: usize, client: async_nats::Client) -> (async_nats::service::Service, Requests) {
    let service = client.service_builder().start("orders", "1.0.0").await.unwrap();
    let mut endpoint = service.endpoint("orders.place").await.unwrap();
    let requests = Requests::default();
    let noted = requests.clone();
    tokio::spawn(async move {
        while let Some(request) = endpoint.next().await {
            let key = request.message.headers.as_ref().and_then(|headers| headers.get("Idempotency-Key"));
            let key = key.map(ToString::to_string).unwrap_or_default();
            let payload = serde_json::from_slice(&request.message.payload).unwrap();
            noted.lock().push((request.message.subject.to_string(), key, payload));
            if noted.lock().len() > first {
                request.respond(Ok(Bytes::from("\"placed\""))).await.unwrap();
            }
        }
    });
    client.flush().await.unwrap();
    (service, requests)
}

/// A request of a worker that is killed while the service works on it: what another worker does is what the workflow says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_of_a_killed_worker_is_sent_again_with_its_key_only_where_the_workflow_says_so() {
    let test = "nats_tools::a_request_of_a_killed_worker_is_sent_again_with_its_key_only_where_the_workflow_says_so";
    let lost = "lost: the worker was lost while this was under way, so nobody knows whether it was done; it is not done twice \
                (`idempotent: true` says that this does no harm)";
    for (more, result, asked) in [
        ("\n    idempotent: true", "placed", 2),
        ("", lost, 1),
        ("\n    retry: { max: 1, on: [lost] }", "placed", 2),
        ("\n    retry: { max: 1, on: [tool, timeout] }", lost, 1),
    ] {
        let Some(builder) = Deployment::of(test) else { return };
        let deployment = builder.workflow(&DESK.replace("MORE", more)).start().await;
        let (_service, requests) = slow_at_first(client(&deployment.nats).await).await;
        let mut first = deployment.worker("first").await;
        let run = deployment.gateways().start("desk", json!({}), "the run").await;
        eventually("the service is asked", async || !requests.lock().is_empty()).await;
        let _second = deployment.worker("second").await;
        first.kill();
        let log = deployment.ended(&run).await;
        let Some(RecordBody::Ended(end)) = log.last().map(|last| &last.record.body) else { panic!("{log:#?}") };
        assert_eq!((end.result.as_str(), claims(&log).len()), (Some(result), 2), "{more}");
        let requests = requests.lock().clone();
        let key = requests[0].1.clone();
        let same = ("orders.place".to_owned(), key.clone(), json!({"article": "pen", "call": key}));
        assert!(!same.1.is_empty());
        assert_eq!(requests, vec![same; asked], "{more}: the key is the same over all workers");
    }
}

const CLERKS_DESK: &str = r#"
version: 1
name: desk
agents:
  clerk: { system_message: You place orders., tools: [place] }
tools:
  place:
    description: Places an order
    params: { type: object, properties: { article: { type: string } } }
    nats: orders.placeMORE
steps:
  - id: it
    agent: { agent: clerk, message: "A pen, please." }
    on_error: { value: "{{ error.kind }}" }
  - return: "{{ steps.it }}"
"#;
const CLERK_SAYS: &str = r#"
llms:
  default:
    provider: scripted
    script:
      - { tool_calls: [{ id: c1, name: place, arguments: { article: pen } }] }
      - That is all.
"#;

/// What came of a call of an agent whose worker was killed in the middle of it, so many times: the run's result, what was asked of
/// people, how often the service was asked, and everything that the run shows.
async fn killed_in_a_call(test: &str, more: &str, answers: &[&str]) -> Option<(Value, Vec<String>, usize, String)> {
    let builder = Deployment::of(test)?;
    let deployment = builder.settings(CLERK_SAYS).workflow(&CLERKS_DESK.replace("MORE", more)).start().await;
    let kills = answers.len().max(1);
    let (_service, requests) = silent_for(kills, client(&deployment.nats).await).await;
    let mut worker = deployment.worker("worker").await;
    let gateways = deployment.gateways();
    let run = gateways.start("desk", json!({}), "the run").await;
    let mut asked: Vec<String> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for kill in 1..=kills {
        eventually("the service is asked", async || (requests.lock().len() == kill).then_some(())).await;
        let next = deployment.worker(&format!("worker{kill}")).await;
        worker.kill();
        worker = next;
        let Some(answer) = answers.get(kill - 1) else { break };
        let question = eventually("a person is asked", async || {
            let (_, view) = gateways.call("GET", &format!("/api/runs/{run}"), None, None).await;
            let id = view["question"]["id"].as_str().map(str::to_owned);
            id.filter(|id| !seen.contains(id)).ok_or(view)
        })
        .await;
        let history = gateways.history(&run).await;
        let says = history.iter().find(|event| event.data["message"]["uuid"] == json!(question)).expect("it is shown");
        asked.push(says.data["message"]["content"]["prompt"].as_str().unwrap_or_default().to_owned());
        assert!(gateways.answer(&run, &question, answer).await);
        seen.insert(question);
    }
    let log = deployment.ended(&run).await;
    let Some(RecordBody::Ended(end)) = log.last().map(|last| &last.record.body) else { panic!("{log:#?}") };
    let shown: Vec<String> = gateways.history(&run).await.iter().map(|event| event.data.to_string()).collect();
    let requests = requests.lock().clone();
    assert!(requests.iter().all(|request| !request.1.is_empty() && *request == requests[0]), "one key: {requests:?}");
    Some((end.result.clone(), asked, requests.len(), shown.join("\n")))
}

/// An agent must not do it twice by itself: a person is asked, unless the workflow says otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_says_whether_an_agents_call_is_made_again_that_was_cut_off() {
    let test = "nats_tools::a_person_says_whether_an_agents_call_is_made_again_that_was_cut_off";
    const UNKNOWN: &str = "nobody knows whether it was done";
    let cases: [(&str, &[&str], &str, usize, &str); 5] = [
        ("", &["Call it again"], "That is all.", 2, "placed"),
        ("\n    on_lost: ask", &["Call it again", "Call it again"], "That is all.", 3, "placed"),
        ("", &["Do not call it again"], "That is all.", 1, UNKNOWN),
        ("\n    on_lost: tell", &[], "That is all.", 1, UNKNOWN),
        ("\n    on_lost: fail", &[], "lost", 1, "lost"),
    ];
    let ended = cases.map(async |(more, answers, ..)| killed_in_a_call(test, more, answers).await);
    let ended = futures_util::future::join_all(ended).await;
    for ((more, answers, result, requests, shown), came) in cases.into_iter().zip(ended) {
        let Some((came, asked, sent, all)) = came else { return };
        assert_eq!((came.as_str(), asked.len(), sent), (Some(result), answers.len(), requests), "{more} {answers:?}");
        assert!(all.contains(shown), "{more} {answers:?}: {all}");
        let words = "The worker was lost while the tool `place` was called with `{\"article\":\"pen\"}`. Nobody knows whether it was \
                     done. Is it to be called again?";
        assert!(asked.iter().all(|asked| asked == words), "{asked:?}");
    }
}

/// Services that are not there at first.
struct LateServices {
    asked: AtomicU32,
    comes_after: u32,
}

#[async_trait]
impl ServiceRequests for LateServices {
    async fn request(&self, request: ServiceRequest<'_>) -> Result<ServiceReply, ServiceError> {
        if self.asked.fetch_add(1, Ordering::Relaxed) < self.comes_after {
            return Err(ServiceError::NobodyServes(request.subject.to_owned()));
        }
        Ok(ServiceReply { payload: Bytes::from("\"here\""), fault: None })
    }
}

#[tokio::test]
async fn only_an_idempotent_tool_waits_for_a_service_that_is_not_there() {
    for (tool, comes_after, result, asked) in [("patient", 2, "here", 3), ("hasty", 1, "Error: The desk is closed.", 1)]
    {
        let folder = tempfile::tempdir().unwrap();
        let services = Arc::new(LateServices { asked: AtomicU32::new(0), comes_after });
        let broker = fastagency::broker::embedded::open(folder.path()).unwrap();
        let broker = Broker { services: Some(services.clone()), ..broker };
        let came = results_of(broker, &[(tool, json!({}))]).await;
        assert_eq!((came[0].as_str(), services.asked.load(Ordering::Relaxed)), (result, asked), "{tool}");
    }
}

#[tokio::test]
async fn tools_ask_with_a_login_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nats.conf");
    let users = r#"
jetstream {}
authorization {
  users = [
    { user: worker, password: "the worker's" }
    {
      user: tools
      password: "the tools'"
      permissions: { publish: { allow: ["orders.>"], deny: ["orders.eu.>"] }, subscribe: { allow: ["_INBOX.tools.>"] } }
    }
  ]
}
"#;
    std::fs::write(&file, users).unwrap();
    let test = "nats_tools::tools_ask_with_a_login_of_their_own";
    let Some(server) = NatsServer::start_with(test, &["-c", file.to_str().unwrap()]) else { return };
    let url = server.url();
    let login = async_nats::ConnectOptions::with_user_and_password("worker".to_owned(), "the worker's".to_owned());
    let (_service, requests) = orders(login.connect(&url).await.unwrap(), &["orders.lookup", "orders.eu.stock"]).await;
    let tools =
        NatsLogin { user: Some("tools".to_owned()), password: Some("the tools'".into()), ..NatsLogin::default() };
    let settings = NatsConfig {
        url: url.clone(),
        user: Some("worker".to_owned()),
        password: Some("the worker's".into()),
        tools: Some(tools),
        ..NatsConfig::default()
    };
    let broker = fastagency::broker::nats::connect(&settings, "a test").await.unwrap();
    let came = results_of(broker, &[("lookup", json!({"article": "text"})), ("stock", json!({"region": "eu"}))]).await;
    assert_eq!(came[0], "in stock");
    assert_eq!(came[1], "Error: the NATS login of this worker may not ask orders.eu.stock");
    assert_eq!(requests.lock().len(), 1);
    for (password, says) in
        [("the tools'", "the login of nats.tools is let in"), ("another", "nats.tools: the NATS server at")]
    {
        let nats = format!("url: \"{url}\", user: worker, password: \"the worker's\"");
        let tools = format!("tools: {{ user: tools, password: \"{password}\" }}");
        let project = Project::new(&format!("version: 1\nnats: {{ {nats}, {tools} }}\n"), &[]);
        let said = output(&project, &["doctor"]);
        assert!(said.contains(says), "{said}");
    }
}

/// What a command prints.
fn output(project: &Project, arguments: &[&str]) -> String {
    let said = std::process::Command::new(env!("CARGO_BIN_EXE_fastagency"))
        .args(arguments)
        .current_dir(project.path())
        .env_remove("NATS_URL")
        .output()
        .unwrap();
    [said.stdout, said.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat()
}

#[test]
fn a_broker_without_a_server_says_that_a_tool_needs_one() {
    let config = "version: 1\nllms: { default: { provider: scripted, script: [hi] } }\n";
    let project = Project::new(config, &[("clerk.yaml", CLERK)]);
    let said = output(&project, &["run", "clerk"]);
    assert!(said.contains("clerk.yaml:13:11: nats: a tool with `nats` needs a NATS server"), "{said}");
    assert!(said.contains("start with --nats"), "{said}");
}
