//! YAML as a small tree in which everything knows its place, so that a reader can report all that is wrong in a file, each
//! with its line and column. The text is scanned by the YAML crate's own parser (YAML 1.2); what a scalar means (a number, a
//! truth, a text) is decided by whoever reads it, see [`YamlScalar::typed`].

use std::collections::HashMap;
use std::path::PathBuf;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, StructureStyle};
use serde_json::Number;

use crate::problem::Problem;

mod encoding;
mod reading;
pub mod secrets;
pub mod shape;

pub use encoding::decoded;
pub use reading::{FieldReader, FileReview, MapReader, parse_duration};

/// Where something stands in a file: line and column from 1, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SourcePlace {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
    /// How many characters it takes on that line.
    pub width: usize,
}

/// A value and its place.
#[derive(Debug, Clone)]
pub struct YamlNode {
    /// Where it begins.
    pub place: SourcePlace,
    /// What it is.
    pub content: NodeContent,
}

impl YamlNode {
    /// The value of a key, if this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&YamlNode> {
        let NodeContent::Map(entries) = &self.content else { return None };
        entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// The items of a list; none of anything else.
    pub fn items(&self) -> &[YamlNode] {
        match &self.content {
            NodeContent::List(items) => items,
            _ => &[],
        }
    }

    /// The key of a map under which a node is found, itself or below.
    pub fn get_path(&self, node: &YamlNode) -> Option<&str> {
        let NodeContent::Map(entries) = &self.content else { return None };
        let holds = |value: &YamlNode| value.scalars().iter().any(|(inner, _)| std::ptr::eq(*inner, node));
        entries.iter().find(|entry| holds(&entry.value)).map(|entry| entry.key.as_str())
    }

    /// All scalars in it, with their nodes.
    pub fn scalars(&self) -> Vec<(&YamlNode, &YamlScalar)> {
        match &self.content {
            NodeContent::Scalar(scalar) => vec![(self, scalar)],
            NodeContent::List(items) => items.iter().flat_map(YamlNode::scalars).collect(),
            NodeContent::Map(entries) => entries.iter().flat_map(|entry| entry.value.scalars()).collect(),
        }
    }

    /// Changes all scalars in it.
    pub fn for_each_scalar(&mut self, change: &mut impl FnMut(SourcePlace, &mut YamlScalar)) {
        match &mut self.content {
            NodeContent::Scalar(scalar) => change(self.place, scalar),
            NodeContent::List(items) => items.iter_mut().for_each(|item| item.for_each_scalar(change)),
            NodeContent::Map(entries) => entries.iter_mut().for_each(|entry| entry.value.for_each_scalar(change)),
        }
    }

    /// The values of a map; none of anything else.
    pub fn values(&self) -> impl Iterator<Item = &YamlNode> {
        let entries = match &self.content {
            NodeContent::Map(entries) => entries.as_slice(),
            _ => &[],
        };
        entries.iter().map(|entry| &entry.value)
    }
}

/// What a [`YamlNode`] is.
#[derive(Debug, Clone)]
pub enum NodeContent {
    /// Text, a number, a truth, or null.
    Scalar(YamlScalar),
    /// A list.
    List(Vec<YamlNode>),
    /// A map, in the order written, without duplicate keys.
    Map(Vec<MapEntry>),
}

/// One key of a map.
#[derive(Debug, Clone)]
pub struct MapEntry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub key_place: SourcePlace,
    /// Its value.
    pub value: YamlNode,
}

/// A scalar as written.
#[derive(Debug, Clone)]
pub struct YamlScalar {
    /// The text, without quotes.
    pub text: String,
    /// It was written without quotes: it may be a number, a truth or null.
    pub plain: bool,
    /// Variables were put into it: it is a text or a number, whichever is wanted.
    pub substituted: bool,
    /// The variables that it names.
    pub variables: Vec<String>,
    /// The file that it is the whole content of, where it is one `${file:…}`.
    pub file: Option<PathBuf>,
    /// Why it has no value: a variable that is not set. Whoever reads it gets nothing, and no second problem.
    pub missing: Option<String>,
}

