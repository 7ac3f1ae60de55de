//! Hearing many runs on NATS: how many subscriptions that takes, and what a process knows without reading.

use bytes::Bytes;
use fastagency::broker::{Broker, Error, InboxSlot, InboxUpdate, RecordLane, RunUpdate, StoredRecord};
use fastagency::ids::{MessageId, RunId};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use serde_json::Value;

use crate::support::eventually::{eventually, soon};
use crate::support::nats_server::NatsServer;
use crate::support::ports::free_port;

/// A server whose subscriptions can be counted.
struct CountedServer {
    server: NatsServer,
    monitor: String,
}

impl CountedServer {
    fn start(test: &str) -> Option<Self> {
        let port = free_port().to_string();
        let server = NatsServer::start_with(test, &["-js", "-m", &port])?;
        Some(Self { server, monitor: format!("http://127.0.0.1:{port}/connz?subs=1") })
    }

    /// The subjects below `fa.live.` that somebody subscribes to.
    async fn live_subjects(&self) -> Vec<String> {
        let found: Value = reqwest::get(&self.monitor).await.unwrap().json().await.unwrap();
        let connections = found["connections"].as_array().unwrap().iter();
        let subjects = connections.filter_map(|connection| connection["subscriptions_list"].as_array()).flatten();
        let subjects = subjects.filter_map(|subject| subject.as_str().map(str::to_owned));
        subjects
            .filter(|subject| subject.starts_with("fa.live.run.") || subject.starts_with("fa.live.inbox."))
            .collect()
    }
}

/// What the broker was asked for before is at the server.
async fn arrived(broker: &Broker) {
    broker.log.ready().await.unwrap();
}

async fn created(broker: &Broker, run: RunId) -> u64 {
    broker.log.append(run, RecordLane::Did, Bytes::from("created"), 0).await.unwrap()
}

async fn said(broker: &Broker, run: RunId, last: u64) -> u64 {
    broker.log.append(run, RecordLane::Said, Bytes::from("said"), last).await.unwrap()
}

async fn next_seq(live: &mut BoxStream<'static, RunUpdate>) -> u64 {
    match soon(live.next()).await {
        Some(RunUpdate::Record { stored, .. }) => stored.seq,
        other => panic!("{other:?}"),
    }
}

fn places(records: &[StoredRecord]) -> Vec<u64> {
    records.iter().map(|stored| stored.seq).collect()
}

#[tokio::test]
async fn however_many_runs_a_gateway_starts_and_a_worker_has_each_hears_them_with_one_subscription() {
    let test =
        "broker::live::however_many_runs_a_gateway_starts_and_a_worker_has_each_hears_them_with_one_subscription";
    let Some(counted) = CountedServer::start(test) else { return };
    let (gateway, worker) = (counted.server.broker().await, counted.server.broker().await);
    let runs: Vec<RunId> = (0..50).map(|_| gateway.log.new_run_id()).collect();
    let (mut followed, mut inboxes) = (Vec::new(), Vec::new());
    for run in &runs {
        followed.push(gateway.log.follow(*run).await.unwrap());
        inboxes.push(worker.inbox.subscribe(*run).await.unwrap());
    }
    arrived(&gateway).await;
    arrived(&worker).await;
    for (nth, run) in runs.iter().enumerate() {
        let seq = created(&worker, *run).await;
        assert_eq!(next_seq(&mut followed[nth]).await, seq);
        let question = InboxSlot::Answer(MessageId::random());
        gateway.inbox.put(*run, question, Bytes::from("an answer")).await.unwrap();
        let heard = soon(inboxes[nth].next()).await;
        assert!(matches!(heard, Some(InboxUpdate::Stored { slot, .. }) if slot == question), "{heard:?}");
    }
    let subjects = counted.live_subjects().await;
    assert_eq!(subjects.len(), 2, "{subjects:?}");
    drop((followed, inboxes));
    let again = counted.live_subjects().await;
    assert_eq!(again.len(), 2, "{again:?}");
}

