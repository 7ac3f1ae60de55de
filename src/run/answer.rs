//! Answering a question and cancelling, from outside the run. The inbox takes the first; the loser learns who and when.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bounds::{self, MADE, STORED};
use crate::broker::{Broker, InboxSlot, Job, JobReason, PutOutcome};
use crate::clock::Timestamp;
use crate::ids::{MessageId, Name, RunId, UserId};
use crate::message::late::CountedAnswer;
use crate::message::{MessageContent, check_text_answer};
use crate::protocol::answerers::AnsweringUser;
use crate::protocol::log::RecordBody;
use crate::protocol::queue_name::QueueName;
use crate::protocol::signable::Signable;
use crate::run::writer::{last_did, whole};
use crate::run::{Error, Result};
use crate::signing::{SignedStatement, StatementSigner};

/// What is taken into the inbox: a few levels less than a record may have, as the record that it becomes puts more around it.
const TAKEN: bounds::ValueBounds = bounds::ValueBounds { depth: MADE.depth + 8, ..STORED };

/// What is put into the inbox. What it means is decided by the worker that reads it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubmittedAnswer {
    /// The answer.
    pub answer: AnswerPayload,
    /// Who gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<UserId>,
    /// The groups that they belonged to then, where the question is not for everybody who may answer in the run.
    #[serde(default, skip_serializing_if = "<[String]>::is_empty")]
    pub groups: Box<[String]>,
    /// The signature of a gateway ([`crate::signing`]), under the name that every version reads and writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "vouched")]
    pub signature: Option<String>,
}

impl SubmittedAnswer {
    /// An answer that nobody has signed yet.
    pub fn new(answer: AnswerPayload, by: Option<UserId>) -> Self {
        Self { answer, by, groups: Box::default(), signature: None }
    }

    /// What it says to those who answer the same question later.
    pub fn counted(&self, question: &MessageContent) -> CountedAnswer {
        let value = match &self.answer {
            AnswerPayload::Value(value) => Some(value.clone()),
            AnswerPayload::Text(text) => check_text_answer(question, text).ok().map(|fits| fits.value),
            AnswerPayload::Sealed(_) | AnswerPayload::NotStored | AnswerPayload::TimedOut | AnswerPayload::Cancel => {
                None
            }
        };
        let on_timeout = self.answer == AnswerPayload::TimedOut;
        CountedAnswer { by: self.by.as_ref().map(ToString::to_string), value, on_timeout }
    }

    /// Who gave it.
    pub fn answering(&self) -> AnsweringUser<'_> {
        AnsweringUser { user: self.by.as_ref(), groups: &self.groups }
    }
}

impl Signable for SubmittedAnswer {
    fn signature(&mut self) -> &mut Option<String> {
        &mut self.signature
    }
}

/// An answer on its way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerPayload {
    /// As JSON, checked by the gateway.
    Value(Value),
    /// As bare text from a FastAgency client, unchecked.
    Text(String),
    /// A password, sealed.
    Sealed(String),
    /// A password that was not stored: it was told to the run ([`crate::broker::Inbox::notify`]).
    #[serde(rename = "told")]
    NotStored,
    /// Nobody answered in time: the worker closed the question.
    TimedOut,
    /// The wish to end the run.
    Cancel,
}

/// What came of an answer or a cancel.
#[derive(Debug, Clone, PartialEq)]
pub enum AnswerAcceptance {
    /// It counts.
    Yes,
    /// Somebody was first.
    TakenBy {
        /// What they said; none: it cannot be read.
        first: Option<Box<SubmittedAnswer>>,
        /// When.
        at: Timestamp,
    },
}

/// Answers a question. It counts once this returns [`AnswerAcceptance::Yes`], whether or not a worker lives.
pub async fn answer(
    broker: &Broker,
    workflow: &Name,
    run: RunId,
    question: MessageId,
    given: &SubmittedAnswer,
) -> Result<AnswerAcceptance> {
    put(broker, workflow, run, InboxSlot::Answer(question), given).await
}

/// Ends a run. A second cancel is no error.
pub async fn cancel(
    broker: &Broker,
    workflow: &Name,
    run: RunId,
    by: Option<UserId>,
    gateway_signer: Option<&StatementSigner>,
) -> Result<AnswerAcceptance> {
    let mut given = SubmittedAnswer::new(AnswerPayload::Cancel, by);
    if let Some(gateway_signer) = gateway_signer {
        given = given.signed(gateway_signer, SignedStatement::Cancel(run));
    }
    put(broker, workflow, run, InboxSlot::Cancel, &given).await
}

async fn put(
    broker: &Broker,
    workflow: &Name,
    run: RunId,
    slot: InboxSlot,
    given: &SubmittedAnswer,
) -> Result<AnswerAcceptance> {
    let payload = Bytes::from(serde_json::to_vec(given).expect("an answer is JSON"));
    bounds::check(&payload, &TAKEN).map_err(|source| Error::Unstorable { run, source })?;
    let accepted = match broker.inbox.put(run, slot, payload.clone()).await? {
        PutOutcome::First => AnswerAcceptance::Yes,
        // The same word of the same person: an earlier try, whose acknowledgement was lost.
        PutOutcome::Taken(stored) if stored.payload == payload => AnswerAcceptance::Yes,
        PutOutcome::Taken(stored) => {
            let first = bounds::parse::<SubmittedAnswer>(&stored.payload).ok().map(Box::new);
            AnswerAcceptance::TakenBy { first, at: stored.at }
        }
    };
    // Whoever was first may have died before this.
    if let Err(error) = wake_if_parked(broker, workflow, run).await {
        // It is stored and counts; the run is found by the next scan (`run::sweeper`) if by nobody else.
        tracing::warn!(run.id = %run, "an answer is stored, but its run could not be woken yet: {error}");
    }
    Ok(accepted)
}

/// Queues a run if it is parked. The order matters: the worker parks first and reads the inbox then; here the inbox is
/// written first and the log read then. Whichever is later sees the other. A run that is parked says nothing until it is woken.
/// What was heard of a log may be a moment old; for as long as that its worker listens to a run that it has parked.
pub async fn wake_if_parked(broker: &Broker, workflow: &Name, run: RunId) -> Result<()> {
    if let Some(last) = broker.log.heard(run).and_then(|records| whole(run, records.last()?))
        && !matches!(last.record.body, RecordBody::Parked { .. })
    {
        return Ok(());
    }
    if let Some(last) = last_did(broker, run).await?
        && let RecordBody::Parked { .. } = last.record.body
    {
        let job = Job { run, reason: JobReason::Wake };
        broker.queue.enqueue(&QueueName::Workflow(workflow.clone()), &job, &format!("{run}.wake.{}", last.seq)).await?;
    }
    Ok(())
}
