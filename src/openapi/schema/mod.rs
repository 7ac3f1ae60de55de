//! Schemas of a specification as JSON Schemas (draft 2020-12) that models are offered and arguments are checked against.
//!
//! References are put in place; those that lead back to themselves become `$defs`. What says nothing to a model is left out
//! (examples, `xml`, `x-…`), what is wrong is left out with a warning, so that every schema compiles. A model is never asked
//! for what is read-only.

mod keywords;
mod published;
mod recursion;

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Number, Value, json};

use super::documents::{DocumentSet, Located};
use super::operations::object;
use super::warning::{JsonPointer, WarningList};

pub(super) use published::{published, without_patterns};
use recursion::{RecursionIndex, ReferenceKind};

/// How many schemas may be nested in each other. Each takes two levels of JSON at least, of which `crate::schema` takes 64.
const DEEPEST: usize = 24;
/// The longest description of a value, in characters.
const LONGEST_DESCRIPTION: usize = 600;
/// The longest `default` that is shown, in bytes.
const LONGEST_DEFAULT: usize = 200;

/// Which words a schema is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SchemaDialect {
    /// OpenAPI 3.0 and Swagger 2.0: `nullable`, `exclusiveMinimum: true`.
    Old,
    /// OpenAPI 3.1 and later: JSON Schema 2020-12.
    New,
}

/// How much of a schema is shown. What is left out is not checked either: the server does that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SchemaDetail {
    /// How many schemas may be nested.
    pub(super) depth: usize,
    /// Down to which level descriptions are shown.
    pub(super) described: usize,
    /// Whether every reference becomes one of `$defs`, and not only recursive ones.
    pub(super) shared: bool,
    /// How long a list of values may be.
    pub(super) values: usize,
}

impl SchemaDetail {
    /// From all to little. The first one that fits counts.
    pub(super) const LEVELS: [SchemaDetail; 5] = [
        SchemaDetail { depth: DEEPEST, described: DEEPEST, shared: false, values: 200 },
        SchemaDetail { depth: DEEPEST, described: 1, shared: true, values: 200 },
        SchemaDetail { depth: 4, described: 1, shared: false, values: 50 },
        SchemaDetail { depth: 2, described: 1, shared: false, values: 50 },
        SchemaDetail { depth: 1, described: 1, shared: false, values: 20 },
    ];
}

/// A schema does not fit into the room that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRoom;

/// What is found out of a document on the way, and is true for all of its operations.
#[derive(Debug)]
pub(super) struct SchemaCaches {
    recursion: RecursionIndex,
    /// Schemas that are made of themselves: no value could ever be checked against them.
    inclusion: RecursionIndex,
    patterns: HashMap<String, bool>,
}

impl Default for SchemaCaches {
    fn default() -> Self {
        let [recursion, inclusion] = [ReferenceKind::Any, ReferenceKind::SameValue].map(RecursionIndex::new);
        Self { recursion, inclusion, patterns: HashMap::new() }
    }
}

/// The names of properties that are read-only, of the object that is at hand.
type HiddenNames = BTreeSet<String>;

/// Writes the schemas of one tool.
pub(super) struct SchemaWriter<'d, 'w> {
    documents: &'d DocumentSet,
    dialect: SchemaDialect,
    detail: SchemaDetail,
    caches: &'w mut SchemaCaches,
    warnings: &'w mut WarningList,
    /// How many bytes are left.
    pub(super) room: usize,
    definitions: Vec<Definition<'d>>,
    /// How many conditions the schema at hand is in: there, what takes more is stricter.
    conditions: usize,
    /// Whether something is left out that is deeper than the detail allows.
    pub(super) is_cut: bool,
    /// Whether a model is offered something else than what its arguments are checked against ([`published`]).
    pub(super) differs: bool,
}

struct Definition<'d> {
    schema: Located<'d>,
    name: String,
    place: String,
    written: Option<Value>,
}

impl<'d, 'w> SchemaWriter<'d, 'w> {
    pub(super) fn new(
        documents: &'d DocumentSet,
        dialect: SchemaDialect,
        detail: SchemaDetail,
        room: usize,
        caches: &'w mut SchemaCaches,
        warnings: &'w mut WarningList,
    ) -> Self {
        Self {
            documents,
            dialect,
            detail,
            caches,
            warnings,
            room,
            definitions: Vec::new(),
            conditions: 0,
            is_cut: false,
            differs: false,
        }
    }

