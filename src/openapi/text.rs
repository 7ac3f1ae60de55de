//! From the bytes of a document to a JSON value. JSON and YAML are told apart by trying; whatever a document has that the other
//! format could not say (aliases, keys that are numbers) is put into JSON's words.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::{Map, Number, Value};

use super::Error;
use crate::bounds::{self, UnfitJson, ValueBounds};
use crate::yaml::{ScalarValue, YamlScalar};

/// The largest document that is read, in bytes.
pub const LARGEST_DOCUMENT: usize = 64 << 20;

/// How much a document may be. The largest public descriptions have about two million elements.
const DOCUMENT: ValueBounds = ValueBounds {
    depth: DEEPEST_DOCUMENT,
    elements: 4_000_000,
    key: 64 << 10,
    text: 4 << 20,
    size: LARGEST_DOCUMENT,
    unique_names: false,
};
/// How deep lists and maps may be nested.
const DEEPEST_DOCUMENT: usize = 100;
/// How many values the aliases of a YAML document may add to it.
const MOST_COPIED_VALUES: usize = 200_000;

/// Reads a document.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, Error> {
    if bytes.len() > LARGEST_DOCUMENT {
        return Err(Error::TooLarge { most: LARGEST_DOCUMENT });
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(Error::Syntax("it is in UTF-16, and must be in UTF-8".to_owned()));
    }
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match text.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => Err(Error::Empty),
        Some(b'<') => Err(Error::Syntax("it begins with <, as a web page does".to_owned())),
        Some(b'{' | b'[') => match bounds::read(text, &DOCUMENT) {
            Ok(value) => Ok(value),
            Err(UnfitJson::Exceeded(exceeded)) => Err(Error::Exceeded(exceeded)),
            // YAML may begin so, too. If it is not YAML either, it was meant as JSON.
            Err(UnfitJson::Json(error)) => parse_yaml(text).map_err(|_| Error::Syntax(error.to_string())),
        },
        Some(_) => parse_yaml(text),
    }
}

fn parse_yaml(text: &[u8]) -> Result<Value, Error> {
    let text = std::str::from_utf8(text).map_err(|error| {
        let line = 1 + text[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        Error::Syntax(format!("line {line} is not UTF-8"))
    })?;
    let parser = Parser::new_from_str(text);
    let mut reader = YamlReader { parser, anchors: HashMap::new(), copied: 0, elements: 0 };
    let value = reader.document()?;
    bounds::check_value(&value, &DOCUMENT).map_err(Error::Exceeded)?;
    Ok(value)
}

struct YamlReader<'t> {
    parser: Parser<'t, granit_parser::StrInput<'t>>,
    anchors: HashMap<usize, (Value, usize)>,
    copied: usize,
    elements: usize,
}

impl<'t> YamlReader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Span), Error> {
        loop {
            match self.parser.next() {
                None => return Err(Error::Syntax("it ends too early".to_owned())),
                Some(Ok((Event::Comment(..), _))) => {}
                Some(Ok(event)) => return Ok(event),
                Some(Err(error)) => {
                    let line = error.marker().line();
                    return Err(Error::Syntax(format!("line {line}: {}", error.info().trim_end_matches('.'))));
                }
            }
        }
    }

    /// The first document; what follows it is not looked at.
    fn document(&mut self) -> Result<Value, Error> {
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(..) => {}
                Event::StreamEnd | Event::DocumentEnd => return Err(Error::Empty),
                event => {
                    let (value, _) = self.value(event, &span, 1)?;
                    loop {
                        match self.next()? {
                            (Event::DocumentEnd, _) => {}
                            (Event::StreamEnd | Event::DocumentStart(true, _), _) => return Ok(value),
                            // No `---` stands between: it is something else than YAML.
                            (_, span) => {
                                let message = format!("line {}: something stands behind the value", span.start.line());
                                return Err(Error::Syntax(message));
                            }
                        }
                    }
                }
            }
        }
    }

    /// A value, and how many values it has in it.
    fn value(&mut self, event: Event<'t>, span: &Span, depth: usize) -> Result<(Value, usize), Error> {
        let line = span.start.line();
        if depth > DEEPEST_DOCUMENT {
            let message = format!("line {line}: it is nested deeper than {DEEPEST_DOCUMENT} levels");
            return Err(Error::Syntax(message));
        }
        self.elements += 1;
        if self.elements > DOCUMENT.elements {
            return Err(Error::Syntax(format!(
                "line {line}: more than {} elements and fields in all",
                DOCUMENT.elements
            )));
        }
        let (anchor, value, size) = match event {
            Event::Scalar(text, style, anchor, _) => {
                (anchor, scalar(text.into_owned(), style == ScalarStyle::Plain), 1)
            }
            Event::SequenceStart(_, anchor, _) => {
                let (mut items, mut size) = (Vec::new(), 1);
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break (anchor, Value::Array(items), size),
                        (event, span) => {
                            let (item, inner) = self.value(event, &span, depth + 1)?;
                            items.push(item);
                            size += inner;
                        }
                    }
                }
            }
            Event::MappingStart(_, anchor, _) => {
                let (map, size) = self.map(depth)?;
                (anchor, Value::Object(map), size)
            }
            Event::Alias(id) => {
                let Some((value, size)) = self.anchors.get(&id) else {
                    return Err(Error::Syntax(format!("line {line}: an alias stands inside of what it names")));
                };
                self.copied += size;
                if self.copied > MOST_COPIED_VALUES {
                    return Err(Error::Syntax(format!("line {line}: aliases make the document too large")));
                }
                return Ok((value.clone(), *size));
            }
            _ => return Err(Error::Syntax(format!("line {line}: a value is missing"))),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, (value.clone(), size));
        }
        Ok((value, size))
    }

    fn map(&mut self, depth: usize) -> Result<(Map<String, Value>, usize), Error> {
        let (mut map, mut merged, mut size) = (Map::new(), Vec::new(), 1);
        loop {
            let key = match self.next()? {
                (Event::MappingEnd, _) => break,
                (Event::Scalar(text, ..), _) => text.into_owned(),
                (event, span) => {
                    // A list or a map as a key has no place in JSON: its value is left out.
                    self.value(event, &span, depth + 1)?;
                    let (event, span) = self.next()?;
                    self.value(event, &span, depth + 1)?;
                    continue;
                }
            };
            let (event, span) = self.next()?;
            let (value, inner) = self.value(event, &span, depth + 1)?;
            size += inner;
            match (key.as_str(), value) {
                ("<<", Value::Object(fields)) => merged.extend(fields),
                ("<<", Value::Array(items)) => {
                    merged.extend(
                        items
                            .into_iter()
                            .filter_map(|item| match item {
                                Value::Object(fields) => Some(fields),
                                _ => None,
                            })
                            .flatten(),
                    );
                }
                (_, value) => {
                    map.insert(key, value);
                }
            }
        }
        for (key, value) in merged {
            map.entry(key).or_insert(value);
        }
        Ok((map, size))
    }
}

