//! Whether an answer fits its question. A refusal is a sentence for the person who gave it.

use serde_json::{Map, Number, Value, json};

use crate::bounds::{OUTSIDE, UNAMBIGUOUS, UnfitJson, read};
use crate::problem::did_you_mean;
use crate::protocol::api::LONGEST_REASON;

use super::{
    ApprovalAnswer, ApprovalDecision, ApprovalQuestion, ArgumentChange, FormQuestion, MessageContent, MultipleChoice,
    TextInput, TextValue, permission,
};

/// What a person answered: checked, in the form in which it is stored and shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidAnswer {
    /// The value: a text, a number, a label, a list of labels, an object.
    pub value: Value,
    /// What to show.
    pub text: String,
}

/// Checks an answer given as JSON. The error is a sentence for the person who gave it.
pub fn check_answer(question: &MessageContent, answer: &Value) -> Result<ValidAnswer, String> {
    match question {
        MessageContent::TextInput(asked) => check_text(asked, answer),
        MessageContent::MultipleChoice(asked) => check_choice(asked, answer),
        MessageContent::Form(asked) => check_form(asked, answer),
        MessageContent::Approval(asked) => check_verdict(asked, answer),
        _ => Err("this message asks nothing".to_owned()),
    }
}

/// Checks an answer given as bare text, as FastAgency's clients give it: several choices are separated by commas, a form
/// is JSON, an approval is `once`, `same`, `always`, `deny` (yes and no will do, and a reason after `deny:`) or JSON.
pub fn check_text_answer(question: &MessageContent, answer: &str) -> Result<ValidAnswer, String> {
    match question {
        MessageContent::MultipleChoice(asked) if !asked.single => {
            let whole = answer.trim();
            let labels: Vec<Value> = if asked.choices.iter().any(|choice| choice == whole) {
                vec![json!(whole)]
            } else {
                whole.split(',').map(str::trim).filter(|label| !label.is_empty()).map(|label| json!(label)).collect()
            };
            check_choice(asked, &Value::Array(labels))
        }
        MessageContent::Form(asked) if asked.can_decline && matches!(answer.trim(), DECLINED | CANCELLED) => {
            check_form(asked, &json!(answer.trim()))
        }
        MessageContent::Form(asked) => {
            let object = read(answer.as_bytes(), &UNAMBIGUOUS)
                .map_err(|error| format!("the answer must be a JSON object: {error}"))?;
            check_form(asked, &object)
        }
        MessageContent::Approval(asked) => {
            let words = answer.trim().to_lowercase();
            let decision = match words.as_str() {
                "once" | "yes" | "y" | "allow once" => json!({"decision": "once"}),
                "same" | "allow always with these arguments" => json!({"decision": "same"}),
                "always" | "allow always in this run" => json!({"decision": "always"}),
                "deny" | "no" | "n" => json!({"decision": "deny"}),
                _ if words.starts_with("deny:") || words.starts_with("no:") => {
                    let reason = answer.split_once(':').map_or("", |(_, reason)| reason.trim());
                    json!({"decision": "deny", "reason": reason})
                }
                _ => match read(answer.as_bytes(), &UNAMBIGUOUS) {
                    Ok(decision @ (Value::Object(_) | Value::Array(_))) => decision,
                    Err(UnfitJson::Exceeded(exceeded)) => return Err(exceeded.to_string()),
                    Err(UnfitJson::Json(error)) if words.starts_with(['{', '[']) => {
                        return Err(format!("this is not JSON ({error}); write it like {VERDICT_EXAMPLE}"));
                    }
                    Ok(_) | Err(UnfitJson::Json(_)) => {
                        return Err("answer once, same, always or deny (deny: with a reason)".to_owned());
                    }
                },
            };
            check_verdict(asked, &decision)
        }
        other => check_answer(other, &json!(answer)),
    }
}

