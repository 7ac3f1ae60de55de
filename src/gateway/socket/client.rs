//! The client at the other end of a socket: what it sends, what it is sent, and whether it lives.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message as WsMessage, Utf8Bytes, WebSocket, close_code};
use futures_util::future::BoxFuture;
use tokio::time::{Instant, Sleep};

use crate::fastagency::frames;
use crate::gateway::GatewayState;
use crate::ids::RunId;
use crate::serving::ConnectionSlot;

/// A silent client is asked this often whether it lives, and given up after two silences.
const PING_EVERY: Duration = Duration::from_secs(25);
/// How long the first frame may take: a client that opens a socket knows what it wants.
const FIRST_FRAME_WITHIN: Duration = Duration::from_secs(60);
/// How long a closed socket stays, so that the client reads why before it is gone.
const LINGER_TIME: Duration = Duration::from_secs(3);

/// Why a socket is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CloseReason {
    /// The conversation is over.
    Over,
    /// The client is gone.
    Gone,
    /// The gateway goes down; the client may come back with the same first frame.
    Restart,
    /// The client was told in an `error` frame what it did wrong.
    Refused(u16, &'static str),
}

/// The client at the other end of a socket.
pub(super) struct SocketClient {
    socket: WebSocket,
    ping_at: Instant,
    /// Looks whether a ping is due; not set anew with each frame, which moves `ping_at` only.
    timer: Pin<Box<Sleep>>,
    /// A ping was sent and nothing came since.
    doubted: bool,
    /// Its connection's place: what it sends is counted until it is taken here.
    place: Option<Arc<ConnectionSlot>>,
}

/// What a client sent.
pub(super) enum ReceivedFrame {
    Text(Utf8Bytes),
    Binary,
    /// It lives.
    Nothing,
    End(CloseReason),
}

impl SocketClient {
    pub(super) fn new(socket: WebSocket, place: Option<Arc<ConnectionSlot>>) -> Self {
        let ping_at = Instant::now() + PING_EVERY;
        Self { socket, ping_at, timer: Box::pin(tokio::time::sleep_until(ping_at)), doubted: false, place }
    }

    /// What the client sends next. Safe to drop and call again.
    pub(super) async fn hear(&mut self) -> ReceivedFrame {
        let received = tokio::select! {
            received = self.socket.recv() => received,
            () = &mut self.timer => {
                let now = Instant::now();
                if self.ping_at > now {
                    self.timer.as_mut().reset(self.ping_at);
                    return ReceivedFrame::Nothing;
                }
                self.timer.as_mut().reset(now + PING_EVERY);
                if self.doubted {
                    return ReceivedFrame::End(CloseReason::Gone);
                }
                self.doubted = true;
                self.ping_at = Instant::now() + PING_EVERY;
                return match self.socket.send(WsMessage::Ping(Default::default())).await {
                    Ok(()) => ReceivedFrame::Nothing,
                    Err(_) => ReceivedFrame::End(CloseReason::Gone),
                };
            }
        };
        self.doubted = false;
        self.ping_at = Instant::now() + PING_EVERY;
        if let Some(place) = &self.place {
            place.taken();
        }
        match received {
            Some(Ok(WsMessage::Text(text))) => ReceivedFrame::Text(text),
            Some(Ok(WsMessage::Binary(_))) => ReceivedFrame::Binary,
            Some(Ok(WsMessage::Ping(_) | WsMessage::Pong(_))) => ReceivedFrame::Nothing,
            Some(Ok(WsMessage::Close(_))) | None => ReceivedFrame::End(CloseReason::Gone),
            Some(Err(error)) if is_too_large(&error) => {
                ReceivedFrame::End(CloseReason::Refused(close_code::SIZE, "the frame is larger than 2 MiB"))
            }
            Some(Err(_)) => ReceivedFrame::End(CloseReason::Gone),
        }
    }

