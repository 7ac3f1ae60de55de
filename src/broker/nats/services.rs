//! Requests to services, on a connection of their own: what others reply never stands before the logs of the runs, and the login may
//! be one that can do nothing else.

use async_nats::client::{Request, RequestErrorKind};
use async_nats::{HeaderMap, HeaderName};
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout_at};

use super::server::{MissingAnswer, NatsConnection};
use crate::broker::services::{ServiceError, ServiceFault, ServiceReply, ServiceRequest, ServiceRequests};

/// The key of a request, under the name that servers over HTTP know it by.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("Idempotency-Key");
/// What a service says of an error (NATS ADR-32).
const SERVICE_ERROR: &str = "Nats-Service-Error";
const SERVICE_ERROR_CODE: &str = "Nats-Service-Error-Code";

/// Makes the connection; the error is a sentence.
pub(super) type ServiceConnectionOpener = dyn Fn() -> BoxFuture<'static, Result<NatsConnection, String>> + Send + Sync;

/// The services on the server of the runs.
pub(super) struct NatsServices {
    open: Box<ServiceConnectionOpener>,
    connection: OnceCell<NatsConnection>,
}

impl NatsServices {
    /// Connects when something is asked.
    pub(super) fn new(open: Box<ServiceConnectionOpener>) -> Self {
        Self { open, connection: OnceCell::new() }
    }

    async fn connection(&self, subject: &str) -> Result<&NatsConnection, ServiceError> {
        self.connection.get_or_try_init(|| (self.open)()).await.map_err(|why| {
            tracing::warn!("no connection to NATS for tools: {why}");
            ServiceError::Unavailable(subject.to_owned())
        })
    }
}

#[async_trait]
impl ServiceRequests for NatsServices {
    async fn request(&self, request: ServiceRequest<'_>) -> Result<ServiceReply, ServiceError> {
        let subject = request.subject.to_owned();
        let until = Instant::now() + request.within;
        let connection = timeout_at(until, self.connection(&subject)).await;
        let connection = connection.map_err(|_| ServiceError::Unavailable(subject.clone()))??;
        let (size, max) = (request.payload.len(), connection.max_payload());
        if size > max {
            return Err(ServiceError::TooLarge { size, max });
        }
        let mut headers = HeaderMap::new();
        headers.insert(IDEMPOTENCY_KEY, request.key);
        let sent = Request::new().payload(request.payload).headers(headers).timeout(None);
        let answer = connection.client.send_request(subject.clone(), sent);
        let answered = timeout_at(until, connection.reply(&subject, answer)).await;
        let message = match answered.map_err(|_| ServiceError::TimedOut(subject.clone()))? {
            Ok(Ok(message)) => message,
            Ok(Err(error)) => {
                return Err(match error.kind() {
                    RequestErrorKind::NoResponders => ServiceError::NobodyServes(subject),
                    RequestErrorKind::TimedOut => ServiceError::TimedOut(subject),
                    RequestErrorKind::MaxPayloadExceeded => ServiceError::TooLarge { size, max },
                    _ => {
                        tracing::warn!("{subject} was not asked: {error}");
                        ServiceError::Lost(subject)
                    }
                });
            }
            Err(MissingAnswer::Denied(_)) => return Err(ServiceError::Denied(subject)),
            Err(MissingAnswer::NotAsked(_)) => return Err(ServiceError::Unavailable(subject)),
            Err(MissingAnswer::Lost(_)) => return Err(ServiceError::Lost(subject)),
            Err(MissingAnswer::Late) => return Err(ServiceError::TimedOut(subject)),
        };
        let header = |name: &str| message.headers.as_ref().and_then(|headers| headers.get(name));
        let (error, code) = (header(SERVICE_ERROR), header(SERVICE_ERROR_CODE));
        let text = |value: Option<&async_nats::HeaderValue>| value.map(|value| value.to_string()).unwrap_or_default();
        let fault =
            (error.is_some() || code.is_some()).then(|| ServiceFault { code: text(code), description: text(error) });
        Ok(ServiceReply { payload: message.payload, fault })
    }
}
