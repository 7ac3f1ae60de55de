//! The records of a run's log: the only truth about it. Everything that anybody sees of a run is a projection of these.
//!
//! Records are JSON with a format version. A worker that meets a version newer than [`VERSION`] hands the run back. A record
//! that is larger than one message may be is stored as several `part`s; [`Assembler`] makes it whole again.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::broker::{Lane, Stored};
use crate::clock::Timestamp;
use crate::ids::{MessageId, Name, RunId, UserId, WorkerId};
use crate::message::{Content, Message};
use crate::model;
use crate::money::Usd;
use crate::vouch::Vouchable;

/// The newest version of the format that this program reads.
pub const VERSION: u8 = 3;
/// The version of a record of its own. [`Body::Kept`] and [`Record::done`] came later.
const ORDINARY: u8 = 1;
const KEPT: u8 = 2;
const CARRYING: u8 = 3;

/// What a piece has around it, at most, in bytes.
const AROUND_PIECE: usize = 200;
/// However little a broker carries: a record of a thousand pieces would not be better.
const SMALLEST_PIECE: usize = 1024;

/// The largest payload that is stored in one piece; NATS carries 1 MB by default, headers included.
pub const PIECE: usize = 900_000;

/// A record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The format's version.
    #[serde(rename = "v")]
    pub version: u8,
    /// Unique: a writer knows its own record again after a lost acknowledgement.
    pub id: MessageId,
    /// What happened.
    #[serde(flatten)]
    pub body: Body,
    /// What a model was asked, in the record of its reply or of its failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Box<Asked>>,
    /// An effect that was finished right before: a reply and the message that says it are one append. Nobody above
    /// [`Assembler`] sees it, who gives it as a record of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<Box<Done>>,
}

/// A finished effect, as the record after it carries it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// The effect's key.
    pub key: String,
    /// What came of it.
    pub outcome: Outcome,
    /// What a model was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Box<Asked>>,
}

/// A request to a model: what it has in common with an earlier one is named, not repeated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// The model that was asked, by its name in `llms:`; another may have answered.
    pub llm: String,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// The effect whose request this one begins as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// How many messages they have in common.
    #[serde(default, skip_serializing_if = "is_none")]
    pub common: usize,
    /// The messages after those.
    pub messages: Vec<model::ChatMessage>,
    /// The tools; none: those of the other request, or none at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<Value>>,
    /// What the reply must look like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_format: Option<Value>,
    /// Parameters of the agent.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub parameters: Map<String, Value>,
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

/// What happened in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Body {
    /// Somebody started it. Always the first record.
    Created(Created),
    /// A worker took it over. Whoever wrote the last of these owns the run.
    Claimed {
        /// The worker.
        worker: WorkerId,
        /// Grows by one with each claim.
        epoch: u64,
        /// In the first claim: the message `workflow_started`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<Message>,
    },
    /// It said something, or asked: visible to people.
    Said {
        /// The effect's key.
        key: String,
        /// The message.
        message: Message,
    },
    /// An effect is finished; it is never performed again.
    Did {
        /// The effect's key.
        key: String,
        /// What came of it.
        outcome: Outcome,
    },
    /// A tool is about to be called. What its steps do has records of its own, so that it can be called again on a replay.
    Calling {
        /// The effect's key.
        key: String,
    },
    /// It only waits, and nobody keeps it in memory.
    Parked {
        /// When to look again even if nobody answers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// It is over. Always the last record.
    Ended(Ended),
    /// A piece of a large record.
    Part {
        /// The record's id.
        of: MessageId,
        /// Which piece, from 0.
        index: u32,
        /// How many there are.
        count: u32,
        /// The piece of the record's JSON text.
        text: String,
    },
    /// All that is left of a run that was removed.
    Removed,
    /// All that is left of the records before it, which it stands for. Nobody above [`Assembler`] sees it.
    Kept(Kept),
}

/// The history of a run that has ended, stored anew without what is not to be kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The stored records, in order.
    pub entries: Vec<KeptEntry>,
    /// Somebody's data were erased: nothing of the run is to be seen any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erased: Option<Erasure>,
}

