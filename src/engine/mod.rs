//! Drives one run: executes its workflow from the start against what its log remembers, hears what comes into its inbox, and decides when it
//! is parked. It never touches a queue or an HTTP request; the worker brings it runs and settles their deliveries.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::Broker;
use crate::chat::{Result, WorkflowStop};
use crate::fastagency::mirror::FastAgencyMirror;
use crate::ids::RunId;
use crate::lifecycle::Shutdown;
use crate::model::ModelRegistry;
use crate::outside::OutsideServices;
use crate::protocol::failure::FailureKind;
use crate::protocol::log::{LogEntry, RunCreation, RunOrigin};
use crate::run::claim::OwnedRun;
use crate::run::lease::Lease;
use crate::run::notice::WebhookNotices;
use crate::seal::Sealer;
use crate::signing::{PublicKey, SignedStatement, StatementSigner};
use crate::workflow::Workflow;

mod answered_passwords;
mod arguments;
mod call_reach;
mod chat_messages;
mod context;
mod conversations;
mod driver;
mod effects;
mod ending;
mod error;
mod execution;
mod journal;
mod outside;
mod permits;
mod prompts;
mod questions;
mod rates;
mod repeats;
mod run_metrics;
mod scope;
mod services;
mod single_call;
mod steps;
mod structured_output;
mod summary_publisher;
mod tool_failure;
mod toolsets;

pub use ending::DriveEnd;
pub use error::Error;
pub use single_call::{SingleCall, SingleCallEnd};
pub use summary_publisher::SummaryPublisher;

use context::EngineContext;
use driver::HeardInbox;
use journal::Journal;

/// What runs are driven with.
#[derive(Clone)]
pub struct Engine {
    context: Arc<EngineContext>,
    park_after: Duration,
}

/// Sees to it, however the run leaves memory, that nothing is kept that keeps the journal.
struct AbandonOnDrop<'a>(&'a Journal);

impl Drop for AbandonOnDrop<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl Engine {
    /// An engine. `park_after`: how long a run that only waits is kept in memory.
    pub fn new(
        broker: Broker,
        models: ModelRegistry,
        sealer: Option<Sealer>,
        summary_publisher: Arc<SummaryPublisher>,
        lease: Arc<Lease>,
        notices: WebhookNotices,
        park_after: Duration,
    ) -> Self {
        let context = EngineContext {
            broker,
            models,
            sealer,
            trusted_gateways: Arc::default(),
            gateway_signer: None,
            definition_signer: None,
            summary_publisher,
            lease,
            notices: Arc::new(notices),
            outside: OutsideServices::default(),
            max_run_bytes: None,
        };
        Self { context: Arc::new(context), park_after }
    }

    /// Reaches outside with these.
    pub fn reaching(mut self, outside: OutsideServices) -> Self {
        Arc::make_mut(&mut self.context).outside = outside;
        self
    }

    /// Does no more in a run whose log holds so many bytes.
    pub fn bounded(mut self, max_run_bytes: Option<u64>) -> Self {
        Arc::make_mut(&mut self.context).max_run_bytes = max_run_bytes;
        self
    }

    /// Signs the definitions of the runs that workflows start.
    pub fn signing(mut self, definition_signer: Option<StatementSigner>) -> Self {
        Arc::make_mut(&mut self.context).definition_signer = definition_signer;
        self
    }

    /// Does nothing in anybody's name any more but what the holder of one of these keys has signed; with no key, everybody is
    /// believed. `gateway_signer`: what signs the runs that workflows start.
    pub fn trusting(mut self, keys: &[PublicKey], gateway_signer: Option<StatementSigner>) -> Self {
        let context = Arc::make_mut(&mut self.context);
        context.trusted_gateways = keys.into();
        context.gateway_signer = gateway_signer;
        self
    }

    /// Whether it does what a run was started for in somebody's name.
    pub fn trusts_start_of(&self, run: RunId, created: &RunCreation) -> bool {
        self.context.trusts(SignedStatement::Start(run), created)
    }

    /// What seals passwords.
    pub fn sealer(&self) -> Option<&Sealer> {
        self.context.sealer.as_ref()
    }

    /// Drives a run that this worker has claimed until it leaves memory. Dropping the future lets go of it at once; the log
    /// stays whole.
    pub async fn drive(
        &self,
        mut owned: Box<OwnedRun>,
        workflow: Arc<Workflow>,
        shutdown: &Shutdown,
    ) -> Result<DriveEnd, Error> {
        let updates = match owned.inbox_updates.take() {
            Some(updates) => updates,
            None => self.context.broker.inbox.subscribe(owned.writer.run()).await?,
        };
        let heard = HeardInbox { updates, may_hold_cancel: !owned.inbox_was_empty };
        let mirror = self.mirror(owned.writer.run(), &owned.created, &owned.history).await?;
        let journal = Arc::new(Journal::new(self.context.clone(), *owned, &workflow, mirror));
        let _leaving = AbandonOnDrop(&journal);
        Ok(driver::drive(&journal, workflow, heard, self.park_after, shutdown).await?)
    }

    /// Ends a run that this worker has claimed with a failure, without executing anything of it.
    pub async fn give_up(&self, owned: Box<OwnedRun>, workflow: Arc<Workflow>, why: &str) -> Result<DriveEnd, Error> {
        let mirror = self.mirror(owned.writer.run(), &owned.created, &owned.history).await?;
        let journal = Arc::new(Journal::new(self.context.clone(), *owned, &workflow, mirror));
        let _leaving = AbandonOnDrop(&journal);
        let failed = Err(WorkflowStop::failed(FailureKind::Worker, why));
        Ok(ending::finish(&journal, failed, ending::own_scope(&workflow, "end")).await?)
    }

    /// What copies a run's messages for FastAgency's clients, if it is theirs.
    async fn mirror(
        &self,
        run: RunId,
        created: &RunCreation,
        history: &[LogEntry],
    ) -> Result<Option<FastAgencyMirror>, Error> {
        let contract = match &self.context.broker.contract {
            Some(contract) if created.origin == RunOrigin::FastAgency => contract.clone(),
            _ => return Ok(None),
        };
        let resumed = FastAgencyMirror::resume(contract, run, created, history, self.context.redactor());
        Ok(Some(Box::pin(resumed).await?))
    }
}