    /// The schema of an argument.
    pub(super) fn argument(&mut self, schema: Located<'d>, place: &JsonPointer<'_>) -> Result<Value, NoRoom> {
        self.schema(schema, place, 1, &HiddenNames::new())
    }

    /// Takes room.
    pub(super) fn spend(&mut self, bytes: usize) -> Result<(), NoRoom> {
        self.room = self.room.checked_sub(bytes).ok_or(NoRoom)?;
        Ok(())
    }

    /// The definitions that the arguments refer to.
    pub(super) fn definitions(mut self) -> Result<Map<String, Value>, NoRoom> {
        let mut at = 0;
        while at < self.definitions.len() {
            let Definition { schema, place, .. } = &self.definitions[at];
            let (schema, place) = (*schema, place.clone());
            self.definitions[at].written =
                Some(self.inline(schema, &JsonPointer::root(&place), 2, &HiddenNames::new())?);
            at += 1;
        }
        Ok(self.definitions.into_iter().filter_map(|one| Some((one.name, one.written?))).collect())
    }

    fn schema(
        &mut self,
        at: Located<'d>,
        place: &JsonPointer<'_>,
        depth: usize,
        hidden: &HiddenNames,
    ) -> Result<Value, NoRoom> {
        match at.value {
            Value::Object(map) => match map.get("$ref") {
                Some(Value::String(reference)) => self.reference(at, map, reference, place, depth, hidden),
                _ => self.inline(at, place, depth, hidden),
            },
            _ => self.inline(at, place, depth, hidden),
        }
    }

    fn reference(
        &mut self,
        at: Located<'d>,
        map: &'d Map<String, Value>,
        reference: &str,
        place: &JsonPointer<'_>,
        depth: usize,
        hidden: &HiddenNames,
    ) -> Result<Value, NoRoom> {
        let target = match self.documents.resolve(at.document, reference) {
            Ok(target) => target,
            Err(why) => {
                self.warnings.add(place, format!("{why}; any value is taken there"));
                return Ok(json!({}));
            }
        };
        if self.documents.follow(target).is_err() || self.caches.inclusion.is_recursive(self.documents, target) {
            self.warnings.add(place, format!("{reference:?} is made of itself; any value is taken there"));
            return Ok(json!({}));
        }
        let target_place = self.documents.place(target, reference);
        let is_definition = self.detail.shared || self.caches.recursion.is_recursive(self.documents, target);
        let written = if is_definition {
            let name = self.definition(target, reference, target_place);
            self.spend(name.len() + 20)?;
            json!({ "$ref": format!("#/$defs/{name}") })
        } else {
            self.schema(target, &JsonPointer::root(&target_place), depth, hidden)?
        };
        // In the old dialect what stands beside a reference does not count, except for what people read.
        if self.dialect == SchemaDialect::New && map.keys().any(|key| keywords::is_assertion(key)) {
            let beside = self.object_schema(at, map, place, depth, hidden)?;
            self.spend(16)?;
            return Ok(json!({ "allOf": [written, beside] }));
        }
        match (written, self.description(map, depth)) {
            (Value::Object(mut written), Some(description)) => {
                self.put(&mut written, "description", Value::String(description))?;
                Ok(Value::Object(written))
            }
            (written, _) => Ok(written),
        }
    }

