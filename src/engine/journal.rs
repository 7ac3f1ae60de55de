//! One run in memory: what its log remembers, the pen that goes on writing it, and what it waits for. Every effect of the
//! workflow goes through here (see [`crate::engine::effects`]); the driver in [`crate::engine`] watches it and decides when
//! the run is parked.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::broker::{Broker, Stored};
use crate::chat::{Result, Stop};
use crate::clock::{Clock, Timestamp};
use crate::engine::Error;
use crate::engine::concealed::Passwords;
use crate::engine::prompts::Prompts;
use crate::engine::shelver::SummaryPublisher;
use crate::engine::watch::Watch;
use crate::fastagency::mirror::FastAgencyMirror;
use crate::ids::{MessageId, RunId};
use crate::message::Message;
use crate::metrics::{OfWorkflow, metrics};
use crate::model::Models;
use crate::protocol::dialogue;
use crate::protocol::effect_key::{EffectKey, EffectScope};
use crate::protocol::failure::FailureKind;
use crate::protocol::log::{Body, Created, LogEntry, Outcome, Record, Usage};
use crate::redact::Redactor;
use crate::run::claim::{Owned, is_still_mine, last_claim};
use crate::run::lease::Lease;
use crate::run::notice::Notices;
use crate::run::redaction;
use crate::run::spent::Spent;
use crate::run::summary::Summary;
use crate::run::writer::Writer;
use crate::seal::Sealer;
use crate::vouch::{PublicKey, StatementSigner};
use crate::workflow::Limits;

mod answers;
mod awaited;
mod bounds;
mod storing;
mod writing;

pub(super) use bounds::{Bounds, Values};
pub(super) use writing::Writing;

/// What the log remembers of an effect.
#[derive(Debug, Clone)]
pub(super) enum Remembered {
    Said(Box<Message>),
    Did(Outcome),
    Calling,
}

/// One run in memory.
pub(super) struct Journal {
    pub run: RunId,
    pub created: Created,
    pub broker: Broker,
    pub models: Models,
    pub sealer: Option<Sealer>,
    /// The gateways without whose word nobody is believed; none: everybody is.
    trusted_gateways: Arc<[PublicKey]>,
    voucher: Option<StatementSigner>,
    /// What signs the definitions of runs that this one starts; none: they are not signed.
    pub signer: Option<StatementSigner>,
    pub limits: Limits,
    /// How many bytes the run's log may hold; none: as many as there are.
    max_run_bytes: Option<u64>,
    /// How many it holds.
    log_bytes: AtomicU64,
    /// What the run has executed, and what its loops hold.
    pub bounds: Bounds,
    /// What is not to be seen of what is being written, and of what is traced.
    pub redactor: Redactor,
    /// The figures of the run's workflow.
    pub figures: Arc<OfWorkflow>,
    lease: Arc<Lease>,
    notices: Arc<Notices>,
    /// The sequence of this worker's last claim.
    claimed: AtomicU64,
    /// The number of that claim.
    epoch: AtomicU64,
    /// How often the worker's lease had lapsed when the run was last known to be its own.
    confirmed: AtomicU64,
    remembered: Mutex<HashMap<EffectKey, Remembered>>,
    pen: tokio::sync::Mutex<Pen>,
    prompts: Mutex<Prompts>,
    behind: Mutex<storing::Behind>,
    state: Mutex<State>,
    /// Wakes those who wait for a password that is told.
    heard: tokio::sync::Notify,
}

/// The writer, and the projections that are kept as it writes.
struct Pen {
    writer: Writer,
    summary: Summary,
    watch: Watch,
    copier: Option<FastAgencyMirror>,
    shelver: Arc<SummaryPublisher>,
    /// How many records the run's log has.
    records: usize,
}

