//! What a person allows when a tool is approved: exactly the call that was shown. A digest stands for it: the question names it, the
//! answer gives it back, and the call is made only if it is still the same.

use std::collections::HashSet;

use jsonschema::ValidationError;
use serde_json::{Map, Number, Value, json};
use sha2::Digest;

use super::{ApprovalAnswer, ApprovalQuestion, ArgumentChange};
use crate::bounds::{BoundKind, MADE, OUTSIDE, UNAMBIGUOUS, UnfitJson, ValueBounds, check_value, read};
use crate::ids::hex;
use crate::problem::did_you_mean;
use crate::redact::REDACTED;
use crate::schema::{self, SchemaMisfit};

/// A call of a tool that somebody may be asked about.
#[derive(Debug, Clone, Copy)]
pub struct CalledTool<'a> {
    /// The workflow whose tool it is.
    pub workflow: &'a str,
    /// The hash of the definition that the run is pinned to.
    pub definition: Option<&'a str>,
    /// The tool.
    pub tool: &'a str,
    /// Who calls it.
    pub by: &'a str,
    /// With exactly these arguments.
    pub arguments: &'a Map<String, Value>,
    /// And with these, which its workflow gives.
    pub injected: &'a Map<String, Value>,
}

impl CalledTool<'_> {
    /// The digest of the call. `salt` is shown to nobody who sees redacted arguments: they could find them by trying.
    pub fn digest(&self, salt: &str) -> String {
        let Self { workflow, definition, tool, by, arguments, injected } = self;
        let mut call = match injected.is_empty() {
            true => json!(["fastagency call 1", salt, workflow, definition, tool, by, arguments]),
            false => json!(["fastagency call 2", salt, workflow, definition, tool, by, arguments, injected]),
        };
        call.sort_all_objects();
        hex(&sha2::Sha256::digest(call.to_string()))
    }
}

/// How the mark begins that stands where a password is: its name follows.
pub const PASSWORD: &str = "[password: ";

/// How many changes one answer may make: more than any form has fields.
const MOST_CHANGES: usize = 1000;
/// How many letters of a place are repeated in a refusal.
const LONGEST_PLACE: usize = 100;
/// How many references of a schema lead on to the next one.
const MOST_REFERENCES: usize = 8;

/// How many sentences a refusal has.
const MOST_MISTAKES: usize = 10;

/// The arguments that an answer wants instead; none: those that were shown. The error has a sentence for each mistake.
pub(super) fn changed(
    asked: &ApprovalQuestion,
    verdict: &ApprovalAnswer,
) -> Result<Option<Map<String, Value>>, String> {
    let wanted = wanted(asked, verdict)?;
    let Some(WantedArguments { arguments, mut mistakes }) = wanted else { return Ok(None) };
    mistakes.extend(refusals(asked, &arguments)?);
    mistakes.dedup();
    mistakes.truncate(MOST_MISTAKES);
    if mistakes.is_empty() { Ok(Some(arguments)) } else { Err(mistakes.join("; ")) }
}

/// Whether the call has an argument of this name, or may have it.
pub(super) fn is_argument(asked: &ApprovalQuestion, name: &str) -> bool {
    let properties = asked.schema.as_ref().and_then(|schema| schema.get("properties")?.as_object());
    asked.arguments.contains_key(name) || properties.is_some_and(|properties| properties.contains_key(name))
}

/// The arguments as an answer has them, as far as they can be made.
struct WantedArguments {
    arguments: Map<String, Value>,
    /// A sentence for each change that cannot be made.
    mistakes: Vec<String>,
}

