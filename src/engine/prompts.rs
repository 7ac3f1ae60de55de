//! What models were asked, for whoever must account for it: put into the record of the reply, so that it costs no append. A
//! conversation grows by a few messages with each request; only these are stored, with the name of the effect whose request
//! begins as this one does. To store each request whole would take the square of it.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::protocol::dialogue::{ChatMessage, ModelRequest};
use crate::protocol::effect_key::EffectKey;
use crate::protocol::log::LoggedRequest;
use crate::workflow::ModelUse;

/// How many requests are remembered that a later one may begin as: about one for each agent that takes turns.
const MOST_REMEMBERED_PROMPTS: usize = 8;

/// The last requests of a run in memory. After a resume it begins anew: the next request is stored whole.
#[derive(Default)]
pub(super) struct RecentPrompts(VecDeque<RecentPrompt>);

pub(super) struct RecentPrompt {
    key: EffectKey,
    messages: Vec<Arc<ChatMessage>>,
    tools: u64,
}

/// A request that is to be noted when its reply is stored.
pub(super) struct PendingPrompt {
    asked: LoggedRequest,
    known: RecentPrompt,
}

impl RecentPrompts {
    /// Notes a request.
    pub(super) fn note(&self, key: &EffectKey, llm: &ModelUse, request: &ModelRequest) -> PendingPrompt {
        let tools = digest(&request.tools);
        // A conversation's requests share their messages, most often: a long one is not read before each of its turns.
        let same = |(a, b): &(&Arc<ChatMessage>, &Arc<ChatMessage>)| Arc::ptr_eq(a, b) || a == b;
        let in_common = |known: &RecentPrompt| known.messages.iter().zip(&request.messages).take_while(same).count();
        let (mut common, mut nearest) = (0, None);
        // The newest first: mostly one of them is all there, and those before it are shorter.
        for known in self.0.iter().rev().filter(|known| !known.messages.is_empty()) {
            if known.messages.len() <= common {
                continue;
            }
            let more = in_common(known);
            if more > common {
                (common, nearest) = (more, Some(known));
            }
        }
        let same_tools = nearest.is_some_and(|known| known.tools == tools);
        let asked = LoggedRequest {
            llm: llm.name.to_string(),
            took_ms: 0,
            after: nearest.map(|known| known.key.clone()),
            common,
            messages: request.messages[common..].to_vec(),
            tools: (!(same_tools || nearest.is_none() && request.tools.is_empty())).then(|| request.tools.clone()),
            response_format: request.response_format.clone(),
            parameters: request.parameters.clone(),
        };
        PendingPrompt { asked, known: RecentPrompt { key: key.clone(), messages: request.messages.clone(), tools } }
    }

    /// Remembers a request that is stored now.
    pub(super) fn remember(&mut self, known: RecentPrompt) {
        if self.0.len() >= MOST_REMEMBERED_PROMPTS {
            self.0.pop_front();
        }
        self.0.push_back(known);
    }
}

impl PendingPrompt {
    /// What is stored, and what is remembered once it is.
    pub(super) fn took(self, took: Duration) -> (Box<LoggedRequest>, RecentPrompt) {
        let took_ms = took.as_millis() as u64;
        (Box::new(LoggedRequest { took_ms, ..self.asked }), self.known)
    }
}

fn digest(tools: &[Value]) -> u64 {
    let mut hasher = DefaultHasher::new();
    if !tools.is_empty() {
        serde_json::to_vec(tools).expect("it is JSON").hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::Timestamp;
    use crate::ids::Name;
    use crate::protocol::dialogue::ChatRole;
    use crate::protocol::log::{EffectOutcome, LogEntry, Record, RecordBody};

    fn said(role: ChatRole, text: &str) -> ChatMessage {
        ChatMessage::new(role, text)
    }

    #[test]
    fn a_request_is_put_together_again_from_what_each_adds() {
        let llm = ModelUse { name: Name::parse("default").unwrap(), parameters: Default::default() };
        let tools = vec![json!({"type": "function"})];
        let teacher = [said(ChatRole::System, "You teach."), said(ChatRole::User, "What is a triangle?")];
        let longer =
            [&teacher[..], &[said(ChatRole::Assistant, "Three lines."), said(ChatRole::User, "And a square?")]]
                .concat();
        let other = vec![said(ChatRole::System, "You learn."), said(ChatRole::User, "Three lines.")];
        let request = |messages: &[ChatMessage], tools: &[Value]| ModelRequest {
            messages: messages.iter().cloned().map(Arc::new).collect(),
            tools: tools.to_vec(),
            ..ModelRequest::default()
        };
        let requests =
            [request(&teacher, &tools), request(&other, &[]), request(&longer, &tools), request(&longer, &[])];
        let (mut prompts, mut whole) = (RecentPrompts::default(), crate::audit::PromptHistory::default());
        let mut stored = Vec::new();
        for (number, request) in requests.iter().enumerate() {
            let key = EffectKey::from(format!("talk#{number}").as_str());
            let (asked, known) = prompts.note(&key, &llm, request).took(Duration::from_millis(7));
            prompts.remember(known);
            stored.push(asked.messages.len());
            let body = RecordBody::Did { key, outcome: EffectOutcome::Value(Value::Null) };
            let record = Record { asked: Some(asked), ..Record::new(body) };
            // As it comes back from the log.
            let record: Record = serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap();
            let placed = LogEntry { seq: number as u64, at: Timestamp::UNIX_EPOCH, record };
            let prompt = whole.of(&placed).expect("it can be put together");
            assert_eq!(prompt.messages, request.messages, "request {number}");
            assert_eq!(prompt.tools, request.tools, "request {number}");
        }
        assert_eq!(stored, [2, 2, 2, 0], "only what is new is stored");
    }
}
