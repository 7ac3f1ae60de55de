//! Asking a person one question, line by line: pure, from lines to the value of the answer. Whether the answer fits is the
//! gateway's to say.

use serde_json::{Map, Value, json};

use super::params::value_for;
use super::render::{line, plain};
use super::terminal::InputKind;
use crate::bounds::{UNAMBIGUOUS, UnfitJson, read};
use crate::client::event::ClientMessage;
use crate::ids::MessageId;
use crate::message::{
    ApprovalQuestion, ArgumentChange, CANCELLED, DECLINED, MessageContent, MultipleChoice, TextValue, check_answer,
    check_text_answer,
};

/// A question that is being asked.
pub(super) struct AskedQuestion {
    question: ClientMessage,
    stage: InputStage,
}

enum InputStage {
    /// One line is the answer.
    Line,
    /// Lines, up to an empty one.
    Lines(Vec<String>),
    /// Fields, one after the other.
    Form { fields: Vec<FormField>, at: usize, values: Map<String, Value> },
}

/// A field of a form.
struct FormField {
    name: String,
    schema: Value,
    required: bool,
}

/// What a line led to.
pub(super) enum LineOutcome {
    /// More is to be typed; first this is shown.
    More(String),
    /// The answer.
    Value(Value),
}

impl AskedQuestion {
    pub fn new(question: ClientMessage) -> Self {
        let stage = match &question.says {
            MessageContent::TextInput(asked) if asked.multiline && !asked.password => InputStage::Lines(Vec::new()),
            MessageContent::Form(asked) => {
                InputStage::Form { fields: fields(&asked.schema), at: 0, values: Map::new() }
            }
            _ => InputStage::Line,
        };
        Self { question, stage }
    }

    pub fn id(&self) -> MessageId {
        self.question.uuid
    }

    pub fn question(&self) -> &ClientMessage {
        &self.question
    }

    /// How the next line is read.
    pub fn wants(&self) -> InputKind {
        let secret = match &self.stage {
            InputStage::Form { fields, at, .. } => fields.get(*at).is_some_and(FormField::is_secret),
            InputStage::Line | InputStage::Lines(_) => self.question.says.is_secret(),
        };
        if secret { InputKind::Secret } else { InputKind::Line }
    }

    /// What is shown before the first line.
    pub fn words(&self) -> String {
        let mut words = String::new();
        match &self.question.says {
            MessageContent::TextInput(asked) => {
                words += &numbered(asked.suggestions.iter().map(|text| (text.as_str(), None)));
                if let InputStage::Lines(_) = self.stage {
                    words += "(several lines; an empty one ends)\n";
                }
            }
            MessageContent::MultipleChoice(asked) => {
                let about = |at: usize| asked.descriptions.get(at).cloned().flatten();
                let choices: Vec<(&str, Option<String>)> =
                    asked.choices.iter().enumerate().map(|(at, text)| (text.as_str(), about(at))).collect();
                words += &numbered(choices.iter().map(|(text, about)| (*text, about.as_deref())));
                words += &how_to_choose(asked);
            }
            MessageContent::Approval(asked) => {
                words += &numbered(DECISIONS.iter().map(|(decision, about)| (*decision, *about)));
                words += &how_to_decide(asked);
            }
            says if says.can_decline() => {
                words += "(/decline: you do not want to say it; /cancel: what asks for it is given up)\n";
            }
            _ => {}
        }
        words += &until_in_words(&self.question.says);
        words + &self.prompt()
    }

    /// What was typed and is no whole answer yet; never a password.
    pub fn unsent(&self) -> Option<String> {
        match &self.stage {
            InputStage::Lines(lines) if !lines.is_empty() => Some(plain(&lines.join("\n"))),
            InputStage::Form { fields, values, .. } => {
                let is_shown = |name: &str| fields.iter().any(|field| field.name == name && !field.is_secret());
                let shown: Map<String, Value> = values
                    .iter()
                    .filter(|(name, _)| is_shown(name))
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect();
                (!shown.is_empty()).then(|| plain(&Value::Object(shown).to_string()))
            }
            _ => None,
        }
    }

    fn prompt(&self) -> String {
        match &self.stage {
            InputStage::Form { fields, at, .. } => fields.get(*at).map(FormField::words).unwrap_or_default(),
            // inquire shows a prompt of its own.
            InputStage::Line if self.question.says.is_secret() => String::new(),
            InputStage::Line | InputStage::Lines(_) => "> ".to_owned(),
        }
    }

