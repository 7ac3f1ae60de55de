//! The errors that servers tell, with a bad status or in the middle of an answer, in the shapes that providers give them.

use serde_json::{Value, json};

use super::Error;
use crate::bounds::{OUTSIDE, read};

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
        _ if event == "error" || is_bare_error(chunk) => Some(chunk),
        _ => chunk.get("base_resp").filter(|told| told.get("status_code").and_then(Value::as_i64).unwrap_or(0) != 0),
    }
}

/// Whether there is an error in the place of an answer, as gateways send it under the status 200: words, and what kind of error it is.
fn is_bare_error(chunk: &Value) -> bool {
    let is_none = |key: &str| chunk.get(key).is_none_or(Value::is_null);
    let words = ["message", "detail", "msg"].iter().any(|key| chunk.get(*key).is_some_and(Value::is_string));
    let has_kind = ["code", "status", "status_code"].iter().any(|key| !is_none(key))
        || chunk.get("object") == Some(&json!("error"));
    words && has_kind && is_none("choices")
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
    let kinds = ["type", "code"].into_iter().filter_map(|key| error.get(key)?.as_str());
    let kind = kinds.collect::<Vec<_>>().join(" ");
    let by_type = STATUS_BY_TYPE.into_iter().find(|(part, _)| kind.contains(part)).map(|(_, status)| status);
    let known = match status {
        Some(status) => Some(status as u16),
        None if words.code.as_deref() == Some("content_filter") => Some(400),
        None => by_type,
    };
    let (status, in_answer) = (known.unwrap_or(500), known.is_none());
    Error::Status { model: model.to_owned(), status, in_answer, message: words.message, code: words.code }
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
        let message = ["message", "detail", "error", "msg", "status_msg"].into_iter().find_map(|key| error.get(key));
        let mut message = match message.unwrap_or(error) {
            Value::String(message) => message.clone(),
            other => other.to_string(),
        };
        if let Some(words) = behind(error) {
            message = format!("{message}: {words}");
        }
        // Gemini's `code` is the status again, and its `status` a word.
        let word = error.get("status").and_then(Value::as_str).filter(|word| word.bytes().all(is_of_constant));
        let code = ["code", "type", "status_code"].into_iter().find_map(|key| match error.get(key)? {
            Value::String(code) if !code.is_empty() => Some(code.clone()),
            Value::Number(code) => Some(code.to_string()),
            _ => None,
        });
        Self { message, code: word.map(str::to_owned).or(code) }
    }

    /// What a body says that is no JSON: of a page, which proxies and gateways send to people, its title.
    pub(super) fn of_text(text: &str) -> Self {
        Self { message: of_page(text).unwrap_or_else(|| text.to_owned()), code: None }
    }
}

/// What the provider said to which OpenRouter passed a request on: OpenRouter itself says only that there was an error.
fn behind(error: &Value) -> Option<String> {
    let metadata = error.get("metadata")?;
    let said = match metadata.get("raw").filter(|raw| !raw.is_null())? {
        Value::String(text) => match read::<Value>(text.as_bytes(), &OUTSIDE) {
            Ok(body @ Value::Object(_)) => ErrorWords::of(&body).message,
            _ => text.clone(),
        },
        body => ErrorWords::of(body).message,
    };
    let said = said.trim();
    let provider = metadata.get("provider_name").and_then(Value::as_str).filter(|name| !name.is_empty());
    (!said.is_empty()).then(|| match provider {
        Some(provider) => format!("{said} ({provider})"),
        None => said.to_owned(),
    })
}

/// The title of a page, or its text where it has none; none: this is no page.
fn of_page(text: &str) -> Option<String> {
    let small = text.to_ascii_lowercase();
    let is_page = small.trim_start().starts_with('<') && (small.contains("<html") || small.contains("<!doctype html"));
    if !is_page {
        return None;
    }
    let inside = |tag: &str| {
        let from = small.find(&format!("<{tag}"))?;
        let from = from + small[from..].find('>')? + 1;
        let inside = without_tags(&text[from..from + small[from..].find(&format!("</{tag}"))?]);
        (!inside.is_empty()).then_some(inside)
    };
    let all = || Some(without_tags(text)).filter(|all| !all.is_empty());
    inside("title").or_else(|| inside("h1")).or_else(|| inside("body")).or_else(all)
}

fn without_tags(markup: &str) -> String {
    let mut text = String::new();
    let mut rest = markup;
    while let Some(open) = rest.find('<') {
        text.push_str(&rest[..open]);
        text.push(' ');
        rest = rest[open..].find('>').map_or("", |close| &rest[open + close + 1..]);
    }
    text.push_str(rest);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn is_of_constant(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte == b'_'
}
