//! What steps and tools make of an answer: its value, or the words of the failure.

use reqwest::header::HeaderName;
use serde_json::Value;

use super::hidden::HiddenTexts;
use super::http::{HttpAnswer, HttpAnswerBody};

/// The header that servers know a repeated request by (draft-ietf-httpapi-idempotency-key-header).
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// So many characters of a server's words as a model can use.
const MOST_WORDS: usize = 2000;

/// An answer without the secrets that the server has sent back: before anything of it is cut off.
pub fn without_secrets(answer: HttpAnswer, hidden: &HiddenTexts) -> HttpAnswer {
    let Value::Object(headers) = hidden.hidden_in(Value::Object(answer.headers)) else {
        unreachable!("a map stays one")
    };
    let body = match answer.body {
        HttpAnswerBody::Json(value) => HttpAnswerBody::Json(hidden.hidden_in(value)),
        HttpAnswerBody::Text(text) => HttpAnswerBody::Text(hidden.hidden(&text)),
    };
    HttpAnswer { headers, body, status_line: hidden.hidden(&answer.status_line), ..answer }
}

/// What a body comes to; nothing is null.
pub fn body_value(body: HttpAnswerBody) -> Value {
    match body {
        HttpAnswerBody::Json(value) => value,
        HttpAnswerBody::Text(text) if text.is_empty() => Value::Null,
        HttpAnswerBody::Text(text) => Value::String(text),
    }
}

/// What the server sent, or what went wrong, in its words.
pub fn value_or_failure(answer: HttpAnswer) -> Result<Value, String> {
    let body = body_value(answer.body);
    if answer.status < 300 {
        return Ok(body);
    }
    let target = answer.headers.get("location").and_then(Value::as_str);
    let target = target.map(|target| format!(" and redirects to {target}, which is not followed")).unwrap_or_default();
    let said = match &body {
        Value::Null => String::new(),
        Value::String(text) => format!(": {}", shortened(text)),
        other => format!(": {}", shortened(&other.to_string())),
    };
    Err(format!("{} answered {}{target}{said}", answer.server, answer.status_line))
}

/// The beginning of a server's words.
pub(super) fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(MOST_WORDS).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
