//! Everything that is known of a run: the records of its log, and what lies beside it (renames, that it was redacted).

use super::event::{event, redacted, renamed, unreadable};
use crate::broker::Broker;
use crate::clock::Timestamp;
use crate::ids::RunId;
use crate::protocol::api::AuditEventView;
use crate::protocol::log::LogEntry;
use crate::redact::Redactor;
use crate::run::Result;
use crate::run::assembler::{RecordAssembler, UnreadableRecord};
use crate::run::summary::{self, RunSummary};

/// What is known of a run.
pub struct RunHistory {
    run: RunId,
    /// The records of its log, as far as they can be read.
    pub records: Vec<LogEntry>,
    /// What of it cannot be read.
    pub unreadable: Vec<UnreadableRecord>,
    /// What lies beside them, as events, with the time of each.
    beside: Vec<(Timestamp, AuditEventView)>,
}

/// Reads what is known of a run. A run that is not there has no records.
pub async fn history(broker: &Broker, run: RunId, redactor: &Redactor) -> Result<RunHistory> {
    let mut assembler = RecordAssembler::default();
    let mut records = Vec::new();
    let mut unread = Vec::new();
    let mut beside = Vec::new();
    for stored in broker.log.read(run, 0).await? {
        let taken = assembler.look(run, &stored);
        if taken.anew {
            records.clear();
            unread.clear();
            // One that was erased says so itself.
            if taken.records.first().is_some_and(|first| first.seq < stored.seq) {
                beside.push((stored.at, redacted(run, stored.seq, stored.at)));
            }
        }
        records.extend(taken.records);
        unread.extend(taken.unreadable);
    }
    let user = RunSummary::of(run, &records).user;
    let renames = summary::renames(broker, user.as_ref(), run).await?;
    beside.extend(renames.iter().map(|rename| (rename.renamed.at, renamed(run, rename, redactor))));
    beside.sort_by_key(|(at, _)| *at);
    Ok(RunHistory { run, records, unreadable: unread, beside })
}

impl RunHistory {
    /// Nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.unreadable.is_empty()
    }

    /// All events in the order of their times. `tell` makes one of a record.
    pub fn events(&self, mut tell: impl FnMut(&LogEntry) -> AuditEventView) -> Vec<AuditEventView> {
        let mut events = Vec::with_capacity(self.records.len() + self.unreadable.len() + self.beside.len());
        let mut beside = self.beside.iter().peekable();
        let mut unread = self.unreadable.iter().peekable();
        for placed in &self.records {
            // Of one that is too deep, what can be read of it comes after that.
            while let Some(unread) = unread.next_if(|unread| unread.seq <= placed.seq) {
                events.push(unreadable(self.run, unread));
            }
            // Our own clock knows milliseconds, NATS' nanoseconds: of the same millisecond the record is the first.
            while let Some((_, event)) = beside.next_if(|(at, _)| at.as_millisecond() < placed.at.as_millisecond()) {
                events.push(event.clone());
            }
            events.push(tell(placed));
        }
        events.extend(unread.map(|unread| unreadable(self.run, unread)));
        events.extend(beside.map(|(_, event)| event.clone()));
        events
    }

    /// All events, redacted, as an export has them.
    pub fn told(&self, redactor: &Redactor) -> Vec<AuditEventView> {
        self.events(|placed| event(self.run, placed, redactor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::log::{Record, RecordBody};

    #[test]
    fn what_lies_beside_a_record_of_the_same_millisecond_comes_after_it() {
        let record = Record::new(RecordBody::Parked { until: None });
        let placed = LogEntry { seq: 1, at: "2026-01-01T00:00:00.001000900Z".parse().unwrap(), record };
        let (run, at) = (RunId::random(), "2026-01-01T00:00:00.001Z".parse().unwrap());
        let (beside, told) = (redacted(run, 2, at), event(run, &placed, &Redactor::default()));
        let history =
            RunHistory { run, records: vec![placed], unreadable: Vec::new(), beside: vec![(at, beside.clone())] };
        assert_eq!(history.told(&Redactor::default()), [told, beside]);
    }
}
