//! The ui before a gateway: the page, and everything else forwarded as it is.

use fastagency::config;
use fastagency::ids::RunId;
use fastagency::lifecycle::{Lifecycle, LifecycleEnd};
use fastagency::serving::ConnectionLimits;
use fastagency::ui;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::login::Browser;
use super::player::{Player, text_input};
use crate::support::client::{Heard, client, hear, hear_json, say, socket};
use crate::support::eventually::PATIENCE;
use crate::support::system::System;

pub struct Front {
    pub url: String,
    shutdown: fastagency::lifecycle::Shutdown,
    life: tokio::task::JoinHandle<LifecycleEnd>,
}

impl Front {
    pub async fn before(gateway_url: &str) -> Self {
        Self::with(gateway_url, super::login::nobody()).await
    }

    pub async fn with(gateway_url: &str, login: ui::LoginSettings) -> Self {
        Self::of(gateway_url, login, ui::PageBrand::default(), config::AuthConfig::default()).await
    }

    /// A page whose brand and `auth` matter.
    pub async fn of(
        gateway_url: &str,
        login: ui::LoginSettings,
        brand: ui::PageBrand,
        auth: config::AuthConfig,
    ) -> Self {
        Self::start(gateway_url, login, brand, auth, Default::default()).await
    }

    pub async fn limited(gateway_url: &str, login: ui::LoginSettings, connections: ConnectionLimits) -> Self {
        Self::start(gateway_url, login, ui::PageBrand::default(), config::AuthConfig::default(), connections).await
    }

    async fn start(
        gateway_url: &str,
        login: ui::LoginSettings,
        brand: ui::PageBrand,
        auth: config::AuthConfig,
        connections: ConnectionLimits,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let lifecycle = Lifecycle::new(std::time::Duration::from_secs(5));
        let shutdown = lifecycle.shutdown();
        let settings = ui::Settings {
            brand: ui::PageBrand { title: "Geometry <desk>".into(), ..brand },
            gateway_url: gateway_url.to_owned(),
            version: "1".into(),
            login,
            auth,
            connections,
        };
        shutdown.spawn("ui", ui::serve(listener, settings, shutdown.clone()));
        Front { url, shutdown, life: tokio::spawn(lifecycle.run()) }
    }

    pub async fn end(self) -> LifecycleEnd {
        self.shutdown.begin();
        tokio::time::timeout(PATIENCE, self.life).await.expect("it ends").unwrap()
    }
}

#[tokio::test]
async fn the_page_is_served_with_strict_headers_and_the_rest_is_forwarded() {
    let deployment = System::played().await;
    let front = Front::before(&deployment.url).await;
    let http = client();
    for path in ["/", "/runs/0b9d6e5c7f4b4f2a8c1d2e3f4a5b6c7d"] {
        let page = http.get(format!("{}{path}", front.url)).send().await.unwrap();
        assert_eq!(page.status(), 200);
        let csp = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(
            csp.contains("default-src 'none'") && csp.contains("frame-ancestors 'none'") && !csp.contains("unsafe")
        );
        assert_eq!(page.headers()["x-content-type-options"], "nosniff");
        assert!(page.text().await.unwrap().starts_with("<!doctype html>"));
    }
    // What a browser can make a document of has the policy, a picture with scripts in it as well; forty modules need it not.
    for (file, is_document) in [("favicon.svg", true), ("main.js", false), ("style.css", false), ("nothing.js", true)] {
        let file = http.get(format!("{}/assets/{file}", front.url)).send().await.unwrap();
        assert_eq!(file.headers().contains_key("content-security-policy"), is_document, "{}", file.url());
        assert_eq!(file.headers()["x-content-type-options"], "nosniff");
    }
    let config: Value = http.get(format!("{}/ui/config.json", front.url)).send().await.unwrap().json().await.unwrap();
    assert_eq!(config["title"], "Geometry <desk>");
    for path in ["/healthz", "/readyz", "/openapi.json", "/docs", "/fastagency/discovery", "//fastagency/discovery"] {
        assert_eq!(http.get(format!("{}{path}", front.url)).send().await.unwrap().status(), 200, "{path}");
    }
    assert_eq!(http.get(format!("{}/nothing", front.url)).send().await.unwrap().status(), 404);
    let start = async || {
        let call = http.post(format!("{}/api/runs?wait=0", front.url)).header("idempotency-key", "x");
        let run = call.json(&json!({"workflow": "echo"})).send().await.unwrap();
        (run.status().as_u16(), run.json::<Value>().await.unwrap()["id"].clone())
    };
    let (first, again) = (start().await, start().await);
    assert_eq!((first.0, again.0, &first.1), (201, 200, &again.1), "headers are forwarded");
    let wrong = http.post(format!("{}/api/runs", front.url)).json(&json!({"workflow": "nope"})).send().await.unwrap();
    assert_eq!(wrong.json::<Value>().await.unwrap()["error"]["code"], "unknown_workflow");
    assert_eq!(front.end().await, LifecycleEnd::Clean);
    deployment.end().await;
}

