//! JSON Schemas that people and programs wrote, made ready to check values with: their regular expressions are bounded, and so
//! is what they may grow to.

use std::collections::{HashMap, HashSet};
use std::fmt;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{JsonType, PatternOptions, ValidationError, Validator};
use serde_json::{Map, Value};

use crate::problem::did_you_mean;

/// How many parts a schema may have, those that it refers to counted each time.
const MOST_PARTS: usize = 100_000;
/// How deep a schema may be nested.
const DEEPEST_SCHEMA: usize = 64;
/// How often the check of one text may go back to try another way through a pattern that looks around or repeats what it
/// found; all other patterns take a time that grows with the text alone.
const MOST_STEPS_BACK: usize = 100_000;
/// How large a compiled pattern may be, in bytes.
const LARGEST_PATTERN: usize = 2 << 20;

/// Why values cannot be checked against a schema.
#[derive(Debug)]
pub enum Error {
    /// It is no JSON Schema.
    Invalid(Box<ValidationError<'static>>),
    /// It is too large, or too deep.
    TooLarge(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(error) => error.fmt(f),
            Self::TooLarge(why) => f.write_str(why),
        }
    }
}
impl std::error::Error for Error {}

/// Makes a schema ready.
pub fn validator(schema: &Value) -> Result<Validator, Error> {
    let mut parts = SchemaParts { root: schema, known: HashMap::new(), under_way: HashSet::new() };
    if parts.of(schema, 0)? > MOST_PARTS {
        return Err(Error::TooLarge(format!(
            "the schema has more than {MOST_PARTS} parts, with all that it refers to"
        )));
    }
    jsonschema::options()
        .with_pattern_options(
            PatternOptions::fancy_regex()
                .backtrack_limit(MOST_STEPS_BACK)
                .size_limit(LARGEST_PATTERN)
                .dfa_size_limit(LARGEST_PATTERN),
        )
        .build(schema)
        .map_err(|error| Error::Invalid(Box::new(error)))
}

/// How many letters a sentence about a part of a value may have.
const LONGEST_WORDS: usize = 500;

/// What does not fit a schema at one place of a value, in words for the person who wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaMisfit {
    /// The place: names and numbers from the outermost, with `/` between them; empty: the value itself.
    pub place: String,
    /// What is wrong there; none: nothing is there, and something must be.
    pub words: Option<String>,
}

impl fmt::Display for SchemaMisfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.place.as_str(), &self.words) {
            (place, None) => write!(f, "{place} is missing"),
            ("", Some(words)) => f.write_str(words),
            (place, Some(words)) => write!(f, "{place}: {words}"),
        }
    }
}

/// What does not fit a schema in a value, place by place.
pub fn misfits(validator: &Validator, value: &Value) -> Vec<SchemaMisfit> {
    validator.iter_errors(value).flat_map(|error| misfits_of(&error)).collect()
}

/// What an error is about: one place, or each field that should not be there.
pub fn misfits_of(error: &ValidationError<'_>) -> Vec<SchemaMisfit> {
    let place = error.instance_path().to_string().trim_start_matches('/').to_owned();
    let below = |name: &str| if place.is_empty() { name.to_owned() } else { format!("{place}/{name}") };
    match error.kind() {
        ValidationErrorKind::Required { property: Value::String(name) } => {
            vec![SchemaMisfit { place: below(name), words: None }]
        }
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let words = || Some("nothing of this name is expected".to_owned());
            unexpected.iter().map(|name| SchemaMisfit { place: below(name), words: words() }).collect()
        }
        _ => vec![SchemaMisfit { words: Some(shortened(&misfit_words(error))), place }],
    }
}

fn misfit_words(error: &ValidationError<'_>) -> String {
    match error.kind() {
        ValidationErrorKind::Type { kind } => {
            let wanted: Vec<&str> = match kind {
                TypeKind::Single(one) => vec![type_words(*one)],
                TypeKind::Multiple(several) => several.iter().map(type_words).collect(),
            };
            format!("it must be {}, not {}", wanted.join(" or "), value_words(error.instance()))
        }
        ValidationErrorKind::Enum { options } => {
            let options: Vec<String> = options.as_array().into_iter().flatten().map(Value::to_string).collect();
            format!("it must be one of {}, not {}", options.join(", "), error.instance())
        }
        ValidationErrorKind::Constant { expected_value } => {
            format!("it must be {expected_value}, not {}", error.instance())
        }
        ValidationErrorKind::Minimum { limit } => format!("it must be at least {limit}"),
        ValidationErrorKind::Maximum { limit } => format!("it must be at most {limit}"),
        ValidationErrorKind::ExclusiveMinimum { limit } => format!("it must be more than {limit}"),
        ValidationErrorKind::ExclusiveMaximum { limit } => format!("it must be less than {limit}"),
        ValidationErrorKind::MinLength { limit } => format!("it must have at least {}", counted(*limit, "character")),
        ValidationErrorKind::MaxLength { limit } => format!("it must have at most {}", counted(*limit, "character")),
        ValidationErrorKind::MinItems { limit } => format!("it must have at least {}", counted(*limit, "entry")),
        ValidationErrorKind::MaxItems { limit } => format!("it must have at most {}", counted(*limit, "entry")),
        ValidationErrorKind::Pattern { pattern } => format!("it does not have the form that is asked for ({pattern})"),
        ValidationErrorKind::Format { format } => format!("it does not have the form of {format:?}"),
        ValidationErrorKind::FalseSchema => "nothing is expected here".to_owned(),
        _ => error.to_string(),
    }
}

