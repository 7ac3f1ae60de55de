//! The workflows that can be started, kept at hand: a task reads them again whenever a bucket has changed, so that a start
//! costs no look-up. While the task has no news of the broker every question is asked at the broker itself. FastAgency's bucket
//! has one copy, whatever the cluster: while it is away, what it said last holds, and ours does not wait for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::select_all;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::broker::contract::DiscoveredWorkflow;
use crate::broker::{self, Broker, Bucket};
use crate::gateway::params::ParamsSchema;
use crate::ids::Name;
use crate::lifecycle::Shutdown;
use crate::run::directory::{self, WorkflowCard, WorkflowService};
use crate::run::start::StartDelivery;
use crate::run::{self, Result};
use crate::signing::PublicKey;

/// The shortest time between two readings: the leases of many workers change the bucket all the time.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// The longest time between two readings, should the broker have forgotten to tell.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Announcements that are said to be ignored, at most.
const MOST_IGNORED: usize = 1000;
/// The shortest time between two readings for names that are not at hand: made-up ones must not keep the broker busy.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// How long FastAgency's bucket may take where somebody waits.
const FOREIGN_PATIENCE: Duration = Duration::from_millis(500);
/// How often it is tried again while it is away.
const FOREIGN_AWAY: Duration = Duration::from_secs(5);
/// How long to wait after the broker failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// What can be started.
#[derive(Default)]
pub struct WorkflowSnapshot {
    /// Our own, by name.
    pub native: BTreeMap<Name, Arc<NativeWorkflow>>,
    /// Those of FastAgency's workers that are not our own, in the order of FastAgency's `discovery`.
    pub foreign: Vec<DiscoveredWorkflow>,
}

/// A workflow of ours.
pub struct NativeWorkflow {
    /// What is known about it.
    pub card: WorkflowCard,
    /// Whether a living worker serves it.
    pub available: bool,
    /// How the living workers are brought a new run of it.
    pub delivery: StartDelivery,
    /// What its parameters must be.
    pub params: ParamsSchema,
}

/// Who would run a workflow.
#[derive(Clone)]
pub enum WorkflowOwner {
    /// Our workers.
    Native(Arc<NativeWorkflow>),
    /// A FastAgency worker.
    Foreign(Name),
}

/// The workflows at hand.
pub struct WorkflowCache {
    broker: Broker,
    /// Whose workflows are known; none: everybody's.
    trusted: Vec<PublicKey>,
    at_hand: RwLock<Option<Arc<WorkflowSnapshot>>>,
    /// The announcements that were said to be ignored.
    ignored: Mutex<BTreeSet<(Name, String)>>,
    /// What was read last for a name that was not at hand, and when that began.
    looked: tokio::sync::Mutex<Option<(Instant, Arc<WorkflowSnapshot>)>>,
    foreign: RwLock<ForeignWorkflows>,
    /// What FastAgency's workers announce has changed.
    foreign_changed: Notify,
}

/// What FastAgency's workers announce.
#[derive(Default)]
struct ForeignWorkflows {
    /// As it was read last.
    found: Arc<Vec<DiscoveredWorkflow>>,
    /// Why it could not be read since.
    trouble: Option<String>,
    /// Whether it was ever read.
    is_read: bool,
}

impl WorkflowCache {
    /// Knows nothing yet; [`WorkflowCache::keep`] is to be started.
    pub fn new(broker: Broker, trusted: Vec<PublicKey>) -> Self {
        let (at_hand, looked) = (RwLock::new(None), tokio::sync::Mutex::new(None));
        let (foreign, foreign_changed) = (RwLock::default(), Notify::new());
        Self { broker, trusted, at_hand, looked, ignored: Mutex::default(), foreign, foreign_changed }
    }

    /// All that can be started.
    pub async fn all(&self) -> Result<Arc<WorkflowSnapshot>> {
        match self.at_hand() {
            Some(snapshot) => Ok(snapshot),
            None => Ok(Arc::new(self.read().await?)),
        }
    }

    /// Why FastAgency's workflows cannot be read now.
    pub fn foreign_trouble(&self) -> Option<String> {
        self.foreign.read().trouble.clone()
    }

    /// Who would run the workflow of that name. A name that is not at hand is looked up, as it may be new; all who ask for such
    /// names share one look a second. An error if it may be one of FastAgency's and these cannot be read.
    pub async fn find(&self, name: &str) -> Result<Option<WorkflowOwner>> {
        let found = self.look_for(name).await?;
        match self.foreign_trouble() {
            Some(trouble) if found.is_none() => Err(run::Error::from(broker::Error::Unavailable {
                doing: "read FastAgency's workflows".to_owned(),
                source: Some(trouble.into()),
            })),
            _ => Ok(found),
        }
    }

