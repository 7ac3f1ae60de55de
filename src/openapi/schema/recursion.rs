//! Which schemas refer to themselves, directly or by way of others: the strongly connected components of the references, by
//! Tarjan's algorithm, each schema once for a document.

use std::collections::HashMap;

use serde_json::Value;

use crate::openapi::documents::{DocumentSet, Located};

/// What is found out so far. A schema is known by where it lies in memory: documents do not change once they are loaded.
#[derive(Debug)]
pub(super) struct RecursionIndex {
    kind: ReferenceKind,
    finished: HashMap<usize, bool>,
}

/// Which references count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReferenceKind {
    /// All.
    Any,
    /// Those that say more of the same value (`allOf`), and nothing of what is in it (`items`).
    SameValue,
}

fn address(value: &Value) -> usize {
    std::ptr::from_ref(value).addr()
}

struct Visit<'d> {
    address: usize,
    targets: Vec<Located<'d>>,
    next: usize,
}

impl RecursionIndex {
    pub(super) fn new(kind: ReferenceKind) -> Self {
        Self { kind, finished: HashMap::new() }
    }

    /// Whether a schema, the target of a reference, refers to itself.
    pub(super) fn is_recursive<'d>(&mut self, documents: &'d DocumentSet, schema: Located<'d>) -> bool {
        if let Some(known) = self.finished.get(&address(schema.value)) {
            return *known;
        }
        // Of each schema that is under way: when it was met, and the earliest one that it leads back to.
        let mut met: HashMap<usize, (usize, usize)> = HashMap::new();
        let mut component: Vec<usize> = Vec::new();
        let mut way: Vec<Visit<'d>> = Vec::new();
        let kind = self.kind;
        let begin = |schema: Located<'d>, met: &mut HashMap<usize, (usize, usize)>, component: &mut Vec<usize>| {
            let address = address(schema.value);
            let order = met.len();
            met.insert(address, (order, order));
            component.push(address);
            Visit { address, targets: targets(documents, schema, kind), next: 0 }
        };
        way.push(begin(schema, &mut met, &mut component));
        while let Some(visit) = way.last_mut() {
            let here = visit.address;
            if let Some(target) = visit.targets.get(visit.next).copied() {
                visit.next += 1;
                let there = address(target.value);
                if self.finished.contains_key(&there) {
                    continue;
                }
                match met.get(&there).copied() {
                    Some((order, _)) => lower(&mut met, here, order),
                    None => {
                        let visit = begin(target, &mut met, &mut component);
                        way.push(visit);
                    }
                }
                continue;
            }
            let (order, earliest) = met[&here];
            let refers_to_itself = visit.targets.iter().any(|target| address(target.value) == here);
            way.pop();
            if let Some(parent) = way.last() {
                lower(&mut met, parent.address, earliest);
            }
            if order == earliest {
                let at = component.iter().rposition(|member| *member == here).unwrap_or_default();
                let members = component.split_off(at);
                let recursive = members.len() > 1 || refers_to_itself;
                self.finished.extend(members.into_iter().map(|member| (member, recursive)));
            }
        }
        self.finished.get(&address(schema.value)).copied().unwrap_or_default()
    }
}

fn lower(met: &mut HashMap<usize, (usize, usize)>, at: usize, earliest: usize) {
    if let Some((_, lowest)) = met.get_mut(&at) {
        *lowest = earliest.min(*lowest);
    }
}

/// Where the references in a schema lead, without following them.
fn targets<'d>(documents: &'d DocumentSet, schema: Located<'d>, kind: ReferenceKind) -> Vec<Located<'d>> {
    const SAME_VALUE: [&str; 8] = ["allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas"];
    let mut found = Vec::new();
    let mut todo = vec![schema.value];
    while let Some(value) = todo.pop() {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    match (key.as_str(), value) {
                        ("$ref", Value::String(reference)) => {
                            found.extend(documents.resolve(schema.document, reference).ok());
                        }
                        ("example" | "examples" | "default" | "enum" | "const", _) => {}
                        (key, Value::Object(_) | Value::Array(_))
                            if kind == ReferenceKind::Any || SAME_VALUE.contains(&key) =>
                        {
                            todo.push(value);
                        }
                        _ => {}
                    }
                }
            }
            Value::Array(items) => todo.extend(items),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::openapi::source::DocumentSource;

    #[test]
    fn schemas_that_lead_back_to_themselves_are_recursive() {
        let to = |name: &str| json!({ "$ref": format!("#/{name}") });
        let root = json!({
            "plain": {"properties": {"a": to("leaf"), "b": to("leaf")}},
            "leaf": {"type": "string", "example": to("leaf")},
            "self": {"items": to("self")},
            "a": {"allOf": [to("b"), to("leaf")]}, "b": {"items": to("c")}, "c": {"properties": {"x": to("a"), "y": to("self")}},
            "outside": {"properties": {"x": to("a"), "gone": to("gone")}},
            "alias": to("alias"),
        });
        let source = DocumentSource::parse("x.json").unwrap();
        let set = DocumentSet::load(root, &source, &|_| Err("none".to_owned()));
        for order in [["plain", "outside", "a"], ["c", "leaf", "plain"], ["self", "b", "outside"]] {
            let mut index = RecursionIndex::new(ReferenceKind::Any);
            let mut is = |name: &str| index.is_recursive(&set, set.root().get(name).unwrap());
            for name in order {
                let _ = is(name);
            }
            for name in ["self", "a", "b", "c", "alias"] {
                assert!(is(name), "{name}");
            }
            for name in ["plain", "leaf", "outside"] {
                assert!(!is(name), "{name}");
            }
        }
    }

    #[test]
    fn schemas_that_are_made_of_themselves_are_found() {
        let to = |name: &str| json!({ "$ref": format!("#/{name}") });
        let root = json!({
            "tree": {"items": to("tree")}, "self": {"allOf": [to("self")]},
            "a": {"oneOf": [to("b"), {"type": "string"}]}, "b": {"not": {"if": to("a")}},
        });
        let source = DocumentSource::parse("x.json").unwrap();
        let set = DocumentSet::load(root, &source, &|_| Err("none".to_owned()));
        let mut index = RecursionIndex::new(ReferenceKind::SameValue);
        let found = ["tree", "self", "a", "b"].map(|name| index.is_recursive(&set, set.root().get(name).unwrap()));
        assert_eq!(found, [false, true, true, true]);
    }

    #[test]
    fn a_long_chain_of_references_needs_no_stack() {
        let mut map = serde_json::Map::new();
        for number in 0..50_000 {
            map.insert(number.to_string(), json!({ "items": { "$ref": format!("#/{}", number + 1) } }));
        }
        map.insert("50000".to_owned(), json!({ "items": { "$ref": "#/0" } }));
        let source = DocumentSource::parse("x.json").unwrap();
        let set = DocumentSet::load(Value::Object(map), &source, &|_| Err("none".to_owned()));
        assert!(RecursionIndex::new(ReferenceKind::Any).is_recursive(&set, set.root().get("77").unwrap()));
    }
}
