//! What of a run is in its log, and what is on its way there.
//!
//! What came of a request to a model, from a person or from outside, is kept back while the run goes on, and the next record carries
//! it: most often the message that says it, which the run need not wait for either. So is the claim of a new run. Before the run does
//! anything that others would notice, all that has happened is in the log ([`EffectLog::settle`]).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;

use super::lock;
use super::permissions::StandingPermissions;
use super::projection::LogProjection;
use super::shared_future::SharedFuture;
use crate::chat::{CallPermit, Result, WorkflowStop};
use crate::engine::context::EngineContext;
use crate::engine::prompts::{PendingPrompt, RecentPrompts};
use crate::fastagency::mirror::FastAgencyMirror;
use crate::ids::RunId;
use crate::message::{Message, MessageContent};
use crate::protocol::dialogue::ModelRequest;
use crate::protocol::effect_key::{EffectKey, EffectScope};
use crate::protocol::failure::FailureKind;
use crate::protocol::log::{EffectOutcome, FinishedEffect, FirstClaim, LogEntry, Record, RecordBody};
use crate::run;
use crate::run::writer::RunWriter;
use crate::workflow::ModelUse;

/// What the log remembers of an effect.
#[derive(Debug, Clone)]
pub(in crate::engine) enum RememberedEffect {
    Said(Box<Message>),
    Did(EffectOutcome),
    Calling,
}

/// The effects of a run: those that its log remembers, and those that are written into it.
pub(in crate::engine) struct EffectLog {
    run: RunId,
    context: Arc<EngineContext>,
    remembered: Mutex<HashMap<EffectKey, RememberedEffect>>,
    /// What may be called in the whole run.
    allowed: Mutex<StandingPermissions>,
    /// The ids under which calls of tools were shown, each with how often a provider gave it.
    shown_calls: Mutex<HashMap<String, u32>>,
    prompts: Mutex<RecentPrompts>,
    behind: Mutex<UnstoredWork>,
    /// How many bytes the log holds.
    bytes: AtomicU64,
    pen: tokio::sync::Mutex<JournalWriter>,
}

/// The writer, and what follows the log as it writes.
struct JournalWriter {
    writer: RunWriter,
    projections: Vec<Box<dyn LogProjection>>,
    mirror: Option<FastAgencyMirror>,
}

/// What is not in the log yet although the run has gone on.
enum UnstoredWork {
    Nothing,
    /// What the next record carries. If the run has something to wait for first, it is stored alone, at once.
    Carried(CarriedStep),
    /// A record that is being stored.
    Storing(PendingAppend),
}

type PendingAppend = SharedFuture<Result<()>>;

impl UnstoredWork {
    fn storing(&self) -> Option<PendingAppend> {
        if let UnstoredWork::Storing(storing) = self { Some(storing.clone()) } else { None }
    }

    fn take_carried(&mut self) -> Option<CarriedStep> {
        match std::mem::replace(self, UnstoredWork::Nothing) {
            UnstoredWork::Carried(step) => Some(step),
            other => {
                *self = other;
                None
            }
        }
    }
}

/// What is stored with the record after it.
enum CarriedStep {
    /// The claim of a new run, by its first record.
    Claim(Box<FirstClaim>),
    /// A finished effect: a reply is followed by the message that says it.
    Done(Box<FinishedEffect>),
}

impl CarriedStep {
    /// The record that carries it.
    fn before(self, body: RecordBody) -> Record {
        match self {
            CarriedStep::Claim(claim) => Record::claiming(*claim, body),
            CarriedStep::Done(done) => Record::carrying(*done, body),
        }
    }

    /// A record of its own.
    fn alone(self) -> Record {
        match self {
            CarriedStep::Claim(claim) => Record::from(*claim),
            CarriedStep::Done(done) => Record::from(*done),
        }
    }
}

