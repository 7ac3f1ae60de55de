//! The seam between the tiers: five small traits, and two implementations that one conformance suite holds to the same
//! promises. `nats` is NATS JetStream, for production; `embedded` lives in this process and keeps everything in a file.
//!
//! Nothing above this module knows which one it talks to. What a *run* is, and who may write its log, is decided in
//! [`crate::run`]; here are only its tools: a log that refuses a writer who has not read the last record, an inbox in which
//! the first answer wins, a queue that delivers again what nobody acknowledged, and buckets that forget what is not renewed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{MessageId, Name, RunId};
use crate::metrics::{AppendOutcome, metrics};
pub use crate::protocol::log::RecordLane;
use crate::protocol::queue_name::QueueName;

pub mod contract;
pub mod embedded;
pub mod nats;
pub mod partition;
pub mod run_lists;
pub mod services;
pub mod subjects;

use run_lists::RunLists;

/// The broker: its parts, shared by whoever needs them.
#[derive(Clone)]
pub struct Broker {
    /// The logs of the runs.
    pub log: Arc<dyn Log>,
    /// Answers and cancels on their way to the runs.
    pub inbox: Arc<dyn Inbox>,
    /// Runs to start, to wake, and timers.
    pub queue: Arc<dyn Queue>,
    /// What exists: workers, workflows, definitions, an index of runs.
    pub catalogue: Arc<dyn Catalogue>,
    /// The lists of runs, by page.
    pub lists: Arc<dyn RunLists>,
    /// What removes for ever; none: this process may not, and calls a process that may ([`Log::notify_cleaner`]).
    pub cleaner: Option<Arc<dyn Cleaner>>,
    /// FastAgency's own subjects, where the broker is a NATS server.
    pub contract: Option<Arc<dyn contract::FastAgencyContract>>,
    /// The services that others have there, where the broker is a NATS server.
    pub services: Option<Arc<dyn services::ServiceRequests>>,
}

/// What went wrong at the broker. Whoever calls decides by the variant; the text is for people.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log's last record is not the one that the writer expected: somebody else wrote, or an earlier try did arrive.
    #[error("another record was written first (expected sequence {expected})")]
    Conflict {
        /// The sequence that the writer believed to be the last.
        expected: u64,
    },
    /// The store takes no more: its limit is reached.
    #[error("the store is full: {what}")]
    Full {
        /// Which part of it.
        what: String,
    },
    /// One message is larger than the broker carries.
    #[error("a message of {size} bytes is larger than the broker carries ({max} bytes)")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The broker's limit in bytes.
        max: usize,
    },
    /// The broker cannot be reached now, or did not answer in time. Whether the call had its effect is not known.
    #[error("could not {doing}: the broker cannot be reached")]
    Unavailable {
        /// What was attempted.
        doing: String,
        /// Why it failed.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The login that we have at the broker may not do it. Nothing was done.
    #[error("could not {doing}: permission denied: this NATS login may not {what}")]
    Denied {
        /// What was attempted.
        doing: String,
        /// What it may not: publish or subscribe to a subject.
        what: String,
    },
    /// The broker answered, and the answer is no: no JetStream, too old, a stream of another making.
    #[error("could not {doing}: {reason}")]
    Refused {
        /// What was attempted.
        doing: String,
        /// What the broker said, and what to do about it.
        reason: String,
    },
}

/// The result of a call to the broker.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A record as the log holds it.
#[derive(Debug, Clone)]
pub struct StoredRecord {
    /// Its sequence: grows within a run, with gaps. It is the event id that clients resume from.
    pub seq: u64,
    /// When the broker stored it.
    pub at: Timestamp,
    /// What was stored, byte for byte.
    pub payload: Bytes,
}

/// What a follower of a run hears.
#[derive(Debug, Clone)]
pub enum RunUpdate {
    /// A record was stored. `previous` is the sequence of the run's record before it (0 for the first), so that a
    /// follower notices what it did not hear.
    Record {
        /// The record.
        stored: StoredRecord,
        /// The sequence of the run's record before it.
        previous: u64,
    },
    /// A piece of a text being written now. Never stored.
    Delta(Bytes),
    /// Something may have been missed (a lost connection, a full buffer): read the log again.
    Gap,
}

/// What a listener to all runs hears.
#[derive(Debug, Clone)]
pub enum LogUpdate {
    /// A record of a run was stored.
    Record {
        /// The run.
        run: RunId,
        /// The record.
        stored: StoredRecord,
    },
    /// Something may have been missed.
    Gap,
}

