//! Who serves what: the workers' leases, and what a gateway must know about a workflow to start it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::broker::{Broker, Shelf};
use crate::clock::Timestamp;
use crate::ids::{Name, WorkerId};
use crate::run::Result;

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
}

/// How long a workflow that no worker has announced again stays known.
const WORKFLOW_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// Puts or renews a worker's lease.
pub async fn renew(broker: &Broker, card: &WorkerCard, lease: Duration) -> Result<()> {
    let value = serde_json::to_vec(card).expect("a card is JSON");
    Ok(broker.catalogue.put(Shelf::Workers, &card.id.to_string(), value.into(), Some(lease)).await?)
}

/// Gives a worker's lease up.
pub async fn withdraw(broker: &Broker, worker: WorkerId) -> Result<()> {
    Ok(broker.catalogue.delete(Shelf::Workers, &worker.to_string()).await?)
}

/// Makes a workflow known, with the definition that its runs are pinned to.
pub async fn announce(broker: &Broker, card: &WorkflowCard, definition: Vec<u8>) -> Result<()> {
    if broker.catalogue.get(Shelf::Definitions, &card.definition).await?.is_none() {
        broker.catalogue.put(Shelf::Definitions, &card.definition, definition.into(), None).await?;
    }
    let value = serde_json::to_vec(card).expect("a card is JSON");
    Ok(broker.catalogue.put(Shelf::Workflows, &card.name.token(), value.into(), Some(WORKFLOW_KEPT)).await?)
}

/// The bytes of a definition.
pub async fn definition(broker: &Broker, hash: &str) -> Result<Option<bytes::Bytes>> {
    Ok(broker.catalogue.get(Shelf::Definitions, hash).await?)
}

/// The workflows that are known, by name, and whether a living worker serves each.
pub async fn workflows(broker: &Broker) -> Result<BTreeMap<Name, (WorkflowCard, bool)>> {
    let served: std::collections::BTreeSet<Name> =
        workers(broker).await?.into_iter().flat_map(|card| card.workflows).collect();
    let entries = broker.catalogue.list(Shelf::Workflows, None).await?;
    let cards = entries.iter().filter_map(|entry| serde_json::from_slice::<WorkflowCard>(&entry.value).ok());
    Ok(cards.map(|card| (card.name.clone(), (card.clone(), served.contains(&card.name)))).collect())
}

/// The living workers.
pub async fn workers(broker: &Broker) -> Result<Vec<WorkerCard>> {
    let entries = broker.catalogue.list(Shelf::Workers, None).await?;
    Ok(entries.iter().filter_map(|entry| serde_json::from_slice(&entry.value).ok()).collect())
}
