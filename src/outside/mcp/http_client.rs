//! What the library posts with. Each request shows the token of its server, if it has one; one that the server refuses is fetched again,
//! once. An error that comes as the answer to a request is the answer to this request, whatever id stands in it: servers that refuse a
//! session have not read the request, and write no id (the reference server) or `server-error` (the Python SDK). The library would
//! wait for another answer until the time is over. From a list the library takes tools in silence whose arguments cannot go into headers:
//! each list gets the names that it had.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use reqwest::Client;
use reqwest::header::{HeaderName, HeaderValue};
use rmcp::model::{ClientJsonRpcMessage, ClientRequest, MetaObject, ServerJsonRpcMessage, ServerResult};
use rmcp::transport::streamable_http_client::{
    SseError, StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse, StreamableHttpResponseLimits,
};
use rmcp_sse_stream::Sse;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::credential::{TokenRefusal, TokenSupply};
use crate::bounds::{OUTSIDE, read};

/// The key in a list's `_meta` of the names of its tools, as the server gave them.
pub(super) const LISTED_NAMES: &str = "fastagency.dev/listed";

type Headers = HashMap<HeaderName, HeaderValue>;
type Outcome<T> = Result<T, StreamableHttpError<reqwest::Error>>;
type PendingAnswer<T> = BoxFuture<'static, Outcome<T>>;

/// A client whose answers belong to their requests.
#[derive(Debug, Clone)]
pub(super) struct AnsweringClient {
    /// What sends them.
    pub(super) client: Client,
    /// Where the token comes from that they show; none: they show what their headers say.
    pub(super) supply: Option<Arc<TokenSupply>>,
}

impl AnsweringClient {
    /// Sends a request with the token as it is now, and once more with another one if the server refuses it.
    async fn with_token<T>(
        &self,
        send: impl Fn(Client, Option<String>) -> PendingAnswer<T> + Send + Sync,
    ) -> Outcome<T> {
        let send = |token: Option<&SecretString>| {
            send(self.client.clone(), token.map(|token| token.expose_secret().to_owned()))
        };
        let Some(supply) = &self.supply else { return send(None).await };
        let token = supply.token(None).await.map_err(unsent)?;
        let first = send(Some(&token)).await;
        if !first.as_ref().is_err_and(wants_login) {
            return first.map_err(|error| of_scope(supply, error));
        }
        drop(first);
        let next = supply.token(Some(&token)).await.map_err(unsent)?;
        if next.expose_secret() == token.expose_secret() {
            return Err(unsent(supply.refused(None)));
        }
        match send(Some(&next)).await {
            Err(error) if wants_login(&error) => Err(unsent(supply.refused(None))),
            answer => answer.map_err(|error| of_scope(supply, error)),
        }
    }
}

/// Whether the server refuses the token.
fn wants_login(error: &StreamableHttpError<reqwest::Error>) -> bool {
    match error {
        StreamableHttpError::AuthRequired(_) => true,
        StreamableHttpError::UnexpectedServerResponse(said) => said.starts_with("HTTP 401"),
        StreamableHttpError::Client(error) => error.status().is_some_and(|status| status.as_u16() == 401),
        _ => false,
    }
}

fn of_scope(supply: &TokenSupply, error: StreamableHttpError<reqwest::Error>) -> StreamableHttpError<reqwest::Error> {
    match &error {
        StreamableHttpError::InsufficientScope(wanted) => match wanted.required_scope.as_deref() {
            Some(scope) => unsent(supply.refused(Some(scope))),
            None => error,
        },
        _ => error,
    }
}

/// Whether it asks for the tools.
fn asks_for_tools(message: &ClientJsonRpcMessage) -> bool {
    let ClientJsonRpcMessage::Request(request) = message else { return false };
    matches!(&request.request, ClientRequest::CustomRequest(request) if request.method == "tools/list")
}

/// Puts the names of a list's tools beside the list.
fn note_names(message: &mut ServerJsonRpcMessage) {
    let ServerJsonRpcMessage::Response(response) = message else { return };
    let ServerResult::ListToolsResult(list) = &mut response.result else { return };
    let names: Value = list.tools.iter().map(|tool| &*tool.name).collect();
    list.meta.get_or_insert_with(MetaObject::new).insert(LISTED_NAMES.to_owned(), names);
}