    /// Takes a line.
    pub fn take(&mut self, typed: &str) -> LineOutcome {
        match &mut self.stage {
            InputStage::Line => match &self.question.says {
                MessageContent::TextInput(asked) if !asked.password && asked.value_type == TextValue::String => {
                    LineOutcome::Value(json!(picked(&asked.suggestions, typed).unwrap_or(typed)))
                }
                says => match value_of(says, typed) {
                    Ok(value) => LineOutcome::Value(value),
                    Err(why) => LineOutcome::More(format!("({why})\n> ")),
                },
            },
            InputStage::Lines(lines) => {
                if typed.is_empty() {
                    return LineOutcome::Value(json!(lines.join("\n")));
                }
                // A suggestion alone is a whole answer.
                if let MessageContent::TextInput(asked) = &self.question.says
                    && lines.is_empty()
                    && let Some(picked) = picked(&asked.suggestions, typed)
                {
                    return LineOutcome::Value(json!(picked));
                }
                lines.push(typed.to_owned());
                LineOutcome::More("> ".to_owned())
            }
            InputStage::Form { .. } if self.question.says.can_decline() && is_without_form(typed) => {
                LineOutcome::Value(json!(typed.trim().trim_start_matches('/')))
            }
            InputStage::Form { fields, at, values } => {
                let Some(field) = fields.get(*at) else { return LineOutcome::Value(Value::Object(values.clone())) };
                match field.take(typed) {
                    Err(why) => return LineOutcome::More(format!("({why})\n{}", field.words())),
                    Ok(Some(value)) => {
                        values.insert(field.name.clone(), value);
                    }
                    Ok(None) => {}
                }
                *at += 1;
                match fields.get(*at) {
                    Some(next) => LineOutcome::More(next.words()),
                    None => LineOutcome::Value(Value::Object(values.clone())),
                }
            }
        }
    }
}

/// The value that a text stands for, as the answer to a question: choices by label or by number, several with commas
/// between them, a form as JSON. The error is a sentence for the person who wrote it.
pub fn value_of(question: &MessageContent, text: &str) -> Result<Value, String> {
    Ok(match question {
        MessageContent::MultipleChoice(asked) => choice_of(asked, text),
        MessageContent::Form(_) => match read(text.as_bytes(), &UNAMBIGUOUS) {
            Ok(value) => value,
            Err(UnfitJson::Exceeded(exceeded)) => return Err(exceeded.to_string()),
            // What is no object is the gateway's to refuse.
            Err(UnfitJson::Json(_)) => json!(text),
        },
        MessageContent::Approval(asked) => with_digest(decision_of(question, asked, text)?, asked),
        _ => json!(text),
    })
}

/// Whether a line says in place of a field that the form is not filled in.
fn is_without_form(typed: &str) -> bool {
    typed.trim().strip_prefix('/').is_some_and(|word| matches!(word, DECLINED | CANCELLED))
}

/// What may be said to a call, as a person types it or its number, and what it means.
const DECISIONS: [(&str, Option<&str>); 4] = [
    ("once", Some("this call")),
    ("same", Some("this call, and each one with the same arguments in this run")),
    ("always", Some("every call of the tool in this run, with any arguments")),
    ("deny", None),
];

/// What else may be typed where a call is allowed or denied.
fn how_to_decide(asked: &ApprovalQuestion) -> String {
    let change = match asked.arguments.keys().find(|name| may_be_name(name)) {
        Some(name) => format!("; {}=NEW: once, with {} changed to NEW", line(name), line(name)),
        None => String::new(),
    };
    format!("(a number or a word; yes: once, no: deny; deny: WHY tells the agents why{change})\n")
}

/// A decision by its number or its word, a change of one argument, or JSON. What is changed is sent as it is: the rest of the arguments
/// stays as the server has it.
fn decision_of(question: &MessageContent, asked: &ApprovalQuestion, text: &str) -> Result<Value, String> {
    let decisions = DECISIONS.map(|(decision, _)| decision.to_owned());
    let text = picked(&decisions, text).unwrap_or(text);
    let typed = match changed_argument(asked, text)? {
        Some(change) => json!({ "decision": "once", "changes": [change] }),
        None => match read::<Value>(text.as_bytes(), &UNAMBIGUOUS) {
            Ok(typed @ Value::Object(_)) => typed,
            _ => return Ok(check_text_answer(question, text)?.value),
        },
    };
    check_answer(question, &typed)?;
    Ok(typed)
}