/// What is going on in the run now.
struct State {
    /// Effects under way that are not waits.
    busy: usize,
    /// Waits, each with the time at which it ends by itself.
    waits: HashMap<u64, Option<Timestamp>>,
    next_wait: u64,
    /// When the last effect was finished or begun.
    active: Instant,
    /// Who waits for an answer.
    listeners: HashMap<MessageId, oneshot::Sender<Stored>>,
    /// Passwords that were told and never stored.
    told: HashMap<MessageId, String>,
    /// Passwords that were answered.
    passwords: Passwords,
    /// A told password is in use: the run would have to ask again if it left memory.
    holds_secret: bool,
    /// The run has asked for a password: there may be a key that it is sealed with.
    asked_secret: bool,
    /// Texts being written now.
    writing: HashMap<MessageId, Writing>,
    /// What may be called in the whole run.
    allowed: HashSet<Arc<str>>,
    usage: Usage,
    spent: Spent,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is guarded is valid after every statement, so a panic elsewhere leaves nothing half-done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts an effect as under way until dropped.
pub(super) struct Busy<'a>(&'a Journal);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.busy -= 1;
        state.active = Instant::now();
    }
}

/// Counts a wait until dropped.
pub(super) struct Waiting<'a>(&'a Journal, u64);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.waits.remove(&self.1);
        state.active = Instant::now();
    }
}

/// What a journal is made with, the same for every run of a worker.
#[derive(Clone)]
pub(super) struct EngineContext {
    pub broker: Broker,
    pub models: Models,
    pub sealer: Option<Sealer>,
    pub trusted_gateways: Arc<[PublicKey]>,
    pub voucher: Option<StatementSigner>,
    pub signer: Option<StatementSigner>,
    pub shelver: Arc<SummaryPublisher>,
    pub lease: Arc<Lease>,
    pub notices: Arc<Notices>,
    pub max_run_bytes: Option<u64>,
}

impl Journal {
    pub(super) fn new(around: EngineContext, owned: Owned, limits: Limits, copier: Option<FastAgencyMirror>) -> Self {
        let Owned { created, history, writer, lapses, .. } = owned;
        let run = writer.run();
        let EngineContext {
            broker,
            models,
            sealer,
            trusted_gateways,
            voucher,
            signer,
            shelver,
            lease,
            notices,
            max_run_bytes,
        } = around;
        let figures = metrics().workflow(created.workflow.as_str());
        let (mut summary, watch) = Watch::begin(run, &history, figures.clone());
        if !shelver.redactor().is_empty() {
            summary = Summary::new(run);
            history.iter().for_each(|placed| summary.apply(&redaction::placed(shelver.redactor(), placed)));
        }
        let records = history.len();
        let epoch = last_claim(&history).map_or(0, |(_, epoch)| epoch);
        let spent = Spent::of(&history);
        let bounds = Bounds::new(history.len());
        let asked_secret = history.iter().any(|placed| asks_secret(&placed.record.body));
        let mut remembered = remember(history);
        let allowed = remembered.extract_if(|key, _| key.permission().is_some());
        let allowed = allowed.filter_map(|(key, _)| key.permission().cloned()).collect();
        Self {
            run,
            created,
            epoch: AtomicU64::new(epoch),
            claimed: AtomicU64::new(writer.last()),
            // Not what it is now: the lease may have lapsed since the run was claimed.
            confirmed: AtomicU64::new(lapses),
            lease,
            notices,
            broker,
            models,
            sealer,
            trusted_gateways,
            voucher,
            signer,
            redactor: shelver.redactor().clone(),
            limits,
            max_run_bytes,
            log_bytes: AtomicU64::new(writer.bytes()),
            bounds,
            figures,
            remembered: Mutex::new(remembered),
            prompts: Mutex::default(),
            pen: tokio::sync::Mutex::new(Pen { writer, summary, watch, copier, shelver, records }),
            behind: Mutex::new(storing::Behind::Nothing),
            state: Mutex::new(State {
                busy: 0,
                waits: HashMap::new(),
                next_wait: 0,
                active: Instant::now(),
                listeners: HashMap::new(),
                told: HashMap::new(),
                passwords: Passwords::default(),
                holds_secret: false,
                asked_secret,
                writing: HashMap::new(),
                allowed,
                usage: Usage::default(),
                spent,
            }),
            heard: tokio::sync::Notify::new(),
        }
    }

