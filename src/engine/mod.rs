//! Drives one run: executes its workflow from the start against what its log remembers, hears its bell, and decides when it
//! is parked. It never touches a queue or an HTTP request; the worker brings it runs and settles their deliveries.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::Value;

use crate::broker::{Bell, Broker, Job, Reason, Slot};
use crate::chat::Stop;
use crate::clock::{self, Timestamp};
use crate::fastagency::mirror::FastAgencyMirror;
use crate::ids::{RunId, UserId};
use crate::lifecycle::Shutdown;
use crate::message::Content;
use crate::model::Models;
use crate::protocol::effect_key::EffectScope;
use crate::protocol::failure::FailureKind;
use crate::protocol::log::{Body, Created, Ended, Ending, Origin, completed_message};
use crate::protocol::participant::{USER, WORKFLOW};
use crate::protocol::queue_name::QueueName;
use crate::protocol::signable::Signable;
use crate::run::claim::Owned;
use crate::run::lease::Lease;
use crate::run::notice::Notices;
use crate::seal::Sealer;
use crate::vouch::{PublicKey, SignedStatement, StatementSigner};
use crate::workflow::Workflow;

mod concealed;
mod effects;
mod error;
mod journal;
mod permits;
mod prompts;
mod questions;
mod repeats;
mod scope;
mod shelver;
mod shown;
mod steps;
mod talks;
mod watch;

pub use error::Error;
pub use shelver::SummaryPublisher;

use effects::Scoped;
use journal::{EngineContext, Journal};
use scope::Scope;
use steps::{Execution, Flow};

/// What runs are driven with.
#[derive(Clone)]
pub struct Engine {
    around: EngineContext,
    park_after: Duration,
}

/// How a run left memory in order; otherwise there is an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// It has ended.
    Ended,
    /// It only waits; whatever it waits for will queue it again.
    Parked,
    /// It is to be taken up again at once, here or elsewhere.
    HandedBack,
}

/// What came of parking.
enum Parking {
    /// The run is out of memory.
    Out,
    /// An answer came meanwhile, and the run goes on here.
    Answered,
    /// A cancel came meanwhile.
    Cancelled(bytes::Bytes),
    /// The store does not take the moment that the run waits for: why.
    Refused(String),
}

/// Sees to it, however the run leaves memory, that nothing is kept that keeps the journal.
struct Leaving<'a>(&'a Journal);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// A workflow being executed.
type Execute = Pin<Box<dyn Future<Output = crate::chat::Result<Value>> + Send>>;

/// FastAgency's words for a workflow that failed; its clients show them.
const FAILED: &str = "Unhandled exception occurred when executing the workflow";

impl Engine {
    /// An engine. `park_after`: how long a run that only waits is kept in memory.
    pub fn new(
        broker: Broker,
        models: Models,
        sealer: Option<Sealer>,
        shelver: Arc<SummaryPublisher>,
        lease: Arc<Lease>,
        notices: Notices,
        park_after: Duration,
    ) -> Self {
        let notices = Arc::new(notices);
        let (trusted_gateways, voucher, signer, max_run_bytes) = (Arc::default(), None, None, None);
        let around = EngineContext {
            broker,
            models,
            sealer,
            trusted_gateways,
            voucher,
            signer,
            shelver,
            lease,
            notices,
            max_run_bytes,
        };
        Self { around, park_after }
    }

    /// Does no more in a run whose log holds so many bytes.
    pub fn bounded(mut self, max_run_bytes: Option<u64>) -> Self {
        self.around.max_run_bytes = max_run_bytes;
        self
    }

    /// Signs the definitions of the runs that workflows start.
    pub fn signing(mut self, signer: Option<StatementSigner>) -> Self {
        self.around.signer = signer;
        self
    }

    /// Does nothing in anybody's name any more but what the holder of one of these keys vouches for; with no key, everybody is
    /// believed. `voucher`: what vouches for the runs that workflows start.
    pub fn trusting(mut self, keys: &[PublicKey], voucher: Option<StatementSigner>) -> Self {
        self.around.trusted_gateways = keys.into();
        self.around.voucher = voucher;
        self
    }

