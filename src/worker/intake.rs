//! Taking runs: one permit, then one delivery, then one task that drives the run and settles the delivery last.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use parking_lot::MutexGuard;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::audit::keep;
use crate::broker::{AnyDelivery, JobReason, StoredRecord};
use crate::clock::{self, Timestamp};
use crate::engine::{DriveEnd, Error};
use crate::ids::{Name, RunId, UserId};
use crate::metrics::metrics;
use crate::protocol::log::{EffectOutcome, LogEntry, RecordBody, RunCreation};
use crate::protocol::queue_name::QueueName;
use crate::run::claim::{ClaimOutcome, NewRun, PreparedRun, claim};
use crate::run::summary::RunSummary;
use crate::traces::{KeyValue, Kind, SpanParent, TraceSpan, genai};
use crate::worker::Worker;

/// How long a delivery rests before it is tried again after a failure.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// The same if its run could not even be read: the broker may answer again at any moment, and people wait. Not after a claim whose fate
/// is not known: each of those may be stored, and counts as a worker that died.
const WHILE_UNREAD: Duration = Duration::from_secs(1);
/// How late a delivery may come back before its run is queued again.
pub(super) const REDELIVERY_MARGIN: Duration = Duration::from_secs(5);
/// How long a delivery rests if this worker cannot execute the run: a newer one may come.
const UNTIL_ANOTHER_CAN: Duration = Duration::from_secs(30);
/// How long a delivery rests while another worker holds the run. Should that one die, so much later at most is it noticed.
const WHILE_HELD: Duration = Duration::from_millis(500);
/// How many workers in turn may be gone with a run in their hands before anything came of it.
const MOST_DEATHS: usize = 8;
/// A job that comes before its time by this worker's clock waits for it here, if it is no later than this; clocks differ.
const MOST_EARLY: Duration = Duration::from_secs(60);

/// Takes the jobs of one workflow until the end begins.
pub(super) async fn take(worker: Arc<Worker>, workflow: Name) {
    let shutdown = worker.shutdown.clone();
    let metrics = metrics().workflow(workflow.as_str());
    let queue = QueueName::Workflow(workflow.clone());
    while !shutdown.has_begun() {
        let mut jobs = match worker.broker.queue.take(&queue, worker.lease.span()).await {
            Ok(jobs) => jobs,
            Err(error) => {
                tracing::warn!(%workflow, "cannot take runs: {error}");
                tokio::select! {
                    () = tokio::time::sleep(AFTER_FAILURE) => continue,
                    () = shutdown.soft() => return,
                }
            }
        };
        loop {
            let Ok(permit) = worker.permits.clone().acquire_owned().await else { return };
            let delivery = tokio::select! {
                biased;
                () = shutdown.soft() => return,
                next = jobs.next() => match next {
                    Some(Ok(delivery)) => delivery,
                    Some(Err(error)) => {
                        tracing::warn!(%workflow, "cannot take runs: {error}");
                        continue;
                    }
                    None => break,
                },
            };
            metrics.deliveries.inc();
            if delivery.attempt() > 1 {
                metrics.redeliveries.inc();
            }
            let taking = worker.clone();
            shutdown.run(async move { work(taking, delivery, permit).await });
        }
    }
}

/// Does one job, and settles its delivery.
async fn work(worker: Arc<Worker>, delivery: AnyDelivery, permit: OwnedSemaphorePermit) {
    let run = delivery.job().run;
    match lock(&worker).entry(run) {
        // The run is in memory already: whoever holds it looks here now and then, and before it lets go.
        Entry::Occupied(mut held) => match held.get_mut() {
            Some(older) => return replace(&worker, older, delivery),
            empty => {
                *empty = Some(delivery);
                return;
            }
        },
        Entry::Vacant(place) => {
            place.insert(None);
        }
    }
    RunHolder { worker: &worker, run, holds: true }.hold(delivery).await;
    drop(permit);
}

fn lock(worker: &Worker) -> MutexGuard<'_, HashMap<RunId, Option<AnyDelivery>>> {
    worker.held.lock()
}

