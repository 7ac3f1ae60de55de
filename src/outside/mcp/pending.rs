//! A request under way: its answer, signs of life, questions, and its cancelling when nobody waits for it any more.

use std::sync::Arc;
use std::time::Duration;

use rmcp::service::RequestHandle;
use rmcp::{RoleClient, ServiceError};
use serde_json::Value;
use tokio::time::Instant;

use super::connection::{SentRequest, result_json};
use super::requests::{CallEvents, ConnectionQuestion};
use super::server::{CallConnection, McpServer};
use super::words::NoAnswer;
use crate::outside::toolset::ToolsetError;

/// How long it may take to tell a server that nobody waits for a request any more.
const CANCELLED_WITHIN: Duration = Duration::from_secs(2);

/// What came of a request.
pub(super) enum RequestOutcome {
    /// It was answered.
    Answered(Value),
    /// The server asks on the connection first.
    Asked(Box<PendingRequest>, ConnectionQuestion),
}

/// Why a request has no outcome.
pub(super) enum RequestFailure {
    /// It was not sent: it may be sent again.
    NotSent,
    /// The server gave none.
    NoAnswer(NoAnswer),
    /// Nothing more is to be tried.
    Final(ToolsetError),
}

/// A request under way. Dropped, it is cancelled.
#[derive(Debug)]
pub(super) struct PendingRequest {
    handle: Option<RequestHandle<RoleClient>>,
    events: CallEvents,
    on: CallConnection,
    server: Arc<McpServer>,
}

impl PendingRequest {
    /// Of what was sent.
    pub(super) fn new(sent: SentRequest, on: CallConnection, server: Arc<McpServer>) -> Self {
        let SentRequest { handle, events } = sent;
        Self { handle: Some(handle), events, on, server }
    }

    /// Waits for the answer or a question, as long as there are signs of life.
    pub(super) async fn wait(mut self, idle: Duration, deadline: Instant) -> Result<RequestOutcome, RequestFailure> {
        let mut quiet_until = Instant::now() + idle;
        let connection = self.on.connection.clone();
        let asked = loop {
            let handle = self.handle.as_mut().expect("it is taken when the wait is over");
            tokio::select! {
                biased;
                answer = &mut handle.rx => {
                    self.leave();
                    let secrets = &self.server.opener.secrets;
                    let why = match answer {
                        Ok(Ok(answer)) => return Ok(RequestOutcome::Answered(result_json(&answer))),
                        Ok(Err(error)) => connection.no_answer(&error, secrets).await,
                        Err(_) => connection.no_answer(&ServiceError::TransportClosed, secrets).await,
                    };
                    return Err(RequestFailure::NoAnswer(why));
                }
                Some(asked) = self.events.questions.recv() => break asked,
                () = self.events.alive.notified() => quiet_until = Instant::now() + idle,
                () = connection.over() => {
                    self.leave();
                    let why = NoAnswer::Lost(connection.why_lost().await);
                    return Err(RequestFailure::NoAnswer(why));
                }
                () = tokio::time::sleep_until(quiet_until.min(deadline)) => {
                    let name = &self.server.opener.name;
                    let words = match quiet_until < deadline {
                        true => format!("the MCP server {name} gave no sign of life for {idle:?}"),
                        false => format!("the call took longer than a call of the MCP server {name} may take"),
                    };
                    return Err(RequestFailure::Final(ToolsetError::TimedOut(words)));
                }
            }
        };
        Ok(RequestOutcome::Asked(Box::new(self), asked))
    }

    /// It is over.
    fn leave(&mut self) {
        if let Some(handle) = self.handle.take() {
            self.on.connection.calls.leave(&handle.id);
        }
    }
}

impl Drop for PendingRequest {
    fn drop(&mut self) {
        let Some(handle) = self.handle.take() else { return };
        self.on.connection.calls.leave(&handle.id);
        if tokio::runtime::Handle::try_current().is_err() || self.on.connection.is_over() {
            return;
        }
        let connection = self.on.connection.clone();
        self.server.opener.tasks.spawn(async move {
            let cancelled = handle.cancel(Some("the caller does not wait any more".to_owned()));
            let _ = tokio::time::timeout(CANCELLED_WITHIN, cancelled).await;
            drop(connection);
        });
    }
}
