//! What models are writing now, as followers see it before it is said.

use super::{Journal, lock};
use crate::ids::MessageId;
use crate::message::Within;
use crate::redact::Shown;
use crate::run::attach::Delta;

/// A text that a model is writing now.
#[derive(Debug, Clone)]
pub(in crate::engine) struct Writing {
    pub attempt: u32,
    pub sender: String,
    pub recipient: String,
    pub within: Vec<Within>,
    pub text: String,
    /// What followers are told of it, where something is redacted.
    shown: Shown,
}

impl Journal {
    /// Notes another piece of a text that is being written, and returns what followers are to be told of it now, if anything.
    pub(in crate::engine) fn extend_writing(&self, delta: Delta) -> Option<Delta> {
        let mut state = lock(&self.state);
        let writing = state.writing.entry(delta.message).or_insert_with(|| Writing {
            attempt: delta.attempt,
            sender: delta.sender.clone().unwrap_or_default(),
            recipient: delta.recipient.clone().unwrap_or_default(),
            within: delta.within.clone(),
            text: String::new(),
            shown: Shown::default(),
        });
        if delta.offset == 0 {
            writing.attempt = delta.attempt;
            writing.text.clear();
            writing.shown = Shown::default();
        }
        writing.text.push_str(&delta.text);
        if self.redactor.is_empty() {
            return Some(delta);
        }
        let (offset, text) = writing.shown.go_on(&self.redactor, &writing.text);
        (!text.is_empty()).then_some(Delta { offset, text, ..delta })
    }

    /// Tells followers again what is being written, from its beginning: somebody has come late.
    pub(in crate::engine) async fn tell_writing(&self) {
        let so_far: Vec<Delta> = lock(&self.state)
            .writing
            .iter()
            .map(|(message, writing)| Delta {
                message: *message,
                attempt: writing.attempt,
                offset: 0,
                text: if self.redactor.is_empty() { writing.text.clone() } else { writing.shown.text().to_owned() },
                sender: Some(writing.sender.clone()),
                recipient: Some(writing.recipient.clone()),
                within: writing.within.clone(),
            })
            .collect();
        for delta in so_far {
            self.whisper(&delta).await;
        }
    }

    /// Tells followers a piece of text, if the run is certainly this worker's. One that is lost is made good by the message
    /// itself.
    pub(in crate::engine) async fn whisper(&self, delta: &Delta) {
        if !self.is_certain() {
            return;
        }
        let payload = serde_json::to_vec(delta).expect("a delta is JSON");
        let _ = self.broker.log.whisper(self.run, payload.into()).await;
    }

    /// Notes that a text is no longer being written.
    pub(in crate::engine) fn finish_writing(&self, message: MessageId) {
        lock(&self.state).writing.remove(&message);
    }

    /// The texts that were being written when the run was stopped.
    pub(in crate::engine) fn take_writing(&self) -> Vec<(MessageId, Writing)> {
        lock(&self.state).writing.drain().collect()
    }
}
