//! Looking for one question of a run, from its last record back: whoever answers one has most often just been asked.

use futures_util::StreamExt;

use crate::broker::Broker;
use crate::clock::Timestamp;
use crate::ids::{MessageId, RunId};
use crate::message::Message;
use crate::protocol::answer::AnswerRecord;
use crate::protocol::log::{EffectOutcome, LogEntry, RecordBody};
use crate::run::assembler::RecordAssembler;
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
