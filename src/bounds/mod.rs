//! How deep, wide and long a JSON value may be. What comes from outside is measured at the door, well below what every
//! reader takes; a record is measured before it is stored. So nothing is stored that cannot be read again.
//!
//! A JSON text is measured by one scan of its bytes, before it is parsed: no value of it is ever made that is too deep. The
//! sentence of a refusal names the place and the limit.

mod numbers;

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::{self, Write};

use memchr::{memchr2, memmem};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::surrogates;

/// How much a value may be. Lists and objects count as levels, and the value itself is the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValueBounds {
    /// Levels of lists and objects.
    pub depth: usize,
    /// Elements of lists and fields of objects, in all of the value.
    pub elements: usize,
    /// The longest name of a field, in bytes as it is written.
    pub key: usize,
    /// The longest text, in bytes as it is written.
    pub text: usize,
    /// All of it, in bytes as it is written.
    pub size: usize,
    /// Whether a name may stand once only in its object. Of two with one name parsers take the first or the last, so that
    /// two programs may read two things in one text.
    pub unique_names: bool,
}

const MIB: usize = 1 << 20;

/// What comes from outside: parameters, answers, frames, what a model gives to a tool or replies instead of a text. Each door
/// has a limit of its own for the size as well, most of them smaller.
pub const OUTSIDE: ValueBounds =
    ValueBounds { depth: 64, elements: 100_000, key: 1024, text: 4 * MIB, size: 16 * MIB, unique_names: false };
/// What people and programs send to interfaces of our own, above all what a person allows: the text has one meaning, whoever
/// reads it. What Python's programs and models send is read as Python reads it, which takes the last of two names.
pub const UNAMBIGUOUS: ValueBounds = ValueBounds { unique_names: true, ..OUTSIDE };
/// What a model's server sends around a reply, which may hold a probability for each of thousands of tokens.
pub const SERVED: ValueBounds = ValueBounds { elements: 2_000_000, text: 64 * MIB, size: 64 * MIB, ..OUTSIDE };
/// What the steps of a workflow make of other values: they may put something around what came from outside.
pub const MADE: ValueBounds = ValueBounds { depth: 80, elements: 1_000_000, key: 64 * 1024, ..OUTSIDE };
/// A record as it is stored: it puts a few levels around a value. The parser of every reader takes 127.
pub const STORED: ValueBounds = ValueBounds {
    depth: 100,
    elements: usize::MAX,
    key: usize::MAX,
    text: usize::MAX,
    size: usize::MAX,
    unique_names: false,
};

/// What the parser takes anyway, with its own limit of levels.
const READABLE: ValueBounds = ValueBounds { depth: usize::MAX, ..STORED };

/// How the names of fields begin that the JSON parser keeps for itself: it would read the field's text as JSON of its own,
/// however deep, or as a number.
const RESERVED: &str = "$serde_json::private::";

/// The longest place that is named whole: parts of it, and characters of a part.
const PARTS: usize = 6;
const LETTERS: usize = 40;

/// Where a value is more than it may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExceededBound {
    /// Where: `params.x[0]`; empty: the value itself.
    pub place: String,
    /// Which limit.
    pub limit: BoundKind,
}

/// A limit that a value does not keep.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are the fields of `Bounds`")]
pub enum BoundKind {
    Depth(usize),
    Elements(usize),
    Key(usize),
    Text(usize),
    Size(usize),
    /// The name of a field that the parser keeps for itself.
    Reserved,
    /// A number that no double is near to, or that is too long.
    Number,
    /// A name that stands twice in one object.
    Repeated(String),
}

impl fmt::Display for BoundKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BoundKind::Depth(most) => write!(f, "nested deeper than {most} levels"),
            BoundKind::Elements(most) => write!(f, "more than {most} elements and fields in all"),
            BoundKind::Key(most) => write!(f, "the name of a field is longer than {most} bytes"),
            BoundKind::Text(most) => write!(f, "a text is longer than {most} bytes"),
            BoundKind::Size(most) => write!(f, "the whole is larger than {most} bytes"),
            BoundKind::Reserved => write!(f, "the name of a field may not begin with {RESERVED:?}"),
            BoundKind::Number => {
                write!(
                    f,
                    "a number must lie between -1e308 and 1e308, and have at most {} digits",
                    numbers::MOST_DIGITS
                )
            }
            BoundKind::Repeated(name) => write!(f, "the key \"{name}\" stands twice in one object"),
        }
    }
}

