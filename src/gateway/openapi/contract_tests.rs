//! The document says at least what the stored one (`tests/openapi/contract.json`) says: no route, parameter, field or type that
//! a client may rely on is lost.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::document;

/// What a schema says, its references and alternatives resolved.
#[derive(Default)]
struct Shape<'a> {
    types: BTreeSet<&'a str>,
    required: BTreeSet<&'a str>,
    properties: BTreeMap<&'a str, Vec<&'a Value>>,
    items: Vec<&'a Value>,
    values: BTreeSet<String>,
    is_closed: bool,
    has_words: bool,
}

fn texts<'a>(value: &'a Value, key: &str) -> BTreeSet<&'a str> {
    let list = match &value[key] {
        Value::Array(list) => list.as_slice(),
        Value::Null => &[],
        one => std::slice::from_ref(one),
    };
    list.iter().filter_map(Value::as_str).collect()
}

/// Adds a schema to a shape.
fn look<'a>(document: &'a Value, schema: &'a Value, shape: &mut Shape<'a>) {
    shape.types.extend(texts(schema, "type"));
    shape.required.extend(texts(schema, "required"));
    shape.items.extend(schema.get("items"));
    shape.is_closed |= schema["additionalProperties"] == false;
    shape.has_words |= schema.get("description").is_some();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        shape.properties.entry(name).or_default().push(property);
    }
    shape.values.extend(schema["enum"].as_array().into_iter().flatten().map(Value::to_string));
    shape.values.extend(schema.get("const").map(Value::to_string));
    if let Some(reference) = schema["$ref"].as_str() {
        let named = document.pointer(reference.trim_start_matches('#')).unwrap_or_else(|| panic!("{reference}"));
        look(document, named, shape);
    }
    let all = schema["allOf"].as_array().into_iter().flatten();
    all.for_each(|part| look(document, part, shape));
    for key in ["anyOf", "oneOf"] {
        let Some(alternatives) = schema[key].as_array() else { continue };
        let mut common: Option<BTreeSet<&str>> = None;
        for alternative in alternatives {
            let mut inner = Shape::default();
            look(document, alternative, &mut inner);
            // Nothing is required of what may be null, and what is null requires nothing of the rest.
            if inner.types.iter().any(|kind| *kind != "null") {
                let required = std::mem::take(&mut inner.required);
                common = Some(match common {
                    None => required,
                    Some(others) => others.intersection(&required).copied().collect(),
                });
            }
            shape.types.extend(inner.types);
            shape.items.extend(inner.items);
            shape.values.extend(inner.values);
            shape.is_closed |= inner.is_closed;
            shape.has_words |= inner.has_words;
            for (name, properties) in inner.properties {
                shape.properties.entry(name).or_default().extend(properties);
            }
        }
        shape.required.extend(common.unwrap_or_default());
    }
    // A value says what type it is.
    if shape.types.is_empty() && !shape.values.is_empty() {
        let kind = |value: &String| if value == "null" { "null" } else { "string" };
        shape.types = shape.values.iter().map(kind).collect();
    }
    if shape.types.contains("null") && !shape.values.is_empty() {
        shape.values.insert("null".to_owned());
    }
}

fn shape<'a>(document: &'a Value, schemas: &[&'a Value]) -> Shape<'a> {
    let mut shape = Shape::default();
    schemas.iter().for_each(|schema| look(document, schema, &mut shape));
    shape
}

/// Where the stored document said other than what was sent, and was corrected.
const CORRECTED: [&str; 15] = [
    // A kind that came later: nobody has answered a question for a while.
    "Record.kind: values",
    // Only auditors see what was removed.
    "post /api/runs 201: the property removed",
    "post /api/runs 200: the property removed",
    "get /api/runs 200.runs[]: the property removed",
    "get /api/runs/{id} 200: the property removed",
    "patch /api/runs/{id} 200: the property removed",
    "Run: the property removed",
    // Of a run that an older version removed the time is not known.
    "get /api/audit/runs 200.runs[].removed.at: types",
    "get /api/audit/runs/{id} 200.run.removed.at: types",
    // Null is read as no parameters.
    "post /api/runs body.params: types",
    // The workflow is null where it cannot be read how the run began.
    "get /api/questions 200.questions[].run.workflow: types",
    // Without it nothing is exported.
    "get /api/audit/export?format: whether it must be there",
    // Each kind is described, with what belongs to it, instead of a list of kinds that was not whole.
    "AuditEvent.kind: its description",
    "get /api/audit/runs/{id} 200.events[].kind: its description",
    "get /api/audit/export 200.kind: its description",
];

struct Comparison<'a> {
    old: &'a Value,
    new: &'a Value,
    lost: Vec<String>,
}

impl<'a> Comparison<'a> {
    fn check(&mut self, place: &str, is_kept: bool, what: &str) {
        if !is_kept {
            self.lost.push(format!("{place}: {what}"));
        }
    }

