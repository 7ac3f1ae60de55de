//! What the tests of models share: settings, requests, and a server that sends exactly the bytes that a test gives it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::draft::OUR_CALL_IDS;
use super::wire::ProviderWire;
use super::{ChatModel, Error, ModelProgress, answer, open_all};
use crate::config::{ChatDialect, LlmConfig, ModelProvider, ModelRateLimit, ModelTimeouts};
use crate::ids::Name;
use crate::protocol::dialogue::{ChatMessage, ChatRole, ModelReply, ModelRequest};

pub(super) fn llm(base_url: &str) -> LlmConfig {
    let minute = Duration::from_secs(60);
    LlmConfig {
        provider: ModelProvider::Compatible,
        server: None,
        dialect: ChatDialect::OPEN,
        leave_out: BTreeSet::new(),
        model: "gpt-4o-mini".to_owned(),
        api_key: None,
        api_key_variable: None,
        token: None,
        token_source: None,
        base_url: base_url.to_owned(),
        deployment: None,
        api_version: None,
        parameters: Map::new(),
        stream: true,
        timeout: ModelTimeouts { first_token: minute, idle: minute, total: minute },
        max_retries: 2,
        fallback: Vec::new(),
        rate: ModelRateLimit::default(),
        price: None,
        round_robin: false,
        script: Vec::new(),
        script_place: None,
        unset: Vec::new(),
    }
}

pub(super) fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

pub(super) fn message(role: ChatRole, text: &str) -> ChatMessage {
    ChatMessage::new(role, text)
}

/// Messages as requests hold them.
pub(super) fn shared(messages: impl IntoIterator<Item = ChatMessage>) -> Vec<Arc<ChatMessage>> {
    messages.into_iter().map(Arc::new).collect()
}

pub(super) fn user(text: &str) -> ChatMessage {
    message(ChatRole::User, text)
}

/// A conversation that one message begins.
pub(super) fn asking(text: &str) -> ModelRequest {
    let messages = shared([message(ChatRole::System, "You are a math teacher."), user(text)]);
    ModelRequest { messages, ..ModelRequest::default() }
}

/// What came of asking a model: attempts as `#1`, texts as they are.
pub(super) async fn ask(model: &dyn ChatModel, request: &ModelRequest) -> (Result<ModelReply, Error>, Vec<String>) {
    let mut heard = Vec::new();
    let mut progress = |progress: ModelProgress<'_>| match progress {
        ModelProgress::Attempt(attempt) => heard.push(format!("#{attempt}")),
        ModelProgress::Text(text) => heard.push(text.to_owned()),
    };
    let outcome = model.complete(request, &mut progress).await;
    (outcome, heard)
}

/// The model `default`, opened as a worker opens it.
pub(super) fn open_one(llm: &LlmConfig) -> Arc<dyn ChatModel> {
    let models = open_all(&BTreeMap::from([(name("default"), llm.clone())]), false);
    models.get(&name("default")).unwrap().clone()
}

/// The reply that a stream becomes, which must be the same wherever its bytes are cut.
pub(super) fn read_cut_everywhere(wire: &dyn ProviderWire, text: &str) -> ModelReply {
    let read = |pieces: &[&[u8]]| {
        let mut reader = answer::AnswerReader::new("m", wire, true);
        for piece in pieces {
            reader.feed(piece, &mut |_| {}).unwrap();
        }
        reader.end(&mut |_| {}).unwrap()
    };
    let whole = read(&[text.as_bytes()]);
    for cut in 0..text.len() {
        let (left, right) = text.as_bytes().split_at(cut);
        assert_eq!(without_made_up_ids(read(&[left, right])), without_made_up_ids(whole.clone()), "cut at {cut}");
    }
    whole
}

fn without_made_up_ids(mut reply: ModelReply) -> ModelReply {
    let made_up = reply.tool_calls.iter_mut().filter(|call| call.id.starts_with(OUR_CALL_IDS));
    made_up.for_each(|call| call.id.clear());
    reply
}

/// What the server does with a request.
#[derive(Debug, Clone)]
pub(super) enum ServerAct {
    /// Sends these bytes, and goes on with the connection.
    Send(Vec<u8>),
    /// Sends these bytes, and ends the connection.
    SendAndClose(Vec<u8>),
    /// Sends these bytes, and then nothing more, until the client ends the connection.
    SendAndHang(Vec<u8>),
}

/// A request as the server saw it.
#[derive(Debug, Clone)]
pub(super) struct SeenRequest {
    pub(super) head: String,
    pub(super) body: Value,
}