impl EffectLog {
    /// The log of a run that this worker has, with what follows it. A `claim` is not stored yet: the first record carries it.
    pub(super) fn new(
        context: Arc<EngineContext>,
        history: Vec<LogEntry>,
        (writer, claim): (RunWriter, Option<Box<FirstClaim>>),
        projections: Vec<Box<dyn LogProjection>>,
        mirror: Option<FastAgencyMirror>,
    ) -> Self {
        let mut remembered = remember(history);
        let shown_calls = remembered.values().filter_map(|effect| match effect {
            RememberedEffect::Said(message) => Some((message.says.suggested_call_id()?.to_owned(), 1)),
            _ => None,
        });
        let shown_calls = shown_calls.collect();
        let allowed = take_permissions(&mut remembered);
        Self {
            run: writer.run(),
            context,
            remembered: Mutex::new(remembered),
            allowed: Mutex::new(allowed),
            shown_calls: Mutex::new(shown_calls),
            prompts: Mutex::default(),
            behind: Mutex::new(
                claim.map_or(UnstoredWork::Nothing, |claim| UnstoredWork::Carried(CarriedStep::Claim(claim))),
            ),
            bytes: writer.bytes().into(),
            pen: tokio::sync::Mutex::new(JournalWriter { writer, projections, mirror }),
        }
    }

    /// What the log remembers of the effect; each is asked for once.
    pub(in crate::engine) fn remembered(&self, key: &EffectKey) -> Option<RememberedEffect> {
        lock(&self.remembered).remove(key)
    }

    /// An effect of the scope with a number above `number` that the log remembers. Within a scope everything happens in
    /// order: if there is one, what comes before it cannot be new.
    pub(in crate::engine) fn remembered_after(&self, scope: &EffectScope, number: u32) -> Option<EffectKey> {
        lock(&self.remembered).keys().find(|key| key.is_after(scope, number)).cloned()
    }

    /// Whether the run has a person's permission for every call of a tool.
    pub(in crate::engine) fn is_allowed(&self, tool: &str) -> bool {
        lock(&self.allowed).has_tool(tool)
    }

    /// The permits of single calls of a tool that the run may make again and again.
    pub(in crate::engine) fn allowed_calls(&self, tool: &str) -> Vec<CallPermit> {
        lock(&self.allowed).calls_of(tool)
    }

    /// The id under which a call of a tool is shown: the provider's own, unless the run has one of that name. Providers repeat
    /// ids, within a reply and between replies; clients tell the calls of a run apart by them.
    pub(in crate::engine) fn call_id(&self, given: String) -> String {
        let mut shown = lock(&self.shown_calls);
        let mut times = shown.get(&given).copied().unwrap_or(0);
        let mut id = given.clone();
        while times > 0 && shown.contains_key(&id) {
            times += 1;
            id = format!("{given}-{times}");
        }
        shown.insert(given, times.max(1));
        shown.entry(id.clone()).or_insert(1);
        id
    }

    /// Notes that the run may call a tool from now on.
    pub(in crate::engine) async fn allow(self: &Arc<Self>, tool: Arc<str>) -> Result<()> {
        if !self.is_allowed(&tool) {
            let outcome = EffectOutcome::Value(Value::Bool(true));
            self.append(RecordBody::Did { key: EffectKey::tool_permission(tool.clone()), outcome }).await?;
            lock(&self.allowed).add_tool(tool);
        }
        Ok(())
    }

    /// Notes that the run may make a call of a tool again and again. `asked`: the digest of the question that allowed it, which has
    /// the salt of the permit.
    pub(in crate::engine) async fn allow_call(
        self: &Arc<Self>,
        tool: &str,
        permit: CallPermit,
        asked: String,
    ) -> Result<()> {
        if lock(&self.allowed).calls_of(tool).contains(&permit) {
            return Ok(());
        }
        let key = EffectKey::call_permission(tool, &permit.digest);
        self.append(RecordBody::Did { key, outcome: EffectOutcome::Value(asked.into()) }).await?;
        lock(&self.allowed).add_call(tool, permit);
        Ok(())
    }

    /// Why nothing more is to be done in a run whose log is too large; none: it is not.
    pub(in crate::engine) fn too_large(&self) -> Option<String> {
        let most = self.context.max_run_bytes.filter(|most| self.bytes.load(Ordering::Relaxed) >= *most)?;
        Some(format!("the log of the run holds {} MiB, the limit of one run (worker.max_run_bytes)", most >> 20))
    }

    /// Remembers that a limit was met instead of performing an effect, and returns the failure.
    pub(in crate::engine) async fn refuse(self: &Arc<Self>, key: EffectKey, why: String) -> Result<WorkflowStop> {
        let outcome = EffectOutcome::Failed { kind: FailureKind::Limit, message: why.clone() };
        self.append(RecordBody::Did { key, outcome }).await?;
        Ok(WorkflowStop::failed(FailureKind::Limit, why))
    }

