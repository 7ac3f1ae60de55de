//! The access token of the person who started a run, from the gateway to the API that the run asks in the person's name: at an
//! issuer that signs tokens for several people, over an embedded broker and over NATS with gateway and worker apart.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use fastagency::broker::{Broker, InboxSlot};
use fastagency::config::{AuthConfig, AuthMode, JwtAlgorithm, JwtConfig, JwtKey, UsersAndGroups};
use fastagency::ids::RunId;
use fastagency::model::open_all;
use fastagency::outside::OutsideServices;
use fastagency::protocol::caller_token::CallerToken;
use fastagency::run::caller_token::{self, CallerTokenSeal};
use parking_lot::Mutex;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::gateway::access::{ed25519, eddsa, now};
use crate::secrets_nowhere::{files, stored};
use crate::support::client::{client, run_id};
use crate::support::eventually::eventually;
use crate::support::nats_server::NatsServer;
use crate::support::project::Project;
use crate::support::system::{System, sealer, workflow};
use crate::support::tier::Tier;

/// Two calls in the name of the person, by a step and by a tool of a specification; a question; a call once more.
const WORKFLOW: &str = r#"
version: 1
name: desk
agents:
  clerk: { system_message: You are a clerk., tools: [api] }
tools:
  api: { openapi: API/openapi.json, security: { person: crm } }
steps:
  - id: first
    http: { url: API/me, headers: { Authorization: "Bearer {{ secrets.crm }}" } }
    on_error: { value: "{{ error.message }}" }
  - id: reply
    agent: { agent: clerk, message: Who am I? }
  - id: go_on
    text_input: { prompt: Go on? }
  - id: second
    http: { url: API/me, headers: { Authorization: "Bearer {{ secrets.crm }}" } }
    on_error: { value: "{{ error.message }}" }
  - id: moved
    http: { url: API/moved, headers: { Authorization: "Bearer {{ secrets.crm }}" } }
    on_error: { value: "{{ error.message }}" }
  - id: elsewhere
    http: { url: OTHER/me, headers: { Authorization: "Bearer {{ secrets.crm }}" } }
    on_error: { value: "{{ error.message }}" }
  - return: "{{ steps }}"
"#;

/// A request as a server got it: its path, and the token that it was shown.
type SeenRequest = (String, String);

/// A server that says who it was called by, and shows the token.
struct Api {
    url: String,
    seen: Arc<Mutex<Vec<SeenRequest>>>,
    _server: JoinSet<()>,
}

#[derive(Clone)]
struct ApiState {
    url: String,
    other: String,
    seen: Arc<Mutex<Vec<SeenRequest>>>,
}

impl Api {
    async fn start(host: &str, other: &str) -> Self {
        let listener = tokio::net::TcpListener::bind((host, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::default());
        let state = ApiState { url: url.clone(), other: other.to_owned(), seen: Arc::clone(&seen) };
        let app = Router::new().fallback(answer).with_state(state);
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, seen, _server: server }
    }

    /// The tokens that came to a path.
    fn tokens(&self, path: &str) -> Vec<String> {
        self.seen.lock().iter().filter(|(at, _)| at == path).map(|(_, token)| token.clone()).collect()
    }
}

async fn answer(State(api): State<ApiState>, request: Request) -> Response {
    let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let token = shown.trim_start_matches("Bearer ").to_owned();
    let path = request.uri().path().to_owned();
    api.seen.lock().push((path.clone(), token.clone()));
    let operation = json!({"get": {"operationId": "whoami", "security": [{"person": []}],
        "responses": {"200": {"description": "The person"}}}});
    match path.as_str() {
        "/openapi.json" => Json(json!({
            "openapi": "3.1.0", "info": {"title": "CRM", "version": "1"}, "servers": [{"url": api.url}],
            "components": {"securitySchemes": {"person": {"type": "openIdConnect", "openIdConnectUrl": "https://id.example/c"}}},
            "paths": {"/whoami": operation},
        }))
        .into_response(),
        "/moved" => (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, format!("{}/me", api.other))]).into_response(),
        // Tokens that do not fit together are refused: what is shown comes back all the same.
        _ => ([("x-echo", token.clone())], Json(json!({"you": who(&token), "token": token}))).into_response(),
    }
}

