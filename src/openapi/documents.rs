//! A document and the others that its references lead to, all loaded before anything is read of them, and references among
//! them.

use std::borrow::Cow;
use std::collections::HashMap;

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::source::{DocumentLoader, DocumentSource};
use super::text::{self, LARGEST_DOCUMENT};

/// How many other documents are loaded.
const MOST_SIBLINGS: usize = 200;
/// How many references may follow each other until something stands there.
const MOST_HOPS: usize = 16;

/// A document and its siblings.
#[derive(Debug)]
pub(super) struct DocumentSet {
    documents: Vec<LoadedDocument>,
    /// Where the part before `#` of a reference leads: by the document that it stands in.
    siblings: HashMap<(usize, String), Result<usize, String>>,
}

#[derive(Debug)]
struct LoadedDocument {
    source: DocumentSource,
    /// Empty for the document itself.
    label: String,
    root: Value,
}

/// A value in one of the documents.
#[derive(Debug, Clone, Copy)]
pub(super) struct Located<'d> {
    pub(super) value: &'d Value,
    pub(super) document: usize,
}

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DocumentPlace {
    pub(super) document: usize,
    /// A JSON pointer.
    pointer: String,
}

impl DocumentPlace {
    /// The document itself.
    pub(super) fn root() -> Self {
        Self { document: 0, pointer: String::new() }
    }

    /// The place of a field, or of an item.
    pub(super) fn with(&self, key: &str) -> Self {
        let pointer = format!("{}/{}", self.pointer, key.replace('~', "~0").replace('/', "~1"));
        Self { document: self.document, pointer }
    }
}

impl<'d> Located<'d> {
    /// A value below this one, in the same document.
    pub(super) fn with(self, value: &'d Value) -> Self {
        Located { value, document: self.document }
    }

    pub(super) fn get(self, key: &str) -> Option<Located<'d>> {
        self.value.get(key).map(|value| self.with(value))
    }
}

impl DocumentSet {
    /// Loads all documents that the references of this one lead to.
    pub(super) fn load(root: Value, source: &DocumentSource, load: &DocumentLoader<'_>) -> Self {
        let main = LoadedDocument { source: source.clone(), label: String::new(), root };
        let mut set = Self { documents: vec![main], siblings: HashMap::new() };
        let mut bytes_left = LARGEST_DOCUMENT;
        let mut at = 0;
        while at < set.documents.len() {
            for name in references_to_others(&set.documents[at].root) {
                let found = set.sibling(at, &name, load, &mut bytes_left);
                set.siblings.insert((at, name), found);
            }
            at += 1;
        }
        set
    }

    fn sibling(
        &mut self,
        from: usize,
        name: &str,
        load: &DocumentLoader<'_>,
        bytes_left: &mut usize,
    ) -> Result<usize, String> {
        let main = &self.documents[0].source;
        let source = self.documents[from].source.sibling(name, main)?;
        if let Some(known) = self.documents.iter().position(|document| document.source == source) {
            return Ok(known);
        }
        if self.documents.len() > MOST_SIBLINGS {
            return Err(format!(
                "the reference {name:?} is not followed: at most {MOST_SIBLINGS} other documents are read"
            ));
        }
        let label = source.label(main);
        let unusable = |why: String| format!("the document {label:?} cannot be used: {why}");
        let bytes = load(&source).map_err(unusable)?;
        *bytes_left = bytes_left.checked_sub(bytes.len()).ok_or_else(|| {
            unusable(format!("the documents together are larger than {} MiB", LARGEST_DOCUMENT >> 20))
        })?;
        let root = text::parse(&bytes).map_err(|error| unusable(error.to_string()))?;
        self.documents.push(LoadedDocument { source, label, root });
        Ok(self.documents.len() - 1)
    }

