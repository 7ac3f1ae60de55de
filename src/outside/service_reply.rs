//! What tools make of the reply of a service on NATS: its value, or the words of the failure.

use serde_json::Value;

use super::hidden::HiddenTexts;
use super::http::{HttpAnswerBody, cut};
use super::http_answer::{body_value, shortened};
use crate::bounds::{OUTSIDE, read};

/// What a service sent: JSON where it is some, else a text, without secrets; nothing is null.
pub fn reply_value(subject: &str, payload: &[u8], max_result: u64, hidden: &HiddenTexts) -> Result<Value, String> {
    let most = usize::try_from(max_result).unwrap_or(usize::MAX);
    if payload.len() > most {
        return Ok(body_value(cut(payload, most, hidden)));
    }
    if let Ok(value) = read::<Value>(payload, &OUTSIDE) {
        return Ok(hidden.hidden_in(value));
    }
    match std::str::from_utf8(payload) {
        Ok(text) => Ok(body_value(HttpAnswerBody::Text(hidden.hidden(text)))),
        Err(_) => Err(format!("{subject} replied with bytes, and not with JSON or a text")),
    }
}

/// The words of an error that a service replied with.
pub fn fault_words(
    subject: &str,
    code: &str,
    description: &str,
    payload: &[u8],
    max_result: u64,
    hidden: &HiddenTexts,
) -> String {
    let mut words = format!("{subject} replied with an error");
    for part in [code, description].into_iter().filter(|part| !part.trim().is_empty()) {
        words = format!("{words}: {}", hidden.hidden(part.trim()));
    }
    match reply_value(subject, payload, max_result, hidden) {
        Ok(Value::String(text)) => format!("{words}: {}", shortened(&text)),
        Ok(Value::Null) | Err(_) => words,
        Ok(other) => format!("{words}: {}", shortened(&other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_reply_is_read_by_what_it_is_and_holds_no_secret() {
        let hidden = HiddenTexts::default();
        hidden.add("key", "sesame-1");
        let value = |payload: &[u8]| reply_value("orders", payload, 20, &hidden);
        assert_eq!(value(b"{\"a\": 1.10}").unwrap(), serde_json::from_str::<Value>("{\"a\": 1.10}").unwrap());
        assert_eq!(value(b"").unwrap(), Value::Null);
        assert_eq!(value(b"sent sesame-1").unwrap(), json!("sent [secret key]"));
        assert_eq!(value(b"{\"k\": \"sesame-1\"}").unwrap(), json!({"k": "[secret key]"}));
        let cut = value(&[b'x'; 30]).unwrap();
        assert_eq!(cut, json!(format!("{}… [cut off after 20 bytes]", "x".repeat(20))));
        assert_eq!(value(b"\x89PNG\xff").unwrap_err(), "orders replied with bytes, and not with JSON or a text");
        let words = fault_words("orders", "404", "no order sesame-1", b"{\"id\": 7}", 20, &hidden);
        assert_eq!(words, "orders replied with an error: 404: no order [secret key]: {\"id\":7}");
    }
}
