//! Ids of calls as a provider takes them. Ids come from strangers: they may be of any letters and any length, and two calls may
//! have the same, within a reply or in two. Where they must be others, no two calls of a request have one id, and each result has
//! that of its own call.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::config::CallIdForm;
use crate::protocol::dialogue::{ChatMessage, ChatRole, ToolCall};

/// The longest id of [`CallIdForm::Plain`].
const LONGEST_PLAIN: usize = 40;
/// The length of an id of [`CallIdForm::Nine`].
const NINE: usize = 9;
/// How much of a plain id that had to change is of the id that it was.
const KEPT_OF_PLAIN: usize = 27;
/// What ids are made of that are made here.
const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The messages with ids of that form. The same conversation always gets the same ids, so that what a provider has cached of it
/// stays good. Messages whose ids are right are shared with the original.
pub(super) fn with_fitting_ids(messages: &[Arc<ChatMessage>], form: CallIdForm) -> Cow<'_, [Arc<ChatMessage>]> {
    if form == CallIdForm::Any
        || messages.iter().all(|message| message.tool_calls.is_empty() && message.tool_call_id.is_none())
    {
        return Cow::Borrowed(messages);
    }
    let mut ids = CallIds { form, given: HashSet::new(), open: HashMap::new() };
    let mut changed = None;
    for (index, message) in messages.iter().enumerate() {
        if let Some(message) = ids.fitting(message) {
            changed.get_or_insert_with(|| messages.to_vec())[index] = Arc::new(message);
        }
    }
    changed.map_or(Cow::Borrowed(messages), Cow::Owned)
}

struct CallIds {
    form: CallIdForm,
    /// The ids that calls have by now.
    given: HashSet<String>,
    /// By the id as it came: the ids of those calls of the last message with this id that have no result, in order.
    open: HashMap<String, VecDeque<String>>,
}

impl CallIds {
    /// The message with other ids; none: its ids are right.
    fn fitting(&mut self, message: &ChatMessage) -> Option<ChatMessage> {
        let calls = self.calls(&message.tool_calls);
        let result = match &message.tool_call_id {
            Some(id) if message.role == ChatRole::Tool => Some(self.result(id)).filter(|fitting| fitting != id),
            _ => None,
        };
        if calls.is_none() && result.is_none() {
            return None;
        }
        let mut message = message.clone();
        message.tool_calls = calls.unwrap_or(message.tool_calls);
        message.tool_call_id = result.or(message.tool_call_id);
        Some(message)
    }

    fn calls(&mut self, calls: &[ToolCall]) -> Option<Vec<ToolCall>> {
        // What is called anew answers no call of before.
        calls.iter().for_each(|call| drop(self.open.remove(&call.id)));
        let mut changed = None;
        for (index, call) in calls.iter().enumerate() {
            let fitting = self.free(&call.id);
            if fitting != call.id {
                changed.get_or_insert_with(|| calls.to_vec())[index].id.clone_from(&fitting);
            }
            self.open.entry(call.id.clone()).or_default().push_back(fitting);
        }
        changed
    }

    /// The id of a result: the first call of that id which has none. One that answers no call keeps an id of its own.
    fn result(&mut self, id: &str) -> String {
        match self.open.get_mut(id) {
            // The last one may be answered again.
            Some(open) if open.len() == 1 => open[0].clone(),
            Some(open) => open.pop_front().unwrap_or_else(|| fitted(id, self.form, 0)),
            None => fitted(id, self.form, 0),
        }
    }

    fn free(&mut self, id: &str) -> String {
        let mut tried = 0;
        loop {
            let fitting = fitted(id, self.form, tried);
            if self.given.insert(fitting.clone()) {
                return fitting;
            }
            tried += 1;
        }
    }
}

/// The id in that form. With another number it is another id.
fn fitted(id: &str, form: CallIdForm, number: u32) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let fits = match form {
        CallIdForm::Any => true,
        CallIdForm::Distinct => !id.is_empty(),
        CallIdForm::Plain => !id.is_empty() && id.len() <= LONGEST_PLAIN && id.bytes().all(is_plain),
        CallIdForm::Nine => id.len() == NINE && id.bytes().all(|byte| byte.is_ascii_alphanumeric()),
    };
    if fits && number == 0 {
        return id.to_owned();
    }
    match form {
        CallIdForm::Nine => letters(id, number, NINE),
        CallIdForm::Distinct if number > 0 && !id.is_empty() => format!("{id}_{}", number + 1),
        CallIdForm::Any | CallIdForm::Distinct | CallIdForm::Plain => {
            let kept: String = id
                .chars()
                .map(|letter| if u8::try_from(letter).is_ok_and(is_plain) { letter } else { '_' })
                .take(KEPT_OF_PLAIN)
                .collect();
            format!("{kept}_{}", letters(id, number, LONGEST_PLAIN - KEPT_OF_PLAIN - 1))
        }
    }
}

