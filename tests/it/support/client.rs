//! A client of a gateway: over HTTP, and over FastAgency's socket.

use std::time::Duration;

use fastagency::ids::RunId;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::eventually::PATIENCE;

pub type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().expect("a client")
}

pub async fn socket(url: &str) -> Socket {
    let url = format!("{}/fastagency/ws", url.replace("http://", "ws://"));
    tokio_tungstenite::connect_async(url).await.expect("a socket").0
}

pub fn run_id(run: &Value) -> RunId {
    RunId::parse(run["id"].as_str().expect("an id")).expect("a run id")
}

/// What a client hears on a socket: texts as JSON, and the close code at the end.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    Json(Value),
    Closed(u16),
    /// Without a word.
    Dropped,
}

pub async fn say(socket: &mut Socket, text: impl Into<String>) {
    socket.send(tungstenite::Message::Text(text.into().into())).await.expect("sent");
}

pub async fn hear(socket: &mut Socket) -> Heard {
    loop {
        let next = tokio::time::timeout(PATIENCE, socket.next()).await.expect("something is heard");
        match next {
            Some(Ok(tungstenite::Message::Text(text))) => {
                return Heard::Json(serde_json::from_str(&text).expect("JSON"));
            }
            Some(Ok(tungstenite::Message::Close(frame))) => {
                // The close is answered by reading on.
                let _ = tokio::time::timeout(Duration::from_secs(1), socket.next()).await;
                return Heard::Closed(frame.map_or(1005, |frame| frame.code.into()));
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Heard::Dropped,
        }
    }
}

pub async fn hear_json(socket: &mut Socket) -> Value {
    match hear(socket).await {
        Heard::Json(json) => json,
        other => panic!("heard {other:?}"),
    }
}
