//! Keeps the shelf of run summaries up to date without a write for every record: the newest summary of each run is put
//! down a moment later, many at once. Losing one costs a stale line in a list until the run's next record.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::Notify;

use crate::broker::Broker;
use crate::ids::RunId;
use crate::lifecycle::Shutdown;
use crate::redact::Redactor;
use crate::run::summary::Summary;

/// How long a summary may be late.
const DELAY: Duration = Duration::from_millis(250);
/// Writes under way at once.
const AT_ONCE: usize = 64;

/// The summaries that are to be put down.
#[derive(Default)]
pub struct Shelver {
    waiting: Mutex<HashMap<RunId, Summary>>,
    something: Notify,
    redactor: Redactor,
}

impl Shelver {
    /// One for summaries of records that are redacted so.
    pub fn new(redactor: Redactor) -> Self {
        Self { redactor, ..Self::default() }
    }

    /// What is taken out of records before they are summed up.
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// Takes a run's newest summary.
    pub fn put(&self, summary: &Summary) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let first = waiting.is_empty();
        waiting.insert(summary.id, summary.clone());
        if first {
            self.something.notify_one();
        }
    }

    fn take(&self) -> Vec<Summary> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.drain().map(|(_, summary)| summary).collect()
    }

    /// Puts summaries down until the end, and the last ones after it has begun.
    pub async fn serve(&self, broker: &Broker, shutdown: &Shutdown) {
        loop {
            tokio::select! {
                () = self.something.notified() => {}
                () = shutdown.hard() => return self.flush(broker).await,
            }
            tokio::time::sleep(DELAY).await;
            self.flush(broker).await;
        }
    }

    /// Puts down what is waiting.
    pub async fn flush(&self, broker: &Broker) {
        futures_util::stream::iter(self.take())
            .for_each_concurrent(AT_ONCE, |summary| async move {
                if let Err(error) = summary.shelve(broker).await {
                    tracing::debug!(run.id = %summary.id, "the run's summary was not put down: {error}");
                }
            })
            .await;
    }
}
