//! Redaction: what is not to be seen in the audit, in exports, in logs and on pages, by the name of a field or by a pattern.
//! What it is applied to is decided by whoever shows or stores; here is only how.

use std::borrow::Cow;
use std::sync::Arc;

use regex::Regex;
use serde_json::{Map, Value};

use json::{JsonText, may_be_json};

mod decoded;
mod json;
mod writing;

pub use writing::ShownText;

/// What stands in the place of what was there.
pub const REDACTED: &str = "[redacted]";

/// What is to be redacted.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    /// Names of fields, in small letters.
    fields: Vec<String>,
    patterns: Vec<Regex>,
    /// For texts that are not whole yet; none: no patterns, or too many.
    lookout: Option<Arc<writing::UnfinishedFinds>>,
}

impl Redactor {
    /// One for fields of these names (small and capital letters are the same) and texts of these patterns.
    pub fn new(fields: &[String], patterns: Vec<Regex>) -> Self {
        let lookout = if patterns.is_empty() { None } else { writing::UnfinishedFinds::new(&patterns) };
        Self { fields: fields.iter().map(|name| name.to_lowercase()).collect(), patterns, lookout }
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.patterns.is_empty()
    }

    /// A text without what the patterns find, in it or in what it reads when its escapes are undone. A text that is JSON (the
    /// arguments of a tool, for instance) is redacted as that, too.
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.text_within(text, 0)
    }

    /// The same for a text in so many others that are JSON.
    fn text_within<'t>(&self, text: &'t str, others: usize) -> Cow<'t, str> {
        if self.is_empty() {
            return Cow::Borrowed(text);
        }
        if others > MOST_OTHERS && may_be_json(text) {
            return Cow::Owned(REDACTED.to_owned());
        }
        if may_be_json(text)
            && let Some((mut json, cut)) = JsonText::read(text)
            && (self.json(&mut json, others) || cut)
        {
            // A line of the log stays one.
            let end = &text[text.trim_end().len()..];
            let written = format!("{json}{end}");
            return Cow::Owned(self.plain(&written).into_owned());
        }
        self.plain(text)
    }

    /// A text without what the patterns find, whatever it is.
    fn plain<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let finds = self.finds(text, 0);
        if finds.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(without(text, 0, text.len(), &finds)) }
    }

    /// Where something is to be taken out of a text from a place on, in order.
    fn finds(&self, text: &str, from: usize) -> Vec<(usize, usize)> {
        if self.patterns.is_empty() {
            return Vec::new();
        }
        let mut found: Vec<(usize, usize)> =
            self.patterns.iter().flat_map(|pattern| finds(pattern, text, from)).collect();
        // A pattern may look at what is before it.
        let before = text.floor_char_boundary(from.saturating_sub(BEFORE));
        for decoded in decoded::rounds(text, before) {
            let at = decoded.first_from(from);
            let places = |(start, end): (usize, usize)| (decoded.place(start), decoded.place(end));
            found.extend(self.patterns.iter().flat_map(|pattern| finds(pattern, &decoded.text, at)).map(places));
        }
        found.sort_unstable();
        found
    }

    /// Redacts JSON as it is written, in a text in so many others; whether that changed anything.
    fn json(&self, json: &mut JsonText, others: usize) -> bool {
        match json {
            JsonText::Text(text) => match self.text_within(text, others + 1) {
                Cow::Borrowed(_) => false,
                Cow::Owned(changed) => {
                    *text = changed;
                    true
                }
            },
            JsonText::List(items) => items.iter_mut().fold(false, |changed, item| self.json(item, others) | changed),
            JsonText::Object(pairs) => pairs.iter_mut().fold(false, |changed, (name, value)| {
                let says_something = !matches!(value, JsonText::Word(word) if !is_number(word));
                let whole = says_something && self.is_named(name);
                let inside = if whole {
                    *value = JsonText::Text(REDACTED.to_owned());
                    true
                } else {
                    self.json(value, others)
                };
                let key = match self.plain(name) {
                    Cow::Borrowed(_) => None,
                    Cow::Owned(redacted) => Some(redacted),
                };
                let renamed = key.is_some();
                *name = key.unwrap_or_else(|| std::mem::take(name));
                changed | inside | renamed
            }),
            JsonText::Word(word) if is_number(word) => match self.number(word) {
                Some(redacted) => {
                    *json = JsonText::Text(redacted);
                    true
                }
                None => false,
            },
            JsonText::Word(_) => false,
        }
    }

    /// What is shown of a number, if a pattern finds something in it: it may be a card, a telephone. It is looked at as it is
    /// written, and without an exponent.
    fn number(&self, written: &str) -> Option<String> {
        if let Cow::Owned(changed) = self.plain(written) {
            return Some(changed);
        }
        let number: f64 = written.parse().ok().filter(|_| written.contains(['.', 'e', 'E']))?;
        match self.plain(&format!("{number}")) {
            Cow::Owned(changed) => Some(changed),
            Cow::Borrowed(_) => None,
        }
    }

    /// Whether all of a field with this name is to go.
    fn is_named(&self, name: &str) -> bool {
        !self.fields.is_empty() && self.fields.contains(&name.to_lowercase())
    }

    /// Redacts a text where it stands.
    pub fn in_place(&self, text: &mut String) {
        if let Cow::Owned(changed) = self.text(text) {
            *text = changed;
        }
    }

    /// Redacts a value, whatever is inside of it. True and false stay: they say little, and much hangs on them.
    pub fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => self.in_place(text),
            Value::Array(items) => {
                self.across(items);
                items.iter_mut().for_each(|item| self.value(item));
            }
            Value::Object(fields) => self.fields(fields),
            Value::Number(number) => {
                if let Some(changed) = self.number(&number.to_string()) {
                    *value = Value::String(changed);
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// Redacts the fields of an object, and their names.
    pub fn fields(&self, fields: &mut Map<String, Value>) {
        fields.iter_mut().for_each(|(name, value)| self.field(name, value));
        if !fields.keys().any(|name| matches!(self.plain(name), Cow::Owned(_))) {
            return;
        }
        for (name, value) in std::mem::take(fields) {
            let redacted = self.plain(&name).into_owned();
            // Two that were told apart by what is gone stay two.
            let mut key = redacted.clone();
            for number in 2.. {
                if !fields.contains_key(&key) {
                    break;
                }
                key = format!("{redacted} {number}");
            }
            fields.insert(key, value);
        }
    }

    /// Redacts the value of a field: all of it, if the field is one of those that are named.
    pub fn field(&self, name: &str, value: &mut Value) {
        if !value.is_boolean() && !value.is_null() && self.is_named(name) {
            *value = Value::String(REDACTED.to_owned());
        } else {
            self.value(value);
        }
    }

    /// Redacts what the texts of neighbouring parts say together: a model reads the parts of a message as one.
    fn across(&self, parts: &mut [Value]) {
        if self.patterns.is_empty() {
            return;
        }
        for run in parts.chunk_by_mut(|one, next| part(one).is_some() && part(next).is_some()) {
            if run.len() < 2 {
                continue;
            }
            let mut ends = Vec::with_capacity(run.len());
            let mut whole = String::new();
            for text in run.iter().filter_map(part) {
                whole.push_str(text);
                ends.push(whole.len());
            }
            let finds = self.finds(&whole, 0);
            let is_cut = |find: &(usize, usize)| ends.iter().any(|end| find.0 < *end && *end < find.1);
            if !finds.iter().any(is_cut) {
                continue;
            }
            let mut from = 0;
            for (value, end) in run.iter_mut().zip(ends) {
                value["text"] = Value::String(without(&whole, from, end, &finds));
                from = end;
            }
        }
    }
}

/// How many texts that are JSON may be in each other: each has more and more escapes.
const MOST_OTHERS: usize = 4;

/// How far before a place a pattern may look.
const BEFORE: usize = 32;

/// The text of a part of a message, if it is one.
fn part(value: &Value) -> Option<&str> {
    value.as_object()?.get("text")?.as_str()
}

fn is_number(word: &str) -> bool {
    word.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

/// A part of a text without what was found in all of it. What was found is shown where it begins.
fn without(text: &str, from: usize, upto: usize, finds: &[(usize, usize)]) -> String {
    let (mut shown, mut at) = (String::new(), from);
    for (start, end) in finds.iter().copied().filter(|find| find.1 > from && find.0 < upto) {
        if start >= at {
            shown.push_str(&text[at..start]);
            shown.push_str(REDACTED);
        }
        at = at.max(end.min(upto));
    }
    shown.push_str(&text[at..upto]);
    shown
}

/// What a pattern finds in a text from a place on, but for nothings.
fn finds<'t>(pattern: &'t Regex, text: &'t str, from: usize) -> impl Iterator<Item = (usize, usize)> + 't {
    let mut at = from;
    std::iter::from_fn(move || {
        loop {
            let find = pattern.find_at(text, at)?;
            if !find.is_empty() {
                at = find.end();
                return Some((find.start(), find.end()));
            }
            at = find.end() + text[find.end()..].chars().next()?.len_utf8();
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_go_whole_and_patterns_wherever_they_are_found() {
        let card = Regex::new(r"\b\d{4}-\d{4}\b").unwrap();
        let redactor = Redactor::new(&["SSN".to_owned(), "address".to_owned()], vec![card]);
        let mut value = json!({
            "ssn": 12, "Address": {"street": "x"}, "agree": true, "note": "card 1234-5678 here",
            "deep": [{"ssn": null, "arguments": "{\"ssn\":\"1\",\"n\":2}"}], "n": 7,
        });
        redactor.value(&mut value);
        assert_eq!(
            value,
            json!({
                "ssn": REDACTED, "Address": REDACTED, "agree": true, "note": "card [redacted] here",
                "deep": [{"ssn": null, "arguments": "{\"ssn\":\"[redacted]\",\"n\":2}"}], "n": 7,
            })
        );
        assert!(matches!(redactor.text("{not json 1234-567"), Cow::Borrowed(_)));
        assert_eq!(redactor.text("{\"a\": \"1234-5678\"}"), "{\"a\":\"[redacted]\"}");
    }

    fn cards() -> Redactor {
        Redactor::new(
            &["ssn".to_owned()],
            vec![Regex::new(r"\b\d{4}-\d{4}\b").unwrap(), Regex::new(r"\b\d{9}\b").unwrap()],
        )
    }

    #[test]
    fn names_of_fields_are_looked_at_and_two_stay_two() {
        let mut value = json!({"1234-5678": 1, "1234-9999": {"123456789": [2]}, "plain": 3});
        cards().value(&mut value);
        let inner = json!({"[redacted]": [2]});
        assert_eq!(value, json!({"[redacted]": 1, "[redacted] 2": inner, "plain": 3}));
        let mut params = json!({"1234-5678": 1}).as_object().unwrap().clone();
        cards().fields(&mut params);
        assert_eq!(Value::Object(params), json!({"[redacted]": 1}));
    }

    #[test]
    fn json_in_a_text_is_redacted_as_it_is_written() {
        for (text, shown) in [
            (r#"{"ssn":"078-05-1120","ssn":null}"#, r#"{"ssn":"[redacted]","ssn":null}"#),
            (r#"{"a":"1234-5678","a":1}"#, r#"{"a":"[redacted]","a":1}"#),
            (r#"{"s\u0073n":"x","n":9007199254740993}"#, r#"{"ssn":"[redacted]","n":9007199254740993}"#),
            (r#"{"a":"\u0031234-5678"}"#, r#"{"a":"[redacted]"}"#),
            (r#"{"1234-5678":{"b":[123456789, true]}}"#, r#"{"[redacted]":{"b":["[redacted]",true]}}"#),
            (r#"[1.23456789e8, 0.5]"#, r#"["[redacted]",0.5]"#),
            (r#"{"inner":"{\"ssn\":\"1\"}"}"#, r#"{"inner":"{\"ssn\":\"[redacted]\"}"}"#),
            (r#"{"a": 1}"#, r#"{"a": 1}"#),
            (r#"{"ssn":"1","a":"\ud83d"}"#, "{\"ssn\":\"[redacted]\",\"a\":\"\u{fffd}\"}"),
        ] {
            assert_eq!(cards().text(text), shown, "{text}");
        }
        assert_eq!(cards().text("{\"ssn\":1}\n"), "{\"ssn\":\"[redacted]\"}\n", "a line stays one");
    }

    #[test]
    fn json_in_a_text_is_redacted_however_deep_it_is() {
        let nested = |depth: usize, inner: &str| format!("{}{inner}{}", "[".repeat(depth), "]".repeat(depth));
        let shown = nested(64, "\"(nested deeper than 64 levels)\"");
        assert_eq!(cards().text(&nested(100_000, "1")), shown);
        assert_eq!(cards().text(&nested(63, r#"{"ssn":"1"}"#)), nested(63, r#"{"ssn":"[redacted]"}"#));
        assert!(!cards().text(&nested(64, r#"{"ssn":"4711"}"#)).contains("4711"));
        let within =
            |count: usize| (0..count).fold(r#"{"ssn":"4711"}"#.to_owned(), |text, _| json!([text]).to_string());
        for count in [1, 4, 5, 6, 9] {
            let shown = cards().text(&within(count)).into_owned();
            assert!(shown.contains(REDACTED) && !shown.contains("4711"), "{count}: {shown}");
        }
    }

    #[test]
    fn what_reads_as_a_find_is_one() {
        for text in [
            r"\u00312\x334-5678",
            "%31234-5678",
            "1234%2D5678",
            "%2531234-5678",
            "&#49;234&hyphen;5678",
            "1234\u{200B}-56\u{AD}78",
            "1234\u{2011}5678",
            "１２３４-5678",
            r"1234\-5678",
        ] {
            assert_eq!(cards().text(&format!("It is {text}, yes")), "It is [redacted], yes", "{text}");
            let mut value = json!({ "note": text });
            cards().value(&mut value);
            assert_eq!(value, json!({"note": REDACTED}), "{text}");
        }
        for text in ["50% of 1234", r"C:\u and \x", "R&D 1234", "ä 1234-567"] {
            assert!(matches!(cards().text(text), Cow::Borrowed(_)), "{text}");
        }
    }

    #[test]
    fn a_value_that_is_split_over_the_parts_of_a_message_goes_from_all_of_them() {
        let mut content = json!([
            {"type": "text", "text": "It is 12"}, {"type": "text", "text": "34-"}, {"type": "text", "text": "5678, and"},
            {"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": " 1234-5678"},
        ]);
        cards().value(&mut content);
        let texts: Vec<_> = content.as_array().unwrap().iter().map(|part| part["text"].clone()).collect();
        assert_eq!(texts, [json!("It is [redacted]"), json!(""), json!(", and"), Value::Null, json!(" [redacted]")]);
    }
}