/// What a server does with its nth request, counted from 0.
type Behaviour = dyn Fn(usize, &SeenRequest) -> ServerAct + Send + Sync;

/// A server that answers the nth request with the nth act, and every further one with the last; or as it is told.
pub(super) struct TestServer {
    pub(super) base_url: String,
    seen: Arc<Mutex<Vec<SeenRequest>>>,
    accepted: Arc<AtomicUsize>,
    /// A client has ended a connection on which it waited for more.
    pub(super) left: Arc<Notify>,
    _connections: JoinSet<()>,
}

impl TestServer {
    pub(super) async fn start(acts: Vec<ServerAct>) -> Self {
        Self::behaving(move |number, _| acts.get(number).or(acts.last()).unwrap().clone()).await
    }

    /// One that looks at each request.
    pub(super) async fn behaving(behaviour: impl Fn(usize, &SeenRequest) -> ServerAct + Send + Sync + 'static) -> Self {
        let behaviour: Arc<Behaviour> = Arc::new(behaviour);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let left = Arc::new(Notify::new());
        let accepted = Arc::new(AtomicUsize::new(0));
        let mut connections = JoinSet::new();
        connections.spawn({
            let (seen, left, accepted) = (seen.clone(), left.clone(), accepted.clone());
            async move {
                let mut connections = JoinSet::new();
                while let Ok((socket, _)) = listener.accept().await {
                    accepted.fetch_add(1, Ordering::Relaxed);
                    connections.spawn(serve(socket, behaviour.clone(), seen.clone(), left.clone()));
                }
            }
        });
        Self { base_url, seen, accepted, left, _connections: connections }
    }

    pub(super) fn seen(&self) -> Vec<SeenRequest> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn connections(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

async fn serve(
    mut socket: TcpStream,
    behaviour: Arc<Behaviour>,
    seen: Arc<Mutex<Vec<SeenRequest>>>,
    left: Arc<Notify>,
) {
    while let Some(request) = read_request(&mut socket).await {
        let number = {
            let mut seen = seen.lock().unwrap();
            seen.push(request.clone());
            seen.len()
        };
        let act = behaviour(number - 1, &request);
        let (ServerAct::Send(bytes) | ServerAct::SendAndClose(bytes) | ServerAct::SendAndHang(bytes)) = &act;
        if socket.write_all(bytes).await.is_err() {
            return;
        }
        match act {
            ServerAct::Send(_) => {}
            ServerAct::SendAndClose(_) => return,
            ServerAct::SendAndHang(_) => {
                let _ = socket.read(&mut [0; 1]).await;
                left.notify_one();
                return;
            }
        }
    }
}

async fn read_request(socket: &mut TcpStream) -> Option<SeenRequest> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let count = socket.read(&mut piece).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&piece[..count]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
        if bytes.len() >= end + 4 + length.unwrap_or(0) {
            let body = serde_json::from_slice(&bytes[end + 4..]).unwrap_or(Value::Null);
            return Some(SeenRequest { head, body });
        }
    }
}

/// A whole answer of HTTP, with its length.
pub(super) fn http(status: u16, headers: &str, body: &str) -> ServerAct {
    let length = body.len();
    ServerAct::Send(format!("HTTP/1.1 {status} Word\r\n{headers}content-length: {length}\r\n\r\n{body}").into_bytes())
}

pub(super) fn json_answer(body: &Value) -> ServerAct {
    http(200, "content-type: application/json\r\n", &body.to_string())
}

pub(super) fn error_answer(status: u16, headers: &str) -> ServerAct {
    http(status, headers, &json!({"error": {"message": format!("error {status}"), "code": null}}).to_string())
}

/// A stream, chunk by chunk as HTTP sends it, with its end.
pub(super) fn stream_answer(text: &str) -> ServerAct {
    ServerAct::Send([chunked(text), b"0\r\n\r\n".to_vec()].concat())
}

/// A stream without its end.
pub(super) fn chunked(text: &str) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    // Small pieces, so that events, lines and characters are cut.
    let pieces = text
        .as_bytes()
        .chunks(7)
        .flat_map(|piece| [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
    head.bytes().chain(pieces).collect()
}

/// The events that say a text in pieces.
pub(super) fn saying(pieces: &[&str]) -> String {
    let mut events: String =
        pieces.iter().map(|piece| event(&json!({"choices": [{"index": 0, "delta": {"content": piece}}]}))).collect();
    events += &event(&json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}));
    events += &event(&json!({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5}}));
    events + "data: [DONE]\n\n"
}

pub(super) fn event(chunk: &Value) -> String {
    format!("data: {chunk}\n\n")
}