/// Takes a newer delivery in the place of the one at hand. If it is another message, the one at hand is done: what it was
/// for is done under the newer. If it is the same message come again, the one at hand settles nothing any more.
fn replace(worker: &Worker, delivery: &mut AnyDelivery, mut newer: AnyDelivery) {
    // The run was looked at: what it brings is no news.
    newer.take_created();
    let (run, is_new) = (newer.job().run, newer.attempt() == 1);
    let older = std::mem::replace(delivery, newer);
    if is_new {
        worker.shutdown.run(async move { settle(older.ack().await, run) });
    }
}

/// Whoever has a run in memory: takes it from the register when it leaves memory, however it does.
struct RunHolder<'a> {
    worker: &'a Worker,
    run: RunId,
    holds: bool,
}

impl Drop for RunHolder<'_> {
    fn drop(&mut self) {
        if self.holds {
            lock(self.worker).remove(&self.run);
        }
    }
}

impl RunHolder<'_> {
    /// Drives the run while telling the broker that it is still worked on, and settles the delivery last.
    async fn hold(mut self, mut delivery: AnyDelivery) {
        let beat = self.worker.lease.span() / 3;
        let settled = loop {
            let mut came = false;
            let settled = {
                let taken = TakenJob::of(&mut delivery);
                let mut driving = Box::pin(drive(self.worker, self.run, taken));
                let mut beats = tokio::time::interval_at(Instant::now() + beat, beat);
                loop {
                    tokio::select! {
                        settled = &mut driving => break settled,
                        _ = beats.tick() => {
                            if let Some(newer) = self.newer() {
                                came = true;
                                replace(self.worker, &mut delivery, newer);
                            }
                            if let Err(error) = delivery.working().await {
                                tracing::debug!(run.id = %self.run, "the queue was not told that the run goes on: {error}");
                            }
                        }
                    }
                }
            };
            let (newer, again) = self.unheld(came, matches!(settled, DeliverySettlement::Done));
            if let Some(newer) = newer {
                replace(self.worker, &mut delivery, newer);
            }
            if !again {
                break settled;
            }
        };
        settle(
            match settled {
                DeliverySettlement::Done => delivery.ack().await,
                DeliverySettlement::Again(delay) => delivery.retry_after(delay).await,
            },
            self.run,
        );
    }

    /// Another delivery of this run: one that comes again, or a new reason to look at it.
    fn newer(&self) -> Option<AnyDelivery> {
        lock(self.worker).get_mut(&self.run).and_then(Option::take)
    }

    /// Lets go of the run, so that the next delivery is taken as any other. Not if there is nothing to do for it (`done`) and
    /// another delivery came: that may be an answer's or a cancel's call to a run that was just being parked, and nobody
    /// else will hear it. Returns the last delivery that came, and whether the run is to be looked at once more.
    fn unheld(&mut self, came: bool, done: bool) -> (Option<AnyDelivery>, bool) {
        let mut held = lock(self.worker);
        let newer = held.get_mut(&self.run).and_then(Option::take);
        let again = done && (came || newer.is_some());
        if !again {
            held.remove(&self.run);
            self.holds = false;
        }
        (newer, again)
    }
}

fn settle(settled: crate::broker::Result<()>, run: RunId) {
    if let Err(error) = settled {
        // It is delivered again, and whoever takes it finds from the log what is left to do.
        tracing::debug!(run.id = %run, "a delivery was not settled: {error}");
    }
}

/// What becomes of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DeliverySettlement {
    Done,
    Again(Duration),
}

/// A job, as far as it says how its run is driven.
struct TakenJob {
    reason: JobReason,
    /// Nobody has had it before.
    is_first_attempt: bool,
    /// The run's first record, if the delivery brought it.
    created: Option<StoredRecord>,
    /// The place in a trace of whoever has called for the run.
    trace: Option<Box<str>>,
}

