//! The tools of a server as models get to know them: with names that fit every provider, and without what cannot be used.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::bounds::{OUTSIDE, check_value};
use crate::ids::hex;
use crate::outside::hidden::HiddenTexts;
use crate::outside::toolset::ListedTool;

/// The longest name that every provider takes.
const LONGEST_NAME: usize = 64;
/// So many digits of a digest tell two names apart.
const DIGEST_DIGITS: usize = 8;
/// The longest description, in bytes.
const LONGEST_DESCRIPTION: usize = 8 << 10;
/// The largest schema of a tool, in bytes.
const LARGEST_SCHEMA: usize = 64 << 10;
/// All of a list, in bytes: a run keeps it in one record of its log.
const LARGEST_LIST: usize = 512 << 10;

/// The tools of a server, with the names that it knows them by.
#[derive(Debug, Default)]
pub(super) struct KnownTools {
    /// In the server's order.
    tools: Vec<KnownTool>,
}

/// A tool of a server.
#[derive(Debug)]
pub(super) struct KnownTool {
    /// The name that the server knows it by.
    pub(super) own_name: String,
    /// How it is listed.
    pub(super) listed: ListedTool,
}

impl KnownTools {
    /// Those of a list as the server gave it, and what is wrong with those that are left out. Descriptions are without secrets before they
    /// are cut.
    pub(super) fn read(tools: &[Value], hidden: &HiddenTexts) -> (Self, Vec<String>) {
        let mut warnings = Vec::new();
        let mut found: Vec<KnownTool> = Vec::new();
        let mut seen = BTreeSet::new();
        for tool in tools {
            match read_tool(tool, hidden) {
                Ok(tool) if seen.insert(tool.own_name.clone()) => found.push(tool),
                Ok(tool) => warnings.push(format!("it lists {:?} twice", tool.own_name)),
                Err(why) => warnings.push(why),
            }
        }
        let names = fit_names(found.iter().map(|tool| tool.own_name.as_str()));
        for tool in &mut found {
            tool.listed.name.clone_from(&names[&tool.own_name]);
        }
        let mut size = 0;
        found.retain(|tool| {
            size += size_of(&tool.listed);
            let fits = size <= LARGEST_LIST;
            if !fits {
                warnings.push(format!("{:?} does not fit into a list of {LARGEST_LIST} bytes", tool.own_name));
            }
            fits
        });
        (Self { tools: found }, warnings)
    }

    /// A tool by its listed name.
    pub(super) fn get(&self, name: &str) -> Option<&KnownTool> {
        self.tools.iter().find(|tool| tool.listed.name == name)
    }

    /// The tools that are named, by either name; an empty list names all. The names that no tool has are the error.
    pub(super) fn only(&self, names: &[String]) -> Result<Vec<&KnownTool>, Vec<String>> {
        let is = |tool: &KnownTool, name: &String| tool.own_name == *name || tool.listed.name == *name;
        let unknown: Vec<String> =
            names.iter().filter(|name| !self.tools.iter().any(|tool| is(tool, name))).cloned().collect();
        if !unknown.is_empty() {
            return Err(unknown);
        }
        let is_meant = |tool: &&KnownTool| names.is_empty() || names.iter().any(|name| is(tool, name));
        Ok(self.tools.iter().filter(is_meant).collect())
    }

    /// The names of all, for words.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.tools.iter().map(|tool| tool.own_name.as_str())
    }
}

/// A tool, if it can be called.
fn read_tool(tool: &Value, hidden: &HiddenTexts) -> Result<KnownTool, String> {
    let Some(name) = tool["name"].as_str().filter(|name| !name.is_empty()) else {
        return Err("a tool has no name".to_owned());
    };
    if check_value(tool, &OUTSIDE).is_err() {
        return Err(format!("{name:?} is more than a tool may be"));
    }
    let params = match &tool["inputSchema"] {
        Value::Object(schema) if schema.get("type").is_none_or(|kind| kind == "object") => object_schema(schema),
        _ => return Err(format!("{name:?} has no inputSchema of the type object")),
    };
    if params.to_string().len() > LARGEST_SCHEMA {
        return Err(format!("{name:?} has an inputSchema of more than {LARGEST_SCHEMA} bytes"));
    }
    let words = [&tool["description"], &tool["title"], &tool["annotations"]["title"]];
    let description = words.into_iter().filter_map(Value::as_str).find(|text| !text.trim().is_empty());
    let hint = |name: &str| tool["annotations"][name].as_bool() == Some(true);
    let listed = ListedTool {
        name: String::new(),
        description: shortened(&hidden.hidden(description.unwrap_or_default())),
        params,
        idempotent: hint("readOnlyHint") || hint("idempotentHint"),
    };
    Ok(KnownTool { own_name: name.to_owned(), listed })
}

