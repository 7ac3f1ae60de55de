//! What operators see: metrics of every tier, one trace through all of them, and logs that say whose run it is.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fastagency::client::event::{Body, ClientEvent};
use fastagency::client::{GatewayClient, patiently};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::gateway::login::Browser;
use crate::support::client::client;
use crate::support::collector::{Collector, KEY, Span};
use crate::support::eventually::eventually;
use crate::support::nats_server::NatsServer;
use crate::support::ports::free_port;
use crate::support::project::Project;
use crate::support::tier::Tier;

const BACK: Duration = Duration::from_secs(30);

/// A workflow whose agent asks for the weather, which a tool tells, or not.
fn weather(name: &str, told: &str, steps: &str) -> String {
    format!(
        r#"
version: 1
name: {name}
agents:
  helper: {{ system_message: You help., tools: [weather] }}
tools:
  weather:
    description: The weather
    params: {{ type: object, properties: {{ city: {{ type: string }} }}, required: [city] }}
    do:
      - {told}
steps:
{steps}
"#
    )
}

/// Asks a person, then a model that calls a tool, then the model again.
fn errand_workflow() -> String {
    let steps = r#"
  - { id: where, text_input: { prompt: "Where?" } }
  - agent: { agent: helper, message: "{{ steps.where }}" }"#;
    weather("errand", r#"return: "Sunny in {{ args.city }}""#, steps)
}

/// A project with that workflow, a model with a script and a price, and more.
fn project(nats: &str, more: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("workflows")).unwrap();
    std::fs::write(folder.path().join("workflows/errand.yaml"), errand_workflow()).unwrap();
    let config = format!(
        "version: 1
name: operation
nats: {{ url: \"{nats}\" }}
llms:
  default:
    provider: scripted
    model: made-up
    script:
      - tool_calls: [{{ id: call_1, name: weather, arguments: {{ city: Zagreb }} }}]
      - It is sunny.
prices:
  made-up: {{ input: 1000, output: 1000 }}
{more}"
    );
    std::fs::write(folder.path().join("fastagency.yaml"), config).unwrap();
    folder
}

/// Where a tier shows its metrics.
fn monitor(tier: &mut Tier) -> String {
    tier.url("metrics").trim_end_matches("/metrics").to_owned()
}

async fn text(url: &str) -> (u16, String) {
    let answer = client().get(url).send().await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("a text"))
}

/// Starts the errand, answers its question and waits for its end; returns the run's id.
async fn errand(api: &GatewayClient) -> String {
    let run = patiently(BACK, async || api.start("errand", &Map::new(), "one").await).await.unwrap().id;
    answer(api, run).await;
    run.to_string()
}

async fn answer(api: &GatewayClient, run: fastagency::ids::RunId) {
    let mut follower = api.follow(run, 0);
    let going = async {
        loop {
            let event = follower.next().await.expect("it can be followed").expect("it goes on");
            let ClientEvent::Record(record) = event else { continue };
            match record.body {
                Body::Said { message } if message.says().asks() => {
                    api.answer(run, message.uuid, &json!("Zagreb, where a secret is kept")).await.unwrap();
                }
                Body::Ended(_) => break,
                _ => {}
            }
        }
    };
    tokio::time::timeout(BACK, going).await.expect("it ends");
}

/// The names in a scrape, with the type of each.
fn names(scrape: &str) -> BTreeSet<String> {
    let lines = scrape.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let name = |line: &str| {
        let (name, kind) = line.split_once(' ').expect("a name and a type");
        match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        }
    };
    lines.map(name).collect()
}

/// The value of the one line that begins so.
fn value(scrape: &str, line: &str) -> f64 {
    let found: Vec<&str> = scrape.lines().filter_map(|found| found.strip_prefix(line)).collect();
    match found.as_slice() {
        [one] => one.trim().parse().expect("a number"),
        _ => panic!("{line} is there {} times in\n{scrape}", found.len()),
    }
}

