//! New runs over a NATS server: they are queued by their first record where every living worker takes such runs, and what can be done with
//! them before a worker has them.

use std::time::Duration;

use fastagency::audit::erase;
use fastagency::broker::{Broker, Bucket, JobReason, RemovalMethod, nats};
use fastagency::chain::anchors::AnchorWriter;
use fastagency::chain::{ChainKey, chained};
use fastagency::clock::{self, Clock, SystemClock};
use fastagency::config::NatsConfig;
use fastagency::ids::{RunId, UserId, WorkerId};
use fastagency::protocol::caller_token::CallerToken;
use fastagency::protocol::queue_name::QueueName;
use fastagency::run::answer::AnswerPayload;
use fastagency::run::caller_token::CallerTokenSeal;
use fastagency::run::directory::{self, WorkerCard, WorkflowCard};
use fastagency::run::record::{RecordBody, RunErasure, RunOrigin, RunOutcome, RunRemoval};
use fastagency::run::start::{RunStart, StartDelivery, StartOutcome, start_with_token};
use fastagency::run::{self, remove};
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::support::client::run_id;
use crate::support::eventually::{eventually, soon};
use crate::support::nats_server::NatsServer;
use crate::support::system::{System, sealer, start_of, workflow};

const TALK: &str = "version: 1\nname: talk\nsteps:\n  - id: said\n    text_input: { prompt: What? }\n  - return: \"{{ steps.said }}\"\n";
const HOUR: Duration = Duration::from_secs(3600);
const KEPT: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a test looks at past the broker.
struct Streams(async_nats::Client);

impl Streams {
    async fn of(server: &NatsServer) -> Self {
        Self(async_nats::connect(server.url()).await.unwrap())
    }

    /// The last tokens of the subjects that match in a stream, each with how many messages it has.
    async fn lanes(&self, stream: &str, filter: &str) -> Vec<(String, u64)> {
        let asked = json!({ "subjects_filter": filter }).to_string();
        let info = self.0.request(format!("$JS.API.STREAM.INFO.{stream}"), asked.into()).await.unwrap();
        let info: Value = serde_json::from_slice(&info.payload).unwrap();
        let subjects = info["state"]["subjects"].as_object().cloned().unwrap_or_default();
        let lane = |subject: &str| subject.rsplit('.').next().unwrap().to_owned();
        subjects.iter().map(|(subject, count)| (lane(subject), count.as_u64().unwrap())).collect()
    }

    /// Whether a run was created as its own job.
    async fn is_own_job(&self, run: RunId) -> bool {
        let lanes = self.lanes("FA_RUNS", &format!("fa.run.{run}.*")).await;
        lanes.iter().any(|(lane, count)| (lane.as_str(), *count) == ("new-talk", 1))
    }
}

