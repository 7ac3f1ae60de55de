//! Reading what a client sent to `/api`: its JSON body and its query, with a sentence for what is wrong with them.

use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::bounds::{self, UNAMBIGUOUS, UnfitJson};
use crate::gateway::error::ApiError;
use crate::gateway::query_schema::{query_schema, taken};

/// The largest body that `/api` reads. Whatever is started or answered must fit into one stored message (about 1 MB);
/// twice that leaves room for JSON that is written with many spaces or escapes.
pub const LARGEST_BODY: usize = 2 * 1024 * 1024;

/// A body of JSON.
pub struct JsonBody<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        // A page of another origin can send a body without asking first, but not with this type.
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !is_json(kind) {
            return Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "the body must be JSON, sent with the header \"content-type: application/json\"",
            ));
        }
        if let Some(charset) = other_charset(kind) {
            let words = format!("the body must be JSON in UTF-8, not in {charset:?}");
            return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", words));
        }
        let encoding = request.headers().get(header::CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            // Nothing is unpacked here: a kilobyte could become a gigabyte.
            let words = "the body must not be compressed";
            return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", words));
        }
        let bytes = read(request.into_body(), LARGEST_BODY).await?;
        bounds::read(&bytes, &UNAMBIGUOUS).map(JsonBody).map_err(|unfit| {
            let unfitting = |why: &str| {
                let words = format!("the body does not fit: {why}");
                ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_body", words)
            };
            match unfit {
                UnfitJson::Exceeded(exceeded) => unfitting(&exceeded.to_string()),
                UnfitJson::Json(error) if error.is_data() => unfitting(&misplaced::<T>(&bytes, &error)),
                UnfitJson::Json(error) => {
                    ApiError::new(StatusCode::BAD_REQUEST, "malformed_json", format!("the body is not JSON: {error}"))
                }
            }
        })
    }
}

/// Whether a content type means JSON.
pub fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

/// The character encoding that a content type names, if it is not that of JSON (UTF-8, or ASCII as a part of it).
fn other_charset(content_type: &str) -> Option<String> {
    let mut parameters = content_type.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let charset = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))?.1;
    let charset = charset.trim().trim_matches('"').to_ascii_lowercase();
    let is_ours = matches!(charset.as_str(), "utf-8" | "utf8" | "us-ascii" | "ascii");
    (!is_ours).then(|| charset.chars().take(40).collect())
}

/// How long a body may take to come whole: over a line of 1 Mbit/s the largest takes 40 s.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// Reads a body of at most `largest` bytes.
pub async fn read(body: Body, largest: usize) -> Result<Bytes, ApiError> {
    let slow = |_| {
        let words = format!("the body did not come within {} s", BODY_TIMEOUT.as_secs());
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", words)
    };
    tokio::time::timeout(BODY_TIMEOUT, read_all(body, largest)).await.map_err(slow)?
}

async fn read_all(body: Body, largest: usize) -> Result<Bytes, ApiError> {
    let mut bytes = BytesMut::new();
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece =
            piece.map_err(|_| ApiError::new(StatusCode::BAD_REQUEST, "incomplete_body", "the body broke off"))?;
        if bytes.len() + piece.len() > largest {
            let message = format!("the body is larger than {} MiB", largest / (1024 * 1024));
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}

/// What stands after the question mark.
pub struct ValidatedQuery<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + JsonSchema> FromRequestParts<S> for ValidatedQuery<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query: Result<Query<T>, QueryRejection> = Query::from_request_parts(parts, state).await;
        query.map(|Query(asked)| ValidatedQuery(asked)).map_err(|rejection| {
            let text = rejection.body_text();
            let text = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
            let words = misfit::<T>(text).unwrap_or_else(|| text.to_owned());
            ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_query", format!("the query does not fit: {words}"))
        })
    }
}

/// What a parameter takes whose value could not be read, in words; `text` begins with its name.
fn misfit<T: JsonSchema>(text: &str) -> Option<String> {
    let (name, _) = text.split_once(": ")?;
    let schema = query_schema::<T>();
    let takes = taken(schema["properties"].get(name)?)?;
    Some(format!("{name} takes {takes}"))
}

/// What is wrong with a body, by the place in it: the parser's own words name types of this program.
fn misplaced<T: DeserializeOwned>(bytes: &[u8], error: &serde_json::Error) -> String {
    let found = serde_path_to_error::deserialize::<_, T>(&mut serde_json::Deserializer::from_slice(bytes)).err();
    let place = found.map(|found| found.path().to_string()).filter(|place| place != "." && place != "?");
    let told = error.to_string();
    let told = match told.split_once("expected struct ") {
        Some((before, behind)) => {
            let name = behind.find(' ').unwrap_or(behind.len());
            format!("{before}expected an object{}", &behind[name..])
        }
        None => told,
    };
    // Of an unknown field the words name it.
    match place.filter(|_| !told.starts_with("unknown field")) {
        Some(place) => format!("{place}: {told}"),
        None => told,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::api::{ListRunsQuery, RenameRun, StartRun, StartRunQuery};

    #[test]
    fn what_a_parameter_takes_is_said_of_the_one_that_does_not_fit() {
        let told = misfit::<ListRunsQuery>;
        assert_eq!(told("limit: invalid digit found in string").unwrap(), "limit takes a whole number of at most 500");
        assert_eq!(
            told("everybody: provided string was not `true` or `false`").unwrap(),
            "everybody takes true or false"
        );
        assert_eq!(told("state: unknown variant").unwrap(), "state takes one of queued, running, waiting, ended");
        assert_eq!(misfit::<StartRunQuery>("wait: invalid float literal").unwrap(), "wait takes a number of 0 or more");
        assert_eq!((told("search: x"), told("missing field")), (None, None));
    }

    #[test]
    fn what_is_wrong_with_a_body_is_said_where_it_is_and_without_types_of_ours() {
        fn told<T: DeserializeOwned>(body: &str) -> String {
            let Err(error) = serde_json::from_str::<T>(body) else { panic!("{body} fits") };
            misplaced::<T>(body.as_bytes(), &error)
        }
        assert_eq!(
            told::<StartRun>(r#""lesson""#),
            "invalid type: string \"lesson\", expected an object at line 1 column 8"
        );
        let number = told::<StartRun>(r#"{"workflow": 5}"#);
        assert_eq!(number, "workflow: invalid type: integer `5`, expected a string at line 1 column 14");
        assert_eq!(told::<StartRun>(r#"{"params": {}}"#), "missing field `workflow` at line 1 column 14");
        let unknown = told::<StartRun>(r#"{"workflow": "a", "parms": {}}"#);
        assert_eq!(unknown, "unknown field `parms`, expected `workflow` or `params` at line 1 column 25");
        assert!(told::<RenameRun>(r#"{"title": [1]}"#).starts_with("title: invalid type: sequence, expected a string"));
    }

    #[test]
    fn json_is_utf_8() {
        for kind in ["application/json", "application/json; charset=UTF-8", "application/json;Charset=\"utf-8\"; x=y"] {
            assert_eq!(other_charset(kind), None, "{kind}");
        }
        for kind in ["application/json; charset=utf-16", "application/json; x=y; CHARSET = \"UTF-16\""] {
            assert_eq!(other_charset(kind).as_deref(), Some("utf-16"), "{kind}");
        }
    }
}
