//! The passwords of a run. With a key they are stored sealed; without one they are told to the worker alone, and the run would
//! have to ask again if it left memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

use super::inbox::RunInbox;
use super::lock;
use super::projection::LogProjection;
use crate::broker::InboxSlot;
use crate::chat::Result;
use crate::engine::answered_passwords::AnsweredPasswords;
use crate::engine::context::EngineContext;
use crate::ids::{MessageId, RunId};
use crate::protocol::log::{LogEntry, RecordBody};
use crate::run::secret;

/// How long after its mark a password may come that is told and never stored; later it is asked for again.
const TOLD_WITHIN: Duration = Duration::from_secs(2);

/// The passwords of a run.
pub(in crate::engine) struct SecretStore {
    run: RunId,
    context: Arc<EngineContext>,
    /// Those that were told and never stored, and that nobody has taken yet.
    unstored: Mutex<HashMap<MessageId, String>>,
    /// Wakes those who wait for one that is told.
    heard: Notify,
    /// Those that were answered.
    answered: Mutex<AnsweredPasswords>,
    /// One that was told is in use.
    is_held: AtomicBool,
    /// The run has asked for one: there may be a key that it is sealed with.
    was_asked: AtomicBool,
    /// Its workflow makes calls with the access token of its caller: there may be one.
    uses_caller_token: bool,
}

impl SecretStore {
    /// Those of a run with this log.
    pub(super) fn new(run: RunId, context: Arc<EngineContext>, history: &[LogEntry], uses_caller_token: bool) -> Self {
        Self {
            run,
            context,
            unstored: Mutex::default(),
            heard: Notify::new(),
            answered: Mutex::default(),
            is_held: false.into(),
            was_asked: history.iter().any(|entry| asks_secret(&entry.record.body)).into(),
            uses_caller_token,
        }
    }

    /// A password was told as the answer to a question: it is kept for the mark of the answer.
    pub(super) fn hear(&self, question: MessageId, payload: &[u8]) {
        if let Ok(secret) = std::str::from_utf8(payload) {
            lock(&self.unstored).insert(question, secret.to_owned());
            self.heard.notify_waiters();
        }
    }

    /// The password that is told as the answer to a question: by whoever was first, and so soon after the answer is marked.
    pub(in crate::engine) async fn take_unstored_secret(&self, question: MessageId) -> Option<String> {
        let late = tokio::time::sleep(TOLD_WITHIN);
        tokio::pin!(late);
        loop {
            // Listening begins before it is looked whether it is there.
            let heard = self.heard.notified();
            tokio::pin!(heard);
            heard.as_mut().enable();
            if let Some(secret) = self.take(question) {
                return Some(secret);
            }
            tokio::select! {
                () = heard => {}
                () = &mut late => return None,
            }
        }
    }

    fn take(&self, question: MessageId) -> Option<String> {
        let secret = lock(&self.unstored).remove(&question)?;
        self.is_held.store(true, Ordering::Relaxed);
        Some(secret)
    }

    /// Whether the run would have to ask again for a password if it left memory.
    pub(super) fn is_held(&self) -> bool {
        self.is_held.load(Ordering::Relaxed)
    }

    /// Keeps in mind that a password answered a question, as long as the run is in memory.
    pub(in crate::engine) fn know_password(&self, prompt: &str, password: &str) {
        lock(&self.answered).add(prompt, password);
    }

    /// The passwords that were answered.
    pub(in crate::engine) fn passwords(&self) -> AnsweredPasswords {
        lock(&self.answered).clone()
    }

    /// A password that was sealed; `None` if it cannot be opened.
    pub(in crate::engine) async fn open(
        &self,
        inbox: &RunInbox,
        question: MessageId,
        sealed: &str,
    ) -> Result<Option<String>> {
        let Some(sealer) = &self.context.sealer else { return Ok(None) };
        let key = inbox.get(InboxSlot::Key).await?;
        Ok(key.and_then(|key| secret::open(sealer, self.run, &key, question, sealed)))
    }

    /// Deletes the key of the run's passwords and the access token of its caller, once it has ended. What stays behind is deleted
    /// on the next scan (`run::sweeper`).
    pub(in crate::engine) async fn forget(&self) {
        if !self.was_asked.load(Ordering::Relaxed) && !self.uses_caller_token {
            return;
        }
        if let Err(error) = secret::forget(&self.context.broker, self.run).await {
            tracing::debug!(run.id = %self.run, "the secrets of the run are still there: {error}");
        }
    }
}

impl LogProjection for Arc<SecretStore> {
    fn apply(&mut self, entry: &LogEntry) {
        if asks_secret(&entry.record.body) {
            self.was_asked.store(true, Ordering::Relaxed);
        }
    }
}

/// Whether a record asks for a password.
fn asks_secret(body: &RecordBody) -> bool {
    matches!(body, RecordBody::Said { message, .. } if message.says.asks() && message.says.is_secret())
}
