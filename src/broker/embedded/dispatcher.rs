//! What the database has in memory: who listens to what, and which jobs are ready, held or put off. Nobody else
//! touches it, and it only after a commit, so that nobody ever hears what was not stored.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::store_change::{AssignedJob, MOST_UNREAD, Publisher, StoreChange, WaitingWorker};
use crate::broker::{Bucket, InboxUpdate, Job, LogUpdate, QueueDepth, RunUpdate};
use crate::ids::RunId;
use crate::protocol::queue_name::QueueName;

/// As long as it takes if somebody puts a job off for longer than the clock can count.
const LONGEST_DELAY: Duration = Duration::from_secs(365 * 86_400);

/// Everything in memory.
pub(super) struct Dispatcher {
    followers: RunSubscribers<RunUpdate>,
    everywhere: Vec<Publisher<LogUpdate>>,
    inbox_subscribers: RunSubscribers<InboxUpdate>,
    buckets: HashMap<Bucket, watch::Sender<()>>,
    jobs: HashMap<u64, KnownJob>,
    lines: HashMap<QueueName, JobLine>,
    /// When something must be done about a job, and the stamp it must still bear then.
    deadlines: BinaryHeap<Reverse<(Instant, u64, u64)>>,
    stamps: u64,
}

struct KnownJob {
    queue: QueueName,
    job: Job,
    attempt: u64,
    /// Whether a worker has it, or has put it off; otherwise it is in its line.
    held: bool,
    /// How long the worker that has it may say nothing.
    patience: Duration,
    /// Changes whenever the job changes hands, so that an older deadline knows that it has passed.
    stamp: u64,
}

/// The jobs of a queue that are ready, and the workers that want one. Never both.
#[derive(Default)]
struct JobLine {
    ready: VecDeque<u64>,
    wanting: VecDeque<WaitingWorker>,
}

impl Dispatcher {
    /// An empty one.
    pub(super) fn new() -> Self {
        Self {
            followers: RunSubscribers::default(),
            everywhere: Vec::new(),
            inbox_subscribers: RunSubscribers::default(),
            buckets: Bucket::ALL.into_iter().map(|bucket| (bucket, watch::Sender::new(()))).collect(),
            jobs: HashMap::new(),
            lines: HashMap::new(),
            deadlines: BinaryHeap::new(),
            stamps: 0,
        }
    }

    /// Takes note of what happened.
    pub(super) fn tell(&mut self, change: StoreChange, now: Instant) {
        match change {
            StoreChange::Live(run, live) => {
                if let RunUpdate::Record { stored, .. } = &live
                    && !self.everywhere.is_empty()
                {
                    let update = LogUpdate::Record { run, stored: stored.clone() };
                    self.everywhere.retain(|publisher| publisher.publish(&update));
                }
                self.followers.tell(run, live);
            }
            StoreChange::InboxChanged(run, inbox_updates) => self.inbox_subscribers.tell(run, inbox_updates),
            StoreChange::Follow(run, publisher) => self.followers.add(run, publisher),
            StoreChange::FollowAll(publisher) => self.everywhere.push(publisher),
            StoreChange::FollowInbox(run, publisher) => self.inbox_subscribers.add(run, publisher),
            StoreChange::BucketChanged(bucket) => self.buckets[&bucket].send_replace(()),
            StoreChange::WatchBucket(bucket, reply) => drop(reply.send(self.buckets[&bucket].subscribe())),
            StoreChange::JobQueued(id, queue, job) => self.add(id, queue, job, 0, now),
            // How often it was delivered is not known any more. It may have been the end of the process that had it.
            StoreChange::JobFound(id, queue, job) => self.add(id, queue, job, 1, now),
            StoreChange::JobDone(id) => drop(self.jobs.remove(&id)),
            StoreChange::CountJobs(queue, reply) => drop(reply.send(self.depth(&queue))),
            StoreChange::WantJob(queue, wanting) => self.wanted(queue, wanting, now),
            StoreChange::Working(id, attempt) => self.renew(id, attempt, now, None),
            StoreChange::PutOff(id, attempt, delay) => self.renew(id, attempt, now, Some(delay)),
        }
    }