/// What is met on a scan of all runs ([`Log::scan`]).
#[derive(Debug, Clone)]
pub enum ScannedItem {
    /// The last record of a run, or the last under one of its lanes: the later one counts.
    Record {
        /// The run.
        run: RunId,
        /// The record.
        stored: StoredRecord,
    },
    /// What lies in a slot of a run's inbox.
    Inbox {
        /// The run.
        run: RunId,
        /// The slot.
        slot: InboxSlot,
        /// Its sequence; it can be compared with those of records.
        seq: u64,
        /// When it was stored.
        at: Timestamp,
    },
}

/// How long the tombstone of a removed run is kept at least: a late writer is not as late as that.
pub const TOMBSTONE_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// The logs of the runs: each an ordered list of records, written by one writer at a time.
#[async_trait]
pub trait Log: Send + Sync {
    /// Appends a record if the run's last sequence is still `expected` (0: it has no record), and returns the record's
    /// sequence once it is stored. After [`Error::Unavailable`] it is not known whether it was stored; and an
    /// [`Error::Conflict`] is no proof that somebody else wrote (a cluster that has just changed its leader gives some with
    /// nothing written at all): after either, [`Log::last`] says what is so.
    async fn append(&self, run: RunId, lane: RecordLane, payload: Bytes, expected: u64) -> Result<u64>;

    /// Appends the first record of a run and queues the run for the workers of `workflow`, in one: no moment lies between the two.
    /// Otherwise as [`Log::append`] after 0. Workers of earlier versions do not hear of such a run.
    async fn create(&self, run: RunId, workflow: &Name, payload: Bytes) -> Result<u64>;

    /// Takes note of a record that came with a delivery, as if it had been read.
    fn note_delivered(&self, _run: RunId, _stored: &StoredRecord) {}

    /// [`Log::append`], if besides nothing of the run was stored since `expected` in its inbox either; a conflict if something was. `None`: the
    /// store does not look at both at once, and nothing was done.
    async fn append_to_untouched(
        &self,
        _run: RunId,
        _lane: RecordLane,
        _payload: Bytes,
        _expected: u64,
    ) -> Result<Option<u64>> {
        Ok(None)
    }

    /// Whether [`Log::append_to_untouched`] looks at both.
    fn sees_inbox(&self) -> bool {
        false
    }

    /// An id for a run that this process is about to start, and will most likely follow.
    fn new_run_id(&self) -> RunId {
        RunId::random()
    }

    /// Reads the run's records after sequence `after` (0: all), in order, up to the last one there is.
    async fn read(&self, run: RunId, after: u64) -> Result<Vec<StoredRecord>>;

    /// The records of a run that is most likely new: one read where it has only its first. What was said in a run that nobody
    /// has claimed may be missing; whoever appends after what it read is told so.
    async fn read_new(&self, run: RunId) -> Result<Vec<StoredRecord>> {
        self.read(run, 0).await
    }

    /// The run's records from the last one back, each read when it is asked for. It may end early, after some dozens or at a
    /// record that cannot be reached this way: what is not found is to be looked for with [`Log::read`].
    fn read_backwards(&self, run: RunId) -> BoxStream<'_, Result<StoredRecord>>;

    /// The run's last record, never an older one.
    async fn last(&self, run: RunId) -> Result<Option<StoredRecord>>;

    /// The run's last record under [`RecordLane::Did`], or a later one of the other lane, or the record that was [created](Log::create) if
    /// there is no other: one read less than [`Log::last`] where the lanes are kept apart. Never an older one.
    async fn last_did(&self, run: RunId) -> Result<Option<StoredRecord>>;

    /// The last record under [`RecordLane::Did`] of each of these runs that has one: few reads, however many runs they are. Never an
    /// older one.
    async fn last_did_of(&self, runs: &[RunId]) -> Result<Vec<(RunId, StoredRecord)>> {
        let mut found = Vec::new();
        for run in runs {
            found.extend(self.last_did(*run).await?.map(|last| (*run, last)));
        }
        Ok(found)
    }

    /// The run's first record: one read, however long the log is.
    async fn first(&self, run: RunId) -> Result<Option<StoredRecord>>;

    /// Hears what is appended to the run, and its deltas: whatever a [`Log::read`] that is called after this returned does
    /// not show will be heard, or a gap will. What the log refused is never heard.
    async fn follow(&self, run: RunId) -> Result<BoxStream<'static, RunUpdate>>;

