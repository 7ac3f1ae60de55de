//! The errors that servers tell, with a bad status or in the middle of an answer, in the shapes that providers give them.

use serde_json::Value;

use super::Error;

/// Statuses of errors that come under the status 200, by the type that providers give them.
const STATUS_BY_TYPE: [(&str, u16); 8] = [
    ("invalid_request", 400),
    ("authentication", 401),
    ("permission", 403),
    ("not_found", 404),
    ("request_too_large", 413),
    ("rate_limit", 429),
    ("timeout", 504),
    ("overloaded", 529),
];

/// The error that a server tells instead of a piece of the answer, or of all of it.
pub(super) fn error_in<'v>(chunk: &'v Value, event: &str) -> Option<&'v Value> {
    match chunk.get("error") {
        Some(error) if !error.is_null() => Some(error),
        _ if event == "error" => Some(chunk),
        _ => None,
    }
}

/// An error that came under the status 200: its real status is in it, or can be guessed.
pub(super) fn provider_error(model: &str, error: &Value) -> Error {
    let words = ErrorWords::of(error);
    let number = |key: &str| {
        let value = error.get(key)?;
        value.as_u64().or_else(|| value.as_str()?.parse().ok())
    };
    let status =
        ["status", "status_code", "code"].into_iter().filter_map(number).find(|status| (400..600).contains(status));
    let kind = error.get("type").and_then(Value::as_str).unwrap_or_default();
    let by_type = STATUS_BY_TYPE.into_iter().find(|(part, _)| kind.contains(part)).map(|(_, status)| status);
    let status = match status {
        Some(status) => status as u16,
        None if words.code.as_deref() == Some("content_filter") => 400,
        None => by_type.unwrap_or(500),
    };
    Error::Status { model: model.to_owned(), status, message: words.message, code: words.code }
}

/// What a server says about an error.
pub(super) struct ErrorWords {
    pub(super) message: String,
    pub(super) code: Option<String>,
}

impl ErrorWords {
    /// Finds them in an error, or in a body that holds one, in the shapes that servers use.
    pub(super) fn of(body: &Value) -> Self {
        // Gemini puts the error of a stream into a list.
        let body = body.get(0).unwrap_or(body);
        let error = body.get("error").filter(|error| !error.is_null()).unwrap_or(body);
        let message = ["message", "detail", "error", "msg"].into_iter().find_map(|key| error.get(key));
        let message = match message.unwrap_or(error) {
            Value::String(message) => message.clone(),
            other => other.to_string(),
        };
        // Gemini's `code` is the status again, and its `status` a word.
        let word = error.get("status").and_then(Value::as_str).filter(|word| word.bytes().all(is_of_constant));
        let code = ["code", "type"].into_iter().find_map(|key| match error.get(key)? {
            Value::String(code) if !code.is_empty() => Some(code.clone()),
            Value::Number(code) => Some(code.to_string()),
            _ => None,
        });
        Self { message, code: word.map(str::to_owned).or(code) }
    }
}

fn is_of_constant(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte == b'_'
}