#[tokio::test]
async fn below_a_path_everything_is_there_whether_a_proxy_removes_the_path_or_not() {
    let deployment = System::played().await;
    let public_url = Some("http://page.example/agents".to_owned());
    let front = Front::with(&deployment.url, ui::LoginSettings { public_url, ..super::login::nobody() }).await;
    let browser = Browser::at(&front.url);
    for path in [
        "/",
        "/?workflow=echo",
        "/runs/0b9d6e5c7f4b4f2a8c1d2e3f4a5b6c7d",
        "/inbox",
        "/admin",
        "/assets/main.js",
        "/ui/config.json",
        "/ui/brand.css",
        "/auth/me",
        "/api/workflows",
        "/fastagency/discovery",
        "//fastagency/discovery",
        "/docs",
        "/openapi.json",
        "/readyz",
    ] {
        let (without, with) = (browser.get(path).await, browser.get(&format!("/agents{path}")).await);
        assert_eq!((without.status, with.status), (200, 200), "{path}");
        assert_eq!(without.body, with.body, "{path}");
    }
    let slash = browser.get("/agents?workflow=echo").await;
    assert_eq!((slash.status, slash.headers["location"].to_str().unwrap()), (307, "/agents/?workflow=echo"));
    for path in ["/agents/nothing", "/agents/agents/", "/agentsapi/workflows", "/agents%2fapi/workflows", "//agents/"] {
        assert_eq!(browser.get(path).await.status, 404, "{path}");
    }
    let mut conversation = socket(&format!("{}/agents", front.url)).await;
    let start = json!({"workflow_uuid": RunId::random(), "name": "nothing of that name", "params": {}});
    say(&mut conversation, start.to_string()).await;
    assert_eq!(hear_json(&mut conversation).await["type"], "error");
    front.end().await;
    deployment.end().await;
}

#[tokio::test]
async fn events_and_sockets_pass_as_they_happen() {
    let deployment = System::played().await;
    let front = Front::before(&deployment.url).await;
    let run = RunId::random();
    let mut conversation = socket(&front.url).await;
    say(&mut conversation, json!({"workflow_uuid": run, "name": "echo", "params": {}}).to_string()).await;
    let mut player = Player::take(&deployment, run).await;
    assert_eq!(hear_json(&mut conversation).await["type"], "workflow_started");
    let events = client().get(format!("{}/api/runs/{run}/events", front.url)).send().await.unwrap();
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    let mut events = events.bytes_stream();
    let mut heard = String::new();
    while !heard.contains("event: caught_up") {
        heard.push_str(std::str::from_utf8(&events.next().await.unwrap().unwrap()).unwrap());
    }
    let question = player.ask(text_input("well?", false)).await;
    while !heard.contains("well?") {
        let piece = tokio::time::timeout(PATIENCE, events.next()).await.expect("it is not held back");
        heard.push_str(std::str::from_utf8(&piece.unwrap().unwrap()).unwrap());
    }
    assert_eq!(hear_json(&mut conversation).await["content"]["prompt"], "well?");
    say(&mut conversation, "so").await;
    player.answered(&question).await;
    player.end(json!("bye")).await;
    assert_eq!(hear_json(&mut conversation).await["content"]["result"], "bye");
    assert_eq!(hear(&mut conversation).await, Heard::Closed(1000), "the gateway's close passes, too");
    drop(events);
    assert_eq!(front.end().await, LifecycleEnd::Clean);
    deployment.end().await;
}

#[tokio::test]
async fn whoever_listens_through_the_ui_is_told_to_come_back_when_it_ends() {
    let deployment = System::played().await;
    let front = Front::before(&deployment.url).await;
    let run = RunId::random();
    let mut conversation = socket(&front.url).await;
    say(&mut conversation, json!({"workflow_uuid": run, "name": "echo", "params": {}}).to_string()).await;
    let mut player = Player::take(&deployment, run).await;
    assert_eq!(hear_json(&mut conversation).await["type"], "workflow_started");
    let last = player.say_text("A triangle.").await;
    assert_eq!(hear_json(&mut conversation).await["content"]["body"], "A triangle.");
    // One from the start, and one that has seen everything already.
    let mut streams = Vec::new();
    for query in ["?after=0".to_owned(), format!("?after={last}")] {
        let events = client().get(format!("{}/api/runs/{run}/events{query}", front.url)).send().await.unwrap();
        let mut events = events.bytes_stream();
        let mut heard = String::new();
        while !heard.contains("event: caught_up") {
            heard.push_str(std::str::from_utf8(&events.next().await.unwrap().unwrap()).unwrap());
        }
        streams.push(events);
    }
    let ended = tokio::spawn(tokio::time::timeout(std::time::Duration::from_secs(4), front.end()));
    for events in streams {
        let rest: Vec<_> = tokio::time::timeout(PATIENCE, events.collect()).await.expect("it ends");
        let rest: Vec<_> = rest.into_iter().map(|piece| piece.expect("it is not cut off")).collect();
        assert_eq!(rest.concat(), format!("event: goodbye\ndata: {{\"after\":{last}}}\n\n").into_bytes());
    }
    assert_eq!(hear(&mut conversation).await, Heard::Closed(1012));
    assert_eq!(ended.await.unwrap().expect("nobody is waited for until the grace is over"), LifecycleEnd::Clean);
    // The run knows nothing of that.
    player.end(json!("bye")).await;
    deployment.end().await;
}

#[tokio::test]
async fn a_gateway_that_is_away_is_told_in_our_shape() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let front = Front::before(&nobody).await;
    let http = client();
    let answer = http.get(format!("{}/api/runs", front.url)).send().await.unwrap();
    assert_eq!(answer.status(), 502);
    assert_eq!(answer.json::<Value>().await.unwrap()["error"]["code"], "gateway_unavailable");
    assert_eq!(http.get(format!("{}/healthz", front.url)).send().await.unwrap().status(), 200);
    assert_eq!(http.get(format!("{}/readyz", front.url)).send().await.unwrap().status(), 503);
    assert_eq!(http.get(format!("{}/", front.url)).send().await.unwrap().status(), 200);
    assert_eq!(front.end().await, LifecycleEnd::Clean);
}
