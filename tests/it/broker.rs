//! What the broker's traits promise, checked on both brokers by the same scenarios.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use fastagency::broker::run_lists::{LineFilter, LineOrder, LineOwner, LineQuery, MOST_LOOKED_THROUGH, QuestionQuery};
use fastagency::broker::{
    AnyDelivery, Broker, Bucket, Error, InboxSlot, InboxUpdate, Job, JobReason, PutOutcome, RecordLane, RemovalMethod,
    RunUpdate, TOMBSTONE_KEPT, embedded, nats,
};
use fastagency::clock::{self, Clock, SystemClock, Timestamp};
use fastagency::config::{NatsConfig, WebhookConfig, WebhookTrigger};
use fastagency::ids::{MessageId, Name, RunId, UserId, user_token};
use fastagency::protocol::queue_name::QueueName;
use fastagency::protocol::run_line::title_words;
use fastagency::run::notice::WebhookNotices;
use fastagency::run::record::{RecordBody, RunEnd, RunOutcome, RunUsage, completed_message};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, future};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::eventually::eventually;
use crate::support::nats_server::NatsServer;

mod backup;
mod contract;
mod live;
mod open;

/// How long anything may take that is expected to happen.
const SOON: Duration = Duration::from_secs(20);

/// How long a job may be held without a word: longer than any scenario.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a scenario takes place.
enum Ground {
    Embedded { dir: TempDir, broker: Option<Broker> },
    Nats { server: NatsServer, broker: Broker },
}

impl Ground {
    async fn embedded(_test: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let broker = Some(embedded::open(dir.path()).unwrap());
        Some(Ground::Embedded { dir, broker })
    }

    async fn nats(test: &str) -> Option<Self> {
        let server = NatsServer::start(test)?;
        let broker = connect(&server).await;
        Some(Ground::Nats { server, broker })
    }

    fn broker(&self) -> Broker {
        match self {
            Ground::Embedded { broker, .. } => broker.clone().unwrap(),
            Ground::Nats { broker, .. } => broker.clone(),
        }
    }
}

/// A broker on that server.
async fn connect(server: &NatsServer) -> Broker {
    let settings = NatsConfig { url: server.url(), ..Default::default() };
    nats::connect(&settings, "test").await.unwrap()
}

macro_rules! broker_conformance {
    ($($scenario:ident),* $(,)?) => {
        mod on_embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $scenario() {
                if let Some(ground) = super::Ground::embedded(stringify!($scenario)).await {
                    super::$scenario(ground).await;
                }
            })*
        }
        mod on_nats {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $scenario() {
                if let Some(ground) = super::Ground::nats(concat!("broker::on_nats::", stringify!($scenario))).await {
                    super::$scenario(ground).await;
                }
            })*
        }
    };
}

// After the macro, which it uses.
mod new_runs;

broker_conformance!(
    lines_of_runs_are_found_by_page,
    many_runs_keep_their_own_order,
    an_unexpected_sequence_is_a_conflict_and_is_not_heard,
    a_follower_hears_records_and_deltas_of_its_run_only,
    attaching_while_another_writes_misses_nothing,
    a_follower_who_does_not_listen_learns_of_a_gap,
    long_logs_and_large_records_are_read_whole,
    what_is_too_large_is_refused_and_harms_nothing,
    the_first_answer_wins,
    what_a_run_is_told_is_heard_and_never_stored,
    what_is_replaced_goes_away_by_itself_and_all_of_it_can_be_erased,
    a_purged_run_stays_purged,
    a_job_goes_to_one_worker_of_its_workflow,
    a_webhook_and_a_workflow_of_any_name_share_no_queue,
    the_same_job_is_queued_once,
    a_job_given_back_comes_again,
    timers_fire_once_and_can_be_replaced,
    leases_end_unless_renewed_and_watchers_hear_it,
    the_catalogue_lists_what_was_put_last_at_the_end,
    of_many_who_put_an_entry_first_one_does_and_all_learn_what_is_there,
    of_many_who_change_an_entry_nobody_undoes_what_another_did,
    everything_survives_a_restart,
);

fn text(payload: &[u8]) -> &str {
    std::str::from_utf8(payload).unwrap()
}

