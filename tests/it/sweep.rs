//! Runs that nobody looks after any more are found, on both brokers; ended ones are removed when their time is over.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastagency::audit::every_run;
use fastagency::broker::{Broker, Bucket, Error, InboxSlot, JobReason, RecordLane, embedded};
use fastagency::clock::{self, Clock, SystemClock, Timestamp};
use fastagency::config::KEEP_EVIDENCE;
use fastagency::ids::{MessageId, Name, RunId, WorkerId};
use fastagency::message::{Message, MessageContent, TextInput};
use fastagency::protocol::answer::{AnswerOutcome, AnswerRecord};
use fastagency::protocol::queue_name::QueueName;
use fastagency::redact::Redactor;
use fastagency::run;
use fastagency::run::directory::{self, WorkerCard};
use fastagency::run::lease::Lease;
use fastagency::run::record::{
    EffectOutcome, LogEntry, Record, RecordBody, RunCreation, RunEnd, RunOrigin, RunOutcome, RunUsage,
    completed_message,
};
use fastagency::run::summary::{self, RunState, RunSummary};
use fastagency::run::sweeper::{RunSweeper, SweepReport};
use futures_util::StreamExt;
use serde_json::{Map, Value};

use crate::support::nats_server::NatsServer;

const HOUR: Duration = Duration::from_secs(3600);
const KEEP: Duration = Duration::from_secs(1800);
/// As it is told.
const RULE: &str = "30m";

/// A clock that is an hour ahead: what is stored now lies long back.
struct AnHourOn;

impl Clock for AnHourOn {
    fn now(&self) -> Timestamp {
        clock::after(SystemClock.now(), HOUR)
    }
}

fn workflow() -> Name {
    Name::parse("lesson").unwrap()
}

fn question() -> Message {
    Message {
        uuid: MessageId::random(),
        sender: None,
        recipient: None,
        auto_reply: false,
        alias: None,
        within: Vec::new(),
        says: MessageContent::TextInput(TextInput { prompt: Some("What?".into()), ..TextInput::default() }),
    }
}

/// A run with these records after `created`; nobody queued it.
async fn stored(broker: &Broker, bodies: Vec<RecordBody>) -> RunId {
    let run = RunId::random();
    let created = RunCreation {
        workflow: workflow(),
        definition: Some("hash".into()),
        params: Map::new(),
        user: None,
        groups: Box::default(),
        origin: RunOrigin::Gateway,
        trace: None,
        signature: None,
    };
    let mut last = 0;
    for body in std::iter::once(RecordBody::Created(created)).chain(bodies) {
        let record = Record::new(body);
        last = broker.log.append(run, record.lane(), record.payload(), last).await.unwrap();
    }
    run
}

fn ended(run: RunId) -> RecordBody {
    RecordBody::Ended(RunEnd {
        outcome: RunOutcome::Completed,
        reason: None,
        result: Value::Null,
        usage: RunUsage::default(),
        message: completed_message(run, Value::Null),
    })
}

fn claimed(worker: WorkerId) -> RecordBody {
    RecordBody::Claimed { worker, epoch: 1, message: None }
}

async fn living(broker: &Broker, worker: WorkerId, clock: Arc<dyn Clock>) -> Lease {
    let card = WorkerCard {
        id: worker,
        workflows: vec![workflow()],
        started_at: SystemClock.now(),
        version: "test".into(),
        runs: 0,
        max_runs: 1,
        cleans: true,
        takes_created: false,
    };
    let sent = Lease::moment(&*clock);
    directory::renew(broker, &card, HOUR).await.unwrap();
    Lease::new(worker, HOUR * 2, clock, sent)
}