    /// Appends a record, and tells what follows the log.
    ///
    /// Boxed: thousands of runs wait for a person, and what waits must not have the room in it that writing takes.
    pub(in crate::engine) fn append(self: &Arc<Self>, body: RecordBody) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.stored().await?;
            match self.take_carried() {
                // That belongs to the run, and must not be given up with the branch of it that waits here.
                Some(step) => {
                    self.store_behind(step.before(body));
                    self.stored().await
                }
                None => self.write(Record::new(body)).await.map(drop),
            }
        })
    }

    /// Appends a message that says what was done right before it, without waiting for it. Every other append waits until it
    /// is stored, and so do every piece of a later text and every request to a model.
    pub(in crate::engine) async fn append_behind(self: &Arc<Self>, body: RecordBody) -> Result<()> {
        self.stored().await?;
        self.store_behind(match self.take_carried() {
            Some(step) => step.before(body),
            None => Record::new(body),
        });
        Ok(())
    }

    /// Notes a request to a model, for [`EffectLog::done`].
    pub(in crate::engine) fn note(&self, key: &EffectKey, llm: &ModelUse, request: &ModelRequest) -> PendingPrompt {
        lock(&self.prompts).note(key, llm, request)
    }

    /// Takes note of what came of a request to a model, with what was asked: the next record carries it. If the run comes to
    /// none before it waits for anything, it is stored alone, at once.
    pub(in crate::engine) async fn done(
        self: &Arc<Self>,
        key: EffectKey,
        outcome: EffectOutcome,
        noting: PendingPrompt,
        took: Duration,
    ) -> Result<()> {
        let (asked, known) = noting.took(took);
        self.keep_back(FinishedEffect { key, outcome, asked: Some(asked) }).await?;
        lock(&self.prompts).remember(known);
        Ok(())
    }

    /// Takes note of what came from outside, or from a person: the next record carries it, as in [`EffectLog::done`].
    pub(in crate::engine) async fn came(self: &Arc<Self>, key: EffectKey, outcome: EffectOutcome) -> Result<()> {
        self.keep_back(FinishedEffect { key, outcome, asked: None }).await
    }

    async fn keep_back(self: &Arc<Self>, done: FinishedEffect) -> Result<()> {
        loop {
            self.settle().await?;
            let mut behind = lock(&self.behind);
            // Another branch of the run may have come first.
            if matches!(*behind, UnstoredWork::Nothing) {
                *behind = UnstoredWork::Carried(CarriedStep::Done(Box::new(done)));
                return Ok(());
            }
        }
    }

    /// Waits until everything that has happened is in the log.
    pub(in crate::engine) async fn settle(self: &Arc<Self>) -> Result<()> {
        self.stored().await?;
        self.store_carried();
        self.stored().await
    }

    /// Begins to store what no record carries yet.
    fn store_carried(self: &Arc<Self>) {
        if let Some(step) = self.take_carried() {
            self.store_behind(step.alone());
        }
    }

    /// Waits until nothing is being stored. A run is one task: until its next await nothing is.
    async fn stored(&self) -> Result<()> {
        loop {
            // Several branches may wait for the same.
            let Some(storing) = lock(&self.behind).storing() else { return Ok(()) };
            let outcome = storing.clone().await;
            let mut behind = lock(&self.behind);
            // What can never be stored is given up: that the run has failed is to be stored after it.
            if !matches!(outcome, Err(WorkflowStop::Halted(_)))
                && behind.storing().is_some_and(|newer| newer.is(&storing))
            {
                *behind = UnstoredWork::Nothing;
            }
            drop(behind);
            outcome?;
        }
    }

    fn take_carried(&self) -> Option<CarriedStep> {
        lock(&self.behind).take_carried()
    }

    fn store_behind(self: &Arc<Self>, record: Record) {
        let log = self.clone();
        let storing = async move { log.write(record).await.map(drop) };
        *lock(&self.behind) = UnstoredWork::Storing(SharedFuture::new(storing));
    }

    /// Goes on storing what is to be stored; returns when it could not be.
    pub(in crate::engine) async fn failure_behind(self: &Arc<Self>) -> WorkflowStop {
        std::future::poll_fn(|context| {
            // The run has had its turn, and waits for something.
            self.store_carried();
            let mut behind = lock(&self.behind);
            if let UnstoredWork::Storing(storing) = &*behind {
                match storing.poll_for_others(context) {
                    Poll::Ready(Err(stop)) => {
                        if let WorkflowStop::Failed(_) = stop {
                            *behind = UnstoredWork::Nothing;
                        }
                        return Poll::Ready(stop);
                    }
                    Poll::Ready(Ok(())) => *behind = UnstoredWork::Nothing,
                    // What is begun later is begun by this task, which comes back here then.
                    Poll::Pending => {}
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Gives up what is being stored: the run leaves memory.
    pub(super) fn abandon(&self) {
        *lock(&self.behind) = UnstoredWork::Nothing;
    }

    /// Writes a record at once, and returns its sequence.
    pub(super) async fn write(&self, mut record: Record) -> Result<u64> {
        // A claim is one message, or two workers might both have half of one.
        if let Some(claim) = record.take_claim_of_pieces() {
            self.write_whole(claim).await?;
        }
        self.write_whole(record).await
    }

    async fn write_whole(&self, record: Record) -> Result<u64> {
        self.context.notices.announce(self.run, &record.body).await?;
        let mut pen = self.pen.lock().await;
        let JournalWriter { writer, projections, mirror } = &mut *pen;
        let written = writer.append(record, self.context.clock().now()).await.map_err(|error| match error {
            run::Error::Unstorable { source, .. } => {
                WorkflowStop::failed(FailureKind::Template, format!("what happened cannot be stored: {source}"))
            }
            error => error.into(),
        })?;
        for entry in written {
            projections.iter_mut().for_each(|projection| projection.apply(&entry));
            if let Some(mirror) = mirror {
                mirror.copy(&entry).await?;
            }
        }
        projections.iter_mut().for_each(|projection| projection.appended());
        self.bytes.store(writer.bytes(), Ordering::Relaxed);
        Ok(writer.last())
    }
}

/// The permissions that stand, taken out of what the log remembers: they are no effects that a step asks for. The salt of an allowed
/// call is in its question alone, which knows better than other records who may see it.
fn take_permissions(remembered: &mut HashMap<EffectKey, RememberedEffect>) -> StandingPermissions {
    let given: Vec<(EffectKey, RememberedEffect)> =
        remembered.extract_if(|key, _| key.permission().is_some()).collect();
    let mut salts: Option<HashMap<&str, &str>> = None;
    let mut standing = StandingPermissions::default();
    for (key, effect) in given {
        let Some(tool) = key.permission() else { continue };
        let RememberedEffect::Did(EffectOutcome::Value(Value::String(asked))) = effect else {
            standing.add_tool(tool.clone());
            continue;
        };
        let salts = salts.get_or_insert_with(|| salts_of_questions(remembered));
        if let (Some((tool, digest)), Some(salt)) = (key.permitted_call(), salts.get(asked.as_str())) {
            let permit = CallPermit { digest: digest.to_owned(), salt: (*salt).to_owned() };
            standing.add_call(tool, permit);
        }
    }
    standing
}

/// The salt of each question for approval, by its digest.
fn salts_of_questions(remembered: &HashMap<EffectKey, RememberedEffect>) -> HashMap<&str, &str> {
    let questions = remembered.values().filter_map(|effect| match effect {
        RememberedEffect::Said(message) => match &message.says {
            MessageContent::Approval(asked) => Some((asked.digest.as_deref()?, asked.salt.as_deref()?)),
            _ => None,
        },
        _ => None,
    });
    questions.collect()
}

fn remember(history: Vec<LogEntry>) -> HashMap<EffectKey, RememberedEffect> {
    let mut remembered = HashMap::new();
    for entry in history {
        match entry.record.body {
            RecordBody::Said { key, message } => remembered.insert(key, RememberedEffect::Said(Box::new(message))),
            RecordBody::Did { key, outcome } => remembered.insert(key, RememberedEffect::Did(outcome)),
            RecordBody::Calling { key, .. } => remembered.insert(key, RememberedEffect::Calling),
            _ => None,
        };
    }
    remembered
}