impl TakenJob {
    fn of(delivery: &mut AnyDelivery) -> Self {
        Self {
            reason: delivery.job().reason,
            is_first_attempt: delivery.attempt() == 1,
            created: delivery.take_created(),
            trace: delivery.trace().map(Box::from),
        }
    }
}

/// Drives a run, if it is to be driven.
async fn drive(worker: &Worker, run: RunId, mut job: TakenJob) -> DeliverySettlement {
    loop {
        match drive_once(worker, run, &mut job).await {
            Some(settled) => return settled,
            // Somebody was faster, and all that there is decides now.
            None => job.is_first_attempt = false,
        }
    }
}

/// The same; `None`: something was stored for a new run before it was claimed.
async fn drive_once(worker: &Worker, run: RunId, job: &mut TakenJob) -> Option<DeliverySettlement> {
    let TakenJob { reason, is_first_attempt, created, trace } = job;
    let prepare = |created: RunCreation| async move {
        if !worker.engine.trusts_start_of(run, &created) {
            return Err("no gateway that worker.trusted_gateways names has signed its start".to_owned());
        }
        let hash = created.definition.ok_or("a FastAgency worker executes it")?;
        let with = worker.definition(&hash).await?;
        let description = worker.serves.get(&created.workflow).and_then(|workflow| workflow.description.clone());
        Ok(PreparedRun { description, with })
    };
    // How many workers have died of a run is counted by its claims: a second attempt has one before anything is done.
    let is_new = *is_first_attempt && matches!(reason, JobReason::Start);
    let brought = created.take();
    let new = is_new.then_some(NewRun { created: brought });
    let claimed = Box::pin(claim(&worker.broker, &worker.lease, run, new, prepare)).await;
    if claimed.is_ok() {
        worker.unheld.forget(run);
    }
    let (owned, workflow) = match claimed {
        Ok(ClaimOutcome::Mine(owned, workflow)) => (owned, workflow),
        Ok(ClaimOutcome::Nothing) => return Some(DeliverySettlement::Done),
        Ok(ClaimOutcome::NotYet { until }) => {
            let rest = clock::until(worker.clock.now(), until);
            // The timer is the only one that will call; any other job leaves it to the timer.
            let waits = *reason == JobReason::Timer || rest <= MOST_EARLY;
            return Some(if waits { DeliverySettlement::Again(rest) } else { DeliverySettlement::Done });
        }
        Ok(ClaimOutcome::Held { by }) => {
            tracing::debug!(run.id = %run, "the run belongs to worker {by}, which lives");
            return Some(DeliverySettlement::Again(WHILE_HELD));
        }
        Ok(ClaimOutcome::Unread { why }) => {
            tracing::warn!(run.id = %run, "the run could not be taken: {why}");
            worker.unheld.note(run, REDELIVERY_MARGIN + WHILE_UNREAD);
            return Some(DeliverySettlement::Again(WHILE_UNREAD));
        }
        Ok(ClaimOutcome::Unfit { why }) => {
            tracing::error!(run.id = %run, "the run cannot be executed here: {why}");
            return Some(DeliverySettlement::Again(UNTIL_ANOTHER_CAN));
        }
        Err(error) => {
            tracing::warn!(run.id = %run, "the run could not be taken: {error}");
            // Perhaps it was taken all the same.
            worker.unheld.note(run, REDELIVERY_MARGIN + AFTER_FAILURE);
            return Some(DeliverySettlement::Again(AFTER_FAILURE));
        }
    };
    let span = span(&owned.created, run, trace.as_deref());
    let served = workflow.clone();
    let user = owned.created.user.as_ref().map(UserId::as_str);
    tracing::debug!(run.id = %run, workflow = %served.name, user.id = user, "the run was taken ({reason:?})");
    let left = match deaths(&owned.history) {
        Some(why) => {
            tracing::error!(run.id = %run, workflow = %served.name, "{why}");
            span.instrument(worker.engine.give_up(owned, workflow, &why)).await
        }
        None => span.instrument(worker.engine.drive(owned, workflow, &worker.shutdown)).await,
    };
    tracing::debug!(run.id = %run, workflow = %served.name, "the run has left memory: {left:?}");
    Some(match left {
        Ok(DriveEnd::Ended) => {
            redact(worker, run).await;
            DeliverySettlement::Done
        }
        Ok(DriveEnd::Parked) => DeliverySettlement::Done,
        Ok(DriveEnd::HandedBack) => DeliverySettlement::Again(Duration::ZERO),
        Err(Error::Touched { .. }) => return None,
        Err(error) => {
            span.fail("let_go");
            tracing::warn!(run.id = %run, workflow = %served.name, "the run was let go: {error}");
            let HaltedRun { rest, is_ours } = halted(&error, worker.lease.span());
            if is_ours {
                worker.unheld.note(run, REDELIVERY_MARGIN + rest);
            }
            DeliverySettlement::Again(rest)
        }
    })
}

