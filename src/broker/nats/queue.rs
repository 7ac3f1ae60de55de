//! Jobs and timers in the stream `FA_QUEUE`, and new runs in the stream `FA_RUNS`, whose first record is their job.

use std::sync::{Arc, Once};
use std::time::Duration;

use async_nats::{HeaderMap, Message, header};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::consumers::{make_consumer, nanos};
use super::handover::{self, Demand, JobStream};
use super::headers::{self, DeliveryMetadata, MESSAGE_ID, PREVIOUS, SCHEDULE, SCHEDULE_TARGET, TRACE};
use super::pull::{ConsumerPull, ConsumerSetup, MessageReceipt, PullBatch, PulledMessage, expiry_within};
use super::server::{CONSUMER_NOT_FOUND, NatsConnection, patiently};
use crate::broker::subjects::{self, QUEUE_STREAM, RUNS_STREAM};
use crate::broker::{AnyDelivery, Delivery, Error, Job, JobReason, Queue, QueueDepth, Result, StoredRecord};
use crate::clock::Timestamp;
use crate::ids::Name;
use crate::protocol::queue_name::QueueName;

/// The queue hands the connection on to its deliveries.
pub(super) struct NatsQueue {
    server: Arc<NatsConnection>,
    /// Whether this login may settle new runs, once that was asked.
    settles_new_runs: OnceCell<bool>,
    /// Where it is said that new runs are not counted.
    said_uncounted: Once,
}

impl NatsQueue {
    /// One over a connection.
    pub(super) fn new(server: Arc<NatsConnection>) -> Self {
        Self { server, settles_new_runs: OnceCell::new(), said_uncounted: Once::new() }
    }

    /// The new runs that wait for a worker. A login that may not look at their consumer counts none.
    async fn new_runs_depth(&self, workflow: &Name) -> Result<QueueDepth> {
        if self.settles_new_runs.get() == Some(&false) {
            return Ok(QueueDepth::default());
        }
        match depth_of(&self.server, RUNS_STREAM, subjects::new_runs_consumer(workflow)).await {
            Err(Error::Denied { what, .. }) => {
                self.said_uncounted.call_once(|| {
                    tracing::warn!("new runs are not counted: this NATS login may not {what}; {EARLIER_LOGINS}")
                });
                Ok(QueueDepth::default())
            }
            depth => depth,
        }
    }
}

/// What helps where a login lacks what it needs for new runs.
const EARLIER_LOGINS: &str =
    "bring the server's permissions up to date with nats-server.tiers.conf of this version (docs/how-to/upgrade.md)";

#[async_trait]
impl Queue for NatsQueue {
    async fn ready(&self) -> Result<()> {
        let asked =
            self.server.api_plainly::<Value>("reach the queue", format!("STREAM.INFO.{QUEUE_STREAM}"), &Value::Null);
        asked.await.map(drop)
    }

    async fn enqueue(&self, queue: &QueueName, job: &Job, dedup: &str) -> Result<()> {
        let mut headers = HeaderMap::new();
        headers.insert(MESSAGE_ID, token(dedup));
        self.server.store("queue a job", subjects::queue(queue), headers, written(job), None).await.map(drop)
    }

    async fn schedule(&self, queue: &QueueName, job: &Job, at: Timestamp) -> Result<()> {
        let mut headers = HeaderMap::new();
        headers.insert(SCHEDULE, format!("@at {at}"));
        headers.insert(SCHEDULE_TARGET, subjects::queue(queue));
        // The server does this by itself for a schedule; saying it does not hurt, and holds for every version.
        headers.insert(header::NATS_ROLLUP, "sub");
        self.server.store("set a timer", subjects::timer(job.run), headers, written(job), None).await.map(drop)
    }

    async fn depth(&self, queue: &QueueName) -> Result<QueueDepth> {
        let queued = depth_of(&self.server, QUEUE_STREAM, subjects::work(queue));
        let QueueName::Workflow(workflow) = queue else { return queued.await };
        let (queued, new) = tokio::try_join!(queued, self.new_runs_depth(workflow))?;
        Ok(QueueDepth { waiting: queued.waiting + new.waiting, taken: queued.taken + new.taken })
    }