/// A scalar's meaning by the core schema of YAML 1.2.
#[derive(Debug, Clone, PartialEq)]
pub enum ScalarValue<'a> {
    /// `null`, `~`, or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number that JSON has.
    Number(Number),
    /// Anything else; `yes`, `on` and `.inf` are text.
    Text(&'a str),
}

impl YamlScalar {
    /// A scalar as it is written, with or without quotes.
    pub fn new(text: String, plain: bool) -> Self {
        Self { text, plain, substituted: false, variables: Vec::new(), file: None, missing: None }
    }

    /// Its meaning.
    pub fn typed(&self) -> ScalarValue<'_> {
        if !self.plain {
            return ScalarValue::Text(&self.text);
        }
        match self.text.as_str() {
            "" | "~" | "null" | "Null" | "NULL" => ScalarValue::Null,
            "true" | "True" | "TRUE" => ScalarValue::Bool(true),
            "false" | "False" | "FALSE" => ScalarValue::Bool(false),
            text => number(text).map_or(ScalarValue::Text(text), ScalarValue::Number),
        }
    }
}

/// Reads a number as YAML 1.2 writes it; none: it is not one.
pub fn number(text: &str) -> Option<Number> {
    if let Some(digits) = text.strip_prefix("0x") {
        return digits
            .chars()
            .all(|c| c.is_ascii_hexdigit())
            .then(|| u64::from_str_radix(digits, 16).ok())?
            .map(Into::into);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return digits.chars().all(|c| c.is_digit(8)).then(|| u64::from_str_radix(digits, 8).ok())?.map(Into::into);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    // What Rust would read as well (`inf`, `nan`, `infinity`) is text in YAML.
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        || !unsigned.contains(|c: char| c.is_ascii_digit())
    {
        return None;
    }
    let text = text.strip_prefix('+').unwrap_or(text);
    if unsigned.bytes().all(|b| b.is_ascii_digit()) {
        if let Ok(number) = text.parse::<i64>() {
            return Some(number.into());
        }
        if let Ok(number) = text.parse::<u64>() {
            return Some(number.into());
        }
    }
    let double = Number::from_f64(text.parse().ok()?)?;
    // Where JSON writes it so too, it keeps its digits.
    Some(text.parse().unwrap_or(double))
}

/// Nodes that aliases may add to a file: enough for people, too few for a bomb.
const MAX_COPIED_NODES: usize = 20_000;
/// How deep lists and maps may be nested: what is read by recursion must not overflow a stack.
const MAX_DEPTH: usize = 64;

/// Reads a text. All that is wrong with its form goes to the review; none: nothing can be read of it.
pub fn parse(text: &str, review: &FileReview) -> Option<YamlNode> {
    let mut events = Vec::new();
    for event in Parser::new_from_str(text) {
        match event {
            Ok((Event::Comment(..), _)) => {}
            Ok(event) => events.push(event),
            Err(error) => {
                review.add(syntax_problem(&error, text, review));
                return None;
            }
        }
    }
    let mut builder = TreeBuilder { events: events.into_iter(), anchors: HashMap::new(), copied: 0, depth: 0, review };
    builder.document()
}

fn syntax_problem(error: &ScanError, text: &str, review: &FileReview) -> Problem {
    let place = SourcePlace { line: error.marker().line(), column: error.marker().col() + 1, width: 1 };
    let problem = review.problem(place, "", format!("this is not YAML: {}", error.info().trim_end_matches('.')));
    // The parser often notices only on the next line what went wrong on the one before.
    let from = place.line.saturating_sub(2);
    let near = text.lines().enumerate().skip(from).take(place.line - from);
    let unquoted = near.filter(|(_, line)| line.contains(": {{") || line.contains("- {{")).last();
    if let Some((index, line)) = unquoted {
        let column = line.find("{{").map_or(1, |at| line[..at].chars().count() + 1);
        let place = SourcePlace { line: index + 1, column, width: 2 };
        return review.problem(place, "", problem.message).with_hint(QUOTE_BRACES);
    }
    let line = text.lines().nth(place.line.saturating_sub(1)).unwrap_or_default();
    let has_odd_indent = |line: &str| line.trim_start_matches([' ', '-']).starts_with('\u{a0}');
    if line.trim_start_matches(' ').starts_with('\t') {
        problem.with_hint("indent with spaces, not with tabs")
    } else if let Some((number, _)) = (1..).zip(text.lines()).take(place.line).find(|(_, line)| has_odd_indent(line)) {
        problem.with_hint(format!(
            "line {number} is indented with no-break spaces, which look like spaces; type plain ones"
        ))
    } else if line.contains("${") && error.info().contains("flow") {
        problem.with_hint("inside of { } and [ ], put a text with ${ in quotes: \"${VAR}\"")
    } else if error.info().contains("illegal placement of ':'") {
        problem.with_hint("is a [ or a { before it not closed?")
    } else if error.info().contains("mapping values are not allowed") {
        problem.with_hint("a text that contains `: ` must be in quotes")
    } else {
        problem
    }
}

const QUOTE_BRACES: &str = "put a text that begins with {{ in quotes: \"{{ … }}\"";

type ParserEvents<'t> = std::vec::IntoIter<(Event<'t>, Span)>;