    /// Makes jobs ready again that nobody settled in time, or that were put off until now.
    pub(super) fn turn(&mut self, now: Instant) {
        while let Some(Reverse((at, id, stamp))) = self.deadlines.peek().copied() {
            let stale = self.jobs.get(&id).is_none_or(|known| known.stamp != stamp);
            if !stale && at > now {
                break;
            }
            self.deadlines.pop();
            if !stale {
                self.ready(id, now);
            }
        }
    }

    /// When [`Dispatcher::turn`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.peek().map(|Reverse((at, ..))| *at)
    }

    /// Takes a job that was delivered so often.
    fn add(&mut self, id: u64, queue: QueueName, job: Job, attempt: u64, now: Instant) {
        self.jobs.insert(id, KnownJob { queue, job, attempt, held: false, patience: Duration::ZERO, stamp: 0 });
        self.ready(id, now);
    }

    fn ready(&mut self, id: u64, now: Instant) {
        let Some(known) = self.jobs.get_mut(&id) else { return };
        self.stamps += 1;
        known.stamp = self.stamps;
        known.held = false;
        let queue = known.queue.clone();
        let line = self.lines.entry(queue.clone()).or_default();
        line.ready.push_back(id);
        self.hand_out(&queue, now);
    }

    fn depth(&self, queue: &QueueName) -> QueueDepth {
        let all = self.jobs.values().filter(|known| known.queue == *queue);
        all.fold(QueueDepth::default(), |depth, known| match known.held {
            true => QueueDepth { taken: depth.taken + 1, ..depth },
            false => QueueDepth { waiting: depth.waiting + 1, ..depth },
        })
    }

    fn wanted(&mut self, queue: QueueName, wanting: WaitingWorker, now: Instant) {
        let line = self.lines.entry(queue.clone()).or_default();
        line.wanting.retain(|waiting| !waiting.reply.is_closed());
        line.wanting.push_back(wanting);
        self.hand_out(&queue, now);
    }

    fn hand_out(&mut self, queue: &QueueName, now: Instant) {
        let Some(line) = self.lines.get_mut(queue) else { return };
        while let Some(&id) = line.ready.front() {
            let Some(known) = self.jobs.get_mut(&id) else {
                line.ready.pop_front();
                continue;
            };
            let Some(WaitingWorker { reply, patience }) = line.wanting.pop_front() else { return };
            if reply.send(AssignedJob { id, attempt: known.attempt + 1, job: known.job.clone() }).is_err() {
                continue;
            }
            line.ready.pop_front();
            known.attempt += 1;
            known.held = true;
            known.patience = patience;
            self.stamps += 1;
            known.stamp = self.stamps;
            self.deadlines.push(Reverse((now + patience, id, known.stamp)));
        }
    }

    /// Sets a new deadline for a job, if the delivery that asks for it is still the one that holds it; without a delay its
    /// worker's patience begins anew.
    fn renew(&mut self, id: u64, attempt: u64, now: Instant, delay: Option<Duration>) {
        let Some(known) = self.jobs.get_mut(&id) else { return };
        if known.attempt != attempt || !known.held {
            return;
        }
        self.stamps += 1;
        known.stamp = self.stamps;
        let at = now.checked_add(delay.unwrap_or(known.patience)).unwrap_or(now + LONGEST_DELAY);
        self.deadlines.push(Reverse((at, id, known.stamp)));
    }
}

/// Those who listen, by run.
struct RunSubscribers<T> {
    by_run: HashMap<RunId, Vec<Publisher<T>>>,
    /// How many may come until those who left are looked for.
    until_sweep: usize,
}

impl<T> Default for RunSubscribers<T> {
    fn default() -> Self {
        Self { by_run: HashMap::new(), until_sweep: MOST_UNREAD }
    }
}

impl<T: Clone> RunSubscribers<T> {
    fn tell(&mut self, run: RunId, item: T) {
        let Some(publishers) = self.by_run.get_mut(&run) else { return };
        publishers.retain(|publisher| publisher.publish(&item));
        if publishers.is_empty() {
            self.by_run.remove(&run);
        }
    }

