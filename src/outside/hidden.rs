//! Texts that nobody sees: whatever comes from a server is searched for them, and a name stands in the place of each.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::RwLock;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::encoding::encoded_query;
use crate::config::SHORTEST_HIDDEN;

/// How many texts are known by one name, beside those of the configuration: a token is hidden a while after it was renewed.
const MOST_LEARNED: usize = 8;

/// The same of a secret that is another text for each person.
const MOST_LEARNED_OF_MANY: usize = 256;

/// The shortest line of a text of several that is hidden by itself, and the shortest word of a line of several.
const SHORTEST_HIDDEN_LINE: usize = 8;
const SHORTEST_HIDDEN_WORD: usize = 20;

/// The texts, in the forms in which a server sends them back.
#[derive(Debug, Default)]
pub struct HiddenTexts {
    forms: RwLock<Arc<HiddenForms>>,
    /// Others that are hidden with them.
    beside: Option<Arc<HiddenTexts>>,
}

#[derive(Debug, Default, Clone)]
struct HiddenForms {
    /// The longest first.
    forms: Vec<HiddenForm>,
    learned: u64,
}

#[derive(Debug, Clone)]
struct HiddenForm {
    text: SecretString,
    name: Arc<str>,
    /// When it was learned; none: it is of the configuration, and stays.
    learned: Option<u64>,
}

impl HiddenTexts {
    /// Hides others, too, with all that they learn.
    pub fn put_beside(&mut self, others: Arc<HiddenTexts>) {
        self.beside = Some(others);
    }

    /// Hides a text for ever.
    pub fn add(&self, name: &str, text: &str) {
        self.insert(name, text, None);
    }

    /// Hides a text until several others have come by the same name.
    pub fn learn(&self, name: &str, text: &str) {
        self.insert(name, text, Some(MOST_LEARNED));
    }

    /// Hides a text until many others have come by the same name, which stands for another text with each person.
    pub fn learn_of_many(&self, name: &str, text: &str) {
        self.insert(name, text, Some(MOST_LEARNED_OF_MANY));
    }

    /// `most`: how many are known by the name; none: this one stays.
    fn insert(&self, name: &str, text: &str, most: Option<usize>) {
        let is_learned = most.is_some();
        if text.len() < SHORTEST_HIDDEN {
            return;
        }
        match self.known(text) {
            Some(learned) if is_learned => return self.renew(learned),
            Some(None) => return,
            // What was learned is forgotten some day; this stays.
            Some(Some(_)) | None => {}
        }
        let mut guard = self.forms.write();
        let forms = Arc::make_mut(&mut guard);
        let name: Arc<str> = name.into();
        forms.learned += 1;
        let learned = is_learned.then_some(forms.learned);
        let each = written_forms(text).into_iter();
        forms.forms.extend(each.map(|text| HiddenForm { text: text.into(), name: name.clone(), learned }));
        if let Some(most) = most {
            forms.forget_old(&name, most);
        }
        forms.forms.sort_by_key(|form| std::cmp::Reverse(form.text.expose_secret().len()));
    }

    /// When a known text was learned.
    fn known(&self, text: &str) -> Option<Option<u64>> {
        self.forms.read().forms.iter().find(|form| form.text.expose_secret() == text).map(|form| form.learned)
    }

    /// A text that is used again counts as learned now.
    fn renew(&self, before: Option<u64>) {
        let mut guard = self.forms.write();
        if before.is_none_or(|before| before == guard.learned) {
            return;
        }
        let forms = Arc::make_mut(&mut guard);
        forms.learned += 1;
        let now = Some(forms.learned);
        forms.forms.iter_mut().filter(|form| form.learned == before).for_each(|form| form.learned = now);
    }

    /// The length of the longest, in any form.
    pub fn longest(&self) -> usize {
        let own = self.forms.read().forms.first().map_or(0, |form| form.text.expose_secret().len());
        own.max(self.beside.as_ref().map_or(0, |others| others.longest()))
    }

    fn is_empty(&self) -> bool {
        self.forms.read().forms.is_empty() && self.beside.as_ref().is_none_or(|others| others.is_empty())
    }

