//! The types in the page's `src/ui/assets/gateway/api.js` are those of the interface: `BLESS=1` writes them anew from the schemas.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

use super::document;

const BEGIN: &str =
    " * The types of the interface, from its schemas: `BLESS=1 cargo nextest run page_types` writes them.\n";
const END: &str = " * Here end the types from the schemas.\n";

/// The schemas that the page names, and what it calls them. What they refer to besides is written in place.
const NAMED: [(&str, &str); 14] = [
    ("Within", "Within"),
    ("Message", "Message"),
    ("Usage", "Usage"),
    ("Record", "RunRecord"),
    ("Delta", "Delta"),
    ("Workflow", "Workflow"),
    ("RunState", "RunState"),
    ("RunOutcome", "RunOutcome"),
    ("Run", "Run"),
    ("Question", "Question"),
    ("AuditRun", "AuditRun"),
    ("AuditEvent", "AuditEvent"),
    ("Overview", "Overview"),
    ("Worker", "Worker"),
];

/// A property of all alternatives of an object together.
struct Property {
    name: String,
    types: BTreeSet<String>,
    is_required: bool,
    words: String,
}

struct Writer<'a> {
    schemas: &'a Value,
}

impl<'a> Writer<'a> {
    fn target(&self, reference: &str) -> &'a Value {
        &self.schemas[reference.rsplit('/').next().unwrap_or_default()]
    }

    fn of_kind(&self, kind: &str, schema: &'a Value) -> String {
        match kind {
            "integer" => "number".to_owned(),
            "array" => {
                let items = self.of(&schema["items"]);
                if items.contains(" | ") && !items.starts_with('{') {
                    format!("({items})[]")
                } else {
                    format!("{items}[]")
                }
            }
            "object" if schema.get("properties").is_some() => {
                let inside = self.properties(schema).into_iter().map(|property| {
                    let mark = if property.is_required { "" } else { "?" };
                    format!("{}{mark}: {}", property.name, property.kind())
                });
                format!("{{{}}}", inside.collect::<Vec<_>>().join(", "))
            }
            "object" => "Record<string, any>".to_owned(),
            other => other.to_owned(),
        }
    }

    /// The type of a schema.
    fn of(&self, schema: &'a Value) -> String {
        if let Some(reference) = schema["$ref"].as_str() {
            let called = NAMED.iter().find(|(named, _)| reference.ends_with(&format!("/{named}")));
            return called.map_or_else(|| self.of(self.target(reference)), |(_, called)| (*called).to_owned());
        }
        if let Some(value) = schema["const"].as_str() {
            return format!("'{value}'");
        }
        if let Some(alternatives) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
            return alternatives.iter().map(|one| self.of(one)).collect::<Vec<_>>().join(" | ");
        }
        match &schema["type"] {
            Value::String(kind) => self.of_kind(kind, schema),
            Value::Array(kinds) => {
                let kinds = kinds.iter().filter_map(Value::as_str).map(|kind| self.of_kind(kind, schema));
                kinds.collect::<Vec<_>>().join(" | ")
            }
            _ => "unknown".to_owned(),
        }
    }

    /// The properties of an object. Of several alternatives it has those of all: the page looks at what is there.
    fn properties(&self, schema: &'a Value) -> Vec<Property> {
        let target = schema["$ref"].as_str().map(|reference| self.properties(self.target(reference)));
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let own = schema["properties"].as_object().into_iter().flatten();
        let mut found: Vec<Property> = own
            .map(|(name, property)| Property {
                name: name.clone(),
                types: [self.of(property)].into(),
                is_required: required.contains(&name.as_str()),
                words: property["description"].as_str().unwrap_or_default().to_owned(),
            })
            .collect();
        let alternatives = schema["oneOf"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut common: Vec<Property> = Vec::new();
        let mut met: Vec<usize> = Vec::new();
        for property in alternatives.iter().flat_map(|one| self.properties(one)) {
            match common.iter().position(|known| known.name == property.name) {
                Some(at) => {
                    common[at].types.extend(property.types);
                    common[at].is_required &= property.is_required;
                    met[at] += 1;
                }
                None => {
                    common.push(property);
                    met.push(1);
                }
            }
        }
        for (property, times) in common.iter_mut().zip(met) {
            property.is_required &= times == alternatives.len();
        }
        found.extend(common);
        found.extend(target.unwrap_or_default());
        found
    }

    fn typedef(&self, name: &str, called: &str) -> String {
        let schema = &self.schemas[name];
        if schema["type"] != "object" {
            return format!(" * @typedef {{{}}} {called}\n", self.of(schema));
        }
        let mut text = format!(" * @typedef {{object}} {called}\n");
        for property in self.properties(schema) {
            let name = if property.is_required { property.name.clone() } else { format!("[{}]", property.name) };
            let line = format!(" * @property {{{}}} {name}   {}", property.kind(), property.words);
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text + " *\n"
    }
}

impl Property {
    /// The types of all alternatives, each once; what may be null says so at its end.
    fn kind(&self) -> String {
        let mut kinds: Vec<&str> = Vec::new();
        for kind in &self.types {
            let parts: Vec<&str> = if kind.contains('{') { vec![kind.as_str()] } else { kind.split(" | ").collect() };
            parts.into_iter().for_each(|part| {
                if !kinds.contains(&part) {
                    kinds.push(part)
                }
            });
        }
        kinds.sort_by_key(|kind| *kind == "null");
        kinds.join(" | ")
    }
}

fn written() -> String {
    let document = document();
    let writer = Writer { schemas: &document["components"]["schemas"] };
    let types = NAMED.iter().map(|(name, called)| writer.typedef(name, called));
    format!("{BEGIN} *\n{}{END}", types.collect::<String>())
}

#[test]
fn page_types_are_those_of_the_interface() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ui/assets/gateway/api.js");
    let text = std::fs::read_to_string(&path).expect("the page's file");
    let begin = text.find(BEGIN).expect("the beginning of the types");
    let end = text.find(END).expect("the end of the types") + END.len();
    let wanted = written();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, format!("{}{wanted}{}", &text[..begin], &text[end..])).expect("a writable file");
        return;
    }
    assert_eq!(&text[begin..end], wanted, "the types are old: BLESS=1 writes them anew");
}
