//! Typed reading of a [`YamlNode`] tree. A [`FieldReader`] is a value together with its path; each of its methods gives the value as
//! one type, or notes what is wrong in the [`FileReview`] and gives `None`, so that one pass finds everything.

use std::cell::RefCell;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use serde_json::{Map, Value};

use super::shape::{MapShape, REQUEST_PARAMETERS, ValueKind};
use super::{MapEntry, NodeContent, ScalarValue, SourcePlace, YamlNode, YamlScalar, number, secrets};
use crate::ids::Name;
use crate::problem::{Problem, Problems, did_you_mean};

/// The problems of one file, while it is read.
#[derive(Debug)]
pub struct FileReview {
    file: String,
    lines: Vec<String>,
    /// The lines as they are shown, if secrets stand in the file.
    shown: Option<Vec<String>>,
    /// What no message may show.
    secrets: RefCell<Vec<String>>,
    problems: RefCell<Vec<Problem>>,
}

impl FileReview {
    /// Begins with a file's name and text.
    pub fn new(file: impl Into<String>, text: &str) -> Self {
        let lines = text.lines().map(str::to_owned).collect();
        Self { file: file.into(), lines, shown: None, secrets: RefCell::default(), problems: RefCell::default() }
    }

    /// Begins with a file in which secrets may stand: none of its problems shows one.
    pub fn of_secrets(file: impl Into<String>, text: &str) -> Self {
        Self { shown: Some(secrets::hidden_lines(text)), ..Self::new(file, text) }
    }

    /// Takes note of the secrets that are in the file, or were put into it.
    pub fn hide_secrets(&self, root: &YamlNode) {
        self.secrets.borrow_mut().extend(secrets::texts(root));
    }

    fn hides(&self, path: &str) -> bool {
        self.shown.is_some() && secrets::is_secret_path(path)
    }

    /// The file's name.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Makes a problem, with its source line; it is not noted yet.
    pub fn problem(&self, place: SourcePlace, path: &str, message: impl Into<String>) -> Problem {
        let shown = self.shown.as_ref().unwrap_or(&self.lines);
        Problem {
            file: self.file.clone(),
            line: place.line,
            column: place.column,
            path: path.to_owned(),
            message: message.into(),
            hint: None,
            source: place.line.checked_sub(1).and_then(|index| shown.get(index)).cloned(),
            width: place.width,
        }
    }

    /// Notes a problem.
    pub fn add(&self, mut problem: Problem) {
        if self.shown.is_some() {
            let hidden = self.secrets.borrow();
            problem.message = secrets::without(&problem.message, &hidden);
            problem.hint = problem.hint.map(|hint| secrets::without(&hint, &hidden));
        }
        self.problems.borrow_mut().push(problem);
    }

    /// Notes a problem without a hint.
    pub fn note(&self, place: SourcePlace, path: &str, message: impl Into<String>) {
        self.add(self.problem(place, path, message));
    }

    /// Takes out what was noted so far.
    pub fn take(&self) -> Vec<Problem> {
        self.problems.take()
    }

    /// Whether nothing was noted.
    pub fn is_clean(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    /// An error if anything was noted.
    pub fn finish(&self) -> Result<(), Problems> {
        Problems::refuse(self.take())
    }
}

/// A value, its path, and where to say what is wrong with it.
#[derive(Debug, Clone)]
pub struct FieldReader<'a> {
    /// The value.
    pub node: &'a YamlNode,
    /// Its path: `steps[1].chat.max_turns`.
    pub path: String,
    /// Where its problems go.
    pub review: &'a FileReview,
}

/// What to say a value is.
fn described(node: &YamlNode) -> String {
    match &node.content {
        NodeContent::List(_) => "a list".to_owned(),
        NodeContent::Map(_) => "a map".to_owned(),
        NodeContent::Scalar(scalar) => match scalar.typed() {
            ScalarValue::Null if scalar.text.is_empty() => "nothing".to_owned(),
            ScalarValue::Text(text) if text.chars().count() > 60 => {
                format!("\"{}…\"", text.chars().take(60).collect::<String>().escape_debug())
            }
            ScalarValue::Text(text) => format!("{text:?}"),
            _ => scalar.text.clone(),
        },
    }
}

impl<'a> FieldReader<'a> {
    /// The root of a file.
    pub fn root(node: &'a YamlNode, review: &'a FileReview) -> Self {
        Self { node, path: String::new(), review }
    }

