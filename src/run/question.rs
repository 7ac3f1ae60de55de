//! Looking for one question of a run, from its last record back: whoever answers one has most often just been asked.

use futures_util::StreamExt;

use crate::broker::{Broker, StoredRecord};
use crate::clock::Timestamp;
use crate::ids::{MessageId, RunId};
use crate::message::Message;
use crate::protocol::answer::AnswerRecord;
use crate::protocol::log::{EffectOutcome, LogEntry, RecordBody, RunCreation};
use crate::run::assembler::RecordAssembler;
use crate::run::writer::whole;
use crate::run::{Result, look};

/// A question that a run has asked.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundQuestion {
    /// The question.
    pub message: Message,
    /// Its answer, and since when the log has it.
    pub answered: Option<(AnswerRecord, Timestamp)>,
    /// The run has ended.
    pub ended: bool,
    /// How many of its escalations the log has.
    pub escalated: usize,
}

/// How a run began, and one of its questions.
pub struct AskedRun {
    /// How it began; none: there is no such run any more.
    pub created: Option<RunCreation>,
    /// The question; none: the run has asked no such thing.
    pub question: Option<FoundQuestion>,
}

/// Finds a question and how its run began, without reading a long log for it.
pub async fn look_for(broker: &Broker, run: RunId, question: MessageId) -> Result<AskedRun> {
    if let Some(known) = broker.log.heard(run).and_then(|records| among(run, &records, question)) {
        return Ok(known);
    }
    let (created, question) = tokio::try_join!(crate::run::created(broker, run), find(broker, run, question))?;
    Ok(AskedRun { created, question })
}

/// The same among records that were heard; none if the question is not there (yet).
fn among(run: RunId, records: &[StoredRecord], question: MessageId) -> Option<AskedRun> {
    let RecordBody::Created(created) = whole(run, records.first()?)?.record.body else { return None };
    let mut looking = QuestionSearch::default();
    for stored in records.iter().rev() {
        let taken = RecordAssembler::default().take(run, stored).ok()?;
        if taken.anew || taken.records.is_empty() {
            return None;
        }
        if let Some(found) = looking.through(taken.records, question) {
            return Some(AskedRun { created: Some(created), question: Some(found) });
        }
    }
    None
}

/// Finds a question; none: the run has asked no such thing, or is not there.
pub async fn find(broker: &Broker, run: RunId, question: MessageId) -> Result<Option<FoundQuestion>> {
    let mut looking = QuestionSearch::default();
    let mut back = broker.log.read_backwards(run);
    while let Some(stored) = back.next().await {
        // A piece of a large record can only be read with those before it.
        let Ok(taken) = RecordAssembler::default().take(run, &stored?) else { break };
        if taken.records.is_empty() {
            break;
        }
        let is_all = taken.anew;
        if let Some(found) = looking.through(taken.records, question) {
            return Ok(Some(found));
        }
        // What came before a tombstone may be there still, for nobody.
        if is_all {
            return Ok(None);
        }
    }
    Ok(QuestionSearch::default().through(look(broker, run, 0).await?.records, question))
}

/// What was met before the question.
#[derive(Default)]
struct QuestionSearch {
    answered: Option<(AnswerRecord, Timestamp)>,
    ended: bool,
    escalated: usize,
}

impl QuestionSearch {
    fn through(&mut self, records: Vec<LogEntry>, question: MessageId) -> Option<FoundQuestion> {
        for LogEntry { at, record, .. } in records.into_iter().rev() {
            match record.body {
                RecordBody::Said { message, .. } if message.uuid == question && message.says.asks() => {
                    let (answered, ended, escalated) = (self.answered.take(), self.ended, self.escalated);
                    return Some(FoundQuestion { message, answered, ended, escalated });
                }
                RecordBody::Did { outcome: EffectOutcome::Answer(answered), .. } if answered.question == question => {
                    self.answered = Some((answered, at));
                }
                RecordBody::Did { outcome: EffectOutcome::Reminded(reminder), .. } if reminder.question == question => {
                    // From the last record back: the first that is met knows of all.
                    self.escalated = self.escalated.max(reminder.escalated);
                }
                RecordBody::Ended(_) => self.ended = true,
                _ => {}
            }
        }
        None
    }
}
