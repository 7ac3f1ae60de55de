//! All runs that there are, for whoever must account for them.

use std::collections::HashMap;

use futures_util::StreamExt;

use super::select::{RunSelection, RunStatus};
use crate::broker::{Broker, ScannedItem, StoredRecord};
use crate::ids::RunId;
use crate::protocol::log::RecordBody;
use crate::run::assembler::RecordAssembler;
use crate::run::summary::{RunSummary, list_all, list_all_and_removed};
use crate::run::{self, Result};

/// Every run in a few words. Lists come a moment after the logs, and a line is lost with a worker that dies before it writes
/// it; here the logs count, as far as they can be read. What it says is not redacted.
pub async fn every_run(broker: &Broker) -> Result<Vec<RunSummary>> {
    let mut runs: HashMap<RunId, RunSummary> = list_all(broker).await?.into_iter().map(|run| (run.id, run)).collect();
    let mut last: HashMap<RunId, u64> = HashMap::new();
    let mut scan = broker.log.scan().await?;
    while let Some(item) = scan.next().await {
        if let ScannedItem::Record { run, stored } = item? {
            // There may be many tombstones; each says all that there is.
            if let Some(removed) = removed(run, &stored) {
                last.remove(&run);
                runs.insert(run, removed);
                continue;
            }
            if runs.get(&run).is_some_and(|known| known.removed.is_some() && known.seq > stored.seq) {
                continue;
            }
            let seen = last.entry(run).or_default();
            *seen = stored.seq.max(*seen);
        }
    }
    for (run, seq) in last {
        match runs.get_mut(&run) {
            Some(summary) if summary.seq < seq => {
                let news = run::look(broker, run, summary.seq).await?;
                news.records.iter().for_each(|placed| summary.apply(placed));
            }
            Some(_) => {}
            None => {
                let looked = run::look(broker, run, 0).await?;
                let first = looked.records.first().map(|first| &first.record.body);
                let removed = matches!(first, Some(RecordBody::Removed(_)));
                // How one began may be what cannot be read.
                if looked.created().is_some() || removed || !looked.unreadable.is_empty() {
                    let mut summary = RunSummary::of(run, &looked.records);
                    if let (None, false, Some(unread)) = (looked.created(), removed, looked.unreadable.first()) {
                        summary.created_at = unread.at;
                    }
                    runs.insert(run, summary);
                }
            }
        }
    }
    Ok(runs.into_values().collect())
}

/// The runs that are meant, as lists have them: with those that people have removed or erased. Those that a rule has removed
/// are shown to who asks for removed ones.
pub async fn listed(broker: &Broker, selection: &RunSelection) -> Result<Vec<RunSummary>> {
    if selection.state == Some(RunStatus::Removed) {
        every_run(broker).await
    } else {
        list_all_and_removed(broker).await
    }
}

/// What a tombstone tells of its run; none: it is another record.
fn removed(run: RunId, stored: &StoredRecord) -> Option<RunSummary> {
    let taken = RecordAssembler::default().look(run, stored);
    let [only] = taken.records.as_slice() else { return None };
    let RecordBody::Removed(removal) = &only.record.body else { return None };
    // A program before left nothing in it.
    (removal.evidence.is_some() || removal.erased.is_some()).then(|| RunSummary::of(run, &taken.records))
}