    fn add(&mut self, run: RunId, publisher: Publisher<T>) {
        self.by_run.entry(run).or_default().push(publisher);
        // Those who left a run that says nothing more are noticed here: once for as many as there were, so that it costs
        // each newcomer the same.
        self.until_sweep -= 1;
        if self.until_sweep == 0 {
            self.by_run.retain(|_, publishers| {
                publishers.retain(|publisher| !publisher.has_no_subscriber());
                !publishers.is_empty()
            });
            self.until_sweep = self.by_run.len().max(MOST_UNREAD);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::super::store_change::subscription;
    use super::*;
    use crate::broker::JobReason;
    use crate::ids::Name;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn dispatcher() -> (Dispatcher, QueueName, Instant) {
        let mut dispatcher = Dispatcher::new();
        let workflow = QueueName::Workflow(Name::parse("w").unwrap());
        let job = Job { run: RunId::random(), reason: JobReason::Start };
        let now = Instant::now();
        dispatcher.tell(StoreChange::JobQueued(1, workflow.clone(), job), now);
        (dispatcher, workflow, now)
    }

    fn want(dispatcher: &mut Dispatcher, workflow: &QueueName, now: Instant) -> oneshot::Receiver<AssignedJob> {
        let (reply, delivery) = oneshot::channel();
        dispatcher.tell(StoreChange::WantJob(workflow.clone(), WaitingWorker { reply, patience: PATIENCE }), now);
        delivery
    }

    #[test]
    fn a_job_that_nobody_settles_goes_to_the_next_worker() {
        let (mut dispatcher, workflow, now) = dispatcher();
        assert_eq!(want(&mut dispatcher, &workflow, now).try_recv().unwrap().attempt, 1);
        let mut second = want(&mut dispatcher, &workflow, now);
        dispatcher.turn(now + PATIENCE / 2);
        assert!(second.try_recv().is_err(), "it was delivered while the first worker had time");
        let later = now + PATIENCE;
        dispatcher.turn(later);
        assert_eq!(second.try_recv().unwrap().attempt, 2);
        // What the first one says now is of no importance.
        dispatcher.tell(StoreChange::PutOff(1, 1, Duration::ZERO), later);
        dispatcher.turn(later);
        assert!(want(&mut dispatcher, &workflow, later).try_recv().is_err());
        dispatcher.tell(StoreChange::JobDone(1), later);
        dispatcher.turn(later + PATIENCE);
        assert_eq!(dispatcher.next_deadline(), None);
    }

    #[test]
    fn a_worker_that_is_still_at_it_keeps_its_job() {
        let (mut dispatcher, workflow, now) = dispatcher();
        want(&mut dispatcher, &workflow, now).try_recv().unwrap();
        dispatcher.tell(StoreChange::Working(1, 1), now + PATIENCE / 2);
        dispatcher.turn(now + PATIENCE);
        assert!(want(&mut dispatcher, &workflow, now).try_recv().is_err());
        assert_eq!(dispatcher.next_deadline(), Some(now + PATIENCE / 2 + PATIENCE));
    }

    #[test]
    fn a_worker_that_went_away_loses_nothing() {
        let (mut dispatcher, workflow, now) = dispatcher();
        dispatcher.tell(StoreChange::JobDone(1), now);
        drop(want(&mut dispatcher, &workflow, now));
        let mut second = want(&mut dispatcher, &workflow, now);
        let job = Job { run: RunId::random(), reason: JobReason::Wake };
        dispatcher.tell(StoreChange::JobQueued(2, workflow.clone(), job.clone()), now);
        let delivery = second.try_recv().unwrap();
        assert_eq!((delivery.job, delivery.attempt), (job, 1));
    }

    #[test]
    fn those_who_left_are_forgotten() {
        let mut listeners = RunSubscribers::default();
        for _ in 0..10 * MOST_UNREAD {
            let (publisher, subscription) = subscription(RunUpdate::Gap);
            listeners.add(RunId::random(), publisher);
            drop(subscription);
        }
        assert!(listeners.by_run.len() <= 2 * MOST_UNREAD);
    }
}
