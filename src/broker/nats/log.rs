//! The logs of the runs in the stream `FA_RUNS`.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{HeaderMap, Message};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{BoxStream, try_unfold};
use futures_util::{Stream, StreamExt, TryStreamExt};
use serde::Deserialize;
use serde_json::Value;

use super::follow;
use super::headers::{self, EXPECTED_SUBJECT, PREVIOUS, TTL, seconds};
use super::live::LiveUpdates;
use super::monitor::LeaderElections;
use super::reads;
use super::reads::StreamMessage;
use super::scan;
use super::server::{NatsConnection, unavailable};
use crate::broker::subjects::{self, RUNS_STREAM};
use crate::broker::{Error, Log, LogUpdate, RecordLane, Result, RunUpdate, ScannedItem, StoredRecord, count_append};
use crate::ids::{Name, RunId};

/// How often a replica that is behind the leader is asked again, and how long is waited before.
const CATCH_UP_TRIES: u32 = 20;
const CATCH_UP_PAUSE: Duration = Duration::from_millis(50);
/// How many records are read one by one, from the last back to the one before it, before the stream is searched instead.
/// A search by subject looks at every message between the run's first record and its last (seen: 10 000 runs that begin at
/// once kept the server busy for a minute); a step back costs the same however much other runs have written.
const STEPS_BACK: usize = 48;
/// How often a tombstone is tried against a writer who does not stop.
const TOMBSTONE_TRIES: u32 = 10;

/// The logs, over a connection.
pub(super) struct NatsLog {
    /// The connection.
    pub(super) server: Arc<NatsConnection>,
    /// What is heard over it.
    pub(super) live: Arc<LiveUpdates>,
}

#[async_trait]
impl Log for NatsLog {
    async fn append(&self, run: RunId, lane: RecordLane, payload: Bytes, expected: u64) -> Result<u64> {
        let begun = Instant::now();
        let outcome = append(&self.server, run, lane, payload, expected, HeaderMap::new()).await;
        count_append(&outcome, begun);
        if let Ok(seq) = outcome {
            self.live.recent.appended(run, seq);
        }
        outcome
    }

    async fn create(&self, run: RunId, workflow: &Name, payload: Bytes) -> Result<u64> {
        let begun = Instant::now();
        let subject = subjects::new_run(run, workflow);
        // Asked before: what comes over a subscription that is made later is not all of the run.
        let is_heard = self.live.hears(run);
        let outcome = append_under(&self.server, run, subject, payload, 0, HeaderMap::new()).await;
        count_append(&outcome, begun);
        if let Ok(seq) = outcome {
            match is_heard {
                true => self.live.recent.created(run, seq),
                false => self.live.recent.appended(run, seq),
            }
        }
        outcome
    }

    async fn append_to_untouched(
        &self,
        run: RunId,
        lane: RecordLane,
        payload: Bytes,
        expected: u64,
    ) -> Result<Option<u64>> {
        // The leader of a stream with copies knows what is on its way by the text of the expected subject: of two writers who name
        // another one it might let both.
        if !self.sees_inbox() {
            return Ok(None);
        }
        let begun = Instant::now();
        let (mut headers, subject) = (HeaderMap::new(), subjects::record(run, lane));
        headers.insert(EXPECTED_SUBJECT, subjects::all_of(run));
        headers.insert(PREVIOUS, expected.to_string());
        let outcome = self.server.store("append a record", subject, headers, payload, Some(expected)).await;
        count_append(&outcome, begun);
        outcome.map(Some)
    }

    fn sees_inbox(&self) -> bool {
        !self.server.replicated
    }

    fn new_run_id(&self) -> RunId {
        self.live.new_run_id()
    }

    async fn read(&self, run: RunId, after: u64) -> Result<Vec<StoredRecord>> {
        const DOING: &str = "read a run's log";
        if let Some(found) = read_back(&self.server, DOING, run, after).await? {
            return Ok(found);
        }
        let subject = subjects::records(run);
        if !self.server.replicated {
            let found = reads::read_all(&self.server, DOING, RUNS_STREAM, &subject, after).await?;
            return Ok(found.into_iter().map(|read| read.stored).collect());
        }
        // Any replica may answer; it must have at least what the leader has now.
        let Some(newest) = self.last(run).await? else { return Ok(Vec::new()) };
        for _ in 0..CATCH_UP_TRIES {
            let found = reads::read_all(&self.server, DOING, RUNS_STREAM, &subject, after).await?;
            if newest.seq <= after || found.last().is_some_and(|read| read.stored.seq >= newest.seq) {
                return Ok(found.into_iter().map(|read| read.stored).collect());
            }
            tokio::time::sleep(CATCH_UP_PAUSE).await;
        }
        Err(unavailable(DOING, "a replica of the stream is far behind its leader"))
    }

