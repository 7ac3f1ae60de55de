//! A simulated broker: one server that keeps its promises, and for each actor a way to it that does not.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fastagency::broker::run_lists::WholeRunLists;
use fastagency::broker::{
    AnyDelivery, Broker, Bucket, Catalogue, CatalogueEntry, Cleaner, Delivery, Error, Inbox, InboxSlot, InboxUpdate,
    Job, JobReason, Log, LogUpdate, PutOutcome, Queue, QueueDepth, RecordLane, RemovalMethod, Result, RunUpdate,
    ScannedItem, StoredRecord,
};
use fastagency::clock::Timestamp;
use fastagency::ids::{Name, RunId};
use fastagency::protocol::queue_name::QueueName;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use rand::RngExt;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::faults::{Actor, Fate, Faults};

/// A record, and who wrote it.
#[derive(Clone)]
pub struct Written {
    pub stored: StoredRecord,
    pub by: Actor,
}

/// The server.
pub struct Server {
    pub faults: Faults,
    state: Mutex<State>,
    changed: Notify,
    /// Whether an append must name the last sequence.
    fences: bool,
}

#[derive(Default)]
struct State {
    sequence: u64,
    logs: HashMap<RunId, Vec<Written>>,
    inbox: HashMap<(RunId, InboxSlot), StoredRecord>,
    jobs: BTreeMap<u64, QueuedJob>,
    timers: HashMap<RunId, (Timestamp, QueueName, Job)>,
    dedup: HashMap<String, Instant>,
    catalogue: HashMap<(Bucket, String), (u64, Bytes, Option<Instant>)>,
    followers: Vec<ServerSubscription<RunUpdate>>,
    inbox_subscribers: Vec<ServerSubscription<InboxUpdate>>,
    told: u64,
}

struct QueuedJob {
    queue: QueueName,
    job: Job,
    /// The record that is the job.
    created: Option<StoredRecord>,
    attempt: u64,
    ready: Instant,
    patience: Duration,
}

struct ServerSubscription<T> {
    actor: Actor,
    run: RunId,
    sender: mpsc::UnboundedSender<T>,
}

impl Server {
    pub fn new(faults: Faults, fences: bool) -> Arc<Self> {
        Arc::new(Self { faults, state: Mutex::default(), changed: Notify::new(), fences })
    }

    /// The broker as an actor has it.
    pub fn broker(self: &Arc<Self>, actor: Actor) -> Broker {
        let side = Arc::new(Side { server: self.clone(), actor });
        Broker {
            log: side.clone(),
            inbox: side.clone(),
            queue: side.clone(),
            catalogue: side.clone(),
            lists: Arc::new(WholeRunLists::new(side.clone())),
            cleaner: Some(side),
            contract: None,
            services: None,
        }
    }

    /// A run's log as it is.
    pub fn log(&self, run: RunId) -> Vec<Written> {
        self.state.lock().unwrap().logs.get(&run).cloned().unwrap_or_default()
    }
}

impl State {
    fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    fn append(
        &mut self,
        server: &Server,
        run: RunId,
        payload: Bytes,
        expected: u64,
        by: Actor,
    ) -> Result<StoredRecord> {
        let previous = self.last(run).map_or(0, |last| last.seq);
        if server.fences && previous != expected {
            return Err(Error::Conflict { expected });
        }
        let stored = StoredRecord { seq: self.next(), at: server.faults.time(), payload };
        self.logs.entry(run).or_default().push(Written { stored: stored.clone(), by });
        let State { followers, told, .. } = self;
        let heard = RunUpdate::Record { stored: stored.clone(), previous };
        State::tell(followers, told, &server.faults, run, &heard, &RunUpdate::Gap);
        Ok(stored)
    }

    fn last(&self, run: RunId) -> Option<&StoredRecord> {
        self.logs.get(&run)?.last().map(|written| &written.stored)
    }

    fn tell<T: Clone>(
        ears: &mut Vec<ServerSubscription<T>>,
        told: &mut u64,
        faults: &Faults,
        run: RunId,
        item: &T,
        gap: &T,
    ) {
        ears.retain(|subscription| {
            if subscription.run != run {
                return !subscription.sender.is_closed();
            }
            *told += 1;
            // Whoever misses something is told that he did, once he can be told anything.
            let heard = if faults.drops(subscription.actor, *told) { gap.clone() } else { item.clone() };
            subscription.sender.send(heard).is_ok()
        });
    }
}

/// How old what was heard of a log is at most, in milliseconds; a worker listens to a parked run for longer.
const LONGEST_HEARSAY_MS: u64 = 80;

