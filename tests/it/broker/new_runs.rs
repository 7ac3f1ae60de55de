//! Runs that are created and queued in one: what both brokers promise of them, and what they cost on a NATS server.

use fastagency::broker::{QueueDepth, ScannedItem};
use fastagency::chain::anchors::AnchorWriter;
use fastagency::chain::{ChainKey, chained};
use fastagency::ids::WorkerId;
use fastagency::run::claim::{ClaimOutcome, NewRun, PreparedRun, claim};
use fastagency::run::lease::Lease;
use fastagency::run::record::Record;
use fastagency::run::start::{StartDelivery, StartOutcome, start_with_token};

use super::*;
use crate::support::system::{start_of, workflow};

broker_conformance!(
    a_created_run_is_there_and_is_brought_to_one_worker,
    a_run_is_created_once_whoever_tries_and_however,
    a_created_run_whose_worker_dies_comes_to_another,
    a_created_run_is_read_as_any_other,
    a_created_run_that_is_removed_is_gone,
);

async fn a_created_run_is_there_and_is_brought_to_one_worker(ground: Ground) {
    const RUNS: usize = 40;
    let Broker { log, queue, .. } = ground.broker();
    let (workflow, other) = (name("work"), name("work2"));
    let queued = QueueName::Workflow(workflow.clone());
    let workers = [queue.take(&queued, PATIENCE).await.unwrap(), queue.take(&queued, PATIENCE).await.unwrap()];
    let elsewhere = RunId::random();
    log.create(elsewhere, &other, bytes("elsewhere")).await.unwrap();
    let mut live = log.follow(elsewhere).await.unwrap();
    let mut wanted = HashMap::new();
    for number in 0..RUNS {
        let run = RunId::random();
        // Jobs and new runs come to the same worker.
        if number % 4 == 0 {
            queue.enqueue(&queued, &job(run), &run.to_string()).await.unwrap();
        } else {
            log.create(run, &workflow, bytes(format!("created {number}"))).await.unwrap();
        }
        wanted.insert(run, number);
    }
    let mut all = futures_util::stream::select_all(workers);
    while !wanted.is_empty() {
        let mut delivery = soon(all.next()).await.unwrap().unwrap();
        assert_eq!((delivery.attempt(), delivery.job().reason), (1, JobReason::Start));
        let number = wanted.remove(&delivery.job().run).expect("each once");
        if let Some(created) = delivery.take_created() {
            assert_eq!(text(&created.payload), format!("created {number}"));
            let stored = log.read(delivery.job().run, 0).await.unwrap();
            assert_eq!((stored.len(), stored[0].seq, stored[0].at), (1, created.seq, created.at));
        }
        delivery.ack().await.unwrap();
    }
    drop(all);
    let mut others = queue.take(&QueueName::Workflow(other), PATIENCE).await.unwrap();
    assert_eq!(next_job(&mut others).await.job().run, elsewhere);
    let first = log.last(elsewhere).await.unwrap().unwrap().seq;
    let said = log.append(elsewhere, RecordLane::Said, bytes("said"), first).await.unwrap();
    assert_eq!(next_record(&mut live).await, (said, "said".to_owned(), first));
}

