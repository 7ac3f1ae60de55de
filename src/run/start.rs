//! Starting a run: append `created` and queue the run, in one where its workers know how to take such runs. Who calls a second time with the
//! same run id gets the run that is there.

use std::sync::Once;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::broker::{self, Broker, Job, JobReason, RecordLane};
use crate::clock;
use crate::ids::{Name, RunId, UserId};
use crate::protocol::log::{Record, RecordBody, RunCreation, RunOrigin};
use crate::protocol::queue_name::QueueName;
use crate::protocol::signable::Signable;
use crate::run::caller_token::{self, CallerTokenSeal};
use crate::run::{Error, Result, look};
use crate::signing::{SignedStatement, StatementSigner};
use crate::traces;

/// How often a start is tried that is refused although there is nothing, and how long is waited in between.
const MOST_TRIES: u32 = 5;
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// What is to be started.
#[derive(Debug, Clone)]
pub struct RunStart {
    /// The run's id; see [`RunId::for_key`] for calls that may be repeated.
    pub run: RunId,
    /// The workflow.
    pub workflow: Name,
    /// The hash of its definition; none for a foreign worker's.
    pub definition: Option<String>,
    /// Its parameters, checked.
    pub params: Map<String, Value>,
    /// Who it belongs to.
    pub user: Option<UserId>,
    /// What he belongs to.
    pub groups: Box<[String]>,
    /// Where it comes from.
    pub origin: RunOrigin,
}

/// How the workers are brought a new run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartDelivery {
    /// Its first record is the job ([`broker::Log::create`]). For workers that all take such runs
    /// ([`WorkerCard::takes_created`](crate::run::directory::WorkerCard)): others would never hear of it.
    Created,
    /// A job is queued after its first record was stored. Every version of a worker takes that.
    Job,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub enum StartOutcome {
    /// It is created and queued.
    New {
        /// The sequence of `created`.
        seq: u64,
    },
    /// A run of that id was there; this is how it began. Whoever asks must check that it is his.
    Existing(RunCreation),
}

/// Where it is said that a login may not start runs in one.
static SAID_DENIED: Once = Once::new();

/// Starts a run. After a failure it may be called again with the same id.
pub async fn start(broker: &Broker, start: RunStart, gateway_signer: Option<&StatementSigner>) -> Result<StartOutcome> {
    start_with_token(broker, start, gateway_signer, None, StartDelivery::Job).await
}

/// Starts a run, perhaps one that makes calls in the name of its caller, whose access token is there before a worker can take the run:
/// such a run is queued after that, and so `delivery` does not matter.
pub async fn start_with_token(
    broker: &Broker,
    start: RunStart,
    gateway_signer: Option<&StatementSigner>,
    token: Option<&CallerTokenSeal<'_>>,
    delivery: StartDelivery,
) -> Result<StartOutcome> {
    let RunStart { run, workflow, definition, params, user, groups, origin } = start;
    let trace = traces::current();
    let mut created =
        RunCreation { workflow: workflow.clone(), definition, params, user, groups, origin, trace, signature: None };
    if let Some(gateway_signer) = gateway_signer {
        created = created.signed(gateway_signer, SignedStatement::Start(run));
    }
    let record = Record::new(RecordBody::Created(created));
    let mut payloads = record.payloads().map_err(|source| Error::Unstorable { run, source })?;
    let first = payloads.swap_remove(0);
    if !payloads.is_empty() {
        // Parameters are checked before; a start that does not fit one message is refused, not cut into pieces.
        return Err(broker::Error::TooLarge { size: first.len() * 2, max: crate::protocol::log::LARGEST_PIECE }.into());
    }
    let mut delivery = match origin {
        // Nobody of ours takes it.
        RunOrigin::ForeignWorker => StartDelivery::Job,
        _ if token.is_some() => StartDelivery::Job,
        _ => delivery,
    };
    let mut tries = 1;
    let seq = loop {
        let appended = match delivery {
            StartDelivery::Created => broker.log.create(run, &workflow, first.clone()).await,
            StartDelivery::Job => broker.log.append(run, RecordLane::Did, first.clone(), 0).await,
        };
        match appended {
            Ok(seq) => break seq,
            Err(broker::Error::Denied { what, .. }) if delivery == StartDelivery::Created => {
                SAID_DENIED.call_once(|| {
                    tracing::warn!("a start costs a message more, its job: this NATS login may not {what}; let it publish to fa.run.*.*");
                });
                delivery = StartDelivery::Job;
                continue;
            }
            Err(broker::Error::Conflict { expected }) => match existing(broker, run, record.id, token, delivery).await?
            {
                Some(started) => return Ok(started),
                // A conflict with nothing: a cluster that has just changed its leader gives some.
                None if tries < MOST_TRIES => tries += 1,
                None => return Err(broker::Error::Conflict { expected }.into()),
            },
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    };
    if delivery == StartDelivery::Job && origin != RunOrigin::ForeignWorker {
        enqueue_with_token(broker, &workflow, run, token).await?;
    }
    Ok(StartOutcome::New { seq })
}

async fn enqueue_with_token(
    broker: &Broker,
    workflow: &Name,
    run: RunId,
    token: Option<&CallerTokenSeal<'_>>,
) -> Result<()> {
    if let Some(token) = token {
        caller_token::store(broker, run, token, clock::system().now()).await?;
    }
    enqueue_start(broker, workflow, run).await
}

/// Queues a run that was created. Harmless if it is queued already.
pub async fn enqueue_start(broker: &Broker, workflow: &Name, run: RunId) -> Result<()> {
    let job = Job { run, reason: JobReason::Start };
    let queue = QueueName::Workflow(workflow.clone());
    Ok(broker.queue.enqueue(&queue, &job, &format!("{run}.start")).await?)
}

/// Queues a run that was created, once more, if its queue is empty and still nobody has taken it: its job was given to a worker
/// that never got it. A worker that has it all the same acknowledges the second job.
pub async fn enqueue_lost_start(broker: &Broker, workflow: &Name, run: RunId) -> Result<bool> {
    let queue = QueueName::Workflow(workflow.clone());
    if broker.queue.depth(&queue).await?.waiting > 0 {
        return Ok(false);
    }
    let job = Job { run, reason: JobReason::Start };
    broker.queue.enqueue(&queue, &job, &format!("{run}.start.again")).await?;
    Ok(true)
}

/// What is there of a run of that id, if it has records: by a lost acknowledgement of our own, an earlier call, or somebody
/// else's.
async fn existing(
    broker: &Broker,
    run: RunId,
    mine: crate::ids::MessageId,
    token: Option<&CallerTokenSeal<'_>>,
    delivery: StartDelivery,
) -> Result<Option<StartOutcome>> {
    let looked = look(broker, run, 0).await?;
    if looked.is_empty() {
        return Ok(None);
    }
    let (Some(first), Some(created)) = (looked.records.first(), looked.created()) else {
        return Err(Error::Unknown { run });
    };
    let is_mine = first.record.id == mine;
    let is_queued = is_mine && delivery == StartDelivery::Created;
    let is_unclaimed = looked.records.len() + looked.unreadable.len() == 1;
    if is_unclaimed && !is_queued && created.origin != RunOrigin::ForeignWorker {
        // Created but never claimed: whoever created it may have died before it was queued.
        let is_owner = |token: &&CallerTokenSeal<'_>| created.user.as_ref() == Some(&token.token.user);
        enqueue_with_token(broker, &created.workflow, run, token.filter(is_owner)).await?;
    }
    Ok(Some(if is_mine { StartOutcome::New { seq: first.seq } } else { StartOutcome::Existing(created.clone()) }))
}
