//! Drives one run until it leaves memory: executes its workflow from the start against what its log remembers, hears what comes into its inbox,
//! and decides when it is parked.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use serde_json::Value;
use tokio::time::Instant;

use crate::broker::{self, InboxSlot, InboxUpdate, Job, JobReason, StoredRecord};
use crate::chat::{Result, WorkflowStop};
use crate::clock::{self, Timestamp};
use crate::engine::Error;
use crate::engine::ending::{self, DriveEnd};
use crate::engine::journal::Journal;
use crate::engine::steps;
use crate::ids::MessageId;
use crate::lifecycle::Shutdown;
use crate::protocol::failure::FailureKind;
use crate::protocol::log::RecordBody;
use crate::protocol::queue_name::QueueName;
use crate::workflow::Workflow;

/// What happens to a run in memory.
enum DriverEvent {
    /// After a lapse of the worker's lease the run is not known to be its own.
    Unowned(Error),
    /// The workflow has ended, or cannot go on.
    Executed(Result<Value>),
    /// What the workflow has done cannot be stored.
    Unstored(WorkflowStop),
    /// What lay in the slot for cancels when the run was taken.
    LookedForCancel(Option<StoredRecord>),
    /// Something came into the inbox; none: subscribe again.
    Rang(Option<InboxUpdate>),
    /// The run may have been idle for long enough.
    MayPark,
    /// The worker stops now.
    Stopping,
}

/// How the execution of a workflow comes to its end.
enum ExecutionEnd {
    Executed(Result<Value>),
    Cancelled(Bytes),
    /// The run is not over; it leaves memory.
    Left(DriveEnd),
}

/// What came of parking.
enum ParkingOutcome {
    /// The run is out of memory.
    Out,
    /// An answer came meanwhile, and the run goes on here.
    Answered,
    /// A cancel came meanwhile.
    Cancelled(Bytes),
    /// The store does not take the moment that the run waits for: why.
    Refused(String),
}

/// A workflow being executed.
type WorkflowExecutionFuture = Pin<Box<dyn Future<Output = Result<Value>> + Send>>;

/// A run's inbox, subscribed to.
pub(super) struct HeardInbox {
    /// What comes into it.
    pub(super) updates: BoxStream<'static, InboxUpdate>,
    /// Whether a cancel may have come before the subscription.
    pub(super) may_hold_cancel: bool,
}

/// Drives a run whose inbox is subscribed to already, until it leaves memory. `park_after`: how long a run that only waits is kept there.
pub(super) async fn drive(
    journal: &Arc<Journal>,
    workflow: Arc<Workflow>,
    inbox: HeardInbox,
    park_after: Duration,
    shutdown: &Shutdown,
) -> Result<DriveEnd> {
    let (ending, cancelling) = (ending::own_scope(&workflow, "end"), ending::own_scope(&workflow, "cancel"));
    let driver = RunDriver { journal, park_after, shutdown };
    let execution: WorkflowExecutionFuture = Box::pin(steps::execute(workflow, journal.clone()));
    // What is awaited inside is boxed where it is large: this future is what a run that waits costs.
    match driver.until_over(execution, inbox).await? {
        ExecutionEnd::Executed(done) => Box::pin(ending::finish(journal, done, ending)).await,
        ExecutionEnd::Cancelled(payload) => Box::pin(ending::cancel(journal, &payload, cancelling)).await,
        ExecutionEnd::Left(left) => Ok(left),
    }
}

/// How long a parked run is listened to yet. Whoever answers it hears within that time that it is parked (`run::answer`), or leaves it
/// to the scan.
const STAYS_AFTER_PARKING: Duration = Duration::from_millis(100);

/// What lies in the inbox of a run that was parked.
struct InboxFindings {
    cancelled: Option<StoredRecord>,
    answers: Vec<(MessageId, StoredRecord)>,
}

impl InboxFindings {
    fn is_empty(&self) -> bool {
        self.cancelled.is_none() && self.answers.is_empty()
    }
}

struct RunDriver<'a> {
    journal: &'a Arc<Journal>,
    park_after: Duration,
    shutdown: &'a Shutdown,
}

