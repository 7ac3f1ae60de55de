//! What went wrong, in words for models and people. The library's own errors may hold addresses with keys in them, so none of them
//! is repeated.

use std::error::Error;

use reqwest::StatusCode;
use rmcp::ServiceError;
use rmcp::model::{ErrorCode, ErrorData};
use rmcp::service::ClientInitializeError;
use rmcp::transport::DynamicTransportError;
use rmcp::transport::streamable_http_client::StreamableHttpError;
use serde_json::Value;

use super::credential::TokenRefusal;
use super::results::error_text;
use crate::ids::Name;
use crate::outside::http::refused_address;
use crate::outside::secrets::Secrets;
use crate::outside::toolset::ToolsetError;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum NoAnswer {
    /// The request did not reach the server, or it refused it before it did anything.
    Refused(String),
    /// It may have been done.
    Lost(String),
    /// The server answered with an error.
    Failed(String),
    /// The server knows nothing of the session any more; the request was refused.
    SessionGone(String),
    /// A person has to go to addresses first.
    AddressesFirst(Value),
}

impl NoAnswer {
    /// The same for whoever called.
    pub(super) fn of_call(self, server: &Name) -> ToolsetError {
        match self {
            Self::Refused(why) | Self::SessionGone(why) => unavailable(server, &why),
            Self::Lost(why) => ToolsetError::Lost(format!(
                "the MCP server {server} was lost during the call, so nobody knows whether it was done: {why}"
            )),
            Self::Failed(why) => ToolsetError::Failed(why),
            Self::AddressesFirst(_) => {
                ToolsetError::Failed(format!("the MCP server {server} wants a person to open an address first"))
            }
        }
    }

    /// The same where a connection was to be opened, or tools to be listed.
    pub(super) fn of_opening(self, server: &Name) -> ToolsetError {
        match self {
            Self::Refused(why) | Self::SessionGone(why) | Self::Lost(why) | Self::Failed(why) => {
                unavailable(server, &why)
            }
            Self::AddressesFirst(_) => unavailable(server, "it wants a person to open an address first"),
        }
    }
}

/// A server that cannot be used.
pub(super) fn unavailable(server: &Name, why: &str) -> ToolsetError {
    ToolsetError::Unavailable(format!("the MCP server {server} cannot be used: {why}"))
}

/// What a status says, if it is not one of success.
pub(super) fn of_status(status: StatusCode) -> NoAnswer {
    let words = match status.as_u16() {
        401 => {
            let hint = "headers: { Authorization: \"Bearer ${TOKEN}\" }, or oauth: {} and `fastagency login`";
            format!("it wants a login ({status}); give it one in fastagency.yaml: {hint}")
        }
        403 => format!("it refuses this login ({status})"),
        404 | 405 => format!("its address is wrong: it answered {status}"),
        300..=399 => format!("it redirects elsewhere ({status}); write the right address into fastagency.yaml"),
        _ => format!("it answered {status}"),
    };
    match status.as_u16() {
        // A proxy answers so when the server behind it was lost.
        502 | 504 => NoAnswer::Lost(words),
        _ => NoAnswer::Refused(words),
    }
}

/// Why a request over HTTP failed.
pub(super) fn of_http(error: &reqwest::Error) -> NoAnswer {
    if let Some(refused) = refused_address(error) {
        return NoAnswer::Refused(refused.to_string());
    }
    if let Some(status) = error.status() {
        return of_status(status);
    }
    let reason = last_cause(error);
    match error.is_connect() || error.is_builder() {
        true => NoAnswer::Refused(format!("it cannot be reached: {reason}")),
        false => NoAnswer::Lost(reason),
    }
}

/// The words of the innermost cause: the outer ones name addresses.
fn last_cause(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    match last.is::<reqwest::Error>() {
        true => "the connection failed".to_owned(),
        false => last.to_string(),
    }
}

/// Why a connection did not come about.
pub(super) fn of_opening(error: &ClientInitializeError, secrets: &Secrets) -> NoAnswer {
    match error {
        ClientInitializeError::TransportError { error, .. } => of_transport(error),
        ClientInitializeError::JsonRpcError(error) => of_error(error, secrets),
        ClientInitializeError::ConnectionClosed(_) => NoAnswer::Refused("it has ended".to_owned()),
        ClientInitializeError::NoCompatibleProtocolVersion { .. } => {
            NoAnswer::Refused("it speaks no revision of the protocol that this client knows".to_owned())
        }
        ClientInitializeError::Cancelled => NoAnswer::Refused("this worker is ending".to_owned()),
        _ => NoAnswer::Refused("it answered with something that is not MCP".to_owned()),
    }
}

