//! All runs that there are, for whoever must account for them.

use std::collections::HashMap;

use futures_util::StreamExt;

use crate::broker::{Broker, Sighting};
use crate::ids::RunId;
use crate::run::record::Body;
use crate::run::summary::{Summary, list_all};
use crate::run::{self, Result};

/// Every run in a few words. Lists come a moment after the logs, and a line is lost with a worker that dies before it writes
/// it; here the logs count, as far as they can be read. What it says is not redacted.
pub async fn every_run(broker: &Broker) -> Result<Vec<Summary>> {
    let mut runs: HashMap<RunId, Summary> = list_all(broker).await?.into_iter().map(|run| (run.id, run)).collect();
    let mut last: HashMap<RunId, u64> = HashMap::new();
    let mut tour = broker.log.survey().await?;
    while let Some(sighting) = tour.next().await {
        if let Sighting::Record { run, stored } = sighting? {
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
                let tombstone = looked.records.first().is_some_and(|first| matches!(first.record.body, Body::Removed));
                // Of a removed one there is only a tombstone. How one began may be what cannot be read.
                if looked.created().is_some() || (!tombstone && !looked.unreadable.is_empty()) {
                    let mut summary = Summary::of(run, &looked.records);
                    if let (None, Some(unread)) = (looked.created(), looked.unreadable.first()) {
                        summary.created_at = unread.at;
                    }
                    runs.insert(run, summary);
                }
            }
        }
    }
    Ok(runs.into_values().collect())
}
