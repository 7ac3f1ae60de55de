//! The records of a run's log: the only truth about it. Everything that anybody sees of a run is a projection of these.
//!
//! Records are JSON with a format version. A worker that meets a version newer than [`VERSION`] hands the run back. A record
//! that is larger than one message may be is stored as several `part`s; [`RecordAssembler`](crate::run::assembler::RecordAssembler) makes it whole again.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::bounds::{self, ExceededBound};
use crate::clock::Timestamp;
use crate::ids::{MessageId, Name, RunId, UserId, WorkerId};
use crate::protocol::answer::AnswerRecord;
use crate::protocol::answerers::QuestionReminder;
use crate::protocol::dialogue::{ChatMessage, ModelReply};
use crate::protocol::effect_key::EffectKey;
use crate::protocol::failure::FailureKind;
use crate::protocol::message::{Message, MessageContent};
use crate::protocol::participant::{USER, WORKFLOW};
pub use crate::protocol::run_state::{RunOutcome, RunUsage};
use crate::protocol::signable::Signable;

/// The newest version of the format that this program reads.
pub const VERSION: u8 = 5;
/// The version of a record of its own. [`RecordBody::Kept`], [`Record::done`], [`EffectOutcome::Reminded`] and [`Record::claim`]
/// came later.
const ORDINARY: u8 = 1;
const KEPT: u8 = 2;
const CARRYING: u8 = 3;
const REMINDING: u8 = 4;
const CLAIMING: u8 = 5;

/// What a piece has around it, at most, in bytes.
const AROUND_PIECE: usize = 200;
/// However little a broker carries: a record of a thousand pieces would not be better.
const SMALLEST_PIECE: usize = 1024;

/// The largest payload that is stored in one piece; NATS carries 1 MB by default, headers included.
pub const LARGEST_PIECE: usize = 900_000;

/// Which of a run's two subjects a record is stored under: what people see, or everything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordLane {
    /// Visible messages: `fa.run.<run>.said`.
    Said,
    /// Everything else: `fa.run.<run>.did`.
    Did,
}

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
    pub body: RecordBody,
    /// What a model was asked, in the record of its reply or of its failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Box<LoggedRequest>>,
    /// An effect that was finished right before: a reply and the message that says it are one append. Nobody above
    /// the assembler sees it, who gives it as a record of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<Box<FinishedEffect>>,
    /// The first claim of the run, right before: it and the first thing that the run does are one append. Given as a record of its
    /// own, as [`Record::done`] is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Box<FirstClaim>>,
    /// Which of the steps of one append this is, counted from 1; none: the last, or the only one. Never stored.
    #[serde(skip)]
    pub step: Option<u32>,
}

/// The first claim of a run, as the record after it carries it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FirstClaim {
    /// The worker.
    pub worker: WorkerId,
    /// The message `workflow_started`.
    pub message: Message,
}

/// A finished effect, as the record after it carries it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FinishedEffect {
    /// The effect's key.
    pub key: EffectKey,
    /// What came of it.
    pub outcome: EffectOutcome,
    /// What a model was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Box<LoggedRequest>>,
}

/// A request to a model: what it has in common with an earlier one is named, not repeated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoggedRequest {
    /// The model that was asked, by its name in `llms:`; another may have answered.
    pub llm: String,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// The effect whose request this one begins as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<EffectKey>,
    /// How many messages they have in common.
    #[serde(default, skip_serializing_if = "is_zero_count")]
    pub common: usize,
    /// The messages after those.
    pub messages: Vec<Arc<ChatMessage>>,
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

fn is_zero_count(count: &usize) -> bool {
    *count == 0
}

/// What happened in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RecordBody {
    /// Somebody started it. Always the first record.
    Created(RunCreation),
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
        key: EffectKey,
        /// The message.
        message: Message,
    },
    /// An effect is finished; it is never performed again.
    Did {
        /// The effect's key.
        key: EffectKey,
        /// What came of it.
        outcome: EffectOutcome,
    },
    /// A tool is about to be called. What its steps do has records of its own, so that it can be called again on a replay.
    Calling {
        /// The effect's key.
        key: EffectKey,
        /// The digest of the call ([`crate::message::CalledTool::digest`]), where a person was asked about it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        digest: Option<String>,
    },
    /// It only waits, and nobody keeps it in memory.
    Parked {
        /// When to look again even if nobody answers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// It is over. Always the last record.
    Ended(RunEnd),
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
    Removed(Box<RunRemoval>),
    /// All that is left of the records before it, which it stands for. Nobody above the assembler sees it.
    Kept(KeptHistory),
}

/// What is left of a run that was removed or erased: what must be accounted for, and nothing that people, models or tools have
/// said. A program before had nothing in it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunRemoval {
    /// When it was removed; none: when this was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Who removed it; none: a rule did, or nobody in particular.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why, in the words of who removed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The rule by which it was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What the run was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<RunEvidence>,
    /// Who erased what was said in it, or who it belonged to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erased: Option<RunErasure>,
    /// The link of the record, where logs are chained: it names the last record that was there.
    #[serde(default, skip_serializing)]
    pub chain: Option<String>,
}