fn bytes(text: impl Into<String>) -> Bytes {
    Bytes::from(text.into())
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn queue_of(workflow: &str) -> QueueName {
    QueueName::Workflow(name(workflow))
}

fn job(run: RunId) -> Job {
    Job { run, reason: JobReason::Start }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("it happens soon")
}

async fn next<T>(stream: &mut BoxStream<'static, T>) -> T {
    soon(stream.next()).await.expect("the stream goes on")
}

async fn next_job(stream: &mut BoxStream<'static, fastagency::broker::Result<AnyDelivery>>) -> AnyDelivery {
    next(stream).await.unwrap()
}

/// The next record that a follower hears, and the one before it.
async fn next_record(live: &mut BoxStream<'static, RunUpdate>) -> (u64, String, u64) {
    match next(live).await {
        RunUpdate::Record { stored, previous } => (stored.seq, text(&stored.payload).to_owned(), previous),
        other => panic!("{other:?} is no record"),
    }
}

async fn many_runs_keep_their_own_order(ground: Ground) {
    let broker = ground.broker();
    let writers = (0..20).map(|writer| {
        let log = broker.log.clone();
        async move {
            let run = RunId::random();
            let mut expected = 0;
            for turn in 0..30 {
                let lane = if turn % 3 == 1 { RecordLane::Said } else { RecordLane::Did };
                let seq = log.append(run, lane, bytes(format!("{writer}/{turn}")), expected).await.unwrap();
                assert!(seq > expected);
                expected = seq;
            }
            (writer, run, expected)
        }
    });
    for (writer, run, last) in future::join_all(writers).await {
        let all = broker.log.read(run, 0).await.unwrap();
        let texts: Vec<_> = all.iter().map(|stored| text(&stored.payload).to_owned()).collect();
        assert_eq!(texts, (0..30).map(|turn| format!("{writer}/{turn}")).collect::<Vec<_>>());
        assert!(all.is_sorted_by(|a, b| a.seq < b.seq && a.at <= b.at));
        let newest = broker.log.last(run).await.unwrap().unwrap();
        assert_eq!((newest.seq, newest.at, &newest.payload), (last, all[29].at, &all[29].payload));
        let first = broker.log.first(run).await.unwrap().unwrap();
        assert_eq!((first.seq, &first.payload), (all[0].seq, &all[0].payload));
        let rest = broker.log.read(run, all[27].seq).await.unwrap();
        assert_eq!(rest.iter().map(|stored| stored.seq).collect::<Vec<_>>(), [all[28].seq, last]);
        assert!(broker.log.read(run, last).await.unwrap().is_empty());
        let back: Vec<u64> = broker.log.read_backwards(run).map(|stored| stored.unwrap().seq).collect().await;
        assert_eq!(back, all.iter().rev().map(|stored| stored.seq).collect::<Vec<_>>());
    }
    let run = RunId::random();
    let mut seqs = vec![0];
    for (number, lane) in [RecordLane::Did, RecordLane::Did, RecordLane::Said].into_iter().enumerate() {
        seqs.push(broker.log.append(run, lane, bytes(format!("{number}")), seqs[number]).await.unwrap());
        let (new, all) = (broker.log.read_new(run).await.unwrap(), broker.log.read(run, 0).await.unwrap());
        let seqs_of =
            |found: &[fastagency::broker::StoredRecord]| found.iter().map(|stored| stored.seq).collect::<Vec<_>>();
        assert_eq!((seqs_of(&new), new.len()), (seqs_of(&all), number + 1));
    }
    assert!(broker.log.read_new(RunId::random()).await.unwrap().is_empty());
    let did = broker.log.last_did(run).await.unwrap().unwrap().seq;
    assert!(seqs[2..].contains(&did), "{did} of {seqs:?}");
    assert!(broker.log.last_did(RunId::random()).await.unwrap().is_none());
    // Of many at once, more than come in one page, among them some that did nothing and some that are not there.
    let mut wanted = Vec::new();
    for number in 0..300 {
        let (run, lane) = (RunId::random(), [RecordLane::Did, RecordLane::Said][number % 2]);
        let seq = broker.log.append(run, lane, bytes(format!("of {number}")), 0).await.unwrap();
        let last = broker.log.append(run, lane, bytes(format!("last of {number}")), seq).await.unwrap();
        wanted.push((run, last, number % 2 == 0));
    }
    wanted.push((RunId::random(), 0, false));
    let runs: Vec<RunId> = wanted.iter().map(|(run, ..)| *run).collect();
    let found = broker.log.last_did_of(&runs).await.unwrap();
    let did: Vec<(RunId, u64)> = wanted.iter().filter(|(.., did)| *did).map(|(run, last, _)| (*run, *last)).collect();
    let told = |found: &[(RunId, fastagency::broker::StoredRecord)]| -> Vec<(RunId, u64)> {
        found.iter().map(|(run, last)| (*run, last.seq)).filter(|known| did.contains(known)).collect()
    };
    assert_eq!(told(&found), did);
    let alone = broker.log.last_did_of(&runs[..1]).await.unwrap();
    assert_eq!((told(&alone), alone.len()), (did[..1].to_vec(), 1));
    assert!(broker.log.last_did_of(&[]).await.unwrap().is_empty());
    assert!(broker.log.read_backwards(RunId::random()).next().await.is_none());
    assert!(broker.log.last(RunId::random()).await.unwrap().is_none());
    assert!(broker.log.first(RunId::random()).await.unwrap().is_none());
    assert!(broker.log.read(RunId::random(), 0).await.unwrap().is_empty());
    broker.log.ready().await.unwrap();
}

async fn an_unexpected_sequence_is_a_conflict_and_is_not_heard(ground: Ground) {
    let Broker { log, .. } = ground.broker();
    let run = RunId::random();
    let mut live = log.follow(run).await.unwrap();
    let first = log.append(run, RecordLane::Said, bytes("first"), 0).await.unwrap();
    for (lane, expected) in
        [(RecordLane::Said, 0), (RecordLane::Did, 0), (RecordLane::Did, first + 1), (RecordLane::Did, 1 << 40)]
    {
        let error = log.append(run, lane, bytes("refused"), expected).await.unwrap_err();
        assert!(matches!(error, Error::Conflict { expected: told } if told == expected), "{error:?}");
    }
    // The sequence is the run's, not the lane's.
    let second = log.append(run, RecordLane::Did, bytes("second"), first).await.unwrap();
    let third = log.append(run, RecordLane::Said, bytes("third"), second).await.unwrap();
    assert_eq!(next_record(&mut live).await, (first, "first".to_owned(), 0));
    assert_eq!(next_record(&mut live).await, (second, "second".to_owned(), first));
    assert_eq!(next_record(&mut live).await, (third, "third".to_owned(), second));
    // Of many who expect the same, one succeeds.
    let racers = (0..16).map(|racer| log.append(run, RecordLane::Did, bytes(format!("racer {racer}")), third));
    let won = future::join_all(racers).await.into_iter().filter(Result::is_ok).count();
    assert_eq!(won, 1);
    assert_eq!(log.read(run, 0).await.unwrap().len(), 4);
}

async fn a_follower_hears_records_and_deltas_of_its_run_only(ground: Ground) {
    let Broker { log, .. } = ground.broker();
    let (run, other) = (RunId::random(), RunId::random());
    let mut live = log.follow(run).await.unwrap();
    let mut also = log.follow(run).await.unwrap();
    log.publish_delta(other, bytes("not for you")).await.unwrap();
    log.append(other, RecordLane::Said, bytes("not for you"), 0).await.unwrap();
    log.publish_delta(run, bytes("he")).await.unwrap();
    log.publish_delta(run, bytes("llo")).await.unwrap();
    let seq = log.append(run, RecordLane::Said, bytes("hello"), 0).await.unwrap();
    for follower in [&mut live, &mut also] {
        for delta in ["he", "llo"] {
            assert!(matches!(next(follower).await, RunUpdate::Delta(heard) if text(&heard) == delta));
        }
        assert_eq!(next_record(follower).await, (seq, "hello".to_owned(), 0));
    }
    let stored = &log.read(run, 0).await.unwrap()[0];
    log.append(run, RecordLane::Did, bytes("next"), seq).await.unwrap();
    let RunUpdate::Record { stored: heard, .. } = next(&mut live).await else { panic!("no record") };
    assert!(heard.at >= stored.at);
}

async fn attaching_while_another_writes_misses_nothing(ground: Ground) {
    const RECORDS: u64 = 300;
    let Broker { log, .. } = ground.broker();
    let run = RunId::random();
    let writer = tokio::spawn({
        let log = log.clone();
        async move {
            let mut expected = 0;
            for turn in 0..RECORDS {
                expected = log.append(run, RecordLane::Did, bytes(turn.to_string()), expected).await.unwrap();
            }
        }
    });
    let readers = (0..10).map(|reader| {
        let log = log.clone();
        async move {
            // Each at another moment.
            while log.read(run, 0).await.unwrap().len() < reader * 20 {}
            let mut live = log.follow(run).await.unwrap();
            let history = log.read(run, 0).await.unwrap();
            let mut shown: Vec<_> = history.iter().map(|stored| text(&stored.payload).to_owned()).collect();
            let mut last = history.last().map_or(0, |stored| stored.seq);
            while shown.len() < RECORDS as usize {
                let (seq, payload, previous) = next_record(&mut live).await;
                if seq > last {
                    assert_eq!(previous, last, "a record was not heard");
                    shown.push(payload);
                    last = seq;
                }
            }
            assert_eq!(shown, (0..RECORDS).map(|turn| turn.to_string()).collect::<Vec<_>>());
        }
    });
    future::join_all(readers).await;
    writer.await.unwrap();
}

async fn a_follower_who_does_not_listen_learns_of_a_gap(ground: Ground) {
    const RECORDS: usize = 1500;
    let Broker { log, .. } = ground.broker();
    let run = RunId::random();
    let mut live = log.follow(run).await.unwrap();
    let mut expected = 0;
    for turn in 0..RECORDS {
        expected = log.append(run, RecordLane::Did, bytes(turn.to_string()), expected).await.unwrap();
    }
    let mut heard = 0;
    while let RunUpdate::Record { .. } = next(&mut live).await {
        heard += 1;
    }
    assert!(heard < RECORDS, "a gap was said where there was none");
    // It goes on behind the gap.
    let after = log.append(run, RecordLane::Did, bytes("after"), expected).await.unwrap();
    while next_record(&mut live).await.0 != after {}
}

async fn long_logs_and_large_records_are_read_whole(ground: Ground) {
    let Broker { log, .. } = ground.broker();
    let (long, large) = (RunId::random(), RunId::random());
    let write = |run: RunId, count: usize, size: usize| {
        let log = log.clone();
        async move {
            let mut expected = 0;
            for turn in 0..count {
                let payload = format!("{}{turn}", "0".repeat(size));
                expected = log.append(run, RecordLane::Said, bytes(payload), expected).await.unwrap();
            }
        }
    };
    future::join(write(long, 700, 1), write(large, 20, 900_000)).await;
    for (run, count) in [(long, 700), (large, 20)] {
        let all = log.read(run, 0).await.unwrap();
        let turns: Vec<usize> = all.iter().map(|stored| text(&stored.payload).parse().unwrap()).collect();
        assert_eq!(turns, (0..count).collect::<Vec<_>>());
    }
}

async fn what_is_too_large_is_refused_and_harms_nothing(ground: Ground) {
    let Broker { log, inbox, catalogue, .. } = ground.broker();
    let run = RunId::random();
    let large = Bytes::from(vec![b'x'; 2 * 1024 * 1024]);
    let error = log.append(run, RecordLane::Did, large.clone(), 0).await.unwrap_err();
    let Error::TooLarge { size, max } = error else { panic!("{error:?}") };
    assert_eq!(size, large.len());
    assert!(matches!(inbox.put(run, InboxSlot::Cancel, large.clone()).await, Err(Error::TooLarge { .. })));
    assert!(matches!(catalogue.put(Bucket::Runs, "a", large.clone(), None).await, Err(Error::TooLarge { .. })));
    assert!(matches!(log.publish_delta(run, large.clone()).await, Err(Error::TooLarge { .. })));
    // The limit that was told is one that holds.
    log.append(run, RecordLane::Did, large.slice(..max), 0).await.unwrap();
    assert_eq!(log.read(run, 0).await.unwrap()[0].payload.len(), max);
}

async fn the_first_answer_wins(ground: Ground) {
    let Broker { inbox, .. } = ground.broker();
    let (run, other, question) = (RunId::random(), RunId::random(), MessageId::random());
    let mut inbox_updates = inbox.subscribe(run).await.unwrap();
    assert!(inbox.get(run, InboxSlot::Answer(question)).await.unwrap().is_none());
    let putters = (0..16).map(|who| {
        let inbox = inbox.clone();
        async move { (who, inbox.put(run, InboxSlot::Answer(question), bytes(format!("answer {who}"))).await.unwrap()) }
    });
    let outcomes = future::join_all(putters).await;
    let winners: Vec<_> =
        outcomes.iter().filter(|(_, put)| matches!(put, PutOutcome::First)).map(|(who, _)| *who).collect();
    let [winner] = winners[..] else { panic!("{winners:?} were all first") };
    let won = format!("answer {winner}");
    for (_, put) in outcomes {
        if let PutOutcome::Taken(first) = put {
            assert_eq!(text(&first.payload), won);
        }
    }
    let stored = inbox.get(run, InboxSlot::Answer(question)).await.unwrap().unwrap();
    assert_eq!(text(&stored.payload), won);
    // Another slot and another run are free.
    assert!(matches!(inbox.put(other, InboxSlot::Answer(question), bytes("x")).await.unwrap(), PutOutcome::First));
    assert!(matches!(inbox.put(run, InboxSlot::Cancel, bytes("stop")).await.unwrap(), PutOutcome::First));
    let InboxUpdate::Stored { slot, stored: heard } = next(&mut inbox_updates).await else { panic!("a gap") };
    assert_eq!((slot, text(&heard.payload), heard.seq), (InboxSlot::Answer(question), won.as_str(), stored.seq));
    let InboxUpdate::Stored { slot, stored: heard } = next(&mut inbox_updates).await else { panic!("a gap") };
    assert_eq!((slot, text(&heard.payload)), (InboxSlot::Cancel, "stop"));
}

async fn what_a_run_is_told_is_heard_and_never_stored(ground: Ground) {
    let Broker { inbox, .. } = ground.broker();
    let (run, question) = (RunId::random(), InboxSlot::Answer(MessageId::random()));
    let mut inbox_updates = inbox.subscribe(run).await.unwrap();
    inbox.notify(run, question, bytes("secret")).await.unwrap();
    let InboxUpdate::Stored { slot, stored } = next(&mut inbox_updates).await else { panic!("a gap") };
    assert_eq!((slot, text(&stored.payload), stored.seq), (question, "secret", 0));
    assert!(inbox.get(run, question).await.unwrap().is_none());
    assert!(matches!(inbox.put(run, question, bytes("first")).await.unwrap(), PutOutcome::First));
    // What is erased is gone, and only that; the slot is free again.
    inbox.put(run, InboxSlot::Key, bytes("key")).await.unwrap();
    for _ in 0..2 {
        inbox.reopen(run, question).await.unwrap();
        assert!(inbox.get(run, question).await.unwrap().is_none());
    }
    assert!(inbox.get(run, InboxSlot::Key).await.unwrap().is_some());
    assert!(matches!(inbox.put(run, question, bytes("again")).await.unwrap(), PutOutcome::First));
}

async fn what_is_replaced_goes_away_by_itself_and_all_of_it_can_be_erased(ground: Ground) {
    let Broker { inbox, cleaner, .. } = ground.broker();
    let (run, other, slot) = (RunId::random(), RunId::random(), InboxSlot::CallerToken);
    let (hour, second) = (Duration::from_secs(3600), Duration::from_secs(1));
    for payload in ["one", "two", "three"] {
        inbox.replace(run, slot, bytes(payload), hour).await.unwrap();
        assert_eq!(text(&inbox.get(run, slot).await.unwrap().unwrap().payload), payload);
    }
    inbox.put(run, InboxSlot::Key, bytes("key")).await.unwrap();
    let cleaner = cleaner.expect("who may do everything may clean");
    for _ in 0..2 {
        cleaner.erase(run, slot).await.unwrap();
        assert!(inbox.get(run, slot).await.unwrap().is_none(), "nor what was there before");
    }
    assert!(inbox.get(run, InboxSlot::Key).await.unwrap().is_some());
    inbox.replace(other, slot, bytes("soon gone"), second).await.unwrap();
    inbox.replace(run, slot, bytes("four"), hour).await.unwrap();
    eventually("it has gone away", async || inbox.get(other, slot).await.unwrap().is_none()).await;
    assert_eq!(text(&inbox.get(run, slot).await.unwrap().unwrap().payload), "four");
}

/// Removes a run at once: a tombstone, and nothing before it.
async fn removed(ground: &Ground, run: RunId, tombstone: &str) {
    let Broker { log, cleaner, .. } = ground.broker();
    let left = log.append_tombstone(run, bytes(tombstone), TOMBSTONE_KEPT).await.unwrap();
    cleaner.expect("who may do everything may clean").forget(run, left, RemovalMethod::Remove).await.unwrap();
}

async fn a_purged_run_stays_purged(ground: Ground) {
    let Broker { log, inbox, .. } = ground.broker();
    let (run, other) = (RunId::random(), RunId::random());
    let kept = log.append(other, RecordLane::Said, bytes("kept"), 0).await.unwrap();
    let said = log.append(run, RecordLane::Said, bytes("secret"), 0).await.unwrap();
    let did = log.append(run, RecordLane::Did, bytes("secret"), said).await.unwrap();
    inbox.put(run, InboxSlot::Cancel, bytes("secret")).await.unwrap();
    let mut live = log.follow(run).await.unwrap();
    removed(&ground, run, "tombstone").await;
    let all = log.read(run, 0).await.unwrap();
    assert_eq!(all.iter().map(|stored| text(&stored.payload)).collect::<Vec<_>>(), ["tombstone"]);
    let (seq, heard, previous) = next_record(&mut live).await;
    assert_eq!((seq, heard.as_str(), previous), (all[0].seq, "tombstone", did));
    assert!(inbox.get(run, InboxSlot::Cancel).await.unwrap().is_none());
    // Neither one who goes on nor one who begins finds the run as he expects it.
    for expected in [did, 0] {
        let late = log.append(run, RecordLane::Said, bytes("late"), expected).await;
        assert!(matches!(late, Err(Error::Conflict { .. })), "{late:?}");
    }
    removed(&ground, run, "again").await;
    assert_eq!(log.read(run, 0).await.unwrap().len(), 1);
    assert_eq!(log.last(other).await.unwrap().unwrap().seq, kept);
    // A run that never was can have a tombstone too.
    let never = RunId::random();
    removed(&ground, never, "tombstone").await;
    assert!(matches!(log.append(never, RecordLane::Did, bytes("late"), 0).await, Err(Error::Conflict { .. })));
}

/// Whoever may write a log may write that it is over, but not so that nothing is left that says so.
#[tokio::test]
async fn a_tombstone_that_goes_away_by_itself_removes_nothing() {
    let Some(server) = NatsServer::start("broker::a_tombstone_that_goes_away_by_itself") else { return };
    let Broker { log, cleaner, .. } = connect(&server).await;
    let cleaner = cleaner.expect("who may do everything may clean");
    let nats = async_nats::connect(server.url()).await.unwrap();
    for ttl in ["1m", "60s", "604799s", "604800s", "never"] {
        let run = RunId::random();
        log.append(run, RecordLane::Did, bytes("created"), 0).await.unwrap();
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-TTL", ttl);
        let acknowledged = nats.request_with_headers(format!("fa.run.{run}.did"), headers, bytes("tombstone"));
        let acknowledged: serde_json::Value = serde_json::from_slice(&acknowledged.await.unwrap().payload).unwrap();
        cleaner.forget(run, acknowledged["seq"].as_u64().unwrap(), RemovalMethod::Overwrite).await.unwrap();
        let left = if ["604800s", "never"].contains(&ttl) { 1 } else { 2 };
        assert_eq!(log.read(run, 0).await.unwrap().len(), left, "{ttl}");
    }
}

async fn a_job_goes_to_one_worker_of_its_workflow(ground: Ground) {
    const JOBS: usize = 100;
    let Broker { queue, .. } = ground.broker();
    let (workflow, other) = (queue_of("work"), queue_of("other"));
    let runs: HashSet<RunId> = (0..JOBS).map(|_| RunId::random()).collect();
    let elsewhere = RunId::random();
    queue.enqueue(&other, &job(elsewhere), "elsewhere").await.unwrap();
    future::join_all(runs.iter().map(|&run| {
        let (queue, workflow) = (queue.clone(), workflow.clone());
        async move { queue.enqueue(&workflow, &job(run), &run.to_string()).await.unwrap() }
    }))
    .await;
    let workers = (0..3).map(|_| {
        let (queue, workflow) = (queue.clone(), workflow.clone());
        async move { queue.take(&workflow, PATIENCE).await.unwrap() }
    });
    let mut all = futures_util::stream::select_all(future::join_all(workers).await);
    let mut taken = HashSet::new();
    for _ in 0..JOBS {
        let delivery = soon(all.next()).await.unwrap().unwrap();
        assert_eq!((delivery.attempt(), delivery.job().reason), (1, JobReason::Start));
        assert!(taken.insert(delivery.job().run), "a job was delivered twice");
        delivery.working().await.unwrap();
        delivery.ack().await.unwrap();
    }
    assert_eq!(taken, runs);
    // What comes next is new: nothing acknowledged comes again.
    let last = RunId::random();
    queue.enqueue(&workflow, &job(last), "last").await.unwrap();
    assert_eq!(soon(all.next()).await.unwrap().unwrap().job().run, last);
    assert_eq!(next_job(&mut queue.take(&other, PATIENCE).await.unwrap()).await.job().run, elsewhere);
}

async fn a_webhook_and_a_workflow_of_any_name_share_no_queue(ground: Ground) {
    let broker = ground.broker();
    let webhook =
        WebhookConfig { url: String::new(), secret: "s".into(), on: vec![WebhookTrigger::Ended], redact: true };
    let notices = WebhookNotices::new(broker.clone(), &BTreeMap::from([(name("x"), webhook)]));
    let (noticed, started) = (RunId::random(), RunId::random());
    let ended = RunEnd {
        outcome: RunOutcome::Completed,
        reason: None,
        result: serde_json::Value::Null,
        usage: RunUsage::default(),
        message: completed_message(noticed, serde_json::Value::Null),
    };
    notices.announce(noticed, &RecordBody::Ended(ended)).await.unwrap();
    for (number, workflow) in ["webhook--x", "x"].into_iter().enumerate() {
        let workflow = queue_of(workflow);
        broker.queue.enqueue(&workflow, &job(started), &format!("start {number}")).await.unwrap();
        let mut jobs = broker.queue.take(&workflow, PATIENCE).await.unwrap();
        assert_eq!(next_job(&mut jobs).await.job().run, started, "the queue {workflow} has a notice");
    }
    let mut notices = broker.queue.take(&QueueName::Webhook(name("x")), PATIENCE).await.unwrap();
    assert_eq!(next_job(&mut notices).await.job().run, noticed);
}

async fn the_same_job_is_queued_once(ground: Ground) {
    let Broker { queue, .. } = ground.broker();
    let workflow = queue_of("work");
    let (run, end) = (RunId::random(), RunId::random());
    for _ in 0..3 {
        queue.enqueue(&workflow, &job(run), "the same / id").await.unwrap();
    }
    let mut jobs = queue.take(&workflow, PATIENCE).await.unwrap();
    next_job(&mut jobs).await.ack().await.unwrap();
    queue.enqueue(&workflow, &job(run), "the same / id").await.unwrap();
    queue.enqueue(&workflow, &job(end), "another").await.unwrap();
    assert_eq!(next_job(&mut jobs).await.job().run, end);
}

async fn a_job_given_back_comes_again(ground: Ground) {
    let Broker { queue, .. } = ground.broker();
    let workflow = queue_of("work");
    let run = RunId::random();
    queue.enqueue(&workflow, &job(run), "one").await.unwrap();
    let mut jobs = queue.take(&workflow, PATIENCE).await.unwrap();
    let delivery = next_job(&mut jobs).await;
    let start = tokio::time::Instant::now();
    delivery.retry_after(Duration::from_millis(700)).await.unwrap();
    let again = next_job(&mut jobs).await;
    assert!(start.elapsed() >= Duration::from_millis(600), "it came back too early");
    assert_eq!((again.job().run, again.attempt()), (run, 2));
    again.retry_after(Duration::ZERO).await.unwrap();
    // Whoever is there may get it.
    let mut others = queue.take(&workflow, PATIENCE).await.unwrap();
    let third = soon(async {
        tokio::select! { job = jobs.next() => job, job = others.next() => job }
    });
    let third = third.await.unwrap().unwrap();
    assert_eq!((third.job().run, third.attempt()), (run, 3));
    third.ack().await.unwrap();
}

async fn timers_fire_once_and_can_be_replaced(ground: Ground) {
    let Broker { queue, .. } = ground.broker();
    let workflow = queue_of("work");
    let now = || SystemClock.now();
    let in_ms = |millis| clock::after(now(), Duration::from_millis(millis));
    let timer = |run| Job { run, reason: JobReason::Timer };
    let (replaced, past, purged, later) = (RunId::random(), RunId::random(), RunId::random(), RunId::random());
    queue.schedule(&workflow, &timer(replaced), in_ms(3_600_000)).await.unwrap();
    queue.schedule(&workflow, &timer(replaced), in_ms(1500)).await.unwrap();
    queue.schedule(&workflow, &timer(purged), in_ms(1000)).await.unwrap();
    removed(&ground, purged, "tombstone").await;
    let long_ago = now().checked_sub(Duration::from_secs(3600)).unwrap();
    queue.schedule(&workflow, &timer(past), long_ago).await.unwrap();
    let due = in_ms(3000);
    queue.schedule(&workflow, &timer(later), due).await.unwrap();
    let mut jobs = queue.take(&workflow, PATIENCE).await.unwrap();
    for expected in [past, replaced, later] {
        let delivery = next_job(&mut jobs).await;
        assert_eq!((delivery.job().run, delivery.job().reason), (expected, JobReason::Timer));
        delivery.ack().await.unwrap();
    }
    assert!(clock::until(now(), due) < Duration::from_millis(50), "a timer fired early");
    // A run can have another one when the first is over.
    queue.schedule(&workflow, &timer(past), in_ms(10)).await.unwrap();
    assert_eq!(next_job(&mut jobs).await.job().run, past);
}

async fn leases_end_unless_renewed_and_watchers_hear_it(ground: Ground) {
    const LEASE: Duration = Duration::from_secs(1);
    let Broker { catalogue, .. } = ground.broker();
    let mut changes = catalogue.watch(Bucket::Workers).await.unwrap();
    next(&mut changes).await;
    catalogue.put(Bucket::Workers, "dies", bytes("1"), Some(LEASE)).await.unwrap();
    catalogue.put(Bucket::Workers, "lives", bytes("1"), Some(LEASE)).await.unwrap();
    catalogue.put(Bucket::Workers, "stays", bytes("1"), None).await.unwrap();
    next(&mut changes).await;
    assert!(catalogue.get(Bucket::Workers, "dies").await.unwrap().is_some());
    // Half a lease is enough to be in time; three leases are enough to show that it was renewed.
    let mut beat = tokio::time::interval(LEASE / 4);
    for count in 0..12 {
        beat.tick().await;
        catalogue.put(Bucket::Workers, "lives", bytes(count.to_string()), Some(LEASE)).await.unwrap();
    }
    assert_eq!(catalogue.get(Bucket::Workers, "lives").await.unwrap(), Some(bytes("11")));
    assert_eq!(catalogue.get(Bucket::Workers, "dies").await.unwrap(), None);
    // From here on nobody puts anything: what is heard is the end of the lease.
    let alive = || async {
        let entries = catalogue.list(Bucket::Workers, None).await.unwrap();
        entries.into_iter().map(|entry| entry.key).collect::<Vec<_>>()
    };
    while alive().await != ["stays"] {
        next(&mut changes).await;
    }
    catalogue.delete(Bucket::Workers, "stays").await.unwrap();
    while !alive().await.is_empty() {
        next(&mut changes).await;
    }
    catalogue.delete(Bucket::Workers, "never-was").await.unwrap();
    // A key can come back.
    catalogue.put(Bucket::Workers, "dies", bytes("2"), None).await.unwrap();
    assert_eq!(catalogue.get(Bucket::Workers, "dies").await.unwrap(), Some(bytes("2")));
}

async fn of_many_who_put_an_entry_first_one_does_and_all_learn_what_is_there(ground: Ground) {
    let Broker { catalogue, .. } = ground.broker();
    let put = |number: usize| {
        let catalogue = catalogue.clone();
        async move { catalogue.put_first(Bucket::Gateways, "secret", bytes(number.to_string())).await.unwrap() }
    };
    let learned = futures_util::future::join_all((0..8).map(put)).await;
    assert!(learned.iter().all(|value| *value == learned[0]), "{learned:?}");
    assert_eq!(catalogue.get(Bucket::Gateways, "secret").await.unwrap().as_ref(), Some(&learned[0]));
    assert_eq!(put(9).await, learned[0]);
}

async fn lines_of_runs_are_found_by_page(ground: Ground) {
    let Broker { catalogue, lists, .. } = ground.broker();
    let ann = UserId::new("ann@example.org");
    let runs: Vec<RunId> = (0..6).map(|_| RunId::random()).collect();
    for (number, run) in runs.iter().enumerate() {
        let at = |hours: usize| Timestamp::from_second(1_790_000_000 + 3600 * hours as i64).unwrap();
        let user = if number.is_multiple_of(2) { ann.clone() } else { None };
        let questions = match number {
            0 | 4 => json!([{"id": run.derive::<MessageId>("open"), "prompt": "?", "at": at(10 - number)}]),
            _ => json!([]),
        };
        let (state, outcome) =
            if number.is_multiple_of(4) { ("waiting", Value::Null) } else { ("ended", json!("completed")) };
        let line = json!({
            "id": run, "workflow": "chat", "title": format!("Order {number}"), "state": state, "outcome": outcome,
            "questions": questions, "user": user, "tokens": 5, "cost_usd": 0.5, "created_at": at(number), "updated_at": at(20), "seq": 1,
        });
        let key = format!("{}.{run}", user_token(user.as_ref()));
        // Twice, so that an older value is there.
        for _ in 0..2 {
            catalogue.put(Bucket::Runs, &key, line.to_string().into(), None).await.unwrap();
        }
    }
    let key = format!("{}.{}", user_token(ann.as_ref()), runs[2]);
    catalogue.put(Bucket::Runs, &format!("{key}.title"), "\"Äpfel\"".into(), None).await.unwrap();
    let list = async |filter: LineFilter, order| -> Vec<usize> {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let query = LineQuery { filter: filter.clone(), order, after, limit: 2, look_through: MOST_LOOKED_THROUGH };
            let page = lists.page(&query).await.unwrap();
            found.extend(page.lines.iter().map(|line| runs.iter().position(|run| *run == line.place.run).unwrap()));
            after = page.next;
            if after.is_none() {
                return found;
            }
        }
    };
    let all = LineFilter::default;
    let own = || LineFilter { owner: LineOwner::User(ann.clone()), ..all() };
    assert_eq!(list(all(), LineOrder::Newest).await, [5, 4, 3, 2, 1, 0]);
    assert_eq!(list(all(), LineOrder::WaitingFirst).await, [4, 0, 5, 3, 2, 1]);
    assert_eq!(list(own(), LineOrder::WaitingFirst).await, [4, 0, 2]);
    assert_eq!(list(LineFilter { words: title_words("ÄPF"), ..all() }, LineOrder::Newest).await, [2]);
    assert_eq!(list(LineFilter { words: title_words("order 2"), ..all() }, LineOrder::Newest).await, [0; 0]);
    assert_eq!(lists.count_open(ann.as_ref(), 10).await.unwrap(), 2);
    assert_eq!(lists.line(runs[2]).await.unwrap().unwrap().title.as_deref(), Some("Äpfel"));
    let totals = lists.totals(1).await.unwrap();
    assert_eq!((totals.open_questions, totals.by_workflow[0].1.runs, totals.by_user.len()), (2, 6, 1));
    let open =
        QuestionQuery { owner: LineOwner::Everybody, asked_before: None, after: None, limit: 1, look_through: 1 };
    let asked: Vec<_> = lists.questions(&open).try_collect().await.unwrap();
    let askers: Vec<RunId> = asked.iter().map(|(_, line)| line.place.run).collect();
    assert_eq!(askers, [runs[4], runs[0]], "the oldest question comes first");
    let rest: Vec<_> = lists.questions(&QuestionQuery { after: Some(asked[0].0), ..open }).try_collect().await.unwrap();
    assert_eq!(rest, asked[1..]);
    catalogue.delete(Bucket::Runs, &key).await.unwrap();
    assert_eq!(list(own(), LineOrder::Newest).await, [4, 0]);
}