struct TreeBuilder<'t, 'r> {
    events: ParserEvents<'t>,
    anchors: HashMap<usize, YamlNode>,
    copied: usize,
    depth: usize,
    review: &'r FileReview,
}

impl TreeBuilder<'_, '_> {
    fn document(&mut self) -> Option<YamlNode> {
        let mut document = None;
        while let Some((event, span)) = self.events.next() {
            match event {
                Event::StreamStart | Event::StreamEnd | Event::DocumentStart(..) | Event::DocumentEnd => {}
                _ if document.is_some() => {
                    self.review.note(place(span), "", "there is a second document (`---`); one file is one document");
                    return None;
                }
                event => document = Some(self.node(event, span)?),
            }
        }
        if document.is_none() {
            self.review.add(Problem::of_file(self.review.file(), "the file is empty"));
        }
        document
    }

    fn next_node(&mut self) -> Option<YamlNode> {
        let (event, span) = self.events.next()?;
        self.node(event, span)
    }

    fn node(&mut self, event: Event<'_>, span: Span) -> Option<YamlNode> {
        let place = place(span);
        let (anchor, tag) = match &event {
            Event::Scalar(_, _, anchor, tag)
            | Event::SequenceStart(_, anchor, tag)
            | Event::MappingStart(_, anchor, tag) => (*anchor, tag.is_some()),
            _ => (0, false),
        };
        if tag {
            self.review.note(place, "", "tags (`!…`) are not used here");
        }
        let content = match event {
            Event::Scalar(text, style, ..) => {
                let plain = style == ScalarStyle::Plain;
                NodeContent::Scalar(YamlScalar::new(text.into_owned(), plain))
            }
            Event::SequenceStart(..) => self.nested(place, Self::list)?,
            Event::MappingStart(style, ..) => {
                self.nested(place, |builder| builder.map(place, style == StructureStyle::Flow))?
            }
            Event::Alias(id) => return self.alias(id, place),
            _ => return None,
        };
        let node = YamlNode { place, content };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Some(node)
    }

    fn nested(
        &mut self,
        place: SourcePlace,
        read: impl FnOnce(&mut Self) -> Option<NodeContent>,
    ) -> Option<NodeContent> {
        if self.depth == MAX_DEPTH {
            self.review.note(place, "", format!("this is nested more than {MAX_DEPTH} levels deep"));
            return None;
        }
        self.depth += 1;
        let content = read(self);
        self.depth -= 1;
        content
    }

    fn alias(&mut self, id: usize, place: SourcePlace) -> Option<YamlNode> {
        let Some(node) = self.anchors.get(&id) else {
            self.review.note(place, "", "this alias stands inside of what it names");
            return None;
        };
        self.copied += size(node);
        if self.copied > MAX_COPIED_NODES {
            self.review.note(place, "", "aliases make this file too large");
            return None;
        }
        Some(node.clone())
    }

    fn list(&mut self) -> Option<NodeContent> {
        let mut items = Vec::new();
        loop {
            match self.events.next()? {
                (Event::SequenceEnd, _) => return Some(NodeContent::List(items)),
                (event, span) => items.push(self.node(event, span)?),
            }
        }
    }