/// What a run was, without what was said in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunEvidence {
    /// Its workflow.
    pub workflow: Name,
    /// The hash of the definition that it was pinned to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
    /// Who it belonged to; none: nobody, or somebody whose data were erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// Where it came from.
    pub origin: RunOrigin,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<RunOutcome>,
    /// What it used.
    #[serde(default)]
    pub usage: RunUsage,
    /// How many records there were, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
    /// Who gave it another title, and when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub renamed: Vec<TitleEvent>,
}

/// That a run was given another title.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TitleEvent {
    /// Who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<UserId>,
    /// When.
    pub at: Timestamp,
    /// How many renames came after it that are not kept.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl RunEvidence {
    /// What a run with these records was; none: it is removed already.
    pub fn of(records: &[LogEntry]) -> Option<Self> {
        let first = records.first()?;
        let RecordBody::Created(created) = &first.record.body else { return None };
        let last = records.last().and_then(|placed| match &placed.record.body {
            RecordBody::Ended(ended) => Some((placed.at, ended)),
            _ => None,
        });
        Some(Self {
            workflow: created.workflow.clone(),
            definition: created.definition.clone(),
            user: created.user.clone(),
            origin: created.origin,
            created_at: first.at,
            ended_at: last.map(|(at, _)| at),
            outcome: last.map(|(_, ended)| ended.outcome),
            usage: last.map(|(_, ended)| ended.usage).unwrap_or_default(),
            records: None,
            renamed: Vec::new(),
        })
    }

    /// Takes a person out of it.
    pub fn without(mut self, user: &UserId) -> Self {
        self.user.take_if(|owner| owner == user);
        self.renamed.iter_mut().for_each(|renamed| drop(renamed.by.take_if(|by| by == user)));
        self
    }
}

impl RunRemoval {
    /// Takes a person out of it; what was said why may name them.
    pub fn without(mut self, user: &UserId, erasure: &RunErasure) -> Self {
        if self.by.as_deref() == Some(user.as_str()) {
            (self.by, self.reason) = (None, None);
        }
        self.evidence = self.evidence.map(|evidence| evidence.without(user));
        self.erased = Some(erasure.clone());
        self
    }

    /// Whether it names a person as who the run belonged to, or who removed or renamed it.
    pub fn names(&self, user: &UserId) -> bool {
        let of = |evidence: &RunEvidence| {
            evidence.user.as_ref() == Some(user) || evidence.renamed.iter().any(|it| it.by.as_ref() == Some(user))
        };
        self.by.as_deref() == Some(user.as_str()) || self.evidence.as_ref().is_some_and(of)
    }
}

/// The history of a run that has ended, stored anew without what is not to be kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptHistory {
    /// The stored records, in order.
    pub entries: Vec<KeptEntry>,
    /// Somebody's data were erased: nothing of the run is to be seen any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erased: Option<RunErasure>,
    /// What the run was, without who it belonged to, if it was erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Box<RunEvidence>>,
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
pub struct RunErasure {
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
pub struct RunCreation {
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
    pub origin: RunOrigin,
    /// The place in a trace that it was started from ([`crate::traces::HEADER`]): whoever takes it up goes on there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// The signature of a gateway ([`crate::signing`]), under the name that every version reads and writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "vouched")]
    pub signature: Option<String>,
}

impl Signable for RunCreation {
    fn signature(&mut self) -> &mut Option<String> {
        &mut self.signature
    }
}

/// Where a run came from, which decides who else must be told about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunOrigin {
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
pub enum EffectOutcome {
    /// A person answered, or did not in time.
    Answer(AnswerRecord),
    /// A model replied.
    Reply(Box<ModelReply>),
    /// It failed.
    Failed {
        /// What kind of failure, for `retry.on` and `error.kind`.
        kind: FailureKind,
        /// In a sentence.
        message: String,
    },
    /// A value: a random choice, a time, the return of another workflow.
    Value(Value),
    /// Nobody had answered a question for a while, which was told.
    Reminded(Box<QuestionReminder>),
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunEnd {
    /// Well or not.
    pub outcome: RunOutcome,
    /// Why, in a sentence, if not well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the workflow returned.
    #[serde(default)]
    pub result: Value,
    /// What it used.
    #[serde(default)]
    pub usage: RunUsage,
    /// The message `workflow_completed`.
    pub message: Message,
}

/// A record and its place in the log.
#[derive(Debug, Clone, PartialEq)]
pub struct LogEntry {
    /// Its sequence.
    pub seq: u64,
    /// When it was stored.
    pub at: Timestamp,
    /// The record.
    pub record: Record,
}

impl Record {
    /// A new record.
    pub fn new(body: RecordBody) -> Self {
        let version = Self::version_of(&body);
        Self { version, id: MessageId::random(), body, asked: None, done: None, claim: None, step: None }
    }

    fn version_of(body: &RecordBody) -> u8 {
        match body {
            RecordBody::Kept(_) => KEPT,
            RecordBody::Did { outcome: EffectOutcome::Reminded(_), .. } => REMINDING,
            _ => ORDINARY,
        }
    }