    /// Whether it does what a run was started for in somebody's name.
    pub fn trusts_start_of(&self, run: RunId, created: &Created) -> bool {
        let keys = &self.around.trusted_gateways;
        keys.is_empty() || created.is_signed(keys, SignedStatement::Start(run))
    }

    /// What seals passwords.
    pub fn sealer(&self) -> Option<&Sealer> {
        self.around.sealer.as_ref()
    }

    /// Drives a run that this worker has claimed until it leaves memory. Dropping the future lets go of it at once; the log
    /// stays whole.
    pub async fn drive(&self, owned: Box<Owned>, workflow: Arc<Workflow>, shutdown: &Shutdown) -> Result<Left, Error> {
        Ok(self.try_drive(owned, workflow, shutdown).await?)
    }

    /// Ends a run that this worker has claimed with a failure, without executing anything of it.
    pub async fn give_up(&self, owned: Box<Owned>, workflow: Arc<Workflow>, why: &str) -> Result<Left, Error> {
        Ok(self.try_give_up(owned, workflow, why).await?)
    }

    async fn try_give_up(&self, owned: Box<Owned>, workflow: Arc<Workflow>, why: &str) -> crate::chat::Result<Left> {
        let copier = self.copier(&owned).await?;
        let journal = Arc::new(Journal::new(self.around.clone(), *owned, workflow.limits.clone(), copier));
        let _leaving = Leaving(&journal);
        finish(&journal, Err(Stop::failed(FailureKind::Worker, why)), own_scope(&workflow, "end")).await
    }

    /// What copies a run's messages for FastAgency's clients, if it is theirs.
    async fn copier(&self, owned: &Owned) -> crate::chat::Result<Option<FastAgencyMirror>> {
        let contract = match &self.around.broker.contract {
            Some(contract) if owned.created.origin == Origin::FastAgency => contract.clone(),
            _ => return Ok(None),
        };
        let (run, redactor) = (owned.writer.run(), self.around.shelver.redactor());
        let resumed = FastAgencyMirror::resume(contract, run, &owned.created, &owned.history, redactor);
        Ok(Some(Box::pin(resumed).await?))
    }

