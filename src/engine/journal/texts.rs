//! What models are writing now, as followers see it before it is said.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::lock;
use crate::engine::context::EngineContext;
use crate::ids::MessageId;
use crate::message::InnerConversation;
use crate::redact::ShownText;
use crate::run::attach::TextDelta;

/// The texts that models are writing now.
pub(in crate::engine) struct StreamingTexts {
    context: Arc<EngineContext>,
    texts: Mutex<HashMap<MessageId, TextInProgress>>,
}

/// A text that a model is writing now.
#[derive(Debug, Clone)]
pub(in crate::engine) struct TextInProgress {
    pub attempt: u32,
    pub sender: String,
    pub recipient: String,
    pub within: Vec<InnerConversation>,
    pub text: String,
    /// What followers are told of it, where something is redacted.
    shown: ShownText,
}

impl StreamingTexts {
    /// None yet.
    pub(super) fn new(context: Arc<EngineContext>) -> Self {
        Self { context, texts: Mutex::default() }
    }

    /// Notes another piece of a text, and returns what followers are to be told of it now, if anything.
    pub(in crate::engine) fn extend(&self, delta: TextDelta) -> Option<TextDelta> {
        let mut texts = lock(&self.texts);
        let writing = texts.entry(delta.message).or_insert_with(|| TextInProgress {
            attempt: delta.attempt,
            sender: delta.sender.clone().unwrap_or_default(),
            recipient: delta.recipient.clone().unwrap_or_default(),
            within: delta.within.clone(),
            text: String::new(),
            shown: ShownText::default(),
        });
        if delta.offset == 0 {
            writing.attempt = delta.attempt;
            writing.text.clear();
            writing.shown = ShownText::default();
        }
        writing.text.push_str(&delta.text);
        let redactor = self.context.redactor();
        if redactor.is_empty() {
            return Some(delta);
        }
        let (offset, text) = writing.shown.go_on(redactor, &writing.text);
        (!text.is_empty()).then_some(TextDelta { offset, text, ..delta })
    }

    /// What is being written, each text from its beginning.
    pub(super) fn so_far(&self) -> Vec<TextDelta> {
        let is_plain = self.context.redactor().is_empty();
        let delta = |(message, writing): (&MessageId, &TextInProgress)| TextDelta {
            message: *message,
            attempt: writing.attempt,
            offset: 0,
            text: if is_plain { writing.text.clone() } else { writing.shown.text().to_owned() },
            sender: Some(writing.sender.clone()),
            recipient: Some(writing.recipient.clone()),
            within: writing.within.clone(),
        };
        lock(&self.texts).iter().map(delta).collect()
    }

    /// Notes that a text is no longer being written.
    pub(in crate::engine) fn finish(&self, message: MessageId) {
        lock(&self.texts).remove(&message);
    }

    /// The texts that were being written when the run was stopped.
    pub(in crate::engine) fn take(&self) -> Vec<(MessageId, TextInProgress)> {
        lock(&self.texts).drain().collect()
    }
}
