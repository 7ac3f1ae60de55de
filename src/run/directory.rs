//! Who serves what: the workers' leases, and what a gateway must know about a workflow to start it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::broker::{self, Broker, Bucket};
use crate::clock::Timestamp;
use crate::ids::{Name, WorkerId};
use crate::protocol::signable::Signable;
use crate::run::Result;
use crate::run::start::StartDelivery;
use crate::signing::{PublicKey, SignedStatement, StatementSigner};

/// A living worker: its lease.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerCard {
    /// The worker.
    pub id: WorkerId,
    /// What it serves.
    pub workflows: Vec<Name>,
    /// When it began.
    pub started_at: Timestamp,
    /// Its program's version.
    pub version: String,
    /// Runs in its memory when it last said something.
    #[serde(default)]
    pub runs: usize,
    /// Runs that it can hold there.
    #[serde(default)]
    pub max_runs: usize,
    /// Whether it may remove for ever (`run::clean`).
    #[serde(default)]
    pub cleans: bool,
    /// Whether it takes runs whose first record is their job ([`crate::broker::Log::create`]); workers of earlier versions do not.
    #[serde(default)]
    pub takes_created: bool,
}

/// What the living workers do for a workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkflowService {
    /// Whether one of them serves it.
    pub is_served: bool,
    /// How all of them can be brought a new run of it.
    pub delivery: StartDelivery,
}

impl WorkflowService {
    /// What those who serve it do.
    fn of<'c>(serving: impl Iterator<Item = &'c WorkerCard> + Clone) -> Self {
        let is_served = serving.clone().next().is_some();
        // The first to come might be of an earlier version.
        let all_take_created = is_served && serving.into_iter().all(|card| card.takes_created);
        let delivery = if all_take_created { StartDelivery::Created } else { StartDelivery::Job };
        Self { is_served, delivery }
    }
}

/// A workflow as gateways know it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkflowCard {
    /// Its name.
    pub name: Name,
    /// What people see instead of the name.
    pub title: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// The schema of its parameters.
    pub params: Option<Value>,
    /// The hash of the definition that new runs are pinned to.
    pub definition: String,
    /// Whether its runs make calls with the access token of their caller.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uses_caller_token: bool,
    /// The signature of the worker that announced it; none: it signs nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<String>,
}

impl Signable for WorkflowCard {
    fn signature(&mut self) -> &mut Option<String> {
        &mut self.signed
    }
}

/// That somebody stands for a definition: it lies beside the definition, under its hash and the key that signed it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct DefinitionSignature {
    /// The definition's hash.
    definition: String,
    /// The signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signed: Option<String>,
}

impl Signable for DefinitionSignature {
    fn signature(&mut self) -> &mut Option<String> {
        &mut self.signed
    }
}

/// How long a workflow that no worker has announced again stays known.
const WORKFLOW_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// Puts or renews a worker's lease.
pub async fn renew(broker: &Broker, card: &WorkerCard, lease: Duration) -> Result<()> {
    let value = serde_json::to_vec(card).expect("a card is JSON");
    Ok(broker.catalogue.put(Bucket::Workers, &card.id.to_string(), value.into(), Some(lease)).await?)
}

/// Gives a worker's lease up.
pub async fn withdraw(broker: &Broker, worker: WorkerId) -> Result<()> {
    Ok(broker.catalogue.delete(Bucket::Workers, &worker.to_string()).await?)
}

/// Makes a workflow known, with the definition that its runs are pinned to. `signer`: what signs both.
pub async fn announce(
    broker: &Broker,
    card: &WorkflowCard,
    definition: Vec<u8>,
    signer: Option<&StatementSigner>,
) -> Result<()> {
    let mut card = card.clone();
    if let Some(signer) = signer {
        card = card.signed(signer, SignedStatement::Announcement);
    }
    if broker.catalogue.get(Bucket::Definitions, &card.definition).await?.is_none() || signer.is_some() {
        keep_definition(broker, &card.definition, definition, signer).await?;
    }
    let value = serde_json::to_vec(&card).expect("a card is JSON");
    Ok(broker.catalogue.put(Bucket::Workflows, &card.name.token(), value.into(), Some(WORKFLOW_KEPT)).await?)
}