fn check_text(asked: &TextInput, answer: &Value) -> Result<ValidAnswer, String> {
    let text = match answer {
        Value::String(text) => text.clone(),
        Value::Number(number) if asked.value_type != TextValue::String => number.to_string(),
        other => {
            return Err(format!("the answer must be a text, not {}", type_in_words(other)));
        }
    };
    let value = match asked.value_type {
        TextValue::String => json!(text),
        TextValue::Integer => match whole_number(text.trim()) {
            Some(number) => number.into(),
            None => return Err(format!("{} is not a whole number", quoted(&text))),
        },
        TextValue::Number => match number(text.trim()) {
            Some(number) => number.into(),
            None => return Err(format!("{} is not a number", quoted(&text))),
        },
    };
    if let Some(pattern) = &asked.pattern {
        let whole = regex::Regex::new(&format!("^(?:{pattern})$"))
            .map_err(|_| "the question's pattern cannot be read".to_owned())?;
        if !whole.is_match(&text) {
            let shown = if asked.password { "the answer".to_owned() } else { quoted(&text) };
            return Err(format!("{shown} does not have the form that is asked for ({pattern})"));
        }
    }
    Ok(ValidAnswer { value, text })
}

/// A whole number as people write it (`007`, `+5`), however many digits it has.
fn whole_number(text: &str) -> Option<Number> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let is_whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let significant = digits.trim_start_matches('0');
    match (is_whole, significant) {
        (false, _) => None,
        (true, "") => Some(0.into()),
        (true, significant) => parsed(&format!("{sign}{significant}")),
    }
}

/// A number as people write it, digit for digit where JSON writes it so too.
fn number(text: &str) -> Option<Number> {
    let value = text.parse::<f64>().ok().filter(|value| value.is_finite())?;
    parsed(text).or_else(|| whole_number(text)).or_else(|| Number::from_f64(value))
}

/// A number in JSON's own form, if it may come from outside.
fn parsed(text: &str) -> Option<Number> {
    read(text.as_bytes(), &OUTSIDE).ok()
}

fn check_choice(asked: &MultipleChoice, answer: &Value) -> Result<ValidAnswer, String> {
    let known = |label: &Value| -> Result<String, String> {
        let Value::String(label) = label else {
            return Err(format!("a choice must be a text, not {}", type_in_words(label)));
        };
        let trimmed = label.trim();
        match asked
            .choices
            .iter()
            .find(|choice| *choice == label)
            .or_else(|| asked.choices.iter().find(|choice| choice.trim() == trimmed))
        {
            Some(choice) => Ok(choice.clone()),
            None => Err(format!("{} is not one of the choices: {}", quoted(label), asked.choices.join(", "))),
        }
    };
    if asked.single {
        let one = match answer {
            Value::Array(labels) if labels.len() == 1 => known(&labels[0])?,
            Value::Array(labels) => return Err(format!("choose one, not {}", labels.len())),
            label => known(label)?,
        };
        return Ok(ValidAnswer { value: json!(one), text: one });
    }
    let labels = match answer {
        Value::Array(labels) => labels.iter().map(known).collect::<Result<Vec<_>, _>>()?,
        label => vec![known(label)?],
    };
    let mut chosen: Vec<String> = Vec::with_capacity(labels.len());
    for label in labels {
        if !chosen.contains(&label) {
            chosen.push(label);
        }
    }
    match (asked.min, asked.max) {
        (Some(min), _) if chosen.len() < min => Err(format!("choose at least {min}")),
        (_, Some(max)) if chosen.len() > max => Err(format!("choose at most {max}")),
        _ => Ok(ValidAnswer { text: chosen.join(", "), value: json!(chosen) }),
    }
}

/// The answer to a form of who does not want to say it.
pub const DECLINED: &str = "decline";
/// The answer to such a form of who decides nothing: what asked for it is given up.
pub const CANCELLED: &str = "cancel";

fn check_form(asked: &FormQuestion, answer: &Value) -> Result<ValidAnswer, String> {
    let without_form = match answer.as_str() {
        Some(DECLINED) => Some("Declined"),
        Some(CANCELLED) => Some("Cancelled"),
        _ => None,
    };
    if let Some(text) = without_form.filter(|_| asked.can_decline) {
        return Ok(ValidAnswer { value: answer.clone(), text: text.to_owned() });
    }
    if !answer.is_object() {
        return Err(format!("the answer must be an object, not {}", type_in_words(answer)));
    }
    check_schema(&asked.schema, answer)?;
    Ok(ValidAnswer { value: answer.clone(), text: answer.to_string() })
}

/// How an approval is written as JSON.
const VERDICT_EXAMPLE: &str = r#"{"decision": "once", "arguments": {"amount": 4.50}}"#;

