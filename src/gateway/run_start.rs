//! Starting a run, for REST and socket alike: whose workflow it is decides how.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::auth::Caller;
use crate::broker::Broker;
use crate::fastagency::foreign_worker;
use crate::gateway::limits::{LimitExceeded, StartCountError};
use crate::gateway::workflow_cache::{NativeWorkflow, WorkflowOwner};
use crate::gateway::{GatewayState, caller_token};
use crate::ids::{Name, RunId, UserId, user_token};
use crate::lifecycle::Shutdown;
use crate::metrics::metrics;
use crate::protocol::log::{LogEntry, RecordBody, RunCreation, RunOrigin};
use crate::redact::Redactor;
use crate::run::redaction;
use crate::run::start::{RunStart, StartDelivery, StartOutcome};
use crate::run::summary::RunSummary;
use crate::run::writer::last_record;
use crate::run::{self, start};
use crate::traces::{KeyValue, Kind, SpanParent, TraceSpan, genai};

/// What is to be started.
pub struct StartRequest<'a> {
    /// The run's id.
    pub run: RunId,
    /// The workflow's name, as a client wrote it.
    pub workflow: &'a str,
    /// Its parameters, unchecked.
    pub params: Map<String, Value>,
    /// Who asks.
    pub caller: &'a Caller,
}