/// Why a request on an open connection has no answer.
pub(super) fn of_service(error: &ServiceError, secrets: &Secrets) -> NoAnswer {
    match error {
        ServiceError::McpError(error) => of_error(error, secrets),
        ServiceError::TransportSend(error) => of_transport(error),
        ServiceError::TransportClosed => NoAnswer::Lost("the connection was closed".to_owned()),
        _ => NoAnswer::Lost("its answer cannot be understood".to_owned()),
    }
}

fn of_error(error: &ErrorData, secrets: &Secrets) -> NoAnswer {
    let said = error_text(&error.message, secrets);
    // URLElicitationRequiredError, 2025-11-25.
    if error.code.0 == -32042 {
        return NoAnswer::AddressesFirst(error.data.as_ref().map_or(Value::Null, |data| data["elicitations"].clone()));
    }
    let of_sessions = [-32000, -32001].contains(&error.code.0) || error.code == ErrorCode::INVALID_REQUEST;
    let names_session = said.to_ascii_lowercase().contains("session") || said.contains("not initialized");
    match of_sessions && names_session {
        true => NoAnswer::SessionGone(said),
        false => NoAnswer::Failed(said),
    }
}

fn of_transport(error: &DynamicTransportError) -> NoAnswer {
    let Some(error) = error.error.downcast_ref::<StreamableHttpError<reqwest::Error>>() else {
        return NoAnswer::Lost("it has ended".to_owned());
    };
    match error {
        StreamableHttpError::Io(error) if error.get_ref().is_some_and(|why| why.is::<TokenRefusal>()) => {
            NoAnswer::Refused(error.to_string())
        }
        StreamableHttpError::Client(error) => of_http(error),
        StreamableHttpError::HttpStatus(error) => {
            of_status(StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
        }
        StreamableHttpError::AuthRequired(_) => of_status(StatusCode::UNAUTHORIZED),
        StreamableHttpError::InsufficientScope(_) => of_status(StatusCode::FORBIDDEN),
        StreamableHttpError::SessionExpired | StreamableHttpError::ReinitializationFailed(_) => {
            NoAnswer::SessionGone("its session is over".to_owned())
        }
        StreamableHttpError::UnexpectedServerResponse(said) => match status_in(said) {
            Some(status) => of_status(status),
            None => NoAnswer::Lost("its answer cannot be understood".to_owned()),
        },
        StreamableHttpError::ResponseBodyTooLarge { max_size } => {
            NoAnswer::Lost(format!("its answer has more than {max_size} bytes"))
        }
        _ => NoAnswer::Lost("its answer cannot be understood".to_owned()),
    }
}

/// The status in words like `HTTP 404 Not Found: …`.
fn status_in(said: &str) -> Option<StatusCode> {
    StatusCode::from_bytes(said.strip_prefix("HTTP ")?.as_bytes().get(..3)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_status_says_is_told_with_what_to_do() {
        let words = |status: u16| match of_status(StatusCode::from_u16(status).unwrap()) {
            NoAnswer::Refused(words) => words,
            other => format!("{other:?}"),
        };
        assert!(words(401).contains("fastagency.yaml") && words(401).contains("401 Unauthorized"));
        assert!(words(403).contains("refuses this login"));
        assert!(words(307).contains("redirects"));
        assert_eq!(words(503), "it answered 503 Service Unavailable");
        assert!(words(502).starts_with("Lost"));
        assert_eq!(status_in("HTTP 404 Not Found: x"), Some(StatusCode::NOT_FOUND));
        assert_eq!(status_in("HTTP ü"), None);
    }

    #[test]
    fn a_lost_session_is_told_from_a_tool_that_fails() {
        let secrets = Secrets::default();
        let read = |code: i32, said: &'static str| of_error(&ErrorData::new(ErrorCode(code), said, None), &secrets);
        let gone = |code, said| matches!(read(code, said), NoAnswer::SessionGone(_));
        assert!(gone(-32000, "Bad Request: No valid session ID provided"));
        assert!(gone(-32000, "Server not initialized") && gone(-32600, "Missing session ID"));
        assert!(!gone(-32602, "there is no session of parliament on Sunday"));
        assert!(!gone(-32000, "the tool failed"));
    }
}