/// An actor's way to the server.
struct Side {
    server: Arc<Server>,
    actor: Actor,
}

fn away(doing: &str) -> Error {
    Error::Unavailable { doing: doing.to_owned(), source: None }
}

impl Side {
    fn faults(&self) -> &Faults {
        &self.server.faults
    }

    async fn call<T: Send + 'static>(
        &self,
        op: &'static str,
        key: impl std::hash::Hash + Send,
        act: impl FnOnce(&mut State, &Server) -> T + Send + 'static,
    ) -> Result<T> {
        let faults = self.faults();
        let (before, fate, after) = faults.fate(self.actor, op, key);
        faults.gate(self.actor).await;
        tokio::time::sleep(before).await;
        if faults.is_cut(self.actor) || fate == Fate::NeverArrives {
            tokio::time::sleep(Duration::from_millis(200)).await;
            faults.gate(self.actor).await;
            return Err(away(op));
        }
        let server = self.server.clone();
        let act = move || {
            let done = act(&mut server.state.lock().unwrap(), &server);
            server.changed.notify_waiters();
            done
        };
        if let Fate::ArrivesLate(delay) = fate {
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                act();
            });
            tokio::time::sleep(Duration::from_millis(200)).await;
            faults.gate(self.actor).await;
            return Err(away(op));
        }
        // What was on its way when the actor died or stopped arrives all the same.
        let done = act();
        tokio::time::sleep(after).await;
        faults.gate(self.actor).await;
        if faults.is_cut(self.actor) || fate == Fate::AnswerLost {
            return Err(away(op));
        }
        Ok(done)
    }

    async fn append_if(
        &self,
        run: RunId,
        payload: Bytes,
        expected: u64,
        may: impl FnOnce(&State) -> bool + Send + 'static,
    ) -> Result<u64> {
        let by = self.actor;
        let appended = self.call("append", run.to_string(), move |state, server| {
            if !may(state) && server.fences {
                return Err(Error::Conflict { expected });
            }
            Ok(state.append(server, run, payload, expected, by)?.seq)
        });
        appended.await?
    }

    /// What the server says by itself, as the actor hears it.
    fn heard<T: Send + 'static>(&self, receiver: mpsc::UnboundedReceiver<T>) -> BoxStream<'static, T> {
        let (server, actor) = (self.server.clone(), self.actor);
        stream::unfold((receiver, server), move |(mut receiver, server)| async move {
            let item = receiver.recv().await?;
            server.faults.connected(actor).await;
            server.faults.gate(actor).await;
            Some((item, (receiver, server)))
        })
        .boxed()
    }
}

#[async_trait]
impl Log for Side {
    async fn append(&self, run: RunId, _lane: RecordLane, payload: Bytes, expected: u64) -> Result<u64> {
        self.append_if(run, payload, expected, |_| true).await
    }

    async fn create(&self, run: RunId, workflow: &Name, payload: Bytes) -> Result<u64> {
        let (by, queue) = (self.actor, QueueName::Workflow(workflow.clone()));
        let created = self.call("create", run.to_string(), move |state, server| {
            let stored = state.append(server, run, payload, 0, by)?;
            let seq = stored.seq;
            let job = Job { run, reason: JobReason::Start };
            state.queue(queue, job, Some(stored), Instant::now());
            Ok(seq)
        });
        created.await?
    }

    async fn append_to_untouched(
        &self,
        run: RunId,
        _lane: RecordLane,
        payload: Bytes,
        expected: u64,
    ) -> Result<Option<u64>> {
        let is_untouched =
            move |state: &State| !state.inbox.iter().any(|((of, _), stored)| *of == run && stored.seq > expected);
        self.append_if(run, payload, expected, is_untouched).await.map(Some)
    }

    /// As it was a moment ago.
    fn heard(&self, run: RunId) -> Option<Vec<StoredRecord>> {
        let late =
            self.faults().random((run.to_string(), "heard", self.faults().now())).random_range(0..LONGEST_HEARSAY_MS);
        let until = self.faults().time() - Duration::from_millis(late);
        let state = self.server.state.lock().unwrap();
        // Whoever follows a run would have to hear all that is not in here.
        if state.followers.iter().any(|follower| follower.actor == self.actor && follower.run == run) {
            return None;
        }
        let log = state.logs.get(&run)?.iter().map(|written| &written.stored);
        Some(log.take_while(|stored| stored.at <= until).cloned().collect())
    }

