//! A tour of all runs: a walk over the last message under each subject.

use std::sync::Arc;

use async_nats::Message;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use super::headers::Delivered;
use super::server::Server;
use super::walk::{Over, Walk};
use crate::broker::subjects::{self, RUNS_STREAM};
use crate::broker::{Result, ScannedItem, Stored};

const DOING: &str = "go round the runs";

/// [`crate::broker::Log::survey`].
pub(super) async fn tour(server: &Arc<Server>) -> Result<BoxStream<'static, Result<ScannedItem>>> {
    let walk = Walk::start(server, DOING, RUNS_STREAM, Over::LastOf(&subjects::ALL_OF_RUNS)).await?;
    let tour = stream::unfold((server.clone(), walk), |(server, mut walk)| async move {
        loop {
            match walk.next(&server).await? {
                Ok((message, place)) => {
                    let Some(sighting) = sighting(message, place) else { continue };
                    return Some((Ok(sighting), (server, walk)));
                }
                Err(error) => return Some((Err(error), (server, walk))),
            }
        }
    });
    Ok(tour.boxed())
}

fn sighting(message: Message, place: Delivered) -> Option<ScannedItem> {
    let (run, is_log) = subjects::run_of(&message.subject)?;
    let (seq, at) = (place.stream_seq, place.at);
    Some(match is_log {
        true => ScannedItem::Record { run, stored: Stored { seq, at, payload: message.payload } },
        false => ScannedItem::Inbox { run, slot: subjects::slot_of(&message.subject)?, seq, at },
    })
}