    async fn try_drive(
        &self,
        owned: Box<Owned>,
        workflow: Arc<Workflow>,
        shutdown: &Shutdown,
    ) -> crate::chat::Result<Left> {
        let run = owned.writer.run();
        let broker = &self.around.broker;
        let mut bell = broker.inbox.bell(run).await?;
        let copier = self.copier(&owned).await?;
        let journal = Arc::new(Journal::new(self.around.clone(), *owned, workflow.limits.clone(), copier));
        journal.shelve().await;
        let _leaving = Leaving(&journal);
        let (ending, cancelling) = (own_scope(&workflow, "end"), own_scope(&workflow, "cancel"));
        let mut execution: Execute = Box::pin(execute(workflow, journal.clone()));
        // A cancel may have come before the bell was heard.
        let cancelled = journal.clone();
        let mut look = Box::pin(async move { cancelled.inbox(Slot::Cancel).await });
        let mut looked = false;
        let doubting = journal.clone();
        let mut lost = Box::pin(async move { doubting.watch_lease().await });
        // What is awaited inside is boxed where it is large: this future is what a run that waits costs.
        loop {
            let park_at = journal.idle_since().map(|since| since + self.park_after);
            let park_at = park_at.filter(|_| !self.is_due_soon(&journal));
            tokio::select! {
                biased;
                lost = &mut lost => return Err(lost),
                done = &mut execution => return Box::pin(finish(&journal, done, ending)).await,
                failure = journal.failure_behind() => {
                    drop(execution);
                    return Box::pin(finish(&journal, Err(failure), ending)).await;
                }
                found = &mut look, if !looked => {
                    looked = true;
                    if let Some(stored) = found? {
                        drop(execution);
                        return Box::pin(cancel(&journal, &stored.payload, cancelling)).await;
                    }
                }
                // Also by a run that does one thing after the other without ever waiting.
                rang = tokio::task::coop::unconstrained(bell.next()) => match rang {
                    Some(Bell::Rang { slot: Slot::Answer(question), stored }) => journal.deliver(question, stored),
                    // Of interest to whoever opens a password only.
                    Some(Bell::Rang { slot: Slot::Key, .. }) => {}
                    Some(Bell::Rang { slot: Slot::Peek, .. }) => Box::pin(journal.tell_writing()).await,
                    Some(Bell::Rang { slot: Slot::Cancel, stored }) => {
                        drop(execution);
                        return Box::pin(cancel(&journal, &stored.payload, cancelling)).await;
                    }
                    Some(Bell::Gap) => {
                        if let Some(cancelled) = Box::pin(look_into_inbox(&journal)).await? {
                            drop(execution);
                            return Box::pin(cancel(&journal, &cancelled, cancelling)).await;
                        }
                    }
                    None => bell = broker.inbox.bell(run).await?,
                },
                () = idle_until(park_at, shutdown) => {
                    // Something may have begun since: only what still waits is parked.
                    let idle = journal.idle_since().is_some_and(|since| {
                        shutdown.has_begun() || since.elapsed() >= self.park_after
                    });
                    if idle && !self.is_due_soon(&journal) {
                        match Box::pin(self.park(&journal)).await? {
                            Parking::Out => return Ok(Left::Parked),
                            Parking::Answered => {}
                            Parking::Refused(why) => {
                                drop(execution);
                                let failed = Err(Stop::failed(FailureKind::Wait, why));
                                return Box::pin(finish(&journal, failed, ending)).await;
                            }
                            Parking::Cancelled(payload) => {
                                drop(execution);
                                return Box::pin(cancel(&journal, &payload, cancelling)).await;
                            }
                        }
                    }
                }
                () = shutdown.hard() => {
                    drop(execution);
                    // Due at once, by everybody's clock: whoever takes it next need not wait for this worker's lease to end.
                    journal.append(Body::Parked { until: Some(Timestamp::UNIX_EPOCH) }).await?;
                    return Ok(Left::HandedBack);
                }
            }
        }
    }

    /// Whether the run goes on by itself so soon that to park it is not worth while.
    fn is_due_soon(&self, journal: &Journal) -> bool {
        let soon = self.park_after.min(Duration::from_secs(1));
        journal.earliest_deadline().is_some_and(|until| clock::until(journal.clock().now(), until) < soon)
    }

    /// Parks a run that only waits. The record comes first, the look into the inbox after it: an answer that came meanwhile
    /// is either seen here, or its giver sees the record and queues the run; or both, and then the log decides who goes on.
    async fn park(&self, journal: &Arc<Journal>) -> crate::chat::Result<Parking> {
        let until = journal.earliest_deadline();
        if let Some(at) = until {
            let job = Job { run: journal.run, reason: Reason::Timer };
            let queue = QueueName::Workflow(journal.created.workflow.clone());
            match journal.broker.queue.schedule(&queue, &job, at).await {
                Ok(()) => {}
                // It will not take it another time either: to let go of the run would have it come back for ever.
                Err(crate::broker::Error::Refused { reason, .. }) => {
                    return Ok(Parking::Refused(format!("the run cannot wait until {at}: {reason}")));
                }
                Err(error) => return Err(error.into()),
            }
        }
        journal.append(Body::Parked { until }).await?;
        let cancelled = journal.inbox(Slot::Cancel).await?;
        let mut answers = Vec::new();
        for question in journal.awaited() {
            answers.extend(journal.inbox(Slot::Answer(question)).await?.map(|stored| (question, stored)));
        }
        if cancelled.is_none() && answers.is_empty() {
            return Ok(Parking::Out);
        }
        journal.claim_again().await?;
        for (question, stored) in answers {
            journal.deliver(question, stored);
        }
        Ok(cancelled.map_or(Parking::Answered, |stored| Parking::Cancelled(stored.payload)))
    }
}