    async fn read(&self, run: RunId, after: u64) -> Result<Vec<StoredRecord>> {
        let read = self.call("read", run.to_string(), move |state, _| {
            let log = state.logs.get(&run).map(Vec::as_slice).unwrap_or_default();
            log.iter().map(|written| written.stored.clone()).filter(|stored| stored.seq > after).collect()
        });
        read.await
    }

    fn read_backwards(&self, _run: RunId) -> BoxStream<'_, Result<StoredRecord>> {
        unreachable!("nobody goes through a gateway in a simulation")
    }

    async fn last(&self, run: RunId) -> Result<Option<StoredRecord>> {
        self.call("last", run.to_string(), move |state, _| state.last(run).cloned()).await
    }

    async fn last_did(&self, run: RunId) -> Result<Option<StoredRecord>> {
        self.last(run).await
    }

    async fn first(&self, run: RunId) -> Result<Option<StoredRecord>> {
        let first = self.call("first", run.to_string(), move |state, _| {
            state.logs.get(&run).and_then(|log| log.first()).map(|written| written.stored.clone())
        });
        first.await
    }

    async fn follow(&self, run: RunId) -> Result<BoxStream<'static, RunUpdate>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let actor = self.actor;
        self.call("follow", run.to_string(), move |state, _| {
            state.followers.push(ServerSubscription { actor, run, sender })
        })
        .await?;
        Ok(self.heard(receiver))
    }

    async fn subscribe_all(&self) -> Result<BoxStream<'static, LogUpdate>> {
        unreachable!("nobody watches a simulation")
    }

    async fn publish_delta(&self, _run: RunId, _delta: Bytes) -> Result<()> {
        Ok(())
    }

    async fn scan(&self) -> Result<BoxStream<'static, Result<ScannedItem>>> {
        let seen: Vec<ScannedItem> = self
            .call("survey", 0, |state, _| {
                let records = state.logs.iter().filter_map(|(run, log)| {
                    Some(ScannedItem::Record { run: *run, stored: log.last()?.stored.clone() })
                });
                let inboxes = state.inbox.iter().map(|((run, slot), stored)| ScannedItem::Inbox {
                    run: *run,
                    slot: *slot,
                    seq: stored.seq,
                    at: stored.at,
                });
                records.chain(inboxes).collect()
            })
            .await?;
        Ok(stream::iter(seen.into_iter().map(Ok)).boxed())
    }

    async fn append_tombstone(&self, _run: RunId, _tombstone: Bytes, _kept: Duration) -> Result<u64> {
        unreachable!("nothing is kept for less than a simulation")
    }

    async fn notify_cleaner(&self, _run: RunId) -> Result<()> {
        Ok(())
    }

    async fn ready(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Inbox for Side {
    async fn put(&self, run: RunId, slot: InboxSlot, payload: Bytes) -> Result<PutOutcome> {
        let put = self.call("put", (run.to_string(), slot), move |state, server| {
            if let Some(first) = state.inbox.get(&(run, slot)) {
                return PutOutcome::Taken(first.clone());
            }
            let stored = StoredRecord { seq: state.next(), at: server.faults.time(), payload };
            state.inbox.insert((run, slot), stored.clone());
            let State { inbox_subscribers, told, .. } = state;
            State::tell(
                inbox_subscribers,
                told,
                &server.faults,
                run,
                &InboxUpdate::Stored { slot, stored },
                &InboxUpdate::Gap,
            );
            PutOutcome::First
        });
        put.await
    }

    async fn replace(&self, run: RunId, slot: InboxSlot, payload: Bytes, _kept: Duration) -> Result<()> {
        self.call("replace", (run.to_string(), slot), move |state, server| {
            let stored = StoredRecord { seq: state.next(), at: server.faults.time(), payload };
            state.inbox.insert((run, slot), stored);
        })
        .await
    }

    async fn notify(&self, _run: RunId, _slot: InboxSlot, _payload: Bytes) -> Result<()> {
        Ok(())
    }

    async fn get(&self, run: RunId, slot: InboxSlot) -> Result<Option<StoredRecord>> {
        self.call("get", (run.to_string(), slot), move |state, _| state.inbox.get(&(run, slot)).cloned()).await
    }

    async fn reopen(&self, run: RunId, slot: InboxSlot) -> Result<()> {
        self.call("erase", (run.to_string(), slot), move |state, _| drop(state.inbox.remove(&(run, slot)))).await
    }

    async fn subscribe(&self, run: RunId) -> Result<BoxStream<'static, InboxUpdate>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let actor = self.actor;
        self.call("bell", run.to_string(), move |state, _| {
            state.inbox_subscribers.push(ServerSubscription { actor, run, sender })
        })
        .await?;
        Ok(self.heard(receiver))
    }
}