/// A kind of value as people name it.
fn type_words(kind: JsonType) -> &'static str {
    match kind {
        JsonType::Null => "null",
        JsonType::Boolean => "true or false",
        JsonType::Integer => "a whole number",
        JsonType::Number => "a number",
        JsonType::String => "a text",
        JsonType::Array => "a list",
        JsonType::Object => "an object",
    }
}

/// What a value is, as people name it.
pub fn value_words(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// `1 character`, `2 entries`.
fn counted(count: u64, noun: &str) -> String {
    match (count, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        (_, None) => format!("{count} {noun}s"),
    }
}

/// What is wrong may be as long as the value.
fn shortened(words: &str) -> String {
    match words.char_indices().nth(LONGEST_WORDS) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words.to_owned(),
    }
}

/// The most problems of parameters that are named in one answer.
const MOST_PROBLEMS: usize = 10;

/// The parameters of a workflow with the defaults of their schema, or a sentence for each that does not fit, with the name that
/// was probably meant. No validator: only names are looked at.
pub fn checked_params(
    schema: &Value,
    validator: Option<&Validator>,
    params: Map<String, Value>,
) -> Result<Map<String, Value>, String> {
    let unknown = unknown_fields(schema, &params);
    let mut value = Value::Object(params);
    fill_in(schema, &mut value);
    let errors = validator.into_iter().flat_map(|validator| validator.iter_errors(&value));
    // What is said already, and with what was meant.
    let said = !unknown.is_empty();
    let errors =
        errors.filter(|error| !said || !matches!(error.kind(), ValidationErrorKind::AdditionalProperties { .. }));
    let errors = errors.map(|error| {
        let path = error.instance_path().to_string();
        shortened(&match path.trim_start_matches('/') {
            "" => error.to_string(),
            path => format!("{}: {error}", path.replace('/', ".")),
        })
    });
    let problems: Vec<String> = unknown.into_iter().chain(errors).take(MOST_PROBLEMS).collect();
    match value {
        Value::Object(params) if problems.is_empty() => Ok(params),
        _ => Err(problems.join("; ")),
    }
}

/// The parameters of a workflow that has none.
pub fn no_params(params: Map<String, Value>) -> Result<Map<String, Value>, String> {
    checked_params(&serde_json::json!({ "properties": {} }), None, params)
}

/// Puts the schema's defaults where nothing was given, in objects within objects too.
fn fill_in(schema: &Value, value: &mut Value) {
    let (Some(properties), Some(object)) = (schema["properties"].as_object(), value.as_object_mut()) else {
        return;
    };
    for (name, property) in properties {
        match object.get_mut(name) {
            Some(given) => fill_in(property, given),
            None => {
                if let Some(default) = property.get("default") {
                    object.insert(name.clone(), default.clone());
                }
            }
        }
    }
}

/// The fields of an object that its schema does not have, a sentence for each, with the one that was probably meant. A schema
/// that takes other fields, or says by other rules what it takes, has none.
pub fn unknown_fields(schema: &Value, given: &Map<String, Value>) -> Vec<String> {
    let mut problems = Vec::new();
    add_unknown_fields(schema, given, "", &mut problems);
    problems
}

fn add_unknown_fields(schema: &Value, given: &Map<String, Value>, place: &str, problems: &mut Vec<String>) {
    const OTHER_RULES: [&str; 9] = [
        "patternProperties",
        "unevaluatedProperties",
        "$ref",
        "$dynamicRef",
        "allOf",
        "anyOf",
        "oneOf",
        "if",
        "propertyNames",
    ];
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    for (name, value) in given {
        match (properties.get(name), value) {
            (Some(inner), Value::Object(given)) => {
                add_unknown_fields(inner, given, &format!("{place}{name}."), problems);
            }
            (Some(_), _) => {}
            (None, _) if schema.get("additionalProperties").is_some_and(|more| more != &Value::Bool(false)) => {}
            (None, _) if OTHER_RULES.iter().any(|rule| schema.get(rule).is_some()) => {}
            (None, _) => {
                let known = properties.keys().map(String::as_str);
                let hint = did_you_mean(name, known.clone()).unwrap_or_else(|| match known.clone().count() {
                    0 => "there is none".to_owned(),
                    _ => format!("there is {}", known.collect::<Vec<_>>().join(", ")),
                });
                problems.push(shortened(&format!("there is no parameter \"{place}{name}\" ({hint})")));
            }
        }
    }
}

