//! The effects that remember: each looks into the log first, and only what is not there is performed, and then appended
//! before anything follows from it.
//!
//! The key of an effect is its scope and a number within it ([`crate::protocol::effect_key`]). Within a scope everything happens
//! in order, so the same execution meets the same keys.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::chat::{Result, WorkflowStop};
use crate::clock::{self, Timestamp};
use crate::engine::Error;
use crate::engine::journal::{Journal, RememberedEffect};
use crate::ids::MessageId;
use crate::message::{InnerConversation, Message, MessageContent};
use crate::protocol::effect_key::{EffectKey, EffectPart, EffectScope};
use crate::protocol::failure::FailureKind;
use crate::protocol::log::{EffectOutcome, RecordBody};

mod asking;
mod cut_off;
mod models;
mod outside;
mod reminders;

pub(super) use asking::{ask, ask_and_show};
pub(super) use cut_off::CutOffCall;
pub(super) use models::{ask_model, say_cut_off};
pub(super) use outside::outside;

/// The longest that a run may wait for a moment: no store has to keep a timer for longer, and no clock comes to its end.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(10 * 366 * 24 * 3600);
/// How exactly the limit of a run's time is kept.
const LIMIT_LOOKED_AT_EVERY: Duration = Duration::from_millis(20);

/// The effects of one scope.
pub(super) struct ScopedEffects {
    pub journal: Arc<Journal>,
    scope: EffectScope,
    within: Mutex<Vec<InnerConversation>>,
    next: AtomicU32,
    /// The call of a tool that it is, of which a person decides if it is cut off.
    call: Option<Arc<CutOffCall>>,
    /// What the engine itself says of the run's end, which no bound keeps out of the log.
    is_last: bool,
}

impl ScopedEffects {
    /// The effects of the scope with that name, in the conversations that it is inside of.
    pub(super) fn new(journal: Arc<Journal>, scope: EffectScope, within: Vec<InnerConversation>) -> Self {
        Self { journal, scope, within: Mutex::new(within), next: AtomicU32::new(0), call: None, is_last: false }
    }

    /// The same as the call of a tool; none: nobody is asked if it is cut off.
    pub(super) fn of_call(self, call: Option<Arc<CutOffCall>>) -> Self {
        Self { call, ..self }
    }

    /// The effects of the engine itself when the run ends.
    pub(super) fn of_end(journal: Arc<Journal>, scope: EffectScope) -> Self {
        Self { is_last: true, ..Self::new(journal, scope, Vec::new()) }
    }

    /// The conversations that it is inside of now.
    pub(super) fn within(&self) -> Vec<InnerConversation> {
        self.inside().clone()
    }

    /// Begins a conversation inside of the present one.
    pub(super) fn enter(&self, conversation: InnerConversation) {
        self.inside().push(conversation);
    }

    /// Ends the innermost conversation.
    pub(super) fn leave(&self) {
        self.inside().pop();
    }