/// The change of an argument that is written as `amount=4.50`; none: the text is something else.
fn changed_argument(asked: &ApprovalQuestion, text: &str) -> Result<Option<ArgumentChange>, String> {
    let Some((name, value)) = text.split_once('=') else { return Ok(None) };
    let name = name.trim();
    if !may_be_name(name) {
        return Ok(None);
    }
    if let Some(second) = argument_names(asked).find(|known| *known != name && is_changed_in(value, known)) {
        return Err(format!(
            "this would be the new {name}, with \"{second}=\" in it, and nothing else would change: to change several, write \
             {{\"decision\": \"once\", \"changes\": [{{\"path\": \"/{name}\", \"json\": \"…\"}}, {{\"path\": \"/{second}\", \"json\": \"…\"}}]}}"
        ));
    }
    let schema = asked.schema.as_ref().and_then(|schema| schema.get("properties")?.get(name));
    let value = value_for(value.trim(), schema).map_err(|why| format!("{name}: {why}"))?;
    let path = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
    Ok(Some(ArgumentChange { path, json: Some(value.to_string()) }))
}

/// The arguments that the call has, or may have.
fn argument_names(asked: &ApprovalQuestion) -> impl Iterator<Item = &String> {
    let schema = asked.schema.as_ref().and_then(|schema| schema.get("properties")?.as_object());
    asked.arguments.keys().chain(schema.into_iter().flat_map(Map::keys))
}

/// Whether a text looks as if it changed this argument, too.
fn is_changed_in(text: &str, name: &str) -> bool {
    let is_before = |(at, _): (usize, &str)| {
        let before = text[..at].trim_end().strip_suffix(name);
        before.is_some_and(|before| !before.ends_with(|letter: char| letter.is_alphanumeric() || "_-".contains(letter)))
    };
    text.match_indices('=').any(is_before)
}

/// Whether a name before `=` is one of an argument: a reason and JSON have these letters, too.
fn may_be_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|letter: char| letter.is_whitespace() || "=:\"{[".contains(letter))
}

/// A decision about what was shown here.
fn with_digest(mut decision: Value, asked: &ApprovalQuestion) -> Value {
    if let Some(digest) = &asked.digest {
        decision["digest"] = json!(digest);
    }
    decision
}

fn choice_of(asked: &MultipleChoice, text: &str) -> Value {
    let label = |text: &str| picked(&asked.choices, text.trim()).unwrap_or(text.trim()).to_owned();
    if text.trim().is_empty()
        && let Some(default) = &asked.default
    {
        return if asked.single { json!(default) } else { json!([default]) };
    }
    if asked.single {
        return json!(label(text));
    }
    if let Ok(Value::Array(labels)) = read(text.as_bytes(), &UNAMBIGUOUS) {
        return Value::Array(labels);
    }
    // A label may have a comma in it.
    if asked.choices.iter().any(|choice| choice == text.trim()) {
        return json!([text.trim()]);
    }
    json!(text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(label).collect::<Vec<_>>())
}

/// The option that a text names by its number from 1, unless it is an option itself.
fn picked<'a>(options: &'a [String], text: &str) -> Option<&'a str> {
    if options.iter().any(|option| option == text) {
        return None;
    }
    let number: usize = text.trim().parse().ok()?;
    Some(options.get(number.checked_sub(1)?)?.as_str())
}

/// The option that a text names, by itself or by its number from 1.
pub fn choose(options: &[String], text: &str) -> Option<String> {
    let text = text.trim();
    picked(options, text)
        .or_else(|| options.iter().find(|option| *option == text).map(String::as_str))
        .map(str::to_owned)
}

/// Options with their numbers.
pub(super) fn numbered<'a>(options: impl Iterator<Item = (&'a str, Option<&'a str>)>) -> String {
    let mut words = String::new();
    for (number, (option, about)) in (1..).zip(options) {
        let about = about.map(|about| format!(" — {}", line(about))).unwrap_or_default();
        words += &format!("  {number}) {}{about}\n", line(option));
    }
    words
}

fn how_to_choose(asked: &MultipleChoice) -> String {
    let mut how = Vec::new();
    if !asked.single {
        let bounds = match (asked.min, asked.max) {
            (Some(min), Some(max)) if min == max => format!("{min} numbers, with commas between them"),
            (Some(min), Some(max)) => format!("{min} to {max} numbers, with commas between them"),
            (Some(min), None) => format!("at least {min}, with commas between them"),
            (None, Some(max)) => format!("at most {max}, with commas between them"),
            (None, None) => "any of them, with commas between them".to_owned(),
        };
        how.push(bounds);
    }
    if let Some(default) = &asked.default {
        how.push(format!("Enter alone: {}", line(default)));
    }
    if how.is_empty() { String::new() } else { format!("({})\n", how.join("; ")) }
}