impl fmt::Display for ExceededBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place.as_str() {
            "" => write!(f, "{}", self.limit),
            place => write!(f, "{place}: {}", self.limit),
        }
    }
}

impl std::error::Error for ExceededBound {}

/// Why a JSON text is not read.
#[derive(Debug, thiserror::Error)]
pub enum UnfitJson {
    /// It is more than it may be.
    #[error(transparent)]
    Exceeded(#[from] ExceededBound),
    /// It is not JSON, or not what is wanted.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// What follows a text of which only the beginning is kept: the same words for models, in results, and for people, in logs.
pub fn cut_mark(most: usize, unit: &str) -> String {
    format!("… [cut off after {most} {unit}]")
}

/// The beginning of a text, so many bytes of it, with the mark of a cut.
pub fn cut_off(text: &str, most: usize) -> String {
    text[..text.floor_char_boundary(most)].to_owned() + &cut_mark(most, "bytes")
}

/// Reads a JSON text, if it is within bounds. A lone half of a pair of surrogates is U+FFFD ([`surrogates`]).
pub fn read<T: DeserializeOwned>(text: &[u8], bounds: &ValueBounds) -> Result<T, UnfitJson> {
    check(text, bounds)?;
    serde_json::from_slice(text).or_else(|error| match surrogates::mended(text) {
        Cow::Owned(mended) if error.is_syntax() => {
            // Two names may be one now.
            check(&mended, bounds)?;
            Ok(serde_json::from_slice(&mended)?)
        }
        _ => Err(error.into()),
    })
}

/// Reads what this system has stored, or what a server sends that its operator has chosen: the parser has a limit of depth of
/// its own, and the name by which a text gets around that is refused.
pub fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, UnfitJson> {
    read(text, &READABLE)
}

/// Reads a few fields of a text that is more than it may be. For types of texts and numbers alone: the parser passes over
/// everything else, however deep it is.
pub fn outline<T: DeserializeOwned>(text: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(text)
}

/// Reads a type from a value, with numbers of every length. serde keeps a tagged or flattened type aside while it looks for
/// its tag, and refuses there what a `u64` or `i64` does not hold; as text such a number has a form that it takes.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, serde_json::Error> {
    serde_json::from_str(&value.to_string())
}

/// Whether a JSON text is within bounds. Of a text that is not JSON nothing is said: the parser refuses it.
pub fn check(text: &[u8], bounds: &ValueBounds) -> Result<(), ExceededBound> {
    let exceeded = |(offset, limit)| ExceededBound { place: place(text, offset), limit };
    if !is_plainly_within(text, bounds) {
        scan(text, bounds).map_err(exceeded)?;
    }
    if bounds.unique_names {
        look_for_repeated(text).map_err(exceeded)?;
    }
    if bounds.depth != usize::MAX && numbers::may_have_unfit(text) {
        numbers::check(text).map_err(exceeded)?;
    }
    Ok(())
}

/// Whether a text is so short and shallow that it keeps every limit however its bytes are read; most are.
fn is_plainly_within(text: &[u8], bounds: &ValueBounds) -> bool {
    let shortest = bounds.key.min(bounds.text).min(bounds.elements).min(bounds.size);
    text.len() <= shortest
        && (bounds.depth == usize::MAX || brackets(text) <= bounds.depth)
        // The reserved name is there as it is, or with letters that are written as numbers.
        && (memchr2(b'$', b'\\', text).is_none()
            || memmem::find(text, b"\\u").is_none() && memmem::find(text, RESERVED.as_bytes()).is_none())
}

/// How many lists and objects a text can begin at most. Counted in bytes, which processors add many at a time.
fn brackets(text: &[u8]) -> usize {
    let count = |piece: &[u8]| piece.iter().map(|byte| u8::from(matches!(byte, b'[' | b'{'))).sum::<u8>();
    text.chunks(usize::from(u8::MAX)).map(|piece| usize::from(count(piece))).sum()
}

/// The first place at which a text is out of bounds.
fn scan(text: &[u8], bounds: &ValueBounds) -> Result<(), (usize, BoundKind)> {
    if text.len() > bounds.size {
        return Err((0, BoundKind::Size(bounds.size)));
    }
    let (mut depth, mut elements) = (0_usize, 0_usize);
    // The last text: if a colon follows, it is the name of a field.
    let mut last = 0..0;
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => {
                let end = end_of_text(text, at + 1);
                last = at + 1..end;
                if last.len() > bounds.key.min(bounds.text) {
                    let is_name = next_is_colon(text, end + 1);
                    if is_name && last.len() > bounds.key {
                        return Err((at, BoundKind::Key(bounds.key)));
                    }
                    if !is_name && last.len() > bounds.text {
                        return Err((at, BoundKind::Text(bounds.text)));
                    }
                }
                at = end;
            }
            b'[' | b'{' => {
                depth += 1;
                elements += 1;
                if depth > bounds.depth {
                    return Err((at, BoundKind::Depth(bounds.depth)));
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' => elements += 1,
            b':' if is_reserved(&text[last.clone()]) => return Err((at, BoundKind::Reserved)),
            _ => {}
        }
        if elements > bounds.elements {
            return Err((at, BoundKind::Elements(bounds.elements)));
        }
        at += 1;
    }
    Ok(())
}

/// The first name that stands twice in its object, however it is written. For texts that are within the other bounds.
fn look_for_repeated(text: &[u8]) -> Result<(), (usize, BoundKind)> {
    // What is open: where it begins, and the names so far. Those of a list are none.
    let mut open: Vec<(usize, HashSet<Cow<'_, [u8]>>)> = Vec::new();
    let mut last = 0..0;
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => {
                let end = end_of_text(text, at + 1);
                last = at + 1..end;
                at = end;
            }
            b'{' | b'[' => open.push((at, HashSet::new())),
            b'}' | b']' => drop(open.pop()),
            b':' => {
                let name = unescaped(&text[last.clone()]);
                if let Some((begin, names)) = open.last_mut()
                    && let Some(repeated) = names.replace(name)
                {
                    return Err((*begin, BoundKind::Repeated(shown(&repeated))));
                }
            }
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// A name without its escapes; one that is no JSON the parser refuses.
fn unescaped(name: &[u8]) -> Cow<'_, [u8]> {
    if !name.contains(&b'\\') {
        return Cow::Borrowed(name);
    }
    match serde_json::from_slice::<String>(&[b"\"", name, b"\""].concat()) {
        Ok(name) => Cow::Owned(name.into_bytes()),
        Err(_) => Cow::Borrowed(name),
    }
}

/// Where the text that begins here ends: at its closing quotation mark, or at the end of everything.
fn end_of_text(text: &[u8], mut at: usize) -> usize {
    loop {
        match text[at.min(text.len())..].iter().position(|byte| matches!(byte, b'"' | b'\\')) {
            Some(found) if text[at + found] == b'"' => return at + found,
            Some(found) => at += found + 2,
            None => return text.len(),
        }
    }
}

fn next_is_colon(text: &[u8], at: usize) -> bool {
    text[at.min(text.len())..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
}

/// Whether a name is the one that the parser keeps for itself, however it is written.
fn is_reserved(name: &[u8]) -> bool {
    if !name.contains(&b'\\') {
        return name.starts_with(RESERVED.as_bytes());
    }
    unescaped(name).starts_with(RESERVED.as_bytes())
}

/// A step on the way to a place.
enum PathPart<'t> {
    Field(&'t [u8]),
    Index(usize),
    /// An object before its first field.
    Object,
}

/// The place in a JSON text that a byte belongs to.
fn place(text: &[u8], offset: usize) -> String {
    let mut parts: Vec<PathPart<'_>> = Vec::new();
    let mut last = 0..0;
    let mut at = 0;
    while at < offset
        && let Some(byte) = text.get(at)
    {
        match byte {
            b'"' => {
                let end = end_of_text(text, at + 1);
                last = at + 1..end;
                at = end;
            }
            b'[' => parts.push(PathPart::Index(0)),
            b'{' => parts.push(PathPart::Object),
            b']' | b'}' => drop(parts.pop()),
            b',' => {
                if let Some(PathPart::Index(index)) = parts.last_mut() {
                    *index += 1;
                }
            }
            b':' => {
                if let Some(part) = parts.last_mut() {
                    *part = PathPart::Field(&text[last.clone()]);
                }
            }
            _ => {}
        }
        at += 1;
    }
    named(parts.iter())
}

fn named<'p, 't: 'p>(parts: impl Iterator<Item = &'p PathPart<'t>>) -> String {
    let mut shown = String::new();
    for (count, part) in parts.enumerate() {
        if count == PARTS {
            shown.push('…');
            break;
        }
        match part {
            PathPart::Index(index) => write!(shown, "[{index}]").expect("a text takes everything"),
            PathPart::Field(name) => {
                let dot = if shown.is_empty() { "" } else { "." };
                write!(shown, "{dot}{}", self::shown(name)).expect("a text takes everything");
            }
            PathPart::Object => {}
        }
    }
    shown
}

/// A name, or its beginning, as a sentence has it.
fn shown(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    let cut = name.chars().count() > LETTERS;
    let name: String = name.chars().take(LETTERS).flat_map(char::escape_debug).collect();
    name + if cut { "…" } else { "" }
}

/// Whether a value is within bounds. Its size is counted roughly: its texts and names, and a few bytes for each element.
pub fn check_value(value: &Value, bounds: &ValueBounds) -> Result<(), ExceededBound> {
    let mut left = *bounds;
    let mut way = Vec::new();
    measure(value, bounds, &mut left, &mut way).map_err(|limit| ExceededBound { place: named(way.iter().rev()), limit })
}

/// Roughly what an element takes beside its texts.
const ELEMENT: usize = 8;

/// Takes a value from what is left. Goes no deeper than the bounds allow. After a refusal `way` holds the way to it, backwards.
fn measure<'v>(
    value: &'v Value,
    bounds: &ValueBounds,
    left: &mut ValueBounds,
    way: &mut Vec<PathPart<'v>>,
) -> Result<(), BoundKind> {
    let mut take = |bytes: usize| match left.size.checked_sub(bytes) {
        Some(size) => {
            left.size = size;
            Ok(())
        }
        None => Err(BoundKind::Size(bounds.size)),
    };
    take(ELEMENT)?;
    match value {
        Value::String(text) if text.len() > bounds.text => return Err(BoundKind::Text(bounds.text)),
        Value::String(text) => take(text.len())?,
        Value::Array(_) | Value::Object(_) if left.depth == 0 => return Err(BoundKind::Depth(bounds.depth)),
        _ => {}
    }
    let count = match value {
        Value::Array(items) => items.len(),
        Value::Object(fields) => fields.len(),
        _ => return Ok(()),
    };
    left.elements = left.elements.checked_sub(count).ok_or(BoundKind::Elements(bounds.elements))?;
    left.depth -= 1;
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                measure(item, bounds, left, way).inspect_err(|_| way.push(PathPart::Index(index)))?;
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                if name.len() > bounds.key {
                    return Err(BoundKind::Key(bounds.key));
                }
                if name.starts_with(RESERVED) {
                    return Err(BoundKind::Reserved);
                }
                left.size = left.size.checked_sub(name.len()).ok_or(BoundKind::Size(bounds.size))?;
                measure(field, bounds, left, way).inspect_err(|_| way.push(PathPart::Field(name.as_bytes())))?;
            }
        }
        _ => {}
    }
    left.depth += 1;
    Ok(())
}