    /// What to say it is; a secret is not shown.
    fn described(&self) -> String {
        let is_scalar = matches!(self.node.content, NodeContent::Scalar(_));
        if is_scalar && self.review.hides(&self.path) && !self.is_null() {
            return "a value that is not shown".to_owned();
        }
        described(self.node)
    }

    /// Makes a problem of this value; it is not noted yet.
    pub fn problem(&self, message: impl Into<String>) -> Problem {
        self.review.problem(self.node.place, &self.path, message)
    }

    /// Notes a problem of this value.
    pub fn note(&self, message: impl Into<String>) {
        self.review.add(self.problem(message));
    }

    /// Notes a problem of this value, and what to do about it.
    pub fn note_with_hint(&self, message: impl Into<String>, hint: impl Into<String>) {
        self.review.add(self.problem(message).with_hint(hint));
    }

    /// Notes that it is not what is wanted: `"three" is not a number`.
    pub fn is_not<T>(&self, wanted: &str) -> Option<T> {
        if self.is_missing() {
            return None;
        }
        self.note(format!("{} is not {wanted}", self.described()));
        None
    }

    /// A problem of a part of a text: its place is where the part stands, if it is found in the file as it is.
    pub fn problem_at(&self, part: &str, message: impl Into<String>) -> Problem {
        self.review.problem(self.find(part).unwrap_or(self.node.place), &self.path, message)
    }

    fn find(&self, part: &str) -> Option<SourcePlace> {
        let start = self.node.place;
        let lines = self.scalar()?.text.lines().count() + 2;
        let follows = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        for (index, line) in self.review.lines.iter().enumerate().skip(start.line - 1).take(lines) {
            let from = if index + 1 == start.line {
                line.char_indices().nth(start.column - 1).map_or(0, |(at, _)| at)
            } else {
                0
            };
            let found = line[from..].match_indices(part).find(|(at, _)| follows(&line[from + at + part.len()..]));
            if let Some((at, _)) = found {
                let column = line[..from + at].chars().count() + 1;
                return Some(SourcePlace { line: index + 1, column, width: part.chars().count() });
            }
        }
        None
    }

    /// The scalar, if it is one.
    pub fn scalar(&self) -> Option<&'a YamlScalar> {
        match &self.node.content {
            NodeContent::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    fn typed(&self) -> Option<ScalarValue<'a>> {
        self.scalar().map(YamlScalar::typed)
    }

    /// Whether a variable that it names is not set: that is said elsewhere, where it matters.
    pub fn is_missing(&self) -> bool {
        self.scalar().is_some_and(|scalar| scalar.missing.is_some())
    }

    /// Whether it is null, or nothing was written.
    pub fn is_null(&self) -> bool {
        self.typed() == Some(ScalarValue::Null)
    }

    /// Whether it is a list.
    pub fn is_list(&self) -> bool {
        matches!(self.node.content, NodeContent::List(_))
    }

    /// Whether it is a map.
    pub fn is_map(&self) -> bool {
        matches!(self.node.content, NodeContent::Map(_))
    }

    /// Whether it is `false`.
    pub fn is_false(&self) -> bool {
        self.typed() == Some(ScalarValue::Bool(false))
    }

