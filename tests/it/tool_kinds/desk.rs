//! What tools of every kind reach: a desk that writes down who asked for what with which key, and does as the errand says.

use std::path::Path;
use std::sync::Arc;

use async_nats::service::ServiceExt;
use async_trait::async_trait;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use fastagency::broker::services::{ServiceError, ServiceFault, ServiceReply, ServiceRequest, ServiceRequests};
use futures_util::StreamExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Where services on NATS are asked.
const SUBJECT: &str = "desk.errands";

/// An errand as the desk got it.
#[derive(Debug, Clone, PartialEq)]
pub struct Errand {
    /// Who sent it: what stands before the colon.
    pub by: String,
    pub what: String,
    /// The key of the call, where the kind of tool has its place for it.
    pub key: String,
    /// What the workflow gave by `inject`: the id of the run, and of the call.
    pub run: String,
    pub given_key: String,
}

/// Every errand until now.
#[derive(Default)]
pub struct ErrandBook(Mutex<Vec<Errand>>);

impl ErrandBook {
    /// The errands of one.
    pub fn of(&self, by: &str) -> Vec<Errand> {
        self.0.lock().iter().filter(|errand| errand.by == by).cloned().collect()
    }

    /// Writes an errand down, and gives what comes of it.
    async fn outcome(&self, key: &str, arguments: &Value) -> Result<&'static str, &'static str> {
        let text = |name: &str| arguments[name].as_str().unwrap_or_default().to_owned();
        let whole = text("what");
        let (by, what) = whole.split_once(": ").expect("it says who sends it");
        let (by, what, key) = (by.to_owned(), what.to_owned(), key.to_owned());
        let errand = Errand { by, what, key, run: text("run"), given_key: text("key") };
        let is_first = {
            let mut all = self.0.lock();
            let is_first = !all.iter().any(|other| (&other.by, &other.what) == (&errand.by, &errand.what));
            all.push(errand.clone());
            is_first
        };
        match (errand.what.as_str(), is_first) {
            ("hangs", _) | ("hangs at first", true) => std::future::pending().await,
            ("fails", _) | ("fails at first", true) => Err("out of paper"),
            _ => Ok("done"),
        }
    }
}

/// The desk, at an address of this machine.
pub struct ErrandDesk {
    pub url: String,
    pub book: Arc<ErrandBook>,
    serving: JoinSet<()>,
}

impl ErrandDesk {
    pub async fn start() -> Self {
        let book = Arc::<ErrandBook>::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new().route("/errands", post(go)).route("/chat/completions", post(reply));
        let routes = routes.with_state(book.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { url, book, serving }
    }

    /// Serves a subject on this server, too.
    pub async fn serve_nats(&mut self, client: &async_nats::Client) {
        let service = client.service_builder().start("desk", "1.0.0").await.unwrap();
        let mut endpoint = service.endpoint(SUBJECT).await.unwrap();
        let book = self.book.clone();
        self.serving.spawn(async move {
            let mut under_way = JoinSet::new();
            while let Some(request) = endpoint.next().await {
                let book = book.clone();
                under_way.spawn(async move {
                    let key = request.message.headers.as_ref().and_then(|headers| headers.get("Idempotency-Key"));
                    let key = key.map(ToString::to_string).unwrap_or_default();
                    let arguments = serde_json::from_slice(&request.message.payload).unwrap();
                    let came = book.outcome(&key, &arguments).await.map(|text| Bytes::from(json!(text).to_string()));
                    let error = |why: &str| async_nats::service::error::Error { status: why.to_owned(), code: 500 };
                    let _ = request.respond(came.map_err(error)).await;
                });
            }
            drop(service);
        });
        client.flush().await.unwrap();
    }

    /// Writes into a project what its tools are made of.
    pub fn write_into(&self, folder: &Path) {
        let text = json!({"type": "string"});
        let schema = json!({
            "type": "object", "required": ["what"], "properties": {"what": text, "run": text, "key": text},
        });
        let body = json!({"required": true, "content": {"application/json": {"schema": schema}}});
        let specification = json!({
            "openapi": "3.1.0", "info": {"title": "Desk", "version": "1"}, "servers": [{"url": self.url}],
            "paths": {"/errands": {"post": {"operationId": "errand", "requestBody": body}}},
        });
        std::fs::write(folder.join("desk.json"), specification.to_string()).unwrap();
        std::fs::write(folder.join("desk.py"), include_str!("desk.py").replace("URL", &self.url)).unwrap();
    }

    /// The sections of a configuration that its tools need, in this folder.
    pub fn sections(folder: &Path) -> String {
        let program = |role: &str| format!("python3, -S, '{}', {role}", folder.join("desk.py").display());
        let (command, serve) = (program("command"), program("serve"));
        format!(
            "outgoing: {{ allow_private: [127.0.0.1] }}\npython: {{ interpreter: [python3, -S] }}\ncommands: {{ desk: {{ run: [{command}] }} }}\nmcp: {{ desk: {{ command: [{serve}] }} }}\n"
        )
    }
}

async fn go(State(book): State<Arc<ErrandBook>>, headers: HeaderMap, Json(arguments): Json<Value>) -> Response {
    let key = headers.get("idempotency-key").map_or("", |key| key.to_str().unwrap());
    match book.outcome(key, &arguments).await {
        Ok(text) => Json(json!(text)).into_response(),
        Err(why) => (StatusCode::INTERNAL_SERVER_ERROR, why).into_response(),
    }
}

/// The model of an agent that goes on errands.
async fn reply(State(book): State<Arc<ErrandBook>>, headers: HeaderMap, Json(asked): Json<Value>) -> Json<Value> {
    let key = headers.get("x-fastagency-effect").map_or("", |key| key.to_str().unwrap());
    let last = asked["messages"].as_array().and_then(|messages| messages.last()).expect("a message");
    let came = book.outcome(key, &json!({"what": last["content"]})).await.expect("it does not fail");
    let message = json!({"role": "assistant", "content": came});
    Json(json!({
        "id": "1", "object": "chat.completion", "created": 0, "model": "expert",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }))
}

/// The desk where there is no NATS server.
pub struct LocalService(pub Arc<ErrandBook>);

#[async_trait]
impl ServiceRequests for LocalService {
    async fn request(&self, request: ServiceRequest<'_>) -> Result<ServiceReply, ServiceError> {
        let arguments = serde_json::from_slice(&request.payload).unwrap();
        let came = tokio::time::timeout(request.within, self.0.outcome(request.key, &arguments)).await;
        match came {
            Ok(Ok(text)) => Ok(ServiceReply { payload: Bytes::from(json!(text).to_string()), fault: None }),
            Ok(Err(why)) => {
                let fault = ServiceFault { code: "500".to_owned(), description: why.to_owned() };
                Ok(ServiceReply { payload: Bytes::new(), fault: Some(fault) })
            }
            Err(_) => Err(ServiceError::TimedOut(request.subject.to_owned())),
        }
    }
}
