//! The keys of effects: under which name the log remembers what came of an effect. A workflow that is executed again meets
//! the same keys, so their text is never changed; it is written and read here alone.
//!
//! An effect has its scope (the place of its step, iteration, branch and attempt) and a number within it. Within a scope
//! everything happens in order.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::ids::{MessageId, Name};

/// How the keys of permissions begin; no step's path does.
const PERMISSION: &str = "!allowed/";
/// How the keys of messages begin that a Python worker sent; and of the answers that it was given.
const FOREIGN_MESSAGE: &str = "foreign/";
const FOREIGN_ANSWER: &str = "foreign/answer/";
/// What follows a scope in the keys of effects without a number.
const CALL: &str = "/call";
const PASSED: &str = "/passed";

/// A place where effects happen one after the other. A copy of it is cheap.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EffectScope(Arc<str>);

impl EffectScope {
    /// The whole of a workflow that nobody called.
    pub fn root() -> Self {
        Self(Arc::from(""))
    }

    /// What the engine itself says of a run. `is_taken`: a step has this name.
    pub fn of_engine(name: &str, is_taken: bool) -> Self {
        if is_taken { Self(format!("!{name}").into()) } else { Self(name.into()) }
    }

    /// A step, by its path in the workflow.
    pub fn step(&self, path: &str) -> Self {
        if self.0.is_empty() { Self(path.into()) } else { self.inside(path) }
    }

    /// A later attempt of the step; the first is the step itself.
    pub fn attempt(&self, number: u32) -> Self {
        if number == 1 { self.clone() } else { Self(format!("{}~{number}", self.0).into()) }
    }

    /// The step itself, whichever attempt of it this is.
    pub fn of_every_attempt(&self) -> Self {
        match self.0.rsplit_once('~') {
            Some((step, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => Self(step.into()),
            _ => self.clone(),
        }
    }

    /// The pause before the next attempt.
    pub fn pause(&self) -> Self {
        self.inside("pause")
    }

    /// The timer of a step that may not take longer.
    pub fn timeout(&self) -> Self {
        self.inside("timeout")
    }

    /// What people say of an effect that was cut off, by its number in this scope.
    pub fn cut_off(&self, number: u32) -> Self {
        self.inside(format_args!("cut_off{number}"))
    }

    /// What is done about a failure.
    pub fn on_error(&self) -> Self {
        self.inside("on_error")
    }

    /// A round of a loop, or an arm of a branch, from 0.
    pub fn iteration(&self, index: u64) -> Self {
        self.inside(index)
    }

    /// One of the branches that run beside each other, a called workflow, or a tool that a step calls.
    pub fn named(&self, name: &Name) -> Self {
        self.inside(name)
    }

    /// The call of a tool by an agent; `number` counts the calls of the conversation.
    pub fn tool_call(&self, tool: &Name, number: u32) -> Self {
        Self(format!("{}/{tool}#{number}", self.0).into())
    }

    /// The list of a set of tools, made before the first step of a workflow. No step has such a path.
    pub fn toolset(&self, set: &Name) -> Self {
        self.step(&format!("!tools/{set}"))
    }

    /// A message whose text was being written when the run was stopped.
    pub fn message(&self, message: MessageId) -> Self {
        self.inside(message)
    }

    fn inside(&self, name: impl fmt::Display) -> Self {
        Self(format!("{}/{name}", self.0).into())
    }
}

impl fmt::Display for EffectScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EffectScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Which record of an effect it is. Only a question has more than one: it may be asked again, and each time is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EffectPart {
    /// The effect; a question that was asked for the first time.
    Whole,
    /// That it was begun: written before what must not be done twice.
    Begun,
    /// The answer to that question.
    Answer,
    /// The question, asked again after that many answers that did not fit.
    Again(u32),
    /// The answer to that one.
    AnswerAgain(u32),
    /// That nobody had answered the question for a while: the reminders of a question are numbered from 1.
    Reminder(u32),
    /// The same of the question that was asked again.
    ReminderAgain(u32, u32),
}

/// Under which name the log remembers an effect. A copy of it is cheap.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum EffectKey {
    /// An effect of a step.
    Numbered {
        /// Where it happens.
        scope: EffectScope,
        /// Which effect of the scope it is, from 0.
        number: u32,
        /// Which record of it.
        part: EffectPart,
    },
    /// A tool is called, whose steps are in this scope.
    ToolCall(EffectScope),
    /// The timer of this scope ran out before its step ended.
    TimedOut(EffectScope),
    /// The run may call this tool (`workflow/tool`), or make this call of it (`workflow/tool/digest`), without asking again.
    Permission(Arc<str>),
    /// A message of a Python worker, by its sequence in FastAgency's stream.
    ForeignMessage(u64),
    /// The answer to a question of a Python worker.
    ForeignAnswer(MessageId),
    /// What no version of this program writes. It is kept as it is, and no step has it.
    Unknown(Arc<str>),
}

impl EffectKey {
    /// The key of the answer to the question with this key.
    pub fn answer(&self) -> Self {
        match self {
            Self::Numbered { scope, number, part: EffectPart::Again(attempt) } => {
                Self::Numbered { scope: scope.clone(), number: *number, part: EffectPart::AnswerAgain(*attempt) }
            }
            Self::Numbered { scope, number, .. } => {
                Self::Numbered { scope: scope.clone(), number: *number, part: EffectPart::Answer }
            }
            other => Self::Unknown(format!("{other}/answer").into()),
        }
    }

