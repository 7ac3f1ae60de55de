//! What runs are driven with: the same for every run of a worker.

use std::sync::Arc;

use crate::broker::Broker;
use crate::chat::{Result, WorkflowStop};
use crate::clock::Clock;
use crate::engine::summary_publisher::SummaryPublisher;
use crate::model::ModelRegistry;
use crate::outside::OutsideServices;
use crate::protocol::failure::FailureKind;
use crate::protocol::signable::Signable;
use crate::redact::Redactor;
use crate::run::lease::Lease;
use crate::run::notice::WebhookNotices;
use crate::seal::Sealer;
use crate::signing::{PublicKey, SignedStatement, StatementSigner};

/// What runs are driven with.
#[derive(Clone)]
pub(super) struct EngineContext {
    pub broker: Broker,
    pub models: ModelRegistry,
    /// What seals passwords; none: they live in memory only.
    pub sealer: Option<Sealer>,
    /// The gateways whose signature a start, an answer or a cancel needs; none: no signature is needed.
    pub trusted_gateways: Arc<[PublicKey]>,
    /// What signs the starts of runs that workflows start.
    pub gateway_signer: Option<StatementSigner>,
    /// What signs the definitions of runs that workflows start; none: they are not signed.
    pub definition_signer: Option<StatementSigner>,
    pub summary_publisher: Arc<SummaryPublisher>,
    pub lease: Arc<Lease>,
    pub notices: Arc<WebhookNotices>,
    /// What runs reach outside.
    pub outside: OutsideServices,
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
        self.summary_publisher.redactor()
    }

    /// Whether something may be done in the name of the user that it names: a trusted gateway has signed it, or none has to.
    pub fn trusts<T: Signable>(&self, statement: SignedStatement, thing: &T) -> bool {
        self.trusted_gateways.is_empty() || thing.is_signed(&self.trusted_gateways, statement)
    }

    /// What signs a run that a workflow starts; none: nothing has to.
    pub fn gateway_signer(&self) -> Result<Option<&StatementSigner>> {
        if self.gateway_signer.is_none() && !self.trusted_gateways.is_empty() {
            return Err(WorkflowStop::failed(
                FailureKind::Start,
                "nothing would sign the new run: set worker.signing_key, and name its public key in worker.trusted_gateways",
            ));
        }
        Ok(self.gateway_signer.as_ref())
    }
}