impl RunDriver<'_> {
    /// Drives the execution until it is over; it is dropped then.
    async fn until_over(&self, mut execution: WorkflowExecutionFuture, inbox: HeardInbox) -> Result<ExecutionEnd> {
        let (journal, shutdown) = (self.journal, self.shutdown);
        let HeardInbox { updates: mut inbox_updates, may_hold_cancel } = inbox;
        let cancelled = journal.clone();
        let mut look = Box::pin(async move { cancelled.inbox.get(InboxSlot::Cancel).await });
        let mut looked = !may_hold_cancel;
        let doubting = journal.clone();
        let mut lost = Box::pin(async move { doubting.ownership.watch_lease().await });
        loop {
            let park_at = journal.idle_since().map(|since| since + self.park_after);
            let park_at = park_at.filter(|_| !self.is_due_soon());
            let event = tokio::select! {
                biased;
                lost = &mut lost => DriverEvent::Unowned(lost),
                // What was stopped before it was taken does nothing.
                done = &mut execution, if looked => DriverEvent::Executed(done),
                failure = journal.log.failure_behind(), if looked => DriverEvent::Unstored(failure),
                found = &mut look, if !looked => DriverEvent::LookedForCancel(found?),
                // Also by a run that does one thing after the other without ever waiting.
                rang = tokio::task::coop::unconstrained(inbox_updates.next()) => DriverEvent::Rang(rang),
                () = idle_until(park_at, self.park_after, shutdown) => DriverEvent::MayPark,
                () = shutdown.hard() => DriverEvent::Stopping,
            };
            match event {
                DriverEvent::Unowned(lost) => return Err(lost.into()),
                DriverEvent::Executed(done) => return Ok(ExecutionEnd::Executed(done)),
                DriverEvent::Unstored(failure) => return Ok(ExecutionEnd::Executed(Err(failure))),
                DriverEvent::LookedForCancel(Some(stored)) => return Ok(ExecutionEnd::Cancelled(stored.payload)),
                DriverEvent::LookedForCancel(None) => looked = true,
                DriverEvent::Rang(Some(InboxUpdate::Stored { slot, stored })) => match slot {
                    InboxSlot::Answer(question) => journal.deliver(question, stored),
                    // Of interest to whoever opens a password, or makes a call in the caller's name, only.
                    InboxSlot::Key | InboxSlot::CallerToken => {}
                    InboxSlot::Peek => Box::pin(journal.tell_writing()).await,
                    InboxSlot::Cancel => return Ok(ExecutionEnd::Cancelled(stored.payload)),
                },
                DriverEvent::Rang(Some(InboxUpdate::Gap)) => {
                    if let Some(cancelled) = Box::pin(self.look_into_inbox()).await? {
                        return Ok(ExecutionEnd::Cancelled(cancelled));
                    }
                }
                DriverEvent::Rang(None) => inbox_updates = journal.context.broker.inbox.subscribe(journal.run).await?,
                // Something may have begun since: only what still waits is parked.
                DriverEvent::MayPark if !self.may_park() => {}
                DriverEvent::MayPark => match Box::pin(self.park(&mut inbox_updates)).await? {
                    ParkingOutcome::Out => return Ok(ExecutionEnd::Left(DriveEnd::Parked)),
                    ParkingOutcome::Answered => {}
                    ParkingOutcome::Refused(why) => {
                        return Ok(ExecutionEnd::Executed(Err(WorkflowStop::failed(FailureKind::Wait, why))));
                    }
                    ParkingOutcome::Cancelled(payload) => return Ok(ExecutionEnd::Cancelled(payload)),
                },
                DriverEvent::Stopping => {
                    drop(execution);
                    // Due at once, by everybody's clock: whoever takes it next need not wait for this worker's lease to end.
                    journal.log.append(RecordBody::Parked { until: Some(Timestamp::UNIX_EPOCH) }).await?;
                    return Ok(ExecutionEnd::Left(DriveEnd::HandedBack));
                }
            }
        }
    }

    /// Whether the run goes on by itself so soon that to park it is not worth while.
    fn is_due_soon(&self) -> bool {
        let soon = self.park_after.min(Duration::from_secs(1));
        let now = self.journal.context.clock().now();
        self.journal.idle.earliest_deadline().is_some_and(|until| clock::until(now, until) < soon)
    }

    /// Whether the run has been idle for long enough, or is idle and the worker is ending.
    fn may_park(&self) -> bool {
        let is_idle = |since: Instant| self.shutdown.has_begun() || since.elapsed() >= self.park_after;
        self.journal.idle_since().is_some_and(is_idle) && !self.is_due_soon()
    }

    /// Parks a run that only waits. The record comes first, the look into the inbox after it: an answer that came meanwhile
    /// is either seen here, or its giver sees the record and queues the run; or both, and then the log decides who goes on.
    async fn park(&self, inbox_updates: &mut BoxStream<'static, InboxUpdate>) -> Result<ParkingOutcome> {
        let journal = self.journal;
        let until = journal.idle.earliest_deadline();
        if let Some(at) = until {
            let job = Job { run: journal.run, reason: JobReason::Timer };
            let queue = QueueName::Workflow(journal.created.workflow.clone());
            match journal.context.broker.queue.schedule(&queue, &job, at).await {
                Ok(()) => {}
                // It will not take it another time either: to let go of the run would have it come back for ever.
                Err(broker::Error::Refused { reason, .. }) => {
                    return Ok(ParkingOutcome::Refused(format!("the run cannot wait until {at}: {reason}")));
                }
                Err(error) => return Err(error.into()),
            }
        }
        journal.log.append(RecordBody::Parked { until }).await?;
        let mut found = self.look_for_answers().await?;
        if found.is_empty() && self.rings_yet(inbox_updates).await {
            found = self.look_for_answers().await?;
        }
        if found.is_empty() {
            return Ok(ParkingOutcome::Out);
        }
        journal.claim_again().await?;
        for (question, stored) in found.answers {
            journal.deliver(question, stored);
        }
        Ok(found.cancelled.map_or(ParkingOutcome::Answered, |stored| ParkingOutcome::Cancelled(stored.payload)))
    }

    /// Stays for a moment after the run was parked: who has just given an answer may not have heard yet that nobody waits for it any
    /// more. Whether an answer or a cancel came.
    async fn rings_yet(&self, inbox_updates: &mut BoxStream<'static, InboxUpdate>) -> bool {
        let rings = async {
            while let Some(update) = inbox_updates.next().await {
                match update {
                    InboxUpdate::Gap | InboxUpdate::Stored { slot: InboxSlot::Answer(_) | InboxSlot::Cancel, .. } => {
                        return true;
                    }
                    InboxUpdate::Stored { .. } => {}
                }
            }
            false
        };
        tokio::time::timeout(STAYS_AFTER_PARKING, rings).await.unwrap_or(false)
    }

    async fn look_for_answers(&self) -> Result<InboxFindings> {
        let inbox = &self.journal.inbox;
        let cancelled = inbox.get(InboxSlot::Cancel).await?;
        let mut answers = Vec::new();
        for question in inbox.awaited() {
            answers.extend(inbox.get(InboxSlot::Answer(question)).await?.map(|stored| (question, stored)));
        }
        Ok(InboxFindings { cancelled, answers })
    }

    /// After a gap in the subscription: hands over every answer that is there, and says whether there is a cancel.
    async fn look_into_inbox(&self) -> Result<Option<Bytes>> {
        let journal = self.journal;
        for question in journal.inbox.awaited() {
            if let Some(stored) = journal.inbox.get(InboxSlot::Answer(question)).await? {
                journal.deliver(question, stored);
            }
        }
        Ok(journal.inbox.get(InboxSlot::Cancel).await?.map(|stored| stored.payload))
    }
}

/// How soon it is looked again whether a run is idle, at most.
const SHORTEST_LOOK: Duration = Duration::from_millis(50);

/// Waits until the run may be parked: when it has been idle for long enough, or at once when the worker is ending.
async fn idle_until(park_at: Option<Instant>, park_after: Duration, shutdown: &Shutdown) {
    let Some(park_at) = park_at else {
        // Looked at again soon: what is busy now may be idle then.
        return tokio::time::sleep(park_after.clamp(SHORTEST_LOOK, Duration::from_secs(1))).await;
    };
    tokio::select! {
        () = tokio::time::sleep_until(park_at) => {}
        () = shutdown.soft() => tokio::time::sleep(Duration::from_millis(50)).await,
    }
}