    /// An effect of the scope with a number above `number` that the log remembers. Within a scope everything happens in
    /// order: if there is one, what comes before it cannot be new.
    pub(super) fn remembered_after(&self, scope: &EffectScope, number: u32) -> Option<EffectKey> {
        lock(&self.remembered).keys().find(|key| key.is_after(scope, number)).cloned()
    }

    /// The time by which the run counts.
    pub(super) fn clock(&self) -> &dyn Clock {
        self.lease.clock()
    }

    /// What the log remembers of the effect; each is asked for once.
    pub(super) fn remembered(&self, key: &EffectKey) -> Option<Remembered> {
        lock(&self.remembered).remove(key)
    }

    /// Takes the run again that this worker has just parked: to a parked run nobody has a right, and another may have been
    /// called meanwhile.
    pub(super) async fn claim_again(self: &Arc<Self>) -> Result<()> {
        self.settle().await?;
        let lapses = self.lease.lapses();
        let epoch = self.epoch.fetch_add(1, Ordering::Relaxed) + 1;
        let claimed = Body::Claimed { worker: self.lease.worker(), epoch, message: None };
        let seq = self.write(Record::new(claimed)).await?;
        self.claimed.store(seq, Ordering::Relaxed);
        self.confirmed.store(lapses, Ordering::Relaxed);
        Ok(())
    }

    /// Shows the run as it is now on the shelf.
    pub(super) async fn shelve(&self) {
        let pen = self.pen.lock().await;
        pen.shelver.put(&pen.summary, false);
    }