#[tokio::test]
async fn who_hears_little_for_itself_in_a_partition_subscribes_to_single_runs() {
    let test = "broker::live::who_hears_little_for_itself_in_a_partition_subscribes_to_single_runs";
    let Some(counted) = CountedServer::start(test) else { return };
    let (busy, other) = (counted.server.broker().await, counted.server.broker().await);
    let (first, second, many) = (busy.log.new_run_id(), busy.log.new_run_id(), busy.log.new_run_id());
    let mut live = other.log.follow(first).await.unwrap();
    arrived(&other).await;
    let mut last = created(&busy, many).await;
    for _ in 0..1100 {
        last = said(&busy, many, last).await;
    }
    let seq = created(&busy, first).await;
    assert_eq!(next_seq(&mut live).await, seq, "it has heard all that came before");
    assert_eq!(other.log.heard(first).map(|heard| places(&heard)), Some(vec![seq]));
    drop(live);
    eventually("the subscription is given up", async || counted.live_subjects().await.is_empty()).await;
    assert!(other.log.heard(first).is_none(), "nobody hears any more what becomes of it");
    let mut live = other.log.follow(second).await.unwrap();
    arrived(&other).await;
    let seq = created(&busy, second).await;
    assert_eq!(next_seq(&mut live).await, seq);
    let subjects = counted.live_subjects().await;
    assert!(matches!(&*subjects, [one] if one.contains(&second.to_string())), "{subjects:?}");
}

#[tokio::test]
async fn a_log_that_was_heard_from_its_beginning_is_known_without_reading() {
    let test = "broker::live::a_log_that_was_heard_from_its_beginning_is_known_without_reading";
    let Some(server) = NatsServer::start(test) else { return };
    let (gateway, worker) = (server.broker().await, server.broker().await);
    let (early, run) = (gateway.log.new_run_id(), gateway.log.new_run_id());
    created(&gateway, early).await;
    assert!(gateway.log.heard(early).is_none(), "nothing was heard yet");
    let mut live = gateway.log.follow(early).await.unwrap();
    arrived(&gateway).await;
    // Nobody follows this one; the subscription is the same.
    let first = created(&gateway, run).await;
    let second = said(&worker, run, first).await;
    let heard =
        eventually("both are known", async || gateway.log.heard(run).filter(|heard| places(heard) == [first, second]));
    let heard = heard.await;
    let read = gateway.log.read(run, 0).await.unwrap();
    let whole = |records: &[StoredRecord]| {
        records.iter().map(|stored| (stored.seq, stored.at, stored.payload.clone())).collect::<Vec<_>>()
    };
    assert_eq!(whole(&heard), whole(&read));
    // What this process appends itself is there, or nothing is.
    let mut last = second;
    for _ in 0..200 {
        last = said(&gateway, run, last).await;
        let heard = gateway.log.heard(run);
        assert!(heard.is_none_or(|heard| heard.last().is_some_and(|heard| heard.seq == last)));
    }
    assert!(gateway.log.heard(early).is_none(), "its first record was not heard");
    assert!(worker.log.heard(run).is_none(), "the worker follows nothing");
    drop(live.next());
}

#[tokio::test]
async fn a_new_run_is_claimed_with_one_append_unless_something_lies_in_its_inbox() {
    let test = "broker::live::a_new_run_is_claimed_with_one_append_unless_something_lies_in_its_inbox";
    let Some(server) = NatsServer::start(test) else { return };
    let broker = server.broker().await;
    let claim = async |run, expected| {
        broker.log.append_to_untouched(run, RecordLane::Did, Bytes::from("claimed"), expected).await
    };
    let run = RunId::random();
    let first = created(&broker, run).await;
    assert!(claim(run, first).await.unwrap().is_some_and(|seq| seq > first));
    let again = claim(run, first).await;
    assert!(matches!(again, Err(Error::Conflict { expected }) if expected == first), "{again:?}");

    let cancelled = RunId::random();
    let first = created(&broker, cancelled).await;
    broker.inbox.put(cancelled, InboxSlot::Cancel, Bytes::from("stop")).await.unwrap();
    let refused = claim(cancelled, first).await;
    assert!(matches!(refused, Err(Error::Conflict { .. })), "{refused:?}");
    assert_eq!(places(&broker.log.read(cancelled, 0).await.unwrap()), [first]);
    // What lies in the inboxes of others does not matter.
    let other = RunId::random();
    let first = created(&broker, other).await;
    broker.inbox.put(cancelled, InboxSlot::Answer(MessageId::random()), Bytes::from("x")).await.unwrap();
    assert!(claim(other, first).await.unwrap().is_some());
}
