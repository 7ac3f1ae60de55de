//! The baseline of a bench: what this NATS server stores if nothing else is done. Bare publishes, one
//! acknowledged before the next, as a conversation must store its records; no run, no reader. Its stream has as many replicas
//! as the one that keeps runs, since the server acknowledges once most of them have a message.

use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::stream;
use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::connect::{ConnectError, open};
use crate::broker::subjects::RUNS_STREAM;
use crate::config::NatsConfig;

/// The stream that is made for it, and deleted afterwards.
pub const STREAM: &str = "fa_bench_floor";
/// How many messages a conversation of `echo` stores: `created`, the job, the claim with the question, the answer, the end, and the line
/// of the lists.
pub const MESSAGES: usize = 6;
/// How large each is.
pub const BYTES: usize = 300;

/// Why there is no measurement.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No server.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server refused, or did not answer.
    #[error("could not {doing}")]
    Failed {
        /// What was attempted.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn failed<E: std::error::Error + Send + Sync + 'static>(doing: &'static str) -> impl Fn(E) -> Error {
    move |source| Error::Failed { doing, source: Box::new(source) }
}

/// A stream that takes the messages of the baseline. It stays on the server until [`BaselineStream::delete`].
#[derive(Clone)]
pub struct BaselineStream {
    context: jetstream::Context,
    payload: Bytes,
    replicas: usize,
}

impl BaselineStream {
    /// Makes it, with the replicas of the stream that keeps runs; without such a stream, with those of the configuration.
    pub async fn create(nats: &NatsConfig, name: &str) -> Result<Self, Error> {
        let opened = open(nats, name).await?;
        let context = jetstream::new(opened.client.clone());
        let replicas = runs_replicas(&context).await.unwrap_or(nats.replicas);
        // One that was cut off may have left its stream behind.
        let _ = context.delete_stream(STREAM).await;
        let config = stream::Config {
            name: STREAM.to_owned(),
            subjects: vec![format!("{STREAM}.*")],
            storage: stream::StorageType::File,
            num_replicas: replicas,
            ..stream::Config::default()
        };
        context.create_stream(config).await.map_err(failed("make a stream"))?;
        Ok(Self { context, payload: Bytes::from(vec![b'x'; BYTES]), replicas })
    }

    /// How many servers keep each message.
    pub fn replicas(&self) -> usize {
        self.replicas
    }

    /// Publishes one message and waits until the server has stored it: the shortest time in which anything can be kept there.
    pub async fn round_trip(&self) -> Result<Duration, Error> {
        let start = Instant::now();
        self.publish(0).await?;
        Ok(start.elapsed())
    }

    /// Stores what `conversations` conversations store, `concurrency` of them at once, and says how long it took.
    pub async fn store(&self, conversations: usize, concurrency: usize) -> Result<Duration, Error> {
        let lanes = concurrency.clamp(1, conversations.max(1));
        let start = Instant::now();
        let mut tasks: JoinSet<Result<(), Error>> = JoinSet::new();
        for lane in 0..lanes {
            let stream = self.clone();
            tasks.spawn(async move {
                for conversation in (lane..conversations).step_by(lanes) {
                    for _ in 0..MESSAGES {
                        stream.publish(conversation).await?;
                    }
                }
                Ok(())
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.map_err(failed("finish"))??;
        }
        Ok(start.elapsed())
    }

    /// Removes the stream and all that is in it.
    pub async fn delete(self) -> Result<(), Error> {
        self.context.delete_stream(STREAM).await.map_err(failed("delete the stream again"))?;
        Ok(())
    }

    async fn publish(&self, conversation: usize) -> Result<(), Error> {
        let stored = self.context.publish(format!("{STREAM}.{conversation}"), self.payload.clone()).await;
        stored.map_err(failed("publish"))?.await.map_err(failed("store a message"))?;
        Ok(())
    }
}

/// The replicas of the stream that keeps runs, if there is one and this login may look at it.
async fn runs_replicas(context: &jetstream::Context) -> Option<usize> {
    let stream = context.get_stream(RUNS_STREAM).await.ok()?;
    Some(stream.cached_info().config.num_replicas)
}