#[async_trait]
impl Cleaner for Side {
    async fn forget(&self, _run: RunId, _before: u64, _how: RemovalMethod) -> Result<()> {
        unreachable!("nothing is redacted in a simulation")
    }

    async fn erase(&self, run: RunId, slot: InboxSlot) -> Result<()> {
        self.reopen(run, slot).await
    }

    async fn notifications(&self) -> Result<BoxStream<'static, RunId>> {
        Ok(stream::pending().boxed())
    }
}

#[async_trait]
impl Queue for Side {
    async fn enqueue(&self, queue: &QueueName, job: &Job, dedup: &str) -> Result<()> {
        let (queue, job, dedup) = (queue.clone(), job.clone(), dedup.to_owned());
        let queued = self.call("enqueue", dedup.clone(), move |state, _| {
            let now = Instant::now();
            if state.dedup.get(&dedup).is_none_or(|until| *until <= now) {
                state.dedup.insert(dedup, now + Duration::from_secs(120));
                state.queue(queue, job, None, now);
            }
        });
        queued.await
    }

    async fn schedule(&self, queue: &QueueName, job: &Job, at: Timestamp) -> Result<()> {
        let (queue, job) = (queue.clone(), job.clone());
        let run = job.run;
        self.call("schedule", run.to_string(), move |state, _| {
            state.timers.insert(run, (at, queue, job));
        })
        .await
    }

    async fn depth(&self, _: &QueueName) -> Result<QueueDepth> {
        Ok(QueueDepth::default())
    }

    async fn take(&self, queue: &QueueName, patience: Duration) -> Result<BoxStream<'static, Result<AnyDelivery>>> {
        let (server, actor, queue) = (self.server.clone(), self.actor, queue.clone());
        Ok(stream::unfold((), move |()| {
            let (server, queue) = (server.clone(), queue.clone());
            async move {
                let delivery = Side { server, actor }.next_job(queue, patience).await;
                Some((Ok(Box::new(delivery) as AnyDelivery), ()))
            }
        })
        .boxed())
    }
}

impl State {
    fn queue(&mut self, queue: QueueName, job: Job, created: Option<StoredRecord>, ready: Instant) {
        let id = self.next();
        self.jobs.insert(id, QueuedJob { queue, job, created, attempt: 0, ready, patience: Duration::ZERO });
    }

    /// Turns due timers into jobs; says when the next one is due.
    fn ripen(&mut self, now: Timestamp) -> Option<Duration> {
        let due: Vec<RunId> = self.timers.iter().filter(|(_, (at, ..))| *at <= now).map(|(run, _)| *run).collect();
        for run in due {
            if let Some((_, queue, job)) = self.timers.remove(&run) {
                self.queue(queue, job, None, Instant::now());
            }
        }
        self.timers.values().map(|(at, ..)| fastagency::clock::until(now, *at)).min()
    }
}

impl Side {
    async fn next_job(self, queue: QueueName, patience: Duration) -> Taken {
        let server = self.server.clone();
        let faults = &server.faults;
        loop {
            faults.connected(self.actor).await;
            faults.gate(self.actor).await;
            let changed = server.changed.notified();
            let (taken, sleep) = {
                let mut state = server.state.lock().unwrap();
                let timer = state.ripen(faults.time());
                let now = Instant::now();
                let lines = state.jobs.iter_mut().filter(|(_, known)| known.queue == queue);
                let mut sleep = timer.map(|rest| rest + Duration::from_millis(1));
                let mut taken = None;
                for (id, known) in lines {
                    if known.ready <= now {
                        known.attempt += 1;
                        known.patience = patience;
                        known.ready = now + patience;
                        taken = Some((*id, known.attempt, known.job.clone(), known.created.clone()));
                        break;
                    }
                    let rest = known.ready - now;
                    sleep = Some(sleep.map_or(rest, |sleep| sleep.min(rest)));
                }
                (taken, sleep)
            };
            match (taken, sleep) {
                (Some((id, attempt, job, created)), _) => {
                    let (delay, fate, _) = faults.fate(self.actor, "deliver", (job.run.to_string(), attempt));
                    tokio::time::sleep(delay).await;
                    faults.gate(self.actor).await;
                    // Some deliveries get lost on their way.
                    if fate != Fate::NeverArrives && !faults.is_cut(self.actor) {
                        return Taken { side: self, id, attempt, job, created };
                    }
                }
                (None, Some(sleep)) => {
                    tokio::select! { () = changed => {}, () = tokio::time::sleep(sleep) => {} }
                }
                (None, None) => changed.await,
            }
        }
    }
}