fn check_verdict(asked: &ApprovalQuestion, answer: &Value) -> Result<ValidAnswer, String> {
    let Value::Object(fields) = answer else {
        let kind = type_in_words(answer);
        return Err(format!("the answer must be an object, not {kind}; write it like {VERDICT_EXAMPLE}"));
    };
    let mistakes = verdict_mistakes(asked, fields);
    if !mistakes.is_empty() {
        return Err(mistakes.join("; "));
    }
    let verdict = crate::bounds::from_value::<ApprovalAnswer>(answer.clone())
        .map_err(|_| format!("this is no answer to an approval; write it like {VERDICT_EXAMPLE}"))?;
    if let (Some(shown), Some(digest)) = (&asked.digest, &verdict.digest)
        && shown != digest
    {
        return Err(OTHER_DIGEST.to_owned());
    }
    if let Some(reason) = &verdict.reason
        && reason.chars().count() > LONGEST_REASON
    {
        return Err(format!("the reason is longer than {LONGEST_REASON} characters"));
    }
    if verdict.decision == ApprovalDecision::Deny && (verdict.arguments.is_some() || !verdict.changes.is_empty()) {
        return Err("what is denied takes no arguments".to_owned());
    }
    let arguments = permission::changed(asked, &verdict)?;
    let text = match (verdict.decision, &verdict.reason) {
        (ApprovalDecision::Once, _) => "Allowed once".to_owned(),
        (ApprovalDecision::Same, _) => "Allowed, always with these arguments".to_owned(),
        (ApprovalDecision::Always, _) => "Allowed, always in this run".to_owned(),
        (ApprovalDecision::Deny, Some(reason)) => format!("Denied: {reason}"),
        (ApprovalDecision::Deny, None) => "Denied".to_owned(),
    };
    // Changes are in the arguments now.
    let verdict = ApprovalAnswer { arguments, changes: Vec::new(), ..verdict };
    Ok(ValidAnswer { value: json!(verdict), text })
}

/// What is wrong with the form of an approval, a sentence for each mistake.
fn verdict_mistakes(asked: &ApprovalQuestion, fields: &Map<String, Value>) -> Vec<String> {
    const KNOWN: [&str; 5] = ["decision", "arguments", "changes", "digest", "reason"];
    const DECISIONS: [&str; 4] = ["once", "same", "always", "deny"];
    let mut mistakes = Vec::new();
    match fields.get("decision") {
        Some(Value::String(word)) if DECISIONS.contains(&word.as_str()) => {}
        Some(Value::String(word)) => {
            let hint = did_you_mean(word, DECISIONS).unwrap_or_else(|| "once, same, always or deny".to_owned());
            mistakes.push(format!("{} is not a decision ({hint})", quoted(word)));
        }
        Some(other) => mistakes.push(format!("decision: it must be a text, not {}", type_in_words(other))),
        None => mistakes.push("decision is missing (once, same, always or deny)".to_owned()),
    }
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
        let expected = match name.as_str() {
            "arguments" if !value.is_object() => "an object with all arguments of the call",
            "changes" if !is_list_of_changes(value) => {
                r#"a list like [{"path": "/amount", "json": "4.50"}], with the new value as JSON text"#
            }
            "digest" | "reason" if !value.is_string() => "a text",
            known if KNOWN.contains(&known) => continue,
            unknown if permission::is_argument(asked, unknown) => {
                mistakes
                    .push(format!("{} is an argument of the call: write it like {VERDICT_EXAMPLE}", quoted(unknown)));
                continue;
            }
            unknown => {
                let hint = did_you_mean(unknown, KNOWN).unwrap_or_else(|| format!("there is {}", KNOWN.join(", ")));
                mistakes.push(format!("an answer has no field {} ({hint})", quoted(unknown)));
                continue;
            }
        };
        mistakes.push(format!("{name}: it must be {expected}, not {}", type_in_words(value)));
    }
    mistakes
}

fn is_list_of_changes(value: &Value) -> bool {
    value.is_array() && crate::bounds::from_value::<Vec<ArgumentChange>>(value.clone()).is_ok()
}

/// Why an answer to something else than what was shown is refused.
pub const OTHER_DIGEST: &str = "what was allowed is not what would be called: look at the question again";

