//! Hearing runs and their inboxes, with few subscriptions however many there are.

use std::collections::HashMap;
use std::sync::Arc;

use async_nats::Message;
use futures_util::stream::BoxStream;
use parking_lot::Mutex;

use super::follow;
use super::headers::{self, PREVIOUS};
use super::monitor::LeaderElections;
use super::multiplexer::{MultiplexedUpdate, RunMultiplexer, UpdateReader};
use super::recent_logs::RecentLogs;
use super::server::NatsConnection;
use crate::broker::partition::Partition;
use crate::broker::{InboxUpdate, Result, RunUpdate, StoredRecord, subjects};
use crate::clock::Timestamp;
use crate::ids::RunId;

/// What a connection hears live. There is a subscription for each partition in which somebody here hears a run: most of what comes in a
/// partition is for the gateway that started its runs, and for the workers, each of which has runs of every gateway.
pub(super) struct LiveUpdates {
    /// The runs that are started here fall into it.
    own: Partition,
    runs: PartitionMultiplexers<RunUpdate>,
    inboxes: PartitionMultiplexers<InboxUpdate>,
    /// The logs of runs that began a moment ago.
    pub(super) recent: Arc<RecentLogs>,
}

type PartitionMultiplexers<T> = Mutex<HashMap<Partition, Arc<RunMultiplexer<T>>>>;

impl LiveUpdates {
    /// Of a connection that hears nothing yet.
    pub(super) fn new() -> Self {
        let recent = Arc::new(RecentLogs::default());
        Self { own: Partition::random(), runs: Mutex::default(), inboxes: Mutex::default(), recent }
    }

    /// The id of a run that is about to be started here.
    pub(super) fn new_run_id(&self) -> RunId {
        self.own.draw()
    }

    /// Whether what is appended to a run comes here, though nobody hears that run.
    pub(super) fn hears(&self, run: RunId) -> bool {
        self.runs.lock().get(&Partition::of_run(run)).is_some_and(|multiplexer| multiplexer.is_open())
    }

    /// Hears a run.
    pub(super) async fn run(&self, server: &NatsConnection, run: RunId) -> Result<BoxStream<'static, RunUpdate>> {
        const DOING: &str = "follow a run";
        let partition = Partition::of_run(run);
        let multiplexer = self.runs.lock().entry(partition).or_insert_with(|| self.runs_of(partition)).clone();
        match multiplexer.hear(server, DOING, run).await? {
            Some(heard) => Ok(heard),
            None => {
                let heard = follow::hear(server, DOING, subjects::live(run), LeaderElections::of_runs, update, || {
                    RunUpdate::Gap
                })
                .await;
                // What comes before the server has this subscription was perhaps not heard over the other one: it is read.
                self.recent.forget(run);
                heard
            }
        }
    }

    /// Hears a run's inbox.
    pub(super) async fn inbox(&self, server: &NatsConnection, run: RunId) -> Result<BoxStream<'static, InboxUpdate>> {
        const DOING: &str = "listen to a run's inbox";
        let partition = Partition::of_run(run);
        let multiplexer = self.inboxes.lock().entry(partition).or_insert_with(|| inboxes_of(partition)).clone();
        match multiplexer.hear(server, DOING, run).await? {
            Some(heard) => Ok(heard),
            None => {
                follow::hear(
                    server,
                    DOING,
                    subjects::inbox_updates(run),
                    LeaderElections::of_runs,
                    inbox_update,
                    || InboxUpdate::Gap,
                )
                .await
            }
        }
    }

    fn runs_of(&self, partition: Partition) -> Arc<RunMultiplexer<RunUpdate>> {
        let reader = UpdateReader { read: of_run, gap: || RunUpdate::Gap };
        RunMultiplexer::new(subjects::live_runs(partition), reader, Some(self.recent.clone()))
    }
}

fn inboxes_of(partition: Partition) -> Arc<RunMultiplexer<InboxUpdate>> {
    let reader = UpdateReader { read: of_inbox, gap: || InboxUpdate::Gap };
    RunMultiplexer::new(subjects::all_inbox_updates(partition), reader, None)
}

/// What a message on [`subjects::live_runs`] says.
fn of_run(message: Message) -> Option<MultiplexedUpdate<RunUpdate>> {
    let run = subjects::live_run_of(&message.subject)?;
    // What cannot be read is missed by this run alone.
    Some(MultiplexedUpdate::Of(run, update(message).unwrap_or(RunUpdate::Gap)))
}

/// What a message on [`subjects::live`] says.
fn update(message: Message) -> Option<RunUpdate> {
    if message.subject.ends_with(subjects::DELTA) {
        return Some(RunUpdate::Delta(message.payload));
    }
    let place = headers::place(&message)?;
    let previous = headers::number(message.headers.as_ref()?, PREVIOUS)?;
    Some(RunUpdate::Record {
        stored: StoredRecord { seq: place.seq, at: place.at, payload: message.payload },
        previous,
    })
}

/// What a message on [`subjects::all_inbox_updates`] says.
fn of_inbox(message: Message) -> Option<MultiplexedUpdate<InboxUpdate>> {
    let run = subjects::updated_inbox_of(&message.subject)?;
    Some(MultiplexedUpdate::Of(run, inbox_update(message).unwrap_or(InboxUpdate::Gap)))
}

/// What a message on [`subjects::inbox_updates`] says.
fn inbox_update(message: Message) -> Option<InboxUpdate> {
    let slot = subjects::slot_of(&message.subject)?;
    if message.headers.as_ref().is_some_and(|headers| headers.get(headers::SLOT_OPEN).is_some()) {
        return None;
    }
    // What was told and not stored has no place.
    let (seq, at) = headers::place(&message).map_or((0, Timestamp::UNIX_EPOCH), |place| (place.seq, place.at));
    Some(InboxUpdate::Stored { slot, stored: StoredRecord { seq, at, payload: message.payload } })
}