async fn a_run_is_created_once_whoever_tries_and_however(ground: Ground) {
    let Broker { log, queue, .. } = ground.broker();
    let workflow = name("work");
    for _ in 0..8 {
        let run = RunId::random();
        let (one, other) = (name("one"), name("other"));
        let mut live = log.follow(run).await.unwrap();
        let (a, b, c) = tokio::join!(
            log.create(run, &one, bytes("one")),
            log.create(run, &other, bytes("other")),
            log.append(run, RecordLane::Did, bytes("third"), 0)
        );
        let mut stored = [&a, &b, &c].into_iter().filter_map(|outcome| outcome.as_ref().ok());
        let (Some(seq), None) = (stored.next(), stored.next()) else { panic!("{a:?} {b:?} {c:?}") };
        assert!([&a, &b, &c].into_iter().all(|outcome| matches!(outcome, Ok(_) | Err(Error::Conflict { .. }))));
        let log = log.read(run, 0).await.unwrap();
        assert_eq!((log.len(), log[0].seq), (1, *seq));
        assert_eq!(next_record(&mut live).await.2, 0);
    }
    let run = RunId::random();
    let first = log.create(run, &workflow, bytes("created")).await.unwrap();
    assert!(matches!(log.create(run, &workflow, bytes("created")).await, Err(Error::Conflict { .. })));
    let queued = QueueName::Workflow(workflow);
    let mut jobs = queue.take(&queued, PATIENCE).await.unwrap();
    assert_eq!(next_job(&mut jobs).await.job().run, run);
    let end = RunId::random();
    queue.enqueue(&queued, &job(end), "end").await.unwrap();
    assert_eq!(next_job(&mut jobs).await.job().run, end, "it was queued twice");
    assert!(log.append(run, RecordLane::Did, bytes("claimed"), first).await.is_ok());
}

async fn a_created_run_whose_worker_dies_comes_to_another(ground: Ground) {
    let Broker { log, queue, .. } = ground.broker();
    let workflow = name("work");
    let (queued, patience) = (QueueName::Workflow(workflow.clone()), Duration::from_secs(1));
    let mut dying = queue.take(&queued, patience).await.unwrap();
    let run = RunId::random();
    log.create(run, &workflow, bytes("created")).await.unwrap();
    let delivery = next_job(&mut dying).await;
    assert_eq!(queue.depth(&queued).await.unwrap(), QueueDepth { waiting: 0, taken: 1 });
    drop((dying, delivery));
    let mut living = queue.take(&queued, patience).await.unwrap();
    let again = next_job(&mut living).await;
    assert_eq!((again.job().run, again.attempt()), (run, 2));
    again.retry_after(Duration::ZERO).await.unwrap();
    let third = next_job(&mut living).await;
    assert_eq!((third.job().run, third.attempt()), (run, 3));
    third.ack().await.unwrap();
    drop(living);
    let (waiting, also) = (RunId::random(), RunId::random());
    log.create(waiting, &workflow, bytes("created")).await.unwrap();
    queue.enqueue(&queued, &job(also), "also").await.unwrap();
    // What had just stopped asking may have been given one.
    eventually("both are counted", async || match queue.depth(&queued).await.unwrap() {
        QueueDepth { waiting, taken } if waiting + taken == 2 => Ok(()),
        other => Err(other),
    })
    .await;
}

async fn a_created_run_is_read_as_any_other(ground: Ground) {
    const LANES: [RecordLane; 5] =
        [RecordLane::Said, RecordLane::Said, RecordLane::Did, RecordLane::Said, RecordLane::Did];
    let broker = ground.broker();
    // Most runs say something first, some do.
    for lanes in [&LANES[..], &LANES[2..]] {
        let run = RunId::random();
        let mut seqs = vec![broker.log.create(run, &name("work"), bytes("0")).await.unwrap()];
        are_all_found(&broker, run, &seqs).await;
        for (number, lane) in (1..).zip(lanes) {
            let last = *seqs.last().unwrap();
            seqs.push(broker.log.append(run, *lane, bytes(number.to_string()), last).await.unwrap());
            are_all_found(&broker, run, &seqs).await;
        }
    }
}

