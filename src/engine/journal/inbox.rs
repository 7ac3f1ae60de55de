//! The run's inbox: who waits for which answer, and what an answer is worth.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;

use super::lock;
use crate::broker::{self, InboxSlot, StoredRecord};
use crate::engine::Error;
use crate::engine::context::EngineContext;
use crate::ids::{MessageId, RunId, UserId};
use crate::message::MessageContent;
use crate::run::answer::{self, SubmittedAnswer};
use crate::signing::SignedStatement;

/// The inbox of a run in memory.
pub(in crate::engine) struct RunInbox {
    run: RunId,
    context: Arc<EngineContext>,
    /// Who waits for an answer.
    listeners: Mutex<HashMap<MessageId, oneshot::Sender<StoredRecord>>>,
}

impl RunInbox {
    /// One that nobody listens to yet.
    pub(super) fn new(run: RunId, context: Arc<EngineContext>) -> Self {
        Self { run, context, listeners: Mutex::default() }
    }

    /// Hears the answer to a question from now on.
    pub(in crate::engine) fn listen(&self, question: MessageId) -> oneshot::Receiver<StoredRecord> {
        let (tell, hear) = oneshot::channel();
        lock(&self.listeners).insert(question, tell);
        hear
    }

    /// The questions whose answers somebody waits for.
    pub(in crate::engine) fn awaited(&self) -> Vec<MessageId> {
        lock(&self.listeners).keys().copied().collect()
    }

    /// Hands an answer to whoever waits for it; an answer that nobody waits for stays in the inbox.
    pub(super) fn deliver(&self, question: MessageId, stored: StoredRecord) {
        if let Some(listener) = lock(&self.listeners).remove(&question) {
            // The listener may have been dropped with its branch.
            let _ = listener.send(stored);
        }
    }

    /// What is in a slot, through outages.
    pub(in crate::engine) async fn get(&self, slot: InboxSlot) -> Result<Option<StoredRecord>, Error> {
        let mut pause = Duration::from_millis(50);
        loop {
            match self.context.broker.inbox.get(self.run, slot).await {
                Ok(found) => return Ok(found),
                Err(broker::Error::Unavailable { .. }) => tokio::time::sleep(pause).await,
                Err(error) => return Err(error.into()),
            }
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    /// Why an answer cannot be taken for what it says; none: it can.
    pub(in crate::engine) fn doubt(
        &self,
        question: MessageId,
        given: &SubmittedAnswer,
        says: &MessageContent,
    ) -> Option<&'static str> {
        if self.context.trusted_gateways.is_empty() {
            return None;
        }
        match given.answer {
            // Workers close questions, which is nobody's word; but only some can be closed.
            answer::AnswerPayload::TimedOut => {
                says.deadline().is_none().then_some("the question was closed before its time")
            }
            // Only its mark is signed, and the password might be anybody's.
            answer::AnswerPayload::NotStored => Some("a password cannot be signed without a seal_key"),
            _ => {
                let is_trusted = self.context.trusts(SignedStatement::Answer(self.run, question), given);
                (!is_trusted).then_some("no trusted gateway has signed the answer")
            }
        }
    }

    /// Whose wish it was that the run ends; none: that is not known.
    pub(in crate::engine) fn cancelled_by(&self, payload: &[u8]) -> Option<UserId> {
        let given: SubmittedAnswer = crate::bounds::parse(payload).ok()?;
        let is_trusted = self.context.trusts(SignedStatement::Cancel(self.run), &given);
        given.by.filter(|_| is_trusted)
    }
}
