//! A conversation over FastAgency's WebSocket: the first frame starts the run, each question is answered with a bare text.

use std::borrow::Cow;
use std::collections::VecDeque;

use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::BenchContext;
use super::tally::{BenchConversation, ConversationProblem};
use crate::ids::RunId;

/// The socket's own buffer: messages are small, and ten thousand sockets must not take gigabytes.
const BUFFER: usize = 4096;

type GatewaySocket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The address of a gateway's WebSocket.
pub(super) fn url(gateway: &str) -> String {
    format!("{}/fastagency/ws", gateway.replacen("http", "ws", 1))
}

#[derive(Deserialize)]
struct ChatFrame<'a> {
    #[serde(borrow)]
    workflow_uuid: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    content: &'a RawValue,
}

/// The parts of a content that a generator must know.
#[derive(Deserialize, Default)]
#[serde(default)]
struct FrameContent {
    choices: Vec<String>,
    default: Option<String>,
    short: Option<String>,
    long: Option<String>,
}

pub(super) async fn converse(
    context: &BenchContext,
    conversation: &mut BenchConversation,
) -> Result<(), ConversationProblem> {
    let mut permit = context.may_begin().await;
    conversation.begins();
    let run = RunId::random();
    let config = WebSocketConfig::default().read_buffer_size(BUFFER).write_buffer_size(0);
    let mut request = context
        .socket_url
        .as_str()
        .into_client_request()
        .map_err(|error| ConversationProblem::NotStarted(error.to_string()))?;
    if let Some(authorization) = context.client.authorization() {
        request.headers_mut().insert(AUTHORIZATION, authorization.clone());
    }
    let connecting = connect_async_with_config(request, Some(config), true);
    let (mut socket, _) = context
        .in_time("the connection", connecting)
        .await?
        .map_err(|error| ConversationProblem::NotStarted(error.to_string()))?;
    // POST /fastagency/initiate_workflow remembers nothing (`docs/reference/fastagency-wire.md`, section 2): what counts
    // is this frame.
    let start = json!({"user_id": null, "workflow_uuid": run.dashed(), "name": context.load.workflow, "params": {}});
    send(&mut socket, start.to_string()).await?;
    let run = run.to_string();
    let mut waiting_for = "the first message";
    let mut failure = None;
    let mut early = VecDeque::new();
    loop {
        let text = match early.pop_front() {
            Some(text) => text,
            None => context.in_time(waiting_for, next(&mut socket)).await??,
        };
        let frame: ChatFrame<'_> =
            serde_json::from_str(&text).map_err(|error| ConversationProblem::Unreadable(error.to_string()))?;
        conversation.message(&text, frame.workflow_uuid == run);
        waiting_for = "the next message";
        match &*frame.kind {
            "text_input" | "multiple_choice" => {
                let content: FrameContent = serde_json::from_str(frame.content.get()).unwrap_or_default();
                conversation.asked()?;
                permit = tokio::select! {
                    permit = context.at_question(conversation, permit) => permit,
                    broken = listen(&mut socket, &mut early) => return Err(broken),
                };
                let choice =
                    (frame.kind == "multiple_choice").then(|| content.default.or(content.choices.into_iter().next()));
                let with_secret = choice.is_none();
                let answer = choice.flatten().unwrap_or_else(|| context.text_answer(conversation.secret));
                conversation.answers(with_secret);
                send(&mut socket, answer).await?;
                waiting_for = "what follows the answer";
            }
            "error" => {
                let FrameContent { short, long, .. } = serde_json::from_str(frame.content.get()).unwrap_or_default();
                failure = long.or(short).or(Some("an error".to_owned()));
                // Of an unknown workflow nothing more is heard.
                waiting_for = "the end of a failed run";
            }
            "workflow_completed" => break,
            _ => {}
        }
    }
    drop(permit);
    // The gateway leaves the socket open: it is the client that closes it. Its answer is waited for, so that no packet
    // meets a closed door; whether it comes does not matter.
    if socket.close(None).await.is_ok() {
        let _ =
            context.in_time("the end of the socket", async { while let Some(Ok(_)) = socket.next().await {} }).await;
    }
    failure.map_or(Ok(()), |why| Err(ConversationProblem::Failed(why)))
}

async fn send(socket: &mut GatewaySocket, text: String) -> Result<(), ConversationProblem> {
    socket.send(Message::text(text)).await.map_err(|error| ConversationProblem::Broken(error.to_string()))
}

/// Reads on while a question is held open, so that the gateway's pings are answered; returns only when the socket breaks.
async fn listen(socket: &mut GatewaySocket, early: &mut VecDeque<String>) -> ConversationProblem {
    loop {
        match next(socket).await {
            Ok(text) => early.push_back(text),
            Err(problem) => return problem,
        }
    }
}

/// The next text frame.
async fn next(socket: &mut GatewaySocket) -> Result<String, ConversationProblem> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => return Ok(text.as_str().to_owned()),
            Some(Ok(Message::Close(frame))) => {
                let why = frame.map(|frame| format!(" ({} {})", frame.code, frame.reason)).unwrap_or_default();
                return Err(ConversationProblem::Broken(format!("the gateway closed the socket{why}")));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(ConversationProblem::Broken(error.to_string())),
            None => return Err(ConversationProblem::Broken("the socket ended".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sockets_address_follows_from_the_gateways() {
        assert_eq!(url("http://127.0.0.1:8008"), "ws://127.0.0.1:8008/fastagency/ws");
        assert_eq!(url("https://a.example/http"), "wss://a.example/http/fastagency/ws");
    }
}