    /// A new record, with the effect that was finished right before.
    pub fn carrying(done: FinishedEffect, body: RecordBody) -> Self {
        let record = Self::new(body);
        Self { version: record.version.max(CARRYING), done: Some(Box::new(done)), ..record }
    }

    /// A new record, with the claim of the run right before.
    pub fn claiming(claim: FirstClaim, body: RecordBody) -> Self {
        Self { version: CLAIMING, claim: Some(Box::new(claim)), ..Self::new(body) }
    }

    /// Takes the claim that it carries, as a record of its own, if one message cannot hold both, or nobody could read the rest.
    pub fn take_claim_of_pieces(&mut self) -> Option<Self> {
        self.claim.as_ref()?;
        let is_one = self.payloads().is_ok_and(|payloads| payloads.len() == 1);
        if is_one { None } else { self.take_claim() }
    }

    /// Takes the claim that it carries, as a record of its own.
    pub fn take_claim(&mut self) -> Option<Self> {
        let claim = self.claim.take()?;
        self.version = if self.version == CLAIMING { Self::version_of(&self.body) } else { self.version };
        Some(Self::from(*claim))
    }

    /// What happened, step by step: what it carries are records of their own.
    pub fn steps(mut self) -> impl Iterator<Item = Self> {
        let (claim, done) = (self.claim.take(), self.done.take());
        if matches!(self.version, CARRYING | CLAIMING) {
            self.version = Self::version_of(&self.body);
        }
        let id = self.id;
        let carried = claim.map(|claim| Self::from(*claim)).into_iter().chain(done.map(|done| Self::from(*done)));
        carried.zip(1..).map(move |(record, step)| Self { id, step: Some(step), ..record }).chain([self])
    }

    /// The subject that it belongs under.
    pub fn lane(&self) -> RecordLane {
        match &self.body {
            RecordBody::Said { .. } | RecordBody::Ended(_) => RecordLane::Said,
            _ => RecordLane::Did,
        }
    }

    /// The payloads to store, in order: one, or the pieces of a large record. An error: nobody could read it again.
    pub fn payloads(&self) -> Result<Vec<Bytes>, ExceededBound> {
        self.payloads_within(LARGEST_PIECE)
    }

    /// The same for a broker that carries at most `largest` bytes in one message.
    pub fn payloads_within(&self, largest: usize) -> Result<Vec<Bytes>, ExceededBound> {
        let text = serde_json::to_string(self).expect("a record is JSON");
        bounds::check(text.as_bytes(), &bounds::STORED)?;
        if text.len() <= largest {
            return Ok(vec![text.into()]);
        }
        // A piece is a record of its own: something is written around it, and what is quoted grows.
        let pieces = pieces(&text, (largest / 2).saturating_sub(AROUND_PIECE).max(SMALLEST_PIECE));
        let count = pieces.len() as u32;
        let part = |(index, text): (u32, &str)| {
            let part = Record::new(RecordBody::Part { of: self.id, index, count, text: text.to_owned() });
            Bytes::from(serde_json::to_vec(&part).expect("a part is JSON"))
        };
        Ok((0..).zip(pieces).map(part).collect())
    }

    /// The one payload of a record that holds nothing of others.
    pub fn payload(&self) -> Bytes {
        serde_json::to_vec(self).expect("a record is JSON").into()
    }

    /// The message that it shows to people, if it shows one.
    pub fn message(&self) -> Option<&Message> {
        match &self.body {
            RecordBody::Claimed { message, .. } => message.as_ref(),
            RecordBody::Said { message, .. } => Some(message),
            RecordBody::Ended(ended) => Some(&ended.message),
            _ => None,
        }
    }
}

impl From<FirstClaim> for Record {
    fn from(FirstClaim { worker, message }: FirstClaim) -> Self {
        Self::new(RecordBody::Claimed { worker, epoch: 1, message: Some(message) })
    }
}

impl From<FinishedEffect> for Record {
    fn from(FinishedEffect { key, outcome, asked }: FinishedEffect) -> Self {
        Self { asked, ..Self::new(RecordBody::Did { key, outcome }) }
    }
}

/// Whether no piece of a large record comes after this one, by what it says of itself.
pub fn is_last_piece(index: u32, count: u32) -> bool {
    index.checked_add(1).is_none_or(|next| next >= count)
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

/// Makes the message `workflow_started` of a run.
pub fn started_message(run: RunId, created: &RunCreation, description: Option<&str>) -> Message {
    Message {
        uuid: run.derive("workflow_started"),
        sender: Some(WORKFLOW.to_owned()),
        recipient: Some(USER.to_owned()),
        auto_reply: false,
        alias: None,
        within: Vec::new(),
        says: MessageContent::WorkflowStarted {
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
        sender: Some(WORKFLOW.to_owned()),
        recipient: Some(USER.to_owned()),
        auto_reply: false,
        alias: None,
        within: Vec::new(),
        says: MessageContent::WorkflowCompleted { result },
    }
}
