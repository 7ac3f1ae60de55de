//! Requests to services that others have on the NATS server: what workflows ask there with the tools of `nats:`.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

/// A request to a service.
#[derive(Debug, Clone)]
pub struct ServiceRequest<'a> {
    /// Where it goes.
    pub subject: &'a str,
    /// The key by which a service knows a request that it has had before.
    pub key: &'a str,
    /// What it carries.
    pub payload: Bytes,
    /// How long the reply may take.
    pub within: Duration,
}

/// What a service replied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceReply {
    /// What it carries.
    pub payload: Bytes,
    /// The error that it is, as services of NATS say it.
    pub fault: Option<ServiceFault>,
}

/// An error of a service, in its own words (`Nats-Service-Error`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceFault {
    /// What kind of error (`Nats-Service-Error-Code`); empty: it does not say.
    pub code: String,
    /// What it is.
    pub description: String,
}

/// Why there is no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// No service listens there.
    #[error("nobody serves {0}")]
    NobodyServes(String),
    /// There was none in time.
    #[error("{0} did not reply in time")]
    TimedOut(String),
    /// The login may not ask there, or may not hear the reply.
    #[error("the NATS login of this worker may not ask {0}")]
    Denied(String),
    /// The request is larger than the server carries.
    #[error("the request has {size} bytes, and the NATS server carries {max}")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The server's limit in bytes.
        max: usize,
    },
    /// It was not sent: there is no connection.
    #[error("{0} was not asked: there is no connection to NATS")]
    Unavailable(String),
    /// The connection was lost meanwhile, so nobody knows whether the service has had it.
    #[error("the connection to NATS was lost while {0} was asked")]
    Lost(String),
}

/// What sends requests to services.
#[async_trait]
pub trait ServiceRequests: Send + Sync {
    /// Sends a request, and waits for the reply.
    async fn request(&self, request: ServiceRequest<'_>) -> Result<ServiceReply, ServiceError>;
}