/// What came of it.
pub struct StartedRun {
    /// How the run began.
    pub created: RunCreation,
    /// The sequence of its first record, if it began just now; `None` if it was there.
    pub new: Option<u64>,
}

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Nobody serves such a workflow.
    #[error("there is no workflow named {name:?}")]
    UnknownWorkflow {
        /// The name.
        name: String,
        /// What was probably meant.
        similar: Option<String>,
    },
    /// The parameters do not fit.
    #[error("the parameters do not fit: {problems}")]
    InvalidParams {
        /// Each field and what is wrong with it.
        problems: String,
    },
    /// The caller has started enough for now.
    #[error(transparent)]
    TooMany(#[from] LimitExceeded),
    /// The run could not be read or written.
    #[error(transparent)]
    Run(#[from] run::Error),
}

impl From<StartCountError> for StartError {
    fn from(refused: StartCountError) -> Self {
        match refused {
            StartCountError::TooMany(refused) => Self::TooMany(refused),
            StartCountError::Run(error) => Self::Run(error),
        }
    }
}

/// Starts a run, or finds the one of that id. Whether that one is the caller's is for the caller to check.
pub async fn begin(gateway: &GatewayState, wanted: StartRequest<'_>) -> Result<StartedRun, StartError> {
    // What a caller may not start is not there for him.
    let may_start = gateway.auth.may_start(wanted.caller, wanted.workflow);
    let run = wanted.run;
    // First whether the caller may start anything now: to look for a name that is not at hand costs more than that.
    let place = gateway.limits.start(gateway, wanted.caller, run, &wanted.params).await?;
    let begun = match gateway.known.find(wanted.workflow).await {
        Ok(found) => begin_found(gateway, wanted, found.filter(|_| may_start)).await,
        Err(error) => Err(error.into()),
    };
    if !matches!(&begun, Ok(StartedRun { new: Some(_), .. })) {
        // It was there, or never came about.
        place.give_back();
    }
    begun
}

async fn begin_found(
    gateway: &GatewayState,
    wanted: StartRequest<'_>,
    found: Option<WorkflowOwner>,
) -> Result<StartedRun, StartError> {
    let may_start = |name: &str| gateway.auth.may_start(wanted.caller, name);
    let caller = wanted.caller;
    match found {
        Some(WorkflowOwner::Native(native)) => {
            let params =
                native.params.check(wanted.params).map_err(|problems| StartError::InvalidParams { problems })?;
            let begun = append(gateway, wanted.run, &native.card.name, Some(&native), params, caller).await?;
            if begun.new.is_some() {
                gateway.unclaimed.look_at(wanted.run);
            }
            Ok(begun)
        }
        Some(WorkflowOwner::Foreign(name)) => {
            let begun = append(gateway, wanted.run, &name, None, wanted.params, caller).await?;
            if begun.new.is_some() {
                initiate(gateway, wanted.run, &begun.created).await?;
            }
            Ok(begun)
        }
        None => {
            let known = gateway.known.all().await?;
            let similar = known.similar(wanted.workflow).filter(|name| may_start(name)).map(str::to_owned);
            Err(StartError::UnknownWorkflow { name: wanted.workflow.chars().take(200).collect(), similar })
        }
    }
}

async fn append(
    gateway: &GatewayState,
    run: RunId,
    workflow: &Name,
    native: Option<&NativeWorkflow>,
    params: Map<String, Value>,
    caller: &Caller,
) -> run::Result<StartedRun> {
    let definition = native.map(|native| native.card.definition.clone());
    let token = native.and_then(|native| caller_token::token_for(gateway, caller, &native.card));
    let delivery = native.map_or(StartDelivery::Job, |native| native.delivery);
    let origin = if definition.is_some() { RunOrigin::Gateway } else { RunOrigin::ForeignWorker };
    let (user, groups) = (caller.user.clone(), caller.groups.clone().into_boxed_slice());
    let created = RunCreation {
        workflow: workflow.clone(),
        definition,
        params,
        user,
        groups,
        origin,
        trace: None,
        signature: None,
    };
    let start = RunStart {
        run,
        workflow: created.workflow.clone(),
        definition: created.definition.clone(),
        params: created.params.clone(),
        user: created.user.clone(),
        groups: created.groups.clone(),
        origin,
    };
    let span = TraceSpan::begin(Kind::Producer, SpanParent::Current, || {
        let attributes = vec![
            KeyValue::new(genai::WORKFLOW, created.workflow.to_string()),
            KeyValue::new(genai::CONVERSATION, run.to_string()),
            KeyValue::new(genai::MESSAGING_SYSTEM, "nats"),
            KeyValue::new(genai::MESSAGING_OPERATION, "send"),
        ];
        (format!("start {}", created.workflow), attributes)
    });
    let gateway_signer = gateway.settings.gateway_signer.as_ref();
    let starting = start::start_with_token(&gateway.broker, start, gateway_signer, token.as_ref(), delivery);
    Ok(match span.instrument(starting).await? {
        StartOutcome::New { seq } => {
            if let Some(token) = &token {
                gateway.limits.stored(caller, caller_token::weight(token));
            }
            metrics().workflow(created.workflow.as_str()).started.inc();
            let user = created.user.as_ref().map(UserId::as_str);
            tracing::debug!(run.id = %run, workflow = %created.workflow, user.id = user, "the run was started");
            StartedRun { created, new: Some(seq) }
        }
        StartOutcome::Existing(created) => StartedRun { created, new: None },
    })
}

/// Asks FastAgency's workers for a run. If they cannot be asked the run is ended: nobody would ever take it.
async fn initiate(gateway: &GatewayState, run: RunId, created: &RunCreation) -> run::Result<()> {
    let body = json!({
        "user_id": user_token(created.user.as_ref()),
        "workflow_uuid": run.dashed(),
        "name": created.workflow,
        "params": created.params,
    });
    let asked = match &gateway.broker.contract {
        Some(contract) => contract.initiate(run, Bytes::from(body.to_string())).await,
        None => Ok(()),
    };
    match asked {
        Ok(()) => {
            foreign_worker::publish_summary(&gateway.broker, &gateway.settings.redactor, run).await;
            Ok(())
        }
        Err(error) => {
            let reason = "the workflow's worker could not be asked to start it";
            if let Err(error) = foreign_worker::end(
                &gateway.broker,
                &gateway.settings.redactor,
                run,
                crate::protocol::log::RunOutcome::Failed,
                Some(reason),
            )
            .await
            {
                tracing::warn!(run.id = %run, "a run that nobody was asked to do could not be ended: {error}");
            }
            Err(error.into())
        }
    }
}

/// How long a worker has to claim a run before the gateway publishes its summary itself.
const CLAIMED_WITHIN: Duration = Duration::from_secs(1);
/// How long after that a run that nobody has taken is looked at once more.
const LOST_AFTER: Duration = Duration::from_secs(2);
/// Runs that are looked at so at once. Where more wait there are no workers, and nothing is lost.
const MOST_LOST: usize = 64;
/// Runs that may be watched at once: some seconds of the fastest starts. What does not fit appears in lists a little later,
/// when a worker takes it.
const MOST_WATCHED: usize = 8192;

/// The runs that were created here and that perhaps nobody claims. Publishing a summary of each at once would cost a stored
/// message per run; most are claimed, and then published by their worker, within milliseconds.
pub struct UnclaimedRuns {
    sender: mpsc::Sender<(RunId, Instant)>,
    /// Those of them that nobody here has seen being claimed.
    watched: Arc<Mutex<HashSet<RunId>>>,
}

impl UnclaimedRuns {
    /// The list, and the task that looks after it.
    pub fn new(
        broker: Broker,
        redactor: Redactor,
        shutdown: Shutdown,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (sender, mut receiver) = mpsc::channel::<(RunId, Instant)>(MOST_WATCHED);
        let unclaimed = Self { sender, watched: Arc::default() };
        let watched = unclaimed.watched.clone();
        let lost = Arc::new(Semaphore::new(MOST_LOST));
        let task = async move {
            loop {
                let next = tokio::select! {
                    () = shutdown.soft() => return,
                    next = receiver.recv() => next,
                };
                let Some((run, due)) = next else { return };
                // All wait equally long, so the first to come is the first to be due. When the end begins those that are
                // left are looked at right away.
                tokio::select! {
                    () = shutdown.soft() => {}
                    () = tokio::time::sleep_until(due) => {}
                }
                if !forget(&watched, run) {
                    continue;
                }
                match publish_if_unclaimed(&broker, &redactor, run).await {
                    Ok(None) => {}
                    Ok(Some(workflow)) => {
                        if let Ok(place) = lost.clone().try_acquire_owned() {
                            let (broker, ending) = (broker.clone(), shutdown.clone());
                            shutdown.run(async move {
                                let _place = place;
                                tokio::select! {
                                    () = ending.soft() => {}
                                    () = queue_if_lost(&broker, &workflow, run) => {}
                                }
                            });
                        }
                    }
                    Err(error) => {
                        tracing::debug!(run.id = %run, "the summary of a new run could not be published: {error}");
                    }
                }
            }
        };
        (unclaimed, task)
    }

    fn look_at(&self, run: RunId) {
        self.watched.lock().insert(run);
        // Full: the summary is published when a worker takes the run.
        if self.sender.try_send((run, Instant::now() + CLAIMED_WITHIN)).is_err() {
            forget(&self.watched, run);
        }
    }

    /// Takes note of a record that a client of this gateway is shown: a run that was claimed need not be looked at.
    pub fn saw(&self, run: RunId, placed: &LogEntry) {
        if matches!(placed.record.body, RecordBody::Claimed { .. }) {
            forget(&self.watched, run);
        }
    }
}

fn forget(watched: &Mutex<HashSet<RunId>>, run: RunId) -> bool {
    watched.lock().remove(&run)
}

/// Queues a run again whose job went to a worker that never got it: the connection, or the leader of the queue's consumer, was
/// lost at that moment. Else it would lie until the job is due again.
async fn queue_if_lost(broker: &Broker, workflow: &Name, run: RunId) {
    tokio::time::sleep(LOST_AFTER).await;
    let queued = async {
        match last_record(broker, run).await? {
            Some(last) if matches!(last.record.body, RecordBody::Created(_)) => {
                start::enqueue_lost_start(broker, workflow, run).await
            }
            _ => Ok(false),
        }
    };
    match queued.await {
        Ok(true) => {
            tracing::info!(run.id = %run, "nobody has taken the run though its queue is empty; it is queued again")
        }
        Ok(false) => {}
        Err(error) => tracing::debug!(run.id = %run, "whether the run must be queued again is not known: {error}"),
    }
}

/// The workflow of a run that still nobody has claimed.
async fn publish_if_unclaimed(broker: &Broker, redactor: &Redactor, run: RunId) -> run::Result<Option<Name>> {
    let Some(last) = last_record(broker, run).await? else { return Ok(None) };
    let RecordBody::Created(created) = &last.record.body else { return Ok(None) };
    let workflow = created.workflow.clone();
    RunSummary::of(run, &[last]).publish_summary(broker).await?;
    // A worker may have claimed the run and published its summary in between; then ours is the older one and must not stay.
    let records = run::look(broker, run, 0).await?.records;
    if records.len() > 1 {
        redaction::summary_of(redactor, run, &records).publish_summary(broker).await?;
        return Ok(None);
    }
    Ok(Some(workflow))
}