    /// The name of a definition in `$defs`.
    fn definition(&mut self, schema: Located<'d>, reference: &str, place: String) -> String {
        let is_same = |known: &&Definition<'d>| std::ptr::eq(known.schema.value, schema.value);
        if let Some(known) = self.definitions.iter().find(is_same) {
            return known.name.clone();
        }
        let last = reference.rsplit(['/', '#']).next().unwrap_or_default();
        let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | '-');
        let plain: String = last.chars().map(|letter| if fits(letter) { letter } else { '_' }).take(60).collect();
        let plain = if plain.is_empty() { "schema".to_owned() } else { plain };
        let mut name = plain.clone();
        let mut number = 2;
        while self.definitions.iter().any(|known| known.name == name) {
            name = format!("{plain}_{number}");
            number += 1;
        }
        self.definitions.push(Definition { schema, name: name.clone(), place, written: None });
        name
    }

    /// A schema that is written where it is used.
    fn inline(
        &mut self,
        at: Located<'d>,
        place: &JsonPointer<'_>,
        depth: usize,
        hidden: &HiddenNames,
    ) -> Result<Value, NoRoom> {
        self.spend(4)?;
        match at.value {
            Value::Object(map) if map.get("$ref").is_some_and(Value::is_string) => {
                self.schema(at, place, depth, hidden)
            }
            Value::Object(map) => self.object_schema(at, map, place, depth, hidden),
            Value::Bool(truth) => Ok(if *truth { json!({}) } else { json!(false) }),
            _ => {
                self.warnings.add(place, "a schema must be an object; any value is taken there");
                Ok(json!({}))
            }
        }
    }

    fn object_schema(
        &mut self,
        at: Located<'d>,
        map: &'d Map<String, Value>,
        place: &JsonPointer<'_>,
        depth: usize,
        hidden: &HiddenNames,
    ) -> Result<Value, NoRoom> {
        let description = self.description(map, depth);
        let mut out = Map::new();
        if let Some(description) = description {
            self.put(&mut out, "description", Value::String(description))?;
        }
        // A list of one, with nothing beside it that counts, is what it holds.
        if let Some([only]) = map.get("allOf").and_then(Value::as_array).map(Vec::as_slice)
            && !map.keys().any(|key| key != "allOf" && keywords::is_assertion(key))
        {
            let place = place.key("allOf");
            let written = self.schema(at.with(only), &place.index(0), depth, hidden)?;
            if let (Value::Object(inner), false) = (&written, out.is_empty()) {
                let mut inner = inner.clone();
                inner.extend(out);
                return Ok(Value::Object(inner));
            }
            return Ok(written);
        }
        let types = self.types(map, place);
        match types.as_slice() {
            [] => {}
            [one] => self.put(&mut out, "type", json!(one))?,
            several => self.put(&mut out, "type", json!(several))?,
        }
        self.values(map, &types, &mut out, place)?;
        self.simple_keywords(map, &mut out, place)?;
        if depth >= self.detail.depth {
            if map.keys().any(|key| keywords::is_nested(key)) {
                self.is_cut = true;
            }
            if types.contains(&"array") {
                self.put(&mut out, "items", json!({}))?;
            }
            return Ok(Value::Object(out));
        }
        self.nested_keywords(at, map, &types, &mut out, place, depth, hidden)?;
        Ok(Value::Object(out))
    }

    /// The types that a schema names, in the words of JSON Schema.
    fn types(&mut self, map: &Map<String, Value>, place: &JsonPointer<'_>) -> Vec<&'static str> {
        let named: Vec<&Value> = match map.get("type") {
            None => Vec::new(),
            Some(Value::Array(several)) => several.iter().collect(),
            Some(one) => vec![one],
        };
        let mut types = Vec::new();
        for name in named {
            match name.as_str().and_then(keywords::json_type) {
                Some(known) if !types.contains(&known) => types.push(known),
                Some(_) => {}
                None => {
                    self.warnings.add(&place.key("type"), format!("{name} is no type; any value is taken there"));
                    return Vec::new();
                }
            }
        }
        // Tools differ in what `nullable` means beside an `enum` without null, and beside a reference; here null is
        // taken only where all of them agree.
        let is_nullable = self.dialect == SchemaDialect::Old && map.get("nullable").is_some_and(|truth| truth == true);
        let values = map.get("enum").and_then(Value::as_array);
        if is_nullable && types.len() == 1 && values.is_none_or(|values| values.contains(&Value::Null)) {
            types.push("null");
        }
        types
    }

    /// `enum` and `const`, with values of the types.
    fn values(
        &mut self,
        map: &Map<String, Value>,
        types: &[&str],
        out: &mut Map<String, Value>,
        place: &JsonPointer<'_>,
    ) -> Result<(), NoRoom> {
        if let Some(value) = map.get("const") {
            self.put(out, "const", value.clone())?;
        }
        let Some(values) = map.get("enum") else { return Ok(()) };
        let place = place.key("enum");
        let Some(values) = values.as_array().filter(|values| !values.is_empty()) else {
            self.warnings.add(&place, "`enum` is not a list of values and is not used");
            return Ok(());
        };
        if values.len() > self.detail.values {
            self.is_cut = true;
            return Ok(());
        }
        let mut fitting: Vec<Value> = Vec::with_capacity(values.len());
        let mut odd = false;
        for value in values {
            let read = keywords::of_types(value, types);
            odd |= read.as_ref() != Some(value);
            fitting.extend(read.filter(|read| !fitting.contains(read)));
        }
        if odd {
            let what = if fitting.is_empty() { "`enum` is not used" } else { "those that can be are read as such" };
            self.warnings.add(&place, format!("not all values are of the type {}; {what}", types.join(" or ")));
        }
        if !fitting.is_empty() {
            self.put(out, "enum", Value::Array(fitting))?;
        }
        Ok(())
    }

    fn simple_keywords(
        &mut self,
        map: &Map<String, Value>,
        out: &mut Map<String, Value>,
        place: &JsonPointer<'_>,
    ) -> Result<(), NoRoom> {
        for (key, value) in map {
            let place = place.key(key);
            match key.as_str() {
                "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties"
                | "minContains" | "maxContains" => match keywords::count(value) {
                    Some(count) => self.put(out, key, json!(count))?,
                    None => self.unusable(&place),
                },
                "minimum" | "maximum" => self.limit(map, key, value, out, &place)?,
                "exclusiveMinimum" | "exclusiveMaximum" if !value.is_boolean() => match super::text::number(value) {
                    Some(number) => self.put(out, key, Value::Number(number))?,
                    None => self.unusable(&place),
                },
                "multipleOf" => match super::text::number(value).filter(is_positive) {
                    Some(number) => {
                        self.differs |= published::is_fraction(&number);
                        self.put(out, key, Value::Number(number))?;
                    }
                    None => self.unusable(&place),
                },
                "uniqueItems" => match value {
                    Value::Bool(true) => self.put(out, key, json!(true))?,
                    Value::Bool(false) => {}
                    _ => self.unusable(&place),
                },
                "pattern" => match value.as_str() {
                    Some(pattern) if self.is_pattern(pattern) => self.put(out, key, json!(pattern))?,
                    _ => self.warnings.add(&place, "the pattern cannot be used; texts are not compared with it"),
                },
                "format" | "contentEncoding" | "contentMediaType" => {
                    if let Some(text) = value.as_str().filter(|text| (1..=40).contains(&text.len())) {
                        self.put(out, key, json!(text))?;
                    }
                }
                "deprecated" if value == true => self.put(out, key, json!(true))?,
                "default" if !value.is_null() && json_length(value) <= LONGEST_DEFAULT => {
                    self.put(out, key, value.clone())?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// `minimum` or `maximum`; in the old dialect `exclusiveMinimum: true` makes another keyword of it.
    fn limit(
        &mut self,
        map: &Map<String, Value>,
        key: &str,
        value: &Value,
        out: &mut Map<String, Value>,
        place: &JsonPointer<'_>,
    ) -> Result<(), NoRoom> {
        let Some(number) = super::text::number(value) else {
            self.unusable(place);
            return Ok(());
        };
        let exclusive = if key == "minimum" { "exclusiveMinimum" } else { "exclusiveMaximum" };
        let is_exclusive = map.get(exclusive).is_some_and(|truth| truth == true);
        self.put(out, if is_exclusive { exclusive } else { key }, Value::Number(number))
    }

    fn unusable(&mut self, place: &JsonPointer<'_>) {
        self.warnings.add(place, "the value of the keyword cannot be used; the keyword is left out");
    }

    #[expect(clippy::too_many_arguments, reason = "what a schema is read with, and what it is written to")]
    fn nested_keywords(
        &mut self,
        at: Located<'d>,
        map: &'d Map<String, Value>,
        types: &[&str],
        out: &mut Map<String, Value>,
        place: &JsonPointer<'_>,
        depth: usize,
        hidden: &HiddenNames,
    ) -> Result<(), NoRoom> {
        let nothing = HiddenNames::new();
        let mut all_hidden = hidden.clone();
        self.collect_hidden(at, &mut all_hidden, 0);
        for (key, value) in map {
            let here = place.key(key);
            match (key.as_str(), value) {
                ("properties", Value::Object(properties)) => {
                    let written = self.properties(at, properties, &here, depth, &all_hidden)?;
                    self.put_nested(out, key, Value::Object(written))?;
                }
                ("required", Value::Array(_)) => {}
                ("patternProperties" | "dependentSchemas", Value::Object(schemas)) => {
                    let mut written = Map::new();
                    for (name, schema) in schemas {
                        if key == "patternProperties" && !self.is_pattern(name) {
                            self.warnings.add(&here.key(name), "the pattern cannot be used; it is left out");
                            continue;
                        }
                        self.spend(name.len() + 6)?;
                        let schema = self.schema(at.with(schema), &here.key(name), depth + 1, &nothing)?;
                        written.insert(name.clone(), schema);
                    }
                    self.put_nested(out, key, Value::Object(written))?;
                }
                ("items" | "prefixItems", Value::Array(schemas)) => {
                    let mut written = Vec::with_capacity(schemas.len());
                    for (index, schema) in schemas.iter().enumerate() {
                        written.push(self.schema(at.with(schema), &here.index(index), depth + 1, &nothing)?);
                    }
                    if !written.is_empty() {
                        self.put_nested(out, "prefixItems", Value::Array(written))?;
                    }
                }
                (
                    "additionalProperties"
                    | "unevaluatedProperties"
                    | "unevaluatedItems"
                    | "items"
                    | "contains"
                    | "propertyNames"
                    | "not"
                    | "if"
                    | "then"
                    | "else",
                    Value::Object(_) | Value::Bool(_),
                ) => {
                    let is_condition = matches!(key.as_str(), "not" | "if");
                    self.conditions += usize::from(is_condition);
                    let written = match value {
                        Value::Bool(truth) => Value::Bool(*truth),
                        _ => self.schema(at.with(value), &here, depth + 1, &nothing)?,
                    };
                    self.conditions -= usize::from(is_condition);
                    self.put_nested(out, key, written)?;
                }
                ("allOf" | "anyOf" | "oneOf", Value::Array(schemas)) if !schemas.is_empty() => {
                    let mut written = Vec::with_capacity(schemas.len());
                    for (index, schema) in schemas.iter().enumerate() {
                        written.push(self.schema(at.with(schema), &here.index(index), depth + 1, &all_hidden)?);
                    }
                    // Many documents have variants that a value fits several of. Their servers take it, and so it is no mistake here.
                    let is_loosened = key == "oneOf" && self.conditions == 0 && !map.contains_key("anyOf");
                    let key: &str = if is_loosened { "anyOf" } else { key };
                    self.put_nested(out, key, Value::Array(written))?;
                }
                ("dependentRequired", Value::Object(lists)) => {
                    let is_list =
                        |list: &Value| list.as_array().is_some_and(|names| names.iter().all(Value::is_string));
                    if lists.values().all(is_list) {
                        self.put(out, key, value.clone())?;
                    }
                }
                (key, _) if keywords::is_nested(key) => self.unusable(&here),
                _ => {}
            }
        }
        let required = required_names(map, &all_hidden);
        if !required.is_empty() {
            self.put(out, "required", json!(required))?;
        }
        // Some models' servers refuse a list of which nothing is said.
        if types.contains(&"array") && !out.contains_key("items") && !out.contains_key("prefixItems") {
            self.put(out, "items", json!({}))?;
        }
        Ok(())
    }

    fn properties(
        &mut self,
        at: Located<'d>,
        properties: &'d Map<String, Value>,
        place: &JsonPointer<'_>,
        depth: usize,
        hidden: &HiddenNames,
    ) -> Result<Map<String, Value>, NoRoom> {
        let mut written = Map::new();
        for (name, schema) in properties {
            if hidden.contains(name) {
                // The check refuses it; a model does not see it (`published`).
                written.insert(name.clone(), Value::Bool(false));
                self.differs = true;
                continue;
            }
            self.spend(name.len() + 6)?;
            let schema = self.schema(at.with(schema), &place.key(name), depth + 1, &HiddenNames::new())?;
            written.insert(name.clone(), schema);
        }
        Ok(written)
    }

    /// Adds the names of properties that are read-only, in a schema and in all that it is made of.
    fn collect_hidden(&self, at: Located<'d>, hidden: &mut HiddenNames, hops: usize) {
        const MOST_HOPS: usize = 8;
        let Ok(at) = self.documents.follow(at) else { return };
        for (name, property) in object(at.value.get("properties")) {
            if self.is_read_only(at.with(property)) {
                hidden.insert(name.clone());
            }
        }
        if hops < MOST_HOPS {
            for part in at.value.get("allOf").and_then(Value::as_array).into_iter().flatten() {
                self.collect_hidden(at.with(part), hidden, hops + 1);
            }
        }
    }

    fn is_read_only(&self, at: Located<'_>) -> bool {
        is_read_only(self.documents, at)
    }

    fn description(&self, map: &Map<String, Value>, depth: usize) -> Option<String> {
        if depth > self.detail.described {
            return None;
        }
        let text = map.get("description").and_then(Value::as_str).unwrap_or_default();
        let mut text = shortened(text, LONGEST_DESCRIPTION);
        if let Some(hint) = discriminator(map) {
            text = if text.is_empty() { hint } else { format!("{text} {hint}") };
        }
        (!text.is_empty()).then_some(text)
    }

    /// Whether a pattern can be used as JSON Schemas use it.
    fn is_pattern(&mut self, pattern: &str) -> bool {
        if let Some(known) = self.caches.patterns.get(pattern) {
            return *known;
        }
        let is_pattern = keywords::is_pattern(pattern);
        self.caches.patterns.insert(pattern.to_owned(), is_pattern);
        is_pattern
    }

    fn put(&mut self, out: &mut Map<String, Value>, key: &str, value: Value) -> Result<(), NoRoom> {
        self.spend(key.len() + 4 + json_length(&value))?;
        out.insert(key.to_owned(), value);
        Ok(())
    }

    /// The room for what is in the value is taken already.
    fn put_nested(&mut self, out: &mut Map<String, Value>, key: &str, value: Value) -> Result<(), NoRoom> {
        self.spend(key.len() + 6)?;
        out.insert(key.to_owned(), value);
        Ok(())
    }
}

/// Whether a value comes from the server alone.
pub(super) fn is_read_only(documents: &DocumentSet, at: Located<'_>) -> bool {
    let is_set = |value: &Value| value.get("readOnly").is_some_and(|truth| truth == true);
    is_set(at.value) || documents.follow(at).is_ok_and(|target| is_set(target.value))
}

/// The names that an object must have, without those that are read-only. Old documents say `required: true` in the property.
pub(super) fn required_names(map: &Map<String, Value>, hidden: &BTreeSet<String>) -> Vec<String> {
    let listed = map.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let marked = object(map.get("properties"))
        .filter(|(_, property)| property.get("required").is_some_and(|truth| truth == true))
        .map(|(name, _)| name.as_str());
    let mut names: Vec<String> = Vec::new();
    for name in listed.chain(marked) {
        if !hidden.contains(name) && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// A text for a model: its spaces and line breaks are single spaces, and it has an end.
pub(super) fn shortened(text: &str, longest: usize) -> String {
    let mut words = String::new();
    let mut count = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if count + length + 1 > longest {
            words.push('…');
            break;
        }
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(word);
        count += length + 1;
    }
    words
}

/// Which property tells the variants of `oneOf` apart, in words.
fn discriminator(map: &Map<String, Value>) -> Option<String> {
    let variants = map.get("oneOf").or_else(|| map.get("anyOf"))?.as_array()?;
    let discriminator = map.get("discriminator")?;
    let property = discriminator.get("propertyName")?.as_str()?;
    let mapped: Vec<&str> = object(discriminator.get("mapping")).map(|(name, _)| name.as_str()).collect();
    let referred = variants.iter().filter_map(|variant| variant.get("$ref")?.as_str()?.rsplit('/').next());
    let names = if mapped.is_empty() { referred.collect() } else { mapped };
    let all: Vec<&str> = names.into_iter().take(20).collect();
    (!all.is_empty()).then(|| format!("{property} says which of these it is: {}.", all.join(", ")))
}

fn is_positive(number: &Number) -> bool {
    number.as_f64().is_some_and(|number| number > 0.0)
}

/// About how many bytes a value takes as JSON.
pub(super) fn json_length(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(number) => number.as_str().len(),
        Value::String(text) => {
            text.len() + 2 + text.bytes().filter(|byte| matches!(byte, b'"' | b'\\' | b'\n')).count()
        }
        Value::Array(items) => 2 + items.iter().map(|item| json_length(item) + 1).sum::<usize>(),
        Value::Object(map) => 2 + map.iter().map(|(key, value)| key.len() + 4 + json_length(value)).sum::<usize>(),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
