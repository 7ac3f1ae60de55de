//! One subscription for many runs. What comes is given to whoever hears its run; to add or to drop one of those costs the server nothing.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use async_nats::Message;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::follow::{self, MOST_UNREAD};
use super::monitor::LeaderElections;
use super::server::NatsConnection;
use crate::broker::Result;
use crate::ids::RunId;

/// What comes over the subscription.
pub(super) enum MultiplexedUpdate<T> {
    /// Something about a run.
    Of(RunId, T),
    /// Something may have been missed, of any run.
    Gap,
}

/// How messages become updates of runs.
pub(super) struct UpdateReader<T> {
    /// Reads a message. What it cannot read at all is `None`, and counts as a gap.
    pub(super) read: fn(Message) -> Option<MultiplexedUpdate<T>>,
    /// Tells a hearer that something may have been missed.
    pub(super) gap: fn() -> T,
}

/// Whoever is told of each message before those who hear its run are.
pub(super) trait UpdateObserver<T>: Send + Sync {
    /// A message came.
    fn saw(&self, run: RunId, update: &T);
    /// Something may have been missed, of any run.
    fn missed(&self);
}

/// After how many messages it is judged whether the subscription is worth while.
const JUDGED_AFTER: u64 = 1024;
/// Where fewer than one message in so many is for somebody here, a subscription for each run costs less.
const WORTHWHILE: u64 = 8;
/// How long it is done without then.
const DONE_WITHOUT: Duration = Duration::from_secs(60);

/// One subscription, and who hears what comes.
pub(super) struct RunMultiplexer<T> {
    subject: String,
    reader: UpdateReader<T>,
    observer: Option<Arc<dyn UpdateObserver<T>>>,
    hearers: Mutex<Hearers<T>>,
    /// There is a subscription; the task that reads it ends when this is dropped.
    subscription: tokio::sync::Mutex<Option<watch::Sender<()>>>,
}

struct Hearers<T> {
    by_run: HashMap<RunId, Vec<Arc<UpdateQueue<T>>>>,
    /// Messages that came since it was judged last, and those of them that were for somebody.
    came: u64,
    heard: u64,
    /// It is not worth while until then.
    without_until: Option<Instant>,
    /// There is a subscription.
    is_open: bool,
}

