//! Which revision of the protocol a server speaks, found out by asking it (`server/discover`). An old server is one that does not
//! know the question. One that is down, or wants a login, has said nothing about its age.

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use sse_stream::SseByteStream;

use super::credential::{TokenRefusal, TokenSupply};
use super::requests::capabilities_json;
use super::words::{NoAnswer, of_http, of_status};
use crate::bounds::{OUTSIDE, read};
use crate::config::McpRevision;

/// The newest revision.
const NEWEST: &str = "2026-07-28";
/// The longest answer to the question, in bytes.
const LONGEST_ANSWER: usize = 1 << 20;
/// The revision is not supported (2026-07-28).
const UNSUPPORTED: i64 = -32022;
/// The question was understood, and refused: headers do not fit, a capability is missing.
const UNDERSTOOD: [i64; 2] = [-32020, -32021];

/// The question.
pub(super) fn question() -> Value {
    json!({
        "jsonrpc": "2.0",
        "id": "which-revision",
        "method": "server/discover",
        "params": {"_meta": {
            "io.modelcontextprotocol/protocolVersion": NEWEST,
            "io.modelcontextprotocol/clientInfo": {"name": "fastagency", "version": env!("CARGO_PKG_VERSION")},
            "io.modelcontextprotocol/clientCapabilities": capabilities_json(),
        }},
    })
}

/// What the answer says.
pub(super) fn revision_of(answer: &Value) -> Result<McpRevision, NoAnswer> {
    let (supported, error) = (&answer["result"]["supportedVersions"], &answer["error"]);
    let code = error["code"].as_i64();
    let supported = if code == Some(UNSUPPORTED) { &error["data"]["supported"] } else { supported };
    let has_newest = supported.as_array().is_some_and(|all| all.iter().any(|one| one == NEWEST));
    match code {
        _ if has_newest => Ok(McpRevision::Stateless),
        Some(code) if UNDERSTOOD.contains(&code) => {
            Err(NoAnswer::Refused("it speaks 2026-07-28, and refuses this client".to_owned()))
        }
        _ => Ok(McpRevision::Session),
    }
}

/// Asks a server at an address.
pub(super) async fn ask_http(
    client: &Client,
    url: &Url,
    headers: &HeaderMap,
    supply: Option<&TokenSupply>,
    within: Duration,
) -> Result<McpRevision, NoAnswer> {
    let mut headers = headers.clone();
    let fixed = [
        (ACCEPT, "application/json, text/event-stream"),
        (CONTENT_TYPE, "application/json"),
        (HeaderName::from_static("mcp-protocol-version"), NEWEST),
        (HeaderName::from_static("mcp-method"), "server/discover"),
    ];
    headers.extend(fixed.map(|(name, value)| (name, HeaderValue::from_static(value))));
    let question = question().to_string();
    let ask = async |token: Option<&SecretString>| {
        let mut request = client.post(url.clone()).headers(headers.clone()).body(question.clone()).timeout(within);
        if let Some(token) = token {
            request = request.bearer_auth(token.expose_secret());
        }
        request.send().await.map_err(|error| match error.is_timeout() {
            true => NoAnswer::Refused("it did not answer in time".to_owned()),
            false => of_http(&error),
        })
    };
    let refused = |why: TokenRefusal| NoAnswer::Refused(why.0);
    let answer = match supply {
        None => ask(None).await?,
        Some(supply) => {
            let token = supply.token(None).await.map_err(refused)?;
            let answer = ask(Some(&token)).await?;
            if answer.status() == StatusCode::UNAUTHORIZED {
                // Once more with another one: this one may have been taken back.
                let next = supply.token(Some(&token)).await.map_err(refused)?;
                let again = ask(Some(&next)).await?;
                if again.status() == StatusCode::UNAUTHORIZED {
                    return Err(refused(supply.refused(None)));
                }
                again
            } else {
                answer
            }
        }
    };
    let status = answer.status();
    match status.as_u16() {
        // 404 may be a wrong address, too: then the next request says so.
        200..=299 | 400 | 404 | 405 | 406 | 415 | 422 => {}
        _ => return Err(of_status(status)),
    }
    let is_stream =
        answer.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    let message = if is_stream { first_event(answer).await } else { whole(answer).await };
    revision_of(&message)
}

async fn whole(answer: reqwest::Response) -> Value {
    let (mut body, mut pieces) = (Vec::new(), answer.bytes_stream());
    while let Some(Ok(piece)) = pieces.next().await {
        body.extend_from_slice(&piece);
        if body.len() > LONGEST_ANSWER {
            return Value::Null;
        }
    }
    read(&body, &OUTSIDE).unwrap_or_default()
}

/// The first message of a stream that is an answer.
async fn first_event(answer: reqwest::Response) -> Value {
    let mut events = SseByteStream::new(answer.bytes_stream());
    let mut left = LONGEST_ANSWER;
    while let Some(Ok(event)) = events.next().await {
        let data = event.data.unwrap_or_default();
        let message: Value = read(data.as_bytes(), &OUTSIDE).unwrap_or_default();
        if message.get("result").is_some() || message.get("error").is_some() {
            return message;
        }
        left = left.saturating_sub(data.len().max(1));
        if left == 0 {
            break;
        }
    }
    Value::Null
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_server_is_one_that_does_not_know_the_question() {
        let new = |answer: Value| revision_of(&answer) == Ok(McpRevision::Stateless);
        assert!(new(json!({"result": {"supportedVersions": ["2026-07-28"]}})));
        assert!(new(json!({"error": {"code": -32022, "data": {"supported": ["2025-11-25", "2026-07-28"]}}})));
        for old in [
            json!({"result": {"supportedVersions": ["2025-11-25"]}}),
            json!({"error": {"code": -32601, "message": "Method not found"}}),
            json!({"error": {"code": -32000, "message": "Server not initialized"}}),
            json!({"error": {"code": -32022, "data": {"supported": ["2025-11-25"]}}}),
            json!(null),
        ] {
            assert_eq!(revision_of(&old), Ok(McpRevision::Session), "{old}");
        }
        assert!(revision_of(&json!({"error": {"code": -32020}})).is_err());
    }
}
