//! What runs are driven with: the same for every run of a worker.

use std::sync::Arc;

use crate::broker::Broker;
use crate::chat::{Result, Stop};
use crate::clock::Clock;
use crate::engine::shelver::SummaryPublisher;
use crate::model::Models;
use crate::protocol::failure::FailureKind;
use crate::protocol::signable::Signable;
use crate::redact::Redactor;
use crate::run::lease::Lease;
use crate::run::notice::Notices;
use crate::seal::Sealer;
use crate::vouch::{PublicKey, SignedStatement, StatementSigner};

/// What runs are driven with.
#[derive(Clone)]
pub(super) struct EngineContext {
    pub broker: Broker,
    pub models: Models,
    /// What seals passwords; none: they live in memory only.
    pub sealer: Option<Sealer>,
    /// The gateways without whose signature nobody is believed; none: everybody is.
    pub trusted_gateways: Arc<[PublicKey]>,
    /// What signs the starts of runs that workflows start.
    pub voucher: Option<StatementSigner>,
    /// What signs the definitions of runs that workflows start; none: they are not signed.
    pub signer: Option<StatementSigner>,
    pub shelver: Arc<SummaryPublisher>,
    pub lease: Arc<Lease>,
    pub notices: Arc<Notices>,
    /// How many bytes the log of a run may hold; none: as many as there are.
    pub max_run_bytes: Option<u64>,
}

impl EngineContext {
    /// The time by which runs count.
    pub fn clock(&self) -> &dyn Clock {
        self.lease.clock()
    }

    /// What is not to be seen of what is being written, and of what is traced.
    pub fn redactor(&self) -> &Redactor {
        self.shelver.redactor()
    }

    /// Whether something may be done in the name of whom it says.
    pub fn believes<T: Signable>(&self, statement: SignedStatement, thing: &T) -> bool {
        self.trusted_gateways.is_empty() || thing.is_signed(&self.trusted_gateways, statement)
    }

    /// What vouches for a run that a workflow starts; none: nothing has to.
    pub fn voucher(&self) -> Result<Option<&StatementSigner>> {
        if self.voucher.is_none() && !self.trusted_gateways.is_empty() {
            return Err(Stop::failed(
                FailureKind::Start,
                "nobody would vouch for the new run: set worker.signing_key, and name its public key in worker.trusted_gateways",
            ));
        }
        Ok(self.voucher.as_ref())
    }
}