/// A schema that says that it is of an object.
fn object_schema(schema: &Map<String, Value>) -> Value {
    let mut schema = schema.clone();
    schema.entry("type").or_insert_with(|| json!("object"));
    Value::Object(schema)
}

fn shortened(text: &str) -> String {
    match text.len() > LONGEST_DESCRIPTION {
        true => format!("{}…", &text[..text.floor_char_boundary(LONGEST_DESCRIPTION)]),
        false => text.to_owned(),
    }
}

fn size_of(tool: &ListedTool) -> usize {
    tool.name.len() + tool.description.len() + tool.params.to_string().len()
}

/// A fit name for each: its own if it fits, else one that is made of it, with a digest where another has the same. The order of the
/// list makes no difference.
fn fit_names<'n>(own: impl Iterator<Item = &'n str>) -> BTreeMap<String, String> {
    let own: Vec<&str> = own.collect();
    let mut made: BTreeMap<String, usize> = BTreeMap::new();
    for name in &own {
        *made.entry(fit(name)).or_default() += 1;
    }
    let each = own.iter().map(|name| {
        let fit = fit(name);
        let is_clear = fit == **name || made[&fit] == 1 && name.len() <= LONGEST_NAME;
        ((*name).to_owned(), if is_clear { fit } else { with_digest(&fit, name) })
    });
    each.collect()
}

/// A name of letters, digits, `_` and `-`, at most as long as one may be.
fn fit(name: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' };
    name.chars().map(letter).take(LONGEST_NAME).collect()
}

fn with_digest(fit: &str, name: &str) -> String {
    let digest = hex(&Sha256::digest(name.as_bytes()));
    let longest = LONGEST_NAME - DIGEST_DIGITS - 1;
    format!("{}_{}", &fit[..fit.len().min(longest)], &digest[..DIGEST_DIGITS])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str) -> Value {
        json!({"name": name, "inputSchema": {"type": "object"}})
    }

    #[test]
    fn names_fit_models_whatever_their_order() {
        let long = "x".repeat(70);
        let names = ["search", "a.b", "a_b", "files/read", "files.read", "grün", &long];
        let (known, warnings) = KnownTools::read(&names.map(tool), &HiddenTexts::default());
        assert_eq!(warnings, [""; 0]);
        let listed: Vec<&str> = known.tools.iter().map(|tool| tool.listed.name.as_str()).collect();
        assert_eq!(listed[0], "search");
        assert_eq!((listed[2], listed[5]), ("a_b", "gr_n"));
        assert!(listed[1].starts_with("a_b_") && listed[1].len() == 12, "{listed:?}");
        assert!(listed[3].starts_with("files_read_") && listed[4].starts_with("files_read_"), "{listed:?}");
        assert_ne!(listed[3], listed[4]);
        assert!(listed[6].len() == LONGEST_NAME && listed[6].contains("x_"), "{listed:?}");
        let turned: Vec<Value> = names.iter().rev().map(|name| tool(name)).collect();
        let (again, _) = KnownTools::read(&turned, &HiddenTexts::default());
        for tool in &known.tools {
            assert_eq!(again.get(&tool.listed.name).unwrap().own_name, tool.own_name);
        }
    }

    #[test]
    fn what_cannot_be_called_is_left_out() {
        let tools = [
            json!({"name": "right", "title": "Right", "inputSchema": {}, "annotations": {"readOnlyHint": true}}),
            json!({"name": "", "inputSchema": {}}),
            json!({"inputSchema": {}}),
            json!("no tool"),
            json!({"name": "no schema"}),
            json!({"name": "of a list", "inputSchema": {"type": "array"}}),
            json!({"name": "large", "inputSchema": {"type": "object", "description": "x".repeat(LARGEST_SCHEMA)}}),
            tool("right"),
        ];
        let (known, warnings) = KnownTools::read(&tools, &HiddenTexts::default());
        assert_eq!(warnings.len(), 7, "{warnings:?}");
        let [right] = &known.tools[..] else { panic!("{known:?}") };
        let params = json!({"type": "object"});
        assert_eq!(
            (&*right.listed.description, right.listed.idempotent, &right.listed.params),
            ("Right", true, &params)
        );
    }

    #[test]
    fn only_what_is_named_is_listed_and_what_nobody_has_is_said() {
        let (known, _) = KnownTools::read(&["a.b", "c", "d"].map(tool), &HiddenTexts::default());
        let names = |only: &[&str]| {
            let only: Vec<String> = only.iter().map(|&name| name.to_owned()).collect();
            known.only(&only).map(|tools| tools.iter().map(|tool| tool.own_name.clone()).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]).unwrap(), ["a.b", "c", "d"]);
        assert_eq!(names(&["d", "a_b"]).unwrap(), ["a.b", "d"]);
        assert_eq!(names(&["a.b"]).unwrap(), ["a.b"]);
        assert_eq!(names(&["c", "e"]).unwrap_err(), ["e"]);
    }
}
