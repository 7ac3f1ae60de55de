//! Whether a conversation goes in circles: the same call of a tool with the same outcome, or the same request to a model, again and
//! again, and nothing new in between. New is an outcome or a text that was not there before in this conversation, and whatever a
//! person says. So a tool that tells something else each time is no circle, nor is one that is asked again after somebody said
//! something else; two tools that are called in turn are one.
//!
//! It knows only what the conversation did, in order, so that a replay comes to the same count.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

use crate::ids::Name;
use crate::protocol::dialogue::{ChatMessage, ModelReply, ModelRequest, ToolCall};

/// How much of a call's arguments people are told.
const MOST_TOLD: usize = 120;

/// What one conversation did again.
#[derive(Default)]
pub(super) struct RepeatedCalls {
    /// Outcomes and texts that were there before.
    seen: HashSet<u64>,
    /// How often each call and each request was made since there was something new.
    counts: HashMap<u64, u64>,
    /// The calls that the model's last reply asked for: to ask for the same twice at once is no circle.
    at_once: HashSet<u64>,
    /// The call that was made most often.
    most: Option<(u64, String)>,
}

impl RepeatedCalls {
    /// Notes what came of a call.
    pub(super) fn called(&mut self, call: &ToolCall, arguments: &Value, outcome: &Value) {
        let mut hasher = DefaultHasher::new();
        ("call", &call.function.name).hash(&mut hasher);
        // What is no JSON is the same if it is written the same.
        if arguments.is_null() {
            call.function.arguments.hash(&mut hasher)
        } else {
            put(arguments, &mut hasher)
        }
        put(outcome, &mut hasher);
        let digest = hasher.finish();
        if self.seen.insert(digest) {
            self.something_new();
        }
        if self.at_once.insert(digest) {
            let count = self.counts.entry(digest).or_default();
            *count += 1;
            if self.most.as_ref().is_none_or(|(most, _)| most < count) {
                self.most = Some((*count, described(call, *count)));
            }
        }
    }

    /// Notes that a model is about to be asked; the reason if it must not be any more, as the same was done `limit` times.
    pub(super) fn asking(&mut self, llm: &Name, request: &ModelRequest, limit: u64) -> Option<String> {
        self.at_once.clear();
        let digest = digest_of(llm, request);
        let count = self.counts.entry(digest).or_default();
        let what = match &self.most {
            Some((times, call)) if *times >= limit => call.clone(),
            _ if *count >= limit => format!("the model {llm} was asked the same {count} times"),
            _ => {
                *count += 1;
                return None;
            }
        };
        Some(format!("the conversation goes in circles: {what}, and nothing new came of it (limits: repeated_calls)"))
    }

    /// Notes what a model replied. What it says beside calls is no news: who goes in circles says each time that it tries again.
    pub(super) fn replied(&mut self, reply: &ModelReply) {
        if !reply.tool_calls.is_empty() {
            return;
        }
        let mut hasher = DefaultHasher::new();
        ("text", &reply.content).hash(&mut hasher);
        if self.seen.insert(hasher.finish()) {
            self.something_new();
        }
    }

    /// Begins to count anew.
    pub(super) fn something_new(&mut self) {
        self.counts.clear();
        self.most = None;
    }
}

fn described(call: &ToolCall, times: u64) -> String {
    let arguments = call.function.arguments.trim();
    let told: String = arguments.chars().take(MOST_TOLD).collect();
    let more = if told.len() < arguments.len() { "…" } else { "" };
    format!(
        "the tool {} was called {times} times with {told}{more}, each time with the same result",
        call.function.name
    )
}

/// A request by how many messages it has, how long each is, and what the last one says: to look at every letter of a long
/// conversation before each turn would take as long as the turn.
fn digest_of(llm: &Name, request: &ModelRequest) -> u64 {
    let mut hasher = DefaultHasher::new();
    // Before each turn all messages are met: this is FNV's step, of a few cycles each.
    let lengths = request
        .messages
        .iter()
        .fold(0_u64, |lengths, message| (lengths ^ length(message) as u64).wrapping_mul(0x0100_0000_01b3));
    ("request", llm.as_str(), request.tools.len(), request.messages.len(), lengths).hash(&mut hasher);
    if let Some(last) = request.messages.last() {
        put(&last.content, &mut hasher);
    }
    hasher.finish()
}

fn length(message: &ChatMessage) -> usize {
    let calls = message.tool_calls.iter().map(|call| call.function.arguments.len() + call.id.len());
    let content = match &message.content {
        Value::String(text) => text.len(),
        Value::Null => 0,
        other => other.to_string().len(),
    };
    content + calls.sum::<usize>()
}