/// A stored record as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptEntry {
    /// Its sequence.
    pub seq: u64,
    /// When it was stored.
    pub at: Timestamp,
    /// Its link, as it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
    /// The digest of what was stored, if that is not the text below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The record's JSON text; none: nothing of it is kept, or it was a piece of the next one that has a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// Why nothing of a run is to be seen any more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Erasure {
    /// Who erased it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// How a run began.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Created {
    /// Its workflow.
    pub workflow: Name,
    /// The hash of the definition that it is pinned to; none: a foreign worker runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
    /// Its parameters.
    pub params: Map<String, Value>,
    /// Who it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// What that user belonged to when it began.
    #[serde(default, skip_serializing_if = "<[String]>::is_empty")]
    pub groups: Box<[String]>,
    /// Where it came from.
    pub origin: Origin,
    /// The place in a trace that it was started from ([`crate::traces::HEADER`]): whoever takes it up goes on there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// By which a gateway vouches for it ([`crate::vouch`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vouched: Option<String>,
}

impl Vouchable for Created {
    fn signature(&mut self) -> &mut Option<String> {
        &mut self.vouched
    }
}

/// Where a run came from, which decides who else must be told about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// One of our gateways, for one of our workers.
    Gateway,
    /// A FastAgency gateway, by `chat.server.initiate_chat`: what the run says is copied to its subject.
    FastAgency,
    /// One of our gateways, for a FastAgency worker: what that worker says is copied here.
    ForeignWorker,
}

/// What came of an effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A person answered, or did not in time.
    Answer(Answered),
    /// A model replied.
    Reply(Box<model::Reply>),
    /// It failed.
    Failed {
        /// What kind of failure, for `retry.on` and `error.kind`.
        kind: String,
        /// In a sentence.
        message: String,
    },
    /// A value: a random choice, a time, the return of another workflow.
    Value(Value),
}

/// An answer as the log holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answered {
    /// The question.
    pub question: MessageId,
    /// The value; none if nobody answered in time, or if it is not stored in clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// A password, sealed; `""` if it was never stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<String>,
    /// What to show; none for a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Why the answer does not fit; the question is asked again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Who answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<UserId>,
    /// Nobody answered in time, and this is what the workflow takes instead.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_timeout: bool,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// Well or not.
    pub outcome: Ending,
    /// Why, in a sentence, if not well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the workflow returned.
    #[serde(default)]
    pub result: Value,
    /// What it used.
    #[serde(default)]
    pub usage: Usage,
    /// The message `workflow_completed`.
    pub message: Message,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The workflow returned.
    Completed,
    /// The workflow failed.
    Failed,
    /// Somebody ended it.
    Cancelled,
}

/// What a run used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Requests to models that were answered.
    pub llm_calls: u64,
    /// Calls of tools.
    #[serde(default)]
    pub tool_calls: u64,
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
    /// What they cost, as far as the models have prices.
    #[serde(default, skip_serializing_if = "Usd::is_zero")]
    pub cost_usd: Usd,
}

/// A record and its place in the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Placed {
    /// Its sequence.
    pub seq: u64,
    /// When it was stored.
    pub at: Timestamp,
    /// The record.
    pub record: Record,
}