    /// The key of the question with this key when it is asked again, after `attempt` answers.
    pub fn again(&self, attempt: u32) -> Self {
        match self {
            Self::Numbered { scope, number, .. } => {
                Self::Numbered { scope: scope.clone(), number: *number, part: EffectPart::Again(attempt) }
            }
            other => Self::Unknown(format!("{other}/again{attempt}").into()),
        }
    }

    /// The key of a reminder of the question with this key, from 1.
    pub fn reminder(&self, reminder: u32) -> Self {
        match self {
            Self::Numbered { scope, number, part: EffectPart::Again(attempt) } => {
                let part = EffectPart::ReminderAgain(*attempt, reminder);
                Self::Numbered { scope: scope.clone(), number: *number, part }
            }
            Self::Numbered { scope, number, .. } => {
                Self::Numbered { scope: scope.clone(), number: *number, part: EffectPart::Reminder(reminder) }
            }
            other => Self::Unknown(format!("{other}/reminder{reminder}").into()),
        }
    }

    /// The permission to call a tool (`workflow/tool`) with any arguments.
    pub fn tool_permission(tool: Arc<str>) -> Self {
        Self::Permission(tool)
    }

    /// The permission to make one call of a tool (`workflow/tool`) again and again, by the digest of the call.
    pub fn call_permission(tool: &str, digest: &str) -> Self {
        Self::Permission(format!("{tool}/{digest}").into())
    }

    /// The tool and the digest that `call_permission` was given. The text of a key does not say which of the two permissions it is:
    /// the outcome that is stored with it does.
    pub fn permitted_call(&self) -> Option<(&str, &str)> {
        self.permission()?.rsplit_once('/')
    }

    /// The tool, or the call of it, that it is a permission for.
    pub fn permission(&self) -> Option<&Arc<str>> {
        if let Self::Permission(tool) = self { Some(tool) } else { None }
    }

    /// Whether it is of an effect in this scope that comes after the one with this number.
    pub fn is_after(&self, before: &EffectScope, than: u32) -> bool {
        matches!(self, Self::Numbered { scope, number, .. } if scope == before && *number > than)
    }

    fn known(text: &str) -> Option<Self> {
        if let Some(tool) = text.strip_prefix(PERMISSION) {
            return Some(Self::Permission(tool.into()));
        }
        if let Some(seq) = text.strip_prefix(FOREIGN_MESSAGE).and_then(number) {
            return Some(Self::ForeignMessage(seq));
        }
        if let Some(id) = text.strip_prefix(FOREIGN_ANSWER)
            && let Ok(question) = MessageId::parse(id)
            && question.to_string() == id
        {
            return Some(Self::ForeignAnswer(question));
        }
        // A scope may have a `#` of its own: that of a tool's call. What follows the last one says what the key is.
        if let Some((scope, rest)) = text.rsplit_once('#')
            && let Some((number, part)) = number_and_part(rest)
        {
            return Some(Self::Numbered { scope: EffectScope(scope.into()), number, part });
        }
        let call = text.strip_suffix(CALL).map(|scope| Self::ToolCall(EffectScope(scope.into())));
        call.or_else(|| text.strip_suffix(PASSED).map(|scope| Self::TimedOut(EffectScope(scope.into()))))
    }
}

/// Reads what follows the scope of a numbered effect.
fn number_and_part(text: &str) -> Option<(u32, EffectPart)> {
    let (digits, part) = text.split_once('/').map_or((text, None), |(digits, part)| (digits, Some(part)));
    let part = match part {
        None => EffectPart::Whole,
        Some("answer") => EffectPart::Answer,
        Some("begun") => EffectPart::Begun,
        Some(part) => match part.strip_prefix("again") {
            None => EffectPart::Reminder(number(part.strip_prefix("reminder")?)?),
            Some(again) => match again.split_once('/') {
                None => EffectPart::Again(number(again)?),
                Some((attempt, "answer")) => EffectPart::AnswerAgain(number(attempt)?),
                Some((attempt, reminder)) => {
                    EffectPart::ReminderAgain(number(attempt)?, number(reminder.strip_prefix("reminder")?)?)
                }
            },
        },
    };
    Some((number(digits)?, part))
}

/// Reads a number, if it would be written exactly so.
fn number<T: FromStr>(text: &str) -> Option<T> {
    let is_written_so = text == "0" || !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_written_so { text.parse().ok() } else { None }
}

impl From<&str> for EffectKey {
    fn from(text: &str) -> Self {
        Self::known(text).unwrap_or_else(|| Self::Unknown(text.into()))
    }
}

impl FromStr for EffectKey {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::from(text))
    }
}