/// Puts a value into a digest, whatever the order of its keys.
fn put(value: &Value, hasher: &mut DefaultHasher) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| *key);
            fields.len().hash(hasher);
            for (key, value) in fields {
                key.hash(hasher);
                put(value, hasher);
            }
        }
        Value::Array(items) => {
            ("items", items.len()).hash(hasher);
            items.iter().for_each(|item| put(item, hasher));
        }
        Value::String(text) => ("text", text).hash(hasher),
        other => other.to_string().hash(hasher),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use std::sync::Arc;

    use super::*;
    use crate::protocol::dialogue::{ChatRole, ModelUsage};

    /// One conversation, of which the test tells what happens.
    #[derive(Default)]
    struct TestConversation {
        repeats: RepeatedCalls,
        messages: Vec<Arc<ChatMessage>>,
    }

    impl TestConversation {
        /// The model is asked, with one message more than before; the reason if it must not be.
        fn asks(&mut self) -> Option<String> {
            let content = format!("message {}", self.messages.len());
            self.messages.push(Arc::new(ChatMessage::new(ChatRole::User, content)));
            self.asks_again()
        }

        fn asks_again(&mut self) -> Option<String> {
            let request = ModelRequest { messages: self.messages.clone(), ..ModelRequest::default() };
            self.repeats.asking(&Name::parse("default").unwrap(), &request, 3)
        }

        fn calls(&mut self, tool: &str, arguments: &str, outcome: Value) {
            let function = json!({"name": tool, "arguments": arguments});
            let call = crate::bounds::from_value(json!({"id": "c", "type": "function", "function": function})).unwrap();
            let arguments = serde_json::from_str(arguments).unwrap_or_default();
            self.repeats.called(&call, &arguments, &outcome);
        }

        fn says(&mut self, text: &str) {
            let (content, usage) = (Some(text.to_owned()), ModelUsage::default());
            let model = "default".to_owned();
            let tool_calls = Vec::new();
            self.repeats.replied(&ModelReply { content, tool_calls, refusal: None, finish_reason: None, usage, model });
        }
    }

    #[test]
    fn the_same_call_with_the_same_result_is_a_circle() {
        let mut talk = TestConversation::default();
        for arguments in [
            "{\"a\": 1, \"b\": {\"c\": 2, \"d\": 3}}",
            "{\"b\":{\"d\":3,\"c\":2},\"a\":1}",
            "{ \"a\": 1, \"b\": {\"c\": 2, \"d\": 3} }",
        ] {
            assert_eq!(talk.asks(), None);
            talk.calls("look", arguments, json!("nothing there"));
        }
        let why = talk.asks().expect("it was called three times");
        assert_eq!(
            why,
            "the conversation goes in circles: the tool look was called 3 times with { \"a\": 1, \"b\": {\"c\": 2, \"d\": 3} }, \
             each time with the same result, and nothing new came of it (limits: repeated_calls)"
        );
    }

    #[test]
    fn two_tools_in_turn_are_a_circle_and_what_is_said_beside_calls_is_no_news() {
        let mut talk = TestConversation::default();
        for _ in 0..3 {
            assert_eq!(talk.asks(), None);
            talk.calls("look", "{}", json!("nothing"));
            assert_eq!(talk.asks(), None);
            talk.calls("listen", "not json", json!("Error: no JSON"));
        }
        assert!(talk.asks().is_some());
    }

    #[test]
    fn something_new_begins_the_count_anew() {
        let mut talk = TestConversation::default();
        for round in 0..20 {
            assert_eq!(talk.asks(), None, "round {round}");
            talk.calls("progress", "{}", json!(round));
            assert_eq!(talk.asks(), None, "round {round}");
            talk.calls("look", "{}", json!("nothing"));
        }
        for round in 0..20 {
            assert_eq!(talk.asks(), None, "round {round}");
            talk.calls("look", "{}", json!("nothing"));
            talk.says(&format!("Nothing, {round}."));
        }
        talk.repeats.something_new();
        for round in 0..3 {
            assert_eq!(talk.asks(), None, "round {round}");
            talk.calls("look", "{}", json!("nothing"));
            talk.says("Nothing, 3.");
        }
        assert!(talk.asks().is_some(), "it said so before");
    }

    #[test]
    fn the_same_twice_in_one_reply_counts_once() {
        let mut talk = TestConversation::default();
        for _ in 0..3 {
            assert_eq!(talk.asks(), None);
            for _ in 0..5 {
                talk.calls("look", "{}", json!("nothing"));
            }
        }
        assert!(talk.asks().is_some());
    }

    #[test]
    fn the_same_request_with_the_same_reply_is_a_circle() {
        let mut talk = TestConversation::default();
        assert_eq!(talk.asks(), None);
        talk.says("Yes.");
        for _ in 0..3 {
            assert_eq!(talk.asks_again(), None);
            talk.says("Yes.");
        }
        let why = talk.asks_again().expect("it was asked three times since it said so first");
        assert!(why.contains("the model default was asked the same 3 times, and nothing new"), "{why}");
        assert_eq!(talk.asks(), None, "another request");
    }
}