async fn are_all_found(broker: &Broker, run: RunId, seqs: &[u64]) {
    let places = |found: Vec<fastagency::broker::StoredRecord>| -> Vec<u64> {
        assert!(found.iter().enumerate().all(|(number, stored)| text(&stored.payload) == number.to_string()));
        found.into_iter().map(|stored| stored.seq).collect()
    };
    let last = *seqs.last().unwrap();
    assert_eq!(places(broker.log.read(run, 0).await.unwrap()), seqs);
    // What was said before anything was done may be left out.
    assert!(seqs.starts_with(&places(broker.log.read_new(run).await.unwrap())));
    assert_eq!(broker.log.first(run).await.unwrap().unwrap().seq, seqs[0]);
    assert_eq!(broker.log.last(run).await.unwrap().unwrap().seq, last);
    assert!(seqs.contains(&broker.log.last_did(run).await.unwrap().unwrap().seq));
    let back: Vec<u64> = broker.log.read_backwards(run).map(|stored| stored.unwrap().seq).collect().await;
    assert!(back.iter().rev().eq(seqs));
    assert!(broker.log.read(run, last).await.unwrap().is_empty());
    let scanned: Vec<ScannedItem> = broker.log.scan().await.unwrap().map(Result::unwrap).collect().await;
    let met = scanned.iter().filter_map(|item| match item {
        ScannedItem::Record { run: of, stored } if *of == run => Some(stored.seq),
        _ => None,
    });
    assert_eq!(met.max(), Some(last));
}

async fn a_created_run_that_is_removed_is_gone(ground: Ground) {
    let Broker { log, queue, .. } = ground.broker();
    let workflow = name("work");
    let queued = QueueName::Workflow(workflow.clone());
    let (taken, waiting, end) = (RunId::random(), RunId::random(), RunId::random());
    let mut jobs = queue.take(&queued, Duration::from_secs(2)).await.unwrap();
    let claimed = log.create(taken, &workflow, bytes("secret")).await.unwrap();
    log.append(taken, RecordLane::Did, bytes("claimed"), claimed).await.unwrap();
    let delivery = next_job(&mut jobs).await;
    drop(jobs);
    log.create(waiting, &workflow, bytes("secret")).await.unwrap();
    for run in [taken, waiting] {
        removed(&ground, run, "tombstone").await;
        let all = log.read(run, 0).await.unwrap();
        assert_eq!(all.iter().map(|stored| text(&stored.payload)).collect::<Vec<_>>(), ["tombstone"]);
        assert_eq!(log.first(run).await.unwrap().unwrap().seq, all[0].seq);
        assert!(matches!(log.create(run, &workflow, bytes("late")).await, Err(Error::Conflict { .. })));
    }
    delivery.ack().await.unwrap();
    // Its job may be left, as it is with a job of its own; what comes after it is not held up.
    log.create(end, &workflow, bytes("end")).await.unwrap();
    let mut jobs = queue.take(&queued, PATIENCE).await.unwrap();
    loop {
        let delivery = next_job(&mut jobs).await;
        let run = delivery.job().run;
        delivery.ack().await.unwrap();
        if run == end {
            break;
        }
        assert_eq!(run, waiting);
    }
    eventually("nothing is left of them", async || match queue.depth(&queued).await.unwrap() {
        QueueDepth { waiting: 0, taken: 0 } => Ok(()),
        other => Err(other),
    })
    .await;
}

/// What is asked of JetStream on a server.
struct AskedCalls {
    calls: async_nats::Subscriber,
    nats: async_nats::Client,
}

impl AskedCalls {
    async fn of(server: &NatsServer) -> Self {
        let nats = async_nats::connect(server.url()).await.unwrap();
        let calls = nats.subscribe("$JS.API.>").await.unwrap();
        nats.flush().await.unwrap();
        Self { calls, nats }
    }

    /// The reads since this was asked last.
    async fn reads(&mut self) -> Vec<String> {
        const LAST: &str = "$JS.API.LAST";
        self.nats.publish(LAST, "".into()).await.unwrap();
        let mut reads = Vec::new();
        loop {
            let call = soon(self.calls.next()).await.unwrap().subject.to_string();
            match call.as_str() {
                LAST => return reads,
                read if read.contains(".GET.") || read.contains(".STREAM.INFO.") => reads.push(call),
                _ => {}
            }
        }
    }
}

const SOURCE: &str = "version: 1\nname: work\nsteps: [{ message: a }]\n";

/// How many messages the streams have.
async fn stored(nats: &async_nats::Client) -> [u64; 2] {
    let stream = async |name: &str| {
        let info = nats.request(format!("$JS.API.STREAM.INFO.{name}"), "".into()).await.unwrap();
        serde_json::from_slice::<Value>(&info.payload).unwrap()["state"]["messages"].as_u64().unwrap()
    };
    [stream("FA_RUNS").await, stream("FA_QUEUE").await]
}