    pub(super) async fn first_frame(&mut self, gateway: &GatewayState) -> Result<Utf8Bytes, CloseReason> {
        let late = Instant::now() + FIRST_FRAME_WITHIN;
        loop {
            tokio::select! {
                () = gateway.shutdown.soft() => return Err(CloseReason::Restart),
                () = tokio::time::sleep_until(late) => {
                    let what = format!("the first frame did not come within {} s", FIRST_FRAME_WITHIN.as_secs());
                    return Err(self.refuse(nobody(), what, close_code::POLICY, "no first frame").await);
                }
                heard = self.hear() => match heard {
                    ReceivedFrame::Text(text) => return Ok(text),
                    ReceivedFrame::Nothing => {}
                    ReceivedFrame::Binary => {
                        let what = "the first frame must be a text frame".to_owned();
                        return Err(self.refuse(nobody(), what, close_code::UNSUPPORTED, "text only").await);
                    }
                    ReceivedFrame::End(farewell) => return Err(farewell),
                },
            }
        }
    }

    /// Sends a text; false if the client is gone.
    pub(super) async fn send(&mut self, text: String) -> bool {
        self.socket.send(WsMessage::Text(text.into())).await.is_ok()
    }

    /// Tells the client in an `error` frame what is wrong. Boxed, as is [`SocketClient::linger`]: a socket that waits for its run
    /// holds no room for its end.
    pub(super) fn refuse(
        &mut self,
        run: RunId,
        what: String,
        code: u16,
        reason: &'static str,
    ) -> BoxFuture<'_, CloseReason> {
        Box::pin(async move {
            let error = frames::error(run, "Gateway", what.clone(), what);
            self.send(error.text).await;
            CloseReason::Refused(code, reason)
        })
    }

    /// Stays open after the last message: FastAgency's clients close by themselves, and some fail when the server does
    /// so first. `reply` says what a text that still comes is answered with.
    pub(super) fn linger<'a>(
        &'a mut self,
        gateway: &'a GatewayState,
        mut reply: impl FnMut(&str) -> Option<String> + Send + 'a,
    ) -> BoxFuture<'a, CloseReason> {
        let deadline = Instant::now() + gateway.settings.socket_linger;
        Box::pin(async move {
            loop {
                tokio::select! {
                    () = gateway.shutdown.soft() => return CloseReason::Restart,
                    () = tokio::time::sleep_until(deadline) => return CloseReason::Over,
                    heard = self.hear() => match heard {
                        ReceivedFrame::End(farewell) => return farewell,
                        ReceivedFrame::Text(text) => if let Some(words) = reply(&text)
                            && !self.send(words).await
                        {
                            return CloseReason::Gone;
                        },
                        ReceivedFrame::Binary | ReceivedFrame::Nothing => {}
                    },
                }
            }
        })
    }

    pub(super) async fn close(mut self, farewell: CloseReason) {
        let (code, reason) = match farewell {
            CloseReason::Gone => return,
            CloseReason::Over => (close_code::NORMAL, ""),
            CloseReason::Restart => (close_code::RESTART, "the gateway goes down, come back"),
            CloseReason::Refused(code, reason) => (code, reason),
        };
        let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
        if self.socket.send(WsMessage::Close(Some(frame))).await.is_err() {
            return;
        }
        let answered = async {
            // After a frame that was too large nothing more can be read: the time is for the client to read.
            if farewell == CloseReason::Refused(close_code::SIZE, reason) {
                std::future::pending::<()>().await;
            }
            while let Some(Ok(_)) = self.socket.recv().await {}
        };
        let _ = tokio::time::timeout(LINGER_TIME, answered).await;
    }
}

fn is_too_large(error: &axum::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<tokio_tungstenite::tungstenite::Error>() {
            return matches!(error, tokio_tungstenite::tungstenite::Error::Capacity(_));
        }
        cause = error.source();
    }
    false
}

/// The run of an error about no run.
pub(super) fn nobody() -> RunId {
    RunId::from(uuid::Uuid::nil())
}