    pub(super) fn root(&self) -> Located<'_> {
        Located { value: &self.documents[0].root, document: 0 }
    }

    /// The main document, for a change of all of it.
    pub(super) fn root_mut(&mut self) -> &mut Value {
        &mut self.documents[0].root
    }

    pub(super) fn source(&self) -> &DocumentSource {
        &self.documents[0].source
    }

    /// Where a reference in a document leads.
    pub(super) fn resolve(&self, from: usize, reference: &str) -> Result<Located<'_>, String> {
        self.target(from, reference).map(|(found, _)| found)
    }

    /// Where a reference in a document leads, and the pointer of that place.
    fn target<'r>(&self, from: usize, reference: &'r str) -> Result<(Located<'_>, Cow<'r, str>), String> {
        let (name, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let nowhere = || format!("the reference {reference:?} leads nowhere");
        let document = match name {
            "" => from,
            name => match self.siblings.get(&(from, name.to_owned())) {
                Some(Ok(document)) => *document,
                Some(Err(why)) => return Err(why.clone()),
                None => return Err(nowhere()),
            },
        };
        let root = &self.documents[document].root;
        if let Some(value) = at_pointer(root, fragment) {
            return Ok((Located { value, document }, Cow::Borrowed(fragment)));
        }
        // Most references are as they are meant; some have `%7B` for a brace.
        let decoded = percent_decode_str(fragment).decode_utf8().map_err(|_| nowhere())?;
        let value = at_pointer(root, &decoded).ok_or_else(nowhere)?;
        Ok((Located { value, document }, decoded))
    }

    /// The value at a place.
    pub(super) fn at(&self, place: &DocumentPlace) -> Option<&Value> {
        at_pointer(&self.documents[place.document].root, &place.pointer)
    }

    /// The value at a place, for a change of it.
    pub(super) fn at_mut(&mut self, place: &DocumentPlace) -> Option<&mut Value> {
        self.documents[place.document].root.pointer_mut(&place.pointer)
    }

    /// The place that a place leads to once all references there are followed.
    pub(super) fn followed(&self, place: DocumentPlace) -> Result<DocumentPlace, String> {
        let mut found = place;
        for _ in 0..MOST_HOPS {
            match self.at(&found).and_then(|value| value.get("$ref")).and_then(Value::as_str) {
                Some(reference) => {
                    let (target, pointer) = self.target(found.document, reference)?;
                    found = DocumentPlace { document: target.document, pointer: pointer.into_owned() };
                }
                None => return Ok(found),
            }
        }
        Err("the references lead in a circle".to_owned())
    }

    /// A reference to a place, as it is written in a document.
    pub(super) fn reference(&mut self, from: usize, to: &DocumentPlace) -> String {
        if from == to.document {
            return format!("#{}", to.pointer);
        }
        let known = self.siblings.iter().filter(|((known, _), found)| *known == from && **found == Ok(to.document));
        if let Some(name) = known.map(|((_, name), _)| name).min() {
            return format!("{name}#{}", to.pointer);
        }
        // No document refers to this one in these words: what its references say is known.
        let mut name = self.documents[to.document].label.replace('#', "%23");
        while name.is_empty() || self.siblings.contains_key(&(from, name.clone())) {
            name.insert_str(0, "./");
        }
        self.siblings.insert((from, name.clone()), Ok(to.document));
        format!("{name}#{}", to.pointer)
    }

    /// What stands in a place once all references there are followed.
    pub(super) fn follow<'d>(&'d self, at: Located<'d>) -> Result<Located<'d>, String> {
        let mut found = at;
        for _ in 0..MOST_HOPS {
            match found.value.get("$ref").and_then(Value::as_str) {
                Some(reference) => found = self.resolve(found.document, reference)?,
                None => return Ok(found),
            }
        }
        Err("the references lead in a circle".to_owned())
    }

    /// How a place begins that a reference leads to: the name of its document and the pointer.
    pub(super) fn place(&self, at: Located<'_>, reference: &str) -> String {
        let fragment = reference.split_once('#').map_or("", |(_, fragment)| fragment);
        format!("{}#{fragment}", self.documents[at.document].label)
    }
}

/// The value at a JSON pointer. References are followed so often that each step is looked up as it is written, if that is possible.
fn at_pointer<'v>(root: &'v Value, pointer: &str) -> Option<&'v Value> {
    if pointer.is_empty() {
        return Some(root);
    }
    pointer.strip_prefix('/')?.split('/').try_fold(root, |value, step| {
        let name = match step.contains('~') {
            true => Cow::Owned(step.replace("~1", "/").replace("~0", "~")),
            false => Cow::Borrowed(step),
        };
        match value {
            Value::Object(map) => map.get(&*name),
            Value::Array(items) => items.get(name.parse::<usize>().ok()?),
            _ => None,
        }
    })
}

/// The parts before `#` of all references that lead to other documents, each once.
fn references_to_others(root: &Value) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut todo = vec![root];
    while let Some(value) = todo.pop() {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(reference)) = map.get("$ref")
                    && let name = reference.split('#').next().unwrap_or_default()
                    && !name.is_empty()
                    && !found.iter().any(|known| known == name)
                {
                    found.push(name.to_owned());
                }
                todo.extend(map.values().filter(|value| value.is_object() || value.is_array()));
            }
            Value::Array(items) => todo.extend(items.iter().filter(|value| value.is_object() || value.is_array())),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn loader(source: &DocumentSource) -> Result<Vec<u8>, String> {
        match source.to_string().as_str() {
            "api/pets.yaml" => Ok(b"Pet: { $ref: 'deep/more.json#/Cat' }\nLoop: { $ref: '#/Loop' }".to_vec()),
            "api/deep/more.json" => {
                Ok(br##"{"Cat": {"$ref": "../main.yaml#/x"}, "Bad": {"$ref": "#/none"}}"##.to_vec())
            }
            "api/broken.yaml" => Ok(b"[1".to_vec()),
            other => Err(format!("{other} is not there")),
        }
    }

    #[test]
    fn references_are_followed_through_other_documents() {
        let root = json!({
            "x": {"type": "string"}, "a{b}": 1,
            "pet": {"$ref": "pets.yaml#/Pet"}, "loop": {"$ref": "pets.yaml#/Loop"}, "bad": {"$ref": "deep/more.json#/Bad"},
            "away": {"$ref": "gone.yaml"}, "out": {"$ref": "../out.yaml"}, "broken": {"$ref": "broken.yaml"},
            "coded": {"$ref": "#/a%7Bb%7D"}, "properties": {"$ref": {"type": "string"}},
        });
        let source = DocumentSource::parse("api/main.yaml").unwrap();
        let set = DocumentSet::load(root, &source, &loader);
        let at = |key: &str| set.follow(set.root().get(key).unwrap()).map(|found| found.value.clone());
        assert_eq!(at("pet").unwrap(), json!({"type": "string"}));
        assert_eq!(at("coded").unwrap(), json!(1));
        for (key, words) in [
            ("loop", "the references lead in a circle"),
            ("bad", "the reference \"#/none\" leads nowhere"),
            ("away", "the document \"gone.yaml\" cannot be used: api/gone.yaml is not there"),
            ("out", "the reference \"../out.yaml\" leads out of the folder of the document, and is not followed"),
        ] {
            assert_eq!(at(key).unwrap_err(), words);
        }
        assert!(at("broken").unwrap_err().contains("\"broken.yaml\" cannot be used: the document is neither"));
    }
}
