//! A scan of all runs: a walk over the last message under each subject.

use std::sync::Arc;

use async_nats::Message;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use super::headers::DeliveryMetadata;
use super::server::NatsConnection;
use super::walk::{StreamWalk, WalkRange};
use crate::broker::subjects::{self, RUNS_STREAM};
use crate::broker::{Result, ScannedItem, StoredRecord};

const DOING: &str = "go round the runs";

/// [`crate::broker::Log::scan`].
pub(super) async fn scan(server: &Arc<NatsConnection>) -> Result<BoxStream<'static, Result<ScannedItem>>> {
    let walk = StreamWalk::start(server, DOING, RUNS_STREAM, WalkRange::LastOf(&subjects::ALL_OF_RUNS)).await?;
    let scan = stream::unfold((server.clone(), walk), |(server, mut walk)| async move {
        loop {
            match walk.next(&server).await? {
                Ok((message, place)) => {
                    let Some(item) = item(message, place) else { continue };
                    return Some((Ok(item), (server, walk)));
                }
                Err(error) => return Some((Err(error), (server, walk))),
            }
        }
    });
    Ok(scan.boxed())
}

fn item(message: Message, place: DeliveryMetadata) -> Option<ScannedItem> {
    let (run, is_log) = subjects::run_of(&message.subject)?;
    let (seq, at) = (place.stream_seq, place.at);
    Some(match is_log {
        true => ScannedItem::Record { run, stored: StoredRecord { seq, at, payload: message.payload } },
        false => ScannedItem::Inbox { run, slot: subjects::slot_of(&message.subject)?, seq, at },
    })
}