    async fn takes_created(&self, workflow: &Name, patience: Duration) -> Result<bool> {
        let ask = || patiently(|| Box::pin(may_settle(&self.server, new_runs(workflow, patience))));
        let may_settle = *self.settles_new_runs.get_or_try_init(ask).await?;
        Ok(may_settle)
    }

    async fn take(&self, queue: &QueueName, patience: Duration) -> Result<BoxStream<'static, Result<AnyDelivery>>> {
        let queued = ConsumerPull::new(self.server.clone(), queued(queue, patience), PullBatch::Caller(1), 0);
        let workflow = match queue {
            QueueName::Webhook(_) => return jobs(queued, job_of_message, Acknowledgement::Confirmed).await,
            QueueName::Workflow(workflow) => workflow,
        };
        if !self.takes_created(workflow, patience).await? {
            return jobs(queued, job_of_message, Acknowledgement::Told).await;
        }
        let new = ConsumerPull::new(self.server.clone(), new_runs(workflow, patience), PullBatch::Caller(1), 0);
        let demand = Demand::new();
        let queued = jobs(queued.on_demand(demand.subscribe()), job_of_message, Acknowledgement::Told).await?;
        let new = jobs(new.on_demand(demand.subscribe()), start_of_record, Acknowledgement::Told).await?;
        Ok(handover::merged(new, queued, demand))
    }
}

/// The workers' shared consumer of a queue's jobs.
fn queued(queue: &QueueName, patience: Duration) -> ConsumerSetup {
    shared(QUEUE_STREAM, subjects::work(queue), subjects::queue(queue), patience)
}

/// The workers' shared consumer of a workflow's new runs.
fn new_runs(workflow: &Name, patience: Duration) -> ConsumerSetup {
    shared(RUNS_STREAM, subjects::new_runs_consumer(workflow), subjects::new_runs(workflow), patience)
}

fn shared(stream: &'static str, name: String, filter: String, patience: Duration) -> ConsumerSetup {
    let make = move |_: u64| -> (String, Value) {
        let config = json!({
            "durable_name": name,
            "name": name,
            "filter_subject": filter,
            "ack_policy": "explicit",
            "ack_wait": nanos(patience),
            "deliver_policy": "all",
            "replay_policy": "instant",
            "max_deliver": -1,
            "max_ack_pending": -1,
        });
        (name.clone(), config)
    };
    ConsumerSetup { stream, make: Box::new(make), expiry: expiry_within(patience) }
}

