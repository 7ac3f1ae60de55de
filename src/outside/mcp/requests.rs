//! What a server says beside its answers: signs of life, and questions to people on a connection that stays open (revisions up to
//! 2025-11-25). Each goes to the call that it belongs to, and a question that may belong to several calls goes to none: it could
//! be another person's.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rmcp::model::{
    ClientCapabilities, ClientConfig, ClientResult, ElicitResult, ElicitationAction, ErrorData, Implementation,
    ProgressToken, ProtocolVersion, RequestId, ServerNotification, ServerRequest,
};
use rmcp::service::{InboundStreamOrigin, NotificationContext, RequestContext};
use rmcp::{RoleClient, Service};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::questions::{ELICITATION, ServerQuestion};
use crate::outside::secrets::Secrets;
use crate::outside::toolset::ElicitationAnswer;

/// Questions of one call that wait at once.
const QUESTIONS_OF_A_CALL: usize = 4;
/// How long a call is kept open for an answer.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// A question on an open connection, and where its answer goes.
#[derive(Debug)]
pub(super) struct ConnectionQuestion {
    /// What is asked.
    pub(super) question: ServerQuestion,
    /// Takes the answer.
    pub(super) reply: oneshot::Sender<ElicitationAnswer>,
}

/// The calls that a connection has under way.
#[derive(Debug, Default)]
pub(super) struct CallTable {
    calls: Mutex<HashMap<RequestId, CallEntry>>,
    /// Held while a request is sent and noted: what the server says of it is not looked up before.
    pub(super) sending: tokio::sync::Mutex<()>,
    /// Whether a question came that did not say to which call it belongs.
    asks_blindly: AtomicBool,
}

#[derive(Debug)]
struct CallEntry {
    token: ProgressToken,
    alive: Arc<Notify>,
    questions: mpsc::Sender<ConnectionQuestion>,
}

/// What a call hears besides its answer.
#[derive(Debug)]
pub(super) struct CallEvents {
    /// The server is at work.
    pub(super) alive: Arc<Notify>,
    /// It asks.
    pub(super) questions: mpsc::Receiver<ConnectionQuestion>,
}

impl CallTable {
    /// Notes a call.
    pub(super) fn enter(&self, id: RequestId, token: ProgressToken) -> CallEvents {
        let alive = Arc::new(Notify::new());
        let (sender, questions) = mpsc::channel(QUESTIONS_OF_A_CALL);
        self.calls.lock().insert(id, CallEntry { token, alive: alive.clone(), questions: sender });
        CallEvents { alive, questions }
    }

    /// Forgets a call.
    pub(super) fn leave(&self, id: &RequestId) {
        self.calls.lock().remove(id);
    }

    /// Whether the server asks without saying for which call.
    pub(super) fn asks_blindly(&self) -> bool {
        self.asks_blindly.load(Ordering::Relaxed)
    }

    fn note_life(&self, token: &ProgressToken) {
        if let Some(entry) = self.calls.lock().values().find(|entry| entry.token == *token) {
            entry.alive.notify_one();
        }
    }

    /// Where a question goes that came on this stream.
    fn call_of(&self, origin: Option<&InboundStreamOrigin>) -> Option<mpsc::Sender<ConnectionQuestion>> {
        let calls = self.calls.lock();
        if let Some(InboundStreamOrigin::OutboundRequest(id)) = origin {
            return Some(calls.get(id)?.questions.clone());
        }
        self.asks_blindly.store(true, Ordering::Relaxed);
        let mut all = calls.values();
        match (all.next(), all.next()) {
            (Some(only), None) => Some(only.questions.clone()),
            _ => None,
        }
    }
}

/// Answers what a server asks.
#[derive(Debug)]
pub(super) struct ServerRequests {
    /// The calls.
    pub(super) calls: Arc<CallTable>,
    /// Ends with the connection.
    pub(super) gone: CancellationToken,
    /// What no question shows.
    pub(super) secrets: Arc<Secrets>,
}

