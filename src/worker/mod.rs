//! The worker: takes runs from the queue and drives them, thousands at once. The only tier that talks to models and tools.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::broker::{AnyDelivery, Broker};
use crate::clock::Clock;
use crate::config::WebhookConfig;
use crate::engine::{Engine, SummaryPublisher};
use crate::fastagency;
use crate::fastagency::intake::ServedWorkflows;
use crate::ids::{Name, RunId, WorkerId};
use crate::lifecycle::Shutdown;
use crate::metrics::metrics;
use crate::model::ModelRegistry;
use crate::outside::OutsideServices;
use crate::outside::call_rates::CallRates;
use crate::outside::secrets::Secrets;
use crate::redact::Redactor;
use crate::run::directory::{self, WorkerCard, WorkflowCard};
use crate::run::lease::Lease;
use crate::run::notice::WebhookNotices;
use crate::seal::Sealer;
use crate::signing::{PublicKey, StatementSigner};
use crate::worker::unheld::UnheldRuns;
use crate::workflow::{Workflow, WorkflowDefinition};

mod intake;
mod lease;
mod sweeping;
mod unheld;
mod webhooks;

/// What a worker is made of.
pub struct WorkerParts {
    /// The broker.
    pub broker: Broker,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The models.
    pub models: ModelRegistry,
    /// What it serves.
    pub workflows: Vec<Workflow>,
    /// What seals passwords; none: they live in memory only.
    pub sealer: Option<Sealer>,
    /// Its settings.
    pub settings: crate::config::WorkerConfig,
    /// What workflows reach outside.
    pub outside: OutsideServices,
    /// How long an ended run is kept.
    pub keep_ended: Duration,
    /// How long it is kept what a removed run was, and who removed it.
    pub keep_evidence: Duration,
    /// What is taken out of the logs of runs that have ended.
    pub redactor: Redactor,
    /// Who outside is told of runs.
    pub webhooks: BTreeMap<Name, WebhookConfig>,
    /// Whether it takes runs; the worker says so.
    pub up: Arc<AtomicBool>,
}

/// A worker at work.
pub(crate) struct Worker {
    pub broker: Broker,
    pub clock: Arc<dyn Clock>,
    pub engine: Engine,
    pub models: ModelRegistry,
    /// How often tools may be called.
    pub rates: Arc<CallRates>,
    pub lease: Arc<Lease>,
    /// What it serves, by name: what new runs are pinned to.
    pub serves: BTreeMap<Name, Arc<Workflow>>,
    /// Definitions that were needed, by hash.
    definitions: Mutex<HashMap<String, Arc<Workflow>>>,
    /// The workers whose definitions are executed; none: those of anybody.
    trusted: Vec<PublicKey>,
    /// The runs in memory, each with another delivery of it that came meanwhile.
    pub held: Mutex<HashMap<RunId, Option<AnyDelivery>>>,
    /// The runs that it owns and has let go.
    unheld: UnheldRuns,
    pub permits: Arc<Semaphore>,
    /// What is taken out of the logs of runs that have ended.
    pub redactor: Redactor,
    pub shutdown: Shutdown,
}