    /// A text.
    pub fn text(&self) -> Option<&'a str> {
        let Some(scalar) = self.scalar().filter(|_| !self.is_missing()) else { return self.is_not("a text") };
        match scalar.typed() {
            ScalarValue::Text(text) => Some(text),
            _ if scalar.substituted => Some(&scalar.text),
            ScalarValue::Null if scalar.text.is_empty() => self.is_not("a text"),
            _ if self.review.hides(&self.path) => {
                self.note_with_hint(format!("{} is not a text", self.described()), "put it in quotes");
                None
            }
            _ => {
                let hint = format!("put it in quotes: \"{}\"", scalar.text);
                self.note_with_hint(format!("{} is not a text", scalar.text), hint);
                None
            }
        }
    }

    /// The file that a text is the whole content of.
    pub fn file(&self) -> Option<&'a Path> {
        self.scalar()?.file.as_deref()
    }

    /// `true` or `false`.
    pub fn bool(&self) -> Option<bool> {
        match self.loose() {
            Some(ScalarValue::Bool(truth)) => Some(truth),
            Some(ScalarValue::Text("yes" | "on" | "no" | "off")) => {
                self.note_with_hint(
                    format!("{} is not true or false", self.described()),
                    "YAML 1.2 has true and false only",
                );
                None
            }
            _ => self.is_not("true or false"),
        }
    }

    /// A number.
    pub fn number(&self) -> Option<f64> {
        match self.loose() {
            Some(ScalarValue::Number(number)) => number.as_f64(),
            _ => self.is_not("a number"),
        }
    }

    /// A whole number that is at least so much.
    pub fn whole<T: TryFrom<u64>>(&self, least: u64) -> Option<T> {
        let Some(ScalarValue::Number(number)) = self.loose() else { return self.is_not("a number") };
        let whole = number
            .as_u64()
            .or_else(|| number.as_f64().filter(|n| n.fract() == 0.0 && *n >= 0.0 && *n < 1e15).map(|n| n as u64));
        match whole {
            Some(number) if number >= least => match T::try_from(number) {
                Ok(number) => Some(number),
                Err(_) => {
                    self.note(format!("{number} is too large"));
                    None
                }
            },
            _ if number.as_f64().is_some_and(|n| n.fract() != 0.0) => self.is_not("a whole number"),
            _ => {
                self.note(format!("{number} is less than {least}"));
                None
            }
        }
    }

    /// A size in bytes: `256MiB`, `1GiB`, or a number of bytes.
    pub fn size(&self) -> Option<u64> {
        let read = match self.loose() {
            Some(ScalarValue::Number(number)) => number.as_u64(),
            Some(ScalarValue::Text(text)) => parse_size(text),
            _ => None,
        };
        read.or_else(|| self.is_not("a size such as 256MiB, or a number of bytes"))
    }

    /// A duration: `60s`, `2h 30m`, or a number of seconds.
    pub fn duration(&self) -> Option<Duration> {
        let read = match self.loose() {
            Some(ScalarValue::Number(number)) => {
                number.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            }
            Some(ScalarValue::Text(text)) => parse_duration(text),
            _ => None,
        };
        if read.is_none() && !self.is_missing() {
            self.note_with_hint(
                format!("{} is not a duration", self.described()),
                "like 60s, 2h 30m, or a number of seconds",
            );
        }
        if read.is_some_and(|read| read > LONGEST_DURATION) {
            self.note(format!("{} is longer than a hundred years", self.described()));
            return None;
        }
        read
    }

    /// A size of which something is left: not 0.
    pub fn some_size(&self) -> Option<u64> {
        let size = self.size()?;
        if size == 0 { self.is_not("more than nothing") } else { Some(size) }
    }

    /// A duration in which something can happen: not 0.
    pub fn some_time(&self) -> Option<Duration> {
        let duration = self.duration()?;
        if duration.is_zero() { self.is_not("more than no time") } else { Some(duration) }
    }

    /// A name.
    pub fn name(&self) -> Option<Name> {
        let text = match self.typed() {
            _ if self.is_missing() => return None,
            Some(ScalarValue::Text(text)) => text,
            Some(ScalarValue::Number(_)) => &self.scalar()?.text,
            _ => return self.is_not("a name"),
        };
        match Name::parse(text) {
            Ok(name) => Some(name),
            Err(_) => {
                self.note_with_hint(format!("{} is not a name", self.described()), NAME_HINT);
                None
            }
        }
    }

    /// One of some words.
    pub fn one_of<T: Copy>(&self, words: &[(&'static str, T)]) -> Option<T> {
        let written = match self.typed() {
            _ if self.is_missing() => return None,
            Some(ScalarValue::Text(text)) => text,
            _ => "",
        };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == written) {
            return Some(*value);
        }
        let all: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        let wanted = if all.len() == 1 { all.join("") } else { format!("one of {}", all.join(", ")) };
        let problem = self.problem(format!("{} is not {wanted}", self.described()));
        self.review.add(match did_you_mean(written, all) {
            Some(hint) => problem.with_hint(hint),
            None => problem,
        });
        None
    }

    /// The items of a list.
    pub fn items(&self) -> Option<Vec<FieldReader<'a>>> {
        let NodeContent::List(items) = &self.node.content else { return self.is_not("a list") };
        let field = |(index, node)| FieldReader { node, path: format!("{}[{index}]", self.path), review: self.review };
        Some(items.iter().enumerate().map(field).collect())
    }

    /// The entries of a map whose keys are free.
    pub fn entries(&self) -> Option<Vec<(&'a MapEntry, FieldReader<'a>)>> {
        let NodeContent::Map(entries) = &self.node.content else { return self.is_not("a map") };
        Some(entries.iter().map(|entry| (entry, self.child(&entry.key, &entry.value))).collect())
    }

    /// The entries of a map whose keys are names; an entry with another key is noted and left out.
    pub fn named_entries(&self) -> Option<Vec<(Name, &'a MapEntry, FieldReader<'a>)>> {
        let named = |(entry, field): (&'a MapEntry, FieldReader<'a>)| match Name::parse(&entry.key) {
            Ok(name) => Some((name, entry, field)),
            Err(_) => {
                let problem =
                    self.review.problem(entry.key_place, &self.path, format!("{:?} is not a name", entry.key));
                self.review.add(problem.with_hint(NAME_HINT));
                None
            }
        };
        Some(self.entries()?.into_iter().filter_map(named).collect())
    }

    /// The fields of a map of this shape. Unknown keys are noted here, and so are missing ones and those that are not in
    /// this version.
    pub fn fields(&self, shape: &'static MapShape) -> Option<MapReader<'a>> {
        let NodeContent::Map(entries) = &self.node.content else {
            if !self.is_missing() {
                self.note_with_hint(self.takes_a_map(shape), may_have(shape));
            }
            return None;
        };
        let mut meant = Vec::new();
        for entry in entries {
            match shape.all_keys().find(|key| key.name == entry.key) {
                None => {
                    let near = match entry.key.starts_with('\u{a0}') {
                        true => Some(NO_BREAK_SPACES.to_owned()),
                        false => did_you_mean(&entry.key, shape.all_keys().map(|key| key.name)),
                    };
                    meant.extend(near.clone());
                    let message = format!("unknown key {:?} in {}", entry.key, self.place_in_words(shape));
                    let problem = self.review.problem(entry.key_place, &self.path, message);
                    self.review.add(problem.with_hint(near.unwrap_or_else(|| may_have(shape))));
                }
                Some(key) if matches!(key.kind, ValueKind::NotYet) => {
                    self.review.note(entry.key_place, &self.child_path(&entry.key), "not in this version");
                }
                Some(_) => {}
            }
        }
        for key in shape.all_keys().filter(|key| key.required) {
            // A key that was misspelt is not missing as well.
            let misspelt = meant.iter().any(|hint| hint.contains(&format!("{:?}", key.name)));
            if !misspelt && !entries.iter().any(|entry| entry.key == key.name) {
                let path = &self.path;
                self.review.note(self.node.place, path, format!("{:?} is missing", key.name));
            }
        }
        Some(MapReader { field: self.clone(), entries, shape })
    }

    /// Where this map stands: `gateway.limits` in code, or "the workflow" for a whole file.
    fn place_in_words(&self, shape: &MapShape) -> String {
        if self.path.is_empty() { format!("the {}", shape.name) } else { format!("`{}`", self.path) }
    }

    /// That a map is expected here, with one that is built of the value that was written instead.
    fn takes_a_map(&self, shape: &MapShape) -> String {
        let place = self.place_in_words(shape);
        let found = self.described();
        let name = self.path.rsplit('.').next().unwrap_or_default();
        let required = shape.all_keys().find(|key| key.required);
        let is_plain = matches!(self.node.content, NodeContent::Scalar(_)) && !self.is_null() && !name.ends_with(']');
        match required.or_else(|| shape.all_keys().next()) {
            Some(key) if is_plain && !self.review.hides(&self.path) => {
                format!("{place} takes a map, e.g. `{name}: {{ {}: {found} }}`", key.name)
            }
            _ => format!("{place} takes a map, but {found} stands here"),
        }
    }

    fn child_path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn child(&self, key: &str, node: &'a YamlNode) -> FieldReader<'a> {
        FieldReader { node, path: self.child_path(key), review: self.review }
    }

    /// The value as JSON.
    pub fn json(&self) -> Value {
        json(self.node)
    }

    fn parameter(&self, kind: ValueKind) -> Option<Value> {
        match kind {
            ValueKind::Text => self.text().map(Into::into),
            ValueKind::Bool => self.bool().map(Into::into),
            ValueKind::Whole(least) => self.whole::<u64>(least).map(Into::into),
            // A number stays as it was written: 1 does not become 1.0.
            ValueKind::Number => match self.loose() {
                Some(ScalarValue::Number(number)) => Some(Value::Number(number)),
                _ => self.is_not("a number"),
            },
            ValueKind::Either(_) if self.is_list() => {
                let texts: Option<Vec<_>> = self.items()?.iter().map(FieldReader::text).collect();
                texts.map(Into::into)
            }
            ValueKind::Either(_) => self.text().map(Into::into),
            _ => Some(self.json()),
        }
    }

    /// The meaning of a scalar; a text that came from a variable may be a number or a truth as well.
    fn loose(&self) -> Option<ScalarValue<'a>> {
        let scalar = self.scalar()?;
        if !scalar.substituted {
            return Some(scalar.typed());
        }
        Some(match scalar.text.as_str() {
            "true" => ScalarValue::Bool(true),
            "false" => ScalarValue::Bool(false),
            text => number(text).map_or(ScalarValue::Text(text), ScalarValue::Number),
        })
    }
}

