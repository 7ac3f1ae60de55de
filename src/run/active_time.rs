//! How long a run has been at work, by its log alone, so that it is the same after a restart. What is left out: the time in
//! which it waits for a person, in which it waits for a worker, and in which its worker was gone. A `wait` counts: the
//! workflow wants it.

use std::collections::HashSet;
use std::time::Duration;

use crate::clock::{self, Timestamp};
use crate::ids::MessageId;
use crate::protocol::log::{EffectOutcome, LogEntry, RecordBody};

/// The time that a run has spent at work, kept as its records come.
#[derive(Debug, Clone, Default)]
pub struct ActiveTime {
    so_far: Duration,
    /// Since the last record.
    since: Option<Timestamp>,
    doing: RunActivity,
    /// Questions that nobody has answered.
    open: HashSet<MessageId>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum RunActivity {
    /// It waits for a worker, or is over.
    #[default]
    Nothing,
    /// A worker is at it.
    Working,
    /// It left memory, to wait until then.
    Parked(Timestamp),
}

impl ActiveTime {
    /// What a run with these records has spent.
    pub fn of(records: &[LogEntry]) -> Self {
        let mut spent = Self::default();
        records.iter().for_each(|placed| spent.apply(placed));
        spent
    }

    /// Takes the next record in.
    pub fn apply(&mut self, placed: &LogEntry) {
        let at = placed.at;
        self.so_far += self.between_records(at, matches!(placed.record.body, RecordBody::Claimed { .. }));
        self.since = Some(at);
        match &placed.record.body {
            RecordBody::Claimed { .. } => self.doing = RunActivity::Working,
            RecordBody::Said { message, .. } if message.says.asks() => drop(self.open.insert(message.uuid)),
            RecordBody::Did { outcome: EffectOutcome::Answer(answered), .. } => {
                let _ = self.open.remove(&answered.question);
            }
            RecordBody::Parked { until: Some(until) } => self.doing = RunActivity::Parked(*until),
            RecordBody::Parked { until: None } | RecordBody::Ended(_) | RecordBody::Removed(_) => {
                self.doing = RunActivity::Nothing
            }
            RecordBody::Created(_)
            | RecordBody::Said { .. }
            | RecordBody::Did { .. }
            | RecordBody::Calling { .. }
            | RecordBody::Part { .. }
            | RecordBody::Kept(_) => {}
        }
    }

    /// What it has spent until now, while a worker is at it.
    pub fn until(&self, now: Timestamp) -> Duration {
        self.so_far + self.between_records(now, false)
    }

    /// What of the time since the last record counts, if the next one comes now; `taken`: a worker takes the run with it.
    fn between_records(&self, now: Timestamp, taken: bool) -> Duration {
        let Some(since) = self.since.filter(|_| self.open.is_empty()) else { return Duration::ZERO };
        match self.doing {
            RunActivity::Nothing => Duration::ZERO,
            // Whoever was at it is gone, nobody knows since when.
            RunActivity::Working if taken => Duration::ZERO,
            RunActivity::Working => clock::until(since, now),
            RunActivity::Parked(until) => clock::until(since, now.min(until)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{RunId, WorkerId};
    use crate::message::{AnswerDeadline, Message, MessageContent, TextInput, TextValue};
    use crate::protocol::answer::{AnswerOutcome, AnswerRecord};
    use crate::protocol::log::{Record, completed_message};
    use serde_json::json;

    fn at(second: u64) -> Timestamp {
        clock::after(Timestamp::UNIX_EPOCH, Duration::from_secs(second))
    }

    fn spent(records: Vec<(u64, RecordBody)>, now: u64) -> u64 {
        let placed = |(second, body)| LogEntry { seq: 0, at: at(second), record: Record::new(body) };
        let records: Vec<LogEntry> = records.into_iter().map(placed).collect();
        ActiveTime::of(&records).until(at(now)).as_secs()
    }

    fn claimed() -> RecordBody {
        RecordBody::Claimed { worker: WorkerId::random(), epoch: 1, message: None }
    }

    fn did() -> RecordBody {
        RecordBody::Did { key: "k".into(), outcome: EffectOutcome::Value(json!(1)) }
    }

    fn parked(until: Option<u64>) -> RecordBody {
        RecordBody::Parked { until: until.map(at) }
    }

    fn asked(message: &Message) -> RecordBody {
        RecordBody::Said { key: "q".into(), message: message.clone() }
    }

    fn answered(message: &Message) -> RecordBody {
        let outcome = AnswerOutcome::Given(json!("x").into());
        let answered = AnswerRecord { question: message.uuid, by: None, outcome };
        RecordBody::Did { key: "q/answer".into(), outcome: EffectOutcome::Answer(answered) }
    }

    fn question() -> Message {
        let mut message = completed_message(RunId::random(), json!(null));
        message.uuid = MessageId::random();
        message.says = MessageContent::TextInput(TextInput {
            prompt: Some("?".to_owned()),
            suggestions: Vec::new(),
            suggestions_fill: false,
            password: false,
            multiline: false,
            pattern: None,
            value_type: TextValue::default(),
            in_short: None,
            answerers: None,
            deadline: AnswerDeadline::default(),
        });
        message
    }

    #[test]
    fn work_counts_and_waiting_for_people_or_workers_does_not() {
        assert_eq!(spent(vec![], 100), 0);
        assert_eq!(spent(vec![(10, claimed()), (15, did())], 18), 8);
        let question = question();
        let life = vec![
            (10, claimed()),
            (12, asked(&question)),
            (70, parked(None)),
            (1000, claimed()),
            (1001, answered(&question)),
            (1005, did()),
        ];
        assert_eq!(spent(life.clone(), 1006), 2 + 5);
        assert_eq!(spent(life[..2].to_vec(), 60), 2, "while it waits, nothing is spent");
    }

    #[test]
    fn a_wait_counts_as_long_as_it_was_meant_to_take() {
        let waits =
            |until: u64, back: u64| spent(vec![(0, claimed()), (60, parked(Some(until))), (back, claimed())], back + 1);
        assert_eq!(waits(600, 601), 600 + 1);
        assert_eq!(waits(600, 5000), 600 + 1, "not how long no worker was there");
        assert_eq!(waits(60, 5000), 60 + 1, "handed back");
        assert_eq!(waits(600, 300), 300 + 1);
    }

    #[test]
    fn the_time_after_a_crash_is_not_counted() {
        assert_eq!(spent(vec![(0, claimed()), (5, did()), (9000, claimed())], 9010), 5 + 10);
    }
}
