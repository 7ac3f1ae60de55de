//! Where every run stands, as a scan meets it.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use futures_util::StreamExt;

use crate::broker::{Broker, InboxSlot, ScannedItem};
use crate::clock::{self, Timestamp};
use crate::ids::RunId;
use crate::metrics::metrics;
use crate::protocol::log::RecordBody;
use crate::run::assembler::RecordAssembler;
use crate::run::{Result, look};

/// How long a job, a wake or a timer may be under way before it counts as lost.
pub(super) const UNDER_WAY: Duration = Duration::from_secs(20);

/// A run as it was met.
pub(super) struct ObservedRun {
    pub(super) seq: u64,
    pub(super) at: Timestamp,
    pub(super) stand: RunPhase,
    /// The history was stored anew, without what is not to be kept.
    pub(super) kept: bool,
    /// The newest answer or cancel in its inbox.
    pub(super) asked: Option<(u64, Timestamp)>,
    /// There is a key that its passwords are sealed with, or the access token of its caller.
    pub(super) has_secrets: bool,
    /// There is an older record under the other lane.
    pub(super) has_older: bool,
}

/// Where a run stands by its last record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RunPhase {
    Created,
    UnderWay,
    Parked { until: Option<Timestamp> },
    Ended,
    Removed,
}

impl RunPhase {
    fn of(body: &RecordBody) -> Self {
        match body {
            RecordBody::Created(_) => RunPhase::Created,
            RecordBody::Parked { until } => RunPhase::Parked { until: *until },
            RecordBody::Ended(_) => RunPhase::Ended,
            RecordBody::Removed(_) => RunPhase::Removed,
            _ => RunPhase::UnderWay,
        }
    }
}

/// The place of every run.
pub(super) async fn scan(broker: &Broker) -> Result<HashMap<RunId, ObservedRun>> {
    let mut runs: HashMap<RunId, ObservedRun> = HashMap::new();
    let mut inboxes: HashMap<RunId, (u64, Timestamp)> = HashMap::new();
    let mut with_secrets: BTreeSet<RunId> = BTreeSet::new();
    let mut scan = broker.log.scan().await?;
    while let Some(item) = scan.next().await {
        match item? {
            ScannedItem::Record { run, stored } => {
                let mut has_older = false;
                if let Some(met) = runs.get_mut(&run) {
                    if met.seq > stored.seq {
                        met.has_older = true;
                        continue;
                    }
                    has_older = true;
                }
                let mut taken = RecordAssembler::default().look(run, &stored);
                // It may be the last piece of a large record.
                if taken.records.is_empty() && !taken.unreadable.is_empty() {
                    let looked = look(broker, run, 0).await?;
                    // A record that this program cannot read at all is for a newer worker, and so is the run.
                    if looked.unreadable.iter().any(|unread| unread.seq >= stored.seq) {
                        runs.remove(&run);
                        continue;
                    }
                    taken.records = looked.records;
                }
                let placed = taken.records.pop();
                let kept = placed.as_ref().is_some_and(|placed| placed.seq != stored.seq);
                let stand = placed.map_or(RunPhase::UnderWay, |placed| RunPhase::of(&placed.record.body));
                let (seq, at) = (stored.seq, stored.at);
                runs.insert(run, ObservedRun { seq, at, stand, kept, asked: None, has_secrets: false, has_older });
            }
            ScannedItem::Inbox { run, slot: InboxSlot::Key | InboxSlot::CallerToken, .. } => {
                with_secrets.insert(run);
            }
            ScannedItem::Inbox { run, seq, at, .. } => {
                let newest = inboxes.entry(run).or_insert((seq, at));
                *newest = (*newest).max((seq, at));
            }
        }
    }
    for (run, asked) in inboxes {
        if let Some(met) = runs.get_mut(&run) {
            met.asked = Some(asked);
        }
    }
    for run in with_secrets {
        if let Some(met) = runs.get_mut(&run) {
            met.has_secrets = true;
        }
    }
    Ok(runs)
}

/// Shows operators where all runs stand.
pub(super) fn show(runs: &HashMap<RunId, ObservedRun>, now: Timestamp) {
    let mut places = [("created", 0, now), ("under_way", 0, now), ("parked", 0, now), ("ended", 0, now)];
    for met in runs.values() {
        let place = match met.stand {
            RunPhase::Created => 0,
            RunPhase::UnderWay => 1,
            RunPhase::Parked { .. } => 2,
            RunPhase::Ended => 3,
            RunPhase::Removed => continue,
        };
        let (_, count, oldest) = &mut places[place];
        *count += 1;
        *oldest = met.at.min(*oldest);
    }
    metrics().stand(&places.map(|(state, count, oldest)| (state, count, clock::until(oldest, now))));
}
