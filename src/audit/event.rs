//! A record as the audit tells it.

use serde_json::{Map, Value, json};

use crate::ids::RunId;
use crate::message::Message;
use crate::redact::Redactor;
use crate::run::assembler::Unread;
use crate::run::record::{Answered, Body, Outcome, Placed};
use crate::run::{Looked, redaction};

/// A record as JSON: `run`, `seq`, `at`, `kind`, and what belongs to the kind (`docs/audit.md` lists it).
pub fn event(run: RunId, placed: &Placed, redactor: &Redactor) -> Value {
    let record = redaction::placed(redactor, placed).into_owned().record;
    let asked = record.asked;
    let (kind, fields) = match record.body {
        Body::Created(created) => ("created", json!(created)),
        Body::Claimed { worker, epoch, message } => {
            ("claimed", json!({"worker": worker, "epoch": epoch, "message": message.as_ref().map(self::message)}))
        }
        Body::Said { key, message } => {
            let kind = if message.says.asks() { "asked" } else { "said" };
            (kind, json!({"key": key, "message": self::message(&message)}))
        }
        Body::Did { key, outcome } => did(key, outcome),
        Body::Calling { key } => ("calling", json!({"key": key})),
        Body::Parked { until } => ("parked", json!({"until": until})),
        Body::Ended(ended) => {
            let mut fields = json!(ended);
            fields["message"] = message(&ended.message);
            ("ended", fields)
        }
        Body::Part { .. } => ("part", json!({})),
        Body::Removed | Body::Kept(_) => ("removed", json!({})),
    };
    let mut shown = Map::new();
    shown.insert("run".to_owned(), json!(run));
    shown.insert("seq".to_owned(), json!(placed.seq));
    shown.insert("at".to_owned(), json!(placed.at));
    shown.insert("kind".to_owned(), json!(kind));
    if let Value::Object(fields) = fields {
        shown.extend(fields.into_iter().filter(|(_, value)| !value.is_null()));
    }
    if let Some(asked) = asked {
        shown.insert("took_ms".to_owned(), json!(asked.took_ms));
        shown.insert("asked".to_owned(), json!(asked));
    }
    Value::Object(shown)
}

/// A record that cannot be read, or not whole, in its place: who reads on knows that something is missing.
pub fn unreadable(run: RunId, unread: &Unread) -> Value {
    json!({"run": run, "seq": unread.seq, "at": unread.at, "kind": "unreadable", "reason": unread.why.to_string()})
}

/// All events of a log, in order.
pub fn events(run: RunId, looked: &Looked, redactor: &Redactor) -> Vec<Value> {
    let mut unread = looked.unreadable.iter().peekable();
    let mut events = Vec::with_capacity(looked.records.len());
    for placed in &looked.records {
        while let Some(before) = unread.next_if(|unread| unread.seq <= placed.seq) {
            events.push(unreadable(run, before));
        }
        events.push(event(run, placed, redactor));
    }
    events.extend(unread.map(|unread| unreadable(run, unread)));
    events
}

fn did(key: String, outcome: Outcome) -> (&'static str, Value) {
    let (kind, mut fields) = match outcome {
        Outcome::Answer(answered) => ("answered", answer(&answered)),
        Outcome::Reply(reply) => ("replied", json!(reply)),
        Outcome::Failed { kind, message } => ("failed", json!({"error": kind, "reason": message})),
        Outcome::Value(value) => ("made", json!({"value": value})),
    };
    fields["key"] = json!(key);
    (kind, fields)
}

/// A message in the shape that the other routes show it in.
fn message(message: &Message) -> Value {
    let mut shown = json!({
        "uuid": message.uuid,
        "sender": message.sender,
        "recipient": message.recipient,
        "type": message.says.kind(),
        "content": message.says.to_json(),
    });
    if !message.within.is_empty() {
        shown["within"] = json!(message.within);
    }
    shown
}

/// An answer, without a password in whatever form.
fn answer(answered: &Answered) -> Value {
    let mut shown = json!(answered);
    if let Some(fields) = shown.as_object_mut()
        && fields.remove("sealed").is_some()
    {
        fields.insert("secret".to_owned(), json!(true));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::ids::MessageId;
    use crate::run::record::Record;

    #[test]
    fn a_password_is_told_of_and_never_shown() {
        let answered = Answered {
            question: MessageId::random(),
            value: None,
            sealed: Some("c2VhbGVk".into()),
            text: None,
            refused: None,
            by: None,
            on_timeout: false,
        };
        let record = Record::new(Body::Did { key: "1".into(), outcome: Outcome::Answer(answered) });
        let placed = Placed { seq: 41, at: Timestamp::UNIX_EPOCH, record };
        let shown = event(RunId::random(), &placed, &Redactor::default());
        assert_eq!((&shown["kind"], &shown["secret"]), (&json!("answered"), &json!(true)));
        assert!(!shown.to_string().contains("c2VhbGVk"), "{shown}");
    }
}
