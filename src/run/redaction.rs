//! What of a record is redacted: all that people, models and tools have said. Who did what and when stays.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

use crate::ids::RunId;
use crate::message::{Message, MessageContent};
use crate::protocol::answer::{AnswerOutcome, AnswerValue};
use crate::protocol::dialogue::ToolCall;
use crate::protocol::log::{EffectOutcome, LogEntry, LoggedRequest, Record, RecordBody, RunRemoval};
use crate::redact::{REDACTED, Redactor};
use crate::run::summary::RunSummary;

/// A record in its place, redacted.
pub fn placed<'p>(redactor: &Redactor, placed: &'p LogEntry) -> Cow<'p, LogEntry> {
    if redactor.is_empty() {
        return Cow::Borrowed(placed);
    }
    let mut redacted = placed.clone();
    record(redactor, &mut redacted.record);
    Cow::Owned(redacted)
}

/// Redacts a record.
pub fn record(redactor: &Redactor, record: &mut Record) {
    if let Some(asked) = &mut record.asked {
        self::asked(redactor, asked);
    }
    // As it is stored, a record may carry what came before it.
    if let Some(claim) = &mut record.claim {
        message(redactor, &mut claim.message);
    }
    if let Some(done) = &mut record.done {
        outcome(redactor, &mut done.outcome);
        if let Some(asked) = &mut done.asked {
            self::asked(redactor, asked);
        }
    }
    match &mut record.body {
        RecordBody::Created(created) => redactor.fields(&mut created.params),
        RecordBody::Claimed { message: Some(said), .. } | RecordBody::Said { message: said, .. } => {
            message(redactor, said)
        }
        RecordBody::Did { outcome, .. } => self::outcome(redactor, outcome),
        RecordBody::Removed(left) => removal(redactor, left),
        RecordBody::Ended(ended) => {
            ended.reason.iter_mut().for_each(|reason| redactor.in_place(reason));
            redactor.value(&mut ended.result);
            message(redactor, &mut ended.message);
        }
        RecordBody::Claimed { .. }
        | RecordBody::Calling { .. }
        | RecordBody::Parked { .. }
        | RecordBody::Part { .. }
        | RecordBody::Kept(_) => {}
    }
}

/// Redacts a call of a tool: what a model calls need not be one.
fn call(redactor: &Redactor, call: &mut ToolCall) {
    redactor.in_place(&mut call.function.name);
    redactor.in_place(&mut call.function.arguments);
}

/// Redacts what a model was asked.
fn asked(redactor: &Redactor, asked: &mut LoggedRequest) {
    for message in asked.messages.iter_mut().map(Arc::make_mut) {
        redactor.value(&mut message.content);
        message.tool_calls.iter_mut().for_each(|called| call(redactor, called));
    }
}

/// Redacts why somebody removed a run.
fn removal(redactor: &Redactor, removal: &mut RunRemoval) {
    removal.reason.iter_mut().for_each(|reason| redactor.in_place(reason));
}

/// The summary of a run whose records were redacted: what names of fields hide is found in records only.
pub fn summary_of(redactor: &Redactor, run: RunId, records: &[LogEntry]) -> RunSummary {
    let mut summary = RunSummary::new(run);
    records.iter().for_each(|one| summary.apply(&placed(redactor, one)));
    summary
}

/// Redacts what a list shows of a run.
pub fn summary(redactor: &Redactor, summary: &mut RunSummary) {
    summary.removed.iter_mut().for_each(|left| removal(redactor, left));
    let texts = summary.title.iter_mut().chain(&mut summary.reason);
    texts
        .chain(summary.questions.iter_mut().map(|question| &mut question.prompt))
        .for_each(|text| redactor.in_place(text));
}

/// Redacts what a message says.
pub fn message(redactor: &Redactor, message: &mut Message) {
    message.within.iter_mut().for_each(|conversation| redactor.in_place(&mut conversation.title));
    let Ok(Value::Object(mut content)) = serde_json::to_value(&message.says) else { return };
    let before = content.clone();
    // Who may answer is said of people, and decided by. A digest says nothing of what it was made of, and what it was made with goes with what was redacted.
    let words =
        content.iter_mut().filter(|(name, _)| !matches!(name.as_str(), "type" | "digest" | "salt" | "answerers"));
    words.for_each(|(name, value)| redactor.field(name, value));
    if content == before {
        return;
    }
    content.shift_remove("salt");
    // A field that the message cannot do without may be one of those that are named.
    message.says = crate::bounds::from_value(Value::Object(content)).unwrap_or_else(|_| MessageContent::text(REDACTED));
}

fn outcome(redactor: &Redactor, outcome: &mut EffectOutcome) {
    match outcome {
        EffectOutcome::Answer(answered) => match &mut answered.outcome {
            AnswerOutcome::Given(taken) | AnswerOutcome::TimedOut { default: Some(taken) } => answer(redactor, taken),
            AnswerOutcome::Refused { reason } => redactor.in_place(reason),
            AnswerOutcome::Sealed(_) | AnswerOutcome::NeverStored | AnswerOutcome::TimedOut { default: None } => {}
        },
        EffectOutcome::Reply(reply) => {
            let texts = reply.content.iter_mut().chain(&mut reply.refusal);
            texts.for_each(|text| redactor.in_place(text));
            reply.tool_calls.iter_mut().for_each(|called| call(redactor, called));
        }
        EffectOutcome::Failed { message, .. } => redactor.in_place(message),
        EffectOutcome::Value(value) => redactor.value(value),
        EffectOutcome::Reminded(_) => {}
    }
}

/// Redacts an answer.
fn answer(redactor: &Redactor, taken: &mut AnswerValue) {
    redactor.value(&mut taken.value);
    match &taken.value {
        // What is shown of a form holds its fields.
        Value::Object(_) => taken.text = taken.value.to_string(),
        _ => redactor.in_place(&mut taken.text),
    }
}