async fn of_many_who_change_an_entry_nobody_undoes_what_another_did(ground: Ground) {
    let Broker { catalogue, .. } = ground.broker();
    let add = |number: u8| {
        let catalogue = catalogue.clone();
        async move {
            loop {
                let (value, revision) = catalogue.get_to_change(Bucket::Runs, "all").await.unwrap();
                let more = [&value.unwrap_or_default()[..], &[number]].concat();
                match catalogue.put_over(Bucket::Runs, "all", more.into(), revision, None).await {
                    Err(Error::Conflict { .. }) => continue,
                    put => break put.unwrap(),
                }
            }
        }
    };
    let add_all = || futures_util::future::join_all((0..8).map(add));
    let all = async || {
        let mut found = catalogue.get(Bucket::Runs, "all").await.unwrap().unwrap().to_vec();
        found.sort_unstable();
        found
    };
    add_all().await;
    assert_eq!(all().await, (0..8).collect::<Vec<u8>>());
    // One that was removed meanwhile is not put again by whoever had read it, and begins anew.
    let (_, revision) = catalogue.get_to_change(Bucket::Runs, "all").await.unwrap();
    catalogue.delete(Bucket::Runs, "all").await.unwrap();
    let late = catalogue.put_over(Bucket::Runs, "all", bytes("late"), revision, None).await;
    assert!(matches!(late, Err(Error::Conflict { .. })), "{late:?}");
    assert_eq!(catalogue.get_to_change(Bucket::Runs, "all").await.unwrap().0, None);
    add_all().await;
    assert_eq!(all().await, (0..8).collect::<Vec<u8>>());
}