    /// A text in which the name of each stands in its place.
    pub fn hidden(&self, text: &str) -> String {
        let own = self.forms.read().clone();
        let others = self.beside.as_ref().map(|others| others.forms.read().clone());
        let mut forms: Vec<&HiddenForm> = own.forms.iter().collect();
        if let Some(others) = &others {
            forms.extend(&others.forms);
            forms.sort_by_key(|form| std::cmp::Reverse(form.text.expose_secret().len()));
        }
        forms.into_iter().fold(text.to_owned(), |text, form| match text.contains(form.text.expose_secret()) {
            true => text.replace(form.text.expose_secret(), &format!("[secret {}]", form.name)),
            false => text,
        })
    }

    /// The same of a text that is cut afterwards: what a cut leaves of a secret would be found by nobody, so that the secrets go first.
    /// `is_broken_off`: more was there and was not read, so that the end may be half a secret, and goes too.
    pub fn hidden_beginning(&self, text: &str, is_broken_off: bool) -> String {
        let mut shown = self.hidden(text);
        if is_broken_off {
            shown.truncate(shown.floor_char_boundary(shown.len().saturating_sub(self.longest())));
        }
        shown
    }

    /// The same of a text whose beginning may be missing.
    pub fn hidden_end(&self, text: &str, is_broken_off: bool) -> String {
        let mut shown = self.hidden(text);
        if is_broken_off {
            shown.drain(..shown.ceil_char_boundary(self.longest().min(shown.len())));
        }
        shown
    }

    /// The same in every text of a value, names of fields included.
    pub fn hidden_in(&self, value: Value) -> Value {
        match value {
            _ if self.is_empty() => value,
            Value::String(text) => Value::String(self.hidden(&text)),
            Value::Array(items) => items.into_iter().map(|item| self.hidden_in(item)).collect(),
            Value::Object(fields) => {
                fields.into_iter().map(|(name, value)| (self.hidden(&name), self.hidden_in(value))).collect()
            }
            Value::Number(number) => match self.hidden(number.as_str()) {
                hidden if hidden == number.as_str() => Value::Number(number),
                hidden => Value::String(hidden),
            },
            other => other,
        }
    }
}

impl HiddenForms {
    fn forget_old(&mut self, name: &str, most: usize) {
        let mut ages: Vec<u64> =
            self.forms.iter().filter(|form| *form.name == *name).filter_map(|form| form.learned).collect();
        ages.sort_unstable();
        ages.dedup();
        if let Some(oldest) = ages.len().checked_sub(most + 1).map(|index| ages[index]) {
            self.forms.retain(|form| *form.name != *name || form.learned.is_none_or(|learned| learned > oldest));
        }
    }
}

/// A text as it is, within JSON, within an address, within a form; and each of its lines so, as what is printed comes line by line.
fn written_forms(text: &str) -> Vec<String> {
    let mut all: Vec<String> = std::iter::once(text).chain(telling_parts(text)).flat_map(written).collect();
    all.sort();
    all.dedup();
    all
}

fn written(text: &str) -> [String; 4] {
    let quoted = Value::String(text.to_owned()).to_string();
    [
        text.to_owned(),
        quoted[1..quoted.len() - 1].to_owned(),
        encoded_query(text),
        form_urlencoded::byte_serialize(text.as_bytes()).collect(),
    ]
}

/// Of a text of several lines those that are one word, and the long words of the others: not what is too short, or is words that other
/// texts have too, such as the first and last line of a PEM file.
fn telling_parts(text: &str) -> impl Iterator<Item = &str> {
    let shortest = if text.trim().contains('\n') { SHORTEST_HIDDEN_LINE } else { SHORTEST_HIDDEN };
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with("-----"));
    lines.flat_map(move |line| {
        let shortest = if line.contains(char::is_whitespace) { SHORTEST_HIDDEN_WORD } else { shortest };
        line.split_whitespace().filter(move |word| word.len() >= shortest)
    })
}