    /// The run's log as this process has heard it, if that is all of it up to a moment that has only just passed; what this process
    /// itself has appended is there. `None`: only a read can tell.
    fn heard(&self, _run: RunId) -> Option<Vec<StoredRecord>> {
        None
    }

    /// The same for one who would read it otherwise: what this process has appended a moment ago, and hears of in a moment, is waited
    /// for.
    async fn heard_soon(&self, run: RunId) -> Option<Vec<StoredRecord>> {
        self.heard(run)
    }

    /// Hears what is appended to whichever run, without deltas: for a watcher, who can live with gaps.
    async fn subscribe_all(&self) -> Result<BoxStream<'static, LogUpdate>>;

    /// Tells followers a piece of text that is being written. Lost if nobody listens; never blocks for long.
    async fn publish_delta(&self, run: RunId, delta: Bytes) -> Result<()>;

    /// Goes round all runs once and shows where each is: what was stored before this is called is shown, what is stored
    /// meanwhile may be. For whoever looks after runs that nobody else looks after; it costs a message per run.
    async fn scan(&self) -> Result<BoxStream<'static, Result<ScannedItem>>>;

    /// Appends `tombstone` as the run's last record, under [`RecordLane::Did`], after whatever other writers have appended, and
    /// returns its sequence; it is kept for `kept` ([`TOMBSTONE_KEPT`] or longer). From then on the run is removed for every
    /// reader, and a late writer meets a conflict. What came before it is there until it is cleaned ([`Cleaner::forget`]).
    async fn append_tombstone(&self, run: RunId, tombstone: Bytes, kept: Duration) -> Result<u64>;

    /// What the digest of a record is kept as that is not to be read any more: whoever tries words at it must not learn which
    /// they were. None: nothing here is proven by it.
    fn covered(&self, _run: RunId, _seq: u64, _digest: &[u8; 32]) -> Option<String> {
        None
    }

    /// Tells the processes that may clean to look at the run. The call may be lost; they go round all runs, too.
    async fn notify_cleaner(&self, run: RunId) -> Result<()>;

    /// Whether the broker can be reached and takes records; the error says why not.
    async fn ready(&self) -> Result<()>;
}

/// How thoroughly records are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemovalMethod {
    /// Nobody can read them any more.
    Remove,
    /// Their bytes are overwritten, too, as far as the broker can.
    Overwrite,
}

/// What removes for ever. On a NATS server with a login for each tier only one of them may do it: removing is asked for by a
/// record (a tombstone, a history that was stored anew, an end), and done where there is one of these.
#[async_trait]
pub trait Cleaner: Send + Sync {
    /// Removes the run's records before sequence `before`, its inbox and its timer.
    async fn forget(&self, run: RunId, before: u64, how: RemovalMethod) -> Result<()>;

    /// Empties a slot of a run's inbox, overwriting what was in it; a slot with nothing in it is no error.
    async fn erase(&self, run: RunId, slot: InboxSlot) -> Result<()>;

    /// Hears for which runs [`Log::notify_cleaner`] is called. Some may be missed.
    async fn notifications(&self) -> Result<BoxStream<'static, RunId>>;
}

/// A place in a run's inbox, which only the first to write it gets, if nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InboxSlot {
    /// The answer to a question.
    Answer(MessageId),
    /// The wish to end the run.
    Cancel,
    /// Asks what is being written now. Only ever told ([`Inbox::notify`]), never put.
    Peek,
    /// The key that the run's passwords are sealed with.
    Key,
    /// The access token of the person whose run it is, sealed. The one slot that is written again ([`Inbox::replace`]).
    CallerToken,
}

/// What came of putting something into a slot.
#[derive(Debug, Clone)]
pub enum PutOutcome {
    /// It is stored.
    First,
    /// Somebody was first; this is what he put there.
    Taken(StoredRecord),
}

/// What a subscriber to a run's inbox hears.
#[derive(Debug, Clone)]
pub enum InboxUpdate {
    /// Something was stored in the inbox.
    Stored {
        /// Where.
        slot: InboxSlot,
        /// What.
        stored: StoredRecord,
    },
    /// Something may have been missed: read the inbox.
    Gap,
}

/// Answers and cancels, from whoever gives them to the run, whether it is awake or not.
#[async_trait]
pub trait Inbox: Send + Sync {
    /// Stores `payload` in the slot if nothing is there yet.
    async fn put(&self, run: RunId, slot: InboxSlot, payload: Bytes) -> Result<PutOutcome>;