/// Counts the parts of a schema as a check meets them: what is referred to from many places is met in each.
struct SchemaParts<'s> {
    root: &'s Value,
    known: HashMap<&'s str, usize>,
    under_way: HashSet<&'s str>,
}

impl<'s> SchemaParts<'s> {
    fn of(&mut self, schema: &'s Value, depth: usize) -> Result<usize, Error> {
        if depth > DEEPEST_SCHEMA {
            return Err(Error::TooLarge(format!("the schema is more than {DEEPEST_SCHEMA} levels deep")));
        }
        let mut count = 1_usize;
        match schema {
            Value::Array(items) => {
                for item in items {
                    count = count.saturating_add(self.of(item, depth + 1)?);
                }
            }
            Value::Object(map) => {
                for (key, value) in map {
                    let more = match value {
                        Value::String(reference) if key == "$ref" || key == "$dynamicRef" => {
                            self.referred_to(reference)?
                        }
                        value => self.of(value, depth + 1)?,
                    };
                    count = count.saturating_add(more);
                }
            }
            _ => {}
        }
        Ok(count)
    }

    fn referred_to(&mut self, reference: &'s str) -> Result<usize, Error> {
        if let Some(known) = self.known.get(reference) {
            return Ok(*known);
        }
        // A schema that refers to itself, as one of a tree does, is met once for each level of the value.
        let Some(target) = reference.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer)) else {
            return Ok(1);
        };
        if !self.under_way.insert(reference) {
            return Ok(1);
        }
        let count = self.of(target, 0)?;
        self.under_way.remove(reference);
        self.known.insert(reference, count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    #[test]
    fn a_schema_that_grows_by_what_it_refers_to_is_refused() {
        let mut parts = Map::new();
        for level in 0..40 {
            let next = json!({ "$ref": format!("#/$defs/{}", level + 1) });
            parts.insert(level.to_string(), json!({ "allOf": [next, next] }));
        }
        parts.insert("40".to_owned(), json!({ "type": "string" }));
        let growing = json!({ "$ref": "#/$defs/0", "$defs": parts });
        assert!(validator(&growing).unwrap_err().to_string().contains("parts"));
        let deep = (0..100).fold(json!({}), |inner, _| json!({ "not": inner }));
        assert!(validator(&deep).unwrap_err().to_string().contains("deep"));
        let tree = json!({ "$ref": "#/$defs/tree", "$defs": { "tree": {
            "type": "object", "properties": { "left": { "$ref": "#/$defs/tree" }, "right": { "$ref": "#/$defs/tree" } },
        }}});
        let tree = validator(&tree).unwrap();
        assert!(tree.is_valid(&json!({ "left": { "right": {} } })));
        assert!(!tree.is_valid(&json!({ "left": { "right": 1 } })));
    }

    #[test]
    fn what_does_not_fit_is_said_in_the_words_of_people() {
        let schema = json!({"type": "object", "required": ["to"], "properties": {
            "to": {"type": "object", "required": ["iban"]}, "amount": {"type": "number", "maximum": 100},
            "kind": {"enum": ["gift", "debt"]}, "closed": {"properties": {"b": {}}, "additionalProperties": false}, "lines": {"items": {"type": ["integer", "null"]}, "maxItems": 1},
        }});
        let validator = validator(&schema).unwrap();
        let said =
            |value: serde_json::Value| misfits(&validator, &value).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(said(json!({})), ["to is missing"]);
        assert_eq!(said(json!([])), ["it must be an object, not a list"]);
        let wrong = json!({"to": {}, "amount": "much", "kind": "loan", "lines": [1, "x"], "closed": {"a": 1}});
        let mut sentences = said(wrong);
        sentences.sort();
        let all = [
            "amount: it must be a number, not a text",
            "closed/a: nothing of this name is expected",
            "kind: it must be one of \"gift\", \"debt\", not \"loan\"",
            "lines/1: it must be null or a whole number, not a text",
            "lines: it must have at most 1 entry",
            "to/iban is missing",
        ];
        assert_eq!(sentences, all);
        assert_eq!(said(json!({"to": {"iban": 1}, "amount": 700})), ["amount: it must be at most 100"]);
    }

    #[test]
    fn a_pattern_that_looks_around_is_checked_within_bounds() {
        let begun = std::time::Instant::now();
        let looking = validator(&json!({ "type": "string", "pattern": "^(?=.*[0-9])[a-z0-9]{3,}$" })).unwrap();
        assert!(looking.is_valid(&json!("abc1")));
        assert!(!looking.is_valid(&json!("abcd")));
        let nested = validator(&json!({ "type": "string", "pattern": "^(?=a)(a+)+\\1$" })).unwrap();
        assert!(!nested.is_valid(&json!(format!("{}b", "a".repeat(18)))));
        assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
        assert!(validator(&json!({ "pattern": "(?:a{1000}){1000}" })).is_err());
    }
}