impl fmt::Display for EffectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Numbered { scope, number, part } => {
                write!(f, "{scope}#{number}")?;
                match part {
                    EffectPart::Whole => Ok(()),
                    EffectPart::Answer => f.write_str("/answer"),
                    EffectPart::Begun => f.write_str("/begun"),
                    EffectPart::Again(attempt) => write!(f, "/again{attempt}"),
                    EffectPart::AnswerAgain(attempt) => write!(f, "/again{attempt}/answer"),
                    EffectPart::Reminder(reminder) => write!(f, "/reminder{reminder}"),
                    EffectPart::ReminderAgain(attempt, reminder) => write!(f, "/again{attempt}/reminder{reminder}"),
                }
            }
            Self::ToolCall(scope) => write!(f, "{scope}{CALL}"),
            Self::TimedOut(scope) => write!(f, "{scope}{PASSED}"),
            Self::Permission(tool) => write!(f, "{PERMISSION}{tool}"),
            Self::ForeignMessage(seq) => write!(f, "{FOREIGN_MESSAGE}{seq}"),
            Self::ForeignAnswer(question) => write!(f, "{FOREIGN_ANSWER}{question}"),
            Self::Unknown(text) => f.write_str(text),
        }
    }
}

/// As a text in quotes: so messages name a key.
impl fmt::Debug for EffectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

impl Serialize for EffectKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for EffectKey {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "EffectKey".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string"})
    }
}

