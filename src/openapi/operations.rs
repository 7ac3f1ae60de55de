//! The operations of a document: which there are, and their names. Nothing else is read of them here, so that thousands are
//! listed at once.

use serde_json::{Map, Value};

use super::documents::{DocumentSet, Located};
use super::names::{NameParts, tool_names};
use super::warning::JsonPointer;

/// The methods that a path may have, in the words of OpenAPI and of HTTP.
pub(super) const METHODS: [(&str, &str); 8] = [
    ("get", "GET"),
    ("put", "PUT"),
    ("post", "POST"),
    ("delete", "DELETE"),
    ("options", "OPTIONS"),
    ("head", "HEAD"),
    ("patch", "PATCH"),
    ("trace", "TRACE"),
];

/// An operation, and the name of its tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationEntry {
    /// The name that models know it by: 1 to 64 of `A-Z a-z 0-9 _ -`.
    pub name: String,
    /// `GET`, `POST`, ….
    pub method: &'static str,
    /// The path as it is written, with its parameters in braces.
    pub path: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// The key of the operation below its path.
    pub(super) key: &'static str,
}

/// An operation that is no tool, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedOperation {
    /// The operation: `POST /pets`.
    pub operation: String,
    /// Why it is no tool. A sentence without a full stop.
    pub reason: String,
}

/// What a document says of an operation, itself and for all of its path.
#[derive(Debug, Clone, Copy)]
pub(super) struct FoundOperation<'d> {
    pub(super) path_item: Located<'d>,
    pub(super) operation: Located<'d>,
}

/// All operations of a document.
pub(super) fn operations(documents: &DocumentSet) -> (Vec<OperationEntry>, Vec<SkippedOperation>) {
    let mut entries = Vec::new();
    let mut skipped = Vec::new();
    let root = documents.root();
    for (path, item) in object(root.value.get("paths")) {
        if path.starts_with("x-") {
            continue;
        }
        let mut skip = |method: &str, reason: String| {
            skipped.push(SkippedOperation { operation: format!("{method} {path}"), reason });
        };
        let item = match documents.follow(root.with(item)) {
            Ok(item) if item.value.is_object() => item,
            Ok(_) => {
                skip("*", "the path has no object with operations".to_owned());
                continue;
            }
            Err(why) => {
                skip("*", why);
                continue;
            }
        };
        for (key, method) in METHODS {
            match item.value.get(key) {
                Some(Value::Object(operation)) => {
                    let tags = operation.get("tags").and_then(Value::as_array).into_iter().flatten();
                    let tags = tags.filter_map(Value::as_str).map(str::to_owned).collect();
                    entries.push(OperationEntry { name: String::new(), method, path: path.clone(), tags, key });
                }
                Some(_) => skip(method, "the operation is not an object".to_owned()),
                None => {}
            }
        }
        // What came with OpenAPI 3.2.
        const NEW: &str = "the method came with OpenAPI 3.2 and is not supported";
        if item.value.get("query").is_some_and(Value::is_object) {
            skip("QUERY", NEW.to_owned());
        }
        for (method, _) in object(item.value.get("additionalOperations")) {
            skip(method, NEW.to_owned());
        }
    }
    name_all(documents, &mut entries);
    (entries, skipped)
}

fn name_all(documents: &DocumentSet, entries: &mut [OperationEntry]) {
    let parts: Vec<NameParts<'_>> = entries
        .iter()
        .map(|entry| NameParts {
            operation_id: find(documents, entry)
                .and_then(|found| found.operation.value.get("operationId"))
                .and_then(Value::as_str),
            method: entry.method,
            path: &entry.path,
        })
        .collect();
    let names = tool_names(&parts);
    for (entry, name) in entries.iter_mut().zip(names) {
        entry.name = name;
    }
}

/// The operation of an entry.
pub(super) fn find<'d>(documents: &'d DocumentSet, entry: &OperationEntry) -> Option<FoundOperation<'d>> {
    let root = documents.root();
    let item = root.value.get("paths")?.get(&entry.path)?;
    let path_item = documents.follow(root.with(item)).ok()?;
    let operation = path_item.get(entry.key)?;
    Some(FoundOperation { path_item, operation })
}

impl OperationEntry {
    /// Calls `read` with the place of the operation.
    pub(super) fn at_place<T>(&self, read: impl FnOnce(&JsonPointer<'_>) -> T) -> T {
        let root = JsonPointer::root("#");
        let paths = root.key("paths");
        let path = paths.key(&self.path);
        read(&path.key(self.key))
    }

    /// The operation in words: `POST /pets`.
    pub fn operation(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// The fields of an object; none of anything else.
pub(super) fn object(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flat_map(Map::iter)
}