impl ServerRequests {
    async fn ask(&self, params: &Value, origin: Option<&InboundStreamOrigin>) -> Result<ClientResult, ErrorData> {
        let question = ServerQuestion::read(params, self.secrets.hidden_texts())
            .map_err(|why| ErrorData::invalid_params(why, None))?;
        drop(self.calls.sending.lock().await);
        let Some(call) = self.calls.call_of(origin) else {
            return Err(ErrorData::invalid_request("this client cannot tell which call the question belongs to", None));
        };
        let (reply, answer) = oneshot::channel();
        let asked = ConnectionQuestion { question: question.clone(), reply };
        if call.try_send(asked).is_err() {
            return Err(ErrorData::invalid_request("the call asks too much at once", None));
        }
        let answer = tokio::select! {
            answer = answer => answer.unwrap_or(ElicitationAnswer::Cancel),
            () = self.gone.cancelled() => ElicitationAnswer::Cancel,
            () = tokio::time::sleep(LONGEST_WAIT) => ElicitationAnswer::Cancel,
        };
        let content = question.answer_json(&answer)["content"].take();
        let action = match answer {
            ElicitationAnswer::Accept { .. } => ElicitationAction::Accept,
            ElicitationAnswer::Decline => ElicitationAction::Decline,
            ElicitationAnswer::Cancel => ElicitationAction::Cancel,
        };
        let result = ElicitResult::new(action);
        Ok(ClientResult::ElicitResult(if content.is_null() { result } else { result.with_content(content) }))
    }
}

impl Service<RoleClient> for ServerRequests {
    async fn handle_request(
        &self,
        request: ServerRequest,
        context: RequestContext<RoleClient>,
    ) -> Result<ClientResult, ErrorData> {
        if matches!(request, ServerRequest::PingRequest(_)) {
            return Ok(ClientResult::empty(()));
        }
        // As JSON: a form that the library has no type for is a question all the same.
        let mut request = serde_json::to_value(&request).unwrap_or_default();
        let params = request["params"].take();
        match request["method"].as_str().unwrap_or_default() {
            ELICITATION => self.ask(&params, context.extensions.get()).await,
            other => Err(ErrorData::new(
                rmcp::model::ErrorCode::METHOD_NOT_FOUND,
                format!("this client does not offer {other}"),
                None,
            )),
        }
    }

    async fn handle_notification(
        &self,
        notification: ServerNotification,
        _context: NotificationContext<RoleClient>,
    ) -> Result<(), ErrorData> {
        if let ServerNotification::ProgressNotification(progress) = notification {
            self.calls.note_life(&progress.params.progress_token);
        }
        Ok(())
    }

    fn get_info(&self) -> ClientConfig {
        let ours = Implementation::new("fastagency", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(capabilities(), ours).with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
    }
}

/// What this client offers: forms and addresses for people, and tasks.
fn capabilities() -> ClientCapabilities {
    crate::bounds::from_value(capabilities_json()).expect("these are capabilities")
}

/// The same as JSON.
pub(super) fn capabilities_json() -> Value {
    json!({
        "elicitation": {"form": {}, "url": {}},
        "extensions": {"io.modelcontextprotocol/tasks": {}},
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outside::hidden::HiddenTexts;

    #[tokio::test]
    async fn a_question_that_may_belong_to_several_calls_goes_to_none() {
        let table = CallTable::default();
        let token = |number| ProgressToken(RequestId::Number(number));
        let mut first = table.enter(RequestId::Number(1), token(11));
        assert!(table.call_of(None).is_some());
        assert!(table.asks_blindly());
        let _second = table.enter(RequestId::Number(2), token(12));
        assert!(table.call_of(None).is_none());
        assert!(table.call_of(Some(&InboundStreamOrigin::Unassociated)).is_none());
        let call = table.call_of(Some(&InboundStreamOrigin::OutboundRequest(RequestId::Number(1)))).unwrap();
        let question = json!({"message": "x", "requestedSchema": {"type": "object", "properties": {}}});
        let (reply, _answer) = oneshot::channel();
        let question = ServerQuestion::read(&question, &HiddenTexts::default()).unwrap();
        call.try_send(ConnectionQuestion { question, reply }).unwrap();
        assert_eq!(first.questions.recv().await.unwrap().question.message, "x");
        table.note_life(&token(11));
        first.alive.notified().await;
        table.leave(&RequestId::Number(1));
        assert!(table.call_of(Some(&InboundStreamOrigin::OutboundRequest(RequestId::Number(1)))).is_none());
        let empty = ClientCapabilities::default();
        assert_ne!(capabilities(), empty);
    }
}
