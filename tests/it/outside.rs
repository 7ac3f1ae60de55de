//! Workflows that reach outside: requests to a real server, as steps and as tools of agents, and what a lost worker leaves of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use fastagency::config::{OAuthConfig, SecretConfig, SecretSource};
use fastagency::outside::OutsideServices;
use fastagency::outside::addresses::AddressRules;
use fastagency::outside::http::HttpSender;
use fastagency::outside::secrets::Secrets;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::support::eventually::{eventually, soon};
use crate::support::system::System;

const SECRET: &str = "sesame-0815";

/// A request as the server got it.
#[derive(Debug, Clone)]
struct Asked {
    method: Method,
    uri: String,
    headers: HeaderMap,
    body: String,
}

#[derive(Default)]
struct Desk {
    asked: Mutex<Vec<Asked>>,
    /// How many tokens were given; the newest one counts.
    tokens: AtomicUsize,
    /// Requests to `/slow` get no answer while this holds.
    is_stuck: AtomicBool,
    goes_on: Notify,
}

/// A server of invoices, at an address of this machine.
struct BillingServer {
    url: String,
    desk: Arc<Desk>,
    _server: JoinSet<()>,
}

impl BillingServer {
    async fn start() -> Self {
        let desk = Arc::new(Desk::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new()
            .route("/invoices/{number}", get(invoice))
            .route("/refunds", any(echo))
            .route("/moved", any(async || (StatusCode::FOUND, [(header::LOCATION, "/refunds?moved=yes")])))
            .route("/elsewhere", get(async || (StatusCode::FOUND, [(header::LOCATION, "http://127.0.0.2:9/metadata")])))
            .route("/broken", get(async || (StatusCode::SERVICE_UNAVAILABLE, "out of paper, sesame-0815")))
            .route("/long", get(async || "x".repeat(3000)))
            .route("/kept", any(async || (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, "/refunds")])))
            .route("/nearly", get(async || (StatusCode::BAD_GATEWAY, "x".repeat(1995) + SECRET)))
            .route("/echo", get(async || format!("key {SECRET}")))
            .route("/slow", any(slow))
            .route("/token", any(token))
            .route("/guarded", any(guarded))
            .layer(axum::middleware::from_fn_with_state(desk.clone(), note))
            .with_state(desk.clone());
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { url, desk, _server: server }
    }

    fn asked(&self) -> Vec<Asked> {
        self.desk.asked.lock().clone()
    }

    /// What a worker needs to ask it.
    fn services(&self) -> OutsideServices {
        let rules = AddressRules::new(&["127.0.0.1".to_owned()]);
        let oauth = OAuthConfig {
            token_url: Some(format!("{}/token", self.url).parse().unwrap()),
            client_id: Some("desk".to_owned()),
            client_secret: Some("desk-secret".into()),
            ..OAuthConfig::default()
        };
        let token = SecretSource::OAuth(Box::new(oauth));
        let secrets = BTreeMap::from([
            ("token".to_owned(), SecretConfig { source: token, ..SecretConfig::value("", &["127.0.0.1"]) }),
            ("billing".to_owned(), SecretConfig::value(SECRET, &["127.0.0.1"])),
            ("other".to_owned(), SecretConfig::value("another-0815", &["other.example.com"])),
        ]);
        let http = Arc::new(HttpSender::new(rules, None));
        OutsideServices::of_parts(http, Secrets::new(secrets), std::path::Path::new(""))
    }

    /// A system with this workflow, in which `BILLING` is the server's address.
    async fn system(&self, workflow: &str) -> System {
        let source = workflow.replace("BILLING", &self.url);
        let services = self.services();
        System::in_own_folder().gateway(|_| {}).worker(&source).parts(|parts| parts.outside = services).start().await
    }
}