/// The person whom a token is about.
fn who(token: &str) -> Value {
    let claims = token.split('.').nth(1).and_then(|part| BASE64_URL_SAFE_NO_PAD.decode(part).ok());
    claims.and_then(|claims| serde_json::from_slice::<Value>(&claims).ok()).map_or(Value::Null, |it| it["sub"].clone())
}

/// An issuer of access tokens: its keys are at an address, as those of an OpenID provider are.
struct Issuer {
    keys: String,
    key: Ed25519KeyPair,
    _server: JoinSet<()>,
}

impl Issuer {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let keys = format!("http://{}/keys", listener.local_addr().unwrap());
        let key = ed25519();
        let x = BASE64_URL_SAFE_NO_PAD.encode(key.public_key());
        let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": "k", "x": x}]});
        let app = Router::new().fallback(async || Json(set));
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { keys, key, _server: server }
    }

    /// Another token of a person each time, which counts for so many seconds.
    fn token(&self, person: &str, seconds: u64) -> String {
        self.token_until(person, now() + seconds)
    }

    fn token_until(&self, person: &str, until: u64) -> String {
        let id = fastagency::ids::hex(&rand::random::<[u8; 8]>());
        let claims = json!({"iss": "https://id.example", "aud": "fastagency", "sub": person, "exp": until, "jti": id});
        eddsa(&self.key, &json!({"alg": "EdDSA", "kid": "k", "typ": "at+jwt"}), &claims)
    }

    /// People are asked for these tokens; root may answer in everybody's runs.
    fn auth(&self) -> AuthConfig {
        let jwt = JwtConfig {
            algorithms: vec![JwtAlgorithm::EdDsa],
            key: JwtKey::Jwks(self.keys.clone()),
            issuer: Some("https://id.example".to_owned()),
            audience: Some("fastagency".to_owned()),
            leeway: Duration::from_secs(60),
            user_claim: "sub".to_owned(),
            groups_claim: "groups".to_owned(),
            accept_unverified_email: false,
        };
        AuthConfig {
            mode: AuthMode::Jwt(Box::new(jwt)),
            admins: UsersAndGroups { users: vec!["root".to_owned()], groups: Vec::new() },
            ..AuthConfig::default()
        }
    }
}

/// A gateway and a worker, the API that runs ask, and another server.
struct Office {
    issuer: Issuer,
    api: Api,
    other: Api,
    broker: Broker,
    gateway: System,
    worker: Option<System>,
    _folder: tempfile::TempDir,
}

/// What the worker's configuration has.
fn services(folder: &Path) -> (OutsideServices, fastagency::model::ModelRegistry) {
    let text = r#"
version: 1
llms:
  default:
    provider: scripted
    stream: false
    script:
      - { tool_calls: [{ id: c1, name: whoami, arguments: {} }] }
      - That is you.
outgoing: { allow_private: [127.0.0.1, 127.0.0.2] }
secrets: { crm: { from: caller, hosts: [127.0.0.1] } }
"#;
    let path = folder.join("fastagency.yaml");
    let config = fastagency::config::from_text(&path, text, folder, &|_| None).unwrap_or_else(|why| panic!("{why}"));
    (OutsideServices::new(&config), open_all(&config.llms, false))
}

impl Office {
    /// All in one process.
    async fn embedded() -> Self {
        Self::embedded_with(|_| {}).await
    }

    async fn embedded_with(change: impl FnOnce(&mut fastagency::gateway::Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let broker = fastagency::broker::embedded::open(folder.path()).unwrap();
        Self::over(folder, broker.clone(), broker, change).await
    }

    /// Gateway and worker with connections of their own.
    async fn nats(server: &NatsServer) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::over(folder, server.broker().await, server.broker().await, |_| {}).await
    }