/// What becomes of a run that cannot go on here.
#[derive(Debug, PartialEq, Eq)]
struct HaltedRun {
    /// How long its delivery rests.
    rest: Duration,
    /// Whether it is this worker's by its log, as far as is known: then nobody else takes it as long as this worker lives.
    is_ours: bool,
}

/// Decides what becomes of a run that cannot go on here. `lease`: how long one of this worker lasts.
fn halted(error: &Error, lease: Duration) -> HaltedRun {
    match error {
        // The other worker has a delivery of its own, and sees to the run; this delivery comes back in case it dies.
        Error::Lost { .. } => HaltedRun { rest: lease / 2, is_ours: false },
        Error::Touched { .. } => HaltedRun { rest: Duration::ZERO, is_ours: false },
        Error::Broker(_) => HaltedRun { rest: lease / 2, is_ours: true },
        // This worker will not read it another time either.
        Error::Unreadable(_) => HaltedRun { rest: UNTIL_ANOTHER_CAN, is_ours: true },
    }
}

/// Why a run is not executed any more: so many workers in turn have taken it and were gone before anything came of it. It
/// would take down one after the other, with all their other runs. A worker that ends in order parks its runs, and a run that
/// waits for a person, or for a moment, has nothing to come of it.
fn deaths(history: &[LogEntry]) -> Option<String> {
    let is_claim = |placed: &&LogEntry| matches!(placed.record.body, RecordBody::Claimed { .. });
    let claims = history.iter().rev().take_while(is_claim).count();
    if claims <= MOST_DEATHS {
        return None;
    }
    let waits = match &history[..history.len() - claims].last()?.record.body {
        RecordBody::Did { outcome: EffectOutcome::Value(Value::String(text)), .. } => text.parse::<Timestamp>().is_ok(),
        RecordBody::Parked { .. } => true,
        _ => false,
    };
    let has_question = || RunSummary::of(RunId::random(), history).open_questions().next().is_some();
    (!waits && !has_question()).then(|| {
        format!("{MOST_DEATHS} workers that took the run were gone before anything came of it; it is not taken again")
    })
}

/// Redacts the log of a run that has ended; if that fails, the next scan does it.
pub(super) async fn redact(worker: &Worker, run: RunId) {
    if !worker.redactor.is_empty()
        && let Err(error) = keep::redact(&worker.broker, run, &worker.redactor).await
    {
        tracing::warn!(run.id = %run, "the log could not be redacted yet: {error}");
    }
}

