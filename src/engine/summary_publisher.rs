//! Keeps the bucket of run summaries up to date without a write for every record: the newest summary of each run is put
//! down a moment later, many at once. Losing one costs a stale line in a list until the run's next record. What says that a run has
//! ended does not wait: nothing comes after it that could be put down with it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::Notify;
use tokio::time::Sleep;

use crate::broker::Broker;
use crate::ids::RunId;
use crate::lifecycle::Shutdown;
use crate::redact::Redactor;
use crate::run::summary::{RunOfUser, RunState, RunSummary, forget_older, take_back_removed};

/// How long a summary may be late.
const DELAY: Duration = Duration::from_millis(250);
/// So many runs are looked for again after a look that failed. A line that stays is taken away by the tour.
const MOST_UNLOOKED: usize = 10_000;
/// Writes under way at once.
const AT_ONCE: usize = 64;

/// The summaries that are to be put down.
#[derive(Default)]
pub struct SummaryPublisher {
    /// Each with whether what its line was before is to be overwritten.
    waiting: Mutex<HashMap<RunId, (RunSummary, bool)>>,
    something: Notify,
    /// A run has ended.
    end: Notify,
    /// Runs that ended, whose lines were put down since it was looked whether they are removed. One look is for many.
    unlooked: Mutex<Vec<RunOfUser>>,
    finished: AtomicBool,
    redactor: Redactor,
}

impl SummaryPublisher {
    /// One for summaries of records that are redacted so.
    pub fn new(redactor: Redactor) -> Self {
        Self { redactor, ..Self::default() }
    }

