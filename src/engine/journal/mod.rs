//! One run in memory. Every effect of the workflow goes through here (see [`crate::engine::effects`]); the driver in
//! [`crate::engine::driver`] watches it and decides when the run is parked.
//!
//! Each of its parts knows its own matter alone; what takes several of them is done here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::broker::StoredRecord;
use crate::chat::{Result, WorkflowStop};
use crate::engine::context::EngineContext;
use crate::fastagency::mirror::FastAgencyMirror;
use crate::ids::{MessageId, RunId};
use crate::metrics::{WorkflowMetrics, metrics};
use crate::protocol::effect_key::EffectKey;
use crate::protocol::log::{EffectOutcome, Record, RecordBody, RunCreation};
use crate::run::attach::TextDelta;
use crate::run::claim::{OwnedRun, last_claim};
use crate::workflow::Workflow;

mod budget;
mod caller_token;
mod effect_log;
mod idle;
mod inbox;
mod ownership;
mod permissions;
mod projection;
mod secrets;
mod shared_future;
mod texts;

pub(super) use budget::{IterationValues, RunBudget};
pub(super) use effect_log::{EffectLog, RememberedEffect};
pub(super) use texts::TextInProgress;

use caller_token::RunCallerToken;
use idle::IdleTracker;
use inbox::RunInbox;
use ownership::OwnershipGuard;
use projection::{LogProjection, PublishedSummary};
use secrets::SecretStore;
use texts::StreamingTexts;

/// One run in memory.
pub(super) struct Journal {
    pub run: RunId,
    pub created: RunCreation,
    pub context: Arc<EngineContext>,
    /// The metrics of the run's workflow.
    pub workflow_metrics: Arc<WorkflowMetrics>,
    pub log: Arc<EffectLog>,
    pub inbox: RunInbox,
    pub secrets: Arc<SecretStore>,
    pub caller_token: RunCallerToken,
    pub budget: Arc<RunBudget>,
    pub idle: IdleTracker,
    pub ownership: Arc<OwnershipGuard>,
    pub texts: StreamingTexts,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is guarded is valid after every statement, so a panic elsewhere leaves nothing half-done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Journal {
    /// The journal of a run that this worker has.
    pub(super) fn new(
        context: Arc<EngineContext>,
        owned: OwnedRun,
        workflow: &Workflow,
        mirror: Option<FastAgencyMirror>,
    ) -> Self {
        let OwnedRun { created, history, writer, claim, lapses, .. } = owned;
        let run = writer.run();
        let workflow_metrics = metrics().workflow(created.workflow.as_str());
        let epoch = last_claim(&history).map_or(0, |(_, epoch)| epoch);
        let ownership = Arc::new(OwnershipGuard::new(run, context.clone(), writer.last(), epoch, lapses));
        let budget = Arc::new(RunBudget::new(workflow.limits.clone(), context.clone(), &history));
        let uses_caller_token = context.outside.secrets.has_caller_token(workflow);
        let secrets = Arc::new(SecretStore::new(run, context.clone(), &history, uses_caller_token));
        let summary =
            PublishedSummary::begin(run, &history, workflow_metrics.clone(), context.summary_publisher.clone());
        let projections: Vec<Box<dyn LogProjection>> =
            vec![Box::new(summary), Box::new(budget.clone()), Box::new(secrets.clone()), Box::new(ownership.clone())];
        Self {
            run,
            caller_token: RunCallerToken::new(run, created.user.clone(), context.clone()),
            created,
            workflow_metrics,
            inbox: RunInbox::new(run, context.clone()),
            secrets,
            budget,
            idle: IdleTracker::new(),
            ownership,
            texts: StreamingTexts::new(context.clone()),
            log: Arc::new(EffectLog::new(context.clone(), history, (writer, claim), projections, mirror)),
            context,
        }
    }

    /// Since when the run does nothing but wait, so that it may leave memory; none if it may not.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        self.idle.since().filter(|_| !self.secrets.is_held())
    }

    /// Takes the run again that this worker has just parked: to a parked run nobody has a right, and another may have been
    /// called meanwhile.
    pub(super) async fn claim_again(&self) -> Result<()> {
        self.log.settle().await?;
        let lapses = self.context.lease.lapses();
        self.log.write(Record::new(self.ownership.next_claim())).await?;
        self.ownership.confirmed_at(lapses);
        Ok(())
    }

    /// Takes what came into the inbox as the answer to a question.
    pub(super) fn deliver(&self, question: MessageId, stored: StoredRecord) {
        if stored.seq == 0 {
            // Told, not stored.
            self.secrets.hear(question, &stored.payload);
        } else {
            self.inbox.deliver(question, stored);
        }
    }

    /// Notes that a tool is being called: in the log, so that people see what was under way, and for the limit. Returns
    /// whether it is called for the first time: a call that the log remembers was counted before.
    pub(super) async fn begin_tool_call(&self, key: EffectKey, digest: Option<&str>) -> Result<bool> {
        let is_known = match self.log.remembered(&key) {
            Some(RememberedEffect::Did(EffectOutcome::Failed { kind, message })) => {
                return Err(WorkflowStop::failed(kind, message));
            }
            known => known.is_some(),
        };
        if !is_known {
            self.budget.check_records()?;
        }
        let used = self.budget.count_tool_call();
        if is_known {
            return Ok(false);
        }
        let too_many = self.budget.limits.tool_calls.filter(|limit| used > *limit);
        let why = too_many.map(|limit| format!("the run has called {limit} tools, its limit"));
        match why.or_else(|| self.log.too_large()) {
            Some(why) => Err(self.log.refuse(key, why).await?),
            None => {
                let digest = digest.map(str::to_owned);
                self.log.append(RecordBody::Calling { key, digest }).await.map(|()| true)
            }
        }
    }

    /// Tells followers a piece of text, if the run is certainly this worker's. One that is lost is made good by the message
    /// itself.
    pub(super) async fn publish_delta(&self, delta: &TextDelta) {
        if !self.ownership.is_certain() {
            return;
        }
        let payload = serde_json::to_vec(delta).expect("a delta is JSON");
        let _ = self.context.broker.log.publish_delta(self.run, payload.into()).await;
    }

    /// Tells followers again what is being written, from its beginning: somebody has come late.
    pub(super) async fn tell_writing(&self) {
        for delta in self.texts.so_far() {
            self.publish_delta(&delta).await;
        }
    }

    /// Gives up what is being stored: the run leaves memory.
    pub(super) fn abandon(&self) {
        self.log.abandon();
    }
}