fn wanted(asked: &ApprovalQuestion, verdict: &ApprovalAnswer) -> Result<Option<WantedArguments>, String> {
    if let Some(arguments) = &verdict.arguments {
        if !verdict.changes.is_empty() {
            return Err("an answer has arguments or changes, not both".to_owned());
        }
        let (before, after) = (Value::Object(asked.arguments.clone()), Value::Object(arguments.clone()));
        if let Some((place, digits)) = rounded(&before, &after, String::new()) {
            let place = place.trim_start_matches('/');
            return Err(format!(
                "{place}: it is {digits} rounded, as some programs read numbers; send only what was changed, as changes"
            ));
        }
        check_value(&after, &bounds(&before)).map_err(|exceeded| exceeded.to_string())?;
        return Ok(Some(WantedArguments { arguments: arguments.clone(), mistakes: Vec::new() }));
    }
    if verdict.changes.is_empty() {
        return Ok(None);
    }
    let count = verdict.changes.len();
    if count > MOST_CHANGES {
        return Err(format!("changes: {count} in one answer; the most are {MOST_CHANGES}"));
    }
    let mut arguments = Value::Object(asked.arguments.clone());
    let bounds = bounds(&arguments);
    let (mut places, mut mistakes): (HashSet<&str>, Vec<String>) = (HashSet::new(), Vec::new());
    for change in &verdict.changes {
        // The one before would be lost in this one.
        let is_lost = |known: &&str| known.strip_prefix(&*change.path).is_some_and(|rest| rest.starts_with('/'));
        let made = if places.iter().any(is_lost) || !places.insert(&change.path) {
            Err(format!("{}: it is changed twice", shown(&change.path)))
        } else {
            refuse_given(asked, &change.path).and_then(|()| apply(&mut arguments, change, &bounds))
        };
        mistakes.extend(made.err().filter(|_| mistakes.len() < MOST_MISTAKES));
    }
    check_value(&arguments, &bounds).map_err(|exceeded| exceeded.to_string())?;
    let Value::Object(arguments) = arguments else {
        unreachable!("a change leaves the object of the arguments in its place")
    };
    Ok(Some(WantedArguments { arguments, mistakes }))
}

/// Why a tool is not called with these arguments, a sentence for each mistake: an argument that the workflow gives, a name that the tool
/// does not know (the call would be made without it, and nobody would see that a change was misspelt), a mark of what is not shown, and
/// what does not fit the schema.
fn refusals(asked: &ApprovalQuestion, arguments: &Map<String, Value>) -> Result<Vec<String>, String> {
    let given = arguments.keys().filter(|name| asked.injected.contains_key(*name));
    let mut mistakes: Vec<String> = given.map(|name| given_by_workflow(name)).collect();
    let (before, after) = (Value::Object(asked.arguments.clone()), Value::Object(arguments.clone()));
    let mut unknown = Vec::new();
    if let Some(schema) = &asked.schema {
        add_unknown_names(schema, schema, (Some(&before), &after), "", &mut unknown);
        unknown.retain(|name| !asked.injected.contains_key(&name.place));
    }
    mistakes.extend(
        unknown.iter().map(|UnknownName { place, hint }| format!("there is no argument {}{hint}", shown(place))),
    );
    mistakes.extend(refuse_redacted(&before, &after).err());
    if let Some(schema) = &asked.schema {
        let validator = schema::validator(schema).map_err(|_| "the question's schema cannot be read".to_owned())?;
        // What stands for a password is not what the tool gets: the worker checks that.
        let is_password =
            |error: &ValidationError<'_>| error.instance().as_str().is_some_and(|text| text.contains(PASSWORD));
        let misfits = validator.iter_errors(&after).filter(|error| !is_password(error));
        let misfits = misfits.flat_map(|error| schema::misfits_of(&error));
        let is_new = |misfit: &SchemaMisfit| !unknown.iter().any(|name| name.place == misfit.place);
        mistakes.extend(misfits.filter(is_new).take(MOST_MISTAKES).map(|misfit| misfit.to_string()));
    }
    Ok(mistakes)
}

