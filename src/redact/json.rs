//! A text that is JSON, as it is written: keys that come twice are there twice, and numbers have all their digits.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::bounds::cut;
use crate::surrogates::mended_text;

/// A value in a text.
pub(super) enum JsonText {
    /// An object with its keys, in order.
    Object(Vec<(String, JsonText)>),
    /// A list.
    List(Vec<JsonText>),
    /// A text.
    Text(String),
    /// A number, true, false or null, as it is written.
    Word(String),
}

/// Whether a text may be JSON with something inside of it, or its beginning: what is decided by that must not be undone by what
/// comes later.
pub(super) fn may_be_json(text: &str) -> bool {
    let text = text.trim_start();
    if !text.starts_with(['{', '[']) {
        return false;
    }
    const LOOKED_AT: usize = 64;
    let begin = &text[..text.floor_char_boundary(LOOKED_AT)];
    match serde_json::from_str::<serde::de::IgnoredAny>(begin) {
        Ok(_) => true,
        Err(error) => error.is_eof(),
    }
}

/// How many levels of a text are looked at; in the place of what is deeper stands that it is.
const DEPTH: usize = 64;

impl JsonText {
    /// Reads a text, and whether something of it was too deep and was left out; none: it is something else.
    pub(super) fn read(text: &str) -> Option<(Self, bool)> {
        // What a reader of this text reads, whatever halves of letters are in it, is to be seen here as well.
        let text = &*mended_text(text);
        match cut(text.as_bytes(), DEPTH) {
            Some(shallow) => Some((Self::read_shallow(std::str::from_utf8(&shallow).ok()?)?, true)),
            None => Some((Self::read_shallow(text)?, false)),
        }
    }

    fn read_shallow(text: &str) -> Option<Self> {
        match text.trim_start().as_bytes().first()? {
            b'{' => {
                let ObjectPairs(pairs) = serde_json::from_str(text).ok()?;
                let pairs = pairs.into_iter().map(|(name, value)| Some((name, Self::read_shallow(value.get())?)));
                Some(JsonText::Object(pairs.collect::<Option<_>>()?))
            }
            b'[' => {
                let items: Vec<Box<RawValue>> = serde_json::from_str(text).ok()?;
                Some(JsonText::List(items.iter().map(|item| Self::read_shallow(item.get())).collect::<Option<_>>()?))
            }
            b'"' => Some(JsonText::Text(serde_json::from_str(text).ok()?)),
            _ => Some(JsonText::Word(text.trim().to_owned())),
        }
    }
}

impl fmt::Display for JsonText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |text: &str| serde_json::Value::from(text).to_string();
        match self {
            JsonText::Object(pairs) => {
                out.write_str("{")?;
                for (place, (name, value)) in pairs.iter().enumerate() {
                    let comma = if place > 0 { "," } else { "" };
                    write!(out, "{comma}{}:{value}", text(name))?;
                }
                out.write_str("}")
            }
            JsonText::List(items) => {
                out.write_str("[")?;
                for (place, item) in items.iter().enumerate() {
                    let comma = if place > 0 { "," } else { "" };
                    write!(out, "{comma}{item}")?;
                }
                out.write_str("]")
            }
            JsonText::Text(said) => out.write_str(&text(said)),
            JsonText::Word(word) => out.write_str(word),
        }
    }
}

/// The pairs of an object, those of a key that comes twice as well.
struct ObjectPairs(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for ObjectPairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectPairsVisitor;
        impl<'de> Visitor<'de> for ObjectPairsVisitor {
            type Value = ObjectPairs;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ObjectPairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(ObjectPairs(pairs))
            }
        }
        deserializer.deserialize_map(ObjectPairsVisitor)
    }
}