/// Whether this login may settle what the consumer brings. The server answers a word about a message that was never delivered, and
/// does nothing.
async fn may_settle(server: &NatsConnection, consumer: ConsumerSetup) -> Result<bool> {
    const DOING: &str = "find out whether this login may settle new runs";
    const NEVER: u64 = u64::MAX >> 2;
    let (name, config) = (consumer.make)(0);
    let receipt = format!("$JS.ACK.{}.{name}.1.{NEVER}.{NEVER}.0.0", consumer.stream);
    let asked = async {
        make_consumer(server, consumer.stream, &name, config).await?;
        server.request(DOING, receipt, None, Bytes::from_static(b"+WPI")).await
    };
    match asked.await {
        Ok(_) => Ok(true),
        Err(Error::Denied { what, .. }) => {
            tracing::warn!(
                "a new run costs a message more, its job: this NATS login may not {what}; {EARLIER_LOGINS}, and restart this worker"
            );
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// How a job is acknowledged.
#[derive(Debug, Clone, Copy)]
enum Acknowledgement {
    /// The server is told. Should it not hear that, the job comes again, and whoever takes it finds in the log of the run that
    /// nothing is left to do.
    Told,
    /// The server is asked to say that it has heard: nothing but the queue knows that the job is done.
    Confirmed,
}

/// How much a consumer has still to bring, and how much it has brought that is not settled.
async fn depth_of(server: &NatsConnection, stream: &str, consumer: String) -> Result<QueueDepth> {
    const DOING: &str = "count the jobs of a queue";
    #[derive(Default, Deserialize)]
    struct ConsumerInfo {
        num_pending: u64,
        num_ack_pending: u64,
    }
    let info: ConsumerInfo = match server.api(DOING, format!("CONSUMER.INFO.{stream}.{consumer}"), &Value::Null).await?
    {
        Ok(info) => info,
        // No worker has ever asked for its jobs.
        Err(error) if error.err_code == CONSUMER_NOT_FOUND => ConsumerInfo::default(),
        Err(error) => return Err(error.into_broker(DOING)),
    };
    Ok(QueueDepth { waiting: info.num_pending, taken: info.num_ack_pending })
}

/// A job as a message says it, and the record that it comes with.
struct MessageJob {
    job: Job,
    created: Option<StoredRecord>,
}

/// How a message is read; an error in words.
type JobReader = fn(&Message, &DeliveryMetadata) -> std::result::Result<MessageJob, String>;

/// A job that was queued.
fn job_of_message(message: &Message, _place: &DeliveryMetadata) -> std::result::Result<MessageJob, String> {
    let job = crate::bounds::parse(&message.payload).map_err(|error| error.to_string())?;
    Ok(MessageJob { job, created: None })
}

/// The start of a run that was created with this message.
fn start_of_record(message: &Message, place: &DeliveryMetadata) -> std::result::Result<MessageJob, String> {
    let (run, _) = subjects::run_of(&message.subject).ok_or("its subject names no run")?;
    let is_first = message.headers.as_ref().and_then(|headers| headers::number(headers, PREVIOUS)) == Some(0);
    let stored = StoredRecord { seq: place.stream_seq, at: place.at, payload: message.payload.clone() };
    Ok(MessageJob { job: Job { run, reason: JobReason::Start }, created: is_first.then_some(stored) })
}

/// The jobs that a consumer brings.
async fn jobs(mut pull: ConsumerPull, read: JobReader, acknowledgement: Acknowledgement) -> Result<JobStream> {
    pull.prepare().await?;
    let jobs =
        stream::unfold(
            pull,
            move |mut pull| async move { Some((next(&mut pull, read, acknowledgement).await?, pull)) },
        );
    Ok(jobs.boxed())
}

async fn next(
    pull: &mut ConsumerPull,
    read: JobReader,
    acknowledgement: Acknowledgement,
) -> Option<Result<AnyDelivery>> {
    loop {
        let PulledMessage { message, receipt } = match pull.next().await? {
            Ok(pulled) => pulled,
            Err(error) => return Some(Err(error)),
        };
        match read(&message, &receipt.delivered) {
            Ok(MessageJob { job, created }) => {
                let trace = message.headers.as_ref().and_then(|headers| headers.get(TRACE));
                let trace = trace.map(|trace| trace.as_str().into());
                return Some(Ok(Box::new(NatsDelivery { job, created, trace, receipt, acknowledgement })));
            }
            Err(error) => {
                tracing::error!(%error, subject = %message.subject, "a queued job cannot be read; it is discarded");
                receipt.discard().await;
            }
        }
    }
}

/// A job that was delivered.
struct NatsDelivery {
    job: Job,
    created: Option<StoredRecord>,
    trace: Option<Box<str>>,
    receipt: MessageReceipt,
    acknowledgement: Acknowledgement,
}

#[async_trait]
impl Delivery for NatsDelivery {
    fn job(&self) -> &Job {
        &self.job
    }

    fn attempt(&self) -> u64 {
        self.receipt.delivered.attempt
    }

    fn trace(&self) -> Option<&str> {
        self.trace.as_deref()
    }

    fn take_created(&mut self) -> Option<StoredRecord> {
        self.created.take()
    }

    async fn working(&self) -> Result<()> {
        self.receipt.working("keep a job").await
    }

    async fn ack(self: Box<Self>) -> Result<()> {
        const DOING: &str = "acknowledge a job";
        match self.acknowledgement {
            Acknowledgement::Told => self.receipt.tell_ack(DOING).await,
            Acknowledgement::Confirmed => self.receipt.ack(DOING).await,
        }
    }

    async fn retry_after(self: Box<Self>, delay: Duration) -> Result<()> {
        self.receipt.retry_after("give a job back", delay).await
    }
}

fn written(job: &Job) -> Bytes {
    serde_json::to_vec(job).expect("a job is two plain fields").into()
}

/// An id that fits into a header whatever it holds.
fn token(dedup: &str) -> String {
    if dedup.bytes().all(|byte| byte.is_ascii_graphic()) { dedup.to_owned() } else { crate::ids::hex(dedup.as_bytes()) }
}
