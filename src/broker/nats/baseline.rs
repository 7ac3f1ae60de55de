//! The baseline of a bench: what this NATS server stores if nothing else is done. Bare publishes, one
//! acknowledged before the next, as a conversation must store its records; no run, no reader.

use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::stream;
use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::connect::{ConnectError, open};
use crate::config::NatsConfig;

/// The stream that is made for it, and deleted afterwards.
const STREAM: &str = "fa_bench_floor";
/// How many messages a conversation stores.
pub const MESSAGES: usize = 8;
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

/// Stores what `conversations` conversations store, `concurrency` of them at once, and says how long it took.
pub async fn measure(
    nats: &NatsConfig,
    name: &str,
    conversations: usize,
    concurrency: usize,
) -> Result<Duration, Error> {
    let opened = open(nats, name).await?;
    let context = jetstream::new(opened.client.clone());
    // One that was cut off may have left its stream behind.
    let _ = context.delete_stream(STREAM).await;
    let config = stream::Config {
        name: STREAM.to_owned(),
        subjects: vec![format!("{STREAM}.*")],
        storage: stream::StorageType::File,
        ..stream::Config::default()
    };
    context.create_stream(config).await.map_err(failed("make a stream"))?;
    let took = store(&context, conversations, concurrency).await;
    context.delete_stream(STREAM).await.map_err(failed("delete the stream again"))?;
    took
}

async fn store(context: &jetstream::Context, conversations: usize, concurrency: usize) -> Result<Duration, Error> {
    let payload = Bytes::from(vec![b'x'; BYTES]);
    let lanes = concurrency.clamp(1, conversations.max(1));
    let start = Instant::now();
    let mut tasks: JoinSet<Result<(), Error>> = JoinSet::new();
    for lane in 0..lanes {
        let (context, payload) = (context.clone(), payload.clone());
        tasks.spawn(async move {
            for conversation in (lane..conversations).step_by(lanes) {
                let subject = format!("{STREAM}.{conversation}");
                for _ in 0..MESSAGES {
                    let stored = context.publish(subject.clone(), payload.clone()).await;
                    stored.map_err(failed("publish"))?.await.map_err(failed("store a message"))?;
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