    /// What is taken out of records before they are summed up.
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// Takes a run's newest summary. `forget_older`: what its line was before is to be overwritten.
    pub fn put(&self, summary: &RunSummary, forget_older: bool) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let first = waiting.is_empty();
        match waiting.entry(summary.id) {
            Entry::Vacant(place) => drop(place.insert((summary.clone(), forget_older))),
            Entry::Occupied(mut place) => {
                let (newest, forget) = place.get_mut();
                *newest = summary.clone();
                *forget |= forget_older;
            }
        }
        if first {
            self.something.notify_one();
        }
        if summary.state == RunState::Ended {
            self.end.notify_one();
        }
    }

    fn take(&self, which: impl Fn(&RunSummary) -> bool) -> Vec<(RunSummary, bool)> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.extract_if(|_, (summary, _)| which(summary)).map(|(_, waiting)| waiting).collect()
    }

    /// Puts summaries down until the end, or until it is finished. To be waited for: what it has taken is nowhere else.
    pub async fn serve(&self, broker: &Broker, shutdown: &Shutdown) {
        while !self.finished.load(Ordering::Relaxed) {
            tokio::select! {
                () = self.something.notified() => {}
                () = shutdown.hard() => return self.flush(broker).await,
            }
            if !self.finished.load(Ordering::Relaxed) {
                self.publish_ends(broker, tokio::time::sleep(DELAY)).await;
            }
            self.flush(broker).await;
        }
    }

    /// Puts down what says that runs have ended, until the delay of the others is over.
    async fn publish_ends(&self, broker: &Broker, delay: Sleep) {
        tokio::pin!(delay);
        loop {
            tokio::select! {
                () = &mut delay => return,
                () = self.end.notified() => {
                    self.publish(broker, self.take(|summary| summary.state == RunState::Ended)).await;
                }
            }
        }
    }

    /// Lets [`SummaryPublisher::serve`] return when it has put down what there is.
    pub fn finish(&self) {
        self.finished.store(true, Ordering::Relaxed);
        self.something.notify_one();
    }

    /// Puts down what is waiting.
    pub async fn flush(&self, broker: &Broker) {
        self.publish(broker, self.take(|_| true)).await;
        let ended = std::mem::take(&mut *self.unlooked.lock().unwrap_or_else(PoisonError::into_inner));
        if !ended.is_empty()
            && let Err(error) = take_back_removed(broker, &ended).await
        {
            tracing::debug!("it is looked again whether runs that have ended were removed: {error}");
            let mut unlooked = self.unlooked.lock().unwrap_or_else(PoisonError::into_inner);
            unlooked.extend(ended.into_iter().take(MOST_UNLOOKED));
        }
    }

    async fn publish(&self, broker: &Broker, summaries: Vec<(RunSummary, bool)>) {
        futures_util::stream::iter(summaries)
            .for_each_concurrent(AT_ONCE, |(summary, forget)| async move {
                let put = async {
                    summary.put_line(broker).await?;
                    if summary.state == RunState::Ended {
                        let mut unlooked = self.unlooked.lock().unwrap_or_else(PoisonError::into_inner);
                        unlooked.push(summary.of_user());
                    }
                    if forget { forget_older(broker, summary.user.as_ref(), summary.id).await } else { Ok(()) }
                };
                if let Err(error) = put.await {
                    tracing::debug!(run.id = %summary.id, "the run's summary was not put down: {error}");
                }
            })
            .await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use async_trait::async_trait;
    use bytes::Bytes;
    use futures_util::stream::BoxStream;

    use super::*;
    use crate::broker::{Bucket, Catalogue, CatalogueEntry, Result, embedded};
    use crate::protocol::log::{Record, RecordBody, RunOutcome};
    use crate::run::summary::list_all;

    /// Shelves on which to put something takes a while.
    struct SlowCatalogue(Arc<dyn Catalogue>);

    #[async_trait]
    impl Catalogue for SlowCatalogue {
        async fn put(&self, bucket: Bucket, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<()> {
            tokio::time::sleep(Duration::from_millis(20)).await;
            self.0.put(bucket, key, value, ttl).await
        }
        async fn put_first(&self, bucket: Bucket, key: &str, value: Bytes) -> Result<Bytes> {
            self.0.put_first(bucket, key, value).await
        }
        async fn get(&self, bucket: Bucket, key: &str) -> Result<Option<Bytes>> {
            self.0.get(bucket, key).await
        }
        async fn get_to_change(&self, bucket: Bucket, key: &str) -> Result<(Option<Bytes>, u64)> {
            self.0.get_to_change(bucket, key).await
        }
        async fn put_over(
            &self,
            bucket: Bucket,
            key: &str,
            value: Bytes,
            revision: u64,
            ttl: Option<Duration>,
        ) -> Result<()> {
            self.0.put_over(bucket, key, value, revision, ttl).await
        }
        async fn list(&self, bucket: Bucket, first: Option<&str>) -> Result<Vec<CatalogueEntry>> {
            self.0.list(bucket, first).await
        }
        async fn delete(&self, bucket: Bucket, key: &str) -> Result<()> {
            self.0.delete(bucket, key).await
        }
        async fn watch(&self, bucket: Bucket) -> Result<BoxStream<'static, ()>> {
            self.0.watch(bucket).await
        }
    }

    #[tokio::test]
    async fn an_end_is_put_down_at_once_and_what_goes_on_waits() {
        const LATER: Duration = Duration::from_secs(3600);
        let folder = tempfile::tempdir().unwrap();
        let broker = embedded::open(folder.path()).unwrap();
        let publisher = SummaryPublisher::default();
        let (going_on, mut over) = (RunSummary::new(RunId::random()), RunSummary::new(RunId::random()));
        publisher.put(&going_on, false);
        publisher.put(&over, false);
        over.end(RunOutcome::Completed, None);
        publisher.put(&over, false);
        let listed = async {
            while list_all(&broker).await.unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = publisher.publish_ends(&broker, tokio::time::sleep(LATER)) => panic!("the others have waited long"),
            () = listed => {}
        }
        assert_eq!(list_all(&broker).await.unwrap(), [over]);
        publisher.flush(&broker).await;
        assert_eq!(list_all(&broker).await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn what_is_being_put_down_when_the_end_comes_is_put_down() {
        const MANY: usize = 3 * AT_ONCE;
        let folder = tempfile::tempdir().unwrap();
        let mut broker = embedded::open(folder.path()).unwrap();
        broker.catalogue = Arc::new(SlowCatalogue(broker.catalogue.clone()));
        let (summary_publisher, shutdown) = (SummaryPublisher::default(), Shutdown::default());
        (0..MANY).for_each(|_| summary_publisher.put(&RunSummary::new(RunId::random()), false));
        let in_the_middle = async {
            while !summary_publisher.waiting.lock().unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
            summary_publisher.finish();
        };
        tokio::join!(summary_publisher.serve(&broker, &shutdown), in_the_middle);
        assert_eq!(list_all(&broker).await.unwrap().len(), MANY);
    }

    #[tokio::test]
    async fn the_lines_of_runs_that_were_removed_meanwhile_are_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let broker = embedded::open(folder.path()).unwrap();
        let publisher = SummaryPublisher::default();
        let ended: Vec<RunSummary> = (0..5)
            .map(|_| {
                let mut ended = RunSummary::new(RunId::random());
                ended.end(RunOutcome::Completed, None);
                ended
            })
            .collect();
        for (number, summary) in ended.iter().enumerate() {
            if number % 2 == 0 {
                let tombstone = Record::new(RecordBody::Removed(Box::default())).payload();
                broker.log.append_tombstone(summary.id, tombstone, Duration::from_secs(3600)).await.unwrap();
            }
            publisher.put(summary, false);
        }
        publisher.flush(&broker).await;
        let listed: HashSet<RunId> = list_all(&broker).await.unwrap().iter().map(|summary| summary.id).collect();
        assert_eq!(listed, HashSet::from([ended[1].id, ended[3].id]));
    }
}
