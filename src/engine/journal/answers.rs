//! The run's inbox: who waits for which answer, what an answer is worth, and passwords.

use std::time::Duration;

use tokio::sync::oneshot;

use super::{Journal, lock};
use crate::broker::{Slot, Stored};
use crate::chat::Result;
use crate::engine::concealed::Passwords;
use crate::ids::{MessageId, UserId};
use crate::message::Content;
use crate::protocol::signable::Signable;
use crate::run::answer::{self, Given};
use crate::run::secret;
use crate::vouch::SignedStatement;

/// How long after its mark a password may come that is told and never stored; later it is asked for again.
const TOLD_WITHIN: Duration = Duration::from_secs(2);

impl Journal {
    /// Hears the answer to a question from now on.
    pub(in crate::engine) fn listen(&self, question: MessageId) -> oneshot::Receiver<Stored> {
        let (tell, hear) = oneshot::channel();
        lock(&self.state).listeners.insert(question, tell);
        hear
    }

    /// Whether somebody waits for the answer to a question.
    pub(in crate::engine) fn awaited(&self) -> Vec<MessageId> {
        lock(&self.state).listeners.keys().copied().collect()
    }

    /// Hands an answer to whoever waits for it; an answer that nobody waits for stays in the inbox.
    pub(in crate::engine) fn deliver(&self, question: MessageId, stored: Stored) {
        let mut state = lock(&self.state);
        if stored.seq == 0 {
            // Told, not stored: kept for its marker.
            if let Ok(secret) = String::from_utf8(stored.payload.to_vec()) {
                state.told.insert(question, secret);
                self.heard.notify_waiters();
            }
            return;
        }
        if let Some(listener) = state.listeners.remove(&question) {
            // The listener may have been dropped with its branch.
            let _ = listener.send(stored);
        }
    }

    /// The password that is told as the answer to a question: by whoever was first, and so soon after the answer is marked.
    pub(in crate::engine) async fn take_told(&self, question: MessageId) -> Option<String> {
        let late = tokio::time::sleep(TOLD_WITHIN);
        tokio::pin!(late);
        loop {
            // Listening begins before it is looked whether it is there.
            let heard = self.heard.notified();
            tokio::pin!(heard);
            heard.as_mut().enable();
            if let Some(secret) = self.told(question) {
                return Some(secret);
            }
            tokio::select! {
                () = heard => {}
                () = &mut late => return None,
            }
        }
    }

    /// Keeps in mind that a password answered a question, as long as the run is in memory.
    pub(in crate::engine) fn know_password(&self, prompt: &str, password: &str) {
        lock(&self.state).passwords.add(prompt, password);
    }

    /// The passwords that were answered.
    pub(in crate::engine) fn passwords(&self) -> Passwords {
        lock(&self.state).passwords.clone()
    }

    fn told(&self, question: MessageId) -> Option<String> {
        let mut state = lock(&self.state);
        let secret = state.told.remove(&question);
        state.holds_secret |= secret.is_some();
        secret
    }

    /// What is in a slot of the inbox, through outages.
    pub(in crate::engine) async fn inbox(&self, slot: Slot) -> Result<Option<Stored>> {
        let mut pause = Duration::from_millis(50);
        loop {
            match self.broker.inbox.get(self.run, slot).await {
                Ok(found) => return Ok(found),
                Err(crate::broker::Error::Unavailable { .. }) => tokio::time::sleep(pause).await,
                Err(error) => return Err(error.into()),
            }
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    /// A password that was sealed; `None` if it cannot be opened.
    pub(in crate::engine) async fn open_secret(&self, question: MessageId, sealed: &str) -> Result<Option<String>> {
        let Some(sealer) = &self.sealer else { return Ok(None) };
        let key = self.inbox(Slot::Key).await?;
        Ok(key.and_then(|key| secret::open(sealer, self.run, &key, question, sealed)))
    }

    /// Why an answer cannot be taken for what it says; none: it can.
    pub(in crate::engine) fn doubt(&self, question: MessageId, given: &Given, says: &Content) -> Option<&'static str> {
        if self.trusted_gateways.is_empty() {
            return None;
        }
        match given.answer {
            // Workers close questions, which is nobody's word; but only some can be closed.
            answer::Answer::TimedOut => says.deadline().is_none().then_some("the question was closed before its time"),
            // Only its mark is signed, and the password might be anybody's.
            answer::Answer::Told => Some("a password cannot be vouched for without a seal_key"),
            _ => {
                let vouched = given.is_signed(&self.trusted_gateways, SignedStatement::Answer(self.run, question));
                (!vouched).then_some("no gateway vouches for the answer")
            }
        }
    }

    /// Whose wish it was that the run ends; none: that is not known.
    pub(in crate::engine) fn cancelled_by(&self, payload: &[u8]) -> Option<UserId> {
        let given: Given = crate::bounds::parse(payload).ok()?;
        let believed = self.trusted_gateways.is_empty()
            || given.is_signed(&self.trusted_gateways, SignedStatement::Cancel(self.run));
        given.by.filter(|_| believed)
    }

    /// Deletes the key of the run's passwords, once it has ended. A key that stays behind is deleted on the next tour
    /// (`run::sweep`).
    pub(in crate::engine) async fn forget_secrets(&self) {
        if !lock(&self.state).asked_secret {
            return;
        }
        if let Err(error) = secret::forget(&self.broker, self.run).await {
            tracing::debug!(run.id = %self.run, "the key of the run's passwords is still there: {error}");
        }
    }
}