    async fn read_new(&self, run: RunId) -> Result<Vec<StoredRecord>> {
        // The claim may lie in the other lane, with the first thing that the run said. Such a run is taken for a new one here; the
        // append to it is refused then, and all of it is read.
        match last_did(&self.server, "read a new run's log", run).await? {
            Some(read) if before(&read) == Some(0) => Ok(vec![read.stored]),
            Some(_) => self.read(run, 0).await,
            None => Ok(Vec::new()),
        }
    }

    fn read_backwards(&self, run: RunId) -> BoxStream<'_, Result<StoredRecord>> {
        back(&self.server, "read a run's last records", run).take(STEPS_BACK).map_ok(|read| read.stored).boxed()
    }

    async fn last(&self, run: RunId) -> Result<Option<StoredRecord>> {
        Ok(newest(&self.server, "read a run's last record", run).await?.map(|read| read.stored))
    }

    async fn last_did(&self, run: RunId) -> Result<Option<StoredRecord>> {
        Ok(last_did(&self.server, "read what a run did last", run).await?.map(|read| read.stored))
    }

    async fn last_did_of(&self, runs: &[RunId]) -> Result<Vec<(RunId, StoredRecord)>> {
        const DOING: &str = "read what runs did last";
        let subjects: Vec<String> = runs.iter().map(|run| subjects::record(*run, RecordLane::Did)).collect();
        let found = reads::last_messages(&self.server, DOING, RUNS_STREAM, &subjects).await?;
        Ok(std::iter::zip(runs, found).filter_map(|(run, last)| Some((*run, last?.stored))).collect())
    }

    async fn first(&self, run: RunId) -> Result<Option<StoredRecord>> {
        Ok(first(&self.server, "read a run's first record", run).await?.map(|read| read.stored))
    }

    async fn follow(&self, run: RunId) -> Result<BoxStream<'static, RunUpdate>> {
        self.live.run(&self.server, run).await
    }

    fn heard(&self, run: RunId) -> Option<Vec<StoredRecord>> {
        self.live.recent.get(run)
    }

    async fn heard_soon(&self, run: RunId) -> Option<Vec<StoredRecord>> {
        self.live.recent.get_soon(run).await
    }

    async fn subscribe_all(&self) -> Result<BoxStream<'static, LogUpdate>> {
        let heard = follow::hear(
            &self.server,
            "listen to all runs",
            subjects::ALL_LIVE_RUNS.to_owned(),
            LeaderElections::of_runs,
            update,
            || Some(LogUpdate::Gap),
        );
        Ok(heard.await?.filter_map(std::future::ready).boxed())
    }

    async fn publish_delta(&self, run: RunId, delta: Bytes) -> Result<()> {
        self.server.tell("send a delta", subjects::delta(run), delta).await
    }

    async fn scan(&self) -> Result<BoxStream<'static, Result<ScannedItem>>> {
        scan::scan(&self.server).await
    }

    async fn append_tombstone(&self, run: RunId, tombstone: Bytes, kept: Duration) -> Result<u64> {
        let buried = bury(&self.server, run, tombstone, kept).await;
        self.live.recent.forget(run);
        buried
    }

    async fn notify_cleaner(&self, run: RunId) -> Result<()> {
        self.server.tell("call for the cleaner", subjects::cleaner(run), Bytes::new()).await
    }

    async fn ready(&self) -> Result<()> {
        const DOING: &str = "reach the broker";
        #[derive(Deserialize)]
        struct LogStreamInfo {
            config: LogStreamConfig,
            state: LogStreamState,
        }
        #[derive(Deserialize)]
        struct LogStreamConfig {
            max_bytes: i64,
        }
        #[derive(Deserialize)]
        struct LogStreamState {
            bytes: u64,
        }
        let info: LogStreamInfo =
            self.server.api_plainly(DOING, format!("STREAM.INFO.{RUNS_STREAM}"), &Value::Null).await?;
        let limit = u64::try_from(info.config.max_bytes).ok().filter(|limit| *limit > 0);
        if limit.is_some_and(|limit| info.state.bytes >= limit) || self.server.full_lately() {
            return Err(Error::Full { what: format!("the stream {RUNS_STREAM}") });
        }
        Ok(())
    }
}

async fn append(
    server: &NatsConnection,
    run: RunId,
    lane: RecordLane,
    payload: Bytes,
    expected: u64,
    headers: HeaderMap,
) -> Result<u64> {
    append_under(server, run, subjects::record(run, lane), payload, expected, headers).await
}

/// Appends under a subject of the run. Whatever that is, the expected subject is written in one way: by its text the leader of a stream
/// with copies knows what is on its way.
async fn append_under(
    server: &NatsConnection,
    run: RunId,
    subject: String,
    payload: Bytes,
    expected: u64,
    mut headers: HeaderMap,
) -> Result<u64> {
    headers.insert(EXPECTED_SUBJECT, subjects::records(run));
    // What was expected is what came before, once it is stored.
    headers.insert(PREVIOUS, expected.to_string());
    server.store("append a record", subject, headers, payload, Some(expected)).await
}

