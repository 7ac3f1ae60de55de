//! The value in a reply that must be JSON (`output`). A model without structured output writes more than that: a fence around
//! it, words before and after it, its thoughts. The value is looked for in that order, and the schema decides.

use serde_json::Value;

use crate::bounds::{OUTSIDE, UnfitJson, read};
use crate::chat::behind_thoughts;
use crate::workflow::CompiledSchema;

/// How many places of a text are tried at most.
const MOST_TRIED: usize = 64;

/// Why a reply has no value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum UnfitReply {
    /// There is no JSON in it; the parser's words about the whole.
    NotJson(String),
    /// It is too deep, or too large.
    TooMuch(String),
    /// There is JSON, and the schema wants something else.
    Misfit(String),
}

impl UnfitReply {
    /// A sentence about the agent of that name.
    pub(super) fn of(&self, agent: &str) -> String {
        match self {
            UnfitReply::NotJson(error) => format!("agent {agent:?} did not reply with JSON: {error}"),
            UnfitReply::TooMuch(exceeded) => format!("agent {agent:?} replied with too much: {exceeded}"),
            UnfitReply::Misfit(error) => {
                format!("the reply of agent {agent:?} does not fit its output schema: {error}")
            }
        }
    }
}

/// The value in a reply. One that is JSON as a whole is that value, and nothing is looked for in it.
pub(super) fn structured(text: &str, schema: &CompiledSchema) -> Result<Value, UnfitReply> {
    let error = match read::<Value>(text.as_bytes(), &OUTSIDE) {
        Ok(value) => return fitting(value, schema),
        Err(UnfitJson::Exceeded(exceeded)) => return Err(UnfitReply::TooMuch(exceeded.to_string())),
        Err(UnfitJson::Json(error)) => UnfitReply::NotJson(error.to_string()),
    };
    let answer = behind_thoughts(text);
    let mut unfit = None;
    // Of several the last one is the answer: what comes before it is an example, or a draft.
    for value in fenced(answer).chain(bare(answer)) {
        match fitting(value, schema) {
            Ok(value) => return Ok(value),
            Err(misfit) => unfit = unfit.or(Some(misfit)),
        }
    }
    Err(unfit.unwrap_or(error))
}

fn fitting(value: Value, schema: &CompiledSchema) -> Result<Value, UnfitReply> {
    match schema.validator.validate(&value) {
        Ok(()) => Ok(value),
        Err(error) => Err(UnfitReply::Misfit(error.to_string())),
    }
}

/// The values in fences, the last one first.
fn fenced(text: &str) -> impl Iterator<Item = Value> {
    let mut found = Vec::new();
    let mut lines = text.split_inclusive('\n');
    let mut at = 0;
    let mut open: Option<(usize, &str)> = None;
    for line in lines.by_ref().take(1_000_000) {
        let begin = at;
        at += line.len();
        let marks = line.trim_start();
        match open {
            None => {
                let fence = ["```", "~~~"].into_iter().find(|fence| marks.starts_with(fence));
                // All of it may stand on one line.
                open = fence.map(|fence| (begin + line.find(['{', '[']).unwrap_or(line.len()), fence));
            }
            Some((from, fence)) if marks.starts_with(fence) => {
                found.push(&text[from..begin]);
                open = None;
            }
            Some(_) => {}
        }
    }
    // One that does not end is read up to the end.
    if let Some((from, fence)) = open {
        found.push(text[from..].trim_end().trim_end_matches(fence));
    }
    found.into_iter().rev().take(MOST_TRIED).filter_map(|inside| read(inside.as_bytes(), &OUTSIDE).ok())
}

/// The objects and lists that stand between words, the last one first.
fn bare(text: &str) -> impl Iterator<Item = Value> {
    let mut found = Vec::new();
    let mut rest = text;
    for _ in 0..MOST_TRIED {
        let Some(at) = rest.find(['{', '[']) else { break };
        rest = &rest[at..];
        match read::<Value>(&rest.as_bytes()[..end_of_value(rest)], &OUTSIDE) {
            Ok(value) => {
                found.push(value);
                rest = &rest[end_of_value(rest)..];
            }
            Err(_) => rest = &rest[1..],
        }
    }
    found.into_iter().rev()
}

/// Where the object or list that begins here ends: behind its last bracket, or at the end of the text.
fn end_of_value(text: &str) -> usize {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => depth += 1,
            b'}' | b']' if !quoted => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> CompiledSchema {
        let json = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
        let validator = jsonschema::validator_for(&json).unwrap();
        CompiledSchema { json, validator }
    }

    #[test]
    fn the_value_is_found_in_a_fence_after_words_and_after_thoughts() {
        for text in [
            "{\"n\": 1}",
            " \n{\"n\": 1}\n",
            "```json\n{\"n\": 1}\n```",
            "```\n{\"n\":\n 1}\n```\nThat is all.",
            "Here it is:\n\n  ```json\n  {\"n\": 1}\n  ```",
            "~~~\n{\"n\": 1}\n~~~",
            "```json {\"n\": 1}```",
            "```json\n{\"n\": 1}",
            "The answer is {\"n\": 1}. Use {x} for others.",
            "For example {\"n\": 7}, but here {\"n\": 1}",
            "```json\n{\"n\": 7}\n```\nand now\n```json\n{\"n\": 1}\n```",
            "```json\n{\"n\": 1}\n```\nwith a note:\n```text\nnothing\n```",
            "<think>Perhaps {\"n\": 7}? Or ```{\"n\": 8}```?</think>\n{\"n\": 1}",
            "<thinking>{\"n\": 7}</thinking> Well: {\"n\": 1} [1]",
            "{\"no\": {\"n\": \"x\"}} and {\"n\": 1, \"s\": \"} \\\" {\"}",
        ] {
            let value = structured(text, &schema()).unwrap_or_else(|unfit| panic!("{text}: {unfit:?}"));
            assert_eq!(value["n"], 1, "{text}");
        }
        let fenced = "{\"n\": 1, \"s\": \"```json {\\\"n\\\": 7}```\"}";
        assert_eq!(structured(fenced, &schema()).unwrap()["s"], "```json {\"n\": 7}```", "what is right is left alone");
    }

    #[test]
    fn what_is_not_there_is_said_in_the_words_of_the_whole() {
        let words = |text: &str| structured(text, &schema()).unwrap_err().of("a");
        assert!(words("no").starts_with("agent \"a\" did not reply with JSON: expected "), "{}", words("no"));
        assert!(words("{\"n\": ").contains("EOF while parsing"), "{}", words("{\"n\": "));
        assert!(words("```json\n{\"n\": 1,").starts_with("agent \"a\" did not reply with JSON"));
        assert!(words("```json\n{\"n\": \"x\"}\n```").contains("does not fit its output schema: \"x\" is not of type"));
        assert!(words("{\"m\": 1}").contains("\"n\" is a required property"));
        assert!(words(&("[".repeat(65) + &"]".repeat(65))).contains("replied with too much: "));
    }

    #[test]
    fn a_hostile_text_costs_little() {
        let begun = std::time::Instant::now();
        for text in ["{".repeat(1 << 20), "{\"a\":".repeat(1 << 18), "[\"".repeat(1 << 19), "```\n".repeat(1 << 18)] {
            assert!(structured(&text, &schema()).is_err());
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(10));
    }
}