#[tokio::test]
async fn every_tier_shows_metrics_that_name_no_run_and_no_person() {
    let Some(server) = NatsServer::start("operation::every_tier_shows_metrics_that_name_no_run_and_no_person") else {
        return;
    };
    let folder = project(&server.url(), "metrics: { listen: \"127.0.0.1:0\" }\nworker: { lease: 1s }\n");
    let mut worker = Tier::start(folder.path(), &["worker"]);
    let at_worker = monitor(&mut worker);
    let mut gateway = Tier::start(folder.path(), &["gateway", "--port", "0"]);
    let at_gateway = monitor(&mut gateway);
    let gateway_url = gateway.url("gateway");
    let mut ui = Tier::start(folder.path(), &["ui", "--port", "0", "--gateway-url", &gateway_url]);
    let at_ui = monitor(&mut ui);
    let page = ui.url("page");
    let run = errand(&GatewayClient::new(&page).unwrap()).await;
    let refused = client().get(format!("{page}/api/runs/{run}/nothing-here")).send().await.unwrap();
    assert_eq!(refused.status(), 404);

    for monitor in [&at_worker, &at_gateway, &at_ui] {
        assert_eq!(text(&format!("{monitor}/healthz")).await.0, 200);
        let (status, words) = text(&format!("{monitor}/readyz")).await;
        assert_eq!(status, 200, "{words}");
        assert_eq!(text(&format!("{monitor}/elsewhere")).await.0, 404);
    }
    let (_, of_worker) = text(&format!("{at_worker}/metrics")).await;
    let both = r#"{model="default",workflow="errand"}"#;
    for (line, expected) in [
        (r#"fastagency_runs_ended_total{workflow="errand",outcome="completed"}"#.to_owned(), 1.0),
        (r#"fastagency_worker_runs{workflow="errand",state="running"}"#.to_owned(), 0.0),
        (r#"fastagency_worker_runs{workflow="errand",state="waiting"}"#.to_owned(), 0.0),
        (r#"fastagency_run_state_seconds_count{workflow="errand",state="queued"}"#.to_owned(), 1.0),
        (r#"fastagency_run_state_seconds_count{workflow="errand",state="waiting"}"#.to_owned(), 1.0),
        (r#"fastagency_model_requests_total{model="default",workflow="errand",outcome="ok"}"#.to_owned(), 2.0),
        (format!("fastagency_model_request_seconds_count{both}"), 2.0),
        (r#"fastagency_tool_calls_total{tool="weather",workflow="errand",outcome="ok"}"#.to_owned(), 1.0),
        (r#"fastagency_queue_deliveries_total{workflow="errand"}"#.to_owned(), 1.0),
        (r#"fastagency_queue_redeliveries_total{workflow="errand"}"#.to_owned(), 0.0),
        (r#"fastagency_queue_jobs{workflow="errand",state="waiting"}"#.to_owned(), 0.0),
        ("fastagency_fencing_refusals_total".to_owned(), 0.0),
        ("fastagency_lease_losses_total".to_owned(), 0.0),
    ] {
        assert_eq!(value(&of_worker, &line), expected, "{line}");
    }
    assert!(value(&of_worker, &format!("fastagency_model_cost_usd_total{both}")) > 0.0);
    assert!(value(&of_worker, r#"fastagency_appends_total{outcome="stored"}"#) >= 6.0);
    let (_, of_gateway) = text(&format!("{at_gateway}/metrics")).await;
    assert_eq!(value(&of_gateway, r#"fastagency_runs_started_total{workflow="errand"}"#), 1.0);
    let started = r#"fastagency_http_requests_total{tier="gateway",method="POST",route="/api/runs",status="201"}"#;
    assert_eq!(value(&of_gateway, started), 1.0);
    let nowhere = r#"fastagency_http_requests_total{tier="gateway",method="GET",route="other",status="404"}"#;
    assert_eq!(value(&of_gateway, nowhere), 1.0);
    let (_, of_ui) = text(&format!("{at_ui}/metrics")).await;
    let forwarded = r#"fastagency_http_requests_total{tier="ui",method="POST",route="/api/{*rest}",status="201"}"#;
    assert_eq!(value(&of_ui, forwarded), 1.0);
    for scrape in [&of_worker, &of_gateway, &of_ui] {
        for secret in [run.as_str(), "Zagreb", "nothing-here"] {
            assert!(!scrape.contains(secret), "{secret} is in\n{scrape}");
        }
        assert!(scrape.ends_with("# EOF\n"));
    }

    // The documentation lists what there is, and the dashboard asks for nothing else.
    let shown = async || {
        let (_, of_worker) = text(&format!("{at_worker}/metrics")).await;
        [&of_worker, &of_gateway, &of_ui].into_iter().flat_map(|scrape| names(scrape)).collect::<BTreeSet<String>>()
    };
    // A worker goes round all runs now and then.
    let names = eventually("the runs are counted", async || {
        let names = shown().await;
        if names.contains("fastagency_runs") { Ok(names) } else { Err(names) }
    })
    .await;
    let docs = std::fs::read_to_string("docs/how-to/operate.md").unwrap();
    let documented: BTreeSet<String> = docs
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(name, _)| name.to_owned()))
        .filter(|name| name.starts_with("fastagency_") || name.starts_with("process_"))
        .map(|name| name.split('{').next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(documented, names);
    for name in asked_for() {
        let whole = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
        assert!(names.contains(whole), "the dashboard asks for {name}, and there is none");
    }

    // What goes down says so before it is gone.
    assert!(worker.terminate().success() && gateway.terminate().success() && ui.terminate().success());
}

/// The names that the queries of the dashboard ask for.
fn asked_for() -> BTreeSet<String> {
    let dashboard = std::fs::read_to_string("deploy/grafana/fastagency.json").unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let queries = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let word = regex::Regex::new(r"\b(?:fastagency|process)_[a-z_]+").unwrap();
    let names: BTreeSet<String> = queries
        .flat_map(|query| word.find_iter(query["expr"].as_str().unwrap()).map(|found| found.as_str().to_owned()))
        .collect();
    assert!(names.len() > 15, "{names:?}");
    names
}

/// Waits until a tier's metric is as it should be.
async fn shows(port: u16, line: &str, is_right: impl Fn(f64) -> bool) {
    eventually(&format!("{line} is right"), async || {
        let (_, scrape) = text(&format!("http://127.0.0.1:{port}/metrics")).await;
        let found = scrape.lines().find_map(|found| found.strip_prefix(line)).map(str::trim);
        let is_right = found.is_some_and(|number| is_right(number.parse().expect("a number")));
        if is_right { Ok(()) } else { Err(scrape) }
    })
    .await;
}

#[tokio::test]
async fn what_waits_and_what_goes_wrong_is_counted() {
    let Some(server) = NatsServer::start("operation::what_waits_and_what_goes_wrong_is_counted") else { return };
    let folder = project(&server.url(), "worker: { lease: 1s, max_runs: 1, park_after: 1h }\n");
    let config = std::fs::read_to_string(folder.path().join("fastagency.yaml")).unwrap();
    // Its tool fails.
    let fails = r#"fail: "nobody knows the weather of {{ args.city }}""#;
    let clumsy = weather("clumsy", fails, r#"  - agent: { agent: helper, message: "How is it?" }"#);
    let project = Project::new(&config, &[("errand.yaml", &errand_workflow()), ("clumsy.yaml", &clumsy)]);
    let [port, at_gateway, at_first, at_second, at_third] = [(); 5].map(|()| free_port());
    let listen = |port: u16| format!("127.0.0.1:{port}");
    let gateway =
        project.start("gateway", &["gateway", "--port", &port.to_string(), "--metrics-listen", &listen(at_gateway)]);
    let mut first = project.start("first", &["worker", "--metrics-listen", &listen(at_first)]);
    first.says("worker ready").await;
    gateway.says("gateway: http").await;
    let api = GatewayClient::new(&format!("http://127.0.0.1:{port}")).unwrap();
    let start = async |workflow: &str, key: &str| {
        patiently(BACK, async || api.start(workflow, &Map::new(), key).await).await.unwrap().id
    };
    start("clumsy", "one").await;
    shows(at_first, r#"fastagency_tool_calls_total{tool="weather",workflow="clumsy",outcome="error"}"#, |n| n == 1.0)
        .await;
    shows(at_first, r#"fastagency_runs_ended_total{workflow="clumsy",outcome="completed"}"#, |n| n == 1.0).await;

    // One run asks, and is all that the worker has a place for, beside one for the other workflow: the next waits in the queue.
    let asking = start("errand", "two").await;
    shows(at_first, r#"fastagency_worker_runs{workflow="errand",state="waiting"}"#, |n| n == 1.0).await;
    let queued = start("errand", "three").await;
    shows(at_first, r#"fastagency_queue_jobs{workflow="errand",state="waiting"}"#, |n| n >= 1.0).await;

    let events = client().get(format!("http://127.0.0.1:{port}/api/runs/{asking}/events")).send().await.unwrap();
    let socket = crate::support::client::socket(&format!("http://127.0.0.1:{port}")).await;
    shows(at_gateway, "fastagency_sse_clients", |n| n == 1.0).await;
    shows(at_gateway, r#"fastagency_sockets{tier="gateway"}"#, |n| n == 1.0).await;
    drop((events, socket));
    shows(at_gateway, "fastagency_sse_clients", |n| n == 0.0).await;
    shows(at_gateway, r#"fastagency_sockets{tier="gateway"}"#, |n| n == 0.0).await;

    // The worker stands still; another takes its run over, and it notices when it goes on.
    first.signal("STOP");
    std::fs::write(project.path().join("roomy.yaml"), config.replace("max_runs: 1", "max_runs: 9")).unwrap();
    let mut second = project.start("second", &["worker", "-c", "roomy.yaml", "--metrics-listen", &listen(at_second)]);
    second.says("worker ready").await;
    shows(at_second, r#"fastagency_queue_redeliveries_total{workflow="errand"}"#, |n| n >= 1.0).await;
    first.signal("CONT");
    shows(at_first, "fastagency_lease_losses_total", |n| n >= 1.0).await;
    first.terminate().await;
    second.terminate().await;

    // A worker alone goes round all runs soon.
    let third = project.start("third", &["worker", "-c", "roomy.yaml", "--metrics-listen", &listen(at_third)]);
    third.says("worker ready").await;
    shows(at_third, r#"fastagency_runs{state="ended"}"#, |n| n == 1.0).await;
    answer(&api, asking).await;
    answer(&api, queued).await;
    let tokens = r#"fastagency_model_tokens_total{model="default",workflow="errand",kind="#;
    shows(at_third, &format!("{tokens}\"input\"}}"), |n| n > 0.0).await;
    shows(at_third, &format!("{tokens}\"output\"}}"), |n| n > 0.0).await;
    shows(at_third, r#"fastagency_runs_resumed_total{workflow="errand"}"#, |n| n >= 1.0).await;
}

#[tokio::test]
async fn metrics_are_for_whoever_shows_the_token() {
    let folder = project("nats://127.0.0.1:1", "metrics: { listen: \"127.0.0.1:0\", token: geheim }\n");
    let mut all = Tier::start(folder.path(), &["all", "--port", "0", "--ui-port", "0"]);
    let monitor = monitor(&mut all);
    all.url("page");
    let scrape = async |token: &str| {
        let call = client().get(format!("{monitor}/metrics"));
        let call = if token.is_empty() { call } else { call.bearer_auth(token) };
        call.send().await.unwrap().status().as_u16()
    };
    assert_eq!((scrape("").await, scrape("other").await, scrape("geheim").await), (401, 401, 200));
    assert_eq!(text(&format!("{monitor}/healthz")).await.0, 200);
    assert!(all.terminate().success());
    assert!(!all.heard().concat().contains("geheim"));
    let folder = project("nats://127.0.0.1:1", "");
    let mut open =
        Tier::start(folder.path(), &["all", "--port", "0", "--ui-port", "0", "--metrics-listen", "0.0.0.0:0"]);
    open.says("set metrics.token");
    assert!(!open.end().success());
}

// The collector answers while the tiers end.
#[tokio::test(flavor = "multi_thread")]
async fn one_trace_goes_from_the_browsers_request_to_the_model_and_on_after_a_wait() {
    let test = "operation::one_trace_goes_from_the_browsers_request_to_the_model_and_on_after_a_wait";
    let Some(server) = NatsServer::start(test) else { return };
    let collector = Collector::start().await;
    let telemetry = format!(
        "worker: {{ park_after: 0s }}\ntelemetry: {{ otlp: {{ endpoint: \"{}\", headers: {{ {}: {} }} }} }}\n",
        collector.url, KEY.0, KEY.1
    );
    let folder = project(&server.url(), &telemetry);
    let mut worker = Tier::start(folder.path(), &["worker"]);
    let mut gateway = Tier::start(folder.path(), &["gateway", "--port", "0"]);
    let gateway_url = gateway.url("gateway");
    let mut ui = Tier::start(folder.path(), &["ui", "--port", "0", "--gateway-url", &gateway_url]);
    let page = ui.url("page");
    worker.says("worker ready");

    // A browser that traces, too.
    let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let api = GatewayClient::new(&page).unwrap();
    patiently(BACK, async || api.workflows().await).await.unwrap();
    let begin = async || {
        let call = client().post(format!("{page}/api/runs")).header("traceparent", format!("00-{trace}-{parent}-01"));
        let answer = call.json(&json!({"workflow": "errand"})).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().await.unwrap())
    };
    let run = loop {
        let (status, run) = begin().await;
        if status == 201 {
            break fastagency::ids::RunId::parse(run["id"].as_str().unwrap()).unwrap();
        }
        assert_eq!(status, 404, "{run}");
    };
    // An answer that comes while it is still in memory brings about no second stay there.
    let parked = async {
        let mut follower = api.follow(run, 0);
        while let Some(event) = follower.next().await.expect("it can be followed") {
            if matches!(event, ClientEvent::Record(record) if matches!(record.body, Body::Parked)) {
                break;
            }
        }
    };
    tokio::time::timeout(BACK, parked).await.expect("it is parked");
    let ours = |spans: &[Span]| -> Vec<Span> { spans.iter().filter(|span| span.trace == trace).cloned().collect() };
    let of_worker = |spans: &[Span]| ours(spans).iter().filter(|span| span.name == "run errand").count();
    // A worker listens to a parked run for a moment.
    collector.until(|spans| of_worker(spans) >= 1).await;
    answer(&api, run).await;
    assert!(worker.terminate().success() && gateway.terminate().success() && ui.terminate().success());

    let spans = collector
        .until(|spans| of_worker(spans) >= 2 && ours(spans).iter().any(|s| s.service == "fastagency-ui"))
        .await;
    let spans = ours(&spans);
    let named = |name: &str| -> &Span {
        spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no span {name} in {spans:#?}"))
    };
    let at_ui = named("POST /api/{*rest}");
    let at_gateway = named("POST /api/runs");
    let queued = named("start errand");
    let runs: Vec<&Span> = spans.iter().filter(|span| span.name == "run errand").collect();
    let chat: Vec<&Span> = spans.iter().filter(|span| span.name == "chat made-up").collect();
    let tool = named("execute_tool weather");
    let services = [at_ui, at_gateway, queued, runs[0], chat[0], tool].map(|span| span.service.as_str());
    assert_eq!(
        services,
        [
            "fastagency-ui",
            "fastagency-gateway",
            "fastagency-gateway",
            "fastagency-worker",
            "fastagency-worker",
            "fastagency-worker"
        ]
    );
    // Each under the one that brought it about.
    assert_eq!(at_ui.parent, parent);
    assert_eq!(at_gateway.parent, at_ui.id);
    assert_eq!(queued.parent, at_gateway.id);
    assert!(runs.iter().all(|stay| stay.parent == queued.id), "{runs:#?}");
    let resumed = runs.iter().find(|stay| !stay.links.is_empty()).expect("a stay that an answer brought about");
    assert!(resumed.links.iter().all(|link| link != trace));
    assert_eq!(chat.len(), 2);
    assert!(chat.iter().all(|span| span.parent == resumed.id) && tool.parent == resumed.id, "{spans:#?}");
    // The conventions for generative AI.
    let of = |span: &Span, name: &str| span.attributes.get(name).cloned().unwrap_or_default();
    assert_eq!(of(chat[0], "gen_ai.operation.name"), "chat");
    assert_eq!(of(chat[0], "gen_ai.request.model"), "made-up");
    assert_eq!(of(chat[0], "gen_ai.conversation.id"), run.to_string());
    assert!(of(chat[0], "gen_ai.usage.input_tokens").parse::<u64>().unwrap() > 0);
    assert_eq!(of(tool, "gen_ai.tool.name"), "weather");
    assert_eq!(of(resumed, "gen_ai.workflow.name"), "errand");
    // What was said is nobody's but the run's.
    let all = format!("{spans:?}");
    assert!(!all.contains("Zagreb") && !all.contains("You help") && !all.contains("sunny"), "{all}");
}

#[tokio::test]
async fn logs_say_whose_run_of_what_it_is() {
    let folder = project(
        "nats://127.0.0.1:1",
        "auth: { mode: trusted_header, proxies: [127.0.0.1], trusted_header: { user: x-user, from: [127.0.0.2/32] } }\n",
    );
    let mut all = Tier::start(folder.path(), &["all", "--port", "0", "--ui-port", "0", "--log-format", "json", "-v"]);
    let gateway = all.url("gateway");
    all.says("worker ready");
    drop(client()); // It brings the arithmetic of TLS.
    let proxy = reqwest::Client::builder().no_proxy().local_address(std::net::IpAddr::from([127, 0, 0, 2])).build();
    let call = proxy.unwrap().post(format!("{gateway}/api/runs")).header("x-user", "alice");
    let answer = call.json(&json!({"workflow": "errand"})).send().await.unwrap();
    let status = answer.status();
    let run: Value = answer.json().await.unwrap();
    assert_eq!(status, 201, "{run}");
    // A fast worker may say so before the gateway does.
    let mut said = BTreeSet::new();
    while said.len() < 2 {
        let line = all.says("\"the run was ");
        let line: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let fields = ["run.id", "workflow", "user.id"].map(|name| line[name].clone());
        assert_eq!(fields, [run["id"].clone(), json!("errand"), json!("alice")], "{line}");
        said.insert(line["message"].as_str().unwrap_or_default().to_owned());
    }
    assert!(said.contains("the run was started") && said.contains("the run was taken (Start)"), "{said:?}");
    assert!(all.terminate().success());
}

const SECRETIVE: &str = r#"
version: 1
name: secretive
steps:
  - id: pin
    text_input: { prompt: "The PIN?", password: true }
  - return: "{{ steps.pin | length }}"
"#;

#[tokio::test]
async fn no_password_key_token_or_cookie_is_logged_and_what_is_redacted_neither() {
    const PASSWORD: &str = "alice's password";
    let folder = tempfile::tempdir().unwrap();
    let (_, key) = crate::gateway::access::people(&folder);
    std::fs::create_dir(folder.path().join("workflows")).unwrap();
    std::fs::write(folder.path().join("workflows/secretive.yaml"), SECRETIVE).unwrap();
    let secret = "what tokens are signed with, long enough to be a secret";
    let config = format!(
        "version: 1\nauth: {{ mode: basic, file: access.yaml, token: {{ secret: \"{secret}\" }} }}\n\
         audit: {{ redact: {{ patterns: ['patient-[0-9]+'] }} }}\n"
    );
    std::fs::write(folder.path().join("fastagency.yaml"), config).unwrap();
    let mut all = Tier::start(folder.path(), &["all", "--port", "0", "--ui-port", "0", "-vv"]);
    let (gateway, page) = (all.url("gateway"), all.url("page"));

    // Every way in: a form with a cookie, a password, a token, a key; and wrong ones.
    let browser = Browser::at(&page);
    let login = browser.post("/auth/login", json!({"user": "alice", "password": PASSWORD})).await;
    assert_eq!(login.status, 204, "{}", login.body);
    let cookie = browser.cookies.lock().unwrap().values().next().cloned().unwrap();
    let csrf = browser.get("/auth/me").await.body["csrf"].as_str().unwrap().to_owned();
    let run = eventually("the gateway has heard of the workflow", async || {
        let started = browser.post("/api/runs?wait=20", json!({"workflow": "secretive"})).await;
        match started.status {
            201 => Some(started.body),
            404 => None,
            other => panic!("{other}: {}", started.body),
        }
    })
    .await;
    let (id, question) = (run["id"].as_str().unwrap(), run["question"]["id"].as_str().unwrap());
    let answered = browser.post(&format!("/api/runs/{id}/answers/{question}"), json!({"value": "pin-of-hers"})).await;
    assert_eq!(answered.status, 202, "{}", answered.body);
    assert!(browser.get(&format!("/api/runs/{id}/events")).await.body.as_str().unwrap().contains("11"));
    let form = format!("username=alice&password={}", PASSWORD.replace(' ', "+"));
    let given = client().post(format!("{gateway}/token")).header("content-type", "application/x-www-form-urlencoded");
    let token: Value = given.body(form).send().await.unwrap().json().await.unwrap();
    let token = token["access_token"].as_str().unwrap().to_owned();
    let list = || client().get(format!("{gateway}/api/runs"));
    for (call, expected) in [
        (list().basic_auth("alice", Some(PASSWORD)), 200),
        (list().bearer_auth(&token), 200),
        (list().bearer_auth(&key), 200),
        (list().header("x-api-key", &key), 200),
        (list().basic_auth("alice", Some("a wrong guess")), 401),
        (list().basic_auth("patient-4711", Some("a wrong guess")), 401),
        (list().bearer_auth(format!("{token}x")), 401),
        (list().bearer_auth(format!("{key}x")), 401),
    ] {
        assert_eq!(call.send().await.unwrap().status().as_u16(), expected);
    }
    assert!(all.terminate().success());
    let log = all.heard().join("\n");
    assert!(log.contains("wrong user or password for \"alice\""), "{log}");
    assert!(log.contains("wrong user or password for \"[redacted]\""), "{log}");
    let basic = BASE64_STANDARD.encode(format!("alice:{PASSWORD}"));
    for secret in [
        PASSWORD,
        "alice%27s",
        "a wrong guess",
        "pin-of-hers",
        secret,
        &token,
        &key,
        &cookie,
        &csrf,
        &basic,
        "patient-4711",
    ] {
        assert!(!log.contains(secret), "{secret:?} is in the log: {log}");
    }
}

/// Asks for a password and a text, asks a model that quotes what it was asked, and fails with what was said.
const TALKATIVE: &str = r#"
version: 1
name: talkative
params: { type: object, properties: { note: { type: string } } }
agents: { clerk: { system_message: SAID-BY-SYSTEM } }
tools:
  look: { description: Looks, params: { type: object, properties: { what: { type: string } } }, do: [ { return: "SAID-BY-TOOL {{ args.what }}" } ] }
steps:
  - { id: word, text_input: { prompt: "The word?", password: true } }
  - { id: name, text_input: { prompt: "The name?" } }
  - { id: looked, call: { tool: look, args: { what: SAID-TO-TOOL } } }
  - { id: asked, agent: { agent: clerk, message: "{{ steps.name }} {{ steps.looked }}" }, on_error: { value: "{{ error.message }}" } }
  - fail: "{{ steps.name }} {{ steps.asked }} {{ params.note }} SAID-BY-FAIL"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_and_passwords_over_a_socket_are_in_no_log_at_any_level_and_nobody_makes_a_line() {
    use crate::support::client::{hear_json, say, socket};
    // A provider that quotes what it was asked.
    let quoting = axum::Router::new().fallback(|body: String| async move {
        (
            axum::http::StatusCode::BAD_REQUEST,
            axum::Json(json!({"error": {"message": format!("SAID-BY-MODEL {body}")}})),
        )
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    #[expect(clippy::disallowed_methods, reason = "the test ends it")]
    let provider = tokio::spawn(async move { axum::serve(listener, quoting).await });
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("workflows")).unwrap();
    std::fs::write(folder.path().join("workflows/talkative.yaml"), TALKATIVE).unwrap();
    let config = format!(
        "version: 1\nllms: {{ default: {{ provider: openai, model: m, base_url: \"http://{address}/v1\", api_key: none, max_retries: 1 }} }}\n"
    );
    std::fs::write(folder.path().join("fastagency.yaml"), config).unwrap();
    let mut all = Tier::start_logging(folder.path(), &["all", "--port", "0", "--ui-port", "0"], Some("trace"));
    let (gateway, page) = (all.url("gateway"), all.url("page"));
    eventually("the gateway has heard of the workflow", async || {
        text(&format!("{gateway}/api/workflows")).await.1.contains("talkative")
    })
    .await;
    let mut socket = socket(&gateway).await;
    let run = fastagency::ids::RunId::random();
    let init = json!({"user_id": "None", "workflow_uuid": run.dashed(), "name": "talkative", "params": {"note": "SAID-AT-START"}});
    say(&mut socket, init.to_string()).await;
    let mut answers = ["SAID-AS-PASSWORD", "SAID-AS-NAME"].into_iter();
    loop {
        let frame = hear_json(&mut socket).await;
        match frame["type"].as_str() {
            Some("text_input") => say(&mut socket, answers.next().expect("two questions")).await,
            Some("workflow_completed") => break assert!(frame.to_string().contains("SAID-BY-FAIL"), "{frame}"),
            _ => {}
        }
    }
    // Whoever is not logged in makes no line of the log, and neither do headers and paths.
    let forged = "x%0D%0A2026-11-28T00%3A00%3A00Z%20%20INFO%20root%20logged%20in%E2%80%A8%1B%5B31m";
    let agent = reqwest::header::HeaderValue::from_bytes("agent\u{85}".as_bytes()).unwrap();
    for path in [format!("/auth/callback?state=s&error={forged}&error_description={forged}"), format!("/{forged}")] {
        for tier in [&page, &gateway] {
            client().get(format!("{tier}{path}")).header("user-agent", agent.clone()).send().await.unwrap();
        }
    }
    assert!(all.terminate().success());
    provider.abort();
    let log = all.heard();
    assert!(log.iter().any(|line| line.contains("the run failed") && line.contains("kind=\"fail\"")), "{log:#?}");
    assert!(log.iter().any(|line| line.contains("answered 400")), "{log:#?}");
    assert!(log.iter().any(|line| line.contains("RUST_LOG asks for more of libraries")), "{log:#?}");
    let said: Vec<&String> = log.iter().filter(|line| line.contains("SAID-")).collect();
    assert!(said.is_empty(), "{said:#?}");
    let forged: Vec<&String> = log.iter().filter(|line| line.starts_with("2026-11-28T00:00:00Z")).collect();
    assert!(forged.is_empty(), "{forged:#?}");
    assert!(!log.iter().any(|line| line.chars().any(fastagency::visible::is_hidden)), "{log:#?}");
}