    /// Whether a schema of the old document is that of the new one, or the new one says more.
    fn schemas(&mut self, place: &str, old: &[&'a Value], new: &[&'a Value], is_request: bool) {
        let (old, new) = (shape(self.old, old), shape(self.new, new));
        let types = format!("types {:?}, were {:?}", new.types, old.types);
        self.check(place, old.types.is_empty() || old.types == new.types, &types);
        let required = format!("required {:?}, were {:?}", new.required, old.required);
        let kept = if is_request { old.required == new.required } else { old.required.is_subset(&new.required) };
        self.check(place, kept, &required);
        let values = format!("values {:?}, were {:?}", new.values, old.values);
        self.check(place, old.values.is_empty() || old.values == new.values, &values);
        self.check(place, !old.is_closed || new.is_closed, "other fields are refused");
        self.check(place, !old.has_words || new.has_words, "its description");
        for (name, schemas) in &old.properties {
            match new.properties.get(name) {
                Some(others) => self.schemas(&format!("{place}.{name}"), schemas, others, is_request),
                None => self.check(place, false, &format!("the property {name}")),
            }
        }
        if !old.items.is_empty() {
            self.check(place, !new.items.is_empty(), "its items");
            self.schemas(&format!("{place}[]"), &old.items, &new.items, is_request);
        }
    }

    /// Every media type of a body.
    fn content(&mut self, place: &str, old: &'a Value, new: &'a Value, is_request: bool) {
        for (kind, body) in old["content"].as_object().into_iter().flatten() {
            self.check(place, new["content"].get(kind).is_some(), kind);
            self.schemas(place, &[&body["schema"]], &[&new["content"][kind]["schema"]], is_request);
        }
    }

    /// A parameter takes what it took, and need not be there where it need not.
    fn parameter(&mut self, place: &str, old: &'a Value, new: &'a Value) {
        let is_required = |one: &Value| one["required"] == true;
        self.check(place, is_required(old) == is_required(new), "whether it must be there");
        self.check(place, new["description"].is_string(), "its description");
        let (old, new) = (&old["schema"], &new["schema"]);
        self.schemas(place, &[old], &[new], true);
        for limit in ["minimum", "maximum", "maxLength", "format", "default"] {
            let kept = old[limit].is_null() || old[limit] == new[limit] || old[limit].as_f64() == new[limit].as_f64();
            self.check(place, kept, &format!("{limit} {}, was {}", new[limit], old[limit]));
        }
    }

    fn operation(&mut self, place: &str, old: &'a Value, new: &'a Value) {
        self.check(place, !new.is_null(), "the operation");
        for parameter in old["parameters"].as_array().into_iter().flatten() {
            let mut others = new["parameters"].as_array().into_iter().flatten();
            let other = others.find(|other| other["name"] == parameter["name"] && other["in"] == parameter["in"]);
            let name = parameter["name"].as_str().unwrap_or_default();
            match other {
                Some(other) => self.parameter(&format!("{place}?{name}"), parameter, other),
                None => self.check(place, false, &format!("the parameter {name}")),
            }
        }
        self.check(place, old["security"] == new["security"], "who may call");
        self.content(&format!("{place} body"), &old["requestBody"], &new["requestBody"], true);
        for (status, response) in old["responses"].as_object().into_iter().flatten() {
            let other = &new["responses"][status];
            // Its words may change.
            self.check(place, other["description"].is_string(), &format!("the response {status}"));
            self.content(&format!("{place} {status}"), response, other, false);
        }
    }
}

fn lost(old: &Value, new: &Value) -> Vec<String> {
    let mut comparison = Comparison { old, new, lost: Vec::new() };
    for (path, methods) in old["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            comparison.operation(&format!("{method} {path}"), operation, &new["paths"][path][method]);
        }
    }
    for (name, schema) in old["components"]["schemas"].as_object().into_iter().flatten() {
        comparison.schemas(name, &[schema], &[&new["components"]["schemas"][name]], false);
    }
    comparison.lost
}

fn contract() -> Value {
    serde_json::from_str(include_str!("../../../tests/openapi/contract.json")).expect("JSON")
}

#[test]
fn the_document_says_no_less_than_it_has_said() {
    let mut lost = lost(&contract(), &document());
    for corrected in CORRECTED {
        assert!(lost.iter().any(|one| one.starts_with(corrected)), "{corrected} is no difference");
        lost.retain(|one| !one.starts_with(corrected));
    }
    assert!(lost.is_empty(), "\n{}", lost.join("\n"));
}

#[test]
fn what_is_lost_is_found() {
    for (pointer, name) in [
        ("/components/schemas/Run/properties", "title"),
        ("/components/schemas/Run", "required"),
        ("/components/schemas/Run/properties/question", "properties"),
        ("/paths/~1api~1runs/get", "parameters"),
        ("/paths/~1api~1runs/get/parameters/0/schema", "enum"),
        ("/paths/~1api~1runs/get/parameters/3/schema", "maximum"),
        ("/paths/~1api~1runs~1{id}/get/parameters/0", "required"),
        ("/paths/~1api~1runs/post/requestBody/content/application~1json/schema", "additionalProperties"),
        ("/paths/~1api~1questions", "get"),
    ] {
        let mut changed = contract();
        let place = changed.pointer_mut(pointer).and_then(Value::as_object_mut).expect("an object");
        assert!(place.remove(name).is_some(), "{pointer} {name}");
        assert!(!lost(&contract(), &changed).is_empty(), "{pointer} {name}");
    }
}