/// Why a stored record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// A newer program wrote it.
    #[error(
        "record {seq} of run {run} has format version {version}, and this program knows only up to {VERSION}: it needs a newer worker"
    )]
    TooNew {
        /// The run.
        run: RunId,
        /// The record's sequence.
        seq: u64,
        /// Its version.
        version: u8,
    },
    /// It is no record.
    #[error("record {seq} of run {run} cannot be read: {source}")]
    Malformed {
        /// The run.
        run: RunId,
        /// The record's sequence.
        seq: u64,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

impl Record {
    /// A new record.
    pub fn new(body: Body) -> Self {
        let version = if matches!(body, Body::Kept(_)) { KEPT } else { ORDINARY };
        Self { version, id: MessageId::random(), body, asked: None, done: None }
    }

    /// A new record, with the effect that was finished right before.
    pub fn carrying(done: Done, body: Body) -> Self {
        Self { version: CARRYING, done: Some(Box::new(done)), ..Self::new(body) }
    }

    /// What happened, step by step: the effect that it carries is a record of its own.
    pub fn steps(mut self) -> impl Iterator<Item = Self> {
        let done = self.done.take();
        if done.is_some() {
            self.version = ORDINARY;
        }
        done.map(|done| Self { id: self.id, ..Self::from(*done) }).into_iter().chain([self])
    }

    /// The subject that it belongs under.
    pub fn lane(&self) -> Lane {
        match &self.body {
            Body::Said { .. } | Body::Ended(_) => Lane::Said,
            _ => Lane::Did,
        }
    }

    /// The payloads to store, in order: one, or the pieces of a large record.
    pub fn payloads(&self) -> Vec<Bytes> {
        self.payloads_within(PIECE)
    }

    /// The same for a broker that carries at most `largest` bytes in one message.
    pub fn payloads_within(&self, largest: usize) -> Vec<Bytes> {
        let text = serde_json::to_string(self).expect("a record is JSON");
        if text.len() <= largest {
            return vec![text.into()];
        }
        // A piece is a record of its own: something is written around it, and what is quoted grows.
        let pieces = pieces(&text, (largest / 2).saturating_sub(AROUND_PIECE).max(SMALLEST_PIECE));
        let count = pieces.len() as u32;
        (0..)
            .zip(pieces)
            .map(|(index, text)| {
                let part = Record::new(Body::Part { of: self.id, index, count, text: text.to_owned() });
                Bytes::from(serde_json::to_vec(&part).expect("a part is JSON"))
            })
            .collect()
    }

    /// The message that it shows to people, if it shows one.
    pub fn message(&self) -> Option<&Message> {
        match &self.body {
            Body::Claimed { message, .. } => message.as_ref(),
            Body::Said { message, .. } => Some(message),
            Body::Ended(ended) => Some(&ended.message),
            _ => None,
        }
    }
}

impl From<Done> for Record {
    fn from(Done { key, outcome, asked }: Done) -> Self {
        Self { asked, ..Self::new(Body::Did { key, outcome }) }
    }
}

/// Cuts a text into pieces of at most `size` bytes, between characters. Escaping may double a piece, hence half the limit.
fn pieces(text: &str, size: usize) -> Vec<&str> {
    let mut rest = text;
    let mut pieces = Vec::with_capacity(text.len() / size + 1);
    while rest.len() > size {
        let cut = rest.floor_char_boundary(size);
        let (piece, remaining) = rest.split_at(cut);
        pieces.push(piece);
        rest = remaining;
    }
    pieces.push(rest);
    pieces
}

/// Reads stored payloads in order, and gives the records that are complete.
#[derive(Debug, Default)]
pub struct Assembler {
    parts: String,
}

/// What a stored payload says.
#[derive(Debug, Default)]
pub struct Taken {
    /// The records that are complete with it; those that were one append have one sequence.
    pub records: Vec<Placed>,
    /// They are a history that was stored anew: they stand for everything that was taken before.
    pub anew: bool,
}

impl Assembler {
    /// Takes the next stored payload. Nothing is complete with a part of which more are to come.
    pub fn take(&mut self, run: RunId, stored: &Stored) -> Result<Taken, Unreadable> {
        let malformed = |source| Unreadable::Malformed { run, seq: stored.seq, source };
        let record = match parse(&stored.payload) {
            Ok(record) => record,
            Err(source) => return Err(too_new(run, stored).unwrap_or_else(|| malformed(source))),
        };
        if record.version > VERSION {
            return Err(Unreadable::TooNew { run, seq: stored.seq, version: record.version });
        }
        let Body::Part { index, count, text, .. } = &record.body else {
            self.parts.clear();
            return taken(run, stored, record);
        };
        // A writer that was cut off between two parts begins again with part 0.
        if *index == 0 {
            self.parts.clear();
        }
        self.parts.push_str(text);
        if index + 1 < *count {
            return Ok(Taken::default());
        }
        let whole = std::mem::take(&mut self.parts);
        taken(run, stored, parse(whole.as_bytes()).map_err(malformed)?)
    }
}

/// What a whole record says in its place.
fn taken(run: RunId, stored: &Stored, record: Record) -> Result<Taken, Unreadable> {
    let placed = |seq, at, record: Record| record.steps().map(move |record| Placed { seq, at, record });
    let Body::Kept(kept) = record.body else {
        return Ok(Taken { records: placed(stored.seq, stored.at, record).collect(), anew: false });
    };
    let mut records = Vec::with_capacity(kept.entries.len());
    if kept.erased.is_none() {
        for KeptEntry { seq, at, text, .. } in kept.entries {
            let Some(text) = text else { continue };
            let record = parse(text.as_bytes()).map_err(|source| Unreadable::Malformed { run, seq, source })?;
            records.extend(placed(seq, at, record));
        }
    }
    if records.is_empty() {
        let removed = Record { body: Body::Removed, ..record };
        records.push(Placed { seq: stored.seq, at: stored.at, record: removed });
    }
    Ok(Taken { records, anew: true })
}

fn parse(payload: &[u8]) -> serde_json::Result<Record> {
    serde_json::from_slice(payload)
}

fn too_new(run: RunId, stored: &Stored) -> Option<Unreadable> {
    #[derive(Deserialize)]
    struct Versioned {
        v: u8,
    }
    let Versioned { v } = serde_json::from_slice(&stored.payload).ok()?;
    (v > VERSION).then_some(Unreadable::TooNew { run, seq: stored.seq, version: v })
}

/// Makes the message `workflow_started` of a run.
pub fn started_message(run: RunId, created: &Created, description: Option<&str>) -> Message {
    Message {
        uuid: run.derive("workflow_started"),
        sender: Some("Workflow".to_owned()),
        recipient: Some("User".to_owned()),
        auto_reply: false,
        alias: None,
        within: Vec::new(),
        says: Content::WorkflowStarted {
            name: created.workflow.to_string(),
            description: description.map(str::to_owned),
            params: created.params.clone(),
        },
    }
}

/// Makes the message `workflow_completed` of a run.
pub fn completed_message(run: RunId, result: Value) -> Message {
    Message {
        uuid: run.derive("workflow_completed"),
        sender: Some("Workflow".to_owned()),
        recipient: Some("User".to_owned()),
        auto_reply: false,
        alias: None,
        within: Vec::new(),
        says: Content::WorkflowCompleted { result },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(seq: u64, payload: Bytes) -> Stored {
        Stored { seq, at: Timestamp::UNIX_EPOCH, payload }
    }

    #[test]
    fn a_large_record_is_stored_in_pieces_and_comes_back_whole() {
        let run = RunId::random();
        let mut message = completed_message(run, Value::Null);
        message.says = Content::text("\"ü\n".repeat(1_000_000));
        let record = Record::new(Body::Said { key: "1".into(), message });
        let payloads = record.payloads();
        assert!(payloads.len() > 4);
        let mut assembler = Assembler::default();
        let mut whole = Vec::new();
        for (seq, payload) in (1..).zip(payloads) {
            assert!(payload.len() < 1_000_000, "{}", payload.len());
            whole.extend(assembler.take(run, &stored(seq, payload)).unwrap().records);
        }
        assert_eq!(whole.len(), 1);
        assert_eq!(whole[0].record, record);
    }

    #[test]
    fn an_effect_that_a_record_carries_comes_back_as_a_record_of_its_own() {
        let run = RunId::random();
        let done = Done { key: "talk#0".into(), outcome: Outcome::Value(Value::from(7)), asked: None };
        let says = Body::Said { key: "talk#1".into(), message: completed_message(run, Value::Null) };
        let payload = Record::carrying(done, says.clone()).payloads().swap_remove(0);
        let records = Assembler::default().take(run, &stored(5, payload)).unwrap().records;
        let bodies: Vec<(u64, Body)> = records.into_iter().map(|placed| (placed.seq, placed.record.body)).collect();
        let did = Body::Did { key: "talk#0".into(), outcome: Outcome::Value(Value::from(7)) };
        assert_eq!(bodies, [(5, did), (5, says)]);
    }

    #[test]
    fn a_record_of_a_newer_program_is_told_from_a_broken_one() {
        let run = RunId::random();
        let take = |text: &str| Assembler::default().take(run, &stored(7, text.to_owned().into()));
        assert!(matches!(take(r#"{"v":4,"kind":"teleported"}"#), Err(Unreadable::TooNew { version: 4, seq: 7, .. })));
        assert!(matches!(take("{"), Err(Unreadable::Malformed { .. })));
    }
}
