//! Jobs and timers in the stream `FA_QUEUE`.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{HeaderMap, header};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use serde::Deserialize;
use serde_json::{Value, json};

use super::consumers::nanos;
use super::headers::{MESSAGE_ID, SCHEDULE, SCHEDULE_TARGET, TRACE};
use super::pull::{ConsumerPull, ConsumerSetup, MessageReceipt, PullBatch, PulledMessage, expiry_within};
use super::server::{CONSUMER_NOT_FOUND, NatsConnection};
use crate::broker::subjects::{self, QUEUE_STREAM};
use crate::broker::{AnyDelivery, Delivery, Job, Queue, QueueDepth, Result};
use crate::clock::Timestamp;
use crate::protocol::queue_name::QueueName;

/// The queue hands the connection on to its deliveries.
pub(super) struct NatsQueue(pub(super) Arc<NatsConnection>);

#[async_trait]
impl Queue for NatsQueue {
    async fn ready(&self) -> Result<()> {
        let asked = self.0.api_plainly::<Value>("reach the queue", format!("STREAM.INFO.{QUEUE_STREAM}"), &Value::Null);
        asked.await.map(drop)
    }

    async fn enqueue(&self, queue: &QueueName, job: &Job, dedup: &str) -> Result<()> {
        let mut headers = HeaderMap::new();
        headers.insert(MESSAGE_ID, token(dedup));
        self.0.store("queue a job", subjects::queue(queue), headers, written(job), None).await.map(drop)
    }

    async fn schedule(&self, queue: &QueueName, job: &Job, at: Timestamp) -> Result<()> {
        let mut headers = HeaderMap::new();
        headers.insert(SCHEDULE, format!("@at {at}"));
        headers.insert(SCHEDULE_TARGET, subjects::queue(queue));
        // The server does this by itself for a schedule; saying it does not hurt, and holds for every version.
        headers.insert(header::NATS_ROLLUP, "sub");
        self.0.store("set a timer", subjects::timer(job.run), headers, written(job), None).await.map(drop)
    }

    async fn depth(&self, queue: &QueueName) -> Result<QueueDepth> {
        const DOING: &str = "count the jobs of a queue";
        #[derive(Default, Deserialize)]
        struct ConsumerInfo {
            num_pending: u64,
            num_ack_pending: u64,
        }
        let call = format!("CONSUMER.INFO.{QUEUE_STREAM}.{}", subjects::work(queue));
        let info: ConsumerInfo = match self.0.api(DOING, call, &Value::Null).await? {
            Ok(info) => info,
            // No worker has ever asked for its jobs.
            Err(error) if error.err_code == CONSUMER_NOT_FOUND => ConsumerInfo::default(),
            Err(error) => return Err(error.into_broker(DOING)),
        };
        Ok(QueueDepth { waiting: info.num_pending, taken: info.num_ack_pending })
    }

    async fn take(&self, queue: &QueueName, patience: Duration) -> Result<BoxStream<'static, Result<AnyDelivery>>> {
        let mut pull = ConsumerPull::new(self.0.clone(), consumer(queue, patience), PullBatch::Caller(1), 0);
        pull.prepare().await?;
        let acknowledgement = match queue {
            QueueName::Workflow(_) => Acknowledgement::Told,
            QueueName::Webhook(_) => Acknowledgement::Confirmed,
        };
        let jobs =
            stream::unfold(pull, move |mut pull| async move { Some((next(&mut pull, acknowledgement).await?, pull)) });
        Ok(jobs.boxed())
    }
}

/// The workers' shared consumer of a queue's jobs.
fn consumer(queue: &QueueName, patience: Duration) -> ConsumerSetup {
    let (name, filter) = (subjects::work(queue), subjects::queue(queue));
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
    ConsumerSetup { stream: QUEUE_STREAM, make: Box::new(make), expiry: expiry_within(patience) }
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

async fn next(pull: &mut ConsumerPull, acknowledgement: Acknowledgement) -> Option<Result<AnyDelivery>> {
    loop {
        let PulledMessage { message, receipt } = match pull.next().await? {
            Ok(pulled) => pulled,
            Err(error) => return Some(Err(error)),
        };
        match crate::bounds::parse(&message.payload) {
            Ok(job) => {
                let trace = message.headers.as_ref().and_then(|headers| headers.get(TRACE));
                let trace = trace.map(|trace| trace.as_str().into());
                return Some(Ok(Box::new(NatsDelivery { job, trace, receipt, acknowledgement })));
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
