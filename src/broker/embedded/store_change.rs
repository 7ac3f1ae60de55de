//! What the database tells its memory after a commit, and the two ends through which it is heard.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use tokio::sync::{mpsc, oneshot, watch};

use crate::broker::{Bucket, InboxUpdate, Job, LogUpdate, QueueDepth, RunUpdate};
use crate::ids::RunId;
use crate::protocol::queue_name::QueueName;

/// What one listener may leave unread before it misses something: ten seconds of a fast model's tokens.
pub(super) const MOST_UNREAD: usize = 1024;

/// What happened, told to the dispatcher after the commit.
pub(super) enum StoreChange {
    /// A record was stored, or a delta published.
    Live(RunId, RunUpdate),
    /// Something was put into a run's inbox.
    InboxChanged(RunId, InboxUpdate),
    /// Somebody wants to hear a run.
    Follow(RunId, Publisher<RunUpdate>),
    /// Somebody wants to hear all runs.
    FollowAll(Publisher<LogUpdate>),
    /// Somebody wants to hear a run's inbox.
    FollowInbox(RunId, Publisher<InboxUpdate>),
    /// A bucket has changed.
    BucketChanged(Bucket),
    /// Somebody wants to watch a bucket.
    WatchBucket(Bucket, oneshot::Sender<watch::Receiver<()>>),
    /// A job was queued.
    JobQueued(u64, QueueName, Job),
    /// A job was in the file when that was opened: a worker may have had it before.
    JobFound(u64, QueueName, Job),
    /// A job is done.
    JobDone(u64),
    /// Somebody asks how many jobs a queue has.
    CountJobs(QueueName, oneshot::Sender<QueueDepth>),
    /// A worker wants a job.
    WantJob(QueueName, WaitingWorker),
    /// A held job is still worked on.
    Working(u64, u64),
    /// A held job is given back for some time.
    PutOff(u64, u64, Duration),
}

/// A worker that wants a job.
pub(super) struct WaitingWorker {
    /// Where it is handed over.
    pub(super) reply: oneshot::Sender<AssignedJob>,
    /// How long it may say nothing then.
    pub(super) patience: Duration,
}

/// A job that is handed over.
#[derive(Debug)]
pub(super) struct AssignedJob {
    /// Its number in the file.
    pub(super) id: u64,
    /// Which delivery of it this is, from 1.
    pub(super) attempt: u64,
    /// What is to be done.
    pub(super) job: Job,
}

/// The speaking end of a listener.
pub(super) struct Publisher<T> {
    sender: mpsc::Sender<T>,
    missed: Arc<AtomicBool>,
}

/// The hearing end: a stream that says `gap` when it could not take everything.
pub(super) struct Subscription<T> {
    receiver: mpsc::Receiver<T>,
    missed: Arc<AtomicBool>,
    gap: T,
}

/// Both ends of a listener.
pub(super) fn subscription<T>(gap: T) -> (Publisher<T>, Subscription<T>) {
    let (sender, receiver) = mpsc::channel(MOST_UNREAD);
    let missed = Arc::new(AtomicBool::new(false));
    (Publisher { sender, missed: missed.clone() }, Subscription { receiver, missed, gap })
}

impl<T> Publisher<T> {
    /// Whether nobody listens any more.
    pub(super) fn has_no_subscriber(&self) -> bool {
        self.sender.is_closed()
    }
}

impl<T: Clone> Publisher<T> {
    /// Says something; false if nobody is there any more.
    pub(super) fn publish(&self, item: &T) -> bool {
        match self.sender.try_send(item.clone()) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.missed.store(true, Ordering::Release);
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }
}

impl<T: Clone + Unpin> Stream for Subscription<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        match self.receiver.poll_recv(cx) {
            // What was missed came after everything in the buffer, and the buffer is empty now.
            Poll::Pending if self.missed.swap(false, Ordering::AcqRel) => Poll::Ready(Some(self.gap.clone())),
            other => other,
        }
    }
}