/// Announces the workflow, and a worker that serves it and takes nothing.
async fn announced(broker: &Broker, takes_created: bool) -> WorkerCard {
    let talk = workflow(TALK);
    let card = WorkflowCard {
        name: talk.name.clone(),
        title: None,
        description: None,
        params: None,
        definition: talk.definition.hash(),
        uses_caller_token: false,
        signed: None,
    };
    directory::announce(broker, &card, talk.definition.to_bytes(), None).await.unwrap();
    let card = WorkerCard {
        id: WorkerId::random(),
        workflows: vec![talk.name.clone()],
        started_at: SystemClock.now(),
        version: "test".into(),
        runs: 0,
        max_runs: 1,
        cleans: false,
        takes_created,
    };
    directory::renew(broker, &card, HOUR).await.unwrap();
    card
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_run_is_queued_as_the_earliest_of_its_workers_takes_it() {
    let Some(server) = NatsServer::start("starts::a_new_run_is_queued_as_the_earliest") else { return };
    let (broker, streams) = (server.broker().await, Streams::of(&server).await);
    let system = System::over(broker.clone()).gateway(|_| {}).worker(TALK).start().await;
    let begun_as_own_job = async |wanted: bool| {
        eventually("a run is queued so", async || {
            let (status, view) = system.post("/api/runs", json!({"workflow": "talk"})).await;
            if status != 201 {
                return Err(view);
            }
            let run = run_id(&view);
            // However it is queued, a worker of this version takes it.
            system.follow(run).await.question("What?").await;
            if streams.is_own_job(run).await == wanted { Ok(run) } else { Err(view) }
        })
        .await
    };
    begun_as_own_job(true).await;
    // As a worker wrote it that knew of no such runs.
    let earlier = |workflow: &str| {
        let (id, at) = (WorkerId::random(), SystemClock.now());
        (id.to_string(), json!({"id": id, "workflows": [workflow], "started_at": at, "version": "0.0.9"}).to_string())
    };
    let (elsewhere, card) = earlier("other");
    broker.catalogue.put(Bucket::Workers, &elsewhere, card.into(), None).await.unwrap();
    let (beside, card) = earlier("talk");
    broker.catalogue.put(Bucket::Workers, &beside, card.into(), None).await.unwrap();
    begun_as_own_job(false).await;
    broker.catalogue.delete(Bucket::Workers, &beside).await.unwrap();
    begun_as_own_job(true).await;
    system.close().await;
    // Nobody is there: the first to come may be of any version.
    let gateway = System::over(broker.clone()).gateway(|_| {}).start().await;
    eventually("a run waits for any worker", async || {
        let run = gateway.started("talk").await;
        if streams.is_own_job(run).await { Err(run) } else { Ok(()) }
    })
    .await;
    gateway.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_no_worker_has_taken_yet_is_shown_listed_stopped_removed_and_erased() {
    let Some(server) = NatsServer::start("starts::a_run_that_no_worker_has_taken_yet") else { return };
    let (folder, key) = (tempfile::tempdir().unwrap(), ChainKey::new(&"a key of the test".to_owned().into()));
    let anchors = AnchorWriter::open(folder.path(), &key).unwrap();
    let broker = chained(server.broker().await, key, anchors, clock::system());
    let streams = Streams::of(&server).await;
    let absent = announced(&broker, true).await;
    let system = System::over(broker.clone()).gateway(|_| {}).start().await;
    let run = system.started("talk").await;
    assert_eq!(streams.lanes("FA_RUNS", &format!("fa.run.{run}.*")).await, [("new-talk".to_owned(), 1)]);
    let (status, view) = system.get(&format!("/api/runs/{run}")).await;
    assert_eq!((status, view["state"].as_str()), (200, Some("queued")), "{view}");
    let events = system.events(run, "?follow=false").await;
    assert_eq!(events.iter().filter(|event| event.name == "record").count(), 1, "{events:?}");
    eventually("it is listed", async || {
        let (_, listed) = system.get("/api/runs").await;
        if listed.to_string().contains(&run.to_string()) { Ok(()) } else { Err(listed) }
    })
    .await;
    let (status, exported) = system.get("/api/audit/export?format=jsonl").await;
    assert!(status == 200 && exported.to_string().contains(&run.to_string()), "{status} {exported}");
    // Another process, which has heard nothing of it.
    let other = server.broker().await;
    assert_eq!(run::created(&other, run).await.unwrap().unwrap().workflow.as_str(), "talk");
    assert_eq!(system.post(&format!("/api/runs/{run}/cancel"), json!({})).await.0, 202);

    let ann = UserId::new("ann").unwrap();
    let of_ann = |run| RunStart { user: Some(ann.clone()), ..start_of(&workflow(TALK), run) };
    let (removed, erased) = (RunId::random(), RunId::random());
    for run in [removed, erased] {
        start_with_token(&broker, of_ann(run), None, None, StartDelivery::Created).await.unwrap();
    }
    let created = run::created(&other, removed).await.unwrap().unwrap();
    remove::remove(&broker, removed, &created, RunRemoval::default(), KEPT, RemovalMethod::Overwrite).await.unwrap();
    assert_eq!(streams.lanes("FA_RUNS", &format!("fa.run.{removed}.*")).await, [("did".to_owned(), 1)]);

    directory::withdraw(&broker, absent.id).await.unwrap();
    let worker = System::over(broker.clone()).worker(TALK).start().await;
    assert_eq!(worker.follow(run).await.ended().await.0, RunOutcome::Cancelled);
    let erasure = RunErasure { by: None, reason: "asked".into(), at: SystemClock.now() };
    let found = erase::erase(&broker, &ann, &erasure, KEPT).await.unwrap();
    assert_eq!((&found.erased, &found.not_ended), (&vec![erased], &vec![]));
    let lanes = streams.lanes("FA_RUNS", &format!("fa.run.{erased}.*")).await;
    assert!(!lanes.iter().any(|(lane, _)| lane.starts_with("new-")), "{lanes:?}");
    let first = run::look(&broker, removed, 0).await.unwrap().records.swap_remove(0);
    assert!(matches!(first.record.body, RecordBody::Removed(_)));
    worker.close().await;
    system.close().await;
}

#[tokio::test]
async fn a_start_whose_acknowledgement_was_lost_is_repeated_and_its_run_taken_once() {
    let Some(server) = NatsServer::start("starts::a_start_whose_acknowledgement_was_lost") else { return };
    let (broker, streams) = (server.broker().await, Streams::of(&server).await);
    let talk = workflow(TALK);
    let (run, delivery) = (RunId::random(), StartDelivery::Created);
    let begun = start_with_token(&broker, start_of(&talk, run), None, None, delivery).await.unwrap();
    assert!(matches!(begun, StartOutcome::New { .. }), "{begun:?}");
    assert_eq!(streams.lanes("FA_QUEUE", "fa.queue.*").await, []);
    // Who calls again does not know how far the first call came, and queues the run.
    for delivery in [delivery, StartDelivery::Job] {
        let again = start_with_token(&broker, start_of(&talk, run), None, None, delivery).await.unwrap();
        assert!(matches!(again, StartOutcome::Existing(_)), "{again:?}");
    }
    assert_eq!(streams.lanes("FA_QUEUE", "fa.queue.*").await, [("talk".to_owned(), 1)]);
    assert_eq!(streams.lanes("FA_RUNS", &format!("fa.run.{run}.*")).await, [("new-talk".to_owned(), 1)]);
    let worker = System::over(broker.clone()).worker(TALK).start().await;
    let mut follower = worker.follow(run).await;
    let question = follower.question("What?").await;
    worker.answer(run, question, AnswerPayload::Value(json!("circles"))).await;
    assert_eq!(follower.ended().await, (RunOutcome::Completed, json!("circles")));
    eventually("the second job is done", async || streams.lanes("FA_QUEUE", "fa.queue.*").await.is_empty()).await;
    let claims = follower.seen.iter().filter(|placed| matches!(placed.record.body, RecordBody::Claimed { .. }));
    assert_eq!(claims.count(), 1);
    worker.close().await;
}

#[tokio::test]
async fn a_gateway_that_may_not_start_a_run_in_one_starts_it_by_a_job() {
    const LOGINS: &str = r#"
jetstream {}
authorization { users: [
  { user: earlier, password: earlier, permissions: { publish: { allow: [">"], deny: ["fa.run.*.new-talk"] } } }
] }
"#;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nats.conf");
    std::fs::write(&path, LOGINS).unwrap();
    let test = "starts::a_gateway_that_may_not_start_a_run_in_one";
    let Some(server) = NatsServer::start_with(test, &["-c", path.to_str().unwrap()]) else { return };
    let login = NatsConfig {
        url: server.url(),
        user: Some("earlier".to_owned()),
        password: Some("earlier".to_owned().into()),
        ..NatsConfig::default()
    };
    let broker = nats::connect(&login, "a test").await.unwrap();
    let (talk, run) = (workflow(TALK), RunId::random());
    let begun = start_with_token(&broker, start_of(&talk, run), None, None, StartDelivery::Created).await.unwrap();
    assert!(matches!(begun, StartOutcome::New { .. }), "{begun:?}");
    let mut jobs = broker.queue.take(&QueueName::Workflow(talk.name.clone()), HOUR).await.unwrap();
    let mut delivery = soon(jobs.next()).await.unwrap().unwrap();
    assert_eq!((delivery.job().run, delivery.take_created().is_none()), (run, true));
}

#[tokio::test]
async fn runs_of_foreign_workers_and_with_an_access_token_are_queued_after_they_are_created() {
    let Some(server) = NatsServer::start("starts::runs_of_foreign_workers") else { return };
    let (broker, streams) = (server.broker().await, Streams::of(&server).await);
    let talk = workflow(TALK);
    let did = vec![("did".to_owned(), 1)];
    let foreign = RunStart { origin: RunOrigin::ForeignWorker, ..start_of(&talk, RunId::random()) };
    let run = foreign.run;
    start_with_token(&broker, foreign, None, None, StartDelivery::Created).await.unwrap();
    assert_eq!(streams.lanes("FA_RUNS", &format!("fa.run.{run}.*")).await, did);
    assert_eq!(streams.lanes("FA_QUEUE", "fa.queue.*").await, []);
    let run = RunId::random();
    let user = UserId::new("ann").unwrap();
    let token = CallerToken { user, token: "secret".to_owned(), until: clock::after(SystemClock.now(), HOUR) };
    let sealer = sealer();
    let token = CallerTokenSeal { sealer: &sealer, token };
    start_with_token(&broker, start_of(&talk, run), None, Some(&token), StartDelivery::Created).await.unwrap();
    assert_eq!(streams.lanes("FA_RUNS", &format!("fa.run.{run}.*")).await, did);
    assert_eq!(streams.lanes("FA_QUEUE", "fa.queue.*").await, [("talk".to_owned(), 1)]);
    let mut jobs = broker.queue.take(&QueueName::Workflow(talk.name.clone()), HOUR).await.unwrap();
    let mut delivery = soon(jobs.next()).await.unwrap().unwrap();
    assert_eq!((delivery.job().run, delivery.job().reason), (run, JobReason::Start));
    assert!(delivery.take_created().is_none());
}
