//! A model's server that takes its time, and remembers who asked what for and when.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, Sse};
use axum::routing::post;
use axum::{Json, Router};
use fastagency::clock::{Clock, SystemClock, Timestamp};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::eventually::soon;

/// A request that came.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Asked {
    pub run: String,
    pub effect: String,
    pub at: Timestamp,
}

/// The server; it goes with the test.
pub struct SlowModel {
    pub url: String,
    asked: watch::Receiver<Vec<Asked>>,
}

struct Shared {
    asked: watch::Sender<Vec<Asked>>,
    pace: Box<dyn Fn() -> Duration + Send + Sync>,
}

/// Pieces that a reply is streamed in.
const PIECES: u32 = 8;

impl SlowModel {
    /// One whose replies take as long as `pace` says.
    pub async fn start(pace: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        let (sender, asked) = watch::channel(Vec::new());
        let shared = Arc::new(Shared { asked: sender, pace: Box::new(pace) });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let app = Router::new().route("/v1/chat/completions", post(complete)).with_state(shared);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, asked }
    }

    /// Every request until now.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.borrow().clone()
    }

    /// Waits until so many requests have come.
    pub async fn was_asked(&self, times: usize) {
        soon(self.asked.clone().wait_for(|asked| asked.len() >= times)).await.expect("the server is there");
    }
}

/// Says again what it was told last, a piece at a time.
async fn complete(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Sse<BoxStream<'static, Result<Event, axum::Error>>> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let asked = Asked { run: header("x-fastagency-run"), effect: header("x-fastagency-effect"), at: SystemClock.now() };
    shared.asked.send_modify(|all| all.push(asked));
    let last = body["messages"].as_array().and_then(|messages| messages.last());
    let said = last.and_then(|message| message["content"].as_str()).unwrap_or_default();
    let words: Vec<String> = format!("you said {said}").split_inclusive(' ').map(str::to_owned).collect();
    let pause = (shared.pace)() / PIECES;
    let chunk = |delta: Value, finish: Value| {
        json!({"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "slow",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
        .to_string()
    };
    let mut events: Vec<String> = words
        .chunks(words.len().div_ceil(PIECES as usize - 1).max(1))
        .map(|piece| chunk(json!({"role": "assistant", "content": piece.concat()}), Value::Null))
        .collect();
    events.push(chunk(json!({}), json!("stop")));
    let events = stream::iter(events).then(move |event| async move {
        tokio::time::sleep(pause).await;
        Ok(Event::default().data(event))
    });
    let end = stream::iter([Ok(Event::default().data("[DONE]"))]);
    Sse::new(events.chain(end).boxed())
}
