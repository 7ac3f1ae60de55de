//! What the keeper tells its memory after a commit, and the two ends through which it is heard.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use tokio::sync::{mpsc, oneshot, watch};

use crate::broker::{Bell, Depth, Job, Live, Overheard, Shelf};
use crate::ids::RunId;
use crate::protocol::queue_name::QueueName;

/// What one listener may leave unread before it misses something: ten seconds of a fast model's tokens.
pub(super) const UNREAD: usize = 1024;

/// What happened, told to the house after the commit.
pub(super) enum StoreChange {
    /// A record was stored, or a delta whispered.
    Live(RunId, Live),
    /// Something was put into a run's inbox.
    Rang(RunId, Bell),
    /// Somebody wants to hear a run.
    Follow(RunId, Voice<Live>),
    /// Somebody wants to hear all runs.
    Overhear(Voice<Overheard>),
    /// Somebody wants to hear a run's inbox.
    Listen(RunId, Voice<Bell>),
    /// A shelf has changed.
    Changed(Shelf),
    /// Somebody wants to watch a shelf.
    Watch(Shelf, oneshot::Sender<watch::Receiver<()>>),
    /// A job was queued.
    Queued(u64, QueueName, Job),
    /// A job is done.
    Done(u64),
    /// Somebody asks how many jobs a queue has.
    Count(QueueName, oneshot::Sender<Depth>),
    /// A worker wants a job.
    Wanted(QueueName, Wanting),
    /// A held job is still worked on.
    Working(u64, u64),
    /// A held job is given back for some time.
    PutOff(u64, u64, Duration),
}

/// A worker that wants a job.
pub(super) struct Wanting {
    /// Where it is handed over.
    pub(super) reply: oneshot::Sender<Handed>,
    /// How long it may say nothing then.
    pub(super) patience: Duration,
}

/// A job that is handed over.
#[derive(Debug)]
pub(super) struct Handed {
    /// Its number in the file.
    pub(super) id: u64,
    /// Which delivery of it this is, from 1.
    pub(super) attempt: u64,
    /// What is to be done.
    pub(super) job: Job,
}

/// The speaking end of a listener.
pub(super) struct Voice<T> {
    sender: mpsc::Sender<T>,
    missed: Arc<AtomicBool>,
}

/// The hearing end: a stream that says `gap` when it could not take everything.
pub(super) struct Ear<T> {
    receiver: mpsc::Receiver<T>,
    missed: Arc<AtomicBool>,
    gap: T,
}

/// Both ends of a listener.
pub(super) fn listener<T>(gap: T) -> (Voice<T>, Ear<T>) {
    let (sender, receiver) = mpsc::channel(UNREAD);
    let missed = Arc::new(AtomicBool::new(false));
    (Voice { sender, missed: missed.clone() }, Ear { receiver, missed, gap })
}

impl<T> Voice<T> {
    /// Whether nobody listens any more.
    pub(super) fn is_alone(&self) -> bool {
        self.sender.is_closed()
    }
}

impl<T: Clone> Voice<T> {
    /// Says something; false if nobody is there any more.
    pub(super) fn say(&self, item: &T) -> bool {
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

impl<T: Clone + Unpin> Stream for Ear<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        match self.receiver.poll_recv(cx) {
            // What was missed came after everything in the buffer, and the buffer is empty now.
            Poll::Pending if self.missed.swap(false, Ordering::AcqRel) => Poll::Ready(Some(self.gap.clone())),
            other => other,
        }
    }
}