/// Until when a question waits and what happens then, in words.
fn until_in_words(question: &MessageContent) -> String {
    let Some(deadline) = question.answer_deadline() else { return String::new() };
    let Some(until) = deadline.deadline else { return String::new() };
    let then = deadline.on_timeout.as_deref().map(|then| format!("; {}", line(then))).unwrap_or_default();
    format!("(waits until {until}{then})\n")
}

fn fields(schema: &Value) -> Vec<FormField> {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties
        .map(|(name, schema)| FormField {
            name: name.clone(),
            required: required.contains(&name.as_str()),
            schema: schema.clone(),
        })
        .collect()
}

impl FormField {
    fn is_secret(&self) -> bool {
        self.schema["format"] == "password" || self.schema["writeOnly"] == true
    }

    fn options(&self) -> Vec<String> {
        let options = self.schema["enum"].as_array().into_iter().flatten();
        options.map(|option| option.as_str().map_or_else(|| option.to_string(), str::to_owned)).collect()
    }

    fn words(&self) -> String {
        let title = self.schema["title"].as_str().unwrap_or(&self.name);
        let mut about = Vec::new();
        match self.schema["type"].as_str() {
            Some("boolean") => about.push("yes or no".to_owned()),
            Some("integer") => about.push("a whole number".to_owned()),
            Some("number") => about.push("a number".to_owned()),
            Some("array" | "object") => about.push("JSON".to_owned()),
            _ => {}
        }
        if let Some(default) = self.schema.get("default") {
            let default = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
            about.push(format!("Enter alone: {}", line(&default)));
        } else if !self.required {
            about.push("may be left out".to_owned());
        }
        let about = if about.is_empty() { String::new() } else { format!(" ({})", about.join("; ")) };
        let description = match self.schema["description"].as_str() {
            Some(text) => format!("{}\n", plain(text)),
            None => String::new(),
        };
        let options = self.options();
        let options = numbered(options.iter().map(|option| (option.as_str(), None)));
        format!("{description}{options}{}{about}: ", line(title))
    }