/// Refuses a change of what the workflow gives.
fn refuse_given(asked: &ApprovalQuestion, path: &str) -> Result<(), String> {
    let name = field_name(path.trim_start_matches('/').split('/').next().unwrap_or_default());
    match asked.injected.contains_key(&name) {
        true => Err(given_by_workflow(&name)),
        false => Ok(()),
    }
}

fn given_by_workflow(name: &str) -> String {
    format!("{} is given by the workflow, and cannot be changed", shown(name))
}

/// A name that is new in an object whose schema lists its fields.
struct UnknownName {
    place: String,
    /// What was probably meant, in parentheses.
    hint: String,
}

/// Adds the names that are new in objects whose schemas list their fields. What was shown with such a name may stay.
fn add_unknown_names(
    root: &Value,
    schema: &Value,
    (before, after): (Option<&Value>, &Value),
    place: &str,
    unknown: &mut Vec<UnknownName>,
) {
    let Some(schema) = followed(root, schema) else { return };
    match after {
        Value::Object(fields) => {
            let Some(known) = schema.get("properties").and_then(Value::as_object) else { return };
            // As the tool is called: what is not listed is left out, unless the schema says that there may be more.
            let is_closed = schema.get("additionalProperties").is_none_or(|more| *more == json!(false))
                && schema.get("patternProperties").is_none();
            let before = before.and_then(Value::as_object);
            for (name, value) in fields {
                let before = before.and_then(|fields| fields.get(name));
                let place = format!("{place}{name}");
                match known.get(name) {
                    Some(schema) => add_unknown_names(root, schema, (before, value), &format!("{place}/"), unknown),
                    None if is_closed && before.is_none() => {
                        let near = did_you_mean(name, known.keys().map(String::as_str));
                        let hint = near.map(|near| format!(" ({near})")).unwrap_or_default();
                        unknown.push(UnknownName { place, hint });
                    }
                    None => {}
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = schema.get("items") else { return };
            let before = before.and_then(Value::as_array);
            for (at, item) in items.iter().enumerate() {
                let before = before.and_then(|items| items.get(at));
                add_unknown_names(root, schema, (before, item), &format!("{place}{at}/"), unknown);
            }
        }
        _ => {}
    }
}

/// A schema, or the one in the same document that it refers to; none: its fields are listed in several places, or nowhere.
fn followed<'s>(root: &'s Value, mut schema: &'s Value) -> Option<&'s Value> {
    for _ in 0..MOST_REFERENCES {
        if ["allOf", "anyOf", "oneOf", "if"].iter().any(|key| schema.get(*key).is_some()) {
            return None;
        }
        match schema.get("$ref") {
            Some(target) => schema = root.pointer(target.as_str()?.strip_prefix('#')?)?,
            None => return Some(schema),
        }
    }
    None
}

/// How much the changed arguments may be: as much as comes from outside, or as a workflow makes, if those that were shown are
/// more already.
fn bounds(shown: &Value) -> ValueBounds {
    if check_value(shown, &OUTSIDE).is_ok() { OUTSIDE } else { MADE }
}

/// Refuses the mark that stands where something is not shown: sent back as if it were the value, it would be called with.
fn refuse_redacted(before: &Value, after: &Value) -> Result<(), String> {
    fn marks(mark: &str, value: &Value) -> usize {
        match value {
            Value::String(text) => text.matches(mark).count(),
            Value::Array(items) => items.iter().map(|item| marks(mark, item)).sum(),
            Value::Object(fields) => {
                fields.iter().map(|(name, value)| name.matches(mark).count() + marks(mark, value)).sum()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        }
    }
    for (mark, shown) in [(REDACTED, REDACTED), (PASSWORD, "[password: …]")] {
        if marks(mark, after) > marks(mark, before) {
            return Err(format!(
                "{shown} stands where something is not shown, and is no value; leave out what was not changed, or write the whole value"
            ));
        }
    }
    Ok(())
}

/// Puts one change into the arguments: the rest stays as the server has it. They never become deeper than the bounds: what is
/// put in is measured from its place on, before it is there.
fn apply(arguments: &mut Value, change: &ArgumentChange, bounds: &ValueBounds) -> Result<(), String> {
    let place = shown(&change.path);
    let unknown = || format!("{place:?} is no place in the arguments (a JSON Pointer to a field, like /amount)");
    let (folder, name) = change.path.rsplit_once('/').ok_or_else(unknown)?;
    let fields = arguments.pointer_mut(folder).and_then(Value::as_object_mut).ok_or_else(unknown)?;
    let name = field_name(name);
    let Some(text) = &change.json else {
        return fields.shift_remove(&name).map(drop).ok_or_else(unknown);
    };
    let value: Value = read(text.as_bytes(), &UNAMBIGUOUS).map_err(|unfit| match unfit {
        UnfitJson::Exceeded(exceeded) => format!("{place}: {exceeded}"),
        UnfitJson::Json(_) => format!("{place}: what it is changed to must be JSON text"),
    })?;
    // Each slash is a level around the value.
    let left = ValueBounds { depth: bounds.depth.saturating_sub(change.path.matches('/').count()), ..*bounds };
    if let Err(exceeded) = check_value(&value, &left) {
        let limit = if exceeded.limit == BoundKind::Depth(left.depth) {
            BoundKind::Depth(bounds.depth)
        } else {
            exceeded.limit
        };
        return Err(format!("{place}: {limit}"));
    }
    fields.insert(name, value);
    Ok(())
}

/// A name as a JSON Pointer writes it.
fn field_name(written: &str) -> String {
    written.replace("~1", "/").replace("~0", "~")
}

/// A text from outside as a refusal repeats it.
fn shown(text: &str) -> String {
    match text.char_indices().nth(LONGEST_PLACE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A number that was shown exactly, and came back as what is left of it in a program that knows only floating-point numbers.
fn rounded(before: &Value, after: &Value, place: String) -> Option<(String, String)> {
    match (before, after) {
        (Value::Number(before), Value::Number(after)) => {
            let float = before.as_f64().filter(|float| after.as_f64() == Some(*float))?;
            // Such programs write it with the fewest digits, or with all of its own; another neighbour is what a person wrote.
            let written = after.to_string();
            let is_rounded = decimal(before.as_str()) != decimal(after.as_str())
                && (after.is_f64() || written == float.to_string() || written == (float as i128).to_string());
            is_rounded.then(|| (place, before.to_string()))
        }
        (Value::Object(before), Value::Object(after)) => {
            before.iter().find_map(|(name, before)| rounded(before, after.get(name)?, format!("{place}/{name}")))
        }
        (Value::Array(before), Value::Array(after)) => {
            let mut pairs = before.iter().zip(after).enumerate();
            pairs.find_map(|(at, (before, after))| rounded(before, after, format!("{place}/{at}")))
        }
        _ => None,
    }
}

/// Whether a value has a number that a program with nothing but floating-point numbers would show in other digits.
pub(super) fn has_exact_number(value: &Value) -> bool {
    const LARGEST: u64 = (1 << 53) - 1;
    match value {
        Value::Number(number) => match number.as_i64() {
            Some(whole) => whole.unsigned_abs() > LARGEST || number.as_str() == "-0",
            None => {
                let shortest = number.as_f64().and_then(Number::from_f64);
                number.as_str().contains('e') || number.as_str().ends_with(".0") || shortest.as_ref() != Some(number)
            }
        },
        Value::Array(items) => items.iter().any(has_exact_number),
        Value::Object(fields) => fields.values().any(has_exact_number),
        _ => false,
    }
}

/// Whether two objects differ at most in how their numbers are written: 1.10 is worth the same as 1.1.
pub fn differ_in_number_format_only(one: &Map<String, Value>, other: &Map<String, Value>) -> bool {
    one.len() == other.len()
        && one.iter().all(|(name, one)| other.get(name).is_some_and(|other| are_equal_in_value(one, other)))
}

fn are_equal_in_value(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one == other || decimal(one.as_str()) == decimal(other.as_str()),
        (Value::Object(one), Value::Object(other)) => differ_in_number_format_only(one, other),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| are_equal_in_value(one, other))
        }
        _ => one == other,
    }
}

/// A decimal number as its sign, its digits without zeros at either end, and where its point is; none: it is no number.
fn decimal(text: &str) -> Option<(bool, String, i64)> {
    let (is_negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0');
    let point =
        exponent.trim_start_matches('+').parse::<i64>().ok()?.checked_sub(i64::try_from(fraction.len()).ok()?)?;
    let trimmed = significant.trim_end_matches('0');
    if trimmed.is_empty() {
        return Some((false, String::new(), 0));
    }
    let zeros = i64::try_from(significant.len() - trimmed.len()).ok()?;
    Some((is_negative, trimmed.to_owned(), point.checked_add(zeros)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_no_argument_takes_is_refused() {
        let object = |value: Value| value.as_object().unwrap().clone();
        let schema = json!({
            "type": "object",
            "properties": {
                "amount": {"type": "number"}, "to": {"$ref": "#/$defs/Person"}, "free": {"type": "object"},
                "lines": {"items": {"properties": {"n": {}}}},
                "more": {"properties": {"a": {}}, "additionalProperties": true},
            },
            "$defs": {"Person": {"properties": {"name": {}}}},
        });
        let asked = ApprovalQuestion {
            arguments: object(json!({"amount": 100, "to": {"name": "Ada", "old": 1}, "lines": [{"n": 1}], "more": {}})),
            injected: object(json!({"who": "Bo"})),
            schema: Some(schema),
            ..ApprovalQuestion::default()
        };
        let answer = |answer: Value| changed(&asked, &crate::bounds::from_value(answer).unwrap());
        let one =
            |path: &str, json: &str| answer(json!({"decision": "once", "changes": [{"path": path, "json": json}]}));
        for (path, sentence) in [
            ("/amout", "there is no argument amout (did you mean \"amount\"?)"),
            ("/to/nam", "there is no argument to/nam (did you mean \"name\"?)"),
            ("/lines/0/m", "there is no argument lines/0/m"),
            ("/who", "who is given by the workflow, and cannot be changed"),
            ("/who/name", "who is given by the workflow, and cannot be changed"),
        ] {
            assert_eq!(one(path, "1").unwrap_err(), sentence, "{path}");
        }
        assert!(one("/free", "{}").is_ok());
        for path in ["/amount", "/to/name", "/to/old", "/lines/0/n", "/more/b"] {
            assert!(one(path, "1").is_ok(), "{path}");
        }
        let whole = |more: Value| {
            let mut arguments = asked.arguments.clone();
            arguments.extend(object(more));
            answer(json!({"decision": "once", "arguments": arguments}))
        };
        assert!(whole(json!({"amout": 1})).unwrap_err().starts_with("there is no argument amout"));
        assert_eq!(whole(json!({"who": "Al"})).unwrap_err(), "who is given by the workflow, and cannot be changed");
        assert!(whole(json!({"amount": 1})).is_ok());
        let both = |paths: [&str; 2]| {
            let value = |path: &str| if path == "/amount" { "1" } else { "{\"name\": 1}" };
            let changes = paths.map(|path| json!({"path": path, "json": value(path)}));
            answer(json!({"decision": "once", "changes": changes}))
        };
        assert_eq!(both(["/amount", "/amount"]).unwrap_err(), "/amount: it is changed twice");
        assert_eq!(both(["/to/name", "/to"]).unwrap_err(), "/to: it is changed twice");
        assert!(both(["/to", "/to/name"]).is_ok() && both(["/amount", "/to"]).is_ok());
    }

    #[test]
    fn numbers_that_other_programs_show_in_other_digits_are_found() {
        let has = |text: &str| has_exact_number(&serde_json::from_str(text).unwrap());
        for same in ["1", "-5", "9007199254740991", "0.1", "[1.5, {\"a\": 19.99}]", "\"1.0\"", "true"] {
            assert!(!has(same), "{same}");
        }
        for other in
            ["9007199254740993", "18446744073709551616", "1.0", "[1.10]", "{\"a\": 1e3}", "-0", "0.1234567890123456789"]
        {
            assert!(has(other), "{other}");
        }
    }

    #[test]
    fn a_number_that_was_rounded_on_its_way_is_no_change_that_a_person_made() {
        let asked = |json: &str| ApprovalQuestion {
            arguments: serde_json::from_str(&format!("{{\"n\": {json}}}")).unwrap(),
            ..ApprovalQuestion::default()
        };
        let sent = |before: &str, after: &str| {
            let answer = format!("{{\"decision\": \"once\", \"arguments\": {{\"n\": {after}}}}}");
            changed(&asked(before), &serde_json::from_str(&answer).unwrap())
                .map(|arguments| arguments.unwrap()["n"].to_string())
        };
        for (before, after) in [
            ("2512292042121000001", "2512292042121000000"),
            ("2512292042121000001", "2.512292042121e18"),
            ("123456789012345678901234567890", "1.2345678901234568e+29"),
            ("0.1234567890123456789012345678", "0.12345678901234568"),
        ] {
            assert!(sent(before, after).unwrap_err().contains("rounded"), "{before} {after}");
        }
        for (before, after) in
            [("1.10", "1.1"), ("1e3", "1000"), ("1.0", "1"), ("7", "8"), ("2512292042121000001", "2512292042121000002")]
        {
            assert_eq!(sent(before, after).unwrap(), after, "{before}");
        }
    }

    #[test]
    fn the_mark_of_what_is_not_shown_is_no_value_that_a_tool_is_called_with() {
        let object = |value: Value| value.as_object().unwrap().clone();
        let asked = ApprovalQuestion {
            arguments: object(json!({"iban": "DE02", "note": "hi"})),
            ..ApprovalQuestion::default()
        };
        let answer = |value: Value| changed(&asked, &crate::bounds::from_value(value).unwrap());
        for sent in [
            json!({"decision": "once", "arguments": {"iban": "[redacted]", "note": "ho"}}),
            json!({"decision": "once", "changes": [{"path": "/iban", "json": "\"[redacted]\""}]}),
            json!({"decision": "once", "changes": [{"path": "/note", "json": "[{\"x\": \"to [redacted]\"}]"}]}),
        ] {
            assert!(answer(sent).unwrap_err().contains("[redacted] stands where something is not shown"));
        }
        let kept = answer(json!({"decision": "once", "changes": [{"path": "/note", "json": "\"ho\""}]}));
        assert_eq!(kept.unwrap().unwrap(), object(json!({"iban": "DE02", "note": "ho"})));
        // What a model wrote itself is there to be seen.
        let own = ApprovalQuestion { arguments: object(json!({"note": "[redacted]"})), ..ApprovalQuestion::default() };
        let sent = crate::bounds::from_value(json!({"decision": "once", "arguments": {"note": "[redacted]"}})).unwrap();
        assert!(changed(&own, &sent).is_ok());
    }

    #[test]
    fn changes_grow_the_arguments_no_further_than_what_comes_from_outside() {
        let object = |value: Value| value.as_object().unwrap().clone();
        let nested = |depth: usize| (0..depth).fold(json!(1), |inner, _| json!({"k": inner}));
        let asked = |arguments: Value| ApprovalQuestion { arguments: object(arguments), ..ApprovalQuestion::default() };
        let answer = |asked: &ApprovalQuestion, changes: &[(String, String)]| {
            let changes: Vec<Value> = changes.iter().map(|(path, json)| json!({"path": path, "json": json})).collect();
            changed(asked, &crate::bounds::from_value(json!({"decision": "once", "changes": changes})).unwrap())
        };
        let plain = asked(json!({"note": "hi"}));
        let change = |path: &str, json: String| [(path.to_owned(), json)];
        let arguments = answer(&plain, &change("/note", nested(63).to_string())).unwrap().unwrap();
        check_value(&Value::Object(arguments), &OUTSIDE).unwrap();
        // Each goes on where the one before it ended.
        let chained = |count: usize| -> Vec<(String, String)> {
            let path = |at: usize| format!("/note{}", "/k".repeat(40 * at));
            (0..count).map(|at| (path(at), nested(40).to_string())).collect()
        };
        let reserved = "$serde_json::private::RawValue";
        for (changes, why) in [
            (change("/note", nested(64).to_string()).to_vec(), "/note: nested deeper than 64 levels"),
            (change("/note", nested(126).to_string()).to_vec(), "/note: k.k.k.k.k.k…: nested deeper than 64 levels"),
            (chained(2), "/k: nested deeper than 64 levels"),
            (
                change("/note", format!("{{{reserved:?}: \"[[]]\"}}")).to_vec(),
                "/note: the name of a field may not begin with",
            ),
            (change(&format!("/{reserved}"), "\"[[]]\"".to_owned()).to_vec(), "the name of a field may not begin with"),
            (change(&format!("/{}", "n".repeat(2000)), "1".to_owned()).to_vec(), "the name of a field is longer"),
            (
                vec![("/note".to_owned(), "1".to_owned()); MOST_CHANGES + 1],
                "changes: 1001 in one answer; the most are 1000",
            ),
        ] {
            let refused = answer(&plain, &changes).unwrap_err();
            assert!(refused.contains(why) && refused.len() < 400, "{refused}");
        }
        let wide = format!("[{}1]", "1,".repeat(60_000));
        let wide = [("/a".to_owned(), wide.clone()), ("/b".to_owned(), wide)];
        assert_eq!(answer(&plain, &wide).unwrap_err(), "b: more than 100000 elements and fields in all");
        // What a workflow made may be deeper, and can still be changed.
        let made = asked(json!({"note": "hi", "deep": nested(75)}));
        assert!(answer(&made, &change("/note", "\"ho\"".to_owned())).unwrap().is_some());
        assert!(
            answer(&made, &change("/deep/k/k/k/k/k/k/k/k/k/k/k/k/k/k/k/k/k/k/k/k", nested(60).to_string())).is_err()
        );
    }

    #[test]
    fn the_digest_is_that_of_every_part_of_the_call() {
        let arguments = |value: Value| value.as_object().unwrap().clone();
        let (one, same, other) = (
            arguments(json!({"a": 9007199254740993u64, "b": {"x": 1, "y": 2}})),
            arguments(json!({"b": {"y": 2, "x": 1}, "a": 9007199254740993u64})),
            arguments(json!({"a": 9007199254740992u64, "b": {"x": 1, "y": 2}})),
        );
        let (none, user) = (Map::new(), arguments(json!({"user": "ann"})));
        let call = CalledTool {
            workflow: "w",
            definition: Some("d"),
            tool: "t",
            by: "clerk",
            arguments: &one,
            injected: &none,
        };
        let digest = call.digest("salt");
        assert_eq!(CalledTool { arguments: &same, ..call }.digest("salt"), digest, "the order of fields says nothing");
        for different in [
            CalledTool { arguments: &other, ..call },
            CalledTool { workflow: "v", ..call },
            CalledTool { definition: Some("e"), ..call },
            CalledTool { definition: None, ..call },
            CalledTool { tool: "u", ..call },
            CalledTool { by: "boss", ..call },
            CalledTool { injected: &user, ..call },
            CalledTool { arguments: &user, injected: &one, ..call },
        ] {
            assert_ne!(different.digest("salt"), digest, "{different:?}");
        }
        assert_ne!(call.digest("other"), digest);
    }
}