impl<T: Clone + Send + 'static> RunMultiplexer<T> {
    /// One that subscribes to the subject as soon as somebody hears a run. The observer is told of every message.
    pub(super) fn new(
        subject: String,
        reader: UpdateReader<T>,
        observer: Option<Arc<dyn UpdateObserver<T>>>,
    ) -> Arc<Self> {
        let hearers = Hearers { by_run: HashMap::new(), came: 0, heard: 0, without_until: None, is_open: false };
        let (hearers, subscription) = (Mutex::new(hearers), tokio::sync::Mutex::default());
        Arc::new(Self { subject, reader, observer, hearers, subscription })
    }

    /// Hears a run from now on: what the server publishes after this returned is heard, or a gap is. `None`: too much comes here that
    /// is for others; whoever hears the run should subscribe to it alone.
    pub(super) async fn hear(
        self: &Arc<Self>,
        server: &NatsConnection,
        doing: &str,
        run: RunId,
    ) -> Result<Option<BoxStream<'static, T>>> {
        if self.hearers.lock().without_until.is_some_and(|until| Instant::now() < until) {
            return Ok(None);
        }
        // Held until the run is among those that are heard: till then nobody gives the subscription up.
        let mut subscription = self.subscription.lock().await;
        self.begin(&mut subscription, server, doing).await?;
        let queue = Arc::new(UpdateQueue::default());
        self.hearers.lock().by_run.entry(run).or_default().push(queue.clone());
        drop(subscription);
        Ok(Some(HeardRun { multiplexer: self.clone(), run, queue }.boxed()))
    }

    /// Whether there is a subscription.
    pub(super) fn is_open(&self) -> bool {
        self.hearers.lock().is_open
    }

    /// Makes the subscription, if there is none.
    async fn begin(
        self: &Arc<Self>,
        subscription: &mut Option<watch::Sender<()>>,
        server: &NatsConnection,
        doing: &str,
    ) -> Result<()> {
        if subscription.is_some() {
            return Ok(());
        }
        let (subject, read) = (self.subject.clone(), self.reader.read);
        let mut updates =
            follow::hear(server, doing, subject, LeaderElections::of_runs, read, || MultiplexedUpdate::Gap).await?;
        self.hearers.lock().is_open = true;
        let (held, mut dropped) = watch::channel(());
        let multiplexer = Arc::downgrade(self);
        #[expect(clippy::disallowed_methods, reason = "it holds nothing, and ends when nobody can hear any more")]
        tokio::spawn(async move {
            loop {
                let update = tokio::select! {
                    biased;
                    _ = dropped.changed() => return,
                    update = updates.next() => update,
                };
                let (Some(update), Some(multiplexer)) = (update, multiplexer.upgrade()) else { return };
                match update {
                    MultiplexedUpdate::Of(run, update) => multiplexer.tell(run, &update),
                    MultiplexedUpdate::Gap => multiplexer.missed(),
                }
            }
        });
        *subscription = Some(held);
        Ok(())
    }

    fn tell(&self, run: RunId, update: &T) {
        let mut hearers = self.hearers.lock();
        if !hearers.is_open {
            // The last of a subscription that was given up.
            return;
        }
        if let Some(observer) = &self.observer {
            observer.saw(run, update);
        }
        hearers.came += 1;
        if let Some(queues) = hearers.by_run.get(&run) {
            queues.iter().for_each(|queue| queue.push(update));
            hearers.heard += 1;
        }
        if hearers.came >= JUDGED_AFTER {
            let is_worthwhile = hearers.heard * WORTHWHILE >= hearers.came;
            hearers.without_until = (!is_worthwhile).then(|| Instant::now() + DONE_WITHOUT);
            (hearers.came, hearers.heard) = (0, 0);
        }
    }

    fn missed(&self) {
        if let Some(observer) = &self.observer {
            observer.missed();
        }
        self.hearers.lock().by_run.values().flatten().for_each(|queue| queue.miss());
    }

    fn drop_hearer(&self, run: RunId, gone: &Arc<UpdateQueue<T>>) {
        let mut hearers = self.hearers.lock();
        if let Some(queues) = hearers.by_run.get_mut(&run) {
            queues.retain(|queue| !Arc::ptr_eq(queue, gone));
            if queues.is_empty() {
                hearers.by_run.remove(&run);
            }
        }
        // Whoever is just about to hear a run holds the lock.
        if hearers.without_until.is_some()
            && hearers.by_run.is_empty()
            && let Ok(mut subscription) = self.subscription.try_lock()
        {
            *subscription = None;
            hearers.is_open = false;
            // What was heard is the whole no longer.
            if let Some(observer) = &self.observer {
                observer.missed();
            }
        }
    }
}

/// What one hearer has not taken yet.
struct UpdateQueue<T>(Mutex<QueuedUpdates<T>>);

struct QueuedUpdates<T> {
    updates: VecDeque<T>,
    /// Something was missed after those. What comes then is left out: who learns of a gap reads everything again.
    gap: bool,
    waker: Option<Waker>,
}

impl<T> Default for UpdateQueue<T> {
    fn default() -> Self {
        Self(Mutex::new(QueuedUpdates { updates: VecDeque::new(), gap: false, waker: None }))
    }
}

impl<T: Clone> UpdateQueue<T> {
    fn push(&self, update: &T) {
        self.change(|queued| {
            if queued.updates.len() >= MOST_UNREAD {
                queued.gap = true;
            } else if !queued.gap {
                queued.updates.push_back(update.clone());
            }
        });
    }

    fn miss(&self) {
        self.change(|queued| queued.gap = true);
    }

    fn change(&self, change: impl FnOnce(&mut QueuedUpdates<T>)) {
        let mut queued = self.0.lock();
        change(&mut queued);
        if let Some(waker) = queued.waker.take() {
            drop(queued);
            waker.wake();
        }
    }
}

/// A run being heard.
struct HeardRun<T: Clone + Send + 'static> {
    multiplexer: Arc<RunMultiplexer<T>>,
    run: RunId,
    queue: Arc<UpdateQueue<T>>,
}

impl<T: Clone + Send + 'static> Stream for HeardRun<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut queued = self.queue.0.lock();
        if let Some(update) = queued.updates.pop_front() {
            if queued.updates.is_empty() {
                // Most runs are heard rarely; none keeps room for what it does not hear.
                queued.updates = VecDeque::new();
            }
            return Poll::Ready(Some(update));
        }
        if std::mem::take(&mut queued.gap) {
            return Poll::Ready(Some((self.multiplexer.reader.gap)()));
        }
        if queued.waker.as_ref().is_none_or(|waker| !waker.will_wake(context.waker())) {
            queued.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

impl<T: Clone + Send + 'static> Drop for HeardRun<T> {
    fn drop(&mut self) {
        self.multiplexer.drop_hearer(self.run, &self.queue);
    }
}