fn check_schema(schema: &Value, answer: &Value) -> Result<(), String> {
    let validator = crate::schema::validator(schema).map_err(|_| "the question's schema cannot be read".to_owned())?;
    let problems: Vec<String> = validator
        .iter_errors(answer)
        .take(10)
        .map(|error| {
            let place = error.instance_path().to_string();
            // What is wrong may be as long as the answer.
            let error = cut(&error.to_string(), LONGEST_PROBLEM);
            if place.is_empty() { error } else { format!("{}: {error}", place.trim_start_matches('/')) }
        })
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
}

/// How many letters of an answer that does not fit are repeated.
const LONGEST_QUOTED: usize = 100;
/// How many letters a sentence about a part of a form may have.
const LONGEST_PROBLEM: usize = 500;

/// An answer, or its beginning, in quotes.
fn quoted(text: &str) -> String {
    format!("{:?}", cut(text, LONGEST_QUOTED))
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn type_in_words(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::super::AnswerDeadline;
    use super::*;

    fn choice(single: bool) -> MessageContent {
        MessageContent::MultipleChoice(MultipleChoice {
            choices: vec!["A".into(), "B, with a comma".into(), "C".into()],
            single,
            ..MultipleChoice::default()
        })
    }

    #[test]
    fn answers_are_checked_and_the_refusal_is_a_sentence() {
        let text = |value_type, pattern: Option<&str>| {
            MessageContent::TextInput(TextInput {
                value_type,
                pattern: pattern.map(str::to_owned),
                ..TextInput::default()
            })
        };
        let ok = |question: &MessageContent, answer: Value| check_answer(question, &answer).unwrap().value;
        let no = |question: &MessageContent, answer: Value| check_answer(question, &answer).unwrap_err();
        assert_eq!(ok(&text(TextValue::String, None), json!("")), json!(""));
        assert_eq!(ok(&text(TextValue::Integer, None), json!(" 42 ")), json!(42));
        assert_eq!(ok(&text(TextValue::Integer, None), json!(42)), json!(42));
        assert_eq!(no(&text(TextValue::Integer, None), json!("4.5")), "\"4.5\" is not a whole number");
        assert_eq!(no(&text(TextValue::Number, None), json!("NaN")), "\"NaN\" is not a number");
        assert_eq!(no(&text(TextValue::String, None), json!({})), "the answer must be a text, not an object");
        assert!(no(&text(TextValue::String, Some("[a-z]+")), json!("a1")).contains("does not have the form"));
        assert_eq!(ok(&choice(true), json!("C")), json!("C"));
        assert_eq!(no(&choice(true), json!("D")), "\"D\" is not one of the choices: A, B, with a comma, C");
        assert_eq!(ok(&choice(false), json!(["C", "A", "A"])), json!(["C", "A"]));
        assert_eq!(check_text_answer(&choice(false), "A,C").unwrap().value, json!(["A", "C"]));
        assert_eq!(check_text_answer(&choice(false), "B, with a comma").unwrap().value, json!(["B, with a comma"]));
        let form = MessageContent::Form(FormQuestion {
            prompt: None,
            schema: json!({"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}),
            can_decline: false,
            answerers: None,
            deadline: AnswerDeadline::default(),
        });
        assert_eq!(check_text_answer(&form, r#"{"age": 3}"#).unwrap().value, json!({"age": 3}));
        assert!(no(&form, json!({"age": "x"})).contains("age"));
        assert!(check_text_answer(&form, "three").is_err());
    }

    #[test]
    fn an_approval_is_answered_with_a_decision() {
        let asked = MessageContent::Approval(Box::new(ApprovalQuestion {
            function_name: "pay".into(),
            arguments: Map::from_iter([("amount".to_owned(), json!(5))]),
            schema: Some(json!({"type": "object", "properties": {"amount": {"maximum": 100}}})),
            ..ApprovalQuestion::default()
        }));
        let text = |answer: Value| check_answer(&asked, &answer).map(|fits| fits.text);
        let ok = |words: &str| Ok(words.to_owned());
        assert_eq!(text(json!({"decision": "once"})), ok("Allowed once"));
        assert_eq!(text(json!({"decision": "always", "arguments": {"amount": 7}})), ok("Allowed, always in this run"));
        assert_eq!(text(json!({"decision": "deny", "reason": "too much"})), ok("Denied: too much"));
        let longest = "ü".repeat(LONGEST_REASON);
        assert_eq!(text(json!({"decision": "deny", "reason": longest})), Ok(format!("Denied: {longest}")));
        assert_eq!(
            text(json!({"decision": "deny", "reason": format!("{longest}.")})),
            Err("the reason is longer than 500 characters".to_owned())
        );
        for number in ["1", "\"once\""] {
            let refusal = check_text_answer(&asked, number).unwrap_err();
            assert_eq!(refusal, "answer once, same, always or deny (deny: with a reason)", "{number}");
        }
        assert!(text(json!({"decision": "once", "arguments": {"amount": 700}})).unwrap_err().contains("amount"));
        assert!(text(json!({"decision": "deny", "arguments": {}})).is_err());
        assert!(text(json!("once")).is_err());
        assert_eq!(check_text_answer(&asked, " Yes ").unwrap().value, json!({"decision": "once"}));
        assert_eq!(check_text_answer(&asked, r#"{"decision": "deny"}"#).unwrap().text, "Denied");
        assert_eq!(
            check_text_answer(&asked, "maybe").unwrap_err(),
            "answer once, same, always or deny (deny: with a reason)"
        );
        let denied = check_text_answer(&asked, "Deny: Too much").unwrap();
        assert_eq!(denied.value, json!({"decision": "deny", "reason": "Too much"}));
        for words in ["same", "Allow always with these arguments"] {
            let same = check_text_answer(&asked, words).unwrap();
            assert_eq!(
                (same.value, &*same.text),
                (json!({"decision": "same"}), "Allowed, always with these arguments")
            );
        }
        assert_eq!(check_text_answer(&asked, "Allow once").unwrap().text, "Allowed once");
    }
    #[test]
    fn all_mistakes_of_an_approval_in_json_are_said_at_once() {
        let asked = MessageContent::Approval(Box::new(ApprovalQuestion {
            function_name: "pay".into(),
            arguments: Map::from_iter([("amount".to_owned(), json!(5)), ("to".to_owned(), json!("Ada"))]),
            schema: Some(json!({
                "type": "object", "required": ["to"],
                "properties": {"amount": {"type": "number", "maximum": 100}, "to": {"type": "string"}},
            })),
            ..ApprovalQuestion::default()
        }));
        let example = r#"write it like {"decision": "once", "arguments": {"amount": 4.50}}"#;
        for (answer, sentences) in [
            ("{\"decision\": \"once\"", format!("this is not JSON (EOF while parsing an object at line 1 column 19); {example}")),
            ("[1]", format!("the answer must be an object, not a list; {example}")),
            ("{\"decision\": \"onse\"}", "\"onse\" is not a decision (did you mean \"once\"?)".to_owned()),
            (
                r#"{"amount": 4, "reson": "x", "for": "ever", "arguments": [4]}"#,
                format!(
                    "decision is missing (once, same, always or deny); \"amount\" is an argument of the call: {example}; \
                     an answer has no field \"reson\" (did you mean \"reason\"?); \
                     an answer has no field \"for\" (there is decision, arguments, changes, digest, reason); \
                     arguments: it must be an object with all arguments of the call, not a list"
                ),
            ),
            (
                r#"{"decision": "once", "changes": [{"path": "/amount", "value": 4}]}"#,
                "changes: it must be a list like [{\"path\": \"/amount\", \"json\": \"4.50\"}], with the new value as JSON text, not a list"
                    .to_owned(),
            ),
            (
                r#"{"decision": "once", "arguments": {"amout": 4, "amount": "much"}}"#,
                "there is no argument amout (did you mean \"amount\"?); to is missing; amount: it must be a number, not a text"
                    .to_owned(),
            ),
            (
                r#"{"decision": "once", "changes": [{"path": "/amount", "json": "700"}, {"path": "/amout", "json": "1"}, {"path": "/to"}]}"#,
                "there is no argument amout (did you mean \"amount\"?); to is missing; amount: it must be at most 100".to_owned(),
            ),
        ] {
            let refusal = check_text_answer(&asked, answer).unwrap_err();
            let mut found: Vec<&str> = refusal.split("; ").collect();
            let mut wanted: Vec<&str> = sentences.split("; ").collect();
            found.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(found, wanted, "{answer}");
        }
    }
}