/// A stay of a run in memory, in the trace that it was started in. What wakes it later has a trace of its own.
fn span(created: &RunCreation, run: RunId, from: Option<&str>) -> TraceSpan {
    let under = SpanParent::Header(created.trace.as_deref().or(from));
    TraceSpan::linked(Kind::Consumer, under, from, || {
        let mut known = vec![
            KeyValue::new(genai::OPERATION, "invoke_workflow"),
            KeyValue::new(genai::WORKFLOW, created.workflow.to_string()),
            KeyValue::new(genai::CONVERSATION, run.to_string()),
            KeyValue::new(genai::MESSAGING_OPERATION, "process"),
        ];
        known.extend(created.user.as_ref().map(|user| KeyValue::new(genai::USER, user.as_str().to_owned())));
        (format!("run {}", created.workflow), known)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use async_trait::async_trait;
    use bytes::Bytes;
    use futures_util::stream::BoxStream;
    use serde_json::{Map, json};
    use tempfile::TempDir;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::broker::{self, Broker, Inbox, InboxSlot, InboxUpdate, PutOutcome, RecordLane};
    use crate::engine::{Engine, SummaryPublisher};
    use crate::ids::WorkerId;
    use crate::model::ModelRegistry;
    use crate::protocol::effect_key::EffectKey;
    use crate::protocol::log::{Record, RunOrigin, RunOutcome};
    use crate::redact::Redactor;
    use crate::run::lease::Lease;
    use crate::run::notice::WebhookNotices;
    use crate::run::start::{RunStart, start};
    use crate::worker::unheld::UnheldRuns;
    use crate::workflow::{WorkflowDefinition, from_definition};

    const LEASE: Duration = Duration::from_secs(20);

    fn job(reason: JobReason) -> TakenJob {
        TakenJob { reason, is_first_attempt: true, created: None, trace: None }
    }

    /// What happens when the worker subscribes to the inbox of a run that it has just claimed.
    #[derive(Clone, Copy)]
    enum Meanwhile {
        Nothing,
        AnotherClaimsTheRun,
        SomebodyStopsTheRun,
        TheBrokerRefuses,
    }

    struct MeddlingBroker {
        broker: Broker,
        meanwhile: Meanwhile,
    }

    #[async_trait]
    impl Inbox for MeddlingBroker {
        async fn put(&self, run: RunId, slot: InboxSlot, payload: Bytes) -> broker::Result<PutOutcome> {
            self.broker.inbox.put(run, slot, payload).await
        }
        async fn replace(&self, run: RunId, slot: InboxSlot, payload: Bytes, kept: Duration) -> broker::Result<()> {
            self.broker.inbox.replace(run, slot, payload, kept).await
        }
        async fn notify(&self, run: RunId, slot: InboxSlot, payload: Bytes) -> broker::Result<()> {
            self.broker.inbox.notify(run, slot, payload).await
        }
        async fn get(&self, run: RunId, slot: InboxSlot) -> broker::Result<Option<StoredRecord>> {
            self.broker.inbox.get(run, slot).await
        }
        async fn reopen(&self, run: RunId, slot: InboxSlot) -> broker::Result<()> {
            self.broker.inbox.reopen(run, slot).await
        }
        async fn subscribe(&self, run: RunId) -> broker::Result<BoxStream<'static, InboxUpdate>> {
            match self.meanwhile {
                Meanwhile::Nothing => {}
                Meanwhile::AnotherClaimsTheRun => {
                    append(
                        &self.broker,
                        run,
                        RecordBody::Claimed { worker: WorkerId::random(), epoch: 2, message: None },
                    )
                    .await;
                }
                Meanwhile::SomebodyStopsTheRun => {
                    self.broker.inbox.put(run, InboxSlot::Cancel, Bytes::new()).await?;
                }
                Meanwhile::TheBrokerRefuses => {
                    return Err(broker::Error::Refused { doing: "listen".to_owned(), reason: "no".to_owned() });
                }
            }
            self.broker.inbox.subscribe(run).await
        }
    }

    async fn append(broker: &Broker, run: RunId, body: RecordBody) {
        let last = broker.log.last(run).await.unwrap().map_or(0, |last| last.seq);
        broker.log.append(run, RecordLane::Did, Record::new(body).payload(), last).await.unwrap();
    }

    /// The workflow of these tests, with these steps.
    fn definition(steps: &str) -> WorkflowDefinition {
        let name = Name::parse("test").unwrap();
        let source = format!("version: 1\nname: test\nsteps: {steps}\n");
        WorkflowDefinition { name: name.clone(), sources: [(name, source)].into() }
    }

    /// A worker that serves one workflow, and a run of that.
    async fn worker(steps: &str, meanwhile: Meanwhile) -> (Worker, RunId, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let worker = worker_in(&folder, steps, meanwhile);
        let definition = definition(steps);
        let start_of = RunStart {
            run: RunId::random(),
            workflow: definition.name.clone(),
            definition: Some(definition.hash()),
            params: Map::new(),
            user: None,
            groups: Box::default(),
            origin: RunOrigin::Gateway,
        };
        let run = start_of.run;
        start(&worker.broker, start_of, None).await.unwrap();
        (worker, run, folder)
    }

    /// A worker of its own, with the store in this folder.
    fn worker_in(folder: &TempDir, steps: &str, meanwhile: Meanwhile) -> Worker {
        let plain = broker::embedded::open(folder.path()).unwrap();
        let broker = Broker { inbox: Arc::new(MeddlingBroker { broker: plain.clone(), meanwhile }), ..plain };
        let definition = definition(steps);
        let workflow = Arc::new(from_definition(&definition).unwrap_or_else(|problems| panic!("{problems}")));
        let clock = clock::system();
        let lease = Arc::new(Lease::new(WorkerId::random(), LEASE, clock.clone(), Lease::moment(&*clock)));
        let summary_publisher = Arc::new(SummaryPublisher::new(Redactor::default()));
        let notices = WebhookNotices::new(broker.clone(), &BTreeMap::new());
        let park_after = Duration::ZERO;
        let models = ModelRegistry::default();
        let engine =
            Engine::new(broker.clone(), models.clone(), None, summary_publisher, lease.clone(), notices, park_after);
        Worker {
            broker,
            clock,
            engine,
            models,
            rates: Arc::default(),
            lease,
            serves: [(definition.name.clone(), workflow.clone())].into(),
            definitions: [(definition.hash(), workflow)].into_iter().collect::<HashMap<_, _>>().into(),
            trusted: Vec::new(),
            held: HashMap::new().into(),
            unheld: UnheldRuns::default(),
            permits: Arc::new(Semaphore::new(1)),
            redactor: Redactor::default(),
            shutdown: crate::lifecycle::Shutdown::default(),
        }
    }

    #[tokio::test]
    async fn a_run_that_another_worker_took_is_left_to_that_worker() {
        // A new run is claimed by its first record, any other before it.
        for reason in [JobReason::Start, JobReason::Wake] {
            let (worker, run, _folder) = worker("[{ message: a }]", Meanwhile::AnotherClaimsTheRun).await;
            assert_eq!(drive(&worker, run, job(reason)).await, DeliverySettlement::Again(LEASE / 2));
            assert!(!worker.unheld.knows(run));
            let said = |placed: &LogEntry| matches!(placed.record.body, RecordBody::Said { .. });
            assert!(!crate::run::read(&worker.broker, run, 0).await.unwrap().iter().any(said), "{reason:?}");
        }
    }

    #[tokio::test]
    async fn a_run_whose_writer_was_cut_off_between_two_pieces_goes_on() {
        let (worker, run, _folder) = worker("[{ message: a }]", Meanwhile::Nothing).await;
        let piece = RecordBody::Part { of: crate::ids::MessageId::random(), index: 0, count: 2, text: "{".to_owned() };
        append(&worker.broker, run, piece).await;
        assert_eq!(drive(&worker, run, job(JobReason::Wake)).await, DeliverySettlement::Done);
        let log = crate::run::read(&worker.broker, run, 0).await.unwrap();
        assert!(matches!(log.last().unwrap().record.body, RecordBody::Ended(_)), "{log:#?}");
    }

    #[tokio::test]
    async fn a_new_run_that_is_stopped_before_its_first_record_says_nothing() {
        let (worker, run, _folder) = worker("[{ message: a }]", Meanwhile::SomebodyStopsTheRun).await;
        assert_eq!(drive(&worker, run, job(JobReason::Start)).await, DeliverySettlement::Done);
        let log = crate::run::read(&worker.broker, run, 0).await.unwrap();
        let [_, claimed, ended] = log.as_slice() else { panic!("{log:#?}") };
        assert!(matches!(claimed.record.body, RecordBody::Claimed { epoch: 1, .. }), "{claimed:#?}");
        assert!(matches!(&ended.record.body, RecordBody::Ended(ended) if ended.outcome == RunOutcome::Cancelled));
    }

    #[tokio::test]
    async fn a_new_run_is_claimed_by_its_first_record_and_at_a_second_attempt_before_it() {
        for (is_first_attempt, stored) in [(true, 3), (false, 4)] {
            let (worker, run, _folder) = worker("[{ message: a }]", Meanwhile::Nothing).await;
            let job = TakenJob { is_first_attempt, ..job(JobReason::Start) };
            assert_eq!(drive(&worker, run, job).await, DeliverySettlement::Done);
            let payloads = worker.broker.log.read(run, 0).await.unwrap();
            assert_eq!(payloads.len(), stored);
            let log = crate::run::read(&worker.broker, run, 0).await.unwrap();
            let steps: Vec<_> = log.iter().map(|placed| (placed.seq == log[1].seq, placed.record.step)).collect();
            let wanted =
                [(false, None), (true, is_first_attempt.then_some(1)), (is_first_attempt, None), (false, None)];
            assert_eq!(steps, wanted);
        }
    }

    #[tokio::test]
    async fn a_run_that_is_the_end_of_each_process_before_its_first_record_is_given_up() {
        let steps = "[{ message: a }]";
        let (mut worker, run, folder) = worker(steps, Meanwhile::TheBrokerRefuses).await;
        let queue = QueueName::Workflow(definition(steps).name);
        let mut processes = 1;
        loop {
            let mut delivery = worker.broker.queue.take(&queue, LEASE).await.unwrap().next().await.unwrap().unwrap();
            if drive(&worker, run, TakenJob::of(&mut delivery)).await == DeliverySettlement::Done {
                break;
            }
            // The process is gone, and has not settled its delivery.
            drop(worker);
            processes += 1;
            assert!(processes <= 2 * MOST_DEATHS, "it is tried for ever");
            worker = worker_in(&folder, steps, Meanwhile::TheBrokerRefuses);
        }
        let log = crate::run::read(&worker.broker, run, 0).await.unwrap();
        let RecordBody::Ended(ended) = &log.last().unwrap().record.body else { panic!("{log:#?}") };
        assert_eq!(ended.outcome, RunOutcome::Failed);
        // The first one has left no claim, and the last one has given the run up.
        assert_eq!(processes, MOST_DEATHS + 2);
    }

    #[tokio::test]
    async fn a_run_whose_broker_refuses_is_seen_to_by_its_worker() {
        let (worker, run, _folder) = worker("[{ message: a }]", Meanwhile::TheBrokerRefuses).await;
        assert_eq!(drive(&worker, run, job(JobReason::Wake)).await, DeliverySettlement::Again(LEASE / 2));
        assert!(worker.unheld.knows(run));
    }

    #[tokio::test]
    async fn a_run_whose_log_cannot_be_gone_on_from_rests_until_another_program_may_take_it() {
        let (worker, run, _folder) = worker("[{ wait: 1h }]", Meanwhile::Nothing).await;
        let outcome = EffectOutcome::Value(json!("no time"));
        append(&worker.broker, run, RecordBody::Did { key: EffectKey::from("0#0"), outcome }).await;
        assert_eq!(drive(&worker, run, job(JobReason::Start)).await, DeliverySettlement::Again(UNTIL_ANOTHER_CAN));
        assert!(worker.unheld.knows(run));
    }

    #[tokio::test]
    async fn a_run_that_has_ended_is_done_with() {
        let (worker, run, _folder) = worker("[{ message: a }]", Meanwhile::Nothing).await;
        assert_eq!(drive(&worker, run, job(JobReason::Start)).await, DeliverySettlement::Done);
        assert!(!worker.unheld.knows(run));
    }
}