async fn the_catalogue_lists_what_was_put_last_at_the_end(ground: Ground) {
    let Broker { catalogue, .. } = ground.broker();
    for key in ["alice.1", "bob.1", "alice.2", "al.1", "alice-x.1", "alice", "alice.3"] {
        catalogue.put(Bucket::Runs, key, bytes(key), None).await.unwrap();
    }
    catalogue.put(Bucket::Runs, "alice.1", bytes("again"), None).await.unwrap();
    catalogue.delete(Bucket::Runs, "alice.3").await.unwrap();
    catalogue.put(Bucket::Workflows, "alice.9", bytes("elsewhere"), None).await.unwrap();
    let keys = |first: Option<&'static str>| {
        let catalogue = catalogue.clone();
        async move {
            let entries = catalogue.list(Bucket::Runs, first).await.unwrap();
            entries.into_iter().map(|entry| (entry.key, text(&entry.value).to_owned())).collect::<HashMap<_, _>>()
        }
    };
    let listed = catalogue.list(Bucket::Runs, Some("alice")).await.unwrap();
    let order: Vec<_> = listed.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(order, ["alice.2", "alice", "alice.1"]);
    assert_eq!(keys(Some("alice")).await["alice.1"], "again");
    assert_eq!(keys(None).await.len(), 6);
    assert!(keys(Some("nobody")).await.is_empty());
    assert!(catalogue.get(Bucket::Runs, "nobody").await.unwrap().is_none());
    for bad in ["", "a b", "*", "alice.>", "a..b", ".a", "a.", "ü"] {
        assert!(matches!(catalogue.get(Bucket::Runs, bad).await, Err(Error::Refused { .. })), "{bad:?}");
        assert!(
            matches!(catalogue.put(Bucket::Runs, bad, bytes("v"), None).await, Err(Error::Refused { .. })),
            "{bad:?}"
        );
        assert!(matches!(catalogue.list(Bucket::Runs, Some(bad)).await, Err(Error::Refused { .. })), "{bad:?}");
    }
    // Many: each is there, and once, also while they are put again.
    let put_all = || {
        future::join_all((0..1000).map(|at| {
            let catalogue = catalogue.clone();
            async move { catalogue.put(Bucket::Workflows, &format!("k.{at}"), bytes("v"), None).await.unwrap() }
        }))
    };
    put_all().await;
    let mut putting = std::pin::pin!(put_all());
    loop {
        let list = catalogue.list(Bucket::Workflows, Some("k"));
        let (listed, is_done) = match future::select(&mut putting, list).await {
            future::Either::Left((_, list)) => (list.await.unwrap(), true),
            future::Either::Right((listed, _)) => (listed.unwrap(), false),
        };
        let keys: HashSet<_> = listed.iter().map(|entry| &entry.key).collect();
        assert_eq!((listed.len(), keys.len()), (1000, 1000));
        if is_done {
            break;
        }
    }
}