/// So many letters that follow from the id and the number.
fn letters(id: &str, number: u32, count: usize) -> String {
    let digest = Sha256::new().chain_update(number.to_le_bytes()).chain_update(id).finalize();
    digest.iter().take(count).map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn calls(ids: &[&str]) -> Value {
        let call = |id: &&str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
        json!({"role": "assistant", "content": null, "tool_calls": ids.iter().map(call).collect::<Vec<_>>()})
    }

    fn result(id: &str) -> Value {
        json!({"role": "tool", "content": "x", "tool_call_id": id})
    }

    /// The ids of the messages: of calls in brackets, of results bare.
    fn ids(messages: Value, form: CallIdForm) -> Vec<String> {
        let messages: Vec<Arc<ChatMessage>> = crate::bounds::from_value(messages).unwrap();
        let fitting = with_fitting_ids(&messages, form);
        let shown = |message: &Arc<ChatMessage>| match &message.tool_call_id {
            Some(id) => id.clone(),
            None => format!("{:?}", message.tool_calls.iter().map(|call| &call.id).collect::<Vec<_>>()),
        };
        assert_eq!(with_fitting_ids(&fitting, form), fitting, "what fits stays");
        fitting.iter().map(shown).collect()
    }

    #[test]
    fn calls_of_one_id_are_told_apart_and_each_result_follows_its_own() {
        let conversation = json!([
            calls(&["w", "w", "v"]),
            result("w"),
            result("w"),
            result("v"),
            calls(&["w"]),
            result("w"),
            calls(&["", ""]),
            result(""),
            result(""),
        ]);
        let found = ids(conversation.clone(), CallIdForm::Distinct);
        assert_eq!(found[..6], [r#"["w", "w_2", "v"]"#, "w", "w_2", "v", r#"["w_3"]"#, "w_3"]);
        assert_eq!(found[6], format!("[{:?}, {:?}]", found[7], found[8]));
        assert_ne!(found[7], found[8]);
        let messages: Vec<Arc<ChatMessage>> = crate::bounds::from_value(conversation).unwrap();
        assert!(matches!(with_fitting_ids(&messages, CallIdForm::Any), Cow::Borrowed(_)), "as AG2 sends them");
    }

    #[test]
    fn an_id_gets_the_form_that_a_provider_takes_and_its_result_the_same() {
        let long = "chatcmpl-tool-".to_owned() + &"0123456789abcdef".repeat(2);
        for form in [CallIdForm::Plain, CallIdForm::Nine] {
            for id in ["functions.weather:0", "weather", "ä|b", &long] {
                let found = ids(json!([calls(&[id, "call_1"]), result("call_1"), result(id)]), form);
                let (own, other) = (&found[2], &found[1]);
                assert_eq!(found[0], format!("[{own:?}, {other:?}]"), "{id}");
                let fits = |id: &str| match form {
                    CallIdForm::Nine => id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()),
                    _ => id.len() <= 40 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)),
                };
                assert!(fits(own) && fits(other), "{found:?}");
            }
        }
        assert!(ids(json!([calls(&["a.b", "a:b"])]), CallIdForm::Plain)[0].matches("a_b_").count() == 2);
    }

    #[test]
    fn nothing_is_copied_where_all_fits() {
        let messages: Vec<Arc<ChatMessage>> =
            crate::bounds::from_value(json!([calls(&["toolu_1"]), result("toolu_1"), result("of nobody")])).unwrap();
        assert!(matches!(with_fitting_ids(&messages[..2], CallIdForm::Plain), Cow::Borrowed(_)));
        let changed = with_fitting_ids(&messages, CallIdForm::Plain);
        assert!(Arc::ptr_eq(&changed[0], &messages[0]) && Arc::ptr_eq(&changed[1], &messages[1]));
        assert_ne!(changed[2].tool_call_id, messages[2].tool_call_id);
    }
}