/// The run's last record: of the last under each of its two lanes, the later; or what it was created with, if there is nothing else.
async fn newest(server: &NatsConnection, doing: &str, run: RunId) -> Result<Option<StreamMessage>> {
    let (said, did) = (subjects::record(run, RecordLane::Said), subjects::record(run, RecordLane::Did));
    let (said, did) = tokio::join!(
        reads::last_message(server, doing, RUNS_STREAM, &said),
        reads::last_message(server, doing, RUNS_STREAM, &did)
    );
    match [said?, did?].into_iter().flatten().max_by_key(|read| read.stored.seq) {
        // It lies under the name of its workflow, which is not known here.
        None => first(server, doing, run).await,
        newest => Ok(newest),
    }
}

/// The run's last record under [`RecordLane::Did`], or what it was created with if it did nothing yet.
async fn last_did(server: &NatsConnection, doing: &str, run: RunId) -> Result<Option<StreamMessage>> {
    match reads::last_message(server, doing, RUNS_STREAM, &subjects::record(run, RecordLane::Did)).await? {
        None => first(server, doing, run).await,
        last => Ok(last),
    }
}

/// The run's first record, whatever it lies under.
async fn first(server: &NatsConnection, doing: &str, run: RunId) -> Result<Option<StreamMessage>> {
    reads::first_message(server, doing, RUNS_STREAM, &subjects::records(run)).await
}

/// The records after sequence `after`, from the last one back, each naming the one before it; `None` if that is too far,
/// or if the chain is broken (a replica that is behind, a log that is being removed).
async fn read_back(
    server: &NatsConnection,
    doing: &'static str,
    run: RunId,
    after: u64,
) -> Result<Option<Vec<StoredRecord>>> {
    let mut found = Vec::new();
    let mut back = pin!(back(server, doing, run).take(STEPS_BACK));
    let mut previous = None;
    while let Some(read) = back.try_next().await? {
        previous = before(&read);
        if read.stored.seq > after {
            found.push(read.stored);
        } else {
            previous = Some(after);
        }
        if previous.is_none_or(|previous| previous <= after) {
            break;
        }
    }
    found.reverse();
    let is_whole = found.is_empty() || previous.is_some_and(|previous| previous <= after);
    Ok(is_whole.then_some(found))
}

/// The records from the last one back, each naming the one before it. It ends where that is not there (a replica that is
/// behind, a log that is being removed).
fn back(server: &NatsConnection, doing: &'static str, run: RunId) -> impl Stream<Item = Result<StreamMessage>> + Send {
    try_unfold(BackwardStep::Newest, move |from| async move {
        let read = match from {
            BackwardStep::Newest => newest(server, doing, run).await?,
            BackwardStep::At(0) => None,
            BackwardStep::At(seq) => reads::message_at(server, doing, RUNS_STREAM, seq).await?,
        };
        Ok(read.map(|read| {
            let next = BackwardStep::At(before(&read).unwrap_or(0));
            (read, next)
        }))
    })
}

/// Appends the tombstone as the last record, whoever else writes. It may vanish by itself only where what came before it
/// is removed at once.
async fn bury(server: &NatsConnection, run: RunId, tombstone: Bytes, kept: Duration) -> Result<u64> {
    const DOING: &str = "remove a run";
    let mut outcome = Err(unavailable(DOING, "somebody keeps writing to it"));
    for _ in 0..TOMBSTONE_TRIES {
        let expected = newest(server, DOING, run).await?.map_or(0, |last| last.stored.seq);
        let mut headers = HeaderMap::new();
        if server.may_clean {
            headers.insert(TTL, seconds(kept));
        }
        outcome = append(server, run, RecordLane::Did, tombstone.clone(), expected, headers).await;
        if !matches!(outcome, Err(Error::Conflict { .. })) {
            break;
        }
    }
    outcome
}

/// Where a step back begins.
enum BackwardStep {
    Newest,
    At(u64),
}

/// The sequence of the run's record before this one; 0: it is the first.
fn before(read: &StreamMessage) -> Option<u64> {
    headers::number(read.headers.as_ref()?, PREVIOUS)
}

/// What a message on [`subjects::ALL_LIVE_RUNS`] says; a delta says nothing here.
fn update(message: Message) -> Option<Option<LogUpdate>> {
    if message.subject.ends_with(subjects::DELTA) {
        return Some(None);
    }
    let run = subjects::live_run_of(&message.subject)?;
    let place = headers::place(&message)?;
    let stored = StoredRecord { seq: place.seq, at: place.at, payload: message.payload };
    Some(Some(LogUpdate::Record { run, stored }))
}