/// The start of a run, and its claim by a worker that was brought it.
async fn claimed(broker: &Broker, delivery: StartDelivery, calls: &mut AskedCalls) -> usize {
    let run = RunId::random();
    let workflow = workflow(SOURCE);
    let queued = QueueName::Workflow(workflow.name.clone());
    let mut jobs = broker.queue.take(&queued, PATIENCE).await.unwrap();
    let outcome = start_with_token(broker, start_of(&workflow, run), None, None, delivery).await.unwrap();
    assert!(matches!(outcome, StartOutcome::New { .. }));
    let mut brought = next_job(&mut jobs).await;
    calls.reads().await;
    let clock = clock::system();
    let lease = Lease::new(WorkerId::random(), PATIENCE, clock.clone(), Lease::moment(&*clock));
    let prepare = |_| std::future::ready(Ok(PreparedRun { description: None, with: () }));
    let new = Some(NewRun { created: brought.take_created() });
    let ClaimOutcome::Mine(mut owned, ()) = claim(broker, &lease, run, new, prepare).await.unwrap() else {
        panic!("it is free");
    };
    let first = owned.claim.take().expect("the first record carries it");
    let record = Record::claiming(*first, RecordBody::Parked { until: None });
    drop(owned.writer.append(record, clock.now()).await.unwrap());
    brought.ack().await.unwrap();
    assert_eq!(broker.log.read(run, 0).await.unwrap().len(), 2);
    let reads = calls.reads().await;
    // The read after the claim walks back from the last record of each lane.
    reads.len() - 3
}

#[tokio::test]
async fn a_start_stores_one_message_and_its_claim_reads_nothing() {
    let Some(server) = NatsServer::start("broker::new_runs::a_start_stores_one_message") else { return };
    let broker = connect(&server).await;
    let mut calls = AskedCalls::of(&server).await;
    let (anchors, key) = (tempfile::tempdir().unwrap(), ChainKey::new(&"a key of the test".to_owned().into()));
    let anchors = AnchorWriter::open(anchors.path(), &key).unwrap();
    let proven = chained(broker.clone(), key, anchors, clock::system());
    for broker in [&broker, &proven] {
        assert_eq!(claimed(broker, StartDelivery::Created, &mut calls).await, 0);
    }
    assert_eq!(claimed(&broker, StartDelivery::Job, &mut calls).await, 1);
    let workflow = workflow(SOURCE);
    for (delivery, more) in [(StartDelivery::Created, [1, 0]), (StartDelivery::Job, [1, 1])] {
        let before = stored(&calls.nats).await;
        start_with_token(&broker, start_of(&workflow, RunId::random()), None, None, delivery).await.unwrap();
        let after = stored(&calls.nats).await;
        assert_eq!([after[0] - before[0], after[1] - before[1]], more, "{delivery:?}");
    }
}

#[tokio::test]
async fn the_first_record_of_a_run_is_one_read_however_it_was_started() {
    let Some(server) = NatsServer::start("broker::new_runs::the_first_record_of_a_run_is_one_read") else { return };
    let broker = connect(&server).await;
    let mut calls = AskedCalls::of(&server).await;
    let workflow = workflow(SOURCE);
    for delivery in [StartDelivery::Created, StartDelivery::Job] {
        let run = RunId::random();
        start_with_token(&broker, start_of(&workflow, run), None, None, delivery).await.unwrap();
        let begun = broker.log.last(run).await.unwrap().unwrap();
        let mut last = begun.seq;
        for lane in [RecordLane::Said, RecordLane::Did, RecordLane::Said] {
            calls.reads().await;
            assert_eq!(broker.log.first(run).await.unwrap().unwrap().seq, begun.seq);
            assert_eq!(calls.reads().await.len(), 1, "{delivery:?}");
            last = broker.log.append(run, lane, bytes("more"), last).await.unwrap();
        }
    }
}
