//! A record as the audit tells it.

use serde_json::{Map, Value, json};

use crate::bounds::{STORED, shorten};
use crate::clock::Timestamp;
use crate::ids::RunId;
use crate::message::Message;
use crate::protocol::answer::{AnswerOutcome, AnswerRecord};
use crate::protocol::effect_key::EffectKey;
use crate::protocol::log::{Body, LogEntry, Outcome, Removal};
use crate::redact::Redactor;
use crate::run::assembler::Unread;
use crate::run::redaction;
use crate::run::summary::Rename;

/// A record as JSON: `run`, `seq`, `at`, `kind`, and what belongs to the kind (`docs/how-to/audit.md` lists it).
pub fn event(run: RunId, placed: &LogEntry, redactor: &Redactor) -> Value {
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
        Body::Calling { key, digest } => ("calling", json!({"key": key, "digest": digest})),
        Body::Parked { until } => ("parked", json!({"until": until})),
        Body::Ended(ended) => {
            let mut fields = json!(ended);
            fields["message"] = message(&ended.message);
            ("ended", fields)
        }
        Body::Part { .. } => ("part", json!({})),
        Body::Removed(removal) => ("removed", removed(&removal)),
        Body::Kept(_) => ("removed", json!({})),
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
    let mut shown = Value::Object(shown);
    // Older logs hold more than is stored now; whoever is told of it may take no more.
    shorten(&mut shown, STORED.depth);
    shown
}

/// A record that cannot be read, or not whole, in its place: who reads on knows that something is missing.
pub fn unreadable(run: RunId, unread: &Unread) -> Value {
    json!({"run": run, "seq": unread.seq, "at": unread.at, "kind": "unreadable", "reason": unread.why.to_string()})
}

fn did(key: EffectKey, outcome: Outcome) -> (&'static str, Value) {
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
        "content": crate::message::shown(&message.says),
    });
    if !message.within.is_empty() {
        shown["within"] = json!(message.within);
    }
    shown
}

/// What is left of a run: what it was is told beside who removed it. Of the time the record has that of its storing.
fn removed(removal: &Removal) -> Value {
    let mut fields = json!({"removed_at": removal.at, "by": removal.by, "reason": removal.reason, "rule": removal.rule,
        "erased": removal.erased});
    if let (Value::Object(fields), Ok(Value::Object(evidence))) = (&mut fields, serde_json::to_value(&removal.evidence))
    {
        fields.extend(evidence);
    }
    fields
}

/// That a run was given another title, as the audit tells it. Such events lie beside the log, and have no place in it.
pub fn renamed(run: RunId, rename: &Rename, redactor: &Redactor) -> Value {
    let title = |title: &Option<String>| title.as_deref().map(|title| redactor.text(title).into_owned());
    json!({"run": run, "seq": null, "at": rename.renamed.at, "kind": "renamed", "by": rename.renamed.by,
        "from": title(&rename.from), "to": title(&rename.to), "dropped": rename.renamed.dropped})
}

/// That the history of an ended run was stored anew without what is not to be seen.
pub fn redacted(run: RunId, seq: u64, at: Timestamp) -> Value {
    json!({"run": run, "seq": seq, "at": at, "kind": "redacted"})
}

/// An answer, without a password in whatever form.
fn answer(answered: &AnswerRecord) -> Value {
    let mut shown = json!(answered);
    let is_secret = matches!(answered.outcome, AnswerOutcome::Sealed(_) | AnswerOutcome::NeverStored);
    if let Some(fields) = shown.as_object_mut().filter(|_| is_secret) {
        fields.remove("sealed");
        fields.insert("secret".to_owned(), json!(true));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::MessageId;
    use crate::protocol::log::Record;

    #[test]
    fn a_password_is_told_of_and_never_shown() {
        let outcome = AnswerOutcome::Sealed("c2VhbGVk".into());
        let answered = AnswerRecord { question: MessageId::random(), by: None, outcome };
        let record = Record::new(Body::Did { key: "1".into(), outcome: Outcome::Answer(answered) });
        let placed = LogEntry { seq: 41, at: Timestamp::UNIX_EPOCH, record };
        let shown = event(RunId::random(), &placed, &Redactor::default());
        assert_eq!((&shown["kind"], &shown["secret"]), (&json!("answered"), &json!(true)));
        assert!(!shown.to_string().contains("c2VhbGVk"), "{shown}");
    }
}