/// The same in an event of a stream.
fn with_names(event: Sse) -> Sse {
    let data = event.data.as_deref().unwrap_or_default();
    let Ok(mut message) = read::<ServerJsonRpcMessage>(data.as_bytes(), &OUTSIDE) else { return event };
    note_names(&mut message);
    Sse { data: serde_json::to_string(&message).ok(), ..event }
}

fn unsent(why: TokenRefusal) -> StreamableHttpError<reqwest::Error> {
    StreamableHttpError::Io(std::io::Error::other(why))
}

impl StreamableHttpClient for AnsweringClient {
    type Error = reqwest::Error;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        token: Option<String>,
        headers: Headers,
    ) -> Outcome<StreamableHttpPostResponse> {
        let limits = StreamableHttpResponseLimits::default();
        self.post_message_with_response_limits(uri, message, session, token, headers, limits).await
    }

    async fn post_message_with_response_limits(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        _: Option<String>,
        headers: Headers,
        limits: StreamableHttpResponseLimits,
    ) -> Outcome<StreamableHttpPostResponse> {
        let asked = match &message {
            ClientJsonRpcMessage::Request(request) => Some(request.id.clone()),
            _ => None,
        };
        let is_list = asks_for_tools(&message);
        let send = move |client: Client, token| -> PendingAnswer<StreamableHttpPostResponse> {
            let (uri, message, session) = (uri.clone(), message.clone(), session.clone());
            let (headers, limits) = (headers.clone(), limits);
            Box::pin(async move {
                client.post_message_with_response_limits(uri, message, session, token, headers, limits).await
            })
        };
        let mut answer = self.with_token(send).await?;
        if let (StreamableHttpPostResponse::Json(ServerJsonRpcMessage::Error(error), _), Some(asked)) =
            (&mut answer, asked)
        {
            error.id = Some(asked);
        }
        Ok(match answer {
            StreamableHttpPostResponse::Json(mut message, session) if is_list => {
                note_names(&mut message);
                StreamableHttpPostResponse::Json(message, session)
            }
            StreamableHttpPostResponse::Sse(events, session) if is_list => {
                let events = events.map(|event| event.map(with_names)).boxed();
                StreamableHttpPostResponse::Sse(events, session)
            }
            answer => answer,
        })
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session: Arc<str>,
        _: Option<String>,
        headers: Headers,
    ) -> Outcome<()> {
        let send = move |client: Client, token| -> PendingAnswer<()> {
            let (uri, session, headers) = (uri.clone(), session.clone(), headers.clone());
            Box::pin(async move { client.delete_session(uri, session, token, headers).await })
        };
        self.with_token(send).await
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session: Option<Arc<str>>,
        last: Option<String>,
        _: Option<String>,
        headers: Headers,
    ) -> Outcome<BoxStream<'static, Result<Sse, SseError>>> {
        let send = move |client: Client, token| -> PendingAnswer<BoxStream<'static, Result<Sse, SseError>>> {
            let (uri, session, last, headers) = (uri.clone(), session.clone(), last.clone(), headers.clone());
            Box::pin(async move { client.get_stream(uri, session, last, token, headers).await })
        };
        self.with_token(send).await
    }

    async fn get_stream_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        session: Option<Arc<str>>,
        last: Option<String>,
        _: Option<String>,
        headers: Headers,
        most: usize,
    ) -> Outcome<BoxStream<'static, Result<Sse, SseError>>> {
        let send = move |client: Client, token| -> PendingAnswer<BoxStream<'static, Result<Sse, SseError>>> {
            let (uri, session, last, headers) = (uri.clone(), session.clone(), last.clone(), headers.clone());
            Box::pin(async move {
                client.get_stream_with_max_sse_event_size(uri, session, last, token, headers, most).await
            })
        };
        self.with_token(send).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_in_a_stream_has_the_names_of_its_tools_beside_it() {
        let event = |data: &str| Sse { event: None, data: Some(data.to_owned()), id: None, retry: None };
        let list = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a","inputSchema":{}}]}}"#;
        let noted: Value = read(with_names(event(list)).data.unwrap().as_bytes(), &OUTSIDE).unwrap();
        assert_eq!(noted["result"]["_meta"][LISTED_NAMES], serde_json::json!(["a"]));
        for other in [r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#, "no JSON", ""] {
            let kept = with_names(event(other)).data.unwrap();
            assert!(!kept.contains(LISTED_NAMES), "{kept}");
        }
    }
}