    async fn look_for(&self, name: &str) -> Result<Option<WorkflowOwner>> {
        let asked = Instant::now();
        let at_hand = || self.at_hand().and_then(|snapshot| snapshot.find(name));
        if let Some(found) = at_hand() {
            return Ok(Some(found));
        }
        let mut looked = self.looked.lock().await;
        if let Some((begun, snapshot)) = &*looked {
            let found = snapshot.find(name);
            // What began later than the question knows all that it could ask for.
            if *begun >= asked || found.is_some() && begun.elapsed() < BETWEEN_LOOKS {
                return Ok(found);
            }
            tokio::time::sleep_until(*begun + BETWEEN_LOOKS).await;
            if let Some(found) = at_hand() {
                return Ok(Some(found));
            }
        }
        let begun = Instant::now();
        self.look_at_foreign(FOREIGN_PATIENCE).await;
        let snapshot = Arc::new(self.read().await?);
        let found = snapshot.find(name);
        *looked = Some((begun, snapshot));
        Ok(found)
    }

    /// Keeps what is at hand up to date until the end.
    pub async fn keep(&self, shutdown: Shutdown) {
        tokio::join!(self.keep_native(&shutdown), self.keep_foreign(&shutdown));
    }

    async fn keep_foreign(&self, shutdown: &Shutdown) {
        let Some(contract) = &self.broker.contract else { return };
        let watch = async || -> broker::Result<()> {
            let mut changes = contract.watch_discovery().await?;
            loop {
                let pause = if self.foreign_trouble().is_some() { FOREIGN_AWAY } else { LONGEST_PAUSE };
                if let Ok(None) = tokio::time::timeout(pause, changes.next()).await {
                    return Ok(());
                }
                contract.discovered().await.map(|found| self.note_foreign(Ok(found)))?;
                tokio::time::sleep(SHORTEST_PAUSE).await;
            }
        };
        loop {
            tokio::select! {
                () = shutdown.soft() => return,
                outcome = watch() => if let Err(error) = outcome {
                    self.note_foreign(Err(error));
                }
            }
            tokio::select! {
                () = shutdown.soft() => return,
                () = tokio::time::sleep(AFTER_FAILURE) => {}
            }
        }
    }

    async fn keep_native(&self, shutdown: &Shutdown) {
        loop {
            tokio::select! {
                () = shutdown.soft() => return,
                outcome = self.follow() => if let Err(error) = outcome {
                    tracing::debug!("the list of workflows is not up to date: {error}");
                }
            }
            self.put(None);
            tokio::select! {
                () = shutdown.soft() => return,
                () = tokio::time::sleep(AFTER_FAILURE) => {}
            }
        }
    }

    async fn follow(&self) -> Result<()> {
        let mut changes = select_all([
            self.broker.catalogue.watch(Bucket::Workflows).await?,
            self.broker.catalogue.watch(Bucket::Workers).await?,
        ]);
        loop {
            self.put(Some(Arc::new(self.read().await?)));
            tokio::time::sleep(SHORTEST_PAUSE).await;
            tokio::select! {
                changed = tokio::time::timeout(LONGEST_PAUSE, changes.next()) => if let Ok(None) = changed {
                    return Ok(());
                },
                () = self.foreign_changed.notified() => {}
            }
        }
    }

    /// Reads what FastAgency's workers announce, if that takes no longer than this.
    async fn look_at_foreign(&self, patience: Duration) {
        let Some(contract) = &self.broker.contract else { return };
        let found = tokio::time::timeout(patience, contract.discovered()).await.unwrap_or_else(|_| {
            Err(broker::Error::Unavailable {
                doing: "read FastAgency's workflows".to_owned(),
                source: Some("no answer in time".into()),
            })
        });
        self.note_foreign(found);
    }

    fn note_foreign(&self, found: broker::Result<Vec<DiscoveredWorkflow>>) {
        let mut foreign = self.foreign.write();
        match found {
            Ok(found) => {
                if foreign.trouble.take().is_some() {
                    tracing::info!("FastAgency's workflows can be read again");
                }
                foreign.is_read = true;
                foreign.found = Arc::new(found);
                self.foreign_changed.notify_one();
            }
            Err(error) => {
                let trouble = crate::problem::chain(&error).to_string();
                if foreign.trouble.is_none() {
                    tracing::warn!("FastAgency's workflows cannot be read; ours go on: {trouble}");
                }
                foreign.trouble = Some(trouble);
            }
        }
    }

    /// What FastAgency's workers announced when that could last be read.
    async fn foreign(&self) -> Arc<Vec<DiscoveredWorkflow>> {
        let known = || {
            let foreign = self.foreign.read();
            (foreign.is_read || foreign.trouble.is_some(), foreign.found.clone())
        };
        if !known().0 {
            self.look_at_foreign(FOREIGN_PATIENCE).await;
        }
        known().1
    }