    fn inside(&self) -> std::sync::MutexGuard<'_, Vec<InnerConversation>> {
        self.within.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self) -> EffectKey {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        EffectKey::Numbered { scope: self.scope.clone(), number, part: EffectPart::Whole }
    }

    /// Refuses to perform an effect that the log does not remember although it remembers a later one of the same scope.
    fn check_new(&self, key: &EffectKey) -> Result<()> {
        let number = self.next.load(Ordering::Relaxed) - 1;
        match self.journal.log.remembered_after(&self.scope, number) {
            None if self.is_last => Ok(()),
            None => self.journal.budget.check_records(),
            Some(later) => Err(WorkflowStop::failed(
                FailureKind::Replay,
                format!("the run cannot be continued: its log holds nothing at {key:?}, but something at {later:?}"),
            )),
        }
    }

    /// The key of the note that an effect was begun that nobody may do twice without being asked.
    fn begun(&self) -> EffectKey {
        let number = self.next.load(Ordering::Relaxed) - 1;
        EffectKey::Numbered { scope: self.scope.clone(), number, part: EffectPart::Begun }
    }

    fn message_id(&self, key: &EffectKey) -> MessageId {
        self.journal.run.derive(&format!("message/{key}"))
    }

    /// A value that is made once, and remembered: a time, a random choice.
    pub(super) async fn once(&self, make: impl FnOnce() -> Value) -> Result<Value> {
        let key = self.key();
        match self.journal.log.remembered(&key) {
            Some(RememberedEffect::Did(EffectOutcome::Value(value))) => return Ok(value),
            Some(other) => return Err(diverged(&key, "a value", &other)),
            None => self.check_new(&key)?,
        }
        let _busy = self.journal.idle.busy();
        let value = make();
        self.journal.log.append(RecordBody::Did { key, outcome: EffectOutcome::Value(value.clone()) }).await?;
        Ok(value)
    }

    /// The moment `span` from now, the same after a restart.
    pub(super) async fn moment_after(&self, span: std::time::Duration) -> Result<Timestamp> {
        if span > LONGEST_WAIT {
            return Err(WorkflowStop::failed(
                FailureKind::Wait,
                format!("{} s is too long to wait: ten years at most", span.as_secs()),
            ));
        }
        let clock = self.journal.context.clock();
        let value = self.once(|| Value::String(clock::after(clock.now(), span).to_string())).await?;
        value
            .as_str()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| Error::unreadable("what was remembered is not a time").into())
    }

    /// Waits until a moment has come, for seconds or for weeks.
    pub(super) async fn wait_until(&self, moment: Timestamp) {
        let _waiting = self.journal.idle.waiting(Some(moment));
        sleep_until(&self.journal, Some(moment)).await;
    }

    /// Waits until a moment has come, if the run's limit of time allows.
    pub(super) async fn pause_until(&self, moment: Timestamp) -> Result<()> {
        let now = self.journal.context.clock().now();
        if now >= moment {
            return Ok(());
        }
        if clock::until(now, moment) > LONGEST_WAIT {
            return Err(WorkflowStop::failed(
                FailureKind::Wait,
                format!("{moment} is too far away to wait for: ten years at most"),
            ));
        }
        self.within_duration(self.wait_until(moment)).await
    }

    /// Remembers that the timer of this scope ran out before its step ended.
    pub(super) async fn remember_timed_out(&self) -> Result<()> {
        let _busy = self.journal.idle.busy();
        let outcome = EffectOutcome::Failed { kind: FailureKind::Timeout, message: String::new() };
        self.journal.log.append(RecordBody::Did { key: EffectKey::TimedOut(self.scope.clone()), outcome }).await
    }

    /// Whether the timer of this scope ran out before its step ended.
    pub(super) fn has_timed_out(&self) -> bool {
        matches!(self.journal.log.remembered(&EffectKey::TimedOut(self.scope.clone())), Some(RememberedEffect::Did(_)))
    }

    /// Says something to people. `message` is the id of a text that was shown while it was written. Returns the id of the call
    /// that it suggests, as it is shown.
    pub(super) async fn say(
        &self,
        sender: &str,
        recipient: &str,
        mut says: MessageContent,
        message: Option<MessageId>,
    ) -> Result<Option<String>> {
        let key = self.key();
        match self.journal.log.remembered(&key) {
            Some(RememberedEffect::Said(message)) => return Ok(message.says.suggested_call_id().map(str::to_owned)),
            Some(other) => return Err(diverged(&key, "a message", &other)),
            None => self.check_new(&key)?,
        }
        if let MessageContent::SuggestedFunctionCall { call_id: Some(id), .. } = &mut says {
            *id = self.journal.log.call_id(std::mem::take(id));
        }
        let suggested = says.suggested_call_id().map(str::to_owned);
        // What was shown while a model wrote it is in the log already, as the model's reply.
        let is_remembered = message.is_some();
        let uuid = message.unwrap_or_else(|| self.message_id(&key));
        let message = Message {
            uuid,
            sender: Some(sender.to_owned()),
            recipient: Some(recipient.to_owned()),
            auto_reply: false,
            alias: None,
            within: self.within(),
            says,
        };
        let _busy = self.journal.idle.busy();
        let said = RecordBody::Said { key, message };
        if is_remembered {
            self.journal.log.append_behind(said).await?;
        } else {
            self.journal.log.append(said).await?;
        }
        Ok(suggested)
    }

    /// Does something as long as the run's limit of time allows. What is cut off leaves no record: when the run is executed
    /// again, the limit is exceeded all the more.
    async fn within_duration<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        let Some(limit) = self.journal.budget.limits.duration else { return Ok(work.await) };
        let mut work = std::pin::pin!(work);
        loop {
            let left = limit.saturating_sub(self.journal.budget.spent());
            if left.is_zero() {
                return Err(WorkflowStop::failed(
                    FailureKind::Limit,
                    format!("the run has been at work for {limit:?}, its limit"),
                ));
            }
            // Time does not count while another branch waits for a person: what is left is looked at again.
            tokio::select! {
                done = &mut work => return Ok(done),
                () = tokio::time::sleep(left.max(LIMIT_LOOKED_AT_EVERY)) => {}
            }
        }
    }
}

/// Sleeps until a moment by the run's clock; for ever if there is none.
async fn sleep_until(journal: &Journal, moment: Option<Timestamp>) {
    let Some(moment) = moment else { return std::future::pending().await };
    loop {
        let rest = clock::until(journal.context.clock().now(), moment);
        if rest.is_zero() {
            return;
        }
        // The machine's clock may be set while we sleep: look again every now and then.
        tokio::time::sleep(rest.min(std::time::Duration::from_secs(60))).await;
    }
}

/// The log holds something else under this key: the workflow, or the program, is not what it was when that was written.
fn diverged(key: &EffectKey, expected: &str, found: &RememberedEffect) -> WorkflowStop {
    let found = match found {
        RememberedEffect::Said(message) => format!("a {}", message.says.kind()),
        RememberedEffect::Calling => "a call of a tool".to_owned(),
        RememberedEffect::Did(EffectOutcome::Answer(_)) => "an answer".to_owned(),
        RememberedEffect::Did(EffectOutcome::Reply(_)) => "a model's reply".to_owned(),
        RememberedEffect::Did(EffectOutcome::Failed { .. }) => "a failure".to_owned(),
        RememberedEffect::Did(EffectOutcome::Value(_)) => "a value".to_owned(),
        RememberedEffect::Did(EffectOutcome::Reminded(_)) => "a reminder".to_owned(),
    };
    WorkflowStop::failed(
        FailureKind::Replay,
        format!("the run cannot be continued: at {key:?} its log holds {found}, and the workflow now wants {expected}"),
    )
}