async fn lost_runs_are_found_and_old_ones_removed(broker: Broker) {
    let mut ids = [WorkerId::random(), WorkerId::random()];
    ids.sort();
    let [first, second] = ids;
    let lease = living(&broker, first, Arc::new(AnHourOn)).await;
    let other = living(&broker, second, Arc::new(AnHourOn)).await;
    let dead = WorkerId::random();

    let never_queued = stored(&broker, vec![]).await;
    let owner_dead = stored(&broker, vec![claimed(dead)]).await;
    let overdue = stored(&broker, vec![claimed(dead), RecordBody::Parked { until: Some(SystemClock.now()) }]).await;
    let asked = question();
    let said = || RecordBody::Said { key: "a#0".into(), message: asked.clone() };
    let never_woken = stored(&broker, vec![claimed(dead), said(), RecordBody::Parked { until: None }]).await;
    broker.inbox.put(never_woken, InboxSlot::Answer(asked.uuid), Bytes::from_static(b"{}")).await.unwrap();
    let waiting = stored(&broker, vec![claimed(dead), said(), RecordBody::Parked { until: None }]).await;
    let over = stored(&broker, vec![]).await;
    let record = Record::new(ended(over));
    let expected = broker.log.last(over).await.unwrap().unwrap().seq;
    broker.log.append(over, RecordLane::Said, record.payload(), expected).await.unwrap();
    broker.inbox.put(over, InboxSlot::Cancel, Bytes::from_static(b"{}")).await.unwrap();
    // Keys of passwords: one is in use and no answer, one was left by whoever ended the run.
    for run in [waiting, over] {
        broker.inbox.put(run, InboxSlot::Key, Bytes::from_static(b"sealed")).await.unwrap();
    }
    // What a worker had put down before it died.
    RunSummary { workflow: Some(workflow()), state: RunState::Running, ..RunSummary::new(waiting) }
        .publish_summary(&broker)
        .await
        .unwrap();
    RunSummary { workflow: Some(workflow()), ..RunSummary::new(over) }.publish_summary(&broker).await.unwrap();

    // Only the first of the living goes round.
    let mut idle = RunSweeper::new(broker.clone(), KEEP, HOUR * 24);
    assert_eq!(idle.sweep(&other, true).await.unwrap(), SweepReport::default());
    let kept = RunSweeper::new(broker.clone(), HOUR * 3, HOUR * 24).sweep(&lease, true).await.unwrap();
    assert_eq!((kept.called, kept.removed), (4, 0), "{kept:?}");
    assert!(broker.inbox.get(over, InboxSlot::Key).await.unwrap().is_none());
    assert!(broker.inbox.get(waiting, InboxSlot::Key).await.unwrap().is_some());
    let mut sweeper = RunSweeper::new(broker.clone(), KEEP, HOUR * 24);
    let swept = sweeper.sweep(&lease, true).await.unwrap();
    assert_eq!((swept.runs, swept.called, swept.removed), (6, 4, 1), "{swept:?}");
    // Each is called once; the one that waits for its answer is not.
    let mut jobs = broker.queue.take(&QueueName::Workflow(workflow()), HOUR).await.unwrap();
    let mut called = Vec::new();
    for _ in 0..4 {
        let job = tokio::time::timeout(Duration::from_secs(20), jobs.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(job.job().reason, JobReason::Wake);
        called.push(job.job().run);
        job.ack().await.unwrap();
    }
    let mut lost = vec![never_queued, owner_dead, overdue, never_woken];
    called.sort();
    lost.sort();
    assert_eq!(called, lost);
    let again = sweeper.sweep(&lease, true).await.unwrap();
    assert_eq!((again.runs, again.called, again.removed), (5, 0, 0), "{again:?}");

    // The run that waits keeps all it has, and its line is right again.
    assert_eq!(run::read(&broker, waiting, 0).await.unwrap().len(), 4);
    let lines = summary::list_all(&broker).await.unwrap();
    let line = lines.iter().find(|line| line.id == waiting).expect("it is listed");
    assert_eq!((line.state, line.questions.len()), (RunState::Waiting, 1));
    // The old one is gone everywhere, and nobody brings it back.
    assert!(lines.iter().all(|line| line.id != over));
    assert!(broker.inbox.get(over, InboxSlot::Cancel).await.unwrap().is_none());
    let left = run::read(&broker, over, 0).await.unwrap();
    // What is left says what it was, and by which rule it was removed.
    let [LogEntry { record: Record { body: RecordBody::Removed(removal), .. }, .. }] = left.as_slice() else {
        panic!("{left:?}")
    };
    assert_eq!((removal.rule.as_deref(), &removal.by), (Some(format!("keep_ended: {RULE}").as_str()), &None));
    let evidence = removal.evidence.as_ref().expect("what it was");
    assert_eq!((&evidence.workflow, evidence.outcome), (&workflow(), Some(RunOutcome::Completed)));
    assert!(evidence.created_at <= evidence.ended_at.expect("it had ended"), "{evidence:?}");
    let gone = every_run(&broker).await.unwrap().into_iter().find(|run| run.id == over).expect("the audit knows it");
    assert_eq!((gone.workflow, gone.removed.is_some()), (Some(workflow()), true));
    // Nor does a worker that puts its last line down only now.
    RunSummary { state: RunState::Ended, ..RunSummary::new(over) }.publish_summary(&broker).await.unwrap();
    assert!(summary::list_all(&broker).await.unwrap().iter().all(|line| line.id != over));
    for expected in [0, expected] {
        let late = broker.log.append(over, RecordLane::Did, Bytes::from_static(b"{}"), expected).await;
        assert!(matches!(late, Err(Error::Conflict { .. })), "{late:?}");
    }
    assert!(broker.catalogue.list(Bucket::Runs, None).await.unwrap().len() >= 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_embedded() {
    let folder = tempfile::tempdir().unwrap();
    lost_runs_are_found_and_old_ones_removed(embedded::open(folder.path()).unwrap()).await;
}

/// A field is known by its name in a record only; in a title there is but its value.
#[tokio::test]
async fn a_line_that_is_set_right_does_not_show_what_is_redacted() {
    let folder = tempfile::tempdir().unwrap();
    let broker = embedded::open(folder.path()).unwrap();
    let lease = living(&broker, WorkerId::random(), Arc::new(AnHourOn)).await;
    let asked = question();
    let form = serde_json::json!({"iban": "DE02 1203 0000", "name": "Ann Other"});
    let outcome = AnswerOutcome::Given(form.into());
    let answered = AnswerRecord { question: asked.uuid, by: None, outcome };
    let said = RecordBody::Said { key: "a#0".into(), message: asked };
    let answer = RecordBody::Did { key: "a#0/answer".into(), outcome: EffectOutcome::Answer(answered) };
    let run =
        stored(&broker, vec![claimed(WorkerId::random()), said, answer, RecordBody::Parked { until: None }]).await;
    let redactor = Redactor::new(&["iban".to_owned()], Vec::new());
    let mut sweeper = RunSweeper::new(broker.clone(), KEEP * 10, HOUR * 24).redacting(redactor);
    assert_eq!(sweeper.sweep(&lease, true).await.unwrap().lines, 1);
    let lines = summary::list_all(&broker).await.unwrap();
    let line = lines.iter().find(|line| line.id == run).unwrap();
    assert_eq!(line.title.as_deref(), Some("[redacted], Ann Other"));
}

/// Its worker may be about to write it. If that worker was killed, nobody else is.
#[tokio::test]
async fn a_line_that_may_be_on_its_way_is_looked_at_again() {
    let folder = tempfile::tempdir().unwrap();
    let broker = embedded::open(folder.path()).unwrap();
    let worker = WorkerId::random();
    let now = living(&broker, worker, clock::system()).await;
    let asked = RecordBody::Said { key: "a#0".into(), message: question() };
    let run = stored(&broker, vec![claimed(WorkerId::random()), asked, RecordBody::Parked { until: None }]).await;
    let mut sweeper = RunSweeper::new(broker.clone(), HOUR * 24, HOUR * 24);
    assert_eq!(sweeper.sweep(&now, true).await.unwrap().lines, 0);
    let later = living(&broker, worker, Arc::new(AnHourOn)).await;
    assert_eq!(sweeper.sweep(&later, true).await.unwrap().lines, 1);
    assert!(summary::list_all(&broker).await.unwrap().iter().any(|line| line.id == run));
    assert_eq!(sweeper.sweep(&later, true).await.unwrap().lines, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_nats() {
    let Some(server) = NatsServer::start("sweep::on_nats") else { return };
    let broker = server.broker().await;
    lost_runs_are_found_and_old_ones_removed(broker).await;
}

/// A tour sees all runs, however many there are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_goes_round_many_runs() {
    let Some(server) = NatsServer::start("sweep::many") else { return };
    let broker = server.broker().await;
    let runs =
        futures_util::future::join_all((0..700).map(|_| stored(&broker, vec![claimed(WorkerId::random())]))).await;
    let lease = living(&broker, WorkerId::random(), clock::system()).await;
    let swept = RunSweeper::new(broker, KEEP, HOUR * 24).sweep(&lease, true).await.unwrap();
    // Too young to be called.
    assert_eq!((swept.runs, swept.called), (runs.len(), 0));
    // No consumer is left behind, for which the server would count all messages again with each removal.
    let nats = async_nats::connect(server.url()).await.unwrap();
    for stream in ["FA_RUNS", "KV_fa_runs"] {
        let answer = nats.request(format!("$JS.API.CONSUMER.NAMES.{stream}"), "{}".into()).await.unwrap();
        let names: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
        let names = names["consumers"].as_array().expect("names");
        assert!(!names.iter().any(|name| name.as_str().is_some_and(|name| name.starts_with("fa_walk_"))), "{names:?}");
    }
}

/// The first of the living may stand still, or be a key that no worker of ours has written.
#[tokio::test]
async fn a_worker_that_goes_round_in_name_only_is_stood_in_for() {
    let folder = tempfile::tempdir().unwrap();
    let broker = embedded::open(folder.path()).unwrap();
    let mut ids = [WorkerId::random(), WorkerId::random()];
    ids.sort();
    let silent = living(&broker, ids[0], clock::system()).await;
    let lease = living(&broker, ids[1], clock::system()).await;
    stored(&broker, vec![]).await;
    let mut sweeper = RunSweeper::new(broker.clone(), KEEP, KEEP_EVIDENCE);
    assert_eq!(sweeper.sweep(&lease, true).await.unwrap(), SweepReport::default());
    let a_minute_on = async || {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(61)).await;
        tokio::time::resume();
    };
    a_minute_on().await;
    for _ in 0..3 {
        assert_eq!(sweeper.sweep(&lease, true).await.unwrap().runs, 1, "it goes on");
    }
    // The first is heard of again.
    let mut first = RunSweeper::new(broker.clone(), KEEP, KEEP_EVIDENCE);
    assert_eq!(first.sweep(&silent, true).await.unwrap().runs, 1);
    assert_eq!(sweeper.sweep(&lease, true).await.unwrap(), SweepReport::default());
    // One that only says that it goes round keeps nobody away for ever.
    for _ in 0..61 {
        a_minute_on().await;
        first.sweep(&silent, true).await.unwrap();
    }
    assert_eq!(sweeper.sweep(&lease, true).await.unwrap().runs, 1);
}

/// A clock that somebody sets.
#[derive(Default)]
struct Settable(std::sync::atomic::AtomicBool);

impl Clock for Settable {
    fn now(&self) -> Timestamp {
        let ahead = if self.0.load(std::sync::atomic::Ordering::Relaxed) { HOUR } else { Duration::ZERO };
        clock::after(SystemClock.now(), ahead)
    }
}

async fn over(broker: &Broker) -> RunId {
    let run = stored(broker, vec![]).await;
    let record = Record::new(ended(run));
    let expected = broker.log.last(run).await.unwrap().unwrap().seq;
    broker.log.append(run, record.lane(), record.payload(), expected).await.unwrap();
    run
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_removed_by_a_clock_that_was_set() {
    let folder = tempfile::tempdir().unwrap();
    let broker = embedded::open(folder.path()).unwrap();
    let clock = Arc::new(Settable::default());
    let lease = living(&broker, WorkerId::random(), clock.clone()).await;
    over(&broker).await;
    let mut sweeper = RunSweeper::new(broker.clone(), KEEP, KEEP_EVIDENCE).checking_the_clock();
    assert_eq!(sweeper.sweep(&lease, true).await.unwrap().removed, 0, "it is not old");
    clock.0.store(true, std::sync::atomic::Ordering::Relaxed);
    for _ in 0..2 {
        assert_eq!(sweeper.sweep(&lease, true).await.unwrap().removed, 0, "the clock was set");
    }
    let fresh = RunSweeper::new(broker, KEEP, KEEP_EVIDENCE).sweep(&lease, true).await.unwrap();
    assert_eq!(fresh.removed, 1, "as it would be without a look at the clock");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_removed_by_a_clock_that_is_not_the_stores() {
    let Some(server) = NatsServer::start("sweep::clock") else { return };
    let broker = server.broker().await;
    let lease = living(&broker, WorkerId::random(), Arc::new(AnHourOn)).await;
    over(&broker).await;
    let wrong =
        RunSweeper::new(broker.clone(), KEEP, KEEP_EVIDENCE).checking_the_clock().sweep(&lease, true).await.unwrap();
    assert_eq!((wrong.runs, wrong.removed), (1, 0), "an hour ahead of the server");
    let right = living(&broker, lease.worker(), clock::system()).await;
    let swept =
        RunSweeper::new(broker, Duration::ZERO, KEEP_EVIDENCE).checking_the_clock().sweep(&right, true).await.unwrap();
    assert_eq!(swept.removed, 1);
}