/// Why a worker does not begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The broker refuses, or is away.
    #[error(transparent)]
    Run(#[from] crate::run::Error),
    /// The broker refuses, or is away.
    #[error(transparent)]
    Broker(#[from] crate::broker::Error),
}

/// Serves workflows until the end: announces itself, then takes runs. Returns when the last run has left memory.
pub async fn serve(parts: WorkerParts, shutdown: Shutdown) -> Result<(), Error> {
    let WorkerParts {
        broker,
        clock,
        models,
        workflows,
        sealer,
        settings,
        outside,
        keep_ended,
        keep_evidence,
        redactor,
        webhooks,
        up,
    } = parts;
    let id = WorkerId::random();
    let serves: BTreeMap<Name, Arc<Workflow>> =
        workflows.into_iter().map(|workflow| (workflow.name.clone(), Arc::new(workflow))).collect();
    let definitions = serves.values().map(|workflow| (workflow.definition.hash(), workflow.clone())).collect();
    let definition_signer = settings.definition_key.as_ref().map(StatementSigner::new);
    if let Some(definition_signer) = &definition_signer {
        let key = definition_signer.public();
        tracing::info!("the worker signs its workflows; others know it by trusted_definition_keys: [{key}]");
    }
    for workflow in serves.values() {
        let definition = workflow.definition.to_bytes();
        let card = card(workflow, &outside.secrets);
        directory::announce(&broker, &card, definition, definition_signer.as_ref()).await?;
    }
    // Each workflow holds a place while it waits for its next run: with fewer, some would never get one.
    let max_runs = settings.max_runs.max(serves.len());
    let span = lease::span(settings.lease);
    let takes_created = match serves.keys().next() {
        Some(workflow) => broker.queue.takes_created(workflow, span).await?,
        None => true,
    };
    let card = WorkerCard {
        id,
        workflows: serves.keys().cloned().collect(),
        started_at: clock.now(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        runs: 0,
        max_runs,
        cleans: broker.cleaner.is_some(),
        takes_created,
    };
    let sent = Lease::moment(&*clock);
    directory::renew(&broker, &card, span).await?;
    let lease = Arc::new(Lease::new(id, span, clock.clone(), sent));
    let summary_publisher = Arc::new(SummaryPublisher::new(redactor.clone()));
    let notices = WebhookNotices::new(broker.clone(), &webhooks);
    let gateway_signer = settings.signing_key.as_ref().map(StatementSigner::new);
    if let Some(gateway_signer) = &gateway_signer {
        tracing::info!("the worker signs the runs that workflows start; its public key is {}", gateway_signer.public());
    }
    let (toolsets, rates) = (outside.toolsets.clone(), outside.rates.clone());
    if serves.values().any(|workflow| workflow.has_rates()) {
        rates.use_rates();
    }
    let engine = Engine::new(
        broker.clone(),
        models.clone(),
        sealer,
        summary_publisher.clone(),
        lease.clone(),
        notices,
        settings.park_after,
    )
    .trusting(&settings.trusted_gateways, gateway_signer)
    .bounded(settings.max_run_bytes)
    .reaching(outside)
    .signing(definition_signer);
    let worker = Arc::new(Worker {
        broker: broker.clone(),
        clock: clock.clone(),
        engine,
        models,
        rates,
        lease,
        serves,
        definitions: Mutex::new(definitions),
        trusted: settings.trusted_definition_keys.clone(),
        unheld: UnheldRuns::default(),
        held: Mutex::new(HashMap::new()),
        permits: Arc::new(Semaphore::new(max_runs)),
        redactor,
        shutdown: shutdown.clone(),
    });
    lease::share_rates(&worker).await;
    // Nobody signs what FastAgency's gateways ask for.
    if broker.contract.is_some() && settings.trusted_gateways.is_empty() {
        let served = ServedWorkflows {
            broker: broker.clone(),
            workflows: worker.serves.clone(),
            sealer: worker.engine.sealer().cloned(),
            redactor: worker.redactor.clone(),
            shutdown: shutdown.clone(),
        };
        fastagency::intake::join(served).await?;
    }
    let names: BTreeSet<&str> = worker.serves.keys().map(Name::as_str).collect();
    metrics().runs_limit.set(i64::try_from(max_runs).unwrap_or(i64::MAX));
    up.store(true, Ordering::Relaxed);
    tracing::info!(worker.id = %id, "worker ready: {}", names.into_iter().collect::<Vec<_>>().join(", "));
    shutdown.run(sweeping::serve(worker.clone(), keep_ended, keep_evidence));
    shutdown.run(sweeping::clean_when_called(worker.clone()));
    for (name, webhook) in webhooks {
        match webhooks::WebhookCaller::new(
            broker.clone(),
            clock.clone(),
            worker.redactor.clone(),
            name.clone(),
            webhook,
        ) {
            Ok(caller) => drop(shutdown.run(caller.serve(shutdown.clone()))),
            Err(why) => tracing::error!(webhook = %name, "no notices are sent from here: {why}"),
        }
    }
    let mut intakes = tokio::task::JoinSet::new();
    for name in worker.serves.keys() {
        intakes.spawn(intake::take(worker.clone(), name.clone()));
    }
    let lease = lease::beat(&worker, &card);
    let mut publishing = std::pin::pin!(summary_publisher.serve(&broker, &shutdown));
    let working = async {
        while intakes.join_next().await.is_some() {}
        // No permit is out when the last run has left memory.
        let all = u32::try_from(max_runs).unwrap_or(u32::MAX);
        let _ = worker.permits.acquire_many(all).await;
    };
    let is_publishing = tokio::select! {
        () = working => true,
        () = lease => true,
        () = &mut publishing => false,
    };
    up.store(false, Ordering::Relaxed);
    // What is being put down is not dropped half-way: lists would not know these runs.
    summary_publisher.finish();
    if is_publishing {
        publishing.await;
    }
    summary_publisher.flush(&broker).await;
    // Whoever takes a run over need not wait for the lease to end.
    let withdrawn = directory::withdraw(&broker, id).await;
    toolsets.close().await;
    withdrawn?;
    tracing::info!(worker.id = %id, "worker ended");
    Ok(())
}

fn card(workflow: &Workflow, secrets: &Secrets) -> WorkflowCard {
    WorkflowCard {
        name: workflow.name.clone(),
        title: workflow.title.clone(),
        description: workflow.description.clone(),
        params: workflow.params.as_ref().map(|schema| schema.json.clone()),
        definition: workflow.definition.hash(),
        uses_caller_token: secrets.has_caller_token(workflow),
        signed: None,
    }
}

impl Worker {
    /// The workflow that a run is pinned to.
    pub(crate) async fn definition(&self, hash: &str) -> Result<Arc<Workflow>, String> {
        if let Some(known) = self.definitions.lock().get(hash) {
            return Ok(known.clone());
        }
        let bytes = directory::definition(&self.broker, hash, &self.trusted)
            .await
            .map_err(|error| error.to_string())?
            .map_err(|why| format!("the definition {hash} is not executed: {why}"))?;
        let definition: WorkflowDefinition = crate::bounds::parse(&bytes).map_err(|error| error.to_string())?;
        let workflow =
            Arc::new(crate::workflow::from_definition(&definition).map_err(|problems| problems.to_string())?);
        let mut definitions = self.definitions.lock();
        Ok(definitions.entry(hash.to_owned()).or_insert(workflow).clone())
    }
}