    async fn read(&self) -> Result<WorkflowSnapshot> {
        let native: BTreeMap<Name, Arc<NativeWorkflow>> = directory::workflows(&self.broker)
            .await?
            .into_iter()
            .filter(|(name, (card, _))| directory::is_trusted(card, &self.trusted) || !self.ignore(name, card))
            .map(|(name, (card, WorkflowService { is_served, delivery }))| {
                let params = ParamsSchema::of(&card);
                (name, Arc::new(NativeWorkflow { card, available: is_served, delivery, params }))
            })
            .collect();
        // Our workers put their names there too, for FastAgency's gateways.
        let foreign = self.foreign().await;
        let foreign =
            foreign.iter().filter(|discovered| !native.contains_key(discovered.name.as_str())).cloned().collect();
        Ok(WorkflowSnapshot { native, foreign })
    }

    /// Says, once, that an announcement is ignored.
    fn ignore(&self, name: &Name, card: &WorkflowCard) -> bool {
        let mut ignored = self.ignored.lock();
        if ignored.len() < MOST_IGNORED && ignored.insert((name.clone(), card.definition.clone())) {
            tracing::warn!(workflow = %name, "an announcement is ignored: no key in gateway.trusted_definition_keys has signed it");
        }
        true
    }

    fn at_hand(&self) -> Option<Arc<WorkflowSnapshot>> {
        self.at_hand.read().clone()
    }

    fn put(&self, snapshot: Option<Arc<WorkflowSnapshot>>) {
        *self.at_hand.write() = snapshot;
    }
}

impl WorkflowSnapshot {
    fn find(&self, name: &str) -> Option<WorkflowOwner> {
        if let Some(native) = self.native.get(name) {
            return Some(WorkflowOwner::Native(native.clone()));
        }
        let foreign = self.foreign.iter().find(|discovered| discovered.name == name)?;
        Name::foreign(&foreign.name).ok().map(WorkflowOwner::Foreign)
    }

    /// Every name and description, as FastAgency's clients see them: ours first.
    pub fn described(&self) -> impl Iterator<Item = (&str, &str)> {
        let native = self.native.values().map(|native| {
            let card = &native.card;
            (card.name.as_str(), card.description.as_deref().unwrap_or_default())
        });
        native.chain(self.foreign.iter().map(|found| (found.name.as_str(), found.description.as_str())))
    }

    /// The name that was probably meant by `wrong`.
    pub fn similar(&self, wrong: &str) -> Option<&str> {
        // Below this two names have little in common.
        const LEAST_LIKENESS: f64 = 0.7;
        let likeness = |name: &str| strsim::jaro_winkler(wrong, name);
        self.described()
            .map(|(name, _)| (likeness(name), name))
            .filter(|(likeness, _)| *likeness >= LEAST_LIKENESS)
            .max_by(|(one, _), (other, _)| one.total_cmp(other))
            .map(|(_, name)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> WorkflowSnapshot {
        let card = WorkflowCard {
            name: Name::parse("lesson").unwrap(),
            title: None,
            description: None,
            params: None,
            definition: "0".to_owned(),
            uses_caller_token: false,
            signed: None,
        };
        let params = ParamsSchema::of(&card);
        WorkflowSnapshot {
            native: BTreeMap::from([(
                card.name.clone(),
                Arc::new(NativeWorkflow { card, available: true, delivery: StartDelivery::Job, params }),
            )]),
            foreign: vec![DiscoveredWorkflow { name: "echo".into(), description: "Echo one answer".into() }],
        }
    }

    #[tokio::test]
    async fn made_up_names_are_looked_up_once_a_second_however_many_ask() {
        let folder = tempfile::tempdir().unwrap();
        let broker = crate::broker::embedded::open(folder.path()).unwrap();
        let known = WorkflowCache::new(broker, Vec::new());
        let looks = async || known.looked.lock().await.as_ref().map(|(begun, _)| *begun);
        assert!(known.find("x1").await.unwrap().is_none());
        let first = looks().await.unwrap();
        let names: Vec<String> = (0..100).map(|number| format!("y{number}")).collect();
        let asking = names.iter().map(async |name| known.find(name).await.unwrap());
        let asked = futures_util::future::join_all(asking).await;
        assert!(asked.iter().all(Option::is_none));
        assert!(looks().await.unwrap() >= first + BETWEEN_LOOKS, "a second later, and one look for all of them");
        assert!(Instant::now() < first + 20 * BETWEEN_LOOKS);
    }

    #[test]
    fn ours_come_first_and_a_slip_of_the_pen_is_guessed() {
        let known = snapshot();
        assert_eq!(known.described().collect::<Vec<_>>(), [("lesson", ""), ("echo", "Echo one answer")]);
        assert_eq!(known.similar("lessons"), Some("lesson"));
        assert_eq!(known.similar("quite_another"), None);
        assert!(matches!(known.find("echo"), Some(WorkflowOwner::Foreign(_))));
        assert!(known.find("nope").is_none());
    }
}