    fn map(&mut self, map_place: SourcePlace, flow: bool) -> Option<NodeContent> {
        let mut entries: Vec<MapEntry> = Vec::new();
        let mut merged = Vec::new();
        loop {
            let key = match self.events.next()? {
                (Event::MappingEnd, _) => break,
                (event, span) => self.node(event, span)?,
            };
            let value = self.next_node()?;
            let key_place = key.place;
            let NodeContent::Scalar(scalar) = key.content else {
                let problem = |message| self.review.problem(map_place, "", message);
                self.review.add(match flow {
                    true => problem("this is read as a map, not as a text").with_hint(QUOTE_BRACES),
                    false => problem("a key must be a text"),
                });
                continue;
            };
            if scalar.plain && scalar.text == "<<" {
                self.merge(value, &mut merged);
                continue;
            }
            if let Some(first) = entries.iter().find(|entry| entry.key == scalar.text) {
                let problem = self.review.problem(key_place, "", format!("{:?} is given twice", scalar.text));
                self.review.add(problem.with_hint(format!("it stands on line {} already", first.key_place.line)));
                continue;
            }
            entries.push(MapEntry { key: scalar.text, key_place, value });
        }
        for entry in merged {
            if !entries.iter().any(|known| known.key == entry.key) {
                entries.push(entry);
            }
        }
        Some(NodeContent::Map(entries))
    }

    fn merge(&self, value: YamlNode, merged: &mut Vec<MapEntry>) {
        match value.content {
            NodeContent::Map(entries) => merged.extend(entries),
            NodeContent::List(maps) => maps.into_iter().for_each(|map| self.merge(map, merged)),
            NodeContent::Scalar(_) => self.review.note(value.place, "<<", "`<<` takes a map"),
        }
    }
}

fn size(node: &YamlNode) -> usize {
    1 + match &node.content {
        NodeContent::Scalar(_) => 0,
        NodeContent::List(items) => items.iter().map(size).sum(),
        NodeContent::Map(entries) => entries.iter().map(|entry| size(&entry.value)).sum(),
    }
}

fn place(span: Span) -> SourcePlace {
    let one_line = span.start.line() == span.end.line();
    let width = if one_line { span.end.col().saturating_sub(span.start.col()).max(1) } else { 1 };
    SourcePlace { line: span.start.line(), column: span.start.col() + 1, width }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_mean_what_yaml_1_2_says() {
        let plain = |text: &str| {
            let scalar = YamlScalar::new(text.to_owned(), true);
            match scalar.typed() {
                ScalarValue::Null => "null".to_owned(),
                ScalarValue::Bool(truth) => format!("bool {truth}"),
                ScalarValue::Number(number) => format!("number {number}"),
                ScalarValue::Text(text) => format!("text {text}"),
            }
        };
        for (text, meaning) in [
            ("", "null"),
            ("~", "null"),
            ("true", "bool true"),
            ("yes", "text yes"),
            ("off", "text off"),
            ("3", "number 3"),
            ("-3", "number -3"),
            ("+3", "number 3"),
            ("010", "number 10"),
            ("0o10", "number 8"),
            ("0xff", "number 255"),
            ("0x", "text 0x"),
            ("1.50", "number 1.50"),
            (".5", "number 0.5"),
            ("1e3", "number 1e+3"),
            ("18446744073709551615", "number 18446744073709551615"),
            ("inf", "text inf"),
            ("nan", "text nan"),
            (".inf", "text .inf"),
            ("-", "text -"),
            ("1_000", "text 1_000"),
            ("1.2.3", "text 1.2.3"),
            ("three", "text three"),
        ] {
            assert_eq!(plain(text), meaning, "{text:?}");
        }
    }

    #[test]
    fn hostile_files_are_refused_in_time() {
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned()
            + &('b'..='k')
                .map(|name| {
                    let before = (name as u8 - 1) as char;
                    format!("{name}: &{name} [{}]\n", vec![format!("*{before}"); 9].join(","))
                })
                .collect::<String>();
        for hostile in [bomb, "[".repeat(100_000), "- ".repeat(10_000), "a: &a [*a]".to_owned(), "{".repeat(5000)] {
            let review = FileReview::new("x.yaml", &hostile);
            assert!(parse(&hostile, &review).is_none());
            assert!(review.finish().is_err());
        }
    }
}
