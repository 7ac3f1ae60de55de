//! What the library posts with. Each request shows the token of its server, if it has one; one that the server refuses is fetched again,
//! once. An error that comes as the answer to a request is the answer to this request, whatever id stands in it: servers that refuse a
//! session have not read the request, and write no id (the reference server) or `server-error` (the Python SDK). The library would
//! wait for another answer until the time is over.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use reqwest::Client;
use reqwest::header::{HeaderName, HeaderValue};
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_client::{
    SseError, StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse, StreamableHttpResponseLimits,
};
use rmcp_sse_stream::Sse;
use secrecy::{ExposeSecret, SecretString};

use super::credential::{TokenRefusal, TokenSupply};

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
        Ok(answer)
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