/// A user and a password as HTTP has them: `Basic` and this (RFC 7617).
pub fn basic_login(username: &str, password: &str) -> String {
    STANDARD.encode(format!("{username}:{password}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_text_is_hidden_in_every_form_and_what_was_learned_is_forgotten_in_the_end() {
        let hidden = HiddenTexts::default();
        hidden.add("odd", "a/b+c\"d e");
        for form in ["a/b+c\"d e", "a%2Fb%2Bc%22d%20e", "a%2Fb%2Bc%22d+e", "a/b+c\\\"d e"] {
            assert_eq!(hidden.hidden(&format!("<{form}>")), "<[secret odd]>", "{form}");
        }
        for number in 0..=MOST_LEARNED {
            hidden.learn("token", &format!("token-{number}"));
            hidden.learn("token", &format!("token-{number}"));
        }
        hidden.learn("short", "abc");
        assert_eq!(hidden.hidden("token-0 abc"), "token-0 abc", "the oldest is forgotten");
        assert_eq!(
            hidden.hidden_in(json!({"token-1": ["token-8", 7]})),
            json!({"[secret token]": ["[secret token]", 7]})
        );
        assert_eq!(hidden.hidden("a/b+c\"d e"), "[secret odd]", "what is configured stays");
        assert_eq!(hidden.longest(), "a%2Fb%2Bc%22d%20e".len());
        assert!(!format!("{hidden:?}").contains("token-"));
    }

    #[test]
    fn what_others_learn_is_hidden_beside_and_the_longest_comes_first() {
        let others = Arc::new(HiddenTexts::default());
        let mut own = HiddenTexts::default();
        own.put_beside(others.clone());
        assert_eq!(own.hidden_in(json!("sesame-1")), "sesame-1");
        own.add("own", "sesame");
        others.learn("project", "sesame-1");
        assert_eq!(own.hidden_in(json!(["sesame-1", "sesame"])), json!(["[secret project]", "[secret own]"]));
        assert_eq!((own.longest(), others.hidden("sesame")), (8, "sesame".to_owned()));
    }

    #[test]
    fn what_a_cut_leaves_of_a_secret_is_not_shown_either() {
        let hidden = HiddenTexts::default();
        hidden.add("key", "sesame-0815");
        let text = "open sesame-0815 and sesame-0815 again";
        for end in 0..=text.len() {
            let shown = hidden.hidden_beginning(&text[..end], end < text.len());
            assert!(!shown.contains("ses"), "{end}: {shown}");
            let shown = hidden.hidden_end(&text[end..], end > 0);
            assert!(!shown.contains("815"), "{end}: {shown}");
        }
        assert_eq!(hidden.hidden_beginning(text, false), "open [secret key] and [secret key] again");
        assert_eq!(hidden.hidden_beginning("ü", true) + &hidden.hidden_end("ü", true), "", "less than a secret");
    }

    #[test]
    fn of_a_text_of_several_lines_each_is_hidden_by_itself() {
        let hidden = HiddenTexts::default();
        hidden.add(
            "pem",
            "-----BEGIN PRIVATE KEY-----\nMIIEvgIBADAN\n  SRDorrMZsmxi\r\nbEim+9==\nab==\n-----END PRIVATE KEY-----\n",
        );
        for line in ["MIIEvgIBADAN", "SRDorrMZsmxi", "bEim+9==", "bEim%2B9%3D%3D"] {
            assert_eq!(hidden.hidden(&format!("m: {line} .")), "m: [secret pem] .");
        }
        assert_eq!(hidden.hidden("-----BEGIN PRIVATE KEY-----"), "-----BEGIN PRIVATE KEY-----");
        hidden.add("one", "abc123\n");
        assert_eq!(hidden.hidden("abc123"), "[secret one]");
        hidden.add("file", "apiVersion: v1\ntoken: eyJhbGciOiJSUzI1NiIsImtpZCI6\n");
        assert_eq!(hidden.hidden("apiVersion: eyJhbGciOiJSUzI1NiIsImtpZCI6"), "apiVersion: [secret file]");
    }

    #[test]
    fn what_is_used_again_is_not_forgotten() {
        let hidden = HiddenTexts::default();
        for number in 0..3 * MOST_LEARNED {
            hidden.learn("token", "in-use");
            hidden.learn("token", &format!("token-{number}"));
        }
        assert_eq!(hidden.hidden("in-use token-0"), "[secret token] token-0");
    }
}