    /// The value that a line stands for; none: it is left out.
    fn take(&self, typed: &str) -> Result<Option<Value>, String> {
        let text = typed.trim();
        if text.is_empty() {
            return match self.schema.get("default") {
                Some(default) => Ok(Some(default.clone())),
                None if self.required => Err("this is required".to_owned()),
                None => Ok(None),
            };
        }
        if let Some(values) = self.schema["enum"].as_array() {
            let options = self.options();
            let chosen = choose(&options, text).and_then(|chosen| options.iter().position(|option| *option == chosen));
            return match chosen.and_then(|at| values.get(at)) {
                Some(value) => Ok(Some(value.clone())),
                None => Err("choose one of the numbers".to_owned()),
            };
        }
        if self.schema["type"] == "boolean" {
            return match text.to_lowercase().as_str() {
                "y" | "yes" | "true" => Ok(Some(json!(true))),
                "n" | "no" | "false" => Ok(Some(json!(false))),
                _ => Err("answer yes or no".to_owned()),
            };
        }
        let value = value_for(typed, Some(&self.schema))?;
        let wrong = match self.schema["type"].as_str() {
            Some("integer") => (!value.is_number()).then_some("that is no whole number"),
            Some("number") => (!value.is_number()).then_some("that is no number"),
            Some("array") => (!value.is_array()).then_some("that is no JSON list"),
            Some("object") => (!value.is_object()).then_some("that is no JSON object"),
            _ => None,
        };
        wrong.map_or(Ok(Some(value)), |wrong| Err(wrong.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{AnswerDeadline, FormQuestion, TextInput};

    fn asking(says: MessageContent) -> AskedQuestion {
        AskedQuestion::new(ClientMessage {
            uuid: MessageId::random(),
            sender: None,
            recipient: None,
            says,
            waits_for: None,
        })
    }

    fn value(asking: &mut AskedQuestion, lines: &[&str]) -> Value {
        for line in lines {
            if let LineOutcome::Value(value) = asking.take(line) {
                return value;
            }
        }
        panic!("more lines are wanted");
    }

    fn choice(single: bool, default: Option<&str>) -> MessageContent {
        MessageContent::MultipleChoice(MultipleChoice {
            choices: vec!["Red".into(), "Green, dark".into(), "2".into()],
            single,
            default: default.map(str::to_owned),
            ..MultipleChoice::default()
        })
    }

    #[test]
    fn choices_are_made_by_number_or_label() {
        let one = |typed| value(&mut asking(choice(true, Some("Red"))), &[typed]);
        assert_eq!(one("1"), "Red");
        assert_eq!(one("Green, dark"), "Green, dark");
        assert_eq!(one("2"), "2", "a label goes before a number");
        assert_eq!(one(""), "Red");
        assert_eq!(one("9"), "9", "the gateway says what is wrong with it");
        let some = |typed| value(&mut asking(choice(false, None)), &[typed]);
        assert_eq!(some("3, 1"), json!(["2", "Red"]));
        assert_eq!(some("Green, dark"), json!(["Green, dark"]));
        assert_eq!(some("[\"Green, dark\", \"Red\"]"), json!(["Green, dark", "Red"]));
        assert_eq!(some(""), json!([]));
        assert_eq!(
            asking(choice(true, Some("Red"))).words(),
            "  1) Red\n  2) Green, dark\n  3) 2\n(Enter alone: Red)\n> "
        );
    }

    fn approval() -> MessageContent {
        let schema = json!({"properties": {"amount": {"type": "number"}, "note": {"type": "string"}}});
        MessageContent::Approval(Box::new(ApprovalQuestion {
            function_name: "pay".into(),
            arguments: Map::from_iter([("amount".to_owned(), json!(100))]),
            injected: Map::from_iter([("who".to_owned(), json!("Ada"))]),
            schema: Some(schema),
            digest: Some("d1".into()),
            ..ApprovalQuestion::default()
        }))
    }

    #[test]
    fn a_call_is_decided_by_number_or_word_and_its_arguments_are_changed() {
        let decided = |typed: &str| value(&mut asking(approval()), &[typed]);
        for (number, word) in [("1", "once"), ("2", "same"), ("3", "always"), ("4", "deny")] {
            assert_eq!(decided(number), json!({"decision": word, "digest": "d1"}));
            assert_eq!(decided(word), decided(number));
        }
        assert_eq!((decided("yes"), decided("no")), (decided("1"), decided("4")));
        assert_eq!(decided("deny: a=b"), json!({"decision": "deny", "reason": "a=b", "digest": "d1"}));
        let changed = |path: &str, text: &str| json!({"decision": "once", "changes": [{"path": path, "json": text}], "digest": "d1"});
        assert_eq!(decided("amount=4.50"), changed("/amount", "4.50"));
        assert_eq!(decided("note = no, thanks"), changed("/note", "\"no, thanks\""));
        let typed = r#"{"decision": "once", "changes": [{"path": "/amount", "json": "1"}]}"#;
        assert_eq!(decided(typed), changed("/amount", "1"));
        let refused = |typed: &str| match asking(approval()).take(typed) {
            LineOutcome::More(words) => words,
            LineOutcome::Value(value) => panic!("{value}"),
        };
        assert_eq!(refused("7"), "(answer once, same, always or deny (deny: with a reason))\n> ");
        assert_eq!(refused("amout=1"), "(there is no argument amout (did you mean \"amount\"?))\n> ");
        assert_eq!(refused("who=Bo"), "(who is given by the workflow, and cannot be changed)\n> ");
        assert!(refused("amount=much").contains("amount"));
        for two in ["note=partial, amount=4.50", "note=x amount = 4.50", "amount=4.50,note=x", "note=x\tamount= 4"] {
            assert!(refused(two).contains("\"changes\""), "{two}: what was meant for both is not taken for one");
        }
        for (typed, note) in
            [("note=b=c", "\"b=c\""), ("note=note=5", "\"note=5\""), ("note=theamount=5", "\"theamount=5\"")]
        {
            assert_eq!(decided(typed), changed("/note", note));
        }
        let of_order = |typed: &str| {
            let schema = json!({"properties": {"order": {"type": "integer"}}});
            let MessageContent::Approval(mut asked) = approval() else { unreachable!() };
            asked.schema = Some(schema);
            value(&mut asking(MessageContent::Approval(asked)), &[typed])
        };
        for whole in ["123456789012345678901234567890", "1.0", "1e+3"] {
            assert_eq!(of_order(&format!("order={whole}")), changed("/order", whole));
        }
        assert_eq!(
            asking(approval()).words(),
            "  1) once — this call\n  2) same — this call, and each one with the same arguments in this run\n  \
             3) always — every call of the tool in this run, with any arguments\n  4) deny\n\
             (a number or a word; yes: once, no: deny; deny: WHY tells the agents why; amount=NEW: once, with amount changed to NEW)\n> "
        );
    }

    #[test]
    fn a_text_may_be_a_suggestion_and_have_several_lines() {
        let text = |multiline| {
            MessageContent::TextInput(TextInput { suggestions: vec!["Ada".into()], multiline, ..TextInput::default() })
        };
        assert_eq!(value(&mut asking(text(false)), &["1"]), "Ada");
        assert_eq!(value(&mut asking(text(false)), &["2"]), "2");
        assert_eq!(value(&mut asking(text(false)), &["  as typed "]), "  as typed ");
        assert_eq!(value(&mut asking(text(true)), &["a", "1", ""]), "a\n1");
        assert_eq!(value(&mut asking(text(true)), &["1"]), "Ada");
    }

    #[test]
    fn a_whole_number_in_a_form_keeps_its_digits() {
        let form = |schema: Value| {
            MessageContent::Form(FormQuestion {
                prompt: None,
                schema,
                can_decline: false,
                answerers: None,
                deadline: AnswerDeadline::default(),
            })
        };
        let order = json!({"type": "object", "properties": {"order": {"type": "integer"}}});
        for whole in ["123456789012345678901234567890", "-9223372036854775809", "1.0", "1e+3"] {
            let filled_in = value(&mut asking(form(order.clone())), &[whole]);
            assert_eq!(filled_in.to_string(), format!("{{\"order\":{whole}}}"));
        }
        match asking(form(order)).take("12345678901234567890.5") {
            LineOutcome::More(words) => assert!(words.starts_with("(that is no whole number)"), "{words}"),
            LineOutcome::Value(value) => panic!("{value}"),
        }
    }

    #[test]
    fn a_form_is_filled_in_field_by_field() {
        let schema = json!({"type": "object", "required": ["street", "floor"], "properties": {
            "street": {"type": "string", "title": "Street"}, "floor": {"type": "integer"},
            "delivery": {"type": "string", "enum": ["today", "tomorrow"], "default": "today"},
            "ring": {"type": "boolean", "default": true}, "note": {"type": "string"}, "code": {"type": "string", "format": "password"}}});
        let form = MessageContent::Form(FormQuestion {
            prompt: None,
            schema,
            can_decline: false,
            answerers: None,
            deadline: AnswerDeadline::default(),
        });
        let mut asked = asking(form);
        assert_eq!(asked.words(), "Street: ");
        let mut shown = Vec::new();
        for typed in ["", "High St", "low", "3", "", "no", ""] {
            match asked.take(typed) {
                LineOutcome::More(words) => shown.push(words),
                LineOutcome::Value(_) => panic!("it is not filled in yet"),
            }
        }
        assert_eq!(
            shown,
            [
                "(this is required)\nStreet: ",
                "floor (a whole number): ",
                "(that is no whole number)\nfloor (a whole number): ",
                "  1) today\n  2) tomorrow\ndelivery (Enter alone: today): ",
                "ring (yes or no; Enter alone: true): ",
                "note (may be left out): ",
                "code (may be left out): ",
            ]
        );
        assert_eq!(asked.wants(), InputKind::Secret);
        assert_eq!(
            value(&mut asked, &["1234"]),
            json!({"street": "High St", "floor": 3, "delivery": "today", "ring": false, "code": "1234"})
        );
    }

    #[test]
    fn what_a_tool_asks_for_may_be_declined_and_cancelled_at_any_field() {
        let schema = json!({"type": "object", "properties": {"who": {"type": "string"}, "why": {"type": "string"}}});
        let form = |can_decline| {
            MessageContent::Form(FormQuestion {
                prompt: None,
                schema: schema.clone(),
                can_decline,
                answerers: None,
                deadline: AnswerDeadline::default(),
            })
        };
        let words = asking(form(true)).words();
        assert!(
            words.starts_with("(/decline: you do not want to say it; /cancel: what asks for it is given up)\n"),
            "{words}"
        );
        assert_eq!(value(&mut asking(form(true)), &["/decline"]), "decline");
        assert_eq!(value(&mut asking(form(true)), &["me", " /cancel "]), "cancel");
        assert_eq!(value(&mut asking(form(true)), &["cancel", "decline"]), json!({"who": "cancel", "why": "decline"}));
        assert_eq!(value(&mut asking(form(false)), &["/cancel", ""]), json!({"who": "/cancel"}));
    }
}