/// Waits until the run may be parked: when it has been idle for long enough, or at once when the worker is ending.
async fn idle_until(park_at: Option<tokio::time::Instant>, shutdown: &Shutdown) {
    let Some(park_at) = park_at else {
        // Looked at again soon: what is busy now may be idle then.
        return tokio::time::sleep(Duration::from_secs(1)).await;
    };
    tokio::select! {
        () = tokio::time::sleep_until(park_at) => {}
        () = shutdown.soft() => tokio::time::sleep(Duration::from_millis(50)).await,
    }
}

async fn execute(workflow: Arc<Workflow>, journal: Arc<Journal>) -> crate::chat::Result<Value> {
    let mut scope = Scope::new(&workflow, journal.run, &journal.created, &journal.created.params);
    let execution = Execution { workflow: &workflow, journal: &journal, within: Vec::new() };
    Ok(match execution.body(&workflow.steps, &mut scope, EffectScope::root()).await? {
        Flow::Return(value) => value,
        Flow::Next(_) => Value::Null,
    })
}

/// The scope of what the engine itself says of a run: one that no step has. Kept logs have the plain name wherever it was free.
fn own_scope(workflow: &Workflow, name: &str) -> EffectScope {
    let is_taken = workflow.steps.iter().any(|step| step.path == name);
    EffectScope::of_engine(name, is_taken)
}

async fn finish(
    journal: &Arc<Journal>,
    done: crate::chat::Result<Value>,
    scope: EffectScope,
) -> crate::chat::Result<Left> {
    let failure = match done {
        Ok(result) => match end(journal, Ending::Completed, None, result.clone(), result).await {
            Ok(()) => return Ok(Left::Ended),
            Err(Stop::Failed(failure)) => failure,
            Err(halted) => return Err(halted),
        },
        Err(Stop::Failed(failure)) => failure,
        Err(halted) => return Err(halted),
    };
    let told = match &failure.step {
        Some(step) => format!("{} ({step})", failure.message),
        None => failure.message.clone(),
    };
    let user = journal.created.user.as_ref().map(UserId::as_str);
    // Not its words: they may quote what people and models said. The run's own log has them.
    let (kind, step) = (failure.kind.as_str(), failure.step.as_deref());
    tracing::warn!(run.id = %journal.run, workflow = %journal.created.workflow, user.id = user, kind, step, "the run failed");
    let says = Content::Error { short: Some(format!("{FAILED}.")), long: Some(told.clone()) };
    Scoped::of_end(journal.clone(), scope).say(WORKFLOW, USER, says, None).await?;
    let words = Value::String(format!("{FAILED}: {told}"));
    end(journal, Ending::Failed, Some(told), Value::Null, words).await?;
    Ok(Left::Ended)
}

async fn cancel(journal: &Arc<Journal>, payload: &[u8], scope: EffectScope) -> crate::chat::Result<Left> {
    let by = journal.cancelled_by(payload);
    Scoped::of_end(journal.clone(), scope).say_cut_off().await?;
    let reason = match by {
        Some(by) => format!("stopped by {by}"),
        None => "stopped".to_owned(),
    };
    let words = Value::String(format!("The run was {reason}."));
    end(journal, Ending::Cancelled, Some(reason), Value::Null, words).await?;
    Ok(Left::Ended)
}

async fn end(
    journal: &Arc<Journal>,
    outcome: Ending,
    reason: Option<String>,
    result: Value,
    shown: Value,
) -> crate::chat::Result<()> {
    let message = completed_message(journal.run, shown);
    let ended = Ended { outcome, reason, result, usage: journal.usage(), message };
    journal.append(Body::Ended(ended)).await?;
    Box::pin(journal.forget_secrets()).await;
    Ok(())
}

/// After a gap in the bell: hands over every answer that is there, and says whether there is a cancel.
async fn look_into_inbox(journal: &Journal) -> crate::chat::Result<Option<bytes::Bytes>> {
    for question in journal.awaited() {
        if let Some(stored) = journal.inbox(Slot::Answer(question)).await? {
            journal.deliver(question, stored);
        }
    }
    Ok(journal.inbox(Slot::Cancel).await?.map(|stored| stored.payload))
}