async fn everything_survives_a_restart(mut ground: Ground) {
    let broker = ground.broker();
    let workflow = queue_of("work");
    let (run, timed) = (RunId::random(), RunId::random());
    let first = broker.log.append(run, RecordLane::Said, bytes("before"), 0).await.unwrap();
    broker.inbox.put(run, InboxSlot::Cancel, bytes("stop")).await.unwrap();
    broker.catalogue.put(Bucket::Workflows, "w", bytes("v"), None).await.unwrap();
    broker.queue.enqueue(&workflow, &job(run), "job").await.unwrap();
    let due = clock::after(SystemClock.now(), Duration::from_secs(2));
    broker.queue.schedule(&workflow, &Job { run: timed, reason: JobReason::Timer }, due).await.unwrap();
    let mut live = broker.log.follow(run).await.unwrap();
    let mut inbox_updates = broker.inbox.subscribe(run).await.unwrap();
    let mut jobs = broker.queue.take(&queue_of("idle"), PATIENCE).await.unwrap();
    let mut changes = broker.catalogue.watch(Bucket::Workflows).await.unwrap();
    next(&mut changes).await;
    drop(broker);

    let broker = match &mut ground {
        Ground::Embedded { dir, broker } => {
            *broker = None;
            // Those who were there learn that it has ended.
            assert!(soon(live.next()).await.is_none());
            assert!(soon(inbox_updates.next()).await.is_none());
            assert!(soon(jobs.next()).await.is_none());
            assert!(soon(changes.next()).await.is_none());
            *broker = Some(embedded::open(dir.path()).unwrap());
            broker.clone().unwrap()
        }
        Ground::Nats { server, broker } => {
            server.kill();
            let down = broker.log.append(run, RecordLane::Did, bytes("lost"), first + 1000).await;
            assert!(matches!(down, Err(Error::Unavailable { .. })), "{down:?}");
            assert!(broker.log.ready().await.is_err());
            server.start_again();
            // Those who were there learn that they may have missed something, and hear what comes then.
            assert!(matches!(next(&mut live).await, RunUpdate::Gap));
            assert!(matches!(next(&mut inbox_updates).await, InboxUpdate::Gap));
            next(&mut changes).await;
            broker.clone()
        }
    };
    soon(async { while broker.log.ready().await.is_err() {} }).await;
    let all = broker.log.read(run, 0).await.unwrap();
    assert_eq!(all.iter().map(|stored| (stored.seq, text(&stored.payload))).collect::<Vec<_>>(), [(first, "before")]);
    assert!(matches!(broker.inbox.put(run, InboxSlot::Cancel, bytes("late")).await.unwrap(), PutOutcome::Taken(_)));
    assert_eq!(broker.catalogue.get(Bucket::Workflows, "w").await.unwrap(), Some(bytes("v")));
    broker.queue.enqueue(&workflow, &job(run), "job").await.unwrap();
    let mut work = broker.queue.take(&workflow, PATIENCE).await.unwrap();
    for expected in [run, timed] {
        let delivery = next_job(&mut work).await;
        assert_eq!(delivery.job().run, expected);
        delivery.ack().await.unwrap();
    }
    let seq = broker.log.append(run, RecordLane::Did, bytes("after"), first).await.unwrap();
    assert!(seq > first);
    if let Ground::Nats { .. } = ground {
        assert_eq!(next_record(&mut live).await, (seq, "after".to_owned(), first));
        let late = RunId::random();
        broker.queue.enqueue(&queue_of("idle"), &job(late), "late").await.unwrap();
        assert_eq!(next_job(&mut jobs).await.job().run, late);
    }
}