impl<'de> Deserialize<'de> for EffectKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyTextVisitor;

        impl de::Visitor<'_> for KeyTextVisitor {
            type Value = EffectKey;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<EffectKey, E> {
                Ok(EffectKey::from(text))
            }
        }

        deserializer.deserialize_str(KeyTextVisitor)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Value;

    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn numbered(scope: &EffectScope, number: u32, part: EffectPart) -> EffectKey {
        EffectKey::Numbered { scope: scope.clone(), number, part }
    }

    #[test]
    fn every_form_of_a_key_is_written_and_read() {
        let question = MessageId::parse("0b9d6e5c7f4b4f2a8c1d2e3f4a5b6c7d").unwrap();
        let talk = EffectScope::root().step("talk");
        let tool = talk.tool_call(&name("look"), 2);
        let asked = numbered(&talk, 3, EffectPart::Whole);
        for (key, text) in [
            (asked.clone(), "talk#3"),
            (asked.answer(), "talk#3/answer"),
            (asked.again(1), "talk#3/again1"),
            (asked.again(12).answer(), "talk#3/again12/answer"),
            (asked.reminder(1), "talk#3/reminder1"),
            (asked.again(12).reminder(3), "talk#3/again12/reminder3"),
            (numbered(&talk.attempt(1), 0, EffectPart::Whole), "talk#0"),
            (numbered(&talk.attempt(2).pause(), 0, EffectPart::Whole), "talk~2/pause#0"),
            (numbered(&talk.timeout(), 0, EffectPart::Whole), "talk/timeout#0"),
            (EffectKey::TimedOut(talk.timeout()), "talk/timeout/passed"),
            (numbered(&talk.on_error().step("0"), 0, EffectPart::Whole), "talk/on_error/0#0"),
            (numbered(&talk.iteration(4).step("x/do/0"), 0, EffectPart::Whole), "talk/4/x/do/0#0"),
            (numbered(&talk.named(&name("left")).step("0"), 1, EffectPart::Whole), "talk/left/0#1"),
            (EffectKey::ToolCall(talk.named(&name("look"))), "talk/look/call"),
            (EffectKey::ToolCall(tool.clone()), "talk/look#2/call"),
            (numbered(&tool.step("call"), 0, EffectPart::Answer), "talk/look#2/call#0/answer"),
            (numbered(&talk.message(question), 0, EffectPart::Whole), "talk/0b9d6e5c7f4b4f2a8c1d2e3f4a5b6c7d#0"),
            (numbered(&EffectScope::of_engine("end", false), 0, EffectPart::Whole), "end#0"),
            (numbered(&EffectScope::of_engine("end", true), 0, EffectPart::Whole), "!end#0"),
            (EffectKey::tool_permission("trip/look".into()), "!allowed/trip/look"),
            (EffectKey::call_permission("trip/look", "0f3a"), "!allowed/trip/look/0f3a"),
            (EffectKey::ForeignMessage(17), "foreign/17"),
            (EffectKey::ForeignAnswer(question), "foreign/answer/0b9d6e5c7f4b4f2a8c1d2e3f4a5b6c7d"),
            (numbered(&EffectScope::root().step("foreign"), 17, EffectPart::Whole), "foreign#17"),
        ] {
            assert_eq!(key.to_string(), text);
            assert!(EffectKey::from(text) == key, "{text} is read as something else");
        }
    }

    #[test]
    fn the_permission_for_a_call_says_which_call_it_is() {
        let key = EffectKey::from("!allowed/trip/docs.look/0f3a");
        assert_eq!(key.permitted_call(), Some(("trip/docs.look", "0f3a")));
        assert!(key == EffectKey::call_permission("trip/docs.look", "0f3a"));
        assert_eq!(EffectKey::from("talk#3").permitted_call(), None);
    }

    #[test]
    fn a_text_that_is_no_key_is_kept_as_it_is() {
        for text in [
            "",
            "k",
            "#",
            "a#",
            "a#01",
            "a#+1",
            "a#1/",
            "a#1/again",
            "a#1/again01",
            "a#1/answer/answer",
            "a#4294967296",
            "call",
            "passed",
            "foreign/",
            "foreign/01",
            "foreign/+1",
            "foreign/answer/1",
            "foreign/answer/0B9D6E5C-7f4b-4f2a-8c1d-2e3f4a5b6c7d",
            "ü#x",
        ] {
            let key = EffectKey::from(text);
            assert!(matches!(key, EffectKey::Unknown(_)), "{text}");
            assert_eq!(key.to_string(), text);
        }
    }

    #[test]
    fn what_comes_after_an_effect_is_of_its_own_scope() {
        let talk = EffectScope::root().step("talk");
        let is_after = |text: &str| EffectKey::from(text).is_after(&talk, 1);
        assert!(is_after("talk#2") && is_after("talk#10/again1/answer"));
        for other in ["talk#1", "talk#0", "talks#2", "talk/2#2", "a/talk#2", "talk/look#2/call", "talk~2#2"] {
            assert!(!is_after(other), "{other}");
        }
    }

    /// Every text under `key`, and under `after`, by which a request to a model names another effect.
    fn keys_in(value: &Value, keys: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (field, value) in fields {
                    match value {
                        Value::String(key) if field == "key" || field == "after" => keys.push(key.clone()),
                        _ => keys_in(value, keys),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| keys_in(item, keys)),
            _ => {}
        }
    }

    #[test]
    fn every_key_of_the_kept_logs_is_read_and_written_back() {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let mut keys = Vec::new();
        for folder in ["histories", "poisoned"] {
            for file in std::fs::read_dir(tests.join(folder)).unwrap().map(|entry| entry.unwrap().path()) {
                if file.extension().is_some_and(|extension| extension == "jsonl") {
                    let text = std::fs::read_to_string(file).unwrap();
                    let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
                    lines.for_each(|line: Value| keys_in(&line, &mut keys));
                }
            }
        }
        assert!(keys.len() > 50, "{} keys", keys.len());
        for text in keys {
            let key = EffectKey::from(text.as_str());
            assert!(!matches!(key, EffectKey::Unknown(_)), "{text:?} is not understood");
            assert_eq!(key.to_string(), text);
            let json = serde_json::to_string(&text).unwrap();
            assert_eq!(serde_json::to_string(&key).unwrap(), json);
            assert!(serde_json::from_str::<EffectKey>(&json).unwrap() == key);
        }
    }
}