struct Taken {
    side: Side,
    id: u64,
    attempt: u64,
    job: Job,
    created: Option<StoredRecord>,
}

#[async_trait]
impl Delivery for Taken {
    fn job(&self) -> &Job {
        &self.job
    }

    fn attempt(&self) -> u64 {
        self.attempt
    }

    fn take_created(&mut self) -> Option<StoredRecord> {
        self.created.take()
    }

    async fn working(&self) -> Result<()> {
        let id = self.id;
        let told = self.side.call("working", id, move |state, _| {
            if let Some(known) = state.jobs.get_mut(&id) {
                known.ready = Instant::now() + known.patience;
            }
        });
        told.await
    }

    async fn ack(self: Box<Self>) -> Result<()> {
        let id = self.id;
        self.side.call("ack", id, move |state, _| drop(state.jobs.remove(&id))).await
    }

    async fn retry_after(self: Box<Self>, delay: Duration) -> Result<()> {
        let id = self.id;
        let told = self.side.call("nak", id, move |state, _| {
            if let Some(known) = state.jobs.get_mut(&id) {
                known.ready = Instant::now() + delay;
            }
        });
        told.await
    }
}

#[async_trait]
impl Catalogue for Side {
    async fn put(&self, bucket: Bucket, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<()> {
        let key = key.to_owned();
        self.call("catalogue put", bucket, move |state, _| {
            let put = state.next();
            state.catalogue.insert((bucket, key), (put, value, ttl.map(|ttl| Instant::now() + ttl)));
        })
        .await
    }

    async fn put_first(&self, bucket: Bucket, key: &str, value: Bytes) -> Result<Bytes> {
        let key = key.to_owned();
        self.call("catalogue put first", bucket, move |state, _| {
            let put = state.next();
            state.catalogue.entry((bucket, key)).or_insert((put, value, None)).1.clone()
        })
        .await
    }

    async fn get(&self, bucket: Bucket, key: &str) -> Result<Option<Bytes>> {
        let key = key.to_owned();
        let got = self.call("catalogue get", bucket, move |state, _| {
            let (_, value, until) = state.catalogue.get(&(bucket, key))?;
            until.is_none_or(|until| until > Instant::now()).then(|| value.clone())
        });
        got.await
    }

    async fn get_to_change(&self, bucket: Bucket, key: &str) -> Result<(Option<Bytes>, u64)> {
        let key = key.to_owned();
        let got = self.call("catalogue get", bucket, move |state, _| {
            let (put, value, until) = state.catalogue.get(&(bucket, key))?;
            let there = until.is_none_or(|until| until > Instant::now());
            Some((there.then(|| value.clone()), *put))
        });
        Ok(got.await?.unwrap_or((None, 0)))
    }

    async fn put_over(
        &self,
        bucket: Bucket,
        key: &str,
        value: Bytes,
        revision: u64,
        ttl: Option<Duration>,
    ) -> Result<()> {
        let key = key.to_owned();
        let put = self.call("catalogue put over", bucket, move |state, _| {
            let found = state.catalogue.get(&(bucket, key.clone())).map_or(0, |(put, ..)| *put);
            if found != revision {
                return Err(Error::Conflict { expected: revision });
            }
            let put = state.next();
            state.catalogue.insert((bucket, key), (put, value, ttl.map(|ttl| Instant::now() + ttl)));
            Ok(())
        });
        put.await?
    }

    async fn list(&self, bucket: Bucket, first: Option<&str>) -> Result<Vec<CatalogueEntry>> {
        let prefix = first.map(|first| format!("{first}.")).unwrap_or_default();
        let listed = self.call("catalogue list", bucket, move |state, _| {
            let now = Instant::now();
            let mut found: Vec<(u64, CatalogueEntry)> = state
                .catalogue
                .iter()
                .filter(|((at, key), (_, _, until))| {
                    *at == bucket && key.starts_with(&prefix) && until.is_none_or(|until| until > now)
                })
                .map(|((_, key), (put, value, _))| (*put, CatalogueEntry { key: key.clone(), value: value.clone() }))
                .collect();
            found.sort_by_key(|(put, _)| *put);
            found.into_iter().map(|(_, entry)| entry).collect()
        });
        listed.await
    }

    async fn delete(&self, bucket: Bucket, key: &str) -> Result<()> {
        let key = key.to_owned();
        self.call("catalogue delete", bucket, move |state, _| drop(state.catalogue.remove(&(bucket, key)))).await
    }

    async fn watch(&self, _bucket: Bucket) -> Result<BoxStream<'static, ()>> {
        Ok(stream::pending().boxed())
    }
}