    pub(super) fn busy(&self) -> Busy<'_> {
        let mut state = lock(&self.state);
        state.busy += 1;
        state.active = Instant::now();
        Busy(self)
    }

    /// Begins a wait that ends by itself at `until`, if at all.
    pub(super) fn waiting(&self, until: Option<Timestamp>) -> Waiting<'_> {
        let mut state = lock(&self.state);
        let id = state.next_wait;
        state.next_wait += 1;
        state.waits.insert(id, until);
        Waiting(self, id)
    }

    /// Since when the run does nothing but wait; none if it does something.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = lock(&self.state);
        (state.busy == 0 && !state.waits.is_empty() && !state.holds_secret).then_some(state.active)
    }

    /// When the first of the waits ends by itself.
    pub(super) fn earliest_deadline(&self) -> Option<Timestamp> {
        lock(&self.state).waits.values().flatten().min().copied()
    }

    /// Returns once it is certain that the run is still this worker's: at once, unless its lease may have run out since that
    /// was last certain. To be called before an effect that others would notice.
    pub(super) async fn confirm(&self) -> Result<()> {
        let mut pause = Duration::from_millis(50);
        while !self.is_certain() {
            self.lease.held().await;
            let lapses = self.lease.lapses();
            match is_still_mine(&self.broker, self.run, self.claimed.load(Ordering::Relaxed)).await {
                Ok(true) => self.confirmed.store(lapses, Ordering::Relaxed),
                Ok(false) => return Err(Error::Lost { run: self.run }.into()),
                Err(crate::run::Error::Broker(crate::broker::Error::Unavailable { .. })) => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(2));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn is_certain(&self) -> bool {
        !self.lease.in_doubt() && self.confirmed.load(Ordering::Relaxed) == self.lease.lapses()
    }

    /// Looks after each lapse of the worker's lease whether the run is still its own; returns when it is not.
    pub(super) async fn watch_lease(&self) -> Stop {
        loop {
            self.lease.lapsed_again(self.confirmed.load(Ordering::Relaxed)).await;
            if let Err(lost) = self.confirm().await {
                return lost;
            }
        }
    }

    /// Counts what a request to a model used; remembered ones count again on replay.
    pub(super) fn count(&self, usage: dialogue::Usage) {
        lock(&self.state).usage.add(&usage);
    }

    /// Notes that a tool is being called: in the log, so that people see what was under way, and for the limit. Returns
    /// whether it is called for the first time: a call that the log remembers was counted before.
    pub(super) async fn begin_tool_call(self: &Arc<Self>, key: EffectKey, digest: Option<&str>) -> Result<bool> {
        let is_known = match self.remembered(&key) {
            Some(Remembered::Did(Outcome::Failed { kind, message })) => return Err(Stop::failed(kind, message)),
            known => known.is_some(),
        };
        if !is_known {
            self.check_records()?;
        }
        let used = {
            let mut state = lock(&self.state);
            state.usage.tool_calls += 1;
            state.usage.tool_calls
        };
        if is_known {
            return Ok(false);
        }
        let too_many = self.limits.tool_calls.filter(|limit| used > *limit);
        let why = too_many.map(|limit| format!("the run has called {limit} tools, its limit"));
        match why.or_else(|| self.too_large()) {
            Some(why) => Err(self.refuse(key, why).await?),
            None => {
                let digest = digest.map(str::to_owned);
                self.append(Body::Calling { key, digest }).await.map(|()| true)
            }
        }
    }

    /// Why nothing more is to be done in a run whose log is too large; none: it is not.
    pub(super) fn too_large(&self) -> Option<String> {
        let most = self.max_run_bytes.filter(|most| self.log_bytes.load(Ordering::Relaxed) >= *most)?;
        Some(format!("the log of the run holds {} MiB, the limit of one run (worker.max_run_bytes)", most >> 20))
    }

    /// Remembers that a limit was met instead of performing an effect, and returns the failure.
    pub(super) async fn refuse(self: &Arc<Self>, key: EffectKey, why: String) -> Result<Stop> {
        let outcome = Outcome::Failed { kind: FailureKind::Limit, message: why.clone() };
        self.append(Body::Did { key, outcome }).await?;
        Ok(Stop::failed(FailureKind::Limit, why))
    }

    /// Whether the run has a person's permission for every call of a tool.
    pub(super) fn is_allowed(&self, tool: &str) -> bool {
        lock(&self.state).allowed.contains(tool)
    }

    /// Notes that the run may call a tool from now on.
    pub(super) async fn allow(self: &Arc<Self>, tool: Arc<str>) -> Result<()> {
        if !self.is_allowed(&tool) {
            let outcome = Outcome::Value(serde_json::Value::Bool(true));
            self.append(Body::Did { key: EffectKey::Permission(tool.clone()), outcome }).await?;
            lock(&self.state).allowed.insert(tool);
        }
        Ok(())
    }

    /// What the run has used so far.
    pub(super) fn usage(&self) -> Usage {
        lock(&self.state).usage
    }

    /// How long the run has been at work so far, waiting for people left out.
    pub(super) fn spent(&self) -> Duration {
        lock(&self.state).spent.until(self.clock().now())
    }

    /// What vouches for a run that this one starts; none: nothing has to.
    pub(super) fn voucher(&self) -> Result<Option<&StatementSigner>> {
        if self.voucher.is_none() && !self.trusted_gateways.is_empty() {
            return Err(Stop::failed(
                FailureKind::Start,
                "nobody would vouch for the new run: set worker.signing_key, and name its public key in worker.trusted_gateways",
            ));
        }
        Ok(self.voucher.as_ref())
    }
}

/// Whether a record asks for a password.
fn asks_secret(body: &Body) -> bool {
    matches!(body, Body::Said { message, .. } if message.says.asks() && message.says.is_secret())
}

fn remember(history: Vec<LogEntry>) -> HashMap<EffectKey, Remembered> {
    let mut remembered = HashMap::new();
    for placed in history {
        match placed.record.body {
            Body::Said { key, message } => remembered.insert(key, Remembered::Said(Box::new(message))),
            Body::Did { key, outcome } => remembered.insert(key, Remembered::Did(outcome)),
            Body::Calling { key, .. } => remembered.insert(key, Remembered::Calling),
            _ => None,
        };
    }
    remembered
}