    /// Stores `payload` in the slot, in the place of what is there. It is gone after `kept` (whole seconds, at least one); what was
    /// there before may then be seen again, if it was to be kept for longer.
    async fn replace(&self, run: RunId, slot: InboxSlot, payload: Bytes, kept: Duration) -> Result<()>;

    /// Tells the subscriber of the run's inbox something that is never stored (sequence 0): a password without a key to seal it.
    async fn notify(&self, run: RunId, slot: InboxSlot, payload: Bytes) -> Result<()>;

    /// What is in the slot.
    async fn get(&self, run: RunId, slot: InboxSlot) -> Result<Option<StoredRecord>>;

    /// Opens the slot again: the next one who puts something there is the first. A slot with nothing in it is no error.
    async fn reopen(&self, run: RunId, slot: InboxSlot) -> Result<()>;

    /// Hears what is put into the run's inbox: whatever an [`Inbox::get`] that is called after this returned does not show
    /// will be heard, or a gap will.
    async fn subscribe(&self, run: RunId) -> Result<BoxStream<'static, InboxUpdate>>;
}

/// Something for a worker to do with a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The run.
    pub run: RunId,
    /// Why it is queued.
    pub reason: JobReason,
}

/// Why a run is queued. What is to be done is decided by its log alone; this is for logs and people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobReason {
    /// It was created.
    Start,
    /// Something is in its inbox, or its worker is gone.
    Wake,
    /// A time has come.
    Timer,
    /// A worker gave it back.
    HandedBack,
    /// Somebody outside is to be told of a message that the run said, or is about to say.
    Notice {
        /// The message.
        about: MessageId,
    },
}

/// A job that a worker took, and must settle. Dropped unsettled, it is delivered again after the broker's time-out.
#[async_trait]
pub trait Delivery: Send + Sync {
    /// What to do.
    fn job(&self) -> &Job;
    /// How often it was delivered, this time included; 2 or more if a restarted store does not know any more how often.
    fn attempt(&self) -> u64;
    /// The place in a trace of whoever queued it ([`crate::traces::HEADER`]), if the broker passes that on.
    fn trace(&self) -> Option<&str> {
        None
    }
    /// Takes out the first record of the run, if the delivery brings it; nothing else was stored for the run when it was queued. It may
    /// hold far more memory than it has bytes, so whoever keeps the delivery does not keep this.
    fn take_created(&mut self) -> Option<StoredRecord> {
        None
    }
    /// Tells the broker that it is still being worked on.
    async fn working(&self) -> Result<()>;
    /// It is done, for ever.
    async fn ack(self: Box<Self>) -> Result<()>;
    /// Not now, not here: deliver it again after `delay`.
    async fn retry_after(self: Box<Self>, delay: Duration) -> Result<()>;
}

/// A job's delivery.
pub type AnyDelivery = Box<dyn Delivery>;

/// Runs to start, to wake, and timers: each job goes to one worker that serves its workflow. Notices for webhooks: each goes
/// to one worker.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Whether jobs can be queued.
    async fn ready(&self) -> Result<()> {
        Ok(())
    }

    /// Queues a job. A second one with the same `dedup` within two minutes is not queued again.
    async fn enqueue(&self, queue: &QueueName, job: &Job, dedup: &str) -> Result<()>;

    /// Queues a job when `at` has come. One timer per run: a later call replaces it.
    async fn schedule(&self, queue: &QueueName, job: &Job, at: Timestamp) -> Result<()>;

    /// How many jobs a queue has, for people who look after the queue.
    async fn depth(&self, queue: &QueueName) -> Result<QueueDepth>;

    /// Whether new runs that are their own jobs ([`Log::create`]) come to this process when it takes the jobs of `workflow` with
    /// this `patience`.
    async fn takes_created(&self, _workflow: &Name, _patience: Duration) -> Result<bool> {
        Ok(true)
    }

    /// Takes the jobs of a queue, as fast as the stream is polled. A delivery may stay unsettled for `patience` without a word
    /// ([`Delivery::working`]) before another worker gets it. The stream goes on over lost connections; it ends only when the
    /// broker does.
    async fn take(&self, queue: &QueueName, patience: Duration) -> Result<BoxStream<'static, Result<AnyDelivery>>>;
}

/// How many jobs a queue has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueDepth {
    /// Jobs that no worker has.
    pub waiting: u64,
    /// Jobs that workers have, or have put off.
    pub taken: u64,
}

/// After how many of its records at the latest the older values of a run's line are overwritten ([`Catalogue::forget_older`]).
pub const FORGET_EVERY: usize = 32;