/// Stores a definition under its hash, with the signature of the worker that stands for it.
pub async fn keep_definition(
    broker: &Broker,
    hash: &str,
    bytes: Vec<u8>,
    signer: Option<&StatementSigner>,
) -> Result<()> {
    if let Some(signer) = signer {
        let unsigned = DefinitionSignature { definition: hash.to_owned(), signed: None };
        let signature = unsigned.signed(signer, SignedStatement::Definition);
        let value = serde_json::to_vec(&signature).expect("a signature is JSON");
        put_once(broker, &signature_key(hash, &signer.public()), value).await?;
    }
    put_once(broker, hash, bytes).await
}

/// On NATS an entry of this bucket is written once: that it is there already is no error.
async fn put_once(broker: &Broker, key: &str, value: Vec<u8>) -> Result<()> {
    match broker.catalogue.put(Bucket::Definitions, key, value.into(), None).await {
        Err(error @ broker::Error::Conflict { .. }) => match broker.catalogue.get(Bucket::Definitions, key).await? {
            Some(_) => Ok(()),
            None => Err(error.into()),
        },
        stored => Ok(stored?),
    }
}

fn signature_key(hash: &str, key: &PublicKey) -> String {
    format!("{hash}.signed.{key}")
}

/// The bytes of a definition, if they are what the hash says, and one of the `trusted` keys has signed for it. No keys: then
/// nothing has to be signed.
pub async fn definition(
    broker: &Broker,
    hash: &str,
    trusted: &[PublicKey],
) -> Result<Result<bytes::Bytes, DefinitionRefusal>> {
    let Some(bytes) = broker.catalogue.get(Bucket::Definitions, hash).await? else {
        return Ok(Err(DefinitionRefusal::Missing));
    };
    if crate::ids::hex(&Sha256::digest(&bytes)) != hash {
        return Ok(Err(DefinitionRefusal::Changed));
    }
    if trusted.is_empty() {
        return Ok(Ok(bytes));
    }
    for key in trusted {
        let Some(value) = broker.catalogue.get(Bucket::Definitions, &signature_key(hash, key)).await? else { continue };
        let Ok(signature) = crate::bounds::parse::<DefinitionSignature>(&value) else { continue };
        if signature.definition == hash && signature.is_signed(&[*key], SignedStatement::Definition) {
            return Ok(Ok(bytes));
        }
    }
    Ok(Err(DefinitionRefusal::NotSigned))
}

/// Why a definition is not executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionRefusal {
    /// It is not there.
    #[error("it is not stored")]
    Missing,
    /// It is not what its hash says.
    #[error("what is stored under its hash is something else: it was changed")]
    Changed,
    /// Nobody who is trusted stands for it.
    #[error("no key in trusted_definition_keys has signed it")]
    NotSigned,
}

/// Whether a workflow was announced by somebody who is trusted. No keys: everybody is.
pub fn is_trusted(card: &WorkflowCard, trusted: &[PublicKey]) -> bool {
    trusted.is_empty() || card.is_signed(trusted, SignedStatement::Announcement)
}

/// The workflows that are known, by name, and what the living workers do for each.
pub async fn workflows(broker: &Broker) -> Result<BTreeMap<Name, (WorkflowCard, WorkflowService)>> {
    let workers = workers(broker).await?;
    let entries = broker.catalogue.list(Bucket::Workflows, None).await?;
    let cards = entries.iter().filter_map(|entry| crate::bounds::parse::<WorkflowCard>(&entry.value).ok());
    let with_service = |card: WorkflowCard| {
        let serving = workers.iter().filter(|worker| worker.workflows.contains(&card.name));
        (card.name.clone(), (card.clone(), WorkflowService::of(serving)))
    };
    Ok(cards.map(with_service).collect())
}

/// The living workers.
pub async fn workers(broker: &Broker) -> Result<Vec<WorkerCard>> {
    let entries = broker.catalogue.list(Bucket::Workers, None).await?;
    Ok(entries.iter().filter_map(|entry| crate::bounds::parse(&entry.value).ok()).collect())
}
