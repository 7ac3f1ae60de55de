//! The whole requests to models, from what the records say of them: each names an earlier one that it begins as, and adds the
//! rest.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use crate::protocol::api::PromptView;
use crate::protocol::dialogue::ChatMessage;
use crate::protocol::effect_key::EffectKey;
use crate::protocol::log::{LogEntry, RecordBody};

/// The requests of one run, as its records are read in order.
#[derive(Default)]
pub struct PromptHistory {
    known: HashMap<EffectKey, (Vec<Arc<ChatMessage>>, Vec<Value>)>,
}

impl PromptHistory {
    /// The request whose reply or failure a record holds, whole: `messages`, `tools`, `response_format`, `parameters`. None: it
    /// holds none, or was stored by an earlier version of this program.
    pub fn of(&mut self, placed: &LogEntry) -> Option<PromptView> {
        let (RecordBody::Did { key, .. }, Some(asked)) = (&placed.record.body, &placed.record.asked) else {
            return None;
        };
        let before = asked.after.as_ref().and_then(|after| self.known.get(after));
        let (mut messages, earlier) = match before {
            Some((messages, tools)) => (messages.get(..asked.common)?.to_vec(), tools.clone()),
            None if asked.common == 0 => (Vec::new(), Vec::new()),
            None => return None,
        };
        messages.extend(asked.messages.iter().cloned());
        let tools = asked.tools.clone().unwrap_or(earlier);
        let whole = PromptView {
            messages: messages.clone(),
            tools: tools.clone(),
            response_format: asked.response_format.clone(),
            parameters: asked.parameters.clone(),
        };
        self.known.insert(key.clone(), (messages, tools));
        Some(whole)
    }
}