fn scalar(text: String, plain: bool) -> Value {
    let scalar = YamlScalar::new(text, plain);
    let value = match scalar.typed() {
        ScalarValue::Null => Some(Value::Null),
        ScalarValue::Bool(truth) => Some(Value::Bool(truth)),
        ScalarValue::Number(number) => Some(Value::Number(number)),
        ScalarValue::Text(_) => None,
    };
    value.unwrap_or(Value::String(scalar.text))
}

/// A number, also where it is written as a text.
pub(super) fn number(value: &Value) -> Option<Number> {
    match value {
        Value::Number(number) => Some(number.clone()),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_and_yaml_are_the_same_value() {
        let yaml = "openapi: 3.0.1\npaths:\n  /a: &item\n    get: { responses: { 200: { description: 'yes' } } }\n  /b: *item\n  /c: { <<: *item, x-on: on, n: 1.50 }\n";
        let item = json!({"get": {"responses": {"200": {"description": "yes"}}}});
        let number: Value = "1.50".parse::<Number>().unwrap().into();
        let wanted = json!({"openapi": "3.0.1", "paths": {"/a": item, "/b": item, "/c": {"x-on": "on", "n": number, "get": item["get"]}}});
        assert_eq!(parse(yaml.as_bytes()).unwrap(), wanted);
        assert_eq!(parse(format!("\u{feff}{wanted}").as_bytes()).unwrap(), wanted);
        assert_eq!(parse(b"{a: 1, b: [x]}").unwrap(), json!({"a": 1, "b": ["x"]}));
        // Of two keys the last one counts, as in JSON.
        assert_eq!(parse(b"a: 1\na: 2\n").unwrap(), json!({"a": 2}));
    }

    #[test]
    fn what_is_no_document_is_refused_with_a_sentence() {
        let refusal = |bytes: &[u8]| parse(bytes).unwrap_err().to_string();
        assert_eq!(refusal(b" \n"), "the document is empty");
        assert_eq!(refusal(b"# nothing\n"), "the document is empty");
        assert_eq!(refusal(b"<html>"), "the document is neither JSON nor YAML: it begins with <, as a web page does");
        assert!(refusal(b"a: [1").starts_with("the document is neither JSON nor YAML: line "), "{}", refusal(b"a: [1"));
        assert!(refusal(b"{\"a\": }x").contains("column"), "{}", refusal(b"{\"a\": }x"));
        assert!(refusal(b"a: \xff").contains("line 1 is not UTF-8"));
        assert!(refusal(&vec![b' '; LARGEST_DOCUMENT + 1]).contains("64 MiB"));
        assert!(refusal("[".repeat(200).as_bytes()).contains("deeper than 100 levels"));
    }

    #[test]
    fn hostile_documents_are_refused_in_time() {
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned()
            + &('b'..='k')
                .map(|name| {
                    let before = (name as u8 - 1) as char;
                    format!("{name}: &{name} [{}]\n", vec![format!("*{before}"); 9].join(","))
                })
                .collect::<String>();
        for hostile in [bomb, "- ".repeat(10_000), "a: &a [*a]".to_owned(), "{".repeat(5000), "? ".repeat(5000)] {
            assert!(parse(hostile.as_bytes()).is_err());
        }
    }
}
