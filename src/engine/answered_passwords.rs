//! Passwords that people answered, in the arguments of a call: who is asked to allow it sees what they are called, and the tool
//! gets what they are.

use serde_json::{Map, Value};

use crate::message::PASSWORD;

/// The shortest password that is looked for inside of a text; a shorter one must be all of it, or it would be found anywhere.
const SHORTEST_PART: usize = 6;
/// The shortest password that is looked for as a number.
const SHORTEST_NUMBER: usize = 4;
/// The longest name that is shown whole.
const LONGEST_NAME: usize = 40;

/// The passwords that were answered in a run.
#[derive(Debug, Clone, Default)]
pub(super) struct AnsweredPasswords {
    /// What stands in its place, and the password: the longest first, so that one with another inside is found whole.
    known: Vec<(String, String)>,
}

impl AnsweredPasswords {
    /// Takes a password that answered a question.
    pub fn add(&mut self, prompt: &str, password: &str) {
        let line = prompt.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
        let name: String = line.chars().take(LONGEST_NAME).collect();
        let known = (format!("{PASSWORD}{name}]"), password.to_owned());
        if password.is_empty() || self.known.contains(&known) {
            return;
        }
        self.known.push(known);
        // By what they are: which branch was first must not count.
        self.known.sort_by(|(one, first), (other, second)| (second.len(), one).cmp(&(first.len(), other)));
    }

    /// The arguments with the names of passwords in their places.
    pub fn conceal(&self, arguments: &Map<String, Value>) -> Map<String, Value> {
        if self.known.is_empty() {
            return arguments.clone();
        }
        let mut concealed = Map::new();
        for (name, value) in arguments {
            let shown = self.text(name);
            let mut key = shown.clone();
            // Two that were told apart by what is gone stay two.
            for number in 2.. {
                if !concealed.contains_key(&key) {
                    break;
                }
                key = format!("{shown} {number}");
            }
            concealed.insert(key, self.value(value));
        }
        concealed
    }

    fn value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::Object(fields) => Value::Object(self.conceal(fields)),
            Value::Number(number) => {
                let number = number.to_string();
                let found = self.known.iter().find(|(_, password)| {
                    password.len() >= SHORTEST_NUMBER && password.trim_start_matches(['0', '+']) == number
                });
                found.map_or_else(|| value.clone(), |(mark, _)| Value::String(mark.clone()))
            }
            Value::Null | Value::Bool(_) => value.clone(),
        }
    }

    fn text(&self, text: &str) -> String {
        let mut shown = text.to_owned();
        for (mark, password) in &self.known {
            if shown == *password || shown.trim() == password.trim() {
                return mark.clone();
            }
            if password.len() >= SHORTEST_PART && shown.contains(password.as_str()) {
                shown = shown.replace(password.as_str(), mark);
            }
        }
        shown
    }
}

/// What is to be called when somebody has changed what was shown: what is as it was shown is what it stands for.
pub(super) fn revealed(
    given: &Map<String, Value>,
    shown: &Map<String, Value>,
    real: &Map<String, Value>,
) -> Map<String, Value> {
    let field = |(name, given): (&String, &Value)| {
        // Both have the same fields, in the same order.
        let known = shown.keys().position(|known| known == name).and_then(|at| Some((at, real.iter().nth(at)?)));
        match known {
            Some((at, (real_name, real))) => {
                (real_name.clone(), value(given, shown.values().nth(at).unwrap_or(given), real))
            }
            None => (name.clone(), given.clone()),
        }
    };
    given.iter().map(field).collect()
}

fn value(given: &Value, shown: &Value, real: &Value) -> Value {
    match (given, shown, real) {
        _ if given == shown => real.clone(),
        (Value::Object(given), Value::Object(shown), Value::Object(real)) => {
            Value::Object(revealed(given, shown, real))
        }
        (Value::Array(given), Value::Array(shown), Value::Array(real)) => {
            let item = |(at, item): (usize, &Value)| match (shown.get(at), real.get(at)) {
                (Some(shown), Some(real)) => value(item, shown, real),
                _ => item.clone(),
            };
            given.iter().enumerate().map(item).collect()
        }
        _ => given.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn passwords_are_shown_by_name_wherever_they_are_and_come_back_where_nothing_was_changed() {
        let mut passwords = AnsweredPasswords::default();
        passwords.add("Your key?\nIt is long.", "hunter2-hunter2");
        passwords.add("PIN?", "0471");
        passwords.add("Short?", "a");
        let real = object(json!({
            "key": "hunter2-hunter2", "header": "Bearer hunter2-hunter2!", "pin": "0471", "number": 471, "short": "a",
            "list": ["an apple", {"hunter2-hunter2": " 0471\n"}], "text": "at 0471", "n": 5,
        }));
        let shown = passwords.conceal(&real);
        let expected = json!({
            "key": "[password: Your key?]", "header": "Bearer [password: Your key?]!", "pin": "[password: PIN?]",
            "number": "[password: PIN?]", "short": "[password: Short?]",
            "list": ["an apple", {"[password: Your key?]": "[password: PIN?]"}], "text": "at 0471", "n": 5,
        });
        assert_eq!(Value::Object(shown.clone()), expected);
        assert_eq!(revealed(&shown, &shown, &real), real);
        let mut given = shown.clone();
        given["n"] = json!(6);
        given["list"][0] = json!("a pear");
        given.shift_remove("short");
        let mut wanted = real.clone();
        wanted["n"] = json!(6);
        wanted["list"][0] = json!("a pear");
        wanted.shift_remove("short");
        assert_eq!(revealed(&given, &shown, &real), wanted);
        // Nobody moves a password to another place.
        let moved = object(json!({"text": "[password: PIN?]", "n": 5}));
        assert_eq!(revealed(&moved, &shown, &real), moved);
    }
}