/// Puts a text in the place of what is deeper than `depth` levels. For values that were read, which are not deep enough to
/// harm.
pub fn shorten(value: &mut Value, depth: usize) {
    match value {
        Value::Array(_) | Value::Object(_) if depth == 0 => *value = Value::from("(nested too deep to be shown)"),
        Value::Array(items) => items.iter_mut().for_each(|item| shorten(item, depth - 1)),
        Value::Object(fields) => fields.values_mut().for_each(|field| shorten(field, depth - 1)),
        _ => {}
    }
}

/// A JSON text in which nothing is deeper than `depth` levels: in the place of what is, a text says so. None: nothing is.
pub fn cut(text: &[u8], depth: usize) -> Option<Vec<u8>> {
    let bounds = ValueBounds { depth, ..STORED };
    match scan(text, &bounds) {
        Err((_, BoundKind::Depth(_))) => {}
        _ => return None,
    }
    let note = format!("\"(nested deeper than {depth} levels)\"");
    let mut shown = Vec::with_capacity(text.len());
    let (mut level, mut at) = (0_usize, 0);
    // Where what is kept begins; none: this is too deep.
    let mut from = Some(0);
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => at = end_of_text(text, at + 1),
            b'[' | b'{' => {
                level += 1;
                if level == depth + 1
                    && let Some(from) = from.take()
                {
                    shown.extend_from_slice(&text[from..at]);
                    shown.extend_from_slice(note.as_bytes());
                }
            }
            b']' | b'}' => {
                level = level.saturating_sub(1);
                if level == depth && from.is_none() {
                    from = Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
    if let Some(from) = from {
        shown.extend_from_slice(&text[from.min(text.len())..]);
    }
    Some(shown)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SMALL: ValueBounds = ValueBounds { depth: 3, elements: 6, key: 4, text: 8, size: 100, unique_names: false };

    fn nested(depth: usize) -> String {
        format!("{}{}", "[".repeat(depth), "]".repeat(depth))
    }

    fn refused(text: &str, bounds: &ValueBounds) -> String {
        check(text.as_bytes(), bounds).unwrap_err().to_string()
    }

    #[test]
    fn what_is_within_bounds_is_read_and_what_is_not_is_named() {
        let small = SMALL;
        for text in [nested(3), r#"{"a": [1, 2, {"b": "[[[[ \" [["}]}"#.to_owned(), "[1,2,3,4,5,6]".to_owned()] {
            read::<Value>(text.as_bytes(), &ValueBounds { text: 20, ..small }).unwrap();
        }
        for (text, sentence) in [
            (r#"{"p": {"x": [[1]]}}"#, "p.x[0]: nested deeper than 3 levels"),
            (r#"{"a": [1, 2, [[]]]}"#, "a[2][0]: nested deeper than 3 levels"),
            ("[1,2,3,4,5,6,7]", "[5]: more than 6 elements and fields in all"),
            (r#"{"names": 1}"#, "the name of a field is longer than 4 bytes"),
            (r#"{"a": "123456789"}"#, "a: a text is longer than 8 bytes"),
            ("{\"\u{1b}\": [[[]]]}", "\\u{1b}[0][0]: nested deeper than 3 levels"),
        ] {
            assert_eq!(refused(text, &small), sentence, "{text}");
        }
        assert_eq!(refused(&" ".repeat(101), &small), "the whole is larger than 100 bytes");
        assert_eq!(refused(&nested(65), &OUTSIDE), "[0][0][0][0][0][0]…: nested deeper than 64 levels");
        assert!(matches!(read::<Value>(b"[", &OUTSIDE), Err(UnfitJson::Json(_))));
        for broken in ["\"", "\"\\", "[\"\\", "]]]]", "{:", ",,:,"] {
            check(broken.as_bytes(), &OUTSIDE).unwrap();
        }
    }

    #[test]
    fn a_name_that_the_parser_keeps_for_itself_is_refused_however_it_is_written() {
        for name in [RESERVED.to_owned(), format!("\\u0024{}", &RESERVED[1..])] {
            let text = format!(r#"{{"x": {{"{name}" : "[[]]"}}}}"#);
            assert_eq!(refused(&text, &STORED), format!("x: the name of a field may not begin with {RESERVED:?}"));
            let value = json!({"x": {RESERVED: "[]"}});
            assert_eq!(check_value(&value, &MADE).unwrap_err().limit, BoundKind::Reserved);
        }
    }

    #[test]
    fn a_value_is_measured_as_its_text_is() {
        let small = ValueBounds { size: 200, ..SMALL };
        for value in [json!([[[]]]), json!({"a": {"b": [1, 2, 3]}}), json!("12345678"), json!(null)] {
            check_value(&value, &small).unwrap();
            check(value.to_string().as_bytes(), &small).unwrap();
        }
        for (value, sentence) in [
            (json!({"x": [[[]]]}), "x[0][0]: nested deeper than 3 levels"),
            (json!([1, 2, 3, 4, 5, 6, 7]), "more than 6 elements and fields in all"),
            (json!({"a": {"names": 1}}), "a: the name of a field is longer than 4 bytes"),
            (json!([1, {"a": "123456789"}]), "[1].a: a text is longer than 8 bytes"),
        ] {
            assert_eq!(check_value(&value, &small).unwrap_err().to_string(), sentence);
        }
        let large = json!(vec!["x".repeat(8); 6]);
        assert_eq!(check_value(&large, &ValueBounds { size: 64, ..small }).unwrap_err().limit, BoundKind::Size(64));
    }

    #[test]
    fn a_name_that_stands_twice_in_one_object_is_refused_where_a_text_has_one_meaning() {
        for (text, sentence) in [
            (r#"{"a": 1, "a": 2}"#, "the key \"a\" stands twice in one object"),
            (r#"{"v": {"x": [0, {"a": 1, "b": {}, "a": 2}]}}"#, "v.x[1]: the key \"a\" stands twice in one object"),
            (r#"{"v": {"a": 1, "\u0061" : 2}}"#, "v: the key \"a\" stands twice in one object"),
            (r#"[{"a\"b": 1, "a\"b": 2}]"#, "[0]: the key \"a\\\"b\" stands twice in one object"),
            (
                r#"{"1": {"2": {"3": {"4": {"5": {"6": {"7": {"a": [], "a": {}}}}}}}}}"#,
                "1.2.3.4.5.6…: the key \"a\" stands twice in one object",
            ),
        ] {
            assert_eq!(refused(text, &UNAMBIGUOUS), sentence, "{text}");
            // Python's json takes the last one, and so does this reader where Python is on the other side.
            read::<Value>(text.as_bytes(), &OUTSIDE).unwrap();
        }
        let long = "n".repeat(1000);
        let sentence = refused(&format!(r#"{{"{long}": 1, "{long}": 2}}"#), &UNAMBIGUOUS);
        assert!(sentence.chars().count() < 100, "{sentence}");
        for text in [
            r#"{"a": {"a": 1}, "b": {"a": 1}, "c": [{"a": 1}, {"a": 1}], "A": "a", "d": ["a", "a"]}"#,
            r#"{"a": "\"a\": 1, \"a\": 2", "b": "{\"a\":1,\"a\":2}"}"#,
            "[]",
        ] {
            read::<Value>(text.as_bytes(), &UNAMBIGUOUS).unwrap();
        }
        for broken in ["\"", "::::", "{:", "{\"a\":1,\"a", "]}{\"\\u\":,\"\\u\":"] {
            assert!(read::<Value>(broken.as_bytes(), &UNAMBIGUOUS).is_err());
        }
        // One pass over the text, whatever it is made of.
        let many: Vec<String> = (0..50_000).map(|at| format!("\"{at}\": 0")).collect();
        check(format!("{{{}}}", many.join(",")).as_bytes(), &UNAMBIGUOUS).unwrap();
    }

    #[test]
    fn half_a_letter_is_read_as_a_replacement_and_names_stay_unambiguous() {
        let read = |text: &str| read::<Value>(text.as_bytes(), &UNAMBIGUOUS).map_err(|unfit| unfit.to_string());
        assert_eq!(read(r#"{"a": ["\ud83d", "\ud83d\ude00"]}"#), Ok(json!({"a": ["\u{fffd}", "😀"]})));
        let names = read(r#"{"\ud83d": 1, "\ude00": 2}"#).unwrap_err();
        assert_eq!(names, "the key \"\u{fffd}\" stands twice in one object");
    }

    #[test]
    fn what_is_too_deep_is_cut_off_and_the_rest_stays() {
        assert_eq!(cut(nested(5).as_bytes(), 5), None);
        let shown = |text: &str, depth| String::from_utf8(cut(text.as_bytes(), depth).unwrap()).unwrap();
        assert_eq!(shown(&nested(5), 2), r#"[["(nested deeper than 2 levels)"]]"#);
        let text = r#"{"a": [{"b": "}]"}, [1, [2, "]"]]], "c": {"d": {}}, "e": "{[\"["}"#;
        let note = "\"(nested deeper than 2 levels)\"";
        assert_eq!(shown(text, 2), format!(r#"{{"a": [{note}, {note}], "c": {{"d": {note}}}, "e": "{{[\"["}}"#));
        let deep = nested(1_000_000);
        let value: Value = serde_json::from_slice(&cut(deep.as_bytes(), 100).unwrap()).unwrap();
        check(value.to_string().as_bytes(), &STORED).unwrap();
    }
}