/// No clock comes to its end by it.
const LONGEST_DURATION: Duration = Duration::from_secs(100 * 366 * 24 * 3600);
const NO_BREAK_SPACES: &str = "the line is indented with no-break spaces, which look like spaces; type plain ones";
const NAME_HINT: &str = "a name is 1 to 64 letters, digits, \"_\" or \"-\"";

fn may_have(shape: &MapShape) -> String {
    let usable: Vec<_> =
        shape.all_keys().filter(|key| !matches!(key.kind, ValueKind::NotYet)).map(|key| key.name).collect();
    format!("it may have {}", usable.join(", "))
}

/// Reads `60s`, `2h 30m`; a calendar's units (days are 24 hours) included, years and months not.
pub fn parse_duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = f64::from_str(text) {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let span = jiff::Span::from_str(text).ok()?;
    let duration = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok()?;
    Duration::try_from(duration).ok()
}

/// Reads `256MiB`, `1 GB`, `65536`.
pub fn parse_size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let factor: u64 = match text[digits..].trim() {
        "" | "B" => 1,
        "kB" => 1_000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        "TB" => 1_000_000_000_000,
        "TiB" => 1 << 40,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(factor)
}

fn json(node: &YamlNode) -> Value {
    match &node.content {
        NodeContent::List(items) => items.iter().map(json).collect(),
        NodeContent::Map(entries) => {
            Value::Object(entries.iter().map(|entry| (entry.key.clone(), json(&entry.value))).collect::<Map<_, _>>())
        }
        NodeContent::Scalar(scalar) => match scalar.typed() {
            ScalarValue::Null => Value::Null,
            ScalarValue::Bool(truth) => truth.into(),
            ScalarValue::Number(number) => Value::Number(number),
            ScalarValue::Text(text) => text.into(),
        },
    }
}

