//! Drives one run: executes its workflow from the start against what its log remembers, hears its bell, and decides when it
//! is parked. It never touches a queue or an HTTP request; the worker brings it runs and settles their deliveries.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::Broker;
use crate::chat::{Result, Stop};
use crate::fastagency::mirror::FastAgencyMirror;
use crate::ids::RunId;
use crate::lifecycle::Shutdown;
use crate::model::Models;
use crate::protocol::failure::FailureKind;
use crate::protocol::log::{Created, Origin};
use crate::run::claim::Owned;
use crate::run::lease::Lease;
use crate::run::notice::Notices;
use crate::seal::Sealer;
use crate::vouch::{PublicKey, SignedStatement, StatementSigner};
use crate::workflow::Workflow;

mod concealed;
mod context;
mod driver;
mod effects;
mod ending;
mod error;
mod execution;
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

pub use ending::Left;
pub use error::Error;
pub use shelver::SummaryPublisher;

use context::EngineContext;
use journal::Journal;

/// What runs are driven with.
#[derive(Clone)]
pub struct Engine {
    context: Arc<EngineContext>,
    park_after: Duration,
}

/// Sees to it, however the run leaves memory, that nothing is kept that keeps the journal.
struct Leaving<'a>(&'a Journal);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

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
        let context = EngineContext {
            broker,
            models,
            sealer,
            trusted_gateways: Arc::default(),
            voucher: None,
            signer: None,
            shelver,
            lease,
            notices: Arc::new(notices),
            max_run_bytes: None,
        };
        Self { context: Arc::new(context), park_after }
    }

    /// Does no more in a run whose log holds so many bytes.
    pub fn bounded(mut self, max_run_bytes: Option<u64>) -> Self {
        Arc::make_mut(&mut self.context).max_run_bytes = max_run_bytes;
        self
    }

    /// Signs the definitions of the runs that workflows start.
    pub fn signing(mut self, signer: Option<StatementSigner>) -> Self {
        Arc::make_mut(&mut self.context).signer = signer;
        self
    }

    /// Does nothing in anybody's name any more but what the holder of one of these keys vouches for; with no key, everybody is
    /// believed. `voucher`: what vouches for the runs that workflows start.
    pub fn trusting(mut self, keys: &[PublicKey], voucher: Option<StatementSigner>) -> Self {
        let context = Arc::make_mut(&mut self.context);
        context.trusted_gateways = keys.into();
        context.voucher = voucher;
        self
    }

    /// Whether it does what a run was started for in somebody's name.
    pub fn trusts_start_of(&self, run: RunId, created: &Created) -> bool {
        self.context.believes(SignedStatement::Start(run), created)
    }

    /// What seals passwords.
    pub fn sealer(&self) -> Option<&Sealer> {
        self.context.sealer.as_ref()
    }

    /// Drives a run that this worker has claimed until it leaves memory. Dropping the future lets go of it at once; the log
    /// stays whole.
    pub async fn drive(&self, owned: Box<Owned>, workflow: Arc<Workflow>, shutdown: &Shutdown) -> Result<Left, Error> {
        let bell = self.context.broker.inbox.bell(owned.writer.run()).await?;
        let mirror = self.mirror(&owned).await?;
        let journal = Arc::new(Journal::new(self.context.clone(), *owned, workflow.limits.clone(), mirror));
        let _leaving = Leaving(&journal);
        Ok(driver::drive(&journal, workflow, bell, self.park_after, shutdown).await?)
    }

    /// Ends a run that this worker has claimed with a failure, without executing anything of it.
    pub async fn give_up(&self, owned: Box<Owned>, workflow: Arc<Workflow>, why: &str) -> Result<Left, Error> {
        let mirror = self.mirror(&owned).await?;
        let journal = Arc::new(Journal::new(self.context.clone(), *owned, workflow.limits.clone(), mirror));
        let _leaving = Leaving(&journal);
        let failed = Err(Stop::failed(FailureKind::Worker, why));
        Ok(ending::finish(&journal, failed, ending::own_scope(&workflow, "end")).await?)
    }

    /// What copies a run's messages for FastAgency's clients, if it is theirs.
    async fn mirror(&self, owned: &Owned) -> Result<Option<FastAgencyMirror>, Error> {
        let contract = match &self.context.broker.contract {
            Some(contract) if owned.created.origin == Origin::FastAgency => contract.clone(),
            _ => return Ok(None),
        };
        let (run, redactor) = (owned.writer.run(), self.context.redactor());
        let resumed = FastAgencyMirror::resume(contract, run, &owned.created, &owned.history, redactor);
        Ok(Some(Box::pin(resumed).await?))
    }
}