/// A part of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bucket {
    /// Living workers by id; each entry is a lease.
    Workers,
    /// Workflows by name: what a gateway must know to start them.
    Workflows,
    /// Definitions of workflows by content hash.
    Definitions,
    /// Runs by user token and run id (`alice.0b9d…`): a projection for lists and search.
    Runs,
    /// What gateways share: sessions that were ended before their time, and the secret of `Idempotency-Key`s.
    Gateways,
    /// Tokens that servers outside gave to workers, sealed.
    Tokens,
}

impl Bucket {
    /// Every bucket there is.
    pub const ALL: [Bucket; 6] =
        [Bucket::Workers, Bucket::Workflows, Bucket::Definitions, Bucket::Runs, Bucket::Gateways, Bucket::Tokens];

    /// Its name in the store.
    pub fn name(self) -> &'static str {
        match self {
            Bucket::Workers => "workers",
            Bucket::Workflows => "workflows",
            Bucket::Definitions => "definitions",
            Bucket::Runs => "runs",
            Bucket::Gateways => "gateways",
            Bucket::Tokens => "tokens",
        }
    }
}

/// An entry of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueEntry {
    /// Its key: tokens of `[A-Za-z0-9_~-]`, joined by dots.
    pub key: String,
    /// Its value.
    pub value: Bytes,
}

/// Counts what came of an append.
fn count_append(outcome: &Result<u64>, begun: std::time::Instant) {
    let outcome = match outcome {
        Ok(_) => AppendOutcome::stored,
        Err(Error::Conflict { .. }) => AppendOutcome::conflict,
        Err(Error::Full { .. }) => AppendOutcome::full,
        Err(Error::Unavailable { .. }) => AppendOutcome::unavailable,
        Err(Error::TooLarge { .. } | Error::Denied { .. } | Error::Refused { .. }) => AppendOutcome::refused,
    };
    metrics().appended(outcome, begun.elapsed());
}

/// Refuses a key that is not what [`CatalogueEntry::key`] says: it could name other entries, or none.
fn check_key(key: &str) -> Result<()> {
    let token =
        |token: &str| !token.is_empty() && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"_~-".contains(&b));
    if key.split('.').all(token) {
        return Ok(());
    }
    let reason = format!("{:?} is no key (letters, digits, _ ~ and -, in tokens joined by dots)", key);
    Err(Error::Refused { doing: "use the catalogue".to_owned(), reason })
}

/// What exists. Nothing is decided by it but who lives; everything else in it can be made anew.
#[async_trait]
pub trait Catalogue: Send + Sync {
    /// Puts an entry, replacing what was there; an entry of [`Bucket::Definitions`] may be refused as a conflict if it is there,
    /// as it is the same. With `ttl` it vanishes unless it is put again in time (whole seconds).
    async fn put(&self, bucket: Bucket, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<()>;

    /// Puts an entry if there is none, and returns what is there then.
    async fn put_first(&self, bucket: Bucket, key: &str, value: Bytes) -> Result<Bytes>;

    /// The entry's value.
    async fn get(&self, bucket: Bucket, key: &str) -> Result<Option<Bytes>>;

    /// The entry's value, and its revision for [`Catalogue::put_over`].
    async fn get_to_change(&self, bucket: Bucket, key: &str) -> Result<(Option<Bytes>, u64)>;

    /// Puts an entry over the revision that was read; a conflict if it was put or removed since. With `ttl` it vanishes unless it
    /// is put again in time (whole seconds).
    async fn put_over(
        &self,
        bucket: Bucket,
        key: &str,
        value: Bytes,
        revision: u64,
        ttl: Option<Duration>,
    ) -> Result<()>;

    /// When the entry was put, by the store's own clock; none: it is not there, or the store has no clock but this machine's.
    async fn put_at(&self, _bucket: Bucket, _key: &str) -> Result<Option<Timestamp>> {
        Ok(None)
    }

    /// All entries whose key begins with the token `first` (`None`: all), the one put last comes last.
    async fn list(&self, bucket: Bucket, first: Option<&str>) -> Result<Vec<CatalogueEntry>>;

    /// Removes an entry; one that is not there is no error.
    async fn delete(&self, bucket: Bucket, key: &str) -> Result<()>;

    /// Overwrites what an entry was before it was put last, in a store that still has it.
    async fn forget_older(&self, _bucket: Bucket, _key: &str) -> Result<()> {
        Ok(())
    }

    /// Says something each time the bucket has changed, vanished leases included, and once at the start.
    async fn watch(&self, bucket: Bucket) -> Result<BoxStream<'static, ()>>;
}