async fn note(
    State(desk): State<Arc<Desk>>,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> Response {
    let (parts, body) = request.into_parts();
    let body: Bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    desk.asked.lock().push(Asked {
        method: parts.method.clone(),
        uri: parts.uri.to_string(),
        headers: parts.headers.clone(),
        body: String::from_utf8_lossy(&body).into_owned(),
    });
    next.run(axum::extract::Request::from_parts(parts, body.into())).await
}

async fn invoice(Path(number): Path<String>, RawQuery(query): RawQuery) -> Response {
    if number == "none" {
        return (StatusCode::NOT_FOUND, axum::Json(json!({"detail": "there is no such invoice"}))).into_response();
    }
    let text = format!(
        r#"{{"number": {}, "query": {}, "total": 19.90, "id": 12345678901234567890}}"#,
        json!(number),
        json!(query)
    );
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

async fn echo(method: Method, uri: Uri, headers: HeaderMap, body: String) -> axum::Json<Value> {
    let of = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    axum::Json(json!({
        "method": method.as_str(), "query": uri.query(), "body": body, "kind": of("content-type"),
        "authorization": of("authorization"), "key": of("idempotency-key"),
    }))
}

async fn token(State(desk): State<Arc<Desk>>) -> axum::Json<Value> {
    let number = desk.tokens.fetch_add(1, Ordering::SeqCst);
    axum::Json(json!({"access_token": format!("access-token-{number}"), "token_type": "Bearer", "expires_in": 3600}))
}

/// Takes the third token alone.
async fn guarded(headers: HeaderMap) -> Response {
    match headers.get(header::AUTHORIZATION).is_some_and(|shown| shown == "Bearer access-token-2") {
        true => axum::Json(json!("welcome")).into_response(),
        false => (StatusCode::UNAUTHORIZED, "expired").into_response(),
    }
}

async fn slow(State(desk): State<Arc<Desk>>) -> axum::Json<Value> {
    while desk.is_stuck.load(Ordering::SeqCst) {
        desk.goes_on.notified().await;
    }
    axum::Json(json!("done"))
}

/// A run of the system's workflow, until it has ended: as the API shows it, and its log as text.
async fn ended(system: &System, params: Value) -> (Value, String) {
    let name = system.worked().name.to_string();
    eventually("the workflow is known", async || system.get("/api/workflows").await.1.to_string().contains(&name))
        .await;
    let (status, run) = system.post("/api/runs?wait=20", json!({"workflow": name, "params": params})).await;
    assert_eq!(status, 201, "{run}");
    let run = crate::support::client::run_id(&run);
    let events = system.events(run, "").await;
    let last = events.iter().rfind(|event| event.name == "record").unwrap().data.clone();
    let records = system.broker.log.read(run, 0).await.unwrap();
    let log: String = records.iter().map(|record| String::from_utf8_lossy(&record.payload).into_owned()).collect();
    (last, log)
}

#[tokio::test]
async fn a_step_asks_a_server_and_values_stay_in_their_places() {
    let billing = BillingServer::start().await;
    let system = billing
        .system(
            r#"
version: 1
name: ask
params: { type: object, properties: { number: { type: string }, amount: {} } }
steps:
  - { id: one, http: "BILLING/invoices/{{ params.number }}?full=yes&of={{ params.number }}" }
  - id: two
    http:
      url: BILLING/refunds
      query: { tag: [a, "b c"], none: null }
      headers: { Authorization: "Bearer {{ secrets.billing }}", X-Run: "{{ run.id }}" }
      json: { amount: "{{ params.amount }}", invoice: "{{ steps.one.id }}" }
  - { id: three, http: { url: BILLING/refunds, method: PUT, form: { a: "1 2", b: [x, y] } } }
  - { id: four, http: { url: BILLING/moved } }
  - { id: five, http: { url: BILLING/broken, returns: response } }
  - { id: six, http: { url: BILLING/long, max_result: 1000 } }
  - { id: seven, http: { url: BILLING/kept, json: { a: 1 } } }
  - { id: eight, http: { url: BILLING/echo, max_result: 9 } }
  - return: { seven: "{{ steps.seven }}", eight: "{{ steps.eight }}", one: "{{ steps.one }}", two: "{{ steps.two }}", three: "{{ steps.three }}", four: "{{ steps.four }}", five: "{{ steps.five }}", six: "{{ steps.six | length }}" }
"#,
        )
        .await;
    let amount: Value = serde_json::from_str("4.50").unwrap();
    let (end, log) = ended(&system, json!({"number": "a/4711?x#y z", "amount": amount})).await;
    assert_eq!(end["outcome"], "completed", "{end}");
    let result = &end["result"];
    assert_eq!(result["one"]["number"], "a/4711?x#y z");
    assert_eq!(result["one"]["query"], "full=yes&of=a%2F4711%3Fx%23y%20z");
    assert_eq!(result["one"]["total"].to_string(), "19.90");
    assert_eq!(result["one"]["id"].to_string(), "12345678901234567890");
    assert_eq!(result["two"]["method"], "POST");
    assert_eq!(result["two"]["query"], "tag=a&tag=b+c");
    assert_eq!(result["two"]["body"], r#"{"amount":4.50,"invoice":12345678901234567890}"#);
    assert_eq!(result["two"]["kind"], "application/json");
    assert_eq!(result["two"]["authorization"], "Bearer [secret billing]", "it was sent, and does not come back");
    assert_eq!(billing.asked()[1].headers["authorization"], format!("Bearer {SECRET}"));
    assert_eq!(result["two"]["key"].as_str().unwrap().len(), 32);
    assert_eq!(result["three"]["body"], "a=1+2&b=x&b=y");
    assert_eq!(result["four"]["query"], "moved=yes", "a redirect on the same server is followed");
    assert_eq!(result["five"]["status"], 503);
    assert_eq!(result["five"]["body"], "out of paper, [secret billing]");
    assert_eq!(result["six"], json!(1000 + "… [cut off after 1000 bytes]".chars().count()));
    assert_eq!(result["seven"]["method"], "POST", "308 keeps method and body");
    assert_eq!(result["seven"]["body"], r#"{"a":1}"#);
    assert_eq!(result["eight"], "key [secr… [cut off after 9 bytes]", "what is cut off is hidden before");
    assert!(!log.contains(SECRET) && log.contains("[secret billing]"));
    system.end().await;
}

#[tokio::test]
async fn a_token_that_the_server_refuses_is_renewed_once_for_a_request() {
    let billing = BillingServer::start().await;
    let request = r#"http: { url: BILLING/guarded, headers: { Authorization: "Bearer {{ secrets.token }}" } }"#;
    let workflow = format!(
        r#"
version: 1
name: guard
steps:
  - {{ id: first, {request}, on_error: {{ value: "{{{{ error.message }}}}" }} }}
  - {{ id: second, {request} }}
  - {{ id: other, http: {{ url: BILLING/guarded, headers: {{ X: "{{{{ secrets.billing }}}}" }} }}, on_error: {{ value: refused }} }}
  - return: ["{{{{ steps.first }}}}", "{{{{ steps.second }}}}", "{{{{ steps.other }}}}"]
"#
    );
    let system = billing.system(&workflow).await;
    let (last, _) = ended(&system, json!({})).await;
    let first = format!("{} answered 401 Unauthorized: expired", billing.url);
    assert!(last.to_string().contains(&json!([first, "welcome", "refused"]).to_string()), "{last}");
    assert_eq!(billing.desk.tokens.load(Ordering::SeqCst), 3);
    let guarded = billing.asked().into_iter().filter(|asked| asked.uri == "/guarded").count();
    assert_eq!(guarded, 5, "twice, twice, and once with a secret that stays the same");
    system.end().await;
}

#[tokio::test]
async fn what_fails_says_why_and_nobody_is_followed_elsewhere() {
    let billing = BillingServer::start().await;
    billing.desk.is_stuck.store(true, Ordering::SeqCst);
    let system = billing
        .system(
            r#"
version: 1
name: fails
tools:
  wait: { description: Waits, timeout: 300ms, http: POST BILLING/slow }
params: { type: object, properties: { url: { type: string } } }
steps:
  - { id: none, http: BILLING/invoices/none, on_error: { value: "{{ error.kind }}: {{ error.message }}" } }
  - { id: elsewhere, http: BILLING/elsewhere, on_error: { value: "{{ error.message }}" } }
  - { id: closed, http: "http://127.0.0.1:1/", on_error: { value: "{{ error.message }}" } }
  - { id: empty, http: "BILLING/invoices/{{ params.url }}", on_error: { value: "{{ error.message }}" } }
  - { id: waited, call: { tool: wait }, on_error: { value: "{{ error.kind }}: {{ error.message }}" } }
  - { id: moved, http: { url: BILLING/moved, json: {} }, on_error: { value: "{{ error.message }}" } }
  - { id: nearly, http: BILLING/nearly, on_error: { value: "{{ error.message }}" } }
  - { id: foreign, http: { url: BILLING/refunds, headers: { X-Key: "{{ secrets.other }}" } }, on_error: { value: "{{ error.message }}" } }
  - { id: told, http: { url: BILLING/broken, error_message: The desk is closed. }, on_error: { value: "{{ error.message }}" } }
  - return: "{{ steps }}"
"#,
        )
        .await;
    let (end, log) = ended(&system, json!({"url": ".."})).await;
    let said = |step: &str| {
        end["result"][step].as_str().unwrap_or_else(|| panic!("{step}: {end}")).replace(&billing.url, "BILLING")
    };
    assert_eq!(said("none"), r#"http: BILLING answered 404 Not Found: {"detail":"there is no such invoice"}"#);
    assert_eq!(
        said("elsewhere"),
        "BILLING redirects to http://127.0.0.2:9, which is another server; if that is right, write its address into `url`, or its host into `outgoing.allow_hosts`"
    );
    assert!(said("closed").starts_with("http://127.0.0.1:1 cannot be reached: "), "{}", said("closed"));
    assert_eq!(said("empty"), "params.url: it would lead out of its place in the address");
    assert_eq!(said("foreign"), r#"the secret "other" is for other.example.com alone, and would go to 127.0.0.1"#);
    assert!(billing.asked().iter().all(|asked| asked.uri != "/refunds"), "nothing was sent");
    assert_eq!(said("told"), "The desk is closed.");
    assert_eq!(said("waited"), "timeout: BILLING did not answer in time, so nobody knows whether it was done");
    let moved = "BILLING answered 302 Found and redirects to /refunds?moved=yes, which is not followed";
    assert_eq!(said("moved"), moved);
    assert!(said("nearly").ends_with("xx[secr…") && !log.contains("sesa"), "{}", said("nearly"));
    assert!(!log.contains(SECRET) && !log.contains("out of paper"));
    system.end().await;
}

#[tokio::test]
async fn what_only_this_network_reaches_is_not_asked_unless_it_is_named() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let source = r#"
version: 1
name: private
steps:
  - { id: address, http: "http://127.0.0.1:PORT/", on_error: { value: "{{ error.message }}" } }
  - { id: name, http: "http://localhost:PORT/", on_error: { value: "{{ error.message }}" } }
  - { id: metadata, http: "http://169.254.169.254/latest", on_error: { value: "{{ error.message }}" } }
  - return: "{{ steps }}"
"#;
    let source = source.replace("PORT", &port.to_string());
    let system = System::in_own_folder().gateway(|_| {}).worker(&source).start().await;
    let (end, _) = ended(&system, json!({})).await;
    for (step, host, is) in [
        ("address", "127.0.0.1", "is an address that only this machine or its network reaches"),
        ("name", "localhost", "is at "),
        ("metadata", "169.254.169.254", "is an address that only this machine or its network reaches"),
    ] {
        let said = end["result"][step].as_str().unwrap_or_else(|| panic!("{step}: {end}"));
        assert!(said.starts_with(&format!("{host} {is}")), "{said}");
        assert!(said.ends_with(&format!("outgoing: {{ allow_private: [{host}] }}")), "{said}");
    }
    let came = tokio::time::timeout(std::time::Duration::from_millis(1), listener.accept()).await;
    assert!(came.is_err(), "nobody was asked");
    system.end().await;
}

#[tokio::test]
async fn what_neither_address_nor_headers_name_goes_along_with_a_tool() {
    let billing = BillingServer::start().await;
    let system = billing
        .system(
            r#"
version: 1
name: tools
tools:
  get_invoice:
    description: Looks up an invoice
    params: { type: object, required: [number], properties: { number: { type: string }, year: { type: integer }, tags: { type: array } } }
    http: GET BILLING/invoices/{{ args.number }}
  refund:
    description: Pays money back
    params: { type: object, properties: { amount: { type: number }, reason: { type: string } } }
    http: POST BILLING/refunds
  refund_as:
    description: Pays money back, as somebody
    params: { type: object, properties: { amount: { type: number }, who: { type: string } } }
    http: { method: POST, url: BILLING/refunds, headers: { X-Who: "{{ args.who }}" } }
  search:
    description: Searches invoices
    params: { type: object, properties: { year: { type: integer }, page: { type: integer } } }
    http: { url: BILLING/invoices/all, headers: { X-Who: me } }
  first_page:
    description: Searches invoices
    params: { type: object, properties: { year: { type: integer }, page: { type: integer } } }
    http: { url: BILLING/invoices/all, query: { year: "{{ args.year }}" } }
steps:
  - { id: map, call: { tool: refund_as, args: { amount: 7, who: Ada } } }
  - { id: query, call: { tool: search, args: { year: 2026, page: 2 } } }
  - { id: said, call: { tool: first_page, args: { year: 2026, page: 2 } } }
  - { id: one, call: { tool: get_invoice, args: { number: "47/11", year: 2026, tags: [a, b] } } }
  - { id: two, call: { tool: refund, args: { amount: "{{ steps.one.total }}", reason: broken } } }
  - { id: three, call: { tool: get_invoice, args: { number: none } }, on_error: { value: "{{ error.message }}" } }
  - return: "{{ steps }}"
"#,
        )
        .await;
    let (end, log) = ended(&system, json!({})).await;
    let result = &end["result"];
    assert_eq!(result["one"]["number"], "47/11", "{end}");
    assert_eq!(result["one"]["query"], "year=2026&tags=a&tags=b");
    assert_eq!(result["two"]["body"], r#"{"amount":19.90,"reason":"broken"}"#);
    assert_eq!(result["map"]["body"], r#"{"amount":7}"#, "what a header names is left out");
    assert_eq!(result["query"]["query"], "year=2026&page=2");
    assert_eq!(result["said"]["query"], "year=2026", "a map that has a query says what is sent");
    assert!(
        result["three"].as_str().unwrap().ends_with(r#"answered 404 Not Found: {"detail":"there is no such invoice"}"#),
        "{end}"
    );
    assert_eq!(log.matches("/begun").count(), 2, "only what must not be done twice is noted before it is done");
    system.end().await;
}

/// Runs the workflow until the server has its request, takes the worker away, and lets another one go on.
async fn over_a_lost_worker(http: &str) -> (Value, Vec<Asked>) {
    let billing = BillingServer::start().await;
    billing.desk.is_stuck.store(true, Ordering::SeqCst);
    let source = format!(
        "version: 1\nname: slow\nsteps:\n  - {{ id: it, http: {http}, on_error: {{ value: \"{{{{ error.message }}}}\" }} }}\n  - return: \"{{{{ steps.it }}}}\"\n"
    );
    let folder = tempfile::tempdir().unwrap();
    let broker = fastagency::broker::embedded::open(folder.path()).unwrap();
    let source = source.replace("BILLING", &billing.url);
    let system = |services: OutsideServices| {
        System::over(broker.clone()).gateway(|_| {}).worker(&source).parts(|parts| parts.outside = services).start()
    };
    let first = system(billing.services()).await;
    eventually("the workflow is known", async || first.post("/api/runs", json!({"workflow": "slow"})).await.0 == 201)
        .await;
    eventually("the server is asked", async || billing.asked().len() == 1).await;
    first.end().await;
    billing.desk.is_stuck.store(false, Ordering::SeqCst);
    billing.desk.goes_on.notify_waiters();
    let second = system(billing.services()).await;
    let mut end = Value::Null;
    eventually("it has ended", async || {
        let run = &second.get("/api/runs").await.1["runs"][0];
        run["state"] == "ended"
    })
    .await;
    let run = crate::support::client::run_id(&second.get("/api/runs").await.1["runs"][0]);
    for event in soon(second.events(run, "")).await {
        if event.data["kind"] == "ended" {
            end = event.data.clone();
        }
    }
    second.end().await;
    (end, billing.asked())
}

#[tokio::test]
async fn what_may_be_asked_again_is_asked_again_after_a_lost_worker() {
    let (end, asked) = over_a_lost_worker("BILLING/slow").await;
    assert_eq!(end["result"], "done", "{end}");
    assert_eq!(asked.len(), 2);
    let (end, asked) = over_a_lost_worker("{ url: BILLING/slow, json: {}, idempotent: true }").await;
    assert_eq!((&end["result"], asked.len()), (&json!("done"), 2), "{end}");
    let key = |asked: &Asked| asked.headers["idempotency-key"].clone();
    assert_eq!(key(&asked[0]), key(&asked[1]), "the server can tell that it is the same");
    assert_eq!(asked[1].body, "{}");
}

#[tokio::test]
async fn what_must_not_be_done_twice_is_not_done_twice_after_a_lost_worker() {
    let (end, asked) = over_a_lost_worker("{ url: BILLING/slow, json: {} }").await;
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(end["result"].as_str().unwrap().contains("nobody knows whether it was done"), "{end}");
    assert_eq!(asked[0].method, Method::POST);
    assert_eq!(asked[0].uri, "/slow");
    let (end, asked) = over_a_lost_worker("{ url: BILLING/slow, json: {} }, retry: { max: 2, delay: 0s }").await;
    assert_eq!(asked.len(), 1, "nor by a retry that is for everything: {end}");
}