/// The fields of a map that has a [`MapShape`].
#[derive(Clone)]
pub struct MapReader<'a> {
    /// The map itself.
    pub field: FieldReader<'a>,
    entries: &'a [MapEntry],
    shape: &'static MapShape,
}

impl<'a> MapReader<'a> {
    /// A field, if it is there.
    pub fn get(&self, key: &'static str) -> Option<FieldReader<'a>> {
        debug_assert!(
            self.shape.all_keys().any(|known| known.name == key),
            "{key} is not in the shape {}",
            self.shape.name
        );
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(self.field.child(key, &entry.value))
    }

    /// A field as a type, if it is there and right.
    pub fn read<T>(&self, key: &'static str, read: impl FnOnce(&FieldReader<'a>) -> Option<T>) -> Option<T> {
        read(&self.get(key)?)
    }

    /// The request parameters among the fields ([`REQUEST_PARAMETERS`]), in the order written; those of `extra` last.
    pub fn request_parameters(&self) -> Map<String, Value> {
        let mut parameters = Map::new();
        for entry in self.entries {
            let Some(key) = REQUEST_PARAMETERS.iter().find(|key| key.name == entry.key && key.name != "extra") else {
                continue;
            };
            let field = self.field.child(key.name, &entry.value);
            if let Some(value) = field.parameter(key.kind) {
                parameters.insert(key.name.to_owned(), value);
            }
        }
        if let Some(Value::Object(extra)) =
            self.read("extra", |field| field.is_map().then(|| field.json()).or_else(|| field.is_not("a map")))
        {
            parameters.extend(extra);
        }
        parameters
    }

    /// The entries as written.
    pub fn entries(&self) -> &'a [MapEntry] {
        self.entries
    }

    /// Notes a problem at a key of the map.
    pub fn problem_at_key(&self, key: &'static str, message: impl Into<String>) -> Problem {
        let place =
            self.entries.iter().find(|entry| entry.key == key).map_or(self.field.node.place, |entry| entry.key_place);
        self.field.review.problem(place, &self.field.child_path(key), message)
    }
}