    async fn over(
        folder: tempfile::TempDir,
        broker: Broker,
        of_worker: Broker,
        change: impl FnOnce(&mut fastagency::gateway::Settings),
    ) -> Self {
        let other = Api::start("127.0.0.2", "").await;
        let api = Api::start("127.0.0.1", &other.url).await;
        let issuer = Issuer::start().await;
        let source = WORKFLOW.replace("API", &api.url).replace("OTHER", &other.url);
        let (outside, models) = services(folder.path());
        let worker = System::over(of_worker).worker_of(workflow(&source)).models(models);
        let worker = worker.parts(|parts| parts.outside = outside).start().await;
        let gateway = System::over(broker.clone()).gateway(|settings| {
            settings.auth = issuer.auth();
            settings.sealer = Some(sealer());
            settings.passes_caller_tokens = true;
            change(settings);
        });
        let gateway = gateway.start().await;
        Self { issuer, api, other, broker, gateway, worker: Some(worker), _folder: folder }
    }

    async fn call(&self, token: &str, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let call = self.gateway.http.request(method.parse().unwrap(), format!("{}{path}", self.gateway.url));
        let call = call.bearer_auth(token);
        let answer = if let Some(body) = body { call.json(&body) } else { call }.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Starts a run as the person of a token.
    async fn start(&self, token: &str) -> RunId {
        eventually("the workflow is known", async || {
            self.call(token, "GET", "/api/workflows", None).await.1.to_string().contains("desk")
        })
        .await;
        let (status, run) = self.call(token, "POST", "/api/runs", Some(json!({"workflow": "desk"}))).await;
        assert_eq!(status, 201, "{run}");
        run_id(&run)
    }

    /// The question that a run waits with.
    async fn question(&self, token: &str, run: RunId) -> String {
        eventually("the question is there", async || {
            let view = self.call(token, "GET", &format!("/api/runs/{run}"), None).await.1;
            view["question"]["id"].as_str().map(str::to_owned).ok_or(view)
        })
        .await
    }

    /// Answers the question of a run as the person of a token.
    async fn answer(&self, token: &str, run: RunId, question: &str) {
        let path = format!("/api/runs/{run}/answers/{question}");
        let (status, body) = self.call(token, "POST", &path, Some(json!({"value": "yes"}))).await;
        assert_eq!(status, 202, "{body}");
    }

    /// What the steps of a run came to, once it has ended, and its log as text.
    async fn ended(&self, run: RunId) -> (Value, String) {
        let mut follower = self.gateway.follow(run).await;
        let (_, result) = follower.ended().await;
        let records = self.broker.log.read(run, 0).await.unwrap();
        let log = records.iter().map(|record| String::from_utf8_lossy(&record.payload).into_owned()).collect();
        (result, log)
    }

    /// Whether anything of a token lies in the inbox of a run.
    async fn keeps_token(&self, run: RunId) -> bool {
        let (inbox, mut kept) = (&self.broker.inbox, false);
        for slot in [InboxSlot::CallerToken, InboxSlot::Key] {
            kept |= inbox.get(run, slot).await.unwrap().is_some();
        }
        kept
    }

    async fn close(self) {
        if let Some(worker) = self.worker {
            worker.close().await;
        }
        self.gateway.close().await;
    }
}

/// A run whose owner answers it.
async fn each_run_calls_with_its_own_persons_token(office: Office) {
    let (ada, bob) = (office.issuer.token("ada", 600), office.issuer.token("bob", 600));
    let (of_ada, of_bob) = tokio::join!(office.start(&ada), office.start(&bob));
    let ada_again = office.issuer.token("ada", 600);
    for (run, first, second, person) in [(of_ada, &ada, &ada_again, "ada"), (of_bob, &bob, &bob, "bob")] {
        let question = office.question(first, run).await;
        assert!(office.keeps_token(run).await, "it is there while the run may need it");
        office.answer(second, run, &question).await;
        let (result, log) = office.ended(run).await;
        assert_eq!(result["first"], json!({"you": person, "token": "[secret crm]"}));
        assert_eq!(result["second"], result["first"]);
        assert_eq!(result["elsewhere"], "the secret \"crm\" is for 127.0.0.1 alone, and would go to 127.0.0.2");
        let moved = result["moved"].as_str().unwrap();
        assert!(moved.contains("redirects to http://127.0.0.2:"), "{moved}");
        assert!(!log.contains(first.as_str()) && !log.contains(second.as_str()), "{log}");
        eventually("nothing is left of the token", async || !office.keeps_token(run).await).await;
    }
    let mut first = office.api.tokens("/me");
    let seen_second: Vec<String> = first.split_off(2);
    first.sort();
    let mut expected = vec![ada.clone(), bob.clone()];
    expected.sort();
    assert_eq!(first, expected, "each by its own token");
    assert_eq!(seen_second, [ada_again.as_str(), &bob], "the owner's answer has brought the newer one");
    let mut by_tool = office.api.tokens("/whoami");
    by_tool.sort();
    assert_eq!(by_tool, expected, "the tool of the specification, too");
    assert_eq!(*office.other.seen.lock(), [], "nothing goes to another host");
    office.close().await;
}

/// A token that ends while its run waits.
async fn a_token_that_has_expired_is_renewed_by_its_owner_alone(office: Office) {
    let root = office.issuer.token("root", 600);
    let mut runs = Vec::new();
    let end = now() + 600;
    let short = office.issuer.token_until("ada", end);
    for _ in 0..2 {
        let run = office.start(&short).await;
        let question = office.question(&root, run).await;
        let kept = caller_token::read(&office.broker, &sealer(), run).await.unwrap().unwrap();
        assert_eq!((kept.token.as_str(), kept.until.as_second()), (short.as_str(), end as i64));
        // A page that is open since before the person signed in anew changes nothing.
        let now = fastagency::clock::system().now();
        let until = fastagency::clock::after(now, Duration::from_secs(60));
        let older = CallerToken { until, token: "older".into(), ..kept.clone() };
        caller_token::store(&office.broker, run, &CallerTokenSeal { sealer: &sealer(), token: older }, now)
            .await
            .unwrap();
        assert!(caller_token::read(&office.broker, &sealer(), run).await.unwrap().as_ref() == Some(&kept));
        // Time passes.
        office.broker.cleaner.as_ref().unwrap().erase(run, InboxSlot::CallerToken).await.unwrap();
        let token = CallerToken { until: fastagency::clock::after(now, Duration::from_millis(1)), ..kept };
        let seal = CallerTokenSeal { sealer: &sealer(), token };
        caller_token::store(&office.broker, run, &seal, now).await.unwrap();
        runs.push((run, question));
    }
    assert_eq!(office.api.tokens("/me"), [short.as_str(), &short], "it counted at first");
    // Not even sealed longer than it counts.
    eventually("the tokens are gone", async || {
        let (one, other) = (runs[0].0, runs[1].0);
        let left = office.broker.inbox.get(one, InboxSlot::CallerToken).await.unwrap();
        left.is_none() && office.broker.inbox.get(other, InboxSlot::CallerToken).await.unwrap().is_none()
    })
    .await;
    office.answer(&root, runs[0].0, &runs[0].1).await;
    let (result, log) = office.ended(runs[0].0).await;
    let why = "no token for the secret \"crm\": there is no access token of ada: it has expired, or ada did not show one to \
               the gateway; ada can sign in again and answer a question of this run, or start it again";
    assert_eq!(result["second"], why);
    let fresh = office.issuer.token("ada", 600);
    office.answer(&fresh, runs[1].0, &runs[1].1).await;
    let (result, more) = office.ended(runs[1].0).await;
    assert_eq!(result["second"], json!({"you": "ada", "token": "[secret crm]"}));
    assert_eq!(office.api.tokens("/me")[2..], [fresh.as_str()], "nobody else's token was sent");
    for token in [&root, &short, &fresh] {
        assert!(!log.contains(token.as_str()) && !more.contains(token.as_str()));
    }
    office.close().await;
}

mod on_embedded {
    use super::Office;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn each_run_calls_with_its_own_persons_token() {
        super::each_run_calls_with_its_own_persons_token(Office::embedded().await).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_token_that_has_expired_is_renewed_by_its_owner_alone() {
        super::a_token_that_has_expired_is_renewed_by_its_owner_alone(Office::embedded().await).await;
    }
}

mod on_nats {
    use super::{NatsServer, Office};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn each_run_calls_with_its_own_persons_token() {
        let test = "caller_tokens::on_nats::each_run_calls_with_its_own_persons_token";
        let Some(server) = NatsServer::start(test) else { return };
        super::each_run_calls_with_its_own_persons_token(Office::nats(&server).await).await;
        let stored = super::stored(&server.url()).await;
        let left: Vec<_> = stored.iter().filter(|(place, _)| place.ends_with(".token")).collect();
        assert!(left.is_empty(), "what was replaced is gone, too: {left:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_token_that_has_expired_is_renewed_by_its_owner_alone() {
        let test = "caller_tokens::on_nats::a_token_that_has_expired_is_renewed_by_its_owner_alone";
        let Some(server) = NatsServer::start(test) else { return };
        super::a_token_that_has_expired_is_renewed_by_its_owner_alone(Office::nats(&server).await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_token_the_call_says_who_must_do_what() {
    // A gateway that was not told to pass tokens on, as one of an earlier version or of another maker.
    let office = Office::embedded_with(|settings| settings.passes_caller_tokens = false).await;
    let ada = office.issuer.token("ada", 600);
    let run = office.start(&ada).await;
    let question = office.question(&ada, run).await;
    office.answer(&ada, run, &question).await;
    let (result, log) = office.ended(run).await;
    let said = result["first"].as_str().unwrap_or_else(|| panic!("{result}"));
    assert!(said.starts_with("no token for the secret \"crm\": there is no access token of ada"), "{said}");
    assert_eq!(result["second"], result["first"]);
    assert!(log.contains("Error: no token for the secret"), "the model reads the same words: {log}");
    assert_eq!(office.api.tokens("/me").len() + office.api.tokens("/whoami").len(), 0, "nothing was sent");
    office.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_removed_or_started_by_another_keeps_no_token_of_a_stranger() {
    let office = Office::embedded().await;
    let (ada, eve) = (office.issuer.token("ada", 600), office.issuer.token("eve", 600));
    let run = office.start(&ada).await;
    let question = office.question(&ada, run).await;
    let before = office.broker.inbox.get(run, InboxSlot::CallerToken).await.unwrap().unwrap();
    // Eve says that the run is hers: over FastAgency's socket a client chooses the id.
    let mut frames = socket(&office.gateway.url, &eve).await;
    let init = json!({"user_id": "None", "workflow_uuid": run.dashed(), "name": "desk", "params": {}});
    crate::support::client::say(&mut frames, init.to_string()).await;
    let heard = crate::support::client::hear_json(&mut frames).await;
    assert!(heard.to_string().contains("error"), "{heard}");
    let after = office.broker.inbox.get(run, InboxSlot::CallerToken).await.unwrap().unwrap();
    assert_eq!((before.seq, before.payload), (after.seq, after.payload), "Ada's token is still the one");
    office.call(&ada, "POST", &format!("/api/runs/{run}/cancel"), None).await;
    eventually("the run has ended, and nothing is left", async || !office.keeps_token(run).await).await;
    let _ = question;
    office.close().await;
}

async fn socket(url: &str, token: &str) -> crate::support::client::Socket {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    let url = format!("{}/fastagency/ws", url.replace("http://", "ws://"));
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    tokio_tungstenite::connect_async(request).await.expect("a socket").0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_of_a_caller_is_stored_logged_sent_or_shown() {
    let test = "caller_tokens::no_token_of_a_caller_is_stored_logged_sent_or_shown";
    let Some(nats) = NatsServer::start(test) else { return };
    let other = Api::start("127.0.0.2", "").await;
    let api = Api::start("127.0.0.1", &other.url).await;
    let issuer = Issuer::start().await;
    // A worker does not start with a workflow that sends a secret elsewhere.
    let (before, after) = WORKFLOW.split_once("  - id: elsewhere").unwrap();
    let source = format!("{before}{}", &after[after.find("  - return").unwrap()..]).replace("API", &api.url);
    let config = format!(
        r#"
version: 1
nats: {{ url: "{}" }}
seal_key: a key of the test that is long enough to be one
auth:
  mode: jwt
  jwt: {{ algorithms: [EdDSA], jwks_url: "{}", issuer: "https://id.example", audience: fastagency }}
llms:
  default:
    provider: scripted
    script:
      - {{ tool_calls: [{{ id: c1, name: whoami, arguments: {{}} }}] }}
      - That is you.
outgoing: {{ allow_private: [127.0.0.1, 127.0.0.2] }}
secrets: {{ crm: {{ from: caller, hosts: [127.0.0.1] }} }}
"#,
        nats.url(),
        issuer.keys
    );
    let project = Project::new(&config, &[("desk.yaml", &source)]);
    let all = Some("trace,hyper=info,h2=info,mio=info,tokio=info");
    let mut worker = Tier::start_logging(project.path(), &["worker", "--metrics-listen", "127.0.0.1:0"], all);
    let worker_metrics = worker.url("metrics");
    worker.says("worker ready");
    let mut gateway = Tier::start_logging(project.path(), &["gateway", "--port", "0"], all);
    let url = gateway.url("gateway");
    let (http, ada, renewed) = (client(), issuer.token("ada", 600), issuer.token("ada", 600));
    let get = async |path: &str| {
        let answer = http.get(format!("{url}{path}")).bearer_auth(&ada).send().await.unwrap();
        let status = answer.status();
        (path.to_owned(), format!("{status} {:?} {}", answer.headers().clone(), answer.text().await.unwrap()))
    };
    eventually("the workflow is known", async || get("/api/workflows").await.1.contains("\"desk\"")).await;
    let started = http.post(format!("{url}/api/runs")).bearer_auth(&ada).json(&json!({"workflow": "desk"}));
    let run = run_id(&started.send().await.unwrap().json().await.unwrap());
    let question = eventually("the question is there", async || {
        let view = http.get(format!("{url}/api/runs/{run}")).bearer_auth(&ada).send().await.unwrap();
        let view: Value = view.json().await.unwrap();
        view["question"]["id"].as_str().map(str::to_owned).ok_or(view)
    })
    .await;
    // While the run waits its token is stored, and not to be read.
    let mut found = stored(&nats.url()).await;
    assert!(found.iter().any(|(place, _)| place.ends_with(".token")), "a token is stored");
    let answer = http.post(format!("{url}/api/runs/{run}/answers/{question}")).bearer_auth(&renewed);
    assert_eq!(answer.json(&json!({"value": "yes"})).send().await.unwrap().status(), 202);
    eventually("the run has ended", async || get(&format!("/api/runs/{run}")).await.1.contains("\"ended\"")).await;
    assert_eq!(
        api.tokens("/me"),
        [ada.clone(), renewed.clone()],
        "it was shown, or nothing of the rest means anything"
    );
    eventually("nothing of the token is stored", async || {
        let left = stored(&nats.url()).await;
        !left.iter().any(|(place, _)| place.ends_with(".token") || place.ends_with(".key"))
    })
    .await;
    for path in [format!("/api/runs/{run}"), format!("/api/runs/{run}/events"), "/api/runs".to_owned()] {
        found.push(get(&path).await);
    }
    found.push(("metrics".to_owned(), http.get(&worker_metrics).send().await.unwrap().text().await.unwrap()));
    for arguments in [&["check"][..], &["doctor"]] {
        let said = std::process::Command::new(env!("CARGO_BIN_EXE_fastagency"))
            .args(arguments)
            .current_dir(project.path())
            .env_remove("NATS_URL")
            .output()
            .unwrap();
        let text = [said.stdout, said.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        found.push((format!("fastagency {}", arguments.join(" ")), text));
    }
    found.extend(stored(&nats.url()).await);
    worker.terminate();
    gateway.terminate();
    for (name, tier) in [("worker", &mut worker), ("gateway", &mut gateway)] {
        found.extend(tier.heard().iter().map(|line| (format!("the log of the {name}"), line.clone())));
    }
    files(nats.store(), &mut found);
    files(project.path(), &mut found);
    let signature = |token: &str| token.rsplit('.').next().unwrap().to_owned();
    for form in [ada.clone(), renewed.clone(), signature(&ada), signature(&renewed)] {
        let places: Vec<&String> = found.iter().filter(|(_, text)| text.contains(&form)).map(|(at, _)| at).collect();
        assert!(places.is_empty(), "a token stands in {places:?}");
    }
    let shown = found.iter().any(|(_, text)| text.contains("[secret crm]"));
    assert!(shown, "what came back was hidden, and not left out");
}
